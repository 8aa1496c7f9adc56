"""HTML pages from the folder `templates`: `save(path, "recordings.html", title=..., ...)`.

Every value is escaped, for HTML and for control characters (`toolbox.plain.escaped`), unless it is markup. A template
extends base.html (loads nothing) or figures.html (plotly; its library lies in the page's folder), and fills
the blocks `style`, `content` and, rarely, `body`. Both know `notice` and `library`, and the filters `plotly` and
`picture`; parts.html has the macros `table` and `facts`.
"""

from base64 import b64encode
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolbox import files, plain

if TYPE_CHECKING:
    from jinja2 import Environment
    from plotly.graph_objects import Figure

TEMPLATES = Path(__file__).parent / "templates"
LIBRARY = "plotly.min.js"


def save(path: Path, template: str, **values: Any) -> None:
    """Write the page, whole or not at all; iterators among the values are read part by part."""
    parts = _environment().get_template(template).generate(values)
    files.write_whole(path, lambda file: file.writelines(part.encode(errors="backslashreplace") for part in parts))


def save_figure(path: Path, figure: "Figure", *, title: str, auto_play: bool = True) -> None:
    """Write one plotly figure as a page, and the library into its folder."""
    save_library(path.parent)
    save(path, "figures.html", title=title.partition("\n")[0], figures={"": figure}, auto_play=auto_play)


def save_library(folder: Path) -> None:
    """Write plotly's library into `folder`, unless it exists; pages there load it."""
    if not (folder / LIBRARY).exists():
        from plotly.offline import get_plotlyjs

        files.write_text(folder / LIBRARY, get_plotlyjs())


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value if hasattr(value, "__html__") else plain.escaped(value),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"notice": plain.NOTICE, "library": LIBRARY}
    environment.filters |= {"plotly": _plotly, "picture": _picture}
    return environment


def _plotly(figure: "Figure", auto_play: bool = True) -> Any:
    """A figure as an HTML element; its page loads the library."""
    from markupsafe import Markup

    return Markup(figure.to_html(full_html=False, include_plotlyjs=False, auto_play=auto_play))


def _picture(path: Path) -> str:
    """A PNG as the URL of an image within the page."""
    return f"data:image/png;base64,{b64encode(path.read_bytes()).decode()}"
