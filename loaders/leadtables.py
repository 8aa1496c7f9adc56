"""A CSV with a column a lead opens as a recording: numbers in mV, a row a sample, a line of names above them or none.

It is parsed once, in blocks, to a temporary file from which pieces are read. An empty cell is a sample that is missing.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from loaders.archives import reading
from loaders.recording import Recording
from toolbox.errors import DataError
from toolbox.gaps import Signal

if TYPE_CHECKING:
    import pandas as pd

ROWS = 2**17  # in memory at a time
SEPARATORS = (",", ";", "\t")
AROUND = " \t\r\n\"'"
NO_LEAD = ("time", "sample", "index", "second", "elapsed")  # how a column that counts begins
HINT = "a column a lead, numbers in mV, names above them or none"


def open_table(path: Path, rate_hz: float | None) -> Recording:
    """The columns of a CSV sampled at `rate_hz`. Raises DataError with line and column, ResourceError."""
    if rate_hz is None:
        raise DataError("a CSV does not say how often it was sampled", where=str(path), hint="--rate-hz HZ")
    with reading(path):
        names, header, separator = _head(path)
        with tempfile.TemporaryFile() as file:
            samples = _parse(path, file, names, header=header, separator=separator)
            if not samples:
                raise DataError("the file has no samples", where=str(path), hint=HINT)
            values = np.memmap(file, dtype=np.float32, mode="r", shape=(samples, len(names)))
    leads = [k for k, name in enumerate(names) if not _counts(name)]
    if not leads:
        raise DataError(f"no column is a lead: {', '.join(names)[:200]}", where=str(path), hint=HINT)

    def read(k: int, first: int, last: int) -> Signal:
        return np.array(values[first:last, leads[k]], dtype=np.float64)

    return Recording(path, path.stem, tuple(names[k] for k in leads), rate_hz, samples, read)


def _head(path: Path) -> tuple[list[str], bool, str]:
    """Names of the columns, whether the file has them, and what stands between its columns."""
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        line = file.readline(2**16)
    separator = max(SEPARATORS, key=line.count)
    cells = [cell.strip(AROUND) for cell in line.split(separator)]
    header = not all(_is_number(cell) for cell in cells)
    return [(cell if header else "") or f"lead {k}" for k, cell in enumerate(cells, 1)], header, separator


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


def _counts(name: str) -> bool:
    return name.lower() == "t" or name.lower().startswith(NO_LEAD)


def _parse(path: Path, file: BinaryIO, names: list[str], *, header: bool, separator: str) -> int:
    """Write the table to `file` as float32, row by row; how many rows it has."""
    import pandas as pd

    how = {"header": None, "names": range(len(names)), "skiprows": int(header), "encoding": "utf-8-sig", "index_col": False}
    rows = 0
    try:
        for block in pd.read_csv(path, sep=separator, chunksize=ROWS, skip_blank_lines=False, **how):
            _numbers(block, names, line=1 + header, where=path).tofile(file)
            rows += len(block)
    except pd.errors.EmptyDataError:
        pass
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise DataError(f"it is no table: {error}", where=str(path), hint=HINT) from error
    file.flush()
    return rows


def _numbers(block: "pd.DataFrame", names: list[str], *, line: int, where: Path) -> NDArray[np.float32]:
    """A block of rows as numbers; a DataError names the first cell that is none. `line` is that of row 0."""
    import pandas as pd

    for k, name in enumerate(names):
        if block.dtypes.iloc[k].kind not in "iuf" and not _counts(name):
            wrong = block[k].notna() & pd.to_numeric(block[k], errors="coerce").isna()
            if wrong.any():
                row = wrong.idxmax()
                what = f"column {name[:40]!r} has {str(block[k][row])[:40]!r}, which is no number"
                raise DataError(what, where=f"{where}, line {row + line}", hint=HINT)
    numbers = block.apply(pd.to_numeric, errors="coerce").to_numpy(np.float32)
    return np.where(np.isfinite(numbers), numbers, np.float32("nan"))
