"""--explain: the written files, the chosen rows and classes, doubts about maps, and refusals."""

import contextlib
import html
import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import args
import commander as program
from commands.explain import attribution
from commands.explain import rows as explain
from commands.trained import TrainedRun
from helpers.commands import assert_error, carried_out, contents, finish, launch
from helpers.pages import Page
from loaders.base import Data
from toolbox.errors import UsageError
from toolbox.explain import methods
from toolbox.plain import NOTICE
from toolbox.runs.folder import RunFolder
from toolbox.runs.outputs import MARKER
from toolbox.runs.predictions import Predictions
from toolbox.terminal import StopRequest

Loader = Callable[..., attribution.Subject]
FLAGS = ("--dataset", "synth", "--model-name", "cnn1d_3")
METHOD = "integrated-gradients"


@pytest.fixture(scope="module")
def explained(plain_run: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A copy of the short run, explained."""
    root = tmp_path_factory.mktemp("explained") / "data"
    shutil.copytree(plain_run.parents[2], root, symlinks=True)
    run = root / "synth" / "runs" / plain_run.name
    before = contents(run)
    result = asked(root, METHOD, "--explain-count", 1, "--resume", "best")
    return SimpleNamespace(root=root, run=run, folder=run / "explain" / METHOD, before=before, result=result)


@pytest.fixture
def copied(explained: SimpleNamespace, tmp_path: Path) -> SimpleNamespace:
    """A copy of it that can be changed."""
    root = shutil.copytree(explained.root, tmp_path / "data", symlinks=True)
    run = root / "synth" / "runs" / explained.run.name
    return SimpleNamespace(root=root, run=run, explain=run / "explain")


def asked(root: Path, method: str, *flags: object) -> dict:
    """What the command says on stdout, carried out in this process, which has its packages already."""
    out, words = io.StringIO(), [*FLAGS, "--root-dir", str(root), "--explain", method, *map(str, flags)]
    with contextlib.redirect_stdout(out):
        program.run_command(args.parse(words), StopRequest())
    return json.loads(out.getvalue().splitlines()[-1])


def told(folder: Path) -> dict:
    return json.loads((folder / "explain.json").read_text())


def test_the_folder_has_a_picture_a_row_and_nothing_else_of_the_run_is_touched(explained: SimpleNamespace) -> None:
    examples = told(explained.folder)["examples"]
    pictures = {example["picture"] for example in examples}
    others = {"index.html", "attributions.npz", "explain.json", "doubts.png", MARKER}
    assert {path.name for path in explained.folder.iterdir()} == pictures | others
    after = contents(explained.run)
    assert {name: content for name, content in after.items() if not name.startswith("explain/")} == explained.before


@pytest.mark.parametrize("marked", [True, False], ids=["", "by an earlier version"])
def test_only_pictures_of_an_earlier_command_are_removed(tmp_path: Path, marked: bool) -> None:
    subject: Any = SimpleNamespace(run=RunFolder(tmp_path), checkpoint="best", flags=SimpleNamespace(explain="gradcam"))
    folder = explain._folder(subject, ["row_1.png"])
    summary = {"notice": NOTICE, "examples": [{"picture": "row_1.png"}]}
    for name, text in {"row_1.png": "", "mine.png": "", "explain.json": json.dumps(summary)}.items():
        (folder / name).write_text(text)
    if not marked:
        (folder / MARKER).unlink()
    explain._folder(subject, ["row_2.png"])
    assert {path.name for path in folder.glob("*.png")} == ({"mine.png"} if marked else {"mine.png", "row_1.png"})
    (folder / MARKER).unlink(missing_ok=True)
    (folder / "explain.json").unlink()
    (folder / "index.html").write_text("theirs")
    with pytest.raises(UsageError, match=r"index.html is there already"):
        explain._folder(subject, ["row_1.png"])


def test_the_last_line_of_stdout_says_the_page_the_rule_and_the_doubts(explained: SimpleNamespace) -> None:
    result = explained.result
    assert result["page"] == str(explained.folder / "index.html")
    assert result["notice"] == NOTICE
    assert result["split"] == json.loads((explained.run / "results.json").read_text())["split_rule"]
    assert result["doubts"] == told(explained.folder)["doubts"]
    assert result["doubts"]["completeness"]["median"] < 0.01
    names = [each["name"] for each in result["checks"]]
    assert names == ["Weights reinitialised", "Deletion", "Insertion", "Completeness", "At the QRS"]


def test_the_arrays_are_what_the_network_says_and_their_sums_the_difference_of_its_logits(
    explained: SimpleNamespace,
) -> None:
    arrays = np.load(explained.folder / "attributions.npz", allow_pickle=False)
    assert arrays["attribution"].shape == arrays["x"].shape == (len(arrays["index"]), 1, 187)
    np.testing.assert_array_equal(arrays["predicted"], arrays["probabilities"].argmax(1))
    np.testing.assert_array_equal(arrays["target"], arrays["predicted"])
    saved = Predictions.load(explained.run / "res" / "epoch2.npz")
    place = {index: at for at, index in enumerate(saved.index.tolist())}
    best = json.loads((explained.run / "results.json").read_text())["best_epoch"]
    saved = Predictions.load(explained.run / "res" / f"epoch{best}.npz")
    scores = np.stack([saved.scores[place[index]] for index in arrays["index"].tolist()])
    np.testing.assert_allclose(arrays["probabilities"], scores, atol=1e-5)


def test_rows_are_the_most_and_the_least_certain_of_each_class_right_and_wrong(explained: SimpleNamespace) -> None:
    best = json.loads((explained.run / "results.json").read_text())["best_epoch"]
    saved = Predictions.load(explained.run / "res" / f"epoch{best}.npz")
    said, sure = saved.scores.argmax(1), saved.scores.max(1)
    classes = ("N", "S", "V", "F", "Q")
    expected = {}
    for k, name in enumerate(classes):
        for group, right in (("right", True), ("wrong", False)):
            own = np.flatnonzero((saved.target == k) & ((said == k) == right))
            if len(own):
                expected[name, f"{group}-most"] = sure[own].max()
            if len(own) > 1:
                expected[name, f"{group}-least"] = sure[own].min()
    found = {(each["true"], each["group"]): each["probability"] for each in told(explained.folder)["examples"]}
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, atol=1e-5)


def test_the_page_has_everything_in_it_and_says_what_the_pictures_are_worth(explained: SimpleNamespace) -> None:
    page = explained.folder / "index.html"
    loaded = Page(page).loaded
    examples = told(explained.folder)["examples"]
    assert len(loaded) == len(examples) + 1
    assert all(source.startswith("data:image/png;base64,") for source in loaded)
    text = html.unescape(re.sub(r"<[^>]*>", " ", page.read_text()))
    assert NOTICE in text
    result = told(explained.folder)
    for words in (result["split"], result["run"], result["method"], *(each["meaning"] for each in result["checks"])):
        assert words in text
    assert "@" not in text.replace("@media", "")


def test_named_rows_have_the_same_maps_and_pictures_of_others_are_removed(copied: SimpleNamespace) -> None:
    folder = copied.explain / METHOD
    index = told(folder)["examples"][0]["index"]
    before = np.load(folder / "attributions.npz", allow_pickle=False)
    asked(copied.root, METHOD, "--records", index)
    assert [path.name for path in folder.glob("row_*.png")] == [f"row_{index}.png"]
    (example,) = told(folder)["examples"]
    assert example["group"] == "named"
    again = np.load(folder / "attributions.npz", allow_pickle=False)
    np.testing.assert_allclose(again["attribution"][0], before["attribution"][0], rtol=1e-3, atol=1e-5)


@pytest.fixture
def subject(explained: SimpleNamespace) -> Callable[..., attribution.Subject]:
    """The run as it is loaded for --explain, with other flags."""

    def load(**flags: object) -> attribution.Subject:
        given = {"root_dir": str(explained.root), "dataset": "synth", "model_name": "cnn1d_3", "explain": "saliency"}
        return attribution.load(TrainedRun.open(given | flags))

    return load


@pytest.mark.parametrize(("what", "expected"), [("predicted", [1, 1, 3]), ("true", [0, 2, 4]), ("V", [2, 2, 2])])
def test_the_class_that_is_explained_is_the_one_asked_for(subject: Loader, what: str, expected: list) -> None:
    own = subject(explain_class=what)
    rows = np.array([np.flatnonzero(own.rows.y == k)[0] for k in (0, 2, 4)])
    assert attribution.attribute(own, rows, np.array([1, 1, 3])).target.tolist() == expected


def test_probabilities_are_weighed_as_the_run_weighs_its_decisions(subject: Loader) -> None:
    own, rows, weights = subject(), np.arange(50), np.array([0.1, 3, 1, 1, 1])
    expected = own.probabilities(rows) * weights
    weighted = replace(own, flags=own.flags.replace(decision_weights=",".join(map(str, weights))))
    found = weighted.probabilities(rows)
    np.testing.assert_allclose(found, expected / expected.sum(1, keepdims=True), rtol=1e-4)
    assert (found.argmax(1) != (expected / weights).argmax(1)).any()


def test_a_map_that_is_the_same_everywhere_marks_nothing_and_is_not_checked(
    copied: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flat(model: torch.nn.Module, inputs: list[torch.Tensor], target: torch.Tensor, **_: object) -> torch.Tensor:
        """The same everywhere."""
        return torch.full_like(inputs[0], -4.0)

    monkeypatch.setitem(methods.EXPLAINERS, "saliency", flat)
    result = asked(copied.root, "saliency", "--explain-count", 1)
    (only,) = result["checks"]
    maps = result["doubts"]["maps"]
    assert (only["name"], only["figure"]) == ("Nothing marked", f"{maps} of {maps} maps")
    assert result["doubts"]["maps_with_nothing_marked"] == maps > 0
    folder = copied.explain / "saliency"
    assert not (folder / "doubts.png").exists()
    assert not any(example["marked"] for example in told(folder)["examples"])
    assert "nothing marked" in (folder / "index.html").read_text()
    assert not np.load(folder / "attributions.npz")["attribution"].any()


def test_both_parts_of_guided_gradcam_explain_the_same_class(subject: Loader) -> None:
    own, of_v = (subject(explain="guided-gradcam", explain_class=what) for what in ("predicted", "V"))
    rows = np.arange(5)
    one, other = (attribution.attribute(each, rows, np.full(5, 2)) for each in (own, of_v))
    assert torch.equal(one.attribution, other.attribution)


def test_test_rows_are_explained_once_the_test_was_opened_and_not_before(copied: SimpleNamespace) -> None:
    how = ("--explain-rows", "test", "--explain-count", 1)
    assert "of 1,280 of test" in asked(copied.root, "gradcam", *how)["rows"]
    (copied.run / "results.json").unlink()
    with pytest.raises(UsageError, match=r"needs a tested run.* --explain-rows val"):
        asked(copied.root, "gradcam", *how)


REFUSED = {
    "--explain integrated-gradient": (2, "unknown --explain", "integrated-gradients"),
    "--explain saliency --model-name resnet1d_18": (4, "no run of resnet1d_18"),
    "--explain saliency --version 7": (4, "version 7"),
    "--explain saliency --resume 55": (4, "no checkpoint '55'"),
    "--explain saliency --explain-class W": (2, "unknown --explain-class 'W'"),
    "--explain saliency --explain-rows train": (2, "unknown --explain-rows 'train'"),
    "--explain saliency --records 999999": (2, "no row of val has the record or the number 999999"),
    "--explain saliency --explain-count 0": (2, "--explain-count is 0"),
    "--explain saliency --seed 3": (2, "--seed is 3, the run was trained with 42"),
    "--explain saliency --test": (2, "exclude each other"),
    "--explain saliency --override": (2, "--override cannot be combined with --explain"),
    "--records 3": (2, "--records goes with --explain"),
    "--explain saliency --task detect --model-name conv_ae": (4, "no run of conv_ae"),
}


@pytest.mark.parametrize("typed", REFUSED)
def test_a_request_that_cannot_be_carried_out_is_one_line_and_writes_nothing(
    explained: SimpleNamespace, typed: str
) -> None:
    before, (code, *says) = contents(explained.run), REFUSED[typed]
    assert_error(carried_out(*FLAGS, "--root-dir", explained.root, *typed.split()), code, *says)
    assert contents(explained.run) == before


def test_a_run_without_validation_rows_says_which_rows_it_can_explain(tmp_path: Path) -> None:
    how = (*FLAGS, "--root-dir", tmp_path)
    ended = carried_out(*how, "--val-fraction", 0, "--epochs", 1, "--short-run", "--no-figures")
    assert ended.code == 0, ended.err
    assert_error(carried_out(*how, "--explain", "saliency"), 2, "no validation rows", "Try: --explain-rows test")


def test_a_detector_is_refused(explained: SimpleNamespace, tmp_path: Path) -> None:
    run = tmp_path / "synth" / "runs" / "synth_linear_ae_1"
    run.mkdir(parents=True)
    config = json.loads((explained.run / "config.json").read_text())
    config["flags"] |= {"task": "detect", "model_name": "linear_ae", "criterion": "l1", "monitor": "loss"}
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=r"needs a classifier.*--task classify"):
        asked(tmp_path, "saliency", "--task", "detect", "--model-name", "linear_ae")


def test_a_limit_to_file_size_is_one_line_that_says_where(copied: SimpleNamespace) -> None:
    how = (*FLAGS, "--root-dir", copied.root, "--explain", "gradcam", "--explain-count", 1)
    assert_error(finish(launch(*how, limits={"RLIMIT_FSIZE": 20_000})), 6, "cannot write", "explain/gradcam")
    left = list((copied.explain / "gradcam").iterdir())
    assert not [path for path in left if path.suffix == ".tmp" or path.name == "index.html"]


@pytest.mark.parametrize("method", ["saliency", "gradcam"])
def test_without_captum_the_methods_that_need_it_say_how_to_install_it(
    explained: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, method: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "captum.attr", None)
    monkeypatch.setattr(explain.attribution, "load", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    how = [*FLAGS, "--root-dir", str(explained.root), "--explain", method]
    if method == "saliency":
        assert program.main(how) == 6
        assert "pip install -r requirements-explain.txt" in capfd.readouterr().err
    else:
        with pytest.raises(KeyboardInterrupt):
            program.main(how)


def test_labels_are_permuted_in_train_alone_and_the_class_counts_stay(tiny: Data) -> None:
    rows = attribution._permuted(tiny.train, 3)
    assert (rows.y != tiny.train.y).any()
    assert np.bincount(rows.y).tolist() == np.bincount(tiny.train.y).tolist()
    assert rows.x is tiny.train.x
    np.testing.assert_array_equal(rows.y, attribution._permuted(tiny.train, 3).y)


@pytest.mark.parametrize(
    ("falls", "says"), [(True, "lower in 75% of the 4 maps"), (False, "higher in 25% of the 4 maps")]
)
def test_a_curve_says_in_how_many_rows_the_map_does_more_than_chance(falls: bool, says: str) -> None:
    told = attribution._curve("Deletion", np.array([0.1, 0.2, 0.3, 0.9]), np.full(4, 0.5), falls=falls)
    assert told.figure == "0.38 against 0.50"
    assert says in told.meaning
