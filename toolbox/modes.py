"""What a command needs of the flags that were typed with it: the others are ignored, with one line that names them.

The rule: a flag is ignored where the results of the command cannot depend on it. A flag that would change the results,
or that contradicts the run (its data, split, labels, network, task, thresholds, ...), is compared with the run and
refused where it differs; so is, with --resume alone, everything that would make another run. An output that was asked
for and is not made is named as such in the line. People append `--test --resume best` to the line that they trained
with, and it works as it stands.
"""

import logging
from collections.abc import Mapping
from itertools import combinations
from typing import Any

MODES = ("list", "download", "explore", "export_charts", "compare", "predict", "explain", "test")
TOGETHER = {("download", "explore")}
OF_THE_MACHINE = frozenset({
    "root_dir", "device", "disable_cuda", "workers", "deterministic", "verbose", "debug", "version_info",
})  # fmt: skip
# What decides how the weights come about, and nothing once they are there.
OF_TRAINING = frozenset({
    "train", "start_epoch", "epochs", "batch_size", "patience", "optimizer", "lr", "backbone_lr", "momentum",
    "weight_decay",
    "scheduler", "step", "lr_decay", "grad_clip", "class_balance", "class_weights", "sampler", "augment",
    "mixed_precision",
})  # fmt: skip
# What a training or a test writes on request.
OUTPUTS = frozenset({"calibrate", "cost", "confusion_video", "baseline", "tensorboard"})
NOT_DONE = OUTPUTS | {"pretrained", "weights_file"}  # --download fetches no weights
OF_A_TEST = OUTPUTS | {"macro_over", "no_figures"}
# What decides which rows a dataset has, and on which side each stands.
OF_THE_DATA = frozenset({
    "dataset", "data_file", "bad_rows", "strict_split", "seed", "val_fraction", "val_fold", "split_seed", "split",
    "fold",
    "label_column", "record_column", "rate_hz", "leads", "window", "rate", "filter", "normalise", "rr_features",
    "p_waves",
    "label_map", "drop_labels", "rename_labels", "polarity", "crops", "resample", "view", "chart_layout", "chart_leads",
    "chart_size", "chart_style", "task", "model_name", "normal_class",
})  # fmt: skip
# Commands without a run need a few flags, beside those of the machine, and ignore all others.
NEEDED: dict[str, frozenset[str]] = {
    "list": frozenset(),
    "download": OF_THE_DATA,
    "explore": OF_THE_DATA,
    "export_charts": OF_THE_DATA - {"chart_size"} | {"short_run"},
    "compare": frozenset({"macro_over"}),
}
# Commands with a run ignore these, and compare all others with the run.
IDLE: dict[str, frozenset[str]] = {
    "predict": OF_TRAINING
    | OF_A_TEST - {"calibrate"}
    | {"data_file", "bad_rows", "strict_split", "short_run", "workers"},
    "explain": OF_TRAINING | OF_A_TEST | {"short_run", "from"},
    "test": OF_TRAINING,
}
TAKE_A_RUN = ("predict", "explain", "test")  # the latest, where --version bump is left from the line of the training
log = logging.getLogger("commander")


def flag_name(name: str) -> str:
    """A flag as it is typed."""
    return f"--{name.replace('_', '-')}"


def idle(given: Mapping[str, Any], *, charts: bool = True) -> list[str]:
    """The typed flags that the command does not need, in order; `charts` is whether the rows of its run may be
    charts."""
    found: set[str] = set()
    for mode in [mode for mode in MODES if given.get(mode)]:
        if mode in NEEDED:
            found |= given.keys() - NEEDED[mode] - OF_THE_MACHINE - {*MODES}
        else:
            found |= given.keys() & IDLE[mode] - _settings(mode, given)
        if mode in TAKE_A_RUN:
            found |= {"version"} if given.get("version") == "bump" else set()
            found |= {"workers"} & given.keys() if not charts else set()
    return sorted(found)


def _settings(mode: str, given: Mapping[str, Any]) -> set[str]:
    """Flags of the training that an output of the command depends on, where it was asked for."""
    if mode == "test" and given.get("cost"):
        return {"batch_size"}  # the rate in rows a second is measured in such batches
    if mode == "explain" and given.get("explain_random_labels"):
        return set(OF_TRAINING - {"epochs", "patience", "start_epoch"})  # a second network is trained as the run was
    return set()


def needed(given: Mapping[str, Any], *, charts: bool = True) -> dict[str, Any]:
    """What was typed, without the flags that the command ignores."""
    without = idle(given, charts=charts)
    return {name: value for name, value in given.items() if name not in without}


def without_idle(given: Mapping[str, Any], *, charts: bool = True) -> dict[str, Any]:
    """As `needed`, with a line of information where flags are ignored."""
    if found := idle(given, charts=charts):
        command = " ".join(flag_name(mode) for mode in MODES if given.get(mode))
        undone = [flag_name(name) for name in found if name in NOT_DONE]
        told = f"; not done by this command: {', '.join(undone)}" if undone else ""
        names = ", ".join("--version bump" if name == "version" else flag_name(name) for name in found)
        log.info("ignored, %s does not depend on it: %s%s", command, names, told)
    return needed(given, charts=charts)


def complaints(given: Mapping[str, Any]) -> list[str]:
    """Which commands were typed together."""
    asked = [mode for mode in MODES if given.get(mode)]
    return [
        f"{flag_name(one)} and {flag_name(other)} exclude each other"
        for one, other in combinations(asked, 2)
        if (one, other) not in TOGETHER
    ]
