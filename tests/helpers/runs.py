"""Run folders made up of their JSON files, and tests of runs to compare."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from toolbox.runs.folder import RunFolder
from toolbox.runs.predictions import Predictions

CLASSES = ("N", "S", "V", "F", "Q")
RULE = "whole records: 15 test"
FLAGS = {"task": "classify", "epochs": 2, "lr": 0.005, "monitor": "macro_f1", "seed": 42, "optimizer": "adamw"}
EVIL = '<img src=x onerror="fault()">\x1b[31m</script>\u202e'


def made(
    root: Path,
    number: int = 1,
    *,
    dataset: str = "synth",
    model: str = "cnn1d_3",
    score: float | None = 0.5,
    epochs: int = 2,
    config: dict[str, Any] | None = None,
    **flags: Any,
) -> Path:
    """The folder of a run with `epochs` epochs; tested with this macro F1, or not with None."""
    folder = root / dataset / "runs" / f"{dataset}_{model}_{number}"
    folder.mkdir(parents=True)
    data = {"name": dataset, "split_rule": RULE, "checksum": "a" * 64, "classes": list(CLASSES)}
    kept = {**FLAGS, "dataset": dataset, "model_name": model, **flags}
    given = sorted({"dataset", "model_name", *flags})
    whole = {"flags": kept, "given": given, "data": data, "parameters": 1000 + number, **(config or {})}
    (folder / "config.json").write_text(json.dumps(whole))
    values = {"loss": 1.0, "macro_f1": 0.3, "accuracy": 0.9}
    val = [values | {"macro_f1": 0.3 + epoch / 10} for epoch in (1, 2)]
    history = [{"epoch": e, "seconds": 1.5, "train": values, "val": val[e - 1]} for e in (1, 2)]
    (folder / "logger.json").write_text(json.dumps(history[:epochs]))
    if score is not None:
        test = {"macro_f1": score, "accuracy": 0.9, "intervals": {"macro_f1": [score - 0.1, score + 0.1]}}
        (folder / "results.json").write_text(json.dumps({"best_epoch": 2, "val": val[1], "test": test}))
    return folder


def rows(seed: int, *, right: float = 0.7, records: int = 15, per_record: int = 30) -> Predictions:
    """The same test rows for every seed; the predictions differ. Records are not equally hard."""
    index = np.arange(records * per_record)
    record = np.repeat([f"r{i}" for i in range(records)], per_record)
    target = np.random.default_rng(0).choice(5, size=len(index), p=[0.6, 0.15, 0.15, 0.07, 0.03])
    rng = np.random.default_rng(seed)
    share = right * np.repeat(np.linspace(0.6, 1.2, records), per_record)
    said = np.where(rng.random(len(index)) < share, target, rng.integers(5, size=len(index)))
    return Predictions(index, record, target, np.eye(5)[said] * 0.9 + 0.02, np.zeros(len(index)))


def with_test(folder: Path, predictions: Predictions, *, rule: str = RULE) -> RunFolder:
    """The run in a folder, with the predictions of its test."""
    run = RunFolder(folder)
    (folder / "pred").mkdir(parents=True)
    run.write_json("pred/metrics.json", {"split_rule": rule})
    if not (folder / "results.json").exists():
        run.write_json("results.json", {"test": {}})
    predictions.save(folder / "pred" / "predictions.npz")
    return run
