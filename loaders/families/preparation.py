"""The preparation of a dataset's rows, as values and in words, for programs that build it again from a recording.

    preparation.of(spec, options, chart=None)
    {"row": "window", "window": "-0.4,0.8", "rate": 125.0, ..., "steps": ["the leads MLII, in mV ...", ...]}

The words follow the code that prepares rows: `beats.Recipe`, `row_forms.Kaggle`, `twelve_lead`, `strips` and
`charts.rows`.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from loaders import DATASETS
from loaders.base import DataSpec
from loaders.declaration import ChartOptions, Dataset
from loaders.families import crops
from loaders.families.beats import Recipe

SPLIT = "split"  # an option that decides no sample
FILTERED = "filter at the recording's own rate: {own[filter]}; then resampled to {spec.rate_hz:g} Hz"
OF_RECORDS = ("the leads {named}, in mV", FILTERED, "{spec.samples} samples of the whole record", "in {unit}")
CROPPED = "cropped"  # in place of the row, where records of twelve leads have --crops
# By row form, else by family.
STEPS: dict[str, tuple[str, ...]] = {
    "window": (
        "the leads {named}, in mV",
        FILTERED,
        "{spec.samples} samples around each R peak, which is sample {peak} of the row, counted from 0; the "
        "first or last "
        "sample of the recording is repeated beyond its ends",
        "in {unit}",
    ),
    "kaggle": (
        "one lead ({named}), resampled to {spec.rate_hz:g} Hz",
        "from each R peak over 1.2 of the distance to the next one, at most {spec.samples} samples",
        "scaled to 0 to 1 by the minimum and maximum of the beat, with zeros behind it up to {spec.samples} samples",
    ),
    "twelve_lead": OF_RECORDS,
    "statements": OF_RECORDS,
    CROPPED: (
        *OF_RECORDS[:2],
        "windows of {spec.samples} samples, evenly spread from the first sample of the record to its last, at most "
        "{stride} samples apart; the probabilities of its windows are averaged",
        OF_RECORDS[3],
    ),
    "strips": (
        "the lead {named}, in mV, a whole record resampled to {spec.rate_hz:g} Hz if it has another rate; polarity: "
        "{own[polarity]} (upright inverts a record with downward QRS)",
        "in {unit}",
        "windows of {spec.samples} samples that cover the record; the probabilities of its windows are averaged",
    ),
    "rows": ("rows as they stand in the file: leads {named}, {spec.samples} samples, in {unit}",),
}
CHART = (
    "drawn on ECG paper as a picture (3, {height}, {width}), red, green and blue from 0 to 1; the probabilities of "
    "several pictures of a row are averaged"
)
FEATURES = "features next to each row, as they are, without scaling{of}: {names}"
OF_RECORDINGS = {"strips": ", of the whole record at its own rate (toolbox/ecg/rhythm.py)"}  # by row


def of(spec: DataSpec, options: Any, chart: ChartOptions | None = None) -> dict[str, Any]:
    """The options of a dataset's family that decide its samples, and the steps in words; `chart` for pictures.

    `options` are the options of the family, None for an unknown dataset.
    """
    dataset = DATASETS.get(spec.name)
    row = (dataset.row_form or dataset.family) if dataset else "rows"
    own = _deciding(dataset, options)
    words = CROPPED if STEPS.get(row) == OF_RECORDS and options.crops and not spec.image else row
    known = {
        "spec": spec,
        "own": own,
        "named": ", ".join(spec.leads) or "of the file",
        "unit": spec.unit or "its own unit",
        "stride": crops.stride(spec.samples),
    }
    known |= {"peak": _peak(own)} if row == "window" else {}
    steps = [step.format(**known) for step in STEPS.get(words, STEPS["rows"])]
    steps += [CHART.format(height=spec.image[0], width=spec.image[1])] if spec.image else []
    steps += [FEATURES.format(of=OF_RECORDINGS.get(row, ""), names=", ".join(spec.features))] if spec.features else []
    return {"row": row, **own, **({"chart": asdict(chart)} if chart else {}), "steps": steps}


def _deciding(dataset: Dataset | None, options: Any) -> dict[str, Any]:
    """The values of the options that decide samples, by name."""
    if not dataset:
        return {}
    aside = {SPLIT, *dataset.without}
    return {
        name: value for name, value in asdict(options).items() if name not in aside and not dataset.is_of_sides(name)
    }


def _peak(own: Mapping[str, Any]) -> int:
    """The sample of the R peak in a row."""
    return Recipe.of(**{name: value for name, value in own.items() if name != "leads"}).r_peak
