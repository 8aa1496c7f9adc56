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

from helpers.databases import RHYTHMS, microvolts, write_chapman, write_csv, write_labels, write_wfdb
from helpers.kaggle import make_zip
from helpers.servers import Server, whole
from loaders import DATASETS, FIGSHARE, get_data, splits
from loaders.base import Data
from loaders.datasets import chapman, chapman_records
from loaders.families import labels, twelve_lead
from loaders.files.sources import Remote
from loaders.records import RecordStore
from toolbox.errors import CommanderError, DataError, unforeseen

SIDES = ("train", "val", "test")
SAMPLES_ZIP, METADATA = "twelve-lead-samples.zip", "chapman-metadata"
OF_THE_PAPER = {
    "SB": 3889, "SR": 1826, "AFIB": 1780, "ST": 1568, "SVT": 587, "AF": 445, "SA": 399, "AT": 121, "AVNRT": 16,
    "AVRT": 8, "SAAWR": 7,
}  # fmt: skip
SPOILT = "MUSE_07"
FEW = dict(list(RHYTHMS.items())[:7])


def load(root: Path, data_file: Path | None = None, *, val_fraction: float = 0.2, **how: Any) -> Data:
    return get_data("chapman", root, data_file=data_file, val_fraction=val_fraction, **how)


def samples_in(store: RecordStore) -> np.ndarray:
    """All samples (R, 12, T) of a store."""
    return store.flat.reshape(len(store.name), 12, -1)


def code(rhythm: str) -> str:
    return f"59118001,{next(code for code, name in labels.CODES.items() if name == rhythm)}"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """21 recordings as CSV files in their folder, and the workbook beside it; to be left as they are."""
    return write_chapman(tmp_path_factory.mktemp("chapman"))


@pytest.fixture
def own(written: Path, tmp_path: Path) -> Path:
    """A copy of them that can be damaged."""
    return shutil.copytree(written, tmp_path / "own")


@pytest.fixture
def few(written: Path, tmp_path: Path) -> Path:
    """Seven of them, to be damaged."""
    (tmp_path / "few" / "ECGDataDenoised").mkdir(parents=True)
    for name in FEW:
        shutil.copy(written / "ECGDataDenoised" / f"{name}.csv", tmp_path / "few" / "ECGDataDenoised")
    write_labels(tmp_path / "few" / "Diagnostics.xlsx", [(name, rhythm, "") for name, rhythm in FEW.items()])
    return tmp_path / "few"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as WFDB records, in nested folders with a table above them; to be left as they are."""
    folder = tmp_path_factory.mktemp("wfdb")
    for number, (name, rhythm) in enumerate(RHYTHMS.items()):
        place = folder / "db" / "WFDBRecords" / f"0{number % 2}" / f"{number % 3}"
        write_wfdb(place, name, microvolts(name), code(rhythm))
    (folder / "db" / "ConditionNames_SNOMED-CT.csv").write_text("Acronym Name,Full Name,Snomed_CT\nSB,a,426177001\n")
    return folder


def assert_is_what_was_written(data: Data) -> None:
    store, four = data.train.store, labels.rhythm_map("rhythm4")
    assert store.name.tolist() == list(RHYTHMS)
    for name, samples in zip(store.name, samples_in(store), strict=True):
        np.testing.assert_array_equal(samples, microvolts(str(name)))
    for side in (getattr(data, side) for side in SIDES):
        np.testing.assert_array_equal(side.y, four.of(np.array([RHYTHMS[str(name)] for name in side.record])))
    assert sorted(np.concatenate([getattr(data, side).of for side in SIDES])) == list(range(21))


def quality(root: Path) -> dict[str, str]:
    with open(root / "chapman" / "quality.csv") as file:
        return {row["record"]: row["fault"] for row in csv.DictReader(file)}


def test_the_rhythms_of_the_workbook_are_those_of_the_paper(shared: Callable[[str], Path]) -> None:
    found = chapman.read_labels(shared(METADATA) / "Diagnostics.xlsx")
    counts = np.unique(found["rhythm"], return_counts=True)
    assert dict(zip(*(each.tolist() for each in counts), strict=True)) == OF_THE_PAPER
    assert len(set(found["record"].tolist())) == 10_646
    y = labels.rhythm_map("rhythm4").of(found["rhythm"])
    assert np.bincount(y).tolist() == [2225, 2307, 3889, 2225]
    rest, test = splits.stratified(found["rhythm"], round(0.2 * len(y)), 42)
    assert (len(rest), np.bincount(y[test]).tolist()) == (8517, [445, 461, 778, 445])
    few = found["rhythm"][:10_588]  # as many as passed the published checks
    assert [len(side) for side in splits.stratified(few, round(0.2 * len(few)), 42)] == [8470, 2118]
    table = pd.read_excel(shared(METADATA) / "RhythmNames.xlsx")
    names = [name.strip() for name in table["Acronym Name"]]
    assert {labels.ALIASES.get(name, name) for name in names} == set(labels.RHYTHMS)
    assert len(names) == 11


# CSV files


def test_every_sample_and_rhythm_is_that_of_the_files(written: Path, tmp_path: Path) -> None:
    data = load(tmp_path, written)
    assert_is_what_was_written(data)
    spec = data.spec
    assert (spec.view, spec.channels, spec.samples, spec.rate_hz, spec.unit) == ("record", 12, 5000, 500, "mV")
    assert (spec.leads, spec.importance) == (twelve_lead.LEADS, (1, 1, 1, 1))
    assert spec.classes == ("AFIB", "GSVT", "SB", "SR")
    np.testing.assert_allclose(data.val.x[0], microvolts(str(data.val.record[0])) / 1000, atol=1e-6)
    assert len(data.test) == round(0.2 * 21)
    assert not (tmp_path / "chapman" / "quality.csv").exists()
    assert isinstance(data.train.store.flat, np.memmap)
    assert data.train.store.flat.dtype == np.int16
    how = {"label_map": "rhythm11", "leads": "II,V1", "normalise": "center", "rate": 100, "filter": "bandpass:0.5:40"}
    again = load(tmp_path, written, **how)
    assert (again.spec.classes, again.spec.unit) == (
        ("SB", "SR", "AFIB", "ST", "SA", "SVT"),
        twelve_lead.NORMALISATIONS["center"],
    )
    assert again.train.x.shape[1:] == (2, 1000)
    assert set(again.test.record) == set(data.test.record)


def test_denoised_recordings_are_preferred(few: Path) -> None:
    write_csv(few / "ECGData", "MUSE_01", microvolts("MUSE_01") + 7)
    assert chapman_records.find(few).path.name == "ECGDataDenoised"
    shutil.rmtree(few / "ECGDataDenoised")
    assert chapman_records.find(few).path.name == "ECGData"


def test_where_the_user_points_files_may_have_any_name(few: Path, tmp_path: Path) -> None:
    (few / "ECGDataDenoised").rename(few / "mine")
    for path in (few / "mine").iterdir():
        path.rename(path.with_name(path.name.removeprefix("MUSE_")))
    own = {name.removeprefix("MUSE_"): rhythm for name, rhythm in FEW.items()}
    write_labels(few / "Diagnostics.xlsx", [(name, rhythm, "") for name, rhythm in own.items()])
    for place in (few, few / "mine"):
        assert load(tmp_path, place).train.store.name.tolist() == list(own)


def test_leads_are_found_by_their_names_and_rounded_to_microvolts(own: Path, tmp_path: Path) -> None:
    order = [3, 11, 0, 7, 5, 1, 9, 2, 10, 4, 8, 6]
    names = [twelve_lead.LEADS[k].upper() for k in order]
    write_csv(own / "ECGDataDenoised", SPOILT, microvolts(SPOILT)[order] + 0.3, names)
    assert_is_what_was_written(load(tmp_path, own))


def test_records_without_a_row_are_listed_and_the_reverse(
    own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [(name, rhythm, "") for name, rhythm in RHYTHMS.items() if name != SPOILT]
    write_labels(own / "Diagnostics.xlsx", [*rows, ("MUSE_98", "SB", ""), ("MUSE_99", "SI", ""), ("", "", "")])
    with caplog.at_level(logging.WARNING):
        data = load(tmp_path, own)
    assert "1 records are without a row in Diagnostics.xlsx: MUSE_07" in caplog.text
    assert "2 records are in Diagnostics.xlsx without a recording: MUSE_98, MUSE_99" in caplog.text
    without = dict.fromkeys(("MUSE_98", "MUSE_99"), "in Diagnostics.xlsx without a recording")
    assert quality(tmp_path) == {SPOILT: "without a row in Diagnostics.xlsx", **without}
    assert sum(len(getattr(data, side)) for side in SIDES) == 20
    assert "1 records without a known rhythm in no side" in data.spec.split_rule


# Faults


def changed(place: tuple, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(samples: np.ndarray) -> np.ndarray:
        samples = samples.astype(float)
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


LEADS, ELEVEN = list(twelve_lead.LEADS), list(twelve_lead.LEADS[:11])
# The samples of a file, the names of its leads, and what is wrong.
SAMPLES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], list[str] | None, str]] = {
    "eleven columns": (lambda x: x[:11], None, "leads are missing: it has 11 columns without names"),
    "eleven leads": (lambda x: x[:11], ELEVEN, "leads are missing: of the twelve leads V6 is missing"),
    "a lead twice": (lambda x: np.vstack([x, x[:1]]), [*LEADS, "v1"], "leads are missing: lead V1 is there twice"),
    "another name": (lambda x: x, [*ELEVEN, "V7"], "leads are missing: of the twelve leads V6 is missing"),
    "other names": (lambda x: x, [f"Lead {lead}" for lead in LEADS], "leads are missing: no lead is called I, II, III"),
    "NaN": (changed((4, 17), np.nan), None, "values are missing: 1, the first in lead aVL, sample 17"),
    "infinity": (changed((11, 0), np.inf), None, "values are missing: 1, the first in lead V6, sample 0"),
    "a flat lead": (changed((8,), 0), None, "a lead is flat: V3"),
    "too few rows": (lambda x: x[:, :4999], None, "another length: 4999 samples, not 5000"),
    "millivolts": (lambda x: x / 1000, None, "no microvolts: the values lie between"),
    "nanovolts": (lambda x: x * 1000, None, "no microvolts: the values lie between"),
}
# The text of a file, and what is wrong.
TEXTS: dict[str, tuple[Callable[[str], str], str]] = {
    "a missing value": (cell(""), "values are missing: 1, the first in lead I, sample 2"),
    "text": (cell("abc"), "cannot be read: lead I has 'abc' about line 3, which is no number"),
    "a row too long": (cell("1,2"), "cannot be read: it is no table"),
    "a row too short": (lambda text: text.rpartition(",")[0] + "\n", "values are missing: 1, the first in lead V6"),
    "bytes": (lambda _: "".join(map(chr, range(256))) * 99, "leads are missing"),
}


@pytest.mark.parametrize("fault", [*SAMPLES, *TEXTS])
def test_a_fault_of_a_csv_file_is_named(tmp_path: Path, fault: str) -> None:
    change, names, what = SAMPLES.get(fault, (lambda x: x, None, ""))
    write_csv(tmp_path, SPOILT, change(microvolts(SPOILT).astype(float)), names)
    text = (tmp_path / f"{SPOILT}.csv").read_text()
    if fault in TEXTS:
        change, what = TEXTS[fault]
        text = change(text)
    with pytest.raises(chapman_records.Fault) as caught:
        chapman_records.of_csv(text.encode())
    assert str(caught.value).startswith(what)


def test_records_that_fail_are_left_out_counted_and_listed_and_an_error_with_bad_rows_error(
    own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = own / "ECGDataDenoised"
    spoilt = {"MUSE_02": changed((8,), 0), "MUSE_05": changed((1,), 3), SPOILT: lambda x: x[:11]}
    for name, change in spoilt.items():
        write_csv(folder, name, change(microvolts(name)))
    write_csv(folder, "MUSE_19", microvolts("MUSE_01"))
    (folder / "MUSE_20.csv").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        data = load(tmp_path, own)
    names = [*spoilt, "MUSE_19", "MUSE_20"]
    assert not set(names) & set(data.train.store.name.tolist())
    assert sum(len(getattr(data, side)) for side in SIDES) == 16
    assert data.train.dropped == 5
    kinds = "a lead is flat 2, leads are missing 1, a copy 1, cannot be read 1"
    assert f"5 of 21 records fail the checks and are left out: {kinds} (MUSE_02, MUSE_05, MUSE_07, ...)" in caplog.text
    listed = quality(tmp_path)
    assert list(listed) == names
    assert (listed["MUSE_02"], listed["MUSE_19"]) == ("a lead is flat: V3", "a copy: of MUSE_01")
    assert listed["MUSE_20"] == "cannot be read: the file has 0 bytes"
    with pytest.raises(DataError) as caught:
        load(tmp_path, own, bad_rows="error")
    assert "5 of 21 records fail the checks, the first MUSE_02: a lead is flat: V3" in str(caught.value)
    assert "--bad-rows drop" in caught.value.hint
    for name in names:
        write_csv(folder, name, microvolts(name))
    load(tmp_path, own)
    assert quality(tmp_path) == {}


def test_where_no_record_can_be_used_the_first_fault_is_named(tmp_path: Path) -> None:
    for name in ("MUSE_01", "MUSE_02"):
        write_csv(tmp_path / "own" / "ECGDataDenoised", name, microvolts(name) / 1000)
    with pytest.raises(DataError, match="none of 2 recordings can be used; MUSE_01: no microvolts"):
        load(tmp_path, tmp_path / "own")
    assert not list((tmp_path / "chapman" / "cache").iterdir())


TWO = [("MUSE_01", "SB", "")]
# How a workbook is written, and what is wrong with it.
LABEL_FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda book: book.unlink(), "Diagnostics.xlsx with the rhythms is missing"),
    "no zip": (lambda book: book.write_text("FileName,Rhythm\n"), "the workbook cannot be read"),
    "another zip": (lambda book: make_zip(book, {"a": "b"}), "the workbook cannot be read"),
    "empty": (lambda book: Workbook().save(book), "has no column FileName and Rhythm; the first row is empty"),
    "no rows": (lambda book: write_labels(book, []), "the workbook has no rows"),
    "other columns": (
        lambda book: write_labels(book, columns=("FileName", "Rhythms", "Beat")),
        "the workbook has no column Rhythm; there are FileName, Rhythms, Beat",
    ),
    "an unknown rhythm": (
        lambda book: write_labels(book, [*TWO, ("MUSE_02", "VT", "")]), "Rhythm 'VT' is none of SB SR AFIB"
    ),
    "a name twice": (lambda book: write_labels(book, [*TWO, ("MUSE_01", "SR", "")]), "MUSE_01 has another row"),
    "no name": (lambda book: write_labels(book, [(None, "SB", "")]), "the FileName is empty"),
}  # fmt: skip


@pytest.mark.parametrize("fault", LABEL_FAULTS)
def test_a_fault_of_the_workbook_is_named_with_its_row(tmp_path: Path, fault: str) -> None:
    spoil, what = LABEL_FAULTS[fault]
    write_csv(tmp_path / "own" / "ECGDataDenoised", "MUSE_01", microvolts("MUSE_01"))
    write_labels(tmp_path / "own" / "Diagnostics.xlsx")
    spoil(tmp_path / "own" / "Diagnostics.xlsx")
    with pytest.raises(DataError) as caught:
        load(tmp_path, tmp_path / "own")
    assert what in str(caught.value)
    if "twice" in fault or "rhythm" in fault:
        assert caught.value.where.endswith("row 3")


def test_without_openpyxl_an_error_says_what_to_install(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        load(tmp_path, written)
    assert str(unforeseen(caught.value)).endswith("Try: pip install -r requirements-vision.txt")


def test_a_zip_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommanderError, match="leads out of the folder"):
        load(tmp_path, make_zip(tmp_path / "up.zip", {"../a.csv": "b"}))


# WFDB records


def test_records_in_nested_folders_and_in_a_zip_are_those_of_the_csv_files(recorded: Path, tmp_path: Path) -> None:
    paths = sorted(recorded.rglob("*.*"))
    archive = make_zip(tmp_path / "a.zip", {str(path.relative_to(recorded)): path for path in paths})
    data = [load(tmp_path, place) for place in (recorded, recorded / "db", archive)]
    beside = chapman_records.find(next(recorded.rglob(f"{SPOILT}.mat"))).files
    assert list(beside) == ["MUSE_01", SPOILT, "MUSE_13", "MUSE_19"]
    for each in data:
        assert_is_what_was_written(each)
    assert len({each.checksum for each in data}) == 1
    assert "SNOMED" in data[0].spec.source
    shutil.copytree(recorded, tmp_path / "own")
    write_wfdb(tmp_path / "own" / "again", SPOILT, microvolts(SPOILT), code("SB"))
    with pytest.raises(DataError, match="two recordings have the name MUSE_07"):
        load(tmp_path, tmp_path / "own")


def test_gain_offset_unit_and_order_of_the_leads_are_applied(tmp_path: Path) -> None:
    for number, (name, rhythm) in enumerate(FEW.items()):
        order = np.random.default_rng(number).permutation(12)
        how = {"gain": "0.5(-100)/uV", "zero": 3} if number % 2 else {"gain": "500/mV", "zero": -100}
        leads = tuple(LEADS[k] for k in order)
        write_wfdb(tmp_path / "own", name, microvolts(name)[order] / 2 - 100, code(rhythm), leads, **how)
    store = load(tmp_path, tmp_path / "own").train.store
    for name, samples in zip(store.name, samples_in(store), strict=True):
        np.testing.assert_allclose(samples, microvolts(str(name)), atol=2)


def rewrite(samples: Callable[[np.ndarray], np.ndarray] = np.array, **how: Any) -> Callable[[Path], None]:
    return lambda header: write_wfdb(header.parent, SPOILT, samples(microvolts(SPOILT)), code("SB"), **how)


UNREAD = "cannot be read: record MUSE_07 cannot be read, "
RECORD_FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "another rate": (rewrite(rate=250), "another rate: 250 Hz, not 500"),
    "another checksum": (rewrite(checksum=77), f"{UNREAD}signal: lead 1"),
    "another unit": (rewrite(gain="1000/mmHg"), f"{UNREAD}signal: lead I is in mmHg"),
    "no mat": (lambda header: header.with_suffix(".mat").unlink(), f"{UNREAD}signal: MUSE_07.mat is"),
    "an empty header": (lambda header: header.write_text(""), f"{UNREAD}header"),
    "eleven leads": (
        rewrite(lambda x: x[:11], leads=twelve_lead.LEADS[:11]), "leads are missing: of the twelve leads V6"
    ),
    "a missing sample": (
        rewrite(changed((2, 9), -(2**15))), "values are missing: 1, the first in lead III, sample 9"
    ),
    "another length": (rewrite(lambda x: x[:, :2500]), "another length: 2500 samples"),
}  # fmt: skip


@pytest.mark.parametrize("fault", RECORD_FAULTS)
def test_a_fault_of_a_wfdb_record_is_named(tmp_path: Path, fault: str) -> None:
    spoil, what = RECORD_FAULTS[fault]
    header = tmp_path / f"{SPOILT}.hea"
    rewrite()(header)
    assert chapman_records.of_wfdb(header)[1] == "SB"
    spoil(header)
    with pytest.raises(chapman_records.Fault) as caught:
        chapman_records.of_wfdb(header)
    assert str(caught.value).startswith(what)


def test_the_real_records_are_read_as_they_are(shared: Callable[[str], Path], tmp_path: Path) -> None:
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
        samples = samples_in(store)[store.name.tolist().index(name)]
        np.testing.assert_allclose(samples, 1000 * record.p_signal.T, atol=1e-6)


# From figshare


def test_missing_files_are_fetched_once_as_the_publisher_has_them(
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
    there = {path.name for path in (tmp_path / "root" / "chapman").iterdir()}
    assert there == {"Diagnostics.xlsx", "ECGDataDenoised.zip", "cache"}


# Several labels a record


def test_wfdb_records_have_the_diagnoses_of_their_codes(recorded: Path, tmp_path: Path) -> None:
    packed = make_zip(tmp_path / "z.zip", {path.name: path for path in recorded.rglob("*.[hm]*") if path.is_file()})
    of = {"AFIB": {"AF"}, "ST": {"STach"}, "SVT": set(), "SB": {"SB"}, "SR": {"NSR"}, "SA": {"SA"}}
    found = [load(tmp_path, place, labels="challenge") for place in (recorded, packed)]
    assert found[0].checksum == found[1].checksum
    seen: list[str] = []
    for side in (getattr(found[0], side) for side in SIDES):
        for name, y in zip(side.record, side.y, strict=True):
            seen.append(str(name))
            labels_of = {found[0].spec.classes[k] for k in np.flatnonzero(y)}
            assert labels_of == of[RHYTHMS[str(name)]] | {"RBBB"}
    assert sorted(seen) == sorted(RHYTHMS)


def test_records_without_a_diagnosis_are_left_out_or_kept(tmp_path: Path) -> None:
    folder = tmp_path / "wfdb"
    for number, name in enumerate(RHYTHMS):
        write_wfdb(folder, name, microvolts(name), "164873001" if number % 7 == 2 else "426177001, 164934002")
    dropped, kept = (load(tmp_path, folder, labels="challenge", unlabelled=how) for how in ("drop", "keep"))
    assert sum(len(getattr(dropped, side)) for side in SIDES) == 18
    assert sum(len(getattr(kept, side)) for side in SIDES) == 21
    assert "3 records without a label are left out" in dropped.spec.split_rule
    assert "3 records without a label are rows of no class" in kept.spec.split_rule
    assert {*dropped.test.record.tolist()} <= {*kept.test.record.tolist()}
    for seed in (1, 2):
        assert (
            load(tmp_path, folder, labels="challenge", seed=seed).test.record.tolist() == dropped.test.record.tolist()
        )


BEATS = ("NONE", "RBBB LFBBB", "TWC TWO", "APB", "LVQRSCL IDC", "JPS LRRI", "")


def test_csv_files_have_the_diagnoses_of_rhythm_and_conditions(few: Path, tmp_path: Path) -> None:
    rows = [(name, rhythm, beat) for (name, rhythm), beat in zip(FEW.items(), BEATS, strict=True)]
    write_labels(few / "Diagnostics.xlsx", [*rows, ("MUSE_99", "SB", "VPB")])
    data = load(tmp_path, few, labels="challenge", unlabelled="keep", val_fraction=0.0)
    rhythms = {"AFIB": {"AF"}, "ST": {"STach"}, "SVT": set(), "SB": {"SB"}, "SR": {"NSR"}, "SA": {"SA"}, "AF": {"AFL"}}
    others = (set(), {"RBBB", "LBBB"}, {"TAb", "TInv"}, {"PAC"}, {"LQRSV", "NSIVCB"}, set())
    expected = {name: rhythms[rhythm] | own for (name, rhythm, _), own in zip(rows, others, strict=False)}
    found = {
        str(name): {data.spec.classes[k] for k in np.flatnonzero(y)}
        for side in (data.train, data.test)
        for name, y in zip(side.record, side.y, strict=True)
    }
    assert found == expected
    assert "1 records without known labels in no side" in data.spec.split_rule
    assert quality(tmp_path) == {"MUSE_99": "in Diagnostics.xlsx without a recording"}


def test_a_map_of_codes_reads_csv_files_too(few: Path, tmp_path: Path) -> None:
    rows = [(name, rhythm, beat) for (name, rhythm), beat in zip(FEW.items(), BEATS, strict=True)]
    write_labels(few / "Diagnostics.xlsx", rows)
    slow = [name for name, rhythm, beat in rows if rhythm == "SB" and beat]
    wide = [name for name, _, beat in rows if "RBBB" in beat]
    (tmp_path / "mine.csv").write_text("426177001,slow\n59118001,wide\n164909002,wide\n")
    data = load(tmp_path, few, labels=str(tmp_path / "mine.csv"), unlabelled="keep", val_fraction=0.0)
    assert data.spec.classes == ("slow", "wide")
    for k, names in enumerate((slow, wide)):
        there = [str(name) for side in (data.train, data.test) for name in side.record[side.y[:, k] == 1]]
        assert sorted(there) == sorted(names)


def test_a_workbook_without_conditions_or_with_an_unknown_one_is_refused_for_diagnoses(
    few: Path, recorded: Path, tmp_path: Path
) -> None:
    write_labels(few / "Diagnostics.xlsx", [*FEW.items()], ("FileName", "Rhythm"))
    assert len(load(tmp_path, few, val_fraction=0.0).train)
    with pytest.raises(DataError, match=r"no column Beat, .*Diagnostics.xlsx"):
        load(tmp_path, few, labels="challenge")
    write_labels(few / "Diagnostics.xlsx", [(name, rhythm, "RBBB RBB") for name, rhythm in FEW.items()])
    with pytest.raises(DataError, match=r"Beat 'RBB' is none of 1AVB .*record MUSE_0"):
        load(tmp_path, few, labels="challenge")
    write_labels(few / "Diagnostics.xlsx", [(name, rhythm, "") for name, rhythm in FEW.items()])
    with pytest.raises(DataError, match="no record has Rhythm and Beat"):
        load(tmp_path, few, labels="challenge")
    with pytest.raises(CommanderError, match="--label-map is of one rhythm a record"):
        load(tmp_path, recorded, labels="challenge", label_map="rhythm11")


def test_the_real_records_of_three_databases_train(shared: Callable[[str], Path], tmp_path: Path) -> None:
    data = load(tmp_path, shared(SAMPLES_ZIP), labels="challenge", unlabelled="keep")
    assert sum(len(getattr(data, side)) for side in SIDES) == 47
    counts = dict(zip(data.spec.classes, sum(getattr(data, side).y.sum(0) for side in SIDES).tolist(), strict=True))
    assert (counts["STach"], counts["NSR"], counts["LQT"], counts["BBB"]) == (22, 15, 2, 0)
