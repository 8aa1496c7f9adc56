"""A trained run meets its test set: once, with everything decided before; what it showed becomes predictions, figures,
report."""

import json
import logging
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import args
from commands import build
from commands.trained import TrainedRun, exposure
from loaders import as_view, base, splits, undivided
from loaders.base import Data, Rows, part_of
from loaders.families.rows import check_told_apart, normal_class
from toolbox import devices, files
from toolbox.errors import CheckpointError, DataError
from toolbox.flags import MACHINE, Flags
from toolbox.metrics import classification, cost
from toolbox.outputs import safe_name
from toolbox.reports import plots, tables
from toolbox.runs import checkpoints
from toolbox.runs.exposure import Exposure, Overlap
from toolbox.runs.folder import HISTORY, RESULTS, RunFolder
from toolbox.runs.predictions import Predictions
from toolbox.tasks import Evaluation
from toolbox.training.recorders import Board
from trainer import LOSSES, StepLosses, Trainer

NAMES = {"val_rows": "validation", "test_rows": "test"}
log = logging.getLogger("commander")


def evaluate(trained: TrainedRun, *, load: Callable[[Flags], Data] = build.load_data) -> None:
    """Test an existing run, with a checkpoint or flags other than those of its own test in a folder of their own."""
    flags, run, aside = trained.flags, trained.run, {"short_run", *args.FLAGS.names(kind=MACHINE)}
    aside |= {*args.FLAGS.names("other-file")} if flags.test_on else set()
    differences = {name: both for name, both in trained.differences.items() if name not in aside}
    trained.permit(differences)
    trained.note_short_run()
    with run.locked_or_read_only(), devices.enough_memory(flags.batch_size):
        path, state = checkpoints.find(run, trained.which)
        if flags.test_on:
            data = _data_to_test_on(trained)
            trainer = trained.restored(_without_training(flags), data, path, state, anew=True)
            name = f"-on-{safe_name(Path(flags.test_on).name)}-{data.checksum[:8]}"
            which, known = _name(trained, differences, "short_run" in trained.typed) + name, Exposure.of_run(run)
        else:
            if (run / HISTORY).exists():
                run.read_history()
            data = load(flags)
            if of_data := trained.of_data(data):
                differences |= of_data
                trained.permit(differences)
            anew = bool(differences) or checkpoints.predates(path, state, trained.config)
            flags = flags.replace(start_epoch=state["epoch"] if anew else flags.start_epoch)
            data = data if differences else trained.ruled(data)
            shortened = "short_run" in trained.differences
            anew = anew or shortened or "imported" in trained.config
            trainer = trained.restored(flags, data, path, state, anew=anew)
            which, known = _name(trained, differences, shortened), exposure(run, trained.config, differences)
        with closing(board) if (board := _board(trained, trainer, which)) else nullcontext():
            _test(flags, trainer, run, which, board=board, exposure=known)


def test_best(flags: Flags, trainer: Trainer, run: RunFolder, *, board: Board | None) -> dict[str, Any]:
    """Test the best weights of a training that has just ended."""
    path = run.checkpoint("best")
    checkpoints.load_weights(trainer.model, checkpoints.load(path)["model"], str(path))
    return _test(flags, trainer, run, "best", board=board, exposure=exposure(run, run.read_json("config.json")))


def _name(trained: TrainedRun, differences: Collection[str], short: bool) -> str:
    return trained.which + "-short" * short + "-override" * bool(differences)


def _board(trained: TrainedRun, trainer: Trainer, which: str) -> Board | None:
    """TensorBoard for a test where --tensorboard is typed with it; any but that of the best checkpoint has its own
    folder.

    None on a root that cannot be written.
    """
    if not (trained.typed.get("tensorboard") and trained.run.writable):
        return None
    folder = trained.run / "tensorboard" / ("" if which == "best" else which)
    return Board(folder, trainer.task.classes, epochs_done=0)


def _data_to_test_on(trained: TrainedRun) -> Data:
    """All rows of the file or dataset of --test-on, ten batches where --short-run is typed, as the test split of the
    run.

    A detector has its own rows beside them, to be fitted to.
    """
    flags, spec = trained.flags, trained.spec
    typed = [name for name in args.FLAGS.names("other-file") if name in trained.typed]
    data = undivided.load(
        flags.test_on,
        flags.root_dir,
        dataset=spec.name,
        spec=spec,
        options=build.family_options(flags),
        seed=build.split_seed(flags),
        bad_rows=flags.bad_rows,
        typed=typed,
    )
    short, chart = build.short_batch(flags) if "short_run" in trained.typed else None, build.chart_options(flags)
    data = as_view(data, flags.root_dir, flags.view, chart, workers=flags.workers, short_batch=short)
    if flags.task != "detect":
        return data
    normal = normal_class(spec.classes, flags.normal_class)
    check_told_apart(data.test, spec.classes, normal, flags.test_on)
    stored = {name: trained.config["flags"].get(name) for name in typed}
    own = build.load_data(flags.replace(**stored))
    for before, now in trained.of_data(own).values():
        what = f"{build.CHECKSUM} is {now}, the run has {before}"
        hint = "the run's own data: a detector is compared with a baseline fitted to them"
        raise DataError(what, where=str(trained.run.path), hint=hint)
    return replace(own, spec=data.spec, open_test=data.open_test, checksum=data.checksum)


def _without_training(flags: Flags) -> Flags:
    """The flags without those that need the rows a run was trained on."""
    if flags.task == "detect":
        return flags
    return flags.replace(sampler=None, class_balance=None, class_weights=None, scheduler="none")


def _test(
    flags: Flags, trainer: Trainer, run: RunFolder, which: str, *, board: Board | None, exposure: Exposure | None
) -> dict[str, Any]:
    """Predict the test split with the weights that are loaded; write predictions, figures, report and, for the best,
    results.

    The metrics go to `board` too, where there is one. Where the test rows are not those of the run's own split,
    `exposure` is what the run was trained and validated on.
    """
    if trainer.best is None:
        raise CheckpointError("no epoch of this run is complete yet", where=str(run.path), hint="--resume latest")
    history = run.read_history()
    if not history:
        raise CheckpointError("logger.json has no epoch", where=str(run.path), hint="--resume latest")
    told = {"which": which, "history": history, "exposure": exposure}
    if not run.writable:
        with files.folder() as folder:
            no_files = flags.replace(no_figures=True)
            return _report(no_files, trainer, run, folder, board=None, **told)
    folder = run / "pred" if which == "best" else run / "pred" / which
    folder.mkdir(exist_ok=True)
    return _report(flags, trainer, run, folder, board=board, **told)


def _report(
    flags: Flags,
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
    remarks = [
        *_remarks(data, overrides, overlap, short),
        *(f"doubt: {doubt}" for doubt in doubts),
        *tables.of_costs(costs),
    ]
    train = part_of(data.train, base.BATCHES * flags.batch_size) if data.whole else data.train
    functions = {"predict": trainer.predict, "outputs": trainer.outputs}
    told = {"title": title, "remarks": remarks, "figures": not flags.no_figures}
    tested = Evaluation(folder, predictions, fixed, val, history, data=data, train=train, **functions, **told)
    values = trainer.task.report(tested)
    if not flags.no_figures:
        _draw_losses(run, folder, title)
    best, dropped = trainer.best["epoch"], {"train": data.train.dropped, "test": data.test.dropped}
    results = {
        "best_epoch": best,
        "split_rule": data.spec.split_rule,
        "shared_rows": overlap.shared if overlap else len(data.shared_rows),
        **({"trained_on": overlap.as_dict()} if overlap else {}),
        "dropped_rows": dropped,
        **({"covers": data.covers} if data.whole else {}),
        **({"doubts": doubts} if doubts else {}),
        **({"overrides": overrides} if overrides else {}),
        **fixed,
        "cost": costs,
        "val": val,
        "test": values,
    }
    if board:
        trainer.task.show(board, predictions, values, step=best if which == "best" else trainer.epoch)
    if which != "best":
        results["epoch"] = trainer.epoch
    last = history[-1]["epoch"]
    finished = last >= flags.epochs or (flags.patience and last - best >= flags.patience)
    if run.writable and (which != "best" or finished):
        files.write_json((run.path if which == "best" else folder) / RESULTS, results)
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


def _overlap(flags: Flags, test: Rows, exposure: Exposure | None) -> Overlap | None:
    """Which of the test rows the run knew, which is warned about; with --strict-split a DataError."""
    overlap = exposure.overlap(test) if exposure else None
    if overlap and flags.strict_split and overlap.shared:
        raise DataError(
            overlap.sentence, where=flags.test_on or "", hint="take these rows out, or leave --strict-split out"
        )
    if overlap and (overlap.any or overlap.shared is None):
        log.warning(overlap.sentence)
    return overlap


def _costs(flags: Flags, trainer: Trainer) -> dict[str, Any]:
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
        remarks += [f"shared: {splits.sharing(data.shared_rows, len(data.test))}"]
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
