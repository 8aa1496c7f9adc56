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
from loaders.charts.rows import ChartBatches, ChartKind, Charts
from loaders.charts.store import ChartStore, fill, key
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


def built(root: Path, sheet: Sheet, signals: list[np.ndarray], style: Style, count: int) -> ChartStore:
    """Charts a second into a store, by one process and by one a core; the store."""
    how, keys = Drawing(sheet, RATE_HZ, SAMPLES, style.line), [key(index, 0) for index in range(count)]

    def window(each: bytes) -> np.ndarray:
        return signals[int.from_bytes(each[:8], "big") % len(signals)]

    drawing.ALONE = 0
    for workers in sorted({1, len(os.sched_getaffinity(0))}):
        store = ChartStore(root / str(workers), {}, sheet.image)
        seconds = timed(partial(fill, store, keys, window, how, workers=workers), time.perf_counter)
        told = f"into LMDB by {workers} process{'es, their start included' if workers > 1 else ''}"
        say(f"{told}, charts a second", f"{count / seconds:,.0f}")
    return store


def read(store: ChartStore, sheet: Sheet, signals: object, style: Style, count: int) -> None:
    """Charts a second out of a store onto the CPU as float32, by one thread."""
    kind = ChartKind(sheet, SAMPLES, *blank(sheet, style), store)
    columns = (np.arange(count) % len(signals), np.zeros(count, int), np.zeros(count, int), np.zeros(count, int))
    charts = Charts(signals, [kind], *columns)
    batches = ChartBatches(charts, torch.device("cpu"))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    cpu = timed(lambda: store.read([charts.keys[row] for row in order]))
    seconds = timed(lambda: [inputs for inputs, _ in batches.batches(order, BATCH)][:0], time.perf_counter)
    say("read and unpacked, charts a CPU second", f"{count / cpu:,.0f}")
    say("read ahead and put on paper as float32, charts a second", f"{count / seconds:,.0f}")


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
        store = built(Path(name), sheet, signals, style, asked.charts)
        read(store, sheet, rows, style, min(asked.charts, len(rows)))


if __name__ == "__main__":
    main()
