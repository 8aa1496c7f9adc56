"""The best epoch of a run: equal values, unknown ones, older files; trainer and readers follow one rule."""

from pathlib import Path

import pytest

from helpers.training import NEVER, assert_same, build, through_a_file
from loaders.base import Data
from toolbox.runs import best
from toolbox.runs.folder import RunFolder
from toolbox.tasks import Classify

NAN = float("nan")
# Value and validation loss of each epoch, then the best epoch and the first with its value.
RUNS: dict[str, tuple[list[tuple[float, float | None]], int, int]] = {
    "equal values": ([(0.5, 0.9), (1.0, 0.8), (1.0, 0.3), (1.0, 0.4)], 3, 2),
    "equal losses too": ([(1.0, 0.3), (1.0, 0.3)], 1, 1),
    "a better value with a higher loss": ([(0.9, 0.1), (1.0, 0.5)], 2, 2),
    "a lower loss with a worse value": ([(1.0, 0.5), (0.9, 0.1)], 1, 1),
    "no loss": ([(1.0, None), (1.0, 0.3)], 1, 1),
    "a loss of NaN": ([(1.0, NAN), (1.0, NAN), (1.0, 0.3), (1.0, NAN)], 3, 1),
    "unknown values": ([(NAN, 0.5), (0.2, 0.9), (NAN, 0.1)], 2, 2),
}


@pytest.mark.parametrize(("monitor", "good", "bad"), [("macro_f1", 0.9, 0.1), ("loss", 0.1, 0.9)])
def test_better_is_a_higher_score_or_a_lower_loss_and_never_nan(monitor: str, good: float, bad: float) -> None:
    assert best.is_better(monitor, good, bad)
    assert not best.is_better(monitor, bad, good)
    assert not best.is_better(monitor, good, good)
    assert best.is_better(monitor, bad, None)
    assert best.mode(monitor) == ("max" if good > bad else "min")
    assert not best.is_better(monitor, NAN, 0.5)
    assert best.is_better(monitor, 0.5, NAN)


@pytest.mark.parametrize("case", RUNS)
def test_of_epochs_with_equal_values_the_lower_loss_wins_then_the_earlier(case: str) -> None:
    epochs, number, since = RUNS[case]
    found = None
    for epoch, (value, loss) in enumerate(epochs, 1):
        found = best.stored(best.after(found, "macro_f1", epoch=epoch, value=value, loss=loss))
        assert best.objection(found, epoch) == ""
    assert found
    assert (found["epoch"], found["since"], found["value"]) == (number, since, epochs[number - 1][0])
    history = [{"epoch": e, "val": {"macro_f1": value, "loss": loss}} for e, (value, loss) in enumerate(epochs, 1)]
    assert best.best_epoch(history, "macro_f1") is history[number - 1]


def test_an_older_checkpoint_keeps_its_best_epoch_until_a_better_value() -> None:
    older = best.stored({"epoch": 2, "value": 1})
    assert older == {"epoch": 2, "value": 1.0, "loss": None, "since": 2}
    assert best.after(older, "macro_f1", epoch=3, value=1.0, loss=0.0) == older
    assert best.after(older, "macro_f1", epoch=3, value=1.1, loss=0.0)["epoch"] == 3


@pytest.mark.parametrize(("known", "epoch"), [(1, 1), (9, 3), (None, 3)])
def test_the_epoch_in_the_results_is_the_best_of_a_finished_run(known: int | None, epoch: int) -> None:
    history = [{"epoch": e, "val": {"macro_f1": 1.0, "loss": 1 / e}} for e in (1, 2, 3)]
    assert best.best_epoch(history, "macro_f1", known) is history[epoch - 1]
    assert best.best_epoch([], "macro_f1", known) is None


def test_a_training_with_equal_values_keeps_the_lowest_loss_and_ends_as_without_it_also_across_a_resume(
    tiny: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = Classify.measure
    monkeypatch.setattr(Classify, "measure", lambda task, seen: measure(task, seen) | {"macro_f1": 1.0})
    whole, halves = build(tiny), build(tiny)
    whole.fit(9, on_epoch=lambda *_: None, stop=NEVER, patience=3)
    losses = [row["val"]["loss"] for row in whole.history]
    assert whole.epoch == 4  # three epochs after the first with this value
    assert whole.best == {"epoch": losses.index(min(losses)) + 1, "value": 1.0, "loss": min(losses), "since": 1}
    assert whole.best_epoch != 1
    halves.fit(2, on_epoch=lambda *_: None, stop=NEVER)
    halves = through_a_file(halves, tiny, RunFolder(tmp_path))
    halves.fit(9, on_epoch=lambda *_: None, stop=NEVER, patience=3)
    assert_same(halves, whole)
