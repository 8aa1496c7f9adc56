"""The results of a test: where they are, and whether they and the other files of the test fit together.

    place(run)                   # results.json of a tested run, None of a run without a test: every reader asks here
    contradictions(results, of)  # sentences on figures that another file of the test has with another value
    outside(results)             # sentences on estimates that are not in their own interval

results.json in the run folder marks a finished run. The test of a training that is not finished leaves it in pred/, as
tests of other checkpoints do in folders of their own.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from toolbox import schema
from toolbox.runs.folder import RESULTS

TEST = "pred"  # the folder of the test of the best checkpoint
METRICS, BY_PATIENT = "metrics.json", "by_patient.json"
ROUNDING = 1e-9  # of an estimate at an end of its interval
OF_BOTH = ("gross", "average")  # figures by patient


def place(run: Path, which: str = "best") -> Path | None:
    """The results.json of the test of the checkpoint `which` ("best", or the name of a folder in pred/), if any."""
    folders = (run, run / TEST) if which == "best" else (run / TEST / which,)
    return next((path for folder in folders if (path := folder / RESULTS).exists()), None)


def contradictions(results: Mapping[str, Any], of_test: Mapping[str, Any]) -> list[str]:
    """The first figure of each of the files METRICS and BY_PATIENT, `of_test` by name, that results.json has with
    another value."""
    test = _dict(results.get("test"))
    kept = {METRICS: test, BY_PATIENT: _dict(test.get("by_patient"))}
    found = ((name, next(_differences(values, _dict(of_test.get(name))), None)) for name, values in kept.items())
    return [f"{what} in {RESULTS} is {mine}, in {TEST}/{name} {theirs}" for name, of in found if of
            for what, mine, theirs in [of]]  # fmt: skip


def _differences(mine: Mapping[str, Any], theirs: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, str, str]]:
    """Place and both values of every entry that both have and that differs."""
    for name, value in mine.items():
        inside, other = f"{at} {name}".strip(), theirs.get(name)
        if isinstance(value, dict) and isinstance(other, dict):
            yield from _differences(value, other, inside)
        elif name in theirs and value != other:
            yield inside, *(_shown(each) for each in (value, other))


def _shown(value: Any) -> str:
    return f"{value:.6g}" if schema.is_number(value) else str(value)[:60]


def outside(results: Mapping[str, Any]) -> list[str]:
    """The estimates of a test that are not in their 95 % interval."""
    found = []
    for name, value, ends in _estimates(_dict(results.get("test"))):
        if not (isinstance(ends, list) and len(ends) == 2 and all(map(schema.is_finite, [value, *ends]))):
            continue
        if not ends[0] - ROUNDING <= value <= ends[1] + ROUNDING:
            found.append(f"{name}, {value:.4f}, is outside of its 95 % interval, {ends[0]:.4f} - {ends[1]:.4f}")
    return found


def _estimates(test: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Name, value and interval of every figure of a test."""
    patients = _dict(test.get("by_patient"))
    ends = _dict(patients.get("intervals"))
    sides = [("", test, _dict(test.get("intervals")))]
    sides += [(f"{kind} ", _dict(patients.get(kind)), _dict(ends.get(kind))) for kind in OF_BOTH]
    for kind, values, intervals in sides:
        yield from ((kind + name, values.get(name), of) for name, of in intervals.items())
    per_class = _dict(test.get("per_class"))
    for name, of in _dict(test.get("f1_intervals")).items():
        yield f"F1 of {name}", _dict(per_class.get(name)).get("f1"), of


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
