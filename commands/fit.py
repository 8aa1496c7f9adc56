"""Train a new run, resume one, or test one: the steps in their order, from resolved flags to the files of the run."""

import logging
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import args
from commands import build, choices, evaluate
from loaders import base
from loaders.base import Data
from toolbox import devices, modes
from toolbox.errors import UsageError
from toolbox.outputs import safe_name
from toolbox.reports import logger
from toolbox.reports.logger import Board
from toolbox.runs import checkpoints
from toolbox.runs.exposure import KEPT, Exposure
from toolbox.runs.folder import HISTORY, RunFolder
from toolbox.runs.predictions import Predictions
from toolbox.terminal import StopRequest
from toolbox.training import optimizers
from trainer import LOSSES, Trainer

log = logging.getLogger("commander")


def start(
    flags: SimpleNamespace,
    given: Mapping[str, Any],
    stop: StopRequest,
    *,
    load: Callable[[SimpleNamespace], Data] | None = None,
    claimed: Callable[[RunFolder], None] | None = None,
    tested: bool = True,
) -> None:
    """Train a new run; one of many may `load` its data itself, is told its folder when it is `claimed`, or is not
    tested."""
    choices.settle(flags)
    with devices.enough_memory(flags.batch_size or base.BATCH_SIZE):
        data = (load or build.load_data)(flags)
        flags.dataset, flags.batch_size = data.spec.name, build.batch_size(flags, data)
        trainer = build.build(flags, data)
        source = build.pretrain(flags, trainer)
    run = RunFolder.claim(flags.root_dir, flags.dataset, flags.model_name, flags.version or "bump")
    if claimed:
        claimed(run)
    with run.locked(), devices.enough_memory(flags.batch_size):
        run.write_json("config.json", build.describe(flags, given, trainer) | source)
        build.remember(flags, run, data)
        checkpoints.save(run, trainer.state_dict(), is_best=False, epoch_done=False)  # from here on it can be resumed
        log.info(
            "%s on %s: %d train, %d validation rows", flags.model_name, flags.dataset, len(data.train), len(data.val)
        )
        if flags.short_run:
            log.info(
                "a short run: ten batches of %d rows of training an epoch, of validation and of test", flags.batch_size
            )
        train(flags, trainer, run, stop, tested=tested)


def go_on(
    given: Mapping[str, Any],
    stop: StopRequest,
    *,
    load: Callable[[SimpleNamespace], Data] | None = None,
    tested: bool = True,
    run: RunFolder | None = None,
) -> None:
    """Test a run that is there, or go on training it, with the flags of its config.json; `load` and `tested` as in
    `start`.

    `run` is its folder, where that is known; else the flags say which it is.
    """
    run = run or build.find_run(choices.settle(args.resolve(modes.needed(given))))
    config = build.read_config(run)
    given = modes.without_idle(given, charts=config["flags"].get("view") == "chart")
    flags = choices.settle(build.resume_flags(given, config))
    differences = args.changed(build.movable(given, flags.root_dir), config["flags"])
    shortened = bool(flags.test and differences.pop("short_run", None))
    differences = {name: of for name, of in differences.items() if not (flags.test and name in modes.OF_THE_MACHINE)}
    if flags.test_on:
        test_on(flags, given, run, config, differences=differences)
        return
    build.permit(differences, flags, run)
    build.tell_short(given, flags, run)
    which = flags.resume or "best"
    with run.locked_or_read_only() if flags.test else run.locked(), devices.enough_memory(flags.batch_size):
        path, state = checkpoints.find(run, which)
        if (run / HISTORY).exists():
            run.read_history()  # a file that is no history is a person's, and is not written over
        data = (load or build.load_data)(flags)
        if data.checksum != config["data"]["checksum"]:
            differences[build.DATA] = [config["data"]["checksum"][:12], data.checksum[:12]]
            build.permit(differences, flags, run)
        anew = bool(differences) or checkpoints.predates(path, state, config)
        flags.start_epoch = state["epoch"] if anew else flags.start_epoch
        trainer = build.build(flags, data if differences else build.ruled(data, config))
        with checkpoints.restoring(path):
            checkpoints.load_weights(trainer.model, state["model"], str(path))
            trainer.load_state_dict(state, anew=anew or shortened or "imported" in config)
        if flags.test:
            which += "-short" * shortened + "-override" * bool(differences)
            exposure = build.exposure(run, config, differences)
            with closing(board) if (board := make_test_board(given, trainer, run, which)) else nullcontext():
                evaluate.test(flags, trainer, run, which, board=board, exposure=exposure)
            return
        _prepare(flags, given, trainer, run, config=config, differences=differences, anew=anew)
        log.info("going on after epoch %d and %d batches", trainer.epoch, trainer.meter.steps if trainer.meter else 0)
        train(flags, trainer, run, stop, tested=tested)


def _prepare(
    flags: SimpleNamespace,
    given: Mapping[str, Any],
    trainer: Trainer,
    run: RunFolder,
    *,
    config: dict[str, Any],
    differences: dict[str, list[Any]],
    anew: bool,
) -> None:
    """Bring the files of a run to the state from which its training goes on, with the optimizer begun `anew` or as it
    was.

    UsageError for an imported run.
    """
    decisive = build.OF_VALIDATION | ({"batch_size", "short_run"} if flags.short_run else set())
    if differences.keys() & decisive:
        trainer.best = None
    if "imported" in config:
        why = (
            "an imported run is tested, not trained on: it has no optimizer state, and its validation rows were"
            " trained on"
        )
        raise UsageError(why, where=str(run.path), hint="--test --resume best, or a new run with --version bump")
    if not differences:
        optimizers.warn_if_reshaped(flags.scheduler, config["flags"]["epochs"], flags.epochs)
    if differences or not trainer.finished(flags.epochs, flags.patience):
        run.set_aside(trainer.epoch)
    known = build.exposure(run, config, differences)
    if differences.keys() & build.OF_ROWS or not (run / KEPT).exists():
        build.remember(flags, run, trainer.data, [known] if known else [])
    if anew and not differences:
        what = (
            "this checkpoint is from before --override changed the run; optimizer and schedule begin anew after"
            " epoch %d"
        )
        log.warning(what, trainer.epoch)
    if anew:  # the optimizer that is begun anew and the flags that say so are saved together
        checkpoints.save(run, trainer.state_dict(), is_best=False, epoch_done=False)
    run.write_json("config.json", build.gone_on(config, flags, given, trainer, differences))
    run.write_json(HISTORY, trainer.history)  # a kill may have come between a checkpoint and its line here
    trainer.losses.save(run / LOSSES)


def test_on(
    flags: SimpleNamespace,
    given: Mapping[str, Any],
    run: RunFolder,
    config: Mapping[str, Any],
    *,
    differences: dict[str, Any],
) -> None:
    """Test a run on all rows of another file or dataset; its own results stay as they are."""
    differences = {name: both for name, both in differences.items() if name not in args.OF_THE_TESTED}
    build.permit(differences, flags, run)
    build.tell_short(given, flags, run)
    which = flags.resume or "best"
    with run.locked_or_read_only(), devices.enough_memory(flags.batch_size):
        path, state = checkpoints.find(run, which)
        data = build.tested_data(flags, given, run, config)
        trainer = build.build(build.for_a_test(flags), data)
        with checkpoints.restoring(path):
            checkpoints.load_weights(trainer.model, state["model"], str(path))
            trainer.load_state_dict(state, anew=True)
        how = "-short" * ("short_run" in given) + "-override" * bool(differences)
        name = f"{which}{how}-on-{safe_name(Path(flags.test_on).name)}-{data.checksum[:8]}"
        with closing(board) if (board := make_test_board(given, trainer, run, name)) else nullcontext():
            evaluate.test(flags, trainer, run, name, board=board, exposure=Exposure.of_run(run))


def train(flags: SimpleNamespace, trainer: Trainer, run: RunFolder, stop: StopRequest, *, tested: bool = True) -> None:
    """Fit, saving what every epoch gave; then test the best weights, once, where the run is to be `tested`."""
    board = make_board(flags, trainer, run)

    def on_epoch(trainer: Trainer, row: dict[str, Any], predictions: Predictions | None) -> None:
        if predictions:
            predictions.save(run / "res" / f"epoch{row['epoch']}.npz")
        checkpoints.save(run, trainer.state_dict(), is_best=trainer.best_epoch == row["epoch"], epoch_done=True)
        trainer.losses.save(run / LOSSES)
        logger.log_epoch(run, trainer.history, flags.epochs)
        if board:
            board.epoch(row, trainer.model, predictions)

    log.info("run folder %s", run.path)
    with closing(board) if board else nullcontext():
        with stop.deferred():
            trainer.fit(flags.epochs, on_epoch=on_epoch, stop=stop, patience=flags.patience)
            if stop.requested is not None:
                checkpoints.save(run, trainer.state_dict(), is_best=False, epoch_done=False)
                log.info("stopped in epoch %d and saved; go on with --resume latest", trainer.epoch + 1)
        stop.check()
        if doubt := evaluate.memorised(trainer.history):
            log.warning("%s", doubt)
        if not tested:
            return
        path = run.checkpoint("best")
        checkpoints.load_weights(trainer.model, checkpoints.load(path)["model"], str(path))
        exposure = build.exposure(run, run.read_json("config.json"), {})
        results = evaluate.test(flags, trainer, run, "best", board=board, exposure=exposure)
        if board:
            board.hparams(build.kept(flags), results["test"])


def make_board(flags: SimpleNamespace, trainer: Trainer, run: RunFolder) -> Board | None:
    """TensorBoard with the network's graph drawn, where it is asked for."""
    if not flags.tensorboard:
        return None
    board = Board(run / "tensorboard", trainer.task.classes, epochs_done=trainer.epoch)
    if not trainer.epoch:
        inputs, _ = next(trainer.train.batches(None, 1))
        board.graph(trainer.model, tuple(inputs))
    return board


def make_test_board(given: Mapping[str, Any], trainer: Trainer, run: RunFolder, which: str) -> Board | None:
    """TensorBoard for a test where --tensorboard is typed with it; any but that of the best checkpoint has its own
    folder.

    None on a root that cannot be written.
    """
    if not (given.get("tensorboard") and run.writable):
        return None
    return Board(run / "tensorboard" / ("" if which == "best" else which), trainer.task.classes, epochs_done=0)
