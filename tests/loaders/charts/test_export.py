"""Charts for people: a mm on the page is a mm, each chart is named by its record, and the test rows stay closed."""

import csv
import re
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.charts import make_data, make_split, strips
from loaders.base import Data, Split
from loaders.charts import export as pdf
from loaders.charts.export import export
from toolbox.errors import ResourceError, UsageError
from toolbox.paper import layouts
from toolbox.paper.drawing import Style
from toolbox.paper.layouts import TWELVE, Sheet
from toolbox.runs.outputs import MARKER

MM = 72 / 25.4  # points


def closed() -> Split:
    raise AssertionError("the test is open")


def few(data: Data) -> Data:
    return replace(data, train=data.train.rows(np.arange(3)), val=data.val.rows(np.arange(1)), open_test=closed)


def page(path: Path) -> tuple[tuple[float, float], str]:
    """Width and height of a PDF's only page in points, and what is drawn on it."""
    content = path.read_bytes()
    (box,) = re.findall(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", content)
    drawn = []
    for part in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL):
        try:
            drawn.append(zlib.decompress(part).decode("latin-1"))
        except zlib.error:
            continue
    return (float(box[0]), float(box[1])), max(drawn, key=lambda text: text.count(" l\n"))


def lines(text: str) -> list[np.ndarray]:
    """The points (n, 2) of each line on a page, from the lower left corner in points."""
    number = r"(-?[\d.]+)"
    found = re.findall(rf"(?m)^{number} {number} m\n((?:{number} {number} l\n)+)", text)
    return [
        np.array([(float(x), float(y)), *((float(a), float(b)) for a, b in re.findall(rf"{number} {number} l", rest))])
        for x, y, rest, *_ in found
    ]


def saved(
    folder: Path, sheet: Sheet, signal: np.ndarray, rate_hz: float
) -> tuple[tuple[float, float], list[np.ndarray]]:
    pdf.save(folder / "x.pdf", sheet, signal, rate_hz=rate_hz, style=Style(), title="x_$1")
    size, text = page(folder / "x.pdf")
    return size, lines(text)


def test_a_page_is_a4_and_what_is_on_it_is_true_to_scale(tmp_path: Path) -> None:
    (sheet,) = layouts.sheets(layouts.parse("v1"), TWELVE, size=224)
    signal = np.zeros((12, 5000), np.float32)
    signal[TWELVE.index("V6"), 4500] = 1.2  # 9 s: 1.5 s into the last column
    (width, height), drawn = saved(tmp_path, sheet, signal, 500)
    assert (width, height) == pytest.approx((297 * MM, 210 * MM), abs=0.01)
    pulses = [line for line in drawn if len(line) == 6 and np.ptp(line[:, 0]) == pytest.approx(9 * MM)]
    assert len(pulses) == 4
    for line in pulses:
        assert np.ptp(line[:, 1]) == pytest.approx(10 * MM, abs=1e-3)  # 1 mV
        assert line[3, 0] - line[2, 0] == pytest.approx(5 * MM, abs=1e-3)  # 0.2 s
    left, top = (297 - sheet.width_mm) / 2 * MM, (210 + sheet.height_mm) / 2 * MM
    cell = next(cell for cell in sheet.cells if cell.lead == "V6")
    peaks = [line[line[:, 1].argmax()] for line in drawn if np.ptp(line[:, 1]) == pytest.approx(12 * MM, abs=0.05)]
    assert len(peaks) == 1
    expected = (left + (15 + 25 * 9) * MM, top - (cell.y_mm - 12) * MM)
    assert peaks[0] == pytest.approx(expected, abs=0.05)


def test_lines_of_the_grid_are_as_far_apart_on_the_page_as_on_paper(tmp_path: Path) -> None:
    (sheet,) = layouts.sheets(layouts.parse("v1"), TWELVE, size=224)
    _, drawn = saved(tmp_path, sheet, np.full((12, 5000), np.nan, np.float32), 500)
    grid = [line for line in drawn if len(line) == 2 and max(np.ptp(line, axis=0)) > 100 * MM]
    for side, length_mm in ((0, 270), (1, 112)):
        at = np.sort([line[0, side] for line in grid if np.ptp(line[:, side]) == 0]) / MM
        whole, fifth = np.arange(0, length_mm + 1), np.arange(0, length_mm + 1, 5)
        from_edge = np.sort(np.abs(at - (at[-1] if side else at[0])))
        np.testing.assert_allclose(from_edge, np.sort(np.concatenate([whole, fifth])), atol=1e-3)


def test_a_chart_that_a4_cannot_hold_has_a_page_as_large_as_it_needs(tmp_path: Path) -> None:
    (sheet,) = layouts.sheets(layouts.parse("1x30"), ("II",), size=224)
    (width, height), drawn = saved(tmp_path, sheet, np.zeros((1, 3000), np.float32), 100)
    assert (width, height) == pytest.approx(((15 + 750 + 5) * MM, (40 + 20) * MM), abs=0.01)
    assert any(np.ptp(line[:, 0]) == pytest.approx((750 - 0.25) * MM, abs=0.01) for line in drawn)


def test_gaps_are_gaps_on_the_page_too(tmp_path: Path) -> None:
    (sheet,) = layouts.sheets(layouts.parse("1x10"), ("II",), size=224)
    signal = np.zeros((1, 1000), np.float32)
    signal[0, 300:600] = np.nan
    _, drawn = saved(tmp_path, sheet, signal, 100)
    long = sorted(
        np.ptp(line[:, 0]) / MM for line in drawn if np.ptp(line[:, 1]) == 0 and 50 < np.ptp(line[:, 0]) / MM < 120
    )
    assert long == pytest.approx([299 / 4 - 0.0, 399 / 4], abs=0.01)


def test_each_chart_is_a_png_and_a_pdf_named_by_its_record_and_layout_and_listed(tmp_path: Path) -> None:
    table = export(few(make_data()), tmp_path, layout="2x0.5,4x0.25+II")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["file"] for row in rows[:3]] == ["train/r0_2x0.5.png", "train/r0_4x0.25+II.png", "train/r1_2x0.5.png"]
    assert rows[-1] == {
        **{"file": "validation/r100_4x0.25+II.png", "side": "validation", "record": "r100", "row": "100"},
        **{"class": "a", "layout": "4x0.25+II", "begin_s": "0", "end_s": "1"},
    }
    assert [row["class"] for row in rows[::2]] == ["a", "b", "c", "a"]
    names = {path.name for path in tmp_path.rglob("*.p*")}
    assert names == {Path(row["file"]).name[:-4] + end for row in rows for end in (".png", ".pdf")}
    with Image.open(tmp_path / rows[0]["file"]) as picture:
        inches = [pixels / dots for pixels, dots in zip(picture.size, picture.info["dpi"], strict=True)]
        assert [25.4 * side for side in inches] == pytest.approx([15 + 25 + 5, 6 * 24 + 16], abs=0.1)
        assert picture.info["dpi"][0] == pytest.approx(300, abs=0.5)


def test_windows_of_a_strip_are_numbered_and_say_from_when_they_are(tmp_path: Path) -> None:
    data = few(strips([250, 100, 60, 101, 731, 1]))
    rows = list(csv.DictReader(export(data, tmp_path).read_text().splitlines()))
    first = [(row["file"], row["begin_s"], row["end_s"]) for row in rows[:3]]
    assert first == [
        ("train/r0_1x1.png", "0", "1"),
        ("train/r0_1x1_2.png", "0.75", "1.75"),
        ("train/r0_1x1_3.png", "1.5", "2.5"),
    ]
    assert (rows[4]["record"], rows[4]["end_s"]) == ("r2", "0.6")


def test_rows_of_one_record_are_told_apart_and_a_name_never_leaves_the_folder(tmp_path: Path) -> None:
    data = make_data(record=np.array(["../a b/ü"] * 40))
    data = few(replace(data, val=make_split(3, 100, record=np.array([""] * 3))))
    export(data, tmp_path / "out", layout="1x1", most=2)
    names = sorted(path.name for path in (tmp_path / "out").rglob("*.png"))
    assert names == ["_a_b_ü_row0_1x1.png", "_a_b_ü_row1_1x1.png", "row100_1x1.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_cannot_be_made_is_a_resource_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="cannot make the folder"):
        export(few(make_data()), tmp_path / "file")


# What stands in the folder


def test_files_of_others_and_charts_of_other_data_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "charts.csv").write_text("chart,seen by\n")
    with pytest.raises(UsageError, match=r"charts.csv is there already.*another --export-charts"):
        export(few(make_data()), tmp_path, layout="2x0.5")
    assert [path.name for path in tmp_path.iterdir()] == ["charts.csv"]
    (tmp_path / "charts.csv").unlink()
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "r1_2x0.5.pdf").write_text("theirs")
    with pytest.raises(UsageError, match=r"r1_2x0.5.pdf is there already"):
        export(few(make_data()), tmp_path, layout="2x0.5")


def test_charts_of_the_same_data_are_drawn_again_with_the_same_bytes(tmp_path: Path) -> None:
    def contents() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in tmp_path.rglob("*.*") if path.name != MARKER}

    data = few(make_data())
    export(data, tmp_path, layout="2x0.5", most=1)
    (tmp_path / "train" / "mine.png").write_text("theirs")
    before = contents()
    (tmp_path / MARKER).unlink()  # as an earlier version left it
    export(data, tmp_path, layout="2x0.5", most=1)
    assert contents() == before
    with pytest.raises(UsageError, match=r"charts.csv is there already"):
        export(replace(data, checksum="other"), tmp_path, layout="2x0.5", most=1)


def test_records_whose_names_differ_in_what_a_file_name_cannot_have_do_not_overwrite_each_other(tmp_path: Path) -> None:
    data = make_data(record=np.array([*("a b", "A_b"), "x" * 300, "x" * 299 + "y", *map(str, range(36))]))
    data = replace(few(data), train=data.train.rows(np.arange(4)))
    rows = list(csv.DictReader(export(data, tmp_path, layout="2x0.5").read_text().splitlines()))
    assert len({row["file"].casefold() for row in rows}) == len(rows)
    assert {path.name for path in (tmp_path / "train").glob("*.png")} == {Path(row["file"]).name for row in rows[:-1]}
