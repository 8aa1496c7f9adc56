"""A dataset as pictures: how many rows a class has, what they look like, their mean and spread, and one page that shows
it all.

`explore(folder, x=..., y=..., ...)` writes classes, examples and mean as PNG and as interactive HTML, and index.html.
It is given training and validation rows only: the test rows stay closed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from toolbox import files
from toolbox.notice import NOTICE
from toolbox.outputs import Claim
from toolbox.plain import markup as escape
from toolbox.reports import dataset_waveforms, panels
from toolbox.reports.panels import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as Page

Array = NDArray[Any]
CLOSED = "Train and validation rows only; the test rows are not opened."
SPLITS = {"train": "#444444", "validation": "#AAAAAA"}
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font-family: sans-serif; max-width: 1400px; margin: 2em auto; padding: 0 1em; color: #222; }}
th {{ text-align: left; vertical-align: top; padding-right: 2em; white-space: nowrap; }}
img {{ max-width: 100%; border: 1px solid #ddd; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{closed} {notice}</p>
<table>
{facts}
</table>
{pictures}
</body>
</html>
"""


PICTURES = ("classes", "examples", "mean", "augmentations")


def _is_own(path: Path) -> bool:
    """Whether an earlier version of this program, which marked nothing, wrote a file: the page beside it says so."""
    try:
        return f"<p>{CLOSED} {NOTICE}</p>" in path.with_name("index.html").read_text("utf-8")
    except (OSError, ValueError):
        return False


class Facts(dataset_waveforms.Facts, Protocol):
    """What the pictures say of the data."""

    name: str
    view: str
    source: str
    licence: str
    split_rule: str
    features: tuple[str, ...]


def explore(
    folder: Path,
    *,
    x: Array,
    y: Array,
    index: Array,
    y_val: Array,
    spec: Facts,
    seed: int,
    examples: int = 5,
    augmented: Mapping[str, Array] | None = None,
) -> Path:
    """Write the pictures of a dataset into `folder`; return the page that shows them.

    `x` (N, C, T), `y` (N,) and `index` (N,), the row in the source, are the training rows; `y_val` (M,) are of
    validation. `examples` rows a class are drawn with `seed`; `augmented` is what `save_augmentations` takes. Raises
    ResourceError.
    """
    names = [f"{name}{ending}" for name in PICTURES for ending in (".png", ".html")]
    of = {"output": "exploration", "dataset": spec.name}
    Claim(folder, "", ["index.html", *names], of, lambda path: of if _is_own(path) else None, flag="--root-dir").take()
    title, pictures = (
        f"{spec.name}\n{CLOSED}",
        {"classes": "Classes", "examples": "Examples", "mean": "Mean and spread"},
    )
    counts = np.stack([np.bincount(labels, minlength=len(spec.classes)) for labels in (y, y_val)])
    panels.save_png(classes_figure(counts, spec.classes, title), folder / "classes.png")
    panels.save_page(classes_page(counts, spec.classes, title), folder / "classes.html")
    title, cell = (
        f"{spec.name}, {spec.view}s of train drawn with seed {seed}\n{CLOSED}",
        dataset_waveforms.cell(len(spec.leads)),
    )
    rows = dataset_waveforms.example_panels(x, y, index, spec=spec, seed=seed, examples=examples)
    panels.save_panels(rows, folder / "examples", columns=examples, title=title, cell=cell)
    title = f"{spec.name}, {spec.view}s of train: mean, and two standard deviations to either side\n{CLOSED}"
    columns = min(len(spec.classes), dataset_waveforms.ABREAST)
    panels.save_panels(
        dataset_waveforms.mean_panels(x, y, spec), folder / "mean", columns=columns, title=title, cell=cell
    )
    if augmented:
        dataset_waveforms.save_augmentations(
            augmented, folder / "augmentations.png", rate_hz=spec.rate_hz, unit=spec.unit
        )
        pictures["augmentations"] = "Augmentations"
    files.write_text(folder / "index.html", index_page(spec, counts.sum(1), x.shape[-1], pictures))
    return folder / "index.html"


def classes_figure(counts: Array, classes: Sequence[str], title: str) -> "Figure":
    """Rows of each class, `counts` (2, K) of train and validation: a pie of both together, bars of each apart."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(12, 2.6 + 0.5 * len(classes)), layout="constrained")
    figure.suptitle(title, fontsize=9)
    pie, bars = figure.subplots(1, 2, width_ratios=(2, 3))
    total, labels = counts.sum(0), _labels(counts.sum(0))
    if total.sum():
        pie.pie(total, colors=_colours(len(classes)), startangle=90, counterclock=False)
        wedges = [Patch(color=colour) for colour in _colours(len(classes))]
        names = [f"{name}  {label}" for name, label in zip(_broken(classes), labels, strict=True)]
        pie.legend(
            wedges,
            names,
            loc="upper center",
            bbox_to_anchor=(0.5, 0),
            ncols=2 if len(classes) > 5 else 1,
            fontsize=9,
            frameon=False,
        )
    pie.set_title(f"train and validation together, {total.sum():,} rows")
    for i, (name, colour) in enumerate(SPLITS.items()):
        bar = bars.barh(np.arange(len(classes)) + 0.4 * i - 0.2, _percent(counts[i]), 0.36, label=name, color=colour)
        bars.bar_label(bar, _labels(counts[i]), padding=3, fontsize=9)
    bars.set_yticks(range(len(classes)), _broken(classes))
    bars.invert_yaxis()
    bars.margins(x=0.25)
    bars.set(xlabel="share of the split's rows (%)", title="each split by itself: rows (share)")
    bars.grid(axis="x", alpha=0.25)
    bars.legend(loc="lower right")
    return figure


def classes_page(counts: Array, classes: Sequence[str], title: str) -> "Page":
    """The same as `classes_figure` to hover over."""
    from plotly.subplots import make_subplots

    titles = (f"train and validation together, {counts.sum():,} rows", "each split by itself: rows (share)")
    figure = make_subplots(
        1, 2, specs=[[{"type": "domain"}, {"type": "xy"}]], subplot_titles=titles, column_widths=(0.4, 0.6)
    )
    names = [name.replace("\n", "<br>") for name in _broken(classes)]
    figure.add_pie(
        values=counts.sum(0),
        labels=names,
        sort=False,
        direction="clockwise",
        marker_colors=_colours(len(classes)),
        textposition="inside",
        textinfo="percent",
        hoverinfo="label+value+percent",
        row=1,
        col=1,
    )
    for i, (name, colour) in enumerate(SPLITS.items()):
        figure.add_bar(
            x=_percent(counts[i]),
            y=names,
            text=_labels(counts[i]),
            name=name,
            orientation="h",
            marker_color=colour,
            textposition="outside",
            cliponaxis=False,
            row=1,
            col=2,
        )
    figure.update_xaxes(
        title_text="share of the split's rows (%)", range=[0, 1.35 * _percent(counts).max()], row=1, col=2
    )
    figure.update_yaxes(autorange="reversed", row=1, col=2)
    figure.update_layout(
        title=title.replace("\n", "<br>"),
        title_font_size=14,
        template="plotly_white",
        height=320 + 60 * len(classes),
        margin_t=120,
        uniformtext={"minsize": 10, "mode": "hide"},
    )
    return figure


def index_page(spec: Facts, rows: Array, samples: int, pictures: Mapping[str, str]) -> str:
    """One page with the facts of the dataset and its pictures, by paths beside it."""
    facts = {
        "rows": f"{rows[0]:,} train, {rows[1]:,} validation",
        "classes": ", ".join(spec.classes),
        "one row": f"{spec.view}, {samples:,} samples at {spec.rate_hz:g} Hz = {samples / spec.rate_hz:.4g} s",
        "leads": ", ".join(spec.leads),
        "unit": spec.unit,
        **({"beside them": ", ".join(spec.features)} if spec.features else {}),
        "split": spec.split_rule,
        "source": spec.source,
        "licence": spec.licence,
    }
    shown = [_picture(name, heading, interactive=name != "augmentations") for name, heading in pictures.items()]
    lines = [f"<tr><th>{name}</th><td>{escape(str(value))}</td></tr>" for name, value in facts.items()]
    return PAGE.format(
        title=escape(spec.name), closed=CLOSED, notice=NOTICE, facts="\n".join(lines), pictures="\n".join(shown)
    )


def _picture(name: str, heading: str, *, interactive: bool) -> str:
    link = f"{name}.html" if interactive else f"{name}.png"
    more = f'<p><a href="{link}">to zoom and hover</a></p>' if interactive else ""
    return f'<h2>{heading}</h2>\n<a href="{link}"><img src="{name}.png" alt="{heading}"></a>\n{more}'


def _broken(classes: Sequence[str]) -> list[str]:
    return [fill(name, 20) for name in classes]


def _colours(classes: int) -> list[str]:
    return [COLOURS[k % len(COLOURS)] for k in range(classes)]


def _percent(counts: Array) -> Array:
    return 100 * counts / np.maximum(counts.sum(-1, keepdims=True), 1)


def _labels(counts: Array) -> list[str]:
    return [f"{count:,} ({share:.1f}%)" for count, share in zip(counts, _percent(counts), strict=True)]
