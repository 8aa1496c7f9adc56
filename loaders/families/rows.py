"""Rows that are published as they are become Data: divided, and described as their dataset is declared.

def load(request):
    return rows.as_data(request, Split.of({"x": x, "y": y}))
"""

from collections.abc import Callable

from loaders.base import Data, Split, describe
from loaders.declaration import Request
from loaders.files.cache import checksum as checksum_of
from loaders.splits import by_row
from loaders.splits.by_row import Indices


def as_data(
    request: Request,
    rows: Split,
    checksum: str | None = None,
    *,
    open_test: Callable[[], Split] | None = None,
    rule: str = "",
    strata: Indices | None = None,
    test_rows: int | None = None,
    test_seed: int | None = None,
) -> Data:
    """The dataset of these `rows`, of which 20 % of each class test, or of which none does where there is `open_test`.

    `checksum` is that of the content, computed where it is left out; `rule` says how the test rows came about, at
    random where it is left out. `strata` (N,) are what rows are divided by, in place of y; `test_rows` and `test_seed`
    as in `by_row.divide`. Raises DataError where a split would be empty.
    """
    y, holdout, seed = rows.y if strata is None else strata, request.val_fraction, request.seed
    record, where = rows.record, request.where
    if open_test:
        train, val, drawn = by_row.drawn(y, holdout, seed, record=record, where=where)
    else:
        train, val, test, drawn = by_row.divide(
            y, holdout, seed, test_rows=test_rows, test_seed=test_seed, record=record, where=where
        )
        rule = rule or by_row.at_random(f"{request.dataset.view}s", seed if test_seed is None else test_seed)
        open_test = lambda: rows.rows(test)  # noqa: E731
    rule = "; ".join(filter(None, (rule, request.dataset.remark, drawn)))
    spec = describe(request, rule, samples=rows.x.shape[2])
    checksum = checksum or checksum_of({"x": rows.x, "y": rows.y})
    return Data(spec, rows.rows(train), rows.rows(val), open_test, checksum)
