"""All rows of a file or of a dataset, not divided, to test a trained run on.

    data = undivided.load("other.csv", root, dataset="table", spec=spec_of_the_run, options=data_options)

The file is a table, or in the layout of the run's dataset; its classes, leads, samples and rate must be as in the run.
"""

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from loaders import DATASETS, get_data
from loaders.base import Data, DataSpec, Split
from loaders.datasets import table
from loaders.declaration import Request, TableOptions
from loaders.files.sources import log
from loaders.records import RecordRows
from toolbox.errors import DataError

Signals = Split | RecordRows


def load(
    what: str,
    root: Path,
    *,
    dataset: str,
    spec: DataSpec,
    options: Mapping[str, Any],
    seed: int = 42,
    bad_rows: str | None = None,
    typed: Sequence[str] = (),
) -> Data:
    """All rows of the dataset or file `what` as the test split of a run on `dataset`; `spec` has the facts of the run's
    data.

    `options` are the options of the run's dataset; the options of a table count if they were `typed`, or if the run's
    data was a table. Train and validation are empty. Raises DataError for other classes, leads, samples, rate or unit
    than the run's.
    """
    path, by_name = Path(what), ""
    rows: Signals
    if what not in DATASETS and not path.exists():
        hint = f"a file, or one of {', '.join(DATASETS)}"
        raise DataError("there is no dataset and no file of this name", where=what, hint=hint)
    if path.is_file() and path.name.lower().endswith(tuple(table.FORMS)) and what not in DATASETS:
        own = dataset == "table"
        names = [name for name in TableOptions.__dataclass_fields__ if own or name in typed]
        asked = TableOptions(**{name: options.get(name) for name in names})
        request = Request("table", DATASETS["table"], root, path, asked, bad_rows or "error", 0.0, seed)
        lowest = DATASETS[dataset].lowest if dataset in DATASETS else None
        found, rows = table.undivided(request, spec=spec, lowest=lowest, typed=typed)
        name, by_name = path.name, found.spec.split_rule
    elif what in DATASETS:
        name, found, rows = what, *_all_rows(what, root, None, options, seed, bad_rows)
    else:
        name = path.name if path.is_dir() or zipfile.is_zipfile(path) else f"the folder of {path.name}"
        found, rows = _all_rows(dataset, root, path, options, seed, bad_rows)
    if found.spec.many_labels != spec.many_labels:
        kinds = {True: "many labels", False: "one label"}
        what = f"the rows have {kinds[found.spec.many_labels]} each, the run was trained on {kinds[spec.many_labels]}"
        raise DataError(what, where=path.name, hint="rows labelled as those of the run")
    rows = replace(rows, y=_classes(rows, found.spec.classes, spec.classes, what))
    check(found.spec, spec, what)
    rule = f"all {len(rows):,} rows of {name}, not divided{by_name}"
    every = replace(
        found.spec, split_rule=rule,
        name=spec.name, classes=spec.classes, importance=spec.importance, scored=spec.scored,
    )  # fmt: skip
    none = rows.rows(np.arange(0))
    checksum = hashlib.sha256(f"{found.checksum} whole".encode()).hexdigest()
    return Data(every, none, none, lambda: rows, checksum)


def _all_rows(
    dataset: str, root: Path, path: Path | None, options: Mapping[str, Any], seed: int, bad_rows: str | None
) -> tuple[Data, Signals]:
    """A dataset, and the rows of all its splits, each once.

    Beats are split at random before: a published split would leave records out, or need all of them.
    """
    kept = {name: value for name, value in options.items() if name not in (*TableOptions.__dataclass_fields__, "fold")}
    split = "random" if DATASETS[dataset].cohort else None
    data = get_data(dataset, root, data_file=path, val_fraction=0.0, seed=seed, bad_rows=bad_rows, split=split, **kept)
    train: Any = data.train
    return data, train.with_sides(data.val, data.test)


def _classes(rows: Signals, there: Sequence[str], classes: Sequence[str], where: str) -> np.ndarray:
    """The targets of the rows among the classes of the run. Raises DataError for classes that the run lacks."""
    many = rows.y.ndim > 1
    counts = rows.y.sum(0) if many else np.bincount(rows.y, minlength=len(there))
    named = zip(there, counts, strict=True)
    if strange := [f"{name} ({count:,} rows)" for name, count in named if count and name not in classes]:
        what = f"the run knows no class {', '.join(strange)[:200]}; its classes are {', '.join(classes)[:200]}"
        raise DataError(what, where=where, hint="rows with the labels that the run was trained on")
    if many:
        columns = [rows.y[:, there.index(name)] if name in there else np.zeros(len(rows), np.int64) for name in classes]
        return np.stack(columns, 1)
    return np.array([classes.index(name) if name in classes else -1 for name in there])[rows.y]


def check(there: DataSpec, own: DataSpec, where: str) -> None:
    """Raise DataError for rows unlike the run's training rows; other leads are a warning."""
    facts = {
        "channels": (there.channels, own.channels),
        "samples a row": (there.samples, own.samples),
        "Hz": (there.rate_hz, own.rate_hz),
        "features": (len(there.features), len(own.features)),
    }
    wrong = [
        f"{found:g} {name}, the run was trained on {wanted:g}"
        for name, (found, wanted) in facts.items()
        if found != wanted
    ]
    if there.unit != own.unit and table.NO_UNIT not in (there.unit, own.unit) and there.name == "table":
        wrong.append(f"samples in {there.unit}, the run was trained on {own.unit}")
    if wrong:
        raise DataError(f"the rows have {'; '.join(wrong)}", where=where, hint="rows cut and sampled as in the run")
    if there.leads != own.leads and not any(lead.startswith("lead ") for lead in (*there.leads, *own.leads)):
        log.warning(
            "the leads of %s are %s, the run was trained on %s", where, ", ".join(there.leads), ", ".join(own.leads)
        )
