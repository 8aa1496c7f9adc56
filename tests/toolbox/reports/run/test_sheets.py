"""A row on ECG paper: true to scale, every peak in it, any unit, rate and length."""

import re
from dataclasses import replace

import numpy as np
import pytest

from helpers.data import make_spec
from toolbox.paper.layouts import MM_PER_S, TWELVE
from toolbox.reports.run import sheets
from toolbox.reports.run.sheets import UNITS, Paper


def points(path: str) -> np.ndarray:
    """The points (n, 2) of a path, in units."""
    start, _, moves = path.removeprefix("M").partition("l")
    numbers = [int(word) for word in re.findall(r"-?\d+", moves)]
    return np.cumsum([[int(word) for word in start.split()], *np.reshape(numbers, (-1, 2)).tolist()], axis=0)


def drawn(signal: np.ndarray, **facts: object) -> Paper:
    return sheets.on_paper(signal.astype(np.float32), replace(make_spec(channels=len(signal)), **facts))


def test_a_millivolt_is_ten_millimetres_and_a_second_twenty_five() -> None:
    signal = np.zeros((1, 126))
    signal[0, 60] = 1.0
    paper = drawn(signal, unit="mV", rate_hz=125)
    (line,) = paper.lines
    assert np.ptp(points(line.path), axis=0).tolist() == [MM_PER_S * UNITS, 10 * UNITS]
    assert paper.scale == "25 mm/s, 10 mm/mV"
    assert 0 < points(line.path)[:, 0].min() < points(line.path)[:, 0].max() < paper.width
    assert 0 < points(line.path)[:, 1].min() < points(line.path)[:, 1].max() < paper.height


@pytest.mark.parametrize(("unit", "says"), [("fraction of the beat's range", "scaled to the row"), ("mV", "mm/mV")])
@pytest.mark.parametrize("peak", [0.0, 1e-3, 3.0, 500.0])
def test_any_amplitude_fits_on_the_paper_and_the_scale_is_stated(unit: str, says: str, peak: float) -> None:
    signal = peak * np.sin(np.arange(200) / 9)[None]
    paper = drawn(signal, unit=unit)
    y = points(paper.lines[0].path)[:, 1]
    assert 0 <= y.min() <= y.max() <= paper.height <= 100 * UNITS
    assert says in paper.scale


def test_twelve_leads_of_ten_seconds_are_laid_out_as_a_printed_ecg() -> None:
    signal = np.random.default_rng(0).normal(0, 0.2, (12, 5000))
    paper = drawn(signal, unit="mV", rate_hz=500, leads=TWELVE)
    assert [text for *_, text in paper.names] == [*TWELVE, "II"]
    assert paper.left_out == ""
    assert len("".join(line.path for line in paper.lines)) < 60_000
    assert "the first 10 of 12 s" in drawn(np.tile(signal, 2)[:, :6000], unit="mV", rate_hz=500, leads=TWELVE).left_out


@pytest.mark.parametrize(("seconds", "lines", "cut"), [(8.0, 1, ""), (23.0, 3, ""), (61.0, 6, "the first 60 of 61 s")])
def test_a_long_strip_has_a_line_for_ten_seconds(seconds: float, lines: int, cut: str) -> None:
    paper = drawn(np.random.default_rng(0).normal(size=(1, int(seconds * 300))), rate_hz=300, unit="mV")
    assert (len(paper.lines), paper.left_out) == (lines, cut)


@pytest.mark.parametrize("rate_hz", [0.0, 1e-3, 1e9])
def test_an_unknown_rate_is_stated(rate_hz: float) -> None:
    paper = drawn(np.random.default_rng(0).normal(size=(2, 64)), rate_hz=rate_hz)
    assert paper.scale.startswith("the time scale is not known")
    assert len(paper.lines) == 2


def test_a_reconstruction_is_a_second_line_on_the_same_scale() -> None:
    signal = np.sin(np.arange(100) / 9)[None].astype(np.float32)
    paper = sheets.on_paper(signal, make_spec(), output=signal)
    first, second = paper.lines
    assert (first.is_output, second.is_output) == (False, True)
    assert first.path == second.path
