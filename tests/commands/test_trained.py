"""Files of a run with any content: the program uses them as meant, or refuses them in one line that names them."""

import copy
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import args
from commands import choices, compare, trained
from helpers.commands import assert_answers, assert_error, on
from toolbox import files, schema
from toolbox.errors import CheckpointError
from toolbox.runs import checkpoints, folder
from toolbox.runs.folder import RunFolder
from toolbox.runs.predictions import Predictions

ODD = ("null", "true", '"x"', '""', "-1", "0.5", "1e400", "NaN", "9" * 18, "9" * 5000, "[]", "[1]", "{}", '{"x": 1}')
ODD += ("[" * 60 + "]" * 60,)
HERE = "@@here@@"


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Where every value of a JSON file stands; of a long list the first."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, each in inside:
        yield from places(each, (*path, key))


def with_odd(value: Any, path: tuple, odd: str) -> str:
    """The text of a JSON file with other JSON in one place."""
    if not path:
        return odd
    changed = copy.deepcopy(value)
    within = changed
    for key in path[:-1]:
        within = within[key]
    within[path[-1]] = HERE
    return json.dumps(changed).replace(json.dumps(HERE), odd)


def read(call: Callable[[], Any]) -> tuple[Any, str]:
    """What is read, or the error in place of it."""
    try:
        return call(), ""
    except CheckpointError as error:
        return None, str(error)


def test_any_value_in_any_place_of_a_config_is_used_or_named(plain_run: Path, tmp_path: Path) -> None:
    config, run = json.loads((plain_run / "config.json").read_text()), RunFolder(tmp_path)
    config["overrides"] = [{"after_epoch": 1, "changed": {"lr": [0.1, 0.2]}}]
    refused = used = 0
    for path in places(config):
        for odd in ODD:
            (tmp_path / "config.json").write_text(with_odd(config, path, odd))
            found, error = read(lambda: trained.read_config(run))
            refused, used = refused + bool(error), used + (not error)
            if error:
                assert "config.json" in error
                continue
            choices.settle(args.resolve({}, found["flags"]))
            args.FLAGS.changed({}, found["flags"])
    assert refused > used > 100


def test_any_value_in_any_place_of_a_history_is_used_or_named(plain_run: Path, tmp_path: Path) -> None:
    rows, run = json.loads((plain_run / "logger.json").read_text()), RunFolder(tmp_path)
    outcomes = set()
    for path in places(rows):
        for odd in ODD:
            (tmp_path / "logger.json").write_text(with_odd(rows, path, odd))
            found, error = read(run.read_history)
            assert "logger.json" in error if error else folder.history_objection(found) == ""
            outcomes.add(bool(error))
    assert outcomes == {True, False}


@pytest.mark.parametrize("count", [3, pytest.param(150, marks=pytest.mark.soak)])
def test_a_command_answers_with_any_value_in_any_place(plain_run: Path, root: Path, count: int) -> None:
    run, chance = root / "synth" / "runs" / plain_run.name, random.Random(count)
    for _ in range(count):
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(plain_run, run)
        name = chance.choice(["config.json", "logger.json"])
        whole = json.loads((run / name).read_text())
        (run / name).write_text(with_odd(whole, chance.choice([*places(whole)]), chance.choice(ODD)))
        how = chance.choice([("--test",), ("--resume", "latest", "--epochs", "3"), ("--resume", "latest")])
        assert_answers("--model-name", "cnn1d_3", "--root-dir", root, "--no-figures", *how)


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_gigabyte(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(2**30)


FORMS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "nothing": (lambda path: None, "cannot be read: No such file or directory"),
    "empty": (lambda path: path.write_text(""), "is not JSON: Expecting value, line 1, column 1"),
    "cut off": (lambda path: path.write_text('{"a": [1,\n2'), "is not JSON: Expecting ',' delimiter, line 2, column 2"),
    "a folder": (lambda path: path.mkdir(), "cannot be read: "),
    "a pipe": (a_pipe, "cannot be read: it is no regular file"),
    "a gigabyte": (a_gigabyte, "has 1,073,741,824 bytes, at most 67,108,864 are read"),
    "not UTF-8": (lambda path: path.write_bytes(b'{"a": "\xff"}'), "is not text: invalid start byte, byte 7"),
    "deep": (lambda path: path.write_text("[" * 100_000 + "]" * 100_000), "is nested more than 64 deep"),
    "deep objects": (lambda path: path.write_text('{"a":' * 70 + "1" + "}" * 70), "is nested more than 64 deep"),
    "digits": (lambda path: path.write_text(f"[{'9' * 5000}]"), "has a whole number of 5000 digits, at most 18 "
                                                                "are read"),
    "too large": (lambda path: path.write_text("[1e999]"), "has the number 1e999, which is not finite"),
    "NaN": (lambda path: path.write_text('{"a": NaN}'), "has the number NaN, which is not finite"),
    "a name twice": (lambda path: path.write_text('{"seed": 1, "seed": 2}'), "names seed twice in an object"),
    "two values": (lambda path: path.write_text("1 2"), "is not JSON: Extra data"),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_json_file_of_another_form_is_refused_in_one_line(tmp_path: Path, form: str) -> None:
    make, says = FORMS[form]
    make(tmp_path / "config.json")
    with pytest.raises(CheckpointError) as refused:
        trained.read_config(RunFolder(tmp_path))
    assert says.partition(", ")[0].replace("cannot be read", "cannot read config.json") in str(refused.value)
    assert str(tmp_path / "config.json") in str(refused.value)
    with pytest.raises(files.UnreadableError) as unreadable:
        files.read_json(tmp_path / "config.json")
    assert says in str(unreadable.value)


def test_json_as_people_write_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(
        b"\xef\xbb\xbf" + json.dumps({"µ": [1, -2.5, None, {"x": [True]}], "big": 10**17}).encode()
    )
    assert files.read_json(tmp_path / "a.json") == {"µ": [1, -2.5, None, {"x": [True]}], "big": 10**17}
    (tmp_path / "b.json").write_text("[" * 63 + "1" + "]" * 63)
    assert files.read_json(tmp_path / "b.json")


@pytest.mark.parametrize("make", [a_pipe, a_gigabyte, Path.mkdir], ids=["a pipe", "a gigabyte of zeros", "a folder"])
def test_a_checkpoint_that_is_no_file_of_torch_does_not_hang(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    make(tmp_path / "model_best.pth.tar")
    with pytest.raises(CheckpointError, match=r"model_best\.pth\.tar"):
        checkpoints.load(tmp_path / "model_best.pth.tar")


def predictions(**other: Any) -> Predictions:
    arrays = {"index": np.arange(4), "record": np.full(4, "a"), "target": np.array([0, 1, 1, 0]), "loss": np.ones(4)}
    return Predictions(**{**arrays, "scores": np.full((4, 2), 0.5), **other})


WRONG = {
    "other lengths": ({"loss": np.ones(3)}, r"loss has the shape (3,)"),
    "text": ({"target": np.array(list("abcd"))}, "target has the shape (4,) and the type <U1"),
    "not finite": ({"scores": np.full((4, 2), np.nan)}, "scores are not all finite"),
    "a class too many": ({"target": np.array([0, 1, 2, 0])}, "target has values from 0 to 2, allowed are 0 to 1"),
    "many labels": ({"target": np.ones((4, 2), int)}, "metrics.json: per_class is missing"),
}


@pytest.mark.parametrize("what", WRONG)
def test_invalid_predictions_are_named_where_runs_are_compared(tmp_path: Path, what: str) -> None:
    arrays, says = WRONG[what]
    (tmp_path / "pred").mkdir()
    files.write_json(tmp_path / "config.json", {"data": {"classes": ["a", "b"]}})
    files.write_json(tmp_path / "pred" / "metrics.json", {"split_rule": "none"})
    files.write_json(tmp_path / "results.json", {"test": {}})
    predictions().save(tmp_path / "pred" / "predictions.npz")
    assert compare.load(RunFolder(tmp_path)).predictions.index.tolist() == [0, 1, 2, 3]
    predictions(**arrays).save(tmp_path / "pred" / "predictions.npz")
    with pytest.raises(CheckpointError) as refused:
        compare.load(RunFolder(tmp_path))
    assert says in str(refused.value)


MISFITS: list[tuple[Any, str]] = [
    ({"a": [1, 9], "b": None, "other": ...}, ""),
    ({"a": [1, 10]}, "a[1] is 10, it must be a whole number from 1 to 9"),
    ({"a": [True]}, "a[0] is true, it must be a whole number from 1 to 9"),
    ({"b": {}}, "a is missing"),
    ({"a": [], "b": {"x": [1, -1]}}, "b.x[1] is -1, it must be a number from 0"),
    ({"a": [], "b": {"x": [1]}}, "b.x is a list, it must be two values, each a number from 0"),
    ({"a": [], "c": 1.5}, "c is 1.5, it must be a text"),
    ([], "it is a list, it must be an object"),
]


@pytest.mark.parametrize(("value", "says"), MISFITS)
def test_a_form_names_the_first_place_that_does_not_fit(value: Any, says: str) -> None:
    form = {"a": [schema.Count(1, 9)], "b?": {"*": schema.Pair(schema.Number(0))}, "c?": str}
    assert schema.misfit(value, form) == says


def test_a_name_that_no_longer_exists_is_an_error_and_a_film_of_an_earlier_version_a_gif(
    plain_run: Path, tmp_path: Path
) -> None:
    config = json.loads((plain_run / "config.json").read_text())
    config["flags"]["confusion_video"] = "mp4"
    files.write_json(tmp_path / "config.json", config)
    assert trained.read_config(RunFolder(tmp_path))["flags"]["confusion_video"] == "gif"
    config["flags"]["scheduler"] = "Warmup"
    files.write_json(tmp_path / "config.json", config)
    with pytest.raises(CheckpointError, match=r"config\.json: .*Warmup"):
        trained.read_config(RunFolder(tmp_path))


def test_a_run_that_was_imported_by_an_earlier_version_is_tested_and_not_trained_on(copied_run: Path) -> None:
    config = json.loads((copied_run / "config.json").read_text())
    files.write_json(copied_run / "config.json", config | {"imported": {"file": "model_best.pth.tar"}})
    resumed = on(copied_run, "--resume", "latest", "--epochs", "3")
    assert_error(resumed, 2, "an imported run cannot be resumed")
    assert on(copied_run, "--test").code == 0


def test_the_network_of_a_run_has_the_form_that_its_config_records_and_an_older_run_the_plain_one(
    plain_run: Path, tmp_path: Path
) -> None:
    config = json.loads((plain_run / "config.json").read_text())
    assert (config["flags"]["form"], config["flags"]["precision"], config["precision"]) == ("lean", "auto", "float32")
    older = {name: value for name, value in config["flags"].items() if name not in ("form", "precision")}
    for flags, form in ((config["flags"], "lean"), (older | {"mixed_precision": False}, "plain")):
        (tmp_path / "config.json").write_text(json.dumps(config | {"flags": flags}))
        run = trained.TrainedRun.open({}, run=RunFolder(tmp_path))
        model, _ = trained.built(run.flags, run.spec)
        assert {part.form for part in model.modules() if hasattr(part, "form")} == {form}
        assert run.flags.precision == ("auto" if form == "lean" else "float32")
