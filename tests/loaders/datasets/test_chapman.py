"""chapman from its files: every sample and rhythm as they are there, in CSV and WFDB; faults counted, listed and
named."""

import csv
import logging
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from openpyxl import Workbook
from scipy.io import savemat

from helpers.chapman import RHYTHMS, samples_of, write_csv, write_labels
from helpers.commands import carried_out
from helpers.kaggle import make_zip
from helpers.servers import Server, whole
from loaders import DATASETS, FIGSHARE, get_data, splits
from loaders.base import Data
from loaders.datasets import chapman, chapman_records
from loaders.families import labels as labels_diagnoses
from loaders.families import twelve_lead
from loaders.files.sources import Remote
from loaders.records import RecordStore
from toolbox.errors import CommanderError, DataError, DownloadError, unforeseen

SIDES = ("train", "val", "test")
SAMPLES_ZIP, METADATA = "twelve-lead-samples.zip", "chapman-metadata"
OF_THE_PAPER = {
    "SB": 3889, "SR": 1826, "AFIB": 1780, "ST": 1568, "SVT": 587, "AF": 445, "SA": 399, "AT": 121, "AVNRT": 16,
    "AVRT": 8,
    "SAAWR": 7,
}  # fmt: skip
SPOILT = "MUSE_07"


def load(root: Path, data_file: Path | None = None, *, val_fraction: float = 0.2, seed: int = 42, **how: Any) -> Data:
    return get_data("chapman", root, data_file=data_file, val_fraction=val_fraction, seed=seed, **how)


def samples_in(store: RecordStore) -> np.ndarray:
    """All samples (R, 12, T) of a store."""
    return store.flat.reshape(len(store.name), 12, -1)


def write_record(
    folder: Path, name: str, samples: np.ndarray, codes: str, leads: tuple[str, ...] = twelve_lead.LEADS, **how: Any
) -> None:
    """A header and its MAT file of version 4, as of ecg-arrhythmia."""
    how = {"gain": "1000/mV", "zero": 0, "rate": 500} | how
    folder.mkdir(parents=True, exist_ok=True)
    savemat(folder / f"{name}.mat", {"val": samples.astype(np.int16)}, format="4")
    lines = [f"{name} {len(leads)} {how['rate']} {samples.shape[1]} 12-May-2020 12:33:59"]
    for lead, own in zip(leads, samples, strict=True):
        total = int(own.astype(np.int16).sum(dtype=np.int64))
        checksum = how.get("checksum", (total + 2**15) % 2**16 - 2**15)
        lines.append(f"{name}.mat 16+24 {how['gain']} 16 {how['zero']} {int(own[0])} {checksum} 0 {lead}")
    (folder / f"{name}.hea").write_text(
        "\n".join([*lines, "#Age: 85", "#Sex: Male", f"#Dx: {codes}", "#Rx: Unknown"]) + "\n"
    )


def code(rhythm: str) -> str:
    return f"59118001,{next(code for code, name in labels_diagnoses.CODES.items() if name == rhythm)}"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """21 recordings as CSV files in their folder, and the workbook beside it; to be left as they are."""
    folder = tmp_path_factory.mktemp("chapman")
    for name in RHYTHMS:
        write_csv(folder / "ECGDataDenoised", name, samples_of(name))
    write_labels(folder / "Diagnostics.xlsx")
    return folder


@pytest.fixture
def own(written: Path, tmp_path: Path) -> Path:
    """The same to be spoilt."""
    return shutil.copytree(written, tmp_path / "own")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as WFDB records, in folders of folders with a table above them; to be left as they are."""
    folder = tmp_path_factory.mktemp("wfdb")
    for number, (name, rhythm) in enumerate(RHYTHMS.items()):
        write_record(
            folder / "db" / "WFDBRecords" / f"0{number % 2}" / f"{number % 3}", name, samples_of(name), code(rhythm)
        )
    (folder / "db" / "ConditionNames_SNOMED-CT.csv").write_text(
        "Acronym Name,Full Name,Snomed_CT\nSB,Sinus Bradycardia,426177001\n"
    )
    return folder


def assert_is_what_was_written(data: Data) -> None:
    store, four = data.train.store, labels_diagnoses.rhythm_map("rhythm4")
    assert store.name.tolist() == list(RHYTHMS)
    for name, samples in zip(store.name, samples_in(store), strict=True):
        np.testing.assert_array_equal(samples, samples_of(str(name)))
    for side in (getattr(data, side) for side in SIDES):
        np.testing.assert_array_equal(side.y, four.of(np.array([RHYTHMS[str(name)] for name in side.record])))
    assert sorted(np.concatenate([getattr(data, side).of for side in SIDES])) == list(range(21))


def quality(root: Path) -> dict[str, str]:
    with open(root / "chapman" / "quality.csv") as file:
        return {row["record"]: row["fault"] for row in csv.DictReader(file)}


# The real workbook


def test_the_rhythms_of_the_workbook_are_those_of_the_paper(shared: Callable[[str], Path]) -> None:
    labels = chapman.read_rhythms(shared(METADATA) / "Diagnostics.xlsx")
    assert (
        dict(zip(*(each.tolist() for each in np.unique(labels["rhythm"], return_counts=True)), strict=True))
        == OF_THE_PAPER
    )
    assert len(set(labels["record"].tolist())) == 10_646
    y = labels_diagnoses.rhythm_map("rhythm4").of(labels["rhythm"])
    assert np.bincount(y).tolist() == [2225, 2307, 3889, 2225]
    rest, test = splits.stratified(labels["rhythm"], round(0.2 * len(y)), 42)
    assert (len(rest), np.bincount(y[test]).tolist()) == (8517, [445, 461, 778, 445])
    few = labels["rhythm"][:10_588]  # as many as passed the published checks
    assert [len(side) for side in splits.stratified(few, round(0.2 * len(few)), 42)] == [8470, 2118]


def test_the_acronyms_are_those_of_the_publisher(shared: Callable[[str], Path]) -> None:
    table = pd.read_excel(shared(METADATA) / "RhythmNames.xlsx")
    names = [name.strip() for name in table["Acronym Name"]]
    assert {labels_diagnoses.ALIASES.get(name, name) for name in names} == set(labels_diagnoses.RHYTHMS)
    assert len(names) == 11


# CSV files


def test_every_sample_and_rhythm_is_that_of_the_files(written: Path, tmp_path: Path) -> None:
    data = load(tmp_path, written)
    assert_is_what_was_written(data)
    spec = data.spec
    assert (spec.view, spec.channels, spec.samples, spec.rate_hz, spec.unit) == ("record", 12, 5000, 500, "mV")
    assert (spec.leads, spec.classes, spec.importance) == (
        twelve_lead.LEADS,
        ("AFIB", "GSVT", "SB", "SR"),
        (1, 1, 1, 1),
    )
    np.testing.assert_allclose(data.val.x[0], samples_of(str(data.val.record[0])) / 1000, atol=1e-6)
    assert len(data.test) == round(0.2 * 21)
    assert not (tmp_path / "chapman" / "quality.csv").exists()


def test_every_form_and_place_of_the_files_gives_the_same_data(written: Path, tmp_path: Path) -> None:
    expected = load(tmp_path / "0", written).checksum
    members = {f"ECGDataDenoised/{path.name}": path for path in (written / "ECGDataDenoised").iterdir()}
    archive = make_zip(tmp_path / "zipped" / "ECGDataDenoised.zip", members)
    shutil.copy(written / "Diagnostics.xlsx", archive.parent)
    shutil.copytree(written, tmp_path / "1" / "chapman" / "nested")
    places = (
        written / "ECGDataDenoised",
        written / "ECGDataDenoised" / f"{SPOILT}.csv",
        written / "Diagnostics.xlsx",
        archive,
        archive.parent,
        None,
    )
    for place in places:
        data = load(tmp_path / "1", place)
        assert_is_what_was_written(data)
        assert data.checksum == expected


def test_the_denoised_recordings_go_before_the_others(own: Path, tmp_path: Path) -> None:
    write_csv(own / "ECGData", SPOILT, samples_of(SPOILT) + 7)
    assert chapman_records.find(own).path.name == "ECGDataDenoised"
    shutil.rmtree(own / "ECGDataDenoised")
    assert chapman_records.find(own).path.name == "ECGData"


def test_where_the_user_points_files_may_have_any_name(own: Path, tmp_path: Path) -> None:
    (own / "ECGDataDenoised").rename(own / "mine")
    for path in (own / "mine").iterdir():
        path.rename(path.with_name(path.name.removeprefix("MUSE_")))
    write_labels(
        own / "Diagnostics.xlsx", [(name.removeprefix("MUSE_"), rhythm, "") for name, rhythm in RHYTHMS.items()]
    )
    for place in (own, own / "mine"):
        assert load(tmp_path, place).train.store.name.tolist() == [name.removeprefix("MUSE_") for name in RHYTHMS]


def test_leads_are_found_by_their_names_and_rounded_to_microvolts(own: Path, tmp_path: Path) -> None:
    order = [3, 11, 0, 7, 5, 1, 9, 2, 10, 4, 8, 6]
    names = [twelve_lead.LEADS[k].upper() for k in order]
    write_csv(own / "ECGDataDenoised", SPOILT, samples_of(SPOILT)[order] + 0.3, names)
    assert_is_what_was_written(load(tmp_path, own))


def test_the_store_is_a_memory_map_that_is_made_once(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(tmp_path, written)
    monkeypatch.setattr(chapman_records, "read_all", lambda *_: pytest.fail("read again"))
    monkeypatch.setattr(chapman, "read_rhythms", lambda *_: pytest.fail("read again"))
    again = load(tmp_path, written, label_map="rhythm11", leads="II", normalise="record")
    for data in (first, again):
        assert isinstance(data.train.store.flat, np.memmap)
        assert data.train.store.flat.dtype == np.int16
    assert again.train.store.flat.filename == first.train.store.flat.filename
    assert again.spec.classes == ("SB", "SR", "AFIB", "ST", "SA", "SVT")
    assert set(again.test.record) == set(first.test.record)


def test_records_and_rows_that_lack_each_other_are_counted_and_listed(
    own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [(name, rhythm, "") for name, rhythm in RHYTHMS.items() if name != SPOILT]
    write_labels(own / "Diagnostics.xlsx", [*rows, ("MUSE_98", "SB", ""), ("MUSE_99", "SI", ""), ("", "", "")])
    with caplog.at_level(logging.WARNING):
        data = load(tmp_path, own)
    assert "1 records are without a row in Diagnostics.xlsx: MUSE_07" in caplog.text
    assert "2 records are in Diagnostics.xlsx without a recording: MUSE_98, MUSE_99" in caplog.text
    assert quality(tmp_path) == {
        SPOILT: "without a row in Diagnostics.xlsx",
        **dict.fromkeys(("MUSE_98", "MUSE_99"), "in Diagnostics.xlsx without a recording"),
    }
    assert sum(len(getattr(data, side)) for side in SIDES) == 20
    assert "1 records without a known rhythm in no side" in data.spec.split_rule


# What cannot be used


def rewritten(change: Callable[[str], str]) -> Callable[[Path], None]:
    def spoil(own: Path) -> None:
        path = own / "ECGDataDenoised" / f"{SPOILT}.csv"
        path.write_text(change(path.read_text()))

    return spoil


def with_samples(change: Callable[[np.ndarray], Any], leads: list[str] | None = None) -> Callable[[Path], None]:
    def spoil(own: Path) -> None:
        write_csv(own / "ECGDataDenoised", SPOILT, change(samples_of(SPOILT).astype(float)), leads)

    return spoil


def changed(place: tuple, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(samples: np.ndarray) -> np.ndarray:
        samples = samples.copy()
        samples[place] = value
        return samples

    return change


def cell(text: str) -> Callable[[str], str]:
    """The third line with `text` as its first cell."""

    def change(table: str) -> str:
        lines = table.splitlines()
        lines[2] = text + "," + lines[2].split(",", 1)[1]
        return "\n".join(lines)

    return change


ELEVEN = list(twelve_lead.LEADS[:11])
FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "eleven columns": (with_samples(lambda x: x[:11]), "leads are missing: it has 11 columns without names"),
    "eleven named leads": (
        with_samples(lambda x: x[:11], ELEVEN),
        "leads are missing: of the twelve leads V6 is missing",
    ),
    "thirteen columns": (
        with_samples(lambda x: np.vstack([x, x[:1]])),
        "leads are missing: it has 13 columns without names",
    ),
    "a lead twice": (
        with_samples(lambda x: np.vstack([x, x[:1]]), [*twelve_lead.LEADS, "v1"]),
        "leads are missing: lead V1 is there twice",
    ),
    "another name": (
        with_samples(lambda x: x, [*ELEVEN, "V7"]),
        "leads are missing: of the twelve leads V6 is missing",
    ),
    "names of another kind": (
        with_samples(lambda x: x, [f"Lead {lead}" for lead in twelve_lead.LEADS]),
        (
            "leads are missing: no lead is called I, II, III, aVR, aVL, aVF, V1, V2, V3, V4, V5, V6; they are called"
            " Lead I, "
        ),
    ),
    "a value that is missing": (rewritten(cell("")), "values are missing: 1, the first in lead I, sample 2"),
    "NaN": (with_samples(changed((4, 17), np.nan)), "values are missing: 1, the first in lead aVL, sample 17"),
    "infinity": (with_samples(changed((11, 0), np.inf)), "values are missing: 1, the first in lead V6, sample 0"),
    "text": (rewritten(cell("abc")), "cannot be read: lead I has 'abc' about line 3, which is no number"),
    "a flat lead": (with_samples(changed((8,), 0)), "a lead is flat: V3"),
    "too few rows": (with_samples(lambda x: x[:, :4999]), "another length: 4999 samples, not 5000"),
    "too many rows": (with_samples(lambda x: np.hstack([x, x[:, :1]])), "another length: 5001 samples, not 5000"),
    "millivolts": (with_samples(lambda x: x / 1000), "no microvolts: the values lie between"),
    "nanovolts": (with_samples(lambda x: x * 1000), "no microvolts: the values lie between"),
    "a row too long": (rewritten(cell("1,2")), "cannot be read: it is no table"),
    "a row too short": (
        rewritten(lambda text: text.rpartition(",")[0] + "\n"),
        "values are missing: 1, the first in lead V6",
    ),
    "bytes": (
        lambda own: (own / "ECGDataDenoised" / f"{SPOILT}.csv").write_bytes(bytes(range(256)) * 99),
        "leads are missing",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_with_a_csv_file_is_named(tmp_path: Path, fault: str) -> None:
    spoil, what = FAULTS[fault]
    write_csv(tmp_path / "ECGDataDenoised", SPOILT, samples_of(SPOILT))
    spoil(tmp_path)
    with pytest.raises(chapman_records.Fault) as caught:
        chapman_records.of_csv((tmp_path / "ECGDataDenoised" / f"{SPOILT}.csv").read_bytes())
    assert str(caught.value).startswith(what)


def test_records_that_fail_are_left_out_counted_and_listed_and_an_error_where_asked_for(
    own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoilt = {"MUSE_02": changed((8,), 0), "MUSE_05": changed((1,), 3), SPOILT: lambda x: x[:11]}
    for name, change in spoilt.items():
        write_csv(own / "ECGDataDenoised", name, change(samples_of(name)))
    write_csv(own / "ECGDataDenoised", "MUSE_19", samples_of("MUSE_01"))
    spoilt["MUSE_19"] = None
    spoilt["MUSE_20"] = (own / "ECGDataDenoised" / "MUSE_20.csv").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        data = load(tmp_path, own)
    assert not set(spoilt) & set(data.train.store.name.tolist())
    assert sum(len(getattr(data, side)) for side in SIDES) == 16
    assert data.train.dropped == 5
    kinds = "a lead is flat 2, leads are missing 1, a copy 1, cannot be read 1"
    assert f"5 of 21 records fail the checks and are left out: {kinds} (MUSE_02, MUSE_05, MUSE_07, ...)" in caplog.text
    listed = quality(tmp_path)
    assert list(listed) == list(spoilt)
    assert (listed["MUSE_02"], listed["MUSE_19"]) == ("a lead is flat: V3", "a copy: of MUSE_01")
    assert listed["MUSE_20"] == "cannot be read: the file has 0 bytes"
    with pytest.raises(DataError) as caught:
        load(tmp_path, own, bad_rows="error")
    assert "5 of 21 records fail the checks, the first MUSE_02: a lead is flat: V3" in str(caught.value)
    assert "--bad-rows drop" in caught.value.hint


def test_a_fault_that_is_mended_is_no_longer_listed(own: Path, tmp_path: Path) -> None:
    with_samples(changed((8,), 0))(own)
    load(tmp_path, own)
    assert SPOILT in quality(tmp_path)
    write_csv(own / "ECGDataDenoised", SPOILT, samples_of(SPOILT))
    load(tmp_path, own)
    assert quality(tmp_path) == {}


def test_where_no_record_can_be_used_the_first_fault_is_named(tmp_path: Path) -> None:
    for name in ("MUSE_01", "MUSE_02"):
        write_csv(tmp_path / "own" / "ECGDataDenoised", name, samples_of(name) / 1000)
    with pytest.raises(DataError, match="none of 2 recordings can be used; MUSE_01: no microvolts"):
        load(tmp_path, tmp_path / "own")
    assert not list((tmp_path / "chapman" / "cache").iterdir())


def no_workbook(own: Path) -> None:
    (own / "Diagnostics.xlsx").unlink()


LABEL_FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (no_workbook, "Diagnostics.xlsx with the rhythms is missing"),
    "no zip": (lambda own: (own / "Diagnostics.xlsx").write_text("FileName,Rhythm\n"), "the workbook cannot be read"),
    "another zip": (lambda own: make_zip(own / "Diagnostics.xlsx", {"a": "b"}), "the workbook cannot be read"),
    "empty": (
        lambda own: Workbook().save(own / "Diagnostics.xlsx"),
        "has no column FileName and Rhythm; the first row is empty",
    ),
    "no rows": (lambda own: write_labels(own / "Diagnostics.xlsx", []), "the workbook has no rows"),
    "other columns": (
        lambda own: write_labels(own / "Diagnostics.xlsx", columns=("FileName", "Rhythms", "Beat")),
        "the workbook has no column Rhythm; there are FileName, Rhythms, Beat",
    ),
    "an unknown rhythm": (
        lambda own: write_labels(own / "Diagnostics.xlsx", [("MUSE_01", "SB", ""), ("MUSE_02", "VT", "")]),
        "Rhythm 'VT' is none of SB SR AFIB",
    ),
    "a name twice": (
        lambda own: write_labels(own / "Diagnostics.xlsx", [("MUSE_01", "SB", ""), ("MUSE_01", "SR", "")]),
        "MUSE_01 has another row",
    ),
    "no name": (lambda own: write_labels(own / "Diagnostics.xlsx", [(None, "SB", "")]), "the FileName is empty"),
}


@pytest.mark.parametrize("fault", LABEL_FAULTS)
def test_a_fault_of_the_workbook_is_named_with_its_row(own: Path, tmp_path: Path, fault: str) -> None:
    spoil, what = LABEL_FAULTS[fault]
    spoil(own)
    with pytest.raises(DataError) as caught:
        load(tmp_path, own)
    assert what in str(caught.value)
    if "twice" in fault or "rhythm" in fault:
        assert caught.value.where.endswith("row 3")


def test_without_openpyxl_it_is_said_what_to_install(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        load(tmp_path, written)
    assert str(unforeseen(caught.value)).endswith("Try: pip install -r requirements-vision.txt")


def test_a_place_without_recordings_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.txt").write_text("")
    cases = (
        (tmp_path / "none", "there is no such file or folder"),
        (tmp_path / "empty", "there are no CSV files (ECGDataDenoised)"),
        (tmp_path / "note.txt", "there are no CSV files (ECGDataDenoised)"),
        (make_zip(tmp_path / "other.zip", {"a.txt": "b"}), "the zip has no recordings"),
        (make_zip(tmp_path / "up.zip", {"../a.csv": "b"}), "leads out of the folder"),
    )
    for place, what in cases:
        with pytest.raises(CommanderError) as caught:
            load(tmp_path, place)
        assert what in str(caught.value)


# WFDB records


def test_records_in_nested_folders_and_in_a_zip_are_those_of_the_csv_files(recorded: Path, tmp_path: Path) -> None:
    archive = make_zip(
        tmp_path / "a.zip", {str(path.relative_to(recorded)): path for path in sorted(recorded.rglob("*.*"))}
    )
    data = [load(tmp_path, place) for place in (recorded, recorded / "db", archive)]
    assert list(chapman_records.find(next(recorded.rglob(f"{SPOILT}.mat"))).files) == [
        "MUSE_01",
        SPOILT,
        "MUSE_13",
        "MUSE_19",
    ]
    for each in data:
        assert_is_what_was_written(each)
    assert len({each.checksum for each in data}) == 1
    assert "SNOMED" in data[0].spec.source


def test_gain_offset_unit_and_order_of_the_leads_are_heeded(tmp_path: Path) -> None:
    for number, name in enumerate(RHYTHMS):
        order = np.random.default_rng(number).permutation(12)
        how = {"gain": "0.5(-100)/uV", "zero": 3} if number % 2 else {"gain": "500/mV", "zero": -100}
        steps = samples_of(name)[order] / 2 - 100
        write_record(
            tmp_path / "own", name, steps, code(RHYTHMS[name]), tuple(twelve_lead.LEADS[k] for k in order), **how
        )
    store = load(tmp_path, tmp_path / "own").train.store
    for name, samples in zip(store.name, samples_in(store), strict=True):
        np.testing.assert_allclose(samples, samples_of(str(name)), atol=2)


def other_record(**how: Any) -> Callable[[Path], None]:
    return lambda own: write_record(own, SPOILT, samples_of(SPOILT), code("SB"), **how)


RECORD_FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "another rate": (other_record(rate=250), "another rate: 250 Hz, not 500"),
    "another checksum": (other_record(checksum=77), "cannot be read: record MUSE_07 cannot be read, signal: lead 1"),
    "another unit": (
        other_record(gain="1000/mmHg"),
        "cannot be read: record MUSE_07 cannot be read, signal: lead I is in mmHg",
    ),
    "no mat": (
        lambda own: (own / f"{SPOILT}.mat").unlink(),
        "cannot be read: record MUSE_07 cannot be read, signal: MUSE_07.mat is",
    ),
    "a short mat": (
        lambda own: (own / f"{SPOILT}.mat").write_bytes((own / f"{SPOILT}.mat").read_bytes()[:-10]),
        "cannot be read: record MUSE_07 cannot be read, signal: MUSE_07.mat has room for 4999",
    ),
    "mat 5": (
        lambda own: savemat(own / f"{SPOILT}.mat", {"val": samples_of(SPOILT)}),
        "cannot be read: record MUSE_07 cannot be read, signal: MUSE_07.mat is a MAT file of version 5",
    ),
    "an empty header": (
        lambda own: (own / f"{SPOILT}.hea").write_text(""),
        "cannot be read: record MUSE_07 cannot be read, header",
    ),
    "eleven leads": (
        lambda own: write_record(own, SPOILT, samples_of(SPOILT)[:11], code("SB"), twelve_lead.LEADS[:11]),
        "leads are missing: of the twelve leads V6",
    ),
    "a missing sample": (
        lambda own: write_record(own, SPOILT, changed((2, 9), -(2**15))(samples_of(SPOILT)), code("SB")),
        "values are missing: 1, the first in lead III, sample 9",
    ),
    "another length": (
        lambda own: write_record(own, SPOILT, samples_of(SPOILT)[:, :2500], code("SB")),
        "another length: 2500 samples",
    ),
}


@pytest.mark.parametrize("fault", RECORD_FAULTS)
def test_what_is_wrong_with_a_wfdb_record_is_named(tmp_path: Path, fault: str) -> None:
    spoil, what = RECORD_FAULTS[fault]
    write_record(tmp_path, SPOILT, samples_of(SPOILT), code("SB"))
    assert chapman_records.of_wfdb(tmp_path / f"{SPOILT}.hea")[1] == "SB"
    spoil(tmp_path)
    with pytest.raises(chapman_records.Fault) as caught:
        chapman_records.of_wfdb(tmp_path / f"{SPOILT}.hea")
    assert str(caught.value).startswith(what)


def test_two_records_of_one_name_are_refused(recorded: Path, tmp_path: Path) -> None:
    shutil.copytree(recorded, tmp_path / "own")
    write_record(tmp_path / "own" / "again", SPOILT, samples_of(SPOILT), code("SB"))
    with pytest.raises(DataError, match="two recordings have the name MUSE_07"):
        load(tmp_path, tmp_path / "own")


def test_the_real_records_are_read_as_they_are(
    shared: Callable[[str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wfdb = pytest.importorskip("wfdb")
    archive = shared(SAMPLES_ZIP)
    data = load(tmp_path, archive)
    # Counted by hand in the 50 headers; 6 have no rhythm, JS20004 and JS20008 three flat leads, and E07510 is E07509
    # again.
    assert sum(np.bincount(getattr(data, side).y, minlength=4) for side in SIDES).tolist() == [0, 22, 6, 13]
    flat = dict.fromkeys(("JS20004", "JS20008"), "a lead is flat: V2, V4, V6")
    assert quality(tmp_path) == {"E07510": "a copy: of E07509", **flat}
    assert "6 records without a known rhythm in no side" in data.spec.split_rule
    shutil.unpack_archive(archive, tmp_path / "unpacked")
    store = data.train.store
    for name in ("JS20000", "E07509", "HR06003"):
        record = wfdb.rdrecord(str(tmp_path / "unpacked" / "twelve-lead-samples" / name))
        assert tuple(record.sig_name) == twelve_lead.LEADS
        np.testing.assert_allclose(
            samples_in(store)[store.name.tolist().index(name)], 1000 * record.p_signal.T, atol=1e-6
        )


# From figshare


def test_what_is_not_here_is_fetched_once_as_the_publisher_has_it(
    written: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {f"ECGDataDenoised/{path.name}": path for path in (written / "ECGDataDenoised").iterdir()}
    zipped = make_zip(tmp_path / "a.zip", members).read_bytes()
    book = (written / "Diagnostics.xlsx").read_bytes()
    server.answer = lambda request: whole(book if request.path == "/15653771" else zipped)(request)
    url, files = server.url.rpartition("/")[0], DATASETS["chapman"].files

    def here(remotes: tuple[Remote, ...]) -> tuple[Remote, ...]:
        return tuple(Remote(each.name, each.url.replace(FIGSHARE, url)) for each in remotes)

    served = replace(files, remotes=here(files.remotes), extras=here(files.extras))
    monkeypatch.setitem(DATASETS, "chapman", replace(DATASETS["chapman"], files=served))
    for _ in range(2):
        assert_is_what_was_written(load(tmp_path / "root"))
    assert server.paths == ["/15652862", "/15653771"]
    assert {path.name for path in (tmp_path / "root" / "chapman").iterdir()} == {
        "Diagnostics.xlsx",
        "ECGDataDenoised.zip",
        "cache",
    }


def test_without_files_and_network_it_is_said_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setattr("loaders.files.sources.time.sleep", lambda _: None)
    (tmp_path / "chapman" / "runs").mkdir(parents=True)
    for name in ("quality.csv", "runs/table.csv"):  # are no recordings
        (tmp_path / "chapman" / name).write_text("record,fault\n")
    with pytest.raises(
        DownloadError, match=r"put ECGDataDenoised.zip, or its folder, and Diagnostics.xlsx of figshare .*--data-file"
    ):
        load(tmp_path)


# The command


def test_it_has_the_options_of_the_generated_records(written: Path, tmp_path: Path) -> None:
    data = get_data(
        "chapman", tmp_path, data_file=written, rate=100, filter="bandpass:0.5:40", leads="II,V1", normalise="center"
    )
    assert data.train.x.shape[1:] == (2, 1000)
    assert data.spec.unit == twelve_lead.NORMALISATIONS["center"]


def test_a_network_trains_and_tests_end_to_end_and_a_fault_stops_it_where_asked_for(own: Path, tmp_path: Path) -> None:
    with_samples(changed((8,), 0))(own)
    flags = (
        "--dataset",
        "chapman",
        "--data-file",
        own,
        "--root-dir",
        tmp_path / "root",
        "--model-name",
        "cnn1d_3",
        "--rate",
        "100",
    )
    ended = carried_out(*flags, "--epochs", "1", "--no-figures", "--val-fraction", "0.3")
    assert ended.code == 0, ended.err
    assert "1 of 21 records fail the checks and are left out: a lead is flat 1" in ended.err
    assert ended.result["dropped_rows"] == {"train": 1, "test": 1}
    refused = carried_out(*flags, "--bad-rows", "error", "--download")
    assert refused.code == 3
    assert refused.err.splitlines()[-1].startswith(
        "error: 1 of 21 records fail the checks, the first MUSE_07: a lead is flat: V3"
    )
