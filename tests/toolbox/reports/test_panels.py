"""Panels of lines: drawn the same as PNG and HTML, read without a network."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.text import Text

from helpers.pages import Page
from toolbox.plain import NOTICE
from toolbox.reports import plots
from toolbox.reports.plots import COLOURS, Panel

PNG = b"\x89PNG"
CELL = (3.0, 2.0)


def banded() -> Panel:
    x = np.arange(4.0)
    return Panel("a panel", "time (s)", "mV", [("a line", x, x)], bands=[(x, x - 1, x + 2)], guide=(x, -x))


def test_a_figure_as_pixels_is_height_width_and_three_colours() -> None:
    figure = plots.confusion_figure(np.eye(3), "NSV", normalised=True, title="")
    image = plots.pixels(figure)
    width, height = figure.get_size_inches() * figure.dpi
    assert image.shape == (int(height), int(width), 3)
    assert image.dtype == np.uint8
    assert image.std() > 0


def test_panels_are_written_as_png_and_as_html_that_reads_without_a_network(tmp_path: Path) -> None:
    plots.save_panels([banded()] * 3, tmp_path / "figure", columns=2, title="a title")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.html", "figure.png", "plotly.min.js"]
    assert (tmp_path / "figure.png").read_bytes()[:4] == PNG
    assert Page(tmp_path / "figure.html").loaded == ["plotly.min.js"]
    text = (tmp_path / "figure.html").read_text()
    assert "a line" in text
    assert text.count(NOTICE) == 1
    assert b"Plotly" in (tmp_path / "plotly.min.js").read_bytes()


def test_the_library_beside_the_pages_is_written_once(tmp_path: Path) -> None:
    (tmp_path / "plotly.min.js").write_text("there already")
    plots.save_panels([banded()], tmp_path / "figure", columns=1, title="")
    assert (tmp_path / "plotly.min.js").read_text() == "there already"


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


def test_a_panel_without_lines_says_its_title_and_no_numbers() -> None:
    figure = plots.panels_figure([Panel("no row", "", "")], 1, "", CELL)
    assert figure.axes[0].get_title() == "no row"
    assert [len(ticks) for ticks in (figure.axes[0].get_xticks(), figure.axes[0].get_yticks())] == [0, 0]


def test_places_of_the_grid_without_a_panel_are_left_white() -> None:
    assert len(plots.panels_figure([banded()] * 4, 3, "", CELL).axes) == 4


def test_titles_of_a_page_have_room_for_their_lines() -> None:
    def gap(title: str) -> float:
        page = plots.panels_page([Panel(title, "", "", banded().lines)] * 4, 2, "", CELL)
        above, below = sorted({page.layout[axis].domain for axis in ("yaxis", "yaxis3")}, reverse=True)
        return (above[0] - below[1]) * (page.layout.height - page.layout.margin.t - 80)

    assert gap("a\nb\nc") - gap("a") == pytest.approx(30, abs=3)


@pytest.mark.parametrize("lines", [1, 3, 6, 12])
def test_the_title_of_a_page_ends_above_its_panels_however_many_lines_the_split_rule_has(lines: int) -> None:
    page = plots.panels_page([banded()], 1, "\n".join(["split"] * lines), CELL)
    title, above = page.layout.title, 2 * plots.TITLE_LINE  # of the panel's own title
    assert (title.y, title.yanchor) == (1, "top")
    assert title.pad.t + lines * plots.TITLE_LINE <= page.layout.margin.t - above


def test_a_page_too_wide_for_a_window_scrolls() -> None:
    widths = [plots.panels_page([banded()] * 12, columns, "", CELL).layout.width for columns in (3, 12)]
    assert widths[0] is None
    assert widths[1] > plots.WIDE


def test_a_dollar_in_a_name_is_a_dollar(tmp_path: Path) -> None:
    name = r"$\frac$"
    figure = plots.panels_figure([Panel(name, name, name, [(name, [0, 1], [0, 1])])], 1, name, CELL)
    plots.save_png(figure, tmp_path / "figure.png")
    assert [text.get_text() for text in figure.findobj(Text)].count(name) == 5
    assert (tmp_path / "figure.png").read_bytes()[:4] == PNG
