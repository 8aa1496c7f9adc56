"""Results are text for a person and JSON for a program; progress is a bar on a terminal, elsewhere lines in a log."""

import io
import json
import logging
import subprocess
import sys

import pytest

from toolbox import terminal
from toolbox.errors import ROOT


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_a_program_gets_json_and_a_person_a_text(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], as_json: bool
) -> None:
    monkeypatch.setattr(sys, "stdout", stream())
    terminal.answer({"loss": float("nan")}, at_terminal="a table", always="a title", as_json=as_json)
    first, *rest = sys.stdout.getvalue().splitlines()
    person = stream is Terminal
    assert first == "a title"
    assert rest[: len(rest) - (as_json or not person)] == ["a table"] * person
    assert not (as_json or not person) or json.loads(rest[-1]) == {"loss": None}


DULL = [{}, {"TERM": "dumb"}, {"NO_COLOR": "1"}]


@pytest.mark.parametrize("setting", DULL)
@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_progress_is_a_bar_on_a_terminal_that_can_and_wants_and_else_a_line_in_the_log(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    stream: type[io.StringIO],
    setting: dict[str, str],
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in ({"TERM": "xterm"} | setting).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", stream())
    monkeypatch.setattr(terminal, "LOG_EVERY_S", 0.0)
    asked = []
    with (
        caplog.at_level(logging.INFO),
        terminal.bar(total=40, unit="row", desc="epoch 1/2", figures=lambda: asked.append(1) or {"loss": "0.5"}) as bar,
    ):
        bar.update(10)
        bar.refresh()
    drawn = stream is Terminal and not setting
    assert ("\r" in sys.stderr.getvalue(), bool(caplog.messages)) == (drawn, not drawn)
    text = sys.stderr.getvalue() if drawn else caplog.messages[-1]
    assert all(part in text for part in ("epoch 1/2", "10", "40", "row/s", "loss=0.5"))
    assert drawn or "25 %, 10 of 40 rows" in text
    assert asked


def test_short_work_leaves_no_line_and_figures_are_not_computed_for_none(caplog: pytest.LogCaptureFixture) -> None:
    def figures() -> dict[str, str]:
        raise AssertionError("nobody looks")

    with caplog.at_level(logging.INFO):
        for _ in terminal.bar(iterable=range(5), figures=figures, desc="records", unit="record"):
            pass
    assert caplog.messages == []


def test_lines_come_at_their_interval_and_not_at_every_step(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now_s = [1000.0]
    with caplog.at_level(logging.INFO), terminal.bar(total=100, unit="row", desc="epoch 1/1", leave=False) as bar:
        monkeypatch.setattr(bar, "_time", lambda: now_s[0])
        bar.start_t = bar.last_print_t = now_s[0]
        for _ in range(100):
            now_s[0] += 1
            bar.update()
    assert len(caplog.messages) == 100 // terminal.LOG_EVERY_S
    assert caplog.messages[0].startswith("epoch 1/1: 30 %, 30 of 100 rows, 1.00 row/s, 01:10 left")


def test_work_without_a_total_and_work_that_is_not_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(terminal, "LOG_EVERY_S", 0.0)
    with caplog.at_level(logging.INFO), terminal.bar(unit="B", unit_scale=True, desc="rows.csv") as bar:
        bar.update(2_000_000)
    assert caplog.messages[-1].startswith("rows.csv: 2.00MB, ")
    assert terminal.bar(logged=False, total=1).disable


def test_modules_are_left_out_of_the_search_for_garbage_once_and_later_objects_are_searched() -> None:
    program = """
import gc
from toolbox import terminal

def searched(): return gc.isenabled(), gc.get_freeze_count()

with terminal.importing():
    assert not gc.isenabled()
on, modules = searched()
later = [[] for _ in range(1000)]
with terminal.importing():
    pass
assert on and modules > 1000 and searched() == (True, modules)
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
