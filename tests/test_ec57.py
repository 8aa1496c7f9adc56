"""Figures by patient against published tables, scikit-learn and counts by hand; what a resampling of records keeps."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn import metrics as sk

from toolbox import bootstrap, ec57, files
from toolbox.errors import UsageError

CLASSES = ("N", "S", "V", "F", "Q")
# The test records of de Chazal et al. 2004, rows N S V F Q.
PUBLISHED = np.array(
    [[38444, 1904, 303, 3509, 98], [173, 1395, 252, 16, 1], [117, 321, 2504, 176, 103], [33, 1, 7, 347, 0], [4, 0, 3, 0, 0]]
)
matrices_of_records = arrays(np.int64, st.tuples(st.integers(2, 12), st.just(5), st.just(5)), elements=st.integers(0, 40))
pooled_shares = ["accuracy", *(f"{of} {part}" for of in ("SVEB", "VEB", *CLASSES) for part in ec57.PARTS)]


def rows(matrices: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """target, predicted and record (N,) whose matrices (R, K, K) these are."""
    size = matrices.shape[-1]
    cell = np.repeat(np.arange(matrices.size), matrices.ravel())
    return cell // size % size, cell % size, np.char.add("r", (cell // size**2 + 100).astype(str))


def drawn_rows(seed: int, *, records: int = 8, per_record: int = 60, classes: int = 5) -> tuple[NDArray, NDArray, NDArray]:
    rng = np.random.default_rng(seed)
    target = rng.integers(classes, size=records * per_record)
    predicted = np.where(rng.random(len(target)) < 0.7, target, rng.integers(classes, size=len(target)))
    return target, predicted, np.repeat([f"r{i}" for i in range(records)], per_record)


def gross(matrix: NDArray, rule: str = "ec57", classes: tuple[str, ...] = CLASSES) -> dict[str, float]:
    return ec57.figures(matrix, classes, ec57.macro_classes(classes), rule)


def test_the_published_matrix_has_the_published_figures() -> None:
    values = {name: round(100 * float(value), 1) for name, value in gross(PUBLISHED).items()}
    assert values["accuracy"] == 85.9
    assert (values["SVEB Se"], values["SVEB +P"], values["VEB Se"], values["VEB +P"]) == (75.9, 38.5, 77.7, 81.9)
    assert (values["SVEB FPR"], values["VEB FPR"]) == (4.6, 1.2)
    assert (values["N Se"], values["N +P"], values["F Se"], values["F +P"]) == (86.9, 99.2, 89.4, 8.6)


def test_j_kappa_of_the_published_matrix_without_q_is_the_published_one() -> None:
    """0.862 and 0.612 stand beside de Chazal's name in Mondejar-Guerra et al. 2019."""
    values = gross(PUBLISHED[:4, :4], classes=CLASSES[:4])
    assert (round(float(values["accuracy"]), 3), round(float(values["jk"]), 3)) == (0.862, 0.612)


def test_beats_that_count_neither_way_are_those_of_the_standard() -> None:
    matrix = 2 ** np.arange(25).reshape(5, 5)  # every cell can be told from every sum of others
    n, s, v, f, q = matrix
    counted = ec57.task_counts(matrix, CLASSES)
    assert counted["VEB"] == {
        "TP": v[2],
        "FN": v[0] + v[1] + v[3] + v[4],
        "FP": n[2] + s[2],
        "TN": sum(row[[0, 1, 3, 4]].sum() for row in (n, s, f, q)),
    }
    assert counted["SVEB"] == {
        "TP": s[1],
        "FN": s[0] + s[2] + s[3] + s[4],
        "FP": n[1] + v[1] + f[1],
        "TN": sum(row[[0, 2, 3, 4]].sum() for row in (n, v, f, q)),
    }


def test_counting_every_beat_gives_the_figures_of_the_classes() -> None:
    values = gross(PUBLISHED, "one_vs_rest")
    for task, name in ec57.TASKS.items():
        assert [values[f"{task} {part}"] for part in ec57.PARTS] == [values[f"{name} {part}"] for part in ec57.PARTS]
    assert values["VEB +P"] < gross(PUBLISHED)["VEB +P"]


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_scikit_learns(seed: int) -> None:
    target, predicted, record = drawn_rows(seed)
    values = ec57.measure(target, predicted, record, classes=CLASSES, replicates=5)["gross"]
    table = sk.precision_recall_fscore_support(target, predicted, labels=range(5))
    for k, name in enumerate(CLASSES):
        assert [values[f"{name} {part}"] for part in ("+P", "Se", "F1")] == pytest.approx([column[k] for column in table[:3]])
        (tn, fp), _ = sk.confusion_matrix(target == k, predicted == k)
        assert values[f"{name} FPR"] == pytest.approx(fp / (fp + tn))
    assert values["kappa"] == pytest.approx(sk.cohen_kappa_score(target, predicted))
    assert values["accuracy"] == pytest.approx(sk.accuracy_score(target, predicted))
    assert values["macro_f1"] == pytest.approx(sk.f1_score(target, predicted, labels=range(4), average="macro"))


@pytest.mark.parametrize("classes", [("N", "S", "V", "F", "Q"), ("normal", "abnormal"), ("SVEB", "VEB", "N"), ("a b", "S")])
def test_every_set_of_classes_has_its_figures_and_only_s_and_v_the_tasks(classes: tuple[str, ...]) -> None:
    values = ec57.measure(*drawn_rows(1, classes=len(classes)), classes=classes, replicates=5)
    assert ("jk" in values["gross"]) == bool(values["counts"]) == ({"S", "V"} <= set(classes))
    assert all(f"{name} Se" in values["average"] for name in classes)
    assert np.isfinite(list(values["gross"].values())).all()
    assert values["macro_over"] == list(classes if "F" not in classes else classes[:4])


@pytest.mark.parametrize("asked", [("N", "X"), (), ("N", "N")])
def test_macro_f1_over_what_is_not_there_is_a_usage_error(asked: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"the classes are N, S, V, F, Q.*Try: "):
        ec57.macro_classes(CLASSES, asked)


def test_a_macro_f1_over_all_classes_is_asked_for_and_said() -> None:
    target, predicted, record = drawn_rows(0)
    values = ec57.measure(target, predicted, record, classes=CLASSES, macro_over=CLASSES, replicates=5)
    assert values["macro_over"] == list(CLASSES)
    assert values["gross"]["macro_f1"] == pytest.approx(sk.f1_score(target, predicted, average="macro"))


def test_an_average_is_the_mean_over_the_records_that_have_the_class() -> None:
    matrices = np.zeros((3, 5, 5), int)
    matrices[0, 2, 2], matrices[0, 2, 0], matrices[0, 0, 0] = 3, 1, 6  # Se of V 0.75
    matrices[1, 2, 2], matrices[1, 0, 0], matrices[1, 0, 2] = 1, 8, 1  # Se 1, +P 0.5, FPR 1 of 9
    matrices[2, 0, 0], matrices[2, 0, 2] = 9, 1  # no V, but one false alarm in 10
    average = {name: float(value[0]) for name, value in ec57.averages(matrices, CLASSES).items()}
    assert average["VEB Se"] == pytest.approx((0.75 + 1) / 2)
    assert average["VEB +P"] == pytest.approx((1 + 0.5) / 2)
    assert average["VEB FPR"] == pytest.approx((0 + 1 / 9 + 1 / 10) / 3)
    assert average["accuracy"] == pytest.approx((0.9 + 0.9 + 0.9) / 3)
    assert np.isnan(average["F Se"])


@settings(deadline=None, max_examples=40)
@given(matrices_of_records)
def test_gross_figures_are_ratios_of_sums_over_records(matrices: NDArray) -> None:
    names, again = ec57.by_record(*rows(matrices), 5)
    kept = matrices.sum((1, 2)) > 0
    np.testing.assert_array_equal(again, matrices[kept])
    assert len(names) == kept.sum()
    counted, values = ec57.task_counts(matrices, CLASSES), gross(matrices.sum(0))
    for task in ec57.TASKS:
        hits, missed = counted[task]["TP"].sum(), counted[task]["FN"].sum()
        assert values[f"{task} Se"] == pytest.approx(hits / (hits + missed) if hits + missed else np.nan, nan_ok=True)


@settings(deadline=None, max_examples=20)
@given(matrices_of_records, st.integers(2, 4))
def test_the_same_records_once_more_change_no_gross_figure(matrices: NDArray, times: int) -> None:
    once, more = gross(matrices.sum(0)), gross(np.concatenate([matrices] * times).sum(0))
    assert more == pytest.approx(once, nan_ok=True)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(seed: int, random: object) -> None:
    target, predicted, record = drawn_rows(seed, per_record=20)
    order = np.array(random.sample(range(len(target)), len(target)))
    how = {"classes": CLASSES, "replicates": 50}
    values = ec57.measure(target, predicted, record, **how)
    assert files.finite(ec57.measure(target[order], predicted[order], record[order], **how)) == files.finite(values)


@settings(deadline=None, max_examples=20)
@given(matrices_of_records, st.randoms(use_true_random=False))
def test_the_order_of_records_changes_no_estimate(matrices: NDArray, random: object) -> None:
    order = random.sample(range(len(matrices)), len(matrices))
    assert gross(matrices[order].sum(0)) == pytest.approx(gross(matrices.sum(0)), nan_ok=True)
    one, other = (ec57.averages(of, CLASSES) for of in (matrices, matrices[order]))
    for name in one:
        assert one[name] == pytest.approx(other[name], nan_ok=True)


@settings(deadline=None, max_examples=30)
@given(matrices_of_records)
def test_intervals_of_pooled_shares_hold_the_estimate(matrices: NDArray) -> None:
    values = ec57.measure(*rows(matrices + np.eye(5, dtype=int)), classes=CLASSES, replicates=300)
    for name in pooled_shares:
        low, high = values["intervals"]["gross"][name]
        assert low - 1e-12 <= values["gross"][name] <= high + 1e-12


def test_a_replicate_is_the_measure_of_the_records_it_drew() -> None:
    target, predicted, record = drawn_rows(3)
    names, matrices = ec57.by_record(target, predicted, record, 5)
    (drawn,) = bootstrap.draws(len(names), 4, seed=9)
    pooled, averages = ec57.pooled(drawn, matrices), ec57.averages(matrices, CLASSES, drawn=drawn)
    for replicate, often in enumerate(drawn):
        again = np.repeat(matrices, often.astype(int), axis=0)
        np.testing.assert_array_equal(pooled[replicate], again.sum(0))
        for name, value in ec57.averages(again, CLASSES).items():
            assert averages[name][replicate] == pytest.approx(value[0], nan_ok=True)


def test_intervals_are_decided_by_the_seed_and_are_the_spread_of_records() -> None:
    rng = np.random.default_rng(0)
    beats, right = 200, rng.integers(60, 200, 30)  # each record has its own share, far apart
    matrices = np.zeros((30, 2, 2), int)
    matrices[:, 0, 0], matrices[:, 0, 1] = right, beats - right
    how = {"classes": ("a", "b")}
    values = ec57.measure(*rows(matrices), **how)["intervals"]["gross"]["accuracy"]
    assert ec57.measure(*rows(matrices), **how)["intervals"]["gross"]["accuracy"] == values
    assert ec57.measure(*rows(matrices), **how, seed=1)["intervals"]["gross"]["accuracy"] != values
    assert (values[1] - values[0]) / 3.92 == pytest.approx((right / beats).std() / np.sqrt(30), rel=0.1)


def test_one_record_alone_has_no_interval() -> None:
    target, predicted, _ = drawn_rows(0)
    values = ec57.measure(target, predicted, np.full(len(target), "only"), classes=CLASSES)
    assert np.isnan(values["intervals"]["gross"]["accuracy"]).all()
    assert values["gross"]["accuracy"] == pytest.approx((target == predicted).mean())


def test_nothing_undefined_warns_or_counts_as_zero() -> None:
    with warnings.catch_warnings(action="error"):
        values = ec57.measure(np.zeros(6, int), np.zeros(6, int), np.repeat(["a", "b"], 3), classes=CLASSES, replicates=20)
    assert np.isnan([values["gross"][name] for name in ("VEB Se", "VEB +P", "VEB F1", "jk", "kappa")]).all()
    assert values["gross"]["VEB FPR"] == 0
    assert values["gross"]["macro_f1"] == 1
    assert np.isnan(values["intervals"]["gross"]["VEB Se"]).all()


def test_a_class_that_is_never_said_costs_its_share_of_j_kappa() -> None:
    matrix = np.diag([50, 10, 10, 0, 0])
    matrix[1] = [10, 0, 0, 0, 0]
    values = gross(matrix)
    assert np.isnan(values["SVEB +P"])
    assert values["jk"] == pytest.approx(values["kappa"] / 2 + 2 / 8)


def test_the_table_by_record_adds_up_to_the_gross_counts() -> None:
    values = ec57.measure(*drawn_rows(5), classes=CLASSES, replicates=5)
    table = values["by_record"]
    assert table["record"] == [f"r{i}" for i in range(8)]
    assert all(len(column) == 8 for column in table.values())
    assert [sum(table[f"{name} beats"]) for name in CLASSES] == [sum(row) for row in values["confusion_matrix"]]
    for task, four in values["counts"].items():
        assert {name: sum(table[f"{task} {name}"]) for name in four} == four
