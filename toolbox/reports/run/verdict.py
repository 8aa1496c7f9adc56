"""The verdict of a report: one sentence with the headline figure, facts that decide its weight, and reasons for doubt.

    verdict = of(material)            # Verdict(sentence, figures, facts, doubts)

`Material` is all that the files of a run folder say of a test.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolbox.metrics import classification, ec57, intervals, meanings
from toolbox.reports.plots import DataFacts
from toolbox.reports.run import labels
from toolbox.reports.run.examples import Shown
from toolbox.reports.tables import between, of_random_weights, shown
from toolbox.runs import outcome
from toolbox.runs.predictions import Predictions
from toolbox.runs.summary import unfinished
from toolbox.runs.transfer import TransferTest

FEW_RECORDS = 10
# Beside the headline.
OF_DETECTION = ("normals_kept", "anomalies_caught", "average_precision")
OF_CLASSES = ("macro_f1", "macro_auroc", "balanced_accuracy", "accuracy")
OF_LABELS = ("macro_average_precision", "fmax", "macro_f1")


@dataclass(frozen=True)
class Material:
    """The files of a run and of one of its tests, read; empty where a file is missing.

    `results` is results.json without its `test`, which is `test`; `facts` is report.json, written with the test.
    `normal` is the normal class of a detector; `faults` are figures on which the files of the test disagree; `tests`
    are those of the run on its own and on other data.
    """

    name: str
    spec: DataFacts
    config: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    results: Mapping[str, Any]
    test: Mapping[str, Any]
    by_patient: Mapping[str, Any]
    facts: Mapping[str, Any]
    predictions: Predictions | None
    losses: Mapping[str, NDArray[Any]]
    normal: int | None = None
    rows: Sequence[Shown] = ()
    train_errors: NDArray[Any] | None = None
    faults: Sequence[str] = ()
    tests: Sequence[TransferTest] = ()

    @property
    def detects(self) -> bool:
        """Whether the run detects anomalies."""
        return "threshold" in self.results

    @property
    def many_labels(self) -> bool:
        """Whether a row has any number of classes."""
        return self.spec.many_labels

    @property
    def val(self) -> Mapping[str, Any]:
        """The metrics of validation, of the tested weights."""
        if self.results.get("val"):
            return self.results["val"]
        best = self.results.get("best_epoch") or (self.history[-1]["epoch"] if self.history else None)
        return next((row["val"] for row in self.history if row["epoch"] == best), {})

    def name_of(self, figure: str) -> str:
        """The name of a figure of the test, of macro F1 by patient with its classes."""
        patients = self.by_patient if figure.startswith(meanings.GROSS_PREFIX) else {}
        return meanings.name_of(figure, meanings.part(patients.get("macro_over", ()), self.spec.classes))

    @property
    def split_rule(self) -> str:
        """The split protocol in words."""
        return str(self.results.get("split_rule") or self.test.get("split_rule") or self.spec.split_rule)


@dataclass(frozen=True)
class Headline:
    """One figure in large letters: its name, its value, its interval in words."""

    name: str
    value: str
    interval: str


@dataclass
class Verdict:
    """A sentence with the headline, figures, facts that decide their weight, and reasons for doubt."""

    sentence: str
    figures: list[Headline] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)


def of(material: Material) -> Verdict:
    """The verdict on a tested run, or the validation figures of one without a test."""
    if not material.test:
        return _untested(material)
    figures = _headlines(material)
    return Verdict(_sentence(material, figures), figures, _facts(material), _doubts(material))


def _untested(material: Material) -> Verdict:
    name = meanings.headline(material.val)
    value = shown(material.val.get(name))
    sentence = f"This run has no test. On validation rows, {meanings.name_of(name)} is {value}; choosing the epoch on"
    sentence += " the same rows makes such a figure better than it is."
    return Verdict(sentence, [], [("split protocol", material.split_rule)], _of_training(material))


def _headlines(material: Material) -> list[Headline]:
    """The headline first; of tests by patient the figures of EC57."""
    found = outcome.figures(material.test)
    first = meanings.headline(found)
    if first.startswith(meanings.GROSS_PREFIX):
        names = [f"{meanings.GROSS_PREFIX}{name}" for name in ec57.headline(material.spec.classes)]
        beside = [name for name in names if name.endswith(("Se", "+P"))] or [*names[:2]]
    else:
        beside = list(OF_DETECTION if material.detects else OF_LABELS if material.many_labels else OF_CLASSES)
    chosen = [name for name in dict.fromkeys((first, *beside)) if name in found]
    return [Headline(material.name_of(name), shown(found[name].value), between(*found[name][1:])) for name in chosen]


def _sentence(material: Material, figures: Sequence[Headline]) -> str:
    where = tested(material)
    if not figures:
        return f"Nothing can be measured on {where}: no row has a label."
    first = figures[0]
    interval = f"no 95 % interval: {first.interval.partition(': ')[2] or 'not known'}"
    if not first.interval.startswith("n/a"):
        interval = f"95 % interval {first.interval}"
    return f"{first.name[0].upper()}{first.name[1:]} is {first.value} ({interval}) on {where}."


def tested(material: Material) -> str:
    """The tested rows and their records in words."""
    if material.predictions is None:
        return "the test rows"
    rows, of = len(material.predictions.index), records(material)
    words = f"{rows:,} test {material.spec.view}{'s' * (rows != 1)}"
    return words + (f" of {of:,} {meanings.unit(material.spec.view)}{'s' * (of != 1)}" if 0 < of < rows else "")


def records(material: Material) -> int:
    """The number of tested records, 0 if a row names none."""
    predictions = material.predictions
    if predictions is None or not len(predictions.record) or (predictions.record == "").any():
        return 0
    return len(np.unique(predictions.record))


def _facts(material: Material) -> list[tuple[str, str]]:
    """Split protocol, tested rows, the most influential record, data, training."""
    facts = [("split protocol", material.split_rule)]
    facts.append(
        (
            "tested",
            tested(material)
            + ("" if records(material) else "; no row names its record, so rows of one patient are not known"),
        )
    )
    over_rows = material.test.get("interval_method") == intervals.ROW_METHOD
    if over_rows and not material.by_patient:
        facts.append(("intervals", "95 %, over rows; too narrow if several rows are of one patient"))
    elif str(material.test.get("interval_method")).startswith(intervals.BOOTSTRAP):
        facts.append(("intervals", f"95 %, over {meanings.unit(material.spec.view)}s, whose rows are drawn together"))
    elif material.test.get("interval_method"):
        facts.append(("intervals", "95 %, over records, as rows of one record resemble each other"))
    facts += [meanings.GROSS[0]] if material.by_patient else []
    moved = material.by_patient.get("influence", {})
    of_macro = moved.get("macro_f1")
    if of_macro and shown(of_macro["without"]) != shown(of_macro["value"]):
        name, values = material.name_of("gross macro_f1"), (shown(of_macro[which]) for which in ("without", "value"))
        facts.append(("most influential record", f"{of_macro['record']}: without it {name} is {', not '.join(values)}"))
    if random := material.results.get("random_weights"):
        facts.append(("from random weights", of_random_weights(random)))
    if lacking := labels.left_out(material.test):
        facts.append(("left out of macro averages", lacking))
    facts.append(("data", f"{material.spec.name}: {material.spec.source or 'source not stated'}"))
    return facts


def _of_training(material: Material) -> list[str]:
    """Doubts that stem from the training: a short run, an unfinished one, changed flags, a memorising network."""
    flags, found = material.config.get("flags", {}), []
    if flags.get("short_run"):
        found.append("a short run: ten batches an epoch, and a part of validation and test; a trial, not a result")
    if why := unfinished(material.config, material.history[-1]["epoch"] if material.history else 0):
        found.append(why)
    doubts = list(material.results.get("doubts", []))
    sides = (
        [material.history[-1][side].get("confusion_matrix") for side in ("train", "val")] if material.history else []
    )
    if not doubts and sides and None not in sides:
        doubts += filter(None, [classification.memorised(*map(np.array, sides))])
    for note in material.config.get("overrides", []):
        changes = ", ".join(f"{name} from {before} to {now}" for name, (before, now) in note["changed"].items())
        found.append(f"flags were changed after epoch {note['after_epoch']}: {changes}")
    return found + doubts


def _doubts(material: Material) -> list[str]:
    """Reasons to distrust the figures of the test, the gravest first."""
    found, results = [*material.faults, *outcome.outside(material.test)], material.results
    if material.predictions is None:
        found.append("predictions.npz is missing: without it there are no curves, calibration and rows to look at")
    overlap = results.get("trained_on") or {}
    if shared := results.get("shared_rows"):
        found.append(f"{shared:,} test rows are also rows of train or validation")
    elif "shared_rows" in results and shared is None:
        found.append("it is not known how many test rows the run was trained on")
    for names, unit in (("known_records", meanings.unit(material.spec.view)), ("published_records", "record")):
        if known := overlap.get(names):
            found.append(f"{len(known):,} tested {unit}s were trained or validated on")
    matrix = material.test.get("confusion_matrix")
    if matrix is not None and not material.detects and (why := classification.why(np.array(matrix))):
        found.append(f"the network has collapsed: {why}")
    found += _of_training(material)
    if sides := [f"{part:,} of {whole:,} rows of {name.removesuffix('_rows')}" for name, (part, whole)
                 in results.get("covers", {}).items() if part < whole]:  # fmt: skip
        found.append(f"the figures cover {' and '.join(sides)}")
    if 0 < (of := records(material)) < FEW_RECORDS and material.by_patient:
        found.append(f"only {of} records are tested: too few for an interval over records")
    baseline = material.test.get("baseline") or {}
    if baseline.get("auroc") is not None and baseline["auroc"] > (material.test.get("auroc") or 0):
        name = baseline["name"].replace("_", " ")
        found.append(f"the baseline {name}, which needs no network, has the higher AUROC, {shown(baseline['auroc'])}")
    return found
