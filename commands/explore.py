"""A dataset as pictures: its classes, examples, mean and spread, and a row under each augmentation. The test rows stay
closed."""

from pathlib import Path

import numpy as np

from loaders import augment
from loaders.base import Data
from toolbox.reports import dataset

PARTNERS = 8  # rows that mixup may take its partner from


def draw(data: Data, root: Path, *, seed: int) -> Path:
    """Write the pictures into <root>/<dataset>/explore; the page that shows them all."""
    train, spec = data.train, data.spec
    rows = np.random.default_rng(seed).permutation(len(train))[:PARTNERS]
    x = train.x
    beats = x[rows, 0]  # of the first lead
    augmented = {"original": beats[0], **augment.examples(beats, rate_hz=spec.rate_hz, seed=seed)}
    return dataset.explore(
        root / spec.name / "explore",
        x=x,
        y=train.y,
        index=train.index,
        y_val=data.val.y,
        spec=spec,
        seed=seed,
        augmented=augmented,
    )
