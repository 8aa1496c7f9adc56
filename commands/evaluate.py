"""--test: predictions, figures, report and results of a trained run on its test split."""

import logging
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import args
from commands import build, probe, report
from commands.trained import TrainedRun, exposure
from loaders import as_view, base, undivided
from loaders.base import Data, Rows, part_of
from loaders.families.rows import check_told_apart, normal_class
from loaders.splits import sharing
from models import ENCODERS
from toolbox import devices, files, terminal
from toolbox.errors import CheckpointError, DataError
from toolbox.flags import MACHINE, Flags, words
from toolbox.metrics import classification, cost
from toolbox.reports import pages, plots, tables
from toolbox.reports.run import ending
from toolbox.reports.run.report import PAGE, Facts
from toolbox.runs import checkpoints, outcome
from toolbox.runs import transfer as tests_on
from toolbox.runs.exposure import Exposure, Overlap
from toolbox.runs.folder import CONFIG, RESULTS, RunFolder
from toolbox.runs.outputs import safe_name
from toolbox.runs.predictions import Predictions
from toolbox.tasks import Evaluation
from toolbox.tasks.classify_labels import ClassifyLabels
from toolbox.training import transfer
from toolbox.training.recorders import BY_DEFAULT, LOSSES, Recorders, StepLosses
from trainer import Trainer

NAMES = {"val_rows": "validation", "test_rows": "test"}
log = logging.getLogger("commander")


def evaluate(trained: TrainedRun, *, load: Callable[[Flags], Data] = build.load_data) -> None:
    """Test an existing run; a test with another checkpoint or other flags has its own folder."""
    flags, run, aside = trained.flags, trained.run, {"short_run", *args.FLAGS.names(kind=MACHINE)}
    aside |= {*args.FLAGS.names("other-file")} if flags.test_on else set()
    differences = {name: both for name, both in trained.differences.items() if name not in aside}
    trained.permit(differences)
    trained.note_short_run()
    with run.locked_or_read_only(), devices.enough_memory(flags.batch_size):
        if flags.test_on:
            path, state = checkpoints.find(run, trained.which)
            data, bare = _data_to_test_on(trained), flags
            if flags.task != "detect":  # these need the run's own training rows
                bare = flags.replace(sampler=None, class_balance=None, class_weights=None, scheduler="none")
            facts = {name: getattr(trained.spec, name) for name in ("classes", "importance")}
            whole = replace(data, spec=replace(data.spec, **facts))  # sizes the network
            trainer = trained.restored(bare, whole, path, state, reinitialise=True)
            trainer.data = data
            if isinstance(trainer.task, ClassifyLabels) and data.spec.classes != trained.spec.classes:
                trainer.task = trainer.task.among(data.spec.classes)
            name = f"-on-{safe_name(Path(flags.test_on).name)}-{data.checksum[:8]}"
            which = _name(trained, differences, "short_run" in trained.typed) + name
            known: Exposure | None = Exposure.of_run(run)
        else:
            shortened = "short_run" in trained.differences
            flags, trainer, _ = trained.reopened(load, differences, reinitialise=shortened)
            which, known = _name(trained, differences, shortened), exposure(run, trained.config, differences)
        with _recorders(trained, trainer, which) as recorders:
            _test(flags, trainer, run, which, recorders=recorders, exposure=known)
        if flags.test_on and run.writable:
            _compare(flags, run)


def _compare(flags: Flags, run: RunFolder) -> None:
    """Show the run's tests on its own and on other data as one table, and write those of all runs into the root."""
    tests_on.save(flags.root_dir)
    if not (tests := tests_on.of_run(run.path)):
        return
    lines = [f"{run.path.name} on its own and on other data", ""]
    text = tables.text([*lines, *tables.aligned(tables.OF_TESTS, tables.of_tests(tests)), ""])
    tables.save_report(run / "transfer.txt", text)
    if terminal.is_terminal(sys.stdout) and not flags.json:
        sys.stdout.write(f"{text}\n")
    if (run / PAGE).exists():
        report.write(run, run / outcome.TEST, run / PAGE, root=flags.root_dir, alone=flags.self_contained)


def test_best(flags: Flags, trainer: Trainer, run: RunFolder, *, recorders: Recorders) -> dict[str, Any]:
    """Test the best weights at the end of a training."""
    path = run.checkpoint("best")
    checkpoints.load_weights(trainer.model, checkpoints.load(path)["model"], str(path))
    return _test(flags, trainer, run, "best", recorders=recorders, exposure=exposure(run, run.read_json(CONFIG)))


def _name(trained: TrainedRun, differences: Collection[str], short: bool) -> str:
    return trained.which + "-short" * short + "-override" * bool(differences)


def _recorders(trained: TrainedRun, trainer: Trainer, which: str) -> Recorders:
    """TensorBoard if --tensorboard is typed, and those of --log-to, typed or of the training; none in a run that is
    read-only. Other checkpoints than the best, and other data, have names of their own."""
    also = words(trained.flags.log_to) or []
    names = [BY_DEFAULT] * bool(trained.typed.get("tensorboard")) + also if trained.run.writable else []
    about = build.about(trained.flags, trainer, trained.run)
    optional = [BY_DEFAULT] if "log_to" in trained.typed else [BY_DEFAULT, *also]
    return Recorders.opened(names, about, within="" if which == "best" else which, optional=optional)


def _data_to_test_on(trained: TrainedRun) -> Data:
    """All rows of the file or dataset of --test-on as the test split of the run, ten batches with a typed --short-run.

    A detector also gets its own training rows, for its baseline.
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
        hint = "the run's own data, to fit the baseline of a detector"
        raise DataError(what, where=str(trained.run.path), hint=hint)
    return replace(own, spec=data.spec, open_test=data.open_test, checksum=data.checksum)


def _test(
    flags: Flags, trainer: Trainer, run: RunFolder, which: str, *, recorders: Recorders, exposure: Exposure | None
) -> dict[str, Any]:
    """Predict the test split with the loaded weights; write predictions, figures, report and results.

    `exposure` has the rows that the run was trained and validated on, if the test rows come from another split. Only
    the best checkpoint of a finished training writes its results into the run's folder itself.
    """
    history = run.read_history() if trainer.best else []
    if not history:
        what = "logger.json has no epoch" if trainer.best else "no epoch of this run is complete yet"
        raise CheckpointError(what, where=str(run.path), hint="--resume latest")
    within = ("pred",) if which == "best" else ("pred", which)
    with run.filled(*within) if run.writable else files.folder() as folder:
        if not run.writable:
            flags = flags.replace(no_figures=True)
        results_at = (run.path if which == "best" else folder) if run.writable else None
        return _report(flags, trainer, run, folder, results_at, which, history, recorders=recorders, exposure=exposure)


def _report(
    flags: Flags,
    trainer: Trainer,
    run: RunFolder,
    folder: Path,
    results_at: Path | None,
    which: str,
    history: list[dict[str, Any]],
    *,
    recorders: Recorders,
    exposure: Exposure | None,
) -> dict[str, Any]:
    """Test with files in `folder`; results, and the values fixed on validation, go into the folder `results_at`."""
    data, task, config = trainer.data, trainer.task, run.read_json(CONFIG)
    short = "" if not data.whole else "a short run" if config["flags"].get("short_run") else "a short test"
    title = f"{run.path.name}, {which.partition('-on-')[0]} checkpoint"
    title += (f" on {Path(flags.test_on).name}" if flags.test_on else "") + (f" ({short})" if short else "")
    seen = _seen(trainer, run / "res" / f"epoch{trainer.epoch}.npz")
    fixed, val = (task.fixed(seen), task.measure(seen)) if seen else ({}, {})  # the metrics of many labels need it
    if fixed and results_at:
        files.write_json(results_at / task.fixed_file, fixed)
    costs = _costs(flags, trainer)
    test = data.test  # opens the test set, nothing before does
    if overlap := _overlap(flags, data, exposure):
        spec = replace(data.spec, split_rule=overlap.rule(data.spec.split_rule))
        trainer.data = data = replace(data, spec=spec, open_test=lambda: test)
    predictions = trainer.predict(test)
    doubts, dropped = _doubts(history, config, data), _dropped(data, config if flags.test_on else None)
    random = _random_weights(flags, run, data, test)
    remarks = [*_remarks(data, config, overlap, short, dropped, random), *map("doubt: {}".format, doubts)]
    remarks += tables.of_costs(costs)
    train = part_of(data.train, base.BATCHES * flags.batch_size) if data.whole else data.train
    known = (fixed, val, history, data, train, trainer.predict, trainer.outputs, pages.shared(folder, flags.root_dir))
    tested = Evaluation(folder, predictions, *known, title=title, remarks=remarks, figures=not flags.no_figures)
    values = task.report(tested)
    if not flags.no_figures:
        _draw_losses(run, folder, title)
    if (best := trainer.best_epoch) is None:
        raise ValueError("a run without a best epoch is not tested")
    results = {
        "best_epoch": best,
        "split_rule": data.spec.split_rule,
        "shared_rows": overlap.shared if overlap else len(data.shared_rows),
        **({"trained_on": overlap.as_dict()} if overlap else {}),
        "dropped_rows": dropped,
        **({"covers": data.covers} if data.whole else {}),
        **({"doubts": doubts} if doubts else {}),
        **({"overrides": config["overrides"]} if config.get("overrides") else {}),
        **({"random_weights": random} if random else {}),
        **fixed,
        "cost": costs,
        "val": val,
        "test": values,
        **({"epoch": trainer.epoch} if which != "best" else {}),
    }
    if recorders:
        task.show(recorders, predictions, values, step=best if which == "best" else trainer.epoch)
    if results_at:
        _save(flags, trainer, run, folder, results_at, which, results, epochs=history[-1]["epoch"])
    _answer(flags, run, folder, results, title)
    return results


def _random_weights(flags: Flags, run: RunFolder, data: Data, test: Rows) -> dict[str, Any]:
    """A probe of the same network with random weights (--seed), or the same training of them in the root.

    {} if there is none, for a run without --pretrained, and on other data.
    """
    if not flags.pretrained or not len(data.train):
        return {}
    if flags.train != transfer.PROBE:
        return probe.from_random_weights(run)
    return probe.tested(build.build(flags, data), flags.epochs, test)


def _costs(flags: Flags, trainer: Trainer) -> dict[str, Any]:
    """Size and work of the network, with --cost its times."""
    model, spec = trainer.model, trainer.data.spec
    measured = cost.times(model, spec, batch_size=flags.batch_size) if flags.cost else {}
    return cost.size_and_work(model, spec) | measured


def _seen(trainer: Trainer, stored: Path) -> Predictions | None:
    """The predictions of validation, else those `stored` by the training, of the classes that are tested."""
    if len(trainer.data.val):
        return trainer.predict(trainer.data.val)
    if not stored.exists():
        return None
    seen, columns = Predictions.load(stored), getattr(trainer.task, "columns", None)
    return seen if columns is None else seen.among(columns)


def _doubts(history: Sequence[dict[str, Any]], config: Mapping[str, Any], data: Data) -> list[str]:
    """Sentences on a network that memorised its rows, and on published weights that were trained on this dataset."""
    found, name = [*filter(None, [memorised(history)])], config["flags"].get("model_name")
    saw = ENCODERS[name].published if name in ENCODERS and config.get("pretrained", {}).get("published") else None
    if saw and data.spec.name in saw.known:
        what = f"the published weights of {name} were trained on records of {data.spec.name}"
        found.append(f"{what}, tested ones may be among them")
    return found


def _answer(flags: Flags, run: RunFolder, folder: Path, results: dict[str, Any], title: str) -> None:
    """Print the results: a short table and the paths to open at a terminal, else a line of JSON."""
    paths = ending.to_open(run.path, folder, flags.root_dir) if run.writable else {}
    text = ending.of_test(results, title=title, to_open=paths)
    terminal.answer({"run_folder": str(run.path), **results}, at_terminal=text, as_json=flags.json)


def _save(
    flags: Flags,
    trainer: Trainer,
    run: RunFolder,
    folder: Path,
    results_at: Path,
    which: str,
    results: dict[str, Any],
    *,
    epochs: int,
) -> None:
    """Write report.json, the page and, last, results.json; into pred/ if the training is not finished after `epochs`,
    as results.json in the run folder marks a finished run.
    """
    waited = epochs - trainer.best["since"] if trainer.best else 0
    done = which != "best" or epochs >= flags.epochs or bool(flags.patience and waited >= flags.patience)
    Facts(
        tested=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        checkpoint=which.partition("-on-")[0],
        default_root=str(flags.root_dir) == args.FLAGS.defaults["root_dir"],
        rows=_rows_of_classes(trainer.data),
        layers=_layers(trainer),
        test_on=_moved(flags.test_on, flags.root_dir),
    ).save(folder)
    report.write(
        run, folder, results_at / PAGE, root=flags.root_dir, alone=flags.self_contained, results=files.finite(results)
    )
    files.write_json((results_at if done else folder) / RESULTS, results)


def _layers(trainer: Trainer) -> list[tuple[Any, ...]]:
    """Name, kind, shape of the output of one row, and parameters of each layer."""
    one = cost.inputs(trainer.data.spec, 1, trainer.device)
    found = cost.layers(trainer.model, one, work=False)
    return [(each.name, each.kind, " x ".join(map(str, each.shape[1:])), each.parameters) for each in found]


def _moved(what: str | None, root: Path) -> str:
    """The file or dataset of --test-on: a path relative to the root, with ./ before it, or a name."""
    name, file = undivided.split_name(what or "")
    if not file or not Path(file).exists():
        return what or ""
    moved = os.path.join(os.curdir, os.path.relpath(os.path.realpath(file), os.path.realpath(root)))
    return f"{name}={moved}" if name else moved


def _rows_of_classes(data: Data) -> dict[str, list[int]]:
    """The rows of each class by split; a row that is read in several pieces counts once. No split without labels."""
    counts = {}
    for split, rows in {"train": data.train, "validation": data.val, "test": data.test}.items():
        _, first = np.unique(rows.index, return_index=True)
        if data.spec.many_labels and len(first):
            counts[split] = rows.y[first].sum(0).tolist()
        elif rows.y.ndim == 1 and len(first):
            counts[split] = np.bincount(rows.y[first], minlength=len(data.spec.classes)).tolist()
    return counts


def _draw_losses(run: RunFolder, folder: Path, title: str) -> None:
    """Draw the loss of every training step, if the run has kept it."""
    try:
        losses = StepLosses.load(run / LOSSES).arrays() if (run / LOSSES).exists() else {}
    except ValueError as error:
        log.warning("no figure of the loss of every step: %s", error)
        return
    if losses and len(losses["loss"]):
        plots.save_panels(plots.loss_panels(**losses), folder / "loss_per_step.png", columns=1, title=title)


def _overlap(flags: Flags, data: Data, exposure: Exposure | None) -> Overlap | None:
    """The test rows that the run was trained or validated on; warns of them, DataError with --strict-split."""
    overlap = exposure.overlap(data.test, data.published) if exposure else None
    if overlap and flags.strict_split and (overlap.shared or overlap.published):
        hint = "remove these rows, or leave --strict-split out"
        raise DataError(overlap.sentence, where=flags.test_on or "", hint=hint)
    if overlap and (overlap.any or overlap.shared is None):
        log.warning(overlap.sentence)
    return overlap


def _dropped(data: Data, trained: Mapping[str, Any] | None) -> dict[str, int]:
    """The number of unusable rows of the data of train and of test; once if one set of rows was divided into both.

    A run that is tested on another file `trained` with this config. Rows of a file of their own have the same numbers
    as rows of train.
    """
    train, test = data.train, data.test
    if trained is not None:
        return {"train": trained["data"].get("dropped_rows", 0), "test": test.dropped}
    divided = train.dropped == test.dropped and not np.intersect1d(train.index, test.index).size
    return {"data": train.dropped} if divided and train.dropped else {"train": train.dropped, "test": test.dropped}


def _remarks(
    data: Data,
    config: dict[str, Any],
    overlap: Overlap | None,
    short: str,
    dropped: Mapping[str, int],
    random: Mapping[str, Any],
) -> list[str]:
    """Lines below the split rule: part of the rows, rows of two splits, dropped rows, flags changed in training, a
    probe of random weights."""
    remarks = []
    if short:
        parts = [f"{part:,} of {whole:,} {NAMES[side]} rows" for side, (part, whole) in data.covers.items() if whole]
        trained = ", trained on ten batches an epoch" if short == "a short run" else ""
        remarks.append(f"{short}: the figures cover {' and '.join(parts)}{trained}")
    if not overlap:
        remarks.append(f"rows of two splits: {sharing(data.shared_rows, len(data.test))}")
        if len(data.shared_rows):
            log.warning(remarks[-1])
    if any(dropped.values()):
        remarks.append(f"unusable rows dropped: {tables.of_dropped(dropped)}")
    for note in config.get("overrides", []):
        changes = ", ".join(f"{name} from {before} to {now}" for name, (before, now) in note["changed"].items())
        remarks.append(f"changed after epoch {note['after_epoch']}: {changes}")
    if random:
        remarks.append(f"from random weights: {tables.of_random_weights(random)}")
    elif config["flags"].get("pretrained") and not overlap:
        remarks.append("from random weights: no such run is here; the same command without --pretrained trains it")
    return remarks


def memorised(history: Sequence[dict[str, Any]]) -> str | None:
    """A sentence if the last epoch is right on nearly all training rows and at chance on validation, else None."""
    matrices = [history[-1][side].get("confusion_matrix") for side in ("train", "val")] if history else [None]
    return None if None in matrices else classification.memorised(*map(np.array, matrices))
