"""A search over a grid with ranges: Optuna draws configurations and learns their validation scores; the test stays
closed.

Its trials are kept in `study.log` in the study's folder, and resumed: a trial that was under way when the driver ended
is still the same run. Every draw has its own seed, so that one worker, stopped or not, tries the same configurations.
Where folds validate in turn, the value of a trial is the mean over them. Its first fold runs alone, the pruner sees the
epochs of that, and the others run only when it is done.
"""

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from math import prod
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import optuna

from studies import tables, worker
from studies.cells import Configuration, Series
from studies.grid import Range, Space, few_enough
from studies.ledger import DONE, FAILED, PRUNED, SEARCH, Ledger, Task, key_of
from toolbox import tasks
from toolbox.errors import UsageError
from toolbox.registry import pick

if TYPE_CHECKING:
    from studies.runner import Engine, Progress
    from toolbox.terminal import StopRequest

SAMPLERS = {
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "grid": lambda seed: optuna.samplers.RandomSampler(seed=seed),  # every configuration is queued, none is drawn
}
PRUNERS = {
    "median": lambda epochs: optuna.pruners.MedianPruner(),
    "hyperband": lambda epochs: optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs),
}
State = optuna.trial.TrialState
# The lock of a journal that one process alone writes, since the study is locked as a whole.
ALONE = SimpleNamespace(acquire=lambda: True, release=lambda: None)
log = logging.getLogger("commander")


def distributions(space: Space) -> dict[str, optuna.distributions.BaseDistribution]:
    """Optuna's distributions: a choice for every axis of rows, a number for every range."""
    return {name: _distribution(axis) for name, axis in space.drawn().items()}


def _distribution(axis: Any) -> optuna.distributions.BaseDistribution:
    if not isinstance(axis, Range):
        return optuna.distributions.CategoricalDistribution(list(axis))
    if axis.kind == "randint":
        return optuna.distributions.IntDistribution(int(axis.low), int(axis.high))
    return optuna.distributions.FloatDistribution(axis.low, axis.high, log=axis.kind == "loguniform")


def known(sampler: str | None, pruner: str | None) -> None:
    """Raise a UsageError where a name is unknown."""
    for flag, table, name in (("search", SAMPLERS, sampler), ("pruner", PRUNERS, pruner)):
        if name is not None:
            pick(flag, table, name)


@dataclass
class UnderWay:
    """A configuration that is tried, the trials that drew it, and the final states of its runs."""

    one: Configuration
    numbers: list[int]
    ended: list[str] = field(default_factory=list)


class Search:
    """Asks Optuna for trials, has them run, and reports their epochs and results."""

    def __init__(
        self, ledger: Ledger, space: Space, runs: Series, *, sampler: str, pruner: str | None, trials: int
    ) -> None:
        self.make_sampler = SAMPLERS[sampler]
        flags = runs.configuration(next(space.probes())).settled()
        self.ledger, self.space, self.runs, self.metric, self.seed = ledger, space, runs, flags.monitor, flags.seed
        if self.metric == tasks.LAST:
            raise UsageError("--monitor epoch cannot rank trials", hint="a validation metric")
        made = PRUNERS[pruner](flags.epochs) if pruner else optuna.pruners.NopPruner()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        name = "study.log" if runs.stage == SEARCH else f"study-{runs.stage}.log"
        backend = optuna.storages.journal.JournalFileBackend(str(ledger.path / name), lock_obj=ALONE)
        direction = {"min": "minimize", "max": "maximize"}[tasks.mode(self.metric)]
        storage = optuna.storages.JournalStorage(backend)
        how = {"storage": storage, "study_name": ledger.path.name, "pruner": made, "load_if_exists": True}
        self.study = optuna.create_study(direction=direction, **how)
        self.trials = trials
        if sampler == "grid":
            self.trials = min(trials, self._queue_all())
        self.under: dict[str, UnderWay] = {}  # by the name of the configuration
        self.reported: dict[int, int] = {}  # epochs

    def _queue_all(self) -> int:
        """Queue every configuration of the space, once, and return their number."""
        if self.space.ranges():
            raise UsageError(
                "--search grid tries every configuration, and the grid has ranges", hint="--search tpe or random"
            )
        kinds = {name: list(axis) for name, axis in self.space.axes.items() if len(axis) > 1}
        few_enough(prod(map(len, kinds.values())))
        every = [dict(zip(kinds, values, strict=True)) for values in product(*kinds.values())]
        if not self.study.get_trials(deepcopy=False):
            for drawn in every:
                self.study.enqueue_trial(drawn)
        return len(every)

    def left(self) -> int:
        """The number of trials that have not begun."""
        begun = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state != State.WAITING]
        return self.trials - sum(trial.state != State.FAIL or "cell" in trial.user_attrs for trial in begun)

    def under_way(self) -> bool:
        """Whether trials have begun and not ended."""
        return bool(self.study.get_trials(deepcopy=False, states=[State.RUNNING]))

    def run(self, engine: "Engine", bar: "Progress", stop: "StopRequest") -> None:
        """Resume the trials under way, then ask for more, until all have ended or a stop is requested."""
        for trial in self.study.get_trials(deepcopy=False, states=[State.RUNNING]):
            self._go_on(engine, trial)
        while len(engine) or (self.left() > 0 and stop.requested is None):
            engine.pass_on(stop)
            while stop.requested is None and self.left() > 0 and len(engine) < max(1, len(engine.workers)):
                self._begin(engine)
            if ended := engine.next():
                self._tell(engine, *ended, bar)
            self._report(engine)
            bar.show(engine.doing)

    def _begin(self, engine: "Engine") -> None:
        number = len(self.study.get_trials(deepcopy=False))
        self.study.sampler = self.make_sampler(self.seed + number)
        trial = self.study.ask(distributions(self.space))
        one = self.runs.configuration(self.space.cell(trial.params))
        trial.set_user_attr("cell", one.name)
        self._submit(engine, trial.number, one)

    def _go_on(self, engine: "Engine", trial: optuna.trial.FrozenTrial) -> None:
        if trial.params.keys() != distributions(self.space).keys():  # killed while it was drawn
            self.study.tell(trial.number, state=State.FAIL)
            return
        self._submit(engine, trial.number, self.runs.configuration(self.space.cell(trial.params)))

    def _submit(self, engine: "Engine", number: int, one: Configuration) -> None:
        if one.name in self.under:
            self.under[one.name].numbers.append(number)
            return
        self.under[one.name] = UnderWay(one, [number])
        engine.submit(self.runs.task(one, 0, self.ledger))

    def _tell(self, engine: "Engine", task: Task, outcome: Mapping[str, Any], bar: "Progress") -> None:
        """A run has ended: after a trial's first fold its others begin, after its last the trial ends, unless it was
        stopped."""
        trial = self.under[task.cell]
        trial.ended.append(outcome["state"])
        if trial.ended == [DONE] and len(self.runs) > 1:
            for number in range(1, len(self.runs)):
                engine.submit(self.runs.task(trial.one, number, self.ledger))
        if trial.ended[0] == DONE and len(trial.ended) < len(self.runs):
            return
        del self.under[task.cell]
        for number in trial.numbers:
            if set(trial.ended) == {DONE}:
                value = self._value(task.cell)
                self.study.tell(number, value, state=None if value is not None else State.FAIL)
            elif {PRUNED, FAILED} & set(trial.ended):
                self.study.tell(number, state=State.PRUNED if PRUNED in trial.ended else State.FAIL)
            bar.ended(task.key, outcome)

    def _value(self, cell: str) -> float | None:
        """The mean of the best epochs' scores over the runs of a configuration, None where a run has none."""
        keys = [key_of(self.runs.stage, cell, number) for number in range(len(self.runs))]
        best = [tables.best_epoch(self._history(key), self.metric) for key in keys]
        scores = [epoch and epoch["val"].get(self.metric) for epoch in best]
        return None if None in scores else sum(scores) / len(scores)

    def _report(self, engine: "Engine") -> None:
        """Report the epochs of the first runs under way to the pruner; a pruned run ends after its step."""
        if isinstance(self.study.pruner, optuna.pruners.NopPruner):
            return
        for cell, trial_under_way in self.under.items():
            number, key = trial_under_way.numbers[0], key_of(self.runs.stage, cell, 0)
            frozen = self.study.get_trials(deepcopy=False)[number]
            trial = optuna.trial.Trial(self.study, frozen._trial_id)
            for epoch in self._history(key):
                if epoch["epoch"] not in frozen.intermediate_values and epoch["val"].get(self.metric) is not None:
                    trial.report(epoch["val"][self.metric], epoch["epoch"])
            if len(frozen.intermediate_values) != self.reported.get(number) and trial.should_prune():
                engine.stop([key], signum=worker.PRUNE)
            self.reported[number] = len(frozen.intermediate_values)

    def _history(self, key: str) -> list[dict[str, Any]]:
        folder = self.ledger.folder(self.ledger.record(key))
        try:
            return tables.epochs(folder)
        except tables.DamagedRun as error:
            log.warning("%s: %s", key, error)
            return []
