"""A text table with a column per lead opens as a recording: `open_table(path, rate_hz)`.

It is understood first (`form`), then parsed once, in blocks, to a temporary file from which pieces are read.
"""

import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from loaders.files.sources import log
from loaders.formats.csv import text as csv_text
from loaders.formats.csv.clock import Timeline
from loaders.formats.csv.form import TableForm, understand
from loaders.formats.csv.gaps import rows_of, sentinels, timing
from loaders.formats.csv.text import AROUND, HINT, TableText
from loaders.formats.csv.text import MISSING as WORDS
from loaders.formats.lead_names import is_lead
from loaders.formats.recording import Recording
from toolbox.ecg.gaps import Signal
from toolbox.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

ROWS, CELLS = 2**17, 2**20  # in memory at a time
MISSING = sorted({form for word in WORDS for form in (word, word.upper(), word.title())} - {""})  # as pandas compares
TOO_LONG = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")
NO_DELIMITER = "\x1f"  # in a table of one column


def open_table(path: Path, rate_hz: float | None) -> Recording:
    """The leads of a text table, sampled as its times or `rate_hz` state. Raises DataError with line and column."""
    with csv_text.opened(path) as text, tempfile.TemporaryFile() as file:
        form = understand(text, path, rate_hz)
        if not form.leads:
            names = ", ".join(column.name for column in form.columns)
            raise DataError(f"no column is a lead: {names[:200]}", where=str(path), hint=HINT)
        timeline = Timeline(form.clock) if form.clock else None
        count = _parse(path, text, form, file=file, timeline=timeline)
        if not count:
            raise DataError("the file has no samples", where=str(path), hint=HINT)
        values = np.memmap(file, dtype=np.float32, mode="r", shape=(count, len(form.leads)))
        lone_blanks = text.lone_blanks
    low, high = np.fmin.reduce(values), np.fmax.reduce(values)  # (leads,), without NaN
    moving = low < high
    # A column of one value is left out beside others, unless it has the name of a lead.
    kept = [k for k, lead in enumerate(form.leads) if moving[k] or is_lead(lead.name) or not moving.any()]
    leads = [form.leads[k] for k in kept]
    columns = tuple(replace(c, role="other") if c.role == "lead" and c not in leads else c for c in form.columns)
    times = timing(path, timeline, stated_hz=form.stated_hz, given_hz=rate_hz)
    log.info("%s is read as: %s; %g Hz (%s)", path.name, replace(form, columns=columns), times.hz, times.source)
    rows, doubts = rows_of(path, timeline, times, count)
    if lone_blanks:
        doubts.append(f"{lone_blanks} single blank lines between the rows are taken for no samples")
    codes = [sentinels(values[:, k], float(low[k]), float(high[k])) for k in kept]
    for lead, found in zip(leads, codes, strict=True):
        for value, often in found.items():
            what = f"{often} samples of lead {lead.name} are {value:g}, far outside the signal"
            doubts.append(f"{what}, and are taken as missing")

    def read(k: int, first: int, last: int) -> Signal:
        signal = rows.read(values[:, kept[k]], first, last)
        if codes[k]:
            signal[np.isin(signal, list(codes[k]))] = np.nan
        return signal * leads[k].mv if leads[k].mv else signal

    return Recording(
        path,
        leads=tuple(lead.name for lead in leads),
        units=tuple(lead.unit.strip(" -") for lead in leads),
        shapes=((times.hz, rows.samples),) * len(leads),
        rate_hz=times.hz,
        samples=rows.samples,
        read=read,
        start=form.clock.start if form.clock else None,
        doubts=(*form.doubts, *times.doubts, *doubts),
    )


def _parse(path: Path, text: TableText, form: TableForm, *, file: BinaryIO, timeline: Timeline | None) -> int:
    """Write the leads to `file` as float32, row by row, and note their times. Returns the number of rows."""
    rows, dialect = 0, form.layout.dialect
    text.skip(form.skipped)
    text.blank_rows = form.blank_rows
    for block in _blocks(path, text, form):
        numbers = np.empty((len(block), len(form.leads)), np.float32)
        for k, lead in enumerate(form.leads):
            numbers[:, k] = _numbers(block[lead.place], path, form, lead.name, rows)
        numbers.tofile(file)
        if timeline:
            timeline.add(timeline.clock.seconds(block[timeline.clock.place], dialect))
        rows += len(block)
    file.flush()
    return rows


def _blocks(path: Path, text: TableText, form: TableForm) -> Iterator["pd.DataFrame"]:
    """The rows in blocks, columns numbered."""
    import pandas as pd

    dialect, width, numeric = form.layout.dialect, form.layout.width, form.layout.numeric
    texts = [column.place for column in form.columns if column.place not in numeric and column.role != "lead"]
    try:
        yield from pd.read_csv(
            text,
            sep={"": NO_DELIMITER, " ": r"\s+"}.get(dialect.delimiter, dialect.delimiter),
            header=None,
            names=range(width),
            index_col=False,
            dtype=dict.fromkeys(texts, str),
            decimal=dialect.decimal,
            thousands=dialect.thousands,
            quotechar=dialect.quote,
            comment=form.comment or None,
            skipinitialspace=True,
            na_values=MISSING,
            skip_blank_lines=not form.blank_rows,
            chunksize=max(1, min(ROWS, CELLS // width)),
        )
    except pd.errors.EmptyDataError:
        return
    except pd.errors.ParserError as error:
        what = str(error)
        if found := TOO_LONG.search(what):
            what = f"line {form.line - 1 + int(found[2])} has {found[3]} cells, {found[1]} are expected"
        raise DataError(f"it is no table: {what}", where=str(path), hint=HINT) from error


def _numbers(column: "pd.Series", path: Path, form: TableForm, name: str, rows: int) -> NDArray[np.float32]:
    """A column of a block as numbers, NaN if missing. Raises DataError that names the first cell with a word."""
    if column.dtype.kind in "iuf":
        numbers = column.to_numpy(np.float32)
    else:
        there = column.notna().to_numpy()
        cells = [str(cell).strip(AROUND) for cell in column]
        numbers = form.layout.dialect.numbers(cells).astype(np.float32)
        wrong = there & np.isnan(numbers) & ~np.isin([cell.lower() for cell in cells], WORDS)
        if wrong.any():
            row = int(wrong.argmax())
            what = f"column {name[:40]!r} has {cells[row][:40]!r}, which is no number"
            raise DataError(what, where=f"{path}, line {_line_of(path, form, rows + row)}", hint=HINT)
    return np.where(np.isfinite(numbers), numbers, np.float32("nan"))


def _line_of(path: Path, form: TableForm, row: int) -> int:
    """The line of the file, counted from 1, of a row of data, counted from 0."""
    with csv_text.opened(path) as text:
        for number, line in enumerate(text, 1):
            is_comment = form.comment and line.startswith(form.comment)
            if number >= form.line and (form.blank_rows or line.strip()) and not is_comment:
                if not row:
                    return number
                row -= 1
    return 0
