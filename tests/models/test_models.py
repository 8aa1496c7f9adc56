"""Every network: outputs of the right shape for any data, a gradient in every parameter, features joined at its head.

Networks for charts get small pictures; their own properties are in charts/test_vision.py.
"""

import functools
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from helpers.commands import carried_out
from helpers.data import by_kind, make_spec, spec_for
from loaders.base import last_sample
from loaders.synthetic import patients
from models import AUTOENCODERS, CLASSIFIERS, MODELS, VISION, Network, get_model
from toolbox.errors import UsageError
from toolbox.metrics import intervals

SPECS = (make_spec(), make_spec(channels=2), make_spec(samples=250), make_spec(classes=("normal", "abnormal")))
ON_SIGNALS = [name for name in MODELS if name not in VISION]
SEQUENTIAL = [name for name in CLASSIFIERS if name.startswith(("lstm", "gru")) and not name.endswith("flat")]
every_kind = pytest.mark.parametrize("name", by_kind(MODELS))


def build(name: str) -> tuple[nn.Module, torch.Tensor]:
    """The network with seeded weights, and a batch for it."""
    if name in VISION:
        model, x = pictured(name)
        model.train().zero_grad()
        return model, x
    torch.manual_seed(0)
    return get_model(name, make_spec()), torch.randn(3, 1, 187)


@functools.cache  # of some the weights alone take seconds
def pictured(name: str) -> tuple[nn.Module, torch.Tensor]:
    """A network for charts without dropout, and a batch for it."""
    torch.manual_seed(0)
    model = get_model(name, spec_for(name))
    for part in model.modules():
        if hasattr(part, "p"):
            part.p = 0.0
    return model, torch.rand(3, 3, 64, 96)


@pytest.mark.parametrize("name", by_kind(ON_SIGNALS))
def test_a_row_of_any_data_gives_a_row_of_finite_outputs(name: str) -> None:
    for spec in SPECS:
        x = torch.randn(3, *spec.shape)
        outputs = get_model(name, spec)(x)
        assert outputs.shape == (x.shape if name in AUTOENCODERS else (3, len(spec.classes)))
        assert outputs.isfinite().all()


@pytest.mark.parametrize("name", by_kind(ON_SIGNALS))
def test_rows_of_any_length_are_taken_and_too_short_ones_refused(name: str) -> None:
    for samples in (2, 32, *range(33, 50 if name in AUTOENCODERS else 34)):
        if name == "cnn1d_3" and samples < 33:
            with pytest.raises(UsageError, match=f"rows of 33 samples or more, tiny has {samples}"):
                get_model(name, make_spec(samples=samples))
            continue
        outputs = get_model(name, make_spec(samples=samples)).eval()(torch.randn(2, 1, samples))
        assert outputs.isfinite().all()
        assert outputs.shape == ((2, 1, samples) if name in AUTOENCODERS else (2, 5))


@pytest.mark.parametrize("name", by_kind(CLASSIFIERS))
def test_a_classifier_gives_logits_and_not_probabilities(name: str) -> None:
    model, x = build(name)
    logits = model(100 * x)
    assert (logits < 0).any()
    assert not torch.allclose(logits.sum(1), torch.ones(3), atol=0.01)
    assert not torch.allclose(logits.exp().sum(1), torch.ones(3), atol=0.01)


@every_kind
def test_the_gradient_reaches_every_parameter(name: str) -> None:
    model, x = build(name)
    outputs, labels = model(x), torch.tensor([0, 1, 2])
    loss = outputs.square().mean() if name in AUTOENCODERS else nn.functional.cross_entropy(outputs, labels)
    loss.backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        # A flat row is one step from a state of zeros, and a norm removes the bias before it.
        if "weight" in key and not (name.endswith("flat") and "weight_hh" in key):
            assert parameter.grad.any(), key


@every_kind
def test_the_output_of_a_row_does_not_depend_on_the_batch(name: str) -> None:
    model, x = build(name)
    model.eval()
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(x.flip(0)), model(x).flip(0), rtol=1e-4, atol=1e-5)


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


@pytest.mark.parametrize("name", by_kind(CLASSIFIERS))
def test_every_classifier_reads_samples_and_features(name: str) -> None:
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
