"""Figures of pages: small, of plain values, with names as text and a description for those who cannot see them."""

import json

import numpy as np
import pytest

from toolbox.reports import figures
from toolbox.reports.plots import Panel, panels_figure

EVIL = "<b>\x1b[31m & a\nnew line"


def test_a_figure_is_standard_json_with_gaps_for_nan_and_few_digits() -> None:
    y = np.array([1 / 3, np.nan, 2.0])
    shown = figures.of_panel(Panel("a panel", "epoch", "loss", [("train", [1, 2, 3], y)]))
    (line,) = json.loads(json.dumps(shown.drawn, allow_nan=False))["data"]
    assert line["y"] == [0.33333, None, 2]
    assert shown.drawn["layout"]["xaxis"]["dtick"] == 1, "epochs are whole"
    assert shown.label == "a panel; loss by epoch; train ends at 2"


def test_names_are_text_in_a_figure() -> None:
    shown = figures.of_panel(Panel(EVIL, EVIL, EVIL, [(EVIL, [0, 1], [0, 1])], ticks=([0, 1], [EVIL, "b"])))
    text = json.dumps(shown.drawn)
    assert "<b>" not in text
    assert "\x1b" not in text
    assert "&lt;b>" in shown.drawn["data"][0]["name"]
    assert "\n" not in shown.title


@pytest.mark.parametrize("rows", [10, 601, 100_000])
def test_a_long_line_is_thinned_to_points_that_draw_the_same(rows: int) -> None:
    x = np.linspace(0, 1, rows)
    y = np.where(x < 0.5, 0.0, 1.0)
    y[rows // 4] = 1.0  # one peak
    kept = figures.thinned(x, y, figures.POINTS)
    assert len(kept) <= 2 * figures.POINTS
    assert (kept[0], kept[-1]) == (0, rows - 1)
    drawn = np.interp(x, x[kept], y[kept])
    assert np.abs(drawn - y).mean() < 0.005
    assert drawn[rows // 4] > 0.9


def test_many_lines_share_the_points_of_a_figure() -> None:
    lines = [(f"class {k}", np.linspace(0, 1, 2000), np.random.default_rng(k).random(2000)) for k in range(100)]
    assert len(json.dumps(figures.of_panel(Panel("ROC", "x", "y", lines)).drawn)) < 400_000


def test_a_marked_place_is_a_line_with_a_name() -> None:
    panel = Panel("loss", "epoch", "", [("train", [1, 2], np.array([0.5, 0.25]))], legend=False)
    *_, mark = figures.of_panel(panel, marks=[(2, "best epoch, 2")]).drawn["data"]
    assert (mark["x"], mark["y"], mark["name"]) == ([2, 2], [0.25, 0.5], "best epoch, 2")


def test_a_matrix_of_many_classes_has_shares_of_the_true_class() -> None:
    matrix = np.array([[3, 1], [0, 0]])
    (heat,) = figures.confusion(matrix, ["a", "b"], title="confusion").drawn["data"]
    assert heat["z"] == [[0.75, 0.25], [0, 0]]
    assert heat["customdata"] == matrix.tolist()


def test_bars_have_the_counts_and_shares_of_each_split() -> None:
    counts = {"train": np.array([80, 20]), "validation": np.array([0, 0])}
    train, validation = figures.bars(counts, ["a", "b"], title="rows").drawn["data"]
    assert (train["x"], train["text"]) == ([80, 20], ["80 (80.0 %)", "20 (20.0 %)"])
    assert validation["x"] == [0, 0]


def test_a_point_of_few_rows_shows_their_number_and_every_point_names_it() -> None:
    panel = Panel("reliability", "confidence", "share", [("a", [0.1, 0.9], [0.2, 0.8])], counts=[np.array([9, 1000])])
    (line,) = figures.of_panel(panel).drawn["data"]
    assert (line["text"], line["customdata"]) == (["n=9", ""], [9, 1000])
    assert "%{customdata:,} rows" in line["hovertemplate"]
    drawn = panels_figure([panel], 1, "t", (3, 3))
    assert "n=9" in [text.get_text() for text in drawn.axes[0].texts]
