"""Train a new run, or resume one."""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

import args
from commands import build, choices, evaluate
from commands.trained import TrainedRun, exposure
from loaders import base
from loaders.base import Data
from toolbox import devices
from toolbox.errors import UsageError
from toolbox.flags import Flags, words
from toolbox.metrics import cost
from toolbox.reports import images
from toolbox.runs import checkpoints
from toolbox.runs.exposure import KEPT
from toolbox.runs.folder import CONFIG, HISTORY, RunFolder
from toolbox.runs.predictions import Predictions
from toolbox.runs.study import NOTE
from toolbox.terminal import StopRequest
from toolbox.training import optimizers, recorders, threads
from toolbox.training.recorders import LOSSES, Images, Recorders
from trainer import Trainer

Load = Callable[[Flags], Data]
log = logging.getLogger("commander")


def start(
    flags: Flags,
    typed: Mapping[str, Any],
    stop: StopRequest,
    *,
    load: Load = build.load_data,
    claimed: Callable[[RunFolder], None] | None = None,
    tested: bool = True,
    study: str = "",
) -> None:
    """Train a new run and test it.

    A study passes its own `load`, a callback `claimed` for the new folder, `tested` False to leave the test out, and
    its name, which config.json keeps.
    """
    flags = choices.settle(flags)
    recorders.check_installed(words(flags.log_to) or [])
    with devices.enough_memory(flags.batch_size or base.BATCH_SIZE):
        data = load(flags)
        flags = choices.for_rows(flags, typed, data)
        flags = flags.replace(dataset=data.spec.name, batch_size=build.batch_size(flags, data))
        trainer = build.build(flags, data)
        source = build.pretrain(flags, trainer)
        flags = flags.replace(threads=str(_threads(flags, trainer, tried=not (flags.short_run or study))))
    if flags.save_config:
        build.save_config(flags)
    run = RunFolder.claim(flags.root_dir, flags.dataset, flags.model_name, flags.version or "bump")
    if claimed:
        claimed(run)
    with run.locked(), devices.enough_memory(flags.batch_size):
        run.write_json(CONFIG, build.describe(flags, typed, trainer) | source | ({NOTE: study} if study else {}))
        build.remember(flags, run, data)
        checkpoints.save(run, trainer.state_dict(), is_best=False, epoch_done=False)  # makes the run resumable
        rows = (len(data.train), len(data.val))
        log.info("%s on %s: %d train, %d validation rows", flags.model_name, flags.dataset, *rows)
        if flags.short_run:
            what = "a short run: ten batches of %d rows of training an epoch, of validation and of test"
            log.info(what, flags.batch_size)
        _train(flags, trainer, run, stop, tested=tested)


def _threads(flags: Flags, trainer: Trainer, *, tried: bool) -> int:
    """The number of threads of a new run, in use from now on; if `tried` or for --threads auto after a trial."""
    found, spec, members = threads.number(flags.threads), trainer.data.spec, len(trainer.learners)
    if (tried or flags.threads == threads.AUTO) and trainer.batch_size > members:  # one row may not suit batch norm
        most = max(1, threads.SAMPLES // (members * math.prod(spec.shape))) * members
        rows = cost.inputs(spec, min(trainer.batch_size, most), trainer.device)
        found = threads.tried(flags.threads, trainer.model, rows)
    threads.use(str(found))
    return found


def resume(trained: TrainedRun, stop: StopRequest, *, load: Load = build.load_data, tested: bool = True) -> None:
    """Train an existing run to its end as if it had never stopped, and test it; arguments as in `start`."""
    flags, run, differences = trained.flags, trained.run, dict(trained.differences)
    trained.permit(differences)
    recorders.check_installed(words(flags.log_to) or [])
    trained.note_short_run()
    number, before = str(threads.number(flags.threads)), trained.config["flags"].get("threads")
    if before not in (None, number):
        log.info("--threads %s, the run had %s: its weights will differ by rounding", number, before)
    trained = replace(trained, flags=flags.replace(threads=number))
    with run.locked(), devices.enough_memory(flags.batch_size):
        flags, trainer, reinitialise = trained.reopened(load, differences)
        _prepare(replace(trained, flags=flags), trainer, differences, reinitialise=reinitialise)
        log.info("resuming after epoch %d and %d batches", trainer.epoch, trainer.meter.steps if trainer.meter else 0)
        _train(flags, trainer, run, stop, tested=tested)


def _prepare(trained: TrainedRun, trainer: Trainer, differences: dict[str, list[Any]], *, reinitialise: bool) -> None:
    """Bring a run's files to the state of the checkpoint; with `reinitialise`, save the new optimizer.

    Raises UsageError for an imported run.
    """
    flags, run, config = trained.flags, trained.run, trained.config
    if differences.keys() & build.of_validation(short=flags.short_run):
        if flags.task == "classify":
            choices.monitored(flags, ("monitor",), trainer.data)
        trainer.best = None
    if "imported" in config:
        why = "an imported run cannot be resumed: it has no optimizer state, and was trained on its validation rows"
        raise UsageError(why, where=str(run.path), hint="--test --resume best, or a new run with --version bump")
    if not differences:
        optimizers.warn_if_reshaped(flags.scheduler, config["flags"]["epochs"], flags.epochs)
    if differences or not trainer.finished(flags.epochs, flags.patience):
        run.set_aside(trainer.epoch)
    known = exposure(run, config, differences)
    if differences.keys() & build.of_rows() or not (run / KEPT).exists():
        build.remember(flags, run, trainer.data, [known] if known else [])
    if reinitialise and not differences:
        what = "this checkpoint is older than an --override of the run; optimizer and schedule are reinitialised"
        log.warning("%s after epoch %d", what, trainer.epoch)
    if reinitialise:  # the reinitialised optimizer and its flags are saved together
        checkpoints.save(run, trainer.state_dict(), is_best=False, epoch_done=False)
    run.write_json(CONFIG, _config(trained, trainer, differences))
    run.write_json(HISTORY, trainer.history)  # a kill between a checkpoint and its line here loses the line
    trainer.losses.save(run / LOSSES)


def _config(trained: TrainedRun, trainer: Trainer, differences: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a resumed run: unchanged or, with --override, the new one and a note of the changes.

    Earlier notes of later epochs move to the epoch of the checkpoint.
    """
    config, flags = trained.config, trained.flags
    notes = config.get("overrides", [])
    if not differences:
        free = {name: getattr(flags, name) for name in (*args.FLAGS.names("length"), "threads")}
        notes = [{**note, "after_epoch": min(note["after_epoch"], trainer.epoch)} for note in notes]
        changed = {"flags": config["flags"] | free} | build.imports(flags)
        return config | changed | ({"overrides": notes} if notes else {})
    source = {"pretrained": config["pretrained"]} if "pretrained" in config else {}
    note = {"after_epoch": trainer.epoch, "changed": differences}
    return build.describe(flags, trained.typed, trainer) | source | {"overrides": [*notes, note]}


def _train(flags: Flags, trainer: Trainer, run: RunFolder, stop: StopRequest, *, tested: bool) -> None:
    """Fit, and save after every epoch; then, if `tested`, test the best weights once."""
    with _recorders(flags, trainer, run) as recorders:

        def on_epoch(trainer: Trainer, row: dict[str, Any], predictions: Predictions | None) -> None:
            if predictions:
                predictions.save(run.part("res") / f"epoch{row['epoch']}.npz")
            checkpoints.save(run, trainer.state_dict(), is_best=trainer.best_epoch == row["epoch"], epoch_done=True)
            trainer.losses.save(run / LOSSES)
            run.log_epoch(trainer.history, flags.epochs)
            drawn = partial(images.of_epoch, row, trainer.task.classes)
            recorders.epoch(row, trainer.model, predictions, drawn)

        log.info("run folder %s", run.path)
        with stop.deferred():
            trainer.fit(flags.epochs, on_epoch=on_epoch, stop=stop, patience=flags.patience)
            if stop.requested is not None:
                checkpoints.save(run, trainer.state_dict(), is_best=False, epoch_done=False)
                log.info("stopped in epoch %d and saved; resume with --resume latest", trainer.epoch + 1)
        stop.check()
        if doubt := evaluate.memorised(trainer.history):
            log.warning("%s", doubt)
        recorders.images(partial(_rows, trainer, run), trainer.best_epoch or 0)
        if tested:
            evaluate.test_best(flags, trainer, run, recorders=recorders)


def _recorders(flags: Flags, trainer: Trainer, run: RunFolder) -> Recorders:
    """TensorBoard, unless it is turned off, and those of --log-to, with the network's graph."""
    names = [recorders.BY_DEFAULT] * flags.tensorboard + (words(flags.log_to) or [])
    made = Recorders.opened(names, build.about(flags, trainer, run))
    if made and not trainer.epoch:
        inputs, _ = next(trainer.train.batches(None, 1))
        made.graph(trainer.model, tuple(inputs))
    return made


def _rows(trainer: Trainer, run: RunFolder) -> Images:
    """A few validation rows as an image, with their true classes and the predictions of the best epoch."""
    stored = run / "res" / f"epoch{trainer.best_epoch}.npz"
    if not (len(trainer.data.val) and stored.exists()):
        return {}
    predictions = Predictions.load(stored)
    predictions = predictions.of(images.worth_seeing(predictions))
    index = trainer.data.val.index
    order = np.argsort(index, kind="stable")  # the pieces of a row have one index; the first is drawn
    chosen = trainer.data.val.rows(order[np.searchsorted(index, predictions.index, sorter=order)])
    batches = chosen.batches(trainer.device)
    x = np.concatenate([inputs[0].float().cpu().numpy() for inputs, _ in batches.batches(None, len(chosen))])
    _, first = np.unique(batches.rows.cpu().numpy(), return_index=True)
    captions, wrong = images.captions(predictions, trainer.task.classes)
    return {f"{images.GROUP}/validation_rows": images.rows(x[first], captions, wrong)}
