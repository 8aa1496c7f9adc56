"""--predict: finds the beats of recordings, classifies them with a trained run, and writes the results.

<folder>/<recording>/    <recording>.pred (WFDB annotations), .csv, .json, .txt, .html
<folder>/                index.html, summary.csv and, for recordings with annotations, score.json

A `Classifier` has a trained run's network, weights and form of rows, and classifies the beats of any recording.
"""

import json
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import args
from commands import build, choices
from commands.trained import TrainedRun
from loaders.base import DataSpec
from loaders.families import labels, row_forms
from loaders.formats import lead_names, recordings, wfdb
from loaders.formats.recording import Lead, Recording, leads_of, name_of, turn
from models import get_model
from toolbox import devices, files, outputs, schema
from toolbox.ecg import beat_list, matching, rpeaks
from toolbox.ecg.beat_list import Beats
from toolbox.errors import CheckpointError, CommanderError, DataError, UsageError
from toolbox.flags import Flags, seconds
from toolbox.metrics import classification
from toolbox.outputs import Claim
from toolbox.plain import NOTICE
from toolbox.reports import prediction
from toolbox.runs import checkpoints
from toolbox.runs.folder import RunFolder
from toolbox.tasks import Classify, decided
from trainer import PREDICT_ROWS

# Without --dataset, the run is searched in these datasets, in this order.
AMONG = dict.fromkeys((*build.DATASETS_BY_DEFAULT, *row_forms.cut_from_recordings()))
DETECT = "detect"
ENDINGS = (".pred", ".csv", ".html", ".txt", ".json")  # of the files of a recording
log = logging.getLogger("commander")
Samples = NDArray[np.int64]


@dataclass(frozen=True)
class Classifier:
    """The network of a run's `checkpoint` and the form of its rows.

    `records` has the records of training ("train") and validation ("val"), None if config.json lacks them.
    """

    run: RunFolder
    checkpoint: str
    epoch: int
    spec: DataSpec
    form: row_forms.RowForm
    model: torch.nn.Module
    device: torch.device
    decision: torch.Tensor | None
    temperature: float
    label_map: str | None
    records: dict[str, list[str]] | None

    @torch.inference_mode()
    def scores(self, leads: Sequence[Lead], peaks: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Probabilities (N, K) of the beats at `peaks` (N,), and whether each points up in the first lead (N,)."""
        features = torch.from_numpy(row_forms.features(self.spec.features, self.form, leads, peaks))
        scores = [np.empty((0, len(self.spec.classes)), np.float32)]
        upright: list[NDArray[np.bool_]] = []
        for first, x in _batches(row_forms.rows(self.form, leads, peaks), upright):
            inputs = [torch.from_numpy(x), *([features[first : first + len(x)]] if self.spec.features else [])]
            outputs = self.model(*(each.to(self.device) for each in inputs))
            scores.append(decided(outputs, self.decision).softmax(1).cpu().numpy())
        probabilities = np.concatenate(scores)
        if self.temperature != 1:
            probabilities = classification.at_temperature(probabilities, self.temperature).astype(np.float32)
        return probabilities, np.concatenate([*upright, np.empty(0, bool)])

    def trained_on(self, record: str) -> str:
        """Whether the run was trained on a record of this name: a key of `matching.TRAINED_ON`."""
        if self.records is None:
            return "unknown"
        return "yes" if record in self.records["train"] else "epoch" if record in self.records["val"] else "no"


def _batches(
    parts: Iterable[tuple[NDArray[np.float32], NDArray[np.bool_]]], upright: list[NDArray[np.bool_]]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The first row and the rows of each batch. Batches have one size, so that torch plans its kernels once.

    Extends `upright` with whether each beat points up.
    """
    first, kept = 0, []
    for x, up in parts:
        upright.append(up)
        kept.append(x)
        while sum(map(len, kept)) >= PREDICT_ROWS:
            together = np.concatenate(kept)
            yield first, together[:PREDICT_ROWS]
            first, kept = first + PREDICT_ROWS, [together[PREDICT_ROWS:]]
    if sum(map(len, kept)):
        yield first, np.concatenate(kept)


def load(trained: TrainedRun) -> Classifier:
    """The classifier of a run, with the best checkpoint or the one of --resume.

    Raises UsageError for a run of charts or of a detector, or typed flags that differ from the run's, CheckpointError.
    """
    run, flags, which, spec = trained.run, trained.flags, trained.which, trained.spec
    trained.check_unchanged()
    if spec.image:
        what = "--predict reads recordings as signals, this run was trained on charts"
        raise UsageError(what, where=str(run.path), hint="a run that was trained without --view chart")
    form = row_forms.form_of(spec.name, build.options_for(spec.name, flags))
    if flags.task != "classify":
        what = "--predict needs a classifier, this run was trained with --task detect"
        raise UsageError(what, where=str(run.path), hint="a run that was trained with --task classify")
    trained.note_short_run()
    temperature_file = Classify.fixed_file if which == "best" else f"pred/{which}/{Classify.fixed_file}"
    if trained.typed.get("calibrate") and not (run / temperature_file).exists():
        what = "--calibrate needs a fitted temperature, this run has none"
        raise UsageError(what, where=str(run.path), hint="--test --calibrate first, or leave it out")
    path, state = checkpoints.find(run, which)
    device = build.device_of(flags)
    with devices.enough_memory(PREDICT_ROWS):
        model = get_model(flags.model_name, spec, model_args=flags.model_args, members=flags.members).to(device).eval()
    checkpoints.load_weights(model, state["model"], str(path))
    decision = build.by_class(flags.decision_weights, spec.classes, flag="--decision-weights")
    records = {side: trained.config["data"].get(f"{side}_records") for side in ("train", "val")}
    return Classifier(
        run=run,
        checkpoint=which,
        epoch=state["epoch"],
        spec=spec,
        form=form,
        model=model,
        device=device,
        decision=None if decision is None else decision.to(device),
        temperature=_temperature(run, temperature_file, which, fitted=flags.calibrate),
        label_map=flags.label_map,
        records=None if None in records.values() else records,
    )


def _temperature(run: RunFolder, name: str, which: str, *, fitted: bool) -> float:
    """The temperature that a test of this checkpoint fitted on validation; 1 without one."""
    test = f"--test --resume {which} to fit it"
    if not (run / name).exists():
        if fitted and which == "best":
            what = "the temperature is missing, and the run was trained with --calibrate"
            raise CheckpointError(what, where=str(run / name), hint=test)
        if fitted:
            log.warning("the probabilities of this checkpoint are not calibrated; %s", test)
        return 1.0
    found = run.read_json(name)
    if why := schema.misfit(found, {"temperature": schema.Number(classification.COLDEST, classification.HOTTEST)}):
        raise CheckpointError(f"{name}: {why}", where=str(run / name), hint=test)
    return float(found["temperature"])


def predict(given: Mapping[str, Any]) -> None:
    """Carry out --predict. Raises DataError at the end if some of several recordings are unusable."""
    flags = choices.settle(args.resolve(given))
    lead_names.check_asked(flags.unit)
    paths, failed = _find(flags.predict)
    trained = TrainedRun.open(given, among=tuple(AMONG), of_input=args.FLAGS.names("recording"))
    run, network = trained.run, load(trained)
    folder = Path(flags.out) if flags.out else run / "predict"
    log.info("%s, %s checkpoint, of epoch %d", run.path.name, network.checkpoint, network.epoch)
    with nullcontext() if flags.out else run.locked(), devices.enough_memory(PREDICT_ROWS):
        index, places = _claims(folder, paths)
        done = _each(network, paths, places, flags, failed)
        index.take()
        title = f"Beats classified by {run.path.name}, {network.checkpoint} checkpoint"
        classes, rule = network.spec.classes, network.spec.split_rule
        values = prediction.write(folder, done, failed, classes=classes, title=title, rule=rule)
    sys.stdout.write(f"{prediction.table(done, classes)}\n{json.dumps(files.finite(values))}\n")
    if failed:
        what = f"{len(failed)} of {len(failed) + len(done)} recordings could not be predicted; each has a line above"
        raise DataError(what, where=str(folder), hint="mend them and predict only them, the others are done")


def _find(given: Sequence[str]) -> tuple[list[Path], list[dict[str, str]]]:
    """The files of all recordings, each once, and the paths without one."""
    paths: list[Path] = []
    failed: list[dict[str, str]] = []
    for each in given:
        try:
            paths += recordings.find(Path(each))
        except CommanderError as error:
            _pass_over(Path(each), error, failed, alone=len(given) == 1)
    return list(dict.fromkeys(paths)), failed


def _pass_over(path: Path, error: CommanderError, failed: list[dict[str, str]], *, alone: bool) -> None:
    """Log and note an unusable recording; a recording `alone` raises its error."""
    if alone:
        raise error
    log.error("not predicted: %s: %s", path.name, error)
    failed.append({"recording": path.name, "error": str(error)})


def _each(
    network: Classifier, paths: Sequence[Path], places: Sequence[Claim], flags: Flags, failed: list[dict[str, str]]
) -> list[dict[str, Any]]:
    """Write the files of each usable recording; returns their summaries."""
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
    """The lead of the beats, the classified beats, and warnings about them."""
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
        doubts.append(f"lead {lead.name} of {recording.name} looks like noise: its beats may be false")
    elif upright.mean() < 0.5:
        turned = f"if it was recorded upside down, --leads={turn(lead.name)} turns it"
        doubts.append(f"most beats of {recording.name} point down in lead {lead.name}; {turned}")
    for doubt in doubts:
        log.warning("%s", doubt)
    label = scores.argmax(1) if len(peaks) else np.empty(0, np.int64)
    timed = (lead.name, lead.rate_hz, lead.samples)
    beats = Beats(recording.name, *timed, network.spec.classes, peaks, label, scores, lead.gaps, recording.start)
    return lead, beats, doubts


def _annotated(recording: Recording, lead: Lead, ending: str) -> tuple[Samples, list[str]]:
    """The beats of a recording's annotation file with that ending, in samples of the lead, and warnings."""
    frames_hz = recording.rate_hz if recording.path.suffix == ".hea" else None
    with wfdb.naming(recording.path, "annotations", f"--beats {DETECT}"):
        annotated, at = wfdb.marks(recording.path, lead.rate_hz, lead.samples, ending, frames_hz=frames_hz)
    is_beat, inside = np.isin(annotated, list(labels.BEATS)), at < lead.samples
    beyond = int((is_beat & ~inside).sum())
    where = f"{recording.name}.{ending} stand after the end of the signal"
    doubts = [f"{beyond} of {is_beat.sum()} beats in {where}: they are left out"] if beyond else []
    return np.unique(at[is_beat & inside].astype(np.int64)), doubts


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
    """Write the files of one recording into its `place`, scored from `start_s` on; returns its summary."""
    place.take()
    written = {path.suffix: path for path in map(place.folder.joinpath, place.names)}
    found = beat_list.summary(beats) | {
        "folder": place.within,
        "page": written[".html"].name,
        "run": network.run.path.name,
        "checkpoint": network.checkpoint,
        "epoch": network.epoch,
        "beats_by": how,
        "source": place.of["source"],
        "doubts": list(doubts),
    }
    by = f"classified by {found['run']}, {network.checkpoint} checkpoint, of epoch {network.epoch}"
    remarks, shown = [f"{by}; beats: {how}", *doubts], None
    if reference := _reference(network, recording):
        at, label, flutter = reference
        start = round(start_s * beats.rate_hz)
        score = matching.score(beats, at, label, given=how != DETECT, flutter=flutter, start=start)
        found["score"] = score | {"trained_on": network.trained_on(beats.record)}
        remarks += ["", *prediction.score_lines(score), matching.TRAINED_ON[found["score"]["trained_on"]]]
        shown = None if label is None else (at[label >= 0], label[label >= 0])
    beat_list.save_annotation(beats, written[".pred"])
    beat_list.save_csv(beats, written[".csv"])
    prediction.save_strip(written[".html"], beats, lead.read, summary=found, reference=shown)
    files.write_text(written[".txt"], prediction.text(found, remarks))
    files.write_json(written[".json"], found)
    log.info("%s: %s beats in lead %s, %s", place.within, f"{found['beats']:,}", lead.name, place.folder)
    return found


def _reference(network: Classifier, recording: Recording) -> tuple[Samples, Samples | None, Samples] | None:
    """Annotated beats: samples (M,), classes (M,), -1 for an unknown class, and flutter (E, 2); None without beats."""
    if recording.reference is None:
        return None
    annotated, at = np.array(recording.reference[0], str), recording.reference[1]
    is_beat = np.isin(annotated, list(labels.BEATS))
    if not is_beat.any():
        return None
    try:
        label = row_forms.classes_of(network.spec.name, annotated[is_beat], network.spec.classes, network.label_map)
    except CommanderError:
        label = None  # _uncompared gives the reason
    return (at[is_beat].astype(np.int64), label, labels.flutter(annotated, at.astype(np.int64), recording.samples))


def _uncompared(network: Classifier, recording: Recording) -> list[str]:
    """A warning if the run's classes of a recording's annotations are unknown."""
    try:
        if recording.reference:
            row_forms.classes_of(network.spec.name, recording.reference[0], network.spec.classes, network.label_map)
    except CommanderError as error:
        return [f"the classes of {recording.name} are not compared with its annotations: {error}"]
    return []


def _claims(folder: Path, paths: Sequence[Path]) -> tuple[Claim, list[Claim]]:
    """The places of the index and of each recording's files. Raises UsageError if other files are there."""
    sources, names = [wfdb.source(path) for path in paths], [name_of(path) for path in paths]

    def claim(place: int, name: str) -> Claim:
        stem = outputs.safe_name(names[place])
        of = {"output": "prediction", "source": sources[place]}
        return Claim(folder, name, [stem + ending for ending in ENDINGS], of, partial(_known, summary=f"{stem}.json"))

    index = prediction.claim(folder)
    places = outputs.placed(folder, [outputs.safe_name(name) for name in names], claim, reserved=index.names)
    for path, name, place in zip(paths, names, places, strict=True):
        if place.within != name:
            log.warning("the name %s is taken or no folder name: %s is written as %s", name, path, place.within)
    outputs.apart([index, *places], [part for path in paths for part in wfdb.files_of(path)])
    for each in (index, *places):
        each.check()
    return index, places


def _known(path: Path, summary: str) -> dict[str, Any] | None:
    """The source of a file of an earlier version of this program, from the `summary` in its folder."""
    try:
        found = files.read_json(path.with_name(summary))
        of = {"output": "prediction", "source": dict(found["source"])}
        return of if found["run"] and found["notice"] == NOTICE else None
    except (ValueError, LookupError, TypeError):
        return None
