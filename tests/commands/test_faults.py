"""What is promised when something goes wrong, with a real signal, limit, disk or stream where one is the cause.

Loops that grow with patience run a few rounds here and in full with `pytest -m soak`.
"""

import fcntl
import json
import os
import pty
import random
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.lib.format import open_memmap

from helpers.commands import (
    SHORT,
    assert_error,
    assert_same_run,
    bound_by_permissions,
    carried_out,
    commander,
    contents,
    finish,
    launch,
    offline,
    on,
    small_disk,
    wait_for,
    weights,
)
from helpers.data import BIG, ROOT
from loaders.base import Data
from loaders.files.cache import _describe
from models import MODELS, VISION, get_model
from toolbox.reports import plots
from toolbox.reports.plots import Panel

RUN = (*SHORT[:4], "--no-figures")


@pytest.fixture
def run(root: Path, short_run: SimpleNamespace) -> Path:
    """A copy of a short run of two epochs, number 1, that can be damaged."""
    return shutil.copytree(short_run.path, root / "synth" / "runs" / "synth_cnn1d_3_1")


# What is typed


def test_without_arguments_the_three_lines_people_need_are_shown() -> None:
    ended = commander()
    assert ended.code == 2
    assert ended.err.count("python commander.py") == 3


@pytest.mark.parametrize(
    ("flags", "near"),
    [
        (("--model-name", "resnet1d_1O"), "resnet1d_10"),
        (("--dataset", "egc"), "ecg"),
        (("--optimizer", "adamm"), "adam"),
        (("--scheduler", "StepLr"), "StepLR"),
        (("--criterion", "crossentropie"), "crossentropy"),
        (("--sampler", "equals"), "equal"),
        (("--class-balance", "import"), "importance"),
        (("--monitor", "macro-f1"), "macro_f1"),
        (("--bad-rows", "dorp", "--download"), "drop"),
        (("--list", "model"), "models"),
        (("--mod", "cnn1d_3"), "--model-name"),
        (("--epoch", "3"), "--epochs"),
    ],
    ids=" ".join,
)
def test_an_unknown_name_or_flag_is_told_the_nearest_and_nothing_is_made(
    tmp_path: Path, flags: tuple, near: str
) -> None:
    ended = carried_out(*flags, "--root-dir", tmp_path / "data")
    assert_error(ended, 2, flags[0])
    assert near in ended.err.split("Try: ")[1]
    assert not (tmp_path / "data").exists()


def test_every_value_out_of_range_is_named_at_once_with_its_range(tmp_path: Path) -> None:
    typed = [
        "--lr",
        "nan",
        "--epochs",
        "0",
        "--batch-size",
        "0",
        "--workers",
        "-1",
        "--seed",
        "-2",
        "--val-fraction",
        "1",
    ]
    ended = commander(*typed, "--root-dir", tmp_path / "data")
    assert_error(ended, 2, *(f"{flag} is " for flag in typed[::2]))
    assert ended.err.count("must be") == 6
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--version", "../../x"),
        ("--version", "1/2"),
        ("--model-name", "a/b"),
        ("--dataset", "../ecg"),
        ("--root-dir", "x" * 256),
    ],
    ids=lambda value: value[:12],
)
def test_a_name_that_would_leave_its_place_is_refused(tmp_path: Path, flag: str, value: str) -> None:
    ended = carried_out("--root-dir", tmp_path / "data", flag, tmp_path / value if flag == "--root-dir" else value)
    assert_error(ended, 2, flag)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("link", ["the run folder", "a part of it"])
def test_a_run_folder_that_leads_out_of_the_root_is_refused_and_left_alone(
    run: Path, tmp_path: Path, link: str
) -> None:
    inside, outside = run if link == "the run folder" else run / "pred", tmp_path / "outside"
    inside.rename(outside)
    inside.symlink_to(outside)
    before = contents(outside)
    assert_error(on(run, "--test"), 2, "is a link out of")
    assert contents(outside) == before


@pytest.mark.parametrize(
    ("flags", "there"),
    [
        (("--test", "--version", "7"), "existing versions: 1"),
        (("--test", "--resume", "3"), "checkpoint.pth.tar, model_best.pth.tar"),
        (("--test", "--model-name", "lstm_1"), "synth_cnn1d_3_1"),
    ],
    ids=["a missing version", "an epoch not kept", "no run"],
)
def test_what_is_not_there_is_answered_with_what_is(run: Path, flags: tuple[str, ...], there: str) -> None:
    assert_error(on(run, "--dataset", "synth", *flags), 4, there)


def test_going_on_with_another_network_names_the_first_keys_and_shapes(run: Path) -> None:
    run.rename(run.parent / "synth_resnet1d_10_1")
    ended = carried_out("--model-name", "resnet1d_10", "--resume", "latest", "--root-dir", run.parents[2])
    assert_error(ended, 4, "another model", "head.weight is (5, 576), the model has (5, 32)")


def test_going_on_with_other_classes_names_the_first_shapes(run: Path) -> None:
    state = torch.load(run / "checkpoint.pth.tar", weights_only=True)
    state["model"] |= {"head.weight": torch.zeros(2, 576), "head.bias": torch.zeros(2)}
    torch.save(state, run / "checkpoint.pth.tar")
    assert_error(
        on(run, "--resume", "latest"), 4, "head.weight is (2, 576), the model has (5, 576)", "head.bias is (2,)"
    )


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--lr", "0.5"), "--lr is 0.5, the run has 0.005"),
        (("--optimizer", "sgd"), "--optimizer is sgd, the run has adamw"),
        (("--batch-size", "64", "--seed", "1"), "--batch-size is 64, the run has 128; --seed is 1, the run has 42"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_going_on_as_another_run_is_refused_naming_both_values_unless_overridden(
    run: Path, flags: tuple, says: str
) -> None:
    before = contents(run)
    assert_error(on(run, "--resume", "latest", "--epochs", "3", *flags), 2, says, "--override")
    assert contents(run) == before
    ended = on(run, "--resume", "latest", "--epochs", "3", "--override", *flags)
    assert ended.code == 0, ended.err
    config = json.loads((run / "config.json").read_text())
    (note,) = config["overrides"]
    names = [flag[2:].replace("-", "_") for flag in flags[::2]]
    assert note["after_epoch"] == 2
    assert note["changed"].keys() == set(names)
    assert all(note["changed"][name][1] == config["flags"][name] for name in names)
    assert ended.result["overrides"] == config["overrides"]
    assert on(run, "--test").result == ended.result


def test_another_optimizer_brings_its_own_rate_and_an_overridden_run_is_resumed_exactly(run: Path) -> None:
    twin = shutil.copytree(run, run.parent / "synth_cnn1d_3_2")
    flags = ("--resume", "latest", "--epochs", "12", "--override", "--optimizer", "sgd", "--batch-size", "8")
    undisturbed = on(run, "--version", "1", *flags)
    assert undisturbed.code == 0, undisturbed.err
    assert json.loads((run / "config.json").read_text())["flags"]["lr"] == 0.05
    stopped = launch(*RUN, "--root-dir", run.parents[2], "--version", "2", *flags)
    wait_for((twin / "res" / "epoch5.npz").exists, stopped)
    stopped.send_signal(signal.SIGTERM)
    assert finish(stopped).code == 143
    assert on(run, "--version", "2", "--resume", "latest").code == 0
    assert_same_run(run, twin)


def test_going_on_with_another_dataset_is_refused_naming_both(run: Path, root: Path) -> None:
    shutil.copytree(run, root / "ecg" / "runs" / "ecg_cnn1d_3_1")
    assert_error(
        on(run, "--dataset", "ecg", "--resume", "latest"), 2, "--dataset is ecg, the run has synth", "--override"
    )


def test_other_data_is_refused_naming_both_checksums_unless_overridden(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    known, config["data"]["checksum"] = config["data"]["checksum"][:12], "0123456789abcdef"
    (run / "config.json").write_text(json.dumps(config))
    assert_error(on(run, "--resume", "latest"), 2, f"the data's checksum is {known}, the run has 0123456789ab")
    results = (run / "results.json").read_bytes()
    tested = on(run, "--test", "--override")
    assert tested.code == 0, tested.err
    assert (run / "results.json").read_bytes() == results
    assert (run / "pred" / "best-override" / "report.txt").is_file()
    resumed = on(run, "--resume", "latest", "--epochs", "3", "--override")
    assert resumed.code == 0, resumed.err
    assert resumed.result["best_epoch"] == 3  # what was validated on other rows is no rival


# Many processes, killed processes


@pytest.mark.parametrize("count", [4, pytest.param(20, marks=pytest.mark.soak)])
def test_new_runs_started_at_once_get_a_folder_each_and_all_are_done(root: Path, count: int) -> None:
    started = [launch(*SHORT, "--epochs", "1", "--root-dir", root, "--version", "bump") for _ in range(count)]
    ended = [finish(process, 1200) for process in started]
    assert [one.code for one in ended] == [0] * count, ended[0].err
    names = {Path(one.result["run_folder"]).name for one in ended}
    assert names == {f"synth_cnn1d_3_{number}" for number in range(1, count + 1)}
    assert all((root / "synth" / "runs" / name / "results.json").is_file() for name in names)


def test_a_run_that_a_live_process_holds_is_refused_with_its_number_and_host(root: Path) -> None:
    holder = launch(*RUN, "--epochs", "200", "--root-dir", root)
    run = root / "synth" / "runs" / "synth_cnn1d_3_1"
    wait_for((run / "model_best.pth.tar").exists, holder)
    assert_error(on(run, "--resume", "latest"), 8, f"process {holder.pid} on {socket.gethostname()}")
    holder.send_signal(signal.SIGTERM)
    assert finish(holder).code == 143


def test_the_lock_of_a_dead_process_is_broken_with_a_warning_and_that_of_another_host_is_not(run: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (run / "lock").write_text(json.dumps({"pid": dead.pid, "host": socket.gethostname(), "since": 0}))
    broken = on(run, "--test")
    assert broken.code == 0, broken.err
    assert f"took over the lock of process {dead.pid}" in broken.err
    (run / "lock").write_text(json.dumps({"pid": 1, "host": "node17", "since": 0}))
    assert_error(on(run, "--test"), 8, "process 1 on another host, node17")


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=pytest.mark.soak)])
def test_killed_at_any_moment_every_resume_is_sound_and_the_end_is_that_of_an_undisturbed_run(
    root: Path, kills: int
) -> None:
    flags = (*SHORT, "--epochs", 10 * kills, "--root-dir", root)
    chance, in_a_save = random.Random(kills), 0
    run, how = root / "synth" / "runs" / "synth_cnn1d_3_1", flags
    for kill in range(kills):
        process = launch(*how)
        how = (*RUN, "--resume", "latest", "--root-dir", root)
        wait_for(lambda pid=process.pid: held_by(run, pid) and (run / "checkpoint.pth.tar").exists(), process)
        time.sleep(chance.random() / 2)
        if kill % 4:  # three of four during the write of a checkpoint
            in_a_save += stopped_in_a_save(process, run)
        process.kill()
        assert finish(process).code in (-signal.SIGKILL, 0)
    assert in_a_save
    ended = finish(launch(*how), 1200)
    assert ended.code == 0, ended.err
    assert not list(run.rglob(".*.tmp"))
    undisturbed = carried_out(*flags)
    assert undisturbed.code == 0, undisturbed.err
    assert_same_run(run, run.parent / "synth_cnn1d_3_2")


def stopped_in_a_save(process: subprocess.Popen, run: Path) -> bool:
    """Whether the process stands still with a half written checkpoint; if it ended first, it does not."""
    while process.poll() is None:
        if list(run.glob(f".*.pth.tar.{process.pid}.tmp")):
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            if list(run.glob(f".*.pth.tar.{process.pid}.tmp")):
                return True
            process.send_signal(signal.SIGCONT)
    return False


def held_by(run: Path, pid: int) -> bool:
    try:
        return json.loads((run / "lock").read_text())["pid"] == pid
    except (OSError, ValueError):
        return False


# Checkpoints that are not what they were

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda whole: whole[: len(whole) // 2],
    "empty": lambda whole: b"",
    "a flipped bit": lambda whole: whole[:9000] + bytes([whole[9000] ^ 4]) + whole[9001:],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_latest_checkpoint_is_kept_aside_and_the_newest_sound_one_taken(run: Path, damage: str) -> None:
    before = contents(run)
    path = run / "checkpoint.pth.tar"
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    bad = path.read_bytes()
    ended = on(run, "--resume", "latest")
    assert ended.code == 0, ended.err
    assert "damaged" in ended.err
    assert "model_best.pth.tar, the newest sound checkpoint" in ended.err
    assert (run / "checkpoint.pth.tar.corrupt").read_bytes() == bad
    assert contents(run)["results.json"] == before["results.json"]


def test_without_any_sound_checkpoint_the_run_cannot_go_on_and_nothing_is_removed(run: Path) -> None:
    for path in run.glob("*.pth.tar"):
        path.write_bytes(b"PK")
    assert_error(on(run, "--resume", "latest"), 4, "no sound checkpoint is left")
    assert {path.name for path in run.glob("*.pth.tar*")} == {"checkpoint.pth.tar.corrupt", "model_best.pth.tar"}


def test_a_damaged_best_checkpoint_is_never_replaced(run: Path) -> None:
    path = run / "model_best.pth.tar"
    path.write_bytes(path.read_bytes()[:1000])
    before = contents(run)
    for flags in (("--test",), ("--resume", "best")):
        assert_error(on(run, *flags), 4, "damaged", "model_best.pth.tar")
    assert contents(run) == before


class Payload:
    """What a malicious file would have run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (os.mkdir, (str(self.path),))


def test_a_malicious_checkpoint_is_refused_and_its_payload_not_run(run: Path, tmp_path: Path) -> None:
    state = torch.load(run / "checkpoint.pth.tar", weights_only=True)
    torch.save({**state, "history": Payload(tmp_path / "ran")}, run / "checkpoint.pth.tar")
    before = contents(run)
    assert_error(on(run, "--resume", "latest"), 4, "nothing of it was run")
    assert not (tmp_path / "ran").exists()
    assert contents(run) == before


def test_a_checkpoint_of_a_newer_format_names_both_versions(run: Path) -> None:
    state = torch.load(run / "model_best.pth.tar", weights_only=True)
    torch.save({**state, "format": 99}, run / "model_best.pth.tar")
    assert_error(on(run, "--test"), 4, "format 99", "reads up to 1")


def test_a_checkpoint_made_on_cuda_is_loaded_on_a_machine_without(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = torch.load(run / "checkpoint.pth.tar", weights_only=True)
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
    torch.save(
        {**state, "rng": {**state["rng"], "cuda": torch.zeros(16, dtype=torch.uint8)}}, run / "checkpoint.pth.tar"
    )
    monkeypatch.undo()
    assert b"cuda:0" in (run / "checkpoint.pth.tar").read_bytes()
    ended = on(run, "--resume", "latest", "--epochs", "3", "--device", "cpu")
    assert ended.code == 0, ended.err


# The machine


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there_is_an_error_and_no_silent_run_on_the_cpu(root: Path) -> None:
    assert_error(carried_out(*SHORT, "--device", "cuda", "--root-dir", root), 2, "--device cuda", "--device cpu")
    assert not (root / "synth" / "runs").exists()


LONG = (*RUN, "--epochs", "2", "--sampler", "equal", "--batch-size", "16")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, synth_cache: Path) -> Path:
    """A run of two whole epochs that nothing has disturbed."""
    root = tmp_path_factory.mktemp("undisturbed")
    (root / "synth").mkdir()
    (root / "synth" / "cache").symlink_to(synth_cache)
    ended = carried_out(*LONG, "--root-dir", root)
    assert ended.code == 0, ended.err
    return Path(ended.result["run_folder"])


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "Ctrl-C"])
def test_stopped_by_a_signal_and_resumed_equals_undisturbed(
    root: Path, undisturbed: Path, signum: int, code: int
) -> None:
    stopped = launch(*LONG, "--root-dir", root)
    run = root / "synth" / "runs" / "synth_cnn1d_3_1"
    wait_for((run / "logger.json").exists, stopped)
    time.sleep(0.2)  # into the second of two epochs of 675 steps
    stopped.send_signal(signum)
    ended = finish(stopped)
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    state = torch.load(run / "checkpoint.pth.tar", weights_only=True)
    assert state["epoch"] == 1
    assert 0 < state["meter"]["steps"] < 675
    assert not (run / "results.json").exists()
    assert on(run, "--resume", "latest").code == 0
    assert_same_run(run, undisturbed)


def test_a_second_ctrl_c_stops_at_once_and_leaves_the_checkpoint_before_sound(root: Path) -> None:
    slow = ("--dataset", "synth", "--model-name", "resnet1d_v2_18", "--batch-size", "3000", "--root-dir", root)
    process = launch(*slow)
    path = root / "synth" / "runs" / "synth_resnet1d_v2_18_1" / "checkpoint.pth.tar"
    wait_for(path.exists, process)
    before = path.read_bytes()
    time.sleep(1)  # into the first step
    process.send_signal(signal.SIGINT)
    assert any("once more to stop at once" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    ended = finish(process)
    assert ended.code == 130, ended.err
    assert ended.err.strip().splitlines()[-1] == "interrupted"
    assert path.read_bytes() == before
    assert torch.load(path, weights_only=True)["epoch"] == 0


@contextmanager
def stored_otherwise(folder: Path, name: str) -> Iterator[np.ndarray]:
    """An array of a cache folder that may be changed, as if it had been stored so, under the checksum of before."""
    meta = json.loads((folder / "meta.json").read_text())
    arrays = {each: open_memmap(folder / f"{each}.npy", mode="r+") for each in meta["arrays"]}
    yield arrays[name]
    arrays[name].flush()
    _describe(folder, arrays, meta["sha256"], ())


def test_a_loss_that_is_not_finite_ends_the_run_before_the_step_and_names_the_rows(run: Path, tmp_path: Path) -> None:
    root = tmp_path / "poisoned"
    cache = shutil.copytree(run.parents[1] / "cache", root / "synth" / "cache")
    with stored_otherwise(next(cache.glob("train*")), "x") as x:
        x[5000:6000, 3] = np.nan  # behind every check of the file
    poisoned = shutil.copytree(run, root / "synth" / "runs" / run.name)
    ended = on(poisoned, "--resume", "latest", "--epochs", "9")
    assert_error(ended, 5, "epoch 3, batch 1, rows ", "learning rate of ", "no step was made")
    assert len(ended.err.split("rows ")[-1].split(", ...")[0].split(", ")) == 5
    assert contents(poisoned)["checkpoint.pth.tar"] == contents(run)["checkpoint.pth.tar"]


def test_a_huge_learning_rate_ends_in_a_line_and_leaves_a_sound_checkpoint(root: Path) -> None:
    flags = ("--optimizer", "sgd", "--lr", "1e30", "--scheduler", "none", "--grad-clip", "0", "--epochs", "2")
    assert_error(carried_out(*SHORT, *flags, "--root-dir", root), 5, "epoch 1, batch ", "1e+30", "--lr")
    saved = weights(root / "synth" / "runs" / "synth_cnn1d_3_1")
    assert all(tensor.isfinite().all() for tensor in saved.values())


def limited(which: int, limit: int) -> Callable[[], None]:
    """For a child process before it starts: one of the kernel's limits."""
    return lambda: resource.setrlimit(which, (limit, limit))


def test_a_lack_of_memory_names_the_batch_size_and_a_smaller_one(root: Path) -> None:
    flags = ("--dataset", "synth", "--model-name", "resnet1d_v2_18", "--batch-size", "10000")
    ended = finish(launch(*flags, "--root-dir", root, preexec_fn=limited(resource.RLIMIT_AS, 5 * 2**29)))
    assert_error(ended, 6, "batches of 10000 rows", "bytes more were requested", "--batch-size 5000")


@pytest.mark.parametrize(
    ("limit", "flags", "name"),
    [
        (1_000, ("--resume", "latest", "--epochs", "9"), "config.json"),
        (65_000, ("--resume", "latest", "--epochs", "9"), ".pth.tar"),
        (100_000, ("--resume", "latest", "--epochs", "9", "--tensorboard"), "events.out.tfevents"),
        (50_000, ("--test",), "pred/predictions"),
    ],
    ids=["JSON", "checkpoint", "events", "predictions"],
)
def test_a_file_that_may_not_grow_is_named_with_its_size_and_what_was_there_stays(
    run: Path, limit: int, flags: tuple[str, ...], name: str
) -> None:
    before = contents(run)
    ended = finish(
        launch(
            "--model-name",
            "cnn1d_3",
            "--root-dir",
            run.parents[2],
            *flags,
            preexec_fn=limited(resource.RLIMIT_FSIZE, limit),
        )
    )
    assert_error(ended, 6, "File too large", name, "bytes written")
    assert not list(run.rglob(".*.tmp"))
    for path in run.glob("*.pth.tar"):
        assert torch.load(path, weights_only=True)["epoch"] >= 1
    after = contents(run)
    assert all(after.get(name) or after[f"before/epoch2/{name}"] for name in before)
    assert on(run, "--test").code == 0


@pytest.mark.parametrize(("mib", "what"), [(1, "cache"), (14, "runs")])
def test_a_full_disk_is_named_and_what_was_written_is_whole(tmp_path: Path, mib: int, what: str) -> None:
    with small_disk(tmp_path / "disk", mib * 2**20) as disk:
        ended = commander(*SHORT, "--epochs", "400", "--root-dir", disk)
        assert_error(ended, 6, "No space left on device", f"{disk}/synth/{what}", "free space")
        assert not list(disk.rglob(".*.tmp"))
        assert not [path for path in disk.glob("synth/cache/*/*") if what == "cache"]
        for path in disk.rglob("*.pth.tar"):
            torch.load(path, weights_only=True)
        for path in disk.rglob("*.json"):
            json.loads(path.read_text())


@pytest.mark.parametrize("closed", [".", "res"])
def test_a_run_folder_that_cannot_be_written_is_found_before_training(run: Path, closed: str) -> None:
    (run / closed).chmod(0o555)
    flags = ("--model-name", "cnn1d_3", "--root-dir", run.parents[2], "--resume", "latest", "--epochs", "3")
    ended = finish(launch(*flags, preexec_fn=bound_by_permissions))
    (run / closed).chmod(0o755)
    assert_error(ended, 6, str(run))
    assert "resuming after" not in ended.err


def test_a_permission_that_is_lost_on_the_way_fails_the_next_save_loudly(run: Path) -> None:
    flags = ("--model-name", "cnn1d_3", "--root-dir", run.parents[2], "--resume", "latest", "--epochs", "400")
    process = launch(*flags, preexec_fn=bound_by_permissions)
    wait_for((run / "res" / "epoch3.npz").exists, process)
    (run / "res").chmod(0o555)
    ended = finish(process)
    (run / "res").chmod(0o755)
    assert_error(ended, 6, "Permission denied", "res/epoch")


# Data that is thin


def test_a_class_absent_from_train_is_warned_about_and_has_no_weight(run: Path, tmp_path: Path) -> None:
    cache = shutil.copytree(run.parents[1] / "cache", tmp_path / "absent" / "synth" / "cache")
    with stored_otherwise(next(cache.glob("train*")), "y") as y:
        y[y == 3] = 0
    for balance in ("--sampler", "--class-balance"):
        ended = carried_out(*SHORT, "--epochs", "1", balance, "equal", "--root-dir", tmp_path / "absent")
        assert ended.code == 0, ended.err
        assert "train has no row of F: its weight is 0" in ended.err
        assert ended.result["test"]["accuracy"] > 0


@pytest.mark.parametrize("name", [name for name in MODELS if name not in BIG])
def test_a_last_batch_of_one_row_is_trained_on_by_every_network(name: str, tiny: Data, tiny_charts: Data) -> None:
    data = tiny_charts if name in VISION else tiny
    model = get_model(name, data.spec).train()
    model(torch.from_numpy(data.train.x[:1])).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_a_last_batch_of_one_row_is_trained_on_with_features_by_what_was_seen_of_them(tiny: Data) -> None:
    model, x = get_model("cnn1d_3", replace(tiny.spec, features=("a", "b"))).train(), torch.from_numpy(tiny.train.x)
    features = torch.randn(len(x), 2) * 3 + 5
    model(x, features)
    with torch.no_grad():
        alone = model.features[0](features[:1])
    torch.testing.assert_close(
        alone, (features[:1] - 5 * 0.1) / (0.9 + 0.1 * features.var(0)).sqrt(), rtol=0.1, atol=0.1
    )
    model(x[:1], features[:1]).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


# Folders, streams, pages, repetition


@pytest.mark.parametrize("name", ["config.json", "logger.json"])
def test_json_that_was_edited_into_nonsense_is_named_by_position_and_the_weights_stay_usable(
    run: Path, name: str
) -> None:
    whole = (run / name).read_text()
    (run / name).write_text(whole.replace(":", "", 1))
    for flags in (("--test",), ("--resume", "latest", "--epochs", "3")):
        assert_error(on(run, *flags), 4, f"{run / name}, line ", ", column ")
    (run / name).write_text(whole)
    assert on(run, "--test").code == 0


@pytest.mark.parametrize(
    "edit", [{"flags": None}, {"flags": {"lr": "fast"}}, {"data": []}, {"flags": {"batch_size": -1}}], ids=str
)
def test_a_config_of_another_shape_is_an_error_that_names_it(run: Path, edit: dict) -> None:
    config = json.loads((run / "config.json").read_text())
    if edit.get("flags"):
        edit = {"flags": config["flags"] | edit["flags"]}
    (run / "config.json").write_text(json.dumps(config | edit))
    assert_error(on(run, "--test"), 4, "config.json")


def test_unicode_spaces_and_long_paths_work_and_a_copied_folder_knows_no_place(
    root: Path, tmp_path: Path, synth_cache: Path
) -> None:
    deep = tmp_path / "Ä b/心电图 '\\\"$x" / "/".join(["d" * 200] * 8)
    (deep / "synth").mkdir(parents=True)
    (deep / "synth" / "cache").symlink_to(synth_cache)
    first = commander(*SHORT, "--epochs", "1", "--tensorboard", "--root-dir", deep)
    assert first.code == 0, first.err
    run = deep / "synth" / "runs" / "synth_cnn1d_3_1"
    for name, content in contents(run).items():
        assert str(tmp_path).encode() not in content, name
    moved = shutil.copytree(run, root / "synth" / "runs" / "synth_cnn1d_3_5")
    again = on(moved, "--test")
    assert again.code == 0, again.err
    assert again.result["test"] == first.result["test"]


def test_a_data_file_is_found_again_where_root_and_file_move_together(shared, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    shutil.copytree(shared("kaggle-heartbeat-sample"), here / "kaggle", copy_function=shutil.copyfile)
    rows = (here / "kaggle" / "mitbih_train.csv").read_text() * 30
    (here / "kaggle" / "mitbih_train.csv").write_text(rows)
    flags = (
        "--model-name",
        "cnn1d_3",
        "--epochs",
        "1",
        "--no-figures",
        "--root-dir",
        here / "root",
        "--data-file",
        here / "kaggle",
    )
    first = carried_out(*flags)
    assert first.code == 0, first.err
    here.rename(there)
    again = carried_out("--model-name", "cnn1d_3", "--test", "--no-figures", "--root-dir", there / "root")
    assert again.code == 0, again.err
    assert again.result["test"] == first.result["test"]
    for name, content in contents(there / "root" / "ecg" / "runs").items():
        assert str(tmp_path).encode() not in content, name


@pytest.mark.parametrize("flags", [("--help",), ("--list", "models"), ("--test",)], ids=" ".join)
def test_a_reader_that_goes_away_leaves_no_traceback(run: Path, flags: tuple[str, ...]) -> None:
    process = launch("--model-name", "cnn1d_3", "--root-dir", run.parents[2], *flags)
    process.stdout.close()
    ended = SimpleNamespace(err=process.stderr.read(), code=process.wait())
    assert ended.code in (0, 141)
    assert "Traceback" not in ended.err
    assert "BrokenPipe" not in ended.err
    assert not list(run.glob("lock"))


@pytest.mark.parametrize("closing", [">&-", "2>&-", "<&- >&- 2>&-", "> /dev/full"])
def test_streams_that_are_closed_or_full_lose_nothing_of_the_run(run: Path, closing: str) -> None:
    (run / "results.json").unlink()
    flags = ["--model-name", "cnn1d_3", "--test", "--no-figures", "--root-dir", str(run.parents[2])]
    command = ["sh", "-c", f'exec "$@" {closing}', "sh", sys.executable, str(ROOT / "commander.py"), *flags]
    ended = subprocess.run(command, capture_output=True, text=True, env=offline(), check=False)
    assert ended.returncode == (6 if "full" in closing else 0), ended.stderr
    assert "Traceback" not in ended.stderr
    assert json.loads((run / "results.json").read_text())["test"]


@pytest.mark.parametrize(
    ("terminal", "drawn"), [({}, True), ({"TERM": "dumb"}, False), ({"NO_COLOR": "1"}, False)], ids=str
)
def test_a_bar_is_drawn_on_a_terminal_that_can_and_wants(root: Path, terminal: dict[str, str], drawn: bool) -> None:
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
    process = launch(
        *RUN, "--epochs", "1", "--batch-size", "16", "--root-dir", root, stderr=writer, env={"TERM": "xterm"} | terminal
    )
    os.close(writer)
    seen = "".join(iter(lambda: read_terminal(reader), ""))
    assert process.wait() == 0
    assert ("row/s" in seen) == ("\r" in seen.replace("\r\n", "\n")) == drawn


def read_terminal(reader: int) -> str:
    try:
        return os.read(reader, 65536).decode(errors="replace")
    except OSError:  # the other end is closed
        return ""


def test_without_a_terminal_there_is_no_bar(short_run: SimpleNamespace) -> None:
    assert "epoch 2/2" in short_run.err
    assert "row/s" not in short_run.err


def test_markup_in_a_name_is_shown_and_not_run(tmp_path: Path) -> None:
    script = "</script><script>document.title='ran'</script><img src=x onerror=document.title='ran'>"
    panel = Panel(script, script, script, lines=[(script, [0, 1], [0, 1])])
    plots.save_panels([panel], tmp_path / "page", columns=1, title=script)
    page = (tmp_path / "page.html").read_text()
    assert "ran" in page
    assert "<script>document" not in page
    assert "<img" not in page


@pytest.mark.parametrize("flags", [(), ("--deterministic",)], ids=["as it is", "--deterministic"])
def test_the_same_seed_gives_the_same_run(root: Path, flags: tuple[str, ...]) -> None:
    for _ in range(2):
        ended = commander(*SHORT, "--epochs", "2", *flags, "--root-dir", root)
        assert ended.code == 0, ended.err
    assert_same_run(*(root / "synth" / "runs" / f"synth_cnn1d_3_{number}" for number in (1, 2)))


THREADS_TOLERANCE = 0.01  # of a loss after 20 steps, relative, as docs/promises.md states it


def test_one_thread_or_two_differ_by_rounding_alone(root: Path) -> None:
    for threads in ("1", "2"):
        flags = ("--dataset", "synth", "--model-name", "resnet1d_10", "--short-run", "--no-figures", "--epochs", "2")
        ended = finish(launch(*flags, "--root-dir", root, env={"OMP_NUM_THREADS": threads}))
        assert ended.code == 0, ended.err
    one, two = (
        json.loads((root / "synth" / "runs" / f"synth_resnet1d_10_{n}" / "logger.json").read_text()) for n in (1, 2)
    )
    for split in ("train", "val"):
        losses = [[row[split]["loss"] for row in history] for history in (one, two)]
        assert losses[0] == pytest.approx(losses[1], rel=THREADS_TOLERANCE)


@pytest.mark.parametrize(
    ("epochs", "flags"),
    [(40, ("--short-run",)), pytest.param(200, (), marks=pytest.mark.soak)],
    ids=["short", "200 epochs"],
)
def test_memory_and_open_files_do_not_grow_with_the_epochs(root: Path, epochs: int, flags: tuple[str, ...]) -> None:
    process = launch(*RUN, *flags, "--epochs", epochs, "--root-dir", root)
    run, seen = root / "synth" / "runs" / "synth_cnn1d_3_1", []
    for epoch in range(epochs // 4, epochs, epochs // 8):
        wait_for((run / "res" / f"epoch{epoch}.npz").exists, process, 1200)
        proc = Path("/proc") / str(process.pid)
        rss_kb = int(re.search(r"VmRSS:\s+(\d+)", (proc / "status").read_text())[1])
        seen.append((rss_kb / 1024, {os.readlink(link) for link in (proc / "fd").iterdir() if link.is_symlink()}))
    assert finish(process, 1200).code == 0
    memory_mib, files = zip(*seen, strict=True)
    assert memory_mib[-1] < memory_mib[0] + 30, memory_mib
    assert len(files[-1]) <= len(files[0]) + 2, files[-1] - files[0]  # one may just be written
