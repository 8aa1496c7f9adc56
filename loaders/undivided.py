"""All rows of a file or of a dataset, not divided, to test a trained run on.

    data = undivided.load("other.csv", root, dataset="table", spec=spec_of_the_run, options=data_options)
    data = undivided.load("chapman=records.zip", root, dataset="ptbxl", spec=spec_of_the_run, options=data_options)

A file is a table, in the layout of the run's dataset, or in that of the dataset named before it. Leads, samples and
rate must be as in the run, and the classes too; of rows with many labels the classes of both count.
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
from loaders.families import crops
from loaders.families.labels import is_file
from loaders.files.sources import log
from loaders.formats.label_columns import ONE
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

    `what` is the name of a dataset, a file, or NAME=FILE with the dataset whose layout it has. `options` are the
    options of the run's dataset; the options of a table count if they were `typed`, or if the run's data was a table.
    Train and validation are empty. The classes are the run's, without those of many labels that the rows lack.
    Raises DataError for other classes, leads, samples, rate or unit than the run's.
    """
    other, file = split_name(what)
    path, by_name = Path(what if file is None else file), ""
    rows: Signals
    if (file or not other) and not path.exists():
        hint = f"a file, NAME=FILE for the layout of another dataset, or one of {', '.join(DATASETS)}"
        raise DataError("there is no dataset and no file of this name", where=str(path), hint=hint)
    options = _as_trained(options, dataset, other or dataset, spec)
    if path.is_file() and path.name.lower().endswith(tuple(table.FORMS)) and other in ("", "table"):
        own = dataset == "table"
        names = [name for name in TableOptions.__dataclass_fields__ if own or name in typed]
        asked = TableOptions(**{name: options.get(name) for name in names})
        request = Request("table", DATASETS["table"], root, path, asked, bad_rows or "error", 0.0, seed)
        lowest = DATASETS[dataset].lowest if dataset in DATASETS else None
        found, rows = table.undivided(request, spec=spec, lowest=lowest, typed=typed)
        name, by_name = path.name, found.spec.split_rule
    elif other and not file:
        name, found, rows = other, *_all_rows(other, root, None, options, seed, bad_rows)
    else:
        name = path.name if path.is_dir() or zipfile.is_zipfile(path) else f"the folder of {path.name}"
        found, rows = _all_rows(other or dataset, root, path, options, seed, bad_rows)
    if found.spec.many_labels != spec.many_labels:
        kinds = {True: "many labels", False: "one label"}
        what = f"the rows have {kinds[found.spec.many_labels]} each, the run was trained on {kinds[spec.many_labels]}"
        one = f"--label-column {ONE}COLUMNS, or " * (found.spec.many_labels and found.spec.name == "table")
        raise DataError(what, where=path.name, hint=f"{one}rows labelled as those of the run")
    check(found.spec, spec, what)
    classes, remark = spec.classes, ""
    if spec.many_labels:
        y, classes, remark = _in_common(rows, found.spec.classes, spec.classes, what)
    else:
        y = _classes(rows, found.spec.classes, spec.classes, what)
    left = f"; left out are {found.left_out}" if found.left_out else ""
    rows, rule = replace(rows, y=y), f"all {len(rows):,} rows of {name}, not divided{left}{by_name}{remark}"
    if isinstance(rows, RecordRows) and rows.stride:
        rule += f"; {crops.scored(rows.stride, spec.rate_hz)}"
    every = replace(
        found.spec, split_rule=rule, name=spec.name, classes=classes, scored=spec.scored,
        importance=tuple(spec.importance[spec.classes.index(name)] for name in classes),
    )  # fmt: skip
    none = rows.rows(np.arange(0))
    checksum = hashlib.sha256(f"{found.checksum} whole".encode()).hexdigest()
    return Data(every, none, none, lambda: rows, checksum, published=found.published)


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


def split_name(what: str) -> tuple[str, str | None]:
    """The dataset and the file of --test-on: ("", FILE) for a file, (NAME, None) or (NAME, FILE)."""
    name, given, file = what.partition("=")
    if name not in DATASETS:
        return "", what
    return name, file if given else None


def _as_trained(options: Mapping[str, Any], dataset: str, other: str, spec: DataSpec) -> dict[str, Any]:
    """The options for rows of the dataset `other` as those of the run, where the defaults of both differ.

    Raises DataError for a set of classes that `other` lacks.
    """
    sets, there = DATASETS[dataset].label_sets if dataset in DATASETS else {}, DATASETS[other]
    if other == dataset or not sets or not there.label_sets:
        return {**options}
    labels = options.get("labels") or next(iter(sets))
    if labels not in there.label_sets and not is_file(labels):
        what = f"the run has the classes of --labels {labels}, {other} has {', '.join(there.label_sets)}"
        raise DataError(what, where=other, hint="a run with --labels that both have")
    found = {**options, "labels": labels}
    found["rate"] = spec.rate_hz
    return found


def _in_common(
    rows: Signals, there: Sequence[str], classes: Sequence[str], where: str
) -> tuple[np.ndarray, tuple[str, ...], str]:
    """The labels (N, C) of the classes that both have, these classes, and the others in words for the split rule.

    Raises DataError for no such class.
    """
    common = tuple(name for name in classes if name in there)
    if not common:
        what = (
            f"the rows have no class of the run: {', '.join(there)[:200]}; its classes are {', '.join(classes)[:200]}"
        )
        raise DataError(what, where=where, hint="rows with the labels that the run was trained on")
    y = rows.y[:, [there.index(name) for name in common]]
    sides = {"the rows lack": [*classes], "the run lacks": [*there]}
    lacking = [f"{what} {', '.join(left)}" for what, names in sides.items()
               if (left := [name for name in names if name not in common])]  # fmt: skip
    remark = f"; {len(common)} classes in common, {', '.join(lacking)}" if lacking else ""
    return y, common, remark


def _classes(rows: Signals, there: Sequence[str], classes: Sequence[str], where: str) -> np.ndarray:
    """The targets of the rows among the classes of the run. Raises DataError for classes that the run lacks."""
    named = zip(there, np.bincount(rows.y, minlength=len(there)), strict=True)
    if strange := [f"{name} ({count:,} rows)" for name, count in named if count and name not in classes]:
        what = f"the run knows no class {', '.join(strange)[:200]}; its classes are {', '.join(classes)[:200]}"
        raise DataError(what, where=where, hint="rows with the labels that the run was trained on")
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
