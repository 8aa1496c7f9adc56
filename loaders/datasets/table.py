"""Dataset `table`: a user's own rows, from a CSV (`columns`) or an NPZ (`npz`) that --data-file names, without any
code.

A row is N samples of one lead or more. Its label is text or a whole number; without labels there is one class, for
detection.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from loaders.base import Data, DataSpec, Split
from loaders.datasets import table_npz
from loaders.datasets.table_divisions import SPLITS
from loaders.files.archives import reading
from loaders.files.cache import Arrays, cached, fingerprint
from loaders.files.sources import log
from loaders.formats import ucr
from loaders.formats.csv import columns
from loaders.formats.csv.rowfiles import tell_dropped
from loaders.formats.labels import NO_LABEL, among, coded
from loaders.splits.holdout import Holdout
from toolbox.errors import DataError, UsageError
from toolbox.registry import pick

READERS: dict[str, Callable[..., Arrays]] = {
    **dict.fromkeys((".csv", ".csv.gz", *filter(None, ucr.FORMS)), columns.read_csv),
    ".npz": table_npz.read_npz,
}
READING = "2"  # raised when the same file is read in another way, so that older caches are not taken
WOULD_DO = (
    "--data-file my.csv (samples and a label in each row), my.csv.gz, a .ts, .tsv, .txt or .arff of UCR, or my.npz (x"
    " and y)"
)
RATE_HZ = 1.0  # where nobody says it: frequencies are then in cycles a sample


def load(
    root: Path,
    *,
    data_file: Path | None,
    val_fraction: Holdout,
    seed: int,
    bad_rows: str = "error",
    split: str | None = None,
    label_column: str | None = None,
    record_column: str | None = None,
    rate_hz: float | None = None,
) -> Data:
    """The rows of `data_file`: x (N, C, T) float32 in the unit they have there, y (N,) in the order of the sorted
    labels.

    `label_column` (else the last, or y) may be "none"; `record_column` says whose row it is: without one a column that
    is called patient, subject, record, group or the like, and "none" takes none. `split` is "stratified" (20 % of each
    class test), "record" (20 % of the records, the default where they are known) or "column:NAME" (train, val or test
    in that column). `rate_hz` goes before the file's; the rate is 1 where neither says it. Raises UsageError for what
    is asked for and not there, DataError for what the file lacks.
    """
    if not data_file:
        raise UsageError("--dataset table is read from a file of your own", hint=WOULD_DO)
    kind, _, column = (split or "").partition(":")
    divide = pick("split", SPLITS, "column:NAME" if kind == "column" and column else split) if split else None
    label = None if label_column == NO_LABEL else label_column or ""
    asked = {"label": label, "record": record_column, "split": column or None, "bad_rows": bad_rows}
    arrays, checksum = _parsed(data_file, root / "table" / "cache", asked)
    tell_dropped(arrays, data_file)
    by_name = _tell_recognised(arrays, data_file)
    everything, where = Split.of(arrays), str(data_file)
    divide = divide or SPLITS["record" if "record" in arrays else "stratified"]
    train, val, test, rule = divide(everything, arrays.get("split"), val_fraction=val_fraction, seed=seed, where=where)
    spec = _spec(arrays, everything, data_file, rate_hz=rate_hz, rule=rule + by_name)
    return Data(spec, everything.rows(train), everything.rows(val), lambda: everything.rows(test), checksum)


def undivided(
    path: Path,
    root: Path,
    *,
    spec: DataSpec,
    lowest: int | None,
    bad_rows: str | None = None,
    split: str | None = None,
    label_column: str | None = None,
    record_column: str | None = None,
    rate_hz: float | None = None,
    typed: Sequence[str] = (),
) -> tuple[Data, Split]:
    """All rows of a table with the classes of `spec`, divided into no sides; the rate is that of `spec` where nobody
    states one.

    A split or record column that was not `typed`, but is the run's own, may be missing. `lowest` is the number of the
    first class where numbers stand for the names of classes, None where they do not. Raises as `load`.
    """
    label = None if label_column == NO_LABEL else label_column or ""
    asked = {"label": label, "record": record_column, "split": (split or "").partition(":")[2] or None}
    asked |= {"bad_rows": bad_rows or "error"}
    fewer = [{}, {"split": None}, {"record": None}, {"split": None, "record": None}]
    fewer = [less for less in fewer if not ("record" in less and "record_column" in typed)]
    arrays, checksum = _first_readable(
        [asked | less for less in fewer],
        lambda how: _parsed(path, root / "table" / "cache", how, classes=spec.classes, lowest=lowest),
    )
    tell_dropped(arrays, path)
    rows = Split.of(arrays)
    if "rate_hz" not in typed:
        rate_hz = None if "rate_hz" in arrays else spec.rate_hz
    found = _spec(arrays, rows, path, rate_hz=rate_hz, rule=_tell_recognised(arrays, path))
    return Data(found, rows, rows, lambda: rows, checksum), rows


def _first_readable(
    ways: Sequence[dict[str, str | None]], read: Callable[[dict[str, str | None]], tuple[Arrays, str]]
) -> tuple[Arrays, str]:
    """What `read` makes of the first of the `ways` for which all columns are there; else the first error."""
    first = None
    for way in ways:
        try:
            return read(way)
        except UsageError as error:
            first = first or error
    raise first


def _tell_recognised(arrays: Arrays, path: Path) -> str:
    """Log which column is taken for the record because it is called so; the same for the split rule, "" where none
    is."""
    if "recognised" not in arrays:
        return ""
    name = str(arrays["recognised"][0])
    log.info(
        "the rows of one %s stay together: the record column of %s, by its name; --record-column none for none",
        name,
        path,
    )
    return f"; records are those of the column {name}, by its name"


def _spec(arrays: Arrays, rows: Split, path: Path, *, rate_hz: float | None, rule: str) -> DataSpec:
    """The facts that the file states, and honest words for those that it does not."""
    _, channels, samples = rows.x.shape
    leads = arrays["leads"].tolist() if "leads" in arrays else [f"lead {i + 1}" for i in range(channels)]
    classes = tuple(arrays["classes"].tolist())
    return DataSpec(
        name="table",
        view="row",
        channels=channels,
        samples=samples,
        rate_hz=_rate(rate_hz, arrays, path),
        unit=str(arrays["unit"][0]) if "unit" in arrays else "as given",
        leads=tuple(leads),
        classes=classes,
        importance=(1.0,) * len(classes),
        source=path.name,
        licence="the user's own",
        split_rule=rule,
    )


def _rate(rate_hz: float | None, arrays: Arrays, path: Path) -> float:
    """The rate that was typed, else the file's, else 1, which is said: what works in Hz then works in cycles a
    sample."""
    if rate_hz is not None and not (math.isfinite(rate_hz) and rate_hz > 0):
        raise UsageError(f"--rate-hz is {rate_hz}, expected a number above 0", hint="samples a second")
    if rate_hz is None and "rate_hz" not in arrays:
        log.warning(
            "the rate of %s is not known and taken as %g Hz, a sample a second; --rate-hz states it", path, RATE_HZ
        )
        return RATE_HZ
    return float(rate_hz if rate_hz is not None else arrays["rate_hz"][0])


def _parsed(
    path: Path,
    cache: Path,
    asked: dict[str, str | None],
    *,
    classes: Sequence[str] | None = None,
    lowest: int | None = None,
) -> tuple[Arrays, str]:
    """The arrays of a file, coded, among `classes` where they are known, parsed once for each way; and their
    checksum."""
    with reading(path):
        if not path.is_file():
            what = "a folder is no table" if path.is_dir() else "there is no such file"
            raise DataError(what, where=str(path), hint=WOULD_DO)
    read = next((read for suffix, read in READERS.items() if path.name.lower().endswith(suffix)), None)
    if read is None:
        raise DataError(f"the file is none of {', '.join(READERS)}", where=str(path), hint=WOULD_DO)
    key = fingerprint(path, **asked, reading=READING, **({"among": f"{lowest} {classes}"} if classes else {}))
    code = coded if classes is None else partial(among, classes=classes, lowest=lowest)
    return cached(cache / f"rows-{key}", lambda: code(read(path, **asked), str(path)))
