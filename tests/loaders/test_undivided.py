"""Rows for a trained run from another dataset: in its own layout, with the run's rate and the classes of both."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers import ptbxl
from helpers.databases import RHYTHMS, microvolts, write_wfdb
from loaders import DATASETS, get_data, undivided
from loaders.base import DataSpec
from toolbox.errors import DataError

CODES = {"AFIB": "164889003", "SB": "426177001", "SR": "426783006,59118001", "ST": "427084000", "SA": "427393009"}


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> DataSpec:
    """The facts of a run on records of ptbxl at 100 Hz with the diagnoses of the Challenge."""
    folder = tmp_path_factory.mktemp("ptbxl")
    return get_data("ptbxl", folder, data_file=ptbxl.write(folder / "files"), labels="challenge").spec


def records(folder: Path) -> Path:
    for name, rhythm in RHYTHMS.items():
        if rhythm in CODES:
            write_wfdb(folder, name, microvolts(name), CODES[rhythm])
    return folder


def test_records_of_another_database_have_the_rate_and_the_labels_of_the_run(spec: DataSpec, tmp_path: Path) -> None:
    options = {"labels": "challenge", "rate": None, "unlabelled": None}
    what = f"chapman={records(tmp_path / 'wfdb')}"
    data = undivided.load(what, tmp_path, dataset="ptbxl", spec=spec, options=options)
    assert (len(data.train), len(data.val), len(data.test)) == (
        0,
        0,
        sum(rhythm in CODES for rhythm in RHYTHMS.values()),
    )
    assert (data.spec.rate_hz, data.spec.samples, data.spec.classes) == (100, 1000, spec.classes)
    named = zip(data.test.record.tolist(), data.test.y, strict=True)
    found = {name: {spec.classes[k] for k in np.flatnonzero(y)} for name, y in named}
    of = {"AFIB": {"AF"}, "SB": {"SB"}, "SR": {"NSR", "RBBB"}, "ST": {"STach"}, "SA": {"SA"}}
    assert found == {name: of[rhythm] for name, rhythm in RHYTHMS.items() if rhythm in of}


def test_leads_and_crops_of_the_run_are_those_of_the_other_records_and_the_rule_states_the_windows(
    spec: DataSpec, tmp_path: Path
) -> None:
    options = {"labels": "challenge", "rate": None, "unlabelled": None}
    what, few = f"chapman={records(tmp_path / 'wfdb')}", {"leads": "II,I", "crops": "2.5s"}
    whole = undivided.load(what, tmp_path, dataset="ptbxl", spec=spec, options=options)
    own = replace(spec, leads=("II", "I"), channels=2, samples=250)
    data = undivided.load(what, tmp_path, dataset="ptbxl", spec=own, options=options | few)
    windows = "a record is scored once, by the mean over windows 1.25 s apart"
    assert data.spec.split_rule == f"{whole.spec.split_rule}; {windows}"
    for row in range(len(data.test)):
        np.testing.assert_array_equal(data.test.signal(row), whole.test.signal(row)[[1, 0]])


def test_the_rule_has_the_number_of_records_that_are_left_out_and_why(spec: DataSpec, tmp_path: Path) -> None:
    folder, options = records(tmp_path / "wfdb"), {"labels": "challenge", "rate": None, "unlabelled": None}
    sound = microvolts("MUSE_02")  # whose rhythm is none of CODES
    write_wfdb(folder, "JS09991", sound, "164873001")  # of no class of the run
    flat = np.concatenate([np.zeros_like(sound[:1]), sound[1:]])
    write_wfdb(folder, "JS09992", flat, CODES["SB"])
    what = f"chapman={folder}"
    data = undivided.load(what, tmp_path, dataset="ptbxl", spec=spec, options=options, bad_rows="drop")
    left = "1 records that fail the checks, 1 records without a label"
    assert data.spec.split_rule == f"all {len(data.test)} rows of wfdb, not divided; left out are {left}"
    kept = undivided.load(what, tmp_path, dataset="ptbxl", spec=spec, options=options | {"unlabelled": "keep"})
    assert len(kept.test) == len(data.test) + 1
    assert kept.spec.split_rule.endswith("not divided; left out are 1 records that fail the checks")


def test_a_set_of_classes_that_the_other_dataset_lacks_is_refused_with_both(spec: DataSpec, tmp_path: Path) -> None:
    what = f"chapman={records(tmp_path / 'wfdb')}"
    with pytest.raises(DataError, match="classes of --labels super, chapman has rhythm, challenge"):
        undivided.load(what, tmp_path, dataset="ptbxl", spec=spec, options={"labels": None, "rate": None})


@pytest.mark.parametrize(
    ("what", "parts"),
    [
        ("chapman", ("chapman", None)),
        ("chapman=a/b=c.zip", ("chapman", "a/b=c.zip")),
        ("a/b=c.csv", ("", "a/b=c.csv")),
        ("other.csv", ("", "other.csv")),
    ],
)
def test_a_dataset_is_named_before_a_file(what: str, parts: tuple[str, str | None]) -> None:
    assert undivided.split_name(what) == parts
    assert (parts[0] in DATASETS) == bool(parts[0])


def test_a_file_that_is_missing_is_named(spec: DataSpec, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no dataset and no file of this name \(nowhere\.zip\)"):
        undivided.load("chapman=nowhere.zip", tmp_path, dataset="ptbxl", spec=spec, options={})
