# PYTHON_ARGCOMPLETE_OK
"""The main program: one command line trains, tests or uses a network. `python commander.py --help-all` lists all flags.

Heavy imports stand inside the functions that need them, so that --help and errors in flags answer at once.
"""

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import args
import commands
from commands import own_parts
from toolbox import terminal
from toolbox.errors import UsageError, program
from toolbox.flags import Flags
from toolbox.parser import FlagFile
from toolbox.terminal import StopRequest

log = logging.getLogger("commander")


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command line; returns the exit code: 0, or the code of the error's class."""
    if "_ARGCOMPLETE" in os.environ:
        own_parts.complete()
    return terminal.guarded(argv, _carry_out, args.SHORT_HELP)


def _carry_out(argv: Sequence[str], stop: StopRequest) -> None:
    own_parts.prepare(argv)  # before the flags are parsed: datasets of --import may have own flags
    try:
        run_command(args.parse(argv), stop)
    except UsageError as error:
        raise FlagFile.placed(error, argv, args.FLAGS) from error


def run_command(given: Mapping[str, Any], stop: StopRequest) -> None:
    """Check the flags `given`, and call the command that they select."""
    if given.get("version_info"):
        from toolbox import devices

        sys.stdout.write(devices.version_info())
        return
    wrong = args.complaints(given)
    if wrong:
        raise UsageError("; ".join(wrong), hint=f"{program()} --help")
    terminal.log_to(logging.StreamHandler(), logging.DEBUG if given.get("verbose") else logging.INFO)
    for noisy in ("matplotlib", "PIL", "urllib3", "torch"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if args.unused(given) and not any(given.get(name) for name in args.FLAGS.names(mode="")):
        from commands import choices

        choices.look_up(args.resolve(given))  # an ignored flag with an unknown name is an error too
    if not (given.get("test") or given.get("explain")):  # these two read config.json first
        given = args.without_unused(given)
    _call(args.resolve(given), given, stop)


def _call(flags: Flags, given: Mapping[str, Any], stop: StopRequest) -> None:
    """Call the command of the resolved `flags`; commands on a run read its config.json, and get the flags `given`."""
    with terminal.importing():
        steps = _steps(flags, given, stop)
    for step in steps:
        step()


def _steps(flags: Flags, given: Mapping[str, Any], stop: StopRequest) -> Sequence[Callable[[], object]]:
    """The calls that carry out the command, their modules imported."""
    if flags.list is not None:
        return [partial(sys.stdout.write, f"{commands.listed(flags.list)}\n")]
    if flags.check:
        from commands.check import file

        return [lambda: file.check(flags)]
    if flags.download or flags.explore or flags.export_charts or flags.dry_run:
        from commands import data

        return [lambda: data.rehearse(flags, given) if flags.dry_run else data.look(flags)]
    if flags.compare:
        from commands import compare

        return [lambda: compare.compare(flags)]
    if flags.runs:
        from commands import runs

        return [lambda: runs.show(flags)]
    if flags.report:
        from commands import report

        return [lambda: report.rebuild(flags)]
    if flags.predict:
        from commands.predict import recordings

        return [lambda: recordings.predict(given)]
    if flags.export or flags.cite:
        from commands import export

        return [lambda: export.export(given) if flags.export else export.cite(given)]
    if flags.features:
        from commands.predict import features

        return [lambda: features.write(given)]
    if flags.explain:
        from commands.explain import rows

        return [lambda: rows.explain(given, stop)]
    from commands import evaluate, fit, runs
    from commands.trained import TrainedRun

    refresh = partial(runs.refresh, flags.root_dir)
    if flags.test:
        return [lambda: evaluate.evaluate(TrainedRun.open(given)), refresh]
    if flags.resume:
        return [lambda: fit.resume(TrainedRun.open(given), stop), refresh]
    return [lambda: fit.start(flags, given, stop), refresh]


if __name__ == "__main__":
    sys.exit(main())
