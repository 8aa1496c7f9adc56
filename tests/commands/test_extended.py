"""A finished run that is trained on is finished no more, and its results are kept aside; what cannot be written is
printed."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from commands import predict
from helpers.commands import assert_error, bound_by_permissions, carried_out, contents, finish, launch, on
from studies.ledger import DONE, STARTED, Ledger
from toolbox.errors import CheckpointError
from toolbox.metrics.classification import floats
from toolbox.runs import folder as runs
from toolbox.runs.folder import RunFolder
from trainer import Trainer


class Killed(BaseException):
    """In place of a SIGKILL: nothing catches it."""


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Carry out a command that is killed after so many epochs."""

    def command(path: Path, epochs: int, *flags: object) -> None:
        whole, left = Trainer.train_epoch, [epochs]

        def train_epoch(self: Trainer, *how: Any) -> Any:
            if not left[0]:
                raise Killed
            left[0] -= 1
            return whole(self, *how)

        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "train_epoch", train_epoch)
            with pytest.raises(Killed):
                on(path, *flags)

    return command


def state(run: Path) -> str:
    """How a study has a run that it started with the flags of its config.json."""
    config, root = json.loads((run / "config.json").read_text()), run.parents[2]
    given = {name: config["flags"][name] for name in config["given"]}
    record = {"run": os.path.relpath(run, root), "state": STARTED, "given": given, "tested": True}
    return Ledger(run, root).status(record).state


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_finished_run_that_is_extended_and_killed_is_not_taken_for_finished(
    copied_run: Path, killed: Any, epochs: int
) -> None:
    before = contents(copied_run)
    assert state(copied_run) == DONE
    killed(copied_run, epochs, "--resume", "latest", "--epochs", "4")
    assert not (copied_run / "results.json").exists()
    assert not list((copied_run / "pred").iterdir())
    assert state(copied_run) == STARTED
    kept = contents(copied_run / "before" / "epoch2")
    assert kept == {name: before[name] for name in before if name == "results.json" or name.startswith("pred/")}
    assert_error(
        carried_out("--compare", str(copied_run), str(copied_run)), 4, "no test of its present weights", "--test"
    )
    assert on(copied_run, "--test").code == 0
    assert not (copied_run / "results.json").exists()  # tested, but not trained to its end
    ended = on(copied_run, "--resume", "latest")
    assert ended.code == 0, ended.err
    assert json.loads((copied_run / "results.json").read_text())["best_epoch"] <= 4
    assert len(json.loads((copied_run / "logger.json").read_text())) == 4
    assert contents(copied_run / "before" / "epoch2") == kept


def test_a_run_with_nothing_left_to_train_keeps_its_results_where_they_are(copied_run: Path) -> None:
    before = contents(copied_run)["results.json"]
    assert on(copied_run, "--resume", "latest").code == 0
    assert contents(copied_run)["results.json"] == before
    assert not (copied_run / "before").exists()


def test_what_is_set_aside_twice_is_kept_twice(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for text in ("one", "two"):
        (tmp_path / "pred").mkdir(exist_ok=True)
        (tmp_path / "pred" / "report.txt").write_text(text)
        (tmp_path / "temperature.json").write_text(text)
        folder.set_aside(3)
    folder.set_aside(3)
    assert {path: content.decode() for path, content in contents(tmp_path / "before").items()} == {
        f"{name}/{file}": text
        for name, text in (("epoch3", "one"), ("epoch3_2", "two"))
        for file in ("pred/report.txt", "temperature.json")
    }


NO_HISTORY = {
    "a note": ({"note": "my best run"}, "it is an object, it must be a list"),
    "a text": ("history", "it is a text, it must be a list"),
    "notes": (["a", "b"], "row 1: it is a text, it must be an object"),
    "other things": ([{"time": 1}], "row 1: epoch is missing"),
    "an epoch twice": ([2, 2], "row 2 is of epoch 2, the row before it of epoch 2"),
    "no metrics": ([{"epoch": 1, "lr": 0.1}], "row 1: train is missing"),
    "text for a metric": ([{"epoch": 1, "lr": 1, "train": {"loss": "low"}, "val": {}}], "train.loss is a text, "
                                                                                        "it must be"),
}  # fmt: skip


@pytest.mark.parametrize("what", NO_HISTORY)
def test_a_logger_json_that_is_no_history_is_refused_and_not_written_over(copied_run: Path, what: str) -> None:
    value, says = NO_HISTORY[what]
    whole = json.loads((copied_run / "logger.json").read_text())
    value = [whole[1]] * 2 if value == [2, 2] else value
    (copied_run / "logger.json").write_text(json.dumps(value))
    before = contents(copied_run)
    for flags in (("--resume", "latest", "--epochs", "3"), ("--test",)):
        assert_error(on(copied_run, *flags), 4, "logger.json is no history of a run: ", says, "move the file away")
    assert contents(copied_run) == before


def test_moved_away_it_is_written_anew_from_the_checkpoint(copied_run: Path) -> None:
    whole = (copied_run / "logger.json").read_text()
    (copied_run / "logger.json").rename(copied_run / "mine.json")
    assert on(copied_run, "--resume", "latest").code == 0
    assert (copied_run / "logger.json").read_text() == whole


def test_every_history_of_a_run_is_one() -> None:
    row = {
        "epoch": 3,
        "lr": None,
        "seconds": None,
        "samples_per_s": None,
        "train": {"loss": None},
        "val": {"loss": float("nan")},
    }
    assert (
        runs.history_objection([])
        == runs.history_objection([row])
        == runs.history_objection([row, row | {"epoch": 9, "lr": 0.1}])
        == ""
    )


def test_the_test_of_a_run_that_may_not_be_written_prints_its_results(
    copied_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = json.loads((copied_run / "results.json").read_text())
    opened = os.open

    def refused(path: Any, flags: int, *how: Any, **more: Any) -> int:
        if flags & os.O_CREAT and str(path).startswith(str(copied_run)):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return opened(path, flags, *how, **more)

    before = contents(copied_run)
    monkeypatch.setattr(runs.os, "open", refused)
    ended = on(copied_run, "--test")
    assert ended.code == 0, ended.err
    assert ended.result["test"] == results["test"]
    assert "nothing is saved, the results are only printed: cannot lock the run: Read-only file system" in ended.err
    assert contents(copied_run) == before
    assert_error(on(copied_run, "--resume", "latest", "--epochs", "3"), 6, "cannot lock the run")


def test_the_same_with_a_folder_that_permissions_close(copied_run: Path) -> None:
    root = copied_run.parents[2]
    folders = [path for path in (root, *root.rglob("*")) if path.is_dir() and not path.is_symlink()]
    for folder in folders:
        folder.chmod(0o555)
    try:
        flags = ("--model-name", "cnn1d_3", "--test", "--root-dir", copied_run.parents[2])
        ended = finish(launch(*flags, preexec_fn=bound_by_permissions))
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert ended.code == 0, ended.err
    assert "nothing is saved" in ended.err
    own = json.loads((copied_run / "results.json").read_text())["test"]
    assert ended.result["test"]["per_class"] == own["per_class"]
    assert floats(ended.result["test"]) == floats(own)  # a process of its own draws more replicates for the intervals


def test_a_temperature_that_is_none_or_lost_is_named_and_not_taken_for_1(tmp_path: Path) -> None:
    run, path = RunFolder(tmp_path), tmp_path / "temperature.json"
    assert predict._temperature(run, "temperature.json", "best", fitted=False) == 1
    with pytest.raises(CheckpointError, match=r"the temperature is missing.*Try: --test --resume best"):
        predict._temperature(run, "temperature.json", "best", fitted=True)
    for value in (None, True, "1", -1, 0, 1e9, [], {}):
        path.write_text(json.dumps({"temperature": value}))
        with pytest.raises(
            CheckpointError, match=r"temperature.json: temperature is .*, it must be a number from 0.02 to 50"
        ):
            predict._temperature(run, "temperature.json", "best", fitted=True)
    path.write_text('{"temperature": NaN}')
    with pytest.raises(CheckpointError, match="has the number NaN, which is not finite"):
        predict._temperature(run, "temperature.json", "best", fitted=True)
    path.write_text('{"temperature": 2}')
    assert predict._temperature(run, "temperature.json", "best", fitted=False) == 2
