"""The front of encoders: rows are converted as the contract wants them, or refused with both values."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import signal, stats

from loaders.base import DataSpec
from models.encoders.contract import TWELVE, InputContract
from models.encoders.encoder import NORMALISATIONS, Front, Resampled
from toolbox.errors import DataError

SPEC = DataSpec(
    "check", "record", 12, 1000, 100.0, "mV", TWELVE, ("a", "b"), (1.0, 1.0), "drawn", "none", "none", many_labels=True
)
CONTRACT = InputContract(500, 10, unit="uV")


def rows(spec: DataSpec = SPEC, count: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(0, 0.5, (count, spec.channels, spec.samples))).float()


@pytest.mark.parametrize(
    ("rate_hz", "wanted_hz"), [(100, 500), (500, 100), (360, 500), (125, 500), (500, 500), (257, 250)]
)
def test_rows_are_resampled_as_scipy_does(rate_hz: float, wanted_hz: float) -> None:
    x = rows(count=2)[:, :2, :777]
    found = Resampled(rate_hz, wanted_hz)(x)
    expected = signal.resample_poly(x.double().numpy(), int(wanted_hz), int(rate_hz), axis=2)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_millivolts_and_microvolts_of_one_record_are_the_same_rows() -> None:
    x = rows()
    of_mv = Front(SPEC, CONTRACT)(x)
    of_uv = Front(replace(SPEC, unit="uV from the median of the record's lead"), CONTRACT)(1000 * x)
    torch.testing.assert_close(of_mv, of_uv)
    assert of_mv.abs().max() > 100


@pytest.mark.parametrize("unit", ["", "as given", "adu", "interquartile ranges from the median of the lead"])
def test_an_unknown_unit_is_refused_where_it_matters_and_else_taken(unit: str) -> None:
    with pytest.raises(DataError, match="the encoder takes uV, the rows have the unit"):
        Front(replace(SPEC, unit=unit), CONTRACT)
    joint = replace(CONTRACT, unit="", normalise="zscore")
    apart = unit.startswith("interquartile")
    if apart:
        with pytest.raises(DataError, match="the encoder takes one unit of all leads, the rows have the unit"):
            Front(replace(SPEC, unit=unit), joint)
    for normalise in ("rank", "zscore_lead", *(["zscore"] if not apart else [])):
        contract = replace(joint, normalise=normalise)
        of, of_scaled = Front(replace(SPEC, unit=unit), contract)(rows()), Front(SPEC, contract)(5 * rows())
        torch.testing.assert_close(of, of_scaled, atol=1e-3, rtol=1e-4)


def test_leads_are_taken_by_name_in_the_order_of_the_contract_and_lacking_ones_are_named() -> None:
    contract = replace(CONTRACT, rate_hz=100, leads=("V5", "I"), unit="mV")
    torch.testing.assert_close(Front(SPEC, contract)(rows()), rows()[:, [10, 0]])
    few = replace(SPEC, channels=2, leads=("I", "II"))
    with pytest.raises(DataError, match=r"takes 2 leads \(V5, I\), the rows have I, II"):
        Front(few, contract)
    one = replace(contract, leads=())
    with pytest.raises(DataError, match=r"takes one lead, the rows have 2: I, II .* Try: --leads I$"):
        Front(replace(few, name="ptbxl"), one)
    with pytest.raises(DataError, match=r"takes one lead, the rows have 2: I, II .* Try: a file with one of them$"):
        Front(replace(few, name="table"), one)
    unnamed = replace(SPEC, name="table", leads=tuple(f"lead {k}" for k in range(1, 13)))
    with pytest.raises(DataError, match=r"the rows have lead 1, .* Try: an NPZ with the array leads, a name for each$"):
        Front(unnamed, CONTRACT)


def test_longer_rows_are_refused_and_shorter_ones_filled_only_where_the_encoder_was_trained_so() -> None:
    five = replace(CONTRACT, seconds=5)
    for name, hint in (("ptbxl", "--crops 5s"), ("table", "rows of 5 s")):
        with pytest.raises(DataError, match=rf"takes 5 s, the rows have 10 s .* Try: {hint}$"):
            Front(replace(SPEC, name=name), five)
    with pytest.raises(DataError, match=r"Try: rows of 5 s$"):
        Front(replace(SPEC, name="mitdb", view="beat"), five)
    short = replace(SPEC, samples=300)
    for name, hint in (("ptbxl", "leave --crops out"), ("table", "rows of 10 s$")):
        with pytest.raises(DataError, match=rf"takes 10 s, the rows have 3 s .* Try: {hint}"):
            Front(replace(short, name=name), CONTRACT)
    with pytest.raises(DataError, match="takes 10 s, the rows have 3 s"):
        Front(short, CONTRACT)
    found = Front(short, replace(CONTRACT, pads=True))(rows(short))
    assert found.shape == (3, 12, 5000)
    assert not found[..., 1500:].any()
    with pytest.raises(DataError, match=r"rows at 99\.9 Hz cannot be resampled to 500 Hz"):
        Front(replace(SPEC, rate_hz=99.9, samples=999), CONTRACT)


def test_rows_of_a_table_without_a_rate_or_a_unit_need_them_stated() -> None:
    table = replace(SPEC, name="table")
    with pytest.raises(DataError, match=r"the rows have 1000 samples at an unknown rate .* Try: --rate-hz with"):
        Front(replace(table, rate_hz=1.0), CONTRACT)
    with pytest.raises(DataError, match=r"the unit 'as given' .* Try: rows in mV, an NPZ with the array unit$"):
        Front(replace(table, unit="as given"), CONTRACT)
    with pytest.raises(DataError, match=r"the unit 'interquartile ranges' .* Try: rows in mV, --normalise none$"):
        Front(replace(SPEC, name="ptbxl", unit="interquartile ranges"), CONTRACT)


def test_ranks_are_those_of_scipy_and_flat_rows_are_finite() -> None:
    x = torch.from_numpy(np.random.default_rng(1).integers(0, 9, (2, 3, 50))).float()
    expected = (stats.rankdata(x.numpy(), axis=2) - 1) / 49 * 2 - 1
    np.testing.assert_allclose(NORMALISATIONS["rank"](x), expected, atol=1e-6)
    for normalise in NORMALISATIONS.values():
        assert normalise(torch.full((2, 3, 50), 7.0)).isfinite().all()
    scaled = NORMALISATIONS["zscore"](rows())
    np.testing.assert_allclose(scaled.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std((1, 2), unbiased=False), 1, atol=1e-4)
