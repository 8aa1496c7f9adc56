"""HTML pages from the folder `templates`: `save(path, "recordings.html", title=..., ...)`.

Every value is escaped, for HTML and for control characters (`toolbox.plain.escaped`), unless it is markup. A template
extends base.html and fills its blocks `style`, `content` and, rarely, `body`; tables of the class "sortable" sort. A
page loads nothing, but for plotly's library if it has figures: one file for all pages of a root, or a part of the page;
a page that is `late` loads it with its first figure.
parts.html has the macros `table`, `facts` and `figure`; `picture` makes a PNG a part of the page.
"""

import json
import os
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from toolbox import files, plain
from toolbox.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from jinja2 import Environment
    from numpy.typing import NDArray
    from plotly.graph_objects import Figure

TEMPLATES = Path(__file__).parent / "templates"
LIBRARY = "plotly.min.js"
DOCUMENT, GENERATOR = b"<!DOCTYPE html>", '<meta name="generator" content="ECG Commander">'  # of every page
HEAD_BYTES = 400  # of a page, which hold both
INLINE = Path()  # in place of the folder of the library: the page holds it


def save(path: Path, template: str, *, library: Path | None = None, **values: Any) -> None:
    """Write the page, whole or not at all; iterators among the values are read part by part.

    A page with figures names the folder `library` of plotly's library, which is written there unless it exists, or
    INLINE. Raises ResourceError.
    """
    parts = _environment().get_template(template).generate(values, library=library and _script(path, library))
    files.write_whole(path, lambda file: file.writelines(part.encode(errors="backslashreplace") for part in parts))


def save_figure(path: Path, figure: "Figure", *, title: str, library: Path | None = None) -> None:
    """Write one plotly figure as a page; the library lies in its folder unless `library` names another one."""
    values = {"title": title.partition("\n")[0], "figures": {"": figure}}
    save(path, "figures.html", library=library or path.parent, **values)


def shared(page: Path, root: Path) -> Path:
    """The folder of the library for a page: the root of the runs, which all pages below it share; INLINE for a page
    elsewhere, or where the root cannot be written."""
    from plotly.offline import get_plotlyjs_version

    below = page.resolve().is_relative_to(root.resolve())
    there = os.access(root, os.W_OK) or _is_version(root / LIBRARY, get_plotlyjs_version())
    return root if below and there else INLINE


def _script(path: Path, folder: Path) -> Any:
    """The library for the page `path`: a relative URL, or its text."""
    from plotly.offline import get_plotlyjs, get_plotlyjs_version

    if folder == INLINE:
        from markupsafe import Markup

        return {"text": Markup(get_plotlyjs())}
    if not _is_version(folder / LIBRARY, get_plotlyjs_version()):
        files.write_text(folder / LIBRARY, get_plotlyjs())
    return quote(os.path.relpath(folder / LIBRARY, path.parent).replace(os.sep, "/"))


def _is_version(path: Path, version: str) -> bool:
    """Whether the file is plotly's library of this version, which its first lines state."""
    try:
        with path.open("rb") as file:
            return f"v{version}\n".encode() in file.read(200)
    except OSError:
        return False


def check_replaceable(path: Path) -> None:
    """Raise UsageError if a file that is no page of this program is at `path`.

    A page says in its head which program generated it; pages of earlier versions do not, and stay.
    """
    if not path.is_file():
        return
    with files.regular(path) as file:
        head = file.read(HEAD_BYTES)
        if not head.startswith(DOCUMENT) or GENERATOR.encode() not in head:
            what = f"{path.name} exists already and was not written by this program"
            raise UsageError(what, where=str(path), hint="another name, or move that file away")


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value if hasattr(value, "__html__") else plain.escaped(value),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"generator": Markup(GENERATOR), "notice": plain.NOTICE, "name_of_library": LIBRARY}
    environment.globals |= {"library": None, "beside": False, "late": False}
    environment.filters |= {"plotly": _plotly, "picture": _picture}
    return environment


def _plotly(figure: "Figure | Mapping[str, Any]") -> Any:
    """The JSON of a figure for a script element, without its template: pages draw in their own colours."""
    from markupsafe import Markup

    if isinstance(figure, Mapping):
        text = json.dumps(figure, separators=(",", ":"), allow_nan=False)
    else:
        from plotly.io import to_json

        parts = figure.to_plotly_json()
        parts["layout"].pop("template", None)
        text = to_json(parts, validate=False)
    return Markup(text.replace("<", "\\u003c"))


def _picture(path: Path) -> str:
    """A PNG as the URL of an image within the page."""
    return f"data:image/png;base64,{b64encode(path.read_bytes()).decode()}"


def png(pixels: "NDArray[np.uint8]") -> str:
    """A picture (H, W, 3) as the URL of an image within the page, in 32 colours."""
    from PIL import Image

    file = BytesIO()
    Image.fromarray(pixels).quantize(32).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
