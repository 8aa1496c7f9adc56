"""A trained run meets its test set: once, with everything decided before; what it showed becomes predictions, figures,
report."""

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

import args
from loaders import base
from loaders.base import Data, Rows, part_of
from loaders.splits import by_row
from toolbox import files
from toolbox.errors import CheckpointError, DataError
from toolbox.metrics import bootstrap, classification, cost
from toolbox.reports import animation, classify, classify_patients, detect, plots
from toolbox.reports.logger import Board
from toolbox.runs.exposure import Exposure, Overlap
from toolbox.runs.folder import RESULTS, RunFolder
from toolbox.runs.predictions import Predictions
from toolbox.tasks import Detect
from toolbox.training import baselines
from trainer import LOSSES, StepLosses, Trainer

FIXED = {"classify": "temperature.json", "detect": "threshold.json"}
OF_PATIENTS = (
    "macro_over", "rule", "gross", "average", "interval_method", "intervals", "without_interval", "simulated_coverage",
    "influence", "calibration", "from_s", "beats_left_out",
)  # fmt: skip
NO_PATIENTS = (
    "figures by patient need rows that all name their record, of which one has several; macro_f1 is over all classes"
)
NAMES = {"val_rows": "validation", "test_rows": "test"}
log = logging.getLogger("commander")


def test(
    flags: SimpleNamespace,
    trainer: Trainer,
    run: RunFolder,
    which: str,
    *,
    board: Board | None,
    exposure: Exposure | None,
) -> dict[str, Any]:
    """Predict the test split with the weights that are loaded; write predictions, figures, report and, for the best,
    results.

    What the test showed goes to `board` too, where there is one. Where the test rows are not those of the run's own
    split, `exposure` says what the run was trained and validated on.
    """
    if (best := trainer.best_epoch) is None:
        raise CheckpointError("no epoch of this run is complete yet", where=str(run.path), hint="--resume latest")
    history = run.read_history()
    if not history:
        raise CheckpointError("logger.json has no epoch", where=str(run.path), hint="--resume latest")
    if not run.writable:
        with files.folder() as folder:
            no_files = SimpleNamespace(**{**vars(flags), "no_figures": True})
            return _test(
                no_files, trainer, run, folder, which=which, best=best, history=history, board=None, exposure=exposure
            )
    folder = run / "pred" if which == "best" else run / "pred" / which
    folder.mkdir(exist_ok=True)
    return _test(flags, trainer, run, folder, which=which, best=best, history=history, board=board, exposure=exposure)


def _test(
    flags: SimpleNamespace,
    trainer: Trainer,
    run: RunFolder,
    folder: Path,
    *,
    which: str,
    best: int,
    history: list[dict[str, Any]],
    board: Board | None,
    exposure: Exposure | None,
) -> dict[str, Any]:
    """The test with its files in `folder`; what stands beside it in the run folder is written where that may be."""
    data, title = trainer.data, f"{run.path.name}, {which.partition('-on-')[0]} checkpoint"
    if flags.test_on:
        title += f" on {Path(flags.test_on).name}"
    config = run.read_json("config.json")
    overrides = config.get("overrides", [])
    short = "a short run" if config["flags"].get("short_run") else "a short test"
    if data.whole:
        title += f" ({short})"
    seen = trainer.predict(data.val) if len(data.val) else _validated(run, trainer.epoch)
    val, fixed = (trainer.task.measure(seen), trainer.task.fixed(seen)) if seen else ({}, {})
    if fixed and run.writable:
        files.write_json((run.path if which == "best" else folder) / FIXED[flags.task], fixed)
    costs = _costs(flags, trainer)
    test = data.test  # the test set is opened here, and not before
    overlap = _overlap(flags, test, exposure)
    if overlap:
        data = replace(
            data, spec=replace(data.spec, split_rule=overlap.rule(data.spec.split_rule)), open_test=lambda: test
        )
        trainer.data = data
    predictions = trainer.predict(test)
    doubts = [found] if (found := memorised(history)) else []
    remarks = [*_remarks(data, overrides, overlap, short), *(f"doubt: {doubt}" for doubt in doubts), *cost.said(costs)]
    report, before = REPORTS[flags.task], {**fixed, "val": val}
    values = report(flags, trainer, folder, predictions, before, title=title, remarks=remarks, history=history)
    if not flags.no_figures:
        _draw_losses(run, folder, title)
    dropped = {"train": data.train.dropped, "test": data.test.dropped}
    facts: dict[str, Any] = {
        "best_epoch": best,
        "split_rule": data.spec.split_rule,
        "shared_rows": overlap.shared if overlap else len(data.shared_rows),
        **({"trained_on": overlap.as_dict()} if overlap else {}),
        "dropped_rows": dropped,
    }
    facts |= ({"covers": data.covers} if data.whole else {}) | ({"doubts": doubts} if doubts else {})
    results = {
        **facts,
        **({"overrides": overrides} if overrides else {}),
        **fixed,
        "cost": costs,
        "val": val,
        "test": values,
    }
    if board:
        SHOWN[flags.task](board, trainer, predictions, values, step=best if which == "best" else trainer.epoch)
    last = history[-1]["epoch"]
    if which != "best":
        results["epoch"] = trainer.epoch
        if run.writable:
            files.write_json(folder / RESULTS, results)
    elif run.writable and (last >= flags.epochs or (flags.patience and last - best >= flags.patience)):
        run.write_json(RESULTS, results)
    sys.stdout.write(json.dumps(files.finite({"run_folder": str(run.path), **results})) + "\n")
    return results


def _draw_losses(run: RunFolder, folder: Path, title: str) -> None:
    """The loss of every step of the training as a figure, where the run has kept it."""
    try:
        losses = StepLosses.load(run / LOSSES).arrays() if (run / LOSSES).exists() else {}
    except ValueError as error:
        log.warning("no figure of the loss of every step: %s", error)
        return
    if losses and len(losses["loss"]):
        plots.save_panels(plots.loss_panels(**losses), folder / LOSSES.partition(".")[0], columns=1, title=title)


def _validated(run: RunFolder, epoch: int) -> Predictions | None:
    """What validation gave in an epoch, where its rows are not at hand."""
    path = run / "res" / f"epoch{epoch}.npz"
    return Predictions.load(path) if path.exists() else None


def _overlap(flags: SimpleNamespace, test: Rows, exposure: Exposure | None) -> Overlap | None:
    """Which of the test rows the run knew, which is warned about; with --strict-split a DataError."""
    overlap = exposure.overlap(test) if exposure else None
    if overlap and flags.strict_split and overlap.shared:
        raise DataError(
            overlap.sentence, where=flags.test_on or "", hint="take these rows out, or leave --strict-split out"
        )
    if overlap and (overlap.any or overlap.shared is None):
        log.warning(overlap.sentence)
    return overlap


def _costs(flags: SimpleNamespace, trainer: Trainer) -> dict[str, Any]:
    """What the network costs: what is the same every time, and with --cost what has to be measured."""
    model, spec = trainer.model, trainer.data.spec
    measured = cost.times(model, spec, batch_size=flags.batch_size) if flags.cost else {}
    return cost.size_and_work(model, spec) | measured


def _remarks(data: Data, overrides: Sequence[dict[str, Any]], overlap: Overlap | None, short: str) -> list[str]:
    """What stands below the split rule: rows that are on two sides or were dropped, and what changed while it was
    trained.

    `short` names what covers only a part of its rows.
    """
    trained = ", trained on ten batches an epoch" if short == "a short run" else ""
    remarks = [f"{short}: {_covered(data.covers)}{trained}"] if data.whole else []
    if not overlap:
        remarks += [f"shared: {by_row.sharing(data.shared_rows, len(data.test))}"]
        if len(data.shared_rows):
            log.warning(remarks[-1])
    if data.train.dropped or data.test.dropped:
        remarks.append(f"unusable rows dropped: {data.train.dropped:,} of train, {data.test.dropped:,} of test")
    for note in overrides:
        changes = ", ".join(f"{name} from {before} to {now}" for name, (before, now) in note["changed"].items())
        remarks.append(f"changed after epoch {note['after_epoch']}: {changes}")
    return remarks


def _covered(covers: dict[str, list[int]]) -> str:
    """How much of validation and test the figures cover."""
    parts = [f"{part:,} of {whole:,} {NAMES[side]} rows" for side, (part, whole) in covers.items() if whole]
    return f"the figures cover {' and '.join(parts)}"


def memorised(history: Sequence[dict[str, Any]]) -> str | None:
    """A sentence where the accuracy on the training rows of the last epoch is near 1 and validation is at chance, else
    None."""
    matrices = [history[-1][side].get("confusion_matrix") for side in ("train", "val")] if history else [None]
    return (
        None
        if any(matrix is None for matrix in matrices)
        else classification.memorised(*(np.array(matrix) for matrix in matrices))
    )


def _classes(
    flags: SimpleNamespace,
    trainer: Trainer,
    folder: Path,
    predictions: Predictions,
    before: dict[str, Any],
    *,
    title: str,
    remarks: Sequence[str],
    history: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Metrics, report and figures of a classifier; `before` is what validation showed."""
    spec = trainer.data.spec
    values = classify.write(
        folder, predictions, before["val"], spec=spec, title=title, remarks=remarks, scored=spec.scored
    )
    if not flags.no_figures:
        classify.draw(folder, predictions, values, history, spec=spec, title=title)
    if bootstrap.several_rows_a_record(predictions.record):
        values |= _by_patient(flags, trainer.data, folder, predictions, before.get("temperature"), title)
    elif flags.macro_over:
        log.warning("--macro-over %s has no effect here: %s", flags.macro_over, NO_PATIENTS)
    if flags.confusion_video:
        animation.save_confusion_video(history, spec.classes, folder / "confusion.gif", title=title)
        animation.save_confusion_page(history, spec.classes, folder / "confusion.html", title=title)
    return values


def _by_patient(
    flags: SimpleNamespace, data: Data, folder: Path, predictions: Predictions, temperature: float | None, title: str
) -> dict[str, Any]:
    """Figures by patient with intervals over records; the table, its text and pictures go into `folder`."""
    spec, start_s = data.spec, args.seconds(getattr(flags, "from"))
    scored = predictions.of(data.test_times_s(predictions.index) >= start_s) if start_s else predictions
    if not len(scored.index):
        log.warning("no test beat is at or after --from %s: there are no figures by patient", getattr(flags, "from"))
        return {}
    macro_over = args.words(flags.macro_over)
    values = classify_patients.measure(scored, spec.classes, macro_over=macro_over, temperature=temperature)
    values |= {"from_s": start_s, "beats_left_out": len(predictions.index) - len(scored.index)}
    how = {"protocol": spec.split_rule, "title": title}
    classify_patients.write(folder, values, **how)
    if not flags.no_figures:
        classify_patients.draw(folder, scored, values, **how)
    return {"by_patient": {name: values[name] for name in OF_PATIENTS}}


def _anomalies(
    flags: SimpleNamespace,
    trainer: Trainer,
    folder: Path,
    predictions: Predictions,
    before: dict[str, Any],
    *,
    title: str,
    remarks: Sequence[str],
    history: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Figures at the threshold that `before` fixed, beside a baseline fitted to the same rows; report and pictures."""
    data, task = trainer.data, cast(Detect, trainer.task)
    train = part_of(data.train, base.BATCHES * flags.batch_size) if data.whole else data.train
    score = baselines.BASELINES[flags.baseline](_flat(train))
    baseline = (flags.baseline, score(_flat(data.test)), task.threshold(score(_flat(data.val)))["threshold"])
    values = detect.write(
        folder, predictions, before, baseline=baseline, normal=task.normal, spec=data.spec, title=title, remarks=remarks
    )
    if not flags.no_figures:
        errors = trainer.predict(train).loss
        x = data.test.x
        detect.draw(
            folder,
            predictions,
            errors,
            before["threshold"],
            rows=lambda which: (x[which], trainer.outputs(x[which])),
            normal=task.normal,
            spec=data.spec,
            title=title,
        )
        plots.save_panels(plots.history_panels(history), folder / "history", columns=2, title=title)
    return values


def _flat(split: Rows) -> NDArray[np.float32]:
    return split.x.reshape(len(split), -1)


def _show_classes(
    board: Board, trainer: Trainer, predictions: Predictions, values: dict[str, Any], *, step: int
) -> None:
    """The test of a classifier on TensorBoard."""
    matrix = np.array(values["confusion_matrix"])
    figures = _floats(values) | {
        f"{name}/{part}": of for name, parts in values["per_class"].items() for part, of in _floats(parts).items()
    }
    board.test(
        figures, predictions, step=step, curves=trainer.task.classes, matrix=matrix, classes=trainer.task.classes
    )


def _show_anomalies(
    board: Board, trainer: Trainer, predictions: Predictions, values: dict[str, Any], *, step: int
) -> None:
    """The test of a detector on TensorBoard; rows without labels have no curve and no matrix."""
    ranked, matrix = detect.ranked(predictions, cast(Detect, trainer.task).normal, values["threshold"])
    curves = () if matrix is None else detect.CLASSES[:1]
    board.test(_floats(values), ranked, step=step, curves=curves, matrix=matrix, classes=detect.CLASSES)


def _floats(values: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in values.items() if isinstance(value, float)}


REPORTS = {"classify": _classes, "detect": _anomalies}
SHOWN = {"classify": _show_classes, "detect": _show_anomalies}
