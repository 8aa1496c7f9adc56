"""Commands before a run: --download fetches a dataset, --explore and --export-charts draw it, --dry-run tries a run.

Test rows stay closed.
"""

import logging
import signal
import sys
import time
from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch

from commands import build, choices
from loaders import augment, base
from loaders.base import Data
from toolbox import devices, plain
from toolbox.flags import Flags
from toolbox.metrics import cost
from toolbox.metrics.ranking import of_class
from toolbox.reports import dataset, tables
from trainer import Trainer

PARTNERS = 8  # rows that mixup may take its partner from
EXPORTED_IN_SHORT = 10  # rows of train and of validation that --export-charts draws with --short-run
WARM_UPS, TIMED = 2, 10  # steps of --dry-run
MEASURED = 1000  # its validation rows
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


def rehearse(flags: Flags, typed: Collection[str]) -> None:
    """Describe data and network of a new run and time ten steps, on stdout; test rows stay closed, nothing is kept."""
    flags = choices.settle(flags)
    with devices.enough_memory(flags.batch_size or base.BATCH_SIZE):
        data = build.load_data(flags)
        flags = choices.for_rows(flags, typed, data)
        flags = flags.replace(dataset=data.spec.name, batch_size=build.batch_size(flags, data))
        trainer = build.build(flags, data)
        build.pretrain(flags, trainer)
        if flags.save_config:
            build.save_config(flags)
        spec, model = data.spec, trainer.model
        one = cost.inputs(spec, 1, trainer.device)
        layers = tables.of_layers(cost.layers(model, one), cost.size_and_work(model, spec))
        times = _times(flags, trainer)
    head = f"{flags.model_name} on {spec.name}, a dry run: nothing is trained to keep, the test rows stay closed"
    lines = [head, f"split: {spec.split_rule}", "", *_counted(data), "", *layers, "", *times]
    sys.stdout.write(tables.text(lines))


def _counted(data: Data) -> list[str]:
    """The form of a row, and the number of rows of each class."""
    spec, sides = data.spec, {"train": data.train, "validation": data.val}
    form = " x ".join(map(str, spec.shape))
    facts = [f"a row: {form}, {spec.rate_hz:g} Hz, {spec.unit}, leads {', '.join(spec.leads)}"]
    counts = {side: [int(of_class(rows.y, k).sum()) for k in range(len(spec.classes))] for side, rows in sides.items()}
    table = [[name, *(f"{counts[side][k]:,}" for side in sides)] for k, name in enumerate(spec.classes)]
    table.append(["all", *(f"{len(rows):,}" for rows in sides.values())])
    return [*facts, "", *tables.aligned(["class", *sides], table)]


class _Steps:
    """A stop of the loop before step number `count`, from 0."""

    def __init__(self, count: int) -> None:
        self.left = count

    @property
    def requested(self) -> int | None:
        """A signal's number once no step is left."""
        self.left -= 1
        return signal.SIGINT if self.left < 0 else None


def _times(flags: Flags, trainer: Trainer) -> list[str]:
    """The time of an epoch of training and validation, from ten steps after two that warm up."""
    steps = -(-len(trainer.data.train) // trainer.batch_size) or 1
    steps = min(steps, base.BATCHES) if flags.short_run else steps
    step_s, done = 0.0, 0
    for few in (WARM_UPS, TIMED):
        begun_s = time.perf_counter()
        meter = trainer.train_epoch("dry run", _Steps(few)) or trainer.meter  # type: ignore[arg-type]
        _wait(trainer)
        made, done = (meter.steps if meter else 0) - done, meter.steps if meter else 0
        step_s = (time.perf_counter() - begun_s) / made if made else step_s
    val, begun_s = base.part_of(trainer.data.val, MEASURED), time.perf_counter()
    if len(val):
        trainer.predict(val)
    validated_s = (time.perf_counter() - begun_s) * len(trainer.data.val) / max(1, len(val))
    threads = torch.get_num_threads()
    epoch_s, epochs = steps * step_s + validated_s, flags.epochs - flags.start_epoch
    each = f"{steps:,} steps of {trainer.batch_size} rows, {1000 * step_s:.3g} ms each, and validation"
    return [
        f"an epoch: about {epoch_s:.2g} s ({each})",
        f"{epochs} epochs: about {tables.clock(epoch_s * epochs)}",
        f"on {cost.device_name(trainer.device)}, {threads} thread{'s' * (threads > 1)}",
    ]


def _wait(trainer: Trainer) -> None:
    """Until the device has finished."""
    if trainer.device.type != "cpu":
        torch.accelerator.synchronize(trainer.device)
