"""Figures of the checks of an attribution become sentences, with a verdict each: what a person may conclude, and what
not.

The bounds are conventions of this program, chosen to be cautious; the figures stand beside them.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolbox.gallery import Doubt
from toolbox.panels import Panel, panels_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[Any]
LEARNED = 0.05  # of the labels, beyond the largest class
UNLIKE, ALIKE = 0.3, 0.6  # rank correlations
MOSTLY, TELLING = 0.8, 0.02  # part of the rows; difference of areas, in probability
EXACT, ROUGH = 0.01, 0.05  # of a difference of logits
CELL = (3.4, 2.7)  # inches of a panel


def of_nothing(empty: int, rows: int) -> Doubt:
    """Rows of which nothing is marked, of all that were asked about; where these are all there is no verdict."""
    meaning = (
        "the map of these rows is zero or the same everywhere, so it marks no part: their pictures are empty and not"
        " checked"
    )
    return Doubt("Nothing marked", f"{empty} of {rows} rows", "mind" if empty < rows else "none", meaning)


def of_weights(parts: Sequence[float], correlations: Sequence[float]) -> Doubt:
    """The attributions against those of the network with the part `parts` (S,) of its layers made anew, all in the
    end."""
    whole = correlations[-1]
    means = {
        "good": "the picture changes with the weights: it depends on what was learned",
        "mind": (
            "part of the picture stays when the weights are made anew: part of it shows the row, not what was learned"
        ),
        "bad": "the picture stays much the same when the weights are made anew: it shows the row, not what was learned",
    }
    figure = f"{whole:.2f} (head alone {correlations[0]:.2f})" if np.isfinite(correlations[0]) else f"{whole:.2f}"
    how = "rank correlation with the pictures of an untrained network of the same kind"
    return _alike("Weights made anew", figure, whole, means, how)


def of_labels(correlation: float, *, epochs: int, learned: float, share: float) -> Doubt:
    """The attributions against those of a network trained on permuted labels, `learned` of which it knew at the end."""
    means = {
        "good": (
            "a network that learned labels without sense looks elsewhere: the picture depends on what the labels meant"
        ),
        "mind": (
            "a network that learned labels without sense looks at much the same: part of the picture is not about the"
            " labels"
        ),
        "bad": "a network that learned labels without sense looks at the same: the picture is not about the labels",
    }
    name, had = (
        "Labels permuted",
        f"after {epochs} epochs it had {learned:.0%} of them right, the largest class is {share:.0%}",
    )
    if learned < share + LEARNED:
        what = f"the network did not learn the permuted labels, {had}: nothing follows; more epochs may"
        return Doubt(name, f"{correlation:.2f}", "none", what)
    return _alike(name, f"{correlation:.2f}", correlation, means, f"rank correlation; {had}")


def _alike(name: str, figure: str, value: float, means: Mapping[str, str], how: str) -> Doubt:
    if np.isnan(value):
        return Doubt(name, "none", "none", "one of the two is the same everywhere, so that nothing can be compared")
    size = abs(value)  # a picture turned inside out is the same picture
    verdict = "good" if size < UNLIKE else "mind" if size < ALIKE else "bad"
    return Doubt(name, figure, verdict, f"{means[verdict]} ({how})")


def of_curve(name: str, area: Array, chance: Array, *, falls: bool) -> Doubt:
    """Areas (N,) below a deletion (`falls`) or insertion curve, against those in an order of chance."""
    gain = chance - area if falls else area - chance
    better, figure = float(np.mean(gain > 0)), f"{area.mean():.2f} against {chance.mean():.2f}"
    if gain.mean() < TELLING:
        what = "taking what is marked away" if falls else "showing what is marked"
        return Doubt(
            name, figure, "bad", f"{what} does no more to the class's probability than an order of chance does"
        )
    verdict = "good" if better >= MOSTLY else "mind"
    does = (
        "taking away what is marked lowers the class's probability"
        if falls
        else "showing what is marked alone raises it"
    )
    meaning = (
        f"{does} faster than an order of chance does, in {better:.0%} of the {len(area)} rows (area below the curve)"
    )
    return Doubt(name, figure, verdict, meaning)


def of_completeness(missed: Array) -> Doubt:
    """Parts (N,) of the difference of logits that attributions miss."""
    middle = float(np.median(missed))
    verdict = "good" if middle < EXACT else "mind" if middle < ROUGH else "bad"
    meaning = (
        "the parts add up to the difference that the whole row makes"
        if verdict == "good"
        else "the parts do not add up"
    )
    meaning += f": they miss it by {middle:.2%} in the median row, {missed.max():.2%} in the worst"
    return Doubt("Completeness", f"{middle:.2%}", verdict, meaning)


def of_qrs(shares: Array, times: Array, classes: Mapping[str, Array]) -> Doubt:
    """The share (N,) of positive attribution at the QRS and of time there, with which rows (N,) of each class are
    explained."""
    known = ~np.isnan(shares)
    if not known.any():
        return Doubt("At the QRS", "none", "none", "no row has both an R peak and something that speaks for its class")
    share, time = shares[known].mean(), times[known].mean()
    of = {name: own & known for name, own in classes.items() if (own & known).any()}
    each = ", ".join(f"{name} {shares[own].mean() / times[own].mean():.1f}" for name, own in of.items())
    meaning = (
        f"{share:.0%} of what speaks for the class lies within 60 ms of an R peak, {time:.0%} of the time; by class "
    )
    meaning += f"{each}. Not right or wrong by itself: a class may live in P, T or RR"
    return Doubt("At the QRS", f"{share / time:.1f} times its share", "none", meaning)


def figure(curves: Mapping[str, Array], cascade: tuple[Sequence[float], Sequence[float]]) -> "Figure":
    """The panels with axes that make small differences look small."""
    found = panels(curves, cascade)
    drawn = panels_figure(found, len(found), "", CELL)
    for axes in drawn.axes[:2]:
        axes.set(xlim=(0, 1), ylim=(0, 1))
    drawn.axes[2].set(xlim=(0, 1), ylim=(min(0, *cascade[1]) - 0.02, 1))
    return drawn


def panels(curves: Mapping[str, Array], cascade: tuple[Sequence[float], Sequence[float]]) -> list[Panel]:
    """Mean curves (N, S) of deletion and insertion beside those of chance, and the cascade (parts, correlations)."""
    found = []
    for name in ("deletion", "insertion"):
        taken = np.linspace(0, 1, curves[name].shape[1])
        lines = [("as marked", taken, curves[name].mean(0)), ("by chance", taken, curves[f"random_{name}"].mean(0))]
        found.append(Panel(name, "part of the row", "probability" if name == "deletion" else "", lines))
    parts, correlations = cascade
    line = ("with the trained", np.append(0, parts), np.append(1, correlations))
    return [
        *found,
        Panel("weights made anew, from the head on", "part of the layers", "rank correlation", [line], legend=False),
    ]
