"""runs.html: every run of a root in one table, with filters, search and comparison; and the page of a comparison.

    rows = summary.of_root(root, known(root / PAGE))      # toolbox/runs/summary.py; the page keeps the rows it shows
    save(root / PAGE, explorer(rows, defaults={"lr": None}, program="python commander.py", root=root), library=root)

The rows are one JSON array in the page; its script (explorer.html) filters, sorts and compares them. The same part
shows the runs of a study (study.html) and of a comparison (comparison.html).
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from toolbox import files, plain, schema
from toolbox.errors import UsageError
from toolbox.files import finite
from toolbox.metrics import meanings
from toolbox.metrics.labels import EVERY
from toolbox.reports import pages
from toolbox.reports.plots import COLOURS
from toolbox.runs.summary import Row

PAGE = "runs.html"
START, END = '<script type="application/json" id="runs">', "</script>"
FORM = 3  # of the rows in a page; another number makes the next page read all files again
CACHED = {"form": int, "at": str, "rows": [{"path": str, "stamp?": str}]}
MOST_RUNS = 10  # that are compared in one figure


def known(path: Path) -> dict[str, Row]:
    """The rows of an earlier page by the paths of their runs; none of a page that is missing, of another version, or
    of another place, since commands name files by their place.

    Raises UsageError for a file that is no page of this program, so that it is not overwritten.
    """
    try:
        with files.regular(path) as file:
            text = file.read(files.MOST_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"{path.name} is not a page of this program", where=str(path), hint="move it away") from error
    _, begins, rest = text.partition(START)
    if not begins:
        what = f"{path.name} exists already and was not written by this program"
        raise UsageError(what, where=str(path), hint="move that file away")
    try:
        content = files.of_json(rest.partition(END)[0])
    except files.UnreadableError:
        return {}
    if schema.misfit(content, CACHED) or (content["form"], content["at"]) != (
        FORM,
        plain.escaped(os.path.realpath(path.parent)),
    ):
        return {}
    return {row["path"]: row for row in content["rows"] if row.get("stamp")}


def explorer(
    rows: Sequence[Row],
    *,
    defaults: Mapping[str, Any],
    program: str,
    at: Path = Path(),
    root: str = "",
    up: str = "",
    axes: Sequence[str] = (),
    chosen: bool = False,
    paired: bool = False,
) -> dict[str, Any]:
    """The values of explorer.html: rows with `words` and `command`, the defaults of flags, and the command line.

    `at` is the root, `root` the flag for it as it is typed, "" for the default; `up` leads from the page to the folder
    that the paths of the rows start in; `axes` are flags with a column of their own. `chosen` shows all rows compared,
    without the table; `paired` runs predict the same test rows.
    """
    metrics, over = (
        metrics_of(rows),
        {tuple(row["over"]) for row in rows if f"{meanings.GROSS_PREFIX}macro_f1" in row["test"]},
    )
    classes = over.pop() if len(over) == 1 else ()
    return {
        **{"form": FORM, "at": plain.escaped(os.path.realpath(at))},
        **{
            "program": program,
            "root": root,
            "up": up,
            "axes": list(axes),
            "chosen": chosen,
            "paired": paired,
            "most": MOST_RUNS,
        },
        **{"metrics": [*map(plain.escaped, metrics)], "metric": plain.escaped(_usual(rows)), "colours": COLOURS},
        "names": _visible(
            {name: meanings.name_of(name, classes if name.startswith("gross") else ()) for name in metrics}
        ),
        "defaults": finite(dict(defaults)),
        "rows": [_visible(row) | {"path": row["path"], "href": quote(os.fsencode(row["path"]))} for row in rows],
    }


def metrics_of(rows: Sequence[Row]) -> list[str]:
    """The metrics of validation or test that any run has, the usual ones first."""
    there = dict.fromkeys(name for row in rows for side in ("test", "val") for name in row[side])
    order = [*dict.fromkeys((*meanings.HEADLINES, *EVERY))]
    return sorted(there, key=lambda name: order.index(name) if name in order else len(order))


def _usual(rows: Sequence[Row]) -> str:
    """The metric that the table shows first: the headline of most tests, without a test of most runs."""
    tested = [row for row in rows if row["test"]]
    counts = Counter(row["headline"] for row in tested or rows if row["headline"])
    return max(counts, key=lambda name: (counts[name], name in meanings.HEADLINES), default="")


def _visible(value: Any) -> Any:
    """The value with every text, key or not, as visible characters."""
    if isinstance(value, dict):
        return {plain.escaped(key): _visible(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_visible(item) for item in value]
    return plain.escaped(value) if isinstance(value, str) else value


def save(path: Path, explored: Mapping[str, Any], *, library: Path) -> None:
    """Write the page of all runs; `explored` comes from `explorer`. Raises ResourceError."""
    pages.save(path, "runs.html", library=library, late=True, title="runs", explored=explored)


def save_comparison(path: Path, explored: Mapping[str, Any], *, library: Path, **values: Any) -> None:
    """Write the page of a comparison: `title`, `verdicts`, and the paired differences `against` with their
    `head`, `facts` and `legend`, or `why` there are none."""
    pages.save(path, "comparison.html", library=library, explored=explored, **values)
