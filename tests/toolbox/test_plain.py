"""A name that would steer a terminal, a log, a report or a page is shown as text, wherever it comes out; letters stay
letters."""

import html
import io
import json
import logging
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.commands import carried_out
from toolbox import plain, terminal
from toolbox.errors import DataError
from toolbox.reports import figures, pages, plots
from toolbox.reports.plots import Panel

ESC, OSC, BIDI = "\x1b[31mred", "\x1b]0;owned\x07", "abc\u202edcba\u2066"
EVIL = f"{ESC}{OSC}{BIDI}\r\nerror: forged\x00\x9b\u200b\udcff"
SEEN = "\\x1b[31mred\\x1b]0;owned\\x07abc\\u202edcba\\u2066\\r\\nerror: forged\\x00\\x9b\\u200b\\udcff"
UNSEEN = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
LETTERS = "µV ü 中文 \u3000Ωé\u00a0x 👍"


def test_control_characters_become_escapes_and_letters_stay() -> None:
    assert plain.escaped(EVIL) == SEEN
    assert plain.escaped(LETTERS) == plain.block(LETTERS) == LETTERS
    assert plain.block("a\nb\x1b\n") == "a\nb\\x1b\n"
    assert plain.lines(["a\nb", "c"]) == "a\\nb\nc"
    assert plain.markup("<b>\x1b</b>\u202e") == "&lt;b&gt;\\x1b&lt;/b&gt;\\u202e"


def logged(message: object, *args: object, name: str = "commander") -> str:
    record = logging.LogRecord(name, logging.INFO, __file__, 1, message, args, None)
    return plain.Formatter("%(message)s").format(record)


def test_a_value_in_a_line_of_the_log_stays_in_its_line() -> None:
    assert logged("%s: %d beats in %s", EVIL, 3, Path("/a\nb")) == f"{SEEN}: 3 beats in /a\\nb"
    assert logged(f"one message: {EVIL}") == f"one message: {SEEN}"
    assert logged("%(name)s", {"name": EVIL}) == SEEN
    assert logged("%5.1f%%", 12.34) == " 12.3%"
    assert logged("\n%s", plain.Block("a table\nof two lines\x1b")) == "\na table\nof two lines\\x1b"
    assert logged("of a library\nin two lines\x1b", name="distributed") == "of a library\nin two lines\\x1b"


def test_an_error_and_a_line_on_stderr_command_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = str(DataError(f"no {EVIL}", where=EVIL, hint=EVIL))
    assert not UNSEEN.search(text)
    assert "\n" not in text
    monkeypatch.setattr("sys.stderr", io.StringIO())
    terminal.say(f"worker {ESC}: {OSC}\n")
    assert sys.stderr.getvalue() == "worker \\x1b[31mred: \\x1b]0;owned\\x07\n"


def test_classes_leads_and_records_with_control_characters_are_shown_as_text(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(120, 1, 64)).astype(np.float32)
    names = EVIL.replace("\x00", "").replace("\udcff", "")
    arrays = {"y": np.arange(120) % 2, "classes": np.array(["ü中", names]), "leads": np.array([f"II{BIDI}"])}
    record = np.array([f"r{k}{ESC}\n" for k in np.repeat(np.arange(12), 10)])
    np.savez(tmp_path / "my.npz", x=x, record=record, rate_hz=np.array(100.0), **arrays)
    flags = ("--dataset", "table", "--data-file", tmp_path / "my.npz", "--model-name", "cnn1d_3", "--epochs", "1")
    done = carried_out(*flags, "--no-figures", "--root-dir", tmp_path / "root")
    assert done.code == 0, done.err
    run = Path(done.result["run_folder"])
    for text in (done.out, done.err, *(found.read_text() for found in run.rglob("*.txt"))):
        assert not UNSEEN.search(text)
        assert "\nerror: forged" not in text
    assert "ü中" in (run / "pred" / "report.txt").read_text()
    assert "\\x1b[31mred" in (run / "pred" / "report.txt").read_text()
    assert json.loads((run / "config.json").read_text())["data"]["classes"] == ["ü中", names]


def test_figures_and_their_pages_show_names_as_text(tmp_path: Path) -> None:
    panel = Panel(EVIL, EVIL, EVIL, lines=[(EVIL, [0, 1], [0, 1])], ticks=([0, 1], [EVIL, "ü"]))
    plots.save_panels([panel], tmp_path / "panel.png", columns=1, title=f"{EVIL}\nsecond line")
    shown = figures.of_panel(panel)
    pages.save(tmp_path / "page.html", "figures.html", title=EVIL, figures={EVIL: shown.drawn}, library=tmp_path)
    assert not UNSEEN.search(read(tmp_path / "page.html"))
    plots.save_png(plots.confusion_figure(np.eye(2), [EVIL, "b"], normalised=True, title=EVIL), tmp_path / "matrix.png")


def read(page: Path) -> str:
    """What a page shows: the JSON of its scripts and the rest, which is HTML, read."""
    scripts = re.compile("<script.*?</script>", re.DOTALL)
    texts = [
        re.sub(r"(?<!\\)\\u[0-9a-f]{4}", lambda found: json.loads(f'"{found[0]}"'), script)
        for script in scripts.findall(page.read_text())
    ]
    return html.unescape("".join([*texts, scripts.sub("", page.read_text())]))
