"""The view chart: rows of signals become rows of pictures, on the sides they were on, one prediction a row, exact to
resume."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import args
from commands import build, choices
from commands.predict import recordings as predict
from commands.trained import TrainedRun
from helpers.charts import RATE_HZ, make_data, make_split, strips
from helpers.data import make_spec
from helpers.databases import write_cinc2017
from helpers.training import NEVER, StopAfter, assert_same, fit
from loaders import get_data
from loaders.base import Data, Split
from loaders.charts.rows import as_charts
from loaders.declaration import ChartOptions
from loaders.records import windows
from toolbox.errors import DataError, UsageError
from toolbox.paper import layouts
from toolbox.runs import checkpoints
from toolbox.runs.folder import RunFolder
from toolbox.tasks import Classify
from toolbox.training.optimizers import Schedule, Shape, get_optimizer
from trainer import Trainer

CPU = torch.device("cpu")
SMALL = {"size": 40, "layout": "2x0.5"}
BOTH = {"size": 160, "layout": "4x0.25+II,2x0.5"}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Charts in two layouts of 40, 10 and 12 rows."""
    return as_charts(make_data(), tmp_path_factory.mktemp("charts"), **BOTH)


def seen(side: Any, order: torch.Tensor | None = None, size: int = 7, **how: int) -> torch.Tensor:
    return torch.cat([inputs[0] for inputs, _ in side.batches(CPU).batches(order, size, **how)])


def test_rows_are_pictures_and_keep_what_is_known_of_their_signals(drawn: Data) -> None:
    spec, train = drawn.spec, drawn.train
    assert (spec.view, spec.image, spec.shape) == ("chart", (160, 45), (3, 160, 45))
    assert (spec.channels, spec.samples, spec.leads) == (12, 50, layouts.TWELVE)
    assert len(train) == 2 * 40
    signals = make_data().train
    for name in ("y", "record", "index"):
        np.testing.assert_array_equal(getattr(train, name), np.repeat(getattr(signals, name), 2))
    x = train.rows(np.array([3, 0])).x
    assert (x.shape, x.dtype) == ((2, 3, 160, 45), np.float32)
    assert 0 <= x.min() < 0.2 < 0.9 < x.max() <= 1
    for row, picture in zip((3, 0), x, strict=True):
        np.testing.assert_allclose(picture.transpose(1, 2, 0) * 255, train.picture(row), atol=0.51)


def test_batches_are_the_rows_in_their_order_and_the_last_may_be_shorter(drawn: Data) -> None:
    everything = drawn.train.x
    np.testing.assert_array_equal(seen(drawn.train), everything)
    order = torch.randperm(80, generator=torch.Generator().manual_seed(3))
    np.testing.assert_array_equal(seen(drawn.train, order), everything[order])
    np.testing.assert_array_equal(seen(drawn.train, order, start=4), everything[order[28:]])
    sizes = [(len(inputs[0]), len(y)) for inputs, y in drawn.train.batches(CPU).batches(None, 32)]
    assert sizes == [(32, 32), (32, 32), (16, 16)]
    y = torch.cat([y for _, y in drawn.train.batches(CPU).batches(order, 9)])
    np.testing.assert_array_equal(y, drawn.train.y[order])


@pytest.mark.parametrize("workers", [0, 5])
def test_however_many_threads_read_the_batches_are_the_same(drawn: Data, workers: int) -> None:
    side, order = replace(drawn.train, workers=workers), torch.arange(79, -1, -1)
    np.testing.assert_array_equal(seen(side, order), drawn.train.x[::-1])


def until(holds: Callable[[], bool]) -> bool:
    for _ in range(90_000):
        if holds():
            break
        threading.Event().wait(0.01)
    return holds()


def test_a_thread_reads_the_next_batch_and_ends_with_the_loop(drawn: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    side, by = drawn.train.batches(CPU), []
    read = side._ink
    monkeypatch.setattr(side, "_ink", lambda rows: by.append(threading.current_thread()) or read(rows))
    batches = side.batches(None, 8)
    next(batches)
    assert until(lambda: len(by) >= 3)
    assert threading.main_thread() not in by
    batches.close()
    for inputs, _ in drawn.train.batches(CPU).batches(None, 1):
        assert inputs[0].shape == (1, 3, 160, 45)
        break
    assert until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("charts")])


def test_all_charts_of_a_row_stand_on_its_side(drawn: Data) -> None:
    sides = [set(side.record.tolist()) for side in (drawn.train, drawn.val, drawn.test)]
    assert len(set.union(*sides)) == sum(map(len, sides))
    assert len(drawn.test) == 24
    assert len(drawn.shared_rows) == 0


def test_rows_on_two_sides_are_found(tmp_path: Path) -> None:
    data = make_data()
    test = make_split(4, 200)
    test.x[2] = data.train.x[5]
    charts = as_charts(replace(data, open_test=lambda: test), tmp_path, **BOTH)
    assert charts.shared_rows.tolist() == [202, 202]


def test_the_test_rows_are_drawn_when_they_are_opened(tmp_path: Path) -> None:
    def closed() -> Split:
        raise AssertionError("the test is open")

    data = as_charts(replace(make_data(), open_test=closed), tmp_path, **SMALL)
    assert len(list(tmp_path.glob("tiny/charts/*/part-*"))) == 1
    with pytest.raises(AssertionError, match="the test is open"):
        data.test  # noqa: B018
    opened = as_charts(make_data(), tmp_path, **SMALL)
    assert len(opened.test) == 12
    assert len(list(tmp_path.glob("tiny/charts/*/part-*"))) == 2


def test_a_short_run_draws_only_the_charts_that_it_measures(tmp_path: Path) -> None:
    data = as_charts(make_data(), tmp_path, **BOTH, short_batch=1)
    assert len(data.train) == 80
    assert len(data.val) == len(data.test) == 10  # charts, of ten batches of one
    assert (np.unique(data.test.index, return_counts=True)[1] == 2).all(), "both charts of a row"
    assert data.covers == {"val_rows": [5, 10], "test_rows": [5, 12]}
    assert "a short run: at most 10 rows" in data.spec.split_rule
    assert not data.test.kinds[0].store.missing([data.test.keys[0]])
    assert sum(len(kind.store) for kind in data.test.kinds) == 10
    assert data.checksum == as_charts(make_data(), tmp_path, **BOTH).checksum


def test_a_chart_shows_its_own_signal(tmp_path: Path) -> None:
    """One lead that steps from row to row: the height of its trace is read back from each picture."""
    rows = np.linspace(-0.6, 0.6, 40, dtype=np.float32)
    x = np.broadcast_to(rows[:, None, None], (40, 1, RATE_HZ))
    spec = replace(make_spec(samples=RATE_HZ, classes=("a", "b")), rate_hz=RATE_HZ, leads=("II",))
    split = Split(x, np.arange(40) % 2, np.full(40, ""), np.arange(40))
    data = as_charts(
        Data(spec, split, split.rows(np.arange(3)), lambda: split, "x"), tmp_path, size=200, style="line=0.3"
    )
    (kind,) = data.train.kinds
    scale, zero = kind.sheet.pixels_per_mm, kind.sheet.rows_mm[0]
    for row, mv in enumerate(rows):
        ink = kind.store.read([data.train.keys[row]])[0][:, round(27 * scale)] / 255
        height = (ink * np.arange(200)).sum() / ink.sum()
        assert (zero - height / scale) / 10 == pytest.approx(mv, abs=0.01)


def test_strips_are_drawn_as_windows_of_the_layout_from_their_first_sample_to_their_last(tmp_path: Path) -> None:
    lengths = [250, 100, 60, 101, 731, 1]
    data = as_charts(strips(lengths), tmp_path, size=40)
    assert data.spec.unit == "counts, 1 drawn as 1 mV"
    for side, own in ((data.train, lengths[:3]), (data.val, lengths[3:4]), (data.test, lengths[4:])):
        row, begin = windows(np.array(own), 100)
        np.testing.assert_array_equal(side.row, row)
        np.testing.assert_array_equal(side.begin, begin)
        assert side.pooled == (len(row) > len(own))
        for row in range(len(side)):
            expected = side.signal(row)[:, side.begin[row] :][:, :100]
            shown = side.window(row)
            np.testing.assert_array_equal(shown[:, : expected.shape[1]], expected)
            assert np.isnan(shown[:, expected.shape[1] :]).all()
    np.testing.assert_array_equal(
        data.train.window(3)[0], (1000 + np.arange(1, 101)).astype(np.float32) * np.float32(1e-3)
    )


def test_rows_that_are_cropped_several_times_an_epoch_are_drawn_once(tmp_path: Path) -> None:
    data = strips([250, 100, 60, 101, 731, 1])
    data = replace(data, train=data.train.repeated(np.array([3, 1])))
    charts = as_charts(data, tmp_path, size=40)
    assert len(charts.train) == 3 * 3 + 1 + 3
    assert sum(len(kind.store) for kind in charts.train.kinds) == 3 + 1 + 1 + 2


def test_a_row_without_a_sample_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="rows without a sample cannot be drawn: r1"):
        as_charts(strips([250, 0, 60, 101, 731, 1]), tmp_path, size=40)


def test_flat_leads_and_leads_of_no_numbers_are_drawn(tmp_path: Path) -> None:
    data = make_data()
    data.train.x[0], data.train.x[1], data.train.x[2, 4] = 0, np.nan, np.nan
    train = as_charts(data, tmp_path, **SMALL).train
    ink = train.kinds[0].store.read(train.keys[:3])
    assert ink[0].any()
    assert not ink[1].any()
    assert ink[2].any()


def test_eleven_leads_where_twelve_are_needed_are_a_usage_error(tmp_path: Path) -> None:
    data = make_data()
    data = replace(data, spec=replace(data.spec, channels=11, leads=layouts.TWELVE[:11]))
    with pytest.raises(UsageError, match="layout v1 needs lead V6, the data has I, II"):
        as_charts(data, tmp_path, layout="v1")
    with pytest.raises(UsageError, match="needs lead V9"):
        as_charts(data, tmp_path, layout="1x1", leads="I,V9")
    assert as_charts(data, tmp_path, layout="1x1", leads="V1,II").spec.leads == ("II", "V1")


@pytest.mark.parametrize(("unit", "said"), [
    ("mV", "mV"),
    ("mV from the median", "mV from the median"),
    ("", "not known, 1 drawn as 1 mV"),
    ("uV", "uV, 1 drawn as 1 mV"),
])  # fmt: skip
def test_a_unit_other_than_mv_is_drawn_as_mv_and_stated(tmp_path: Path, unit: str, said: str) -> None:
    data = make_data()
    assert as_charts(replace(data, spec=replace(data.spec, unit=unit)), tmp_path, **SMALL).spec.unit == said


def test_features_stand_beside_the_pictures_of_their_rows(tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    data = make_data(features=features)
    data = as_charts(replace(data, spec=replace(data.spec, features=("a", "b"))), tmp_path, **BOTH)
    order = torch.randperm(80)
    beside = torch.cat([inputs[1] for inputs, _ in data.train.batches(CPU).batches(order, 16)])
    np.testing.assert_array_equal(beside, np.repeat(features, 2, axis=0)[order])


def test_colours_and_grid_are_put_on_when_read_and_what_is_drawn_is_another_store(tmp_path: Path) -> None:
    def folders() -> int:
        return len(list(tmp_path.glob("tiny/charts/*")))

    plain = as_charts(make_data(), tmp_path, **SMALL)
    assert folders() == 1
    blue = as_charts(make_data(), tmp_path, **SMALL, style="grid=off,trace=0000FF,paper=FFFFFF")
    assert folders() == 1
    assert blue.train.picture(0)[0, -1].tolist() == [255, 255, 255]
    assert not np.array_equal(plain.train.x[:2], blue.train.x[:2])
    for how in (
        {"style": "line=1"},
        {"size": 41},
        {"layout": "1x1"},
        {"leads": "I,II"},
        {"options": {"polarity": "recorded"}},
    ):
        before = folders()
        other = as_charts(make_data(), tmp_path, **{**SMALL, **how})
        assert folders() == before + 1
        assert other.checksum != plain.checksum


def test_charts_of_a_test_file_that_changed_are_not_taken_for_it(tmp_path: Path) -> None:
    as_charts(make_data(), tmp_path, **SMALL).test  # noqa: B018
    other = replace(make_data(), open_test=lambda: make_split(12, 200, samples=RATE_HZ + 1).rows(np.arange(12)))
    with pytest.raises(DataError, match="drawn from other signals"):
        as_charts(other, tmp_path, **SMALL).test  # noqa: B018


class Tiny(torch.nn.Module):
    """A network of pictures: as small as they come."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 5, stride=2), torch.nn.ReLU(), torch.nn.AdaptiveMaxPool2d(2)
        )
        self.head = torch.nn.Linear(16, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).flatten(1))


def trainer_of(data: Data) -> Trainer:
    torch.manual_seed(1)
    model = Tiny(len(data.spec.classes))
    optimizer = get_optimizer("adam", list(model.parameters()), lr=0.01, momentum=0.9, weight_decay=0)
    schedule = Schedule("OneCycleLR", optimizer, Shape(5, 0.5, 3, -(-len(data.train) // 8), "max"))
    return Trainer(
        model, Classify(data.spec.classes, "crossentropy"), data, optimizer, schedule, device=CPU, batch_size=8, seed=5
    )


def test_the_charts_of_a_row_become_one_prediction_their_mean_probability(drawn: Data) -> None:
    trainer = fit(trainer_of(drawn), 1)
    predictions = trainer.predict(drawn.test)
    assert predictions.index.tolist() == list(range(200, 212))
    with torch.inference_mode():
        each = trainer.model(torch.from_numpy(drawn.test.x)).softmax(1).numpy()
    np.testing.assert_allclose(predictions.scores, (each[::2] + each[1::2]) / 2, atol=1e-5)
    np.testing.assert_array_equal(predictions.target, np.arange(12) % 3)


def test_stopped_and_resumed_equals_never_stopped(drawn: Data, tmp_path: Path) -> None:
    undisturbed = fit(trainer_of(drawn), 2)
    stopped = fit(trainer_of(drawn), 2, StopAfter(13))
    assert stopped.epoch < 2
    checkpoints.save(RunFolder(tmp_path), stopped.state_dict(), is_best=False, epoch_done=False)
    resumed, state = trainer_of(drawn), checkpoints.load(RunFolder(tmp_path).checkpoint("latest"))
    checkpoints.load_weights(resumed.model, state["model"], "here")
    resumed.load_state_dict(state)
    assert_same(undisturbed, fit(resumed, 2, NEVER))


def test_a_dataset_as_charts_keeps_its_splits(tmp_path: Path) -> None:
    how = {"data_file": write_cinc2017(tmp_path / "files"), "normalise": "record", "chart": ChartOptions(size=32)}
    signals, charts = (get_data("cinc2017", tmp_path, view=view, **how) for view in ("signal", "chart"))
    assert charts.spec.unit == "interquartile ranges from the median of the record, 1 drawn as 1 mV"
    assert (charts.spec.image[0], charts.spec.classes) == (32, signals.spec.classes)
    assert charts.spec.split_rule.startswith(signals.spec.split_rule)
    assert charts.checksum != signals.checksum
    for side in ("train", "val"):
        assert set(getattr(charts, side).index.tolist()) == set(getattr(signals, side).index.tolist())
    assert np.isfinite(charts.val.rows(np.arange(3)).x).all()


def typed(*words: str) -> SimpleNamespace:
    given = args.parse(words)
    if wrong := args.complaints(given):
        raise UsageError("; ".join(wrong))
    return choices.settle(args.resolve(given))


@pytest.mark.parametrize(("words", "says"), [
    (("--view", "paper"), "unknown --view 'paper'"),
    (("--chart-size", "100"), "--chart-size goes with --view chart"),
    (("--chart-layout", "v1", "--dataset", "synth"), "--chart-layout goes with --view chart"),
    (("--view", "chart", "--chart-size", "31"), "--chart-size is 31, must be from 32 to 4096"),
    (("--view", "chart", "--chart-layout", "v7"), "--chart-layout 'v7' is none of v1, v2"),
    (("--view", "chart", "--chart-style", "dots=1"), "--chart-style has no 'dots'"),
    (("--view", "chart", "--task", "detect"), "--view is only valid with --task classify"),
    (("--view", "chart", "--explore"), "--explore is only valid with --view signal"),
    (("--view", "chart", "--predict", "x.hea"), "--predict reads signals: recordings and rows; a network of"),
    (("--view", "chart", "--resample", "5"), "--resample is only valid with --view signal"),
    (("--export-charts", "x", "--explore"), "--explore and --export-charts exclude each other"),
    (("--export-charts", "x", "--strict-split"), "--export-charts leaves the test rows closed"),
])  # fmt: skip
def test_a_flag_that_does_not_go_with_charts_is_refused_in_one_line(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        typed(*words)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "words", [("--chart-size", "96"), ("--chart-style", "grid=off"), ("--view", "signal"), ("--chart-leads", "I")]
)
def test_a_run_does_not_go_on_with_other_charts(words: tuple[str, ...]) -> None:
    stored = vars(typed("--view", "chart", "--chart-layout", "1x1"))
    assert list(args.FLAGS.changed(args.parse(words), stored)) == [words[0][2:].replace("-", "_")]


def test_predict_refuses_a_run_of_charts(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    data = {**make_spec().as_dict(), "image": [40, 45], "checksum": "x"}
    run.write_json("config.json", {"flags": build.kept(typed("--view", "chart")), "data": data})
    with pytest.raises(
        UsageError, match=r"--predict reads signals: recordings and rows; a network of charts is scored by --test"
    ):
        predict.load(TrainedRun.open({"root_dir": tmp_path}, run=run))
