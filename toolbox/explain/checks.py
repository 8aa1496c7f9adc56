"""Checks of attributions: numbers per row, from the network alone, without labels.

Adebayo et al., NeurIPS 2018 (weights reinitialised from the head on); Petsiuk et al., BMVC 2018 (deletion and
insertion); Sundararajan et al., ICML 2017 (completeness); and, for heartbeats, the share of the evidence at the QRS.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

STAGES = 3  # of the cascade after the head; the last is the whole network
STEPS = 20  # of a deletion
SAME = 1e-5  # of the largest size: a map with a smaller range counts as constant
Array = NDArray[np.float64]
Scores = Callable[[Tensor, Tensor], Array]


def marked(attribution: Tensor, where: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether an attribution (B, ...) marks a part of each row (B,): it differs among the cells `where` signal is.

    A constant map, up to rounding, or a non-finite one marks nothing.
    """
    cells = torch.from_numpy(np.broadcast_to(where, attribution.shape).copy()).to(attribution.device)
    low, high = (
        torch.where(cells, attribution, of).flatten(1)
        for of in (attribution.new_tensor(math.inf), attribution.new_tensor(-math.inf))
    )
    spread, size = high.amax(1) - low.amin(1), torch.where(cells, attribution, 0).abs().flatten(1).amax(1)
    return (spread > SAME * size).cpu().numpy()


def rank_correlation(one: Tensor, other: Tensor, where: NDArray[np.bool_]) -> Array:
    """Spearman's correlation (B,) of the sizes of two attributions of the same rows, over the cells `where`.

    NaN for a row with a constant attribution.
    """
    from scipy.stats import rankdata

    found, compared = np.full(len(one), np.nan), marked(one, where) & marked(other, where)
    for row, cells in enumerate(np.broadcast_to(where, one.shape)):
        if not compared[row]:
            continue
        ranks = [rankdata(each[row].abs().cpu().numpy()[cells]) for each in (one, other)]
        if len(ranks[0]) > 1 and all(np.ptp(each) > 0 for each in ranks):
            found[row] = np.corrcoef(*ranks)[0, 1]
    return found


def cascade(model: nn.Module, fresh: nn.Module) -> Iterator[tuple[float, nn.Module]]:
    """`model` with more and more layers of `fresh`, from the head on: the share of fresh layers, and the network."""
    trained, new = model.state_dict(), fresh.state_dict()
    layers = list(dict.fromkeys(key.rpartition(".")[0] for key in trained))[::-1]
    for count in sorted({1, *(math.ceil(len(layers) * stage / STAGES) for stage in range(1, STAGES + 1))}):
        mixed = copy.deepcopy(model)
        mixed.load_state_dict(
            {key: (new if key.rpartition(".")[0] in layers[:count] else trained)[key] for key in trained}
        )
        yield count / len(layers), mixed


def completeness(
    model: nn.Module, inputs: Sequence[Tensor], target: Tensor, *, attribution: Tensor, blank: Tensor
) -> Array:
    """The relative error (B,) of the sum of attributions against the logit difference of x and the blank row."""
    x, *features = inputs
    with torch.no_grad():
        there, nothing = (model(each, *features).gather(1, target[:, None])[:, 0] for each in (x, blank))
    whole = there - nothing
    return ((attribution.flatten(1).sum(1) - whole).abs() / whole.abs().clamp(min=1e-6)).double().cpu().numpy()


@dataclass(frozen=True)
class Curves:
    """The class's probability (B, STEPS + 1) while pieces of a row are deleted, or inserted into a blank row.

    `deletion` and `insertion` start with the most important piece; `random_...` are means over random orders.
    """

    deletion: Array
    insertion: Array
    random_deletion: Array
    random_insertion: Array

    def areas(self) -> dict[str, Array]:
        """The area under each curve, (B,)."""
        return {name: np.trapezoid(values, dx=1 / STEPS, axis=1) for name, values in vars(self).items()}


def curves(
    score: Scores, x: Tensor, attribution: Tensor, *, blank: Tensor, piece: Sequence[int], seed: int, orders: int
) -> Curves:
    """The curves of rows x (B, ...), cut into pieces of the size `piece` along their axes.

    `score(x, row)` gives probabilities (n,) of rows x (n, ...) made from the rows `row` (n,). Pieces equal to the blank
    row are left out of all orders, which would make random orders look worse than they are.
    """
    rng, found = np.random.default_rng(seed), []
    for row in range(len(x)):
        here, empty = x[row : row + 1], blank[row : row + 1]
        worth = _pieces(attribution[row : row + 1], piece)
        something = _pieces((here - empty).abs(), piece).flatten() > 0
        among = np.flatnonzero(something.cpu().numpy())
        best = among[np.argsort(-worth.flatten().cpu().numpy()[among], kind="stable")]
        ways = [best, *(rng.permutation(among) for _ in range(orders))]
        changed = [_changed(here, way, worth.shape, piece) for way in ways]
        away = torch.cat([torch.where(gone, empty, here) for gone in changed])
        onto = torch.cat([torch.where(gone, here, empty) for gone in changed])
        both = [score(each, torch.full((len(each),), row)).reshape(len(ways), STEPS + 1) for each in (away, onto)]
        found.append([both[0][0], both[1][0], both[0][1:].mean(0), both[1][1:].mean(0)])
    return Curves(*np.array(found, np.float64).reshape(-1, 4, STEPS + 1).swapaxes(0, 1))


def _pieces(values: Tensor, piece: Sequence[int]) -> Tensor:
    """Sums of values (1, C, T) or (1, 3, H, W) over pieces; of an image also over its colours."""
    if values.dim() == 4:
        values = values.sum(1, keepdim=True)
    padding = [
        amount for length, size in zip(values.shape[:1:-1], piece[::-1], strict=True) for amount in (0, -length % size)
    ]
    values = F.pad(values, padding)
    pool = F.avg_pool2d if values.dim() == 4 else F.avg_pool1d
    return pool(values, tuple(piece), tuple(piece)) * float(np.prod(piece))


def _changed(x: Tensor, order: NDArray[np.int64], grid: Sequence[int], piece: Sequence[int]) -> Tensor:
    """Which cells (STEPS + 1, ...) of x (1, ...) the first pieces of `order` cover, more at every step."""
    step = torch.full((int(np.prod(grid)),), STEPS + 1.0)
    step[torch.from_numpy(order)] = torch.arange(1, len(order) + 1).div(max(len(order), 1) / STEPS).ceil()
    step = step.view(tuple(grid)).to(x.device)
    for axis, (size, length) in enumerate(zip(piece, x.shape[2:], strict=True)):
        step = step.repeat_interleave(size, 2 + axis).narrow(2 + axis, 0, length)
    steps = torch.arange(STEPS + 1, device=x.device).view(-1, *[1] * (x.dim() - 1))
    return (step <= steps).expand(-1, *x.shape[1:])


def at_qrs(attribution: Array, near: NDArray[np.bool_], within: NDArray[np.bool_]) -> tuple[Array, Array]:
    """The share (B,) of positive attribution (B, C, T) or (B, 3, H, W) `near` R peaks, and the share of area there.

    `near` and `within`, the signal without surroundings, are (B, 1, ...). NaN without an R peak or a positive value.
    """
    axes = tuple(range(1, near.ndim))
    positive = np.maximum(attribution, 0).sum(1, keepdims=True, dtype=float) * within
    near = near & within
    whole, there, room = positive.sum(axes), (positive * near).sum(axes), near.sum(axes)
    known = (whole > 0) & (room > 0)
    ways = ((there, whole), (room.astype(float), within.sum(axes)))
    share, time = (np.divide(part, of, out=np.full(len(near), np.nan), where=known) for part, of in ways)
    return share, time
