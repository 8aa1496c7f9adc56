"""A dataset as pictures: counts, examples and means of its training rows, names as text, and closed test rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.data import make_spec
from helpers.pages import Page
from loaders.base import Data, DataSpec
from toolbox.errors import ResourceError, UsageError
from toolbox.plain import NOTICE
from toolbox.reports import dataset, pages
from toolbox.runs.outputs import MARKER

PNG = b"\x89PNG"
PICTURES = ("classes", "examples", "mean")


def explored(folder: Path, data: Data, **how: object) -> Path:
    train = data.train
    how = {"seed": 42, "examples": 2} | how
    return dataset.explore(
        folder, folder, x=train.x, y=train.y, index=train.index, y_val=data.val.y, spec=data.spec, **how
    )


def test_a_dataset_becomes_pictures_and_a_page_that_reads_without_a_network(tmp_path: Path, tiny: Data) -> None:
    def open_test() -> None:
        raise RuntimeError("the test rows are closed")

    beat, closed = tiny.train.x[0, 0], replace(tiny, open_test=open_test)
    page = explored(tmp_path / "a new" / "folder", closed, augmented={"original": beat, "scale": 2 * beat})
    assert page.name == "index.html"
    drawn = {f"{name}.png" for name in (*PICTURES, "augmentations")}
    assert {path.name for path in page.parent.iterdir()} == {"index.html", "plotly.min.js", MARKER, *drawn}
    assert all((page.parent / name).read_bytes()[:4] == PNG for name in drawn)
    assert set(Page(page).loaded) == {"plotly.min.js", *drawn}
    text, spec = page.read_text(), tiny.spec
    assert text.count('<div class="plot"') == 1 + 2 * len(spec.classes) + len(spec.classes) + 2
    assert "features" not in text
    facts = ("150 train, 50 validation", "187 samples at 125 Hz = 1.496 s", f"{dataset.CLOSED} {NOTICE}")
    for fact in (*facts, spec.name, *spec.classes, *spec.leads, spec.unit, spec.split_rule, spec.source):
        assert fact in text


def test_twelve_leads_and_a_class_without_a_row_are_drawn(tmp_path: Path) -> None:
    spec, y = make_spec(channels=12, samples=30, classes=("a", "b")), np.zeros(12, int)
    x = np.random.default_rng(0).normal(size=(12, 12, 30)).astype(np.float32)
    how = {"index": np.arange(12), "y_val": np.empty(0, int), "spec": spec, "seed": 1, "examples": 1}
    page = dataset.explore(tmp_path, tmp_path, x=x, y=y, **how)
    assert all((tmp_path / f"{name}.png").stat().st_size > 1000 for name in PICTURES)
    assert "12 train, 0 validation" in page.read_text()


COUNTS = np.array([[80, 15, 5, 0], [8, 2, 0, 0]])
NAMES = ("normal", "a class with quite a long name, longer than a line", "c", "none")


def test_the_figure_of_the_classes_has_the_counts_and_shares_of_train_and_validation() -> None:
    pie, bars = dataset.classes_figure(COUNTS, NAMES, "a title").axes
    counts = ("88 (80.0%)", "17 (15.5%)", "5 (4.5%)", "0 (0.0%)")
    legend = [text.get_text().replace("\n", " ") for text in pie.get_legend().get_texts()]
    assert legend == [f"{name}  {count}" for name, count in zip(NAMES, counts, strict=True)]
    labels = ["80 (80.0%)", "15 (15.0%)", "5 (5.0%)", "0 (0.0%)", "8 (80.0%)", "2 (20.0%)", "0 (0.0%)", "0 (0.0%)"]
    assert [text.get_text() for text in bars.texts] == labels
    np.testing.assert_allclose([bar.get_width() for bar in bars.patches], [80, 15, 5, 0, 80, 20, 0, 0])


def test_markup_in_the_facts_is_text_and_features_are_named(tmp_path: Path) -> None:
    script = "<script>document.title='ran'</script>"
    spec = replace(make_spec(classes=(script,)), name=script, source=script, leads=(script,))
    about, how = dataset._facts(spec, np.array([1, 1]), 187), {"title": script, "closed": "", "sections": ()}
    pages.save(tmp_path / "index.html", "dataset.html", about=about, **how)
    page = (tmp_path / "index.html").read_text()
    assert "<script>document" not in page
    assert page.count("&lt;script&gt;") == 5
    fused = replace(make_spec(), features=("rr_previous", "rr_next"))
    assert ("features", "rr_previous, rr_next") in dataset._facts(fused, np.array([1, 1]), 187)


def test_a_folder_that_cannot_be_made_and_a_file_of_somebody_else_are_named(tmp_path: Path, tiny: Data) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="file"):
        explored(tmp_path / "file", tiny)
    (tmp_path / "mean.png").write_text("theirs")
    with pytest.raises(UsageError, match=r"mean.png is there already"):
        explored(tmp_path, tiny)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "mean.png"}
    for text, own in ((f"<h1>{tiny.spec.name}</h1>\n<p>{dataset.CLOSED} {NOTICE}</p>\n", True), ("theirs", False)):
        (tmp_path / "index.html").write_text(text)
        assert dataset._is_own(tmp_path / "mean.png") is own  # drawn by an earlier version


def rows(counts: tuple[int, ...], leads: int = 1, samples: int = 50) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x (N, C, T) around 5, y (N,) with `counts` rows a class in mixed order, index (N,)."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    return rng.normal(5, 1, (len(y), leads, samples)).astype(np.float32), y, 1000 + np.arange(len(y))


def spec_of(counts: tuple[int, ...], leads: int = 1) -> DataSpec:
    return make_spec(channels=leads, classes=tuple(f"class {k}" for k in range(len(counts))))


@pytest.mark.parametrize("leads", [1, 12])
@pytest.mark.parametrize("counts", [(30, 8), (9, 1, 0), (3,)], ids=str)
def test_examples_are_different_rows_of_their_class(counts: tuple[int, ...], leads: int) -> None:
    x, y, index = rows(counts, leads)
    spec = spec_of(counts, leads)
    grid = dataset.example_panels(x, y, index, spec=spec, seed=1, examples=3)
    assert len(grid) == 3 * len(counts)
    again, other = (dataset.example_panels(x, y, index, spec=spec, seed=seed, examples=3) for seed in (1, 2))
    titles = [[panel.title for panel in panels] for panels in (grid, again, other)]
    assert titles[0] == titles[1]
    assert counts != (30, 8) or titles[0] != titles[2], "the seed decides"
    for k, count in enumerate(counts):
        drawn = [panel for panel in grid[3 * k : 3 * k + 3] if panel.lines]
        assert len(drawn) == min(count, 3)
        places = [int(panel.title.splitlines()[0].split("row ")[1].replace(",", "")) - 1000 for panel in drawn]
        assert len(set(places)) == len(places)
        assert (y[places] == k).all()
        for place, panel in zip(places, drawn, strict=True):
            assert [name for name, _, _ in panel.lines] == list(spec.leads)
            for lead, (_, time_s, signal) in enumerate(panel.lines):
                np.testing.assert_allclose(time_s, np.arange(50) / spec.rate_hz, rtol=1e-6)
                offset = signal - x[place, lead]
                np.testing.assert_allclose(offset, 0 if leads == 1 else panel.ticks[0][lead], atol=1e-4)
    assert all(("no row" in panel.title or "no other row" in panel.title) != bool(panel.lines) for panel in grid)
    assert [panel.x_label for panel in grid] == [""] * (len(grid) - 3) + ["time (s)"] * 3
    first, second, *_ = grid
    assert (first.y_label, second.y_label) == (("mV", "") if leads == 1 else ("", ""))
    if leads > 1:
        steps = np.diff(first.ticks[0])
        assert np.allclose(steps, steps[0])
        assert f"leads {-steps[0]:g} mV apart" in first.title


@pytest.mark.parametrize("span", [0.0, 1e-3, 0.3, 1.0, 7.0, 9.9, 4000.0])
def test_the_step_between_leads_is_round_and_near_their_range(span: float) -> None:
    step = dataset._step(span)
    assert 0.7 * (span or 1) <= step <= 2 * (span or 1)
    assert f"{step:e}"[0] in "125"


@pytest.mark.parametrize("block", [1, 60, 10**6], ids=["a row at a time", "a few", "at once"])
def test_mean_and_spread_are_numpys_for_any_size_of_block(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(dataset, "BLOCK", block)
    x, y, _ = rows((20, 1, 0, 7), leads=2, samples=30)
    x = x.astype(float) + 1000
    counts, mean, sd = dataset.moments(x, y, 4)
    assert counts.tolist() == [20, 1, 0, 7]
    for k in (0, 1, 3):
        np.testing.assert_allclose(mean[k], x[y == k].mean(0), rtol=1e-6)
        np.testing.assert_allclose(sd[k], x[y == k].std(0), rtol=1e-5, atol=1e-5)
    assert not mean[2].any()
    assert not sd[2].any()
    counts, mean, sd = dataset.moments(np.empty((0, 1, 5), np.float32), np.empty(0, int), 2)
    assert (counts.tolist(), mean.shape, sd.shape) == ([0, 0], (2, 1, 5), (2, 1, 5))


@pytest.mark.parametrize("leads", [1, 12])
def test_a_mean_lies_in_the_middle_of_a_band_of_two_deviations_to_either_end(leads: int) -> None:
    counts = (9, 1, 0)
    (x, y, _), spec = rows(counts, leads), spec_of(counts, leads)
    grid = dataset.mean_panels(x, y, spec)
    assert len(grid) == len(counts)
    for k, panel in enumerate(grid):
        assert panel.title.startswith(f"class {k}, {counts[k]:,} row")
        assert len(panel.lines) == len(panel.bands) == (leads if counts[k] else 0)
        for lead, ((name, time_s, middle), (_, low, high)) in enumerate(zip(panel.lines, panel.bands, strict=True)):
            assert name == spec.leads[lead]
            base = panel.ticks[0][lead] if leads > 1 else 0
            np.testing.assert_allclose(middle - base, x[y == k, lead].mean(0), atol=1e-4)
            np.testing.assert_allclose((low + high) / 2, middle, atol=1e-4)
            np.testing.assert_allclose(high - low, 4 * x[y == k, lead].std(0), atol=1e-3)
            np.testing.assert_allclose(time_s, np.arange(50) / spec.rate_hz, rtol=1e-6)


def test_augmentations_are_drawn_over_the_original() -> None:
    original = np.sin(np.arange(50) / 5)
    augmented = {"original": original, "baseline_wander": original + 0.1, "crop": original[:40]}
    drawn = dataset.augmentation_panels(augmented, rate_hz=125, unit="mV")
    assert [panel.title for panel in drawn] == ["original", "baseline wander", "crop"]
    assert drawn[0].guide is None
    for panel, signal in zip(drawn[1:], list(augmented.values())[1:], strict=True):
        np.testing.assert_array_equal(panel.guide[1], original)
        np.testing.assert_array_equal(panel.lines[0][2], signal)
        assert panel.lines[0][1][-1] == pytest.approx((len(signal) - 1) / 125)
    assert (drawn[0].y_label, drawn[-1].x_label) == ("mV", "time (s)")
