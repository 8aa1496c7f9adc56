"""The input contract of an exported network: everything that other programs need to use it, as one JSON file.

    contract = sealed({...})              # with a digest of its content
    contract = read(Path("export"))       # CheckpointError for an edited, damaged or incomplete folder

<folder>/    contract.json, model_card.md, and model.safetensors or model.onnx

A contract states the rows that the network takes (rate, samples, leads, unit, preparation, features), its outputs
(classes, decision weights, temperature or thresholds), its origin (run, data, split protocol, results), the flags of
the run, and the digest of the file of the weights. `FORM` has the parts that the program reads; docs/export.md explains
all.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolbox import files, schema
from toolbox.errors import CheckpointError

CONTRACT, CARD = "contract.json", "model_card.md"
MADE_BY, FORMAT = "ECG Commander", 1
DIGEST = "sha256"
MOST_ROWS, MOST_CHANNELS, MOST_CLASSES = 10**10, 4096, 65_536
ANOTHER = "another folder of --export, or export the run again"
POSITIVE = schema.Number(1e-9, 1e9)
FORM = {
    "made_by": str,
    "format": schema.Count(1),
    "run": {"name": str, "checkpoint": str, "epoch": schema.Count()},
    "weights": {"format": str, "file": str, DIGEST: str},
    "network": {"name": str, "arguments?": str, "members": schema.Count(1, 100)},
    "input": {
        "view": str,
        "channels": schema.Count(1, MOST_CHANNELS),
        "samples": schema.Count(1, MOST_ROWS),
        "rate_hz": schema.Number(0, 1e9),
        "unit": str,
        "leads": [str],
        "features": [str],
        "image?": schema.Pair(schema.Count(1, MOST_CHANNELS)),
        "columns?": [str],
        "label_name?": str,
        "record_name?": str,
        "many_labels?": bool,
        "preparation": dict,
    },
    "output": {
        "task": str,
        "gives": str,
        "classes": [str],
        "importance": [schema.Number(0)],
        "scored": [str],
        "decision_weights?": [schema.Number(0)],
        "temperature?": POSITIVE,
        "threshold?": schema.Number(),
        "thresholds?": [schema.Number(0, 1)],
        "calibration?": {"slope": [POSITIVE], "intercept": [schema.Number()]},
        "symbols?": {"*": str},
    },
    "data": {
        "name": str,
        "source": str,
        "licence": str,
        "split_rule": str,
        "train_records?": [str],
        "val_records?": [str],
    },
    "results?": dict,
    "flags": dict,
    DIGEST: str,
}


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The contract with the digest of its content, as it is written and read back."""
    plain = json.loads(json.dumps(files.finite(dict(content)), allow_nan=False))
    return {**plain, DIGEST: _digest(plain)}


def write(folder: Path, contract: Mapping[str, Any]) -> None:
    """Write a sealed contract into the folder; the last file of an export. Raises ResourceError."""
    files.write_json(folder / CONTRACT, dict(contract))


def read(folder: Path) -> dict[str, Any]:
    """The contract of an exported folder, whose weights are the ones that it names.

    Raises CheckpointError for a missing, edited or damaged contract, one of a newer format, and for other weights.
    """
    path = folder / CONTRACT
    try:
        contract = files.read_json(path)
    except files.UnreadableError as error:
        known = ", ".join(sorted(each.name for each in folder.iterdir())[:5]) if folder.is_dir() else ""
        what = f"{CONTRACT} {error.what}" if path.is_file() else f"this is no folder of --export: it has no {CONTRACT}"
        where = f"{path}{error.place}" if path.is_file() else str(folder) + (f", with {known}" if known else "")
        raise CheckpointError(what, where=where, hint=ANOTHER) from error
    if why := _fault(contract):
        raise CheckpointError(f"{CONTRACT}: {why}", where=str(path), hint=ANOTHER)
    _check_weights(folder, contract["weights"])
    return contract


def _fault(contract: Any) -> str:
    """Why a value is no whole contract of this program; "" if it is one."""
    if why := schema.misfit(contract, dict):
        return why
    if contract.get("made_by") != MADE_BY:
        return f"it was not written by {MADE_BY}"
    if schema.is_count(number := contract.get("format"), 1) and number > FORMAT:
        return f"it has format {number}, this program reads up to {FORMAT}"
    if why := schema.misfit(contract, FORM):
        return why
    if contract[DIGEST] != _digest({name: value for name, value in contract.items() if name != DIGEST}):
        return "it was edited after the export: its digest differs"
    return _disagreement(contract["input"], contract["output"])


def _disagreement(rows: Mapping[str, Any], output: Mapping[str, Any]) -> str:
    """The parts that do not fit each other, although each has its form; "" for none."""
    classes = len(output["classes"])
    lengths = {
        "input.leads": (len(rows["leads"]), rows["channels"]),
        "output.importance": (len(output["importance"]), classes),
        "output.decision_weights": (len(output["decision_weights"] or [0] * classes), classes),
        "output.thresholds": (len(output.get("thresholds") or [0] * classes), classes),
        **{f"output.calibration.{name}": (len(of), classes) for name, of in (output.get("calibration") or {}).items()},
    }
    if not 0 < classes <= MOST_CLASSES:
        return f"output.classes has {classes} names"
    return next((f"{name} has {has} values, not {needs}" for name, (has, needs) in lengths.items() if has != needs), "")


def _check_weights(folder: Path, weights: Mapping[str, str]) -> None:
    """Raise CheckpointError if the file of the weights is missing or another one."""
    if Path(weights["file"]).name != weights["file"]:
        what = f"{CONTRACT}: weights.file is {weights['file'][:60]!r}, it must be a file of the folder"
        raise CheckpointError(what, where=str(folder), hint=ANOTHER)
    path = folder / weights["file"]
    try:
        found = files.sha256(path)
    except OSError as error:
        what = f"the weights cannot be read: {error.strerror or error}"
        raise CheckpointError(what, where=str(path), hint=ANOTHER) from error
    if found != weights[DIGEST]:
        what = f"the weights were changed or truncated after the export: SHA-256 {found[:12]}..., not"
        raise CheckpointError(f"{what} {weights[DIGEST][:12]}...", where=str(path), hint=ANOTHER)


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()
