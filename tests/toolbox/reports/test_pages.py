"""Pages from templates: every value is text and never markup, and nothing is loaded but the library beside the page."""

from pathlib import Path

import pytest

from helpers.pages import Page
from toolbox.plain import NOTICE
from toolbox.reports import pages

EVIL = '<script>alert("1")</script>\x1b[31m\n\u202e'
SEEN = "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;\\x1b[31m\\n\\u202e"


def rendered(source: str, **values: object) -> str:
    return pages._environment().from_string(source).render(values)


def test_every_value_is_escaped_and_markup_of_a_macro_is_kept() -> None:
    assert rendered("{{ value }}", value=EVIL) == SEEN
    table = rendered('{% from "parts.html" import table %}{{ table([value], [[value, 1]]) }}', value=EVIL)
    assert f"<th>{SEEN}</th>" in table
    assert f"<td>{SEEN}</td><td>1</td>" in table


def test_a_value_that_is_missing_is_an_error() -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError):
        rendered("{{ value }}")


def test_a_page_of_a_figure_loads_the_library_beside_it_alone(tmp_path: Path) -> None:
    from plotly.graph_objects import Figure

    pages.save_figure(tmp_path / "a.html", Figure(), title=f"{EVIL}")
    assert Page(tmp_path / "a.html").loaded == ["plotly.min.js"]
    assert (tmp_path / "plotly.min.js").stat().st_size > 10**6
    text = (tmp_path / "a.html").read_text()
    assert NOTICE in text
    assert "<title>&lt;script&gt;" in text


def test_every_page_but_those_of_figures_forbids_every_request(tmp_path: Path) -> None:
    pages.save(tmp_path / "a.html", "base.html", title="a")
    text = (tmp_path / "a.html").read_text()
    assert "default-src 'none'" in text
    assert text.endswith("</html>\n")
    assert Page(tmp_path / "a.html").loaded == []
