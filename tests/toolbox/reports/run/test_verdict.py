"""The verdict names what tested rows have in common: the patient of a record, the record of a beat."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from toolbox.reports.run import labels, verdict
from toolbox.reports.run.verdict import Material
from toolbox.runs.predictions import Predictions


@pytest.mark.parametrize(
    ("view", "told"), [("record", "3 test records of 2 patients"), ("beat", "3 test beats of 2 records")]
)
def test_rows_that_are_records_are_counted_by_patient(view: str, told: str) -> None:
    predictions = Predictions(np.arange(3), np.array(["a", "a", "b"]), np.zeros(3, int), np.zeros((3, 2)), np.zeros(3))
    material = cast(Material, SimpleNamespace(spec=SimpleNamespace(view=view), predictions=predictions))
    assert verdict.tested(material) == told


def test_classes_left_out_stand_together_by_reason() -> None:
    left: dict[str, Any] = {"left_out": {"A": "no positive row", "B": "no negative row", "C": "no positive row"}}
    assert labels.left_out(left) == "no positive row: A, C; no negative row: B"
