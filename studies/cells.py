"""A cell of a grid becomes the flags of a run: read by the commander's own parser, checked as its own, named, and
counted.

The runs of a cell: repetitions with a seed each, one a fold of the training rows, or some that are trained on all of
them.

Run n of a cell has the same seed and fold in every cell, so that cells are compared in pairs, and so that a run that
begins with the weights of another, run n of another cell, was not begun with weights that its validation rows were
trained on.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Any

import args
from commands import build, choices
from loaders import base
from loaders.base import Data
from studies import plans
from studies.grid import Cell, varying
from studies.ledger import DONE, LENGTH, OF_THE_MACHINE, Ledger, Task
from toolbox.errors import UsageError, program
from toolbox.flags import Flag, Flags
from toolbox.metrics import cost
from toolbox.tasks import LAST
from toolbox.training import transfer

SWITCH = {"true": True, "false": False}
OF_PATHS = {flag.name for flag in args.FLAGS if flag.path in ("file", "run")}
# A typed value that a cell's name does not tell from none: such was the default when cells were first named.
NAMELESS = {"batch_size": base.BATCH_SIZE}
OF_THE_SERIES = {*args.FLAGS.names("validates")}  # where it has folds
Given = Mapping[str, Any]
NOTHING: Given = MappingProxyType({})
OF_THE_NETWORK = [args.FLAGS.by_name[name].typed.lstrip("-") for name in args.FLAGS.names("network")]
log = logging.getLogger("commander")


@dataclass(frozen=True)
class Experiment:
    """A cell that was checked: `name` tells it from every other, `given` is what its run would have been typed with."""

    name: str
    cell: Cell
    given: dict[str, Any]


def experiments(cells: Sequence[Cell], beside: Given = NOTHING) -> list[Experiment]:
    """The cells checked, equal ones merged, which is said; a UsageError names the first cell that no run could begin
    with.

    `beside` are flags that a run has beside its cell's.
    """
    found: dict[str, Experiment] = {}
    axes = varying(cells)
    if "seed" in axes:
        raise UsageError(
            "seed is no axis: repetition r has seed + r, in every cell", hint="--reps, and base: {seed: 42}"
        )
    for number, cell in enumerate(cells, start=1):
        try:
            one = experiment(cell, beside)
        except UsageError as error:
            raise UsageError(
                error.what, where=f"cell {number} of {len(cells)}: {said(cell, axes)}", hint=error.hint
            ) from error
        if one.name in found:
            equal = said(found[one.name].cell, axes)
            if one.given.get("batch_size") != found[one.name].given.get("batch_size"):
                what = (
                    f"cell {number} ({said(cell, axes)}) has batches of {base.BATCH_SIZE}, and ({equal}) of the"
                    " default size"
                )
                raise UsageError(f"{what}: a study does not tell these apart", hint="batch-size in both cells")
            log.warning("cell %d (%s) is equal to (%s), and merged with it", number, said(cell, axes), equal)
        found.setdefault(one.name, one)
    return list(found.values())


def experiment(cell: Cell, beside: Given = NOTHING) -> Experiment:
    """One cell, with every check that the commander makes of its flags; a UsageError where they are not a new run's."""
    given = args.parse(typed(cell)) | {"no_figures": True}
    if beside and (own := OF_THE_SERIES & given.keys()):
        raise UsageError(
            f"{args.flag_name(min(own))} is not for a cell where folds validate in turn", hint="leave it out"
        )
    if wrong := args.complaints({**given, **beside}):
        raise UsageError("; ".join(wrong), hint=f"{program()} --help")
    choices.settle(args.resolve({**given, **beside}))
    flags = choices.settle(args.resolve(given))
    if not (flags.dataset or flags.data_file):
        raise UsageError("the cell names no dataset", hint="base: {dataset: synth}")
    for flag in args.FLAGS:
        if flag.is_path(given.get(flag.name)):
            given[flag.name] = os.path.abspath(given[flag.name])  # workers may stand in another folder
    kept = build.kept(flags) | {name: given[name] for name in OF_PATHS if name in given}
    usual = {**args.FLAGS.defaults, **(NAMELESS if kept["batch_size"] else {})}
    facts = {key: value for key, value in kept.items() if key not in OF_THE_MACHINE and value != usual[key]}
    name = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:8]
    return Experiment(name, cell, given)


def repeated(one: Experiment, rep: int, *, stage: str = "grid", tested: bool = True, seeds: int = 0) -> Task:
    """Repetition `rep` of a cell, from 0; it has the same seed, and so split, in every cell. `seeds` are passed
    over."""
    seed = one.given.get("seed", args.FLAGS.defaults["seed"]) + seeds + rep
    length = {name: args.FLAGS.defaults[name] for name in LENGTH}
    return Task(one.name, rep, stage, {**one.given, "seed": seed}, one.cell, tested, length)


def settled(one: Experiment) -> Flags:
    """Every flag of a cell."""
    return choices.settle(args.resolve(one.given))


def typed(cell: Cell) -> list[str]:
    """The cell as a command line; parts of a flag (model-args.stem) are put together with commas."""
    whole: dict[str, str] = {}
    for key, value in cell.items():
        flag, _, part = key.partition(".")
        known(flag)
        whole[flag] = ",".join(filter(None, [whole.get(flag), f"{part}={value}"])) if part else value
    names = [known(flag).name for flag in whole]
    if twice := [flag for flag, name in zip(whole, names, strict=True) if names.count(name) > 1]:
        raise UsageError(f"{' and '.join(twice)} are one flag", hint="one of them")
    return [word for flag, value in whole.items() for word in _words(flag, value)]


def known(flag: str) -> Flag:
    """The declaration of `flag`; a UsageError where there is none, or a grid may not set it."""
    found = args.FLAGS.by_spelling.get(f"--{flag}")
    if found is None:
        raise args.FLAGS.parser.unknown(f"--{flag}")
    if not found.kept:
        raise UsageError(f"--{flag} is of one command, not of a run", hint="leave it out of the grid")
    return found


def _words(flag: str, value: str) -> list[str]:
    if known(flag).type is not bool:
        return [f"--{flag}={value}"]
    if value not in SWITCH:
        raise UsageError(f"{flag} is {value}, it is a switch", hint="true or false")
    return [f"--{flag}"] * SWITCH[value]


def said(cell: Cell, axes: Collection[str]) -> str:
    """The cell in the words in which it differs from others."""
    without = f"without {', '.join(axes)}" if axes else "the only one"
    return " ".join(f"{key}={cell[key]}" for key in axes if key in cell) or without


def groups(tasks: Sequence[Task], most: int) -> list[tuple[Task, ...]]:
    """The tasks in groups of at most `most` that see the same rows in the same batches, those begun first first."""
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
    """What decides the rows that a run has."""
    return (flags.root_dir, flags.dataset, flags.strict_split, *build.data_options(flags).items())


class Memo:
    """Loads data, and keeps the last that was loaded for whoever asks for the same."""

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
    found: Sequence[Experiment], root: Path, load: Callable[[Flags], Data]
) -> Iterator[tuple[dict[str, int], str]]:
    """Of each experiment what its network costs, and what tells it from another: its parts and what it answers.

    Networks are built with the same seed and asked for the same rows, so that equal ones answer alike.
    """
    import torch

    for one in found:
        flags = choices.settle(args.resolve(one.given | {"root_dir": str(root)}))
        spec = load(flags).spec
        model = build.network(flags, spec).eval()
        transfer.TRAIN[flags.train](model)
        with torch.inference_mode():
            answer = model(*cost.inputs(spec, 2))
        told = hashlib.sha256(str(model).encode() + answer.numpy().tobytes()).hexdigest()
        yield cost.size_and_work(model, spec), told


def idle_axes(found: Sequence[Experiment], told: Mapping[str, str]) -> list[str]:
    """A line for each two values of an axis of networks that build identical ones wherever both occur; `told` is by
    name."""
    lines = []
    for key in varying([one.cell for one in found]):
        if key.partition(".")[0] not in OF_THE_NETWORK:
            continue
        groups: dict[tuple, dict[str, str]] = {}
        for one in found:
            rest = tuple(sorted((other, value) for other, value in one.cell.items() if other != key))
            groups.setdefault(rest, {})[one.cell.get(key, "")] = told[one.name]
        values = list(dict.fromkeys(value for group in groups.values() for value in group))
        for one_value, other in combinations(values, 2):
            pairs = [
                (group[one_value], group[other]) for group in groups.values() if {one_value, other} <= group.keys()
            ]
            if pairs and all(one == beside for one, beside in pairs):
                lines.append(f"{key}={one_value} and {key}={other} build identical networks")
    return lines


UNSEEN = 1000  # seeds between those of the repetitions and those that the best cell is trained again with
# Beside the flags of a cell that is trained on all rows, and none of them validates.
ALL_ROWS = {"val_fraction": 0.0, "monitor": LAST, "patience": None, "calibrate": False}


@dataclass(frozen=True)
class Series:
    """Runs of a `stage`: of each cell `reps` with seeds of their own, each on `folds` folds, 1 for none.

    `seeds` are passed over; `whole` trains on all rows. `after` stands before the name of a stage whose weights are
    begun with.
    """

    stage: str = "grid"
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
        return (
            often if self.folds == 1 else f"{self.folds} folds" if self.reps == 1 else f"{often} of {self.folds} folds"
        )

    def experiment(self, cell: Cell) -> Experiment:
        """The cell, seen to be a run that could begin."""
        return experiment(cell, self._beside(0))

    def experiments(self, found: Sequence[Cell]) -> list[Experiment]:
        """The cells, each seen to be a run that could begin."""
        return experiments(found, self._beside(0))

    def tasks(self, found: Sequence[Experiment], ledger: Ledger) -> list[Task]:
        """Every run, all cells once before any a second time."""
        return [self.task(one, number, ledger) for number in range(len(self)) for one in found]

    def task(self, one: Experiment, number: int, ledger: Ledger) -> Task:
        """Run `number`, from 0, of a cell; of a cell that begins with a stage's weights, with those of the run that it
        may."""
        task = repeated(one, number // self.folds, stage=self.stage, tested=self.tested, seeds=self.seeds)
        task = replace(task, rep=number, given={**task.given, **self._beside(number)})
        if self.seeds:  # the sides stay those that the cell was chosen on, so that no choice has seen a row that tests
            task.given["split_seed"] = build.dividing(one.given)["seed"]
        begun = plans.named(one.cell, ledger.plans()) if plans.PRETRAINED in one.cell else None
        return replace(task, given=task.given | {"pretrained": self._weights(task, begun, ledger)}) if begun else task

    def _beside(self, number: int) -> dict[str, Any]:
        if self.whole:
            return ALL_ROWS
        return {"val_fold": f"{number % self.folds + 1}/{self.folds}"} if self.folds > 1 else {}

    def _weights(self, task: Task, begun: tuple[str, str], ledger: Ledger) -> str:
        """The name of the run whose weights a run begins with; a UsageError where it is not done, or divided other
        rows."""
        key = f"{self.after}{begun[0]}-{begun[1]}_{task.rep}"
        record = ledger.record(key)
        if record is None or ledger.state(record, tested=record["tested"]) != DONE:
            what = f"{task.key} begins with the weights of {key}, which is not done"
            raise UsageError(what, where=str(ledger.path), hint="--retry, where that has failed")
        there, here = build.dividing(record["given"]), build.dividing(task.given)
        same = record["given"].get("dataset") == task.given.get("dataset")
        if same and (other := [name for name in here if there[name] != here[name]]):
            told = f"{args.flag_name(other[0])} is {here[other[0]]}, and was {there[other[0]]}"
            what = f"{task.key} would begin with weights of {key} that were trained on rows it is validated on: {told}"
            raise UsageError(what, where=str(ledger.path), hint="the same in both stages")
        return ledger.folder(record).name
