"""Recordings meet a trained run: their beats are found, classified, and written as files that people and programs open.

<folder>/<recording>/    <recording>.pred (WFDB annotations), .csv, .json, .txt, .html
<folder>/                index.html, summary.csv and, where annotations stand beside the recordings, score.json
"""

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import args
from commands import build, choices, classifier
from commands.classifier import Classifier
from commands.trained import TrainedRun
from loaders.families import labels, row_forms
from loaders.formats import lead_names, recordings, wfdb
from loaders.formats.recording import Lead, Recording, leads_of, name_of, turn
from toolbox import devices, files, outputs
from toolbox.ecg import beat_list, matching, rhythm, rpeaks
from toolbox.ecg.beat_list import Beats
from toolbox.errors import CommanderError, DataError
from toolbox.flags import Flags, seconds
from toolbox.outputs import Claim
from toolbox.plain import NOTICE
from toolbox.reports import prediction, strip
from trainer import PREDICT_ROWS

# Without --dataset, the run is looked for among those of these datasets.
AMONG = dict.fromkeys((*build.DATASETS_BY_DEFAULT, *row_forms.cut_from_recordings()))
DETECT = "detect"
ENDINGS = (".pred", ".csv", ".html", ".txt", ".json")  # of the files of a recording
log = logging.getLogger("commander")
Samples = NDArray[np.int64]


def predict(given: Mapping[str, Any]) -> None:
    """Carry out --predict; a DataError at the end where some of several recordings could not be used."""
    flags = choices.settle(args.resolve(given))
    lead_names.check_asked(flags.unit)
    paths, failed = _find(flags.predict)
    trained = TrainedRun.open(given, among=tuple(AMONG), of_input=args.FLAGS.names("recording"))
    run, network = trained.run, classifier.load(trained)
    folder = Path(flags.out) if flags.out else run / "predict"
    log.info("%s, %s checkpoint, of epoch %d", run.path.name, network.checkpoint, network.epoch)
    with nullcontext() if flags.out else run.locked(), devices.enough_memory(PREDICT_ROWS):
        index, places = _claims(folder, paths)
        done = _each(network, paths, places, flags, failed)
        index.take()
        title = f"Beats classified by {run.path.name}, {network.checkpoint} checkpoint"
        how = {"classes": network.spec.classes, "title": title, "rule": network.spec.split_rule}
        values = prediction.write(folder, done, failed, **how)
    sys.stdout.write(f"{prediction.table(done, network.spec.classes)}\n{json.dumps(files.finite(values))}\n")
    if failed:
        what = f"{len(failed)} of {len(failed) + len(done)} recordings could not be predicted; each has a line above"
        raise DataError(what, where=str(folder), hint="mend them and name them alone, the others are done")


def _find(given: Sequence[str]) -> tuple[list[Path], list[dict[str, str]]]:
    """The files of all recordings, each once, and which of several paths have none."""
    paths, failed = [], []
    for each in given:
        try:
            paths += recordings.find(Path(each))
        except CommanderError as error:
            _pass_over(Path(each), error, failed, alone=len(given) == 1)
    return list(dict.fromkeys(paths)), failed


def _pass_over(path: Path, error: CommanderError, failed: list[dict[str, str]], *, alone: bool) -> None:
    """Say that one of several recordings cannot be used, and note it; of one `alone` that is the end."""
    if alone:
        raise error
    log.error("not predicted: %s: %s", path.name, error)
    failed.append({"recording": path.name, "error": str(error)})


def _each(
    network: Classifier, paths: Sequence[Path], places: Sequence[Claim], flags: Flags, failed: list[dict[str, str]]
) -> list[dict[str, Any]]:
    """The summary of each recording that could be used, once its files are written."""
    done, start_s = [], seconds(getattr(flags, "from"))
    for path, place in zip(paths, places, strict=True):
        try:
            recording = recordings.open_recording(path, rate_hz=flags.rate_hz)
            lead, beats, doubts = _classified(network, recording, flags)
            recording = recording.timed_as(lead)
        except CommanderError as error:
            _pass_over(path, error, failed, alone=len(paths) == 1)
            continue
        done.append(_write(network, recording, lead, beats, place, how=flags.beats, doubts=doubts, start_s=start_s))
    return done


def _classified(network: Classifier, recording: Recording, flags: Flags) -> tuple[Lead, Beats, list[str]]:
    """The lead in which beats were found, all of them with their classes, and what there is to doubt about them."""
    leads = leads_of(recording, network.spec.leads, flags.leads, unit=flags.unit)
    lead = leads[0]
    doubts = [*recording.doubts, *(doubt for each in leads for doubt in each.doubts), *_uncompared(network, recording)]
    found, where = flags.beats == DETECT, str(recording.path)
    if found:
        peaks = rpeaks.detect(lead.read, lead.samples, lead.rate_hz, where=where)
    else:
        peaks, beyond = _annotated(recording, lead, flags.beats)
        doubts += beyond
    scores, upright = network.scores(leads, peaks)
    if not len(peaks):
        doubts.append(f"no beat was found in lead {lead.name} of {recording.name}")
    elif found and rpeaks.is_noise(lead.read, lead.samples, lead.rate_hz):
        doubts.append(f"lead {lead.name} of {recording.name} looks like noise: what was found in it may be no beats")
    elif upright.mean() < 0.5:
        turned = f"if it was recorded upside down, --leads={turn(lead.name)} turns it"
        doubts.append(f"most beats of {recording.name} point down in lead {lead.name}; {turned}")
    for doubt in doubts:
        log.warning("%s", doubt)
    how = {"gaps": lead.gaps, "start": recording.start}
    label = scores.argmax(1) if len(peaks) else np.empty(0, np.int64)
    beats = Beats(
        recording.name, lead.name, lead.rate_hz, lead.samples, network.spec.classes, peaks, label, scores, **how
    )
    return lead, beats, doubts


def _annotated(recording: Recording, lead: Lead, ending: str) -> tuple[Samples, list[str]]:
    """The beats of the annotation file with that ending beside a recording, in samples of the lead, and doubts."""
    frames_hz = recording.rate_hz if recording.path.suffix == ".hea" else None
    with wfdb.naming(recording.path, "annotations", f"--beats {DETECT}"):
        annotated, at = wfdb.marks(recording.path, lead.rate_hz, lead.samples, ending, frames_hz=frames_hz)
    is_beat, inside = np.isin(annotated, list(labels.BEATS)), at < lead.samples
    beyond = int((is_beat & ~inside).sum())
    what = (
        f"{beyond} of {is_beat.sum()} beats in {recording.name}.{ending} stand after the end of the signal: they are"
        " left out"
    )
    return np.unique(at[is_beat & inside].astype(np.int64)), [what] if beyond else []


def _write(
    network: Classifier,
    recording: Recording,
    lead: Lead,
    beats: Beats,
    place: Claim,
    *,
    how: str,
    doubts: Sequence[str],
    start_s: float,
) -> dict[str, Any]:
    """Write the files of one recording into its `place`, scored from `start_s` on; its summary."""
    place.take()
    written = {path.suffix: path for path in map(place.folder.joinpath, place.names)}
    reference = _reference(network, recording)
    found = rhythm.summary(beats) | {
        "folder": place.within,
        "page": written[".html"].name,
        "run": network.run.path.name,
    }
    found |= {"checkpoint": network.checkpoint, "epoch": network.epoch, "beats_by": how}
    found |= {"source": place.of["source"], "doubts": list(doubts)}
    remarks = [
        f"classified by {found['run']}, {network.checkpoint} checkpoint, of epoch {network.epoch}; beats: {how}",
        *doubts,
    ]
    shown = None
    if reference:
        at, label, flutter = reference
        scored = {"given": how != DETECT, "flutter": flutter, "start": round(start_s * beats.rate_hz)}
        found["score"] = matching.score(beats, at, label, **scored) | {"trained_on": _trained_on(network, beats)}
        remarks += ["", *prediction.score_lines(found["score"]), matching.TRAINED_ON[found["score"]["trained_on"]]]
        shown = None if label is None else (at[label >= 0], label[label >= 0])
    beat_list.save_annotation(beats, written[".pred"])
    beat_list.save_csv(beats, written[".csv"])
    strip.save_strip(written[".html"], beats, lead.read, summary=found, reference=shown)
    files.write_text(written[".txt"], prediction.text(found, remarks))
    files.write_json(written[".json"], found)
    log.info("%s: %s beats in lead %s, %s", place.within, f"{found['beats']:,}", lead.name, place.folder)
    return found


def _reference(network: Classifier, recording: Recording) -> tuple[Samples, Samples | None, Samples] | None:
    """Annotated beats, (M,) samples and (M,) classes, -1 for one of none, and segments of flutter (E, 2); None for no
    beats, and where classes are not known."""
    if recording.reference is None:
        return None
    annotated, at = np.array(recording.reference[0], str), recording.reference[1]
    is_beat = np.isin(annotated, list(labels.BEATS))
    if not is_beat.any():
        return None
    try:
        label = row_forms.classes_of(network.spec.name, annotated[is_beat], network.spec.classes, network.label_map)
    except CommanderError:
        label = None  # _uncompared says why
    return (at[is_beat].astype(np.int64), label, labels.flutter(annotated, at.astype(np.int64), recording.samples))


def _uncompared(network: Classifier, recording: Recording) -> list[str]:
    """A doubt where the classes of a recording's annotations cannot be known."""
    try:
        if recording.reference:
            row_forms.classes_of(network.spec.name, recording.reference[0], network.spec.classes, network.label_map)
    except CommanderError as error:
        return [f"the classes of {recording.name} are not compared with its annotations: {error}"]
    return []


def _trained_on(network: Classifier, beats: Beats) -> str:
    """What the run has to do with the recording, as far as its name tells: a key of `matching.TRAINED_ON`."""
    if network.records is None:
        return "unknown"
    sides = {"yes": "train", "epoch": "val"}
    return next((told for told, side in sides.items() if beats.record in network.records[side]), "no")


def _claims(folder: Path, paths: Sequence[Path]) -> tuple[Claim, list[Claim]]:
    """Where the index of all recordings and the files of each are written; UsageError where something else stands
    there."""
    sources, names = [wfdb.source(path) for path in paths], [name_of(path) for path in paths]

    def claim(place: int, name: str) -> Claim:
        stem = outputs.safe_name(names[place])
        of = {"output": "prediction", "source": sources[place]}
        return Claim(folder, name, [stem + ending for ending in ENDINGS], of, partial(_known, summary=f"{stem}.json"))

    index = prediction.claim(folder)
    places = outputs.placed(folder, [outputs.safe_name(name) for name in names], claim, reserved=index.names)
    for path, name, place in zip(paths, names, places, strict=True):
        if place.within != name:
            log.warning("the name %s is taken, or not one for a folder: %s is written as %s", name, path, place.within)
    outputs.apart([index, *places], [part for path in paths for part in wfdb.files_of(path)])
    for each in (index, *places):
        each.check()
    return index, places


def _known(path: Path, summary: str) -> dict[str, Any] | None:
    """What an earlier version of this program wrote a file of, by the summary beside it."""
    try:
        found = files.read_json(path.with_name(summary))
        return (
            {"output": "prediction", "source": dict(found["source"])}
            if found["run"] and found["notice"] == NOTICE
            else None
        )
    except (ValueError, LookupError, TypeError):
        return None
