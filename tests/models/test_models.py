"""Every network: outputs of the right shape for any data, a gradient in every parameter, features joined at its head.

Networks for charts get small pictures; their own properties are in charts/test_vision.py.
"""

from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from commands.check import networks
from helpers.commands import carried_out
from helpers.data import by_kind, make_spec
from loaders.base import last_sample
from loaders.synthetic import patients
from models import AUTOENCODERS, CLASSIFIERS, MODELS, VISION, Network, get_model
from toolbox.errors import UsageError
from toolbox.metrics import intervals

ON_SIGNALS = [name for name in MODELS if name not in VISION]
SEQUENTIAL = [name for name in CLASSIFIERS if name.startswith(("lstm", "gru")) and not name.endswith("flat")]
every_kind = pytest.mark.parametrize("name", by_kind(MODELS))


def build(name: str) -> tuple[nn.Module, torch.Tensor]:
    """The network with seeded weights, and a batch for it."""
    torch.manual_seed(0)
    return get_model(name, make_spec()), torch.randn(3, 1, 187)


def flat(name: str, key: str) -> bool:
    """A flat row is one step from a state of zeros."""
    return name.endswith("flat") and "weight_hh" in key


@every_kind
def test_a_network_passes_every_check(name: str) -> None:
    """What --check asks of a user's network."""
    checks = networks.checks(name)
    assert ("gives logits" in checks, "takes rows of any length, or refuses them" in checks) == (
        name not in AUTOENCODERS, name not in VISION
    )  # fmt: skip
    checks["passes a gradient to every parameter"] = partial(networks.gradients, idle=partial(flat, name))
    for about, check in checks.items():
        assert check(name) == "", about


@pytest.mark.parametrize("name", by_kind(ON_SIGNALS))
def test_only_rows_shorter_than_its_kernels_are_refused(name: str) -> None:
    for samples in networks.LENGTHS:
        if name == "cnn1d_3" and samples < 33:
            with pytest.raises(UsageError, match=f"rows of 33 samples or more, tiny has {samples}"):
                get_model(name, make_spec(samples=samples))
        else:
            get_model(name, make_spec(samples=samples))


@pytest.mark.parametrize("name", by_kind(SEQUENTIAL))
def test_a_recurrent_network_reads_every_sample_of_a_beat_and_none_of_its_padding(name: str) -> None:
    long, x = build(name)
    assert long(torch.zeros_like(x)).isfinite().all()
    short = get_model(name, make_spec(samples=120))
    short.load_state_dict(long.state_dict())
    x[:, :, 100:] = 0
    torch.testing.assert_close(long(x), short(x[:, :, :120]))
    torch.testing.assert_close(long(x), long(x[:, :, :100]))
    x[:, :, 10:] = 0
    for sample in (0, 5, 9):
        other = x.clone()
        other[:, :, sample] += 1
        assert not torch.allclose(long(x), long(other), atol=1e-6)


def test_the_last_sample_is_that_of_the_longest_lead_and_the_first_of_an_empty_row() -> None:
    x = torch.zeros(4, 2, 8)
    x[0, 0, 3] = x[0, 1, 5] = 1  # the second lead is longer
    x[1, 0, 7] = -1
    x[2, 0, 0] = 1
    assert last_sample(x).tolist() == [5, 7, 0, 0]


@pytest.mark.parametrize("target", ["signals.cnn2d:CNN1d", "signals.cnn1d:CNN2d"])
def test_a_declaration_of_a_missing_module_or_class_is_named(target: str) -> None:
    with pytest.raises(UsageError, match=r"models/__init__\.py names CNN.d, missing in models/signals/cnn.d\.py"):
        _ = Network(target, "a network that was moved").build


# Features beside the samples


def test_a_run_with_rr_features_is_tested_by_patient_and_again_with_the_same_result(tmp_path: Path) -> None:
    run = ("--dataset", "synth_patients", "--model-name", "cnn1d_3", "--root-dir", tmp_path, "--no-figures")
    flags = ("--rr-features", "--augment", "noise,mixup", "--calibrate", "--short-run", "--epochs", "1")
    trained = carried_out(*run, *flags)
    assert trained.code == 0, trained.err
    pred, by_patient = Path(trained.result["run_folder"]) / "pred", trained.result["test"]["by_patient"]
    assert {"gross", "average", "intervals", "calibration"} <= by_patient.keys()
    assert (pred.parent / "temperature.json").is_file()
    facts = [by_patient[name] for name in ("interval_method", "from_s", "beats_left_out")]
    assert facts == [intervals.RECORD_METHOD, 0, 0]
    assert by_patient["influence"]["accuracy"]["record"] in patients.NAMES
    again = carried_out(*run, "--test")
    assert again.result == trained.result, again.err
    later = carried_out(*run, "--test", "--from", "1:00")
    score = later.result["test"]["by_patient"]
    assert score["from_s"] == 60
    left_out = f"scored from 0:01:00 of each record on: {score['beats_left_out']:,} earlier beats are left out"
    assert left_out in (pred / "by_patient.txt").read_text()
    tested, whole = later.result["covers"]["test_rows"]
    beats = pd.read_csv(pred / "by_record.csv")["beats"].sum() + score["beats_left_out"]
    assert (beats, whole) == (tested, 12 * patients.BEATS)
    assert later.result["test"]["accuracy"] == trained.result["test"]["accuracy"]  # of all rows
    gone = carried_out(*run, "--test", "--from", "3:00:00")
    assert "no test beat is at or after --from, 10800 s" in gone.err
    assert "by_patient" not in gone.result["test"]
