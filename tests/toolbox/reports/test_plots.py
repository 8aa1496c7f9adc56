"""Figures: confusion matrices, curves, histories and panels of lines, the same as PNG and as HTML without a network."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.text import Text
from sklearn import metrics as sk

from helpers.pages import Page
from toolbox.metrics.classification import METRICS
from toolbox.plain import NOTICE
from toolbox.reports import plots
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
    assert [panel.title for panel in panels] == [name.replace("_", " ") for name in METRICS] + ["learning rate"]
    for panel in panels[:-1]:
        lengths = [(name, len(x), len(y)) for name, x, y in panel.lines]
        assert lengths == [("train", epochs, epochs), ("val", epochs, epochs)]
    assert np.isnan(panels[METRICS.index("macro_auroc")].lines[1][2][0])


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


def test_panels_are_written_as_png_and_as_html_that_reads_without_a_network(tmp_path: Path) -> None:
    for _ in range(2):
        plots.save_panels([banded()] * 3, tmp_path / "figure", columns=2, title="a title")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.html", "figure.png", "plotly.min.js"]
    assert (tmp_path / "figure.png").read_bytes()[:4] == PNG
    assert Page(tmp_path / "figure.html").loaded == ["plotly.min.js"]
    text = (tmp_path / "figure.html").read_text()
    assert "a line" in text
    assert text.count(NOTICE) == 1


def test_a_band_is_filled_in_the_colour_of_its_line_between_low_and_high() -> None:
    panel = banded()
    (axes,) = plots.panels_figure([panel], 1, "", CELL).axes
    (band,) = [artist for artist in axes.collections if isinstance(artist, PolyCollection)]
    edge = band.get_paths()[0].vertices
    assert (edge[:, 1].min(), edge[:, 1].max()) == (-1, 5)
    filled, line, guide = plots.panels_page([panel], 1, "", CELL).data
    assert filled.fill == "toself"
    assert filled.fillcolor == line.line.color == COLOURS[0]
    x, low, high = panel.bands[0]
    np.testing.assert_array_equal(filled.x, np.concatenate([x, x[::-1]]))
    np.testing.assert_array_equal(filled.y, np.concatenate([low, high[::-1]]))
    np.testing.assert_array_equal(guide.y, panel.guide[1])


@pytest.mark.parametrize("named", [True, False])
def test_named_heights_take_the_place_of_numbers(named: bool) -> None:
    ticks = ([0, -2], ["I", "II"]) if named else None
    panel = Panel("", "", "", [("I", [0, 1], [0, 1]), ("II", [0, 1], [-2, -1])], ticks=ticks, legend=not named)
    (axes,) = plots.panels_figure([panel], 1, "", CELL).axes
    page = plots.panels_page([panel], 1, "", CELL)
    assert ([label.get_text() for label in axes.get_yticklabels()] == ["I", "II"]) is named
    assert (page.layout.yaxis.ticktext == ("I", "II")) is named
    assert (axes.get_legend() is None) is named
    assert [trace.showlegend for trace in page.data] == [not named] * 2
    assert {trace.hoverinfo for trace in page.data} == ({"x+name"} if named else {None})


def test_a_panel_without_lines_has_a_title_and_no_numbers_and_an_empty_place_has_no_axes() -> None:
    (axes,) = plots.panels_figure([Panel("no row", "", "")], 1, "", CELL).axes
    assert axes.get_title() == "no row"
    assert [len(ticks) for ticks in (axes.get_xticks(), axes.get_yticks())] == [0, 0]
    assert len(plots.panels_figure([banded()] * 4, 3, "", CELL).axes) == 4


def test_titles_have_room_for_their_lines_and_a_wide_page_scrolls() -> None:
    def gap(title: str) -> float:
        page = plots.panels_page([Panel(title, "", "", banded().lines)] * 4, 2, "", CELL)
        above, below = sorted({page.layout[axis].domain for axis in ("yaxis", "yaxis3")}, reverse=True)
        return (above[0] - below[1]) * (page.layout.height - page.layout.margin.t - 80)

    assert gap("a\nb\nc") - gap("a") == pytest.approx(30, abs=3)
    for lines in (1, 3, 12):
        page = plots.panels_page([banded()], 1, "\n".join(["split"] * lines), CELL)
        title, above = page.layout.title, 2 * plots.TITLE_LINE  # of the panel's own title
        assert (title.y, title.yanchor) == (1, "top")
        assert title.pad.t + lines * plots.TITLE_LINE <= page.layout.margin.t - above
    narrow, wide = (plots.panels_page([banded()] * 12, columns, "", CELL).layout.width for columns in (3, 12))
    assert narrow is None
    assert wide > plots.WIDE


def test_a_dollar_in_a_name_is_a_dollar(tmp_path: Path) -> None:
    name = r"$\frac$"
    figure = plots.panels_figure([Panel(name, name, name, [(name, [0, 1], [0, 1])])], 1, name, CELL)
    plots.save_png(figure, tmp_path / "figure.png")
    assert [text.get_text() for text in figure.findobj(Text)].count(name) == 5
    assert (tmp_path / "figure.png").read_bytes()[:4] == PNG
