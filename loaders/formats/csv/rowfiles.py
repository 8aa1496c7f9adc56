"""A file of rows, loose or in a zip, becomes a split: parsed once, then mapped into memory; dropped rows are told
of."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from loaders.base import Split
from loaders.files.archives import reading
from loaders.files.cache import Arrays, cached, fingerprint
from loaders.files.sources import log, opened_in
from loaders.formats.csv.rows import BAD_ROWS, Layout
from toolbox.registry import pick

NAMED = 3  # of the rows that were dropped, in the warning
AsCsv = Callable[[BinaryIO, str], BinaryIO]


def read_file(
    source: Path, name: str, cache: Path, *, layout: Layout, bad_rows: str, as_csv: AsCsv | None = None
) -> tuple[Split, str]:
    """The rows of the file `name` in `source`, a folder or zip, and the checksum of their content; parsed into `cache`.

    `bad_rows` says what is done about rows that cannot be used; `as_csv` makes the CSV of a file in another form, of
    which it gets the path as well. Raises DataError that names file, line and column, ResourceError for what may not be
    read.
    """
    key = fingerprint(source / name if source.is_dir() else source)
    build = partial(_parse, source, name, layout=layout, bad_rows=bad_rows, as_csv=as_csv)
    arrays, checksum = cached(cache / f"{Path(name).stem}-{bad_rows}-{key}", build)
    tell_dropped(arrays, source / name)
    return Split.of(arrays), checksum


def tell_dropped(arrays: Arrays, path: Path) -> None:
    """Warn of the rows of `path` that were left out, with the first of them."""
    if "dropped" in arrays:
        first = "; ".join(arrays["dropped"][:NAMED]) + ("; ..." if len(arrays["dropped"]) > NAMED else "")
        log.warning("unusable rows dropped from %s: %d; %s", path, len(arrays["dropped"]), first)


def _parse(source: Path, name: str, *, layout: Layout, bad_rows: str, as_csv: AsCsv | None) -> Arrays:
    log.info("reading %s", source / name)
    with reading(source), opened_in(source, name) as file:
        table = as_csv(file, str(source / name)) if as_csv else file
        arrays = pick("bad-rows", BAD_ROWS, bad_rows)(table, layout, where=str(source / name))
    return arrays | {"record": np.full(len(arrays["x"]), "")}
