"""What a network said about each row of a split: saved first, and everything else is read from it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox import files

CSV_DIGITS = 6


@dataclass(frozen=True)
class Predictions:
    """`index` (N,) row in the source, `record` (N,) name or "", `target` (N,), `scores` (N, K) probabilities, `loss` (N,)."""

    index: NDArray[Any]
    record: NDArray[Any]
    target: NDArray[Any]
    scores: NDArray[Any]
    loss: NDArray[Any]

    def save(self, path: Path) -> None:
        """Write the arrays as NPZ."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        files.write_whole(path, lambda file: np.savez(file, **arrays))

    @classmethod
    def load(cls, path: Path) -> "Predictions":
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{field.name: arrays[field.name] for field in fields(cls)})

    def save_csv(self, path: Path, classes: Sequence[str]) -> None:
        """Write row, record, true and predicted class, and one probability a class."""
        import pandas as pd

        names = np.array(classes)
        table = pd.DataFrame(
            {"row": self.index, "record": self.record, "true": names[self.target], "predicted": names[self.scores.argmax(1)]}
        )
        table = table.join(pd.DataFrame(self.scores, columns=[f"p_{name}" for name in classes]))
        files.write_text(path, table.to_csv(index=False, float_format=f"%.{CSV_DIGITS}f"))
