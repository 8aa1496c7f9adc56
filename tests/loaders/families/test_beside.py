"""The numbers beside a beat are those that are asked for."""

from pathlib import Path

import numpy as np
import pytest

from loaders import get_data
from loaders.families import beat_features
from toolbox.errors import UsageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.mark.parametrize("rr_features", [False, True])
@pytest.mark.parametrize("p_waves", [False, True])
def test_a_dataset_has_the_numbers_that_are_asked_for(folder: Path, rr_features: bool, p_waves: bool) -> None:
    data = get_data("synth_patients", folder, rr_features=rr_features, p_waves=p_waves)
    everything = get_data("synth_patients", folder, rr_features=True, p_waves=True).train
    names = (*beat_features.RR_FEATURES[: 7 * rr_features], *beat_features.P_FEATURES[: 2 * p_waves])
    assert data.spec.features == names
    assert data.train.features.shape == (len(data.train), len(names))
    np.testing.assert_array_equal(
        data.train.features, everything.features[:, [beat_features.ALL.index(name) for name in names]]
    )


def test_supraventricular_beats_come_after_p_waves_of_another_kind(folder: Path) -> None:
    """Those of the generated patients have three fifths of a P wave: less like the others, but for noise the same."""
    train = get_data("synth_patients", folder, p_waves=True).train
    likeness = train.features[:, beat_features.P_FEATURES.index("p_likeness")]
    by_class = [np.median(likeness[train.y == k]) for k in range(5)]
    assert by_class[0] == max(by_class)
    assert by_class[2] < by_class[1] < by_class[0]


def test_rows_too_coarse_to_show_a_p_wave_are_a_usage_error(folder: Path) -> None:
    with pytest.raises(UsageError, match="40 Hz or more, --rate is 30"):
        get_data("synth_patients", folder, p_waves=True, rate=30)
