"""A row for each run of a root, from its JSON files alone: figures, curves and state; nothing else is opened.

    rows = of_root(root, known=earlier)      # `earlier` rows are kept where the files of their runs have not changed

A run whose files are missing, unreadable or of another form is a row of state "damaged" with the reason, and with all
that its other files tell. A row holds plain values: texts as they stand in the files, numbers finite.
"""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from toolbox import files, schema
from toolbox.metrics import classification, meanings
from toolbox.metrics.labels import EVERY
from toolbox.runs import outcome, study
from toolbox.runs.best import best_epoch
from toolbox.runs.folder import CONFIG, HISTORY, RESULTS
from toolbox.runs.study import StudyRecord

Row = dict[str, Any]
DONE, UNTESTED, UNFINISHED, DAMAGED, FAILED = "tested", "not tested", "unfinished", "damaged", "failed"
READ = (CONFIG, HISTORY, RESULTS)
OF_TEST = (outcome.METRICS, outcome.BY_PATIENT)  # in pred/, which results.json must agree with
REPORT = "report.html"
NUMBER = schema.Number()
FORMS: dict[str, Any] = {
    CONFIG: {
        **{"flags": dict, "given?": [str], "parameters?": NUMBER, "study?": str, "overrides?": list, "commit?": str},
        "imports?": [{"file": str}],
        "data?": {"name?": str, "split_rule?": str, "checksum?": str, "classes?": [str]},
    },
    HISTORY: [{"epoch": schema.Count(1), "seconds?": NUMBER, "train?": dict, "val?": dict}],
    RESULTS: {
        **{"best_epoch?": int, "split_rule?": str, "doubts?": [str], "covers?": dict, "val?": dict},
        "test?": {"intervals?": dict, "by_patient?": dict, "per_class?": dict},
    },
}
BY_PATIENT = ("accuracy", "kappa", "jk", "macro_f1", "SVEB Se", "SVEB +P", "VEB Se", "VEB +P")  # gross figures
MOST_POINTS = 100  # of a curve; its first, best and last epochs are always among them
DIGITS = 6  # of a figure
MOST_LETTERS, MOST_FIGURES, MOST_CLASSES = 1000, 60, 100  # of a file that somebody has changed


def of_root(root: Path, known: Mapping[str, Row] | None = None) -> list[Row]:
    """The rows of all runs of a root, the last changed first, and of failed runs of studies without a folder."""
    kept = study.records(root)
    folders = study.by_run(kept)
    rows = [_row(root, path, folders.get(path), known or {}) for path in _runs(root)]
    here = {row["path"] for row in rows}
    lost = [record for record in kept if record.run not in here and record.state == FAILED]
    rows += [_without_folder(record) for record in lost]
    return sorted(rows, key=lambda row: (-row["changed"], row["path"]))


def of_folder(folder: Path) -> Row:
    """The row of one run folder, wherever it is."""
    return summary(folder, folder.name, None)


def _runs(root: Path) -> list[str]:
    """The paths of all run folders, relative to the root."""
    found = []
    for runs in sorted(root.glob("*/runs")):
        if runs.parent.name != "research" and runs.is_dir():
            found += [f"{runs.parent.name}/runs/{name}" for name in sorted(_folders(runs))]
    return found


def _folders(path: Path) -> Iterable[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    except OSError:
        return []


def _row(root: Path, path: str, record: StudyRecord | None, known: Mapping[str, Row]) -> Row:
    """The row of a run: the earlier one if nothing has changed, else from its files."""
    folder = root / path
    stamp = _stamp(folder, record)
    if (before := known.get(path)) and before.get("stamp") == stamp:
        return before
    if not folder.resolve().is_relative_to(root.resolve()):
        return _empty(path, folder.name) | {"stamp": stamp, "why": "the run folder is a link out of the root"}
    return summary(folder, path, record) | {"stamp": stamp}


def _stamp(folder: Path, record: StudyRecord | None) -> str:
    """A text that changes with the files of a run, and with the state in its study."""
    of_test = [folder / outcome.TEST / name for name in (RESULTS, *OF_TEST)]
    parts = [_of_file(path) for path in (*(folder / name for name in READ), *of_test)]
    parts.append("report" if (folder / REPORT).is_file() else "")
    return " ".join([*parts, *((record.study, record.state, record.error) if record else ())])


def _of_file(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return "-"
    return f"{found.st_mtime_ns:x}.{found.st_size:x}"


def _empty(path: str, name: str) -> Row:
    """The row of a run of which nothing is known."""
    return {
        **{"path": path, "name": name, "dataset": "", "model": "", "version": "", "task": "", "study": ""},
        **{"state": DAMAGED, "why": "", "notes": [], "changed": 0, "report": False},
        **{"imports": [], "parts": "", "can_repeat": True},
        **{"flags": {}, "given": [], "classes": [], "split": "", "checksum": "", "commit": "", "monitor": ""},
        **{"parameters": None, "epochs": 0, "of": None, "best": None, "seconds": None, "curves": {}},
        **{"val": {}, "test": {}, "intervals": {}, "lacks": {}, "over": [], "headline": ""},
    }


def _without_folder(record: StudyRecord) -> Row:
    """The row of a failed run of a study that never had a folder."""
    flags = {name: value for name, value in record.given.items() if isinstance(value, str | int | float)}
    facts = {name: str(flags.get(flag, "")) for name, flag in (("dataset", "dataset"), ("model", "model_name"))}
    row = _empty("", f"{record.study} {record.key}") | facts | {"changed": record.written}
    return row | {"state": FAILED, "study": record.study, "why": record.error, "flags": flags, "given": sorted(flags)}


def summary(folder: Path, path: str, record: StudyRecord | None) -> Row:
    """The row of the run in `folder`; `path` is its place in the root."""
    found, whys = _read(folder)
    config, history, results = found[CONFIG] or {}, found[HISTORY] or [], found[RESULTS]
    row = _empty(path, folder.name) | {"report": (folder / REPORT).is_file(), "changed": _changed(folder)}
    row |= _of_config(config, folder.name)
    row["study"] = study.study_of(config, record)
    if not row["dataset"] and folder.parent.name == "runs":
        row["dataset"] = folder.parent.parent.name
    # A metric of a user's file is not known here, and neither is its better end.
    is_known = row["monitor"] in (*EVERY, "epoch")
    best = (best_epoch(history, row["monitor"], (results or {}).get("best_epoch")) if is_known else None) or {}
    row |= {"epochs": len(history), "best": best.get("epoch"), "val": _figures(best.get("val") or {})}
    row["headline"] = meanings.headline(row["val"])
    times = [epoch["seconds"] for epoch in history if epoch.get("seconds") is not None]
    row |= {"seconds": round(sum(times), 1) if times else None, "curves": curves(history, best.get("epoch"))}
    row |= _of_results(results) if results is not None else {}
    row["notes"] += _notes(config, best, results or {}, epochs=len(history))
    if results is not None and not history and not whys:
        whys.append(f"{HISTORY} {'has no epoch' if (folder / HISTORY).exists() else 'is missing'}")
    return _clipped(row | _state(row, whys, results is not None, record if row["study"] else None))


def _clipped(value: Any) -> Any:
    """The value with its texts cut to `MOST_LETTERS`."""
    if isinstance(value, dict):
        return {key: _clipped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_clipped(item) for item in value]
    return value[:MOST_LETTERS] if isinstance(value, str) else value


def _read(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """The content of the files that a run has, None for a missing or unusable one, and their faults."""
    paths = {name: folder / name for name in READ} | {name: folder / outcome.TEST / name for name in OF_TEST}
    paths[RESULTS] = outcome.place(folder) or paths[RESULTS]
    found: dict[str, Any] = dict.fromkeys(paths)
    whys = []
    for name, path in paths.items():
        try:
            content = files.read_json(path) if os.path.lexists(path) else None
        except files.UnreadableError as error:
            whys.append(f"{name} {error}")
            continue
        if content is not None and (why := schema.misfit(content, FORMS.get(name, dict))):
            whys.append(f"{name}: {why}")
        else:
            found[name] = content
    if not (folder / CONFIG).is_file():
        whys.append(f"{CONFIG} is missing")
    return found, whys + outcome.contradictions(found[RESULTS] or {}, found)


def _changed(folder: Path) -> int:
    """When the last of the files was written, in seconds since 1970; without any, when the folder was changed."""
    there = [path for path in (folder / name for name in READ) if path.exists()]
    return int(max((path.stat().st_mtime for path in there or [folder]), default=0))


def _of_config(config: Mapping[str, Any], name: str) -> Row:
    flags, data = config.get("flags") or {}, config.get("data") or {}
    dataset, model = str(flags.get("dataset") or data.get("name") or ""), str(flags.get("model_name") or "")
    start = f"{dataset}_{model}_"
    texts = {"dataset": dataset, "model": model, "task": str(flags.get("task") or "")}
    texts |= {"version": name.removeprefix(start) if name.startswith(start) else ""}
    texts |= {"monitor": str(flags.get("monitor") or "macro_f1"), "split": data.get("split_rule") or ""}
    plain = {key: value for key, value in flags.items() if value is None or isinstance(value, str | int | float)}
    texts |= {"checksum": (data.get("checksum") or "")[:12], "commit": (config.get("commit") or "")[:12]}
    epochs, classes = flags.get("epochs"), (data.get("classes") or [])[:MOST_CLASSES]
    known = {"parameters": config.get("parameters"), "of": epochs if schema.is_count(epochs) else None}
    files_of = [each["file"] for each in config.get("imports") or []]
    again = {"imports": files_of, "parts": parts(config), "can_repeat": "imported" not in config}
    return texts | known | again | {"flags": plain, "given": config.get("given") or [], "classes": classes}


def parts(config: Mapping[str, Any]) -> str:
    """A phrase on a run whose flags were changed during the training; "" for any other."""
    count = len({note.get("after_epoch") for note in config.get("overrides") or [] if isinstance(note, dict)})
    return f"trained in {count + 1} parts with other flags; one command does not repeat it" if count else ""


def _of_results(results: Mapping[str, Any]) -> Row:
    """The figures of a test, with their intervals or the reasons for none."""
    test = results.get("test") or {}
    found = outcome.figures(test)
    row: Row = {"test": _figures({name: of.value for name, of in found.items() if _is_shown(name)})}
    known = {name: found[name] for name in row["test"]}
    row["intervals"] = {name: [*map(rounded, of.ends)] for name, of in known.items() if _is_interval(of.ends)}
    row["lacks"] = {name: of.lacks for name, of in known.items() if of.lacks and name not in row["intervals"]}
    over = (test.get("by_patient") or {}).get("macro_over")
    row["over"] = [] if not over or schema.misfit(over, [str]) else [*meanings.part(over, test.get("per_class") or ())]
    row |= {"headline": meanings.headline(found)} if found else {}
    row |= {"val": _figures(results["val"])} if results.get("val") else {}
    row |= {"best": results["best_epoch"]} if results.get("best_epoch") else {}
    return row | ({"split": results["split_rule"]} if results.get("split_rule") else {})


def _is_shown(name: str) -> bool:
    return not name.startswith(meanings.GROSS_PREFIX) or name.removeprefix(meanings.GROSS_PREFIX) in BY_PATIENT


def _is_interval(ends: Any) -> bool:
    return isinstance(ends, list) and len(ends) == 2 and all(map(schema.is_finite, ends))


def _figures(values: Any) -> dict[str, float]:
    known = [(str(name), rounded(value)) for name, value in values.items() if schema.is_finite(value)]
    return dict(known[:MOST_FIGURES])


def rounded(value: float) -> float:
    """A figure with the digits of a row."""
    return float(f"{value:.{DIGITS}g}")


def curves(history: Sequence[Mapping[str, Any]], best: int | None) -> dict[str, list[float | None]]:
    """The losses of training and validation and the metrics of validation, over at most `MOST_POINTS` epochs."""
    step = math.ceil(len(history) / MOST_POINTS) or 1
    shown = [e for i, e in enumerate(history) if i % step == 0 or e["epoch"] == best or i == len(history) - 1]
    found: dict[str, list[float | None]] = {"epoch": [epoch["epoch"] for epoch in shown]}
    for name in ("loss", "macro_f1", "accuracy", "balanced_accuracy"):
        for side in ("train", "val") if name == "loss" else ("val",):
            line = [(epoch.get(side) or {}).get(name) for epoch in shown]
            points = [float(f"{value:.4g}") if schema.is_finite(value) else None for value in line]
            found |= {f"{side} {name}": points} if any(value is not None for value in points) else {}
    return found


def _notes(config: Mapping[str, Any], best: Mapping[str, Any], results: Mapping[str, Any], *, epochs: int) -> list[str]:
    """Reasons to read the figures of a run with care."""
    notes = ["short run"] if (config.get("flags") or {}).get("short_run") else []
    notes += ["short test"] if results.get("covers") and not notes else []
    notes += ["changed during training"] if config.get("overrides") else []
    notes += [left] if results and (left := unfinished(config, epochs)) else []
    for side, values in (("validation", results.get("val") or best.get("val")), ("test", results.get("test"))):
        if why := _collapsed((values or {}).get("confusion_matrix")):
            return [*notes, f"collapsed on {side}: {why}"]
    return notes + [
        f"doubt: {doubt}" for doubt in (*outcome.outside(results.get("test") or {}), *(results.get("doubts") or []))
    ]


def unfinished(config: Mapping[str, Any], done: int) -> str:
    """A sentence on a training that was to have more than the `done` epochs, and may not stop early; else ""."""
    flags = config.get("flags") or {}
    asked = flags.get("epochs")
    if asked is None or not schema.is_count(asked) or done >= asked or flags.get("patience"):
        return ""
    return f"the training is not finished: {done} of {asked} epochs"


def _collapsed(matrix: Any) -> str | None:
    square = isinstance(matrix, list) and matrix and all(isinstance(r, list) and len(r) == len(matrix) for r in matrix)
    if not square or not all(schema.is_count(value) for row in matrix for value in row):
        return None
    return classification.why(np.array(matrix))


def _state(row: Row, whys: Sequence[str], tested: bool, record: StudyRecord | None) -> Row:
    """State and reason: damaged, else as the files tell, else as the study has recorded it."""
    if whys:
        return {"state": DAMAGED, "why": "; ".join(whys)}
    if tested:
        return {"state": DONE, "why": ""}
    if record and record.state in (FAILED, "pruned"):
        return {"state": record.state, "why": record.error}
    return {"state": UNTESTED if row["of"] and row["epochs"] >= row["of"] else UNFINISHED, "why": ""}
