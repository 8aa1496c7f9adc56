"""Flags become the parts of a run: data, device, trainer, config. Imported only once a run is to be made."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from functools import reduce
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

import args
from commands import choices
from loaders import base, get_data, undivided
from loaders.augment import Augment
from loaders.base import Data, DataSpec
from loaders.families import one_class
from loaders.splits import by_row
from loaders.splits.by_row import Fold
from models import get_model
from models.charts import weights
from toolbox import devices, schema
from toolbox.errors import CheckpointError, DataError, DownloadError, UsageError
from toolbox.metrics import ec57
from toolbox.runs.exposure import Exposure
from toolbox.runs.folder import RunFolder, versions
from toolbox.tasks import Classify, Detect, Task, mode
from toolbox.training import optimizers, samplers, transfer
from toolbox.training.optimizers import Schedule, Shape
from trainer import Trainer

DATASETS_BY_DEFAULT = ("ecg", "synth")
# What decides the validation rows and how they are judged: past values of another such setting are no rivals.
DATA = "the data's checksum"
OF_RECORDINGS = ("fold", "leads", "window", "rate", "filter", "normalise", "rr_features", "p_waves", "label_map")
OF_STRIPS = ("drop_labels", "rename_labels", "polarity", "crops", "resample")
EXPORTED_IN_SHORT = 10  # rows of each side that --export-charts draws with --short-run
OF_CHARTS = ("view", "chart_layout", "chart_leads", "chart_size", "chart_style")
OF_DATA = ("split", "label_column", "record_column", "rate_hz", "normal_class", *OF_RECORDINGS, *OF_STRIPS, *OF_CHARTS)
OF_THE_BEGINNING = {"pretrained", "weights_file"}
OF_VALIDATION = {
    DATA, "dataset", "val_fraction", "val_fold", "seed", "split_seed", "monitor", "criterion", "task",
    "decision_weights",
    *OF_DATA,
}  # fmt: skip
OF_ROWS = OF_VALIDATION - {"monitor", "criterion", "decision_weights"}  # which rows train, validate and test
MOST_ROWS, MOST_CHANNELS = 10**10, 4096
# What is read from a config.json, as far as it is not a flag.
CONFIG = {
    "flags": {"optimizer": str, "epochs": schema.Count(1)},
    "given?": [str],
    "data": {
        "checksum": str,
        "split_rule": str,
        **dict.fromkeys(("name?", "view?", "unit?", "source?", "licence?"), str),
        **{name: [str] for name in ("leads?", "classes?", "features?", "scored?", "train_records?", "val_records?")},
        "channels?": schema.Count(1, MOST_CHANNELS),
        "samples?": schema.Count(0, MOST_ROWS),
        "rate_hz?": schema.Number(0),
        "importance?": [schema.Number(0)],
        "image?": schema.Pair(schema.Count(1, MOST_CHANNELS)),
    },
    "overrides?": [{"after_epoch": schema.Count(), "changed": {"*": schema.Pair(schema.ANY)}}],
    "pretrained?": dict,
    "imported?": dict,
}
log = logging.getLogger("commander")


def load_data(flags: SimpleNamespace) -> Data:
    """The dataset asked for, or its stand-in; with --strict-split a DataError where a test row is trained on.

    With --from a UsageError where nobody knows when the beats are.
    """
    data = _find_data(flags)
    if getattr(flags, "from"):
        data.known_rates()
    whole = data.whole or data
    if flags.strict_split and len(whole.shared_rows):
        hint = "take these rows out of one side, or leave --strict-split out"
        raise DataError(by_row.sharing(whole.shared_rows, len(whole.test)), where=data.spec.name, hint=hint)
    return data


def batch_size(flags: SimpleNamespace, data: Data) -> int:
    """Rows a step: as typed or stored, else the default for so many training rows, which is logged where it is
    smaller."""
    rows = len(data.train)
    size = base.batch_size(flags.batch_size, rows)
    if not flags.batch_size and size < base.BATCH_SIZE:
        what = "--batch-size is %d, not %d: %d training rows make %d steps an epoch so; a typed size is kept"
        log.info(what, size, base.BATCH_SIZE, rows, -(-rows // size))
    return size


def ruled(data: Data, config: Mapping[str, Any]) -> Data:
    """The data under the split rule of the run, and under that of a short run where only a part is measured."""
    rule = config["data"]["split_rule"]
    short = data.spec.split_rule.rpartition("; ")[2] if data.whole else ""
    return data.ruled(rule if short in rule else f"{rule}; {short}")


def data_options(flags: SimpleNamespace) -> dict[str, Any]:
    """What of the flags decides the rows of a dataset, as `get_data` takes it."""
    how = {name: getattr(flags, name) for name in ("data_file", "bad_rows", "workers", *OF_DATA)}
    how["seed"] = flags.seed if flags.split_seed is None else flags.split_seed
    how["val_fraction"] = Fold.parse(flags.val_fold) if flags.val_fold else flags.val_fraction
    switches = {name: getattr(flags, name) or None for name in ("rr_features", "p_waves")}
    short = {"short_batch": (flags.batch_size or 0) if flags.short_run else None}
    return how | switches | short | {"detect": flags.task == "detect"}


def _find_data(flags: SimpleNamespace) -> Data:
    """The dataset asked for; where none was and ecg cannot be had, synth, which is said."""
    how = data_options(flags)
    first, fallback = DATASETS_BY_DEFAULT
    if flags.dataset or flags.download or flags.data_file:
        return get_data(flags.dataset or first, flags.root_dir, **how)
    try:
        return get_data(first, flags.root_dir, **how)
    except DownloadError as error:
        log.warning(
            "using %s, generated beats and not patients': ecg cannot be fetched. For the real ones %s",
            fallback,
            error.hint,
        )
        return get_data(fallback, flags.root_dir, **how)


def export_charts(flags: SimpleNamespace) -> Path:
    """Draw train and validation for people, 10 rows of each in a short run; the table that lists the files."""
    from loaders.charts import export

    data = load_data(SimpleNamespace(**{**vars(flags), "view": "signal", "short_run": False}))
    how = {name: getattr(flags, f"chart_{name}") for name in ("layout", "leads", "style")}
    return export.export(data, Path(flags.export_charts), **how, most=EXPORTED_IN_SHORT if flags.short_run else None)


def tested_data(flags: SimpleNamespace, given: Mapping[str, Any], run: RunFolder, config: Mapping[str, Any]) -> Data:
    """All rows of what --test-on names, ten batches where --short-run is typed, as the test side of the run.

    A detector has its own rows beside them, to be fitted to.
    """
    spec, typed = stored_spec(run, config), [name for name in args.OF_THE_TESTED if name in given]
    options = data_options(flags) | ({} if "short_run" in given else {"short_batch": None})
    data = undivided.load(flags.test_on, flags.root_dir, dataset=spec.name, spec=spec, options=options, typed=typed)
    if flags.task != "detect":
        return data
    one_class.check_told_apart(
        data.test, spec.classes, one_class.normal_class(spec.classes, flags.normal_class), flags.test_on
    )
    own = load_data(SimpleNamespace(**{**vars(flags), **{name: config["flags"].get(name) for name in typed}}))
    if own.checksum != config["data"]["checksum"]:
        what = f"{DATA} is {own.checksum[:12]}, the run has {config['data']['checksum'][:12]}"
        raise DataError(
            what, where=str(run.path), hint="the run's own data: a detector is compared with a baseline fitted to them"
        )
    return replace(own, spec=data.spec, open_test=data.open_test, checksum=data.checksum)


def for_a_test(flags: SimpleNamespace) -> SimpleNamespace:
    """The flags without those that need the rows a run was trained on."""
    if flags.task == "detect":
        return flags
    idle = {"sampler": None, "class_balance": None, "class_weights": None, "scheduler": "none"}
    return SimpleNamespace(**{**vars(flags), **idle})


def find_run(flags: SimpleNamespace, among: Sequence[str] = DATASETS_BY_DEFAULT) -> RunFolder:
    """The run to go on with or to test; without --dataset that of the first `among` datasets that has one: ecg, else
    synth."""
    there = [name for name in among if versions(flags.root_dir, name, flags.model_name)]
    dataset = flags.dataset or next(iter(there), DATASETS_BY_DEFAULT[0])
    return RunFolder.find(flags.root_dir, dataset, flags.model_name, flags.version or "latest")


def read_config(run: RunFolder) -> dict[str, Any]:
    """The run's config.json, with the parts that are needed to go on, and flags that can be used."""
    config = run.read_json("config.json")
    what = schema.misfit(config, CONFIG)
    if not what and config["flags"].get("confusion_video") == "mp4":  # earlier versions wrote films
        config["flags"]["confusion_video"] = "gif"
    if what := what or "; ".join(args.misfits(config["flags"])) or _unusable(config["flags"]):
        raise CheckpointError(
            f"config.json: {what}", where=str(run / "config.json"), hint="mend the file, or another --version"
        )
    return config


def _unusable(stored: Mapping[str, Any]) -> str:
    """What no run can have been started with; empty where nothing is."""
    try:
        choices.settle(args.resolve({}, stored))
    except UsageError as error:
        return error.what
    return ""


def stored_spec(run: RunFolder, config: Mapping[str, Any]) -> DataSpec:
    """The facts of the data that a run was trained on, without loading it."""
    stored = config["data"]
    try:
        known = [field.name for field in fields(DataSpec) if field.default is MISSING or field.name in stored]
        facts: dict[str, Any] = {name: stored[name] for name in known}
        facts |= {name: tuple(of) for name, of in facts.items() if isinstance(of, list)}
        return DataSpec(**facts)
    except KeyError as error:
        what, hint = f"config.json lacks {error} of the data", "mend the file, or another --version"
        raise CheckpointError(what, where=str(run / "config.json"), hint=hint) from error


def resume_flags(given: Mapping[str, Any], config: Mapping[str, Any]) -> SimpleNamespace:
    """What was typed over what the run has; another optimizer takes its own rates, not those the run settled on by
    default."""
    stored = dict(config["flags"])
    if given.get("optimizer", stored["optimizer"]) != stored["optimizer"]:
        stored |= {name: None for name in ("lr", "weight_decay") if name not in config.get("given", ())}
    return args.resolve(given, stored)


def same_run(given: Mapping[str, Any], flags: SimpleNamespace, config: Mapping[str, Any], run: RunFolder) -> None:
    """Raise a UsageError where a typed flag is another than the run's, for commands that take the run as it is."""
    differences = args.changed(movable(given, flags.root_dir), config["flags"])
    differences.pop("deterministic", None)  # of the machine, not of the run
    for name, (before, now) in differences.items():
        what = f"{args.flag_name(name)} is {now}, the run was trained with {before}"
        raise UsageError(what, where=str(run.path), hint="leave it out, or another --version")
    check_classes(flags, config["data"].get("name", ""), config["data"].get("classes", ()))


def check_classes(flags: SimpleNamespace, name: str, classes: Sequence[str]) -> None:
    """Raise a UsageError where --num-classes is another number than that of the classes of the dataset `name`."""
    if flags.num_classes not in (None, len(classes)):
        known = f"{len(classes)}: {', '.join(classes)}"
        raise UsageError(f"--num-classes is {flags.num_classes}, {name} has {known}", hint="leave --num-classes out")


def tell_short(given: Mapping[str, Any], flags: SimpleNamespace, run: RunFolder) -> None:
    """Say that a run which is taken as it is was made with --short-run, where nobody types it again: it stays a short
    one."""
    if flags.short_run and not given.get("short_run"):
        what = "%s is a short run, of %d batches an epoch, and stays one; a whole one: --version bump, no --short-run"
        log.warning(what, run.path.name, base.BATCHES)


def permit(differences: Mapping[str, list[Any]], flags: SimpleNamespace, run: RunFolder) -> None:
    """Raise where a run would go on as another one, unless --override says that it shall; of other weights it
    cannot."""
    told = [
        f"{name if name == DATA else args.flag_name(name)} is {now}, the run has {before}"
        for name, (before, now) in differences.items()
    ]
    if differences.keys() & OF_THE_BEGINNING:
        raise UsageError(
            "; ".join(told), where=str(run.path), hint="--version bump: only a new run begins with other weights"
        )
    if told and not flags.override:
        hint = "--version bump for a new run, the run's own value, or --override to change it and have it recorded"
        raise UsageError("; ".join(told), where=str(run.path), hint=hint)
    if told:
        log.warning("overriding: %s; optimizer and schedule begin anew", "; ".join(told))


def build(flags: SimpleNamespace, data: Data) -> Trainer:
    """Network, task, optimizer and schedule, from the flags and the facts of the data."""
    device = devices.pick_device("cpu" if flags.disable_cuda else flags.device, deterministic=flags.deterministic)
    spec = data.spec
    check_classes(flags, spec.name, spec.classes)
    model = network(flags, spec).to(device)
    transfer.TRAIN[flags.train](model)
    task = TASK_BUILDERS[flags.task](flags, data, device)
    trained = transfer.groups(model, flags.backbone_lr)
    optimizer = optimizers.get_optimizer(
        flags.optimizer, trained, lr=flags.lr, momentum=flags.momentum, weight_decay=flags.weight_decay
    )
    size = base.batch_size(flags.batch_size, len(data.train))
    batches = -(-len(data.train) // size) or 1
    batches = min(batches, base.BATCHES) if flags.short_run else batches
    shape = Shape(flags.step, flags.lr_decay, flags.epochs - flags.start_epoch, batches, mode(task.monitor))
    schedule = Schedule(flags.scheduler, optimizer, shape)
    augment = None
    if flags.augment:
        augment = Augment(flags.augment, rate_hz=spec.rate_hz, seed=flags.seed, charts=spec.image is not None)
    trainer = Trainer(
        model,
        task,
        data,
        optimizer,
        schedule,
        device=device,
        batch_size=size,
        seed=flags.seed,
        sampler=flags.sampler,
        grad_clip=flags.grad_clip,
        augment=augment,
        autocast=devices.autocast(device, mixed=flags.mixed_precision),
        short_run=flags.short_run,
    )
    trainer.epoch = flags.start_epoch
    return trainer


def network(flags: SimpleNamespace, spec: DataSpec) -> nn.Module:
    """The network asked for, with the weights that the seed gives it."""
    torch.manual_seed(flags.seed)
    return get_model(flags.model_name, spec, model_args=flags.model_args, members=flags.members)


def pretrain(flags: SimpleNamespace, trainer: Trainer) -> dict[str, Any]:
    """Put the weights that --pretrained or --weights-file names into the network; what was taken, for config.json."""
    if flags.weights_file or flags.pretrained == transfer.IMAGENET:
        return {"pretrained": weights.load(trainer.model, flags.weights_file)}
    if not flags.pretrained:
        return {}
    path = transfer.find(flags.pretrained, flags.root_dir)
    _warn_of_leak(flags, trainer.data, RunFolder(path.parent))
    return {"pretrained": transfer.load(trainer.model, path, trainer.data.spec.classes).as_dict()}


def _classify(flags: SimpleNamespace, data: Data, device: torch.device) -> Classify:
    """The task with the weights of the classes, where they are asked for."""
    spec, classes = data.spec, data.spec.classes
    weights: torch.Tensor | None = None
    if len(classes) < 2:
        raise UsageError(f"{spec.name} has no classes to tell apart", hint="--task detect, or data with labels")
    counts = np.bincount(data.train.y, minlength=len(classes))
    if len(data.train) and (absent := [name for name, rows in zip(classes, counts, strict=True) if not rows]):
        log.warning("no row of %s is in train: its weight is 0, and it cannot be learned", ", ".join(absent))
    if flags.class_balance:
        weights = samplers.class_weights(flags.class_balance, torch.from_numpy(data.train.y), spec.importance)
    if flags.class_weights:
        weights = by_class(flags.class_weights, classes, flag="--class-weights")
    decision = by_class(flags.decision_weights, classes, flag="--decision-weights")
    ec57.macro_classes(classes, args.words(flags.macro_over))  # found wrong before the training, not after it
    weights, decision = (each if each is None else each.to(device) for each in (weights, decision))
    return Classify(
        classes, flags.criterion, weights=weights, decision=decision, monitor=flags.monitor, calibrate=flags.calibrate
    )


def by_class(text: str | None, classes: Sequence[str], *, flag: str) -> torch.Tensor | None:
    """The numbers (K,) of `text`, one a class; None for None, a UsageError where they are too many or too few."""
    if not text:
        return None
    weights = torch.tensor([float(weight) for weight in text.split(",")])
    if len(weights) != len(classes) or not weights.any():
        what = f"{flag} has {len(weights)} numbers, the classes are {', '.join(classes)}"
        raise UsageError(what, hint="a number for each, not all 0")
    return weights


def _detect(flags: SimpleNamespace, data: Data, device: torch.device) -> Detect:
    """The task with the class that the training rows are of."""
    normal = one_class.normal_class(data.spec.classes, flags.normal_class)
    return Detect(data.spec.classes, flags.criterion, normal=normal, monitor=flags.monitor, threshold=flags.threshold)


def dividing(flags: Mapping[str, Any]) -> dict[str, Any]:
    """What decides which rows of a dataset train, validate and test, by flag; the seed is that of the rows."""
    flags = {**args.DEFAULTS, **flags}
    seed = flags["seed"] if flags["split_seed"] is None else flags["split_seed"]
    return {"seed": seed, **{name: flags[name] for name in ("val_fraction", "val_fold", "split", "fold")}}


def _warn_of_leak(flags: SimpleNamespace, data: Data, source: RunFolder) -> None:
    """Say where the run that the weights are from has divided the same data otherwise, and so trained on rows kept
    here."""
    try:
        config = source.read_json("config.json")
        there, same = dividing(config["flags"]), config["data"]["checksum"] == data.checksum
    except (CheckpointError, LookupError, TypeError):
        return
    here = dividing(vars(flags))
    differ = [
        name for name, value in here.items() if value != there[name] and (len(data.val) or not name.startswith("val"))
    ]
    if same and differ:
        told = ", ".join(f"{args.flag_name(name)} {there[name]} there, {here[name]} here" for name in differ)
        log.warning(
            "the weights of %s may have been trained on rows that validate or test here: %s", source.path.name, told
        )


TASK_BUILDERS: dict[str, Callable[[SimpleNamespace, Data, torch.device], Task]] = {
    "classify": _classify,
    "detect": _detect,
}


def kept(flags: SimpleNamespace) -> dict[str, Any]:
    """The flags that describe the run, with what was left to the optimizer's defaults filled in, as plain values."""
    of_the_run = {key: value for key, value in vars(flags).items() if key not in args.OF_THE_COMMAND}
    lr, weight_decay = optimizers.settle(flags.optimizer, flags.lr, flags.weight_decay)
    return movable(of_the_run | {"lr": lr, "weight_decay": weight_decay}, flags.root_dir)


def movable(flags: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Flags as config.json has them: paths relative to `root`, so that both can be moved together; a run's name stays
    one."""
    paths = [name for name in args.PATHS if args.is_path(name, flags.get(name))]
    paths += ["pretrained"] if flags.get("pretrained") and os.path.isabs(flags["pretrained"]) else []
    return {**flags, **{name: os.path.relpath(os.path.realpath(flags[name]), os.path.realpath(root)) for name in paths}}


def describe(flags: SimpleNamespace, given: Mapping[str, Any], trainer: Trainer) -> dict[str, Any]:
    """What a run is: its flags, the versions it ran with, and the data it was trained on."""
    data = trainer.data
    rows = {"train_rows": len(data.train), "val_rows": len(data.val), "dropped_rows": data.train.dropped}
    for side, split in (("train", data.train), ("val", data.val)):
        rows[f"{side}_records"] = np.unique(split.record[split.record != ""]).tolist()
    return {
        "flags": kept(flags),
        "given": sorted(given.keys() - args.OF_THE_COMMAND),
        "versions": devices.versions(),
        "commit": devices.commit(),
        "data": {**data.spec.as_dict(), "checksum": data.checksum, **rows},
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad),
    }


def exposure(run: RunFolder, config: Mapping[str, Any], differences: Mapping[str, Any]) -> Exposure | None:
    """What a run was trained on, where its test rows may not be those of the split it was trained with; else None."""
    changed = set(differences).union(*(note["changed"] for note in config.get("overrides", [])))
    return Exposure.of_run(run) if changed & OF_ROWS else None


def remember(flags: SimpleNamespace, run: RunFolder, data: Data, before: Sequence[Exposure] = ()) -> None:
    """Keep in the run's folder what it is trained and validated on, `before` too, and what its pretrained weights
    were."""
    known = [Exposure.of(data.train, data.val), *before]
    if flags.pretrained and flags.pretrained != transfer.IMAGENET:
        source = RunFolder(transfer.find(flags.pretrained, flags.root_dir).parent)
        known.append(Exposure.of_run(source))
    reduce(Exposure.joined, known).save(run)


def gone_on(
    config: dict[str, Any],
    flags: SimpleNamespace,
    given: Mapping[str, Any],
    trainer: Trainer,
    differences: Mapping[str, Any],
) -> dict[str, Any]:
    """The config of a run that goes on: as it was, or, overridden, as it is now with a note of what changed when.

    Changes that came after the checkpoint from which it goes on hold from there.
    """
    if not differences:
        free = {name: getattr(flags, name) for name in ("epochs", "patience", "start_epoch")}
        notes = [
            {**note, "after_epoch": min(note["after_epoch"], trainer.epoch)} for note in config.get("overrides", [])
        ]
        return config | {"flags": config["flags"] | free} | ({"overrides": notes} if notes else {})
    note = {"after_epoch": trainer.epoch, "changed": differences}
    begun = {"pretrained": config["pretrained"]} if "pretrained" in config else {}
    return describe(flags, given, trainer) | begun | {"overrides": [*config.get("overrides", []), note]}
