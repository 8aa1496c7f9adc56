"""The preparation of rows in words: for every dataset and view, with the values of its options and no others."""

import re
from dataclasses import replace

import pytest

from helpers.data import make_spec
from loaders import DATASETS, options_of
from loaders.declaration import ChartOptions
from loaders.families import preparation


@pytest.mark.parametrize("name", DATASETS)
def test_the_preparation_of_every_dataset_states_its_options_and_steps(name: str) -> None:
    options, _ = options_of(name, {})
    spec = replace(make_spec(samples=150), name=name)
    found = preparation.of(spec, options)
    asked = {*found} - {"row", "steps"}
    assert asked <= DATASETS[name].options.keys()
    assert not any(DATASETS[name].is_of_sides(option) for option in asked)
    assert found["steps"]
    for step in found["steps"]:
        assert not re.search(r"[{}]|\bNone\b", step)
    charts = preparation.of(replace(spec, image=(64, 96)), options, ChartOptions(layout="v1"))
    assert "(3, 64, 96)" in charts["steps"][-1]
    assert charts["chart"]["layout"] == "v1"


def test_the_r_peak_of_a_window_and_the_features_are_stated() -> None:
    options, _ = options_of("mitdb", {"window": "-0.2,0.4", "rate": 250.0, "filter": "baseline", "normalise": "beat"})
    spec = replace(make_spec(samples=150), name="mitdb", rate_hz=250, features=("rr_previous",), unit="sd")
    found = preparation.of(spec, options)
    words = " ".join(found["steps"])
    for part in ("baseline", "250 Hz", "150 samples", "sample 50 of the row", "in sd", "rr_previous"):
        assert part in words
    assert (found["row"], found["window"]) == ("window", "-0.2,0.4")


def test_a_strip_is_resampled_as_a_whole_and_its_features_are_those_of_the_whole_record() -> None:
    options, _ = options_of("synth_strips", {"rate": 100.0, "rr_features": True})
    spec = replace(make_spec(samples=1000), name="synth_strips", rate_hz=100, features=("beats_per_s",))
    words = " ".join(preparation.of(spec, options)["steps"])
    assert "a whole record resampled to 100 Hz if it has another rate" in words
    assert words.endswith("of the whole record at its own rate (toolbox/ecg/rhythm.py): beats_per_s")


def test_rows_of_an_unknown_dataset_have_a_preparation_too() -> None:
    assert preparation.of(make_spec(), None)["row"] == "rows"


@pytest.mark.parametrize("name", ["ptbxl", "chapman"])
def test_records_with_crops_are_stated_as_windows_whose_probabilities_are_averaged(name: str) -> None:
    spec = replace(make_spec(samples=250), name=name)
    whole, cropped = (preparation.of(spec, options_of(name, {"crops": crops})[0]) for crops in (None, "2.5s"))
    of_records = [*whole["steps"]]
    assert of_records[2] == "250 samples of the whole record"
    of_records[2] = (
        "windows of 250 samples, evenly spread from the first sample of the record to its last, at most 125 samples "
        "apart; the probabilities of its windows are averaged"
    )
    assert cropped == {**whole, "steps": of_records}
