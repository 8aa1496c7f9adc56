"""--export and --predict --from-export: a network leaves the project, predicts without its run, and is refused if it
was changed; --cite prints what a run's reader has to cite."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import args
from commands import export
from commands.trained import TrainedRun
from helpers.commands import assert_error, carried_out, contents, on
from helpers.data import ROOT
from loaders import DATASETS
from loaders.synthetic import patients
from models import MODELS, NETWORKS
from models.charts import vision
from toolbox.contract import CARD, CONTRACT, sealed
from toolbox.reports import model_card
from toolbox.runs import exchange

pytest.importorskip("onnx", reason="requirements-export.txt")
pytest.importorskip("onnxruntime", reason="requirements-export.txt")
pytest.importorskip("safetensors", reason="requirements-export.txt")
PATIENTS = ("--dataset", "synth_patients", "--model-name", "cnn1d_3")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on generated patients with all that a contract can hold: features, weighed decisions, a
    temperature, and a label map in a file."""
    root = tmp_path_factory.mktemp("run")
    maps = root / "map.csv"
    maps.write_text("N,N\nA,A|b\nV,V\nF,V\nQ,Q\n")
    flags = "--short-run --no-figures --epochs 2 --rr-features --p-waves --calibrate --normalise record"
    flags += " --decision-weights 1,2,1,0.5 --sampler equal"
    ended = carried_out(*PATIENTS, *flags.split(), "--label-map", maps, "--root-dir", root)
    assert ended.code == 0, ended.err
    return root / "synth_patients" / "runs" / "synth_patients_cnn1d_3_1"


def of(run: Path, *flags: object) -> SimpleNamespace:
    """A command on the run, in this process."""
    return carried_out(*PATIENTS, "--root-dir", run.parents[2], *flags)


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of each format, away from the run."""
    folders = {form: tmp_path_factory.mktemp("exported") / form for form in exchange.FORMATS}
    for form, folder in folders.items():
        ended = of(run, "--export", form, "--out", folder)
        assert ended.code == 0, ended.err
        assert ended.result["export"] == str(folder)
        assert ended.result["tested"] is True
    return folders


@pytest.fixture
def damaged(exported: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the safetensors that can be changed."""
    return shutil.copytree(exported["safetensors"], tmp_path / "damaged")


def written(folder: Path, *, name: str = "p14", leads: str = "II", unit: str = "mV") -> Path:
    """A generated test patient as a WFDB record with its annotations; its header."""
    import wfdb

    folder.mkdir(exist_ok=True)
    seeds = np.random.SeedSequence(patients.SEED).spawn(patients.PATIENTS)[13]
    signal, symbols, peaks = patients.recording(np.random.default_rng(seeds))
    how: dict[str, Any] = {"fmt": ["16"], "adc_gain": [4000.0], "baseline": [0], "units": [unit], "sig_name": [leads]}
    wfdb.wrsamp(name, patients.RATE_HZ, p_signal=signal[:1].T, write_dir=str(folder), **how)
    wfdb.wrann(name, "atr", peaks, symbol=symbols.tolist(), fs=patients.RATE_HZ, write_dir=str(folder))
    return folder / f"{name}.hea"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("recording"))


def predicted(folder: Path, recording: Path, out: Path, *flags: object) -> SimpleNamespace:
    """--predict from an exported folder, where no run can be found."""
    return carried_out("--predict", recording, "--from-export", folder, "--out", out, "--root-dir", out / "no", *flags)


def test_a_prediction_from_the_folder_equals_the_prediction_from_the_run(
    run: Path, exported: dict[str, Path], recording: Path, tmp_path: Path
) -> None:
    assert of(run, "--predict", recording, "--out", tmp_path / "run").code == 0
    for form, folder in exported.items():
        ended = predicted(folder, recording, tmp_path / form)
        assert ended.code == 0, ended.err
    own = contents(tmp_path / "run")
    assert contents(tmp_path / "safetensors") == own
    assert json.loads(own["p14/p14.json"])["score"]["trained_on"] == "no"
    other = contents(tmp_path / "onnx")
    assert other.keys() == own.keys()
    assert other["p14/p14.pred"] == own["p14/p14.pred"]  # beats and their classes
    mine, theirs = (pd.read_csv(tmp_path / form / "p14/p14.csv") for form in ("run", "onnx"))
    assert mine["class"].tolist() == theirs["class"].tolist()
    assert np.abs(mine.filter(like="p_") - theirs.filter(like="p_")).to_numpy().max() <= 1e-4


def test_the_results_lie_in_the_folder_by_default_and_a_file_of_the_folder_names_it(
    damaged: Path, recording: Path
) -> None:
    ended = carried_out("--predict", recording, "--from-export", damaged / "model.safetensors")
    assert ended.code == 0, ended.err
    assert (damaged / "predict/p14/p14.csv").is_file()


def test_the_contract_states_the_run(run: Path, exported: dict[str, Path]) -> None:
    typed = args.parse([*PATIENTS, "--root-dir", str(run.parents[2]), "--export", "onnx"])
    trained, results = TrainedRun.open(typed), json.loads((run / "results.json").read_text())
    for form, folder in exported.items():
        contract = json.loads((folder / CONTRACT).read_text())
        assert export._spec_of(contract) == trained.spec
        assert str(run.parents[2]) not in (folder / CONTRACT).read_text() + (folder / CARD).read_text()
        assert (contract["weights"]["format"], contract["run"]["epoch"]) == (form, results["best_epoch"])
        assert contract["output"]["temperature"] == results["temperature"]
        assert contract["output"]["decision_weights"] == [1, 2, 1, 0.5]
        assert contract["output"]["symbols"] == {"N": "N", "A|b": "A", "V": "VF", "Q": "Q"}
        assert contract["network"]["parameters"] == results["cost"]["parameters"]
        assert contract["results"]["test"] == results["test"]
        assert contract["data"]["records"] == {"train": 11, "val": 1, "test": 12}
        assert contract["input"]["seconds"] == 1.2
        assert contract["input"]["preparation"]["window"] == "-0.4,0.8"


def test_the_card_has_each_metric_with_its_interval_under_the_split_protocol(
    run: Path, exported: dict[str, Path]
) -> None:
    card, results = (exported["onnx"] / CARD).read_text(), json.loads((run / "results.json").read_text())
    assert results["split_rule"] in card
    for name, ends in results["test"]["intervals"].items():
        (line,) = re.findall(rf"^\| {name} \| .*{results['test'][name]:.4f} \|.*$", card.split("by patient")[0], re.M)
        assert ends is None or f"{ends[0]:.4f} - {ends[1]:.4f}" in line
    for words in ("not a medical device", "of 11 records", "of 12 records", "multiply-accumulates", "@software{",
                  "A short run: the figures cover", "A\\|b", "--calibrate"):  # fmt: skip
        assert words in card, words
    command = re.search(r"How it was trained.*?python commander.py (.*?)\n", card, re.S)
    assert command
    assert args.complaints(args.parse(command[1].split())) == []


def test_the_same_export_gives_the_same_bytes_and_replaces_itself(run: Path, exported: dict[str, Path]) -> None:
    for form, folder in exported.items():
        before = contents(folder)
        assert of(run, "--export", form, "--out", folder).code == 0
        assert contents(folder) == before


def test_the_training_command_with_export_at_its_end_exports_into_the_run(run: Path, tmp_path: Path) -> None:
    root = shutil.copytree(run.parents[2], tmp_path / "root")
    ended = carried_out(*PATIENTS, "--root-dir", root, "--lr", "0.1", "--version", "bump", "--epochs", "9",
                        "--export", "safetensors")  # fmt: skip
    assert ended.code == 0, ended.err
    assert "ignored, --export does not depend on it" in ended.err
    assert (root / "synth_patients/runs" / run.name / "export/safetensors" / CONTRACT).is_file()


def test_files_of_others_are_not_replaced(run: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("mine")
    assert_error(of(run, "--export", "onnx", "--out", tmp_path), 2, "model.onnx is there already")
    assert contents(tmp_path) == {"model.onnx": b"mine"}


def test_onnx_that_differs_leaves_nothing_behind(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "TOLERANCE", -1.0)
    assert_error(of(run, "--export", "onnx", "--out", tmp_path / "out"), 5, "computes other outputs", "safetensors")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("form", "package"), [("onnx", "onnx"), ("onnx", "onnxruntime"), ("safetensors",) * 2])
def test_a_missing_package_is_named_with_its_extra(
    run: Path, exported: dict[str, Path], recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    form: str, package: str,
) -> None:  # fmt: skip
    for name in [name for name in sys.modules if name.partition(".")[0] == package] or [package]:
        monkeypatch.setitem(sys.modules, name, None)
    says = (f"the package {package} is not installed", "requirements-export.txt")
    assert_error(of(run, "--export", form, "--out", tmp_path / "out"), 6, *says)
    assert not (tmp_path / "out").exists()
    if package != "onnx":
        assert_error(predicted(exported[form], recording, tmp_path / "out"), 6, *says)


def test_an_untested_run_is_exported_and_its_card_says_that_nothing_is_known(copied_run: Path) -> None:
    (copied_run / "results.json").unlink()
    shutil.rmtree(copied_run / "pred")
    ended = on(copied_run, "--dataset", "synth", "--export", "safetensors")
    assert ended.code == 0, ended.err
    assert ended.result["tested"] is False
    assert "has no test of this checkpoint" in ended.err
    folder = copied_run / "export/safetensors"
    assert "This network has no test" in (folder / CARD).read_text()
    assert json.loads((folder / CONTRACT).read_text())["results"] is None


def test_results_of_another_epoch_are_not_those_of_the_network(copied_run: Path) -> None:
    results = json.loads((copied_run / "results.json").read_text())
    (copied_run / "results.json").write_text(json.dumps(results | {"best_epoch": 9}))
    ended = on(copied_run, "--dataset", "synth", "--export", "safetensors")
    assert "are of another epoch" in ended.err
    assert json.loads((copied_run / "export/safetensors" / CONTRACT).read_text())["results"] is None
    (copied_run / "results.json").write_text('{"test": 3}')
    assert_error(on(copied_run, "--dataset", "synth", "--export", "safetensors"), 4, "results.json: split_rule is")


def test_another_checkpoint_has_results_of_its_own(copied_run: Path) -> None:
    ended = on(copied_run, "--dataset", "synth", "--export", "safetensors", "--resume", "latest")
    assert ended.code == 0, ended.err
    contract = json.loads((copied_run / "export/safetensors" / CONTRACT).read_text())
    assert (contract["run"]["checkpoint"], contract["results"]) == ("latest", None)


@pytest.mark.parametrize("form", exchange.FORMATS)
def test_a_detector_is_exported_with_its_threshold_and_predicts_no_beats(
    root: Path, recording: Path, tmp_path: Path, form: str
) -> None:
    flags = ("--dataset", "synth", "--task", "detect", "--model-name", "linear_ae", "--root-dir", root)
    assert carried_out(*flags, "--short-run", "--no-figures", "--epochs", "1").code == 0
    ended = carried_out(*flags, "--export", form, "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
    threshold = json.loads((root / "synth/runs/synth_linear_ae_1/threshold.json").read_text())["threshold"]
    output = json.loads((tmp_path / "out" / CONTRACT).read_text())["output"]
    assert (output["threshold"], output["error"]) == (threshold, "l1")
    card = (tmp_path / "out" / CARD).read_text()
    assert f"{threshold:.6g}" in card
    assert "| auroc |" in card
    ended = predicted(tmp_path / "out", recording, tmp_path / "p")
    assert_error(ended, 2, "--predict needs a classifier")


# What is refused


def edited(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    contract = json.loads((folder / CONTRACT).read_text())
    change(contract)
    contract.pop("sha256")
    (folder / CONTRACT).write_text(json.dumps(sealed(contract)))


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no contract": (lambda folder: (folder / CONTRACT).unlink(), "no folder of --export"),
    "a contract cut off": (lambda folder: (folder / CONTRACT).write_text("{"), CONTRACT),
    "an edited contract": (
        lambda folder: (folder / CONTRACT).write_text((folder / CONTRACT).read_text().replace("125.0", "250.0")),
        "edited after the export",
    ),
    "weights cut off": (
        lambda folder: (folder / "model.safetensors").write_bytes(b"x"), "changed or truncated after the export",
    ),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "the weights cannot be read"),
    "weights of another network": (
        lambda folder: edited(folder, lambda contract: contract["flags"].update(model_name="resnet1d_10")),
        "the checkpoint is of another model",
    ),
    "an unknown network": (
        lambda folder: edited(folder, lambda contract: contract["flags"].update(model_name="mine")),
        "unknown --model-name 'mine'",
    ),
    "an invalid flag": (
        lambda folder: edited(folder, lambda contract: contract["flags"].update(members=1000)), "--members is 1000",
    ),
    "an unknown format": (
        lambda folder: edited(folder, lambda contract: contract["weights"].update(format="pickle")), "'pickle'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_changed_folder_is_refused_in_one_line(damaged: Path, recording: Path, tmp_path: Path, damage: str) -> None:
    change, words = DAMAGE[damage]
    change(damaged)
    assert_error(predicted(damaged, recording, tmp_path / "out"), 4, words)
    assert not (tmp_path / "out").exists()


def test_typed_flags_that_differ_from_the_run_are_refused_with_both_values(
    exported: dict[str, Path], recording: Path, tmp_path: Path
) -> None:
    folder, out = exported["onnx"], tmp_path / "out"
    for typed, words in {
        "--model-name resnet1d_10 --normalise beat": "--normalise is beat, the run was trained with record",
        "--dataset mitdb": "--dataset is mitdb, the run was trained with synth_patients",
        "--num-classes 7": "--num-classes is 7",
    }.items():
        assert_error(predicted(folder, recording, out, *typed.split()), 2, words)
    same = predicted(folder, recording, out, *PATIENTS, "--normalise", "record", "--calibrate", "--lr", "0.1")
    assert same.code == 0, same.err


def test_a_temperature_that_the_folder_lacks_is_not_invented(plain_run: Path, recording: Path, tmp_path: Path) -> None:
    assert on(plain_run, "--dataset", "synth", "--export", "onnx", "--out", tmp_path / "e").code == 0
    ended = predicted(tmp_path / "e", recording, tmp_path / "out", "--calibrate")
    assert_error(ended, 2, "--calibrate needs a fitted temperature")


def test_a_recording_that_breaks_the_contract_is_refused_as_by_the_run(
    run: Path, exported: dict[str, Path], tmp_path: Path
) -> None:
    broken = {
        "eeg": written(tmp_path / "eeg", name="eeg", leads="EEG Fp1"),
        "unit": written(tmp_path / "unit", name="unit", unit="adu"),
    }
    for name, header in broken.items():
        own = of(run, "--predict", header, "--out", tmp_path / "out")
        assert_error(own, 3, name)
        for folder in exported.values():
            ended = predicted(folder, header, tmp_path / "out")
            assert_error(ended, 3)
            assert ended.err.splitlines()[-1] == own.err.splitlines()[-1]
    lead = predicted(exported["onnx"], broken["eeg"], tmp_path / "out", "--leads", "V1")
    assert_error(lead, 3, "there is no lead 'V1'")


# Citations


def cited(*flags: object) -> str:
    ended = carried_out("--cite", *flags)
    assert ended.code == 0, ended.err
    return ended.out


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_is_cited_with_its_network_and_the_program(name: str, tmp_path: Path) -> None:
    text = cited("--dataset", name, "--root-dir", tmp_path)
    for key in (*DATASETS[name].cites, *MODELS["resnet1d_10"].cites, "ecg_commander"):
        assert text.count(f"{{{key},\n") == 1
    assert f"% data: {name}" in text


def test_what_a_run_needs_follows_from_its_flags(tmp_path: Path) -> None:
    mitdb = ("--dataset", "mitdb", "--root-dir", tmp_path)
    assert {"dechazal2004", "ec57"} <= {*keys(cited(*mitdb))}
    assert not {"dechazal2004", "guo2017", "lakshminarayanan2017"} & {*keys(cited(*mitdb, "--split", "random"))}
    assert "ec57" not in keys(cited(*mitdb, "--label-map", "symbols"))
    more = keys(cited(*mitdb, "--calibrate", "--members", "3", "--model-name", "gru_1"))
    assert {"guo2017", "lakshminarayanan2017", "cho2014"} <= {*more}
    charts = cited("--dataset", "chapman", "--view", "chart", "--model-name", "vit_b_16", "--pretrained")
    assert keys(charts) == ["zheng2020", "dosovitskiy2021", "torchvision2016", "russakovsky2015", "ecg_commander"]


def keys(text: str) -> list[str]:
    return re.findall(r"^@\w+\{(\w+),$", text, re.MULTILINE)


def test_the_flags_of_an_existing_run_are_its_own(run: Path, short_run: SimpleNamespace) -> None:
    text = cited(*PATIENTS, "--root-dir", run.parents[2])
    assert keys(text) == ["lecun1998", "guo2017", "ecg_commander"]  # a label map of its own, and a temperature
    assert "% data: synth_patients (generated by the program)" in text
    default = cited("--model-name", "cnn1d_3", "--root-dir", short_run.root)
    assert "mcsharry2003" in keys(default)
    assert_error(carried_out("--cite", *PATIENTS, "--root-dir", ROOT / "nowhere", "--version", "3"), 4, "no run")


def test_the_card_names_source_licence_and_data_of_the_weights_that_a_run_began_with() -> None:
    run = SimpleNamespace(flags=SimpleNamespace(model_name="openecg"), config={})
    assert export._published(run) == {}  # random weights
    run.config["pretrained"] = {"published": True, "sha256": "ab" * 32}
    facts = export._published(run)
    assert facts["published"]["sha256"] == "ab" * 32
    told = model_card._network({"name": "openecg", "arguments": None, "members": 1, "parameters": 5, "macs": 9} | facts)
    for what in (
        "began with weights of: Python package openecg",
        "licence: Apache-2.0",
        "input: one lead, 10 s at 500 Hz",
    ):
        assert f"- {what}" in told


def test_published_weights_stay_in_the_command_of_the_card_and_a_run_s_name_does_not() -> None:
    assert export._portable({"pretrained": "imagenet", "epochs": 3}) == {"pretrained": "imagenet", "epochs": 3}
    assert export._portable({"pretrained": "synth_cnn1d_3_1", "epochs": 3}) == {"epochs": 3}


def test_published_weights_of_an_encoder_are_not_those_of_imagenet() -> None:
    flags = args.resolve({"dataset": "ptbxl", "model_name": "openecg", "pretrained": "imagenet"})
    assert export._cited(flags, None)["network: openecg"] == NETWORKS["openecg"].cites
    charts = args.resolve({"dataset": "ptbxl", "model_name": "resnet18", "pretrained": "imagenet"})
    assert {*vision.CITES} <= {*export._cited(charts, None)["network: resnet18"]}
