"""--predict of whole records: the classes of recordings of any length, by a run whose rows are records or strips.

<folder>/<recording>/    <recording>.csv, a line a window, .json, .txt

A recording is prepared as the run's records were and cut into windows of a row's length. Its probabilities are the mean
over its windows, as in the test of the run.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from commands import build
from commands.predict import decisions
from commands.trained import TrainedNetwork
from loaders.families import row_forms
from loaders.formats.recording import Lead, Recording, leads_of
from toolbox import files
from toolbox.ecg import matching
from toolbox.flags import Flags
from toolbox.plain import NOTICE
from toolbox.reports import prediction
from toolbox.runs.outputs import Claim
from toolbox.runs.predictions import CSV_DIGITS
from toolbox.tasks import kind
from trainer import rows_at_once

log = logging.getLogger("commander")


@dataclass(frozen=True)
class Windows:
    """A recording and its `leads`: the first sample of each window in s (W,), scores (W, K), and the mean (1, K)."""

    recording: Recording
    leads: Sequence[Lead]
    start_s: NDArray[np.float64]
    scores: NDArray[np.float32]
    mean: NDArray[np.float32]
    doubts: list[str]


@dataclass(frozen=True)
class RecordClassifier:
    """A trained network for whole records: classifies recordings of any length."""

    network: TrainedNetwork
    endings: ClassVar[Sequence[str]] = (".csv", ".txt", ".json")  # of the files of a recording
    title: ClassVar[str] = "Recordings classified"

    @torch.inference_mode()
    def found(self, recording: Recording, flags: Flags) -> Windows:
        """The windows of a recording, classified. Raises DataError."""
        network, spec = self.network, self.network.spec
        leads = leads_of(recording, spec.leads, flags.leads, unit=flags.unit, flat=True)
        doubts = [*recording.doubts, *(doubt for lead in leads for doubt in (*lead.doubts, *_gaps(lead, recording)))]
        if network.trained_on(recording.name) == "yes":
            doubts.append(f"{recording.name}: {matching.TRAINED_ON['yes']}")
        for doubt in doubts:
            log.warning("%s", doubt)
        rows = row_forms.windows(spec, build.options_for(spec.name, network.flags), leads, recording.path)
        batches = rows.batches(network.device)
        parts = [network.model(*inputs) for inputs, _ in batches.batches(None, rows_at_once(spec))]
        logits = torch.cat(parts)
        task = kind(network.flags.task, many_labels=spec.many_labels)
        mean = task.pool(logits, np.zeros(len(logits), np.int64))
        scores, of_all = (network.decided(each).cpu().numpy() for each in (logits, mean))
        return Windows(recording, leads, batches.begin.cpu().numpy() / spec.rate_hz, scores, of_all, doubts)

    def write(self, found: Windows, place: Claim, flags: Flags) -> dict[str, Any]:
        """Write the files of a recording into its `place`; returns its summary, with the windows for the page."""
        place.take()
        network, recording, lead = self.network, found.recording, found.leads[0]
        written = {path.suffix: path for path in map(place.folder.joinpath, place.names)}
        mean = {name: column[0] for name, column in decisions.columns(network, found.mean).items()}
        predicted = str(mean.pop(decisions.PREDICTED))
        summary = {
            "record": recording.name,
            "leads": [each.name for each in found.leads],
            "start": recording.start.isoformat(sep=" ") if recording.start else None,
            "duration_s": lead.samples / lead.rate_hz,
            "recorded_hz": lead.rate_hz,
            "windows": len(found.scores),
            "window_s": network.spec.samples / network.spec.rate_hz,
            decisions.PREDICTED: predicted,
            "probabilities": {name.removeprefix("p_"): round(float(value), CSV_DIGITS) for name, value in mean.items()},
            **decisions.facts(network),
            "folder": place.within,
            "page": written[".txt"].name,
            "run": network.run,
            "checkpoint": network.checkpoint,
            "epoch": network.epoch,
            "source": place.of["source"],
            "doubts": found.doubts,
            "notice": NOTICE,
        }
        of_windows = decisions.columns(network, found.scores)
        decided = of_windows.pop(decisions.PREDICTED)
        of_windows = {"start_s": found.start_s, **of_windows, decisions.PREDICTED: decided}
        files.write_csv(written[".csv"], {"window": np.arange(1, len(decided) + 1), **of_windows}, f"%.{CSV_DIGITS}f")
        rows = prediction.window_rows(of_windows)
        remarks = [f"classified by {network.run}, {network.checkpoint} checkpoint, of epoch {network.epoch}"]
        files.write_text(written[".txt"], prediction.record_text(summary, rows, [*remarks, *found.doubts]))
        files.write_json(written[".json"], summary)
        place.log_name(recording.path)
        log.info("%s: %s, %s", place.within, predicted or "no class", place.folder)
        return summary | {"of_windows": rows}

    def rows(self, done: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """For each recording the figures of its summary, by column."""
        return [
            {"recording": found["folder"]}
            | {name: found[name] for name in (decisions.PREDICTED, "duration_s", "windows")}
            | {f"p_{name}": value for name, value in found["probabilities"].items()}
            for found in done
        ]


def _gaps(lead: Lead, recording: Recording) -> list[str]:
    """A doubt about the long gaps of a lead that is not flat."""
    lost_s = np.diff(lead.gaps).sum() / lead.rate_hz
    what = f"lead {lead.name} of {recording.name} has no signal for {lost_s:.4g} s"
    return [f"{what}: straight lines take its place"] if lost_s and lead.span_mv else []
