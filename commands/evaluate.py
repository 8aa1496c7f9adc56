"""A trained run meets its test set: once, with everything decided before; what it showed becomes predictions, figures,
report."""

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from loaders import base
from loaders.base import Data, Rows, part_of
from loaders.splits import by_row
from toolbox import files
from toolbox.errors import CheckpointError, DataError
from toolbox.metrics import classification, cost
from toolbox.reports import plots
from toolbox.reports.logger import Board
from toolbox.runs.exposure import Exposure, Overlap
from toolbox.runs.folder import RESULTS, RunFolder
from toolbox.runs.predictions import Predictions
from toolbox.tasks import Tested
from trainer import LOSSES, StepLosses, Trainer

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
    if trainer.best is None:
        raise CheckpointError("no epoch of this run is complete yet", where=str(run.path), hint="--resume latest")
    history = run.read_history()
    if not history:
        raise CheckpointError("logger.json has no epoch", where=str(run.path), hint="--resume latest")
    if not run.writable:
        with files.folder() as folder:
            no_files = SimpleNamespace(**{**vars(flags), "no_figures": True})
            return _test(no_files, trainer, run, folder, which=which, history=history, board=None, exposure=exposure)
    folder = run / "pred" if which == "best" else run / "pred" / which
    folder.mkdir(exist_ok=True)
    return _test(flags, trainer, run, folder, which=which, history=history, board=board, exposure=exposure)


def _test(
    flags: SimpleNamespace,
    trainer: Trainer,
    run: RunFolder,
    folder: Path,
    *,
    which: str,
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
        files.write_json((run.path if which == "best" else folder) / trainer.task.fixed_file, fixed)
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
    tested = Tested(
        folder,
        predictions,
        fixed,
        val,
        history,
        data=data,
        train=part_of(data.train, base.BATCHES * flags.batch_size) if data.whole else data.train,
        predict=trainer.predict,
        outputs=trainer.outputs,
        title=title,
        remarks=remarks,
        figures=not flags.no_figures,
    )
    values = trainer.task.report(tested)
    if not flags.no_figures:
        _draw_losses(run, folder, title)
    best, dropped = trainer.best["epoch"], {"train": data.train.dropped, "test": data.test.dropped}
    facts = {
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
        trainer.task.show(board, predictions, values, step=best if which == "best" else trainer.epoch)
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
