"""An existing run: folder, configuration, flags, and their differences from the typed flags; and its network.

trained = TrainedRun.open({"dataset": "synth", "test": True, "resume": "best"})
path, state = checkpoints.find(trained.run, trained.which)
network = trained.network()    # for new rows: probabilities = network.probabilities([[x]])
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import args
from commands import build, choices, own_parts
from loaders import BY_DEFAULT, base
from loaders.base import Data, DataSpec
from toolbox import devices, plugins, schema
from toolbox.errors import CheckpointError, UsageError
from toolbox.flags import Flags
from toolbox.metrics import classification, labels, platt
from toolbox.runs import checkpoints
from toolbox.runs.exposure import Exposure
from toolbox.runs.folder import CONFIG, HISTORY, RunFolder, versions
from toolbox.tasks import Classify, Detect, Task, decided, kind
from toolbox.tasks.classify_labels import ClassifyLabels, probabilities
from toolbox.training import threads
from trainer import PREDICT_ROWS, Trainer

MOST_ROWS, MOST_CHANNELS = 10**10, 4096
# The form of a config.json, without its flags: only the parts that are read.
FORM = {
    "flags": {"optimizer": str, "epochs": schema.Count(1)},
    "given?": [str],
    "data": {
        "checksum": str,
        "split_rule": str,
        **dict.fromkeys(("name?", "view?", "unit?", "source?", "licence?", "label_name?", "record_name?"), str),
        **{name: [str] for name in ("leads?", "classes?", "features?", "scored?", "train_records?", "val_records?")},
        "columns?": [str],
        "channels?": schema.Count(1, MOST_CHANNELS),
        "samples?": schema.Count(0, MOST_ROWS),
        "rate_hz?": schema.Number(0),
        "importance?": [schema.Number(0)],
        "image?": schema.Pair(schema.Count(1, MOST_CHANNELS)),
        "many_labels?": bool,
    },
    "overrides?": [{"after_epoch": schema.Count(), "changed": {"*": schema.Pair(schema.ANY)}}],
    "pretrained?": dict,
    "imported?": dict,
    "imports?": [{"file": str, "sha256": str}],
}
# What validation fixes, by task.
FIXED: dict[type, dict[str, Any]] = {
    Classify: {"temperature": schema.Number(classification.COLDEST, classification.HOTTEST)},
    ClassifyLabels: {"thresholds": [schema.Number(0, 1)], "calibration?": platt.FORM},
    Detect: {"threshold": schema.Number(), "rule": str},
}
CALIBRATES: dict[type, str] = {Classify: "temperature", ClassifyLabels: "calibration"}
FITTED = {False: "a fitted temperature", True: "lines fitted on validation rows"}  # by --calibrate, for many labels
NOTHING: Mapping[str, Any] = MappingProxyType({})
MEND = "mend the file, or another --version"
log = logging.getLogger("commander")


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with trained weights, for new rows: of a run's checkpoint, or of a folder of --export.

    `flags` are the run's, `fixed` has what validation fixed (temperature; threshold; thresholds, calibration);
    `records` the names of the records of training ("train") and validation ("val"), None if they are not known.
    `origin` is the folder that it was loaded from.
    """

    origin: Path
    run: str
    checkpoint: str
    epoch: int
    spec: DataSpec
    flags: Flags
    model: nn.Module
    device: torch.device
    decision: Tensor | None
    fixed: Mapping[str, Any]
    records: Mapping[str, Collection[str]] | None

    def probabilities(self, batches: Iterable[Sequence[Tensor]]) -> NDArray[np.float32]:
        """The calibrated `scores` (N, K) of batches."""
        return self.calibrated(self.scores(batches))

    def calibrated(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """`scores` (N, K) as calibrated on validation, at a temperature or by the line of each of many labels."""
        if lines := self.fixed.get("calibration"):
            return platt.calibrated(scores, lines).astype(np.float32)
        temperature = self.fixed.get("temperature", 1.0)
        return scores if temperature == 1 else classification.at_temperature(scores, temperature).astype(np.float32)

    @torch.inference_mode()
    def scores(self, batches: Iterable[Sequence[Tensor]]) -> NDArray[np.float32]:
        """`decided` (N, K), as trained, of batches of rows (B, ...) and, if the network has features, these (B, F)."""
        found, rows = np.empty((0, len(self.spec.classes)), np.float32), 0
        for inputs in batches:
            part = self.decided(self.model(*(each.to(self.device) for each in inputs))).cpu().numpy()
            if rows + len(part) > len(found):  # small parts that stay would split the memory of the large ones for good
                found = np.concatenate([found[:rows], np.empty((rows + len(part), part.shape[1]), np.float32)])
            found[rows : rows + len(part)] = part
            rows += len(part)
        return found[:rows]

    def decided(self, logits: Tensor) -> Tensor:
        """Probabilities (B, K) of logits (B, K), with the decision weights; of many labels each class has its own."""
        if self.spec.many_labels:
            return probabilities(logits, self.decision)
        return decided(logits, self.decision).softmax(1)

    @property
    def thresholds(self) -> NDArray[np.float64]:
        """The threshold (K,) of the `scores` of each of many labels; 0.5 where validation fixed none."""
        return np.array(self.fixed.get("thresholds") or [labels.THRESHOLD] * len(self.spec.classes))

    def trained_on(self, record: str) -> str:
        """Whether the run was trained on a record of this name: a key of `matching.TRAINED_ON`."""
        if self.records is None:
            return "unknown"
        return "yes" if record in self.records["train"] else "epoch" if record in self.records["val"] else "no"


@dataclass(frozen=True)
class TrainedRun:
    """A run with its stored configuration.

    `typed` are the typed flags that the command uses, `flags` all flags of the run with `typed` over them, and
    `differences` the typed flags that would make it another run: [the run's value, the typed value] by name.
    """

    run: RunFolder
    config: dict[str, Any]
    typed: dict[str, Any]
    flags: Flags
    differences: dict[str, list[Any]]

    @classmethod
    def open(
        cls,
        typed: Mapping[str, Any],
        *,
        run: RunFolder | None = None,
        among: Sequence[str] = BY_DEFAULT,
        of_input: Collection[str] = (),
    ) -> "TrainedRun":
        """The run in the folder `run`, else the one that the flags name.

        Without --dataset, the first dataset `among` these with a run counts. Typed flags `of_input` describe the input
        of the command, not the run. Raises CheckpointError if the run or a usable config.json is missing, UsageError
        for invalid flags.
        """
        run = run or _find(choices.settle(args.resolve(args.needed(typed))), among)
        config = read_config(run, typed)
        typed = args.without_unused(typed, charts=config["flags"].get("view") == "chart")
        known = of_input if typed.get("threads") != threads.AUTO else {*of_input, "threads"}  # the run has its number
        own = {name: value for name, value in typed.items() if name not in known}
        stored = dict(config["flags"])
        if own.get("optimizer", stored["optimizer"]) != stored["optimizer"]:  # each optimizer has its own default rates
            stored |= {name: None for name in args.FLAGS.names("optimizer") if name not in config.get("given", ())}
        flags = choices.settle(args.resolve(own, stored))
        differences = args.FLAGS.changed(build.movable(own, flags.root_dir), config["flags"])
        if of_files := plugins.difference(config.get("imports", [])):
            differences["import"] = of_files
        return cls(run, config, typed, flags, differences)

    @property
    def which(self) -> str:
        """The checkpoint to use: best, latest or an epoch."""
        return self.flags.resume or "best"

    @property
    def spec(self) -> DataSpec:
        """The facts of the run's training data, from config.json."""
        return spec_of(self.config, str(self.run / CONFIG))

    def check_unchanged(self) -> None:
        """Raise a UsageError if a typed flag differs from the run's, for commands that cannot change a run."""
        check_same(self.differences, where=self.run.path, other="--version")
        data = self.config["data"]
        build.check_classes(self.flags, data.get("name", ""), data.get("classes", ()))

    def network(self) -> TrainedNetwork:
        """The network of the checkpoint `which`, on the device of the flags. Raises CheckpointError."""
        run, flags, spec = self.run, self.flags, self.spec
        if self.typed.get("calibrate") and not _is_calibrated(
            _stored(run, self.which, flags, spec), _task_of(flags, spec)
        ):
            what = f"--calibrate needs {FITTED[spec.many_labels]}, this run has none"
            raise UsageError(what, where=str(run.path), hint="--test --calibrate first, or leave it out")
        path, state = checkpoints.find(run, self.which)
        model, device = built(flags, spec)
        checkpoints.load_weights(model, state["model"], str(path))
        records = {side: self.config["data"].get(f"{side}_records") for side in ("train", "val")}
        return TrainedNetwork(
            origin=run.path,
            run=run.path.name,
            checkpoint=self.which,
            epoch=state["epoch"],
            spec=spec,
            flags=flags,
            model=model,
            device=device,
            decision=decision_weights(flags, spec, device),
            fixed=fixed_by_validation(run, self.which, flags, spec=spec),
            records=None if None in records.values() else records,
        )

    def permit(self, differences: Mapping[str, list[Any]]) -> None:
        """Raise a UsageError for differences without --override, and for other initial weights."""
        changes = [
            f"{name if name == build.CHECKSUM else args.flag_name(name)} is {_shown(now)}, the run has {_shown(before)}"
            for name, (before, now) in differences.items()
        ]
        if differences.keys() & {*args.FLAGS.names(on_resume="never")}:
            hint = "--version bump: only a new run can start with other weights"
            raise UsageError("; ".join(changes), where=str(self.run.path), hint=hint)
        if changes and not self.flags.override:
            hint = "--version bump for a new run, the run's own value, or --override to change it and have it recorded"
            raise UsageError("; ".join(changes), where=str(self.run.path), hint=hint)
        if changes:
            log.warning("overriding: %s; optimizer and schedule are reinitialised", "; ".join(changes))

    def note_short_run(self) -> None:
        """Warn that the run is a short one and stays one, unless --short-run is typed again."""
        if self.flags.short_run and not self.typed.get("short_run"):
            what = "%s is a short run, of %d batches an epoch, and stays one; %s makes a whole one"
            log.warning(what, self.run.path.name, base.BATCHES, "--version bump without --short-run")

    def ruled(self, data: Data) -> Data:
        """The data with the run's split rule; a short run adds the rule of the measured part."""
        rule = self.config["data"]["split_rule"]
        short = data.spec.split_rule.rpartition("; ")[2] if data.whole else ""
        return data.ruled(rule if short in rule else f"{rule}; {short}")

    def of_data(self, data: Data) -> dict[str, list[Any]]:
        """The checksums of the run and of the loaded data, if they differ, as an entry of `differences`."""
        stored = self.config["data"]["checksum"]
        return {} if data.checksum == stored else {build.CHECKSUM: [stored[:12], data.checksum[:12]]}

    def restored(self, flags: Flags, data: Data, path: Path, state: dict[str, Any], *, reinitialise: bool) -> Trainer:
        """A trainer with the weights of the checkpoint `state` at `path` and, unless `reinitialise`, its optimizer
        state."""
        trainer = build.build(flags, data)
        with checkpoints.restoring(path):
            checkpoints.load_weights(trainer.model, state["model"], str(path))
            trainer.load_state_dict(state, reinitialise=reinitialise)
        return trainer

    def reopened(
        self, load: Callable[[Flags], Data], differences: dict[str, list[Any]], *, reinitialise: bool = False
    ) -> tuple[Flags, Trainer, bool]:
        """Flags, the trainer of the run on its own data at the checkpoint `which`, and whether an --override applies.

        `reinitialise`, an --override and an imported run reinitialise optimizer and schedule. Another checksum of the
        data is added to `differences`, and needs --override.
        """
        path, state = checkpoints.find(self.run, self.which)
        if (self.run / HISTORY).exists():
            self.run.read_history()  # raises for a file that is not a history, so that it is not overwritten
        data = load(self.flags)
        if of_data := self.of_data(data):
            differences |= of_data
            self.permit(differences)
        overridden = bool(differences) or checkpoints.predates(path, state, self.config)
        flags = self.flags.replace(start_epoch=state["epoch"]) if overridden else self.flags
        data = data if differences else self.ruled(data)
        reinitialise = reinitialise or overridden or "imported" in self.config
        return flags, self.restored(flags, data, path, state, reinitialise=reinitialise), overridden


def check_same(differences: Mapping[str, list[Any]], *, where: Path, other: str) -> None:
    """Raise a UsageError for a typed flag that differs from the run's; the flag `other` names another run."""
    for name, (before, now) in differences.items():
        if name != "deterministic":  # of the machine, not of the run
            what = f"{args.flag_name(name)} is {_shown(now)}, the run was trained with {_shown(before)}"
            raise UsageError(what, where=str(where), hint=f"leave it out, or another {other}")


def built(flags: Flags, spec: DataSpec) -> tuple[nn.Module, torch.device]:
    """The network of the flags in evaluation mode, with any weights, and its device."""
    device = build.device_of(flags)
    with devices.enough_memory(PREDICT_ROWS):
        return build.unseeded(flags, spec).to(device).eval(), device


def decision_weights(flags: Flags, spec: DataSpec, device: torch.device) -> Tensor | None:
    """The decision weights (K,) of the flags on the device, None without them."""
    weights = build.by_class(flags.decision_weights, spec.classes, flag="--decision-weights")
    return None if weights is None else weights.to(device)


def _task_of(flags: Flags, spec: DataSpec | None) -> type[Task]:
    return kind(flags.task, many_labels=spec is not None and spec.many_labels)


def fixed_file(which: str, task: type[Task]) -> str:
    """The file of a run with the values that validation fixed for the checkpoint `which`."""
    name = task.fixed_file
    return name if which == "best" else f"pred/{which}/{name}"


def fixed_by_validation(run: RunFolder, which: str, flags: Flags, *, spec: DataSpec | None = None) -> dict[str, Any]:
    """Values that a test of the checkpoint `which` fixed on validation rows: see FIXED; {} without any.

    Raises CheckpointError if the calibration of a run with --calibrate is missing, or the file is no such file.
    """
    task = _task_of(flags, spec)
    name, found = fixed_file(which, task), _stored(run, which, flags, spec)
    test = f"--test --resume {which} to fit it"
    why = schema.misfit(found, FIXED[task]) if found is not None else ""
    if not why and found and task is ClassifyLabels and spec:
        lists = {"thresholds": found["thresholds"], **(found.get("calibration") or {})}
        odd = {part: len(each) for part, each in lists.items() if len(each) != len(spec.classes)}
        why = ", ".join(f"it has {size} {part}, the run has {len(spec.classes)} classes" for part, size in odd.items())
    if why:
        raise CheckpointError(f"{name}: {why}", where=str(run / name), hint=test)
    if flags.calibrate and not _is_calibrated(found, task):
        if which == "best":
            what = f"the {CALIBRATES.get(task, 'temperature')} is missing, and the run was trained with --calibrate"
            raise CheckpointError(what, where=str(run / name), hint=test)
        log.warning("the probabilities of this checkpoint are not calibrated; %s", test)
    return {key: of for key, of in (found or {}).items() if {key, f"{key}?"} & {*FIXED[task], "validation_rows"}}


def _stored(run: RunFolder, which: str, flags: Flags, spec: DataSpec | None) -> dict[str, Any] | None:
    path = fixed_file(which, _task_of(flags, spec))
    return run.read_json(path) if (run / path).exists() else None


def _is_calibrated(found: Mapping[str, Any] | None, task: type[Task]) -> bool:
    return found is not None and (task not in CALIBRATES or found.get(CALIBRATES[task]) is not None)


def exposure(run: RunFolder, config: Mapping[str, Any], differences: Collection[str] = ()) -> Exposure | None:
    """The training and validation rows of a run, if its test rows may come from another split; else None."""
    changed = set(differences).union(*(note["changed"] for note in config.get("overrides", [])))
    return Exposure.of_run(run) if changed & build.of_rows() else None


def spec_of(config: Mapping[str, Any], where: str) -> DataSpec:
    """The facts of the training data in a config.json at `where`. Raises CheckpointError for a missing part."""
    stored = config["data"]
    known = [field.name for field in fields(DataSpec) if field.default is MISSING or field.name in stored]
    try:
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value := stored[name], list) else value for name in known
        }
    except KeyError as error:
        raise CheckpointError(f"config.json lacks {error} of the data", where=where, hint=MEND) from error
    return DataSpec(**values)


def read_config(run: RunFolder, typed: Mapping[str, Any] = NOTHING) -> dict[str, Any]:
    """The run's config.json; without a typed --import, the run's own files are imported.

    Raises CheckpointError for missing parts or unusable flags.
    """
    config = run.read_json(CONFIG)
    what = schema.misfit(config, FORM)
    if not what and config["flags"].get("confusion_video") == "mp4":  # earlier versions wrote films
        config["flags"]["confusion_video"] = "gif"
    if not what and "import" not in typed:
        own = own_parts.of_config(config, run.path.parents[2], changed=bool(typed.get("override")))
        own_parts.use(own)
    what = what or "; ".join(args.misfits(config["flags"]))
    try:
        if not what:
            choices.settle(args.resolve({}, config["flags"]))
    except UsageError as error:
        what = error.what
    if what:
        raise CheckpointError(f"config.json: {what}", where=str(run / CONFIG), hint=MEND)
    return config


def _find(flags: Flags, among: Sequence[str]) -> RunFolder:
    there = [name for name in among if versions(flags.root_dir, name, flags.model_name)]
    dataset = flags.dataset or next(iter(there), BY_DEFAULT[0])
    return RunFolder.find(flags.root_dir, dataset, flags.model_name, flags.version or "latest")


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)
