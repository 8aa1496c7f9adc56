"""Every flag, in groups: what it means, its unit and default, and what may not go together.

`parse` returns only what was typed; `resolve` puts it over a run's own config and the defaults; `complaints` checks it all.
Imports the standard library alone, so that --help answers at once. Names (models, datasets, ...) are looked up later.
"""

import argparse
import math
import os
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from toolbox.errors import UsageError

SHORT_HELP = """ECG Commander trains networks on heart recordings and tests them honestly. Three lines to start with:
  python commander.py --model-name resnet1d_10 --sampler equal --version bump    train a new run, test its best epoch
  python commander.py --model-name resnet1d_10 --test --resume best              test that run again
  python commander.py --help                                                     every flag
"""
# What one command asks for; the rest describes the run and is kept in its config.json.
OF_THE_COMMAND = {
    "root_dir",
    "version",
    "resume",
    "test",
    "override",
    "import_legacy",
    "list",
    "download",
    "explore",
    "debug",
    "verbose",
}
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
    "no_figures",
    "confusion_video",
    "baseline",
}


class Parser(argparse.ArgumentParser):
    """An argparse parser whose mistakes are UsageErrors."""

    def error(self, message: str) -> NoReturn:
        what, _, typed = message.partition("unrecognized arguments: ")
        if what:
            raise UsageError(message, hint="python commander.py --help")
        known = [name for action in self._actions for name in action.option_strings]
        word = typed.split()[0].split("=")[0]
        near = [name for name in known if name.startswith(word)] or get_close_matches(word, known)
        raise UsageError(f"unknown flag {typed}", hint=" or ".join(near) or "python commander.py --help")


def build_parser() -> tuple[Parser, dict[str, Any]]:
    """Every flag, and the defaults apart from it, so that what was typed can be told from what was not."""
    parser = Parser(
        "commander.py",
        description="From raw heart recordings to a model whose numbers can be trusted.",
        epilog="A resumed or tested run takes what is not typed from its own config.json.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    defaults: dict[str, Any] = {}
    for title, declare in GROUPS.items():
        section = parser.add_argument_group(title)

        def flag(*names: str, default: Any = None, help: str, section: Any = section, **how: Any) -> None:
            switch = "type" not in how and "metavar" not in how
            shown = "" if default is None else f" (default {default})"
            action = section.add_argument(*names, help=help + shown, **how, **({"action": "store_true"} if switch else {}))
            defaults[action.dest] = False if switch else default

        declare(flag)
    return parser, defaults


# fmt: off
def _data_flags(flag: Any) -> None:
    flag("--dataset", metavar="NAME", help="dataset (--list datasets); left out it is ecg, or synth where ecg cannot be had")
    flag("--root-dir", metavar="DIR", default="ecg_data", help="folder of data and runs")
    flag("--data-file", metavar="PATH", help="folder, zip or file of the dataset; for ecg also the PhysioNet MIT-BIH zip")
    flag("--download", help="fetch, check and parse the dataset, then stop (for machines that go offline)")
    flag("--explore", help="draw the dataset's classes, example and mean rows, and augmentations, then stop")
    flag("--val-fraction", type=float, metavar="F", default=0.1, help="part of the training rows kept for validation, in (0, 1)")
    flag("--split", metavar="HOW", help="how rows are divided, where the dataset has a choice (ecg5000, table; see README)")
    flag("--label-column", metavar="C", help="name or number of a table's column of labels, none without (default the last)")
    flag("--record-column", metavar="C", help="name or number of a table's column that says whose row it is")
    flag("--rate-hz", type=float, metavar="HZ", help="sampling rate of a table's rows")
    flag("--bad-rows", metavar="HOW", default="error", help="rows of a CSV that cannot be used: error, or drop them")
    flag("--strict-split", help="refuse data of which a test row stands in train or validation too; else such rows are counted")
    flag("--num-classes", type=int, metavar="K", help="classes of the dataset; only checked, the dataset knows them")


def _model_flags(flag: Any) -> None:
    flag("--task", metavar="NAME", help="classify, or detect rows that are not of one class (default: what the network is for)")
    flag("--model-name", metavar="NAME", help="network (--list models) (default resnet1d_10, conv_ae with --task detect)")
    flag("--pretrained", metavar="FROM", help="start from the weights of another run: its name, folder or a checkpoint file")
    flag("--train", metavar="WHAT", default="all", help="what of the network is trained: all, or the head alone (its last part)")
    flag("--version", metavar="V", help="bump, latest or a number (default: bump to train, latest to test or resume)")
    flag("--resume", metavar="WHICH", help="go on from, or test, the checkpoint best, latest or of epoch N (every 5th is kept)")
    flag("--override", help="let the flags typed with --resume or --test differ from the run's own, and record it")
    flag("--start-epoch", type=int, metavar="N", default=0, help="epochs counted as done when a new run starts")
    flag("--test", help="test a trained run: its best checkpoint, or the one --resume names")
    flag("--import-legacy", metavar="FILE", help="make a new run of a checkpoint of the older tool (fv316/MAP583), to be tested")
    flag("--list", metavar="WHAT", help="print names and stop: datasets models optimizers schedulers losses samplers metrics "
         "augmentations baselines")  # fmt: skip


def _training_flags(flag: Any) -> None:
    flag("--epochs", type=int, metavar="N", default=20, help="passes over the training rows, in all")
    flag("--batch-size", type=int, metavar="B", default=128, help="rows a step")
    flag("--optimizer", metavar="NAME", default="adamw", help="sgd, adam or adamw")
    flag("--lr", type=float, metavar="LR", help="(highest) learning rate (default 0.005 for adam and adamw, 0.05 for sgd)")
    flag("--momentum", type=float, metavar="M", default=0.9, help="momentum of sgd, beta 1 of adam and adamw")
    flag("--weight-decay", "--wd", type=float, metavar="WD", help="(default 0.01 for adamw, 0.0001 for sgd, 0 for adam)")
    flag("--scheduler", metavar="NAME", default="OneCycleLR", help="learning-rate schedule (--list schedulers), or none")
    flag("--step", type=int, metavar="N", default=5, help="epochs between steps of StepLR, patience of ReduceLROnPlateau")
    flag("--lr-decay", type=float, metavar="G", default=0.5, help="factor of StepLR, ExponentialLR and ReduceLROnPlateau")
    flag("--criterion", metavar="NAME", help="loss (--list losses) (default crossentropy; l1 to detect, where mse is the other)")
    flag("--class-balance", metavar="HOW", help="weigh the training loss by class: equal shares, or by importance")
    flag("--class-weights", metavar="W,W,...", help="weigh the training loss by class, with a number for each")
    flag("--augment", metavar="A,A,...", help="change training rows: NAME[:STRENGTH[:PROBABILITY]] each (--list augmentations)")
    flag("--sampler", metavar="HOW", help="draw training rows by class, equal shares or by importance; else each row once")
    flag("--grad-clip", type=float, metavar="NORM", default=1.0, help="largest norm of a step's gradient, 0 for no limit")
    flag("--monitor", metavar="METRIC", help="validation metric of best epoch and --patience (default macro_f1, loss to detect)")
    flag("--patience", type=int, metavar="N", help="stop after N epochs without a better one (default never)")
    flag("--seed", type=int, metavar="S", default=42, help="of weights, order and validation rows")
    flag("--short-run", help="the whole pipeline on 10 batches an epoch, to try things out")


def _detection_flags(flag: Any) -> None:
    flag("--normal-class", metavar="CLASS", help="class that is learned, all others are anomalies (default the one called so)")
    flag("--threshold", metavar="RULE", default="percentile:98", help="error that makes an anomaly, of normal validation rows: "
         "percentile:P, sd:K (mean and K standard deviations) or value:V")  # fmt: skip
    flag("--baseline", metavar="NAME", help="method of scikit-learn to stand beside the network (--list baselines)")


def _machine_flags(flag: Any) -> None:
    flag("--device", metavar="NAME", help="cpu, cuda, cuda:N or mps (default cuda where there is one, else cpu)")
    flag("--disable-cuda", help="the same as --device cpu")
    flag("-j", "--workers", type=int, metavar="N", default=0, help="worker processes of data too large for memory (not beats)")
    flag("--deterministic", help="only deterministic kernels, also where they are slower (CUDA)")
    flag("--no-figures", help="test without drawing figures; --test draws them later")
    flag("--confusion-video", metavar="KIND", nargs="?", const="gif", help="show how the confusion matrices of train and "
         "validation evolved, as a gif, or mp4 where ffmpeg is installed, and as a page")  # fmt: skip
    flag("--tensorboard", help="write TensorBoard events into the run folder")
    flag("--verbose", help="say more")
    flag("--debug", help="show the traceback of an error")
# fmt: on


GROUPS = {
    "data": _data_flags,
    "model and run": _model_flags,
    "training": _training_flags,
    "detection of anomalies": _detection_flags,
    "machine and output": _machine_flags,
}
PARSER, DEFAULTS = build_parser()
TYPES = {action.dest: action.type or (bool if action.nargs == 0 else str) for action in PARSER._actions}
LARGEST = 10**9
WEIGHTS = "numbers from 0 to a billion with commas between them, not all 0"
_COUNT = ("from 1 to a billion", lambda value: 1 <= value <= LARGEST)
_NATURAL = ("from 0 to a billion", lambda value: 0 <= value <= LARGEST)
RANGES: dict[str, tuple[str, Callable[[float], bool]]] = {
    **dict.fromkeys(("epochs", "batch_size", "step", "patience", "num_classes"), _COUNT),
    **dict.fromkeys(("workers", "start_epoch", "weight_decay", "grad_clip"), _NATURAL),
    **dict.fromkeys(("lr", "rate_hz"), ("above 0 and finite", lambda value: 0 < value < math.inf)),
    "seed": ("from 0 to 2147483647", lambda value: 0 <= value < 2**31),
    "val_fraction": ("above 0 and below 1", lambda value: 0 < value < 1),
    "lr_decay": ("above 0, at most 1", lambda value: 0 < value <= 1),
    "momentum": ("at least 0, below 1", lambda value: 0 <= value < 1),
}
WORDS = {"version": ("bump", "latest"), "resume": ("best", "latest")}  # or a number


def parse(argv: Sequence[str]) -> dict[str, Any]:
    """What was typed, by name; a UsageError for what cannot be read."""
    return vars(PARSER.parse_args(argv))


def resolve(given: Mapping[str, Any], stored: Mapping[str, Any] | None = None) -> SimpleNamespace:
    """Every flag: as typed, else as the run was started with, else the default. Paths become Paths.

    A stored --data-file is relative to --root-dir, so that both can be moved together.
    """
    kept = {key: value for key, value in (stored or {}).items() if key in DEFAULTS}
    flags = SimpleNamespace(**{**DEFAULTS, **kept, **given})
    flags.root_dir = Path(flags.root_dir)
    if flags.data_file:
        flags.data_file = Path("" if "data_file" in given else os.path.realpath(flags.root_dir), flags.data_file)
    return flags


def changed(given: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What was typed differently from the run it is to go on, where that would make it another run: [the run's, typed]."""
    before = DEFAULTS | stored
    return {key: [before[key], value] for key, value in given.items() if key not in FREE_ON_RESUME and before[key] != value}


def misfits(stored: Mapping[str, Any]) -> list[str]:
    """What is wrong with the flags of a config.json that somebody may have edited."""
    odd = [f"{key} is {value!r}" for key, value in stored.items() if key in DEFAULTS and not _fits(key, value)]
    return odd or complaints({key: value for key, value in stored.items() if key in DEFAULTS})


def _fits(key: str, value: Any) -> bool:
    kind = TYPES[key]
    return (value is None and DEFAULTS[key] is None) or type(value) is kind or (kind is float and type(value) is int)


def complaints(given: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with the flags as typed, quoting each flag and its range. Touches no disk and no device."""
    flags = resolve(given)
    wrong = [f"{_quote(flags, name)}, must be {rule}" for name, (rule, holds) in RANGES.items()
             if getattr(flags, name) is not None and not holds(getattr(flags, name))]  # fmt: skip
    wrong += [f"{_quote(flags, name)}, must be {', '.join(words)} or a number" for name, words in WORDS.items()
              if getattr(flags, name) is not None and not _is_number_or(words, getattr(flags, name))]  # fmt: skip
    wrong += [f"{flag_name(name)} {what}" for name, value in given.items() if name not in WORDS and (what := _unusable(value))]
    wrong += [f"{_quote(flags, 'class_weights')}, must be {WEIGHTS}"] * _bad(flags.class_weights)
    going_on = flags.test or flags.resume
    together = (
        *(
            (getattr(flags, one) and getattr(flags, other), f"{flag_name(one)} and {flag_name(other)} exclude each other")
            for one, other in combinations(("sampler", "class_balance", "class_weights"), 2)
        ),
        (flags.resume and flags.start_epoch and "start_epoch" in given, "--resume and --start-epoch exclude each other"),
        (flags.disable_cuda and flags.device not in (None, "cpu"), "--disable-cuda and --device exclude each other"),
        (going_on and flags.version == "bump", "--version bump makes a new run, --test and --resume need one"),
        (not going_on and flags.version == "latest", "--version latest is a run that is there, say --test or --resume with it"),
        (flags.explore and flags.strict_split, "--explore leaves the test rows closed, --strict-split opens them"),
        (flags.override and not going_on, "--override goes with --resume or --test"),
        (going_on and flags.import_legacy, "--import-legacy makes a new run, --test and --resume need one that is there"),
        (flags.start_epoch >= flags.epochs > 0, f"{_quote(flags, 'start_epoch')}, must be below --epochs, {flags.epochs}"),
    )
    return wrong + [text for broken, text in together if broken]


def flag_name(name: str) -> str:
    """A flag as it is typed."""
    return f"--{name.replace('_', '-')}"


def _quote(flags: SimpleNamespace, name: str) -> str:
    return f"{flag_name(name)} is {str(getattr(flags, name))[:40]}"


def _unusable(value: Any) -> str:
    """What no name and no path can be; "" for what can."""
    if not isinstance(value, str):
        return ""
    if not value or "\0" in value:
        return "is empty" if not value else "has a NUL in it"
    return "has a name of over 255 bytes in it" if max(len(os.fsencode(part)) for part in value.split("/")) > 255 else ""


def _bad(weights: str | None) -> bool:
    try:
        numbers = [float(weight) for weight in weights.split(",")] if weights is not None else [1.0]
    except ValueError:
        return True
    return not (all(0 <= number <= LARGEST for number in numbers) and any(numbers))


def _is_number_or(words: tuple[str, ...], text: str) -> bool:
    return text in words or (text.isascii() and text.isdigit() and len(text) < 10)
