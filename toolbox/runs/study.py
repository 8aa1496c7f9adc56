"""The study that carried out a run, and the state that its record of the run adds.

    kept = records(root)                                    # by path of the run folder, relative to the root
    study_of(config, kept.get("synth/runs/synth_cnn1d_3_7"))

A study notes its name in the config.json of its runs. Runs of earlier versions have no note: they belong to the study
whose record names the folder and has the run's flags.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolbox import files, schema

NOTE = "study"  # the name of the study in config.json
FORM = {"state": str, "given": dict, "run?": str, "error?": str}


@dataclass(frozen=True)
class StudyRecord:
    """A study's record of one run: the folder of the run relative to the root, "" before it has one, its state, and
    when the record was written, in seconds since 1970."""

    study: str
    key: str
    run: str
    state: str
    error: str
    given: Mapping[str, Any]
    written: int


def records(root: Path) -> list[StudyRecord]:
    """The readable records of all studies of a root."""
    found = []
    for path in sorted(root.glob("research/*/runs/*.json")):
        try:
            record, written = files.read_json(path), int(path.stat().st_mtime)
        except (files.UnreadableError, OSError):
            continue
        if not schema.misfit(record, FORM):
            facts: dict[str, Any] = {name: record.get(name) or "" for name in ("run", "error")}
            facts |= {"state": record["state"], "given": record["given"], "written": written}
            found.append(StudyRecord(path.parts[-3], path.stem, **facts))
    return found


def by_run(found: list[StudyRecord]) -> dict[str, StudyRecord]:
    """The records by their run folders."""
    return {record.run: record for record in found if record.run}


def study_of(config: Any, record: StudyRecord | None) -> str:
    """The study of the run with this config.json; "" for a run of its own, or a config.json that is none."""
    config = config if isinstance(config, dict) else {}
    if isinstance(config.get(NOTE), str):
        return config[NOTE]
    flags = config.get("flags")
    if record is None or not isinstance(flags, dict):
        return ""
    known = [(flags[name], value) for name, value in record.given.items() if name in flags]
    return record.study if all(kept == value or _are_paths(kept, value) for kept, value in known) else ""


def _are_paths(*values: Any) -> bool:
    """Whether both are paths, of which config.json has the one relative to the root."""
    return all(isinstance(value, str) and os.sep in value for value in values)
