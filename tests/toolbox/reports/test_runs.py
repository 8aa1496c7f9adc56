"""runs.html in a browser: a thousand runs, filters, search, sort, comparison, and names of any kind as text."""

import json
from pathlib import Path

import pytest

from commands import runs as commands
from helpers.pages import in_browser, needs_browser
from helpers.runs import EVIL, made
from toolbox.reports import runs
from toolbox.runs import summary

MANY = 1000


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a thousand runs: a fifth of a study, one damaged, one with evil texts."""
    root = tmp_path_factory.mktemp("root")
    for number in range(1, MANY - 1):
        more = {"config": {"study": "grid"}} if number % 5 == 0 else {}
        made(root, number, dataset=f"d{number % 4}", score=number / MANY, lr=0.001 * (number % 3 + 1), **more)
    (made(root, MANY - 1) / "results.json").write_text("{")
    odd = {"test": {"macro_f1": 0.001, "intervals": {"macro_f1": None}, "without_interval": {"macro_f1": "9 records"}}}
    odd["test"]["by_patient"] = {"gross": {"macro_f1": 0.6}}
    (root / "d1" / "runs" / "d1_cnn1d_3_1" / "results.json").write_text(json.dumps(odd))
    made(
        root,
        MANY,
        config={"study": EVIL, "data": {"split_rule": EVIL, "classes": [EVIL]}},
        augment=EVIL,
        short_run=True,
    )
    return commands.write(root)


@needs_browser
def test_a_thousand_runs_are_filtered_searched_sorted_and_compared(page: Path) -> None:
    found = in_browser(page, USED)
    assert found["rows"] == MANY
    assert found["heads"] == ["validation macro F1", "test macro F1", "95 % interval"]
    assert found["dataset"] == 250  # 1 to 998, of which every fourth is of d2
    assert found["study"] == 199
    assert found["words"] == 66
    assert found["above"] == 8  # 991 to 998
    assert found["up"][:2] == ["0.0010", "0.0020"]
    assert found["down"][:2] == ["0.9980", "0.9970"]
    assert found["damaged"] == ["synth_cnn1d_3_999"]
    assert found["flags"] == ["--dataset", "--lr"]
    assert found["curves"] == 6
    assert "d0_cnn1d_3_4" in found["command"]
    assert "--report" not in found["command"]  # runs of two datasets have no paired differences
    assert found["images"] == 0
    assert found["wide"] <= 0
    assert found["said"] == {
        "macro F1 > 0.9905": [8, ""],
        "gross macro F1>0.5": [1, ""],
        "optimizer=adamw": [1000, ""],
        "macro_f2>0.5": [0, "No figure, column or flag is called macro_f2."],
        "lr>abc": [0, "lr is compared with a number, and abc is none."],
        "dataset=d2": [250, ""],
        "dataset!=d2": [750, ""],
        "dataset == d2": [250, ""],
        "model=cnn1d_3 version=3": [1, ""],
        "state=damaged": [1, ""],
        "study=grid": [199, ""],
        "state!=damaged": [999, ""],
        "validation macro F1>0.9": [0, ""],
        "short_run=on": [1, ""],
        "short_run=true": [1, ""],
        "epochs>=": [0, "epochs>= has no value after >=."],
        "=5": [0, "=5 has no name before =."],
        "": [1000, ""],
    }
    assert "[" not in found["last"][0] + found["last"][1]  # without an interval, in both directions
    assert found["last"][2] == "["
    assert found["key"] == "macro_f1"
    assert found["missing"] == "n/a: known in 9 records"
    assert found["offered"] == [True, False]


USED = """
    const find = id => document.getElementById(id), pause = ms => new Promise(done => setTimeout(done, ms));
    const rows = () => [...find("table").tBodies[0].rows];
    const settle = async () => {
      await pause(150);  // a search waits for the next letter
      for (let i = 0; i < 500 && find("table").ariaBusy === "true"; i++) await pause(10);
    };
    const choose = async (name, text) => {
      const label = [...document.querySelectorAll("#tools label")].find(each => each.textContent.startsWith(name));
      const select = label.querySelector("select");
      select.value = [...select.options].find(option => option.textContent.startsWith(text)).value;
      select.onchange();
      await settle();
    };
    const search = async text => {
      find("search").value = text;
      find("search").oninput();
      await settle();
      return rows().length;
    };
    await settle();
    const found = {rows: rows().length, images: document.querySelectorAll("img").length};
    found.wide = document.documentElement.scrollWidth - innerWidth;
    const heads = [...find("table").tHead.rows[0].cells].map(cell => cell.textContent);
    found.heads = heads.slice(4, 7);
    await choose("dataset", "d2");
    found.dataset = rows().length;
    await choose("dataset", "all");
    await choose("study", "grid");
    found.study = rows().length;
    found.words = await search("--lr 0.001");
    await choose("study", "all");
    found.above = await search("macro_f1>0.9905 EPOCHS>=2");
    await search("damaged");
    found.damaged = rows().map(row => row.cells[1].textContent);
    await search("");
    found.said = {};
    const asked = ["macro F1 > 0.9905", "gross macro F1>0.5", "optimizer=adamw", "macro_f2>0.5", "lr>abc", "dataset=d2",
      "dataset!=d2", "dataset == d2", "model=cnn1d_3 version=3", "state=damaged", "study=grid", "state!=damaged",
      "validation macro F1>0.9", "short_run=on", "short_run=true", "epochs>=", "=5", ""];
    for (const text of asked) found.said[text] = [await search(text), find("complaint").textContent];
    found.key = find("table").tHead.rows[0].cells[5].title;
    await search("gross macro F1>0.5");
    found.missing = rows()[0].cells[6].textContent;
    await search("");
    const at = heads.indexOf("test macro F1"), values = () => rows().slice(0, 3).map(row => row.cells[at].textContent);
    const sort = async () => { find("table").tHead.rows[0].cells[at].firstChild.click(); await settle(); };
    const ends = find("table").tHead.rows[0].cells[6].firstChild;
    const of_ends = () => rows().map(row => row.cells[6].textContent[0]);
    ends.click();
    await settle();
    found.last = [of_ends().slice(-1)];
    find("table").tHead.rows[0].cells[6].firstChild.click();
    await settle();
    found.last.push(of_ends().slice(-1), of_ends()[0]);
    await sort();
    found.up = values();
    for (const place of [3, 4]) rows()[place].querySelector("input").click();
    await sort();
    found.down = values();
    for (let i = 0; i < 100 && !document.querySelector("#curves .js-line"); i++) await pause(50);
    const texts = [...document.querySelectorAll("#compared th[scope=row]")].map(th => th.textContent);
    found.flags = texts.filter(text => text.startsWith("--"));
    found.curves = document.querySelector("#curves .js-plotly-plot").data.length;
    found.command = find("commands").textContent;
    const offered = () => find("commands").textContent.includes("Paired differences");
    document.querySelector("#picked button").click();
    await search("d2_cnn1d_3_");
    for (const place of [0, 1]) rows()[place].querySelector("input").click();
    found.offered = [offered()];
    await search("d3_cnn1d_3_3");
    rows()[0].querySelector("input").click();
    found.offered.push(offered());
    return found;
"""


@needs_browser
def test_a_root_without_runs_has_a_page_and_a_phone_scrolls_only_the_table(tmp_path: Path) -> None:
    told = "return [document.getElementById('count').textContent, document.documentElement.scrollWidth <= 390]"
    nothing = "0 of 0 runs: nothing was trained in this folder yet."
    assert in_browser(commands.write(tmp_path), told, width=390) == [nothing, True]
    made(tmp_path, dataset="a_long_name_of_a_dataset" * 3)
    assert in_browser(commands.write(tmp_path), told, width=390) == ["1 of 1 runs.", True]


def test_texts_of_runs_are_visible_characters_and_no_markup(page: Path) -> None:
    text = page.read_text()
    assert "<img" not in text
    assert "\\u001b" not in text
    assert "\u202e" not in text
    assert text.count("</script>") == text.count("<script")
    row = json.loads(text.partition(runs.START)[2].partition(runs.END)[0])["rows"]
    (evil,) = [each for each in row if each["name"].endswith(f"_{MANY}")]
    assert "\\x1b[31m" in evil["study"]
    assert evil["href"] == evil["path"]


def test_the_metric_of_the_table_and_of_a_headline(tmp_path: Path) -> None:
    made(tmp_path, 1)
    (row,) = summary.of_root(tmp_path)
    assert runs.metrics_of([row]) == ["macro_f1", "loss", "accuracy"]
    assert row["headline"] == "macro_f1"
    detector = row | {"monitor": "loss", "test": {"auroc": 0.9, "f1": 0.5}, "val": {"loss": 1.0}}
    detector["headline"] = "auroc"
    assert runs.explorer([row, detector, detector], defaults={}, program="p")["metric"] == "auroc"
    patients = made(tmp_path, 2) / "results.json"
    test = {"macro_f1": 0.5, "by_patient": {"gross": {"macro_f1": 0.4}, "macro_over": ["N", "S"]}}
    patients.write_text(json.dumps({"test": test | {"per_class": {"N": {}, "S": {}, "Q": {}}}}))
    (of_patients,) = [row for row in summary.of_root(tmp_path) if row["version"] == "2"]
    assert (of_patients["headline"], of_patients["over"]) == ("gross macro_f1", ["N", "S"])
    assert runs.explorer([of_patients], defaults={}, program="p")["metric"] == "gross macro_f1"
    assert "test gross macro F1 over N, S 0.4000 (interval n/a)" in commands.verdict(of_patients)
    assert runs.explorer([], defaults={}, program="p")["metric"] == ""
