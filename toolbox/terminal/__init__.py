"""Streams, progress, signals and exit codes of every program here.

A stream may be closed, a pipe without a reader, a full disk or a terminal. `answer` prints the results of a command.
`bar` shows progress: a moving bar on a terminal, else a line in the log every 30 s. After SIGTERM or Ctrl-C the
training loop stops after its step; outside of the loop, or the second time, they raise `Interrupted`.
"""

import atexit
import gc
import io
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from types import FrameType
from typing import TYPE_CHECKING, Any

from toolbox import errors, plain
from toolbox.errors import CommanderError, Interrupted, ResourceError, UsageError

if TYPE_CHECKING:
    from tqdm import tqdm

NOBODY_READS = 141  # 128 + SIGPIPE, as a shell reports it
LOG_EVERY_S = 30.0  # between two lines of progress in the log
log = logging.getLogger("commander")


def open_closed_streams() -> None:
    """Open closed standard streams on /dev/null, so that no file of the run gets the numbers 0 to 2."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))
    if isinstance(sys.stdout, io.TextIOWrapper):  # a test may have replaced it
        sys.stdout.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Write `text` to stderr; errors of the stream are ignored."""
    with suppress(OSError):
        sys.stderr.write(plain.block(text))
        sys.stderr.flush()


def log_to(handler: logging.Handler, level: int = logging.INFO) -> None:
    """Send all log messages to `handler` alone, as text."""
    handler.setFormatter(plain.Formatter("%(message)s"))
    logging.basicConfig(handlers=[handler], level=level)


def close_stdout(code: int) -> int:
    """Flush stdout; the exit code, changed by a closed pipe or a full disk."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for the rest of the buffer
        if isinstance(error, BrokenPipeError):
            return code or NOBODY_READS
        say(f"error: cannot write to stdout: {error.strerror}\n")
        return code or ResourceError.code
    return code


def is_terminal(stream: Any) -> bool:
    """Whether a person reads the stream on a terminal."""
    return bool(stream and not stream.closed and stream.isatty())


def answer(values: Any, *, as_json: bool, at_terminal: str = "", always: str = "") -> None:
    """Print the results of a command on stdout: the text `always`, then another for a person or JSON for a program.

    A terminal gets the text `at_terminal`, and with `as_json` the JSON after it; anything else gets `values` as one
    line of JSON.
    """
    from toolbox import files

    seen = is_terminal(sys.stdout)
    if text := "".join(f"{text}\n" for text in (always, at_terminal if seen else "") if text):
        sys.stdout.write(text)
    if as_json or not seen:
        sys.stdout.write(json.dumps(files.finite(values)) + "\n")


def page(path: Any, facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the path of a written page on stdout and, with --json, a line of JSON with it and `facts`."""
    sys.stdout.write(f"{plain.escaped(path)}\n")
    if as_json:
        sys.stdout.write(json.dumps({"page": str(path), **facts}) + "\n")


def bar(*, logged: bool = True, figures: Callable[[], Mapping[str, str]] | None = None, **options: Any) -> "tqdm":
    """A progress bar on stderr, if that is a terminal with cursor control; else a line in the log every 30 s.

    `logged` False leaves these lines out. `figures` gives values to show, and is only called to show them; `options`
    are those of tqdm.
    """
    from toolbox.terminal import progress

    dull = os.environ.get("TERM") == "dumb" or "NO_COLOR" in os.environ
    if not dull and is_terminal(sys.stderr):
        return progress.Bar(figures, **options)
    if not logged:
        return progress.Bar(None, disable=True, **options)
    lines = progress.as_lines(log.info, every_s=LOG_EVERY_S, unit=options.get("unit", "it"))
    return progress.Bar(figures, **options | lines)


class StopRequest:
    """`requested` is the number of a signal received while `deferred()` was active, else None."""

    def __init__(self) -> None:
        self.requested: int | None = None
        self._deferring = False

    def install(self) -> None:
        """Handle SIGTERM and SIGINT from now on."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._answer)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Hold the first signal until the block calls `check()`."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False

    def ignore(self) -> None:
        """Ignore signals at the end of a command."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, signal.SIG_IGN)

    def check(self) -> None:
        """Raise `Interrupted` if a signal has come."""
        if self.requested is not None:
            raise Interrupted(self.requested)

    def _answer(self, signum: int, frame: FrameType | None) -> None:
        at_once = not self._deferring or self.requested is not None
        self.requested = signum
        if at_once:
            raise Interrupted(signum)
        with suppress(OSError):
            # Not through a buffered stream, which may be in use at this moment.
            os.write(2, b"stopping after this step; once more to stop at once\n")


@contextmanager
def importing() -> Iterator[None]:
    """Search for no garbage while modules are imported, and never among what they made, also at the program's end.

    torch makes some 300,000 objects, and each search through them takes a twentieth of a second or more.
    """
    gc.disable()
    try:
        yield
    finally:
        _leave_modules_out()
        gc.enable()


@cache
def _leave_modules_out() -> None:
    """Leave all objects that there are out of every search for garbage; once a process, as later ones may be some."""
    gc.freeze()
    atexit.register(gc.freeze)  # Python's last search would go through the modules that came later


def guarded(
    argv: Sequence[str] | None, command: Callable[[Sequence[str], StopRequest], int | None], short_help: str
) -> int:
    """Run `command` with safe streams and signals and return the exit code; without arguments, the short help."""
    argv = sys.argv[1:] if argv is None else argv
    open_closed_streams()
    stop = StopRequest()
    stop.install()
    code = attempt(argv, stop, command, short_help)
    stop.ignore()
    return close_stdout(code)


def attempt(
    argv: Sequence[str], stop: StopRequest, command: Callable[[Sequence[str], StopRequest], int | None], short_help: str
) -> int:
    """The command's exit code; an error is one line on stderr, with a traceback under --debug."""
    try:
        if not argv:
            say(short_help)
            return UsageError.code
        return command(argv, stop) or 0
    except SystemExit as ended:  # --help
        return ended.code if isinstance(ended.code, int) else bool(ended.code)
    except Interrupted as interrupted:
        say("interrupted\n")
        return interrupted.code
    except BrokenPipeError:
        return NOBODY_READS
    except Exception as error:
        if "--debug" in argv:
            traceback.print_exc()
        error = error if isinstance(error, CommanderError) else errors.unforeseen(error)
        say(f"error: {error}\n")
        return error.code
