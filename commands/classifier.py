"""A trained run as what classifies the beats of any recording: network, weights, and how its rows were cut.

classifier = load(trained)
scores, upright = classifier.scores(leads, peaks)    # (N, K)
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from commands import build
from commands.trained import TrainedRun
from loaders.base import DataSpec
from loaders.families import row_forms
from loaders.formats.recording import Lead
from models import get_model
from toolbox import devices, schema
from toolbox.errors import CheckpointError, UsageError
from toolbox.metrics import calibration
from toolbox.runs import checkpoints
from toolbox.runs.folder import RunFolder
from toolbox.tasks import Classify, decided
from trainer import PREDICT_ROWS

log = logging.getLogger("commander")


@dataclass(frozen=True)
class Classifier:
    """The weights of a run's `checkpoint` and all that its rows are made by.

    `records` are those that its weights ("train") and its epoch ("val") were chosen on, None where the run does not
    say.
    """

    run: RunFolder
    checkpoint: str
    epoch: int
    spec: DataSpec
    form: row_forms.RowForm
    model: torch.nn.Module
    device: torch.device
    decision: torch.Tensor | None
    temperature: float
    label_map: str | None
    records: dict[str, list[str]] | None

    @torch.inference_mode()
    def scores(self, leads: Sequence[Lead], peaks: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Probabilities (N, K) of the beats at `peaks` (N,), and whether each points up in the first lead (N,)."""
        features = torch.from_numpy(row_forms.features(self.spec.features, self.form, leads, peaks))
        scores = [np.empty((0, len(self.spec.classes)), np.float32)]
        upright: list[NDArray[np.bool_]] = []
        for first, x in _batches(row_forms.rows(self.form, leads, peaks), upright):
            inputs = [torch.from_numpy(x), *([features[first : first + len(x)]] if self.spec.features else [])]
            outputs = self.model(*(each.to(self.device) for each in inputs))
            scores.append(decided(outputs, self.decision).softmax(1).cpu().numpy())
        probabilities = np.concatenate(scores)
        if self.temperature != 1:
            probabilities = calibration.apply(probabilities, self.temperature).astype(np.float32)
        return probabilities, np.concatenate([*upright, np.empty(0, bool)])


def _batches(
    parts: Iterable[tuple[NDArray[np.float32], NDArray[np.bool_]]], upright: list[NDArray[np.bool_]]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Rows in batches of one size, which torch prepares itself for once and keeps in memory for each; and the first row
    of each.

    What else comes with the parts is added to `upright`.
    """
    first, kept = 0, []
    for x, up in parts:
        upright.append(up)
        kept.append(x)
        while sum(map(len, kept)) >= PREDICT_ROWS:
            together = np.concatenate(kept)
            yield first, together[:PREDICT_ROWS]
            first, kept = first + PREDICT_ROWS, [together[PREDICT_ROWS:]]
    if sum(map(len, kept)):
        yield first, np.concatenate(kept)


def load(trained: TrainedRun) -> Classifier:
    """The classifier of a run, from its config.json and the checkpoint that --resume names, else the best.

    Raises UsageError for a run that no recording can be cut for or that is typed otherwise, CheckpointError.
    """
    run, flags, which, spec = trained.run, trained.flags, trained.which, trained.spec
    trained.check_unchanged()
    if spec.image:
        what = "--predict reads recordings as signals, this run was trained on charts"
        raise UsageError(what, where=str(run.path), hint="a run that was trained without --view chart")
    form = row_forms.form_of(spec.name, build.options_for(spec.name, flags))
    if flags.task != "classify":
        what = "--predict tells classes of beats apart, this run only knows which are not normal"
        raise UsageError(what, where=str(run.path), hint="a run that was trained with --task classify")
    trained.note_short_run()
    if trained.typed.get("calibrate") and not (run / _temperature_file(which)).exists():
        what = "--calibrate: this run has no temperature, so that its probabilities are as it was trained"
        raise UsageError(what, where=str(run.path), hint="--test --calibrate first, or leave it out")
    path, state = checkpoints.find(run, which)
    device = build.device_of(flags)
    with devices.enough_memory(PREDICT_ROWS):
        model = get_model(flags.model_name, spec, model_args=flags.model_args, members=flags.members).to(device).eval()
    checkpoints.load_weights(model, state["model"], str(path))
    decision = build.by_class(flags.decision_weights, spec.classes, flag="--decision-weights")
    records = {side: trained.config["data"].get(f"{side}_records") for side in ("train", "val")}
    return Classifier(
        run=run,
        checkpoint=which,
        epoch=state["epoch"],
        spec=spec,
        form=form,
        model=model,
        device=device,
        decision=None if decision is None else decision.to(device),
        temperature=_temperature(run, which, fitted=flags.calibrate),
        label_map=flags.label_map,
        records=None if None in records.values() else records,
    )


def _temperature(run: RunFolder, which: str, *, fitted: bool) -> float:
    """That which a test of this checkpoint fitted on validation; 1 of a run whose probabilities are not to be
    calibrated."""
    name = _temperature_file(which)
    test = f"--test --resume {which} to fit it"
    if not (run / name).exists():
        if fitted and which == "best":
            what = "the temperature is missing, and the run was trained with --calibrate"
            raise CheckpointError(what, where=str(run / name), hint=test)
        if fitted:
            log.warning("the probabilities of this checkpoint are not calibrated; %s", test)
        return 1.0
    found = run.read_json(name)
    if why := schema.misfit(found, {"temperature": schema.Number(calibration.COLDEST, calibration.HOTTEST)}):
        raise CheckpointError(f"{name}: {why}", where=str(run / name), hint=test)
    return float(found["temperature"])


def _temperature_file(which: str) -> str:
    """The name of the file in a run folder that has the temperature of a checkpoint."""
    name = Classify.fixed_file
    return name if which == "best" else f"pred/{which}/{name}"
