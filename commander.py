"""The main program: one command line trains, tests or uses a network. `python commander.py --help-all` lists all flags.

Heavy imports stand inside the functions that need them, so that --help and errors in flags answer at once.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import args
import commands
from toolbox import terminal
from toolbox.errors import UsageError, program
from toolbox.terminal import StopRequest

log = logging.getLogger("commander")


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command line; returns the exit code: 0, or the code of the error's class."""
    return terminal.guarded(argv, lambda argv, stop: run_command(args.parse(argv), stop), args.SHORT_HELP)


def run_command(given: Mapping[str, Any], stop: StopRequest) -> None:
    """Call the command that the flags `given` select."""
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
    if args.unused(given) and not (given.get("list") or given.get("compare") or given.get("report")):
        from commands import choices

        choices.look_up(args.resolve(given))  # an ignored flag with an unknown name is an error too
    if not (given.get("test") or given.get("explain")):  # these two read config.json first
        given = args.without_unused(given)
    flags = args.resolve(given)
    if flags.list is not None:
        sys.stdout.write(f"{commands.listed(flags.list)}\n")
    elif flags.download or flags.explore or flags.export_charts:
        from commands import data

        data.look(flags)
    elif flags.compare:
        from commands import compare

        compare.compare(flags)
    elif flags.report:
        from commands import report

        report.rebuild(flags)
    elif flags.predict:
        from commands import predict

        predict.predict(given)
    elif flags.export or flags.cite:
        from commands import export

        (export.export if flags.export else export.cite)(given)
    elif flags.explain:
        from commands import explain

        explain.explain(given, stop)
    elif flags.test:
        from commands import evaluate
        from commands.trained import TrainedRun

        evaluate.evaluate(TrainedRun.open(given))
    elif flags.resume:
        from commands import fit
        from commands.trained import TrainedRun

        fit.resume(TrainedRun.open(given), stop)
    else:
        from commands import fit

        fit.start(flags, given, stop)


if __name__ == "__main__":
    sys.exit(main())
