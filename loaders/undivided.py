"""All rows of a file or of a dataset, divided into no sides, as rows that a trained run can be tested on.

    data = undivided.load("other.csv", root, dataset="table", spec=spec_of_the_run, options=data_options)

The file is a table, or in the layout of the run's dataset; its classes, leads, samples and rate have to be those of the
run.
"""

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from loaders import DATASETS, OF_CHARTS, VIEWS, get_data, records
from loaders.base import Data, DataSpec, Split
from loaders.datasets import table
from loaders.files.sources import log
from toolbox.errors import DataError

Signals = Split | records.Crops | records.Stacked
# How a dataset is divided where all of it is wanted: a published division would leave records out, or need them all.
DIVIDED = {"mitdb": "random", "synth_patients": "random"}
# The number of the first class, where a table numbers the classes of a run that was trained on another dataset.
LOWEST = {"ecg": 0, "ptbdb": 0, "ecg5000": 1}
OF_A_TABLE = ("label_column", "record_column", "rate_hz")
OF_SIDES = ("split", "fold", "val_fraction", "detect", "normal_class", "data_file", "seed")
OF_A_VIEW = ("view", "workers", "short_batch")
UNKNOWN = "as given"  # the unit of a table that states none


def load(
    what: str, root: Path, *, dataset: str, spec: DataSpec, options: Mapping[str, Any], typed: Sequence[str] = ()
) -> Data:
    """All rows of the dataset or file `what` as the test side of a run on `dataset`, with the facts `spec` of the run's
    data.

    `options` are the run's own of `get_data`, of which those of a table are used where they were `typed`, or the run's
    data was a table. Train and validation are empty. Raises DataError for classes, leads, samples, a rate or a unit
    that are not the run's.
    """
    path, by_name = Path(what), ""
    if what not in DATASETS and not path.exists():
        known = ", ".join(DATASETS)
        raise DataError(
            "no dataset has this name, and there is no such file", where=what, hint=f"a file, or one of {known}"
        )
    if what in DATASETS:
        name, found, rows = what, *_all_rows(what, root, None, options)
    elif path.is_file() and path.name.lower().endswith(tuple(table.READERS)):
        asked = {name: options[name] for name in OF_A_TABLE if name in typed or dataset == "table"}
        how = {
            "bad_rows": options["bad_rows"],
            "split": options["split"] if dataset == "table" else None,
            "typed": typed,
        }
        name, (found, rows) = (
            path.name,
            table.undivided(path, root, spec=spec, lowest=LOWEST.get(dataset), **asked, **how),
        )
        by_name = found.spec.split_rule
    else:
        name = path.name if path.is_dir() or zipfile.is_zipfile(path) else f"the folder of {path.name}"
        found, rows = _all_rows(dataset, root, path, options)
    rows = replace(rows, y=_classes(rows, found.spec.classes, spec.classes, what))
    check(found.spec, spec, what)
    rule = f"all {len(rows):,} rows of {name}, not divided{by_name}"
    every = replace(
        found.spec,
        name=spec.name,
        classes=spec.classes,
        importance=spec.importance,
        scored=spec.scored,
        split_rule=rule,
    )
    none = rows.rows(np.arange(0))
    checksum = hashlib.sha256(f"{found.checksum} whole".encode()).hexdigest()
    return _view(Data(every, none, none, lambda: rows, checksum), root, options)


def _all_rows(dataset: str, root: Path, path: Path | None, options: Mapping[str, Any]) -> tuple[Data, Signals]:
    """A dataset, and the rows of all its sides, each once."""
    kept = {name: value for name, value in options.items() if name not in (*OF_SIDES, *OF_A_TABLE, *OF_A_VIEW)}
    kept = {name: value for name, value in kept.items() if not name.startswith(OF_CHARTS)}
    data = get_data(
        dataset, root, data_file=path, val_fraction=0.0, seed=options["seed"], split=DIVIDED.get(dataset), **kept
    )
    return data, data.train.with_sides(data.val, data.test)


def _classes(rows: Signals, there: Sequence[str], classes: Sequence[str], where: str) -> np.ndarray:
    """The class (N,) of each row among those of the run; a DataError names the classes that it does not know."""
    counts = np.bincount(rows.y, minlength=len(there))
    if strange := [
        f"{name} ({count:,} rows)" for name, count in zip(there, counts, strict=True) if count and name not in classes
    ]:
        what = f"the run knows no class {', '.join(strange)[:200]}; its classes are {', '.join(classes)[:200]}"
        raise DataError(what, where=where, hint="the same labels as the run was trained on, and no rows of others")
    return np.array([classes.index(name) if name in classes else -1 for name in there])[rows.y]


def check(there: DataSpec, own: DataSpec, where: str) -> None:
    """Raise DataError where rows are not as those that a run was trained on; other leads are warned about."""
    facts = {
        "channels": (there.channels, own.channels),
        "samples a row": (there.samples, own.samples),
        "Hz": (there.rate_hz, own.rate_hz),
        "features beside the samples": (len(there.features), len(own.features)),
    }
    wrong = [
        f"{found:g} {name}, the run was trained on {wanted:g}"
        for name, (found, wanted) in facts.items()
        if found != wanted
    ]
    if there.unit != own.unit and UNKNOWN not in (there.unit, own.unit) and there.name == "table":
        wrong.append(f"samples in {there.unit}, the run was trained on {own.unit}")
    if wrong:
        raise DataError(
            f"the rows have {'; '.join(wrong)}", where=where, hint="rows cut and sampled as those of the run"
        )
    if there.leads != own.leads and not any(lead.startswith("lead ") for lead in (*there.leads, *own.leads)):
        log.warning(
            "the leads of %s are %s, the run was trained on %s", where, ", ".join(there.leads), ", ".join(own.leads)
        )


def _view(data: Data, root: Path, options: Mapping[str, Any]) -> Data:
    """The rows as the run sees them, signals or charts; with a `short_batch` ten batches of them."""
    drawn = {name.removeprefix(OF_CHARTS): value for name, value in options.items() if name.startswith(OF_CHARTS)}
    how = {name: options[name] for name in OF_A_VIEW if name != "view"}
    return VIEWS[options["view"]](data, root, options={}, **how, **drawn)
