"""The page of a run and its test, made from the files of the run folder alone: no data, no network, no weights.

    save(page, read(run, run / "pred", spec), provenance=Provenance(...), library=root)

`Facts` go into report.json with the test: what only a test knows and results.json does not keep.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zipfile import BadZipFile

import numpy as np

from toolbox import files
from toolbox.errors import CheckpointError
from toolbox.reports import pages, tables
from toolbox.reports.plots import DataFacts
from toolbox.reports.run import examples, sections, verdict
from toolbox.reports.run.verdict import Material
from toolbox.runs import outcome, transfer
from toolbox.runs.folder import CONFIG, HISTORY, RESULTS, RunFolder
from toolbox.runs.predictions import Predictions
from toolbox.runs.transfer import FACTS
from toolbox.training.recorders import LOSSES, StepLosses

PAGE = "report.html"
PREDICTIONS = "predictions.npz"
MOST_RECORDS = 60  # named in the data card
NAMES = {"shared_rows": "rows of two splits", "dropped_rows": "unusable rows left out"}
log = logging.getLogger("commander")


@dataclass(frozen=True)
class Facts:
    """Facts of a test: its time (UTC), the checkpoint, whether the root is the default, the rows of each class by
    split, the layers. It names no place: `test_on` is a name, or a path relative to the root.

    A layer is name, kind, shape of its output for one row, parameters.
    """

    tested: str
    checkpoint: str
    default_root: bool
    rows: Mapping[str, Sequence[int]]
    layers: Sequence[Sequence[Any]]
    test_on: str = ""

    def save(self, folder: Path) -> None:
        """Write report.json into the folder of the test."""
        files.write_json(folder / FACTS, asdict(self))


@dataclass(frozen=True)
class Provenance:
    """What the flags of a run say: commands to repeat it (what, command), and settings (flag, value, "typed" or "")."""

    commands: Sequence[tuple[str, str]]
    settings: Sequence[tuple[str, str, str]]


def read(
    run: RunFolder,
    folder: Path,
    spec: DataFacts,
    *,
    normal: int | None = None,
    results: Mapping[str, Any] | None = None,
) -> Material:
    """The files of a run and of the test in `folder`; `results` in place of results.json, before it is written.

    Raises CheckpointError for an unreadable file.
    """
    facts = _json(folder / FACTS)
    if results is None:
        at = outcome.place(run.path, "best" if folder == run / outcome.TEST else folder.name)
        results = _json(at) if at else {}
    test = results.get("test") or {}
    of_test = {name: _json(folder / name) for name in (outcome.METRICS, outcome.BY_PATIENT)}
    predictions = _predictions(folder / PREDICTIONS)
    shown, errors = examples.load(folder / examples.FILE, predictions) if predictions else ([], None)
    return Material(
        name=run.path.name,
        spec=spec,
        config=run.read_json(CONFIG),
        history=run.read_history() if (run / HISTORY).exists() else [],
        results={name: value for name, value in results.items() if name != "test"},
        test=test,
        by_patient=of_test[outcome.BY_PATIENT] if test.get("by_patient") else {},
        facts=facts,
        predictions=predictions,
        losses=_losses(run / LOSSES),
        normal=normal,
        rows=shown,
        train_errors=errors,
        tests=transfer.of_run(run.path),
        faults=outcome.contradictions(results, of_test),
    )


def _json(path: Path) -> dict[str, Any]:
    """An object of a JSON file, {} for no file. Raises CheckpointError."""
    if not path.exists():
        return {}
    try:
        value = files.read_json(path)
    except files.UnreadableError as error:
        raise CheckpointError(f"{path.name} {error.what}", where=f"{path}{error.place}", hint="--test again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path.name} holds no object", where=str(path), hint="--test again")
    return value


def _predictions(path: Path) -> Predictions | None:
    if not path.exists():
        return None
    try:
        return Predictions.load(path)
    except (KeyError, TypeError, ValueError, OSError, EOFError, BadZipFile, MemoryError) as error:
        raise CheckpointError(f"{path.name} is unusable: {error}", where=str(path), hint="--test again") from error


def _losses(path: Path) -> dict[str, Any]:
    try:
        return StepLosses.load(path).arrays() if path.exists() else {}
    except ValueError as error:
        log.warning("no figure of the loss of every step: %s", error)
        return {}


def save(page: Path, material: Material, *, provenance: Provenance, library: Path, folder: Path) -> Path:
    """Write the page of a run; `folder` is that of its test, whose files it links. Raises ResourceError."""
    test, facts = material.test, material.facts
    checkpoint = facts.get("checkpoint", "best")
    about = f"{checkpoint} checkpoint" + (f", tested on {Path(facts['test_on']).name}" if facts.get("test_on") else "")
    tested = f"{about}, tested {facts['tested']}" if facts.get("tested") and not facts.get("test_on") else about
    pages.save(
        page,
        "report.html",
        library=library,
        title=material.name,
        about=tested if test else "not tested",
        verdict=verdict.of(material),
        metrics=sections.metrics(material) if test else None,
        transfer=(tables.OF_TESTS, tables.of_tests(material.tests)) if len(material.tests) > 1 else None,
        classes=sections.classes(material),
        learning=sections.learning(material),
        confusion=sections.confusion(material) if test else None,
        curves=sections.curves(material) if test else [],
        detects=material.detects,
        calibration=sections.calibration(material) if test else None,
        records=sections.by_record(material) if test else None,
        examples=sections.rows_to_look_at(material) if test else [],
        data=_data(material),
        records_of=_records(material),
        model=_model(material),
        layers=[
            [f"{cell:,}" if isinstance(cell, int) else cell for cell in layer] for layer in facts.get("layers", [])
        ],
        provenance=provenance,
        environment=_environment(material),
        files=_links(page.parent, folder),
    )
    return page


def _data(material: Material) -> list[tuple[str, str]]:
    """The data card, but for the rows of each class."""
    spec, of = material.spec, material.config.get("data", {})
    seconds = of.get("samples", 0) / spec.rate_hz if spec.rate_hz else 0
    length = f"{of.get('samples', 0):,} samples" + (f" at {spec.rate_hz:g} Hz = {seconds:.4g} s" if seconds else "")
    facts = [
        ("name", spec.name),
        ("source", spec.source or "not stated"),
        ("licence", spec.licence or "not stated"),
        ("split protocol", material.split_rule),
        ("one row", f"{spec.view}, {length}"),
        ("leads", ", ".join(spec.leads)),
        ("unit of the samples", spec.unit or "not stated"),
        *([("features", ", ".join(spec.features))] if spec.features else []),
        ("rows", f"{of.get('train_rows', 0):,} train, {of.get('val_rows', 0):,} validation, {_tested(material)} test"),
    ]
    for name, what in NAMES.items():
        if (value := material.results.get(name)) is not None:
            facts.append((what, tables.of_dropped(value) if isinstance(value, dict) else f"{value:,}"))
    return [*facts, ("checksum of the data", of.get("checksum", "not stored"))]


def _tested(material: Material) -> str:
    return f"{len(material.predictions.index):,}" if material.predictions else "no"


def _records(material: Material) -> list[tuple[str, str]]:
    """The names of the records of each split, where rows name them."""
    of = material.config.get("data", {})
    named = {"train": of.get("train_records") or [], "validation": of.get("val_records") or []}
    predictions = material.predictions
    if predictions is not None and verdict.records(material):
        named["test"] = np.unique(predictions.record).tolist()
    found = []
    for split, names in named.items():
        more = f", and {len(names) - MOST_RECORDS:,} more" if len(names) > MOST_RECORDS else ""
        if names:
            found.append((f"{split}, {len(names):,}", ", ".join(names[:MOST_RECORDS]) + more))
    return found


def _model(material: Material) -> list[tuple[str, str]]:
    """The model card, but for its layers."""
    cost, trained = material.results.get("cost", {}), sum(row.get("seconds") or 0 for row in material.history)
    facts = []
    if cost:
        facts.append(("parameters", f"{cost['parameters']:,}, of which {cost['trainable_parameters']:,} were trained"))
        facts.append(("size of the weights", f"{tables.digits(cost['file_bytes'] / 1000)} kB"))
        facts.append(("work for one row", f"{tables.digits(cost['macs'] / 1e6)} million multiply-accumulates"))
    elif "parameters" in material.config:
        facts.append(("trained parameters", f"{material.config['parameters']:,}"))
    if "latency_ms" in cost:
        low, high = tables.digits(cost["latency_p10_ms"]), tables.digits(cost["latency_p90_ms"])
        spread = f"{low} to {high}, 10th to 90th percentile"
        facts.append(("time for one row", f"{tables.digits(cost['latency_ms'])} ms ({spread})"))
        facts.append(
            ("throughput", f"{tables.digits(cost['rows_per_s'])} rows a second in batches of {cost['batch_size']}")
        )
        facts.append(
            ("measured on", f"{cost['device']}, {cost['threads']} threads, {cost['dtype']}, torch {cost['torch']}")
        )
    else:
        facts.append(("time for one row", "not measured; --test with --cost measures it"))
    if material.history:
        best = material.results.get("best_epoch")
        chosen = f"; epoch {best} is the best on validation" if best else ""
        facts.append(("training", f"{material.history[-1]['epoch']} epochs in {tables.clock(trained)}{chosen}"))
    if "temperature" in material.results:
        facts.append(("temperature", f"{material.results['temperature']:.4g}, fitted on validation rows"))
    if "thresholds" in material.results:
        facts.append(
            ("thresholds", f"the best F1 of each class on {material.results['validation_rows']:,} validation rows")
        )
    if "calibration" in material.results:
        facts.append(
            ("calibration", "a line on the logit of each class, fitted on the same rows; it changes no decision")
        )
    if material.detects:
        rule = f"{material.results['rule']} of {material.results['validation_rows']:,} validation rows"
        facts.append(("threshold", f"{material.results['threshold']:.4g}, {rule}"))
    return facts


def _environment(material: Material) -> list[tuple[str, str]]:
    """Versions, commit and time."""
    versions = material.config.get("versions", {})
    facts = [("versions", ", ".join(f"{name} {version}" for name, version in versions.items()) or "not stored")]
    facts.append(("commit", material.config.get("commit") or "not known"))
    return [*facts, ("tested", material.facts.get("tested") or "time not stored")]


def _links(page_folder: Path, folder: Path) -> list[tuple[str, str]]:
    """(link, name) of the test's other files, for a page in or above their folder."""
    if not folder.is_dir() or not folder.resolve().is_relative_to(page_folder.resolve()):
        return []
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    base = os.path.relpath(folder.resolve(), page_folder.resolve())
    return [(quote(f"{base}/{name}"), name) for name in names if name not in (PAGE, FACTS, RESULTS, examples.FILE)]
