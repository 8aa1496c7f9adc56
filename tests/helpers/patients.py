"""Beats of generated persons, for protocols by patient."""

import numpy as np

from loaders.families.by_patient import Cohort

NAMES = [f"r{i:02}" for i in range(12)]
PAIRED = Cohort(tuple(NAMES[:6]), tuple(NAMES[6:]), "halves", {"r06": "r01", "r09": "r08"})  # r01 and r06 on both sides
ASKED = (
    "inter-patient",
    "inter-patient-strict",
    "inter-patient-kfold:3",
    "random",
    "leave-one-record-out",
    "leave-one-record-out:r08",
    "kfold-patient:4",
)


def rows(seed: int, records: int = 12, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Record and class of 600 rows, each record with shares of its own."""
    rng = np.random.default_rng(seed)
    of = np.concatenate([np.arange(records), rng.integers(0, records, 600 - records)])
    shares = rng.dirichlet([4, 1, 0.4][:classes], records)
    return np.array(NAMES[:records])[of], np.array([rng.choice(classes, p=shares[i]) for i in of])


def persons(record: np.ndarray, cohort: Cohort = PAIRED) -> set[str]:
    return {cohort.person.get(name, name) for name in record.tolist()}
