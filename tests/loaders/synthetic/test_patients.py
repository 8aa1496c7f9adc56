"""Generated patients: the same at every start, laid out as mitdb's beats, with what makes a protocol and RR features
matter."""

from pathlib import Path

import numpy as np
import pytest

from loaders import get_data
from loaders.base import Data, Split
from loaders.families.beat_features import RR_FEATURES as FEATURES
from loaders.synthetic import patients


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("synth_patients")


@pytest.fixture(scope="module")
def data(folder: Path) -> Data:
    return get_data("synth_patients", folder, rr_features=True)


def sides(data: Data) -> tuple[Split, Split, Split]:
    return data.train, data.val, data.test


def test_there_are_6000_beats_of_24_patients_and_five_classes_on_every_side(data: Data) -> None:
    assert sum(map(len, sides(data))) == 6000
    assert len({*data.train.record, *data.val.record, *data.test.record}) == 24
    for split in sides(data):
        assert (np.bincount(split.y, minlength=5) > 0).all()
        assert split.x.shape == (len(split), 1, 150)
        assert split.features.shape == (len(split), len(data.spec.features))
        assert (split.x.dtype, split.features.dtype, split.position.dtype) == (np.float32, np.float32, np.int64)
    assert (data.spec.unit, data.spec.features) == ("mV", FEATURES)
    assert "the first half of the generated patients trains" in data.spec.split_rule


def test_the_r_peak_of_a_normal_beat_stands_at_sample_50(data: Data) -> None:
    normal = data.test.x[data.test.y == 0, 0]
    assert np.mean(np.abs(np.abs(normal[:, 40:60]).argmax(1) - 10) <= 2) > 0.9


def test_positions_are_ascending_and_tell_the_rr_intervals(data: Data) -> None:
    for name in set(data.test.record):
        own = data.test.rows(np.flatnonzero(data.test.record == name))
        rr = np.diff(own.position) / patients.RATE_HZ
        assert (rr > 0).all()
        np.testing.assert_allclose(np.exp(own.features[:-1, 1]), rr.clip(0.1, 5), rtol=1e-5)


def test_supraventricular_beats_are_early_and_ventricular_ones_have_a_pause(data: Data) -> None:
    features = dict(zip(FEATURES, np.exp(data.train.features.T), strict=True))
    ratio = [np.median(features["rr_previous_to_mean"][data.train.y == k]) for k in range(5)]
    pause = [np.median(features["rr_previous_to_next"][data.train.y == k]) for k in range(5)]
    assert max(ratio[1:3]) < 0.85 < min(ratio[0], ratio[4])
    assert pause[2] < pause[1] < pause[0]


def test_patients_differ_more_than_the_beats_of_one(data: Data) -> None:
    normal = data.test.rows(np.flatnonzero(data.test.y == 0))
    means = np.stack([normal.x[normal.record == name, 0].mean(0) for name in sorted(set(normal.record))])
    within = np.mean([normal.x[normal.record == name, 0].std(0).mean() for name in set(normal.record)])
    assert means.std(0)[40:60].mean() > within


def test_every_protocol_and_each_option_of_rows_runs_without_real_data(data: Data, folder: Path) -> None:
    for split in ("random", "inter-patient-strict", "leave-one-record-out:p03", "kfold-patient:6"):
        rows = np.concatenate([side.index for side in sides(get_data("synth_patients", folder, split=split))])
        assert len(set(rows)) == len(rows) == 6000
    for options in ({"window": "-0.2,0.4"}, {"normalise": "typical"}):
        other = get_data("synth_patients", folder, **options)
        assert other.checksum != data.checksum
        assert other.test.x.shape != data.test.x.shape or not np.allclose(other.test.x, data.test.x)


def test_the_beats_are_the_same_at_every_start(data: Data, tmp_path: Path) -> None:
    assert get_data("synth_patients", tmp_path, rr_features=True).checksum == data.checksum
