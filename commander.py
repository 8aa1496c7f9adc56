"""Assemble one run from its flags: train it, or test it. `python commander.py --help` names every flag.

Heavy imports stand inside the functions that need them, so that --help and a mistyped flag answer at once.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import args
from toolbox.errors import CheckpointError, CommanderError, DownloadError, Interrupted, UsageError
from toolbox.files import finite
from toolbox.signals import StopRequest

if TYPE_CHECKING:
    import torch

    from loaders.base import Data
    from toolbox.logger import Board
    from toolbox.runs import RunFolder
    from trainer import Trainer

log = logging.getLogger("commander")
DATASETS_BY_DEFAULT = ("ecg", "synth")


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command line; the exit code says what kind of error there was, 0 for none."""
    argv = sys.argv[1:] if argv is None else argv
    stop = StopRequest()
    stop.install()
    try:
        if not argv:
            sys.stderr.write(args.SHORT_HELP)
            return UsageError.code
        run_command(args.parse(argv), stop)
        return 0
    except CommanderError as error:
        if "--debug" in argv:
            raise
        sys.stderr.write(f"error: {error}\n")
        return error.code
    except Interrupted as interrupted:
        sys.stderr.write("interrupted\n")
        return interrupted.code


def run_command(given: Mapping[str, Any], stop: StopRequest) -> None:
    """One of the things a command line asks for: names, a download, a test, or a training."""
    wrong = args.complaints(given)
    if wrong:
        raise UsageError("; ".join(wrong), hint="python commander.py --help")
    logging.basicConfig(format="%(message)s", level=logging.DEBUG if given.get("verbose") else logging.INFO)
    for noisy in ("matplotlib", "PIL", "urllib3", "torch"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    flags = args.resolve(given)
    if flags.list:
        sys.stdout.write("\n".join(registry(flags.list)) + "\n")
    elif flags.download:
        load_data(flags)
    elif flags.test or flags.resume:
        go_on(given, stop)
    else:
        start(flags, given, stop)


def start(flags: SimpleNamespace, given: Mapping[str, Any], stop: StopRequest) -> None:
    """Train a new run."""
    from toolbox.runs import RunFolder

    check_names(flags)
    device = pick_device(flags)
    data = load_data(flags)
    flags.dataset = data.spec.name
    trainer = build(flags, data, device)
    run = RunFolder.claim(flags.root_dir, flags.dataset, flags.model_name, flags.version or "bump")
    with run.locked():
        run.write_json("config.json", config(flags, given, data, trainer.model))
        log.info("%s on %s: %d train, %d validation rows; %s", flags.model_name, flags.dataset, len(data.train), len(data.val), run.path)
        train(flags, trainer, run, stop)


def go_on(given: Mapping[str, Any], stop: StopRequest) -> None:
    """Test a run that is there, or go on training it, with the flags of its own config.json."""
    from toolbox import checkpoints

    run = find_run(args.resolve(given))
    stored = run.read_json("config.json")
    if differences := args.changed(given, stored["flags"]):
        raise UsageError("; ".join(differences), where=str(run.path), hint="--version bump for a new run, or leave the flag out")
    flags = args.resolve(given, stored["flags"])
    check_names(flags)
    device = pick_device(flags)
    which = flags.resume or "best"
    path = run.checkpoint(which)
    with run.locked():
        data = load_data(flags)
        if data.checksum != stored["data"]["checksum"]:
            raise UsageError(f"the data has checksum {data.checksum[:12]}, the run was trained on {stored['data']['checksum'][:12]}",
                             where=str(run.path), hint="the data it was trained on")
        trainer = build(flags, data, device)
        state = checkpoints.load(path, device)
        checkpoints.load_weights(trainer.model, state["model"], str(path))
        trainer.load_state_dict(state)
        if flags.test:
            test(flags, trainer, run, which)
        else:
            say_reshaped(flags, stored["flags"])
            run.write_json("config.json", stored | {"flags": stored["flags"] | {"epochs": flags.epochs, "patience": flags.patience}})
            log.info("going on after epoch %d%s; %s", trainer.epoch, f" and {trainer.meter.steps} batches" if trainer.meter else "", run.path)
            train(flags, trainer, run, stop)


def build(flags: SimpleNamespace, data: "Data", device: "torch.device") -> "Trainer":
    """Network, task, optimizer and schedule, assembled from the flags and the facts of the data."""
    import torch

    from models import get_model
    from toolbox import samplers
    from toolbox.optimizers import get_optimizer
    from toolbox.schedulers import Schedule, Shape
    from toolbox.tasks import Classify
    from trainer import SHORT_RUN_BATCHES, Trainer

    spec = data.spec
    if flags.num_classes not in (None, len(spec.classes)):
        raise UsageError(f"--num-classes is {flags.num_classes}, {spec.name} has {len(spec.classes)}: {', '.join(spec.classes)}",
                         hint="leave --num-classes out")
    torch.manual_seed(flags.seed)
    torch.use_deterministic_algorithms(flags.deterministic)
    model = get_model(flags.model_name, spec).to(device)
    weights = None
    if flags.class_balance:
        weights = samplers.class_weights(flags.class_balance, torch.from_numpy(data.train.y), spec.importance).to(device)
    task = Classify(spec.classes, flags.criterion, weights=weights, monitor=flags.monitor)
    optimizer = get_optimizer(flags.optimizer, model.parameters(), lr=flags.lr, momentum=flags.momentum, weight_decay=flags.weight_decay)
    batches = -(-len(data.train) // flags.batch_size)
    shape = Shape(flags.step, flags.lr_decay, flags.epochs - flags.start_epoch, min(batches, SHORT_RUN_BATCHES) if flags.short_run else batches, task.mode)
    trainer = Trainer(model, task, data, optimizer, Schedule(flags.scheduler, optimizer, shape), device=device, batch_size=flags.batch_size,
                      seed=flags.seed, sampler=flags.sampler, grad_clip=flags.grad_clip, short_run=flags.short_run)
    trainer.epoch = flags.start_epoch
    return trainer


def train(flags: SimpleNamespace, trainer: "Trainer", run: "RunFolder", stop: StopRequest) -> None:
    """Fit, saving what every epoch gave; then test the best weights, once."""
    from toolbox import checkpoints, logger

    board = make_board(flags, trainer, run)

    def on_epoch(trainer: "Trainer", row: dict[str, Any], predictions: Any) -> None:
        predictions.save(run / "res" / f"epoch{row['epoch']}.npz")
        checkpoints.save(run, trainer.state_dict(), is_best=trainer.best["epoch"] == row["epoch"], epoch_done=True)
        logger.log_epoch(run, trainer.history, flags.epochs)
        if board:
            board.epoch(row, trainer.model, predictions)

    with stop.deferred():
        trainer.fit(flags.epochs, on_epoch=on_epoch, stop=stop, patience=flags.patience)
        if stop.requested is not None:
            checkpoints.save(run, trainer.state_dict(), is_best=False, epoch_done=False)
            log.info("stopped in epoch %d; go on with --resume latest", trainer.epoch + 1)
    stop.check()
    if not trainer.history:
        raise CheckpointError("no epoch was trained, so there is nothing to test", where=str(run.path), hint="more --epochs")
    path = run.checkpoint("best")
    checkpoints.load_weights(trainer.model, checkpoints.load(path, trainer.device)["model"], str(path))
    results = test(flags, trainer, run, "best")
    if board:
        board.hparams(vars(flags), {f"test/{name}": value for name, value in results["test"].items() if isinstance(value, float)})
        board.close()


def test(flags: SimpleNamespace, trainer: "Trainer", run: "RunFolder", which: str) -> dict[str, Any]:
    """Predict the test split with the weights that are loaded; write predictions, figures, report and, for the best, results."""
    from toolbox import report

    val = trainer.task.measure(trainer.predict(trainer.data.val))
    predictions = trainer.predict(trainer.data.test)
    folder = run / "pred" if which == "best" else run / "pred" / which
    history = run.read_json("logger.json")
    values = report.write(folder, predictions, val, history, spec=trainer.data.spec, title=f"{run.path.name}, {which} checkpoint"
                          + (" (a short run: trained on 10 batches an epoch)" if flags.short_run else ""))
    results = {"best_epoch": trainer.best["epoch"], "epoch": trainer.epoch, "split_rule": trainer.data.spec.split_rule, "val": val, "test": values}
    if which == "best":
        results["epoch"] = trainer.best["epoch"]
        last = history[-1]["epoch"]
        if last >= flags.epochs or (flags.patience and last - trainer.best["epoch"] >= flags.patience):
            run.write_json("results.json", results)
    sys.stdout.write(json.dumps(finite({"run_folder": str(run.path), **results})) + "\n")
    return results


def check_names(flags: SimpleNamespace) -> None:
    """Look up every name before anything is made or read."""
    from loaders import DATASETS
    from models import MODELS
    from toolbox import losses, metrics, optimizers, samplers, schedulers
    from toolbox.registry import pick

    choices = {"dataset": DATASETS, "model-name": MODELS, "optimizer": optimizers.OPTIMIZERS, "scheduler": schedulers.SCHEDULERS,
               "criterion": losses.LOSSES, "sampler": samplers.SAMPLERS, "class-balance": samplers.BALANCES,
               "monitor": dict.fromkeys(metrics.METRICS)}
    for choice, table in choices.items():
        name = getattr(flags, choice.replace("-", "_"))
        if name is not None:
            pick(choice, table, name)
    if flags.pretrained:
        raise UsageError(f"there are no published weights for {flags.model_name}", hint="leave --pretrained out")


def registry(what: str) -> list[str]:
    """The names behind one kind of choice, for --list."""
    from loaders import DATASETS
    from models import MODELS
    from toolbox import losses, metrics, optimizers, samplers, schedulers
    from toolbox.registry import pick

    tables = {"datasets": DATASETS, "models": MODELS, "optimizers": optimizers.OPTIMIZERS, "schedulers": schedulers.SCHEDULERS,
              "losses": losses.LOSSES, "samplers": samplers.SAMPLERS, "metrics": dict.fromkeys(metrics.METRICS)}
    return list(pick("list", tables, what))


def pick_device(flags: SimpleNamespace) -> "torch.device":
    """The device asked for, which must be there; without one CUDA where it is, else the CPU."""
    import torch

    if flags.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    name = "cpu" if flags.disable_cuda else flags.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {name} is not usable here: {str(error).splitlines()[0]}", hint="--device cpu") from error
    return device


def load_data(flags: SimpleNamespace) -> "Data":
    """The dataset asked for; where none was and ecg cannot be had, synth, which is said."""
    from loaders import get_data

    how = {"data_file": flags.data_file, "val_fraction": flags.val_fraction, "seed": flags.seed}
    first, fallback = DATASETS_BY_DEFAULT
    if flags.dataset or flags.download:
        return get_data(flags.dataset or first, flags.root_dir, **how)
    try:
        return get_data(first, flags.root_dir, **how)
    except DownloadError as error:
        log.warning("using generated beats (%s), not patients': %s. For the real ones: %s", fallback, error.what.split(":")[0], error.hint)
        return get_data(fallback, flags.root_dir, **how)


def find_run(flags: SimpleNamespace) -> "RunFolder":
    """The run to go on with or to test; without --dataset that of ecg, else of synth."""
    from toolbox.runs import RunFolder, versions

    there = [name for name in DATASETS_BY_DEFAULT if versions(flags.root_dir, name, flags.model_name)]
    dataset = flags.dataset or next(iter(there), DATASETS_BY_DEFAULT[0])
    return RunFolder.find(flags.root_dir, dataset, flags.model_name, flags.version or "latest")


def config(flags: SimpleNamespace, given: Mapping[str, Any], data: "Data", model: "torch.nn.Module") -> dict[str, Any]:
    """What a run is: its flags, the versions it ran with, and the data it was trained on."""
    import platform
    import subprocess
    from importlib.metadata import version
    from pathlib import Path

    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False).stdout.strip()
    kept = {key: str(value) if isinstance(value, Path) else value for key, value in vars(flags).items() if key not in args.OF_THE_COMMAND}
    return {"flags": kept, "given": dict(given), "versions": {"python": platform.python_version(), **{name: version(name) for name in ("torch", "numpy")}},
            "commit": commit or None, "data": {**data.spec.as_dict(), "checksum": data.checksum, "train_rows": len(data.train), "val_rows": len(data.val)},
            "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad)}


def make_board(flags: SimpleNamespace, trainer: "Trainer", run: "RunFolder") -> "Board | None":
    """TensorBoard with the network's graph drawn, where it is asked for."""
    from toolbox.logger import Board

    if not flags.tensorboard:
        return None
    board = Board(run / "tensorboard", trainer.task.classes, epochs_done=trainer.epoch)
    board.graph(trainer.model, trainer.train.x[:1])
    return board


def say_reshaped(flags: SimpleNamespace, stored: Mapping[str, Any]) -> None:
    """A schedule that is shaped by the number of epochs is another one when that changes; a run that does so says it."""
    from toolbox.schedulers import SHAPED_BY_EPOCHS

    if flags.epochs != stored["epochs"] and flags.scheduler in SHAPED_BY_EPOCHS:
        log.warning("%s was shaped for %d epochs and now is for %d: the learning rate goes on from another place of the curve than in a run "
                    "started with %d", flags.scheduler, stored["epochs"], flags.epochs, flags.epochs)


if __name__ == "__main__":
    sys.exit(main())
