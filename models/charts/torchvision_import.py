"""The one place that imports torchvision, which is asked for when a network of it is built and not before.

With a torch for CPUs alone the compiled operators of the build that is on PyPI cannot be loaded, and the import ends
where torchvision describes two of them that torch then does not know. No network here uses them: they are declared, and
the import is tried again.
"""

import functools
from types import ModuleType

import torch

MISSING = "operator torchvision::nms does not exist"
OPERATORS = ("nms", "qnms")
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
LIBRARY = torch.library.Library("torchvision", "FRAGMENT")  # what is declared in it lasts as long as it is kept


@functools.cache
def models() -> ModuleType:
    """torchvision.models."""
    try:
        return _imported()
    except RuntimeError as error:
        if MISSING not in str(error):
            raise
    for name in OPERATORS:
        LIBRARY.define(f"{name}{SIGNATURE}")
    return _imported()


def _imported() -> ModuleType:
    import torchvision

    return torchvision.models
