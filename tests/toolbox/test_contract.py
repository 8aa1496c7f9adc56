"""contract.json: whatever was changed in it, or in the weights, is found before anything is computed."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from toolbox import contract as contracts
from toolbox.errors import CheckpointError

WEIGHTS = b"weights"
CONTENT = {
    "made_by": "ECG Commander",
    "format": 1,
    "run": {"name": "synth_cnn1d_3_1", "checkpoint": "best", "epoch": 2},
    "weights": {"format": "onnx", "file": "model.onnx", "sha256": hashlib.sha256(WEIGHTS).hexdigest()},
    "network": {"name": "cnn1d_3", "arguments": None, "members": 1},
    "input": {
        "view": "beat", "channels": 1, "samples": 187, "rate_hz": 125, "unit": "mV", "leads": ["II"], "features": [],
        "image": None, "preparation": {"steps": []},
    },
    "output": {
        "task": "classify", "gives": "logits", "classes": ["N", "V"], "importance": [1.0, 2.0], "scored": [],
        "decision_weights": None, "temperature": 1.5, "symbols": {"N": "NL", "V": "V"},
    },
    "data": {"name": "synth", "source": "", "licence": "", "split_rule": "random", "train_records": ["a"]},
    "results": None,
    "flags": {"dataset": "synth", "model_name": "cnn1d_3"},
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(WEIGHTS)
    contracts.write(tmp_path, contracts.sealed(CONTENT))
    return tmp_path


def refused(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        contracts.read(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rewritten(folder: Path, change: Callable[[dict[str, Any]], Any], *, sealed: bool) -> None:
    """The contract with a change; `sealed` with a digest that fits it, as a program's fault would write it."""
    content = json.loads((folder / contracts.CONTRACT).read_text())
    change(content)
    if sealed:
        content.pop("sha256")
        content = contracts.sealed(content)
    (folder / contracts.CONTRACT).write_text(json.dumps(content))


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in nested objects."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*at, key)
        yield from places(value[key], (*at, key))


def test_a_contract_is_read_as_it_was_written(folder: Path) -> None:
    read = contracts.read(folder)
    assert {name: value for name, value in read.items() if name != "sha256"} == CONTENT


@pytest.mark.parametrize("place", [*places(CONTENT)], ids=lambda at: ".".join(map(str, at)))
def test_every_edited_value_is_found(folder: Path, place: tuple[Any, ...]) -> None:
    def edit(content: dict[str, Any]) -> None:
        inside: Any = content
        for key in place[:-1]:
            inside = inside[key]
        value = inside[place[-1]]
        inside[place[-1]] = value + 1 if isinstance(value, int | float) else f"{value}x"

    rewritten(folder, edit, sealed=False)
    assert contracts.CONTRACT in refused(folder)


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another program": (lambda content: content.update(made_by="x"), "not written by ECG Commander"),
    "a newer format": (lambda content: content.update(format=2), "format 2, this program reads up to 1"),
    "no flags": (lambda content: content.pop("flags"), "flags is missing"),
    "no leads": (lambda content: content["input"].update(leads=[]), "input.leads has 0 values, not 1"),
    "no classes": (lambda content: content["output"].update(classes=[], importance=[]), "output.classes has 0"),
    "two weights of three": (lambda content: content["output"].update(importance=[1.0]), "importance has 1 values"),
    "no samples": (lambda content: content["input"].update(samples=0), "input.samples is 0"),
    "a temperature of 0": (lambda content: content["output"].update(temperature=0), "output.temperature is 0"),
    "a file elsewhere": (lambda content: content["weights"].update(file="../x"), "must be a file of the folder"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_contract_that_fits_its_digest_but_cannot_be_used_is_named(folder: Path, fault: str) -> None:
    change, words = FAULTS[fault]
    rewritten(folder, change, sealed=True)
    assert words in refused(folder)


def test_a_folder_without_contract_a_damaged_contract_and_other_weights_are_named(folder: Path) -> None:
    path, text = folder / contracts.CONTRACT, (folder / contracts.CONTRACT).read_bytes()
    for length in (0, 1, len(text) // 2, len(text) - 3):
        path.write_bytes(text[:length])
        assert contracts.CONTRACT in refused(folder)
    for value in ("[]", "3", "null", "{}"):
        path.write_text(value)
        assert contracts.CONTRACT in refused(folder)
    path.write_bytes(text)
    for content in (WEIGHTS[:-1], b"", WEIGHTS + b"x"):
        (folder / "model.onnx").write_bytes(content)
        assert "changed or truncated" in refused(folder)
    (folder / "model.onnx").unlink()
    assert "the weights cannot be read: No such file" in refused(folder)
    path.unlink()
    assert "no folder of --export" in refused(folder)
    assert "no folder of --export" in refused(folder / "nowhere")
