"""research.py: refuses what cannot run before it writes anything, lists a grid, prints results, retries on request."""

import json
import sys
from csv import DictReader
from pathlib import Path

import pytest

import research
import studies
from helpers.studies import carried_out, free_port, make
from studies import runner, tables
from studies.ledger import DONE, FAILED, Ledger
from toolbox.errors import UsageError

GRID = "base: {dataset: synth, model-name: cnn1d_3, short-run: true}\ngrid: [{cross: {lr: [0.001, 0.005]}}]"
RANGES = "base: {dataset: synth}\ngrid: [{cross: {lr: 'loguniform(1e-4, 1e-1)', batch-size: 'randint(32, 64)'}}]"
NINE_AXES = ", ".join(f"a{i}: [{', '.join('0123456789')}]" for i in range(9))


def called(root: Path, *flags: str, text: str = GRID) -> int:
    """The exit code for a grid; a grid alone needs no flag."""
    path = root.parent / "g.yaml"
    path.write_text(text)
    return research.main([str(path), "--root-dir", str(root), *flags])


CROSS = "base: {{dataset: synth}}\ngrid: [{{cross: {{{}}}}}]".format
REFUSED = {  # the grid, the flags, what is said
    "unknown flag": (CROSS("lrr: [1]"), "", "unknown flag --lrr ("),
    "bad value": (CROSS("lr: [0.1, -1]"), "", "configuration 2 of 2: lr=-1"),
    "unknown network": (CROSS("model-name: [cnn1d_4]"), "", "unknown --model-name"),
    "flag of a command": (CROSS("version: [3]"), "", "--version cannot be set in a grid"),
    "no switch": (CROSS("short-run: [1]"), "", "must be true or false"),
    "two spellings": ("base: {dataset: synth, wd: 1, weight-decay: 2}", "", "are the same flag"),
    "no dataset": ("base: {lr: 0.1}", "", "names no dataset"),
    "axis of seeds": (CROSS("seed: [1, 2]"), "", "seed cannot be an axis"),
    "too many runs": (f"reps: 60000\n{CROSS('lr: [0.1, 0.2]')}", "", "are 120,000 runs"),
    "too many configurations": (CROSS(NINE_AXES), "", "1,000,000,000 configurations"),
    "range without search": (RANGES, "", "a range needs a search"),
    "range of bad values": (RANGES.replace("32, 64", "0, 64"), "--search tpe --trials 2", "--batch-size is 0"),
    "unknown search": (RANGES, "--search tpes --trials 3", "unknown --search"),
    "unknown pruner": (RANGES, "--search tpe --trials 3 --pruner x", "unknown --pruner"),
    "search without trials": (RANGES, "--search tpe", "--search needs --trials"),
    "trials without search": (RANGES, "--trials 3", "--trials goes with --search"),
    "seeds without best": (RANGES, "--seeds 3", "--seeds goes with --best"),
    "best alone": (RANGES, "--best", "--best goes with"),
    "no trial": (RANGES, "--search tpe --trials 0", "--trials is 0, must be from 1"),
    "branches of a search": (RANGES, "--search tpe --trials 2 --branches 2", "--branches goes with a grid"),
    "no branch": (GRID, "--branches 0", "--branches is 0, must be from 1"),
    "dry run of a search": (GRID, "--dry-run --search tpe --trials 3", "--dry-run lists a grid, not a search"),
    "grid and results": (GRID, "--results g", "leave the grid out"),
    "many workers": (GRID, "--workers 1000000", "--workers is 1000000, must be from 1 to 1000"),
    "many repetitions": (GRID, "--reps 1000000000", "--reps is 1000000000, must be from 1 to 100000"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_invalid_grids_and_flags_are_refused_before_anything_starts(
    root: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    text, flags, told = REFUSED[case]
    if "search" in case or "search" in flags:
        pytest.importorskip("optuna", reason="optuna is not installed")
    assert called(root, *flags.split(), text=text) == 2
    assert told in capsys.readouterr().err
    assert not (root / "research").exists()


def test_a_dry_run_lists_configurations_merges_equal_ones_and_warns_of_identical_networks(
    root: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    text = """
    base: {dataset: synth}
    reps: 2
    grid:
      - cross: {model-name: [resnet1d_v2_18, resnet1d_v2, cnn1d_3], lr: [0.001, 0.005]}
      - cross: {model-name: cnn1d_3, lr: [1e-3, 2e-3]}
    """
    assert called(root, "--dry-run", text=text) == 0
    listed = capsys.readouterr().out
    assert "1,560,059 parameters       26,453,158 MACs  model-name=resnet1d_v2_18 lr=0.001" in listed
    assert "7 configurations, 2 repetitions, 14 runs" in listed
    assert "configuration 7 (model-name=cnn1d_3 lr=1e-3) equals (model-name=cnn1d_3 lr=0.001)" in caplog.text
    assert "model-name=resnet1d_v2_18 and model-name=resnet1d_v2 build identical networks" in caplog.text
    assert "cnn1d_3 and" not in caplog.text


def test_a_failed_run_is_a_row_and_runs_again_on_request_alone(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    text = GRID.replace("true", "true, epochs: 1, grad-clip: 0").replace("0.005", "1000000")
    code, ledger = carried_out(root, monkeypatch, text, "--no-test")
    assert code == 1
    assert "not finite" in caplog.text
    good, bad = tables.rows(ledger)
    assert (good["state"], bad["state"]) == (DONE, FAILED)
    assert "not finite" in bad["error"]
    assert "test/loss" not in good  # no run opened the test set
    record = ledger.path / "runs" / f"{bad['cell']}_0.json"
    before = record.read_text()
    assert carried_out(root, monkeypatch, text, "--no-test")[0] == 1
    assert "--retry" in caplog.text
    assert before == record.read_text()
    assert "1 failed" in capsys.readouterr().out
    assert carried_out(root, monkeypatch, text, "--no-test", "--retry")[0] == 1
    assert before != record.read_text()
    assert research.main(["--results", "s", "--root-dir", str(root)]) == 1


def test_results_are_filtered_and_written_with_types_and_the_page_keeps_all(tmp_path: Path) -> None:
    ledger, csv = make(tmp_path), tmp_path / "out.csv"
    results = ["--results", "x", "--root-dir", str(tmp_path)]
    assert research.main(results) == 0
    page = (ledger.path / "index.html").read_text()
    assert research.main([*results, "--where", "layout=b", "rep=1", "--csv", str(csv)]) == 0
    assert research.main([*results, "--where", "layout=z"]) == UsageError.code
    assert (ledger.path / "index.html").read_text() == page
    (values,) = DictReader(csv.read_text().splitlines())
    assert (values["layout"], values["rep"], values["state"], values["parameters"]) == ("b", "1", DONE, "200")
    tested = json.loads((tmp_path / values["run"] / "results.json").read_text())["test"]
    assert float(values["test/macro_f1"]) == tested["macro_f1"]
    assert values["split_rule"].endswith("seed 43")
    for heading in ("Score against cost", "Parallel coordinates", "Learning curves", "Repetitions"):
        assert f"<h2>{heading}</h2>" in page


def test_two_commands_at_once_and_an_address_without_a_scheduler_are_refused(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger.open(root, "g").locked():
        assert called(root) == 8
    assert "the study is held by process" in capsys.readouterr().err
    monkeypatch.setattr(runner, "CONNECT_S", 1)
    address = f"tcp://127.0.0.1:{free_port()}"
    assert called(root, "--engine-address", address) == 6
    assert f"no scheduler answers ({address})" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["yaml", "distributed", "optuna", "cryptography"])
def test_a_missing_package_is_named_with_the_file_that_requires_it(
    root: Path, package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "studies.search", raising=False)
    monkeypatch.delattr(studies, "search", raising=False)
    assert called(root, *["--search", "random", "--trials", "1"] * (package == "optuna")) == 6
    told = f"the package {package} is not installed. Try: pip install -r requirements-research.txt"
    assert told in capsys.readouterr().err
