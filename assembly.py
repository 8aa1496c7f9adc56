"""Flags become the parts of a run: data, device, trainer, config. Imported only once a run is to be made."""

import logging
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

import args
from loaders import get_data
from loaders.base import Data
from models import get_model
from toolbox import devices, optimizers, provenance, samplers
from toolbox.errors import DownloadError, UsageError
from toolbox.logger import Board
from toolbox.runs import RunFolder, versions
from toolbox.schedulers import Schedule, Shape
from toolbox.tasks import Classify
from trainer import SHORT_RUN_BATCHES, Trainer

DATASETS_BY_DEFAULT = ("ecg", "synth")


def load_data(flags: SimpleNamespace) -> Data:
    """The dataset asked for; where none was and ecg cannot be had, synth, which is said."""
    how = {"data_file": flags.data_file, "val_fraction": flags.val_fraction, "seed": flags.seed}
    first, fallback = DATASETS_BY_DEFAULT
    if flags.dataset or flags.download:
        return get_data(flags.dataset or first, flags.root_dir, **how)
    try:
        return get_data(first, flags.root_dir, **how)
    except DownloadError as error:
        log = logging.getLogger("commander")
        log.warning(
            "using %s, generated beats and not patients': ecg cannot be fetched. For the real ones %s", fallback, error.hint
        )
        return get_data(fallback, flags.root_dir, **how)


def find_run(flags: SimpleNamespace) -> RunFolder:
    """The run to go on with or to test; without --dataset that of ecg, else of synth."""
    there = [name for name in DATASETS_BY_DEFAULT if versions(flags.root_dir, name, flags.model_name)]
    dataset = flags.dataset or next(iter(there), DATASETS_BY_DEFAULT[0])
    return RunFolder.find(flags.root_dir, dataset, flags.model_name, flags.version or "latest")


def build(flags: SimpleNamespace, data: Data) -> Trainer:
    """Network, task, optimizer and schedule, from the flags and the facts of the data."""
    device = devices.pick_device("cpu" if flags.disable_cuda else flags.device, deterministic=flags.deterministic)
    spec = data.spec
    if flags.num_classes not in (None, len(spec.classes)):
        known = f"{len(spec.classes)}: {', '.join(spec.classes)}"
        raise UsageError(f"--num-classes is {flags.num_classes}, {spec.name} has {known}", hint="leave --num-classes out")
    torch.manual_seed(flags.seed)
    model = get_model(flags.model_name, spec).to(device)
    weights = None
    if flags.class_balance:
        weights = samplers.class_weights(flags.class_balance, torch.from_numpy(data.train.y), spec.importance).to(device)
    task = Classify(spec.classes, flags.criterion, weights=weights, monitor=flags.monitor)
    how = {"lr": flags.lr, "momentum": flags.momentum, "weight_decay": flags.weight_decay}
    optimizer = optimizers.get_optimizer(flags.optimizer, model.parameters(), **how)
    batches = -(-len(data.train) // flags.batch_size)
    batches = min(batches, SHORT_RUN_BATCHES) if flags.short_run else batches
    shape = Shape(flags.step, flags.lr_decay, flags.epochs - flags.start_epoch, batches, task.mode)
    schedule = Schedule(flags.scheduler, optimizer, shape)
    how = {"batch_size": flags.batch_size, "seed": flags.seed, "sampler": flags.sampler, "grad_clip": flags.grad_clip}
    trainer = Trainer(model, task, data, optimizer, schedule, device=device, short_run=flags.short_run, **how)
    trainer.epoch = flags.start_epoch
    return trainer


def kept(flags: SimpleNamespace) -> dict[str, Any]:
    """The flags that describe the run, with what was left to the optimizer's defaults filled in, as plain values."""
    of_the_run = {key: value for key, value in vars(flags).items() if key not in args.OF_THE_COMMAND}
    lr, weight_decay = optimizers.settle(flags.optimizer, flags.lr, flags.weight_decay)
    of_the_run |= {"lr": lr, "weight_decay": weight_decay}
    return {key: str(value) if isinstance(value, Path) else value for key, value in of_the_run.items()}


def config(flags: SimpleNamespace, given: Mapping[str, Any], trainer: Trainer) -> dict[str, Any]:
    """What a run is: its flags, the versions it ran with, and the data it was trained on."""
    data, parameters = trainer.data, trainer.model.parameters()
    return {
        "flags": kept(flags),
        "given": {key: value for key, value in given.items() if key not in args.OF_THE_COMMAND},
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "data": {**data.spec.as_dict(), "checksum": data.checksum, "train_rows": len(data.train), "val_rows": len(data.val)},
        "parameters": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
    }


def make_board(flags: SimpleNamespace, trainer: Trainer, run: RunFolder) -> Board | None:
    """TensorBoard with the network's graph drawn, where it is asked for."""
    if not flags.tensorboard:
        return None
    board = Board(run / "tensorboard", trainer.task.classes, epochs_done=trainer.epoch)
    if not trainer.epoch:
        board.graph(trainer.model, trainer.train.x[:1])
    return board
