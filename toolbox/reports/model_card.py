"""The model card of an exported network, as Markdown from its contract: use, limits, input, data, results, citation.

    files.write_text(folder / CARD, model_card.text(contract, bibtex))

Sections as in Mitchell et al., Model Cards for Model Reporting, FAT* 2019. Every figure has its interval or the reason
for its absence, under the split protocol.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from os.path import basename
from typing import Any

from toolbox import plain
from toolbox.errors import program
from toolbox.metrics import meanings
from toolbox.reports.tables import between, digits, shown

MARKS = re.compile(r"([\\`*\[\]<>|~])")
LIMITS = (
    "It has not been evaluated in any clinic, and nothing it gives may decide a diagnosis or a treatment.",
    "It knows the classes below and no other: any rhythm, beat or artefact gets one of them.",
    "Figures hold for recordings like those of the data below, prepared as below; other devices, leads, rates, filters "
    "or patients need a test of their own.",
)
WITHIN = "rows of one patient may be in train and test, so the figures say little about a new patient"
UNTESTED = "**This network has no test**: nothing is known of how good it is. `--test` tests the run, `--export` again."
LOADS = {
    "onnx": """```python
import onnxruntime

session = onnxruntime.InferenceSession("{file}")
{outputs} = session.run(["{outputs}"], {{{feed}}})[0]
```""",
    "safetensors": """```python
from pathlib import Path

from commands import export  # in the folder of ECG Commander

network, symbols = export.opened(Path("FOLDER"), {{}})  # the folder of this card: {name} with {file}
outputs = network.model({inputs})
```""",
}


def text(contract: Mapping[str, Any], *, command: str, bibtex: str, own_files: Sequence[Mapping[str, str]] = ()) -> str:
    """The card of a contract; `command` is the command line of the training, `own_files` the files it imports."""
    run, weights, network = contract["run"], contract["weights"], contract["network"]
    parts = [
        f"# {_safe(run['name'])}",
        plain.NOTICE,
        f"{_safe(network['name'])} in {weights['format']}, the {_safe(run['checkpoint'])} checkpoint (epoch "
        f"{run['epoch']}) of the run {_safe(run['name'])}, exported by ECG Commander {contract['version']}. "
        "`contract.json` has everything below for programs.",
        "## Intended use and limits",
        "For research on ECG: to repeat and compare experiments.",
        _list(LIMITS),
        "## Input",
        _input(contract["input"]),
        "## Output",
        _output(contract["output"]),
        "## Data",
        _data(contract["data"], contract["input"]["view"]),
        "## Split protocol",
        f"{_safe(contract['data']['split_rule'])}.",
        "## Results",
        _results(contract["results"], contract["output"]["classes"]),
        "## Network",
        _network(network),
        "## How to run",
        _how(contract),
        "## How it was trained",
        _trained(contract, command, own_files),
        "## Citation",
        f"```bibtex\n{bibtex}```",
    ]
    return "\n\n".join(parts) + "\n"


def _input(rows: Mapping[str, Any]) -> str:
    shape = f"(B, 3, {rows['image'][0]}, {rows['image'][1]})" if rows["image"] else f"(B, C, T) with {rows['channels']}"
    if not rows["image"]:
        shape = f"(B, {rows['channels']}, {rows['samples']})"
    facts = {
        "rows": f"{_safe(rows['view'])}, {shape}",
        "leads, in order": ", ".join(map(_safe, rows["leads"])) or "not stated",
        "rate": f"{rows['rate_hz']:g} Hz" if rows["rate_hz"] else "not stated",
        "length": f"{rows['samples']:,} samples" + (f", {rows['seconds']:g} s" if rows["seconds"] else ""),
        "unit": _safe(rows["unit"]) or "not stated",
        "features": ", ".join(map(_safe, rows["features"])) or "none",
    }
    steps = [_safe(step) for step in rows["preparation"]["steps"]]
    return f"{_table(('', ''), facts.items())}\n\nFrom a recording to a row:\n\n{_list(steps, '1.')}"


def _output(output: Mapping[str, Any]) -> str:
    classes = ", ".join(map(_safe, output["classes"]))
    lines = [f"It gives {_safe(output['gives'])}."]
    if output["task"] == "detect":
        threshold = output["threshold"]
        lines.append(f"The error of a row is the loss {_safe(output['error'])} of its reconstruction.")
        fixed = f"above {threshold:.6g} ({_safe(output['threshold_rule'])} of {_safe(output['fixed_on'] or '')})"
        lines.append(
            f"A row with an error {fixed} is an anomaly." if threshold is not None else "No threshold is fixed."
        )
        return _list(lines)
    lines.append(f"Classes, in order: {classes}.")
    if weights := output["decision_weights"]:
        lines.append(f"The logarithms of the decision weights {', '.join(f'{each:g}' for each in weights)} are added.")
    if "thresholds" in output:
        return _list([*lines, *_of_labels(output)])
    if temperature := output["temperature"]:
        lines.append(f"Logits are divided by the temperature {temperature:.6g}, fitted on {_safe(output['fixed_on'])}.")
    else:
        lines.append("No temperature is fitted: the probabilities are not calibrated.")
    return _list([*lines, "The softmax gives probabilities; the largest one is the predicted class."])


def _of_labels(output: Mapping[str, Any]) -> list[str]:
    """The lines on many labels a row: sigmoid, thresholds."""
    lines = ["The sigmoid of each logit is the probability of its class; a row has any number of classes."]
    if fitted := output.get("calibration"):
        of = zip(output["classes"], fitted["slope"], fitted["intercept"], strict=True)
        named = ", ".join(f"{_safe(name)} {slope:.4g} and {intercept:.4g}" for name, slope, intercept in of)
        what = f"sigmoid(slope * logit + intercept), fitted on {_safe(output['fixed_on'])}; slope and intercept"
        lines.append(f"The calibrated probability is {what}: {named}. The thresholds are of the probability before it.")
    if output["thresholds"] is None:
        return [*lines, "No thresholds are fixed: a class is predicted from 0.5 on."]
    each = zip(output["classes"], output["thresholds"], strict=True)
    named = ", ".join(f"{_safe(name)} {threshold:.4g}" for name, threshold in each)
    return [*lines, f"A class is predicted from its threshold on, fixed on {_safe(output['fixed_on'])}: {named}."]


def _data(data: Mapping[str, Any], view: str) -> str:
    def counted(side: str) -> str:
        rows, records = data["rows"].get(side), data["records"].get(side)
        unit = meanings.unit(view) if rows and records and records < rows else "record"
        of = f", of {records:,} {unit}{'s' * (records > 1)}" if records else ", records not named in the data"
        return "not known" if rows is None else f"{rows:,} rows{of if rows else ''}"

    facts = {
        "dataset": _safe(data["name"]) + (f": {_safe(data['what'])}" if data["what"] else ""),
        "source": _safe(data["source"]) or "not stated",
        "licence": _safe(data["licence"]) or "not stated",
        "training": counted("train"),
        "validation": counted("val"),
        **({"test": counted("test")} if "test" in data["rows"] else {}),
        "SHA-256": data["checksum"],
    }
    return _table(("", ""), facts.items())


def _results(results: Mapping[str, Any] | None, classes: Sequence[str]) -> str:
    if results is None:
        return UNTESTED
    test, val = results["test"], results.get("val") or {}
    intervals, lacking = test.get("intervals") or {}, test.get("without_interval") or {}
    rows = [
        (_safe(name), shown(val.get(name)), shown(test.get(name)), between(ends, lacking.get(name, "")))
        for name, ends in intervals.items()
    ]
    parts = [_table(("metric", "validation", "test", "95 % interval"), rows)]
    if "per_class" in test:
        ends = test.get("f1_intervals") or (test.get("class_intervals") or {}).get("f1") or {}
        of = [(name, test["per_class"].get(name) or {}) for name in classes]
        figures = [
            (_safe(name), *(shown(own.get(part)) for part in ("recall", "precision", "f1")), between(ends.get(name)))
            for name, own in of
        ]
        parts.append(_table(("class", "Se", "+P", "F1", "95 % interval of F1"), figures))
    if by_patient := test.get("by_patient"):
        parts.append(_by_patient(by_patient))
    method = test.get("interval_method")
    parts.append(f"Intervals: {_safe(method)}." if method else "The intervals resample rows; rows of one patient are "
                 "not independent.")  # fmt: skip
    return "\n\n".join([*parts, *_remarks(results)])


def _by_patient(values: Mapping[str, Any]) -> str:
    gross, ends = values["gross"], values["intervals"].get("gross") or {}
    lacking = values["without_interval"].get("gross") or {}
    rows = [
        (_safe(name), shown(value), between(ends.get(name), lacking.get(name, ""))) for name, value in gross.items()
    ]
    how = f"All test rows pooled, intervals over records ({_safe(values['interval_method'])}):"
    return f"{how}\n\n{_table(('by patient', 'test', '95 % interval'), rows)}"


def _remarks(results: Mapping[str, Any]) -> list[str]:
    """Sentences that a reader of the figures needs: part of the rows, shared rows, doubts, changes in training."""
    lines = [f"A doubt: {_safe(doubt)}." for doubt in results.get("doubts") or ()]
    if results.get("shared_rows"):
        lines.append(f"{results['shared_rows']:,} test rows stand in train or validation too.")
    lines += [
        f"A short run: the figures cover {part:,} of {whole:,} {_safe(side.replace('_', ' '))}."
        for side, (part, whole) in (results.get("covers") or {}).items()
        if part < whole
    ]
    for note in results.get("overrides") or ():
        lines.append(f"Flags were changed after epoch {note['after_epoch']}: {_safe(', '.join(note['changed']))}.")
    if re.search(r"\brandom\b|stratified by class", results["split_rule"]) and "person" not in results["split_rule"]:
        lines.append(f"Mind the split protocol: {WITHIN}.")
    return [_list(lines)] if lines else []


def _network(network: Mapping[str, Any]) -> str:
    members = f", a committee of {network['members']}" if network["members"] > 1 else ""
    arguments = f" ({_safe(network['arguments'])})" if network["arguments"] else ""
    size = f"{network['parameters']:,} parameters, {digits(network['macs'] / 1e6)} million multiply-accumulates a row"
    lines = [f"{_safe(network['name'])}{arguments}{members}: {size}."]
    if published := network.get("published"):
        told = {"began with weights of": "source", "licence": "licence", "trained on": "saw", "input": "input"}
        lines += [f"- {what}: {_safe(published[name])}" for what, name in told.items()]
    return "\n".join(lines)


def _how(contract: Mapping[str, Any]) -> str:
    weights = contract["weights"]
    feed = ", ".join(f'"{name}": {name}' for name in weights["inputs"])
    shapes = ", ".join(f"{name} ({', '.join(map(str, shape))})" for name, shape in weights["inputs"].items())
    code = LOADS[weights["format"]]
    shown_code = code.format(
        file=weights["file"],
        outputs=weights["output"],
        feed=feed,
        name=contract["network"]["name"],
        inputs=", ".join(weights["inputs"]),
    )
    parts = [f"float32 inputs {shapes}, where B is any number of rows:\n\n{shown_code}"]
    if contract["output"]["symbols"]:
        command = f"{program()} --predict recording.edf --from-export FOLDER"
        parts.insert(0, f"On recordings, with everything above done:\n\n```sh\n{command}\n```")
    return "\n\n".join(parts)


def _trained(contract: Mapping[str, Any], command: str, own_files: Sequence[Mapping[str, str]]) -> str:
    of = f" at commit {_safe(contract['commit'])}" if contract["commit"] else ""
    parts = [f"ECG Commander{of}:", f"```sh\n{plain.escaped(command)}\n```"]
    if own_files:
        named = [f"{_safe(basename(each['file']))} (SHA-256 {_safe(each['sha256'])})" for each in own_files]
        parts.append(
            f"Parts of the run are of the user's own file {', '.join(named)}, which this folder does not hold."
        )
    return "\n\n".join(parts)


def _safe(value: Any) -> str:
    """A value as Markdown text: control characters and marks of Markdown and HTML are escaped."""
    return MARKS.sub(r"\\\1", plain.escaped(value)).replace("\\<", "&lt;").replace("\\>", "&gt;")


def _list(lines: Iterable[str], mark: str = "-") -> str:
    return "\n".join(f"{mark} {line}" for line in lines)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
