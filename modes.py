"""What a command asks for where it is not to train, and which flags would have no say in that: they are refused, not ignored.

What describes the run, its data or the machine may be typed again; what a person could take for done may not.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

MODES = ("list", "download", "explore", "export_charts", "compare", "predict", "explain", "test", "import_legacy")
TOGETHER = {("download", "explore")}
OF_THE_MACHINE = frozenset({"root_dir", "device", "disable_cuda", "workers", "deterministic", "verbose", "debug"})
ALONE = {"compare": OF_THE_MACHINE | {"macro_over"}}  # what has a say there, and nothing else
_OF_A_TEST = {"macro_over", "calibrate", "cost", "confusion_video", "baseline", "no_figures", "tensorboard"}
_OF_PICTURES = _OF_A_TEST | {"augment", "resume"}
_OF_TRAINING = {
    "pretrained", "weights_file", "train", "start_epoch", "epochs", "patience", "optimizer", "lr", "backbone_lr", "momentum",
    "weight_decay", "scheduler", "step", "lr_decay", "grad_clip", "sampler", "augment", "short_run", "mixed_precision",
}  # fmt: skip
IDLE: dict[str, set[str]] = {
    "list": set(),  # put behind a command to see the names, it is not taken for anything else
    "download": {"pretrained", "weights_file", "resume"},  # it fetches data, and no weights
    "explore": _OF_PICTURES,
    "export_charts": _OF_PICTURES | {"chart_size"},
    "predict": _OF_A_TEST | {"data_file", "bad_rows", "strict_split", "num_classes"},
    "explain": _OF_A_TEST | {"num_classes"},
    "test": {"tensorboard"},
    "import_legacy": _OF_TRAINING | {"tensorboard"},
}


def flag_name(name: str) -> str:
    """A flag as it is typed."""
    return f"--{name.replace('_', '-')}"


def complaints(given: Mapping[str, Any]) -> list[str]:
    """Which modes were typed together, and which flags with one that makes nothing of them."""
    asked = [mode for mode in MODES if given.get(mode)]
    wrong = [
        f"{flag_name(one)} and {flag_name(other)} exclude each other"
        for one, other in combinations(asked, 2)
        if (one, other) not in TOGETHER
    ]
    for mode in asked:
        idle = given.keys() - ALONE[mode] - {*MODES} if mode in ALONE else given.keys() & IDLE[mode]
        if idle:
            names = ", ".join(flag_name(name) for name in sorted(idle))
            wrong.append(f"{names} {'is' if len(idle) == 1 else 'are'} of no use with {flag_name(mode)}")
    return wrong
