"""A configuration of a grid becomes the flags of runs: parsed and checked as the commander does, named, and repeated.

Run n of a configuration has the same seed and fold in every configuration. So configurations are compared in pairs,
and a run that starts with the weights of run n of another configuration validates on rows those weights never saw.
"""

import hashlib
import json
import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import args
from commands import build, choices
from loaders import base
from loaders.base import Data
from studies import plans
from studies.grid import Cell, varying
from studies.ledger import DONE, FIRST, LENGTH, NO_FIGURES, OF_THE_MACHINE, Job, Ledger
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

    def flags(self, number: int = 0) -> dict[str, Any]:
        """The flags that run `number` has in addition to those of its configuration."""
        if self.whole:
            return ALL_ROWS
        return {"val_fold": f"{number % self.folds + 1}/{self.folds}"} if self.folds > 1 else {}

    def jobs(self, found: Sequence[Configuration], ledger: Ledger) -> list[Job]:
        """Every run, all configurations once before any a second time."""
        return [self.job(one, number, ledger) for number in range(len(self)) for one in found]

    def job(self, one: Configuration, number: int, ledger: Ledger) -> Job:
        """Run `number`, from 0, of a configuration; where that starts with a stage's weights, with those of the same
        run."""
        seed = one.given.get("seed", args.FLAGS.defaults["seed"]) + self.seeds + number // self.folds
        given = {**one.given, "seed": seed, **self.flags(number)}
        if self.seeds:  # the split stays that of the choice, so that no choice has seen a row that tests
            given["split_seed"] = build.dividing(one.given)["seed"]
        length = {name: args.FLAGS.defaults[name] for name in LENGTH}
        job = Job(one.name, number, self.stage, given, one.cell, self.tested, length)
        if plans.PRETRAINED in one.cell and (source := plans.source_of(one.cell, ledger.plans())):
            given["pretrained"] = self._weights(job, *source, ledger=ledger)
        return job

    def _weights(self, job: Job, stage: str, cell: str, *, ledger: Ledger) -> str:
        """The name of the run whose weights a run starts with. Raises UsageError where it is not done, or has another
        split."""
        key = f"{self.after}{stage}-{cell}_{job.rep}"
        record = ledger.record(key)
        status = ledger.status(record)
        if not (record and status.folder and status.state == DONE):
            what = f"{job.key} starts with the weights of {key}, which is not done"
            raise UsageError(what, where=str(ledger.path), hint="--retry, where that has failed")
        theirs, own = build.dividing(record["given"]), build.dividing(job.given)
        same = record["given"].get("dataset") == job.given.get("dataset")
        if same and (other := [name for name in own if theirs[name] != own[name]]):
            values = f"{args.flag_name(other[0])} is {own[other[0]]}, and was {theirs[other[0]]}"
            what = f"{job.key} would start with weights of {key} that were trained on rows it is validated on: {values}"
            raise UsageError(what, where=str(ledger.path), hint="the same in both stages")
        return status.folder.name


ONCE = Series()


def configurations(cells: Sequence[Cell], runs: Series = ONCE) -> list[Configuration]:
    """The configurations checked, equal ones merged with a warning. Raises UsageError for the first that no run could
    start with."""
    found: dict[str, Configuration] = {}
    axes = varying(cells)
    if "seed" in axes:
        hint = "--reps, and base: {seed: 42}"
        raise UsageError("seed is no axis: repetition r has seed + r, in every configuration", hint=hint)
    for number, cell in enumerate(cells, start=1):
        words = differing(cell, axes)
        try:
            one = configuration(cell, runs)
        except UsageError as error:
            where = f"configuration {number} of {len(cells)}: {words}"
            raise UsageError(error.what, where=where, hint=error.hint) from error
        first = found.setdefault(one.name, one)
        if first is one:
            continue
        equal = differing(first.cell, axes)
        if one.given.get("batch_size") != first.given.get("batch_size"):
            what = f"configuration {number} ({words}) has batches of {base.BATCH_SIZE}, and ({equal}) of the default"
            hint = "batch-size in both configurations"
            raise UsageError(f"{what} size: a study does not tell these apart", hint=hint)
        log.warning("configuration %d (%s) is equal to (%s), and merged with it", number, words, equal)
    return list(found.values())


def configuration(cell: Cell, runs: Series = ONCE) -> Configuration:
    """One configuration after every check of the commander. Raises UsageError where its flags are not a new run's."""
    given, more = args.parse(typed(cell)) | NO_FIGURES, runs.flags()
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


def typed(cell: Cell) -> list[str]:
    """The configuration as a command line; parts of a flag (model-args.stem) are joined with commas."""
    whole: dict[str, str] = {}
    for key, value in cell.items():
        flag, _, part = key.partition(".")
        whole[flag] = ",".join(filter(None, [whole.get(flag), f"{part}={value}"])) if part else value
    flags = {key: known(key) for key in whole}
    names = [flag.name for flag in flags.values()]
    if twice := [key for key, flag in flags.items() if names.count(flag.name) > 1]:
        raise UsageError(f"{' and '.join(twice)} are one flag", hint="one of them")
    line = []
    for key, value in whole.items():
        if flags[key].type is not bool:
            line.append(f"--{key}={value}")
        elif value not in plans.SWITCH:
            raise UsageError(f"{key} is {value}, it is a switch", hint="true or false")
        elif plans.SWITCH[value]:
            line.append(f"--{key}")
    return line


def known(key: str) -> Flag:
    """The declaration of a flag. Raises UsageError where there is none, or a grid may not set it."""
    flag = args.FLAGS.by_spelling.get(f"--{key}")
    if flag is None:
        raise args.FLAGS.parser.unknown(f"--{key}")
    if not flag.kept:
        raise UsageError(f"--{key} is of one command, not of a run", hint="leave it out of the grid")
    return flag


def differing(cell: Cell, axes: Collection[str]) -> str:
    """The values in which a configuration differs from others."""
    without = f"without {', '.join(axes)}" if axes else "the only one"
    return " ".join(f"{key}={cell[key]}" for key in axes if key in cell) or without


def groups(jobs: Sequence[Job], most: int) -> list[tuple[Job, ...]]:
    """The jobs in order, in groups of at most `most` that train on the same rows in the same batches."""
    if most == 1:
        return [(job,) for job in jobs]
    alike: dict[str, list[Job]] = {}
    for job in jobs:
        flags = choices.settle(args.resolve(job.given))
        batches = [getattr(flags, name) for name in args.FLAGS.names("batches")]
        alike.setdefault(repr((_rows(flags), batches)), []).append(job)
    return [tuple(each[begin : begin + most]) for each in alike.values() for begin in range(0, len(each), most)]


def _rows(flags: Flags) -> tuple[Any, ...]:
    """Everything that decides the rows of a run."""
    return (flags.root_dir, flags.dataset, flags.strict_split, *build.data_options(flags).items())


class Memo:
    """Loads data, and keeps the last for the next run that needs the same."""

    def __init__(self) -> None:
        self.kept: tuple[Any, Data] | None = None

    def __call__(self, flags: Flags) -> Data:
        key = _rows(flags)
        if self.kept is None or self.kept[0] != key:
            self.kept = None  # two are not held at once
            self.kept = key, build.load_data(flags)
        return self.kept[1]


def networks(found: Sequence[Configuration], root: Path) -> Iterator[tuple[dict[str, int], str]]:
    """The cost of each configuration's network, and a digest of its parts and outputs.

    Networks are built with the same seed and see the same rows, so that equal ones have equal digests.
    """
    import torch

    load = Memo()
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
