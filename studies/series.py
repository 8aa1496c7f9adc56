"""The runs of a cell: repetitions with a seed each, one a fold of the training rows, or some that are trained on all of
them.

Run n of a cell has the same seed and fold in every cell, so that cells are compared in pairs, and so that a run that
begins with the weights of another, run n of another cell, was not begun with weights that its validation rows were
trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import args
from commands import build
from studies import cells, plans_stages
from studies.cells import Experiment
from studies.grid import Cell
from studies.ledger import DONE, Ledger, Task
from toolbox.errors import UsageError
from toolbox.tasks import LAST

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
        return cells.experiment(cell, self._beside(0))

    def experiments(self, found: Sequence[Cell]) -> list[Experiment]:
        """The cells, each seen to be a run that could begin."""
        return cells.experiments(found, self._beside(0))

    def tasks(self, found: Sequence[Experiment], ledger: Ledger) -> list[Task]:
        """Every run, all cells once before any a second time."""
        return [self.task(one, number, ledger) for number in range(len(self)) for one in found]

    def task(self, one: Experiment, number: int, ledger: Ledger) -> Task:
        """Run `number`, from 0, of a cell; of a cell that begins with a stage's weights, with those of the run that it
        may."""
        task = cells.repeated(one, number // self.folds, stage=self.stage, tested=self.tested, seeds=self.seeds)
        task = replace(task, rep=number, given={**task.given, **self._beside(number)})
        if self.seeds:  # the sides stay those that the cell was chosen on, so that no choice has seen a row that tests
            task.given["split_seed"] = build.dividing(one.given)["seed"]
        begun = plans_stages.named(one.cell, ledger.plans()) if plans_stages.PRETRAINED in one.cell else None
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
