"""SIGTERM and Ctrl-C become a request that the training loop answers after its step.

Outside of the loop, or when asked a second time, they stop the process where it is, by raising `Interrupted`.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from toolbox.errors import Interrupted


class StopRequest:
    """`requested` is the signal's number once one came while `deferred()` was active, else None."""

    def __init__(self) -> None:
        self.requested: int | None = None
        self._deferring = False

    def install(self) -> None:
        """Answer SIGTERM and SIGINT from here on."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._answer)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Hold the first signal until the block asks for it with `check()`."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False

    def ignore(self) -> None:
        """Let no signal disturb the end of a command that is over."""
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
            os.write(
                2, b"stopping after this step; once more to stop at once\n"
            )  # a buffered stream may be in use right now
