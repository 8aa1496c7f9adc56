"""Every choice a user makes by name: the flag, and the flat dict that the name is looked up in."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from loaders import DATASETS, VIEWS, augment
from loaders.formats.csv.rows import BAD_ROWS
from loaders.splits.by_row import Fold
from models import AUTOENCODERS, CLASSIFIERS, MODELS, VISION, check_view, parse_args
from toolbox import tasks as thresholds
from toolbox.errors import UsageError
from toolbox.explain import methods
from toolbox.metrics import classification
from toolbox.paper import layouts
from toolbox.paper.pen import Style
from toolbox.registry import pick
from toolbox.reports import animation
from toolbox.tasks import LAST, TASKS
from toolbox.training import baselines, losses, optimizers, samplers, transfer

CHOICES: dict[str, Mapping[str, Any]] = {
    "dataset": DATASETS,
    "bad-rows": BAD_ROWS,
    "view": VIEWS,
    "task": TASKS,
    "model-name": MODELS,
    "train": transfer.TRAIN,
    "optimizer": optimizers.OPTIMIZERS,
    "scheduler": optimizers.SCHEDULERS,
    "criterion": losses.LOSSES,
    "sampler": samplers.SAMPLERS,
    "class-balance": samplers.BALANCES,
    "monitor": dict.fromkeys((*classification.METRICS, LAST)),
    "baseline": baselines.BASELINES,
    "confusion-video": {"gif": animation.save_confusion_video},
    "explain": methods.EXPLAINERS,
    "explain-rows": dict.fromkeys(("val", "test")),
}
# What each task has of its own, and what it takes where nothing is typed.
NETWORKS: dict[str, Mapping[str, Any]] = {"classify": CLASSIFIERS, "detect": AUTOENCODERS}
DEFAULTS = {
    "classify": {"model_name": "resnet1d_10", "criterion": "crossentropy", "monitor": "macro_f1"},
    "detect": {"model_name": "conv_ae", "criterion": "l1", "monitor": "loss", "baseline": "nearest_neighbours"},
}
ON_CHARTS = "resnet18"  # where nobody names a network
# What only one task has a use for, and what it is where nobody typed it.
OF_CLASSES: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("sampler", "class_balance", "class_weights", "decision_weights", "confusion_video"), (None,)),
    "members": (1,),
    **dict.fromkeys(("rr_features", "p_waves"), (False,)),
    "view": ("signal",),
}
OF_ONE_CLASS: dict[str, tuple[Any, ...]] = {
    "normal_class": (None,),
    "baseline": (None,),
    "threshold": (thresholds.DEFAULT,),
}
FOREIGN = {
    "detect": (OF_CLASSES, "is for classes, --task detect learns one alone", "leave it out"),
    "classify": (OF_ONE_CLASS, "is for --task detect, this one is to classify", "--task detect, or leave it out"),
}
# What is for signals, where rows are charts.
OF_SIGNALS = {
    "explore": ("--explore draws signals", "--export-charts DIR"),
    "predict": ("--predict reads recordings as signals", "a run that was trained without --view chart"),
    "resample": ("--resample changes the rate of crops, a chart is drawn as it was recorded", "leave it out"),
}
# The words of --list.
LISTS = {
    "datasets": "dataset",
    "models": "model-name",
    "optimizers": "optimizer",
    "schedulers": "scheduler",
    "losses": "criterion",
    "samplers": "sampler",
    "metrics": "monitor",
    "baselines": "baseline",
    "explainers": "explain",
}


def names(what: str) -> list[str]:
    """The names that --list `what` prints."""
    if what == "augmentations":
        return list(augment.AUGMENTATIONS)
    return list(CHOICES[pick("list", {**LISTS, "augmentations": ""}, what)])


def look_up(flags: SimpleNamespace) -> None:
    """Raise a UsageError where a name is not known, with the nearest ones."""
    for flag, table in CHOICES.items():
        name = getattr(flags, flag.replace("-", "_"))
        if name is not None:
            pick(flag, table, name)


def settle(flags: SimpleNamespace) -> SimpleNamespace:
    """Look up every name, so that an unknown one is an error before anything is made or read; fill in what the task
    decides."""
    look_up(flags)
    flags.task = flags.task or ("detect" if flags.model_name in AUTOENCODERS else "classify")
    foreign, why, hint = FOREIGN[flags.task]
    if typed := [name for name, untyped in foreign.items() if getattr(flags, name) not in untyped]:
        raise UsageError(f"--{typed[0].replace('_', '-')} {why}", hint=hint)
    if flags.val_fold:
        Fold.parse(flags.val_fold)
    if not flags.val_fraction:
        _without_validation(flags)
    if flags.view == "chart":
        flags.model_name = flags.model_name or ON_CHARTS
    for name, value in DEFAULTS[flags.task].items():
        setattr(flags, name, getattr(flags, name) or value)
    if flags.model_name not in NETWORKS[flags.task]:
        known = ", ".join(NETWORKS[flags.task])
        raise UsageError(
            f"{flags.model_name} is no network to {flags.task} with; those are {known}", hint="another --task"
        )
    if (flags.weights_file or flags.pretrained == transfer.IMAGENET) and flags.model_name not in VISION:
        asked = "--weights-file" if flags.weights_file else "--pretrained without a run"
        what = (
            f"{asked} is for networks for charts, whose weights are published: {', '.join(VISION)}; not for"
            f" {flags.model_name}"
        )
        raise UsageError(what, hint="--pretrained RUN, or leave it out")
    parse_args(flags.model_name, flags.model_args)
    thresholds.parse(flags.threshold)
    if flags.augment:
        augment.parse(flags.augment)
    _settle_charts(flags)
    return flags


def _without_validation(flags: SimpleNamespace) -> None:
    """Take the last epoch for the best; a UsageError where something is asked for that only validation rows can
    decide."""
    needs = {
        f"--monitor {flags.monitor}": flags.monitor not in (None, LAST),
        "--calibrate": flags.calibrate,
        "--patience": flags.patience is not None,
        "--scheduler ReduceLROnPlateau": flags.scheduler == "ReduceLROnPlateau",
        "--task detect": flags.task == "detect",
    }
    if asked := [name for name, there in needs.items() if there]:
        hint = "--monitor epoch, which takes the last one, or a part for validation"
        raise UsageError(f"{asked[0]} needs validation rows, --val-fraction 0 keeps none", hint=hint)
    flags.monitor = LAST


def _settle_charts(flags: SimpleNamespace) -> None:
    charts = flags.view == "chart"
    if flags.chart_layout:
        layouts.parse(flags.chart_layout)
    Style.of(flags.chart_style)
    for name, (what, hint) in OF_SIGNALS.items():
        if charts and getattr(flags, name):
            raise UsageError(f"{what}, not with --view chart", hint=hint)
    if any(
        getattr(flags, name)
        for name in ("test", "resume", "predict", "explain", "download", "explore", "export_charts")
    ):
        return  # a run that is there knows its view, and data alone needs no network
    check_view(flags.model_name, charts=charts)
    if flags.augment:
        augment.check(augment.parse(flags.augment), charts=charts)
