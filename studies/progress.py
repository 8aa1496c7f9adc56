"""How far a research is: one bar, a line for each worker, the time left; the same as lines of a log file.

with progress.logged(path):                  what is logged goes to stderr and into the file
    with Progress(total, done=3) as progress:
        progress.ended("1a2b3c4d_0", {"state": "done"}); progress.show(lambda: {"0": "1a2b3c4d_0 epoch 3/20"})
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolbox import plain, terminal

SHOW_S, LOG_S = 2.0, 30.0  # between two looks at the workers; between two lines of the log
log = logging.getLogger("commander")


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Write what is logged into `path` too, with times."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(plain.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()


class Above(logging.Handler):
    """Lines on stderr, above the bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        with tqdm.external_write_mode():
            terminal.say(f"{self.format(record)}\n")


class Progress:
    """One bar over `total` runs of which `done` were there before, and below it a line for each worker."""

    def __init__(self, total: int, *, done: int = 0) -> None:
        self.total, self.before, self.states = total, done, Counter()
        self.begun_s = self.logged_s = time.monotonic()
        self.shown_s = 0.0
        self.bar = terminal.bar(total=total, initial=done, unit="run", desc="research")
        self.lines: dict[str, Any] = {}

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        for line in (*self.lines.values(), self.bar):
            line.close()

    def ended(self, key: str, outcome: Mapping[str, Any]) -> None:
        """Count and say a run that came to an end."""
        self.states[outcome["state"]] += 1
        self.bar.update()
        log.info("%s %s%s", key, outcome["state"], f": {outcome['error']}" if outcome.get("error") else "")

    def show(self, asked: Callable[[], Mapping[str, str]]) -> None:
        """What each worker is at, by its name, every two seconds; into the log twice a minute."""
        now_s = time.monotonic()
        to_log = now_s - self.logged_s > LOG_S
        if now_s - self.shown_s < SHOW_S or (self.bar.disable and not to_log):
            return
        self.shown_s, doing = now_s, asked()
        for i, (name, text) in enumerate(sorted(doing.items())):
            if name not in self.lines:
                self.lines[name] = terminal.bar(position=i + 1, bar_format="{desc}", leave=False)
            self.lines[name].set_description_str(f"worker {name}: {text}")
        for name in self.lines.keys() - doing.keys():
            self.lines[name].set_description_str(f"worker {name}: waits")
        self.bar.set_postfix_str(self.left(), refresh=True)
        if to_log:
            self.logged_s = now_s
            told = "; ".join(f"worker {name}: {text}" for name, text in sorted(doing.items())) or "no worker has begun"
            _into_files(f"{self.before + self.states.total()} of {self.total} runs ended, {self.left()}; {told}")

    def left(self) -> str:
        """The time that is left, as long as the rest takes at the pace so far."""
        ended = self.states.total()
        if not ended:
            return "time left not known yet"
        left_s = (time.monotonic() - self.begun_s) / ended * (self.total - self.before - ended)
        return f"about {left_s / 60:.0f} min left" if left_s >= 90 else f"about {left_s:.0f} s left"


def _into_files(line: str) -> None:
    record = log.makeRecord(log.name, logging.INFO, __file__, 0, line, (), None)
    for handler in log.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)
