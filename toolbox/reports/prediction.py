"""Reports of predicted recordings: text and strip of each, and a table, CSV and page of all.

`found` is the summary of a recording (`toolbox.ecg.beat_list.summary`) with its `folder` and, if annotated, its
`score`; `done` is a list of them. The strip is a page that shows beats on ECG paper, without a network connection: it
holds the trace as pieces of packed numbers, drawn by a script (templates/strip.html); beyond an hour at a lower rate
and in coarser steps, so that a day takes less than 10 MB.
"""

import base64
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from toolbox import files, plain
from toolbox.ecg import beat_list, matching
from toolbox.ecg.beat_list import Beats
from toolbox.ecg.gaps import Reader, bridged
from toolbox.metrics import ec57
from toolbox.plain import NOTICE, escaped
from toolbox.reports import pages, tables
from toolbox.reports.tables import aligned, clock, number, shown
from toolbox.runs.outputs import Claim

LARGEST = 2**26  # bytes of a file of an earlier version
RULE = "<p>the run's own division: "
TABLE, SCORE = "recording,lead,duration_s,beats,", {"recordings", "detection", "classes"}  # of summary.csv, score.json
OF_PATTERN = ["single", "couplets", "runs", "longest_run_beats", "bigeminy_episodes", "trigeminy_episodes"]
HEADS = ["class", "burden %", "an hour", "single", "couplets", "runs", "longest", "bigeminy", "trigeminy"]
LONG_S = 3600
HZ, HZ_LONG = 400, 96  # of the drawn trace, about
STEP_MV, STEP_MV_LONG = 0.001, 0.008  # a pixel is 0.025 mV at 10 mm/mV
PIECE = 2**17  # samples
MOST_CLASSES, MOST_NAMED = 12, 6  # with a column each in a table; of more classes, named in a cell
MOST_WINDOWS = 200  # of a recording on a page
# Dark enough for letters and distinct with every kind of colour vision: Okabe & Ito's and Tol's, made darker.
NORMAL = "#44474F"
COLOURS = ("#0067A5", "#C24E00", "#007A59", "#882255", "#6B4FA0", "#7A5C00", "#A3123A", "#1B6E8C", "#5B6B00", "#333333")
NAMES = {"N": "normal", "S": "supraventricular", "V": "ventricular", "F": "fusion", "Q": "unknown"}
PATTERNS = {"couplets": "couplets", "runs": "runs", "bigeminy": "bigeminy_episodes"}
Reference = tuple[NDArray[np.int64], NDArray[np.int64]]


def text(found: dict[str, Any], remarks: Sequence[str] = ()) -> str:
    """The summary of a recording; `remarks` are lines below it."""
    rate, pause, ectopic = found["rate_per_min"], found["pauses"], found["ectopic"]
    at = f", at {clock(pause['longest_time_s'])}" if pause["longest_s"] else ""
    facts = [
        ["duration", clock(found["duration_s"])],
        ["without signal", clock(found["without_signal_s"])],
        ["beats", number(found["beats"])],
        *([f"  {name}", number(count)] for name, count in found["beats_of_class"].items()),
        ["mean rate (beats/min)", number(rate["mean"])],
        [f"lowest, over {beat_list.RATE_BEATS} beats", number(rate["lowest"])],
        [f"highest, over {beat_list.RATE_BEATS} beats", number(rate["highest"])],
        [f"longest RR interval (s){at}", number(pause["longest_s"])],
        [f"RR intervals above {beat_list.PAUSE_S:g} s", number(pause["above_2_s"])],
        ["ectopic beats (% of all)", number(ectopic["percent"])],
        ["ectopic beats an hour", number(ectopic["per_hour"])],
    ]
    of_classes = []
    for name, pattern in found["patterns"].items():
        burden = ectopic["of_class"][name]
        of_classes.append([name, *map(number, (burden["percent"], burden["per_hour"], *map(pattern.get, OF_PATTERN)))])
    lines = [f"{found['record']}, lead {found['lead']}" + (f", {found['start']}" if found["start"] else ""), ""]
    lines += [*aligned(["", ""], facts)[1:], "", *aligned(HEADS, of_classes)]
    if len(found["hours"]) > 1:
        hours = [
            [f"{hour['hour']}", *map(number, (hour["beats"], hour["rate_per_min"], *hour["ectopic"].values()))]
            for hour in found["hours"]
        ]
        lines += ["", *aligned(["hour", "beats", "rate", *found["patterns"]], hours)]
    return tables.text([*lines, *(["", *remarks] if remarks else []), ""])


def score_lines(values: dict[str, Any]) -> list[str]:
    """The score of a recording against its annotations."""
    rows = []
    if of := values["detection"]:
        rows.append(["detection", number(of["matched"] + of["missed"]), shown(of["Se"]), shown(of["+P"])])
    for name, of in values.get("classification", {}).items():
        rows.append([name, number(of["beats"]), shown(of["Se"]), shown(of["+P"])])
    return aligned(["against annotations", "beats", "Se", "+P"], rows) + _left_out(values, values)


def _left_out(values: dict[str, Any], of_classes: dict[str, Any]) -> list[str]:
    """One line for each part outside of the score: the time before its start, flutter, beats without a class."""
    count = of_classes.get("without_class", 0)
    lines = {
        f"scored from {clock(values['from_s'])} on": values["from_s"],
        f"{values['flutter_s']:.1f} s of flutter or fibrillation left out": values["flutter_s"],
        f"{count:,} annotated beats of no class of the run, left out of the classes": count,
    }
    return [line for line, amount in lines.items() if amount]


def claim(folder: Path) -> Claim:
    """The claim on the files of `write`."""
    of, names = {"output": "predictions"}, ("index.html", "summary.csv", "score.json")
    return Claim(folder, "", names, of, lambda path: of if _is_own(path) else None)


def _is_own(path: Path) -> bool:
    """Whether an earlier version of this program, without markers, wrote a file of `claim`."""
    try:
        if path.name == "score.json":
            return files.read_json(path).keys() >= SCORE
        text = path.read_text("utf-8") if path.stat().st_size < LARGEST else ""
        if path.name == "index.html":
            return NOTICE in text and RULE in text
        return text.startswith(TABLE) or text == "\n"
    except (OSError, ValueError, AttributeError):
        return False


def rows(done: Sequence[dict[str, Any]], classes: Sequence[str]) -> list[dict[str, Any]]:
    """For each recording the figures of its summary and its score, by column."""
    table = []
    for found in done:
        of_class = found["ectopic"]["of_class"]
        row = {name: found[name] for name in ("lead", "duration_s", "beats")}
        row |= {"rate_per_min": found["rate_per_min"]["mean"], "ectopic_per_hour": found["ectopic"]["per_hour"]}
        named = [name for name in ec57.tasks(classes).values() if name in of_class]
        row |= {f"{name}_per_hour": of_class[name]["per_hour"] for name in named}
        if any("score" in each for each in done):
            score = found.get("score", {})
            tasks = score.get("classification", {})
            parts = {"": score.get("detection") or {}, "SVEB_": tasks.get("SVEB", {}), "VEB_": tasks.get("VEB", {})}
            for before, of in parts.items():
                row |= {f"{before}{part}": files.finite(of.get(part)) for part in ("Se", "+P")}
            row["trained_on"] = score.get("trained_on")
        table.append({"recording": found["folder"], **row})
    return table


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The `rows` of summary.csv as text."""
    head, cells = _cells(rows)
    return plain.lines([*(aligned(head, cells) if cells else []), NOTICE])


def _cells(table: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Heads and cells of the rows; of many classes only the probabilities of predicted ones."""
    names = [*(table[0] if table else ())]
    if "predicted" in names:
        many = sum(name.startswith("p_") for name in names) > MOST_CLASSES
        names = [name for name in names if not (many and name.startswith("p_"))]
        table = [row | {"predicted": _predicted(row, many)} for row in table]
    brief = [name.removesuffix("_s") for name in names]
    head = [
        name if name.startswith("p_") else name.replace("_per_", "/").replace("hour", "h").replace("_", " ")
        for name in brief
    ]
    return head, [[_cell(name, row[name]) for name in names] for row in table]


def _predicted(row: dict[str, Any], many: bool) -> str:
    """The predicted classes of a row; of `many` classes the most probable ones, with their probabilities."""
    own = {name: row[f"p_{name}"] for name in row["predicted"].split(";") if name}
    if not many:
        return ", ".join(own) or "no class"
    names = sorted(own, key=lambda name: -own[name])
    shown = [f"{name} {own[name]:.2f}" for name in names[:MOST_NAMED]]
    return ", ".join(shown + [f"{len(names) - MOST_NAMED} more"] * (len(names) > MOST_NAMED)) or "no class"


def _cell(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if name == "duration_s":
        return clock(value)
    return shown(value) if name.endswith(("Se", "+P")) or name.startswith("p_") else number(value)


def write(
    folder: Path,
    done: Sequence[dict[str, Any]],
    failed: Sequence[dict[str, str]],
    *,
    table: Sequence[dict[str, Any]],
    title: str,
    rule: str,
) -> dict[str, Any]:
    """Write index.html, summary.csv and score.json into `folder`; the result, as plain values. Raises ResourceError.

    `table` has a row for each of `done`, `rule` is the split rule of the run.
    """
    parts = [found["score"] | {"recording": found["folder"]} for found in done if "score" in found]
    score = matching.pooled(parts) if parts else None
    columns = {name: [row[name] for row in table] for name in (table[0] if table else ())}
    files.write_csv(folder / "summary.csv", columns)
    head, cells = _cells(table)
    links = [quote(f"{found['folder']}/{found['page']}") for found in done]
    pages.save(
        folder / "index.html",
        "recordings.html",
        title=title,
        rule=rule,
        head=head,
        rows=[[{"link": link, "text": row[0]}, *row[1:]] for link, row in zip(links, cells, strict=True)],
        doubts=[(found["folder"], doubt) for found in done for doubt in found.get("doubts", ())],
        windows=[(_of_windows(found), *_cells(found["of_windows"])) for found in done if found.get("windows", 1) > 1],
        score=_pooled(score) if score else None,
        failed=[(each["recording"], each["error"]) for each in failed],
    )
    if score:
        files.write_json(folder / "score.json", score)
    else:
        (folder / "score.json").unlink(missing_ok=True)
    counts = {"recordings": len(done), "failed": len(failed)}
    return {"folder": str(folder), **counts, "split_rule": rule, "score": score, "notice": NOTICE}


def _pooled(score: dict[str, Any]) -> dict[str, Any]:
    """The pooled score for the page: detection, and the classes by `trained_on`."""
    groups = [
        {
            "recordings": number(of["recordings"]),
            "trained_on": matching.TRAINED_ON[known],
            "classes": [
                [name, number(each["beats"]), *(shown(each[part]) for part in ("Se", "+P", "F1"))]
                for name, each in of["classification"].items()
            ],
            "left_out": _left_out(score, of),
            "influence": [
                [name, shown(each["value"]), each["record"], shown(each["without"])]
                for name, each in of["influence"].items()
            ],
        }
        for known, of in score["classes"].items()
    ]
    detection = (found := score["detection"]) and ["detection", shown(found["Se"]), shown(found["+P"])]
    return {"recordings": number(score["recordings"]), "detection": detection, "groups": groups}


def window_rows(columns: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """The first windows of a recording as rows, from the columns (W,) of its CSV; most recordings have no more."""
    names = sorted(columns, key=lambda name: name.startswith("p_"))
    parts = (columns[name][:MOST_WINDOWS].tolist() for name in names)
    return [dict(zip(names, row, strict=True)) for row in zip(*parts, strict=True)]


def record_text(found: dict[str, Any], windows: Sequence[dict[str, Any]], remarks: Sequence[str] = ()) -> str:
    """The summary of a whole recording, with its first `windows`; `remarks` are lines below it."""
    own, thresholds = found["probabilities"], found.get("thresholds") or [None] * len(found["probabilities"])
    predicted = found["predicted"].split(";")
    facts = [
        ["duration", clock(found["duration_s"])],
        [f"windows of {found['window_s']:.4g} s", number(found["windows"])],
        ["predicted", ", ".join(filter(None, predicted)) or "no class"],
    ]
    classes = [
        [name, shown(value), shown(limit), "yes" if name in predicted else ""]
        for (name, value), limit in zip(own.items(), thresholds, strict=True)
    ]
    head = f"{found['record']}, leads {', '.join(found['leads'])}" + (f", {found['start']}" if found["start"] else "")
    lines = [head, "", *aligned(["", ""], facts)[1:], "", *aligned(["class", "p", "threshold", "predicted"], classes)]
    if found["windows"] > 1:
        lines += ["", _of_windows(found), *aligned(*_cells(windows))]
    return tables.text([*lines, *(["", *remarks] if remarks else []), ""])


def _of_windows(found: dict[str, Any]) -> str:
    """The heading of a table of windows."""
    first = f"the first {MOST_WINDOWS:,} of " if found["windows"] > MOST_WINDOWS else ""
    return f"{found['folder']}: {first}{found['windows']:,} windows of {found['window_s']:.4g} s, by their start in s"


def save_strip(
    path: Path, beats: Beats, read: Reader, *, summary: dict[str, Any], reference: Reference | None = None
) -> None:
    """Write the page of a recording, whole or not at all. Raises ResourceError.

    `read(first, last)` gives the lead in mV; `summary` comes from `beat_list.summary`; `reference` has samples (M,) and
    classes (M,) of annotated beats, shown below the trace.
    """
    facts, jumps = _facts(summary)
    hz, step = (HZ_LONG, STEP_MV_LONG) if beats.samples > LONG_S * beats.rate_hz else (HZ, STEP_MV)
    every = max(1, round(beats.rate_hz / hz))  # draws one sample of `every`
    if every > 1 or step > STEP_MV:
        facts.append(("drawn", f"at {number(beats.rate_hz / every)} Hz in steps of {1000 * step:g} µV"))
    data, pieces = _data(beats, every, reference), _pieces(read, beats.samples, every, step)
    title = f"{beats.record}, lead {beats.lead}"
    pages.save(path, "strip.html", title=title, facts=facts, jumps=jumps, data=data, pieces=pieces)


def _pieces(read: Reader, samples: int, every: int, step: float) -> Iterator[dict[str, str]]:
    """The trace in pieces: whole numbers with their scale to mV, in steps of at least `step` mV."""
    around = 4 * every
    for first in range(0, samples, PIECE * every):
        last = min(first + PIECE * every, samples)
        start = max(first - around, 0)
        signal, missing = bridged(read(start, min(last + around, samples)), longest=0)
        drawn = slice((first - start) // every, -(-(last - start) // every))
        yield _piece(_every(signal, every)[drawn], missing[::every][drawn], step)


def _every(signal: NDArray[np.float64], every: int) -> NDArray[np.float64]:
    """One sample of `every`, after a low-pass."""
    if every == 1:
        return signal
    from scipy.signal import firwin, upfirdn

    taps = firwin(8 * every + 1, 1 / every)
    return upfirdn(taps, np.pad(signal, 4 * every, mode="edge"), down=every)[8:-8]


def _piece(signal: NDArray[np.float64], missing: NDArray[np.bool_], step: float) -> dict[str, str]:
    low, high = float(signal.min()), float(signal.max())
    zero, step = (low + high) / 2, max(step, (high - low) / 2**16)
    ends = np.flatnonzero(np.diff(missing, prepend=False, append=False)).reshape(-1, 2)
    whole = np.round((signal - zero) / step)
    return {"step": f"{step:.9g}", "zero": f"{zero:.9g}", "missing": f"{ends.tolist()}", "samples": _packed(whole)}


def _data(beats: Beats, every: int, reference: Reference | None) -> dict[str, Any]:
    """The script's data without the trace; it draws one sample of `every`."""
    known, classes = reference if reference else (np.empty(0, dtype=int), np.empty(0, dtype=int))
    pairs = matching.match(known, beats.sample, round(matching.TOLERANCE_S * beats.rate_hz))
    class_of = np.full(len(beats.sample), -1)
    class_of[pairs[:, 1]] = classes[pairs[:, 0]]
    normal, others = beats.classes.index("N") if "N" in beats.classes else 0, cycle(COLOURS)
    marked = [k != normal for k in range(len(beats.classes))]  # in the trace
    return {
        "lead": escaped(beats.lead),
        "rate": beats.rate_hz,
        "samples": beats.samples,
        "every": every,
        "piece": PIECE,
        "start": beats.start.replace(tzinfo=UTC).timestamp() if beats.start else None,
        "classes": [*map(escaped, beats.classes)],
        "names": [escaped(NAMES.get(name, name)) for name in beats.classes],
        "counts": np.bincount(beats.label, minlength=len(beats.classes)).tolist(),
        "ectopic": beats.ectopic,
        "colours": [next(others) if each else NORMAL for each in marked],
        "marked": marked,
        "gaps": beats.gaps.tolist(),
        "sample": _packed(beats.sample),
        "label": _packed(beats.label),
        "scores": _packed(np.round(10_000 * beats.scores)),
        "refSample": _packed(known),
        "refLabel": _packed(classes),
        "refOf": _packed(class_of),
    }


def _packed(values: NDArray[Any]) -> str:
    """Whole numbers as text: differences, 0 -1 1 -2 ... as 0 1 2 3 ..., in four planes of bytes, deflated."""
    whole = values.ravel().astype(np.int64)
    steps = whole - np.append(0, whole[:-1])
    codes = ((steps << 1) ^ (steps >> 63)).astype("<u4")
    planes = np.ascontiguousarray(codes.view(np.uint8).reshape(-1, 4).T)
    return base64.b64encode(zlib.compress(planes.tobytes(), 6)).decode()


def _facts(summary: dict[str, Any]) -> tuple[list[tuple[str, Any]], list[tuple[str, float]]]:
    """The facts above the trace, by name; and the targets of buttons, with their times in seconds."""
    rate, pause, ectopic = summary["rate_per_min"], summary["pauses"], summary["ectopic"]
    lost_s = summary["without_signal_s"]
    rates = [number(rate[name]) for name in ("mean", "lowest", "highest")]
    facts = [
        ("start", summary["start"]),
        ("duration", clock(summary["duration_s"])),
        ("without signal", clock(lost_s) if lost_s else None),
        ("beats", number(summary["beats"])),
        ("rate", f"{rates[0]} ({rates[1]} to {rates[2]}) beats/min"),
        ("ectopic", f"{number(ectopic['percent'])} %, {number(ectopic['per_hour'])} an hour"),
    ]
    if "run" in summary:
        facts.append(("classified by", f"{summary['run']}, {summary['checkpoint']} checkpoint"))
    if found := summary.get("score", {}).get("detection"):
        facts.append(("of the annotated beats", f"Se {shown(found['Se'])}, +P {shown(found['+P'])}"))
    facts += [("doubt", doubt) for doubt in summary.get("doubts", ())]
    jumps = [(f"longest RR {pause['longest_s']:.2f} s", pause["longest_time_s"])] if pause["longest_s"] else []
    for name, found in summary["patterns"].items():
        counts = {kind: found[key] for kind, key in PATTERNS.items()}
        if any(counts.values()):
            texts = [f"{count:,} {kind.removesuffix('s') if count == 1 else kind}" for kind, count in counts.items()]
            facts.append((name, ", ".join(texts)))
        if found["runs"]:
            jumps.append((f"longest run of {name}, {found['longest_run_beats']} beats", found["longest_run_time_s"]))
    return [(name, value) for name, value in facts if value is not None], jumps
