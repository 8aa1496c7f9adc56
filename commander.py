"""Assemble one run from its flags: train it, or test it. `python commander.py --help-all` names every flag.

Heavy imports stand inside the functions that need them, so that --help and a mistyped flag answer at once.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import args
import commands  # noqa: F401 (which adds the flags of datasets)
from toolbox import terminal
from toolbox.errors import UsageError, program
from toolbox.terminal import StopRequest

log = logging.getLogger("commander")


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command line; the exit code says what kind of error there was, 0 for none."""
    return terminal.guarded(argv, lambda argv, stop: run_command(args.parse(argv), stop), args.SHORT_HELP)


def run_command(given: Mapping[str, Any], stop: StopRequest) -> None:
    """One of the things a command line asks for: names, a download, a test, or a training."""
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
    if args.unused(given) and not (given.get("list") or given.get("compare")):
        from commands import choices

        choices.look_up(args.resolve(given))  # an unknown name is an error where it is ignored too
    if not (given.get("test") or given.get("explain")):  # these know more once they know their run
        given = args.without_unused(given)
    flags = args.resolve(given)
    if flags.list == "models":  # the one list that needs no torch
        import models

        sys.stdout.write(f"{models.table()}\n")
    elif flags.list is not None:
        from commands import choices

        sys.stdout.write("\n".join(choices.names(flags.list)) + "\n")
    elif flags.download or flags.explore or flags.export_charts:
        from commands import data

        data.look(flags)
    elif flags.compare:
        from commands import compare

        compare.compare(flags)
    elif flags.predict:
        from commands import predict

        predict.predict(given)
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
