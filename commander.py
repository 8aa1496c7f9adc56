"""Assemble one run from its flags: train it, or test it. `python commander.py --help` names every flag.

Heavy imports stand inside the functions that need them, so that --help and a mistyped flag answer at once.
"""

import logging
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import args
from toolbox import errors, modes, plain, terminal
from toolbox.errors import CommanderError, Interrupted, UsageError
from toolbox.terminal import StopRequest

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
        return ended.code if isinstance(ended.code, int) else bool(ended.code)
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
    if given.get("version_info"):
        from toolbox import devices

        sys.stdout.write(devices.version_info())
        return
    wrong = args.complaints(given)
    if wrong:
        raise UsageError("; ".join(wrong), hint=f"{errors.program()} --help")
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
    else:
        from commands import fit

        if flags.test or flags.resume:
            fit.go_on(given, stop)
        else:
            fit.start(flags, given, stop)


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


if __name__ == "__main__":
    sys.exit(main())
