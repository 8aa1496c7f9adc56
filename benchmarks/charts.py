"""How fast charts are drawn, kept and read, with matplotlib beside it.

    python benchmarks/charts.py [--charts 500] [--size 224] [--layout v1] [--root-dir DIR]

Generated twelve-lead records of 10 s at 500 Hz (`synth_rhythms`). Drawing is timed on one core, in CPU seconds of this
process, so that other work on the machine counts less; building and reading are timed as a user waits, by the clock.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import torch

from loaders import get_data
from loaders.base import Rows
from loaders.charts.rows import ChartBatches, ChartKind, Charts
from loaders.charts.store import ChartStore, fill
from toolbox.paper import drawing, layouts
from toolbox.paper.drawing import GRID_MM, PULSE_MM, Drawing, Pen, Style, blank, packed
from toolbox.paper.layouts import Sheet

RATE_HZ, SAMPLES, BATCH = 500, 5000, 32
MATPLOTLIB_CHARTS = 5


def with_matplotlib(sheet: Sheet, signal: np.ndarray, style: Style) -> np.ndarray:
    """The same chart by matplotlib's Agg: grid, pulses, names and traces."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = sheet.image
    points = 72 / 100 * sheet.pixels_per_mm
    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor=f"#{style.paper}")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, sheet.width_mm), ylim=(sheet.height_mm, 0))
    axes.set_axis_off()
    for name, (apart_mm, wide_mm) in GRID_MM.items():
        how = {"colors": f"#{getattr(style, name)}", "linewidths": wide_mm * points}
        axes.vlines(np.arange(0, sheet.width_mm, apart_mm), 0, sheet.height_mm, **how)
        axes.hlines(np.arange(0, sheet.height_mm, apart_mm), 0, sheet.width_mm, **how)
    x, up = np.array(PULSE_MM).T
    for row_mm in sheet.rows_mm:
        axes.plot(x, row_mm - up, color=f"#{style.trace}", lw=style.line * points)
    for cell in sheet.cells:
        shown, x_mm = cell.stretch(RATE_HZ, SAMPLES)
        axes.plot(x_mm, cell.y_mm - 10 * signal[cell.channel, shown], color=f"#{style.trace}", lw=style.line * points)
        axes.text(cell.x_mm + 1, cell.y_mm - 8, cell.lead, fontsize=3.6 * points)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def timed(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """Seconds that `work` takes."""
    begun = clock()
    work()
    return clock() - begun


def say(what: str, value: str) -> None:
    """One line."""
    sys.stdout.write(f"{what:<64}{value:>22}\n")
    sys.stdout.flush()


def drawn(sheet: Sheet, signals: list[np.ndarray], style: Style) -> None:
    """Charts a second on one core, and matplotlib's."""
    pen = Pen(sheet, RATE_HZ, SAMPLES, line_mm=style.line)
    pen.ink(signals[0])
    with_matplotlib(sheet, signals[0], style)
    rounds = [timed(lambda: [packed(pen.ink(each), each) for each in signals]) / len(signals) for _ in range(3)]
    theirs = (
        timed(lambda: [with_matplotlib(sheet, each, style) for each in signals[:MATPLOTLIB_CHARTS]]) / MATPLOTLIB_CHARTS
    )
    ours = float(np.median(rounds))
    say("drawn and packed on one core, charts a CPU second", f"{1 / ours:,.0f}")
    say("the same by matplotlib, charts a CPU second", f"{1 / theirs:,.1f}")
    say("ratio", f"{theirs / ours:,.0f}")
    size = np.mean([len(packed(pen.ink(each), each)) for each in signals[:50]])
    say("bytes a chart is kept in, and as raw pixels", f"{size:,.0f} / {3 * sheet.image[0] * sheet.image[1]:,}")


def charts_of(signals: Rows, sheet: Sheet, style: Style, count: int, store: ChartStore) -> Charts:
    """`count` charts in `store` of the rows of `signals`, again and again."""
    place, nothing = np.arange(count), np.zeros(count, int)
    row, number = place % len(signals), place // len(signals)
    return Charts(signals, [ChartKind(sheet, SAMPLES, *blank(sheet, style), store)], row, nothing, nothing, number)


def built(root: Path, signals: Rows, sheet: Sheet, style: Style, count: int) -> Charts:
    """Charts a second into a store, by one process and by one a core; the charts."""
    how = Drawing(sheet, RATE_HZ, SAMPLES, style.line)
    drawing.ALONE = 0
    for workers in sorted({1, len(os.sched_getaffinity(0))}):
        store = ChartStore(root / str(workers), {}, sheet.image)
        charts = charts_of(signals, sheet, style, count, store)
        windows = {each: partial(charts.window, row) for row, each in enumerate(charts.keys)}
        seconds = timed(partial(fill, store, windows, how, workers=workers), time.perf_counter)
        told = f"into LMDB by {workers} process{'es, their start included' if workers > 1 else ''}"
        say(f"{told}, charts a second", f"{count / seconds:,.0f}")
    return charts


def read(charts: Charts) -> None:
    """Charts a second out of a store onto the CPU as float32, by one thread."""
    batches, store = ChartBatches(charts, torch.device("cpu")), charts.kinds[0].store
    order = torch.randperm(len(charts), generator=torch.Generator().manual_seed(0))
    cpu = timed(lambda: store.read([charts.keys[row] for row in order]))
    seconds = timed(lambda: [inputs for inputs, _ in batches.batches(order, BATCH)][:0], time.perf_counter)
    say("read and unpacked, charts a CPU second", f"{len(charts) / cpu:,.0f}")
    say("read ahead and put on paper as float32, charts a second", f"{len(charts) / seconds:,.0f}")


def main() -> None:
    """Print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--charts", type=int, default=500)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--layout", default="v1")
    parser.add_argument("--root-dir", type=Path, default=Path("ecg_data"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows, style = get_data("synth_rhythms", asked.root_dir).train, Style()
    signals = [rows.signal(row) for row in range(len(rows))]
    (sheet,) = layouts.sheets(layouts.parse(asked.layout), layouts.TWELVE, size=asked.size)
    say(f"layout {asked.layout}, {sheet.image[1]} x {sheet.image[0]} pixels, {sheet.pixels_per_mm:g} a mm", "")
    drawn(sheet, signals, style)
    with tempfile.TemporaryDirectory() as name:
        read(built(Path(name), rows, sheet, style, asked.charts))


if __name__ == "__main__":
    main()
