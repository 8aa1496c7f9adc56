"""What was typed becomes flags, and what may not go together is said; the flags themselves are declared in `flags`.

`parse` returns only what was typed; `resolve` puts it over a run's own config and the defaults; `complaints` checks it
all. Imports the standard library alone, so that --help answers at once. Names (models, datasets, ...) are looked up
later.
"""

import argparse
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from toolbox import modes
from toolbox.errors import UsageError, program
from toolbox.flags import GROUPS
from toolbox.modes import flag_name

SHORT_HELP = f"""ECG Commander trains networks on heart recordings and tests them honestly. Three lines to start with:
  {program()} --model-name resnet1d_10 --sampler equal --version bump    train a new run, test its best epoch
  {program()} --model-name resnet1d_10 --test --resume best              test that run again
  {program()} --help                                                     every flag
"""
# What one command asks for; the rest describes the run and is kept in its config.json.
OF_THE_COMMAND = {
    "root_dir",
    "version",
    "resume",
    "test",
    "test_on",
    "override",
    "list",
    "download",
    "explore",
    "export_charts",
    "compare",
    "predict",
    "beats",
    "unit",
    "out",
    "explain",
    "explain_class",
    "explain_rows",
    "explain_count",
    "records",
    "explain_random_labels",
    "no_figures",
    "debug",
    "verbose",
    "version_info",
}
# Flags of one command alone.
OF_ONE_COMMAND = {
    "predict": ("beats", "unit", "out"),
    "explain": ("explain_class", "explain_rows", "explain_count", "records", "explain_random_labels"),
}
# What says something of the other file with --test-on, not of the run's own.
OF_THE_TESTED = ("label_column", "record_column", "rate_hz")
# What says something else with --predict: of the recording, not of the run's rows.
OF_THE_RECORDING = ("leads", "rate_hz")
# What a run may change when it goes on; anything else would make it another run. Of another network its weights tell.
FREE_ON_RESUME = OF_THE_COMMAND | {
    "model_name",
    "num_classes",
    "data_file",
    "bad_rows",
    "strict_split",
    "epochs",
    "patience",
    "workers",
    "device",
    "disable_cuda",
    "tensorboard",
    "confusion_video",
    "baseline",
    "macro_over",
    "from",
    "calibrate",
    "cost",
}


# Names that other tools give to flags, and the flags that they may stand for here; they are suggested, not understood.
ELSEWHERE = {
    name: meant.split()
    for names, meant in {
        "learning-rate learningrate init-lr initial-lr base-lr max-lr": "lr",
        "batchsize bs batch b train-batch-size mini-batch-size": "batch-size",
        "model arch architecture net network backbone m": "model-name",
        "num-epochs n-epochs nepochs max-epochs nb-epochs epoch e": "epochs",
        "optim opt optimiser": "optimizer",
        "loss loss-fn loss-function objective": "criterion",
        "sched schedule lr-scheduler lr-schedule": "scheduler",
        "gamma lr-gamma decay": "lr-decay",
        "l2 reg weightdecay": "weight-decay",
        "gpu gpus gpu-id cuda use-cuda accelerator": "device",
        "no-cuda no-gpu cpu": "disable-cuda",
        "num-workers n-workers nworkers n-jobs jobs threads": "workers",
        "data data-path data-dir dataroot input file csv": "data-file root-dir",
        "data-root root": "root-dir",
        "output output-dir out-dir save-dir save-path log-dir logdir exp-dir": "root-dir out",
        "ckpt checkpoint checkpoint-path load restore": "resume pretrained",
        "weights init-from finetune fine-tune": "pretrained weights-file",
        "eval evaluate test-only eval-only evaluate-only": "test",
        "infer inference pred": "predict",
        "random-seed random-state manual-seed rng": "seed",
        "val-split val-size valid-size validation-split val-ratio val-frac": "val-fraction",
        "folds n-folds k-fold kfold cv": "val-fold split",
        "early-stop early-stopping early-stopping-patience": "patience",
        "clip clip-grad clip-norm max-grad-norm gradient-clip-val": "grad-clip",
        "amp fp16 bf16 half precision": "mixed-precision",
        "metric metrics early-stopping-metric": "monitor",
        "sampling-rate sample-rate fs sfreq frequency hz": "rate-hz rate",
        "lead channel channels": "leads",
        "label labels label-col target target-column": "label-column",
        "group groups group-column patient-column subject-column": "record-column",
        "classes n-classes nclasses": "num-classes",
        "ensemble committee n-models num-models": "members",
        "quick dry-run fast-dev-run debug-run": "short-run",
        "aug augmentation augmentations transforms": "augment",
        "tb tensor-board": "tensorboard",
        "weight class-weight loss-weights": "class-weights class-balance",
    }.items()
    for name in names.split()
}


class Parser(argparse.ArgumentParser):
    """An argparse parser whose mistakes are UsageErrors."""

    def error(self, message: str) -> NoReturn:
        what, _, typed = message.partition("unrecognized arguments: ")
        if what:
            flag = message.partition("argument ")[2].partition(":")[0].rpartition("/")[2]
            hint = f"{flag} VALUE, or {flag}=VALUE where it begins with a dash"
            raise UsageError(message, hint=hint if ONE_MISSING in message else f"{self.prog} --help")
        known = [name for action in self._actions for name in action.option_strings]
        near = _meant(typed.split()[0].split("=")[0], known)
        raise UsageError(f"unknown flag {typed}", hint=" or ".join(near) or f"{self.prog} --help")


def _meant(word: str, known: Sequence[str]) -> list[str]:
    """The flags that an unknown one may stand for: another spelling, the name that other tools give it, or one like
    it."""
    plain = word.strip("-").replace("_", "-").lower()
    spelled = [name for name in known if name.strip("-") == plain]
    named = [name for name in (f"--{flag}" for flag in ELSEWHERE.get(plain, ())) if name in known]
    begun = [name for name in known if name.startswith(f"--{plain}")]
    return spelled or named or begun or get_close_matches(f"--{plain}", known)


def build_parser(
    name: str, groups: Mapping[str, Callable[..., None]], *, description: str, epilog: str | None = None
) -> tuple[Parser, dict[str, Any]]:
    """The flags of a program, and the defaults apart from them, so that what was typed can be told from what was
    not."""
    how = {"allow_abbrev": False, "argument_default": argparse.SUPPRESS}
    parser = Parser(name, description=description, epilog=epilog, **how)
    defaults: dict[str, Any] = {}
    for title, declare in groups.items():
        section = parser.add_argument_group(title)

        def flag(*names: str, default: Any = None, help: str, section: Any = section, **how: Any) -> None:
            switch = "type" not in how and "metavar" not in how
            shown = "" if default is None else f" (default {default})"
            action = section.add_argument(
                *names, help=help + shown, **how, **({"action": "store_true"} if switch else {})
            )
            defaults[action.dest] = False if switch else default

        declare(flag)
    return parser, defaults


PARSER, DEFAULTS = build_parser(
    program(),
    GROUPS,
    description="From raw heart recordings to a model whose numbers can be trusted.",
    epilog="A resumed or tested run takes what is not typed from its own config.json.",
)
TYPES = {action.dest: action.type or (bool if action.nargs == 0 else str) for action in PARSER._actions}
LARGEST = 10**9
ONE_MISSING = "expected one argument"  # as argparse says it
CLOCK = re.compile(r"(?:\d{1,3}:[0-5]?\d:[0-5]?\d|\d{1,5}:[0-5]?\d|\d{1,7})(?:\.\d{1,6})?", re.ASCII)
WEIGHTED = ("class_weights", "decision_weights")
WEIGHTS = "numbers from 0 to a billion with commas between them, not all 0"
_COUNT = ("from 1 to a billion", lambda value: 1 <= value <= LARGEST)
_NATURAL = ("from 0 to a billion", lambda value: 0 <= value <= LARGEST)
RANGES: dict[str, tuple[str, Callable[[float], bool]]] = {
    **dict.fromkeys(("epochs", "step", "patience", "num_classes", "fold", "explain_random_labels"), _COUNT),
    **dict.fromkeys(("start_epoch", "weight_decay", "grad_clip"), _NATURAL),
    "batch_size": ("from 1 to 100000", lambda value: 1 <= value <= 100_000),
    "members": ("from 1 to 100", lambda value: 1 <= value <= 100),
    "workers": ("from 0 to 1024", lambda value: 0 <= value <= 1024),
    **dict.fromkeys(("lr", "backbone_lr", "rate_hz"), ("above 0 and finite", lambda value: 0 < value < math.inf)),
    "rate": ("from 10 to 1000", lambda value: 10 <= value <= 1000),
    "resample": ("from 0 to 50", lambda value: 0 <= value <= 50),
    **dict.fromkeys(("seed", "split_seed"), ("from 0 to 2147483647", lambda value: 0 <= value < 2**31)),
    "val_fraction": ("from 0, below 1", lambda value: 0 <= value < 1),
    "explain_count": ("from 1 to 100", lambda value: 1 <= value <= 100),
    "chart_size": ("from 32 to 4096", lambda value: 32 <= value <= 4096),
    "lr_decay": ("above 0, at most 1", lambda value: 0 < value <= 1),
    "momentum": ("at least 0, below 1", lambda value: 0 <= value < 1),
}
PATHS = ("data_file", "label_map", "weights_file")
WORDS = {"version": ("bump", "latest"), "resume": ("best", "latest")}  # or a number


def parse(argv: Sequence[str]) -> dict[str, Any]:
    """What was typed, by name; a UsageError for what cannot be read."""
    given = vars(PARSER.parse_args(argv))
    return given | ({"test": True} if "test_on" in given else {})


def resolve(given: Mapping[str, Any], stored: Mapping[str, Any] | None = None) -> SimpleNamespace:
    """Every flag: as typed, else as the run was started with, else the default. Paths become Paths.

    Stored paths are relative to --root-dir, so that both can be moved together.
    """
    kept = {key: value for key, value in (stored or {}).items() if key in DEFAULTS.keys() - OF_THE_COMMAND}
    flags = SimpleNamespace(**{**DEFAULTS, **kept, **given})
    flags.root_dir = Path(flags.root_dir)
    for name in PATHS:
        if is_path(name, getattr(flags, name)):
            setattr(flags, name, Path("" if name in given else os.path.realpath(flags.root_dir), getattr(flags, name)))
    return flags


def is_path(name: str, value: str | None) -> bool:
    """Whether the value of a flag of PATHS is one: a label map without an ending is a name."""
    return bool(value) and (name != "label_map" or bool(Path(value).suffix))


def changed(given: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What was typed differently from the run it is to go on, where that would make it another run: [the run's,
    typed]."""
    before = DEFAULTS | stored
    return {
        key: [before[key], value] for key, value in given.items() if key not in FREE_ON_RESUME and before[key] != value
    }


def misfits(stored: Mapping[str, Any]) -> list[str]:
    """What is wrong with the flags of a config.json that somebody may have edited."""
    odd = [f"{key} is {value!r}" for key, value in stored.items() if key in DEFAULTS and not _fits(key, value)]
    return odd or complaints({key: value for key, value in stored.items() if key in DEFAULTS})


def _fits(key: str, value: Any) -> bool:
    kind = TYPES[key]
    return (value is None and DEFAULTS[key] is None) or type(value) is kind or (kind is float and type(value) is int)


def complaints(given: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with the flags as typed, quoting each flag and its range. Touches no disk and no
    device."""
    flags = resolve(given)
    wrong = [f"{_quote(flags, name)}, must be {rule}" for name, (rule, holds) in RANGES.items()
             if getattr(flags, name) is not None and not holds(getattr(flags, name))]  # fmt: skip
    wrong += [f"{_quote(flags, name)}, must be {', '.join(words)} or a number" for name, words in WORDS.items()
              if getattr(flags, name) is not None and not _is_number_or(words, getattr(flags, name))]  # fmt: skip
    wrong += [
        f"{flag_name(name)} {what}" for name, value in given.items() if name not in WORDS and (what := _unusable(value))
    ]
    wrong += [f"{_quote(flags, name)}, must be {WEIGHTS}" for name in WEIGHTED if _bad(getattr(flags, name))]
    wrong += [f"{_quote(flags, 'beats')}, must be detect or the letters of a file's ending"] * (
        not flags.beats.isalnum()
    )
    wrong += [f"{flag_name(name)} goes with {flag_name(command)}" for command, own in OF_ONE_COMMAND.items()
              if not getattr(flags, command) for name in own if name in given]  # fmt: skip
    start = getattr(flags, "from")
    wrong += [f"{_quote(flags, 'from')}, must be minutes:seconds, hours:minutes:seconds or seconds"] * (
        start is not None and not CLOCK.fullmatch(start)
    )
    return wrong + modes.complaints(given) + _together(modes.needed(given))


def _together(given: Mapping[str, Any]) -> list[str]:
    """Which of the flags that the command needs cannot go together."""
    flags = resolve(given)
    going_on = flags.test or flags.resume or flags.predict or flags.explain
    charts = flags.view == "chart" or flags.export_charts or going_on  # a run that is there knows its view
    together = (
        *(
            (True, f"{flag_name(one)} and {flag_name(other)} exclude each other")
            for one, other in combinations(_weighing(flags), 2)
        ),
        (
            flags.resume and flags.start_epoch and "start_epoch" in given,
            "--resume and --start-epoch exclude each other",
        ),
        (flags.disable_cuda and flags.device not in (None, "cpu"), "--disable-cuda and --device exclude each other"),
        (
            flags.resume and flags.version == "bump",
            "--version bump makes a new run, --resume goes on with one that is there",
        ),
        *(
            (getattr(flags, name) and flags.override, f"--override is not for --{name}, which takes the run as it is")
            for name in ("predict", "explain")
        ),
        (
            not going_on and flags.version == "latest",
            "--version latest is a run that is there, say --test or --resume with it",
        ),
        (
            flags.val_fold and flags.val_fraction != DEFAULTS["val_fraction"],
            "--val-fold and --val-fraction exclude each other",
        ),
        *(
            (getattr(flags, name) != DEFAULTS[name] and not charts, f"{flag_name(name)} goes with --view chart")
            for name in ("chart_layout", "chart_leads", "chart_size", "chart_style")
        ),
        *(
            (
                getattr(flags, name) and flags.strict_split,
                f"{flag_name(name)} leaves the test rows closed, --strict-split opens them",
            )
            for name in ("explore", "export_charts")
        ),
        (
            flags.weights_file and flags.pretrained not in (None, "imagenet"),
            "--weights-file and --pretrained of a run exclude each other",
        ),
        (flags.backbone_lr is not None and flags.train == "head", "--backbone-lr and --train head exclude each other"),
        (flags.override and not going_on, "--override goes with --resume or --test"),
        (
            flags.start_epoch >= flags.epochs > 0,
            f"{_quote(flags, 'start_epoch')}, must be below --epochs, {flags.epochs}",
        ),
    )
    return [text for broken, text in together if broken]


def seconds(text: str | None) -> float:
    """Seconds of a time such as 5:00, 1:30:00 or 300, of None 0; a ValueError for what is no time."""
    if not CLOCK.fullmatch(text or "0"):
        raise ValueError(text)
    parts = [float(part) for part in (text or "0").split(":")]
    return sum(part * 60**power for power, part in enumerate(reversed(parts)))


def words(text: str | None) -> list[str] | None:
    """What stands between the commas; None for None."""
    return None if text is None else [word.strip() for word in text.split(",")]


def _weighing(flags: SimpleNamespace) -> list[str]:
    """The flags that give classes other shares; a draw by record leaves them theirs."""
    return [
        name
        for name in ("sampler", "class_balance", "class_weights")
        if getattr(flags, name) not in (None, "", "records")
    ]


def _quote(flags: SimpleNamespace, name: str) -> str:
    return f"{flag_name(name)} is {str(getattr(flags, name))[:40]}"


def _unusable(value: Any) -> str:
    """What no name and no path can be; "" for what can."""
    if not isinstance(value, str):
        return ""
    if not value or "\0" in value:
        return "is empty" if not value else "has a NUL in it"
    return (
        "has a name of over 255 bytes in it" if max(len(os.fsencode(part)) for part in value.split("/")) > 255 else ""
    )


def _bad(weights: str | None) -> bool:
    try:
        numbers = [float(weight) for weight in weights.split(",")] if weights is not None else [1.0]
    except ValueError:
        return True
    return not (all(0 <= number <= LARGEST for number in numbers) and any(numbers))


def _is_number_or(words: tuple[str, ...], text: str) -> bool:
    return text in words or (text.isascii() and text.isdigit() and len(text) < 10)
