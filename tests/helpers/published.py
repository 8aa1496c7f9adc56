"""Published weights as their servers give them."""

from pathlib import Path
from typing import Any

import torch

from models.charts import vision

SMALL = "mobilenet_v3_small"


def published(folder: Path, name: str = SMALL, file: str = "weights.pth", **changed: Any) -> Path:
    """A file as torchvision publishes it, with random weights; `changed` tensors, None for one that lacks."""
    torch.manual_seed(5)
    state = vision.models().get_model(name).state_dict() | {k.replace("__", "."): v for k, v in changed.items()}
    torch.save({key: tensor for key, tensor in state.items() if tensor is not None}, folder / file)
    return folder / file
