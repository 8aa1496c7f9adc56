"""ptbxl from its files: every sample is that of its file, at both rates, in a folder and in a zip; faults are named."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
import torch
import wfdb

from helpers import ptbxl
from helpers.kaggle import make_zip
from loaders import get_data
from loaders.base import Data
from toolbox.errors import DataError, UsageError

SIDES = ("train", "val", "test")
REAL = "ptb-xl/ptb-xl-1.0.3-first-400.zip"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The records at 100 Hz, and the first ten at 500 Hz; to be left as they are."""
    folder = ptbxl.write(tmp_path_factory.mktemp("ptbxl") / "ptb-xl-1.0.3")
    for number in ptbxl.NUMBERS[:10]:
        ptbxl.write_signal(folder, number, 500)
    return folder


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    """A copy that can be damaged."""
    return shutil.copytree(folder, tmp_path / "own")


def load(root: Path, data_file: Path, **how: Any) -> Data:
    return get_data("ptbxl", root, data_file=data_file, **how)


def refused(root: Path, data_file: Path, **how: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(root, data_file, **how)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def assert_samples_are_those_of_the_files(data: Data, rate_hz: int) -> None:
    for side in (getattr(data, side) for side in SIDES):
        wanted = np.stack([ptbxl.at(int(number), rate_hz) for number in side.index]).astype(np.float32)
        np.testing.assert_allclose(side.x, wanted / 1000, rtol=1e-6)
        [(inputs, y)] = side.batches(torch.device("cpu")).batches(None, len(side))
        np.testing.assert_array_equal(inputs[0], side.x)
        np.testing.assert_array_equal(y, side.y)


def test_folds_patients_numbers_and_samples_are_those_of_the_files(folder: Path, tmp_path: Path) -> None:
    data = load(tmp_path, folder, labels="all")
    assert [side.index.tolist() for side in (data.train, data.val, data.test)] == [
        ptbxl.NUMBERS[:16], ptbxl.NUMBERS[16:18], ptbxl.NUMBERS[18:],
    ]  # fmt: skip
    assert data.train.record.tolist() == [str(patient) for patient in ptbxl.PATIENTS[:16]]
    assert_samples_are_those_of_the_files(data, 100)
    spec = data.spec
    assert (spec.rate_hz, spec.samples, spec.channels, spec.unit) == (100, 1000, 12, "mV")
    assert data.train.store.flat.dtype == np.int16
    assert isinstance(data.train.store.flat, np.memmap)
    for words in ("fold 10 of 10 tests", "no patient is in two splits", "fold 9, folds 1 to 8", "20 of 21,799 records"):
        assert words in spec.split_rule


def test_a_zip_is_the_same_data_as_its_folder(folder: Path, tmp_path: Path) -> None:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    packed = make_zip(tmp_path / "z.zip", {f"ptb-xl-1.0.3/{path.relative_to(folder)}": path for path in paths})
    for labels in ptbxl.SETS:
        one, other = (load(tmp_path, place, labels=labels, unlabelled="keep") for place in (folder, packed))
        assert one.checksum == other.checksum
        assert one.spec.classes == other.spec.classes == ptbxl.SETS[labels]
        for side in SIDES:
            np.testing.assert_array_equal(getattr(one, side).y, getattr(other, side).y)
            np.testing.assert_array_equal(getattr(one, side).x, getattr(other, side).x)
    for place in (folder, packed):
        line = refused(tmp_path, place, rate=500.0)
        for words in ("10 of 20 records have no files at 500 Hz", "20 have files at 100 Hz", "--rate 100", "drop"):
            assert words in line


def test_the_samples_are_on_disk_once_whatever_labels_and_rows_are_read(own: Path, tmp_path: Path) -> None:
    def stored() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "ptbxl" / "cache").rglob("samples.npy")}

    load(tmp_path, own)
    before = stored()
    assert len(before) == 1
    for how in ({"unlabelled": "keep"}, {"leads": "V1,II"}, {"normalise": "record"}, {"crops": "2.5s"}, {"seed": 7}):
        load(tmp_path, own, labels="all", **how)
    ptbxl.write_tables(own, [ptbxl.row(k) | {"scp_codes": "{'NORM': 100.0, 'SR': 0.0}"} for k in range(ptbxl.RECORDS)])
    for labels in (*ptbxl.SETS, "challenge"):
        load(tmp_path, own, labels=labels, unlabelled="keep")
    assert stored() == before
    for labels in ("super", "all"):
        load(tmp_path, own, labels=labels, filter="baseline")
    assert len(stored()) == 2


def test_leads_filters_and_normalisation_are_those_of_other_twelve_lead_records(folder: Path, tmp_path: Path) -> None:
    whole = load(tmp_path, folder).train.x
    data = load(tmp_path, folder, leads="V1,II", normalise="center")
    assert data.spec.leads == ("V1", "II")
    wanted = whole[:, [6, 1]]
    np.testing.assert_allclose(data.train.x, wanted - np.median(wanted, 2, keepdims=True), atol=1e-5)
    filtered = load(tmp_path, folder, filter="bandpass:1:40").train.x
    assert filtered.shape == whole.shape
    assert np.abs(filtered.mean(2)).max() < np.abs(whole.mean(2)).max() / 5


def test_records_of_a_rate_without_files_are_left_out_if_asked(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small = tmp_path / "small"
    shutil.copytree(folder, small)
    for number in ptbxl.NUMBERS[14:]:  # train, validation and test records
        ptbxl.write_signal(small, number, 500)
    with caplog.at_level(logging.WARNING):
        data = load(tmp_path, small, rate=500.0, bad_rows="drop", labels="all")
    assert "4 of 20 records have no files at 500 Hz, the first is record 21" in caplog.text
    assert_samples_are_those_of_the_files(data, 500)
    assert "4 records without files in no split" in data.spec.split_rule
    assert (len(data.train), data.train.dropped) == (12, 4)


DAMAGE: dict[str, tuple[Callable[[Path, np.ndarray], object], str]] = {
    "cut off": (lambda path, _: path.with_suffix(".dat").write_bytes(path.with_suffix(".dat").read_bytes()[:-24]), ""),
    "another sample": (lambda path, x: (x + 1).T.astype("<i2").tofile(path.with_suffix(".dat")), "checksum"),
    "another rate": (lambda path, _: path.write_text(path.read_text().replace(" 100 1000", " 250 1000")), "250 Hz"),
    "eleven leads": (lambda path, _: path.write_text(path.read_text().replace(" V6", " V7")), "V6 is missing"),
    "no header": (lambda path, _: path.write_text(""), "it is empty"),
    "volts": (lambda path, _: path.write_text(path.read_text().replace("1000.0(0)/mV", "1.0(0)/V")), "no microvolts"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_is_named_or_left_out_and_counted(damage: str, own: Path, tmp_path: Path) -> None:
    number = ptbxl.NUMBERS[3]
    change, words = DAMAGE[damage]
    change(own / f"{ptbxl.path(number, 100)}.hea", ptbxl.at(number, 100))
    line = refused(tmp_path, own)
    assert f"1 of 20 records fail the checks, the first record {number}: " in line
    assert words in line
    data = load(tmp_path, own, bad_rows="drop", labels="all")
    assert number not in data.train.index
    assert (len(data.train), data.test.dropped) == (15, 1)
    assert "1 records that fail the checks in no split" in data.spec.split_rule


def test_a_gain_of_the_header_is_applied(own: Path, tmp_path: Path) -> None:
    number = ptbxl.NUMBERS[0]
    header = own / f"{ptbxl.path(number, 100)}.hea"
    header.write_text(header.read_text().replace("1000.0(0)/mV", "500.0(0)/mV"))
    np.testing.assert_allclose(load(tmp_path, own).train.x[0], ptbxl.at(number, 100) / 500, rtol=1e-6)


def test_a_flat_lead_is_kept(own: Path, tmp_path: Path) -> None:
    samples = ptbxl.at(ptbxl.NUMBERS[0], 100).copy()
    samples[4] = 0
    ptbxl.write_signal(own, ptbxl.NUMBERS[0], 100, samples)
    assert not load(tmp_path, own).train.x[0, 4].any()


def test_missing_files_and_options_are_one_line(own: Path, tmp_path: Path) -> None:
    (own / f"{ptbxl.path(1, 100)}.dat").unlink()
    assert "1 of 20 records have no files at 100 Hz, the first is record 1; 10 have files at 500 Hz" in refused(
        tmp_path, own
    )
    shutil.rmtree(own / "records100")
    assert "20 of 20 records have no files at 100 Hz" in refused(tmp_path, own, bad_rows="drop")
    (own / "scp_statements.csv").unlink()
    assert "scp_statements.csv is missing" in refused(tmp_path, own)
    options = (("rate", 250.0, "100 and 500 Hz"), ("labels", "x", "super, sub"), ("unlabelled", "x", "drop, keep"))
    for option, value, words in options:
        with pytest.raises(UsageError, match=words):
            load(tmp_path, own, **{option: value})


COUNTS = {"super": 5, "sub": 23, "diagnostic": 44, "form": 19, "rhythm": 12, "all": 71}


@pytest.fixture(scope="module")
def real_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("real")


def test_the_real_records_have_the_published_sets_folds_and_counts(
    shared: Callable[[str], Path], real_root: Path
) -> None:
    path, found = shared(REAL), {}
    for labels, count in COUNTS.items():
        data = found[labels] = load(real_root, path, labels=labels, unlabelled="keep")
        assert len(data.spec.classes) == count
        assert list(data.spec.classes) == sorted(data.spec.classes)
        assert "400 of 21,799 records" in data.spec.split_rule
    with ZipFile(path) as archive, archive.open("ptb-xl-1.0.3/ptbxl_database.csv") as file:
        table = pd.read_csv(file, index_col="ecg_id")
    for side, folds in (("train", range(1, 9)), ("val", [9]), ("test", [10])):
        rows, of = getattr(data, side), table[table.strat_fold.isin(folds)]
        assert rows.index.tolist() == of.index.tolist()
        assert rows.record.tolist() == [f"{patient:.0f}" for patient in of.patient_id]
        for name, y in zip(data.spec.classes, rows.y.T, strict=True):
            assert y.sum() == of.scp_codes.str.contains(f"'{name}':", regex=False).sum(), name
    assert sum(len(getattr(found["super"], side)) for side in SIDES) == 400


def test_the_real_samples_are_those_that_wfdb_reads(
    shared: Callable[[str], Path], real_root: Path, tmp_path: Path
) -> None:
    with ZipFile(shared(REAL)) as archive:
        archive.extractall(tmp_path)
    for rate_hz, ending in ((100, "lr"), (500, "hr")):
        test = load(real_root, shared(REAL), labels="all", rate=float(rate_hz), bad_rows="drop").test
        for row, number in enumerate(test.index[:4]):
            path = tmp_path / "ptb-xl-1.0.3" / f"records{rate_hz}" / "00000" / f"{number:05}_{ending}"
            np.testing.assert_allclose(test.signal(row), wfdb.rdrecord(str(path)).p_signal.T, atol=1e-6)
