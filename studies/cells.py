"""A configuration of a grid becomes the flags of runs: parsed and checked as the commander does, named, and repeated.

Run n of a configuration has the same seed and fold in every configuration. So configurations are compared in pairs,
and a run that starts with the weights of run n of another configuration validates on rows those weights never saw.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import args
from commands import build, choices
from loaders import base
from loaders.base import Data
from studies import plans
from studies.grid import Cell, varying
from studies.ledger import DONE, FIRST, LENGTH, OF_THE_MACHINE, Ledger, Task
from toolbox.errors import UsageError, program
from toolbox.flags import Flag, Flags
from toolbox.metrics import cost
from toolbox.tasks import LAST
from toolbox.training import transfer

OF_PATHS = {flag.name for flag in args.FLAGS if flag.path in ("file", "run")}
# A typed value that a configuration's name does not tell from none: it was the default when they were first named.
NAMELESS = {"batch_size": base.BATCH_SIZE}
OF_THE_SERIES = {*args.FLAGS.names("validates")}  # where it has folds
OF_THE_NETWORK = [args.FLAGS.by_name[name].typed.lstrip("-") for name in args.FLAGS.names("network")]
UNSEEN = 1000  # seeds between those of the repetitions and those that the best configuration is trained again with
# Beside the flags of a configuration that is trained on all rows, and none of them validates.
ALL_ROWS = {"val_fraction": 0.0, "monitor": LAST, "patience": None, "calibrate": False}
log = logging.getLogger("commander")


@dataclass(frozen=True)
class Configuration:
    """A checked configuration: `name` tells it from every other, `given` are the flags its run is started with."""

    name: str
    cell: Cell
    given: dict[str, Any]

    def settled(self) -> Flags:
        """Every flag of its run."""
        return choices.settle(args.resolve(self.given))


def configurations(cells: Sequence[Cell], series_flags: Mapping[str, Any] | None = None) -> list[Configuration]:
    """The configurations checked, equal ones merged with a warning. Raises UsageError for the first that no run could
    start with.

    `series_flags` are flags that runs have in addition.
    """
    found: dict[str, Configuration] = {}
    axes = varying(cells)
    if "seed" in axes:
        hint = "--reps, and base: {seed: 42}"
        raise UsageError("seed is no axis: repetition r has seed + r, in every configuration", hint=hint)
    for number, cell in enumerate(cells, start=1):
        words = said(cell, axes)
        try:
            one = configuration(cell, series_flags)
        except UsageError as error:
            where = f"configuration {number} of {len(cells)}: {words}"
            raise UsageError(error.what, where=where, hint=error.hint) from error
        if first := found.get(one.name):
            equal = said(first.cell, axes)
            if one.given.get("batch_size") != first.given.get("batch_size"):
                what = (
                    f"configuration {number} ({words}) has batches of {base.BATCH_SIZE}, and ({equal}) of the default"
                )
                hint = "batch-size in both configurations"
                raise UsageError(f"{what} size: a study does not tell these apart", hint=hint)
            log.warning("configuration %d (%s) is equal to (%s), and merged with it", number, words, equal)
        found.setdefault(one.name, one)
    return list(found.values())


def configuration(cell: Cell, series_flags: Mapping[str, Any] | None = None) -> Configuration:
    """One configuration after every check of the commander. Raises UsageError where its flags are not a new run's."""
    given, more = args.parse(typed(cell)) | {"no_figures": True}, series_flags or {}
    if more and (own := OF_THE_SERIES & given.keys()):
        what = f"{args.flag_name(min(own))} is not for a configuration where folds validate in turn"
        raise UsageError(what, hint="leave it out")
    if wrong := args.complaints({**given, **more}):
        raise UsageError("; ".join(wrong), hint=f"{program()} --help")
    choices.settle(args.resolve({**given, **more}))
    flags = choices.settle(args.resolve(given))
    if not (flags.dataset or flags.data_file):
        raise UsageError("the configuration names no dataset", hint="base: {dataset: synth}")
    for flag in args.FLAGS:
        if flag.is_path(given.get(flag.name)):
            given[flag.name] = os.path.abspath(given[flag.name])  # workers may stand in another folder
    kept = build.kept(flags) | {name: given[name] for name in OF_PATHS if name in given}
    usual = {**args.FLAGS.defaults, **(NAMELESS if kept["batch_size"] else {})}
    facts = {key: value for key, value in kept.items() if key not in OF_THE_MACHINE and value != usual[key]}
    name = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:8]
    return Configuration(name, cell, given)


def repeated(one: Configuration, rep: int, *, stage: str = FIRST, tested: bool = True, seeds: int = 0) -> Task:
    """Repetition `rep`, from 0, with the same seed and split in every configuration; the first `seeds` are left out."""
    seed = one.given.get("seed", args.FLAGS.defaults["seed"]) + seeds + rep
    length = {name: args.FLAGS.defaults[name] for name in LENGTH}
    return Task(one.name, rep, stage, {**one.given, "seed": seed}, one.cell, tested, length)


def typed(cell: Cell) -> list[str]:
    """The configuration as a command line; parts of a flag (model-args.stem) are joined with commas."""
    whole: dict[str, str] = {}
    for key, value in cell.items():
        flag, _, part = key.partition(".")
        whole[flag] = ",".join(filter(None, [whole.get(flag), f"{part}={value}"])) if part else value
    names = [known(flag).name for flag in whole]
    if twice := [flag for flag, name in zip(whole, names, strict=True) if names.count(name) > 1]:
        raise UsageError(f"{' and '.join(twice)} are one flag", hint="one of them")
    return [word for flag, value in whole.items() for word in _words(flag, value)]


def known(flag: str) -> Flag:
    """The declaration of `flag`. Raises UsageError where there is none, or a grid may not set it."""
    found = args.FLAGS.by_spelling.get(f"--{flag}")
    if found is None:
        raise args.FLAGS.parser.unknown(f"--{flag}")
    if not found.kept:
        raise UsageError(f"--{flag} is of one command, not of a run", hint="leave it out of the grid")
    return found


def _words(flag: str, value: str) -> list[str]:
    if known(flag).type is not bool:
        return [f"--{flag}={value}"]
    if value not in plans.SWITCH:
        raise UsageError(f"{flag} is {value}, it is a switch", hint="true or false")
    return [f"--{flag}"] * plans.SWITCH[value]


def said(cell: Cell, axes: Collection[str]) -> str:
    """The values in which a configuration differs from others."""
    without = f"without {', '.join(axes)}" if axes else "the only one"
    return " ".join(f"{key}={cell[key]}" for key in axes if key in cell) or without


def groups(tasks: Sequence[Task], most: int) -> list[tuple[Task, ...]]:
    """The tasks in order, in groups of at most `most` that train on the same rows in the same batches."""
    if most == 1:
        return [(task,) for task in tasks]
    alike: dict[str, list[Task]] = {}
    for task in tasks:
        flags = choices.settle(args.resolve(task.given))
        alike.setdefault(
            repr((_rows(flags), [getattr(flags, name) for name in args.FLAGS.names("batches")])), []
        ).append(task)
    return [tuple(each[begin : begin + most]) for each in alike.values() for begin in range(0, len(each), most)]


def _rows(flags: Flags) -> tuple:
    """Everything that decides the rows of a run."""
    return (flags.root_dir, flags.dataset, flags.strict_split, *build.data_options(flags).items())


class Memo:
    """Loads data, and keeps the last for the next run that needs the same."""

    def __init__(self) -> None:
        self.key: Any = None
        self.data: Data | None = None

    def __call__(self, flags: Flags) -> Data:
        key = _rows(flags)
        if key != self.key:
            self.key = self.data = None  # two are not held at once
            self.data = build.load_data(flags)
            self.key = key
        return self.data


def networks(
    found: Sequence[Configuration], root: Path, load: Callable[[Flags], Data]
) -> Iterator[tuple[dict[str, int], str]]:
    """The cost of each configuration's network, and a digest of its parts and outputs.

    Networks are built with the same seed and see the same rows, so that equal ones have equal digests.
    """
    import torch

    for one in found:
        flags = choices.settle(args.resolve(one.given | {"root_dir": str(root)}))
        spec = load(flags).spec
        model = build.network(flags, spec).eval()
        transfer.TRAIN[flags.train](model)
        with torch.inference_mode():
            answer = model(*cost.inputs(spec, 2))
        digest = hashlib.sha256(str(model).encode() + answer.numpy().tobytes()).hexdigest()
        yield cost.size_and_work(model, spec), digest


def idle_axes(found: Sequence[Configuration], digests: Mapping[str, str]) -> list[str]:
    """A line for each two values of an axis of networks that build identical ones wherever both occur.

    `digests` are those of `networks`, by name of configuration.
    """
    lines = []
    for key in varying([one.cell for one in found]):
        if key.partition(".")[0] not in OF_THE_NETWORK:
            continue
        alike: dict[tuple, dict[str, str]] = {}
        for one in found:
            rest = tuple(sorted((other, value) for other, value in one.cell.items() if other != key))
            alike.setdefault(rest, {})[one.cell.get(key, "")] = digests[one.name]
        for one_value, other in combinations(dict.fromkeys(value for group in alike.values() for value in group), 2):
            pairs = {(group[one_value], group[other]) for group in alike.values() if {one_value, other} <= group.keys()}
            if pairs and all(first == second for first, second in pairs):
                lines.append(f"{key}={one_value} and {key}={other} build identical networks")
    return lines


@dataclass(frozen=True)
class Series:
    """The runs of each configuration of a `stage`: `reps` seeds, each on `folds` folds, 1 for none.

    The first `seeds` are left out; `whole` trains on all rows. `after` stands before the name of a stage whose weights
    are used.
    """

    stage: str = FIRST
    reps: int = 1
    folds: int = 1
    tested: bool = True
    seeds: int = 0
    whole: bool = False
    after: str = ""

    def __len__(self) -> int:
        return self.reps * self.folds

    def __str__(self) -> str:
        often = f"{self.reps} repetitions"
        if self.folds == 1:
            return often
        return f"{self.folds} folds" if self.reps == 1 else f"{often} of {self.folds} folds"

    def configuration(self, cell: Cell) -> Configuration:
        """The configuration, checked."""
        return configuration(cell, self._flags(0))

    def configurations(self, found: Sequence[Cell]) -> list[Configuration]:
        """The configurations, checked."""
        return configurations(found, self._flags(0))

    def tasks(self, found: Sequence[Configuration], ledger: Ledger) -> list[Task]:
        """Every run, all configurations once before any a second time."""
        return [self.task(one, number, ledger) for number in range(len(self)) for one in found]

    def task(self, one: Configuration, number: int, ledger: Ledger) -> Task:
        """Run `number`, from 0, of a configuration; where that starts with a stage's weights, with those of the same
        run."""
        task = repeated(one, number // self.folds, stage=self.stage, tested=self.tested, seeds=self.seeds)
        task = replace(task, rep=number, given={**task.given, **self._flags(number)})
        if self.seeds:  # the split stays that of the choice, so that no choice has seen a row that tests
            task.given["split_seed"] = build.dividing(one.given)["seed"]
        source = plans.named(one.cell, ledger.plans()) if plans.PRETRAINED in one.cell else None
        if source:
            task.given["pretrained"] = self._weights(task, *source, ledger=ledger)
        return task

    def _flags(self, number: int) -> dict[str, Any]:
        if self.whole:
            return ALL_ROWS
        return {"val_fold": f"{number % self.folds + 1}/{self.folds}"} if self.folds > 1 else {}

    def _weights(self, task: Task, stage: str, cell: str, *, ledger: Ledger) -> str:
        """The name of the run whose weights a run starts with. Raises UsageError where it is not done, or has another
        split."""
        key = f"{self.after}{stage}-{cell}_{task.rep}"
        record = ledger.record(key)
        if record is None or ledger.state(record, tested=record["tested"]) != DONE:
            what = f"{task.key} starts with the weights of {key}, which is not done"
            raise UsageError(what, where=str(ledger.path), hint="--retry, where that has failed")
        theirs, own = build.dividing(record["given"]), build.dividing(task.given)
        same = record["given"].get("dataset") == task.given.get("dataset")
        if same and (other := [name for name in own if theirs[name] != own[name]]):
            values = f"{args.flag_name(other[0])} is {own[other[0]]}, and was {theirs[other[0]]}"
            what = (
                f"{task.key} would start with weights of {key} that were trained on rows it is validated on: {values}"
            )
            raise UsageError(what, where=str(ledger.path), hint="the same in both stages")
        return ledger.folder(record).name
