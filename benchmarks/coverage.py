"""How often an interval over records holds the truth: simulated tests of 22 records, by each way to make a 95 %
interval.

    python benchmarks/coverage.py [--datasets 2000] [--records 22] [--replicates 1000] [--studentised 300]

A population is a way to draw records: beats, shares of the classes, and of each beat what a classifier calls it, all of
which differ from record to record. Zeros, means and spreads of the shares are those of the annotations of DS1 (22
records of MIT-BIH: zeros 6, 5 and 12 of 22; standard deviations of the logit 2.1, 2.1 and 1.8 for S, V and F). The
truth is the gross figure of 400,000 records. The second classifier of a paired difference shares half of the variance
of the first one's record effects.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr, ndtri, stdtrit

from toolbox.metrics import ec57, intervals, meanings

Array = NDArray[np.floating]
CLASSES = ("N", "S", "V", "F", "Q")
FIGURES = ("accuracy", "SVEB Se", "SVEB +P", "VEB Se", "VEB +P", "macro_f1")
TRUTH = 400_000  # records
BEATS = (7.73, 0.2)  # mean and standard deviation of the logarithm
# Of records without any; of the logit.
SHARES = {"S": (0.27, -5.12, 2.06), "V": (0.23, -3.35, 2.12), "F": (0.55, -6.15, 1.78)}
FALSE = {"S": (-6.5, 1.7), "V": (-7.0, 1.5), "F": (-7.5, 1.5)}  # logit of the share of normal beats called so
RIGHT = {"S": (0.8, 1.5), "V": (2.5, 1.2), "F": (-1.0, 1.5)}  # logit of Se in a record
# What the others are called: N, S, V, F.
MISSED = {"S": (0.8, 0, 0.2, 0), "V": (0.7, 0.1, 0, 0.2), "F": (0.5, 0, 0.5, 0)}


@dataclass(frozen=True)
class Population:
    """Records whose shares spread `spread` times as DS1's do on the logit scale, what they are called `effect` times as
    above; a record in 1 / `full` is mostly S, as 232 of MIT-BIH is."""

    spread: float = 1.0
    effect: float = 1.0
    full: float = 0.0

    def draw(self, rng: np.random.Generator, records: int) -> tuple[Array, Array]:
        """Confusion matrices (R, K, K) of two classifiers on the same records."""
        beats = np.exp(rng.normal(*BEATS, records)).astype(int)
        shares = {name: self._share(rng, records, *of) for name, of in SHARES.items()}
        if self.full:
            shares["S"] = np.where(rng.random(records) < self.full, expit(rng.normal(0.5, 1, records)), shares["S"])
        ill = np.stack([*shares.values(), np.where(rng.random(records) < 0.2, 1e-3, 0)], 1)
        ill /= np.maximum(ill.sum(1, keepdims=True) / 0.95, 1)
        counts = rng.multinomial(beats, np.column_stack([1 - ill.sum(1), ill]))
        common = rng.normal(size=(2, len(SHARES), records))
        return self._called(rng, counts, common), self._called(rng, counts, common)

    def _share(self, rng: np.random.Generator, records: int, without: float, mean: float, spread: float) -> Array:
        middle = mean + (1 - self.spread**2) * spread**2 / 2  # so that the mean share stays about the same
        return np.where(rng.random(records) < without, 0, expit(rng.normal(middle, spread * self.spread, records)))

    def _called(self, rng: np.random.Generator, counts: NDArray[np.integer], common: Array) -> Array:
        """What one classifier calls the beats `counts` (R, K)."""
        own = (common + rng.normal(size=common.shape)) / np.sqrt(2) * self.effect
        false = [expit(mean + sd * each) for (mean, sd), each in zip(FALSE.values(), own[0], strict=True)]
        false = np.stack(false, 1) / np.maximum(np.sum(false, 0) / 0.9, 1)[:, None]
        rows = [np.column_stack([1 - false.sum(1), false, np.zeros(len(counts))])]
        for k, (name, (mean, sd)) in enumerate(RIGHT.items(), 1):
            right = expit(mean + sd * own[1][k - 1])
            row = np.column_stack([(1 - right)[:, None] * np.array(MISSED[name]), np.zeros(len(counts))])
            row[:, k] = right
            rows.append(row)
        rows.append(np.tile([0.5, 0, 0.5, 0, 0], (len(counts), 1)))  # Q
        return np.stack([rng.multinomial(counts[:, k], row) for k, row in enumerate(rows)], 1).astype(float)


POPULATIONS = {
    "even": Population(spread=0.3, effect=0.6),
    "between": Population(spread=0.5, effect=0.6),
    "as DS1": Population(),
    "as DS1, one in 44 full of S": Population(full=1 / 44),
}


def figures(matrix: Array) -> Array:
    """FIGURES (6, ...) of matrices (..., K, K)."""
    values = ec57.figures(matrix, CLASSES, ec57.MACRO)
    return np.stack([values[name] for name in FIGURES])


class Test:
    """One simulated test: its figures, each without each record, and of bootstrap replicates."""

    def __init__(self, matrices: Array, rng: np.random.Generator, replicates: int, studentised: int) -> None:
        self.records, self.matrices, total = len(matrices), matrices, matrices.sum(0)
        self.value, self.without = figures(total), figures(total - matrices)
        drawn = rng.multinomial(self.records, np.full(self.records, 1 / self.records), size=replicates).astype(float)
        self.replicas = figures(ec57.pooled(drawn, matrices))
        self.drawn = drawn[:studentised]

    def percentiles(self, low: Array | float, high: Array | float) -> Array:
        """Those (6, 2) of the replicates that are defined."""
        ends = np.broadcast_to(np.stack([low, high]).T, (len(FIGURES), 2))
        return np.stack([np.nanquantile(of, np.clip(at, 0, 1)) for of, at in zip(self.replicas, ends, strict=True)])

    def standard_errors(self) -> tuple[Array, Array]:
        """Those of the figures (6,) and of the studentised replicates (6, b), by the infinitesimal jackknife."""
        pooled = ec57.pooled(np.concatenate([np.ones((1, self.records)), self.drawn]), self.matrices)
        step = 1e-4
        moved = figures(pooled[:, None] + step * self.matrices)  # (6, b + 1, R)
        influence = (moved - figures(pooled)[..., None]) / step
        weight = np.concatenate([np.ones((1, self.records)), self.drawn])
        errors = np.sqrt(self.records / (self.records - 1) * np.nansum(weight * influence**2, -1))
        return errors[:, 0], errors[:, 1:]


def percentile(test: Test) -> Array:
    """As numpy has it."""
    return test.percentiles(0.025, 0.975)


def widened(records: int) -> float:
    """The lower percentile of the expanded interval (Hesterberg 2015, 3.4)."""
    return float(ndtr(np.sqrt(records / (records - 1)) * stdtrit(records - 1, 0.025)))


def expanded(test: Test) -> Array:
    """Percentiles further out, by Student's quantile."""
    return test.percentiles(widened(test.records), 1 - widened(test.records))


def bca(test: Test, low: float = 0.025) -> Array:
    """Bias-corrected and accelerated (Efron 1987)."""
    d = test.without.mean(1, keepdims=True) - test.without
    with np.errstate(all="ignore"):
        acceleration = np.nan_to_num((d**3).sum(1) / (6 * (d**2).sum(1) ** 1.5))
        below = (test.replicas < test.value[:, None]).mean(1) + 0.5 * (test.replicas == test.value[:, None]).mean(1)
        bias = ndtri(np.clip(below, 1e-3, 1 - 1e-3))
        ends = [ndtr(bias + (bias + z) / (1 - acceleration * (bias + z))) for z in (ndtri(low), -ndtri(low))]
    return test.percentiles(*np.nan_to_num(ends))


def bca_expanded(test: Test) -> Array:
    """BCa from the expanded percentiles."""
    return bca(test, widened(test.records))


def bootstrap_t(test: Test) -> Array:
    """Studentised replicates on the logit scale."""
    own, errors = test.standard_errors()
    inner = np.clip(test.replicas[:, : errors.shape[1]], 1e-6, 1 - 1e-6)
    value = np.clip(test.value, 1e-6, 1 - 1e-6)[:, None]
    with np.errstate(all="ignore"):
        t = (logit(inner) - logit(value)) / (errors / (inner * (1 - inner)))
    t = np.where(np.isfinite(t), t, np.nan)
    low, high = np.nanquantile(t, [0.025, 0.975], axis=1)
    error = own / (value * (1 - value))[:, 0]
    return expit(logit(value) - np.stack([high * error, low * error], 1))


def jackknife_t(test: Test) -> Array:
    """The interval of the program."""
    spreads = [intervals.spread(*of) for of in zip(test.value, test.without, strict=True)]
    return np.array([intervals.t_interval(of, intervals.SHARE) or (np.nan, np.nan) for of in spreads])


def jackknife_usual(test: Test) -> Array:
    """The same with one degree of freedom less than there are records."""
    spreads = [intervals.spread(*of) for of in zip(test.value, test.without, strict=True)]
    usual = [intervals.Spread(of.value, of.error, test.records - 1, of.lacks) for of in spreads]
    return np.array([intervals.t_interval(of, intervals.SHARE) or (np.nan, np.nan) for of in usual])


METHODS: dict[str, Callable[[Test], Array]] = {
    "percentile": percentile,
    "expanded percentile": expanded,
    "BCa": bca,
    "BCa, expanded": bca_expanded,
    "bootstrap-t, logit": bootstrap_t,
    "jackknife t, R - 1": jackknife_usual,
    "jackknife t, effective (taken)": jackknife_t,
}


def of_differences(one: Array, two: Array) -> tuple[Array, Array]:
    """The difference of the second classifier to the first (6,) and its interval (6, 2), as the program has it."""
    values, without = ([figures(of.sum(0)), figures(of.sum(0) - of)] for of in (one, two))
    value, others = without[0] - values[0], without[1] - values[1]
    spreads = [intervals.spread(*of) for of in zip(value, others, strict=True)]
    return value, np.array([intervals.difference_interval(of, intervals.SHARE) or (np.nan, np.nan) for of in spreads])


def simulate(population: Population, asked: argparse.Namespace) -> dict[str, tuple[Array, Array]]:
    """Of each method the percent of intervals (6,) that held the truth, of those that there are, and their median
    widths."""
    truth = [figures(of.sum(0)) for of in population.draw(np.random.default_rng(0), TRUTH)]
    rng, found = np.random.default_rng(asked.seed), {name: [] for name in [*METHODS, "difference, jackknife t"]}
    for _ in range(asked.datasets):
        one, two = population.draw(rng, asked.records)
        test = Test(one, rng, asked.replicates, asked.studentised)
        for name, method in METHODS.items():
            found[name].append((method(test), truth[0]))
        found["difference, jackknife t"].append((of_differences(one, two)[1], truth[1] - truth[0]))
    return {name: _summary(np.array([ends for ends, _ in of]), of[0][1]) for name, of in found.items()}


def _summary(ends: Array, truth: Array) -> tuple[Array, Array]:
    known = ~np.isnan(ends[..., 0])
    held = (ends[..., 0] <= truth) & (truth <= ends[..., 1])
    return 100 * (held & known).sum(0) / known.sum(0), np.nanmedian(ends[..., 1] - ends[..., 0], axis=0)


def main() -> None:
    """Print a table a population, and what the program states of its interval."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", type=int, default=2000)
    parser.add_argument("--records", type=int, default=22)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--studentised", type=int, default=300, help="replicates with a standard error of their own")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    labels = [meanings.name_of(name) for name in FIGURES]
    taken = []
    for title, population in POPULATIONS.items():
        sys.stdout.write(f"\n| {title} | {' | '.join(labels)} |\n|{' --- |' * (len(labels) + 1)}\n")
        results = simulate(population, asked)
        for name, (held, width) in results.items():
            cells = [f"{percent:.1f} ({wide:.3f})" for percent, wide in zip(held, width, strict=True)]
            sys.stdout.write(f"| {name} | {' | '.join(cells)} |\n")
        sys.stdout.flush()
        taken.append(results["jackknife t, effective (taken)"][0])
    least, most = np.min(taken, 0), np.max(taken, 0)
    stated = {
        name: (round(float(low), 1), round(float(high), 1))
        for name, low, high in zip(FIGURES, least, most, strict=True)
    }
    sys.stdout.write(f"\nCOVERAGE = {stated}\n")


if __name__ == "__main__":
    main()
