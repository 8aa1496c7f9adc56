"""Figures by patient against published tables, scikit-learn and counts by hand, and their intervals over records."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.stats import t as student
from sklearn import metrics as sk

from toolbox.errors import UsageError
from toolbox.metrics import ec57, intervals

CLASSES = ("N", "S", "V", "F", "Q")
# The test records of de Chazal et al. 2004, rows N S V F Q.
PUBLISHED = np.array(
    [
        [38444, 1904, 303, 3509, 98],
        [173, 1395, 252, 16, 1],
        [117, 321, 2504, 176, 103],
        [33, 1, 7, 347, 0],
        [4, 0, 3, 0, 0],
    ]
)
matrices_of_records = arrays(
    np.int64, st.tuples(st.integers(2, 12), st.just(5), st.just(5)), elements=st.integers(0, 40)
)


def rows(matrices: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """target, predicted and record (N,) whose matrices (R, K, K) these are."""
    size = matrices.shape[-1]
    cell = np.repeat(np.arange(matrices.size), matrices.ravel())
    return cell // size % size, cell % size, np.char.add("r", (cell // size**2 + 100).astype(str))


def drawn_rows(
    seed: int, *, records: int = 8, per_record: int = 60, classes: int = 5
) -> tuple[NDArray, NDArray, NDArray]:
    rng = np.random.default_rng(seed)
    target = rng.integers(classes, size=records * per_record)
    predicted = np.where(rng.random(len(target)) < 0.7, target, rng.integers(classes, size=len(target)))
    return target, predicted, np.tile([f"r{i}" for i in range(records)], per_record)


def gross(matrix: NDArray, classes: tuple[str, ...] = CLASSES) -> dict[str, float]:
    return ec57.figures(matrix, classes, ec57.macro_classes(classes))


def test_the_published_matrix_has_the_published_figures() -> None:
    values = {name: round(100 * float(value), 1) for name, value in gross(PUBLISHED).items()}
    assert values["accuracy"] == 85.9
    assert (values["SVEB Se"], values["SVEB +P"], values["VEB Se"], values["VEB +P"]) == (75.9, 38.5, 77.7, 81.9)
    assert (values["SVEB FPR"], values["VEB FPR"]) == (4.6, 1.2)
    assert (values["N Se"], values["N +P"], values["F Se"], values["F +P"]) == (86.9, 99.2, 89.4, 8.6)
    # Without Q 0.862 and 0.612, as in Mondejar-Guerra et al. 2019.
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


def test_figures_are_scikit_learns_with_the_macro_f1_of_the_classes_asked_for() -> None:
    target, predicted, record = drawn_rows(0)
    how = {"classes": CLASSES, "macro_over": CLASSES}
    values = ec57.measure(target, predicted, record, classes=CLASSES)["gross"]
    table = sk.precision_recall_fscore_support(target, predicted, labels=range(5))
    for k, name in enumerate(CLASSES):
        parts = [values[f"{name} {part}"] for part in ("+P", "Se", "F1")]
        assert parts == pytest.approx([column[k] for column in table[:3]])
        (tn, fp), _ = sk.confusion_matrix(target == k, predicted == k)
        assert values[f"{name} FPR"] == pytest.approx(fp / (fp + tn))
    assert values["kappa"] == pytest.approx(sk.cohen_kappa_score(target, predicted))
    assert values["accuracy"] == pytest.approx(sk.accuracy_score(target, predicted))
    assert values["macro_f1"] == pytest.approx(sk.f1_score(target, predicted, labels=range(4), average="macro"))
    over_all = ec57.measure(target, predicted, record, **how)
    assert over_all["macro_over"] == list(CLASSES)
    assert over_all["gross"]["macro_f1"] == pytest.approx(sk.f1_score(target, predicted, average="macro"))
    for asked in (("N", "X"), (), ("N", "N")):
        with pytest.raises(UsageError, match=r"the classes are N, S, V, F, Q.*Try: "):
            ec57.macro_classes(CLASSES, asked)


@pytest.mark.parametrize(
    "classes", [("N", "S", "V", "F", "Q"), ("normal", "abnormal"), ("SVEB", "VEB", "N"), ("a b", "S")]
)
def test_every_set_of_classes_has_its_figures_and_only_s_and_v_the_tasks(classes: tuple[str, ...]) -> None:
    values = ec57.measure(*drawn_rows(1, classes=len(classes)), classes=classes)
    assert ("jk" in values["gross"]) == bool(values["counts"]) == ({"S", "V"} <= set(classes))
    assert all(f"{name} Se" in values["average"] for name in classes)
    assert np.isfinite(list(values["gross"].values())).all()
    assert values["macro_over"] == list(classes if "F" not in classes else classes[:4])


def averages(matrices: NDArray) -> dict[str, float]:
    return ec57.averages(ec57.figures_of_records(matrices, CLASSES))


def test_an_average_is_the_mean_over_the_records_in_which_the_figure_is_defined_as_sumstats_has_it() -> None:
    """By `sumstats`: Se over records with TP + FN above 0, +P over those with TP + FP above 0, false alarms alone
    included."""
    matrices = np.zeros((4, 5, 5), int)
    matrices[0, 2, 2], matrices[0, 2, 0], matrices[0, 0, 0] = 3, 1, 6  # Se of V 0.75
    matrices[1, 2, 2], matrices[1, 0, 0], matrices[1, 0, 2] = 1, 8, 1  # Se 1, +P 0.5, FPR 1 of 9
    matrices[2, 0, 0], matrices[2, 0, 2] = 9, 1  # no V, but one false alarm in 10
    matrices[3, 0, 0], matrices[3, 3, 2] = 9, 1  # F called V counts neither way: no +P
    average = averages(matrices)
    assert average["VEB Se"] == pytest.approx((0.75 + 1) / 2)
    assert average["VEB +P"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert average["VEB F1"] == pytest.approx((6 / 7 + 2 / 3 + 0) / 3)
    assert average["VEB FPR"] == pytest.approx((0 + 1 / 9 + 1 / 10 + 0) / 4)
    assert average["accuracy"] == pytest.approx(0.9)
    assert average["F Se"] == 0
    assert np.isnan(average["Q Se"])


@settings(deadline=None, max_examples=30)
@given(matrices_of_records)
def test_intervals_hold_the_estimate_and_keep_their_range_or_say_why_there_is_none(matrices: NDArray) -> None:
    values = ec57.measure(*rows(matrices + np.eye(5, dtype=int)), classes=CLASSES)
    for kind, table in values["intervals"].items():
        for name, interval in table.items():
            lowest, highest = ec57.BOUNDS.get(name, (0, 1))
            if interval is None:
                assert values["without_interval"][kind][name]
            else:
                low, high = interval
                assert lowest <= low <= values[kind][name] + 1e-9
                assert values[kind][name] - 1e-9 <= high <= highest


def test_a_figure_without_a_record_is_the_figure_of_the_others() -> None:
    target, predicted, record = drawn_rows(3, records=12)
    values = ec57.measure(target, predicted, record, classes=CLASSES)
    assert set(values["influence"]) == set(ec57.headline(CLASSES))
    for name, of in values["influence"].items():
        others = {
            r: ec57.measure(*(a[record != r] for a in (target, predicted, record)), classes=CLASSES)
            for r in set(record)
        }
        moved = {r: abs(other["gross"][name] - values["gross"][name]) for r, other in others.items()}
        assert of["without"] == pytest.approx(others[of["record"]]["gross"][name])
        assert moved[of["record"]] == pytest.approx(max(moved.values()))
    of_records = ec57.figures_of_records(ec57.by_record(target, predicted, record, 5)[1], CLASSES)
    for name, without in ec57.averages_without_each(of_records).items():
        again = [np.nanmean(np.delete(of_records[name], i)) for i in range(12)]
        np.testing.assert_allclose(without, again)


def test_an_interval_is_the_t_interval_of_the_jackknife_by_hand() -> None:
    """Twelve records of 100 beats, 4 of them without an error: effective records from the influences, on the logit
    scale."""
    wrong = np.array([0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 30])
    matrices = np.zeros((12, 2, 2), int)
    matrices[:, 0, 0], matrices[:, 0, 1] = 100 - wrong, wrong
    values = ec57.measure(*rows(matrices), classes=("a", "b"))
    share = 1 - wrong.sum() / 1200
    others = np.array([1 - np.delete(wrong, i).sum() / 1100 for i in range(12)])
    d = others - others.mean()
    error = np.sqrt(11 / 12 * np.sum(d**2))
    freedom = 1.25 * np.sum(d**2) ** 2 / np.sum(d**4)
    half = student.ppf(0.975, freedom) * error / (share * (1 - share))
    expected = [1 / (1 + np.exp(-(np.log(share / (1 - share)) + sign * half))) for sign in (-1, 1)]
    assert values["intervals"]["gross"]["accuracy"] == pytest.approx(expected)
    assert values["interval_method"] == intervals.RECORD_METHOD
    assert freedom < 2  # one record of twelve decides


def test_a_class_of_few_records_has_no_interval_though_there_are_many_records() -> None:
    matrices = np.tile(np.diag([50, 0, 9, 0, 0]), (22, 1, 1))
    matrices[:, 0, 2] = np.arange(22) % 5
    matrices[:4, 1, 1], matrices[:4, 1, 0] = 3, [1, 2, 0, 1]
    values = ec57.measure(*rows(matrices), classes=CLASSES)
    assert values["intervals"]["gross"]["SVEB Se"] is None
    assert values["without_interval"]["gross"]["SVEB Se"] == "4 records"
    # No V is missed anywhere: what the next record does nobody knows.
    assert values["intervals"]["gross"]["VEB Se"] is None
    assert values["without_interval"]["gross"]["VEB Se"] == "no spread"
    assert values["without_interval"]["gross"]["F Se"] == "0 records"
    assert (
        values["intervals"]["gross"]["VEB +P"][0]
        < values["gross"]["VEB +P"]
        < values["intervals"]["gross"]["VEB +P"][1]
    )


def test_nothing_undefined_warns_or_counts_as_zero() -> None:
    zeros, how = np.zeros(6, int), {"classes": CLASSES}
    with warnings.catch_warnings(action="error"):
        values = ec57.measure(zeros, zeros, np.repeat(["a", "b"], 3), **how)
        alone = ec57.measure(zeros, zeros, np.repeat("a", 6), **how)
    assert alone["without_interval"]["gross"]["accuracy"] == "1 record"
    assert "accuracy" not in alone["influence"]
    assert np.isnan([values["gross"][name] for name in ("VEB Se", "VEB +P", "VEB F1", "jk", "kappa")]).all()
    assert values["gross"]["VEB FPR"] == 0
    assert values["gross"]["macro_f1"] == 1
    assert values["intervals"]["gross"]["VEB Se"] is None


def test_a_class_that_is_never_predicted_costs_its_share_of_j_kappa() -> None:
    matrix = np.diag([50, 10, 10, 0, 0])
    matrix[1] = [10, 0, 0, 0, 0]
    values = gross(matrix)
    assert np.isnan(values["SVEB +P"])
    assert values["jk"] == pytest.approx(values["kappa"] / 2 + 2 / 8)


def test_the_table_by_record_adds_up_to_the_gross_counts() -> None:
    values = ec57.measure(*drawn_rows(5), classes=CLASSES)
    table = values["by_record"]
    assert table["record"] == [f"r{i}" for i in range(8)]
    assert all(len(column) == 8 for column in table.values())
    assert [sum(table[f"{name} beats"]) for name in CLASSES] == [sum(row) for row in values["confusion_matrix"]]
    for task, four in values["counts"].items():
        assert {name: sum(table[f"{task} {name}"]) for name in four} == four
