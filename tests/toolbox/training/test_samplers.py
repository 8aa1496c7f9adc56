"""The order of an epoch: a pure function of seed and epoch, with the classes in the shares that were asked for."""

import numpy as np
import pytest
import torch

from commands.check.training import SAMPLER
from toolbox.errors import UsageError
from toolbox.training import samplers
from toolbox.training.samplers import BALANCES, SAMPLERS, class_weights

LABELS = torch.repeat_interleave(torch.arange(3), torch.tensor([8000, 1500, 500]))
IMPORTANCE = (1.0, 2.0, 0.5)
SHARES = {"equal": [1 / 3, 1 / 3, 1 / 3], "importance": [1 / 3.5, 2 / 3.5, 0.5 / 3.5]}

RECORDS = np.resize(np.array(["100", "101", "102", "102", "102"]), len(LABELS))


def epoch_order(
    sampler: str | None, labels: torch.Tensor = LABELS, records: np.ndarray = RECORDS, *, seed: int = 3, epoch: int = 0
) -> torch.Tensor:
    weights = samplers.row_weights(sampler, labels, IMPORTANCE, records) if sampler else None
    return samplers.epoch_order(weights, len(labels), seed=seed, epoch=epoch)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("about", SAMPLER)
def test_a_sampler_passes_every_check(name: str, about: str) -> None:
    """What --check asks of a user's sampler."""
    assert SAMPLER[about](name) == ""


@pytest.mark.parametrize("sampler", [None, *SAMPLERS])
def test_the_order_is_a_pure_function_of_seed_and_epoch(sampler: str | None) -> None:
    few = LABELS[::20], RECORDS[::20]
    first = epoch_order(sampler, *few, seed=1, epoch=2)
    torch.manual_seed(99)
    assert torch.equal(first, epoch_order(sampler, *few, seed=1, epoch=2))
    for seed, epoch in ((1, 3), (2, 2), (2, 1)):
        assert not torch.equal(first, epoch_order(sampler, *few, seed=seed, epoch=epoch))
    if sampler is None:
        assert torch.equal(first.sort().values, torch.arange(500))


@pytest.mark.parametrize("sampler", BALANCES)
def test_a_sampler_draws_as_many_rows_with_the_classes_in_their_shares(sampler: str) -> None:
    drawn = LABELS[epoch_order(sampler)]
    assert len(drawn) == len(LABELS)
    assert (torch.bincount(drawn) / len(drawn)).tolist() == pytest.approx(SHARES[sampler], abs=0.02)


def test_by_record_a_class_keeps_its_share_and_records_count_by_the_square_root_of_their_rows() -> None:
    order = epoch_order("records")
    drawn, of = LABELS[order], RECORDS[order.numpy()]
    assert (torch.bincount(drawn) / len(drawn)).tolist() == pytest.approx([0.8, 0.15, 0.05], abs=0.01)
    roots = np.sqrt([1, 1, 3])
    for label in range(3):
        shares = [(of[drawn.numpy() == label] == record).mean() for record in ("100", "101", "102")]
        assert shares == pytest.approx(roots / roots.sum(), abs=0.06)


def test_rows_without_a_record_cannot_be_drawn_by_record() -> None:
    with pytest.raises(UsageError, match="needs rows with record names"):
        epoch_order("records", records=np.full(len(LABELS), ""))


def test_a_sampler_reaches_all_rows_of_a_class_alike() -> None:
    drawn = epoch_order("equal")
    rare = torch.bincount(drawn, minlength=len(LABELS))[-500:].float()
    assert rare.mean() == pytest.approx(10_000 / 3 / 500, rel=0.1)
    assert rare.min() > 0
    assert rare.var() == pytest.approx(float(rare.mean()), rel=0.3)


@pytest.mark.parametrize("balance", BALANCES)
def test_class_weights_average_one_over_the_rows(balance: str) -> None:
    assert float(class_weights(balance, LABELS, IMPORTANCE)[LABELS].double().mean()) == pytest.approx(1, rel=1e-6)


def test_class_weights_by_importance_are_those_computed_by_hand() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2])
    # shares 1 : 2 : 0.5 over 4, 2 and 2 rows are 0.25, 1 and 0.25 a row, together 3.5 over 8 rows
    assert class_weights("importance", labels, IMPORTANCE).tolist() == pytest.approx(
        [w * 8 / 3.5 for w in (0.25, 1, 0.25)]
    )
    assert class_weights("equal", labels, IMPORTANCE).tolist() == pytest.approx([8 / 12, 8 / 6, 8 / 6])


@pytest.mark.parametrize("balance", BALANCES)
def test_a_class_without_rows_weighs_nothing_and_is_never_drawn(balance: str) -> None:
    labels = torch.tensor([0, 0, 2])
    weights = class_weights(balance, labels, IMPORTANCE)
    assert weights[1] == 0
    assert weights.isfinite().all()
    assert float(weights[labels].mean()) == pytest.approx(1)
    assert set(epoch_order(balance, labels, RECORDS[:3]).tolist()) <= {0, 1, 2}


def test_rows_of_many_labels_are_drawn_by_all_of_them_and_by_their_records() -> None:
    classes = torch.tensor([0] * 6 + [1] * 3)
    many = torch.nn.functional.one_hot(classes, 2)
    records = np.array([f"r{i % 4}" for i in range(9)])
    for sampler in samplers.SAMPLERS:
        one = samplers.row_weights(sampler, classes, (1.0, 2.0), records)
        torch.testing.assert_close(samplers.row_weights(sampler, many, (1.0, 2.0), records), one)
    several = torch.tensor([[1, 0], [1, 0], [1, 0], [1, 1], [0, 0]])
    weights = samplers.row_weights("equal", several, (1.0, 1.0), records[:5])
    assert weights[0] < weights[3] == pytest.approx(float(samplers.class_weights("equal", several, (1.0, 1.0)).mean()))
    assert weights[4] == 1
    none = samplers.row_weights("records", torch.empty(9, 0, dtype=torch.int64), (), records)
    assert none.shape == (9,)
