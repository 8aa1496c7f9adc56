"""Looks up the names in flags in flat dicts, and fills in the defaults of the task."""

import logging
from collections import ChainMap
from collections.abc import Collection, Mapping
from typing import Any

import args
from loaders import DATASETS, VIEWS, augment
from loaders.base import Data
from loaders.formats.csv.rows import BAD_ROWS
from loaders.formats.label_columns import ONE
from loaders.splits import Fold
from models import ENCODERS, FORMS, NETWORKS, VISION, check_view, parse_args
from toolbox import devices
from toolbox.errors import UsageError
from toolbox.explain import methods
from toolbox.flags import Flags, words
from toolbox.metrics import classification, labels, meanings
from toolbox.paper import layouts
from toolbox.paper.drawing import Style
from toolbox.registry import pick
from toolbox.reports import animation
from toolbox.runs import exchange
from toolbox.tasks import LAST, TASKS, detect
from toolbox.training import baselines, losses, optimizers, recorders, samplers, transfer

TABLES: dict[str, Mapping[str, Any]] = {
    "datasets": DATASETS,
    "models": NETWORKS,
    "encoders": ENCODERS,
    "optimizers": optimizers.OPTIMIZERS,
    "schedulers": optimizers.SCHEDULERS,
    "losses": ChainMap(losses.RECONSTRUCTION, losses.LABEL_LOSSES, losses.LOSSES),
    "samplers": samplers.SAMPLERS,
    "metrics": ChainMap({LAST: None}, labels.EVERY),
    "augmentations": augment.AUGMENTATIONS,
    "baselines": baselines.BASELINES,
    "explainers": methods.EXPLAINERS,
}
# Not printed by --list.
SHORT_TABLES: dict[str, Mapping[str, Any]] = {
    "bad rows": BAD_ROWS,
    "balances": samplers.BALANCES,
    "formats": exchange.FORMATS,
    "forms": dict.fromkeys(FORMS),
    "films": {"gif": animation.save_confusion_video},
    "inputs": dict.fromkeys(("rows", "recordings")),
    "parts": transfer.TRAIN,
    "precisions": dict.fromkeys(devices.PRECISIONS),
    "splits": dict.fromkeys(("val", "test")),
    "tasks": TASKS,
    "views": VIEWS,
}
# By flag without its leading dashes.
CHOICES = {flag.typed.lstrip("-"): (TABLES | SHORT_TABLES)[flag.choices] for flag in args.FLAGS if flag.choices}
LOSSES = {"classify": ChainMap(losses.LABEL_LOSSES, losses.LOSSES), "detect": losses.RECONSTRUCTION}
ON_CHARTS = "resnet18"  # the default network for charts
log = logging.getLogger("commander")


def names(what: str) -> list[str]:
    """The names that --list `what` prints. Raises UsageError for another word, with the table that is meant."""
    asked = {what, what.removesuffix("s")}
    meant = [flag.choices for flag in args.FLAGS if asked & {flag.name, *flag.elsewhere.split()}]
    if what not in TABLES and (near := [table for table in meant if table in TABLES]):
        raise UsageError(f"unknown --list '{what}'; known are {', '.join(TABLES)}", hint=f"--list {near[0]}")
    return list(pick("list", TABLES, what))


def networks(task: str) -> list[str]:
    """The networks of a task."""
    return [name for name, network in NETWORKS.items() if network.task == task]


def look_up(flags: Flags) -> None:
    """Raise a UsageError for an unknown name, with the nearest known ones."""
    for flag, table in CHOICES.items():
        name = getattr(flags, flag.replace("-", "_"))
        if name is not None:
            pick(flag, table, name)


def task_defaults(task: str) -> dict[str, str]:
    """The defaults of the flags that depend on the task, by flag."""
    return {flag.name: flag.by_task[task] for flag in args.FLAGS if task in flag.by_task}


def settle(flags: Flags) -> Flags:
    """The flags with the defaults of the task. Checks all names and values, before anything is read or written."""
    look_up(flags)
    task = flags.task or (NETWORKS[flags.model_name].task if flags.model_name else "classify")
    for flag in args.FLAGS:
        if flag.task not in ("", task) and getattr(flags, flag.name) != args.FLAGS.defaults[flag.name]:
            what = f"{flag.typed} is only valid with --task {flag.task}"
            raise UsageError(what, hint=f"--task {flag.task}, or leave it out")
    recorders.check(words(flags.log_to) or [])
    if flags.val_fold:
        Fold.parse(flags.val_fold)
    defaults = task_defaults(task) | ({"model_name": ON_CHARTS} if flags.view == "chart" else {})
    if not flags.val_fraction:
        _check_without_validation(flags, task)
        defaults["monitor"] = LAST
    flags = flags.replace(task=task, **{name: getattr(flags, name) or value for name, value in defaults.items()})
    if flags.model_name not in networks(task):
        what = f"{flags.model_name} is not a network for --task {task}; available: {', '.join(networks(task))}"
        raise UsageError(what, hint="another --task")
    pick("criterion", LOSSES[task], flags.criterion)
    published = {"networks for charts": VISION} | ({} if flags.weights_file else {"encoders": ENCODERS})
    if (flags.weights_file or flags.pretrained == transfer.IMAGENET) and not any(
        flags.model_name in table for table in published.values()
    ):
        typed = "--weights-file" if flags.weights_file else "--pretrained without a run"
        known = " and ".join(f"{what} ({', '.join(table)})" for what, table in published.items())
        what = f"{typed} is only valid with {known}, not with {flags.model_name}"
        raise UsageError(what, hint="--pretrained RUN, or leave it out")
    contract = NETWORKS[flags.model_name].contract
    if contract and flags.filter not in (None, contract.filter):
        what = f"{flags.model_name} takes rows with the filter {contract.filter}, --filter is {flags.filter}"
        raise UsageError(what, hint=f"--filter {contract.filter}")
    if flags.train == transfer.PROBE:
        flags = _probing(flags)
    parse_args(flags.model_name, flags.model_args)
    detect.parse(flags.threshold)
    if flags.augment:
        augment.parse(flags.augment)
    _check_charts(flags)
    return flags


def _probing(flags: Flags) -> Flags:
    """The flags of --train probe, with an epoch for each regularisation. Raises UsageError for flags of steps."""
    from commands.probe import EPOCHS

    if not (flags.pretrained or flags.resume or flags.version not in (None, "bump")):
        what = "--train probe needs trained features, and no --pretrained is typed"
        raise UsageError(what, hint="--pretrained RUN or FILE; random weights are tested too")
    for name in args.FLAGS.names("steps"):
        if getattr(flags, name) != args.FLAGS.defaults[name]:
            what = f"{args.flag_name(name)} is for training in steps, --train probe has none"
            raise UsageError(what, hint="leave it out")
    if flags.members > 1:
        raise UsageError("--train probe is for one network, not for a committee", hint="--members 1")
    if flags.epochs not in (args.FLAGS.defaults["epochs"], EPOCHS):
        what = f"--epochs is {flags.epochs}, --train probe has one for each of {EPOCHS} regularisations"
        raise UsageError(what, hint="leave it out")
    return flags.replace(epochs=EPOCHS, scheduler="none")


def for_rows(flags: Flags, typed: Collection[str], data: Data) -> Flags:
    """The settled flags of a new run, once its rows are known: with many labels the defaults of these in place of those
    that were not `typed`. Raises UsageError for a loss, a metric or a flag that does not go with the rows.
    """
    if flags.task != "classify":
        return flags
    many_labels = data.spec.many_labels
    if many_labels:
        defaults = task_defaults("labels") | ({} if flags.val_fraction else {"monitor": LAST})
        flags = flags.replace(**{name: value for name, value in defaults.items() if name not in typed})
        if odd := [name for name in args.FLAGS.names("one-label") if getattr(flags, name)]:
            what = f"{args.flag_name(odd[0])} is of rows with one class each, these have many labels"
            raise UsageError(what, hint="leave it out")
    rows = "many labels a row" if many_labels else "one class a row"
    metrics = labels if many_labels else classification
    own = many_labels and flags.dataset == "table"
    one = f"; --label-column {ONE}COLUMNS for one class a row" if own else ""
    _check_fits("criterion", flags.criterion, losses.LABEL_LOSSES if many_labels else losses.LOSSES, rows, one)
    _check_fits("monitor", flags.monitor, {LAST: None, **metrics.METRICS}, rows, one)
    return monitored(flags, typed, data)


def monitored(flags: Flags, typed: Collection[str], data: Data) -> Flags:
    """The flags of a classifier with a metric to monitor that validation defines; warns of classes that it cannot
    measure. Raises UsageError for a `typed` metric that it does not define."""
    many_labels = data.spec.many_labels
    metrics = labels if many_labels else classification
    if len(data.val) and not metrics.defined(flags.monitor, data.val.y):
        if "monitor" in typed:
            what = f"--monitor {flags.monitor} is not defined on the validation rows"
            why = _unmeasured(data) if many_labels else "they are of one class"
            raise UsageError(f"{what}: {why}", hint="--monitor loss, or other validation rows")
        log.warning("%s; loss is monitored in place of %s", _unmeasured(data), meanings.name_of(flags.monitor))
        return flags.replace(monitor="loss")
    if many_labels and len(data.val) and (why := _unmeasured(data)):
        over = "" if flags.monitor not in labels.MACRO else f"; {meanings.name_of(flags.monitor)} is over the others"
        log.warning("%s%s", why, over)
    return flags


def _unmeasured(data: Data) -> str:
    """The classes that validation cannot measure, of many labels a row, and the reasons; "" for none."""
    lacking, classes = labels.left_out(data.val.y, data.spec.classes), data.spec.classes
    names = {why: [name for name, own in lacking.items() if own == why] for why in dict.fromkeys(lacking.values())}
    listed = "; ".join(f"{why} of {', '.join(own)}" for why, own in names.items())
    count = "any" if len(lacking) == len(classes) else f"{len(lacking)}"
    return f"validation cannot measure {count} of {len(classes)} classes ({listed})" if lacking else ""


def _check_fits(name: str, value: str, known: Mapping[str, Any], rows: str, hint: str) -> None:
    if value not in known:
        what = f"{args.flag_name(name)} {value} does not go with {rows}; known are {', '.join(known)}"
        raise UsageError(what, hint=f"one of them, or leave it out{hint}")


def _check_without_validation(flags: Flags, task: str) -> None:
    """Raise a UsageError for a flag that needs validation rows."""
    needs = (
        (flags.monitor not in (None, LAST), f"--monitor {flags.monitor}"),
        (flags.calibrate, "--calibrate"),
        (flags.train == transfer.PROBE, "--train probe"),
        (flags.patience is not None, "--patience"),
        (flags.scheduler == "ReduceLROnPlateau", "--scheduler ReduceLROnPlateau"),
        (task == "detect", "--task detect"),
    )
    if asked := [what for there, what in needs if there]:
        hint = "--monitor epoch, for the last epoch, or a --val-fraction above 0"
        raise UsageError(f"{asked[0]} needs validation rows, --val-fraction 0 keeps none", hint=hint)


def of_charts(where: str = "") -> UsageError:
    """The error of --predict with a run on charts."""
    what = "--predict reads signals: recordings and rows; a network of charts is scored by --test and --test-on"
    return UsageError(
        what, where=where, hint="a run that was trained without --view chart, or --export for your own code"
    )


def _check_charts(flags: Flags) -> None:
    charts = flags.view == "chart"
    if flags.chart_layout:
        layouts.parse(flags.chart_layout)
    Style.of(flags.chart_style)
    for name in args.FLAGS.names(view="signal"):
        if charts and name == "predict" and flags.predict:
            raise of_charts()
        if charts and getattr(flags, name):
            raise UsageError(f"{args.flag_name(name)} is only valid with --view signal", hint="leave one of them out")
    if flags.resume or any(flag.mode and getattr(flags, flag.name) for flag in args.FLAGS):
        return  # config.json has an existing run's view, and data alone needs no network
    check_view(flags.model_name, charts=charts)
    if flags.augment:
        augment.check(augment.parse(flags.augment), charts=charts)
