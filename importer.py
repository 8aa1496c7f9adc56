"""A checkpoint of the older tool becomes a run of this program, to be tested like any other."""

import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import assembly
import choices
from toolbox import checkpoints, legacy
from toolbox.errors import CheckpointError
from toolbox.files import finite
from toolbox.metrics import METRICS
from toolbox.predictions import Predictions
from toolbox.runs import RunFolder
from toolbox.tasks import LAST
from trainer import Trainer

log = logging.getLogger("commander")
RULE = (
    "the weights are the older tool's, which saw validation and test rows when it trained or chose its epoch, "
    "so that the figures flatter them"
)


def import_legacy(flags: SimpleNamespace, given: Mapping[str, Any]) -> None:
    """Make a new run of the file that --import-legacy names: its weights, measured on validation, and where they came
    from."""
    path = Path(flags.import_legacy)
    old = legacy.read(path)
    flags.model_name = given.get("model_name", old.network)
    flags.dataset = flags.dataset or str(old.flags.get("dataset", "ecg"))
    flags.epochs = old.epoch  # the run is complete
    choices.settle(flags)
    data = assembly.load_data(flags)
    flags.batch_size = assembly.batch_size(flags, data)
    trainer = assembly.build(flags, data.ruled(f"{data.spec.split_rule}; {RULE}"))
    predictions = take_over(trainer, old, flags.model_name, str(path))
    run = RunFolder.claim(flags.root_dir, flags.dataset, flags.model_name, flags.version or "bump")
    origin = {"file": path.name, "sha256": old.sha256, "epoch": old.epoch, "flags": old.flags}
    with run.locked():
        run.write_json("config.json", assembly.describe(flags, given, trainer) | {"imported": origin})
        run.write_json("logger.json", trainer.history)
        predictions.save(run / "res" / f"epoch{old.epoch}.npz")
        checkpoints.save(run, trainer.state_dict(), is_best=True, epoch_done=True)
    log.info("%s, epoch %d, is in %s", flags.model_name, old.epoch, run.path)
    log.info("it can be tested, not trained on: the older tool keeps no optimizer state")
    log.warning(RULE)
    sys.stdout.write(json.dumps(finite({"run_folder": str(run.path), "val": trainer.history[0]["val"]})) + "\n")


def take_over(trainer: Trainer, old: legacy.Legacy, name: str, where: str) -> Predictions:
    """Put the old weights into the trainer's network, called `name`, as an epoch that nobody saw here but on
    validation.

    Returns what the network says of validation; a network or classes of other shapes are a CheckpointError.
    """
    spec = trainer.data.spec
    if old.classes != len(spec.classes):
        differ = f"has {old.classes} classes, {spec.name} has {len(spec.classes)}: {', '.join(spec.classes)}"
        raise CheckpointError(f"the file's {old.network} {differ}", where=where, hint="the --dataset it was trained on")
    if differ := checkpoints.differences(trainer.model, old.weights):
        what = f"the file's {old.network} does not fit {name} on {spec.name}: {differ}"
        raise CheckpointError(what, where=where, hint=f"--model-name {old.network}, or a new training")
    trainer.model.load_state_dict(old.weights)
    predictions = trainer.predict(trainer.data.val)
    val = trainer.task.measure(predictions)
    trainer.epoch, trainer.best = (
        old.epoch,
        {"epoch": old.epoch, "value": {**val, LAST: old.epoch}[trainer.task.monitor]},
    )
    unseen = {**dict.fromkeys(("lr", "seconds", "samples_per_s")), "train": dict.fromkeys(METRICS)}
    trainer.history = [{"epoch": old.epoch, **unseen, "val": val}]
    return predictions
