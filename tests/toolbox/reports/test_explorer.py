"""A dataset as pictures: every file is there for any data, counts are counts, names are text, and the test rows stay
closed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.data import make_spec
from helpers.pages import Page
from loaders.base import Data
from toolbox.errors import ResourceError, UsageError
from toolbox.outputs import MARKER
from toolbox.plain import NOTICE
from toolbox.reports import dataset, pages

PNG = b"\x89PNG"
PICTURES = ("classes", "examples", "mean")


def looked_at(folder: Path, data: Data, **how: object) -> Path:
    train = data.train
    how = {"seed": 42, "examples": 2} | how
    return dataset.explore(folder, x=train.x, y=train.y, index=train.index, y_val=data.val.y, spec=data.spec, **how)


def test_a_dataset_becomes_pictures_and_a_page_that_shows_them_without_a_network(tmp_path: Path, tiny: Data) -> None:
    def open_test() -> None:
        raise RuntimeError("the test rows are closed")

    page = looked_at(tmp_path / "a new" / "folder", replace(tiny, open_test=open_test))
    assert page.name == "index.html"
    files = {path.name for path in page.parent.iterdir()} - {MARKER}
    assert files == {
        "index.html",
        "plotly.min.js",
        *(f"{name}.{kind}" for name in PICTURES for kind in ("png", "html")),
    }
    for name in PICTURES:
        assert (page.parent / f"{name}.png").read_bytes()[:4] == PNG
        assert Page(page.parent / f"{name}.html").loaded == ["plotly.min.js"]
    assert set(Page(page).loaded) == files - {"index.html", "plotly.min.js"}
    text = page.read_text()
    assert f"{dataset.CLOSED} {NOTICE}" in text
    assert "features" not in text
    assert "150 train, 50 validation" in text
    assert "187 samples at 125 Hz = 1.496 s" in text
    for fact in (
        tiny.spec.name,
        *tiny.spec.classes,
        *tiny.spec.leads,
        tiny.spec.unit,
        tiny.spec.split_rule,
        tiny.spec.source,
    ):
        assert fact in text


@pytest.mark.parametrize("leads", [1, 12])
@pytest.mark.parametrize("classes", [1, 3, 10])
def test_any_number_of_leads_and_classes_is_drawn(tmp_path: Path, leads: int, classes: int) -> None:
    rng = np.random.default_rng(0)
    spec = make_spec(channels=leads, samples=30, classes=tuple("abcdefghij"[:classes]))
    y = np.minimum(np.arange(12), max(0, classes - 2))  # the last class has no row, the one before it all the rest
    x = rng.normal(size=(12, leads, 30)).astype(np.float32)
    how = {"index": np.arange(12), "y_val": np.empty(0, int), "spec": spec, "seed": 1, "examples": 2}
    page = dataset.explore(tmp_path, x=x, y=y, **how)
    assert all((tmp_path / f"{name}.png").stat().st_size > 1000 for name in PICTURES)
    assert "12 train, 0 validation" in page.read_text()


def test_augmentations_are_on_the_page_where_they_are_given(tmp_path: Path, tiny: Data) -> None:
    beat = tiny.train.x[0, 0]
    page = looked_at(tmp_path, tiny, augmented={"original": beat, "scale": 2 * beat})
    assert "augmentations.png" in Page(page).loaded
    assert (tmp_path / "augmentations.png").read_bytes()[:4] == PNG


COUNTS = np.array([[80, 15, 5, 0], [8, 2, 0, 0]])
NAMES = ("normal", "a class with quite a long name, longer than a line", "c", "none")


def test_pie_and_bars_say_counts_and_shares_of_train_and_validation_apart() -> None:
    pie, bars = dataset.classes_figure(COUNTS, NAMES, "a title").axes
    said = [text.get_text().replace("\n", " ") for text in pie.get_legend().get_texts()]
    assert said == [
        f"{NAMES[0]}  88 (80.0%)",
        f"{NAMES[1]}  17 (15.5%)",
        f"{NAMES[2]}  5 (4.5%)",
        f"{NAMES[3]}  0 (0.0%)",
    ]
    labels = ["80 (80.0%)", "15 (15.0%)", "5 (5.0%)", "0 (0.0%)", "8 (80.0%)", "2 (20.0%)", "0 (0.0%)", "0 (0.0%)"]
    assert [text.get_text() for text in bars.texts] == labels
    np.testing.assert_allclose([bar.get_width() for bar in bars.patches], [80, 15, 5, 0, 80, 20, 0, 0])


def test_the_page_of_the_classes_has_the_same_numbers() -> None:
    pie, train, val = dataset.classes_page(COUNTS, NAMES, "a title").data
    assert list(pie["values"]) == [88, 17, 5, 0]
    assert (train.name, list(train.x)) == ("train", [80, 15, 5, 0])
    assert (val.name, list(val.x)) == ("validation", [80, 20, 0, 0])
    assert list(val.text) == ["8 (80.0%)", "2 (20.0%)", "0 (0.0%)", "0 (0.0%)"]


def test_markup_in_the_facts_is_shown_and_not_run(tmp_path: Path) -> None:
    script = "<script>document.title='ran'</script>"
    spec = replace(make_spec(classes=(script,)), name=script, source=script, leads=(script,))
    pages.save(
        tmp_path / "index.html",
        "dataset.html",
        title=script,
        closed="",
        pictures=(),
        about=dataset._facts(spec, np.array([1, 1]), 187),
    )
    page = (tmp_path / "index.html").read_text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 5


def test_numbers_beside_the_samples_are_named() -> None:
    spec = replace(make_spec(), features=("rr_previous", "rr_next"))
    assert ("features", "rr_previous, rr_next") in dataset._facts(spec, np.array([1, 1]), 187)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, tiny: Data) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="file"):
        looked_at(tmp_path / "file", tiny)


def test_a_picture_of_somebody_else_is_refused(tmp_path: Path, tiny: Data) -> None:
    (tmp_path / "mean.png").write_text("theirs")
    with pytest.raises(UsageError, match=r"mean.png is there already"):
        looked_at(tmp_path, tiny)
    assert [path.name for path in tmp_path.iterdir()] == ["mean.png"]


def test_what_an_earlier_version_drew_is_known_by_its_page(tmp_path: Path, tiny: Data) -> None:
    (tmp_path / "index.html").write_text(f"<h1>{tiny.spec.name}</h1>\n<p>{dataset.CLOSED} {NOTICE}</p>\n")
    assert dataset._is_own(tmp_path / "mean.png")
    (tmp_path / "index.html").write_text("theirs")
    assert not dataset._is_own(tmp_path / "mean.png")
