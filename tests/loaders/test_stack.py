"""Rows kept as whole numbers: each batch is the floats of its records, whatever order, leads and unit are asked for."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.data import make_spec
from helpers.training import StopAfter, assert_same, build, fit, through_a_file
from loaders import records
from loaders.base import Data, Split
from loaders.files.cache import cached
from loaders.records import RecordRows, RecordStore
from toolbox.runs.folder import RunFolder

CPU = torch.device("cpu")
R, C, T = 40, 3, 150


def make_samples() -> np.ndarray:
    return np.random.default_rng(0).integers(-3000, 3000, (R, C, T)).astype(np.int16)


def make_store(leads: tuple[int, ...] = (0, 1, 2), samples: np.ndarray | None = None) -> RecordStore:
    rng = np.random.default_rng(0)
    drawn = rng.integers(-3000, 3000, (R, C, T)).astype(np.int16)
    samples = drawn if samples is None else samples
    names = np.array([f"r{r}" for r in range(R)])
    zero, factor = (rng.uniform(0.5, 2, (R, len(leads))).astype(np.float32) for _ in range(2))
    return RecordStore.of_one_length(samples, names, names, zero, factor, leads)


def make_rows(**how: tuple[int, ...]) -> RecordRows:
    of = np.random.default_rng(1).permutation(R)
    return RecordRows(make_store(**how), of, of % 2)


@pytest.mark.parametrize("leads", [(0, 1, 2), (2, 0), (1,)])
def test_a_batch_is_the_floats_of_its_records_in_the_order_asked_for(leads: tuple[int, ...]) -> None:
    rows = make_rows(leads=leads)
    own = rows.store
    whole = (make_samples()[:, leads] - own.zero[:, :, None]) * own.factor[:, :, None]
    np.testing.assert_array_equal(rows.x, whole[rows.of].astype(np.float32))
    assert rows.x.dtype == np.float32
    order = torch.tensor([5, 0, 39, 7, 7])
    parts = list(rows.batches(CPU).batches(order, 2))
    x, y = torch.cat([inputs[0] for inputs, _ in parts]), torch.cat([labels for _, labels in parts])
    np.testing.assert_allclose(x.numpy(), rows.x[order.numpy()], rtol=1e-6)
    np.testing.assert_array_equal(y.numpy(), rows.y[order.numpy()])
    assert [len(labels) for _, labels in parts] == [2, 2, 1]


def test_without_an_order_rows_come_as_in_the_source_and_a_start_skips_batches() -> None:
    rows = make_rows()
    batches = rows.batches(CPU)
    whole = torch.cat([inputs[0] for inputs, _ in batches.batches(None, 16)])
    np.testing.assert_allclose(whole.numpy(), rows.x, rtol=1e-6)
    later = torch.cat([inputs[0] for inputs, _ in batches.batches(None, 16, start=1)])
    torch.testing.assert_close(later, whole[16:], rtol=0, atol=0)
    np.testing.assert_array_equal(batches.rows.numpy(), np.arange(R))


def test_rows_of_rows_are_rows_and_the_samples_are_held_once() -> None:
    rows = make_rows()
    some = rows.rows(np.array([3, 1]))
    np.testing.assert_array_equal(some.x, rows.x[[3, 1]])
    np.testing.assert_array_equal(some.record, rows.record[[3, 1]])
    np.testing.assert_array_equal(some.index, rows.of[[3, 1]])
    assert some.batches(CPU).flat.data_ptr() == rows.store.flat.ctypes.data


def test_many_rows_are_a_map_of_a_file_that_nobody_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = make_rows()
    arrays, _ = cached(tmp_path / "cache" / "made", lambda: {"samples": make_samples()})
    mapped = replace(rows, store=make_store(samples=arrays["samples"]))
    few = mapped.x
    monkeypatch.setattr(records, "IN_MEMORY", 1)
    many = mapped.x
    assert isinstance(many, np.memmap)
    assert not isinstance(few, np.memmap)
    for x in (few, many):
        np.testing.assert_array_equal(x, rows.x)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["made"]


def test_no_rows_have_the_shape_of_a_row() -> None:
    assert make_rows(leads=(2, 0)).rows(np.arange(0)).x.shape == (0, 2, T)


def test_a_batch_does_not_change_what_is_stored() -> None:
    rows = make_rows()
    before = rows.store.flat.copy()
    for inputs, _ in rows.batches(CPU).batches(None, 8):
        inputs[0].zero_()
    np.testing.assert_array_equal(rows.store.flat, before)


def test_records_of_the_same_samples_are_found() -> None:
    rows = make_rows()
    twin = RecordRows(rows.store, np.array([7, 7]), np.array([1, 1]))
    np.testing.assert_array_equal(twin.shared(rows.rows(np.flatnonzero(rows.of == 7))), [0, 1])
    assert len(twin.shared(rows.rows(np.flatnonzero(rows.of != 7)))) == 0


def make_data(kind: type = RecordRows) -> Data:
    """The same rows as whole numbers, or as the floats that they stand for."""
    rows = make_rows()
    if kind is Split:
        rows = Split(rows.x, rows.y, rows.record, rows.index)
    train, val, test = (rows.rows(side) for side in np.split(np.arange(R), [24, 32]))
    return Data(make_spec(channels=C, samples=T, classes=("a", "b")), train, val, lambda: test, "stack")


def test_a_network_learns_from_them_what_it_learns_from_floats() -> None:
    whole, floats = (fit(build(make_data(kind), batch_size=10), 2) for kind in (RecordRows, Split))
    for key, value in whole.model.state_dict().items():
        torch.testing.assert_close(value, floats.model.state_dict()[key], rtol=1e-4, atol=1e-5)
    said, expected = (trainer.predict(trainer.data.test) for trainer in (whole, floats))
    np.testing.assert_array_equal(said.index, expected.index)
    np.testing.assert_allclose(said.scores, expected.scores, atol=1e-4)


@pytest.mark.parametrize("looks", [1, 4])
def test_stopped_in_an_epoch_and_resumed_equals_never_stopped(tmp_path: Path, looks: int) -> None:
    flags = {"batch_size": 10, "augment": "noise,shift"}
    undisturbed = fit(build(make_data(), **flags), 3)
    stopped = fit(build(make_data(), **flags), 3, StopAfter(looks))
    assert stopped.epoch < 3
    assert_same(undisturbed, fit(through_a_file(stopped, make_data(), RunFolder(tmp_path), **flags), 3))
