"""Whatever is thrown at the command, it ends with one of its exit codes, in one line, without a traceback.

A few dozen examples here, the same ones every time; hundreds with `pytest -m soak`.
"""

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

import args
from commands.choices import CHOICES
from helpers.commands import SHORT, assert_answers, offline
from helpers.data import mutated
from loaders import augment
from toolbox.tasks import detect


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No network, and the signals afterwards as before."""
    for name, value in offline().items():
        monkeypatch.setenv(name, value)
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    yield
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


def explore(examples: int, property: Callable[..., None], **what: Any) -> None:
    """Hold `property` against `examples` draws of `what`, the same ones every time."""
    how = settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    how(given(**what)(property))()


def rounds(few: int, many: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("examples", [few, pytest.param(many, marks=pytest.mark.soak)])


ROW = b",".join([b"0.5"] * 186 + [b"1"]) + b",%d.0\n"
TABLE = b"".join(ROW % (k % 5) for k in range(40))


@rounds(40, 600)
def test_any_bytes_as_a_table_of_beats(tmp_path: Path, examples: int) -> None:
    def holds(train: bytes, mode: str) -> None:
        folder = tmp_path / "kaggle"
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        folder.mkdir(exist_ok=True)
        (folder / "mitbih_train.csv").write_bytes(train)
        (folder / "mitbih_test.csv").write_bytes(TABLE)
        assert_answers("--download", "--data-file", folder, "--root-dir", tmp_path / "data", "--bad-rows", mode)

    odd = some.one_of(
        some.binary(max_size=300), mutated(TABLE), some.text('0123456789.,eE+-nainf\n\r"; ').map(str.encode)
    )
    explore(examples, holds, train=odd, mode=some.sampled_from(["error", "drop"]))


@rounds(12, 300)
def test_any_bytes_as_a_checkpoint(short_run: SimpleNamespace, root: Path, examples: int) -> None:
    run = shutil.copytree(short_run.path, root / "synth" / "runs" / "synth_cnn1d_3_1")
    whole = (run / "checkpoint.pth.tar").read_bytes()

    def holds(content: bytes, flags: tuple[str, ...]) -> None:
        (run / "checkpoint.pth.tar").write_bytes(content)
        assert_answers("--model-name", "cnn1d_3", "--root-dir", root, "--no-figures", "--resume", "latest", *flags)

    how = some.sampled_from([("--test",), ("--epochs", "3"), ("--test", "--override", "--seed", "1")])
    explore(examples, holds, content=some.one_of(some.binary(max_size=200), mutated(whole)), flags=how)


@rounds(25, 300)
def test_any_values_in_a_checkpoint(short_run: SimpleNamespace, root: Path, examples: int) -> None:
    run = shutil.copytree(short_run.path, root / "synth" / "runs" / "synth_cnn1d_3_1")
    state = torch.load(run / "checkpoint.pth.tar", weights_only=True)
    plain = some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=5)
    odd = some.recursive(
        plain, lambda inner: some.lists(inner, max_size=3) | some.dictionaries(plain, inner, max_size=3)
    )

    def holds(key: str, value: Any) -> None:
        torch.save(state | {key: value}, run / "checkpoint.pth.tar")
        assert_answers("--model-name", "cnn1d_3", "--root-dir", root, "--no-figures", "--resume", "latest", "--test")

    explore(examples, holds, key=some.sampled_from(sorted(state)), value=odd)


def typed(action: Any) -> some.SearchStrategy[list[str]]:
    """A flag as somebody might type it, well or badly."""
    flag = action.option_strings[0]
    if action.nargs == 0:
        return some.just([flag])
    numbers = some.sampled_from(["0", "1", "2", "-1", "64", "0.5", "1e-3", "nan", "inf", "1e400", "9" * 20, ""])
    words = some.sampled_from(["none", "best", "latest", "bump", "../x", "a/b", "é", "x" * 300, "--", "cpu", "cuda:9"])
    known = some.sampled_from(
        [name for table in CHOICES.values() for name in table if name not in CHOICES["model-name"]]
    )
    return some.tuples(some.just(flag), some.one_of(numbers, words, known)).map(list)


@rounds(40, 500)
def test_any_flags_together(root: Path, examples: int) -> None:
    # what would leave the folder, ask for hours, or is about --help and tracebacks
    kept_out = {"help", "root_dir", "data_file", "debug", "verbose", "version_info", "epochs"}
    flags = some.one_of([typed(action) for action in args.FLAGS.parser._actions if action.dest not in kept_out])

    def holds(extra: list[list[str]]) -> None:
        assert_answers(*SHORT, "--epochs", "1", "--root-dir", root, *(word for flag in extra for word in flag))

    explore(examples, holds, extra=some.lists(flags, min_size=1, max_size=4))


NUMBERS = (
    "1",
    "0",
    "0.5",
    "",
    "-1",
    "1e-9",
    "1e-50",
    "1e39",
    "1e400",
    "nan",
    "inf",
    "-inf",
    "0x1",
    "1_0",
    "é",
    "9" * 20,
    " 2 ",
)
number = some.one_of(some.sampled_from(("1", "0.5", "0", "2")), some.sampled_from(NUMBERS))
step = some.builds("{}:{}:{}".format, some.sampled_from(augment.names("signals")), number, number)
# Texts that a flag of this program takes apart, from the parts they are made of and from others.
GRAMMARS: dict[str, some.SearchStrategy[str]] = {
    "--augment": some.lists(step, min_size=1, max_size=3).map(",".join),
    "--class-weights": some.lists(number, min_size=5, max_size=5).map(",".join)
    | some.lists(number, max_size=7).map(",".join),
    "--threshold": some.builds("{}:{}".format, some.sampled_from([*detect.THRESHOLDS, "", "percent"]), number),
}


@rounds(16, 200)
@pytest.mark.parametrize("flag", GRAMMARS)
def test_any_text_that_a_flag_takes_apart(flag: str, root: Path, examples: int) -> None:
    how = (*SHORT[:2], "--task", "detect", "--model-name", "linear_ae", *SHORT[4:]) if flag == "--threshold" else SHORT

    def holds(text: str) -> None:
        code, _ = assert_answers(*how, "--epochs", "1", "--root-dir", root, f"{flag}={text}")
        assert code in (0, 2, 5)
        assert bool(list(root.glob("*/runs"))) == (code != 2)
        shutil.rmtree(root / "synth" / "runs", ignore_errors=True)

    explore(examples, holds, text=some.one_of(GRAMMARS[flag], GRAMMARS[flag], some.text("noise:,.19x=%", max_size=12)))


WRONG = {
    "--class-weights": ("1,2,3,4", "1,2,3,4,5,6", "1", "1,2,3,4,-5", "1,2,3,4,five", "1,,2,3,4", "0,0,0,0,0",
    "nan,1,1,1,1",
                        "inf,1,1,1,1", "1e39,1,1,1,1", "1e-60,0,0,0,0", "1;2;3;4;5", ""),
    "--augment": ("nois", "noise:-1", "noise:loud", "noise:nan", "noise:inf", "noise:0.1:2", "noise:0.1:-0.1",
    "noise:0.1:0.5:1",
                  "shift:2.5", "noise,noise", "noise,", ",", "mixup:0", "cutout:1e9", ""),
    "--pretrained": ("", "a\0b", "x" * 300),
}  # fmt: skip


@pytest.mark.parametrize(("flag", "text"), [(flag, text) for flag, texts in WRONG.items() for text in texts])
def test_a_text_that_cannot_be_carried_out_names_its_flag_and_makes_nothing(flag: str, text: str, root: Path) -> None:
    code, said = assert_answers(*SHORT, "--epochs", "1", "--root-dir", root, f"{flag}={text}")
    assert code == 2, said
    assert flag in said.strip().splitlines()[-1]
    assert not list(root.glob("*/runs"))


@rounds(15, 300)
def test_any_values_in_a_checkpoint_to_start_from(short_run: SimpleNamespace, root: Path, examples: int) -> None:
    run = shutil.copytree(short_run.path, root / "synth" / "runs" / "synth_cnn1d_3_1")
    state = torch.load(run / "model_best.pth.tar", weights_only=True)
    tensors = some.sampled_from(
        [*state["model"].values(), torch.zeros(()), torch.full((5, 576), torch.nan), torch.zeros(5) * 1j]
    )
    odd = some.none() | some.integers() | some.text(max_size=5) | tensors

    def holds(changed: dict[str, Any], config: str) -> None:
        torch.save(state | {"model": state["model"] | changed}, run / "model_best.pth.tar")
        (run / "config.json").write_text(config)
        flags = ("--pretrained", "synth_cnn1d_3_1", "--train", "head", "--version", "bump")
        code, _ = assert_answers(*SHORT, "--epochs", "1", *flags, "--root-dir", root)
        assert code in (0, 4, 5)

    configs = some.sampled_from([(run / "config.json").read_text(), "", "[]", "{}", '{"data": {"classes": 7}}', "{"])
    names = some.sampled_from([*state["model"], "other"])
    explore(examples, holds, changed=some.dictionaries(names, odd, max_size=3), config=configs)
