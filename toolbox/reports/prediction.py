"""What was found in recordings, for a person to read: the text of each, and a table, a CSV and a page of all of them.

`found` is the summary of a recording (`toolbox.ecg.rhythm.summary`) with its `folder` and, where it has annotations,
its `score`; `done` are several of them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from toolbox import files, plain
from toolbox.ecg import matching, rhythm
from toolbox.metrics import ec57
from toolbox.outputs import Claim
from toolbox.plain import NOTICE
from toolbox.reports import pages, tables
from toolbox.reports.tables import aligned, clock, number, shown

LARGEST = 2**26  # bytes of a file of an earlier version
RULE = "<p>the run's own division: "
TABLE, SCORE = "recording,lead,duration_s,beats,", {"recordings", "detection", "classes"}  # of summary.csv, score.json
PATTERNS = ["single", "couplets", "runs", "longest_run_beats", "bigeminy_episodes", "trigeminy_episodes"]
HEADS = ["class", "burden %", "an hour", "single", "couplets", "runs", "longest", "bigeminy", "trigeminy"]


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
        [f"lowest, over {rhythm.RATE_BEATS} beats", number(rate["lowest"])],
        [f"highest, over {rhythm.RATE_BEATS} beats", number(rate["highest"])],
        [f"longest RR interval (s){at}", number(pause["longest_s"])],
        [f"RR intervals above {rhythm.PAUSE_S:g} s", number(pause["above_2_s"])],
        ["ectopic beats (% of all)", number(ectopic["percent"])],
        ["ectopic beats an hour", number(ectopic["per_hour"])],
    ]
    of_classes = []
    for name, pattern in found["patterns"].items():
        burden = ectopic["of_class"][name]
        of_classes.append([name, *map(number, (burden["percent"], burden["per_hour"], *map(pattern.get, PATTERNS)))])
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
    """A line for everything that a score leaves out: the time before it begins, flutter, beats without a class."""
    count = of_classes.get("without_class", 0)
    lines = [
        (values["from_s"], f"scored from {clock(values['from_s'])} on"),
        (values["flutter_s"], f"{values['flutter_s']:.1f} s of flutter or fibrillation left out"),
        (count, f"{count:,} annotated beats of no class of the run, left out of the classes"),
    ]
    return [line for amount, line in lines if amount]


def claim(folder: Path) -> Claim:
    """The claim on the files that `write` writes."""
    of, names = {"output": "predictions"}, ("index.html", "summary.csv", "score.json")
    return Claim(folder, "", names, of, lambda path: of if _is_own(path) else None)


def _is_own(path: Path) -> bool:
    """Whether an earlier version of this program, which marked nothing, wrote a file of `claim`."""
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
    """Of each recording the figures of its summary and its score, by column."""
    named, scored = list(ec57.tasks(classes).values()), any("score" in found for found in done)
    table = []
    for found in done:
        ectopic = found["ectopic"]
        row = {
            "recording": found["folder"],
            "lead": found["lead"],
            "duration_s": found["duration_s"],
            "beats": found["beats"],
            "rate_per_min": found["rate_per_min"]["mean"],
            "ectopic_per_hour": ectopic["per_hour"],
        }
        of_class = ectopic["of_class"]
        row |= {f"{name}_per_hour": of_class[name]["per_hour"] for name in named if name in of_class}
        table.append(row | (_scores(found.get("score", {})) if scored else {}))
    return table


def _scores(score: dict[str, Any]) -> dict[str, float | None]:
    tasks = score.get("classification", {})
    parts = {"": score.get("detection") or {}, **{f"{task}_": tasks.get(task, {}) for task in ("SVEB", "VEB")}}
    figures = {f"{before}{part}": files.finite(of.get(part)) for before, of in parts.items() for part in ("Se", "+P")}
    return figures | {"trained_on": score.get("trained_on")}


def table(done: Sequence[dict[str, Any]], classes: Sequence[str]) -> str:
    """The rows as text."""
    head, cells = _cells(rows(done, classes))
    return plain.lines([*(aligned(head, cells) if cells else []), NOTICE])


def _cells(table: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Heads and cells of the rows."""
    replaced = ("_per_", "/"), ("hour", "h"), ("_", " ")
    head = [name.removesuffix("_s") for name in (table[0] if table else ())]
    for old, new in replaced:
        head = [name.replace(old, new) for name in head]
    return head, [[_cell(name, value) for name, value in row.items()] for row in table]


def _cell(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if name == "duration_s":
        return clock(value)
    return shown(value) if name.endswith(("Se", "+P")) else number(value)


def write(
    folder: Path,
    done: Sequence[dict[str, Any]],
    failed: Sequence[dict[str, str]],
    *,
    classes: Sequence[str],
    title: str,
    rule: str,
) -> dict[str, Any]:
    """Write index.html, summary.csv and score.json into `folder`; what was done, as plain values. Raises ResourceError.

    `rule` is the split rule of the run.
    """
    parts = [found["score"] | {"recording": found["folder"]} for found in done if "score" in found]
    score = matching.pooled(parts) if parts else None
    table = rows(done, classes)
    tables.save_csv(folder / "summary.csv", table)
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
    """The pooled score for the page: detection, and the classes apart for recordings that the run was trained on."""
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
