"""The formats of numbers in reports, and tables as aligned text and CSV.

lines = aligned(["metric", "test", "95 % interval"], [["accuracy", shown(0.91), between([0.88, 0.94])]])
"""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolbox import files, plain, terminal
from toolbox.metrics import intervals, labels, meanings
from toolbox.runs.transfer import TransferTest

OF_TESTS = [
    "trained on", "tested on", "rows", "records", "classes", "metric", "value", "95 % interval", "over common classes",
    "95 % interval", "run",
]  # fmt: skip
NO_CLASS = "no class can be measured"  # of a test, in place of a figure over common classes
OF_PATIENTS = ("", "gross", "95 % interval", "average", "95 % interval")
WHYS = {intervals.UNDEFINED: "not defined", intervals.STILL: "does not vary"}
log = logging.getLogger("commander")


def shown(value: float | None) -> str:
    """A share or a metric with four decimals; a dash for None and NaN."""
    return "-" if value is None or value != value else f"{value:.4f}"


def signed(value: float) -> str:
    """A difference with its sign and four decimals; a dash for NaN."""
    return "-" if value != value else f"{value:+.4f}"


def number(value: float | None) -> str:
    """A count, or a rounded rate or percentage; a dash for None."""
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:,g}"


def digits(value: float) -> str:
    """A size or a time of any magnitude: whole from 100 on, below that with three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def between(bounds: Sequence[float] | None, lacks: str = "") -> str:
    """An interval, or n/a with the reason."""
    return missing(lacks) if bounds is None else " - ".join(map(shown, bounds))


def missing(lacks: str) -> str:
    """n/a in place of an interval, with its reason in words."""
    few = f"known in {lacks}" if lacks[:1].isdigit() else lacks
    return f"n/a: {WHYS.get(lacks, few)}" if lacks else "n/a"


def of_missing(what: str, known: str = "the figure is known") -> str:
    """A line below a table on all that have no interval over `what`, records or rows."""
    return f"n/a: no interval. One needs {intervals.FEW} {what} in which {known}, and that differ in it."


def with_interval(values: Mapping[str, Any], name: str) -> list[str]:
    """Two cells: the figure `name` of measured `values`, and its interval."""
    return [shown(values[name]), between(values["intervals"][name], values["without_interval"].get(name, ""))]


def of_patients(values: Mapping[str, Any]) -> list[list[str]]:
    """The figures by patient over all classes, below `OF_PATIENTS`; kappa and the like have no average."""
    over = meanings.part(values["macro_over"], values["classes"])
    rows = []
    for name in values["gross"]:
        if name.rpartition(" ")[0] not in values["classes"]:
            measured = [of for kind in ("gross", "average") if name in (of := of_kind(values, kind))]
            cells = [cell for of in measured for cell in with_interval(of, name)]
            rows.append([meanings.name_of(name, over), *cells, *[""] * (4 - len(cells))])
    return rows


def of_kind(values: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The gross or the average figures as measured values with their intervals."""
    return {**values[kind], **{name: values[name][kind] for name in ("intervals", "without_interval")}}


def of_intervals(method: str, lacking: Mapping[str, str]) -> list[str]:
    """Lines below a table: the units of its intervals, and reasons for missing ones."""
    lines = [f"The intervals leave out one record at a time, as rows of one record resemble each other ({method})."]
    what, drawn = intervals.units_of(method), f"{intervals.REPLICATES:,} bootstrap replicates"
    if method == intervals.ROW_METHOD:
        lines = [f"The intervals resample rows ({drawn}); rows of one patient are not independent."]
    elif method.startswith(intervals.BOOTSTRAP):
        together = f"rows of one {what.removesuffix('s')} are drawn together"
        lines = [f"The intervals resample {what} ({drawn}); {together}."]
    return lines + [of_missing(what)] * bool(lacking)


def of_tests(tests: Sequence[TransferTest]) -> list[list[str]]:
    """The rows of a table below OF_TESTS."""
    rows = []
    for test in tests:
        own = between(None if test.low is None else (test.low, test.high or 0), test.lacks)
        common, ends = (f"{shown(test.common_auroc)} of {test.common}", "n/a") if test.common else ("", "")
        if not test.classes and test.metric in labels.MACRO:
            common = NO_CLASS
        if test.common_low is not None:
            ends = between((test.common_low, test.common_high or 0))
        counts = [f"{test.rows:,}", f"{test.records:,}" if test.records else "not named", f"{test.classes}"]
        figures = [meanings.name_of(test.metric), shown(test.value), own, common, ends]
        rows.append([test.trained_on, test.tested_on, *counts, *figures, test.run])
    return rows


def of_random_weights(found: Mapping[str, Any]) -> str:
    """The headline of the test of the same training from random weights, its value on validation, and its run."""
    name, run = meanings.headline(found["test"]), f" ({found['run']})" if "run" in found else ", the same probe"
    return f"{meanings.name_of(name)} {shown(found['test'][name])}, validation {shown(found['val'].get(name))}{run}"


def of_dropped(counts: Mapping[str, int]) -> str:
    """The dropped rows of results.json in words: of the data before it was divided, or of those of train and test."""
    whole = {"data": "the data, before it was divided"}
    return ", ".join(f"{count:,} of {whole.get(side, f'the data of {side}')}" for side, count in counts.items())


def of_costs(cost: Mapping[str, Any]) -> list[str]:
    """Lines of a report: size and work of a network, and its times if measured."""
    size = f"{cost['parameters']:,} parameters ({cost['trainable_parameters']:,} trained)"
    work = f"{digits(cost['macs'] / 1e6)} million multiply-accumulates a row"
    lines = [f"cost: {size}, {digits(cost['file_bytes'] / 1000)} kB, {work}"]
    if "latency_ms" not in cost:
        return lines
    spread = f"({digits(cost['latency_p10_ms'])} - {digits(cost['latency_p90_ms'])})"
    batches = f"{digits(cost['rows_per_s'])} rows a second in batches of {cost['batch_size']}"
    threads = f"{cost['threads']} thread{'s' * (cost['threads'] > 1)}"
    where = f"{cost['device']}, {threads}, {cost['dtype']}, torch {cost['torch']}"
    return [*lines, f"cost: a row alone {digits(cost['latency_ms'])} ms {spread}; {batches}; {where}"]


def of_layers(layers: Sequence[Any], cost: Mapping[str, Any]) -> list[str]:
    """A table of `cost.layers`, with what the network has besides them, and the sums."""
    rows = [[each.name, each.kind, " x ".join(map(str, each.shape)), each.parameters, each.macs] for each in layers]
    besides = [cost[name] - sum(row[place] for row in rows) for place, name in ((3, "parameters"), (4, "macs"))]
    rows += [["besides", "", "", *besides]] if any(besides) else []
    rows.append(["all", "", "", cost["parameters"], cost["macs"]])
    head = ["layer", "kind", "output of one row", "parameters", "MACs"]
    return aligned(head, [[*row[:3], f"{row[3]:,}", f"{row[4]:,}"] for row in rows])


def influences(
    found: Mapping[str, Mapping[str, Any]],
    head: Sequence[str],
    figure: Callable[[float], str] = shown,
    *,
    over: Sequence[str] = (),
) -> list[str]:
    """A table of `moved` below `head`; none without rows."""
    rows = moved(found, figure, over=over)
    return aligned([*head, "record", "without it"], rows) if rows else []


def moved(
    found: Mapping[str, Mapping[str, Any]], figure: Callable[[float], str] = shown, *, over: Sequence[str] = ()
) -> list[list[str]]:
    """Rows of `intervals.influence`: figure, its value, the record that moves it most, its value without it; none of a
    figure that no record moves by a digit. `over` are the classes of macro F1, if not all.
    """
    rows = [
        [meanings.name_of(name, over), figure(of["value"]), of["record"], figure(of["without"])]
        for name, of in found.items()
    ]
    return [row for row in rows if row[1] != row[3]]


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table as lines, the first column to the left and the others to the right; names in it are `plain.escaped`."""
    cells = [[*map(plain.escaped, row)] for row in (head, *rows)]
    first, *widths = (max(map(len, column)) for column in zip(*cells, strict=True))
    return ["  ".join([name.ljust(first), *map(str.rjust, rest, widths)]).rstrip() for name, *rest in cells]


def text(lines: Sequence[str]) -> str:
    """A report of these lines, and the notice."""
    return plain.lines([*lines, plain.NOTICE]) + "\n"


def save_report(path: Path, text: str) -> None:
    """Write a report as UTF-8, whole or not at all, and log it. Raises ResourceError.

    At a terminal, where `terminal.answer` prints a short table, only --verbose shows it.
    """
    files.write_text(path, text)
    log.log(logging.DEBUG if terminal.is_terminal(sys.stdout) else logging.INFO, "\n%s", plain.Block(text))
