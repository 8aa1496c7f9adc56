"""Commands on a dataset alone: --download fetches it, --explore and --export-charts draw it. Test rows stay closed."""

import logging
import sys
from pathlib import Path

import numpy as np

from commands import build, choices
from loaders import augment
from loaders.base import Data
from toolbox import plain
from toolbox.flags import Flags
from toolbox.reports import dataset

PARTNERS = 8  # rows that mixup may take its partner from
EXPORTED_IN_SHORT = 10  # rows of train and of validation that --export-charts draws with --short-run
log = logging.getLogger("commander")


def look(flags: Flags) -> None:
    """Fetch, parse and draw a dataset; prints the path of the page or of the table of charts."""
    flags = choices.settle(flags)
    if flags.export_charts:
        sys.stdout.write(f"{plain.escaped(export_charts(flags))}\n")
        return
    data = build.load_data(flags)
    if flags.download:
        rows = (data.spec.name, len(data.train), len(data.val), len(data.test))
        log.info("%s is ready: %d train, %d validation, %d test rows", *rows)
    if flags.explore:
        sys.stdout.write(f"{plain.escaped(explore(data, flags.root_dir, seed=flags.seed))}\n")


def explore(data: Data, root: Path, *, seed: int) -> Path:
    """Draw classes, examples, mean, spread and augmentations; returns the page of <root>/<dataset>/explore."""
    train, spec = data.train, data.spec
    rows = np.random.default_rng(seed).permutation(len(train))[:PARTNERS]
    x = train.x
    beats = x[rows, 0]  # of the first lead
    augmented = {"original": beats[0], **augment.examples(beats, rate_hz=spec.rate_hz, seed=seed)}
    folder = root / spec.name / "explore"
    return dataset.explore(
        folder, root, x=x, y=train.y, index=train.index, y_val=data.val.y, spec=spec, seed=seed, augmented=augmented
    )


def export_charts(flags: Flags) -> Path:
    """Draw printable charts of train and validation, 10 rows of each in a short run; returns the table of the files."""
    from loaders.charts import export

    data = build.load_data(flags.replace(view="signal", short_run=False))
    most = EXPORTED_IN_SHORT if flags.short_run else None
    looks = {"layout": flags.chart_layout, "leads": flags.chart_leads, "style": flags.chart_style}
    return export.export(data, Path(flags.export_charts), **looks, most=most)
