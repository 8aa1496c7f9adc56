"""Decisions of a classifier on new rows and recordings, from the values that validation fixed, as in the run's test.

decisions.columns(network, scores)    # the predicted class, or classes, and a probability of each class
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from commands.trained import TrainedNetwork
from toolbox.errors import CheckpointError
from toolbox.metrics import platt
from toolbox.runs.folder import CONFIG, RunFolder
from toolbox.runs.predictions import joined
from toolbox.tasks import Classify

Array = NDArray[Any]
PREDICTED = "predicted"  # the column; of many labels the names have ";" between them


def classifies(network: TrainedNetwork) -> bool:
    return network.flags.task == Classify.name


def columns(network: TrainedNetwork, scores: NDArray[np.float32]) -> dict[str, Array]:
    """The columns, each (N,), of `scores` (N, K) as trained: predicted classes, and the calibrated probabilities.

    The decision comes before the calibration, which may round two values to one.
    """
    names = np.array(network.spec.classes)
    many = network.spec.many_labels
    predicted = joined(scores >= network.thresholds, names) if many else names[scores.argmax(1)]
    found = network.calibrated(scores)
    return {PREDICTED: predicted} | {f"p_{name}": found[:, k] for k, name in enumerate(network.spec.classes)}


def facts(network: TrainedNetwork) -> dict[str, Any]:
    """The values that validation fixed, thresholds as those of the calibrated probabilities, and the classes of a
    classifier."""
    fixed = {name: value for name, value in network.fixed.items() if name != "validation_rows"}
    if lines := fixed.get("calibration"):
        fixed["thresholds"] = platt.calibrated(network.thresholds, lines).tolist()
    return ({"classes": list(network.spec.classes)} if classifies(network) else {}) | fixed


def check_fixed(network: TrainedNetwork, run: RunFolder | None) -> None:
    """Raise CheckpointError without a value of validation that the network needs; `run` is None for an export."""
    if lacking := _lacking(network, run):
        hint = f"--test --resume {network.checkpoint} to fix it on the validation rows"
        raise CheckpointError(f"the {lacking} missing", where=str(network.origin), hint=hint)


def _lacking(network: TrainedNetwork, run: RunFolder | None) -> str:
    """The value that the network needs and lacks, "" for none; a run without validation needs none."""
    if not classifies(network):
        return "" if "threshold" in network.fixed else "threshold is"
    if not network.spec.many_labels or "thresholds" in network.fixed:
        return ""
    validated = run is not None and run.read_json(CONFIG)["data"].get("val_rows")
    return "thresholds of the classes are" if validated else ""
