"""--features: with the last layer they are the run's predictions; test rows come of a tested run only, and no file but
earlier features of the same network and data is replaced."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from helpers.commands import assert_error, carried_out
from loaders.datasets.table_npz import ORIGIN, origin_of
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


def test_no_other_file_is_replaced(copied_run: Path, tmp_path: Path) -> None:
    root, out = copied_run.parents[2], tmp_path / "f.npz"

    def asked(path: Path) -> SimpleNamespace:
        return carried_out(*RUN, "--root-dir", root, "--features", path)

    np.savez(tmp_path / "mine.npz", x=np.zeros(3))
    before = (tmp_path / "mine.npz").read_bytes()
    assert_error(asked(tmp_path / "mine.npz"), 2, "mine.npz is there already and was not written by --features")
    assert (tmp_path / "mine.npz").read_bytes() == before
    assert_error(asked(tmp_path / "nowhere" / "f.npz"), 6, "there is no such folder")
    first = asked(out)
    assert first.code == 0, first.err
    there = out.read_bytes()
    again = asked(out)
    assert again.code == 0, again.err
    assert out.read_bytes() == there
    (tmp_path / "link.npz").symlink_to(out)
    assert_error(asked(tmp_path / "link.npz"), 2, "link.npz is there already")
    table = ("--dataset", "table", "--data-file", out, "--split", "column:split", "--id-columns", "index",
             "--rate-hz", 1, "--model-name", "cnn1d_3", "--root-dir", tmp_path / "root")  # fmt: skip
    trained = carried_out(*table, "--short-run", "--epochs", 1, "--no-figures")
    assert trained.code == 0, trained.err
    assert_error(carried_out(*table, "--features", out), 2, "f.npz is an input of this command")
    other = carried_out(*table, "--features", tmp_path / "g.npz")
    assert other.code == 0, other.err
    assert_error(asked(tmp_path / "g.npz"), 2, "g.npz has the features of table_cnn1d_3_1")
    arrays = dict(np.load(out))
    arrays[ORIGIN] = np.array(json.dumps(origin_of(out) | {"checksum": 64 * "0"}))
    np.savez(tmp_path / "h.npz", **arrays)
    assert_error(asked(tmp_path / "h.npz"), 2, "h.npz has the features of other data (synth)")
    assert out.read_bytes() == there


def test_the_origin_names_run_weights_and_data(copied_run: Path, tmp_path: Path) -> None:
    ended = carried_out(*RUN, "--root-dir", copied_run.parents[2], "--features", tmp_path / "f.npz")
    assert ended.code == 0, ended.err
    origin, config = origin_of(tmp_path / "f.npz"), json.loads((copied_run / "config.json").read_text())
    assert origin["run"] == copied_run.name
    assert origin["checkpoint"] == "best"
    assert origin["dataset"] == "synth"
    assert {key: origin[key] for key in ("checksum", "split_rule")} == {
        key: config["data"][key] for key in ("checksum", "split_rule")
    }
    assert origin["weights"][:16] in str(np.load(tmp_path / "f.npz")["unit"])


def test_loaded_weights_need_no_run_and_open_no_test(copied_run: Path, tmp_path: Path) -> None:
    root, out = copied_run.parents[2], tmp_path / "f.npz"
    flags = ("--dataset", "synth", "--model-name", "cnn1d_3", "--root-dir", root, "--pretrained", copied_run.name)
    runs = sorted(copied_run.parent.iterdir())
    ended = carried_out(*flags, "--features", out)
    assert ended.code == 0, ended.err
    assert sorted(copied_run.parent.iterdir()) == runs
    assert "the test rows are not among them" in ended.err
    found = np.load(out)
    assert {*found["split"].tolist()} == {"train", "val"}
    of_run = carried_out(*RUN, "--root-dir", root, "--features", tmp_path / "of_run.npz")
    assert of_run.code == 0, of_run.err
    own = np.load(tmp_path / "of_run.npz")
    np.testing.assert_array_equal(found["x"], own["x"][own["split"] != "test"])
    assert origin_of(out)["network"] == "cnn1d_3"
    assert_error(carried_out(*flags, "--features", tmp_path / "of_run.npz"), 2, "of_run.npz has the features of")
