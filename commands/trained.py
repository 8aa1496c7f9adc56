"""An existing run: folder, configuration, flags, and their differences from the typed flags.

trained = TrainedRun.open({"dataset": "synth", "test": True, "resume": "best"})
path, state = checkpoints.find(trained.run, trained.which)
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import args
from commands import build, choices
from loaders import base
from loaders.base import Data, DataSpec
from toolbox import schema
from toolbox.errors import CheckpointError, UsageError
from toolbox.flags import Flags
from toolbox.runs import checkpoints
from toolbox.runs.exposure import Exposure
from toolbox.runs.folder import CONFIG, HISTORY, RunFolder, versions
from trainer import Trainer

MOST_ROWS, MOST_CHANNELS = 10**10, 4096
# The form of a config.json, without its flags: only the parts that are read.
FORM = {
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
MEND = "mend the file, or another --version"
log = logging.getLogger("commander")


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
        among: Sequence[str] = build.DATASETS_BY_DEFAULT,
        of_input: Collection[str] = (),
    ) -> "TrainedRun":
        """The run in the folder `run`, else the one that the flags name.

        Without --dataset, the first dataset `among` these with a run counts. Typed flags `of_input` describe the input
        of the command, not the run. Raises CheckpointError if the run or a usable config.json is missing, UsageError
        for invalid flags.
        """
        run = run or _find(choices.settle(args.resolve(args.needed(typed))), among)
        config = read_config(run)
        typed = args.without_unused(typed, charts=config["flags"].get("view") == "chart")
        own = {name: value for name, value in typed.items() if name not in of_input}
        stored = dict(config["flags"])
        if own.get("optimizer", stored["optimizer"]) != stored["optimizer"]:  # each optimizer has its own default rates
            stored |= {name: None for name in args.FLAGS.names("optimizer") if name not in config.get("given", ())}
        flags = choices.settle(args.resolve(own, stored))
        return cls(run, config, typed, flags, args.FLAGS.changed(build.movable(own, flags.root_dir), config["flags"]))

    @property
    def which(self) -> str:
        """The checkpoint to use: best, latest or an epoch."""
        return self.flags.resume or "best"

    @property
    def spec(self) -> DataSpec:
        """The facts of the run's training data, from config.json."""
        stored = self.config["data"]
        known = [field.name for field in fields(DataSpec) if field.default is MISSING or field.name in stored]
        try:
            values: dict[str, Any] = {
                name: tuple(value) if isinstance(value := stored[name], list) else value for name in known
            }
        except KeyError as error:
            what = f"config.json lacks {error} of the data"
            raise CheckpointError(what, where=str(self.run / CONFIG), hint=MEND) from error
        return DataSpec(**values)

    def check_unchanged(self) -> None:
        """Raise a UsageError if a typed flag differs from the run's, for commands that cannot change a run."""
        for name, (before, now) in self.differences.items():
            if name == "deterministic":  # of the machine, not of the run
                continue
            what = f"{args.flag_name(name)} is {_shown(now)}, the run was trained with {_shown(before)}"
            raise UsageError(what, where=str(self.run.path), hint="leave it out, or another --version")
        data = self.config["data"]
        build.check_classes(self.flags, data.get("name", ""), data.get("classes", ()))

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


def exposure(run: RunFolder, config: Mapping[str, Any], differences: Collection[str] = ()) -> Exposure | None:
    """The training and validation rows of a run, if its test rows may come from another split; else None."""
    changed = set(differences).union(*(note["changed"] for note in config.get("overrides", [])))
    return Exposure.of_run(run) if changed & build.of_rows() else None


def read_config(run: RunFolder) -> dict[str, Any]:
    """The run's config.json. Raises CheckpointError for missing parts or unusable flags."""
    config = run.read_json(CONFIG)
    what = schema.misfit(config, FORM)
    if not what and config["flags"].get("confusion_video") == "mp4":  # earlier versions wrote films
        config["flags"]["confusion_video"] = "gif"
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
    dataset = flags.dataset or next(iter(there), build.DATASETS_BY_DEFAULT[0])
    return RunFolder.find(flags.root_dir, dataset, flags.model_name, flags.version or "latest")


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)
