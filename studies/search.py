"""A search over a grid with ranges: Optuna draws configurations by their validation scores; the test stays closed.

`study.log` in the study's folder keeps the trials, so that a resumed search continues the runs of unfinished trials.
Every draw has its own seed, so that a search with one worker tries the same configurations, stopped or not. With folds,
the value of a trial is the mean over the folds. Its first fold runs alone, for the pruner; the others follow.
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
from optuna.storages.journal import JournalFileBackend

from studies import tables, worker
from studies.cells import Configuration, Series, configuration
from studies.grid import Range, Space, few_enough
from studies.ledger import DONE, FAILED, PRUNED, SEARCH, Job, Ledger, key_of
from toolbox.errors import CheckpointError, UsageError
from toolbox.registry import pick
from toolbox.runs.best import mode
from toolbox.tasks import LAST

if TYPE_CHECKING:
    from studies.runner import Bars, Engine, Outcome
    from toolbox.terminal import StopRequest

SAMPLERS = {
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "grid": lambda seed: optuna.samplers.RandomSampler(seed=seed),  # never draws: all configurations are queued
}
PRUNERS = {
    "median": lambda epochs: optuna.pruners.MedianPruner(),
    "hyperband": lambda epochs: optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs),
}
State = optuna.trial.TrialState
# The journal needs no lock of its own: the study is locked.
ALONE: Any = SimpleNamespace(acquire=lambda: True, release=lambda: None)
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


def known(sampler: str, pruner: str) -> None:
    """Raise UsageError for an unknown name."""
    pick("search", SAMPLERS, sampler)
    if pruner:
        pick("pruner", PRUNERS, pruner)


@dataclass
class UnderWay:
    """A configuration on trial, the numbers of its trials, and the final states of its runs."""

    one: Configuration
    numbers: list[int]
    ended: list[str] = field(default_factory=list)


class Search:
    """Gets trials from Optuna, submits their runs, and reports epochs and results."""

    def __init__(
        self, ledger: Ledger, space: Space, runs: Series, *, sampler: str, pruner: str = "", trials: int
    ) -> None:
        flags = configuration(next(space.probes()), runs).settled()
        self.ledger, self.space, self.runs, self.metric, self.seed = ledger, space, runs, flags.monitor, flags.seed
        if self.metric == LAST:
            raise UsageError("--monitor epoch cannot rank trials", hint="a validation metric")
        self.make_sampler = SAMPLERS[sampler]
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        name = "study.log" if runs.stage == SEARCH else f"study-{runs.stage}.log"
        self.study = optuna.create_study(
            storage=optuna.storages.JournalStorage(JournalFileBackend(str(ledger.path / name), lock_obj=ALONE)),
            study_name=ledger.path.name,
            pruner=PRUNERS[pruner](flags.epochs) if pruner else optuna.pruners.NopPruner(),
            direction="minimize" if mode(self.metric) == "min" else "maximize",
            load_if_exists=True,
        )
        self.trials = min(trials, self._queue_all()) if sampler == "grid" else trials
        self.under: dict[str, UnderWay] = {}  # by the name of the configuration
        self.reported: dict[int, int] = {}  # epochs

    def _queue_all(self) -> int:
        """Queue every configuration of the space once; returns their number."""
        if self.space.ranges():
            what = "--search grid cannot try every value of a range"
            raise UsageError(what, hint="--search tpe or random")
        kinds = {name: list(axis) for name, axis in self.space.drawn().items()}
        few_enough(prod(map(len, kinds.values())))
        every = [dict(zip(kinds, values, strict=True)) for values in product(*kinds.values())]
        if not self.study.get_trials(deepcopy=False):
            for drawn in every:
                self.study.enqueue_trial(drawn)
        return len(every)

    def left(self) -> int:
        """The number of trials that have not started."""
        started = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state != State.WAITING]
        return self.trials - sum(trial.state != State.FAIL or "cell" in trial.user_attrs for trial in started)

    def under_way(self) -> list[optuna.trial.FrozenTrial]:
        """The started, unfinished trials."""
        return self.study.get_trials(deepcopy=False, states=[State.RUNNING])

    def run(self, engine: "Engine", bar: "Bars", stop: "StopRequest") -> None:
        """Resume the unfinished trials, then start more, until all have ended or a stop is requested."""
        for trial in self.under_way():
            if trial.params.keys() == distributions(self.space).keys():
                self._submit(engine, trial)
            else:  # killed while it was drawn
                self.study.tell(trial.number, state=State.FAIL)
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
        trial.set_user_attr("cell", self._submit(engine, trial))

    def _submit(self, engine: "Engine", trial: optuna.trial.Trial | optuna.trial.FrozenTrial) -> str:
        """Submit the first run of a trial's configuration, unless it runs already; returns the name."""
        one = configuration(self.space.cell(trial.params), self.runs)
        if one.name in self.under:
            self.under[one.name].numbers.append(trial.number)
        else:
            self.under[one.name] = UnderWay(one, [trial.number])
            engine.submit(self.runs.job(one, 0, self.ledger))
        return one.name

    def _tell(self, engine: "Engine", job: Job, outcome: "Outcome", bar: "Bars") -> None:
        """Handle the end of a run: start the other folds after the first, and end the trial after the last."""
        tried = self.under[job.cell]
        tried.ended.append(outcome["state"])
        if tried.ended == [DONE]:
            for number in range(1, len(self.runs)):
                engine.submit(self.runs.job(tried.one, number, self.ledger))
        if tried.ended[0] == DONE and len(tried.ended) < len(self.runs):
            return
        del self.under[job.cell]
        for number in tried.numbers:
            if set(tried.ended) == {DONE}:
                value = self._value(job.cell)
                self.study.tell(number, value, state=None if value is not None else State.FAIL)
            elif {PRUNED, FAILED} & set(tried.ended):
                self.study.tell(number, state=State.PRUNED if PRUNED in tried.ended else State.FAIL)
            bar.ended(job.key, outcome)

    def _value(self, cell: str) -> float | None:
        """The mean over a configuration's runs of their best epochs' scores; None if a run has none."""
        keys = [key_of(self.runs.stage, cell, number) for number in range(len(self.runs))]
        scores = []
        for key in keys:
            metric, history = self._monitored(key)
            scores.append(self._score(tables.best_epoch(history, metric) or {}, metric))
        known = [score for score in scores if score is not None]
        return sum(known) / len(known) if len(known) == len(keys) else None

    def _score(self, epoch: Mapping[str, Any], metric: str) -> float | None:
        """The value of an epoch in the direction of the search."""
        value = epoch.get("val", {}).get(metric)
        return value if value is None or mode(metric) == mode(self.metric) else -value

    def _report(self, engine: "Engine") -> None:
        """Report the epochs of unfinished first runs to the pruner; a pruned run ends after its step."""
        if isinstance(self.study.pruner, optuna.pruners.NopPruner):
            return
        for cell, tried in self.under.items():
            number, key = tried.numbers[0], key_of(self.runs.stage, cell, 0)
            frozen = self.study.get_trials(deepcopy=False)[number]
            trial = optuna.trial.Trial(self.study, frozen._trial_id)
            metric, history = self._monitored(key)
            for epoch in history:
                score = self._score(epoch, metric)
                if epoch["epoch"] not in frozen.intermediate_values and score is not None:
                    trial.report(score, epoch["epoch"])
            if len(frozen.intermediate_values) != self.reported.get(number) and trial.should_prune():
                engine.stop([key], signum=worker.PRUNE)
            self.reported[number] = len(frozen.intermediate_values)

    def _monitored(self, key: str) -> tuple[str, list[dict[str, Any]]]:
        """The metric of a run's best epoch, which its rows decide if none is typed, and its epochs."""
        status = self.ledger.status(self.ledger.record(key))
        try:
            history = tables.epochs(status.folder) if status.folder else []
        except CheckpointError as error:
            log.warning("%s: %s", key, error)
            history = []
        return tables.monitor(status.config or {}), history
