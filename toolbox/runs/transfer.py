"""Tests of runs on their own data and on others, as rows of one table: trained on, tested on, the headline figure.

    tests = of_run(run.path)       # the run's own test and its tests on other data; of_root for all runs of a root

Everything is read from the files of the run folders.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from toolbox import files
from toolbox.metrics import labels, meanings
from toolbox.runs import outcome
from toolbox.runs.folder import CONFIG, RESULTS
from toolbox.runs.predictions import Predictions

FACTS = "report.json"  # written with each test
ON = "-on-"  # in the folder of a test on other data
CSV = "transfer.csv"  # in the root
UNREADABLE = (files.UnreadableError, OSError, KeyError, TypeError, ValueError, AttributeError, EOFError, BadZipFile)


@dataclass(frozen=True)
class TransferTest:
    """A test of a run: its data and that of the run, tested rows and records (0: not named), the number of classes
    that the headline `metric` is over, its value and 95 % interval (None, and the reason that it `lacks` one).

    Of many labels a row also the macro AUROC over the `common` classes: those of every test of the run with a
    measurable class.
    """

    run: str
    trained_on: str
    tested_on: str
    rows: int
    records: int
    classes: int
    metric: str
    value: float | None
    low: float | None
    high: float | None
    lacks: str
    common: int = 0
    common_auroc: float | None = None
    common_low: float | None = None
    common_high: float | None = None


def of_root(root: Path) -> list[TransferTest]:
    """The tests of all runs of a root that were tested on other data, by trained and tested set."""
    runs = sorted({path.parents[2] for path in root.glob(f"*/runs/*/{outcome.TEST}/*{ON}*/{RESULTS}")})
    found = [test for run in runs for test in of_run(run)]
    return sorted(found, key=lambda test: (test.trained_on, test.tested_on, test.run))


def of_run(run: Path) -> list[TransferTest]:
    """The run's own test, then those on other data; a test whose files are unreadable is left out."""
    others = sorted(path.parent.name for path in (run / outcome.TEST).glob(f"*{ON}*/{RESULTS}"))
    return _in_common([test for which in ("best", *others) if (test := _read(run, which))])


def _in_common(tests: Sequence[tuple[TransferTest, Predictions, list[str]]]) -> list[TransferTest]:
    """The tests with their macro AUROC over the classes that all of them can measure, if there are several.

    A test that can measure no class has none, and takes none from the others.
    """
    measurable = [{name for name, known in zip(names, _known(rows), strict=True) if known} for _, rows, names in tests]
    measuring = [own for own in measurable if own]
    common = set.intersection(*measuring) if len(measuring) > 1 else set()
    found = []
    for (test, rows, names), own in zip(tests, measurable, strict=True):
        if common and own:
            some = rows.among([k for k, name in enumerate(names) if name in common])
            at = np.full(len(common), labels.THRESHOLD)
            of = (some.target, some.scores, some.loss, at)
            low, high = labels.bootstrap(*of, record=some.record)["intervals"]["macro_auroc"] or (None, None)
            value = labels.score(*of)["macro_auroc"]
            test = replace(test, common=len(common), common_auroc=value, common_low=low, common_high=high)
        found.append(test)
    return found


def _known(rows: Predictions) -> Sequence[bool]:
    """Whether each of many labels has a row with it and a row without it; [] of one label a row."""
    if rows.target.ndim == 1:
        return []
    return [0 < count < len(rows.target) for count in rows.target.sum(0).tolist()]


def _read(run: Path, which: str) -> tuple[TransferTest, Predictions, list[str]] | None:
    """A test, its predictions, and the classes of these, [] of one label a row."""
    place, folder = outcome.place(run, which), run / outcome.TEST / ("" if which == "best" else which)
    if place is None:
        return None
    try:
        data, test = files.read_json(run / CONFIG)["data"], files.read_json(place)["test"]
        other = files.read_json(folder / FACTS)["test_on"]
        predictions, found = Predictions.load(folder / "predictions.npz"), outcome.figures(test)
        metric = meanings.headline(found)
        value, ends, lacks = found[metric]
    except UNREADABLE:
        return None
    named = predictions.record[predictions.record != ""]
    records = len(np.unique(named)) if len(named) == len(predictions.record) else 0
    classes, (low, high) = [*test.get("per_class", ())], ends or (None, None)
    read = TransferTest(
        run.name, data["name"], Path(other).name if other else data["name"], len(np.unique(predictions.index)),
        records, len(classes) - len(test.get("left_out", ())), metric, value, low, high, lacks,
    )  # fmt: skip
    return read, predictions, classes if predictions.target.ndim > 1 else []


def save(root: Path) -> None:
    """Write the tests of all runs into CSV in the root. Raises ResourceError."""
    rows = [asdict(test) for test in of_root(root)]
    columns: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in TransferTest.__dataclass_fields__}
    files.write_csv(root / CSV, columns)
