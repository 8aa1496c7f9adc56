"""Figures as PNG: confusion matrices, curves, histories and panels of lines."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.text import Text
from PIL import Image
from sklearn import metrics as sk

from toolbox.metrics import meanings
from toolbox.metrics.classification import METRICS
from toolbox.reports import figures, plots
from toolbox.reports.plots import COLOURS, Panel
from toolbox.runs.predictions import Predictions

CLASSES = ("N", "S", "V")
PNG = b"\x89PNG"
CELL = (3.0, 2.0)


def predictions(*, absent: tuple[int, ...] = (), rows: int = 40, digits: int = 8) -> Predictions:
    rng = np.random.default_rng(0)
    target = rng.choice([k for k in range(len(CLASSES)) if k not in absent], rows)
    scores = np.round(rng.dirichlet(np.ones(len(CLASSES)), rows), digits)
    return Predictions(np.arange(rows), np.full(rows, ""), target, scores, np.ones(rows))


@pytest.mark.parametrize("normalised", [True, False])
def test_a_confusion_matrix_has_classes_and_shares_or_counts(normalised: bool) -> None:
    matrix = np.array([[1200, 300, 0], [0, 0, 0], [1, 0, 3]])
    figure = plots.confusion_figure(matrix, CLASSES, normalised=normalised, title="a title")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[:6] == (["80.0%", "20.0%", "0.0%"] + ["0.0%"] * 3 if normalised else ["1,200", "300", "0"] + ["0"] * 3)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == list(CLASSES)
    assert "a title" in [text.get_text() for text in figure.findobj(Text)]
    image = np.asarray(plots.drawn(figure).buffer_rgba())[..., :3]
    width, height = figure.get_size_inches() * figure.dpi
    assert (image.shape, image.dtype) == ((int(height), int(width), 3), np.uint8)
    assert image.std() > 0


@pytest.mark.parametrize("absent", [(), (1,), (1, 2)], ids=["all classes", "one absent", "one alone"])
@pytest.mark.parametrize("panels", [plots.roc_panels, plots.precision_recall_panels])
def test_a_class_has_a_curve_where_it_and_another_occur(panels: Any, absent: tuple[int, ...]) -> None:
    rows = predictions(absent=absent)
    (panel,) = panels(rows, CLASSES)
    there = [name for k, name in enumerate(CLASSES) if k not in absent and len(absent) < 2]
    assert [name.split()[0] for name, _, _ in panel.lines] == there
    for name, x, y in panel.lines:
        assert f"n={(rows.target == CLASSES.index(name[0])).sum()})" in name
        assert np.isfinite([*x, *y]).all()


@pytest.mark.parametrize("digits", [8, 1], ids=["no ties", "ties"])
def test_curves_and_areas_are_scikit_learns(digits: int) -> None:
    rows = predictions(rows=200, digits=digits)
    (roc,), (recall,) = plots.roc_panels(rows, CLASSES), plots.precision_recall_panels(rows, CLASSES)
    for k, name in enumerate(CLASSES):
        positive, scores = rows.target == k, rows.scores[:, k]
        x, y, _ = sk.roc_curve(positive, scores)
        np.testing.assert_allclose(roc.lines[k][1:], (x, y))
        y, x, _ = sk.precision_recall_curve(positive, scores, drop_intermediate=True)
        np.testing.assert_allclose(recall.lines[k][1:], (x[::-1], y[::-1]))
        area, precision = sk.roc_auc_score(positive, scores), sk.average_precision_score(positive, scores)
        assert roc.lines[k][0] == f"{name} (AUROC {area:.4f}, n={positive.sum()})"
        assert recall.lines[k][0] == f"{name} (AP {precision:.4f}, n={positive.sum()})"


@pytest.mark.parametrize("epochs", [1, 3])
def test_the_history_has_a_panel_for_every_metric_and_the_learning_rate(epochs: int) -> None:
    values = dict.fromkeys(METRICS, 0.5)
    rows = [{"epoch": epoch, "lr": 0.1, "train": values, "val": values} for epoch in range(1, epochs + 1)]
    rows[0]["val"] = values | {"macro_auroc": None}
    panels = plots.history_panels(rows)
    assert [panel.title for panel in panels] == [*map(meanings.name_of, METRICS), "learning rate"]
    for panel in panels[:-1]:
        lengths = [(name, len(x), len(y)) for name, x, y in panel.lines]
        assert lengths == [("train", epochs, epochs), ("validation", epochs, epochs)]
    assert np.isnan(panels[[*METRICS].index("macro_auroc")].lines[1][2][0])


def test_few_losses_of_steps_are_drawn_each_and_many_as_means_in_their_range() -> None:
    epoch, loss = np.repeat(np.arange(2, 5, dtype=np.int32), 4), np.arange(12, dtype=np.float32)
    ((_, x, y), (_, middles, means)) = plots.loss_panels(epoch, loss)[0].lines
    assert (x.tolist(), y.tolist()) == (list(range(1, 13)), loss.tolist())
    assert (middles.tolist(), means.tolist()) == ([2.5, 6.5, 10.5], [1.5, 5.5, 9.5])
    loss = np.random.default_rng(1).random(4321).astype(np.float32)
    (panel,) = plots.loss_panels(np.ones(4321, np.int32), loss)
    (name, x, y), ((_, low, high),) = panel.lines[0], panel.bands
    assert name == "mean of 5 steps, and their range"
    assert (len(x), x[0], x[-1]) == (865, 3, 4321)
    fives = [loss[i : i + 5] for i in range(0, 4321, 5)]
    assert y == pytest.approx([five.mean() for five in fives], rel=1e-6)
    assert (low.tolist(), high.tolist()) == ([five.min() for five in fives], [five.max() for five in fives])


# Panels


def banded() -> Panel:
    x = np.arange(4.0)
    return Panel("a panel", "time (s)", "mV", [("a line", x, x)], bands=[(x, x - 1, x + 2)], guide=(x, -x))


def test_panels_are_written_as_png(tmp_path: Path) -> None:
    plots.save_panels([banded()] * 3, tmp_path / "figure.png", columns=2, title="a title")
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]
    assert (tmp_path / "figure.png").read_bytes()[:4] == PNG


def test_names_of_lines_stand_below_the_axes_and_epochs_are_whole() -> None:
    epochs = [1, 2]
    panel = Panel("loss", "epoch", "", [("train", epochs, [0.5, 0.4]), ("validation", epochs, [0.6, 0.5])])
    (axes,) = plots.drawn(plots.panels_figure([panel], 1, "", CELL)).figure.axes
    assert axes.get_legend().get_window_extent().y1 < axes.get_window_extent().y0
    low, high = axes.get_xlim()
    assert all(tick == int(tick) for tick in axes.get_xticks() if low <= tick <= high)


def test_bins_without_rows_are_not_drawn() -> None:
    x, y = plots.steps(np.arange(7), np.array([0, 0, 3, 1, 0, 0]))
    assert np.nanmax(y) == 3
    assert (np.nanmin(x[~np.isnan(y)]), np.nanmax(x[~np.isnan(y)])) == (2, 4)


def test_a_band_is_filled_in_the_colour_of_its_line_between_low_and_high() -> None:
    panel = banded()
    (axes,) = plots.panels_figure([panel], 1, "", CELL).axes
    (band,) = [artist for artist in axes.collections if isinstance(artist, PolyCollection)]
    edge = band.get_paths()[0].vertices
    assert (edge[:, 1].min(), edge[:, 1].max()) == (-1, 5)
    filled, line, guide = figures.of_panel(panel).drawn["data"]
    assert filled["fill"] == "toself"
    assert filled["fillcolor"] == line["line"]["color"] == COLOURS[0]
    x, low, high = panel.bands[0]
    assert filled["x"] == [*x, *x[::-1]]
    assert filled["y"] == [*low, *high[::-1]]
    assert guide["y"] == panel.guide[1].tolist()


@pytest.mark.parametrize("named", [True, False])
def test_named_heights_take_the_place_of_numbers(named: bool) -> None:
    ticks = ([0, -2], ["I", "II"]) if named else None
    panel = Panel("", "", "", [("I", [0, 1], [0, 1]), ("II", [0, 1], [-2, -1])], ticks=ticks, legend=not named)
    (axes,) = plots.panels_figure([panel], 1, "", CELL).axes
    page = figures.of_panel(panel).drawn
    assert ([label.get_text() for label in axes.get_yticklabels()] == ["I", "II"]) is named
    assert (page["layout"]["yaxis"].get("ticktext") == ["I", "II"]) is named
    assert (axes.get_legend() is None) is named
    assert [trace["showlegend"] for trace in page["data"]] == [not named] * 2
    assert {trace.get("hoverinfo") for trace in page["data"]} == ({"x+name"} if named else {None})


def test_a_panel_without_lines_has_a_title_and_no_numbers_and_an_empty_place_has_no_axes() -> None:
    (axes,) = plots.panels_figure([Panel("no row", "", "")], 1, "", CELL).axes
    assert axes.get_title() == "no row"
    assert [len(ticks) for ticks in (axes.get_xticks(), axes.get_yticks())] == [0, 0]
    assert len(plots.panels_figure([banded()] * 4, 3, "", CELL).axes) == 4


def test_a_dollar_in_a_name_is_a_dollar(tmp_path: Path) -> None:
    name = r"$\frac$"
    figure = plots.panels_figure([Panel(name, name, name, [(name, [0, 1], [0, 1])])], 1, name, CELL)
    plots.save_png(figure, tmp_path / "figure.png")
    assert [text.get_text() for text in figure.findobj(Text)].count(name) == 5
    assert (tmp_path / "figure.png").read_bytes()[:4] == PNG


def test_a_png_has_150_dots_an_inch_and_the_colours_that_were_drawn(tmp_path: Path) -> None:
    figure = plots.panels_figure([banded()], 1, "a run", CELL)
    plots.save_png(figure, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as image:
        assert (image.mode, round(image.info["dpi"][0])) == ("RGB", 150)
        assert np.array_equal(image, np.asarray(plots.drawn(figure).buffer_rgba())[..., :3])


@pytest.mark.parametrize("samples", [1, 187, 1000, 1001, 9001])
def test_thinning_keeps_every_peak_and_the_order(samples: int) -> None:
    signal = np.random.default_rng(0).normal(size=samples)
    signal[samples // 3], signal[samples // 2] = 50, -50
    kept = plots.extremes(signal, 1000)
    assert len(kept) <= 1000
    assert (np.diff(kept) > 0).all()
    assert 0 <= kept[0] <= kept[-1] < samples
    assert (signal[kept].max(), signal[kept].min()) == (signal.max(), signal.min())
