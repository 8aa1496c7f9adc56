"""Features beside the samples: every network takes them at its head, and a run with them is tested by patient."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from helpers.commands import carried_out
from helpers.data import BIG, spec_for
from loaders.synthetic import patients
from models import CLASSIFIERS, get_model
from toolbox.metrics import intervals


@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if name not in BIG])
def test_every_network_reads_samples_and_features_alike(name: str) -> None:
    torch.manual_seed(0)
    spec = replace(spec_for(name, samples=61), features=("rr_previous_s", "rr_next_s"))
    model, x, features = get_model(name, spec), torch.randn(4, *spec.shape), torch.rand(4, 2)
    model(x, features).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.eval()
    assert model(x, features).shape == (4, 5)
    assert not torch.equal(model(x, features), model(x, features + 1))
    assert not torch.equal(model(x, features), model(x.flip(2), features))


def test_a_run_with_rr_features_is_tested_by_patient_and_again_with_the_same_result(tmp_path: Path) -> None:
    run = ("--dataset", "synth_patients", "--model-name", "cnn1d_3", "--root-dir", tmp_path, "--no-figures")
    flags = ("--rr-features", "--augment", "noise,mixup", "--calibrate", "--tensorboard", "--short-run")
    flags += ("--epochs", "2")
    trained = carried_out(*run, *flags)
    assert trained.code == 0, trained.err
    assert {"gross", "average", "intervals", "calibration"} <= trained.result["test"]["by_patient"].keys()
    assert (Path(trained.result["run_folder"]) / "temperature.json").is_file()
    assert (Path(trained.result["run_folder"]) / "pred" / "by_record.csv").is_file()
    again = carried_out(*run, "--test")
    assert again.code == 0, again.err
    assert again.result == trained.result
    by_patient = trained.result["test"]["by_patient"]
    assert (by_patient["interval_method"], by_patient["from_s"], by_patient["beats_left_out"]) == (
        intervals.RECORD_METHOD,
        0,
        0,
    )
    assert by_patient["influence"]["accuracy"]["record"] in patients.NAMES
    later = carried_out(*run, "--test", "--from", "1:00")
    assert later.code == 0, later.err
    score = later.result["test"]["by_patient"]
    text = (Path(trained.result["run_folder"]) / "pred" / "by_patient.txt").read_text()
    assert score["from_s"] == 60
    assert f"scored from 0:01:00 of each record on: {score['beats_left_out']:,} earlier beats are left out" in text
    table = pd.read_csv(Path(trained.result["run_folder"]) / "pred" / "by_record.csv")
    tested, whole = later.result["covers"]["test_rows"]
    assert (table["beats"].sum() + score["beats_left_out"], whole) == (tested, 12 * patients.BEATS)
    assert later.result["test"]["accuracy"] == trained.result["test"]["accuracy"]  # of all rows
    gone = carried_out(*run, "--test", "--from", "3:00:00")
    assert "no test beat is at or after --from, 10800 s" in gone.err
    assert "by_patient" not in gone.result["test"]
