"""The division of ptbxl: folds of the publisher, or other validation records by patient; records without a label."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from commands import compare
from helpers import ptbxl
from loaders import get_data
from loaders.base import Data
from loaders.splits import Fold
from toolbox.errors import DataError, UsageError

SIDES = ("train", "val", "test")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ptbxl.write(tmp_path_factory.mktemp("ptbxl") / "files")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


def load(root: Path, folder: Path, **how: Any) -> Data:
    return get_data("ptbxl", root, data_file=folder, **how)


def test_no_patient_is_in_two_splits_whatever_validates(root: Path, folder: Path) -> None:
    official = load(root, folder, labels="all")
    for holdout in (0.1, 0.3, Fold(1, 4), Fold(4, 4)):
        data = load(root, folder, labels="all", val_fraction=holdout)
        patients = [{*getattr(data, side).record.tolist()} for side in SIDES]
        assert sum(map(len, patients)) == len(set.union(*patients))
        assert data.test.index.tolist() == official.test.index.tolist()
        assert compare.test_side(data.spec.split_rule) == compare.test_side(official.spec.split_rule)
        assert (data.spec.split_rule == official.spec.split_rule) == (holdout == 0.1)
    assert len(load(root, folder, labels="all", val_fraction=0.0).val) == 0


def test_the_folds_of_validation_cover_the_training_records_once(root: Path, folder: Path) -> None:
    parts = [load(root, folder, labels="all", val_fraction=Fold(k, 3)) for k in (1, 2, 3)]
    assert sorted(np.concatenate([part.val.index for part in parts])) == ptbxl.NUMBERS[:18]
    with pytest.raises(DataError, match="patients cannot be put into 900 folds"):
        load(root, folder, labels="all", val_fraction=Fold(1, 900))


def test_crops_are_drawn_from_records_that_are_scored_once_over_windows_half_a_crop_apart(
    root: Path, folder: Path
) -> None:
    whole, data = load(root, folder), load(root, folder, crops="2.5s")
    assert (whole.spec.samples, data.spec.samples) == (1000, 250)
    assert load(root, folder, crops="250").spec == data.spec
    told = "crops of 2.5 s, a record is scored once, by the mean over windows 1.25 s apart"
    assert data.spec.split_rule.endswith(told)
    assert compare.test_side(data.spec.split_rule) == compare.test_side(whole.spec.split_rule)
    batches = data.val.batches(CPU)
    seen = torch.cat([x for (x,), _ in batches.batches(None, 4)]).numpy()
    records = np.concatenate([x.numpy() for (x,), _ in whole.val.batches(CPU).batches(None, 4)])
    assert batches.rows.tolist() == [row for row in range(len(data.val)) for _ in range(7)]
    for row, record in enumerate(records):
        windows = [record[:, begin : begin + 250] for begin in range(0, 751, 125)]
        np.testing.assert_array_equal(seen[7 * row : 7 * row + 7], windows)
    order = torch.arange(len(data.train))
    crops, again, later = (
        torch.cat([x for (x,), _ in data.train.batches(CPU).batches(order, 4, epoch=epoch)]) for epoch in (1, 1, 2)
    )
    assert crops.shape == (len(data.train), 12, 250)
    assert torch.equal(crops, again)
    assert not torch.equal(crops, later)
    assert data.test.digested == whole.test.digested


@pytest.mark.parametrize(
    ("crops", "why"),
    [
        ("250:NORM=2", "counts crops by class, which is for strips"),
        ("0.5s", "must be 0.64 to 10 s at 100 Hz"),
        ("11s", "must be 0.64 to 10 s at 100 Hz"),
        ("nans", "must be 0.64 to 10 s"),
        ("2000", "must be a whole number from 64 to 1000"),
    ],
)
def test_crops_that_no_record_has_are_refused(root: Path, folder: Path, crops: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        load(root, folder, crops=crops)


def test_the_seed_changes_no_official_split(root: Path, folder: Path) -> None:
    one, other = (load(root, folder, seed=seed) for seed in (1, 2))
    assert one.checksum == other.checksum
    for side in SIDES:
        np.testing.assert_array_equal(getattr(one, side).index, getattr(other, side).index)


def test_records_without_a_label_are_left_out_or_kept_and_counted(root: Path, folder: Path) -> None:
    without = [number for k, number in enumerate(ptbxl.NUMBERS) if k % 5 == 4]  # PVC and SR alone
    dropped, kept = (load(root, folder, unlabelled=how) for how in ("drop", "keep"))
    assert not {*without} & {*dropped.train.index.tolist(), *dropped.test.index.tolist()}
    assert all((getattr(dropped, side).y.sum(1) > 0).all() for side in SIDES)
    assert sum(len(getattr(kept, side)) for side in SIDES) == ptbxl.RECORDS
    assert (kept.train.y[np.isin(kept.train.index, without)] == 0).all()
    assert "4 records without a label of super are left out (1 of test)" in dropped.spec.split_rule
    assert "4 records without a label of super are rows of no class (1 of test)" in kept.spec.split_rule
    assert dropped.checksum != kept.checksum
    assert "every record has a label of all" in load(root, folder, labels="all").spec.split_rule


def test_a_patient_in_two_splits_and_a_split_without_records_are_refused(root: Path, tmp_path: Path) -> None:
    rows = [ptbxl.row(k) for k in range(ptbxl.RECORDS)]
    rows[19]["patient_id"] = rows[0]["patient_id"]
    folder = ptbxl.write(tmp_path / "one")
    ptbxl.write_tables(folder, rows)
    with pytest.raises(DataError, match=r"patient 100 is in training and in test, one of 1 such patients"):
        load(tmp_path, folder)
    with pytest.raises(DataError, match="no record is in test"):
        load(tmp_path, ptbxl.write(tmp_path / "two", records=18))
    with pytest.raises(DataError, match="no record is in validation"):
        load(tmp_path, ptbxl.write(tmp_path / "three", records=16), labels="form")
