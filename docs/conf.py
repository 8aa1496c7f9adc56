"""The settings of Sphinx: `make docs` writes the pages of this folder, and the API, as HTML into docs/_build/html."""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

project = "ECG Commander"
copyright = "the authors of ECG Commander"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.apidoc"]
exclude_patterns = ["_build"]
default_role = "code"  # a name between backticks in a docstring
html_theme = "furo"
html_title = project
myst_heading_anchors = 4
PACKAGES = ("commands", "loaders", "models", "studies", "toolbox")
apidoc_modules = [{"path": f"../{name}", "destination": f"api/{name}", "module_first": True} for name in PACKAGES]


def as_rst(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text: an indented block is code, and |, * and _ are letters."""
    text, indented = [], False
    for line in lines:
        if line.startswith(" ") and not indented and not "".join(text[-1:]).strip():
            text += ["::", ""]
        elif line and not line.startswith(" ") and indented:
            text += [""]
        indented = line.startswith(" ") or (indented and not line)
        text.append(line if indented else "".join(f"\\{each}" if each in "|*" else each for each in line))
    lines[:] = text


def setup(app: Any) -> None:
    """Called by Sphinx."""
    if "sphinx.ext.autodoc" in app.extensions:
        app.connect("autodoc-process-docstring", as_rst)
