"""Turns a configuration of a grid into the flags of runs: parses and checks it as the commander does, names it, repeats
it.

Run n has the same seed and fold in every configuration. So differences between configurations are paired, and a run
that starts with the weights of run n of another configuration validates on rows that those weights never saw.
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

# A configuration's name is the same with this value and without one: it was the default of the first version.
NAMELESS = {"batch_size": base.BATCH_SIZE}
OF_THE_SERIES = {*args.FLAGS.names("validates")}  # set by the study if it has folds
OF_THE_NETWORK = [args.FLAGS.by_name[name].typed.lstrip("-") for name in args.FLAGS.names("network")]
UNSEEN = 1000  # distance of the new seeds of the best configuration from the seeds of the repetitions
# Added to the flags of a configuration that trains on all rows, without validation.
ALL_ROWS = {"val_fraction": 0.0, "monitor": LAST, "patience": None, "calibrate": False}
log = logging.getLogger("commander")


@dataclass(frozen=True)
class Configuration:
    """A checked configuration: `name` is unique, `given` are the flags of its run."""

    name: str
    cell: Cell
    given: dict[str, Any]

    def settled(self) -> Flags:
        """All flags of its run."""
        return choices.settle(args.resolve(self.given))


@dataclass(frozen=True)
class Series:
    """The runs of each configuration of a `stage`: `reps` seeds, each on `folds` folds, 1 for none.

    `seeds` is added to every seed; `whole` trains on all rows. `after` is the prefix of the stage that the initial
    weights come from.
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
        """The flags of run `number` in addition to its configuration's."""
        if self.whole:
            return ALL_ROWS
        return {"val_fold": f"{number % self.folds + 1}/{self.folds}"} if self.folds > 1 else {}

    def jobs(self, found: Sequence[Configuration], ledger: Ledger) -> list[Job]:
        """All runs: the first run of every configuration, then the second ones, and so on."""
        return [self.job(one, number, ledger) for number in range(len(self)) for one in found]

    def job(self, one: Configuration, number: int, ledger: Ledger) -> Job:
        """Run `number`, from 0, of a configuration; initial weights of a stage come from its run `number`."""
        seed = one.given.get("seed", args.FLAGS.defaults["seed"]) + self.seeds + number // self.folds
        given = {**one.given, "seed": seed, **self.flags(number)}
        if self.seeds:  # keeps the split of the search, so that its choices never saw a test row
            given["split_seed"] = build.dividing(one.given)["seed"]
        settled = one.settled()
        length = {name: getattr(settled, name) for name in LENGTH}
        job = Job(one.name, number, self.stage, given, one.cell, self.tested, length)
        if plans.PRETRAINED in one.cell and (source := plans.source_of(one.cell, ledger.plans())):
            given["pretrained"] = self._weights(job, *source, ledger=ledger)
        return job

    def _weights(self, job: Job, stage: str, cell: str, *, ledger: Ledger) -> str:
        """The run folder of a job's initial weights. Raises UsageError if that run is not done or has another split."""
        key = f"{self.after}{stage}-{cell}_{job.rep}"
        record = ledger.record(key)
        status = ledger.status(record)
        if not (record and status.folder and status.state == DONE):
            what = f"{job.key} starts with the weights of {key}, which is not done"
            raise UsageError(what, where=str(ledger.path), hint="--retry, if that run has failed")
        theirs, own = build.dividing(record["given"]), build.dividing(job.given)
        same = record["given"].get("dataset") == job.given.get("dataset")
        if same and (other := [name for name in own if theirs[name] != own[name]]):
            values = f"{args.flag_name(other[0])} is {own[other[0]]}, and was {theirs[other[0]]}"
            what = f"{job.key} would start with weights of {key} that were trained on its validation rows: {values}"
            raise UsageError(what, where=str(ledger.path), hint="the same value in both stages")
        return status.folder.name


ONCE = Series()


def configurations(cells: Sequence[Cell], runs: Series = ONCE) -> list[Configuration]:
    """The checked configurations; merges equal ones with a warning. Raises UsageError for the first invalid one."""
    found: dict[str, Configuration] = {}
    axes = varying(cells)
    if "seed" in axes:
        hint = "--reps, and base: {seed: 42}"
        raise UsageError("seed cannot be an axis: repetition r has seed + r in every configuration", hint=hint)
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
            what = f"configuration {number} ({words}) has batch-size {base.BATCH_SIZE}, and ({equal}) the default"
            hint = "batch-size in both configurations"
            raise UsageError(f"{what}: they would have the same name", hint=hint)
        log.warning("configuration %d (%s) equals (%s), and is merged with it", number, words, equal)
    return list(found.values())


def configuration(cell: Cell, runs: Series = ONCE) -> Configuration:
    """One configuration, after all checks of the commander. Raises UsageError for flags that a new run cannot have."""
    given, more = args.parse(typed(cell)) | NO_FIGURES, runs.flags()
    if more and (own := OF_THE_SERIES & given.keys()):
        what = f"{args.flag_name(min(own))} cannot be combined with folds"
        raise UsageError(what, hint="leave it out")
    if wrong := args.complaints({**given, **more}):
        raise UsageError("; ".join(wrong), hint=f"{program()} --help")
    choices.settle(args.resolve({**given, **more}))
    flags = choices.settle(args.resolve(given))
    if not (flags.dataset or flags.data_file):
        raise UsageError("the configuration names no dataset", hint="base: {dataset: synth}")
    for flag in args.FLAGS:
        if flag.is_path(given.get(flag.name)):
            given[flag.name] = os.path.abspath(given[flag.name])  # workers may have another working folder
    paths = {flag.name for flag in args.FLAGS if flag.path in ("file", "run")}
    kept = build.kept(flags) | {name: given[name] for name in paths if name in given}
    usual = {**args.FLAGS.defaults, **(NAMELESS if kept["batch_size"] else {})}
    facts = {key: value for key, value in kept.items() if key not in OF_THE_MACHINE and value != usual[key]}
    if "mixed-precision" in cell and facts.pop("precision", None) == "bfloat16":  # its name in earlier versions
        facts["mixed_precision"] = True
    name = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:8]
    return Configuration(name, cell, given)


def typed(cell: Cell) -> list[str]:
    """The configuration as a command line; joins parts of a flag (model-args.stem) with commas."""
    whole: dict[str, str] = {}
    for key, value in cell.items():
        flag, _, part = key.partition(".")
        whole[flag] = ",".join(filter(None, [whole.get(flag), f"{part}={value}"])) if part else value
    flags = {key: known(key) for key in whole}
    names = [flag.name for flag in flags.values()]
    if twice := [key for key, flag in flags.items() if names.count(flag.name) > 1]:
        raise UsageError(f"{' and '.join(twice)} are the same flag", hint="only one of them")
    line = []
    for key, value in whole.items():
        if flags[key].const and value in plans.SWITCH:
            word = flags[key].of_switch(on=plans.SWITCH[value])
            line += [f"--{key}={word}"] if word else []
        elif flags[key].type is not bool:
            line.append(f"--{key}={value}")
        elif value not in plans.SWITCH:
            raise UsageError(f"{key} is {value}, must be true or false", hint="true or false")
        elif plans.SWITCH[value]:
            line.append(f"--{key}")
    return line


def known(key: str) -> Flag:
    """The declaration of a flag. Raises UsageError for an unknown flag, or one that a grid cannot set."""
    flag = args.FLAGS.by_spelling.get(f"--{key}")
    if flag is None:
        raise args.FLAGS.parser.unknown(f"--{key}")
    if not flag.kept:
        raise UsageError(
            f"--{key} cannot be set in a grid, it is no property of a run", hint="leave it out of the grid"
        )
    return flag


def differing(cell: Cell, axes: Collection[str]) -> str:
    """The values of a configuration's `axes`, as text."""
    without = f"without {', '.join(axes)}" if axes else "the only one"
    return " ".join(f"{key}={cell[key]}" for key in axes if key in cell) or without


def groups(jobs: Sequence[Job], most: int) -> list[tuple[Job, ...]]:
    """The jobs in order, in groups of at most `most` with the same rows and batches."""
    if most == 1:
        return [(job,) for job in jobs]
    alike: dict[str, list[Job]] = {}
    for job in jobs:
        flags = choices.settle(args.resolve(job.given))
        batches = [getattr(flags, name) for name in args.FLAGS.names("batches")]
        alike.setdefault(repr((_rows(flags), batches)), []).append(job)
    return [tuple(each[begin : begin + most]) for each in alike.values() for begin in range(0, len(each), most)]


def _rows(flags: Flags) -> tuple[Any, ...]:
    """All flags that decide the rows of a run."""
    typed = (flags.root_dir, flags.dataset, flags.strict_split, flags.label_fraction)
    return (*typed, *build.data_options(flags).items())


class Memo:
    """Loads data, and keeps the last data for a next run with the same rows."""

    def __init__(self) -> None:
        self.kept: tuple[Any, Data] | None = None

    def __call__(self, flags: Flags) -> Data:
        key = _rows(flags)
        if self.kept is None or self.kept[0] != key:
            self.kept = None  # never holds two data sets in memory
            self.kept = key, build.load_data(flags)
        return self.kept[1]


def networks(found: Sequence[Configuration], root: Path) -> Iterator[tuple[dict[str, int], str]]:
    """The cost of each configuration's network, and a digest of its parts and outputs.

    All have the same seed and inputs, so that equal networks have equal digests.
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
    """A line for each two values of a network's axis that always build identical networks.

    `digests` from `networks`, by name of configuration.
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
