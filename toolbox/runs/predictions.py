"""The predictions of a network for each row of a split: saved first, the source of all metrics and figures."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox import files

Array = NDArray[Any]
CSV_DIGITS = 6
# Kinds of dtype, number of axes.
FORMS = {"index": ("iu", 1), "record": ("U", 1), "target": ("iu", 1), "scores": ("f", 2), "loss": ("f", 1)}


@dataclass(frozen=True)
class Predictions:
    """Rows of a split: `index` (N,) in the source, `record` (N,) or "", `target` (N,), `scores` (N, K), `loss` (N,)."""

    index: Array
    record: Array
    target: Array
    scores: Array
    loss: Array

    def of(self, which: Array) -> "Predictions":
        """The predictions of the rows `which`, indices or a mask (N,)."""
        return Predictions(**{field.name: getattr(self, field.name)[which] for field in fields(self)})

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
            if array.ndim != dims or array.dtype.kind not in kinds or len(array) != rows:
                return f"{name} has the shape {array.shape} and the type {array.dtype}"
        if not np.isfinite(self.scores).all():
            return "scores are not all finite"
        classes = self.scores.shape[1]
        if classes > 1 and rows and not (self.target.min() >= 0 and self.target.max() < classes):
            return f"target names classes beyond the {classes} with scores"
        return ""

    def save_csv(self, path: Path, classes: Sequence[str]) -> None:
        """Write row, record, true and predicted class, and one probability a class."""
        import pandas as pd

        names = np.array(classes)
        table = pd.DataFrame(
            {
                "row": self.index,
                "record": self.record,
                "true": names[self.target],
                "predicted": names[self.scores.argmax(1)],
            }
        )
        table = table.join(pd.DataFrame(self.scores, columns=[f"p_{name}" for name in classes]))
        files.write_text(path, table.to_csv(index=False, float_format=f"%.{CSV_DIGITS}f"))
