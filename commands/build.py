"""Makes the parts of a run from flags: data, device, trainer, config.json."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

import args
from commands.probe import Probe
from loaders import BY_DEFAULT, DATASETS, base, fraction, get_data, option_names, options_of
from loaders.augment import AUGMENTATIONS, Augment
from loaders.base import Data, DataSpec
from loaders.declaration import ChartOptions
from loaders.families.rows import normal_class
from loaders.splits import Fold, sharing
from models import ENCODERS, get_model
from models.charts import vision
from models.encoders import published
from models.encoders.encoder import Encoder
from toolbox import devices, files, plugins
from toolbox.errors import CheckpointError, DataError, DownloadError, UsageError
from toolbox.flags import DATA, Flags, seconds, words
from toolbox.metrics import ec57
from toolbox.runs.best import mode
from toolbox.runs.exposure import Exposure
from toolbox.runs.folder import CONFIG, RunFolder
from toolbox.tasks import Classify, ClassifyLabels, Detect, Task
from toolbox.training import optimizers, samplers, threads, transfer
from toolbox.training.optimizers import Schedule, Shape
from toolbox.training.recorders import About
from trainer import Trainer

CHECKSUM = "the data's checksum"
log = logging.getLogger("commander")


def load_data(flags: Flags) -> Data:
    """The dataset of the flags, or synth in place of ecg.

    Raises DataError with --strict-split if a test row is also in train or validation, UsageError with --from if the
    times of the beats are unknown.
    """
    data = fraction.of(_find_data(flags), flags.label_fraction, split_seed(flags))
    if getattr(flags, "from"):
        data.known_rates()
    whole = data.whole or data
    if flags.strict_split and len(whole.shared_rows):
        hint = "remove these rows from one split, or leave --strict-split out"
        raise DataError(sharing(whole.shared_rows, len(whole.test)), where=data.spec.name, hint=hint)
    return data


def batch_size(flags: Flags, data: Data) -> int:
    """Rows a step: as typed or stored, else the default for this number of training rows; logs a reduced one."""
    rows = len(data.train)
    size = base.batch_size(flags.batch_size, rows)
    if not flags.batch_size and size < base.BATCH_SIZE:
        what = "--batch-size reduced to %d from %d: %d training rows make %d steps an epoch; type a size to keep it"
        log.info(what, size, base.BATCH_SIZE, rows, -(-rows // size))
    return size


def data_options(flags: Flags) -> dict[str, Any]:
    """The options of `get_data` that decide the rows of a dataset."""
    options = {name: getattr(flags, name) for name in args.FLAGS.names(family="any")} | family_options(flags)
    options["val_fraction"] = Fold.parse(flags.val_fold) if flags.val_fold else flags.val_fraction
    drawn = {"chart": chart_options(flags), "short_batch": short_batch(flags)}
    return options | drawn | {"seed": split_seed(flags), "detect": flags.task == "detect"}


def family_options(flags: Flags) -> dict[str, Any]:
    """The flags that are options of some dataset and not at their default, by name."""
    values = {name: getattr(flags, name) for name in option_names()}
    return {name: value for name, value in values.items() if value != args.FLAGS.defaults[name]}


def options_for(name: str, flags: Flags) -> Any:
    """The options of the family of the dataset `name`, None for an unknown dataset."""
    return options_of(name, family_options(flags))[0] if name in DATASETS else None


def split_seed(flags: Flags) -> int:
    """The seed of train, validation and test."""
    return flags.seed if flags.split_seed is None else flags.split_seed


def short_batch(flags: Flags) -> int | None:
    """The batch size of a short run, 0 for the default; None for a whole run."""
    return (flags.batch_size or 0) if flags.short_run else None


def chart_options(flags: Flags) -> ChartOptions:
    """The chart options of the flags."""
    return ChartOptions(flags.chart_layout, flags.chart_leads, flags.chart_size, flags.chart_style)


def _find_data(flags: Flags) -> Data:
    """The dataset of the flags; without --dataset ecg or, with a warning if ecg cannot be downloaded, synth."""
    options = data_options(flags)
    first, fallback = BY_DEFAULT
    try:
        return get_data(flags.dataset or first, flags.root_dir, **options)
    except DownloadError as error:
        if flags.dataset or flags.download or flags.data_file:
            raise
        what = "using %s, generated beats and not patients': ecg cannot be fetched. For the real ones %s"
        log.warning(what, fallback, error.hint)
        return get_data(fallback, flags.root_dir, **options)


def check_classes(flags: Flags, name: str, classes: Sequence[str]) -> None:
    """Raise a UsageError if --num-classes differs from the number of classes of the dataset `name`."""
    if flags.num_classes not in (None, len(classes)):
        known = f"{len(classes)}: {', '.join(classes)}"
        raise UsageError(f"--num-classes is {flags.num_classes}, {name} has {known}", hint="leave --num-classes out")


def build(flags: Flags, data: Data) -> Trainer:
    """A trainer with network, task, optimizer and schedule, from the flags and the facts of the data."""
    device, spec = device_of(flags), data.spec
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
    augment = _augment(flags, spec)
    kind: Callable[..., Trainer] = Trainer
    if flags.train == transfer.PROBE:
        cache, named = Path(flags.root_dir, spec.name, "cache"), f"{flags.model_name} {flags.model_args} {flags.form}"
        kind = partial(Probe, cache=cache, named=named)
    trainer = kind(
        model,
        task,
        data,
        optimizer,
        schedule,
        device=device,
        seed=flags.seed,
        sampler=flags.sampler,
        grad_clip=flags.grad_clip,
        short_run=flags.short_run,
        batch_size=size,
        augment=augment,
        autocast=devices.autocast(device, flags.precision),
    )
    trainer.epoch = flags.start_epoch
    return trainer


def _augment(flags: Flags, spec: DataSpec) -> Augment | None:
    """The augmentations of the flags; warns of one that needs more leads."""
    if not flags.augment:
        return None
    augment = Augment(flags.augment, rate_hz=spec.rate_hz, seed=flags.seed, charts=spec.image is not None)
    for name, *_ in augment.steps:
        if spec.channels <= AUGMENTATIONS[name].above_leads:
            log.warning("--augment %s changes nothing: the rows have one lead", name)
    return augment


def device_of(flags: Flags) -> torch.device:
    """The device of --device, else the best available; sets the threads of a processor."""
    threads.use(flags.threads)
    return devices.pick_device("cpu" if flags.disable_cuda else flags.device, deterministic=flags.deterministic)


def network(flags: Flags, spec: DataSpec) -> nn.Module:
    """The network of --model-name, initialised with --seed."""
    torch.manual_seed(flags.seed)
    return unseeded(flags, spec)


def unseeded(flags: Flags, spec: DataSpec) -> nn.Module:
    """The network of --model-name, with any weights."""
    return get_model(flags.model_name, spec, model_args=flags.model_args, members=flags.members, form=flags.form)


def pretrain(flags: Flags, trainer: Trainer) -> dict[str, Any]:
    """Load the weights of --pretrained or --weights-file into the network; returns their source for config.json."""
    if path := published_file(flags):
        return {"pretrained": published.load(cast(Encoder, trainer.model), path)}
    if flags.weights_file or flags.pretrained == transfer.IMAGENET:
        return {"pretrained": vision.load(trainer.model, flags.weights_file)}
    if not flags.pretrained:
        return {}
    path = transfer.find(flags.pretrained, flags.root_dir)
    _warn_of_leak(flags, trainer.data, RunFolder(path.parent))
    return {"pretrained": transfer.load(trainer.model, path, trainer.data.spec.classes)}


def published_file(flags: Flags) -> Path | None:
    """The published weights of an encoder that --pretrained names; None for a run's, or none."""
    if not flags.pretrained or flags.model_name not in ENCODERS:
        return None
    if flags.pretrained == transfer.IMAGENET:
        return published.installed(flags.model_name)
    path = Path(flags.pretrained)
    of_run = path.suffixes == [".pth", ".tar"] and (path.parent / CONFIG).exists()
    return path if path.is_file() and not of_run else None


def _classify(flags: Flags, data: Data, device: torch.device) -> Classify | ClassifyLabels:
    """The classification task for one label a row or for many, with the class weights of the flags."""
    spec = data.spec
    if len(spec.classes) < 2 and not spec.many_labels:
        raise UsageError(f"{spec.name} has fewer than 2 classes", hint="--task detect, or data with labels")
    y = data.train.y
    counts = y.sum(0) if spec.many_labels else np.bincount(y, minlength=len(spec.classes))
    if len(data.train) and (absent := [name for name, rows in zip(spec.classes, counts, strict=True) if not rows]):
        weight = "" if spec.many_labels else "its weight is 0, and "
        log.warning("train has no row of %s: %sit cannot be learned", ", ".join(absent), weight)
    weights = by_class(flags.class_weights, spec.classes, flag="--class-weights")
    if flags.class_balance:
        weights = samplers.class_weights(flags.class_balance, torch.from_numpy(y), spec.importance)
    decision = by_class(flags.decision_weights, spec.classes, flag="--decision-weights")
    weights, decision = (None if each is None else each.to(device) for each in (weights, decision))
    of_loss = {"weights": weights, "decision": decision, "smoothing": flags.label_smoothing}
    if spec.many_labels:
        return ClassifyLabels(
            spec.classes, flags.criterion, **of_loss, monitor=flags.monitor, calibrate=flags.calibrate
        )
    ec57.macro_classes(spec.classes, words(flags.macro_over))  # fail before the training, not after it
    return Classify(
        spec.classes,
        flags.criterion,
        **of_loss,
        monitor=flags.monitor,
        calibrate=flags.calibrate,
        macro_over=words(flags.macro_over),
        start_s=seconds(getattr(flags, "from")),
        film=bool(flags.confusion_video),
    )


def by_class(text: str | None, classes: Sequence[str], *, flag: str) -> torch.Tensor | None:
    """The numbers (K,) of `text`, one a class; None for None. Raises UsageError for another count, or only zeros."""
    if not text:
        return None
    weights = torch.tensor([float(weight) for weight in text.split(",")])
    if len(weights) != len(classes) or not weights.any():
        what = f"{flag} has {len(weights)} numbers, the classes are {', '.join(classes)}"
        raise UsageError(what, hint="a number for each, not all 0")
    return weights


def _detect(flags: Flags, data: Data, device: torch.device) -> Detect:
    """The detection task, with the normal class."""
    return Detect(
        data.spec.classes,
        flags.criterion,
        normal=normal_class(data.spec.classes, flags.normal_class),
        monitor=flags.monitor,
        threshold=flags.threshold,
        baseline=flags.baseline,
    )


def dividing(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that decide which rows of a dataset train, validate and test, by name; `seed` is the split seed."""
    flags = {**args.FLAGS.defaults, **flags}
    seed = flags["seed"] if flags["split_seed"] is None else flags["split_seed"]
    return {"seed": seed, **{name: flags[name] for name in args.FLAGS.names("divides")}}


def _warn_of_leak(flags: Flags, data: Data, source: RunFolder) -> None:
    """Warn if the run of the weights split the same data differently, so it may have trained on rows kept here."""
    try:
        config = source.read_json(CONFIG)
        there, same = dividing(config["flags"]), config["data"]["checksum"] == data.checksum
    except (CheckpointError, LookupError, TypeError):
        return
    here = dividing(vars(flags))
    without = () if len(data.val) else args.FLAGS.names("validates")
    differ = [name for name, value in here.items() if value != there[name] and name not in without]
    if same and differ:
        listed = ", ".join(f"{args.flag_name(name)} {there[name]} there, {here[name]} here" for name in differ)
        what = "the weights of %s may have been trained on rows that validate or test here: %s"
        log.warning(what, source.path.name, listed)


TASK_BUILDERS: dict[str, Callable[[Flags, Data, torch.device], Task]] = {"classify": _classify, "detect": _detect}


def kept(flags: Flags) -> dict[str, Any]:
    """The flags for config.json as plain values, with the optimizer's defaults filled in."""
    lr, weight_decay = optimizers.settle(flags.optimizer, flags.lr, flags.weight_decay)
    flags = flags.replace(lr=lr, weight_decay=weight_decay)
    return movable({name: getattr(flags, name) for name in args.FLAGS.names(kept=True)}, flags.root_dir)


def movable(flags: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Flags as in config.json: paths relative to `root`, so that the root can move with its files."""
    paths = [flag.name for flag in args.FLAGS if flag.is_path(flags.get(flag.name))]
    paths += ["pretrained"] if flags.get("pretrained") and os.path.isabs(flags["pretrained"]) else []
    return {**flags, **{name: os.path.relpath(os.path.realpath(flags[name]), os.path.realpath(root)) for name in paths}}


def describe(flags: Flags, given: Mapping[str, Any], trainer: Trainer) -> dict[str, Any]:
    """The content of config.json: flags, versions of the libraries, and facts of the data."""
    data = trainer.data
    rows = {"train_rows": len(data.train), "val_rows": len(data.val), "dropped_rows": data.train.dropped}
    for side, split in (("train", data.train), ("val", data.val)):
        rows[f"{side}_records"] = np.unique(split.record[split.record != ""]).tolist()
    return {
        "flags": kept(flags),
        "given": sorted(given.keys() & {*args.FLAGS.names(kept=True)}),
        "versions": devices.versions(),
        "commit": devices.commit(),
        "precision": devices.numbers(trainer.device, flags.precision),
        "data": {**data.spec.as_dict(), "checksum": data.checksum, **rows},
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad),
        **imports(flags),
    }


def save_config(flags: Flags) -> None:
    """Write the flags that identify a new run into the file of --save-config; --config with it repeats the run.

    Paths are absolute, and the optimizer's default rates are written out.
    """
    path, stored = Path(flags.save_config), kept(flags)
    found = {name: stored[name] for name in args.FLAGS.names(kept=True, identifies=True)}
    found = {name: value for name, value in found.items() if value is not None and value is not False}
    for flag in args.FLAGS:
        if flag.name in found and (flag.is_path(found[flag.name]) or flag.path == "run"):
            place = Path(flags.root_dir, found[flag.name]).resolve()
            found[flag.name] = str(place) if place.exists() else found[flag.name]
    found |= {"imports": [{"file": str(own.path), "sha256": own.digest} for own in plugins.IN_USE]}
    found = {name: value for name, value in found.items() if value != []}
    if path.suffix == ".json":
        files.write_json(path, found)
    else:
        import yaml

        files.write_text(path, yaml.safe_dump(found, sort_keys=False, allow_unicode=True))
    log.info("configuration %s", path)


def imports(flags: Flags) -> dict[str, Any]:
    """The files of --import for config.json, {} without any."""
    stored = plugins.stored(flags.root_dir)
    return {"imports": stored} if stored else {}


def about(flags: Flags, trainer: Trainer, run: RunFolder) -> About:
    """The run, for its recorders, with the flags that were typed at its start or differ from the default."""
    given = run.read_json(CONFIG).get("given") or ()
    identifying = args.FLAGS.names(kept=True, identifies=True)
    values = movable({name: getattr(flags, name) for name in identifying}, flags.root_dir)
    usual = args.FLAGS.defaults
    settings = {
        name: value
        for name, value in values.items()
        if name in given or (usual[name] is not None and value != usual[name])  # None: filled in from other flags
    }
    of_epochs = {"epochs": flags.epochs, "epochs_done": trainer.epoch}
    return About(run.path, flags.root_dir, trainer.task.classes, settings, **of_epochs)


def of_rows() -> set[str]:
    """The flags that decide which rows train, validate and test."""
    return {CHECKSUM, *args.FLAGS.names(kind=DATA)}


def of_validation(*, short: bool) -> set[str]:
    """The flags that decide the validation score of an epoch: a change makes earlier epochs incomparable."""
    return of_rows() | {*args.FLAGS.names("resets-best"), *(args.FLAGS.names("resets-best-short") if short else ())}


def remember(flags: Flags, run: RunFolder, data: Data, before: Sequence[Exposure] = ()) -> None:
    """Save the training and validation rows of the run, of the splits `before`, and of its initial weights' run."""
    known = [Exposure.of(data.train, data.val, data.published), *before]
    if flags.pretrained and flags.pretrained != transfer.IMAGENET and not published_file(flags):
        source = RunFolder(transfer.find(flags.pretrained, flags.root_dir).parent)
        known.append(Exposure.of_run(source))
    reduce(Exposure.joined, known).save(run)
