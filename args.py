"""Every flag, in groups: what it means, its unit and default, and what may not go together.

`parse` returns only what was typed; `resolve` puts it over a run's own config and the defaults; `complaints` checks it all.
Imports the standard library alone, so that --help answers at once. Names (models, datasets, ...) are looked up later.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
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
OF_THE_COMMAND = {"root_dir", "version", "resume", "test", "list", "download", "debug", "verbose"}
# What a run may change when it goes on; anything else would make it another run.
FREE_ON_RESUME = OF_THE_COMMAND | {"data_file", "epochs", "patience", "workers", "device", "disable_cuda", "tensorboard"}
DEFAULTS: dict[str, Any] = {}


class Parser(argparse.ArgumentParser):
    """An argparse parser whose mistakes are UsageErrors."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint="python commander.py --help")


def build_parser() -> Parser:
    """Declare every flag once; defaults are kept in DEFAULTS, so that what was typed can be told from what was not."""
    parser = Parser("commander.py", description="From raw heart recordings to a model whose numbers can be trusted.", allow_abbrev=False,
                    argument_default=argparse.SUPPRESS, epilog="A resumed or tested run takes what is not typed from its own config.json.")

    def group(title: str) -> Any:
        section = parser.add_argument_group(title)

        def flag(*names: str, default: Any = None, help: str, **how: Any) -> None:
            shown = "" if default is None or default is False else f" (default {default})"
            action = section.add_argument(*names, help=help + shown, **how)
            DEFAULTS[action.dest] = default
        return flag

    _data_flags(group("data"))
    _model_flags(group("model and run"))
    _training_flags(group("training"))
    _machine_flags(group("machine and output"))
    return parser


def _data_flags(flag: Any) -> None:
    flag("--dataset", metavar="NAME", help="dataset by name (--list datasets); left out it is ecg, or synth where ecg cannot be had")
    flag("--root-dir", metavar="DIR", default="ecg_data", help="folder of data and runs")
    flag("--data-file", metavar="PATH", help="folder or zip with the dataset's files, the PhysioNet MIT-BIH zip or folder included")
    flag("--download", action="store_true", default=False, help="fetch, check and parse the dataset, then stop (for machines that go offline)")
    flag("--val-fraction", type=float, metavar="F", default=0.1, help="part of the training rows set aside for validation, above 0, below 1")
    flag("--num-classes", type=int, metavar="K", help="classes of the dataset; only checked, the dataset knows them")


def _model_flags(flag: Any) -> None:
    flag("--model-name", metavar="NAME", default="resnet1d_10", help="network by name (--list models)")
    flag("--pretrained", action="store_true", default=False, help="start from published weights, where a network has them")
    flag("--version", metavar="V", help="bump: a new run; latest or a number: that run (default bump to train, latest to test or resume)")
    flag("--resume", metavar="WHICH", help="go on from, or test, the checkpoint best, latest or of epoch N (every 5th is kept)")
    flag("--start-epoch", type=int, metavar="N", default=0, help="epochs counted as done when a new run starts")
    flag("--test", action="store_true", default=False, help="test a trained run (its best checkpoint unless --resume says another)")
    flag("--list", metavar="WHAT", help="print the names of datasets, models, optimizers, schedulers, losses, samplers or metrics, and stop")


def _training_flags(flag: Any) -> None:
    flag("--epochs", type=int, metavar="N", default=20, help="passes over the training rows, in all")
    flag("--batch-size", type=int, metavar="B", default=128, help="rows a step")
    flag("--optimizer", metavar="NAME", default="adamw", help="sgd, adam or adamw")
    flag("--lr", type=float, metavar="LR", help="(highest) learning rate (default 0.003 for adam and adamw, 0.05 for sgd)")
    flag("--momentum", type=float, metavar="M", default=0.9, help="momentum of sgd, beta 1 of adam and adamw")
    flag("--weight-decay", "--wd", type=float, metavar="WD", help="weight decay (default 0.01 for adamw, 0.0001 for sgd, 0 for adam)")
    flag("--scheduler", metavar="NAME", default="OneCycleLR",
         help="learning-rate schedule: StepLR, ExponentialLR, ReduceLROnPlateau, CosineAnnealingLR, OneCycleLR or none")
    flag("--step", type=int, metavar="N", default=5, help="epochs between steps of StepLR, epochs of patience of ReduceLROnPlateau")
    flag("--lr-decay", type=float, metavar="G", default=0.5, help="factor of a step of StepLR, ExponentialLR and ReduceLROnPlateau")
    flag("--criterion", metavar="NAME", default="crossentropy", help="loss: crossentropy, nll, bce, focal, mse or l1")
    flag("--class-balance", metavar="HOW", help="weigh the training loss by class: equal shares, or by importance")
    flag("--sampler", metavar="HOW", help="draw training rows by class: equal shares, or by importance; else every row once, shuffled")
    flag("--grad-clip", type=float, metavar="NORM", help="largest norm of the gradient in a step (default no limit)")
    flag("--monitor", metavar="METRIC", default="macro_f1", help="validation metric that decides the best epoch, plateaus and --patience")
    flag("--patience", type=int, metavar="N", help="stop after N epochs without a better one (default never)")
    flag("--seed", type=int, metavar="S", default=42, help="of weights, order and validation rows")
    flag("--short-run", action="store_true", default=False, help="the whole pipeline on 10 batches an epoch, to try things out")


def _machine_flags(flag: Any) -> None:
    flag("--device", metavar="NAME", help="cpu, cuda, cuda:N or mps (default cuda where there is one, else cpu)")
    flag("--disable-cuda", action="store_true", default=False, help="the same as --device cpu")
    flag("-j", "--workers", type=int, metavar="N", default=0, help="worker processes of datasets that do not fit into memory; beats need none")
    flag("--deterministic", action="store_true", default=False, help="only deterministic kernels, also where they are slower (CUDA)")
    flag("--tensorboard", action="store_true", default=False, help="write TensorBoard events into the run folder")
    flag("--verbose", action="store_true", default=False, help="say more")
    flag("--debug", action="store_true", default=False, help="show the traceback of an error")


def parse(argv: Sequence[str]) -> dict[str, Any]:
    """What was typed, by name; a UsageError for what cannot be read."""
    return vars(build_parser().parse_args(argv))


def resolve(given: Mapping[str, Any], stored: Mapping[str, Any] | None = None) -> SimpleNamespace:
    """Every flag: as typed, else as the run was started with, else the default. Paths become Paths."""
    kept = {key: value for key, value in (stored or {}).items() if key in DEFAULTS}
    flags = SimpleNamespace(**{**DEFAULTS, **kept, **given})
    flags.root_dir = Path(flags.root_dir)
    flags.data_file = Path(flags.data_file) if flags.data_file else None
    return flags


def changed(given: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """What was typed differently from the run it is to go on, where that would make it another run."""
    return [f"--{key.replace('_', '-')} is {value}, the run has {stored[key]}" for key, value in given.items()
            if key in stored and key not in FREE_ON_RESUME and stored[key] != value]


def complaints(given: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with the flags as typed, quoting each flag and its range. Touches no disk and no device."""
    flags = resolve(given)
    checks = [
        (flags.sampler and flags.class_balance, "--sampler and --class-balance exclude each other"),
        (flags.resume and flags.start_epoch, "--start-epoch and --resume exclude each other"),
        (flags.start_epoch >= flags.epochs > 0, f"--start-epoch is {flags.start_epoch}, must be below --epochs, {flags.epochs}"),
        (flags.disable_cuda and flags.device not in (None, "cpu"), "--disable-cuda and --device exclude each other"),
        (flags.test and flags.version == "bump", "--test needs a run that is there, --version bump makes a new one"),
        (flags.resume and flags.version == "bump", "--resume needs a run that is there, --version bump makes a new one"),
        (flags.version is not None and not _is_one_of(flags.version, "bump", "latest"), f"--version is {flags.version}, must be bump, latest or a number"),
        (flags.resume is not None and not _is_one_of(flags.resume, "best", "latest"), f"--resume is {flags.resume}, must be best, latest or an epoch"),
    ]
    ranges = [("epochs", 1, None), ("batch_size", 1, None), ("step", 1, None), ("patience", 1, None), ("num_classes", 1, None),
              ("workers", 0, None), ("seed", 0, 2**31 - 1), ("start_epoch", 0, None), ("weight_decay", 0, None)]
    wrong = [text for failed, text in checks if failed]
    wrong += [_complain(flags, name, f"at least {low}" + (f", at most {high}" if high else "")) for name, low, high in ranges
              if (value := getattr(flags, name)) is not None and not (low <= value <= (high or math.inf) and math.isfinite(value))]
    wrong += [_complain(flags, name, f"above {low}" + (f", {closed}" if closed else "")) for name, low, high, closed in
              (("lr", 0, math.inf, ""), ("grad_clip", 0, math.inf, ""), ("val_fraction", 0, 1, "below 1"), ("lr_decay", 0, 1 + 1e-12, "at most 1"))
              if (value := getattr(flags, name)) is not None and not (low < value < high)]
    if not 0 <= flags.momentum < 1:
        wrong.append(_complain(flags, "momentum", "at least 0, below 1"))
    return wrong


def _complain(flags: SimpleNamespace, name: str, rule: str) -> str:
    return f"--{name.replace('_', '-')} is {getattr(flags, name)}, must be {rule}"


def _is_one_of(text: str, *words: str) -> bool:
    return text in words or (text.isascii() and text.isdigit() and len(text) < 10)
