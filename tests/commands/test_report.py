"""The page of a run: for every kind of run, from its folder alone, the same bytes each time, names as text."""

import json
import re
import shlex
import shutil
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import args
from commands.report import COMPARISON
from helpers.commands import assert_error, carried_out, on
from helpers.pages import Page, in_browser, needs_browser
from toolbox.plain import NOTICE
from toolbox.runs import summary
from toolbox.tasks import TASKS

EVIL = "<script>document.title='ran'</script>\x1b[31m"
SHORT = ("--epochs", "1", "--short-run", "--no-figures")
KINDS = {
    "classify": ("--dataset", "synth", "--model-name", "cnn1d_3"),
    "patients": ("--dataset", "synth_patients", "--model-name", "cnn1d_3", "--calibrate", "--from", "0:30"),
    "detect": ("--dataset", "synth", "--model-name", "linear_ae"),
    "twelve leads": ("--dataset", "synth_rhythms", "--model-name", "cnn1d_3"),
    "committee": ("--dataset", "table", "--model-name", "cnn1d_3", "--members", "2", "--cost"),
}
FIGURES = {"classify": 14, "patients": 18, "detect": 6, "twelve leads": 14, "committee": 18}
TRACES = {"classify": 1, "patients": 1, "detect": 2, "twelve leads": 13, "committee": 2}


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory, synth_cache: Path) -> SimpleNamespace:
    """A root with a run of every kind; to be left as it is."""
    root = tmp_path_factory.mktemp("report") / "data"
    (root / "synth").mkdir(parents=True)
    (root / "synth" / "cache").symlink_to(synth_cache)
    rng, record = np.random.default_rng(0), np.array([f"{EVIL}{k}" for k in np.repeat(np.arange(12), 10)])
    arrays = {"y": np.arange(120) % 2, "classes": np.array([f"{EVIL}well", "ill & <b>"]), "record": record}
    np.savez(root.parent / "my.npz", x=rng.normal(size=(120, 2, 64)), rate_hz=np.array(100.0), **arrays)
    runs = {}
    for kind, flags in KINDS.items():
        own = ("--data-file", root.parent / "my.npz") if kind == "committee" else ()
        ended = carried_out(*flags, *SHORT, *own, "--root-dir", root)
        assert ended.code == 0, ended.err
        runs[kind] = Path(ended.result["run_folder"])
    return SimpleNamespace(root=root, **{"runs": runs})


def text_of(page: Path) -> str:
    return unescape(page.read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_run_has_a_small_page_with_its_figures_and_rows(tested: SimpleNamespace, kind: str) -> None:
    run = tested.runs[kind]
    page = run / "report.html"
    text, results = text_of(page), json.loads((run / "results.json").read_text())
    assert page.stat().st_size < 1_000_000
    linked = [name for name in Page(page).loaded if not name.startswith(("#", "data:"))]
    assert linked[0] == "../../../plotly.min.js"
    assert all((run / name).is_file() for name in linked)
    assert text.count('class="plot"') == FIGURES[kind]
    assert text.count('class="trace"') + text.count('class="output"') >= TRACES[kind]
    assert results["split_rule"] in text
    assert "a short run: ten batches" in text
    parts = ["verdict", "classes", "metrics", "learning", "curves", "data", "model", "repeat"]
    parts += ["records"] * (kind in ("patients", "committee")) + ["calibration"] * (kind != "detect")
    assert set(re.findall(r'<h2 id="(\w+)"', text)) >= {*parts}
    assert not list((run / "pred").glob("*.html"))


def test_every_task_has_a_page(tested: SimpleNamespace) -> None:
    configs = [json.loads((run / "config.json").read_text()) for run in tested.runs.values()]
    assert {config["flags"]["task"] for config in configs} == {*TASKS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_made_again_has_the_same_bytes_and_needs_no_data(tested: SimpleNamespace, kind: str) -> None:
    run = tested.runs[kind]
    before = (run / "report.html").read_bytes()
    ended = carried_out("--report", run.name, "--root-dir", tested.root)
    assert (ended.code, ended.out) == (0, f"{run / 'report.html'}\n"), ended.err
    assert (run / "report.html").read_bytes() == before


def test_the_verdict_has_headline_interval_protocol_and_the_most_influential_record(tested: SimpleNamespace) -> None:
    run = tested.runs["patients"]
    text = text_of(run / "report.html").partition("<nav")[0]
    values = json.loads((run / "pred" / "by_patient.json").read_text())
    moved = values["influence"]["macro_f1"]
    assert f"{values['gross']['macro_f1']:.4f}" in text
    low, high = values["intervals"]["gross"]["macro_f1"]
    assert f"95 % interval {low:.4f} - {high:.4f}" in text
    assert f"{moved['record']}: without it gross macro F1 over N, S, V, F is {moved['without']:.4f}" in text
    assert "of 12 records" in text
    assert values["protocol"] in text


def test_names_are_text_in_the_whole_page(tested: SimpleNamespace) -> None:
    page = (tested.runs["committee"] / "report.html").read_text()
    assert "<script>document" not in page
    assert "<b>" not in re.sub(r"<b>[\d.]+</b>|<b>-</b>", "", page)
    assert "\x1b" not in page
    assert "\\x1b[31mwell" in page


def test_the_commands_repeat_the_run(tested: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tested.runs["committee"]
    monkeypatch.chdir(tested.root)
    commands = re.findall("<pre[^>]*>(.*?)</pre>", (run / "report.html").read_text(), re.DOTALL)
    train, test, again = (shlex.split(unescape(line).replace("$ROOT", str(tested.root))) for line in commands)
    start = next(i for i, word in enumerate(train) if word.startswith("--"))
    typed, config = args.parse(train[start:]), json.loads((run / "config.json").read_text())
    assert typed.keys() - {"root_dir"} == {*config["given"]}
    assert Path(typed.pop("data_file")).resolve() == (tested.root.parent / "my.npz").resolve()
    assert all(config["flags"][name] == value for name, value in typed.items() if name != "root_dir")
    wanted = {"root_dir": str(tested.root), "dataset": "table", "model_name": "cnn1d_3", "version": "1", "test": True}
    assert args.parse(test[start:]) == wanted
    assert args.parse(again[start:])["report"] == [run.name]


DRAWN = """
    dispatchEvent(new Event("beforeprint"));
    await new Promise(done => setTimeout(done, 3000));
    const closed = document.querySelectorAll("details:not([open])").length;
    const top = each => each.getBoundingClientRect().top, panels = [...document.querySelectorAll(".charts figure")];
    const lines = panels.map(each => [top(each), top(each.querySelector(".plot"))]);
    const level = lines.every(([own, plot]) => lines.every(each => each[0] !== own || each[1] === plot));
    dispatchEvent(new Event("afterprint"));
    document.querySelectorAll("details").forEach(each => { each.open = true; });
    const table = [...document.querySelectorAll("table.sortable")].pop(), column = [...table.querySelectorAll("th")];
    const at = Math.max(column.findIndex(head => head.textContent === "accuracy"), 0);
    column[at].querySelector("button").click();
    const cells = [...table.tBodies[0].rows].map(row => row.cells[at].textContent);
    const shown = name => [...document.querySelectorAll(`.of-${name}`)].filter(each => each.offsetParent).length;
    const before = [shown("true") > 0, shown("count")];
    document.querySelector('input[value="count"]').click();
    return {
        closed, level: level && new Set(lines.map(each => each[0])).size < lines.length,
        empty: [...document.querySelectorAll(".plot")].filter(box => !box.querySelector(".main-svg")).length,
        cells, before, after: [shown("true"), shown("count") > 0],
        wide: document.documentElement.scrollWidth <= innerWidth,
    };
"""


@needs_browser
@pytest.mark.parametrize("kind", ["patients", "detect"])
def test_in_a_browser_every_figure_draws_tables_sort_and_the_matrix_switches(
    tested: SimpleNamespace, kind: str, tmp_path: Path
) -> None:
    page = tmp_path / "a.html"
    shutil.copy(tested.root / "plotly.min.js", tmp_path)
    page.write_text((tested.runs[kind] / "report.html").read_text().replace("../../../plotly", "plotly"))
    found = in_browser(page, DRAWN, width=390)
    assert (found["empty"], found["wide"], found["closed"], found["level"]) == (0, True, 0, True)
    assert found["cells"] == sorted(found["cells"])
    assert (found["before"], found["after"]) == ([True, 0], [0, True])


def test_a_page_elsewhere_or_asked_for_holds_the_library(tested: SimpleNamespace, tmp_path: Path) -> None:
    run = tested.runs["classify"]
    page = tmp_path / "page.html"
    ended = carried_out("--report", run, "-o", page, "--root-dir", tested.root)
    assert (ended.code, ended.out) == (0, f"{page}\n"), ended.err
    assert [name for name in Page(page).loaded if not name.startswith("#")] == []
    assert 4_000_000 < page.stat().st_size < 6_000_000
    inside = run / "alone.html"
    alone = carried_out("--report", run, "--self-contained", "--out", inside, "--root-dir", tested.root)
    assert alone.code == 0, alone.err
    assert inside.stat().st_size > 4_000_000
    inside.unlink()


def test_a_test_of_another_checkpoint_has_its_own_page_and_leaves_the_first(copied_run: Path) -> None:
    before = (copied_run / "report.html").read_bytes()
    ended = on(copied_run, "--test", "--resume", "latest")
    assert ended.code == 0, ended.err
    assert (copied_run / "report.html").read_bytes() == before
    page = copied_run / "pred" / "latest" / "report.html"
    first = page.read_bytes()
    assert "latest checkpoint" in page.read_text()
    page.unlink()
    assert carried_out("--report", copied_run, "--root-dir", copied_run.parents[2]).code == 0
    assert page.read_bytes() == first


def test_a_run_without_a_test_has_a_page_that_says_so(copied_run: Path) -> None:
    (copied_run / "results.json").unlink()
    shutil.rmtree(copied_run / "pred")
    assert carried_out("--report", copied_run, "--root-dir", copied_run.parents[2]).code == 0
    text = text_of(copied_run / "report.html")
    assert "This run has no test" in text
    assert "Confusion matrix" not in text


def test_an_unfinished_training_is_named_and_its_page_made_again(copied_run: Path) -> None:
    config = json.loads((copied_run / "config.json").read_text())
    config["flags"]["epochs"] = 9
    (copied_run / "config.json").write_text(json.dumps(config))
    (copied_run / "results.json").unlink()
    assert on(copied_run, "--test").code == 0
    first = (copied_run / "report.html").read_bytes()
    assert "the training is not finished: 2 of 9 epochs" in first.decode()
    assert not (copied_run / "results.json").exists()  # which marks a finished run
    assert carried_out("--report", copied_run, "--root-dir", copied_run.parents[2]).code == 0
    assert (copied_run / "report.html").read_bytes() == first


def test_an_unfinished_training_that_was_tested_is_tested_for_every_reader(copied_run: Path) -> None:
    root = copied_run.parents[2]
    config = json.loads((copied_run / "config.json").read_text())
    config["flags"]["epochs"] = 9
    (copied_run / "config.json").write_text(json.dumps(config))
    (copied_run / "results.json").rename(copied_run / "pred" / "results.json")
    (row,) = summary.of_root(root)
    assert (row["state"], row["epochs"], row["of"]) == (summary.DONE, 2, 9)
    assert "the training is not finished: 2 of 9 epochs" in row["notes"]
    assert carried_out("--report", copied_run, "--root-dir", root).code == 0
    text = text_of(copied_run / "report.html")
    assert f"{row['test']['macro_f1']:.4f}" in text
    assert "This run has no test" not in text
    exported = on(copied_run, "--dataset", "synth", "--export", "safetensors")
    assert (exported.code, exported.result["tested"]) == (0, True), exported.err


@pytest.mark.parametrize("damage", ["removed", "cut", "of another test"])
def test_without_its_rows_a_page_has_everything_else(copied_run: Path, damage: str) -> None:
    kept = copied_run / "pred" / "report.npz"
    if damage == "removed":
        kept.unlink()
    elif damage == "cut":
        kept.write_bytes(kept.read_bytes()[:300])
    else:
        with np.load(kept) as arrays:
            np.savez(kept, **{**arrays, "index": arrays["index"] + 1})
    ended = carried_out("--report", copied_run, "--json", "--root-dir", copied_run.parents[2])
    assert ended.code == 0, ended.err
    assert ended.result == {"page": str(copied_run / "report.html"), "run": str(copied_run), "tested": True}
    assert ("report.npz cannot be read" in ended.err) == (damage != "removed")
    text = text_of(copied_run / "report.html")
    assert "Confusion matrix" in text
    assert "Rows to look at" not in text


def test_every_reason_for_doubt_is_named(copied_run: Path) -> None:
    results = json.loads((copied_run / "results.json").read_text())
    overlap = {"rows": 10, "trained_rows": 5, "validated_rows": 0, "records": 3, "known_records": ["a", "b"]}
    results |= {"shared_rows": 5, "trained_on": overlap, "doubts": ["it memorised"], "covers": {"test_rows": [3, 9]}}
    results["test"]["confusion_matrix"] = [[9, 0, 0, 0, 0]] * 5
    results["test"]["macro_f1"] = 0.9999
    (copied_run / "results.json").write_text(json.dumps(results))
    config = json.loads((copied_run / "config.json").read_text())
    config["overrides"] = [{"after_epoch": 1, "changed": {"lr": [0.1, 0.2]}}]
    (copied_run / "config.json").write_text(json.dumps(config))
    assert carried_out("--report", copied_run, "--root-dir", copied_run.parents[2]).code == 0
    text = text_of(copied_run / "report.html").partition("<nav")[0]
    for doubt in (
        "macro_f1 in results.json is 0.9999, in metrics.json",
        "macro F1, 0.9999, is outside of its 95 % interval",
        "5 test rows are also rows of train or validation",
        "2 tested records were trained or validated on",
        "the network has collapsed: one class for 100.0 % of the rows",
        "it memorised",
        "the figures cover 3 of 9 rows of test",
        "flags were changed after epoch 1: lr from 0.1 to 0.2",
    ):
        assert doubt in text, doubt


def test_what_cannot_be_reported_is_one_line(copied_run: Path, tmp_path: Path) -> None:
    root = copied_run.parents[2]
    assert_error(carried_out("--report", "nothing", "--root-dir", root), 4, "unknown run", copied_run.name)
    missing = tmp_path / "none" / "page.html"
    assert_error(carried_out("--report", copied_run, "-o", missing, "--root-dir", root), 2, "does not exist")
    assert_error(carried_out("--report", copied_run, "-o", tmp_path, "--root-dir", root), 2, "is the folder")
    for theirs, asked in (
        (tmp_path / "README.md", (copied_run, "-o", tmp_path / "README.md")),
        (root / COMPARISON, (copied_run, copied_run)),
    ):
        theirs.write_text(f"My notes. {NOTICE}")
        message = f"{theirs.name} exists already and was not written by this program"
        assert_error(carried_out("--report", *asked, "--root-dir", root), 2, message)
        assert theirs.read_text() == f"My notes. {NOTICE}"
    results = json.loads((copied_run / "results.json").read_text())
    for broken in ({**results, "test": {**results["test"], "per_class": 3}}, [1]):
        (copied_run / "results.json").write_text(json.dumps(broken))
        assert_error(carried_out("--report", copied_run, "--root-dir", root), 4, "--test again")
    (copied_run / "config.json").write_text("{}")
    assert_error(carried_out("--report", copied_run, "--root-dir", root), 4, "config.json")
