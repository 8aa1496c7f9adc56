"""Pages from templates: every value is text and never markup, and nothing is loaded but the library beside the page."""

import re
from pathlib import Path

import pytest

from helpers.pages import Page, in_browser, needs_browser
from toolbox.errors import UsageError
from toolbox.plain import NOTICE
from toolbox.reports import pages
from toolbox.reports.plots import COLOURS

EVIL = '<script>alert("1")</script>\x1b[31m\n\u202e'
SEEN = "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;\\x1b[31m\\n\\u202e"


def rendered(source: str, **values: object) -> str:
    return pages._environment().from_string(source).render(values)


def test_every_value_is_escaped_and_markup_of_a_macro_is_kept() -> None:
    assert rendered("{{ value }}", value=EVIL) == SEEN
    table = rendered('{% from "parts.html" import table %}{{ table([value], [[value, 1]]) }}', value=EVIL)
    assert f'<th scope="col">{SEEN}</th>' in table
    assert f"<th scope=row>{SEEN}</th><td>1</td>" in table


def test_a_value_that_is_missing_is_an_error() -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError):
        rendered("{{ value }}")


def test_a_page_of_a_figure_loads_the_library_of_its_folder_or_holds_it(tmp_path: Path) -> None:
    from plotly.graph_objects import Figure

    (tmp_path / "runs" / "a").mkdir(parents=True)
    page, alone, library = tmp_path / "runs" / "a" / "a.html", tmp_path / "alone.html", tmp_path / pages.LIBRARY
    library.write_text("the library of an earlier version")
    pages.save_figure(page, Figure(), title=EVIL, library=tmp_path)
    assert Page(page).loaded == ["../../plotly.min.js"]
    assert library.stat().st_size > 10**6
    text = page.read_text()
    assert NOTICE in text
    assert "<title>&lt;script&gt;" in text
    assert len(text) < 10_000
    pages.save_figure(alone, Figure(), title=EVIL, library=pages.INLINE)
    assert Page(alone).loaded == []
    assert alone.stat().st_size > 10**6


def test_texts_of_a_figure_cannot_end_its_script(tmp_path: Path) -> None:
    from plotly.graph_objects import Figure

    pages.save_figure(tmp_path / "a.html", Figure(layout={"title": {"text": "</script><b>"}}), title="a")
    assert "</script><b>" not in (tmp_path / "a.html").read_text()


def test_a_page_without_figures_forbids_every_request(tmp_path: Path) -> None:
    pages.save(tmp_path / "a.html", "base.html", title="a")
    text = (tmp_path / "a.html").read_text()
    assert "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'\"" in text
    assert text.endswith("</html>\n")
    assert Page(tmp_path / "a.html").loaded == []


@pytest.mark.parametrize(
    "theirs", ["theirs", f"# My study\n{NOTICE}\n{pages.GENERATOR}\n", f"<!DOCTYPE html>\n{NOTICE}"]
)
def test_a_file_that_is_no_page_of_this_program_is_not_replaceable(tmp_path: Path, theirs: str) -> None:
    path = tmp_path / "README.md"
    pages.check_replaceable(path)
    path.write_text(theirs)
    with pytest.raises(UsageError, match="exists already and was not written by this program"):
        pages.check_replaceable(path)
    pages.save(path, "base.html", title="a")
    pages.check_replaceable(path)


@needs_browser
def test_figures_are_drawn_and_tables_sort_in_a_browser(tmp_path: Path) -> None:
    from plotly.graph_objects import Figure

    source = """{% extends "base.html" %}{% from "parts.html" import figure, table %}
    {% block content %}{{ figure(drawn, "a line") }}{{ table(["name", "n"], rows, "sortable") }}{% endblock %}"""
    text = rendered(source, title="a", drawn=Figure().add_scatter(y=[1, 2]), rows=ROWS, library="plotly.min.js")
    pages.save_figure(tmp_path / "b.html", Figure(), title="b")  # writes the library
    (tmp_path / "a.html").write_text(text)
    found = in_browser(tmp_path / "a.html", SORTED)
    assert found == {"lines": 1, "up": ["b", "c", "a", "d"], "down": ["a", "c", "b", "d"], "sort": "descending"}


def test_lines_of_figures_are_seen_on_white_paper_and_at_night() -> None:
    """A contrast of 2 to 1 or more, in the formula of WCAG 2.2; the page lightens the dark colours at night."""
    night = dict(re.findall('"(#[0-9a-f]{6})": "(#[0-9a-f]{6})"', (pages.TEMPLATES / "drawing.html").read_text()))
    paper = re.search(r"--paper: light-dark\((#\w+), (#\w+)\)", (pages.TEMPLATES / "base.html").read_text())
    assert paper
    assert night.keys() <= {*COLOURS}, "replaced as they stand in a figure"

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for colour in COLOURS:
        for own, behind in zip((colour, night.get(colour, colour)), paper.groups(), strict=True):
            low, high = sorted((luminance(own), luminance(behind)))
            assert (high + 0.05) / (low + 0.05) >= 2, f"{own} on {behind}"


@needs_browser
def test_the_names_of_rows_stay_in_view_while_a_wide_table_is_moved(tmp_path: Path) -> None:
    head, row = ["class", *(f"column {k}" for k in range(20))], ["NORM", *["0.1234"] * 20]
    path = tmp_path / "a.html"
    source = """{% extends "base.html" %}{% from "parts.html" import table %}
    {% block content %}{{ table(head, [row]) }}{% endblock %}"""
    path.write_text(rendered(source, title="a", head=head, row=row))
    script = """const wide = document.querySelector(".wide"), name = document.querySelector("tbody th");
    wide.scrollLeft = 500; const box = name.getBoundingClientRect();
    return [wide.scrollLeft, box.left >= 0, box.width > 30, box.height < 40, document.documentElement.scrollWidth];"""
    moved, *seen, width = in_browser(path, script, width=390)
    assert moved == 500
    assert seen == [True, True, True], "on one line, in view"
    assert width <= 390


@needs_browser
def test_figures_are_printed_at_the_width_of_paper_or_say_what_brings_them_back(tmp_path: Path) -> None:
    from plotly.graph_objects import Figure

    page = tmp_path / "a.html"
    figures = {"free": Figure().add_scatter(y=[1, 2]), "wide": Figure(layout={"width": 880}).add_scatter(y=[1, 2])}
    pages.save(page, "figures.html", library=tmp_path, title="a", figures=figures)
    for width in (700, 1200):
        paper, (free, wide, body) = in_browser(page, PRINTED, width=width)
        assert paper == [680, 680, 680]
        assert (free, wide) == (body - 36, 880)
        assert body > 680
    (tmp_path / pages.LIBRARY).write_text("")
    text, height = in_browser(page, MISSING)
    assert "--report RUN or --runs" in text
    assert height < 60


PRINTED = """
    const widths = () => [...document.querySelectorAll(".plot .main-svg:first-child"), document.body]
      .map(each => Math.round(each.getBoundingClientRect().width));
    dispatchEvent(new Event("beforeprint"));
    const seen = [widths()];
    dispatchEvent(new Event("afterprint"));
    return [...seen, widths()];
"""
MISSING = 'const box = document.querySelector(".plot"); return [box.innerText, box.clientHeight];'
ROWS = [["a", "1,010"], ["b", "-2.5"], ["c", "9"], ["d", "-"]]
SORTED = """
    const names = () => [...document.querySelectorAll("tbody th")].map(cell => cell.textContent);
    const button = document.querySelectorAll("th button")[1];
    const found = {lines: document.querySelectorAll(".js-line").length};
    button.click();
    found.up = names();
    button.click();
    return {...found, down: names(), sort: button.parentElement.getAttribute("aria-sort")};
"""
