"""A trained run meets its test set: once, with everything decided before; what it showed becomes predictions, figures, report."""

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import args
from loaders import splits
from loaders.base import Data, DataSpec, Split
from toolbox import animation, baselines, cost, detection_report, files, panels, patient_report, plotter, report
from toolbox.errors import CheckpointError
from toolbox.predictions import Predictions
from toolbox.runs import RESULTS, RunFolder
from trainer import Trainer

FIXED = {"classify": "temperature.json", "detect": "threshold.json"}
OF_PATIENTS = (
    "macro_over", "rule", "gross", "average", "interval_method", "intervals", "without_interval", "simulated_coverage",
    "influence", "calibration",
)  # fmt: skip
NO_PATIENTS = "figures by patient need rows that all name their record, of which one has several; macro_f1 is over all classes"
log = logging.getLogger("commander")


def test(flags: SimpleNamespace, trainer: Trainer, run: RunFolder, which: str) -> dict[str, Any]:
    """Predict the test split with the weights that are loaded; write predictions, figures, report and, for the best, results."""
    if trainer.best is None:
        raise CheckpointError("no epoch of this run is complete yet", where=str(run.path), hint="--resume latest")
    history = run.read_history()
    if not history:
        raise CheckpointError("logger.json has no epoch", where=str(run.path), hint="--resume latest")
    if not run.writable:
        with TemporaryDirectory(prefix="ecg-test-") as folder:
            return _test(SimpleNamespace(**{**vars(flags), "no_figures": True}), trainer, run, Path(folder), which, history)
    folder = run / "pred" if which == "best" else run / "pred" / which
    folder.mkdir(exist_ok=True)
    return _test(flags, trainer, run, folder, which, history)


def _test(
    flags: SimpleNamespace, trainer: Trainer, run: RunFolder, folder: Path, which: str, history: list[dict[str, Any]]
) -> dict[str, Any]:
    """The test with its files in `folder`; what stands beside it in the run folder is written where that may be."""
    data, title = trainer.data, f"{run.path.name}, {which} checkpoint"
    if flags.short_run:
        title += " (a short run: trained on 10 batches an epoch)"
    seen = trainer.predict(data.val) if len(data.val) else None
    val, fixed = (trainer.task.measure(seen), trainer.task.fixed(seen)) if seen else ({}, {})
    if fixed and run.writable:
        files.write_json((run.path if which == "best" else folder) / FIXED[flags.task], fixed)
    costs = _costs(flags, trainer)
    overrides = run.read_json("config.json").get("overrides", [])
    predictions = trainer.predict(data.test)  # the test set is opened here, and not before
    how = {"title": title, "remarks": [*_remarks(data, overrides), *cost.said(costs)], "history": history}
    values = REPORTS[flags.task](flags, trainer, folder, predictions, {**fixed, "val": val}, **how)
    best, dropped = trainer.best["epoch"], {"train": data.train.dropped, "test": data.test.dropped}
    facts = {
        "best_epoch": best,
        "split_rule": data.spec.split_rule,
        "shared_rows": len(data.shared_rows),
        "dropped_rows": dropped,
    }
    results = {**facts, **({"overrides": overrides} if overrides else {}), **fixed, "cost": costs, "val": val, "test": values}
    last = history[-1]["epoch"]
    if which != "best":
        results["epoch"] = trainer.epoch
    elif run.writable and (last >= flags.epochs or (flags.patience and last - best >= flags.patience)):
        run.write_json(RESULTS, results)
    sys.stdout.write(json.dumps(files.finite({"run_folder": str(run.path), **results})) + "\n")
    return results


def _costs(flags: SimpleNamespace, trainer: Trainer) -> dict[str, Any]:
    """What the network costs: what is the same every time, and with --cost what has to be measured."""
    model, spec = trainer.model, trainer.data.spec
    measured = cost.time_and_memory(model, spec, batch_size=flags.batch_size) if flags.cost else {}
    return cost.size_and_work(model, spec) | measured


def _remarks(data: Data, overrides: Sequence[dict[str, Any]]) -> list[str]:
    """What stands below the split rule: rows that are on two sides or were dropped, and what changed while it was trained."""
    remarks = [f"shared: {splits.sharing(data.shared_rows, len(data.test))}"]
    if len(data.shared_rows):
        log.warning(remarks[0])
    if data.train.dropped or data.test.dropped:
        remarks.append(f"unusable rows dropped: {data.train.dropped:,} of train, {data.test.dropped:,} of test")
    for note in overrides:
        changes = ", ".join(f"{name} from {before} to {now}" for name, (before, now) in note["changed"].items())
        remarks.append(f"changed after epoch {note['after_epoch']}: {changes}")
    return remarks


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
    how = {"title": title, "remarks": remarks, "scored": spec.scored}
    values = report.write(folder, predictions, before["val"], spec=spec, **how)
    if not flags.no_figures:
        report.draw(folder, predictions, values, history, spec=spec, title=title)
    if _has_patients(predictions.record):
        values["by_patient"] = _by_patient(flags, spec, folder, predictions, before.get("temperature"), title)
    elif flags.macro_over:
        log.warning("--macro-over %s has no effect here: %s", flags.macro_over, NO_PATIENTS)
    if flags.confusion_video:
        path = folder / f"confusion.{flags.confusion_video}"
        animation.save_confusion_video(history, spec.classes, path, title=title)
        animation.save_confusion_page(history, spec.classes, folder / "confusion.html", title=title)
    return values


def _has_patients(record: NDArray[np.str_]) -> bool:
    """Whether every row names its record, and records have more rows than one."""
    return bool((record != "").all()) and len(np.unique(record)) < len(record)


def _by_patient(
    flags: SimpleNamespace, spec: DataSpec, folder: Path, predictions: Predictions, temperature: float | None, title: str
) -> dict[str, Any]:
    """Figures by patient with intervals over records; the table, its text and pictures go into `folder`."""
    macro_over = args.words(flags.macro_over)
    values = patient_report.measure(predictions, spec.classes, macro_over=macro_over, temperature=temperature)
    how = {"protocol": spec.split_rule, "title": title}
    patient_report.write(folder, values, **how)
    if not flags.no_figures:
        patient_report.draw(folder, predictions, values, **how)
    return {name: values[name] for name in OF_PATIENTS}


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
    data, task = trainer.data, trainer.task
    score = baselines.BASELINES[flags.baseline](_flat(data.train))
    baseline = (flags.baseline, score(_flat(data.test)), task.threshold(score(_flat(data.val)))["threshold"])
    how = {"normal": task.normal, "spec": data.spec, "title": title}
    values = detection_report.write(folder, predictions, before, baseline=baseline, remarks=remarks, **how)
    if not flags.no_figures:
        errors = trainer.predict(data.train).loss
        x = data.test.x
        detection_report.draw(
            folder, predictions, errors, before["threshold"], rows=lambda which: (x[which], trainer.outputs(x[which])), **how
        )
        panels.save_panels(plotter.history_panels(history), folder / "history", columns=2, title=title)
    return values


def _flat(split: Split) -> NDArray[np.float32]:
    return split.x.reshape(len(split), -1)


REPORTS = {"classify": _classes, "detect": _anomalies}
