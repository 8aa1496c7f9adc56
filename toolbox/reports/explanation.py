"""What a network looks at as one page: a picture a row by class and outcome, with what makes one doubt them, needing no
network.

`write(folder, examples, ...)` writes index.html, with every picture in it. An `Example` is one row with its picture's
name.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolbox import files
from toolbox.plain import NOTICE
from toolbox.plain import markup as escape
from toolbox.reports.plots import Panel, panels_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[Any]
TEMPLATE = Path(__file__).with_suffix(".html")
# How sure a row's answer was, and whether it was right.
GROUPS = {
    "right-most": "right, most certain",
    "right-least": "right, least certain",
    "wrong-most": "wrong, most certain",
    "wrong-least": "wrong, least certain",
    "named": "named",
}
CELL = (3.4, 2.7)  # inches of a panel


@dataclass(frozen=True)
class Example:
    """A row of the source, its class and the predicted one with its probability, the class that is explained, and
    whether anything is marked."""

    index: int
    record: str
    true: str
    said: str
    probability: float
    explained: str
    group: str
    picture: str
    marked: bool = True

    @property
    def title(self) -> str:
        """Of its picture."""
        whose = f", record {self.record}" if self.record else ""
        told = f"is {self.true}, said {self.said} ({self.probability:.3f})"
        told += f", {self.explained} explained" if self.explained != self.said else ""
        return f"row {self.index:,}{whose}: {told}" + ("" if self.marked else ", nothing marked")


@dataclass(frozen=True)
class Doubt:
    """One check: its name, its figure as text, and what the figure measures."""

    name: str
    figure: str
    meaning: str


def write(
    folder: Path,
    examples: Sequence[Example],
    *,
    classes: Sequence[str],
    title: str,
    facts: Sequence[tuple[str, str]],
    doubts: Sequence[Doubt],
    wide: bool,
) -> Path:
    """Write the page of pictures, which may be `wide`, that lie in `folder`; its path. Raises ResourceError."""
    sections = [_section(folder, name, [each for each in examples if each.true == name]) for name in classes]
    said = [name for name in classes if any(each.said == name for each in examples)]
    parts = {
        "TITLE": escape(title),
        "NOTICE": NOTICE,
        "KIND": "wide" if wide else "narrow",
        "FACTS": "\n".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in facts),
        "DOUBTS": "\n".join(map(_doubt, doubts)),
        "CURVES": _image(folder / "doubts.png", "curves of the checks") if (folder / "doubts.png").exists() else "",
        "FILTERS": "\n".join(
            [
                _filter("true", "is", [name for name in classes if any(each.true == name for each in examples)]),
                _filter("said", "said", said),
                _filter("group", "", [key for key in GROUPS if any(each.group == key for each in examples)], GROUPS),
            ]
        ),
        "SECTIONS": "\n".join(filter(None, sections)),
    }
    page = TEMPLATE.read_text(encoding="utf-8")
    for name, text in parts.items():
        page = page.replace(f"@{name}@", text)
    files.write_text(folder / "index.html", page)
    return folder / "index.html"


def _section(folder: Path, name: str, examples: Sequence[Example]) -> str:
    """The pictures of the rows of a class, those of an outcome together."""
    if not examples:
        return ""
    parts = []
    for key, heading in GROUPS.items():
        if those := [each for each in examples if each.group == key]:
            shown = "\n".join(_card(folder, each) for each in those)
            parts.append(f'<div class="group"><h3>{heading}</h3>\n<div class="cards">\n{shown}\n</div></div>')
    return f'<section><h2>Rows of {escape(name)}</h2>\n<div class="groups">' + "\n".join(parts) + "</div></section>"


def _card(folder: Path, example: Example) -> str:
    outcome = "right" if example.true == example.said else "wrong"
    data = {"true": example.true, "said": example.said, "group": example.group}
    marks = " ".join(f'data-{name}="{escape(value)}"' for name, value in data.items())
    return f'<figure class="{outcome}" tabindex="0" {marks}>{_image(folder / example.picture, example.title)}</figure>'


def _image(path: Path, text: str) -> str:
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}">'


def _filter(name: str, label: str, values: Sequence[str], words: dict[str, str] | None = None) -> str:
    buttons = "".join(
        f'<button data-filter="{name}" data-value="{escape(value)}"'
        f' aria-pressed="true">{escape((words or {}).get(value, value))}</button>'
        for value in values
    )
    return f'<span class="filter">{label} {buttons}</span>'


def _doubt(doubt: Doubt) -> str:
    cells = (f'<th scope="row">{escape(doubt.name)}</th>', f'<td class="figure">{escape(doubt.figure)}</td>')
    return f"<tr>{''.join(cells)}<td>{escape(doubt.meaning)}</td></tr>"


def curves_figure(curves: Mapping[str, Array], cascade: tuple[Sequence[float], Sequence[float]]) -> "Figure":
    """The panels with axes that make small differences look small."""
    found = _panels(curves, cascade)
    drawn = panels_figure(found, len(found), "", CELL)
    for axes in drawn.axes[:2]:
        axes.set(xlim=(0, 1), ylim=(0, 1))
    drawn.axes[2].set(xlim=(0, 1), ylim=(min(0, *cascade[1]) - 0.02, 1))
    return drawn


def _panels(curves: Mapping[str, Array], cascade: tuple[Sequence[float], Sequence[float]]) -> list[Panel]:
    """Mean curves (N, S) of deletion and insertion beside those of chance, and the cascade (parts, correlations)."""
    found = []
    for name in ("deletion", "insertion"):
        taken = np.linspace(0, 1, curves[name].shape[1])
        lines = [("as marked", taken, curves[name].mean(0)), ("by chance", taken, curves[f"random_{name}"].mean(0))]
        found.append(Panel(name, "part of the row", "probability" if name == "deletion" else "", lines))
    parts, correlations = cascade
    line = ("with the trained", np.append(0, parts), np.append(1, correlations))
    return [
        *found,
        Panel("weights made anew, from the head on", "part of the layers", "rank correlation", [line], legend=False),
    ]
