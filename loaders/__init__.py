"""A name becomes Data(spec, train, val, test).

A new dataset is one file with a `load` and one line here; it is then in --list datasets, in the README's table and in
the tests.
"""

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from loaders import agreement, base
from loaders.base import Data
from loaders.charts.view import as_charts
from loaders.datasets import chapman, cinc2017, ecg5000, kaggle_beats, mitdb, table
from loaders.families import one_class
from loaders.splits.by_row import Holdout
from loaders.synthetic import beats, patients, strips, twelve_lead
from toolbox import yours
from toolbox.errors import UsageError
from toolbox.registry import pick

DATASETS: dict[str, Callable[..., Data]] = {
    "chapman": chapman.load,
    "cinc2017": cinc2017.load,
    "ecg": partial(kaggle_beats.load_heartbeat, "ecg"),
    "ecg_bin": partial(kaggle_beats.load_heartbeat, "ecg_bin"),
    "ecg5000": ecg5000.load,
    "mitdb": mitdb.load,
    "ptbdb": kaggle_beats.load_ptbdb,
    "synth": partial(beats.load, "synth"),
    "synth_patients": patients.load,
    "synth_rhythms": twelve_lead.load,
    "synth_strips": strips.load,
    "table": table.load,
}
# By name, what a row becomes.
VIEWS: dict[str, Callable[..., Data]] = {
    "signal": lambda data, *_, short_batch, **__: data.part(base.measured_rows(short_batch, len(data.train))),
    "chart": as_charts,
}
OF_CHARTS = "chart_"


def get_data(
    name: str,
    root: Path,
    *,
    data_file: Path | None = None,
    val_fraction: Holdout = 0.1,
    seed: int = 42,
    bad_rows: str | None = None,
    detect: bool = False,
    normal_class: str | None = None,
    view: str = "signal",
    workers: int = 0,
    short_batch: int | None = None,
    **options: Any,
) -> Data:
    """Load the dataset called `name` from below `root`, or from `data_file`; validation is drawn from train with
    `seed`, as a part of it or a `Fold`.

    `view` is of VIEWS; options that begin with chart_, and `workers`, are of `charts.as_charts`.
    `detect` leaves one class alone in train and validation, `normal_class` or the one that is called so. `options` are
    those that only some datasets have, None for their own default; a UsageError where `name` does not have one. Of a
    short run `short_batch` is the batch size, 0 for the default: validation and test are then a part of their sides.
    """
    load, look = pick("dataset", DATASETS, name), pick("view", VIEWS, view)
    known = inspect.signature(load).parameters
    options = {option: value for option, value in options.items() if value is not None}
    drawn = {option: options.pop(option) for option in [*options] if option.startswith(OF_CHARTS)}
    options |= {"bad_rows": bad_rows} if bad_rows else {}
    for option in options.keys() - known.keys():
        having = [other for other, loader in DATASETS.items() if option in inspect.signature(loader).parameters]
        flag = f"--{option.replace('_', '-')}"
        raise UsageError(
            f"{flag} is not for --dataset {name}, it goes with {', '.join(having)}", hint=f"leave {flag} out"
        )
    if detect and "normal_class" in known:  # a dataset that divides its rows another way then
        options |= {"detect": True, "normal_class": normal_class}
    data = load(root, data_file=data_file, val_fraction=val_fraction, seed=seed, **options)
    if yours.is_yours(yours.source(load)[0]):
        data = agreement.checked(data, name, load)
    data = one_class.only_normal(data, normal_class) if detect else data
    how = {"options": options, "workers": workers, "short_batch": short_batch}
    return look(data, root, **how, **{name.removeprefix(OF_CHARTS): drawn[name] for name in drawn})
