"""The cells of a research, a row each: means over their runs, and which is the best of its contest.

Which cell is best is decided by validation alone. Intervals are Student's over repetitions, 95 %; differences from the
best cell are paired by repetition, which has one seed and one split in every cell.
"""

from collections.abc import Sequence

import numpy as np

from studies import table_cost
from studies.ledger import DAMAGED, DONE, FAILED, FIRST, PRUNED
from studies.tables import OF_A_RUN, STAGES, Row
from toolbox.tasks import mode

LEVEL = 0.95


def cells(found: Sequence[Row], metric: str) -> list[Row]:
    """A row for each cell: how many runs, and of the `metric` mean, sd and interval on validation and test.

    `val_sound_*` and `test_sound_*` are without the runs that have collapsed; `difference_*` is from the best cell of
    the contest on validation, over the repetitions that both have, collapsed or not.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in found:
        groups.setdefault((row["stage"], row["cell"]), []).append(row)
    table = [_cell(group, metric) for group in groups.values()]
    first = {contest(row): row for row in leaders(table, metric)}
    for row, group in zip(table, groups.values(), strict=True):
        other = None if row["chosen"] else first.get(contest(row))  # what was chosen has other seeds
        own = {} if other is None or other is row else _by_rep(group, f"val/{metric}")
        beside = _by_rep(groups[other["stage"], other["cell"]], f"val/{metric}") if own else {}
        row |= _spread([own[rep] - beside[rep] for rep in own if rep in beside], "difference")
    return table


def contest(row: Row) -> str:
    """Cells of one contest are compared: those of a stage, or of the grid and the search of a research without
    stages."""
    return FIRST if row["stage"] in STAGES else row["stage"]


def _cell(group: Sequence[Row], metric: str) -> Row:
    axes = {key: value for key, value in group[0].items() if key not in OF_A_RUN and "/" not in key}
    sound = [row for row in group if not row.get("collapsed")]
    done, states = [row for row in group if row["state"] == DONE], [row["state"] for row in group]
    counts = {
        "n": len(done),
        "failed": states.count(FAILED),
        "pruned": states.count(PRUNED),
        "damaged": states.count(DAMAGED),
    }
    counts["left"] = len(group) - sum(counts.values())
    counts["collapsed"] = len(group) - len(sound)
    spreads: Row = {}
    for side in ("val", "test"):
        spreads |= _spread(list(_by_rep(group, f"{side}/{metric}").values()), side)
        spreads |= _spread(list(_by_rep(sound, f"{side}/{metric}").values()), f"{side}_sound")
    seconds = float(np.mean([row["seconds"] for row in done])) if done else None
    return {**axes, **counts, **spreads, **table_cost.of_cell(group), "seconds": seconds}


def _by_rep(group: Sequence[Row], name: str) -> dict[int, float]:
    """The figure of each repetition that is done and has one."""
    return {row["rep"]: row[name] for row in group if row["state"] == DONE and row.get(name) is not None}


def _spread(values: Sequence[float], name: str) -> Row:
    """Mean, standard deviation and interval of the mean; of one value the mean alone."""
    count = len(values)
    mean = float(np.mean(values)) if count else None
    sd = float(np.std(values, ddof=1)) if count > 1 else None
    half = _quantile(count) * sd / np.sqrt(count) if count > 1 else None
    return {
        f"{name}_mean": mean,
        f"{name}_sd": sd,
        f"{name}_low": mean - half if count > 1 else None,
        f"{name}_high": mean + half if count > 1 else None,
    }


def _quantile(count: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.5 + LEVEL / 2, count - 1))


def best(table: Sequence[Row], metric: str, among: str = FIRST) -> Row | None:
    """The cell of a contest with the best mean on validation, of those with half as many runs as the most; None without
    any.

    So a single lucky run does not outdo the mean of many; and where folds validate in turn, all of them count or none.
    What was trained again because it was the best is no candidate. Runs that have collapsed count as they are.
    """
    known = [row for row in table if row["val_mean"] is not None and not row["chosen"] and contest(row) == among]
    known = [row for row in known if row["n"] % row["folds"] == 0]
    known = [row for row in known if 2 * row["n"] >= max(other["n"] for other in known)]
    pick = min if mode(metric) == "min" else max
    return pick(known, key=lambda row: row["val_mean"]) if known else None


def leaders(table: Sequence[Row], metric: str) -> list[Row]:
    """The best cell of each contest."""
    found = (best(table, metric, among) for among in dict.fromkeys(map(contest, table)))
    return [row for row in found if row is not None]
