"""ECG paper true to scale: pulses, grid and traces cover the pixels that 25 mm/s and 10 mm/mV give, at every size and
layout."""

from collections.abc import Callable

import numpy as np
import pytest

from toolbox.errors import UsageError
from toolbox.paper import drawing, layouts
from toolbox.paper.drawing import Pen, Stroke, Style, blank, covered, inked
from toolbox.paper.layouts import TWELVE, Sheet

RATE_HZ = 500
SIZES = (64, 112, 224, 300, 448, 1323)
LAYOUTS = ("v1", "v2", "1x10", "3x3.3+V1+II", "4x2.5")
every_layout = pytest.mark.parametrize("name", LAYOUTS)


def sheet(name: str = "v1", size: int = 224, leads: tuple[str, ...] = TWELVE) -> Sheet:
    (found,) = layouts.sheets(layouts.parse(name), leads, size=size)
    return found


def ink_of(sheet: Sheet, signal: np.ndarray, line_mm: float = 0.35, rate_hz: int = RATE_HZ) -> np.ndarray:
    """The ink (H, W) as parts of a pixel."""
    return Pen(sheet, rate_hz, signal.shape[1], line_mm=line_mm).ink(signal) / 255


def stroked(shape: tuple[int, int], x: list[float], y: list[float], width: float) -> np.ndarray:
    return covered(shape, [(Stroke(np.array(x), width), np.array([y], np.float32))]) / 255


def stretches(profile: np.ndarray) -> list[tuple[float, float]]:
    """Begin and end in pixels of each stretch of ink along a line of pixels: of its first and last pixel it covers a
    part."""
    there = np.flatnonzero(np.diff(np.concatenate([[0], profile > 0.001, [0]]).astype(int))).reshape(-1, 2)
    return [(begin + 0.5 - profile[begin], end - 1.5 + profile[end - 1]) for begin, end in there]


def middle_of(ink: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The mean height in pixels of the ink of each column."""
    return (ink[:, columns] * np.arange(len(ink))[:, None]).sum(0) / ink[:, columns].sum(0)


@every_layout
def test_a_mm_has_as_many_pixels_across_as_down_and_the_size_is_the_height(name: str) -> None:
    for size in SIZES:
        drawn = sheet(name, size)
        height, width = drawn.image
        assert height == size
        assert abs(width - drawn.width_mm * drawn.pixels_per_mm) <= 0.5
        assert drawn.height_mm * drawn.pixels_per_mm == pytest.approx(size)
        seconds = drawn.layout.columns * drawn.layout.seconds
        assert drawn.width_mm == pytest.approx(15 + 25 * seconds + 5)


@pytest.mark.parametrize(("name", "image", "scale"), [("v1", (224, 540), 2.0), ("v2", (224, 378), 1.4)])
def test_a_preset_has_whole_squares_and_readable_names(name: str, image: tuple[int, int], scale: float) -> None:
    drawn = sheet(name)
    assert drawn.image == image
    assert drawn.pixels_per_mm == pytest.approx(scale)
    written = drawing._written(drawn) > 60
    for cell in drawn.cells:
        left, top = (round(at * drawn.pixels_per_mm) for at in (cell.x_mm, cell.y_mm - 11))
        rows = np.flatnonzero(written[top : top + 14, left : left + 20].any(1))
        assert np.ptp(rows) + 1 >= 7, "letters of eight pixels"


@every_layout
def test_the_calibration_pulse_is_one_mv_high_and_a_fifth_of_a_second_long(name: str) -> None:
    for scale in (1.0, 1.4, 3.3, 11.8125):
        drawn = sheet(name, round(sheet(name).height_mm * scale))
        scale = drawn.pixels_per_mm
        ink, width = drawing._printed(drawn, Style(line=0.2)) / 255, max(0.2 * scale, 1)
        for zero_mm in drawn.rows_mm:
            top_px = (zero_mm - 10) * scale
            column = stretches(ink[:, round(7.5 * scale)])  # through the middle of the pulse
            top, *_ = (line for line in column if abs((line[0] + line[1]) / 2 - top_px) < 1.5)
            assert np.mean(top) == pytest.approx(top_px, abs=0.02)
            assert top[1] - top[0] == pytest.approx(width, abs=0.02)
            rise, fall = stretches(ink[round((zero_mm - 5) * scale), : round(13 * scale)])  # half way up
            assert np.mean(rise) == pytest.approx(5 * scale, abs=0.11)  # a pixel is cut into five columns
            assert np.mean(fall) - np.mean(rise) == pytest.approx(0.2 * 25 * scale, abs=0.21)


@pytest.mark.parametrize("name", ["major", "minor"])
def test_grid_lines_are_a_fifth_of_a_second_and_half_a_mv_apart_and_their_fifths(name: str) -> None:
    apart_mm, wide_mm = drawing.GRID_MM[name]
    assert apart_mm == {"major": 0.2 * 25, "minor": 0.04 * 25}[name] == {"major": 0.5 * 10, "minor": 0.1 * 10}[name]
    for drawn in (sheet("v1", size) for size in SIZES):
        scale = drawn.pixels_per_mm
        apart = apart_mm * scale
        for pixels in drawn.image:
            dark, at = drawing._lines(pixels, apart_mm, wide_mm, scale), np.arange(pixels)
            for k in range(1, int((pixels - 1) / apart)):
                low, high = (k - 0.5) * apart, (k + 0.5) * apart
                share = (np.minimum(at + 0.5, high) - np.maximum(at - 0.5, low)).clip(0, 1) * dark
                assert share.sum() == pytest.approx(wide_mm * scale, abs=0.02 + 0.1 * (apart < 2))
                if apart >= 3:
                    assert (share * at).sum() / share.sum() == pytest.approx(k * apart, abs=0.1)


@every_layout
@pytest.mark.parametrize(("lead", "mv"), [("II", 1.1), ("V1", -0.9)])
def test_an_r_peak_lands_at_its_time_and_height(name: str, lead: str, mv: float) -> None:
    for drawn in (sheet(name, size) for size in (64, 224, 448)):
        scale, line = drawn.pixels_per_mm, 0.2
        for cell in (cell for cell in drawn.cells if cell.lead == lead):
            peak_s = cell.begin_s + 0.4 * cell.seconds
            time_s = np.arange(round(drawn.layout.whole_s * RATE_HZ)) / RATE_HZ
            signal = np.full((12, len(time_s)), np.nan, np.float32)
            signal[TWELVE.index(lead)] = mv * (1 - np.abs(time_s - peak_s) / 0.05).clip(0)
            left, right = round(cell.x_mm * scale), round((cell.x_mm + cell.seconds * 25) * scale)
            top, bottom = max(round((cell.y_mm - 12) * scale), 0), round((cell.y_mm + 12) * scale)
            rows, columns = np.nonzero(ink_of(drawn, signal, line)[top:bottom, left:right] > 0.02)
            tip = rows.min() if mv > 0 else rows.max()
            at, expected = left + columns[rows == tip].mean(), (cell.x_mm + (peak_s - cell.begin_s) * 25) * scale
            assert at == pytest.approx(expected, abs=1.0)
            edge = (cell.y_mm - mv * 10) * scale - np.sign(mv) * max(line * scale, 1) / 2  # of the line, round
            assert top + tip == pytest.approx(edge, abs=1.01)


@pytest.mark.parametrize("rate_hz", [100, 125, 360, 500, 1000])
@pytest.mark.parametrize("size", [224, 448])
def test_a_slow_wave_read_back_from_the_pixels_is_the_wave_at_any_rate(size: int, rate_hz: int) -> None:
    drawn = sheet("1x10", size, ("II",))
    time_s = np.arange(10 * rate_hz) / rate_hz
    wave = (0.8 * np.sin(2 * np.pi * 0.3 * time_s) + 0.02 * time_s).astype(np.float32)
    scale, zero = drawn.pixels_per_mm, drawn.rows_mm[0]
    columns = np.arange(round(16 * scale), round(264 * scale))
    seconds, middle = (columns / scale - 15) / 25, middle_of(ink_of(drawn, wave[None], rate_hz=rate_hz), columns)
    np.testing.assert_allclose((zero - middle / scale) / 10, np.interp(seconds, time_s, wave), atol=0.015)


@pytest.mark.parametrize("width", [1.0, 3.0, 4.13])
@pytest.mark.parametrize("rise", [0, 15, 80, 300])
def test_the_ink_of_a_line_is_its_length_times_its_width(width: float, rise: int) -> None:
    ink = stroked((400, 100), [10, 90], [350, 350 - rise], width)
    expected = np.hypot(80, rise) * width + np.pi * width**2 / 4
    assert ink.sum() == pytest.approx(expected, rel=0.01 if rise == 0 else 0.08)


def test_an_upright_line_is_drawn_and_a_point_is_a_dot() -> None:
    ink = stroked((60, 20), [10, 10], [10, 50], 2.0)
    assert ink[15:45].sum(1) == pytest.approx(np.full(30, 2.0), abs=0.3)
    assert ink[:8].sum() == ink[53:].sum() == 0
    assert stroked((20, 20), [10], [10], 4.0).sum() == pytest.approx(np.pi * 4, rel=0.06)


def test_samples_that_are_not_finite_are_gaps_and_one_number_between_them_is_a_dot() -> None:
    drawn = sheet("1x10", 448, ("II",))
    scale, signal = drawn.pixels_per_mm, np.zeros((1, 5000), np.float32)
    whole = ink_of(drawn, signal)
    signal[0, 1000:2000], signal[0, 3000:] = np.nan, np.inf
    ink = ink_of(drawn, signal)
    for begin, end in ((2, 4), (6, 10)):
        inside = slice(round((15 + 25 * begin) * scale) + 2, round((15 + 25 * end) * scale) - 2)
        assert ink[:, inside].sum() == 0
        assert whole[:, inside].sum() > 0
    assert ink.sum() / whole.sum() * 10 == pytest.approx(4, abs=0.05)
    signal[:] = np.nan
    assert ink_of(drawn, signal).sum() == 0
    signal[0, 2500] = 0.5
    rows, columns = np.nonzero(ink_of(drawn, signal) > 0.02)
    assert np.ptp(rows) <= 5
    assert columns.mean() == pytest.approx((15 + 125) * scale, abs=0.6)


def test_a_trace_that_leaves_the_paper_is_cut_at_its_edge() -> None:
    drawn = sheet("1x10", 224, ("II",))
    assert ink_of(drawn, np.full((1, 5000), 99, np.float32)).sum() == 0
    tall = np.zeros((1, 5000), np.float32)
    tall[0, 2500] = -1e30
    assert np.isfinite(ink_of(drawn, tall)).all()


def test_leads_fill_a_column_after_the_other_and_the_strip_runs_over_the_whole_time() -> None:
    drawn = sheet("v1")
    seen = {(cell.x_mm, cell.y_mm): (cell.lead, cell.begin_s, cell.seconds) for cell in drawn.cells}
    first = drawn.rows_mm
    assert [seen[15, row][0] for row in first[:3]] == ["I", "II", "III"]
    assert [seen[15 + 62.5, row][:2] for row in first[:3]] == [("aVR", 2.5), ("aVL", 2.5), ("aVF", 2.5)]
    assert [seen[15 + 187.5, row][:2] for row in first[:3]] == [("V4", 7.5), ("V5", 7.5), ("V6", 7.5)]
    assert seen[15, first[3]] == ("II", 0, 10)
    assert np.diff(first).tolist() == [24, 24, 24]


def test_layouts_that_are_drawn_together_share_a_paper_and_its_scale() -> None:
    v1, v2 = layouts.sheets(layouts.parse("v1,v2"), TWELVE, size=224)
    assert (v1.image, v1.pixels_per_mm) == (v2.image, v2.pixels_per_mm)
    assert v1.cells[0].y_mm % 1 == 0
    assert {cell.lead for cell in v1.cells} == {cell.lead for cell in v2.cells} == set(TWELVE)


def test_leads_are_found_in_any_spelling_and_a_missing_one_is_named() -> None:
    as_others = tuple(lead.upper() for lead in TWELVE)
    assert [cell.channel for cell in sheet("v1", leads=as_others).cells] == [*range(12), 1]
    (some,) = layouts.sheets(layouts.parse("2x2.5+V1"), TWELVE, chosen=("V1", "II", "I"), size=224)
    assert [(cell.lead, cell.channel) for cell in some.cells] == [("V1", 6), ("II", 1), ("I", 0), ("V1", 6)]
    for missing in ("II", "V6", "aVR"):
        leads = tuple(lead for lead in TWELVE if lead != missing)
        with pytest.raises(UsageError, match=f"layout v1 needs lead {missing}, the data has"):
            layouts.sheets(layouts.parse("v1"), leads, size=224)
        assert layouts.sheets(layouts.parse("4x2.5"), leads, size=224)


def test_by_default_twelve_leads_of_ten_seconds_are_v1_and_others_a_line_as_long_as_a_row() -> None:
    assert layouts.by_default(TWELVE, 10.0).name == "v1"
    assert layouts.by_default(TWELVE, 9.0).whole_s == 9
    assert layouts.by_default(("MLII",), 1.2).whole_s == 1.2
    with pytest.raises(UsageError, match=r"too long.*--rate-hz"):
        layouts.by_default(("x",), 187.0)


LAYOUT = ["", "v3", "4x", "0x2.5", "4x0.1", "4x20", "4x2.5+", "v1,v1", "-1x10", "1x1e9", "v1 v2"]
STYLE = ["grid", "grid=yes", "line=0", "line=nan", "line=9", "trace=red", "paper=12345G", "dots=1", "line="]


@pytest.mark.parametrize(
    ("parse", "texts", "flag"), [(layouts.parse, LAYOUT, "--chart-layout"), (Style.of, STYLE, "--chart-style")]
)
def test_a_layout_or_a_style_that_cannot_be_is_a_usage_error(
    parse: Callable[[str], object], texts: list[str], flag: str
) -> None:
    for text in texts:
        with pytest.raises(UsageError, match=flag):
            parse(text)


def test_a_style_decides_grid_line_and_colours() -> None:
    style = Style.of("grid=off, line=0.8,trace=0000ff,paper=ffffff")
    page, colour = blank(sheet("v1"), style)
    assert colour.tolist() == [0, 0, 255]
    assert page[2, 200].tolist() == [255, 255, 255]
    assert (page[:, :, 0] == page[:, :, 1]).all()  # white paper and blue letters
    with_grid, _ = blank(sheet("v1"), Style())
    assert len(np.unique(with_grid[:3].reshape(-1, 3), axis=0)) > 3


def test_ink_is_put_on_paper_in_proportion() -> None:
    page = np.full((1, 3, 3), 200, np.uint8)
    out = inked(page, np.array([0, 100, 255], np.uint8), np.array([[0, 255, 51]], np.uint8))
    assert out[0].tolist() == [[200, 200, 200], [0, 100, 255], [160, 180, 211]]
    assert page[0, 1].tolist() == [200, 200, 200]
