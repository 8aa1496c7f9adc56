"""What was found in several recordings, side by side: a table, a CSV, a page that leads to each strip, and the pooled
score.

`done` are the summaries of `toolbox/ecg/rhythm.py` with their `folder` and, where there are annotations, their `score`.
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
from toolbox.plain import markup as escape

LARGEST = 2**26  # bytes of a file of an earlier version
RULE = "<p>the run's own division: "

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 14px/1.45 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; color: #1d1d1f; margin: 0 auto;
  padding: 12px 18px; max-width: 1600px; }}
h1 {{ font-size: 19px; margin: 0 0 4px; }}
h2 {{ font-size: 15px; margin: 18px 0 4px; }}
.notice {{ color: #7a2e00; font-weight: 600; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; margin: 8px 0; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 3px 9px; border-bottom: 1px solid #d9d9de; text-align: right; white-space: nowrap; }}
th:first-child, td:first-child, .words :is(th, td):nth-child(2) {{ text-align: left; }}
tbody tr:hover {{ background: #f5f7fa; }}
a {{ color: #0067A5; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p class="notice">{notice}</p>
<p>the run's own division: {rule}</p>
{body}
</body>
</html>
"""


TABLE, SCORE = (
    "recording,lead,duration_s,beats,",
    {"recordings", "detection", "classes"},
)  # how they begin, and have in them


def claim(folder: Path) -> Claim:
    """The claim on the files that `write` writes."""
    of = {"output": "predictions"}
    return Claim(
        folder, "", ("index.html", "summary.csv", "score.json"), of, lambda path: of if _is_own(path) else None
    )


def _is_own(path: Path) -> bool:
    """Whether an earlier version of this program wrote a file of `claim`."""
    try:
        if path.name == "score.json":
            return files.read_json(path).keys() >= SCORE
        text = path.read_text("utf-8") if path.stat().st_size < LARGEST else ""
        own = {
            "index.html": all(part in text for part in (NOTICE, RULE)),
            "summary.csv": text.startswith(TABLE) or text == "\n",
        }
        return own[path.name]
    except (OSError, ValueError, AttributeError):
        return False


def rows(done: Sequence[dict[str, Any]], classes: Sequence[str]) -> list[dict[str, Any]]:
    """A line a recording: what its summary and its score say, by column."""
    named = list(ec57.tasks(classes).values())
    scored = any("score" in found for found in done)
    table = []
    for found in done:
        ectopic = found["ectopic"]
        row = {
            "recording": found["folder"],
            "lead": found["lead"],
            "duration_s": found["duration_s"],
            "beats": found["beats"],
        }
        row |= {"rate_per_min": found["rate_per_min"]["mean"], "ectopic_per_hour": ectopic["per_hour"]}
        row |= {
            f"{name}_per_hour": ectopic["of_class"][name]["per_hour"] for name in named if name in ectopic["of_class"]
        }
        table.append(row | (_scores(found.get("score", {})) if scored else {}))
    return table


def _scores(score: dict[str, Any]) -> dict[str, float | None]:
    tasks = score.get("classification", {})
    parts = {"": score.get("detection") or {}, **{f"{task}_": tasks.get(task, {}) for task in ("SVEB", "VEB")}}
    figures = {f"{before}{part}": files.finite(of.get(part)) for before, of in parts.items() for part in ("Se", "+P")}
    return figures | {"trained_on": score.get("trained_on")}


def table(done: Sequence[dict[str, Any]], classes: Sequence[str]) -> str:
    """The rows as text."""
    table = rows(done, classes)
    if not table:
        return NOTICE
    cells = [
        [_head(name) for name in table[0]],
        *([_cell(name, value) for name, value in row.items()] for row in table),
    ]
    wide = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell.ljust(w) if k < 2 else cell.rjust(w) for k, (cell, w) in enumerate(zip(line, wide, strict=True)))
        for line in cells
    ]
    return plain.lines([*lines, NOTICE])


def _head(name: str) -> str:
    return name.removesuffix("_s").replace("_per_", "/").replace("hour", "h").replace("_", " ")


def _cell(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if name == "duration_s":
        return rhythm.clock(value)
    return matching.shown(value) if name.endswith(("Se", "+P")) else rhythm.shown(value)


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

    `rule` is how the rows of the run were divided.
    """
    parts = [found["score"] | {"recording": found["folder"]} for found in done if "score" in found]
    score = matching.pooled(parts) if parts else None
    _save_csv(folder / "summary.csv", rows(done, classes))
    files.write_text(folder / "index.html", _page(done, failed, score, classes=classes, title=title, rule=rule))
    if score:
        files.write_json(folder / "score.json", score)
    else:
        (folder / "score.json").unlink(missing_ok=True)
    counts = {"recordings": len(done), "failed": len(failed)}
    return {"folder": str(folder), **counts, "split_rule": rule, "score": score, "notice": NOTICE}


def _save_csv(path: Path, table: list[dict[str, Any]]) -> None:
    import pandas as pd

    files.write_whole(path, lambda file: pd.DataFrame(table).to_csv(file, index=False, lineterminator="\n"))


def _page(
    done: Sequence[dict[str, Any]],
    failed: Sequence[dict[str, str]],
    score: dict[str, Any] | None,
    *,
    classes: Sequence[str],
    title: str,
    rule: str,
) -> str:
    """The page of all recordings."""
    body = []
    if done:
        table = rows(done, classes)
        links = [quote(f"{found['folder']}/{found['page']}") for found in done]
        lines = [
            [f'<a href="{link}">{escape(row["recording"])}</a>', *_cells(row)]
            for link, row in zip(links, table, strict=True)
        ]
        body.append(_table([_head(name) for name in table[0]], lines, kind="words"))
    doubts = [[escape(found["folder"]), escape(doubt)] for found in done for doubt in found.get("doubts", ())]
    if doubts:
        body += ["<h2>Doubts</h2>", _table(["recording", "doubt"], doubts, kind="words")]
    if score:
        body += _pooled(score)
    if failed:
        body.append(f"<h2>{len(failed):,} could not be predicted</h2>")
        body.append(
            _table(
                ["recording", "why"],
                [[escape(each["recording"]), escape(each["error"])] for each in failed],
                kind="words",
            )
        )
    return PAGE.format(title=escape(title), rule=escape(rule), notice=NOTICE, body="\n".join(body))


def _pooled(score: dict[str, Any]) -> list[str]:
    """The pooled score: detection, and the classes of the recordings that the run was trained on apart from the
    others."""
    body = [
        f"<h2>Against the annotations of {score['recordings']:,} recording{'s' * (score['recordings'] != 1)}, beats"
        " pooled</h2>"
    ]
    if found := score["detection"]:
        body.append(_table(["", "Se", "+P"], [["detection", matching.shown(found["Se"]), matching.shown(found["+P"])]]))
    for told, of in score["classes"].items():
        body.append(f"<p>{of['recordings']:,} of them: {matching.TRAINED_ON[told]}</p>")
        lines = [
            [escape(name), f"{each['beats']:,}", *(matching.shown(each[part]) for part in ("Se", "+P", "F1"))]
            for name, each in of["classification"].items()
        ]
        body.append(_table(["", "beats", "Se", "+P", "F1"], lines))
        body += [f"<p>{line}</p>" for line in matching.left_out(score, of)]
        body.append(_influence(of["influence"]))
    return body


def _influence(moved: dict[str, Any]) -> str:
    """Which recording moves each pooled figure most, and the figure without it."""
    lines = [
        [escape(name), matching.shown(of["value"]), escape(of["record"]), matching.shown(of["without"])]
        for name, of in moved.items()
    ]
    return _table(["most moved by one recording", "pooled", "recording", "without it"], lines) if lines else ""


def _cells(row: dict[str, Any]) -> list[str]:
    return [escape(_cell(name, value)) for name, value in row.items()][1:]


def _table(head: Sequence[str], lines: Sequence[Sequence[str]], *, kind: str = "numbers") -> str:
    """Cells that are HTML as a table, whose second column has `kind`."""
    heads = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    rows = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" for line in lines)
    return (
        '<div class="wide"><table'
        f' class="{kind}">\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>'
    )
