"""The flags: every complaint at once, no abbreviations, ignored flags, and the flags that a resumed run keeps."""

import json
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

import args
import research
from commands import build, choices
from commands.trained import TrainedRun
from helpers.data import ROOT
from studies import cells
from toolbox.errors import UsageError
from toolbox.flags import COUNT, TRAINING, Flag
from toolbox.flags import seconds as seconds_of
from toolbox.runs.folder import RunFolder

COMMANDS = [flag.name for flag in args.FLAGS if flag.mode is not None]
OUT_OF_RANGE = {
    "above 0 and finite": ["--lr=nan", "--lr=0", "--lr=-0.1", "--lr=inf"],
    "from 1 to a billion": ["--epochs=0", "--epochs=-3", "--patience=0", "--step=0", "--num-classes=0"],
    "from 1 to 100000": ["--batch-size=0", "--batch-size=100001"],
    "from 0 to 1024": ["--workers=-1", "--workers=1025"],
    "from 0 to 2147483647": ["--seed=-1", "--seed=2147483648"],
    "from 0, below 1": [
        "--val-fraction=-0.1",
        "--val-fraction=1",
        "--val-fraction=nan",
        "--momentum=1",
        "--momentum=-0.1",
        "--label-smoothing=1",
    ],
    "from 0 to a billion": ["--weight-decay=-0.1", "--weight-decay=inf", "--grad-clip=-1", "--start-epoch=-1"],
    "above 0, at most 1": ["--lr-decay=0", "--lr-decay=1.5"],
    "bump, latest or a number": ["--version=../../x", "--version=-1", "--version=1.5", "--version=²", "--version="],
    "best, latest or a number": ["--resume=junk", "--resume=../model_best"],
    "from 1 to 100": ["--members=101", "--members=0"],
}


@pytest.mark.parametrize(("rule", "typed"), [(rule, each) for rule, all_ in OUT_OF_RANGE.items() for each in all_])
def test_a_value_out_of_range_is_quoted_with_its_flag_and_range(rule: str, typed: str) -> None:
    ((name, number),) = args.parse([typed]).items()
    assert args.complaints({name: number}) == [f"{args.flag_name(name)} is {number}, must be {rule}"]


EXCLUSIVE = {
    "--sampler equal --class-balance equal": ("--sampler", "--class-balance"),
    "--resume latest --start-epoch 1": ("--resume", "--start-epoch"),
    "--disable-cuda --device cuda": ("--disable-cuda", "--device"),
    "--resume best --version bump": ("--version bump", "--resume"),
    "--explore --predict 100.hea": ("--predict", "--explore"),
    "--compare one other --explore": ("--explore", "--compare"),
    "--start-epoch 5 --epochs 5": ("--start-epoch is 5", "--epochs, 5"),
    "--out x": ("--out goes with --predict or --export or --report",),
    "--test --from-export x": ("--from-export goes with --predict",),
    "--predict r --from-export x --version 2": ("--from-export", "--version"),
    "--predict r --from-export x --resume best": ("--from-export", "--resume"),
    "--export onnx --override": ("--override cannot be combined with --export",),
    "--test --beats atr": ("--beats goes with --predict",),
    "--compare one other --records 1": ("--records goes with --explain",),
    "--test --read-as rows": ("--read-as goes with --predict",),
    "--predict r --beats ../x": ("--beats is ../x",),
}


@pytest.mark.parametrize("typed", EXCLUSIVE)
def test_flags_that_exclude_each_other_or_need_another_command_are_one_complaint(typed: str) -> None:
    (complaint,) = args.complaints(args.parse(typed.split()))
    assert all(words in complaint for words in EXCLUSIVE[typed])


TYPED = {"predict": ["100.hea"], "compare": ["one", "other"], "report": ["one"], "export": "onnx"}
TYPED |= dict.fromkeys(("test", "download", "explore", "cite", "runs"), True)


@pytest.mark.parametrize(("one", "other"), [*combinations(COMMANDS, 2)])
def test_a_command_asks_for_one_thing_but_for_a_look_at_what_is_fetched(one: str, other: str) -> None:
    excluded = args.complaints({name: TYPED.get(name, "x") for name in (one, other)})
    assert len(excluded) == ((one, other) != ("download", "explore"))
    assert all(f"--{name.replace('_', '-')}" in line for line in excluded for name in (one, other))


# The rule: a flag is ignored, with one line that names it, where the results of a command cannot depend on it. What
# follows states it flag by flag, so that a changed declaration cannot change it unseen.
# Of the machine; and --workers.
HEEDED_ALWAYS = {"root_dir", "import", "device", "threads", "disable_cuda", "deterministic", "json", "verbose", "debug"}
HEEDED_ALWAYS |= {"version_info"}
HOW_WEIGHTS_COME_ABOUT = {
    "train", "start_epoch", "epochs", "batch_size", "patience", "optimizer", "lr", "backbone_lr", "momentum",
    "weight_decay",
    "scheduler", "step", "lr_decay", "grad_clip", "class_balance", "class_weights", "label_smoothing", "sampler",
    "augment", "precision",
}  # fmt: skip
WRITTEN_BY_A_TEST = {"calibrate", "cost", "confusion_video", "baseline", "tensorboard", "macro_over", "no_figures",
                     "self_contained", "log_to"}  # fmt: skip
WHICH_ROWS = {
    "dataset", "data_file", "bad_rows", "strict_split", "seed", "val_fraction", "val_fold", "split_seed", "split",
    "fold", "label_column", "record_column", "id_columns", "rate_hz", "leads", "window", "rate", "filter", "normalise",
    "rr_features", "p_waves", "label_map", "labels", "unlabelled", "drop_labels", "rename_labels", "polarity", "crops",
    "resample", "view", "label_fraction",
    "chart_layout", "chart_leads", "chart_size", "chart_style", "task", "model_name", "normal_class",
}  # fmt: skip
WHICH_NETWORK = {"model_args", "form", "members", "pretrained", "weights_file", "num_classes"}
WHAT_IS_JUDGED = {"criterion", "monitor", "decision_weights", "threshold", "from"}
WHICH_RUN = {"version", "resume", "override", "short_run", "config", "save_config", "dry_run"}
OF_EXPLAIN = {"explain_class", "explain_rows", "explain_count", "records", "explain_random_labels"}
OF_ONE_COMMAND = {"test_on", "read_as", "beats", "unit", "out", "from_export"} | OF_EXPLAIN
KINDS = (HEEDED_ALWAYS | {"workers"}, HOW_WEIGHTS_COME_ABOUT, WRITTEN_BY_A_TEST, WHICH_ROWS, WHICH_NETWORK,
WHAT_IS_JUDGED,
         WHICH_RUN, OF_ONE_COMMAND)  # fmt: skip
EVERY = set().union(*KINDS)
OF_THE_DATA = {"data_file", "bad_rows", "strict_split", "short_run", "workers"}
IGNORED = {
    "list": EVERY - KINDS[0],
    "check": EVERY - KINDS[0] - WHICH_ROWS | {"model_name"},
    "runs": EVERY - KINDS[0],
    "download": EVERY - KINDS[0] - WHICH_ROWS,
    "explore": EVERY - KINDS[0] - WHICH_ROWS,
    "export_charts": EVERY - KINDS[0] - WHICH_ROWS - {"short_run"} | {"chart_size"},
    "compare": EVERY - KINDS[0] - {"macro_over"},
    "report": EVERY - KINDS[0] - {"self_contained", "out", "macro_over"},
    "test": HOW_WEIGHTS_COME_ABOUT,
    "predict": HOW_WEIGHTS_COME_ABOUT | WRITTEN_BY_A_TEST - {"calibrate"} | OF_THE_DATA - {"bad_rows"},
    "export": HOW_WEIGHTS_COME_ABOUT | WRITTEN_BY_A_TEST - {"calibrate"} | OF_THE_DATA | {"from"},
    "cite": HOW_WEIGHTS_COME_ABOUT | WRITTEN_BY_A_TEST - {"calibrate"} | OF_THE_DATA | {"from"},
    "explain": HOW_WEIGHTS_COME_ABOUT | WRITTEN_BY_A_TEST | {"short_run", "from"},
    "features": HOW_WEIGHTS_COME_ABOUT | WRITTEN_BY_A_TEST | {"short_run", "from"},
}  # fmt: skip


def value_of(name: str) -> Any:
    return {bool: True, int: 1, float: 0.5}.get(args.FLAGS.by_name[name].type, "1")


def test_every_flag_is_of_one_kind() -> None:
    assert args.FLAGS.defaults.keys() - {*COMMANDS} == EVERY
    assert sum(map(len, KINDS)) == len(EVERY)
    assert IGNORED.keys() == {*COMMANDS}


@pytest.mark.parametrize("mode", COMMANDS)
def test_a_flag_is_ignored_where_the_results_cannot_depend_on_it_and_nowhere_else(
    mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    command = {mode: TYPED.get(mode, "x")}
    for name in EVERY:
        given = command | {name: value_of(name)}
        kept = command if name in IGNORED[mode] else given
        assert args.needed(given) == kept, name
        caplog.clear()
        caplog.set_level("INFO")
        assert args.without_unused(given) == kept
        assert len(caplog.messages) == (name in IGNORED[mode])
        assert all(args.flag_name(name) in line and args.flag_name(mode) in line for line in caplog.messages)


def test_training_and_resuming_ignore_nothing() -> None:
    for name in EVERY:
        for command in ({}, {"resume": "latest"}):
            given = command | {name: value_of(name)}
            assert args.needed(given) == given, name


@pytest.mark.parametrize("mode", ["test", "predict", "explain", "export", "cite"])
def test_an_existing_run_is_used_where_the_line_of_its_training_asked_for_a_new_one(mode: str) -> None:
    command = {mode: TYPED.get(mode, "x")}
    assert args.needed(command | {"version": "bump"}) == command
    for version in ("latest", "2"):
        assert args.needed(command | {"version": version}) == command | {"version": version}
    assert args.complaints(command | {"version": "bump"}) == []


def test_flags_of_a_requested_output_are_not_ignored() -> None:
    labels = {"explain": "x", "explain_random_labels": 2, "lr": 0.1}
    for given in ({"test": True, "cost": True, "batch_size": 8}, labels):
        assert args.needed(given) == given
    assert args.needed({"test": True, "workers": 2}, charts=False) == {"test": True}
    assert args.needed({"explain": "x", "workers": 2}, charts=True) == {"explain": "x", "workers": 2}


SAID = {
    "--predict 100.hea --cost --lr 0.1":
        "ignored, --predict does not depend on it: --cost, --lr; not done by this command: --cost",
    "--test --lr 0.1 --version bump": "ignored, --test does not depend on it: --lr, --version bump",
    "--download --explore --pretrained":
        "ignored, --download --explore does not depend on it: --pretrained; not done by this command: --pretrained",
    "--list models --lr 0.1": "ignored, --list does not depend on it: --lr",
}  # fmt: skip


@pytest.mark.parametrize("typed", SAID)
def test_ignored_flags_are_named_in_one_line(typed: str, caplog: pytest.LogCaptureFixture) -> None:
    given = args.parse(typed.split())
    assert args.complaints(given) == []
    with caplog.at_level("INFO"):
        args.without_unused(given)
    assert caplog.messages == [SAID[typed]]


KEPT = [
    "--predict 100.hea --dataset mitdb --model-name cnn1d_3 --version 2 --resume best --leads II --out x",
    "--predict 100.csv --dataset mitdb --model-name cnn1d_3 --rate-hz 250 --unit 200/mV",
    "--compare one other --macro-over N,S --root-dir x --debug",
    "--predict 100.hea --from-export x --out y --leads II",
    "--export onnx --dataset mitdb --model-name cnn1d_3 --version 2 --resume best --calibrate --out x",
    "--cite --dataset mitdb --model-name cnn1d_3 --split random --members 3 --pretrained imagenet",
    "--explain saliency --dataset synth --data-file x --records 1",
    "--test --cost --calibrate --no-figures --macro-over N,S --confusion-video --tensorboard",
    "--download --dataset ecg --model-name cnn1d_3",
    "--download --explore --data-file x -j 2",
]
FREE = [
    "",
    "--model-name cnn1d_3 --lr 0.1 --list optimizers",
    "--version latest --resume 5 --test --epochs 1 --lr 1e-4 --disable-cuda --device cpu -j 0 --wd 0 --momentum 0",
    "--test --sampler equal --class-balance equal",  # ignored flags cannot contradict each other
    "--test --start-epoch 9 --epochs 3 --resume best",
    "--sampler records --class-weights 1,2,1,0.5,0",  # a draw by record leaves classes their shares
    "--sampler records --class-balance equal",
]


@pytest.mark.parametrize("typed", [*KEPT, *FREE])
def test_lines_that_may_be_typed_have_no_complaints_and_keep_the_flags_that_matter(typed: str) -> None:
    given = args.parse(typed.split())
    assert args.complaints(given) == []
    assert typed in FREE or args.needed(given) == given


def test_every_complaint_comes_at_once() -> None:
    typed = (
        "--lr nan --epochs 0 --workers -1 --version ../../x --resume junk --sampler equal --class-balance importance"
    )
    found = args.complaints(args.parse(typed.split()))
    assert len(found) == 6
    for flag in ("--lr", "--epochs", "--workers", "--version", "--resume", "--sampler"):
        assert sum(complaint.startswith(flag) for complaint in found) == 1


@pytest.mark.parametrize("typed", ["--epoch 3", "--model x", "--no-such-flag", "stray", "--epochs many", "--lr"])
def test_abbreviated_unknown_and_unreadable_flags_are_usage_errors(typed: str) -> None:
    with pytest.raises(UsageError, match=typed.split()[0]) as caught:
        args.parse(typed.split())
    assert caught.value.code == 2


@pytest.mark.parametrize(("flag", "value"), [("--window", "-0.5,0.7"), ("--leads", "-II")])
def test_a_value_that_begins_with_a_dash_is_told_how_it_is_typed(flag: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"{flag}=VALUE"):
        args.parse([flag, value])
    assert args.parse([f"{flag}={value}"])[flag[2:]] == value


def test_every_flag_has_help_and_shows_its_default() -> None:
    for action in args.FLAGS.parser._actions:
        assert action.help, action.dest
        default = args.FLAGS.defaults.get(action.dest)
        if default is True:
            assert "(default on)" in action.help
        elif default is not None and default is not False:
            assert f"(default {default})" in action.help
    assert "--weight-decay" in args.FLAGS.parser.format_help()


def test_every_flag_and_command_that_a_declaration_names_exists() -> None:
    for flag in args.FLAGS:
        named = f"{flag.command} {flag.used_by} {flag.unused_by} {flag.used_with}".split()
        assert {*named} <= args.FLAGS.by_name.keys(), flag.typed


WARMUP = Flag("--warmup", TRAINING, "epochs of rising learning rate", type=int, metavar="N", default=0, check=COUNT)


def test_a_stored_number_becomes_the_word_that_a_person_types() -> None:
    words = [args.FLAGS.by_name["rate"].words(value) for value in (100.0, 128.5, None)]
    assert words == [["--rate", "100"], ["--rate", "128.5"], []]
    assert args.FLAGS.by_name["lr"].words(1e-05) == ["--lr", "1e-05"]
    assert args.FLAGS.by_name["compare"].words([]) == []


def test_a_new_flag_is_one_declaration(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = cells.configuration({"dataset": "synth"}).name
    monkeypatch.setattr(args, "FLAGS", args.FLAGS)
    args.add_flags([WARMUP])
    assert "--warmup N" in args.FLAGS.parser.format_help()
    assert args.parse(["--warmup", "3"]) == {"warmup": 3}
    assert args.complaints({"warmup": 0}) == ["--warmup is 0, must be from 1 to a billion"]
    assert args.needed({"test": True, "warmup": 3}) == {"test": True}  # the weights are there
    flags = choices.settle(args.resolve({"warmup": 3}, {"seed": 1}))
    stored = build.kept(flags)
    assert (flags.warmup, stored["warmup"], list(stored)[-1]) == (3, 3, "warmup")
    assert args.misfits(stored) == []
    assert args.misfits({"warmup": "3"}) == ["warmup is '3'"]
    assert args.FLAGS.changed({"warmup": 4}, stored) == {"warmup": [3, 4]}
    assert args.FLAGS.changed({"warmup": 4}, {}) == {"warmup": [0, 4]}  # of a run before there was the flag
    assert cells.configuration({"dataset": "synth"}).name == plain
    assert cells.configuration({"dataset": "synth", "warmup": "3"}).name != plain


def test_flags_are_not_changed_once_they_are_resolved() -> None:
    flags = args.resolve({"lr": 0.5})
    with pytest.raises(AttributeError):
        flags.lr = 0.1
    with pytest.raises(AttributeError):
        del flags.lr
    assert (flags.replace(lr=0.1).lr, flags.lr) == (0.1, 0.5)


def test_rare_groups_stand_in_the_long_help_alone(capfd: pytest.CaptureFixture[str]) -> None:
    helped = {}
    for flag in ("--help", "--help-all"):
        with pytest.raises(SystemExit) as ended:
            args.parse([flag])
        assert ended.value.code == 0
        helped[flag] = capfd.readouterr().out
    for group in args.FLAGS.groups:
        for flag in group.flags:
            assert (re.search(rf" {flag.typed}\b", helped["--help"]) is not None) or group.rare
            assert re.search(rf" {flag.typed}\b", helped["--help-all"])
        assert (f"{group.title}:\n" in helped["--help"]) == (not group.rare)
    for line in args.DESCRIPTION.splitlines():
        assert line in helped["--help"]
    assert helped["--help"].endswith("docs/.\n")


def test_the_five_examples_of_the_help_are_understood() -> None:
    lines = [line.split()[1:] for line in args.DESCRIPTION.splitlines() if "python" in line]
    named = [line.split()[0] for line in args.DESCRIPTION.splitlines()[2:]]
    assert named == ["train", "test", "predict", "explain", "study"]
    for _, program, *words in lines:
        if program == "commander.py":
            assert args.complaints(args.parse(words)) == []
        else:
            assert research.understood(words).grid


def test_typed_goes_over_stored_over_default() -> None:
    assert args.parse([]) == {}
    assert args.parse(["--lr", "0.1", "--test"]) == {"lr": 0.1, "test": True}
    flags = args.resolve({"lr": 0.5}, {"lr": 0.1, "seed": 7, "not_a_flag_any_more": 1})
    assert (flags.lr, flags.seed, flags.epochs) == (0.5, 7, args.FLAGS.defaults["epochs"])
    assert not hasattr(flags, "not_a_flag_any_more")


def test_paths_become_paths() -> None:
    assert args.resolve({"data_file": "a/b.zip"}).data_file == Path("a/b.zip")
    assert args.resolve({"root_dir": "/x/root"}, {"data_file": "../b.zip"}).data_file == Path("/x/root/../b.zip")
    assert args.resolve({}).data_file is None
    assert args.resolve({}).root_dir == Path("ecg_data")


def test_a_resumed_run_may_go_on_longer_but_not_become_another() -> None:
    stored = {"epochs": 5, "lr": 0.1, "seed": 1, "workers": 0, "device": None, "patience": None}
    longer = {"epochs": 9, "workers": 2, "device": "cpu", "patience": 3, "resume": "latest"}
    assert args.FLAGS.changed(longer, stored) == {}
    assert args.FLAGS.changed({"lr": 0.1, "seed": 1, "step": args.FLAGS.defaults["step"]}, stored) == {}
    changed = args.FLAGS.changed({"lr": 0.2, "seed": 2, "sampler": "equal"}, stored)
    assert changed == {"lr": [0.1, 0.2], "seed": [1, 2], "sampler": [None, "equal"]}


MISFITS = [
    ({"lr": "0.1"}, "lr is '0.1'"),
    ({"epochs": 2.5}, "epochs is 2.5"),
    ({"short_run": 1}, "short_run is 1"),
    ({"seed": None}, "seed is None"),
    ({"batch_size": 0}, "--batch-size is 0, must be from 1 to 100000"),
]


@pytest.mark.parametrize(("edited", "wrong"), MISFITS)
def test_a_stored_flag_of_another_type_or_out_of_range_is_named(edited: dict[str, Any], wrong: str) -> None:
    assert args.misfits(edited) == [wrong]
    assert args.misfits({"lr": 1, "weight_decay": None, "short_run": True, "of a later version": object()}) == []


@pytest.mark.parametrize(
    ("value", "what"),
    [("", "is empty"), ("a\0b", "has a NUL in it"), ("a/" + "é" * 128, "has a name of over 255 bytes in it")],
)
@pytest.mark.parametrize("flag", ["model_name", "root_dir", "data_file"])
def test_an_impossible_name_or_path_is_refused(flag: str, value: str, what: str) -> None:
    assert args.complaints({flag: value}) == [f"--{flag.replace('_', '-')} {what}"]


ELSEWHERE = {
    "--lr": "--learning-rate --learning_rate --LR -lr", "--batch-size": "--batch_size --batchsize --bs",
    "--model-name": "--model --arch", "--optimizer": "--optim", "--criterion": "--loss", "--device": "--gpu",
    "--epochs": "--num-epochs --num_epochs", "--root-dir or --data-file": "--data", "--workers": "--num_workers",
    "--resume or --pretrained": "--ckpt", "--test": "--eval",
}  # fmt: skip
UNKNOWN = [(typed, f"{near}$") for near, names in ELSEWHERE.items() for typed in names.split()]
UNKNOWN += [("--mod", "--model-name"), ("--epoch=3", "--epochs"), ("--weigth-decay", "--weight-decay")]


@pytest.mark.parametrize(("typed", "near"), UNKNOWN)
def test_an_unknown_flag_is_refused_with_the_nearest_or_its_own_name(typed: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"unknown flag {typed} x. Try: {near}"):
        args.parse([typed, "x"])


def test_the_command_imports_nothing_heavy_before_it_knows_what_is_asked() -> None:
    program = "import sys; before = set(sys.modules); import commander; print(*set(sys.modules) - before)"
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    modules = {name for name in told.stdout.split() if name.split(".")[0] not in sys.stdlib_module_names}
    own = {"commander", "args", "commands", "commands.own_parts", "loaders", "loaders.declaration"}
    assert {name for name in modules if name.split(".")[0] != "toolbox"} == own


LIGHT = [("commander", ["--help-all"]), ("research", ["--help"])]
LIGHT += [("commander", ["--list", what]) for what in ("models", "metrics")]


@pytest.mark.parametrize(("name", "typed"), LIGHT)
def test_help_and_lists_import_no_library(name: str, typed: list[str]) -> None:
    program = f"import sys, {name}; code = {name}.main({typed}); print(code, *sys.modules, file=sys.stderr)"
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    code, *modules = told.stderr.split()
    assert code == "0"
    assert not {"torch", "numpy", "pandas", "dask", "loaders.base", "trainer"} & {*modules}
    assert told.stdout.count("\n") > 8


def test_files_of_a_run_are_found_where_its_root_was_moved_to_and_names_stay_names(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    stored = build.movable({"data_file": before / "beats.zip", "label_map": before / "maps" / "own.csv"}, before)
    flags = args.resolve({"root_dir": str(after)}, stored)
    assert (flags.data_file, flags.label_map) == (after / "beats.zip", after / "maps" / "own.csv")
    stored = build.movable({"data_file": None, "label_map": "aami-s"}, before)
    assert args.resolve({"root_dir": str(after)}, stored).label_map == "aami-s"


@pytest.mark.parametrize(
    "typed", ["", "--view chart --chart-size 96", "--val-fold 2/5", "--val-fraction 0 --monitor epoch"]
)
def test_the_flags_that_a_run_keeps_can_be_read_again(typed: str) -> None:
    flags = args.resolve(args.parse(["--dataset", "synth", *typed.split()]))
    assert args.misfits({name: value for name, value in vars(flags).items() if args.FLAGS.by_name[name].kept}) == []


@pytest.mark.parametrize(
    ("short", "given", "told"),
    [
        (True, {"resume": "latest"}, True),
        (True, {"resume": "latest", "short_run": True}, False),
        (False, {"test": True}, False),
    ],
)
def test_a_resumed_short_run_is_called_short_unless_that_was_typed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, short: bool, given: dict[str, Any], told: bool
) -> None:
    flags = args.resolve(given, {"short_run": short})
    TrainedRun(RunFolder(tmp_path / "synth_cnn1d_3_1"), {}, given, flags, {}).note_short_run()
    assert ("synth_cnn1d_3_1 is a short run, of 10 batches an epoch, and stays one" in caplog.text) == told
    assert flags.short_run == short


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5:00", 300), ("0:30", 30), ("1:00:00", 3600), ("300", 300), ("2.5", 2.5), ("1:2.5", 62.5), (None, 0)],
)
def test_a_time_is_minutes_and_seconds(text: str | None, seconds: float) -> None:
    assert seconds_of(text) == seconds
    assert text is None or args.complaints({"from": text, "test": True}) == []


@pytest.mark.parametrize("text", ["5:60", "-1", "five", "1:2:3:4", "5:", ":30", "1e3", "5;00", "nan", "\u0665"])
def test_another_text_than_a_time_is_refused_with_the_allowed_forms(text: str) -> None:
    assert args.complaints({"from": text}) == [
        f"--from is {text}, must be minutes:seconds, hours:minutes:seconds or seconds"
    ]


WORDS = {"leads": "-II", "label_column": "a b", "import": ["-a.py", "b.py"], "compare": ["a", "b"], "rate": 100.0}


@pytest.mark.parametrize("name", WORDS)
def test_a_value_is_read_back_from_its_words(name: str) -> None:
    assert args.parse(args.FLAGS.by_name[name].words(WORDS[name])) == {name: WORDS[name]}


def test_a_run_that_is_older_than_a_flag_keeps_what_it_had() -> None:
    """--mixed-precision became --precision; the form of the layers is younger than both."""
    for old, kept in ((None, "float32"), (False, "float32"), (True, "bfloat16")):
        stored = {"epochs": 3} | ({} if old is None else {"mixed_precision": old})
        flags = args.resolve({"epochs": 4}, stored)
        assert (flags.precision, flags.form, flags.epochs) == (kept, "plain", 4)
        assert args.FLAGS.changed({"precision": kept, "form": "plain", "epochs": 4}, stored) == {}
        assert args.FLAGS.changed({"form": "lean"}, stored) == {"form": ["plain", "lean"]}
    new = args.resolve({})
    assert (new.precision, new.form) == ("auto", "lean")


def test_all_training_rows_are_the_same_run_however_they_are_typed() -> None:
    typed = args.parse(["--label-fraction", "1.0"])
    assert args.resolve(typed) == args.resolve({})
    for stored in ({}, {"label_fraction": None}, {"label_fraction": 1.0}):
        assert args.FLAGS.changed(typed, stored) == {}
        assert args.resolve({}, stored).label_fraction is None
    assert args.FLAGS.changed(typed, {"label_fraction": 0.1}) == {"label_fraction": [0.1, None]}


def test_mixed_precision_is_another_name_of_precision_bfloat16(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("mixed-precision: true\n")
    for typed in (["--mixed-precision"], ["--precision"], ["--config", str(tmp_path / "run.yaml")]):
        assert args.parse(typed) == {"precision": "bfloat16"}
    (tmp_path / "run.yaml").write_text("mixed-precision: false\n")
    assert args.parse(["--config", str(tmp_path / "run.yaml")]) == {"precision": "float32"}
    run = tmp_path / "config.json"
    for old, kept in ((True, "bfloat16"), (False, "float32")):
        run.write_text(json.dumps({"flags": {"mixed_precision": old}, "given": []}))
        assert args.parse(["--config", str(run)]) == {"precision": kept}
    assert args.parse(["--mixed-precision", "--epochs", "3"]) == {"precision": "bfloat16", "epochs": 3}
