"""Checks of a loss, a metric, an augmentation, a sampler and an optimizer by its name."""

import io
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from loaders.augment import AUGMENTATIONS, Augment, Chance
from toolbox.metrics.classification import METRICS, score
from toolbox.training import losses, samplers
from toolbox.training.losses import Mix
from toolbox.training.optimizers import get_optimizer

ROWS, CLASSES = 32, 5
EXTREME = (1e4, 1e30)  # sizes of logits
RATE_HZ = 500.0  # carries every augmentation
LossOf = tuple[str, str]  # name and task
Tested = tuple[NDArray[np.int64], NDArray[np.float64]]  # labels (N,) and probabilities (N, K)


def _loss(of: LossOf) -> tuple[losses.Loss, Tensor, Tensor, bool]:
    """A loss, random outputs and their targets, and whether these are signals."""
    drawn, (name, task) = torch.Generator().manual_seed(0), of
    if task == "detect":
        x = torch.randn(ROWS, 2, 50, generator=drawn, dtype=torch.float64)
        return losses.RECONSTRUCTION[name], x + torch.randn(x.shape, generator=drawn), x, True
    outputs = torch.randn(ROWS, CLASSES, generator=drawn, dtype=torch.float64)
    return losses.LOSSES[name], outputs, torch.arange(ROWS) % CLASSES, False


def loss_of_each_row(of: LossOf) -> str:
    """One value a row, which does not depend on the other rows."""
    function, outputs, target, _ = _loss(of)
    rows = function(outputs, target)
    if tuple(rows.shape) != (ROWS,):
        return f"the loss of {ROWS} rows has the shape {tuple(rows.shape)}, it must be ({ROWS},): the task averages"
    alone = torch.cat([function(outputs[i : i + 1], target[i : i + 1]) for i in range(ROWS)])
    return "" if torch.allclose(alone, rows, rtol=1e-6) else "the loss of a row depends on the other rows"


def loss_gradient(of: LossOf) -> str:
    """The gradient is finite and not zero."""
    function, outputs, target, _ = _loss(of)
    outputs.requires_grad_()
    function(outputs, target).sum().backward()
    if outputs.grad is None or not outputs.grad.isfinite().all():
        return "the gradient is missing or not finite"
    return "" if outputs.grad.any() else "the gradient is 0"


def loss_at_extremes(of: LossOf) -> str:
    """Loss and gradient are finite for extreme logits, right and wrong ones."""
    function = losses.LOSSES[of[0]]
    for size in EXTREME:
        for label in (0, 1):
            outputs = torch.tensor([[size, -size, 0.0]], requires_grad=True)
            loss = function(outputs, torch.tensor([label]))
            loss.sum().backward()
            if outputs.grad is None or not (loss.isfinite().all() and outputs.grad.isfinite().all()):
                return f"loss or gradient is not finite for logits of {size:g}"
    return ""


def loss_prefers_right(of: LossOf) -> str:
    """Right outputs have a smaller loss than wrong ones."""
    function, outputs, target, signals = _loss(of)
    right = target if signals else 8.0 * torch.eye(CLASSES, dtype=torch.float64)[target]
    wrong = outputs if signals else right.roll(1, 1)
    return "" if (function(right, target) < function(wrong, target)).all() else "right outputs have no smaller loss"


LOSS: dict[str, Callable[[LossOf], str]] = {
    "gives a value for each row": loss_of_each_row,
    "passes a gradient": loss_gradient,
    "is smaller for right outputs": loss_prefers_right,
}
OF_LOGITS: dict[str, Callable[[LossOf], str]] = {"is finite for extreme logits": loss_at_extremes}


def loss_checks(of: LossOf) -> dict[str, Callable[[LossOf], str]]:
    """The checks that go with the task of a loss."""
    return LOSS | (OF_LOGITS if of[1] == "classify" else {})


def _tested() -> Iterator[Tested]:
    """Labels (N,) and probabilities (N, K) of tests: usual ones, without a class, of one class, and of one row."""
    rng = np.random.default_rng(0)
    for target in (np.arange(200) % CLASSES, np.arange(60) % 3, np.zeros(20, np.int64), np.array([2])):
        yield target, rng.dirichlet(np.ones(CLASSES), len(target))


def _measured(name: str, rows: Tested) -> float:
    target, scores = rows
    row_loss = -np.log(scores[np.arange(len(target)), target].clip(min=1e-9))
    return float(score(target, scores, row_loss)[name])


def metric_range(name: str) -> str:
    """The value is within the declared range, or NaN where it is undefined; usual rows define it."""
    low, high = METRICS[name].bounds
    values = [_measured(name, rows) for rows in _tested()]
    if outside := [value for value in values if not (np.isnan(value) or low - 1e-9 <= value <= high + 1e-9)]:
        return f"the value {outside[0]:g} is not from {low:g} to {high:g}"
    return "the value of rows of all classes is NaN" if np.isnan(values[0]) else ""


def metric_order(name: str) -> str:
    """The value does not depend on the order of the rows, and the rows stay as they are."""
    target, scores = next(_tested())
    before = target.copy(), scores.copy()
    one, other = _measured(name, (target, scores)), _measured(name, (target[::-1].copy(), scores[::-1].copy()))
    if not (np.array_equal(target, before[0]) and np.array_equal(scores, before[1])):
        return "it changes its inputs"
    return "" if np.isclose(one, other, rtol=1e-9) else f"in another order {one:g} becomes {other:g}"


def metric_direction(name: str) -> str:
    """Right predictions have no worse value than random ones."""
    target, scores = next(_tested())
    right = 0.95 * np.eye(CLASSES)[target] + 0.01
    best, usual = _measured(name, (target, right)), _measured(name, (target, scores))
    worse = best > usual if METRICS[name].lower_is_better else best < usual
    what = "lower" if METRICS[name].lower_is_better else "higher"
    return f"right predictions have {best:g}, random ones {usual:g}, but {what} is better" if worse else ""


METRIC: dict[str, Callable[[str], str]] = {
    "is in its range": metric_range,
    "does not depend on the order of rows": metric_order,
    "is best for right predictions": metric_direction,
}


def _examples(name: str) -> Iterator[tuple[Tensor, bool]]:
    """Batches for an augmentation, and whether they are charts."""
    drawn = torch.Generator().manual_seed(0)
    if "signals" in AUGMENTATIONS[name].rows:
        x = torch.rand(64, 2, 187, generator=drawn) + 0.1
        ends = torch.randint(93, 188, (64, 1, 1), generator=drawn)
        x = torch.where(torch.arange(187) < ends, x, 0.0)
        for kind in (torch.float32, torch.float64, torch.float16):
            yield from ((each.to(kind), False) for each in (x, x[:1, :1, :40], torch.zeros(2, 2, 50)))
    if "charts" in AUGMENTATIONS[name].rows:
        x = 0.2 + 0.6 * torch.rand(8, 3, 40, 56, generator=drawn)
        yield from ((each, True) for each in (x, x[:1, :, :33, :32], torch.zeros(2, 3, 40, 56)))


def _augmented(
    name: str, x: Tensor, *, charts: bool, probability: float = 1, rate_hz: float = RATE_HZ
) -> tuple[Tensor, Mix | None]:
    augment = Augment(f"{name}::{probability}", rate_hz=rate_hz, seed=1, charts=charts)
    return augment(x, epoch=0, step=3)


def augmentation_shape(name: str, rate_hz: float = RATE_HZ) -> str:
    """Shape and kind of numbers stay, all are finite, and the batch itself is not changed."""
    for x, charts in _examples(name):
        before = x.clone()
        out, _ = _augmented(name, x, charts=charts, rate_hz=rate_hz)
        raw = AUGMENTATIONS[name].change(x, AUGMENTATIONS[name].strength, Chance(x.device, rate_hz, (1,)))
        if isinstance(raw, Tensor) and raw.shape != x.shape:
            return f"{tuple(x.shape)} becomes {tuple(raw.shape)}"
        if (out.shape, out.dtype) != (x.shape, x.dtype):
            return f"{tuple(x.shape)} {x.dtype} becomes {tuple(out.shape)} {out.dtype}"
        if not out.isfinite().all():
            return "the result is not finite"
        if not torch.equal(x, before) or out.data_ptr() == x.data_ptr():
            return "it changes the batch itself, not a copy"
    return ""


def augmentation_probability(name: str) -> str:
    """With probability 0 no row changes; with probability 1 and the default strength some row does."""
    for number, (x, charts) in enumerate(_examples(name)):
        if not torch.equal(_augmented(name, x, charts=charts, probability=0)[0], x):
            return "rows change with probability 0"
        if number == 0 and torch.equal(_augmented(name, x, charts=charts)[0], x):
            return "no row changes with probability 1"
    return ""


def augmentation_chance(name: str) -> str:
    """Equal seed, epoch and step give equal rows, and torch's random state stays as it is."""
    for x, charts in _examples(name):
        torch.manual_seed(99)
        first, state = _augmented(name, x, charts=charts)[0], torch.get_rng_state()
        if not torch.equal(first, _augmented(name, x, charts=charts)[0]):
            return "the result differs for the same seed, epoch and step; draw from `chance`"
        torch.manual_seed(99)
        if not torch.equal(state, torch.get_rng_state()):
            return "it draws from torch's random state; draw from `chance`"
    return ""


AUGMENTATION: dict[str, Callable[[str], str]] = {
    "keeps shape and kind of numbers": augmentation_shape,
    "changes nothing with probability 0": augmentation_probability,
    "draws by seed, epoch and step": augmentation_chance,
}


def sampler_weights(name: str) -> str:
    """Every row has a finite weight from 0, and some row one above 0."""
    labels, records = torch.arange(ROWS) % 3, np.array([f"r{row % 7}" for row in range(ROWS)])
    weights = samplers.row_weights(name, labels, (1.0, 2.0, 3.0), records)
    if tuple(weights.shape) != (ROWS,):
        return f"the weights of {ROWS} rows have the shape {tuple(weights.shape)}"
    sound = weights.isfinite().all() and (weights >= 0).all() and weights.any()
    return "" if sound else "a weight is not finite or below 0, or all are 0"


SAMPLER: dict[str, Callable[[str], str]] = {"gives every row a weight": sampler_weights}


def _stepped(name: str, steps: int, state: bytes = b"") -> tuple[Tensor, bytes]:
    """Weights and stored state after steps on a quadratic, continued from a stored state."""
    torch.manual_seed(0)
    layer = nn.Linear(4, 1)
    optimizer = get_optimizer(name, layer.parameters())
    if state:
        weights, of_optimizer = torch.load(io.BytesIO(state), weights_only=True)
        layer.load_state_dict(weights)
        optimizer.load_state_dict(of_optimizer)
    for _ in range(steps):
        optimizer.zero_grad()
        layer(torch.eye(4)).square().mean().backward()
        optimizer.step()
    torch.save((layer.state_dict(), optimizer.state_dict()), file := io.BytesIO())
    return layer(torch.eye(4)).detach(), file.getvalue()


def optimizer_steps(name: str) -> str:
    """Steps make a quadratic smaller."""
    before, after = _stepped(name, 0)[0], _stepped(name, 50)[0]
    return "" if after.square().mean() < before.square().mean() else "50 steps make a quadratic no smaller"


def optimizer_resumes(name: str) -> str:
    """Steps that continue from a stored state are those of an optimizer that never stopped."""
    whole, half = _stepped(name, 10)[0], _stepped(name, 5)[1]
    return "" if torch.equal(_stepped(name, 5, half)[0], whole) else "steps from a stored state differ"


OPTIMIZER: dict[str, Callable[[str], str]] = {
    "makes a loss smaller": optimizer_steps,
    "resumes from a stored state": optimizer_resumes,
}
