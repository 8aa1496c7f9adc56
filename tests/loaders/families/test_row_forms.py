"""Records become beats: where each starts and ends, from which lead, with which class, and which records are
refused."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import wfdb

from helpers.data import MITDB_ZIP
from helpers.wfdb_records import R_PEAKS, ecg_like, write_record
from loaders.families import row_forms
from loaders.filters import resample
from toolbox.errors import DataError


@pytest.fixture(scope="module")
def records(shared: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records 100 and 114 of the MIT-BIH database."""
    folder = tmp_path_factory.mktemp("mitdb")
    with zipfile.ZipFile(shared(MITDB_ZIP)) as archive:
        for member in archive.namelist():
            if Path(member).stem in ("100", "114"):
                (folder / Path(member).name).write_bytes(archive.read(member))
    return folder


@pytest.mark.parametrize("name", ["100", "114"])
def test_each_beat_is_the_signal_from_its_r_peak_over_1_2_rr_and_zeros_after(records: Path, name: str) -> None:
    x, y = row_forms.kaggle_record_beats(records / f"{name}.hea")
    record, annotation = wfdb.rdrecord(str(records / name)), wfdb.rdann(str(records / name), "atr")
    signal = record.p_signal[:, record.sig_name.index("MLII")].copy()
    beats = [
        sample
        for sample, symbol in zip(annotation.sample, annotation.symbol, strict=True)
        if symbol in row_forms.NUMBERS
    ]
    assert len(x) == len(y) == len(beats) - 1
    likeness, time = [], np.arange(float(len(signal)))
    for row, beat, following in zip(x, beats[:-1], beats[1:], strict=True):
        length = min(round(1.2 * (following - beat) / 360 * 125), 187)
        at = (round(beat / 360 * 125) + np.arange(length)) * 360 / 125
        likeness.append(np.corrcoef(row[:length], np.interp(at, time, signal))[0, 1])
        assert not row[length + 1 :].any()
    assert np.quantile(likeness, 0.01) > 0.995
    assert min(likeness) > 0.9


def test_real_beats_start_at_their_r_peak_lie_in_0_to_1_and_carry_the_name_of_their_record(records: Path) -> None:
    arrays = row_forms.kaggle_beats(records)
    x = arrays["x"]
    assert (x.shape[1:], x.dtype, x.min()) == ((187,), np.float32, 0)
    assert (x.max(1) == 1).all()
    names, counts = np.unique(arrays["record"], return_counts=True)
    assert names.tolist() == ["100", "114"]
    assert counts.tolist() == [2272, 1878]
    normal = x[(arrays["record"] == "100") & (arrays["y"] == 0)]
    assert np.mean(normal[:, :80].argmax(1) <= 1) > 0.99  # the next R peak comes later


def test_the_lead_is_mlii_at_any_place_and_else_the_first(tmp_path: Path) -> None:
    for name, leads, taken in (
        ("1", {"V5": -ecg_like(), "MLII": ecg_like()}, ecg_like()),
        ("2", {"V5": ecg_like(), "V2": -ecg_like()}, ecg_like()),
    ):
        header = write_record(tmp_path / "two", name, leads=leads)
        alone = write_record(tmp_path / "one", name, leads={"MLII": taken})
        one, other = (row_forms.kaggle_record_beats(path)[0] for path in (header, alone))
        np.testing.assert_array_equal(one, other)


def test_the_last_beat_and_what_is_no_beat_are_left_out(tmp_path: Path) -> None:
    x, y = row_forms.kaggle_record_beats(write_record(tmp_path))
    assert y.tolist() == [0, 2, 1]
    lengths = [len(np.trim_zeros(row, "b")) for row in x]
    spans = 1.2 * np.diff(R_PEAKS[[0, 1, 3, 4]]) * 125 / 360  # the rhythm change between is no beat
    np.testing.assert_allclose(lengths, np.minimum(spans, 187), atol=1.5)


@pytest.mark.parametrize("peaks", [[], [500]], ids=["no beat", "one beat"])
def test_a_record_without_a_second_beat_has_no_rows(tmp_path: Path, peaks: list[int]) -> None:
    header = write_record(tmp_path, peaks=np.array([10, *peaks]), symbols=["+", "N"][: len(peaks) + 1])
    x, y = row_forms.kaggle_record_beats(header)
    assert (x.shape, y.shape) == ((0, 187), (0,))


def test_a_lead_that_is_constant_or_off_for_some_beats_gives_zeros_there(tmp_path: Path) -> None:
    x, y = row_forms.kaggle_record_beats(write_record(tmp_path, leads={"MLII": np.full(1440, 1.235)}))
    np.testing.assert_array_equal(x, np.zeros((3, 187)))
    assert len(y) == 3
    signal = 3 * ecg_like()
    signal[350:1045] = 4.5
    x, _ = row_forms.kaggle_record_beats(write_record(tmp_path, leads={"MLII": signal}, symbols=["N"] * 5))
    assert [bool(row.any()) for row in x] == [True, False, True, True]


def test_cut_takes_the_span_scales_it_and_pads_with_zeros() -> None:
    signal = np.array([9.0, 1, 3, 5, 2, 1, 9, 9])
    rows = row_forms.kaggle_cut(signal, np.array([1.0]), np.array([5 / 1.2]))
    np.testing.assert_allclose(rows[0, :5], [0, 0.5, 1, 0.25, 0])
    assert rows.shape == (1, 187)
    assert rows.dtype == np.float32
    assert not rows[0, 5:].any()


def test_cut_stops_at_the_end_of_the_signal_and_after_187_samples() -> None:
    signal = np.arange(1000.0)
    short, long = row_forms.kaggle_cut(signal, np.array([990.0, 100.0]), np.array([500.0, 500.0]))
    np.testing.assert_allclose(short[:10], np.arange(10) / 9)
    assert not short[10:].any()
    np.testing.assert_allclose(long, np.arange(187) / 186, rtol=1e-6)


def test_cut_rounds_a_peak_between_two_samples_to_the_nearer() -> None:
    signal = np.array([0.0, 10, 7, 4, 1, 0, 0, 0])
    rows = row_forms.kaggle_cut(signal, np.array([0.6, 1.4]), np.array([4 / 1.2, 4 / 1.2]))
    np.testing.assert_array_equal(rows[0], rows[1])
    assert rows[0, 0] == 1


def test_only_the_topmost_records_are_read_and_there_must_be_some(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no WFDB records") as caught:
        row_forms.kaggle_beats(tmp_path)
    assert caught.value.where == str(tmp_path)
    write_record(tmp_path / "db", "1")
    write_record(tmp_path / "db" / "x_mitdb", "x_1")
    assert set(row_forms.kaggle_beats(tmp_path)["record"]) == {"1"}


def test_records_of_the_index_that_are_missing_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_record(tmp_path, "201")
    (tmp_path / "RECORDS").write_text("201\n202\n203\n")
    assert set(row_forms.kaggle_beats(tmp_path)["record"]) == {"201"}
    assert "records in RECORDS are missing: 202 203" in caplog.text


@pytest.mark.parametrize("rate_hz", [10, 359.999999, 99999.999999])
def test_a_rate_that_does_not_divide_well_costs_no_more(rate_hz: float) -> None:
    resampled = resample(ecg_like(), rate_hz, row_forms.RATE_HZ)
    assert len(resampled) == pytest.approx(1440 * 125 / rate_hz, abs=1)
