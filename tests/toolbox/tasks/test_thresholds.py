"""The rules that make a threshold of normal rows' errors, and what they do not take."""

import numpy as np
import pytest

from toolbox.errors import UsageError
from toolbox.tasks import detect

ERRORS = np.random.default_rng(0).gamma(2, 0.1, 500)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("percentile:98", np.percentile(ERRORS, 98)),
        ("percentile:100", ERRORS.max()),
        ("sd:3", ERRORS.mean() + 3 * ERRORS.std()),
        ("value:0.25", 0.25),
    ],
)
def test_a_rule_gives_its_threshold_and_says_what_it_was_taken_from(rule: str, expected: float) -> None:
    assert detect.parse(rule)(ERRORS) == {"rule": rule, "threshold": pytest.approx(expected), "validation_rows": 500}


def test_the_default_is_a_rule_and_lets_most_of_validation_pass() -> None:
    assert (detect.parse(detect.DEFAULT)(ERRORS)["threshold"] >= ERRORS).mean() == pytest.approx(0.98)


@pytest.mark.parametrize("name", detect.THRESHOLDS)
@pytest.mark.parametrize("number", ["", ":", ":x", ":nan", ":inf", ":-1", ":1e39"])
def test_a_number_that_it_cannot_have_is_a_usage_error(name: str, number: str) -> None:
    with pytest.raises(UsageError, match="takes a number from 0"):
        detect.parse(name + number)


def test_a_percentile_ends_at_100() -> None:
    with pytest.raises(UsageError, match="from 0 to 100"):
        detect.parse("percentile:101")


def test_an_unknown_rule_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"percentile, sd, value.*Try: percentile"):
        detect.parse("percentil:95")
