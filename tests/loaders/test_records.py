"""Rows of records: crops and whole records in batches, from whole numbers, by chance that depends on numbers alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers.charts import LENGTHS, make_store
from helpers.data import make_spec
from helpers.training import NEVER, StopAfter, assert_same, build, fit, through_a_file
from loaders import records
from loaders.base import Data, Rows, Split
from loaders.files.cache import cached
from loaders.records import RecordBatches, RecordRows, RecordStore, windows
from toolbox.runs.folder import RunFolder

CPU = torch.device("cpu")
T = 100


def make_crops(of: list[int] | None = None, *, store: RecordStore | None = None, **how: Any) -> RecordRows:
    of = np.arange(len(LENGTHS)) if of is None else np.array(of)
    return RecordRows(store or make_store(), of, of % 2, T, **how)


def drawn(crops: RecordRows, order: list[int], *, size: int = 4, start: int = 0, epoch: int = 0) -> torch.Tensor:
    batches = crops.batches(CPU).batches(torch.tensor(order), size, start=start, epoch=epoch)
    return torch.cat([inputs[0] for inputs, _ in batches])


def seen(crops: Rows, size: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """The windows (M, T) of every record, and the row that each is of."""
    batches = crops.batches(CPU)
    return torch.cat([inputs[0] for inputs, _ in batches.batches(None, size)])[:, 0].numpy(), batches.rows.numpy()


@pytest.mark.parametrize(("samples", "stride"), [(1, 1), (7, 7), (100, 100), (100, 50), (7, 3)])
def test_windows_lose_no_sample_and_are_as_few_as_cover_the_record(samples: int, stride: int) -> None:
    length = np.arange(1, 400)
    whose, begin = windows(length, samples, stride)
    for record, size in enumerate(length):
        own = begin[whose == record]
        assert len(own) == 1 + max(0, -(-(size - samples) // stride))
        assert (np.diff(own) <= stride).all()
        covered = np.unique(own[:, None] + np.arange(samples))
        assert set(range(size)) <= set(covered.tolist())
        assert size <= samples or covered.max() == size - 1
        assert (np.diff(own) > 0).all()
        assert len(own) < 3 or np.ptp(np.diff(own)) <= 1


def test_without_an_order_every_sample_of_every_record_is_seen_and_nothing_is_random() -> None:
    crops = make_crops()
    x, rows = seen(crops)
    for row, length in enumerate(LENGTHS):
        expected = {1000 * row + i for i in range(1, length + 1)}
        assert expected == set(x[rows == row].ravel().astype(int).tolist()) - {0}
    again, _ = seen(crops, size=3)
    np.testing.assert_array_equal(x, again)
    assert len(rows) == 3 + 1 + 1 + 1 + 8 + 2


def test_a_short_record_stands_at_the_end_behind_zeros_also_where_it_is_centred() -> None:
    crops = make_crops([2], store=make_store(zero=500, factor=-0.5))
    for x in (seen(crops)[0][0], drawn(crops, [0])[0, 0].numpy()):
        np.testing.assert_array_equal(x[:40], 0)
        np.testing.assert_array_equal(x[40:], (2000 + np.arange(1, 61) - 500) * -0.5)


def test_a_crop_is_a_stretch_of_its_record_and_may_start_anywhere_in_it() -> None:
    crops = make_crops([0])
    x = drawn(crops, [0] * 4000, size=500)[:, 0].numpy()
    np.testing.assert_array_equal(np.diff(x), 1)
    starts, counts = np.unique(x[:, 0], return_counts=True)
    assert starts.tolist() == list(range(1, 152))
    assert counts.max() < 3 * counts.mean()


def test_chance_depends_on_seed_epoch_and_step_and_on_nothing_else() -> None:
    crops, order = make_crops(seed=3), [0, 4] * 8
    whole = drawn(crops, order, epoch=2)
    assert torch.equal(whole[8:], drawn(crops, order, start=2, epoch=2))
    assert torch.equal(whole, drawn(make_crops(seed=3), order, epoch=2))
    for other in (drawn(crops, order, epoch=3), drawn(make_crops(seed=4), order, epoch=2)):
        assert not torch.equal(whole, other)
    assert not torch.equal(whole[:4], whole[4:8])


def test_resampling_reads_at_the_step_of_the_rate_and_between_samples_linearly() -> None:
    crops = make_crops([4])
    batches = RecordBatches(crops, CPU)
    of, start, step = torch.tensor([4, 4]), torch.tensor([10, 0]), torch.tensor([1.25, 0.8])
    x = batches.cut(of, start, step)[:, 0].numpy()
    samples = 4000 + np.arange(1, 732)
    for row in range(2):
        places = start[row].item() + step[row].item() * np.arange(T)
        np.testing.assert_allclose(x[row], np.interp(places, np.arange(731), samples), atol=2e-3)
    np.testing.assert_array_equal(batches.cut(of, start, torch.ones(2)), batches.cut(of, start))


def test_the_new_rates_are_spread_as_asked_and_crops_stay_in_their_record() -> None:
    crops = make_crops([4], spread=10 / 300)
    x = drawn(crops, [0] * 3000, size=500)[:, 0].numpy()
    step = (x[:, -1] - x[:, 0]) / (T - 1)
    assert (1 / step).std() == pytest.approx(10 / 300, rel=0.05)
    assert (1 / step).mean() == pytest.approx(1, abs=0.003)
    assert x.min() >= 4001
    assert x.max() <= 4731


def test_a_resampled_short_record_is_whole_at_the_end_behind_zeros() -> None:
    crops = make_crops([2])
    x = RecordBatches(crops, CPU).cut(torch.tensor([2]), torch.tensor([0]), torch.tensor([0.8]))[0, 0].numpy()
    length = int(59 / 0.8) + 1
    np.testing.assert_array_equal(x[: T - length], 0)
    np.testing.assert_allclose(
        x[T - length :], np.interp(0.8 * np.arange(length), np.arange(60), 2000 + np.arange(1, 61)), atol=1e-3
    )


def test_a_row_is_repeated_by_its_class_and_its_record_is_still_seen_once() -> None:
    crops = make_crops().repeated(np.array([1, 3]))
    assert crops.of.tolist() == [0, 1, 1, 1, 2, 3, 3, 3, 4, 5, 5, 5]
    np.testing.assert_array_equal(seen(crops)[0], seen(make_crops())[0])
    assert np.unique(seen(crops)[1]).tolist() == [0, 1, 4, 5, 8, 9]
    assert crops.record.tolist() == [f"r{r}" for r in crops.of]


def test_pictures_are_given_the_middle_of_each_record() -> None:
    x = make_crops().x
    assert x.shape == (6, 1, T)
    np.testing.assert_array_equal(x[0, 0], np.arange(76, 176))
    np.testing.assert_array_equal(x[3, 0], [0] * 99 + [3001])


def test_records_of_the_same_samples_on_two_sides_are_found_whatever_their_names() -> None:
    store = make_store()
    content = np.array(["a", "b", "c", "a", "e", "f"])
    store = replace(store, content=content)
    one, other, third = (make_crops(of, store=store) for of in ([3, 4], [1, 2], [0]))
    assert one.shared(other, third).tolist() == [0]
    assert one.shared(other).tolist() == []


def make_data(*, spread: float = 0.03) -> Data:
    """60 records in which the second class has a slower wave, 12 of validation and 12 of test."""
    rng = np.random.default_rng(5)
    lengths, y = rng.integers(60, 400, 84), np.arange(84) % 2
    waves = [400 * np.sin(np.arange(n) / (3 + 2 * k)) + rng.normal(0, 150, n) for n, k in zip(lengths, y, strict=True)]
    store = make_store(lengths, factor=1 / 400)
    store = replace(store, flat=np.concatenate(waves).astype(np.int16))
    sides = [RecordRows(store, of, y[of], T, seed=1) for of in np.split(np.arange(84), [60, 72])]
    train = RecordRows(store, sides[0].of, sides[0].y, T, 1, spread).repeated(np.array([1, 2]))
    return Data(make_spec(samples=T, classes=("fast", "slow")), train, sides[1], lambda: sides[2], "crops")


@pytest.mark.parametrize(("looks", "flags"), [
    (2, {"sampler": "equal"}), (7, {"augment": "noise,mixup"}), (7, {"short_run": True, "batch_size": 4}),
    (7, {"val_fraction": 0.0}),
], ids=str)  # fmt: skip
def test_stopped_in_an_epoch_and_resumed_equals_never_stopped(
    tmp_path: Path, looks: int, flags: dict[str, Any]
) -> None:
    data, flags = make_data(), {"batch_size": 20, **flags}
    if "val_fraction" in flags:
        data = replace(data, val=data.val.rows(np.arange(0)))
    undisturbed = fit(build(data, **flags), 3)
    stopped = fit(build(data, **flags), 3, StopAfter(looks))
    assert stopped.epoch < 3
    assert_same(undisturbed, fit(through_a_file(stopped, data, RunFolder(tmp_path), **flags), 3))


def test_every_record_has_one_prediction_the_mean_probability_of_its_windows() -> None:
    data = make_data()
    trainer = fit(build(data, batch_size=20), 1)
    trainer.model.eval()
    for side in (data.train, data.val, data.test):
        said = trainer.predict(side)
        x, rows = seen(side)
        with torch.inference_mode():
            each = trainer.model(torch.from_numpy(x)[:, None]).softmax(1).numpy()
        np.testing.assert_array_equal(said.index, np.unique(side.of))
        expected = np.stack([each[side.of[rows] == record].mean(0) for record in said.index])
        np.testing.assert_allclose(said.scores, expected, atol=1e-5)
        np.testing.assert_allclose(said.loss, -np.log(expected[np.arange(len(said.target)), said.target]), atol=1e-4)
        np.testing.assert_array_equal(said.target, said.index % 2)
        assert said.record.tolist() == [f"r{r}" for r in said.index]


def test_training_on_crops_is_measured_by_record() -> None:
    data, watched = make_data(), []
    trainer = build(data, batch_size=20, epochs=8)
    trainer.fit(8, on_epoch=lambda _, row, said: watched.append((row, said)), stop=NEVER)
    row, said = watched[0]
    assert np.sum(row["train"]["confusion_matrix"]) == 60
    assert np.sum(row["val"]["confusion_matrix"]) == len(said.index) == 12
    said = trainer.predict(data.test)
    assert (said.scores.argmax(1) == said.target).mean() > 0.9


def test_a_detector_of_crops_has_one_error_a_record() -> None:
    data = make_data()
    trainer = fit(build(data, batch_size=20, model_name="conv_ae", normal_class="fast"), 1)
    said, (x, rows) = trainer.predict(data.val), seen(data.val)
    with torch.inference_mode():
        errors = trainer.task.per_row(
            trainer.model.eval()(torch.from_numpy(x)[:, None]), torch.from_numpy(x)[:, None]
        ).numpy()
    np.testing.assert_allclose(said.loss, [errors[rows == row].mean() for row in range(12)], rtol=1e-4)


def test_the_store_is_one_array_for_every_side_and_no_copy_of_it_is_made_on_the_cpu() -> None:
    data = make_data()
    flat = data.train.store.flat
    for side in (data.train, data.val, data.test):
        assert side.batches(CPU).flat.data_ptr() == flat.ctypes.data


# Records of one length, as whole numbers

R, C, LONG = 40, 3, 150


def whole_samples() -> np.ndarray:
    return np.random.default_rng(0).integers(-3000, 3000, (R, C, LONG)).astype(np.int16)


def whole_store(leads: tuple[int, ...] = (0, 1, 2), samples: np.ndarray | None = None) -> RecordStore:
    rng = np.random.default_rng(0)
    drawn = rng.integers(-3000, 3000, (R, C, LONG)).astype(np.int16)
    samples = drawn if samples is None else samples
    names = np.array([f"r{r}" for r in range(R)])
    zero, factor = (rng.uniform(0.5, 2, (R, len(leads))).astype(np.float32) for _ in range(2))
    return RecordStore.of_one_length(samples, names, names, zero, factor, leads)


def whole_rows(**how: tuple[int, ...]) -> RecordRows:
    of = np.random.default_rng(1).permutation(R)
    return RecordRows(whole_store(**how), of, of % 2)


@pytest.mark.parametrize("leads", [(0, 1, 2), (2, 0), (1,)])
def test_a_batch_is_the_floats_of_its_records_in_the_order_asked_for(leads: tuple[int, ...]) -> None:
    rows = whole_rows(leads=leads)
    own = rows.store
    whole = (whole_samples()[:, leads] - own.zero[:, :, None]) * own.factor[:, :, None]
    np.testing.assert_array_equal(rows.x, whole[rows.of].astype(np.float32))
    assert rows.x.dtype == np.float32
    order = torch.tensor([5, 0, 39, 7, 7])
    parts = list(rows.batches(CPU).batches(order, 2))
    x, y = torch.cat([inputs[0] for inputs, _ in parts]), torch.cat([labels for _, labels in parts])
    np.testing.assert_allclose(x.numpy(), rows.x[order.numpy()], rtol=1e-6)
    np.testing.assert_array_equal(y.numpy(), rows.y[order.numpy()])
    assert [len(labels) for _, labels in parts] == [2, 2, 1]
    assert whole_rows(leads=leads).rows(np.arange(0)).x.shape == (0, len(leads), LONG)


def test_without_an_order_rows_come_as_in_the_source_and_a_start_skips_batches() -> None:
    rows = whole_rows()
    batches, before = rows.batches(CPU), rows.store.flat.copy()
    whole = torch.cat([inputs[0] for inputs, _ in batches.batches(None, 16)])
    np.testing.assert_allclose(whole.numpy(), rows.x, rtol=1e-6)
    later = torch.cat([inputs[0] for inputs, _ in batches.batches(None, 16, start=1)])
    torch.testing.assert_close(later, whole[16:], rtol=0, atol=0)
    np.testing.assert_array_equal(batches.rows.numpy(), np.arange(R))
    for inputs, _ in batches.batches(None, 8):
        inputs[0].zero_()
    np.testing.assert_array_equal(rows.store.flat, before)


def test_rows_of_rows_are_rows_and_the_samples_are_held_once() -> None:
    rows = whole_rows()
    some = rows.rows(np.array([3, 1]))
    np.testing.assert_array_equal(some.x, rows.x[[3, 1]])
    np.testing.assert_array_equal(some.record, rows.record[[3, 1]])
    np.testing.assert_array_equal(some.index, rows.of[[3, 1]])
    assert some.batches(CPU).flat.data_ptr() == rows.store.flat.ctypes.data


def test_many_rows_are_a_map_of_a_file_that_nobody_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = whole_rows()
    arrays, _ = cached(tmp_path / "cache" / "made", lambda: {"samples": whole_samples()})
    mapped = replace(rows, store=whole_store(samples=arrays["samples"]))
    few = mapped.x
    monkeypatch.setattr(records, "IN_MEMORY", 1)
    many = mapped.x
    assert isinstance(many, np.memmap)
    assert not isinstance(few, np.memmap)
    for x in (few, many):
        np.testing.assert_array_equal(x, rows.x)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["made"]


def test_records_of_the_same_samples_are_found() -> None:
    rows = whole_rows()
    twin = RecordRows(rows.store, np.array([7, 7]), np.array([1, 1]))
    np.testing.assert_array_equal(twin.shared(rows.rows(np.flatnonzero(rows.of == 7))), [0, 1])
    assert len(twin.shared(rows.rows(np.flatnonzero(rows.of != 7)))) == 0


def test_a_network_learns_from_whole_numbers_what_it_learns_from_floats() -> None:
    def data(rows: Rows) -> Data:
        train, val, test = (rows.rows(side) for side in np.split(np.arange(R), [24, 32]))
        return Data(make_spec(channels=C, samples=LONG, classes=("a", "b")), train, val, lambda: test, "stack")

    rows = whole_rows()
    both = data(rows), data(Split(rows.x, rows.y, rows.record, rows.index))
    whole, floats = (fit(build(each, batch_size=10), 2) for each in both)
    for key, value in whole.model.state_dict().items():
        torch.testing.assert_close(value, floats.model.state_dict()[key], rtol=1e-4, atol=1e-5)
    said, expected = (trainer.predict(trainer.data.test) for trainer in (whole, floats))
    np.testing.assert_array_equal(said.index, expected.index)
    np.testing.assert_allclose(said.scores, expected.scores, atol=1e-4)
