"""Assemble one run from its flags: train it, or test it. `python commander.py --help` names every flag.

Heavy imports stand inside the functions that need them, so that --help and a mistyped flag answer at once.
"""

import logging
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import args
from toolbox import errors, modes, plain, terminal
from toolbox.errors import CommanderError, Interrupted, UsageError
from toolbox.terminal import StopRequest

if TYPE_CHECKING:
    from loaders.base import Data
    from toolbox.runs.folder import RunFolder
    from toolbox.runs.predictions import Predictions
    from toolbox.training.recorders import Board
    from trainer import Trainer

log = logging.getLogger("commander")


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command line; the exit code says what kind of error there was, 0 for none."""
    return guarded(argv, lambda argv, stop: run_command(args.parse(argv), stop), args.SHORT_HELP)


def guarded(
    argv: Sequence[str] | None, command: Callable[[Sequence[str], StopRequest], int | None], short_help: str
) -> int:
    """The exit code of `command` with streams and signals as every program here has them; without words the short
    help."""
    argv = sys.argv[1:] if argv is None else argv
    terminal.open_closed_streams()
    stop = StopRequest()
    stop.install()
    code = attempt(argv, stop, command, short_help)
    stop.ignore()
    return terminal.close_stdout(code)


def attempt(
    argv: Sequence[str], stop: StopRequest, command: Callable[[Sequence[str], StopRequest], int | None], short_help: str
) -> int:
    """The command's exit code; what ends it early is one line on stderr, and a traceback where --debug asks for it."""
    try:
        if not argv:
            terminal.say(short_help)
            return UsageError.code
        return command(argv, stop) or 0
    except SystemExit as ended:  # --help
        return ended.code or 0
    except Interrupted as interrupted:
        terminal.say("interrupted\n")
        return interrupted.code
    except BrokenPipeError:
        return terminal.NOBODY_READS
    except Exception as error:
        if "--debug" in argv:
            traceback.print_exc()
        error = error if isinstance(error, CommanderError) else errors.unforeseen(error)
        terminal.say(f"error: {error}\n")
        return error.code


def run_command(given: Mapping[str, Any], stop: StopRequest) -> None:
    """One of the things a command line asks for: names, a download, a test, or a training."""
    wrong = args.complaints(given)
    if wrong:
        raise UsageError("; ".join(wrong), hint="python commander.py --help")
    terminal.log_to(logging.StreamHandler(), logging.DEBUG if given.get("verbose") else logging.INFO)
    for noisy in ("matplotlib", "PIL", "urllib3", "torch"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if modes.idle(given) and not (given.get("list") or given.get("compare")):
        from commands import choices

        choices.look_up(args.resolve(given))  # an unknown name is an error where it is ignored too
    if not (given.get("test") or given.get("explain")):  # these know more once they know their run
        given = modes.without_idle(given)
    flags = args.resolve(given)
    if flags.list is not None:
        from commands import choices

        sys.stdout.write("\n".join(choices.names(flags.list)) + "\n")
    elif flags.download or flags.explore or flags.export_charts:
        look_at_data(flags)
    elif flags.compare:
        compare(flags)
    elif flags.predict:
        from commands import predict

        predict.predict(given)
    elif flags.explain:
        from commands import explain

        explain.explain(given, stop)
    elif flags.test or flags.resume:
        go_on(given, stop)
    else:
        start(flags, given, stop)


def look_at_data(flags: SimpleNamespace) -> None:
    """Fetch and parse a dataset, and draw it where --explore or --export-charts ask for that; where to goes to
    stdout."""
    from commands import build, choices

    choices.settle(flags)
    if flags.export_charts:
        sys.stdout.write(f"{plain.escaped(build.export_charts(flags))}\n")
        return
    data = build.load_data(flags)
    if flags.download:
        rows = (data.spec.name, len(data.train), len(data.val), len(data.test))
        log.info("%s is ready: %d train, %d validation, %d test rows", *rows)
    if flags.explore:
        from commands import explore

        sys.stdout.write(f"{plain.escaped(explore.draw(data, flags.root_dir, seed=flags.seed))}\n")


def compare(flags: SimpleNamespace) -> None:
    """Set tested runs side by side on stdout, as a table and as a last line of JSON."""
    import json

    from toolbox.files import finite
    from toolbox.reports import comparison
    from toolbox.runs.folder import RunFolder

    runs = [RunFolder.named(name, flags.root_dir) for name in flags.compare]
    values = comparison.compare(runs, macro_over=args.words(flags.macro_over))
    sys.stdout.write(f"{comparison.summary(values)}\n{json.dumps(finite(values))}\n")


def start(
    flags: SimpleNamespace,
    given: Mapping[str, Any],
    stop: StopRequest,
    *,
    load: "Callable[[SimpleNamespace], Data] | None" = None,
    claimed: "Callable[[RunFolder], None] | None" = None,
    tested: bool = True,
) -> None:
    """Train a new run; one of many may `load` its data itself, is told its folder when it is `claimed`, or is not
    tested."""
    from commands import build, choices
    from loaders import base
    from toolbox import devices
    from toolbox.runs import checkpoints
    from toolbox.runs.folder import RunFolder

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
    load: "Callable[[SimpleNamespace], Data] | None" = None,
    tested: bool = True,
    run: "RunFolder | None" = None,
) -> None:
    """Test a run that is there, or go on training it, with the flags of its config.json; `load` and `tested` as in
    `start`.

    `run` is its folder, where that is known; else the flags say which it is.
    """
    from commands import build, choices, evaluate
    from toolbox import devices
    from toolbox.runs import checkpoints
    from toolbox.runs.folder import HISTORY

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
    trainer: "Trainer",
    run: "RunFolder",
    *,
    config: dict[str, Any],
    differences: dict[str, list[Any]],
    anew: bool,
) -> None:
    """Bring the files of a run to the state from which its training goes on, with the optimizer begun `anew` or as it
    was.

    UsageError for an imported run.
    """
    from commands import build
    from toolbox.runs import checkpoints
    from toolbox.runs.exposure import KEPT
    from toolbox.runs.folder import HISTORY
    from toolbox.training import optimizers
    from trainer import LOSSES

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
    run: "RunFolder",
    config: Mapping[str, Any],
    *,
    differences: dict[str, Any],
) -> None:
    """Test a run on all rows of another file or dataset; its own results stay as they are."""
    from commands import build, evaluate
    from toolbox import devices
    from toolbox.outputs import safe_name
    from toolbox.runs import checkpoints
    from toolbox.runs.exposure import Exposure

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


def train(
    flags: SimpleNamespace, trainer: "Trainer", run: "RunFolder", stop: StopRequest, *, tested: bool = True
) -> None:
    """Fit, saving what every epoch gave; then test the best weights, once, where the run is to be `tested`."""
    from commands import build, evaluate
    from toolbox.reports import plots
    from toolbox.runs import checkpoints, history
    from trainer import LOSSES

    board = make_board(flags, trainer, run)

    def on_epoch(trainer: "Trainer", row: dict[str, Any], predictions: "Predictions | None") -> None:
        if predictions:
            predictions.save(run / "res" / f"epoch{row['epoch']}.npz")
        checkpoints.save(run, trainer.state_dict(), is_best=trainer.best["epoch"] == row["epoch"], epoch_done=True)
        trainer.losses.save(run / LOSSES)
        history.log_epoch(run, trainer.history, flags.epochs)
        if board:
            board.epoch(row, trainer.model, predictions, plots.epoch_images(row, trainer.task.classes))

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


def make_board(flags: SimpleNamespace, trainer: "Trainer", run: "RunFolder") -> "Board | None":
    """TensorBoard with the network's graph drawn, where it is asked for."""
    from toolbox.training.recorders import Board

    if not flags.tensorboard:
        return None
    board = Board(run / "tensorboard", trainer.task.classes, epochs_done=trainer.epoch)
    if not trainer.epoch:
        inputs, _ = next(trainer.train.batches(None, 1))
        board.graph(trainer.model, tuple(inputs))
    return board


def make_test_board(given: Mapping[str, Any], trainer: "Trainer", run: "RunFolder", which: str) -> "Board | None":
    """TensorBoard for a test where --tensorboard is typed with it; any but that of the best checkpoint has its own
    folder.

    None on a root that cannot be written.
    """
    from toolbox.training.recorders import Board

    if not (given.get("tensorboard") and run.writable):
        return None
    return Board(run / "tensorboard" / ("" if which == "best" else which), trainer.task.classes, epochs_done=0)


if __name__ == "__main__":
    sys.exit(main())
