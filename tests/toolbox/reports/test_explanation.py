"""Pictures of attributions and their page: every kind of row, to scale, and names that are text."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.data import make_spec
from helpers.pages import Page
from toolbox.paper.layouts import TWELVE
from toolbox.reports import explanation, plots
from toolbox.reports.explanation import Doubt, Example


def drawn(figure: object, path: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.save_png(figure, path)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


@pytest.mark.parametrize(
    ("leads", "samples", "rate_hz"), [(1, 187, 125), (3, 187, 125), (12, 200, 100), (1, 600, 60), (1, 2, 125)]
)
def test_rows_of_every_kind_are_drawn(leads: int, samples: int, rate_hz: float, tmp_path: Path) -> None:
    rng = np.random.default_rng(leads)
    spec = replace(make_spec(channels=leads, samples=samples), rate_hz=rate_hz)
    x = rng.normal(size=(leads, samples)).cumsum(1)
    figure = explanation.row_figure(x, rng.normal(size=x.shape), spec=spec, title="$row$", peaks=[samples // 2])
    picture = drawn(figure, tmp_path / "a.png")
    assert (picture[..., 0] - picture[..., 2] > 100).any(), "for the class, in orange"
    assert (picture[..., 2] - picture[..., 0] > 100).any(), "against it, in blue"
    assert picture.shape[1] == 150 * (explanation.WIDE if leads > 3 or samples > 3 * rate_hz else explanation.NARROW)


@pytest.mark.parametrize("kind", ["twelve leads", "one lead", "wide chart", "chart"])
def test_a_title_of_any_length_stands_within_its_picture(kind: str) -> None:
    title = f"row 1, record 22: NORM (0.912) explained; predicted {', '.join(['WWMMWM'] * 71)}"
    if kind.endswith("chart"):
        image = np.full((3, 60, 180 if kind == "wide chart" else 60), 0.9)
        figure = explanation.picture_figure(image, image - 0.5, title=title)
    else:
        leads = 12 if kind == "twelve leads" else 1
        spec, x = replace(make_spec(channels=leads, samples=200), rate_hz=100.0), np.ones((leads, 200)).cumsum(1)
        figure = explanation.row_figure(x, x, spec=spec, title=title)
    figure.draw_without_rendering()
    drawn_title = figure.texts[0].get_window_extent()
    assert figure.texts[0].get_text().replace("\n", " ") == title
    assert drawn_title.x0 >= 0
    assert drawn_title.x1 <= figure.bbox.width
    assert drawn_title.y1 <= figure.bbox.height
    assert drawn_title.y0 >= max(axes.get_window_extent().y1 for axes in figure.axes), "axes are below it"


def test_a_picture_of_many_labels_names_the_explained_class_with_its_probability_first() -> None:
    labels = {"index": 7, "record": "m8", "group": "right-most", "picture": "row_7.png", "probability": 0.42}
    one = Example(**labels, true="A, B", said="A, C", explained="A", many_labels=True)
    assert one.title == "row 7, record m8: A (0.420) explained; true A, B; predicted A, C"
    assert Example(**labels, true="A", said="A", explained="A").title == "row 7, record m8: true A, predicted A (0.420)"


def test_a_map_that_is_the_same_everywhere_has_no_colour(tmp_path: Path) -> None:
    for value in (0.3, -2.0):
        assert not explanation.scaled(np.full((2, 30), value)).any()
    zeros, spec = np.zeros((1, 187)), replace(make_spec(), leads=TWELVE[:1])
    picture = drawn(explanation.row_figure(zeros, zeros, spec=spec, title=""), tmp_path / "a.png")
    assert not (np.abs(picture[..., 0] - picture[..., 2]) > 100).any()


def test_the_padding_of_a_row_is_drawn_where_it_is_explained_and_only_there() -> None:
    x, attribution = np.zeros((1, 187)), np.zeros((1, 187))
    x[:, :100] = attribution[:, 20:60] = 1
    ends = []
    for at in (20, 150):
        attribution[:, at] = 1
        figure = explanation.row_figure(x, attribution, spec=make_spec(), title="")
        ends.append(figure.axes[0].get_xlim()[1])
    np.testing.assert_allclose(ends, [100 / 125, 151 / 125])


def test_colours_are_full_at_the_strongest_fiftieth_whatever_the_unit() -> None:
    attribution = np.concatenate([np.arange(1, 51), [0] * 50]).astype(float)
    found = explanation.scaled(attribution)
    np.testing.assert_allclose(found, explanation.scaled(attribution * 1e-9))
    assert found.max() == 1
    np.testing.assert_allclose(found[:49], attribution[:49] / np.percentile(np.arange(1, 51), 98))
    np.testing.assert_allclose(explanation.scaled(-attribution), -found)


def test_light_falls_on_a_chart_where_it_is_explained_and_ink_is_half_as_bright(tmp_path: Path) -> None:
    size = (64, 96)
    image, attribution = np.full((3, *size), 0.97), np.zeros((3, *size))
    image[:, 30:34, :] = 0.1
    attribution[:, :, : size[1] // 2] = 1
    picture = drawn(explanation.picture_figure(image, attribution, title="a chart"), tmp_path / "a.png")
    inner = picture[picture.shape[0] // 4 :, 20:-20]
    orange, middle = inner[..., 0] - inner[..., 2] > 100, inner.shape[1] // 2
    assert orange[:, : middle - 10].mean() > 0.5
    assert not orange[:, middle + 10 :].any()
    assert (inner.max(2) < 130).any(0).mean() > 0.9, "the line can be followed from edge to edge"


def example(folder: Path, name: str, index: int, group: str, **how: str) -> Example:
    (folder / f"row_{index}.png").write_bytes(b"\x89PNG")
    facts = {"true": name, "said": name, "explained": name, "record": "<i>r</i>"} | how
    return Example(index=index, probability=0.5, group=group, picture=f"row_{index}.png", **facts)


def test_names_are_text_on_the_page_and_every_row_stands_under_its_class_and_outcome(tmp_path: Path) -> None:
    classes = ("<script>alert(1)</script>", 'N"&', "C")
    examples = [
        example(tmp_path, classes[0], 1, "right-most"),
        example(tmp_path, classes[1], 2, "wrong-least", said=classes[0]),
        example(tmp_path, classes[1], 3, "wrong-most", said=classes[0]),
    ]
    doubts = [Doubt("Deletion <b>", "0.1", "a & b")]
    how = {"classes": classes, "title": "run <1>", "facts": [("split", "a < b")], "doubts": doubts, "wide": False}
    page = explanation.write(tmp_path, examples, **how)
    text = page.read_text()
    assert not [markup for markup in ("<script>alert", "<b>", "@TITLE@", "@FACTS@", "@SECTIONS@") if markup in text]
    assert (text.count("<figure"), text.count("<section")) == (3, 2)  # no section for a class without a row
    assert text.index("wrong, most certain</h3>") < text.index("wrong, least certain</h3>")
    assert all(source.startswith("data:") for source in Page(page).loaded)
    assert "a &lt; b" in text
