"""Run folders: one number for each command, one writer for each folder, and errors that list what there is."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from helpers.data import ROOT
from toolbox.errors import BusyError, CheckpointError, ResourceError, UsageError
from toolbox.files import write_json
from toolbox.runs.folder import RunFolder, nearest, versions

START = "import sys; from pathlib import Path; from toolbox.runs.folder import RunFolder; "
HOLD = """with RunFolder(Path(sys.argv[1])).locked():
    print("held", flush=True); sys.stdin.readline()"""
CLAIM = """print("ready", flush=True); sys.stdin.readline()
print(RunFolder.claim(Path(sys.argv[1]), "ecg", "cnn1d_3", "bump").path.name)"""


def claim(root: Path, model: str = "cnn1d_3", version: str = "bump") -> RunFolder:
    return RunFolder.claim(root, "ecg", model, version)


def python(program: str, *arguments: object) -> subprocess.Popen:
    """A real process that runs `program` and has printed its first line."""
    command = [sys.executable, "-c", f"{START}\n{program}", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline()
    return process


@contextmanager
def held(path: Path) -> Iterator[subprocess.Popen]:
    """A live process that holds the run at `path`."""
    process = python(HOLD, path)
    try:
        yield process
    finally:
        process.communicate("\n")


def test_a_new_run_gets_the_number_after_the_highest_and_no_version_is_written_over(tmp_path: Path) -> None:
    assert [claim(tmp_path).path.name for _ in range(2)] == ["ecg_cnn1d_3_1", "ecg_cnn1d_3_2"]
    assert claim(tmp_path, version="12").path == tmp_path / "ecg" / "runs" / "ecg_cnn1d_3_12"
    run = claim(tmp_path)
    assert run.path.name == "ecg_cnn1d_3_13"
    assert not list(run.path.iterdir())
    with pytest.raises(UsageError, match="version 12 of ecg cnn1d_3 exists already"):
        claim(tmp_path, version="12")
    (tmp_path / "ecg" / "runs" / "ecg_lstm_1_1").touch()  # no folder, so that it is not seen beforehand
    assert claim(tmp_path, "lstm_1").path.name == "ecg_lstm_1_2"


def test_a_model_whose_name_begins_anothers_is_numbered_apart(tmp_path: Path) -> None:
    claim(tmp_path, "resnet1d_v2_10", "7")
    assert claim(tmp_path, "resnet1d_v2").path.name == "ecg_resnet1d_v2_1"
    assert versions(tmp_path, "ecg", "resnet1d_v2") == [1]
    assert versions(tmp_path, "ecg", "resnet1d_v2_10") == [7]


def test_a_folder_that_cannot_be_made_is_a_resource_error(tmp_path: Path) -> None:
    (tmp_path / "ecg").write_text("a file where a folder should be")
    with pytest.raises(ResourceError, match="cannot make a run folder"):
        claim(tmp_path)


def test_eight_processes_at_once_get_eight_numbers(tmp_path: Path) -> None:
    processes = [python(CLAIM, tmp_path) for _ in range(8)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    names = {process.communicate()[0].strip() for process in processes}
    assert names == {f"ecg_cnn1d_3_{number}" for number in range(1, 9)}


def test_a_run_is_found_by_its_number_or_as_the_highest_and_a_missing_one_lists_the_others(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="existing runs: none"):
        RunFolder.find(tmp_path, "ecg", "cnn1d_3", "latest")
    for version in ("9", "10"):
        claim(tmp_path, version=version)
    assert RunFolder.find(tmp_path, "ecg", "cnn1d_3", "latest").path.name == "ecg_cnn1d_3_10"
    assert RunFolder.find(tmp_path, "ecg", "cnn1d_3", "9").path.name == "ecg_cnn1d_3_9"
    with pytest.raises(CheckpointError, match="with version 5; existing versions: 9, 10"):
        RunFolder.find(tmp_path, "ecg", "cnn1d_3", "5")
    with pytest.raises(CheckpointError, match=r"no run of lstm_1 on ecg.*ecg_cnn1d_3_10, ecg_cnn1d_3_9"):
        RunFolder.find(tmp_path, "ecg", "lstm_1", "latest")


def test_a_checkpoint_is_found_or_those_that_are_kept_are_listed(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with pytest.raises(CheckpointError, match="kept are none"):
        run.checkpoint("latest")
    names = {"latest": "checkpoint.pth.tar", "5": "checkpoint_epoch5.pth.tar", "best": "model_best.pth.tar"}
    for name in names.values():
        (tmp_path / name).touch()
    assert {which: run.checkpoint(which).name for which in names} == names
    with pytest.raises(CheckpointError, match=f"no checkpoint '4'.*{', '.join(names.values())}"):
        run.checkpoint("4")


def test_json_comes_back_as_it_was_written_and_a_broken_file_names_the_place(tmp_path: Path) -> None:
    run, value = RunFolder(tmp_path), {"flags": {"lr": 0.1, "leads": ["µV"], "none": None}}
    with pytest.raises(CheckpointError, match=r"cannot read config\.json: No such file"):
        run.read_json("config.json")
    run.write_json("config.json", value)
    assert run.read_json("config.json") == value
    a_colon, a_text = b'{\n "lr": 0.1,\n "seed" 7}', b'{"lr": "\xff\xfe"}'
    broken = {"line 3, column 9": a_colon, "line 1, column 1": b"", "byte 8": a_text}
    for place, content in broken.items():
        (tmp_path / "config.json").write_bytes(content)
        with pytest.raises(CheckpointError, match=f"config.json, {place}") as caught:
            run.read_json("config.json")
        assert caught.value.code == 4


def test_a_run_held_by_a_live_process_is_busy_until_it_is_released(tmp_path: Path) -> None:
    with held(tmp_path) as process, pytest.raises(BusyError, match=f"held by process {process.pid} on ") as caught:
        RunFolder(tmp_path).locked().__enter__()
    assert caught.value.code == 8
    with suppress(ValueError), RunFolder(tmp_path).locked():
        text = json.loads((tmp_path / "lock").read_text())
        raise ValueError("also when it ends badly")
    assert (text["pid"], text["host"]) == (os.getpid(), socket.gethostname())
    assert not (tmp_path / "lock").exists()


def test_locks_of_killed_processes_and_broken_ones_are_taken_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    process = python(HOLD, tmp_path)
    process.kill()
    process.communicate()
    with RunFolder(tmp_path).locked():
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
    assert f"took over the lock of process {process.pid}" in caplog.text
    (tmp_path / "lock").write_text("{half a")
    with RunFolder(tmp_path).locked():
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_a_lock_of_another_host_is_not_taken_over(tmp_path: Path) -> None:
    text = json.dumps({"pid": 1, "host": "another", "since": 0})
    (tmp_path / "lock").write_text(text)
    with pytest.raises(BusyError, match="process 1 on another host, another"):
        RunFolder(tmp_path).locked().__enter__()
    assert (tmp_path / "lock").read_text() == text


def test_an_unknown_run_is_named_first_and_of_many_runs_the_nearest(tmp_path: Path) -> None:
    for number in range(1, 31):
        (tmp_path / "synth" / "runs" / f"synth_cnn1d_3_{number}").mkdir(parents=True)
        write_json(tmp_path / "synth" / "runs" / f"synth_cnn1d_3_{number}" / "config.json", {})
    with pytest.raises(CheckpointError) as caught:
        RunFolder.named("synth_cnn1d_3_31", tmp_path)
    assert caught.value.what.startswith("unknown run synth_cnn1d_3_31; the nearest of 30 runs: synth_cnn1d_3_")
    assert caught.value.what.count("synth_cnn1d_3_") == 11
    assert nearest("a", ["c", "b"]) == "existing runs: b, c"


def test_a_run_without_its_configuration_is_no_unknown_run(tmp_path: Path) -> None:
    (tmp_path / "synth/runs/synth_cnn1d_3_1").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="unknown run"):
        RunFolder.named("synth_cnn1d_3_1", tmp_path)
    (tmp_path / "synth/runs/synth_cnn1d_3_1/logger.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"synth_cnn1d_3_1 has no config\.json"):
        RunFolder.named("synth_cnn1d_3_1", tmp_path)
