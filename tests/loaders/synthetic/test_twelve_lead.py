"""Generated twelve-lead records: the same at every start, of their rhythm by the project's own detector, true to the
leads."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from helpers.commands import carried_out
from loaders import filters, get_data
from loaders.base import Data, Rows
from loaders.families import twelve_lead
from loaders.files.cache import Arrays
from loaders.synthetic import twelve_lead as synth
from toolbox.ecg import rpeaks
from toolbox.errors import UsageError

CLASSES = ("AFIB", "GSVT", "SB", "SR")


@pytest.fixture(scope="module")
def made() -> Arrays:
    return synth.generated()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("synth_rhythms")


@pytest.fixture(scope="module")
def data(folder: Path) -> Data:
    return get_data("synth_rhythms", folder)


@pytest.fixture(scope="module")
def rr_s(made: Arrays) -> list[np.ndarray]:
    """The RR intervals of each record, of the peaks that are found in lead II."""
    return [
        np.diff(rpeaks.in_signal(samples[1] / 1000, twelve_lead.RATE_HZ)) / twelve_lead.RATE_HZ
        for samples in made["samples"]
    ]


def sides(data: Data) -> tuple[Rows, Rows, Rows]:
    return data.train, data.val, data.test


def test_the_records_are_laid_out_as_in_the_real_database_and_the_same_at_every_start(data: Data, made: Arrays) -> None:
    spec = data.spec
    assert (spec.view, spec.channels, spec.samples, spec.rate_hz, spec.unit) == ("record", 12, 5000, 500, "mV")
    assert spec.leads == ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    assert (spec.classes, spec.importance, spec.image) == (CLASSES, (1, 1, 1, 1), None)
    np.testing.assert_array_equal(data.train.store.flat.reshape(made["samples"].shape), made["samples"])
    assert made["samples"].dtype == np.int16
    counts = sum(np.bincount(side.y, minlength=4) for side in sides(data))
    assert counts.tolist() == [50, 50, 80, 60]


def test_a_fifth_of_each_class_tests_whatever_the_seed_and_no_record_is_on_two_sides(data: Data, folder: Path) -> None:
    assert np.bincount(data.test.y).tolist() == [10, 10, 16, 12]
    assert [len(side) for side in sides(data)] == [173, 19, 48]
    assert len({name for side in sides(data) for name in side.record}) == 240
    assert len(data.shared_rows) == 0
    other = get_data("synth_rhythms", folder, seed=7)
    np.testing.assert_array_equal(other.test.of, data.test.of)
    assert not np.array_equal(other.val.of, data.val.of)


def test_limb_leads_obey_einthoven_and_goldberger(made: Arrays) -> None:
    one, two, three, right, left, foot = made["samples"][:, :6].astype(float).swapaxes(0, 1)
    np.testing.assert_array_equal(two, one + three)
    for lead, expected in ((right, -(one + two) / 2), (left, one - two / 2), (foot, two - one / 2)):
        np.testing.assert_allclose(lead, expected, atol=0.5)  # of a microvolt, by rounding


def test_the_chest_leads_turn_from_down_to_up_as_dower_has_it(made: Arrays) -> None:
    sinus = made["samples"][np.isin(made["rhythm"], ["SR", "SB"])].astype(float)
    sinus -= np.median(sinus, 2, keepdims=True)
    ratio = (sinus.max(2) / -sinus.min(2))[:, 6:]  # R to S, V1 to V6
    assert np.median(ratio[:, 0]) < 1 < np.median(ratio[:, 4])
    assert np.median(ratio[:, :2]) < np.median(ratio[:, 2:4]) < np.median(ratio[:, 4:])


def test_eight_leads_see_the_vector_by_the_published_matrix() -> None:
    assert synth.DOWER.shape == (8, 3)
    np.testing.assert_allclose(synth.twelve(synth.DOWER)[2], [-0.397, 1.301, -0.191])  # as printed there
    bump = synth.beats(
        np.array([1.0]), 1000, 500, vector=np.eye(6, 3), when_s=np.zeros((1, 6)), width_s=np.full(6, 0.01)
    )
    np.testing.assert_allclose(bump[:, 500], 1)
    np.testing.assert_allclose(bump[:, 505], np.exp(-0.5))


def test_a_beat_outside_of_the_record_leaves_what_reaches_into_it() -> None:
    how = {"vector": np.ones((6, 3)), "when_s": np.full((1, 6), 0.2), "width_s": np.full(6, 0.05)}
    bump = synth.beats(np.array([-0.1]), 1000, 500, **how)
    np.testing.assert_allclose(bump[:, 50], 6)  # 0.1 s, where its waves stand
    np.testing.assert_array_equal(synth.beats(np.array([9.0]), 1000, 500, **how), 0)


@pytest.mark.parametrize(
    ("rhythm", "low", "high"), [("SB", 35, 60), ("SR", 60, 100), ("SA", 60, 100), ("ST", 100, 155), ("SVT", 140, 195)]
)
def test_the_rate_fits_the_rhythm(made: Arrays, rr_s: list[np.ndarray], rhythm: str, low: float, high: float) -> None:
    rates = np.array([60 / rr.mean() for rr, own in zip(rr_s, made["rhythm"], strict=True) if own == rhythm])
    assert len(rates) == synth.COUNTS[rhythm]
    assert ((rates > low) & (rates < high)).all()


def test_fibrillation_is_irregular_and_sinus_arrhythmia_sways(made: Arrays, rr_s: list[np.ndarray]) -> None:
    spread = np.array([rr.std() / rr.mean() for rr in rr_s])
    by_rhythm = {rhythm: spread[made["rhythm"] == rhythm] for rhythm in synth.COUNTS}
    assert by_rhythm["AFIB"].min() > 0.1
    assert max(by_rhythm[rhythm].max() for rhythm in ("ST", "SVT", "SR")) < 0.05
    assert 0.05 < np.median(by_rhythm["SA"]) < 0.1


def test_rate_and_regularity_tell_the_classes_apart(data: Data, made: Arrays, rr_s: list[np.ndarray]) -> None:
    features = np.array([[rr.mean(), rr.std() / rr.mean()] for rr in rr_s])
    forest = RandomForestClassifier(30, random_state=0).fit(features[data.train.of], data.train.y)
    assert forest.score(features[data.test.of], data.test.y) > 0.9


def test_p_waves_precede_the_beats_of_a_sinus_rhythm_and_not_those_of_fibrillation(made: Arrays) -> None:
    height = {rhythm: [] for rhythm in ("AFIB", "SB")}
    for samples, rhythm in zip(made["samples"], made["rhythm"], strict=True):
        if rhythm in height:
            peaks = rpeaks.in_signal(samples[1] / 1000, twelve_lead.RATE_HZ)
            peaks = peaks[(peaks > 150) & (peaks < 4900)]
            mean = samples[1, peaks[:, None] + np.arange(-130, -35)].mean(0) / 1000
            height[rhythm].append(mean[30:70].max() - np.median(mean[:20]))
    assert np.median(height["SB"]) > 3 * abs(np.median(height["AFIB"]))


def test_leads_are_chosen_resampled_and_filtered_as_asked(data: Data, folder: Path) -> None:
    other = get_data("synth_rhythms", folder, rate=100, filter="bandpass:0.5:40", leads="V5, ii")
    assert (other.spec.samples, other.spec.rate_hz, other.spec.leads) == (1000, 100, ("V5", "II"))
    assert other.checksum != data.checksum
    few = data.val.x[0, [10, 1]]
    expected = filters.band_pass(few.astype(float), 500, low_hz=0.5, high_hz=40)
    np.testing.assert_allclose(other.val.x[0], filters.resample(expected, 500, 100), atol=6e-4)
    assert isinstance(other.val.store.flat, np.memmap)
    np.testing.assert_array_equal(other.test.record, data.test.record)


@pytest.mark.parametrize("normalise", twelve_lead.NORMALISATIONS)
def test_each_lead_is_brought_to_its_unit(data: Data, folder: Path, normalise: str) -> None:
    other = get_data("synth_rhythms", folder, normalise=normalise)
    x = data.val.x
    low, middle, high = np.percentile(x, (25, 50, 75), axis=2, keepdims=True)
    expected = {"none": x, "center": x - middle, "record": (x - middle) / (high - low)}[normalise]
    np.testing.assert_allclose(other.val.x, expected, rtol=1e-3, atol=1e-5)
    assert other.spec.unit == twelve_lead.NORMALISATIONS[normalise]


def test_under_another_label_map_the_same_records_test(data: Data, folder: Path, tmp_path: Path) -> None:
    each = get_data("synth_rhythms", folder, label_map="rhythm11")
    assert each.spec.classes == ("SB", "SR", "AFIB", "ST", "SA", "SVT")
    np.testing.assert_array_equal(each.test.of, data.test.of)
    (tmp_path / "own.csv").write_text("rhythm,class\nAFIB,af\nSR,no\nSI,no\n")
    own = get_data("synth_rhythms", folder, label_map=str(tmp_path / "own.csv"))
    assert own.spec.classes == ("af", "no")
    assert set(own.test.of) == set(data.test.of[np.isin(data.test.y, [0, 3])])
    assert "130 records of no class of own.csv, or of two in no side" in own.spec.split_rule


@pytest.mark.parametrize(("how", "what"), [
    ({"leads": "V7"}, "unknown --leads 'V7'; known are I, II, III"),
    ({"leads": "I,i"}, "names a lead twice"),
    ({"rate": 5.0}, "--rate is 5, must be 10 to 1000 Hz"),
    ({"filter": "notch"}, "unknown --filter 'notch'"),
    ({"filter": "bandpass:1:400"}, "400 Hz is not below half"),
    ({"normalise": "beat"}, "unknown --normalise 'beat'; known are center, none, record"),
    ({"label_map": "aami"}, "unknown --label-map 'aami'; known are rhythm4, rhythm11"),
    ({"split": "random"}, "--split is not for --dataset synth_rhythms"),
], ids=str)  # fmt: skip
def test_an_impossible_option_is_refused_before_anything_is_made(tmp_path: Path, how: dict, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        get_data("synth_rhythms", tmp_path, **how)
    assert what in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_network_trains_and_tests_on_it_end_to_end(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "synth_rhythms").mkdir()
    (tmp_path / "synth_rhythms" / "cache").symlink_to(folder / "synth_rhythms" / "cache")
    flags = ("--dataset", "synth_rhythms", "--model-name", "cnn1d_3", "--rate", "100", "--leads", "V5,ii")
    flags += ("--filter", "bandpass:0.5:40", "--epochs", "3")
    ended = carried_out(*flags, "--no-figures", "--batch-size", "32", "--root-dir", tmp_path)
    assert ended.code == 0, ended.err
    assert ended.result["test"]["macro_auroc"] > 0.6
    assert "one a patient, stratified by rhythm, 80/20, seed 42 under every --seed" in ended.err
