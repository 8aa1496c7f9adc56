"""Records of PTB-XL in the sets of the Challenges are found again in both directions, by their number."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from helpers import ptbxl
from helpers.commands import assert_error, carried_out
from helpers.databases import write_wfdb
from loaders import get_data
from loaders.base import Data, Split
from toolbox.runs.exposure import Exposure, Overlap
from toolbox.runs.folder import RunFolder

OTHERS = ("E00001", "JS00003", "HR7")  # of other databases, or named otherwise


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """20 records as PTB-XL has them, at two rates, and as a Challenge's set has them at 500 Hz, beside others."""
    folder = tmp_path_factory.mktemp("both")
    ptbxl.write(folder / "ptb-xl", rates=(100, 500))
    for number in ptbxl.NUMBERS:
        write_wfdb(folder / "challenge", f"HR{number:05}", ptbxl.microvolts(number), "426783006,164889003")
    for k, name in enumerate(OTHERS):
        write_wfdb(folder / "challenge", name, ptbxl.microvolts(1001 + k), "426783006")
    return SimpleNamespace(folder=folder, ptbxl=folder / "ptb-xl", challenge=folder / "challenge")


def load(name: str, path: Path, root: Path, rate: int) -> Data:
    return get_data(name, root, data_file=path, labels="challenge", rate=rate, unlabelled="keep", val_fraction=0.1)


def of_numbers(numbers: np.ndarray) -> set[str]:
    return {f"HR{number:05}" for number in numbers.tolist()}


@pytest.mark.parametrize("rate", [100, 500])
def test_a_run_on_ptb_xl_knows_its_records_in_a_set_of_a_challenge(
    both: SimpleNamespace, tmp_path: Path, rate: int
) -> None:
    own, other = load("ptbxl", both.ptbxl, tmp_path, rate), load("chapman", both.challenge, tmp_path, rate)
    every = other.train.with_sides(other.val, other.test)
    run = RunFolder.claim(tmp_path, "ptbxl", "cnn1d_3", "bump")
    Exposure.of(own.train, own.val, own.published).save(run)
    found = Exposure.of_run(run).overlap(every, other.published)
    assert (found.rows, found.trained, found.validated) == (23, len(own.train), len(own.val))
    seen = of_numbers(np.concatenate([own.train.index, own.val.index]))
    assert {*found.published} == (seen if rate == 100 else set())  # at 500 Hz the samples are the same
    assert ("it knew 18 of them by their number in PTB-XL: HR00001, " in found.sentence) == (rate == 100)
    assert not seen & of_numbers(own.test.index)


def test_a_run_on_a_set_of_a_challenge_knows_its_records_in_ptb_xl(both: SimpleNamespace, tmp_path: Path) -> None:
    own, other = load("chapman", both.challenge, tmp_path, 100), load("ptbxl", both.ptbxl, tmp_path, 100)
    every = other.train.with_sides(other.val, other.test)
    exposure = Exposure.of(own.train, own.val, own.published)
    found = exposure.overlap(every, other.published)
    counts = [sum(name in of_numbers(every.index) for name in side.record) for side in (own.train, own.val)]
    assert [found.trained, found.validated] == counts
    assert {*found.published} == of_numbers(every.index) & {*own.train.record.tolist(), *own.val.record.tolist()}
    again = exposure.overlap(own.train, own.published)
    assert (again.trained, again.published) == (len(own.train), ())
    assert {*again.known} == {*own.train.record.tolist()}


def rows(names: list[str], seed: int) -> Split:
    x = np.random.default_rng(seed).normal(size=(len(names), 1, 9)).astype(np.float32)
    return Split(x, np.zeros(len(names), np.int64), np.array(names), np.arange(len(names)))


def test_names_are_kept_by_a_run_that_starts_from_another_and_are_known_where_samples_cannot_be_compared(
    tmp_path: Path,
) -> None:
    one = Exposure.of(rows(["HR00001", "a"], 0), rows(["HR00002"], 1))
    two = Exposure.of(rows(["HR00003"], 2), rows(["b"], 3))
    tested = rows(["HR00001", "HR00002", "HR00003", "HR00004", "a", "HR1"], 4)
    found = one.joined(two).overlap(tested)
    assert (found.trained, found.validated) == (2, 1)
    assert found.known == ("HR00001", "HR00002", "HR00003", "a")
    unlike = Exposure(None, None, one.records, "", one.train_names, one.val_names).overlap(
        rows(["x", "y"], 5), "HR{:05}"
    )
    assert (unlike.shared, unlike.published) == (None, ("HR00001",))
    assert "is not known" in unlike.sentence
    assert "it knew 1 of them by their number in PTB-XL: HR00001" in unlike.sentence
    assert unlike.any
    run = RunFolder.claim(tmp_path, "table", "cnn1d_3", "bump")
    np.savez(run / "trained_on.npz", train=one.train, val=one.val, records=one.records, digested=one.digested)
    assert Exposure.of_run(run).overlap(tested) == Overlap(6, 0, 0, 6, ("HR00001", "HR00002", "a"))  # an older run


def test_a_test_on_such_records_warns_with_their_number_and_a_strict_split_refuses_them(
    both: SimpleNamespace, tmp_path: Path
) -> None:
    common = ("--dataset", "ptbxl", "--model-name", "cnn1d_3", "--root-dir", tmp_path, "--threads", 1, "--no-figures")
    data = ("--data-file", both.ptbxl, "--labels", "challenge", "--unlabelled", "keep", "--epochs", 1)
    started = carried_out(*common, *data)
    assert started.code == 0, started.err
    on = ("--test-on", f"chapman={both.challenge}")
    ended = carried_out(*common, *on)
    assert ended.code == 0, ended.err
    sentence = (
        "of 23 tested rows the run trained on 16 and validated on 2; it knew 18 of them by their number in PTB-XL"
    )
    (folder,) = (tmp_path / "ptbxl/runs/ptbxl_cnn1d_3_1/pred").glob("best-on-*")
    for text in (ended.err, ended.result["split_rule"], (folder / "report.txt").read_text()):
        assert sentence in text
    stored = json.loads((folder / "results.json").read_text())
    assert stored["shared_rows"] == len(stored["trained_on"]["published_records"]) == 18
    assert "18 tested records were trained or validated on" in (folder / "report.html").read_text()
    assert_error(carried_out(*common, *on, "--strict-split"), 3, sentence)
