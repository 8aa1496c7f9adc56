"""The command as its users meet it: mistakes, streams, signals, kills, limits, and whatever is thrown at it.

Loops that grow with patience run a few rounds here and in full with `pytest -m soak`.
"""

import fcntl
import json
import os
import pty
import random
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

import args
from commands.choices import CHOICES
from helpers.commands import (
    SHORT,
    assert_answers,
    assert_error,
    assert_same_run,
    carried_out,
    contents,
    finish,
    launch,
    offline,
    on,
    signalled,
    small_disk,
    wait_for,
    weights,
)
from helpers.data import ROOT, mutated
from helpers.kaggle import write_beats
from loaders import DATASETS, augment
from toolbox.tasks import detect
from toolbox.training.samplers import SAMPLERS

RUN = "synth_cnn1d_3_1"
RESUMED = ("--model-name", "cnn1d_3", "--no-figures", "--resume", "latest")

# What is typed


def test_without_arguments_the_three_lines_that_people_need_are_shown() -> None:
    ended = carried_out()
    assert (ended.code, ended.err.count("python commander.py"), "To start with" in ended.err) == (2, 3, True)


def test_lists_are_printed_to_stdout() -> None:
    title, *rows = carried_out("--list", "datasets").out.splitlines()
    assert (title.split()[0], [row.split()[0] for row in rows]) == ("name", [*DATASETS])
    assert carried_out("--list", "samplers").out.split() == [*SAMPLERS]


def test_a_collapsed_network_is_a_warning(root: Path) -> None:
    flags = (*SHORT, "--root-dir", root, "--epochs", "1", "--lr", "1e-9")
    assert "the network has collapsed: one class for" in carried_out(*flags).err


def test_a_word_without_a_flag_is_named() -> None:
    ended = carried_out("synth")
    assert (ended.code, "'synth' follows no flag" in ended.err) == (2, True)


DETECT = "--dataset synth --task detect"
CLASSIFY = "--dataset synth --task classify"
MISTAKES = {
    "--model-name resnet1d_1O": (2, "--model-name", "resnet1d_10"),
    "--dataset egc": (2, "--dataset", "ecg"),
    "--optimizer adamm": (2, "--optimizer", "Try: adam"),
    "--scheduler StepLr": (2, "--scheduler", "StepLR"),
    "--criterion crossentropie": (2, "--criterion", "crossentropy"),
    "--sampler equals": (2, "--sampler", "Try: equal"),
    "--class-balance import": (2, "--class-balance", "importance"),
    "--monitor macro-f1": (2, "--monitor", "macro_f1"),
    "--bad-rows dorp --download": (2, "unknown --bad-rows 'dorp'; known are error, drop"),
    "--list model": (2, "--list", "models"),
    "--mod cnn1d_3": (2, "--mod", "--model-name"),
    "--test --learning-rate 1": (2, "--lr"),
    "--model-name a/b": (2, "--model-name"),
    "--dataset ../ecg": (2, "--dataset"),
    "--lr nan --epochs 0 --seed -2": (2, "--lr is nan", "--epochs is 0", "--seed is -2"),
    "--dataset synth --device cuda:77": (2, "--device"),
    "--dataset synth --num-classes 3": (2, "5: N, S, V, F, Q"),
    "--pretrained": (2, "--pretrained"),
    "--data-file /no/such/file": (3, "/no/such/file"),
    "--predict x.hea --cost": (3, "no such recording"),
    "--test": (4, "no run of resnet1d_10"),
    "--resume best --version 3": (4, "version 3"),
    "--dataset ecg": (7, "--data-file"),
    "--dataset ecg_bin": (7, "--data-file"),
    "--download": (7, "--data-file", "no connection"),
    "--explore --dataset synht": (2, "synth"),
    "--explore --dataset synth --normal-class V": (2, "--task detect"),
    "--explore --dataset table": (2, "--data-file"),
    "--explore --dataset table --data-file no.npz": (3, "no.npz"),
    "--explore --dataset ecg": (7, "--data-file"),
    f"{DETECT} --normal-class X": (2, "--normal-class 'X'", "N, S, V, F, Q"),
    f"{DETECT} --model-name cnn1d_3": (2, "cnn1d_3 is not a network for --task detect", "conv_ae"),
    f"{CLASSIFY} --model-name conv_ae": (2, "is not a network for --task classify", "resnet1d"),
    **{f"{DETECT} --{typed}": (2, f"--{typed.split()[0]} is only valid with --task classify")
       for typed in ("sampler equal", "class-balance equal", "class-weights 1,2,3,4,5", "confusion-video")},
    **{f"{CLASSIFY} --{typed}": (2, f"--{typed.split()[0]} is only valid with --task detect")
       for typed in ("threshold sd:3", "baseline pca", "normal-class N")},
    f"{DETECT} --criterion focal": (2, "--criterion", "l1"),
    f"{DETECT} --monitor macro_f1": (2, "--monitor", "loss"),
    f"{DETECT} --threshold percentil:98": (2, "--threshold", "percentile"),
    f"{DETECT} --baseline pcaa": (2, "--baseline", "pca"),
    "--dataset synth --task detekt": (2, "--task", "detect"),
    **{f"--dataset synth --class-weights={text}": (2, "--class-weights")
       for text in ("1,2,3,4", "1,2,3,4,5,6", "1,2,3,4,-5", "1,2,3,4,five", "1,,2,3,4", "0,0,0,0,0", "nan,1,1,1,1",
                    "inf,1,1,1,1", "1e39,1,1,1,1", "1e-60,0,0,0,0", "1;2;3;4;5", "''")},
    **{f"--dataset synth --augment={text}": (2, "--augment")
       for text in ("nois", "noise:-1", "noise:loud", "noise:nan", "noise:inf", "noise:0.1:2", "noise:0.1:-0.1",
                    "noise:0.1:0.5:1", "shift:2.5", "noise,noise", "noise,", ",", "mixup:0", "cutout:1e9", "''")},
    **{f"--dataset synth --pretrained={text}": (2, "--pretrained") for text in ("''", "a\0b", "x" * 300)},
}  # fmt: skip


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_is_one_line_and_makes_nothing(root: Path, typed: str) -> None:
    code, *says = MISTAKES[typed]
    assert_error(carried_out(*shlex.split(typed), "--root-dir", root), code, *says)
    assert [str(path.relative_to(root)) for path in root.rglob("*")] == ["synth", "synth/cache"]


# Streams and terminals


@pytest.mark.parametrize("flags", [("--help",), ("--test",)], ids=" ".join)
def test_a_closed_reader_of_stdout_leaves_no_traceback(copied_run: Path, flags: tuple[str, ...]) -> None:
    process = launch("--model-name", "cnn1d_3", "--no-figures", "--root-dir", copied_run.parents[2], *flags)
    process.stdout.close()
    ended = SimpleNamespace(err=process.stderr.read(), code=process.wait())
    assert ended.code in (0, 141)
    assert "Traceback" not in ended.err
    assert "BrokenPipe" not in ended.err
    assert not (copied_run / "lock").exists()


def test_closed_streams_lose_nothing_of_the_run(copied_run: Path) -> None:
    """A new process: Python finds closed streams when it starts."""
    (copied_run / "results.json").unlink()
    flags = ["--model-name", "cnn1d_3", "--test", "--no-figures", "--root-dir", str(copied_run.parents[2])]
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, str(ROOT / "commander.py"), *flags]
    assert subprocess.run(command, env=offline(), check=False).returncode == 0
    assert json.loads((copied_run / "results.json").read_text())["test"]


def test_a_full_stdout_is_an_error_and_loses_nothing_of_the_run(copied_run: Path) -> None:
    (copied_run / "results.json").unlink()
    with open("/dev/full", "w") as full:
        flags = ("--model-name", "cnn1d_3", "--test", "--no-figures", "--root-dir", copied_run.parents[2])
        ended = finish(launch(*flags, stdout=full))
    assert_error(ended, 6, "cannot write to stdout")
    assert json.loads((copied_run / "results.json").read_text())["test"]


def on_terminal(*flags: object, stream: str) -> SimpleNamespace:
    """The command with one of its streams on a terminal: exit code, and all that the terminal got."""
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
    process = launch(*flags, env={"TERM": "xterm"}, **{stream: writer})
    os.close(writer)
    seen = "".join(iter(lambda: read_terminal(reader), "")).replace("\r\n", "\n")
    _, err = process.communicate()
    return SimpleNamespace(code=process.returncode, seen=seen, err=err or "")


def test_a_training_draws_its_bar_on_a_terminal(root: Path) -> None:
    ended = on_terminal(*SHORT, "--epochs", "1", "--root-dir", root, stream="stderr")
    assert ended.code == 0
    assert "row/s" in ended.seen
    assert "\r" in ended.seen


def test_a_command_ends_with_a_table_and_the_paths_to_open_on_a_terminal_and_with_json_if_asked(
    copied_run: Path,
) -> None:
    (copied_run / "tensorboard").mkdir()
    flags = ("--model-name", "cnn1d_3", "--test", "--no-figures", "--root-dir", copied_run.parents[2])
    results = json.loads((copied_run / "results.json").read_text())
    for more in ((), ("--json",)):
        ended = on_terminal(*flags, *more, stream="stdout")
        assert ended.code == 0, ended.err
        assert f"split: {results['split_rule']}" in ended.seen
        row = next(line.split() for line in ended.seen.splitlines() if line.startswith("macro F1"))
        interval = results["test"]["intervals"]["macro_f1"]
        figures = [results["val"]["macro_f1"], results["test"]["macro_f1"], *interval]
        assert [float(cell) for cell in row[2:] if cell != "-"] == pytest.approx(figures, abs=1e-4)
        assert f"report  {copied_run / 'report.html'}" in ended.seen
        assert f"tensorboard --logdir {copied_run.parents[2]}" in ended.seen
        last = ended.seen.strip().splitlines()[-1]
        assert last.startswith("{") == bool(more)
        assert not more or json.loads(last) == {"run_folder": str(copied_run), **results}
        assert "multiply-accumulates" not in ended.err  # report.txt is not in the log


def read_terminal(reader: int) -> str:
    try:
        return os.read(reader, 65536).decode(errors="replace")
    except OSError:  # the other end is closed
        return ""


# Signals and kills


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "Ctrl-C"])
def test_a_process_holds_its_run_and_stopped_by_a_signal_it_resumes_exactly(root: Path, signum: int, code: int) -> None:
    flags, run = (*SHORT, "--scheduler", "none", "--root-dir", root), root / "synth" / "runs" / RUN
    process = launch(*flags, "--epochs", "4000")
    wait_for((run / "res" / "epoch2.npz").exists, process)
    assert_error(on(run, "--resume", "latest"), 8, f"process {process.pid} on {socket.gethostname()}")
    process.send_signal(signum)
    ended = finish(process)
    assert ended.code == code, ended.err
    assert ended.err.strip().splitlines()[-1] == "interrupted"
    assert ("epoch 2/4000" in ended.err, "row/s" in ended.err) == (True, False)  # no bar without a terminal
    assert not (run / "results.json").exists()
    epochs = torch.load(run / "checkpoint.pth.tar", weights_only=True)["epoch"] + 1
    assert on(run, "--resume", "latest", "--epochs", epochs).code == 0
    assert carried_out(*flags, "--epochs", epochs).code == 0
    assert_same_run(run, run.parent / "synth_cnn1d_3_2")


def test_a_signal_within_an_epoch_lets_the_step_end_and_the_resume_is_exact(root: Path, plain_run: Path) -> None:
    ended = signalled(*SHORT, "--epochs", "2", "--root-dir", root, step=14)
    run = root / "synth" / "runs" / RUN
    assert ended.code == 143, ended.err
    assert "stopped in epoch 2 and saved" in ended.err
    state = torch.load(run / "checkpoint.pth.tar", weights_only=True)
    assert (state["epoch"], state["meter"]["steps"], (run / "results.json").exists()) == (1, 4, False)
    assert on(run, "--resume", "latest").code == 0
    assert_same_run(run, plain_run)


def test_a_second_ctrl_c_stops_at_once_and_keeps_the_checkpoint(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    how = {"step": 14, "signum": signal.SIGINT, "times": 2}
    ended = signalled(*SHORT, "--epochs", "2", "--root-dir", root, **how)
    assert ended.code == 130, ended.err
    assert ended.err.strip().splitlines()[-1] == "interrupted"
    assert "once more to stop at once" in capfd.readouterr().err
    state = torch.load(root / "synth" / "runs" / RUN / "checkpoint.pth.tar", weights_only=True)
    assert (state["epoch"], state["meter"]) == (1, None)


@pytest.mark.parametrize("count", [3, pytest.param(20, marks=pytest.mark.soak)])
def test_new_runs_started_at_once_have_a_folder_each_and_all_finish(root: Path, count: int) -> None:
    started = [launch(*SHORT, "--epochs", "1", "--root-dir", root, "--version", "bump") for _ in range(count)]
    ended = [finish(process, 1200) for process in started]
    assert [one.code for one in ended] == [0] * count, ended[0].err
    names = {Path(one.result["run_folder"]).name for one in ended}
    assert names == {f"synth_cnn1d_3_{number}" for number in range(1, count + 1)}
    assert all((root / "synth" / "runs" / name / "results.json").is_file() for name in names)


def test_the_lock_of_a_dead_process_is_taken_over_and_that_of_another_host_is_not(copied_run: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    (copied_run / "lock").write_text(json.dumps({"pid": dead.pid, "host": socket.gethostname(), "since": 0}))
    ended = on(copied_run, "--test")
    assert ended.code == 0, ended.err
    assert f"took over the lock of process {dead.pid}" in ended.err
    (copied_run / "lock").write_text(json.dumps({"pid": 1, "host": "node17", "since": 0}))
    assert_error(on(copied_run, "--test"), 8, "process 1 on another host, node17")


@pytest.mark.parametrize("kills", [2, pytest.param(100, marks=pytest.mark.soak)])
def test_killed_at_any_moment_every_resume_is_sound_and_the_end_equals_an_undisturbed_run(
    root: Path, kills: int
) -> None:
    flags = (*SHORT, "--epochs", 10 * kills, "--root-dir", root)
    chance, in_a_save = random.Random(kills), 0
    run, how = root / "synth" / "runs" / RUN, flags
    for kill in range(kills):
        process = launch(*how)
        how = (*RESUMED, "--root-dir", root)
        wait_for(lambda pid=process.pid: held_by(run, pid) and (run / "checkpoint.pth.tar").exists(), process)
        time.sleep(chance.random() / 2)
        if kill % 4:  # three of four during the write of a checkpoint
            in_a_save += stopped_in_a_save(process, run)
        process.kill()
        assert finish(process).code in (-signal.SIGKILL, 0)
    assert in_a_save
    ended = carried_out(*how)
    assert ended.code == 0, ended.err
    assert not list(run.rglob(".*.tmp"))
    undisturbed = carried_out(*flags)
    assert undisturbed.code == 0, undisturbed.err
    assert_same_run(run, run.parent / "synth_cnn1d_3_2")


def stopped_in_a_save(process: subprocess.Popen, run: Path) -> bool:
    """Whether the process stands still with a half written checkpoint; False if it ended first."""
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


# Limits of the machine


def test_a_lack_of_memory_names_the_batch_size_and_a_smaller_one(root: Path) -> None:
    flags = ("--dataset", "synth", "--model-name", "resnet1d_v2_18", "--batch-size", "10000", "--root-dir", root)
    ended = finish(launch(*flags, limits={"memory": 2**29}))
    assert_error(ended, 6, "batches of 10000 rows", "bytes more were requested", "--batch-size 5000")


LIMITED: dict[str, tuple[int, tuple[str, ...], str]] = {
    "JSON": (1_000, ("--resume", "latest", "--epochs", "9"), "config.json"),
    "checkpoint": (65_000, ("--resume", "latest", "--epochs", "9"), ".pth.tar"),
    "events": (100_000, ("--resume", "latest", "--epochs", "9", "--tensorboard"), "events.out.tfevents"),
    "predictions": (50_000, ("--test",), "pred/predictions"),
}


@pytest.mark.parametrize("kind", LIMITED)
def test_a_file_that_may_not_grow_is_named_with_its_size_and_the_files_before_stay(copied_run: Path, kind: str) -> None:
    size, flags, name = LIMITED[kind]
    before = contents(copied_run)
    flags = ("--model-name", "cnn1d_3", "--no-figures", "--root-dir", copied_run.parents[2], *flags)
    ended = finish(launch(*flags, limits={"RLIMIT_FSIZE": size}))
    assert_error(ended, 6, "File too large", name, "bytes written")
    assert not list(copied_run.rglob(".*.tmp"))
    for path in copied_run.glob("*.pth.tar"):
        assert torch.load(path, weights_only=True)["epoch"] >= 1
    after = contents(copied_run)
    assert all(after.get(name) or after[f"before/epoch2/{name}"] for name in before)
    assert on(copied_run, "--test").code == 0


@pytest.mark.parametrize(("kib", "full"), [(256, "ecg/cache"), (11_776, "synth/runs")])
def test_a_full_disk_is_named_and_the_written_files_are_whole(
    tmp_path: Path, synth_cache: Path, kib: int, full: str
) -> None:
    with small_disk(tmp_path / "disk", kib * 2**10) as disk:
        if full == "synth/runs":
            shutil.copytree(synth_cache, disk / "synth" / "cache")
            flags = SHORT
        else:
            flags = ("--data-file", write_beats(tmp_path / "beats", 600, 10), *SHORT[2:])
        ended = carried_out(*flags, "--epochs", "400", "--root-dir", disk)
        assert_error(ended, 6, "No space left on device", f"{disk}/{full}", "free space")
        assert not list(disk.rglob("*.tmp"))
        assert not list(disk.glob("ecg/cache/*/*"))
        for path in disk.rglob("*.pth.tar"):
            torch.load(path, weights_only=True)
        for path in disk.rglob("*.json"):
            json.loads(path.read_text())


@pytest.mark.parametrize("closed", [".", "res"])
def test_a_run_folder_that_cannot_be_written_is_found_before_training(copied_run: Path, closed: str) -> None:
    (copied_run / closed).chmod(0o555)
    flags = (*RESUMED, "--root-dir", copied_run.parents[2], "--epochs", "3")
    ended = finish(launch(*flags, limits={"permissions": True}))
    (copied_run / closed).chmod(0o755)
    assert_error(ended, 6, str(copied_run))
    assert "resuming after" not in ended.err


def test_a_permission_lost_during_training_fails_the_next_save(copied_run: Path) -> None:
    flags = (*RESUMED, "--root-dir", copied_run.parents[2], "--epochs", "4000")
    process = launch(*flags, limits={"permissions": True})
    wait_for((copied_run / "res" / "epoch3.npz").exists, process)
    (copied_run / "res").chmod(0o555)
    ended = finish(process)
    (copied_run / "res").chmod(0o755)
    assert_error(ended, 6, "Permission denied", "res/epoch")


@pytest.mark.parametrize(
    ("epochs", "flags"),
    [(16, ("--short-run",)), pytest.param(200, (), marks=pytest.mark.soak)],
    ids=["short", "200 epochs"],
)
def test_memory_and_open_files_do_not_grow_with_the_epochs(root: Path, epochs: int, flags: tuple[str, ...]) -> None:
    process = launch(*SHORT[:4], "--no-figures", *flags, "--epochs", epochs, "--root-dir", root)
    run, seen = root / "synth" / "runs" / RUN, []
    for epoch in range(epochs // 4, epochs, epochs // 8):
        wait_for((run / "res" / f"epoch{epoch}.npz").exists, process, 1200)
        proc = Path("/proc") / str(process.pid)
        rss_kb = int(re.search(r"VmRSS:\s+(\d+)", (proc / "status").read_text())[1])
        seen.append((rss_kb / 1024, {os.readlink(link) for link in (proc / "fd").iterdir() if link.is_symlink()}))
    assert finish(process, 1200).code == 0
    memory_mib, files = zip(*seen, strict=True)
    assert memory_mib[-1] < memory_mib[0] + 30, memory_mib
    assert len(files[-1]) <= len(files[0]) + 2, files[-1] - files[0]  # one may just be written


def test_a_huge_learning_rate_ends_in_one_line_and_leaves_a_sound_checkpoint(root: Path) -> None:
    flags = ("--optimizer", "sgd", "--lr", "1e30", "--scheduler", "none", "--grad-clip", "0", "--epochs", "2")
    assert_error(carried_out(*SHORT, *flags, "--root-dir", root), 5, "epoch 1, batch ", "1e+30", "--lr")
    assert all(tensor.isfinite().all() for tensor in weights(root / "synth" / "runs" / RUN).values())


# Whatever is thrown at it: a few dozen examples, the same ones every time


def explore(examples: int, holds: Callable[..., None], **what: Any) -> None:
    """Hold `holds` against `examples` draws of `what`, the same ones every time."""
    how = settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    how(given(**what)(holds))()


def rounds(few: int, many: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("examples", [few, pytest.param(many, marks=pytest.mark.soak)])


ROW = b",".join([b"0.5"] * 186 + [b"1"]) + b",%d.0\n"
TABLE = b"".join(ROW % (k % 5) for k in range(40))


@rounds(30, 600)
def test_any_bytes_as_a_table_of_beats(tmp_path: Path, examples: int) -> None:
    (tmp_path / "kaggle").mkdir()
    (tmp_path / "kaggle" / "mitbih_test.csv").write_bytes(TABLE)

    def holds(train: bytes, mode: str) -> None:
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        (tmp_path / "kaggle" / "mitbih_train.csv").write_bytes(train)
        how = ("--data-file", tmp_path / "kaggle", "--root-dir", tmp_path / "data", "--bad-rows", mode)
        assert_answers("--download", *how)

    text = some.text('0123456789.,eE+-nainf\n\r"; ').map(str.encode)
    odd = some.one_of(some.binary(max_size=300), mutated(TABLE), text)
    explore(examples, holds, train=odd, mode=some.sampled_from(["error", "drop"]))


@rounds(12, 300)
def test_any_bytes_as_a_checkpoint(copied_run: Path, examples: int) -> None:
    whole = (copied_run / "checkpoint.pth.tar").read_bytes()

    def holds(content: bytes, flags: tuple[str, ...]) -> None:
        (copied_run / "checkpoint.pth.tar").write_bytes(content)
        assert_answers(*RESUMED, *flags, "--root-dir", copied_run.parents[2])

    how = some.sampled_from([("--test",), ("--epochs", "3"), ("--test", "--override", "--seed", "1")])
    explore(examples, holds, content=some.one_of(some.binary(max_size=200), mutated(whole)), flags=how)


@rounds(12, 300)
def test_any_values_in_a_checkpoint_to_start_from(copied_run: Path, examples: int) -> None:
    state = torch.load(copied_run / "model_best.pth.tar", weights_only=True)
    odd_tensors = [torch.zeros(()), torch.full((5, 576), torch.nan), torch.zeros(5) * 1j]
    odd = some.none() | some.integers() | some.text(max_size=5)
    odd |= some.sampled_from([*state["model"].values(), *odd_tensors])

    def holds(changed: dict[str, Any], config: str) -> None:
        torch.save(state | {"model": state["model"] | changed}, copied_run / "model_best.pth.tar")
        (copied_run / "config.json").write_text(config)
        flags = ("--epochs", "1", "--pretrained", RUN, "--train", "head", "--version", "bump")
        assert assert_answers(*SHORT, *flags, "--root-dir", copied_run.parents[2])[0] in (0, 4, 5)

    own = (copied_run / "config.json").read_text()
    configs = some.sampled_from([own, "", "[]", "{}", '{"data": {"classes": 7}}', "{"])
    names = some.sampled_from([*state["model"], "other"])
    explore(examples, holds, changed=some.dictionaries(names, odd, max_size=3), config=configs)


def typed(action: Any) -> some.SearchStrategy[list[str]]:
    """A flag as somebody might type it, well or badly."""
    flag = action.option_strings[0]
    if action.nargs == 0:
        return some.just([flag])
    numbers = some.sampled_from(["0", "1", "2", "-1", "64", "0.5", "1e-3", "nan", "inf", "1e400", "9" * 20, ""])
    words = some.sampled_from(["none", "best", "latest", "bump", "../x", "a/b", "é", "x" * 300, "--", "cpu", "cuda:9"])
    networks = CHOICES["model-name"]
    known = some.sampled_from([name for table in CHOICES.values() for name in table if name not in networks])
    return some.tuples(some.just(flag), some.one_of(numbers, words, known)).map(list)


@rounds(30, 500)
def test_any_flags_together(root: Path, examples: int) -> None:
    # what would leave the folder, ask for hours, or is about --help and tracebacks
    kept_out = {"help", "root_dir", "data_file", "debug", "verbose", "version_info", "epochs"}
    flags = some.one_of([typed(action) for action in args.FLAGS.parser._actions if action.dest not in kept_out])

    def holds(extra: list[list[str]]) -> None:
        assert_answers(*SHORT, "--epochs", "1", "--root-dir", root, *(word for flag in extra for word in flag))

    explore(examples, holds, extra=some.lists(flags, min_size=1, max_size=4))


NUMBERS = ["1", "0", "0.5", "", "-1", "1e-9", "1e-50", "1e39", "1e400", "nan", "inf", "-inf", "0x1", "1_0", "é",
           "9" * 20, " 2 "]  # fmt: skip
number = some.one_of(some.sampled_from(("1", "0.5", "0", "2")), some.sampled_from(NUMBERS))
step = some.builds("{}:{}:{}".format, some.sampled_from(augment.names("signals")), number, number)
# Texts that a flag of this program takes apart, from the parts they are made of and from others.
GRAMMARS: dict[str, some.SearchStrategy[str]] = {
    "--augment": some.lists(step, min_size=1, max_size=3).map(",".join),
    "--class-weights": some.lists(number, min_size=5, max_size=5).map(",".join)
    | some.lists(number, max_size=7).map(",".join),
    "--threshold": some.builds("{}:{}".format, some.sampled_from([*detect.THRESHOLDS, "", "percent"]), number),
}


@rounds(10, 200)
@pytest.mark.parametrize("flag", GRAMMARS)
def test_any_text_that_a_flag_takes_apart(flag: str, root: Path, examples: int) -> None:
    how = (*SHORT[:2], "--task", "detect", "--model-name", "linear_ae", *SHORT[4:]) if flag == "--threshold" else SHORT

    def holds(text: str) -> None:
        code, _ = assert_answers(*how, "--epochs", "1", "--root-dir", root, f"{flag}={text}")
        assert code in (0, 2, 5)
        assert bool(list(root.glob("*/runs"))) == (code != 2)
        shutil.rmtree(root / "synth" / "runs", ignore_errors=True)

    explore(examples, holds, text=some.one_of(GRAMMARS[flag], GRAMMARS[flag], some.text("noise:,.19x=%", max_size=12)))
