"""The predictions of a network for each row of a split: saved first, the source of all metrics and figures."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox import files

Array = NDArray[Any]
CSV_DIGITS = 6
BETWEEN = ";"  # the names of the classes of a row, where it may have many
# Kinds of dtype, possible numbers of axes.
FORMS = {"index": ("iu", {1}), "record": ("U", {1}), "target": ("iu", {1, 2}), "scores": ("f", {2}), "loss": ("f", {1})}


@dataclass(frozen=True)
class Predictions:
    """Rows of a split: `index` (N,) in the source, `record` (N,) or "", `target`, `scores` (N, K), `loss` (N,).

    The target is the class (N,) of each row, 0 or 1 for each of K labels (N, K), or (N, 0) without targets.
    """

    index: Array
    record: Array
    target: Array
    scores: Array
    loss: Array

    def of(self, which: Array) -> "Predictions":
        """The predictions of the rows `which`, indices or a mask (N,)."""
        return Predictions(**{field.name: getattr(self, field.name)[which] for field in fields(self)})

    def among(self, columns: Sequence[int] | Array) -> "Predictions":
        """Of many labels a row, the predictions of some classes, without the losses, which are of all of them."""
        loss = np.full_like(self.loss, np.nan)
        return replace(self, target=self.target[:, columns], scores=self.scores[:, columns], loss=loss)

    def save(self, path: Path) -> None:
        """Write the arrays as NPZ."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        files.write_whole(path, lambda file: np.savez(file, **arrays))

    @classmethod
    def load(cls, path: Path) -> "Predictions":
        """Read a file of `save`. Raises ValueError for other arrays."""
        with files.regular(path) as file, np.load(file, allow_pickle=False) as arrays:
            read = cls(**{field.name: arrays[field.name] for field in fields(cls)})
        if why := read.objection():
            raise ValueError(why)
        return read

    def objection(self) -> str:
        """Why these arrays are no predictions; "" if they are."""
        rows = len(self.index) if self.index.ndim == 1 else -1
        for name, (kinds, dims) in FORMS.items():
            array = getattr(self, name)
            if array.ndim not in dims or array.dtype.kind not in kinds or len(array) != rows:
                return f"{name} has the shape {array.shape} and the type {array.dtype}"
        if not np.isfinite(self.scores).all():
            return "scores are not all finite"
        classes, target = self.scores.shape[1], self.target
        if target.ndim == 2 and target.shape[1] not in (0, classes):
            return f"target has {target.shape[1]} labels a row, the scores have {classes}"
        most = 1 if target.ndim == 2 else classes - 1
        if classes > 1 and target.size and not 0 <= target.min() <= target.max() <= most:
            return f"target has values from {target.min()} to {target.max()}, allowed are 0 to {most}"
        return ""

    def save_csv(self, path: Path, classes: Sequence[str], thresholds: Array | None = None) -> None:
        """Write row, record, true and predicted class, and one probability a class.

        Of many labels `true` and `predicted` have the names with ";" between them; a class is predicted from its
        threshold (K,) on, and nothing is without thresholds.
        """
        names, columns = np.array(classes), {"row": self.index, "record": self.record}
        if self.target.ndim == 1:
            columns |= {"true": names[self.target], "predicted": names[self.scores.argmax(1)]}
        else:
            columns["true"] = joined(self.target == 1, names)
            columns |= {} if thresholds is None else {"predicted": joined(self.scores >= thresholds, names)}
        columns |= {f"p_{name}": scores for name, scores in zip(classes, self.scores.T, strict=True)}
        files.write_csv(path, columns, f"%.{CSV_DIGITS}f")


def joined(chosen: Array, names: Array) -> Array:
    """The `names` (K,) of the `chosen` (N, K) classes of each row, with ";" between them; "" for none (N,)."""
    return np.array([BETWEEN.join(names[: len(row)][row]) for row in chosen], str)
