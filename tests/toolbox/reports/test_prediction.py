"""The page of a recording shows its beats, needs no network, and answers to clicks and keys in a real browser."""

import base64
import json
import re
import zlib
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.leads import CLASSES, ecg
from helpers.pages import FLAGS, Page, in_browser, needs_browser
from toolbox.ecg import beat_list
from toolbox.ecg.beat_list import Beats
from toolbox.reports import prediction

FLAGS += ["--disable-component-update"]
RATE_HZ = 250
START = datetime(2024, 5, 6, 23, 59, 0)
SCALE_S = 0.48  # of the page: 48 pixels at 25 mm/s


def make_beats(seconds: float = 120, *, record: str = "r1", **how: Any) -> tuple[Beats, np.ndarray]:
    """A recording of which every seventh beat is V, and its trace in mV."""
    signal, peaks = ecg(seconds, RATE_HZ)
    label = np.where(np.arange(len(peaks)) % 7 == 3, 2, 0)
    scores = np.random.default_rng(0).dirichlet(np.ones(5), len(peaks))
    return Beats(record, "MLII", RATE_HZ, len(signal), CLASSES, peaks, label, scores, **how), signal


def write(path: Path, beats: Beats, signal: np.ndarray, **how: Any) -> Path:
    prediction.save_strip(path, beats, lambda first, last: signal[first:last], summary=beat_list.summary(beats), **how)
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("page") / "r1.html", *make_beats(start=START))


def test_the_page_needs_no_network_and_has_the_notice(page: Path) -> None:
    assert Page(page).loaded == []
    text = page.read_text()
    assert not re.search("https?://", text)
    assert "default-src 'none'" in text
    assert text.count("A research tool, not a medical device.") >= 2


def in_turn(page: Path, scripts: dict[str, str]) -> dict[str, Any]:
    """What each script returns, one after the other in one browser, each with the view of a page just loaded."""
    runs = ", ".join(f"{name}: () => {{ {script} }}" for name, script in scripts.items())
    return in_browser(
        page,
        f"""const fresh = {{ ...view }}, found = {{}};
        for (const [name, run] of Object.entries({{ {runs} }})) {{
          Object.assign(view, fresh); draw();
          try {{ found[name] = run(); }} catch (error) {{ found[name] = String(error); }}
        }}
        return found;""",
    )


ON_THE_PAGE = {
    "click": """const before = [...document.querySelectorAll("#list .row")]; before[5].click();
        const row = document.querySelector('#list .row[aria-current="true"]');
        return { listed: before.map(b => +b.dataset.beat), from: +strip.dataset.from, to: +strip.dataset.to,
                 chosen: +row.dataset.beat, details: $("details").innerText,
                 of: $("of").textContent, count: $("count").textContent };""",
    "keys": """const press = (key, shiftKey = false) =>
        document.dispatchEvent(new KeyboardEvent("keydown", { key, shiftKey }));
        const seen = [], look = () => seen.push([view.chosen, view.t, view.speed, page()]);
        press("n"); look(); press("n"); look(); press("p"); look(); press("End"); look(); press("Home"); look();
        press("ArrowRight", true); look(); press("ArrowLeft", true); look();
        press("+"); look(); press("-"); press("-"); look();
        return seen;""",
    "paper": """choose(31);
        const c = strip.getContext("2d"), count = (data, r, g, b) => {
          let n = 0;
          for (let i = 0; i < data.length; i += 4)
            n += Math.abs(data[i] - r) + Math.abs(data[i + 1] - g) + Math.abs(data[i + 2] - b) < 12;
          return n; };
        const lines = [];
        const low = c.getImageData(0, 287, strip.width, 1).data;
        for (let x = 0; x < strip.width; x++) if (low[4 * x + 1] < 200 && low[4 * x] > 225) lines.push(x);
        const here = c.getImageData(strip.width / 2 - 20, 30, 40, 250).data;
        return { lines, marked: count(here, 194, 78, 0), size: perSecond() * 0.2, height: MM * view.gain * 0.5 };""",
    "pulse": """const data = strip.getContext("2d").getImageData(76, 0, 1, 340).data, dark = [];
        for (let y = 220; y < 304; y++) if (data[4 * y] + data[4 * y + 1] + data[4 * y + 2] < 450) dark.push(y);
        return { top: dark[0], bottom: dark.at(-1), count: dark.length, height: MM * view.gain };""",
    "labels": """const { fillText } = CanvasRenderingContext2D.prototype, cut = [];
        let labels = 0;
        CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
          const half = this.textAlign === "center" ? this.measureText(text).width / 2 : 0;
          if (/^\\d:\\d\\d:/.test(text)) { labels++; if (x < half || x + half > width()) cut.push(text); }
          fillText.call(this, text, x, y);
        };
        for (view.t = 0; view.t < 4; view.t += .1) draw();
        rates(); CanvasRenderingContext2D.prototype.fillText = fillText;
        return [cut, labels > 40];""",
    "print": """const seen = [];
        const look = () => seen.push([strip.clientWidth, strip.clientHeight * 2, perSecond(), view.t]);
        look();
        dispatchEvent(new Event("beforeprint")); look(); seen.push([strip.width, strip.height]);
        dispatchEvent(new Event("afterprint")); look();
        return seen;""",
    "pointer": """const box = strip.getBoundingClientRect(), event = (kind, name, x, more = {}) =>
        strip.dispatchEvent(new kind(name,
          { clientX: box.left + x, clientY: box.top + 100, bubbles: true, cancelable: true, pointerId: 1, ...more }));
        strip.setPointerCapture = () => {};
        view.t = 40; draw();
        const under = x => view.t + x / perSecond(), before = under(300), seen = {};
        event(WheelEvent, "wheel", 300, { deltaY: -200 }); seen.zoom = [under(300) - before, view.speed > 25];
        const t = view.t; event(PointerEvent, "pointerdown", 500); event(PointerEvent, "pointermove", 400);
        event(PointerEvent, "pointerup", 400); seen.drag = (view.t - t) * perSecond();
        const i = first(view.t + span() / 2), x = (time(i) - view.t) * perSecond();
        event(PointerEvent, "pointerdown", x + 2); event(PointerEvent, "pointerup", x + 2);
        seen.click = view.chosen === i;
        event(PointerEvent, "pointerdown", 100, { shiftKey: true });
        event(PointerEvent, "pointermove", 300, { shiftKey: true });
        seen.ruler = view.measure !== null;
        return seen;""",
}


@pytest.fixture(scope="module")
def found(page: Path) -> dict[str, Any]:
    return in_turn(page, ON_THE_PAGE)


@needs_browser
def test_a_click_on_a_beat_of_the_list_goes_there_and_shows_it(found: dict[str, Any]) -> None:
    (beats, _), seen = make_beats(), found["click"]
    ectopic = np.flatnonzero(beats.label == 2)
    assert seen["listed"] == ectopic[: len(seen["listed"])].tolist()
    assert (seen["count"], seen["of"]) == (f"{len(ectopic)} beats listed", f"6 of {len(ectopic)}")
    assert seen["chosen"] == ectopic[5]
    at = beats.time_s[ectopic[5]]
    assert (seen["from"] + seen["to"]) / 2 == pytest.approx(at, abs=0.02)
    for fact in (
        f"ventricular, beat {ectopic[5] + 1} of {len(beats.sample)}",
        f"sample {beats.sample[ectopic[5]]}",
        f"RR before {round(1000 * beats.rr_s[ectopic[5]])} ms",
        f"{100 * beats.scores[ectopic[5], 2]:.1f} %",
        f"{START + timedelta(seconds=int(at)):%H:%M:%S}",
    ):
        assert fact in seen["details"]


@needs_browser
def test_keys_go_from_beat_to_beat_move_and_zoom(found: dict[str, Any]) -> None:
    beats, _ = make_beats()
    ectopic = np.flatnonzero(beats.label == 2)
    chosen, at, speed, pages = map(list, zip(*found["keys"], strict=True))
    assert chosen[:3] == [ectopic[0], ectopic[1], ectopic[0]]
    start = -SCALE_S  # the first sample stands right of the scale in mV
    assert at[3:7] == pytest.approx([beats.samples / RATE_HZ - pages[3], start, start + pages[5], start], abs=1e-9)
    assert speed[6:] == [25, 50, 12.5]


@needs_browser
def test_the_paper_is_to_scale_and_ectopic_beats_are_coloured(found: dict[str, Any]) -> None:
    seen = found["paper"]
    assert (seen["size"], seen["height"]) == (20, 20)
    assert (np.diff(seen["lines"]) == 20).mean() > 0.8
    assert seen["marked"] > 50


@needs_browser
def test_the_wheel_zooms_about_the_pointer_a_drag_moves_and_a_click_chooses(found: dict[str, Any]) -> None:
    seen = found["pointer"]
    assert seen["zoom"] == [pytest.approx(0, abs=0.02), True]
    assert seen["drag"] == pytest.approx(100, abs=1)
    assert seen["click"]
    assert seen["ruler"]


@needs_browser
def test_no_label_of_a_time_is_cut(found: dict[str, Any]) -> None:
    assert found["labels"] == [[], True]


@pytest.mark.parametrize(
    ("count", "text"), [(1, "1 couplet, 0 runs, 0 bigeminy"), (2, "2 couplets, 0 runs, 0 bigeminy")]
)
def test_one_couplet_is_no_plural(count: int, text: str) -> None:
    summary = beat_list.summary(make_beats()[0])
    summary["patterns"] = {"S": dict.fromkeys(prediction.OF_PATTERN, 0) | {"couplets": count}}
    facts, _ = prediction._facts(summary)
    assert ("S", text) in facts


@needs_browser
def test_a_printed_page_has_the_scale_that_it_names(found: dict[str, Any]) -> None:
    before, paper, drawn, after = found["print"]
    width, height, per_second, _ = paper
    assert width < 680  # pixels that Letter and A4 have between their margins
    assert drawn == [2 * width, height]
    assert per_second == pytest.approx(25 * 96 / 25.4)
    assert after == before


def assert_pulse(seen: dict[str, float]) -> None:
    """Its upright strokes are 10 mm at 10 mm/mV and end above the line of the reference; the trace is elsewhere."""
    assert seen["height"] == 40
    assert seen["bottom"] - seen["top"] == pytest.approx(40, abs=2)
    assert seen["count"] == seen["bottom"] - seen["top"] + 1


@needs_browser
def test_a_page_with_a_gap_a_reference_and_markup_in_its_name_shows_each(found: dict[str, Any], tmp_path: Path) -> None:
    name = "<img src=x onerror=\"document.title='run'\"></script>@DATA@"
    beats, signal = make_beats(record=name, gaps=np.array([[2000, 4000]]))
    signal[2000:4000] = np.nan
    true = beats.label.copy()
    true[[3, 8]] = 0, 1
    path = write(tmp_path / "r1.html", beats, signal, reference=(beats.sample[5:] + 3, true[5:]))
    seen = in_turn(
        path,
        {
            "pulse": ON_THE_PAGE["pulse"],
            "name": 'return [document.title, document.querySelector("h1").textContent, document.images.length];',
            "trace": "return Array.from({ length: shown }, (_, i) => Number.isNaN(value(i)) ? null : value(i));",
            "classes": """const count = () => listed.length, seen = [count()];
            const [n, , v] = document.querySelectorAll("#classes button");
            v.click(); seen.push(count()); n.click(); seen.push(count()); v.click(); seen.push(count());
            $("order").value = "other than the reference"; relist(); seen.push(listed);
            choose(8); seen.push($("details").innerText.includes("reference: supraventricular"));
            choose(0); seen.push($("details").innerText.includes("no beat here"));
            return seen;""",
        },
    )
    assert_pulse(found["pulse"])
    assert_pulse(seen["pulse"])
    assert seen["name"] == [f"{name}, lead MLII", f"{name}, lead MLII", 0]
    drawn = np.array(seen["trace"], dtype=float)
    assert len(drawn) == len(signal)
    assert np.isnan(drawn).tolist() == np.isnan(signal).tolist()
    assert np.nanmax(np.abs(drawn - signal)) <= 0.0006
    total, ectopic = len(beats.sample), int((beats.label == 2).sum())
    assert seen["classes"] == [ectopic, 0, total - ectopic, total, [0, 1, 2, 3, 4, 8], True, True]


@needs_browser
def test_nothing_is_wider_than_the_screen_of_a_telephone(page: Path) -> None:
    widths = "return [document.documentElement.scrollWidth, innerWidth, strip.clientWidth];"
    whole, screen, paper = in_browser(page, widths, width=390)
    assert 300 < paper < whole <= screen == 390


@needs_browser
@pytest.mark.parametrize("beats", [0, pytest.param(1, marks=pytest.mark.soak)])
def test_a_recording_with_hardly_a_beat_has_a_page_too(tmp_path: Path, beats: int) -> None:
    none = np.zeros(beats, dtype=np.int64)
    few = Beats("r1", "I", RATE_HZ, 500, CLASSES, none + 100, none, np.ones((beats, 5)) / 5)
    path = write(tmp_path / "r1.html", few, np.zeros(500))
    assert in_browser(path, "return document.documentElement.dataset.ready;") == "yes"


def unpacked(text: str) -> np.ndarray:
    """The whole numbers of a text in a page, read by the rule that its script states."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.uint8).astype(np.int64).reshape(4, -1)
    code = (planes * 256 ** np.arange(4)[:, None]).sum(0)
    return np.where(code % 2, -(code + 1) // 2, code // 2).cumsum()


def test_a_recording_of_more_than_an_hour_is_drawn_at_a_lower_rate_with_its_peaks_in_place(tmp_path: Path) -> None:
    assert write(tmp_path / "half an hour.html", *make_beats(1800)).stat().st_size < 2_000_000
    beats, signal = make_beats(4000)
    buzz = 0.3 * np.sin(2 * np.pi * np.arange(len(signal)) / 3 + 1)  # every third sample alone would shift the trace
    text = write(tmp_path / "r1.html", beats, signal + buzz).read_text()
    pieces = re.findall('class="piece" data-step="([^"]*)" data-zero="([^"]*)" data-missing="[^"]*">([^<]*)<', text)
    drawn = np.concatenate([unpacked(data) * float(step) + float(zero) for step, zero, data in pieces])
    data = json.loads(re.search('id="data">(.*?)</script>', text)[1])
    assert data["every"] == 3
    assert "at 83.3333 Hz in steps of 8 µV" in text
    assert unpacked(data["sample"]).tolist() == beats.sample.tolist()
    assert len(drawn) == len(signal) // 3 + 1
    assert drawn.mean() == pytest.approx(signal.mean(), abs=0.01)
    for peak in beats.sample[::50]:
        near = drawn[peak // 3 - 7 : peak // 3 + 8]
        assert near.max() > 0.75 * signal[peak]
        assert abs(near.argmax() - 7) <= 1


@pytest.mark.parametrize("classes", [12, 13], ids=["a column each", "named in a cell"])
def test_a_table_of_many_classes_names_the_most_probable_ones(classes: int) -> None:
    names = [f"c{k}" for k in range(classes)]
    row = {"recording": "r", "predicted": ";".join(names[:8]), "duration_s": 10.0, "windows": 1}
    row |= {f"p_{name}": k / 100 for k, name in enumerate(names)}
    head, cells, *_ = prediction.table([row, row | {"predicted": ""}]).splitlines()
    assert ("p_c0" in head.split()) == (classes == 12)
    if classes == 12:
        assert "c0, c1, c2, c3, c4, c5, c6, c7" in cells
    else:
        assert "c7 0.07, c6 0.06, c5 0.05, c4 0.04, c3 0.03, c2 0.02, 2 more" in cells
    assert "no class" in prediction.table([row | {"predicted": ""}])
