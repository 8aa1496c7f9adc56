"""Rows as panels: each example is of its class, mean and spread are numpy's, and thinning hides no peak."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers.data import make_spec
from loaders.base import DataSpec
from toolbox.reports import dataset, plots

PNG = b"\x89PNG"


def rows(counts: tuple[int, ...], leads: int = 1, samples: int = 50) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x (N, C, T) around 5, y (N,) with `counts` rows a class in mixed order, index (N,)."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    return rng.normal(5, 1, (len(y), leads, samples)).astype(np.float32), y, 1000 + np.arange(len(y))


def spec_of(counts: tuple[int, ...], leads: int = 1) -> DataSpec:
    return make_spec(channels=leads, classes=tuple(f"class {k}" for k in range(len(counts))))


@pytest.mark.parametrize("leads", [1, 2, 12])
@pytest.mark.parametrize("counts", [(30, 8), (9, 1, 0), (3,), (2,) * 10], ids=str)
def test_examples_are_different_rows_of_their_class_over_seconds_and_the_unit(
    counts: tuple[int, ...], leads: int
) -> None:
    x, y, index = rows(counts, leads)
    spec = spec_of(counts, leads)
    grid = dataset.example_panels(x, y, index, spec=spec, seed=1, examples=3)
    assert len(grid) == 3 * len(counts)
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


@pytest.mark.parametrize("leads", [1, 3])
def test_the_unit_stands_at_the_axis_or_with_the_step_between_leads(leads: int) -> None:
    x, y, index = rows((5,), leads)
    first, second = dataset.example_panels(x, y, index, spec=spec_of((5,), leads), seed=1, examples=2)
    assert (first.y_label, second.y_label) == (("mV", "") if leads == 1 else ("", ""))
    if leads > 1:
        steps = np.diff(first.ticks[0])
        assert np.allclose(steps, steps[0])
        assert f"leads {-steps[0]:g} mV apart" in first.title


def test_the_same_seed_draws_the_same_examples() -> None:
    x, y, index = rows((40, 40))
    drawn = [
        [panel.title for panel in dataset.example_panels(x, y, index, spec=spec_of((40, 40)), seed=seed, examples=5)]
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("span", [0.0, 1e-3, 0.3, 1.0, 7.0, 9.9, 4000.0])
def test_the_step_between_leads_is_round_and_near_their_range(span: float) -> None:
    step = dataset._step(span)
    assert 0.7 * (span or 1) <= step <= 2 * (span or 1)
    assert f"{step:e}"[0] in "125"


@pytest.mark.parametrize("block", [1, 60, 10**6], ids=["a row at a time", "a few", "at once"])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_mean_and_spread_are_numpys_however_they_are_read(
    monkeypatch: pytest.MonkeyPatch, block: int, offset: float
) -> None:
    monkeypatch.setattr(dataset, "BLOCK", block)
    x, y, _ = rows((20, 1, 0, 7), leads=2, samples=30)
    x = x.astype(float) + offset
    counts, mean, sd = dataset.moments(x, y, 4)
    assert counts.tolist() == [20, 1, 0, 7]
    for k in (0, 1, 3):
        np.testing.assert_allclose(mean[k], x[y == k].mean(0), rtol=1e-6)
        np.testing.assert_allclose(sd[k], x[y == k].std(0), rtol=1e-5, atol=1e-5)
    assert not mean[2].any()
    assert not sd[2].any()


def test_rows_that_are_none_have_no_mean() -> None:
    counts, mean, sd = dataset.moments(np.empty((0, 1, 5), np.float32), np.empty(0, int), 2)
    assert counts.tolist() == [0, 0]
    assert mean.shape == sd.shape == (2, 1, 5)


@pytest.mark.parametrize("leads", [1, 12])
@pytest.mark.parametrize("counts", [(30, 8), (9, 1, 0), (2,) * 10], ids=str)
def test_a_mean_lies_in_the_middle_of_a_band_of_two_deviations_to_either_side(
    counts: tuple[int, ...], leads: int
) -> None:
    x, y, _ = rows(counts, leads)
    spec = spec_of(counts, leads)
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


@pytest.mark.parametrize("samples", [1, 187, 1000, 1001, 5000, 9001])
def test_thinning_keeps_the_ends_of_every_stretch_and_hides_no_peak(samples: int) -> None:
    signal = np.random.default_rng(0).normal(size=samples)
    signal[samples // 3], signal[samples // 2] = 50, -50
    kept = dataset.thinned(signal)
    assert len(kept) <= dataset.POINTS
    assert (np.diff(kept) > 0).all()
    assert (kept >= 0).all()
    assert (kept < samples).all()
    assert (signal[kept].max(), signal[kept].min()) == (signal.max(), signal.min())


def test_augmentations_are_drawn_over_the_original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, drawn = np.sin(np.arange(50) / 5), []
    figure: Callable = plots.panels_figure
    monkeypatch.setattr(plots, "panels_figure", lambda grid, *how: drawn.extend(grid) or figure(grid, *how))
    augmented = {"original": original, "baseline_wander": original + 0.1, "scale": 2 * original, "crop": original[:40]}
    dataset.save_augmentations(augmented, tmp_path / "augmentations.png", rate_hz=125, unit="mV")
    assert (tmp_path / "augmentations.png").read_bytes()[:4] == PNG
    assert [panel.title for panel in drawn] == ["original", "baseline wander", "scale", "crop"]
    assert drawn[0].guide is None
    for panel, signal in zip(drawn[1:], list(augmented.values())[1:], strict=True):
        np.testing.assert_array_equal(panel.guide[1], original)
        np.testing.assert_array_equal(panel.lines[0][2], signal)
        assert panel.lines[0][1][-1] == pytest.approx((len(signal) - 1) / 125)
    assert (drawn[0].y_label, drawn[-1].x_label) == ("mV", "time (s)")
