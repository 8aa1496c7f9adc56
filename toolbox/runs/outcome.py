"""The results of a test: where they are, and whether they and the other files of the test fit together.

    place(run)                   # results.json of a tested run, None of a run without a test: every reader asks here
    figures(results["test"])     # every figure by name, with its interval or the reason why it has none
    contradictions(results, of)  # sentences on figures that another file of the test has with another value
    outside(results["test"])     # sentences on estimates that are not in their own interval

results.json in the run folder marks a finished run. The test of a training that is not finished leaves it in pred/, as
tests of other checkpoints do in folders of their own.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from toolbox import schema
from toolbox.metrics import meanings
from toolbox.runs.folder import RESULTS

TEST = "pred"  # the folder of the test of the best checkpoint
METRICS, BY_PATIENT = "metrics.json", "by_patient.json"
ROUNDING = 1e-9  # of an estimate at an end of its interval
MEASURED = ("intervals", "without_interval")


def place(run: Path, which: str = "best") -> Path | None:
    """The results.json of the test of the checkpoint `which` ("best", or the name of a folder in pred/), if any."""
    folders = (run, run / TEST) if which == "best" else (run / TEST / which,)
    return next((path for folder in folders if (path := folder / RESULTS).exists()), None)


def contradictions(results: Mapping[str, Any], of_test: Mapping[str, Any]) -> list[str]:
    """The first figure of each of the files METRICS and BY_PATIENT, `of_test` by name, that results.json has with
    another value."""
    test = _dict(results.get("test"))
    kept = {METRICS: test, BY_PATIENT: _dict(test.get("by_patient"))}
    found = []
    for name, values in kept.items():
        for what, mine, theirs in islice(_differences(values, _dict(of_test.get(name))), 1):
            found.append(f"{what} in {RESULTS} is {mine}, in {name} {theirs}")
    return found


def _differences(mine: Mapping[str, Any], theirs: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, str, str]]:
    """Place and both values of every entry that both have and that differs."""
    for name, value in mine.items():
        inside, other = f"{at} {name}".strip(), theirs.get(name)
        if isinstance(value, dict) and isinstance(other, dict):
            yield from _differences(value, other, inside)
        elif name in theirs and value != other:
            yield inside, _shown(value), _shown(other)


def _shown(value: Any) -> str:
    return f"{value:.6g}" if schema.is_number(value) else str(value)[:60]


class Measured(NamedTuple):
    """A figure of a test: its value and its interval [low, high], None where there is none, and the reason for that."""

    value: Any
    ends: Any
    lacks: str


def figures(test: Mapping[str, Any]) -> dict[str, Measured]:
    """Every figure of a test by name: the challenge's own score first, figures by patient last, as "gross macro_f1"."""
    patients = _dict(test.get("by_patient"))
    ends, of_class = _dict(test.get("intervals")), _dict(test.get("f1_intervals"))
    values = {name: value for name, value in test.items() if schema.is_number(value) or name in ends}
    if "challenge_f1" in values:
        values, ends = {"challenge_f1": None} | values, {**ends, "challenge_f1": of_class.get("challenge_f1")}
    found = _figures(values, ends, _dict(test.get("without_interval")))
    gross = (_dict(patients.get("gross")), *(_dict(_dict(patients.get(name)).get("gross")) for name in MEASURED))
    return found | {meanings.GROSS_PREFIX + name: of for name, of in _figures(*gross).items()}


def of_labels(test: Mapping[str, Any]) -> bool:
    """Whether the rows of a test have many labels."""
    return "class_intervals" in test


def lacking_f1(test: Mapping[str, Any]) -> dict[str, str]:
    """The reason for the missing interval of the F1 of each class, which only figures by patient state."""
    gross = {name.removeprefix(meanings.GROSS_PREFIX): of.lacks for name, of in figures(test).items() if of.lacks}
    return {name.removesuffix(" F1"): why for name, why in gross.items() if name.endswith(" F1")}


def _figures(values: Mapping[str, Any], ends: Mapping[str, Any], lacks: Mapping[str, Any]) -> dict[str, Measured]:
    return {name: Measured(value, ends.get(name), str(lacks.get(name, ""))) for name, value in values.items()}


def outside(test: Mapping[str, Any]) -> list[str]:
    """The estimates of a test that are not in their 95 % interval."""
    per_class, of_class = _dict(test.get("per_class")), _dict(test.get("f1_intervals"))
    f1 = {f"F1 of {name}": Measured(_dict(of).get("f1"), of_class.get(name), "") for name, of in per_class.items()}
    auroc = _dict(_dict(test.get("class_intervals")).get("auroc"))
    f1 |= {f"AUROC of {name}": Measured(_dict(of).get("auroc"), auroc.get(name), "") for name, of in per_class.items()}
    found = []
    for name, (value, ends, _) in (figures(test) | f1).items():
        if not (isinstance(ends, list) and len(ends) == 2 and all(map(schema.is_finite, [value, *ends]))):
            continue
        if not ends[0] - ROUNDING <= value <= ends[1] + ROUNDING:
            interval = f"{ends[0]:.4f} - {ends[1]:.4f}"
            found.append(f"{meanings.name_of(name)}, {value:.4f}, is outside of its 95 % interval, {interval}")
    return found


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
