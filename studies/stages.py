"""Carry out a plan, stage after stage: a grid, a search and the neighbours of its best, or the best on new seeds.

    head    a grid; trains only the network's head
    all     from head: a search and a grid around its best, with the head's weights of the same seed and fold
    final   from all, seeds: all stages again on all training rows, and one test a seed

`check` finds errors before anything is written. The same command again resumes: it skips finished runs, and refuses a
stage that would start from another best configuration.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from studies import cells, plans, runner, tables
from studies.cells import UNSEEN, Configuration, Series
from studies.grid import A_RANGE, NO_RANGE, Cell, Grid, Space, around, varying
from studies.ledger import DONE, FAILED, FIRST, MOST_RUNS, WAITING, Job, Ledger
from studies.plans import Plan, Stage
from toolbox.errors import UsageError
from toolbox.terminal import StopRequest

Found = list[Configuration] | Space
Checked = dict[str, tuple[Grid, Found]]
log = logging.getLogger("commander")


def series(plan: Plan, stage: Stage) -> Series:
    """The runs of each configuration of a stage; only a grid without folds, and new seeds, are tested."""
    if stage.seeds:
        return Series(stage.name, stage.seeds, tested=plan.tested, seeds=UNSEEN, whole=plan.folds > 1)
    tested = plan.tested and plan.folds == 1 and stage.label == FIRST
    return Series(stage.label, stage.reps, plan.folds, tested)


def grid_of(plan: Plan, stage: Stage, best: dict[str, Cell], names: dict[str, str] | None = None) -> Grid:
    """The grid of a stage; `best` has the best configurations of earlier stages, `names` their names as sources of
    weights."""
    names = names or {name: f"{name}-00000000" for name in best}
    return stage.whole(best[stage.source] if stage.source else plan.base, names)


def find(plan: Plan, stage: Stage, grid: Grid) -> Found:
    """The configurations or the search space of a stage. Raises UsageError for an invalid configuration."""
    runs = series(plan, stage)
    if not (stage.search or stage.refine):
        found = grid.cells()
        if (count := len(found) * len(runs)) > MOST_RUNS:
            what = f"{len(found):,} configurations, {runs}, are {count:,} runs; a study has at most {MOST_RUNS:,}"
            raise UsageError(what, hint="fewer configurations or repetitions")
        return cells.configurations(found, runs)
    if stage.search:
        from studies import search

        search.known(stage.search, stage.pruner)
    space = Space.of(grid)
    for cell in space.probes():
        cells.configuration(cell, runs)
    if stage.refine and not space.ranges():
        raise UsageError(NO_RANGE, hint=A_RANGE)
    return space


def check(plan: Plan) -> Checked:
    """Grid and configurations, or space, of every stage without new seeds, by name.

    The first configuration of an earlier stage stands in for its best. Raises UsageError for a stage that could not
    start, as far as this is known before the first run.
    """
    checked: Checked = {}
    tried: dict[str, Cell] = {}
    monitors = {}
    for stage in (stage for stage in plan.stages if not stage.seeds):
        try:
            grid = grid_of(plan, stage, tried)
            found = find(plan, stage, grid)
            probes = list(found.probes()) if isinstance(found, Space) else [one.cell for one in found]
            for again in [again for again in plan.stages if again.seeds][:1]:
                for cell in probes:
                    cells.configuration(cell, series(plan, again))
        except UsageError as error:
            where = f"stage {stage.name}" if stage.named else ""
            where = ": ".join(filter(None, [where, error.where]))
            raise UsageError(error.what, where=where, hint=error.hint) from error
        checked[stage.name], tried[stage.name] = (grid, found), probes[0]
        monitors[stage.name] = cells.configuration(probes[0]).settled().monitor
        _check_weights(stage, probes[0], plan.stages)
    if len(set(monitors.values())) > 1:
        metrics = ", ".join(f"{name} by {metric}" for name, metric in monitors.items())
        raise UsageError(f"all stages need the same monitor, they have: {metrics}", hint="monitor in base")
    return checked


def _check_weights(stage: Stage, cell: Cell, stages: Sequence[Stage]) -> None:
    """Raise UsageError if a stage has more repetitions than the stage of its initial weights."""
    weights = plans.source_of(cell, [other.name for other in stages])
    source = next((other for other in stages if weights and other.name == weights[0]), stage)
    if stage.reps > source.reps:
        what = f"stage {stage.name} has {stage.reps} repetitions, its initial weights, of {source.name}, have"
        raise UsageError(f"{what} {source.reps}", hint="the same number in both")


@dataclass(frozen=True)
class Study:
    """A checked plan, its ledger and workers; `retry` repeats failed runs.

    `metric` decides the best configuration; by default the metric of the best epochs.
    """

    plan: Plan
    checked: Checked
    ledger: Ledger
    workers: runner.Workers
    stop: StopRequest
    branches: int = 1
    retry: bool = False
    metric: str | None = None

    def carry_out(self) -> None:
        """Carry out all stages in order, without their finished runs."""
        best: dict[str, Cell] = {}
        for stage in self.plan.stages:
            if stage.named:
                log.info("stage %s", stage.name)
            if stage.seeds:
                self._again(stage, best[stage.source] if stage.named else self._best_of(stage.source))
                continue
            names = {name: f"{name}-{cells.configuration(cell).name}" for name, cell in best.items()}
            grid, (known, found) = grid_of(self.plan, stage, best, names), self.checked[stage.name]
            found = found if known == grid else find(self.plan, stage, grid)
            if isinstance(found, Space):
                if stage.search:
                    self._search(stage, found)
                if stage.refine:
                    self._refine(stage, found)
            else:
                new = self._keep(stage, found)
                log.info("%d configurations, %d of them new, %s", len(found), new, series(self.plan, stage))
                self._run(series(self.plan, stage).jobs(found, self.ledger))
            if stage.named:
                best[stage.name] = self._best_of(stage.name)

    def _keep(self, stage: Stage, found: Sequence[Configuration], *, name: str = "", chosen: bool = False) -> int:
        """Store the configurations of a stage, under `name` or its own name; returns the number of new ones."""
        kept = [{"name": one.name, "cell": one.cell} for one in found]
        folds = 1 if chosen else self.plan.folds
        name = name or stage.name
        return self.ledger.freeze(stage.seeds or stage.reps, cells=kept, folds=folds, stage=name, chosen=chosen)

    def _search(self, stage: Stage, space: Space) -> None:
        """Run Optuna's trials, each one run or one run a fold."""
        from studies.search import Search

        self.ledger.freeze(stage.reps, space=str(space), folds=self.plan.folds, stage=stage.name)
        runs = replace(series(self.plan, stage), reps=1)
        made = Search(self.ledger, space, runs, sampler=stage.search, pruner=stage.pruner, trials=stage.trials)
        left = made.left()
        log.info("%d of %d trials are left", left, made.trials)
        if left or made.under_way():
            with self._at_work(made.trials, left, useful=made.trials * len(runs)) as (engine, bar):
                made.run(engine, bar, self.stop)

    def _refine(self, stage: Stage, space: Space) -> None:
        """Run the best configuration and its neighbours."""
        runs, before = series(self.plan, stage), self.ledger.plan(stage.name)["cells"]
        if stage.named and before:  # resumed: one of these may be the best now
            found = cells.configurations([cell["cell"] for cell in before], runs)
        else:
            found = cells.configurations(around(self._best_of(stage.name), space), runs)
        if stage.named:
            self._keep(stage, found)
        log.info("%d configurations around the best, %s", len(found), runs)
        self._run(runs.jobs(found, self.ledger))

    def _again(self, stage: Stage, best: Cell) -> None:
        """Train and test the best configuration on new seeds; each seed first trains its own initial weights."""
        after = f"{stage.name}."
        for cell, source in reversed(list(self._way(best))):
            runs = replace(series(self.plan, stage), after=after)
            if source:
                runs = replace(runs, stage=after + source, tested=False)
            one = cells.configuration(cell, runs)
            if stage.named:
                self._keep(stage, [one], name=runs.stage, chosen=True)
            self._run(runs.jobs([one], self.ledger))

    def _way(self, cell: Cell) -> Iterator[tuple[Cell, str]]:
        """The configuration, then the sources of its initial weights, latest first, each with its stage, "" for the
        configuration itself."""
        yield cell, ""
        while source := plans.source_of(cell, self.ledger.plans()):
            cell = self.ledger.flags_of(*source)
            yield cell, source[0]

    def _best_of(self, stage: str) -> Cell:
        """The best configuration of a stage so far, on validation. Raises UsageError if none is done."""
        rows = tables.rows(self.ledger)
        metric = tables.judged_by(self.ledger, rows, self.metric)
        best = tables.best(tables.cells(rows, metric), metric, stage)
        if best is None:
            of = "this study" if stage == FIRST else f"stage {stage}"
            hint = "the grid first; --retry if runs have failed"
            raise UsageError(f"no configuration of {of} is done", where=str(self.ledger.path), hint=hint)
        cell = self.ledger.flags_of(best["stage"], best["cell"])
        of = "" if stage == FIRST else f" of stage {stage}"
        log.info("the best configuration%s is %s: %s", of, best["cell"], cells.differing(cell, cell))
        return cell

    def _run(self, jobs: Sequence[Job]) -> None:
        """Carry out the unfinished runs. Raises Interrupted after a signal, once all runs have ended."""
        found = [(job, self.ledger.status_of(job)) for job in jobs]
        for job, status in found:
            if status.state == WAITING and status.why:
                log.warning("%s runs again: %s", job.key, status.why)
        failed = [job.key for job, status in found if status.state == FAILED]
        if failed and not self.retry:
            what = "%d failed before and are skipped (--retry runs them again): %s"
            log.warning(what, len(failed), ", ".join(failed))
        left = [job for job, status in found if status.state not in (DONE, *[FAILED] * (not self.retry))]
        if left:
            groups = cells.groups(left, self.workers.branches(self.branches, len(left)))
            with self._at_work(len(jobs), len(left), useful=len(groups)) as (engine, bar):
                runner.carry_out(engine, groups, bar, self.stop)

    @contextmanager
    def _at_work(self, total: int, left: int, *, useful: int) -> Iterator[tuple[runner.Engine, runner.Bars]]:
        """An engine and a bar for `left` of `total` runs, with `useful` workers, or with all if more stages follow.
        Raises Interrupted at its end after a signal."""
        most = self.workers.count if self.plan.stages[0].named else useful
        working = self.workers.at_work(self.ledger, total, done=total - left, most=most)
        with working as (engine, bar), self.stop.deferred():
            yield engine, bar
        self.stop.check()


def listed(plan: Plan, checked: Checked) -> Iterator[str]:
    """A line for each stage of a file and each configuration known before the first run."""
    for stage in plan.stages:
        runs = series(plan, stage)
        if stage.seeds:
            whole = ", trained on all training rows" * runs.whole
            yield f"{stage.name}: the best configuration of {stage.source} again, {stage.seeds} seeds{whole}, tested"
            continue
        _, found = checked[stage.name]
        since = f", from the best configuration of {stage.source}" if stage.source else ""
        if isinstance(found, Space):
            neighbours = f", then the best and its neighbours, {runs}" if stage.refine else ""
            yield f"{stage.name}: {stage.trials} trials by {stage.search}{since}, {replace(runs, reps=1)}{neighbours}"
            for name, axis in found.drawn().items():
                yield f"      {name}: {', '.join(axis) if isinstance(axis, dict) else axis}"
        else:
            yield f"{stage.name}: {len(found)} configurations{since}, {runs}, {len(found) * len(runs)} runs"
            axes = varying([one.cell for one in found])
            yield from (f"{number:6d}  {cells.differing(one.cell, axes)}" for number, one in enumerate(found, start=1))
