"""The flags: every complaint at once, nothing read that was not meant, and what a run keeps when it goes on."""

import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

import args
import assembly
import modes
from conftest import ROOT
from toolbox.errors import UsageError
from toolbox.runs import RunFolder

OUT_OF_RANGE = [
    ("--lr", "nan", "above 0 and finite"),
    ("--lr", "0", "above 0 and finite"),
    ("--lr", "-0.1", "above 0 and finite"),
    ("--lr", "inf", "above 0 and finite"),
    ("--epochs", "0", "from 1 to a billion"),
    ("--epochs", "-3", "from 1 to a billion"),
    ("--batch-size", "0", "from 1 to a billion"),
    ("--workers", "-1", "from 0 to a billion"),
    ("--seed", "-1", "from 0 to 2147483647"),
    ("--seed", "2147483648", "from 0 to 2147483647"),
    ("--val-fraction", "-0.1", "from 0, below 1"),
    ("--val-fraction", "1", "from 0, below 1"),
    ("--val-fraction", "nan", "from 0, below 1"),
    ("--weight-decay", "-0.1", "from 0 to a billion"),
    ("--weight-decay", "inf", "from 0 to a billion"),
    ("--momentum", "1", "at least 0, below 1"),
    ("--momentum", "-0.1", "at least 0, below 1"),
    ("--lr-decay", "0", "above 0, at most 1"),
    ("--lr-decay", "1.5", "above 0, at most 1"),
    ("--grad-clip", "-1", "from 0 to a billion"),
    ("--patience", "0", "from 1 to a billion"),
    ("--step", "0", "from 1 to a billion"),
    ("--num-classes", "0", "from 1 to a billion"),
    ("--start-epoch", "-1", "from 0 to a billion"),
    ("--version", "../../x", "bump, latest or a number"),
    ("--version", "-1", "bump, latest or a number"),
    ("--version", "1.5", "bump, latest or a number"),
    ("--version", "²", "bump, latest or a number"),
    ("--version", "", "bump, latest or a number"),
    ("--resume", "junk", "best, latest or a number"),
    ("--resume", "../model_best", "best, latest or a number"),
    ("--batch-size", "1000000001", "from 1 to a billion"),
]


@pytest.mark.parametrize(("flag", "value", "rule"), OUT_OF_RANGE, ids=lambda part: part or "empty")
def test_a_value_out_of_range_is_quoted_with_its_flag_and_range(flag: str, value: str, rule: str) -> None:
    (complaint,) = args.complaints(args.parse([f"{flag}={value}"]))
    number = args.parse([f"{flag}={value}"])[flag[2:].replace("-", "_")]
    assert complaint == f"{flag} is {number}, must be {rule}"


@pytest.mark.parametrize(
    ("typed", "flags"),
    [
        ("--sampler equal --class-balance equal", ("--sampler", "--class-balance")),
        ("--resume latest --start-epoch 1", ("--resume", "--start-epoch")),
        ("--disable-cuda --device cuda", ("--disable-cuda", "--device")),
        ("--test --version bump", ("--version bump", "--test")),
        ("--resume best --version bump", ("--version bump", "--resume")),
        ("--test --import-legacy x.pth.tar", ("--import-legacy", "--test")),
        ("--explore --predict 100.hea", ("--predict", "--explore")),
        ("--compare one other --explore", ("--explore", "--compare")),
        ("--start-epoch 5 --epochs 5", ("--start-epoch is 5", "--epochs, 5")),
    ],
)
def test_flags_that_exclude_each_other_are_both_named(typed: str, flags: tuple[str, str]) -> None:
    (complaint,) = args.complaints(args.parse(typed.split()))
    assert all(flag in complaint for flag in flags)


TYPED = {"predict": ["100.hea"], "compare": ["one", "other"], "test": True, "download": True, "explore": True}


def said_of(name: str, mode: str) -> list[str]:
    """What is said of a flag that is typed with a mode."""
    given = {mode: TYPED.get(mode, "x"), name: {bool: True, int: 1, float: 0.5}.get(args.TYPES[name], "1")}
    return [line for line in args.complaints(given) if modes.flag_name(name) in line and modes.flag_name(mode) in line]


@pytest.mark.parametrize(("one", "other"), [*combinations(modes.MODES, 2)])
def test_a_command_asks_for_one_thing_but_for_a_look_at_what_is_fetched(one: str, other: str) -> None:
    excluded = args.complaints({name: TYPED.get(name, "x") for name in (one, other)})
    assert len(excluded) == ((one, other) != ("download", "explore"))
    assert all(f"--{name.replace('_', '-')}" in line for line in excluded for name in (one, other))


@pytest.mark.parametrize("mode", modes.MODES)
def test_no_flag_is_ignored_that_a_person_could_take_for_done(mode: str) -> None:
    others = args.DEFAULTS.keys() - modes.MODES
    idle = others - modes.ALONE[mode] if mode in modes.ALONE else modes.IDLE[mode]
    assert idle <= others - modes.OF_THE_MACHINE
    for name in idle:
        assert said_of(name, mode), name
    for name in modes.OF_THE_MACHINE:
        assert not said_of(name, mode), name


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("--predict 100.hea --cost", "--cost is of no use with --predict"),
        ("--compare one other --cost --epochs 3", "--cost, --epochs are of no use with --compare"),
        ("--explain saliency --calibrate", "--calibrate is of no use with --explain"),
        ("--explore --augment noise", "--augment is of no use with --explore"),
        ("--export-charts x --chart-size 96", "--chart-size is of no use with --export-charts"),
        ("--download --pretrained", "--pretrained is of no use with --download"),
        ("--import-legacy x --lr 0.1", "--lr is of no use with --import-legacy"),
        ("--test --tensorboard", "--tensorboard is of no use with --test"),
    ],
)
def test_what_would_be_ignored_is_named_with_what_ignores_it(typed: str, says: str) -> None:
    assert args.complaints(args.parse(typed.split())) == [says]


@pytest.mark.parametrize(
    "typed",
    [
        "--predict 100.hea --dataset mitdb --model-name cnn1d_3 --version 2 --resume best --leads II --rate-hz 250 --out x",
        "--compare one other --macro-over N,S --root-dir x --debug",
        "--explain saliency --dataset synth --epochs 3 --data-file x --records 1",
        "--test --cost --calibrate --no-figures --macro-over N,S --confusion-video --epochs 3",
        "--import-legacy x --dataset ecg --model-name cnn1d_3 --seed 1 --val-fraction 0.2 --version 7",
        "--download --dataset ecg --model-name cnn1d_3 --epochs 3 --lr 0.1",
        "--download --explore --data-file x -j 2",
    ],
)
def test_what_has_a_say_or_only_describes_the_run_may_be_typed(typed: str) -> None:
    assert args.complaints(args.parse(typed.split())) == []


def test_every_complaint_comes_at_once() -> None:
    typed = "--lr nan --epochs 0 --workers -1 --version ../../x --resume junk --sampler equal --class-balance importance"
    found = args.complaints(args.parse(typed.split()))
    assert len(found) == 6
    for flag in ("--lr", "--epochs", "--workers", "--version", "--resume", "--sampler"):
        assert sum(complaint.startswith(flag) for complaint in found) == 1


def test_nothing_is_wrong_with_the_defaults_nor_with_what_the_help_names() -> None:
    typed = "--version latest --resume 5 --test --epochs 1 --lr 1e-4 --disable-cuda --device cpu -j 0 --wd 0 --momentum 0"
    assert args.complaints({}) == []
    assert args.complaints(args.parse(["--model-name", "cnn1d_3", "--lr", "0.1", "--list", "optimizers"])) == []
    assert args.complaints(args.parse(typed.split())) == []


@pytest.mark.parametrize("typed", ["--class-weights 1,2,1,0.5,0", "--class-balance equal"])
def test_a_draw_by_record_leaves_classes_their_shares_and_so_goes_with_their_weights(typed: str) -> None:
    assert args.complaints(args.parse(f"--sampler records {typed}".split())) == []


@pytest.mark.parametrize(
    "typed", [["--epoch", "3"], ["--model", "x"], ["--no-such-flag"], ["stray"], ["--epochs", "many"], ["--lr"]]
)
def test_abbreviated_unknown_and_unreadable_flags_are_usage_errors(typed: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        args.parse(typed)
    assert typed[0] in str(caught.value)
    assert caught.value.code == 2


@pytest.mark.parametrize(("flag", "value"), [("--window", "-0.5,0.7"), ("--leads", "-II")])
def test_a_value_that_begins_with_a_dash_is_told_how_it_is_typed(flag: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"{flag}=VALUE"):
        args.parse([flag, value])
    assert args.parse([f"{flag}={value}"])[flag[2:]] == value


def test_every_flag_has_help_and_shows_its_default() -> None:
    for action in args.PARSER._actions:
        assert action.help, action.dest
        default = args.DEFAULTS.get(action.dest)
        if default is not None and default is not False:
            assert f"(default {default})" in action.help
    assert "--weight-decay" in args.PARSER.format_help()


def test_every_range_and_word_belongs_to_a_flag() -> None:
    assert {*args.RANGES, *args.WORDS, *args.FREE_ON_RESUME} <= args.DEFAULTS.keys()


def test_only_what_was_typed_is_parsed() -> None:
    assert args.parse([]) == {}
    assert args.parse(["--lr", "0.1", "--test"]) == {"lr": 0.1, "test": True}


def test_typed_goes_over_stored_over_default() -> None:
    flags = args.resolve({"lr": 0.5}, {"lr": 0.1, "seed": 7, "not_a_flag_any_more": 1})
    assert (flags.lr, flags.seed, flags.epochs) == (0.5, 7, args.DEFAULTS["epochs"])
    assert not hasattr(flags, "not_a_flag_any_more")


def test_paths_become_paths() -> None:
    assert args.resolve({"data_file": "a/b.zip"}).data_file == Path("a/b.zip")
    assert args.resolve({"root_dir": "/x/root"}, {"data_file": "../b.zip"}).data_file == Path("/x/root/../b.zip")
    assert args.resolve({}).data_file is None
    assert args.resolve({}).root_dir == Path("ecg_data")


def test_a_resumed_run_may_go_on_longer_but_not_become_another() -> None:
    stored = {"epochs": 5, "lr": 0.1, "seed": 1, "workers": 0, "device": None, "patience": None}
    assert args.changed({"epochs": 9, "workers": 2, "device": "cpu", "patience": 3, "resume": "latest"}, stored) == {}
    assert args.changed({"lr": 0.1, "seed": 1, "step": args.DEFAULTS["step"]}, stored) == {}
    assert args.changed({"lr": 0.2, "seed": 2, "sampler": "equal"}, stored) == {
        "lr": [0.1, 0.2],
        "seed": [1, 2],
        "sampler": [None, "equal"],
    }


@pytest.mark.parametrize(
    ("edited", "wrong"),
    [
        ({"lr": "0.1"}, "lr is '0.1'"),
        ({"epochs": 2.5}, "epochs is 2.5"),
        ({"short_run": 1}, "short_run is 1"),
        ({"seed": None}, "seed is None"),
        ({"batch_size": 0}, "--batch-size is 0, must be from 1 to a billion"),
    ],
    ids=str,
)
def test_a_stored_flag_of_another_type_or_out_of_range_is_named(edited: dict[str, Any], wrong: str) -> None:
    assert args.misfits(edited) == [wrong]
    assert args.misfits({"lr": 1, "weight_decay": None, "short_run": True, "of a later version": object()}) == []


def test_a_config_has_every_flag_and_its_defaults_fit() -> None:
    assert args.misfits({name: value for name, value in args.DEFAULTS.items() if name not in args.OF_THE_COMMAND}) == []


@pytest.mark.parametrize(
    ("value", "what"), [("", "is empty"), ("a\0b", "has a NUL in it"), ("a/" + "é" * 128, "has a name of over 255 bytes in it")]
)
@pytest.mark.parametrize("flag", ["model_name", "root_dir", "data_file"])
def test_what_no_name_and_no_path_can_be_is_refused(flag: str, value: str, what: str) -> None:
    assert args.complaints({flag: value}) == [f"--{flag.replace('_', '-')} {what}"]


@pytest.mark.parametrize(
    ("typed", "near"), [("--mod", "--model-name"), ("--epoch=3", "--epochs"), ("--weigth-decay", "--weight-decay")]
)
def test_an_unknown_flag_is_told_the_nearest(typed: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"unknown flag {typed} x. Try: {near}"):
        args.parse([typed, "x"])


def test_the_command_imports_nothing_heavy_before_it_knows_what_is_asked() -> None:
    program = "import sys; before = set(sys.modules); import commander; print(*set(sys.modules) - before)"
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    modules = {name for name in told.stdout.split() if name.split(".")[0] not in sys.stdlib_module_names}
    assert {name.split(".")[0] for name in modules} == {"commander", "args", "flags", "modes", "toolbox"}


def test_files_of_a_run_are_found_where_its_root_was_moved_to_and_names_stay_names(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    stored = assembly.movable({"data_file": before / "beats.zip", "label_map": before / "maps" / "own.csv"}, before)
    flags = args.resolve({"root_dir": str(after)}, stored)
    assert (flags.data_file, flags.label_map) == (after / "beats.zip", after / "maps" / "own.csv")
    stored = assembly.movable({"data_file": None, "label_map": "aami-s"}, before)
    assert args.resolve({"root_dir": str(after)}, stored).label_map == "aami-s"


@pytest.mark.parametrize("typed", ["", "--view chart --chart-size 96", "--val-fold 2/5", "--val-fraction 0 --monitor epoch"])
def test_what_a_run_keeps_of_its_flags_can_be_read_again(typed: str) -> None:
    flags = args.resolve(args.parse(["--dataset", "synth", *typed.split()]))
    assert args.misfits({name: value for name, value in vars(flags).items() if name not in args.OF_THE_COMMAND}) == []


@pytest.mark.parametrize(
    ("short", "given", "told"),
    [(True, {"resume": "latest"}, True), (True, {"resume": "latest", "short_run": True}, False), (False, {"test": True}, False)],
    ids=["not typed again", "typed again", "a whole run"],
)
def test_that_a_run_stays_short_is_said_where_nobody_typed_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, short: bool, given: dict[str, Any], told: bool
) -> None:
    flags = args.resolve(given, {"short_run": short})
    assembly.tell_short(given, flags, RunFolder(tmp_path / "synth_cnn1d_3_1"))
    assert ("synth_cnn1d_3_1 is a short run, of 10 batches an epoch, and stays one" in caplog.text) == told
    assert flags.short_run == short
