"""--runs: the page of all runs of a root, written again at every end; and the page of runs compared."""

import json
import logging
import multiprocessing
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from markupsafe import escape

import args
import commander
from commands import compare, evaluate, fit, runs, trained
from helpers.commands import assert_error, carried_out
from helpers.data import ROOT
from helpers.pages import Page, in_browser, needs_browser
from helpers.runs import EVIL, made, rows, with_test
from toolbox.errors import BusyError
from toolbox.metrics import meanings
from toolbox.reports.runs import END, PAGE, START, known
from toolbox.runs import summary

WITHOUT_TORCH = """
import sys
from commander import main
code = main(["--runs", "--root-dir", sys.argv[1]])
sys.exit(code or bool({"torch", "sklearn", "matplotlib", "pandas", "scipy"} & sys.modules.keys()))
"""


def test_the_page_is_written_without_torch_and_its_path_is_printed(tmp_path: Path) -> None:
    made(tmp_path, 1)
    made(tmp_path, 2, lr=0.002)
    ended = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{tmp_path / PAGE}\n", "")
    assert {*known(tmp_path / PAGE)} == {"synth/runs/synth_cnn1d_3_1", "synth/runs/synth_cnn1d_3_2"}
    assert Page(tmp_path / PAGE).loaded == []  # the library of figures is loaded with the first figure
    assert (tmp_path / "plotly.min.js").is_file()
    assert_error(carried_out("--runs", "--root-dir", tmp_path / "none"), 3, "there is no folder of runs")


def test_a_row_has_the_typed_and_changed_flags_and_the_command_that_repeats_the_run(tmp_path: Path) -> None:
    made(tmp_path, data_file="../my data.csv", short_run=True, sampler=None, optimizer="sgd")
    (row,) = runs.rows(tmp_path)
    assert row["flags"].keys() >= {"data_file", "short_run", "optimizer", "lr", "task", "epochs"}
    assert "sampler" not in row["flags"]  # at its default
    words = shlex.split(row["words"])
    own = ["--data-file", str(tmp_path.parent / "my data.csv"), "--epochs", "2", "--optimizer", "sgd", "--short-run"]
    assert words == own
    _, _, *typed = shlex.split(row["command"])
    given = args.parse(typed)
    assert args.complaints(given) == []
    assert (given["dataset"], given["model_name"], given["short_run"]) == ("synth", "cnn1d_3", True)
    assert "lr" not in given  # not typed, but filled in


def test_a_run_in_parts_says_so_and_an_imported_one_has_no_command(tmp_path: Path) -> None:
    notes = [{"after_epoch": 1, "changed": {"lr": [0.1, 0.2]}}]
    made(tmp_path, 1, config={"overrides": notes})
    made(tmp_path, 2, config={"imported": {}})
    found = {row["name"][-1]: row for row in runs.rows(tmp_path)}
    assert "2 parts" in found["1"]["parts"]
    assert (found["2"]["parts"], found["2"]["command"]) == ("", "")


ENDS = {"--test": "evaluate", "--resume latest": "resume", "": "start"}


@pytest.mark.parametrize("typed", ENDS)
def test_every_end_of_a_run_writes_the_page_again(tmp_path: Path, typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run and its page: here an end alone, the run itself is made up."""
    done: list[str] = []

    def ended(name: str) -> Any:
        return lambda *given, **more: done.append(name) or made(tmp_path)

    monkeypatch.setattr(evaluate, "evaluate", ended("evaluate"))
    monkeypatch.setattr(fit, "resume", ended("resume"))
    monkeypatch.setattr(fit, "start", ended("start"))
    monkeypatch.setattr(trained.TrainedRun, "open", lambda given: SimpleNamespace())
    commander.run_command(args.parse([*typed.split(), "--dataset", "synth", "--root-dir", str(tmp_path)]), None)
    assert done == [ENDS[typed]]
    assert [row["state"] for row in known(tmp_path / PAGE).values()] == [summary.DONE]


def test_a_trained_run_is_on_the_page_of_its_root(short_run: SimpleNamespace) -> None:
    text = (short_run.root / PAGE).read_text()
    (row,) = json.loads(text.partition(START)[2].partition(END)[0])["rows"]
    assert (row["name"], row["state"]) == (short_run.path.name, summary.DONE)


def test_a_page_that_cannot_be_written_is_a_warning_and_a_foreign_file_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / PAGE).write_text("my own page")
    runs.refresh(tmp_path)
    (message,) = caplog.messages
    assert "was not written by this program" in message
    assert (tmp_path / PAGE).read_text() == "my own page"
    assert_error(carried_out("--runs", "--root-dir", tmp_path), 2, "not written by this program")
    assert [row["name"] for row in runs.rows(tmp_path)] == []
    caplog.clear()
    caplog.set_level(logging.INFO)

    def refused(root: Path) -> Path:
        raise PermissionError(13, "Permission denied", str(root))

    monkeypatch.setattr(runs, "write", refused)
    runs.refresh(tmp_path)  # of a read-only root, which is no fault
    assert caplog.messages == []


@pytest.mark.parametrize("spoil", ["not JSON", '{"form": 0, "rows": []}', '{"form": 1, "rows": [1]}', "[" * 10_000])
def test_a_page_with_other_rows_is_written_from_the_files(tmp_path: Path, spoil: str) -> None:
    made(tmp_path)
    (tmp_path / PAGE).write_text(f"{START}{spoil}</script>")
    runs.refresh(tmp_path)
    assert len(known(tmp_path / PAGE)) == 1
    before = (tmp_path / PAGE).read_bytes()
    runs.refresh(tmp_path)
    assert (tmp_path / PAGE).read_bytes() == before  # from its own rows


def test_commands_of_a_root_that_was_moved_name_its_new_place(tmp_path: Path) -> None:
    made(tmp_path / "old", data_file="mine.csv")
    runs.write(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    runs.write(tmp_path / "new")
    (row,) = known(tmp_path / "new" / PAGE).values()
    assert f"--data-file {tmp_path / 'new' / 'mine.csv'}" in row["command"]


def add_runs(root: Path, first: int) -> None:
    for number in range(first, first + 10):
        made(root, number)
        runs.write(root)


def test_two_processes_that_write_at_once_lose_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fork = multiprocessing.get_context("fork")
    at_once = [fork.Process(target=add_runs, args=(tmp_path, first)) for first in (1, 101)]
    for process in at_once:
        process.start()
    for process in at_once:
        process.join()
        assert process.exitcode == 0
    assert len(known(tmp_path / PAGE)) == 20
    monkeypatch.setattr(runs, "WAIT_S", 0.0)
    with runs._alone(tmp_path), pytest.raises(BusyError, match="another process"), runs._alone(tmp_path):
        pass


# Comparison


def compared(root: Path, *names: object, out: Path | None = None) -> SimpleNamespace:
    """The answer of --report with several runs."""
    return carried_out("--report", *names, "--root-dir", root, *(("-o", out) if out else ()))


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A root with two tested runs."""
    for number, lr in ((1, 0.005), (2, 0.002)):
        with_test(made(tmp_path, number, lr=lr), rows(number, right=0.3 + 0.3 * number))
    return tmp_path


def test_a_comparison_has_verdicts_and_paired_differences_of_compare(two: Path) -> None:
    names, path = ["synth_cnn1d_3_1", "synth_cnn1d_3_2"], two / "comparison.html"
    ended = compared(two, *names)
    assert (ended.code, ended.out) == (0, f"{path}\n")
    text = path.read_text()
    assert Page(path).loaded == ["plotly.min.js"]
    folders = [two / "synth" / "runs" / name for name in names]
    values = compare.measure([runs.RunFolder(folder) for folder in folders])
    of = values["against_the_first"][0]["macro_f1"]
    low, high = of["interval"]
    assert low > 0
    assert f"B - A is {of['difference']:+.4f} [{low:+.4f}, {high:+.4f}]. On these test rows B is better." in text
    over = meanings.part(values["macro_over"], values["classes"])
    lines = compare.lines(*values["runs"], values["against_the_first"][0], over=over)
    assert any(line[0] == "macro F1 over N, S, V, F" for line in lines)
    assert "<p>gross macro F1 over N, S, V, F: B - A is" in text
    assert all(f">{escape(cell)}</" in text for line in lines for cell in line)
    assert "synth_cnn1d_3_1: test macro F1 0.5000 [0.4000, 0.6000]; validation macro F1 0.5000 in epoch 2" in text
    assert compare.facts(values)[0] in text
    assert all(
        f">{escape(cell)}<" in text for row in compare.moved(values, values["against_the_first"][0]) for cell in row
    )
    assert compare.MOVED[0] in text
    assert '"paired": true' in text  # so no warning that the runs differ


def test_runs_that_cannot_be_paired_are_compared_without_differences_and_the_page_states_why(
    two: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    out, other = tmp_path_factory.mktemp("out") / "page.html", made(two, 3, score=None, epochs=1)
    ended = compared(two, "synth_cnn1d_3_1", other, out=out)
    assert ended.code == 0
    assert "no paired differences" in ended.err
    assert "has no test of its present weights" in out.read_text()
    assert out.stat().st_size > 10**6  # holds the library: it is sent on alone
    assert_error(compared(two, "synth_cnn1d_3_1", "synth_cnn1d_3_8"), 4, "unknown run")


@pytest.mark.parametrize("asked", ["--report", "--compare"])
def test_a_run_is_not_compared_with_itself(two: Path, asked: str) -> None:
    by_folder = two / "synth" / "runs" / "synth_cnn1d_3_1"
    ended = carried_out(asked, "synth_cnn1d_3_1", "synth_cnn1d_3_2", by_folder, "--root-dir", two)
    assert_error(ended, 2, "synth_cnn1d_3_1 is named twice", "each run once")
    assert not (two / "comparison.html").exists()


def test_pages_answer_programs_too(two: Path) -> None:
    """The path alone without --json, so that a shell can open it."""
    ended = carried_out("--runs", "--json", "--root-dir", two)
    assert ended.out.splitlines()[0] == str(two / PAGE)
    assert ended.result == {"page": str(two / PAGE), "runs": 2, "states": {"tested": 2}}
    names = [str(two / "synth" / "runs" / f"synth_cnn1d_3_{number}") for number in (1, 2)]
    ended = carried_out("--report", *names, "--json", "--root-dir", two)
    assert ended.result == {"page": str(two / "comparison.html"), "runs": names, "paired": True}


@needs_browser
def test_a_comparison_draws_its_curves_and_shows_names_as_text(two: Path) -> None:
    config = two / "synth" / "runs" / "synth_cnn1d_3_2" / "config.json"
    config.write_text(config.read_text().replace('"adamw"', json.dumps(EVIL)))
    assert compared(two, "synth_cnn1d_3_1", "synth_cnn1d_3_2", out=two / "page.html").code == 0
    found = in_browser(two / "page.html", COMPARED)
    assert found["lines"] == 6
    assert found["differ"] == ["--lr", "--optimizer"]
    assert found["images"] == 0


COMPARED = """
    const lines = document.querySelector(".js-plotly-plot").data.length;
    const images = document.querySelectorAll("img").length;
    const heads = [...document.querySelectorAll("#compared th[scope=row]")].map(th => th.textContent);
    return {lines, differ: heads.filter(text => text.startsWith("--")), images};
"""
