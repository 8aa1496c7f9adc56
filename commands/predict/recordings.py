"""--predict: finds the beats of recordings, classifies them with a trained run, and writes the results.

Recordings of a run whose rows are whole records are classified by `records`, in the same steps.

<folder>/<recording>/    <recording>.pred (WFDB annotations), .csv, .json, .txt, .html
<folder>/                index.html, summary.csv and, for recordings with annotations, score.json

The network is a run's, or that of a folder of --export. A `Classifier` has it and the form of its rows, and classifies
the beats of any recording.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

import args
from commands import build, choices, export
from commands.predict import decisions
from commands.predict.records import RecordClassifier
from commands.trained import TrainedNetwork, TrainedRun
from loaders import BY_DEFAULT
from loaders.base import DataSpec
from loaders.families import labels, row_forms
from loaders.formats import lead_names, recordings, wfdb
from loaders.formats.recording import Lead, Recording, leads_of, name_of, turn
from toolbox import devices, files, plain, terminal
from toolbox.ecg import beat_list, matching, rpeaks
from toolbox.ecg.beat_list import Beats
from toolbox.errors import CommanderError, DataError, UsageError
from toolbox.flags import Flags, flag_name, seconds
from toolbox.plain import NOTICE
from toolbox.reports import prediction
from toolbox.reports.run import ending
from toolbox.runs import outputs
from toolbox.runs.outputs import Claim
from trainer import PREDICT_ROWS

# Without --dataset, the run is searched in these datasets, in this order.
AMONG = dict.fromkeys((*BY_DEFAULT, *row_forms.cut_from_recordings(), *row_forms.whole_records()))
DETECT = "detect"
LEFT = "leave it out"
log = logging.getLogger("commander")
Samples = NDArray[np.int64]
Symbols = Mapping[str, Sequence[str]]


class Predictor(Protocol):
    """A trained network for recordings: `endings` of the files of a recording, and the beginning of a `title`."""

    @property
    def network(self) -> TrainedNetwork: ...
    @property
    def endings(self) -> Sequence[str]: ...
    @property
    def title(self) -> str: ...

    def found(self, recording: Recording, flags: Flags) -> Any:
        """The predictions of a recording, for `write`. Raises CommanderError."""

    def write(self, found: Any, place: Claim, flags: Flags) -> dict[str, Any]:
        """Write the files of a recording into its `place`; returns its summary."""

    def rows(self, done: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """A row of summary.csv for each summary."""


@dataclass(frozen=True)
class Classifier:
    """A trained network and the form of its rows: classifies the beats of any recording.

    `symbols` gives the annotation symbols of each class; it may raise the errors of a label map.
    """

    network: TrainedNetwork
    form: row_forms.RowForm
    symbols: Callable[[], Symbols]
    endings: ClassVar[Sequence[str]] = (".pred", ".csv", ".html", ".txt", ".json")
    title: ClassVar[str] = "Beats classified"

    def found(self, recording: Recording, flags: Flags) -> tuple[Recording, Lead, Beats, list[str]]:
        """The recording at the rate of its lead, and `_classified`."""
        lead, beats, doubts = _classified(self, recording, flags)
        return recording.timed_as(lead), lead, beats, doubts

    def write(self, found: tuple[Recording, Lead, Beats, list[str]], place: Claim, flags: Flags) -> dict[str, Any]:
        start_s = seconds(getattr(flags, "from"))
        return _write(self, *found[:3], place, how=flags.beats, doubts=found[3], start_s=start_s)

    def rows(self, done: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        return prediction.rows(done, self.network.spec.classes)

    def scores(self, leads: Sequence[Lead], peaks: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Probabilities (N, K) of the beats at `peaks` (N,), and whether each points up in the first lead (N,)."""
        names, upright = self.network.spec.features, [np.empty(0, bool)]
        features = torch.from_numpy(row_forms.features(names, self.form, leads, peaks))
        batches = (
            [torch.from_numpy(x), *([features[first : first + len(x)]] if names else [])]
            for first, x in _batches(row_forms.rows(self.form, leads, peaks), upright)
        )
        return self.network.probabilities(batches), np.concatenate(upright)


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


def load(trained: TrainedRun) -> Predictor:
    """The classifier of a run, with the best checkpoint or the one of --resume.

    Raises UsageError for a run of charts or of a detector, or typed flags that differ from the run's, CheckpointError.
    """
    flags, spec = trained.flags, trained.spec
    trained.check_unchanged()
    form = _form(flags, spec, trained.run.path, trained.typed)
    trained.note_short_run()
    network = trained.network()
    if form is None:
        decisions.check_fixed(network, trained.run)
        return RecordClassifier(network)
    return Classifier(network, form, partial(row_forms.symbols_of, spec.name, flags.label_map))


def _exported(folder: Path, given: Mapping[str, Any]) -> Predictor:
    """The classifier of a folder of --export. Raises as `load`."""
    network, symbols = export.opened(folder, given, of_input=args.FLAGS.names("recording"))
    form = _form(network.flags, network.spec, folder, given)
    return RecordClassifier(network) if form is None else Classifier(network, form, lambda: symbols)


def _form(flags: Flags, spec: DataSpec, where: Path, typed: Mapping[str, Any]) -> row_forms.RowForm | None:
    """The form of a run's rows of beats, None for whole records. Raises UsageError for rows that no recording has."""
    if spec.image:
        raise choices.of_charts(str(where))
    whole = spec.name in row_forms.whole_records()
    form = None if whole else row_forms.form_of(spec.name, build.options_for(spec.name, flags))
    if odd := [flag_name(name) for name in args.FLAGS.names("of-beats") if name in typed and whole]:
        raise UsageError(f"{odd[0]} is of beats, the rows of the run are whole records", where=str(where), hint=LEFT)
    if flags.task != "classify":
        what = "--predict needs a classifier, this run was trained with --task detect"
        raise UsageError(what, where=str(where), hint="a run that was trained with --task classify")
    if spec.many_labels and not whole:
        what = "--predict of recordings needs one class a beat, the run has many labels a row"
        raise UsageError(what, where=str(where), hint="--read-as rows")
    return form


def predict(given: Mapping[str, Any]) -> None:
    """Carry out --predict. Raises DataError at the end if some of several recordings are unusable."""
    from commands.predict import rows

    flags = choices.settle(args.resolve(given))
    lead_names.check_asked(flags.unit)
    if of_rows := rows.opened(given, flags):
        rows.predict(of_rows, flags)
        return
    devices.keep_freed_memory()
    paths, failed = _find(flags.predict)
    run = None
    if flags.from_export:
        predictor = _exported(Path(flags.from_export), given)
    else:
        trained = TrainedRun.open(given, among=tuple(AMONG), of_input=args.FLAGS.names("recording"))
        run, predictor = trained.run, load(trained)
    network = predictor.network
    folder = Path(flags.out or network.origin / "predict")
    log.info("%s, %s checkpoint, of epoch %d", network.run, network.checkpoint, network.epoch)
    with outputs.locked(folder) if flags.out or not run else run.locked(), devices.enough_memory(PREDICT_ROWS):
        index, places = _claims(folder, paths, predictor.endings)
        done = _each(predictor, paths, places, flags, failed)
        index.take()
        title = f"{predictor.title} by {network.run}, {network.checkpoint} checkpoint"
        table, rule = predictor.rows(done), network.spec.split_rule
        values = prediction.write(folder, done, failed, table=table, title=title, rule=rule)
    pages = plain.lines(ending.paths({"page": folder / "index.html", "files": folder}))
    terminal.answer(values, always=prediction.table(table), at_terminal=pages, as_json=flags.json)
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
    predictor: Predictor, paths: Sequence[Path], places: Sequence[Claim], flags: Flags, failed: list[dict[str, str]]
) -> list[dict[str, Any]]:
    """Write the files of each usable recording; returns their summaries."""
    done = []
    bar = terminal.bar(iterable=paths, desc="recordings", unit="recording", disable=len(paths) == 1, leave=False)
    for path, place in zip(bar, places, strict=True):
        try:
            found = predictor.found(recordings.open_recording(path, rate_hz=flags.rate_hz), flags)
        except CommanderError as error:
            _pass_over(path, error, failed, alone=len(paths) == 1)
            continue
        done.append(predictor.write(found, place, flags))
    return done


def _classified(classifier: Classifier, recording: Recording, flags: Flags) -> tuple[Lead, Beats, list[str]]:
    """The lead of the beats, the classified beats, and warnings about them."""
    spec = classifier.network.spec
    leads = leads_of(recording, spec.leads, flags.leads, unit=flags.unit)
    lead = leads[0]
    doubts = [*recording.doubts, *(doubt for each in leads for doubt in each.doubts)]
    doubts += _uncompared(classifier, recording)
    found, where = flags.beats == DETECT, str(recording.path)
    if found:
        peaks = rpeaks.detect(lead.read, lead.samples, lead.rate_hz, where=where)
    else:
        peaks, beyond = _annotated(recording, lead, flags.beats)
        doubts += beyond
    scores, upright = classifier.scores(leads, peaks)
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
    beats = Beats(recording.name, *timed, spec.classes, peaks, label, scores, lead.gaps, recording.start)
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
    classifier: Classifier,
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
    network = classifier.network
    written = {path.suffix: path for path in map(place.folder.joinpath, place.names)}
    found = beat_list.summary(beats) | {
        "folder": place.within,
        "page": written[".html"].name,
        "run": network.run,
        "checkpoint": network.checkpoint,
        "epoch": network.epoch,
        "beats_by": how,
        "source": place.of["source"],
        "doubts": list(doubts),
    }
    by = f"classified by {found['run']}, {network.checkpoint} checkpoint, of epoch {network.epoch}"
    remarks, shown = [f"{by}; beats: {how}", *doubts], None
    if reference := _reference(classifier, recording):
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
    place.log_name(recording.path)
    log.info("%s: %s beats in lead %s, %s", place.within, f"{found['beats']:,}", lead.name, place.folder)
    return found


def _reference(classifier: Classifier, recording: Recording) -> tuple[Samples, Samples | None, Samples] | None:
    """Annotated beats: samples (M,), classes (M,), -1 for an unknown class, and flutter (E, 2); None without beats."""
    if recording.reference is None:
        return None
    annotated, at = np.array(recording.reference[0], str), recording.reference[1]
    is_beat = np.isin(annotated, list(labels.BEATS))
    if not is_beat.any():
        return None
    try:
        label = row_forms.classes_of(classifier.symbols(), annotated[is_beat], classifier.network.spec.classes)
    except CommanderError:
        label = None  # _uncompared gives the reason
    return (at[is_beat].astype(np.int64), label, labels.flutter(annotated, at.astype(np.int64), recording.samples))


def _uncompared(classifier: Classifier, recording: Recording) -> list[str]:
    """A warning if the run's classes of a recording's annotations are unknown."""
    try:
        if recording.reference:
            row_forms.classes_of(classifier.symbols(), recording.reference[0], classifier.network.spec.classes)
    except CommanderError as error:
        return [f"the classes of {recording.name} are not compared with its annotations: {error}"]
    return []


def _claims(folder: Path, paths: Sequence[Path], endings: Sequence[str]) -> tuple[Claim, list[Claim]]:
    """The places of the index and of each recording's files. Raises UsageError if other files are there."""
    sources, names = [wfdb.source(path) for path in paths], [name_of(path) for path in paths]

    def claim(place: int, name: str) -> Claim:
        stem = outputs.safe_name(names[place])
        of = {"output": "prediction", "source": sources[place]}
        return Claim(folder, name, [stem + ending for ending in endings], of, partial(_known, summary=f"{stem}.json"))

    index = prediction.claim(folder)
    places = outputs.placed(folder, names, claim, instead="recording", reserved=index.names)
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
