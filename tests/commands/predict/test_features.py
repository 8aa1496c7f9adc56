"""--features: with the last layer they are the run's predictions; test rows come of a tested run only."""

import shutil
from pathlib import Path

import numpy as np
import torch

from helpers.commands import assert_error, carried_out
from toolbox.runs.folder import RunFolder
from toolbox.runs.predictions import Predictions

RUN = ("--dataset", "synth", "--model-name", "cnn1d_3")


def test_the_last_layer_turns_them_into_the_predictions_of_the_run(copied_run: Path, tmp_path: Path) -> None:
    root, out = copied_run.parents[2], tmp_path / "f.npz"
    ended = carried_out(*RUN, "--root-dir", root, "--features", out)
    assert ended.code == 0, ended.err
    found = np.load(out)
    assert ended.result["width"] == found["x"].shape[1]
    assert ended.result["rows"] == {side: int((found["split"] == side).sum()) for side in ("train", "val", "test")}
    weights = torch.load(RunFolder(copied_run).checkpoint("best"), weights_only=True)["model"]
    last = [name for name in weights if name.startswith("head") and name.endswith("weight")][-1]
    test = found["split"] == "test"
    logits = found["x"][test] @ weights[last].numpy().T + weights[last.replace("weight", "bias")].numpy()
    powers = np.exp(logits - logits.max(1, keepdims=True))
    told = Predictions.load(copied_run / "pred" / "predictions.npz")
    order = np.argsort(found["index"][test], kind="stable")
    np.testing.assert_array_equal(found["index"][test][order], np.sort(told.index))
    scores = told.scores[np.argsort(told.index, kind="stable")]
    np.testing.assert_allclose((powers / powers.sum(1, keepdims=True))[order], scores, atol=1e-5)
    np.testing.assert_array_equal(found["y"][test][order], told.target[np.argsort(told.index, kind="stable")])
    again = ("--dataset", "table", "--data-file", out, "--split", "column:split", "--id-columns", "index")
    ended = carried_out(*again, "--root-dir", tmp_path / "root", "--rate-hz", 1, "--short-run", "--epochs", 1,
                        "--model-name", "cnn1d_3", "--no-figures")  # fmt: skip
    assert ended.code == 0, ended.err


def test_the_test_rows_of_a_run_without_a_test_stay_closed(copied_run: Path, tmp_path: Path) -> None:
    (copied_run / "results.json").unlink()
    shutil.rmtree(copied_run / "pred")
    ended = carried_out(*RUN, "--root-dir", copied_run.parents[2], "--features", tmp_path / "f.npz")
    assert ended.code == 0, ended.err
    assert {*np.load(tmp_path / "f.npz")["split"].tolist()} == {"train", "val"}
    wrong = carried_out(*RUN, "--root-dir", copied_run.parents[2], "--features", tmp_path / "f.csv")
    assert_error(wrong, 2, "--features is f.csv, an NPZ is written")
