"""A user's own Parquet file: a column for each sample, or one column of lists, and columns of label, record and split.

Columns go by name; the index that pandas stores is not read. Files are read in parts, so that a large one needs little
memory. The package pyarrow reads them (`requirements-parquet.txt`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from loaders.datasets import table_npz
from loaders.files.archives import reading
from loaders.files.cache import Arrays
from loaders.formats import label_columns
from loaders.formats.csv.columns import Columns, Names, check_counting, check_samples, find_columns, log_columns
from loaders.formats.csv.heads import part_names
from toolbox.errors import DataError, UsageError
from toolbox.flags import words

PART_ROWS = 2**13
INDEX = "__index_level_"  # as pandas calls an index without a name
HINT = "numbers in every column but --label-column, --record-column, --id-columns and --split column:NAME"


class ParquetPart(NamedTuple):
    """Some rows of a file: x (n, T) float32, texts (n,) by their part or name, and the rows of the file."""

    x: NDArray[np.float32]
    texts: Arrays
    rows: int


class ParquetTable:
    """An open file: `names` of its columns without the index of pandas, and its number of `rows`."""

    def __init__(self, file: Any, path: Path) -> None:
        self.file, self.path, self.rows = file, path, file.metadata.num_rows
        stored = [field.name for field in file.schema_arrow]
        stated = (file.schema_arrow.pandas_metadata or {}).get("index_columns", [])
        self.names = [name for name in stored if name not in stated and not name.startswith(INDEX)]
        if twice := next((name for name in self.names if stored.count(name) > 1), None):
            raise DataError(
                f"{stored.count(twice)} columns are called {twice}", where=str(path), hint="names once each"
            )

    def parts(self, samples: Sequence[str], texts: dict[str, str], rows: int = PART_ROWS) -> Iterator[ParquetPart]:
        """The columns `samples`, and `texts` by part, `rows` at a time. Raises DataError for a column without numbers.

        A missing number is NaN, a missing text is "".
        """
        read = list(dict.fromkeys([*samples, *texts.values()]))
        for batch in self.file.iter_batches(rows, columns=read):
            columns = [self._numbers(batch.column(name), name) for name in samples]
            x = columns[0] if len(columns) == 1 and columns[0].ndim == 2 else np.stack(columns, 1)
            found = {part: _texts(batch.column(name)) for part, name in texts.items()}
            yield ParquetPart(np.ascontiguousarray(x, np.float32), found, batch.num_rows)

    def is_of_lists(self, name: str) -> bool:
        """Whether each cell of a column is a list."""
        return "list" in str(self.file.schema_arrow.field(name).type).partition("<")[0]

    def _numbers(self, column: Any, name: str) -> NDArray[Any]:
        """The numbers (n,) of a column, or (n, T) of a column of lists."""
        import pyarrow
        from pyarrow import compute

        shape = [len(column)]
        if self.is_of_lists(name):
            lengths = compute.unique(compute.list_value_length(column)).to_pylist()
            if len(lengths) != 1 or lengths[0] is None:
                what = (
                    f"the lists of column {name} have {', '.join(map(str, lengths[:3]))} samples, expected one length"
                )
                raise DataError(what, where=str(self.path), hint="rows of one length, without missing ones")
            column, shape = column.flatten(), [len(column), lengths[0]]
        kind = column.type
        if not (pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind) or pyarrow.types.is_decimal(kind)):
            what = f"column {name} has the type {kind}, expected numbers"
            raise DataError(what, where=str(self.path), hint=HINT)
        values = compute.cast(column, pyarrow.float64(), safe=False).to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite, and is refused
            return values.astype(np.float32).reshape(shape)


def _texts(column: Any) -> NDArray[np.str_]:
    """The cells (n,) of a column as text, "" for a missing one."""
    import pyarrow
    from pyarrow import compute

    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    cells = compute.cast(column, pyarrow.string()).to_pylist()
    return np.char.strip(np.array(["" if cell is None else cell for cell in cells], str))


@contextmanager
def opened(path: Path) -> Iterator[ParquetTable]:
    """A Parquet file, open for reading. Raises DataError for another or a damaged file."""
    import pyarrow
    from pyarrow import parquet

    with reading(path):
        try:
            with parquet.ParquetFile(path) as file:
                yield ParquetTable(file, path)
        except (pyarrow.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            what = f"the file cannot be read as Parquet: {str(error).splitlines()[0][:100]}"
            raise DataError(what, where=str(path), hint="DataFrame.to_parquet(path)") from error


def read_parquet(
    path: Path, *, label: str | None, record: str | None, split: str | None, bad_rows: str, ids: str | None = None
) -> Arrays:
    """As `columns.read_csv`, for a Parquet file: faults name the row, counted from 0, and the column."""
    with opened(path) as table:
        columns, samples = placed(table, label=label, record=record, split=split, ids=ids)
        texts = {part: table.names[column] for part, column in columns.texts.items()}
        log_columns(path, table.names, columns, header=True)
        parts = list(table.parts(samples, texts))
    if not parts:
        raise DataError("the file has no rows", where=str(path), hint="rows of samples and a label")
    arrays: Arrays = {part: np.concatenate([each.texts[part] for each in parts]) for part in texts}
    for part, values in arrays.items():
        if (values == "").any() and not (part == "label" and label_columns.separator_of(label)):
            what = f"the {part} of row {int((values == '').argmax())}, counted from 0, is empty"
            raise DataError(what, where=str(path), hint=f"a {part} in each row")
    x = np.concatenate([each.x for each in parts])
    names = samples if len(samples) > 1 else ()
    arrays = table_npz.finite({"x": x[:, None, :]} | arrays, bad_rows, path, names=names)
    check_counting(arrays["x"][:, 0], range(x.shape[1]), names, str(path))
    arrays |= label_columns.stated(label)
    return arrays | ({"recognised": np.array([columns.recognised])} if columns.recognised else {})


def names_in(
    path: Path, *, label: str | None, record: str | None, split: str | None, ids: str | None = None
) -> Names | None:
    """The names of the columns that `read_parquet` takes; None for a column of lists. Raises the same errors."""
    with opened(path) as table:
        columns, samples = placed(table, label=label, record=record, split=split, ids=ids)
        return Names.of(table.names, columns) if len(samples) > 1 else None


def placed(
    table: ParquetTable, *, label: str | None, record: str | None, split: str | None, ids: str | None
) -> tuple[Columns, list[str]]:
    """The columns of each part, and the names of the columns of samples. Raises UsageError, DataError."""
    where = str(table.path)
    if not table.names:
        raise DataError("the file has no columns", where=where, hint="a column for each sample")
    asked = part_names(label=label, record=record, split=split)
    columns = find_columns(table.names, asked, words(ids) or (), header=True, where=where)
    samples = [name for column, name in enumerate(table.names) if column not in columns.aside]
    lists = [name for name in samples if table.is_of_lists(name)]
    if len(samples) != 1 or not lists:
        check_samples(table.names, columns, where=where, header=True, typed=[*filter(asked.get, asked)])
        if lists:
            what = (
                f"column {lists[0]} has lists, and {samples[0] if samples[0] != lists[0] else samples[1]} is there too"
            )
            raise UsageError(what, where=where, hint="--label-column, --record-column or --id-columns for the others")
    return columns, samples
