"""--predict with rows: the probabilities of each row of a table, or its error, by a trained run.

<folder>/<file>/    <file>.csv, a line a row in the order of the file, and <file>.json

`opened` decides whether the files of a command are rows, and gives a `RowModel` of a run or of a folder of --export,
which predicts the rows x (n, C, T) of any file.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

import args
from commands import build, choices, export
from commands.predict import decisions
from commands.predict.recordings import AMONG as OF_RECORDINGS
from commands.trained import TrainedNetwork, TrainedRun
from loaders import BY_DEFAULT, DATASETS, new_rows
from loaders.datasets import table
from loaders.datasets.table_places import Wanted
from loaders.declaration import Dataset, TableOptions
from loaders.families import row_forms
from loaders.files.cache import fingerprint
from toolbox import devices, files, plain, terminal
from toolbox.errors import CommanderError, DataError, UsageError
from toolbox.flags import Flags, flag_name
from toolbox.plain import NOTICE
from toolbox.reports import prediction, tables
from toolbox.reports.run import ending
from toolbox.runs import outputs
from toolbox.runs.folder import RunFolder
from toolbox.runs.outputs import Claim
from toolbox.tasks import Classify
from toolbox.training.losses import RECONSTRUCTION
from trainer import rows_at_once

ROWS, RECORDINGS = "rows", "recordings"
ALWAYS_ROWS = (".npz", ".npy", ".parquet", ".ts", ".arff")  # no recording has these endings
TABLE = "table"
# Without --dataset, the run is searched in these datasets, in this order.
AMONG = tuple(dict.fromkeys((*BY_DEFAULT, *row_forms.cut_from_recordings(), TABLE, *OF_RECORDINGS)))
NAMED = 3  # dropped rows in a warning
Array = NDArray[Any]
log = logging.getLogger("commander")


@dataclass(frozen=True)
class RowModel:
    """A trained network for rows, the `typed` flags of the command, and the run, None for a folder of --export."""

    network: TrainedNetwork
    typed: Mapping[str, Any]
    run: RunFolder | None

    @property
    def classifies(self) -> bool:
        return decisions.classifies(self.network)

    @property
    def decides(self) -> str:
        """The column that the summary counts."""
        return decisions.PREDICTED if self.classifies else "anomaly"

    def decisions(self, column: Array) -> list[str]:
        """The decisions in the column `decides` (n,), to be counted; a row of many labels has several or none."""
        texts = list(map(str, column.tolist()))
        if not self.network.spec.many_labels:
            return texts
        return [name for text in texts for name in text.split(";") if name]

    @property
    def batch(self) -> int:
        return rows_at_once(self.network.spec)

    def predict(self, x: NDArray[np.float32]) -> dict[str, Array]:
        """The columns of the predictions, each (n,), of rows x (n, C, T)."""
        parts = (torch.from_numpy(x[first : first + self.batch]) for first in range(0, len(x), self.batch))
        if self.classifies:
            return decisions.columns(self.network, self.network.scores([part] for part in parts))
        errors, threshold = np.concatenate([*map(self._errors, parts)]), float(self.network.fixed["threshold"])
        return {"error": errors, "threshold": np.full(len(errors), threshold), "anomaly": errors > threshold}

    @torch.inference_mode()
    def _errors(self, x: torch.Tensor) -> Array:
        """The errors (B,) of the reconstructions of x (B, C, T)."""
        x = x.to(self.network.device)
        return RECONSTRUCTION[self.network.flags.criterion](self.network.model(x), x).cpu().numpy()


def opened(given: Mapping[str, Any], flags: Flags) -> RowModel | None:
    """The network, if the files are rows for it: by --read-as, by their endings, or as recordings are not its input.

    None for recordings. Raises UsageError for a run with features, a detector without a threshold, and typed flags that
    differ from the run's or are of recordings; the errors of `TrainedRun.open` and `export.opened`.
    """
    named = [path for path in map(Path, flags.predict) if path.name.lower().endswith(tuple(table.FORMS))]
    known = flags.dataset == TABLE or any(path.is_file() for path in named)  # else no file is there to be read
    if flags.read_as == RECORDINGS or (flags.read_as is None and not (named and known)):
        return None
    always = flags.read_as == ROWS or any(path.name.lower().endswith(ALWAYS_ROWS) for path in named)
    of_input = (*args.FLAGS.names("recording"), *args.FLAGS.names("other-file"))
    if flags.from_export:
        network, _ = export.opened(Path(flags.from_export), given, of_input=of_input)
        model = RowModel(network, args.needed(given), None)
        return _checked(model) if always or not _takes_recordings(network.spec.name, network.flags) else None
    trained = TrainedRun.open(given, among=AMONG, of_input=of_input)
    if not (always or not _takes_recordings(trained.config["data"].get("name", ""), trained.flags)):
        return None
    trained.check_unchanged()
    trained.note_short_run()
    return _checked(RowModel(trained.network(), trained.typed, trained.run))


def _takes_recordings(dataset: str, flags: Flags) -> bool:
    return dataset in (*row_forms.cut_from_recordings(), *row_forms.whole_records()) and flags.task == Classify.name


def _checked(model: RowModel) -> RowModel:
    """The model. Raises UsageError, CheckpointError if it cannot predict rows as typed."""
    network, spec, where = model.network, model.network.spec, str(model.network.origin)
    if spec.image:
        raise choices.of_charts(where)
    of_recordings = {*args.FLAGS.names("recording")} - {*args.FLAGS.names("other-file")}
    if odd := [name for name in model.typed if name in of_recordings]:
        what = f"{flag_name(odd[0])} is of recordings, and the files are read as rows"
        raise UsageError(what, hint=f"leave it out, or --read-as {RECORDINGS}")
    rate_hz = model.typed.get("rate_hz")
    if rate_hz is not None and rate_hz != spec.rate_hz:
        what = f"--rate-hz is {rate_hz:g}, the run was trained at {spec.rate_hz:g} Hz"
        raise UsageError(what, where=where, hint=f"rows resampled to {spec.rate_hz:g} Hz")
    if spec.features:
        what = f"the run also needs {', '.join(spec.features)} of each row, which a file of rows lacks"
        raise UsageError(what, where=where, hint="the recordings, or a run without features")
    decisions.check_fixed(network, model.run)
    return model


def predict(model: RowModel, flags: Flags) -> None:
    """Predict the rows of each file. Raises DataError at the end if some of several files are unusable."""
    network, run, wanted = model.network, model.run, _wanted(model)
    paths = list(dict.fromkeys(map(Path, flags.predict)))
    folder = Path(flags.out or network.origin / "predict")
    log.info("%s, %s checkpoint, of epoch %d", network.run, network.checkpoint, network.epoch)
    done, failed = [], 0
    with outputs.locked(folder) if flags.out or not run else run.locked(), devices.enough_memory(model.batch):
        places = _claims(folder, paths)
        bar = terminal.bar(iterable=paths, desc="files", unit="file", disable=len(paths) == 1, leave=False)
        for path, place in zip(bar, places, strict=True):
            try:
                done.append(_write(model, path, wanted, place))
            except CommanderError as error:
                if len(paths) == 1:
                    raise
                log.error("not predicted: %s: %s", path.name, error)
                failed += 1
    values = {"folder": str(folder), "files": done, "failed": failed, "split_rule": network.spec.split_rule}
    to_open = plain.lines(ending.paths({found["file"]: found["predictions"] for found in done}))
    terminal.answer(values | {"notice": NOTICE}, always=_table(done), at_terminal=to_open, as_json=flags.json)
    if failed:
        what = f"{failed} of {len(paths)} files could not be predicted; each has a line above"
        raise DataError(what, where=str(folder), hint="mend them and predict only them, the others are done")


def _wanted(model: RowModel) -> Wanted:
    """The rows that the network takes, with the typed columns of the files over those of the run's table."""
    spec, flags = model.network.spec, model.network.flags
    names = [*TableOptions.__dataclass_fields__]
    own = {name: getattr(flags, name) if spec.name == TABLE else None for name in names}
    asked = TableOptions(**{name: model.typed.get(name, own[name]) for name in names})
    declared = DATASETS.get(spec.name)
    if declared and spec.name != TABLE and (how := _preparation(build.options_for(spec.name, flags), declared)):
        log.info("the rows are taken as they are: they must be cut and prepared as the run's (%s)", how)
    return Wanted(
        spec, asked, [name for name in names if name in model.typed], declared.lowest if declared else None,
        drop=model.typed.get("bad_rows", flags.bad_rows) == "drop", batch=model.batch,
    )  # fmt: skip


def _preparation(options: Any, declared: Dataset) -> str:
    """The options that changed the samples of the run's rows, in words."""
    divides = args.FLAGS.names("divides")
    names = [
        name for name in type(options).__dataclass_fields__ if not declared.is_of_sides(name) and name not in divides
    ]
    return ", ".join(f"{name} {value}" for name in names if (value := getattr(options, name)) is not None)


def _claims(folder: Path, paths: Sequence[Path]) -> list[Claim]:
    """The place of the predictions of each file. Raises UsageError if other files are there, DataError for no table."""
    for path in paths:
        if len(paths) == 1:
            table.form_of(path, new_rows.WOULD_DO)
    sources = [{path.name: fingerprint(path)} if path.is_file() else {path.name: ""} for path in paths]
    names = [_stem(path) for path in paths]

    def claim(place: int, name: str) -> Claim:
        own, of = outputs.safe_name(names[place], ROWS), {"output": "row predictions", "source": sources[place]}
        return Claim(folder, name, [f"{own}.csv", f"{own}.json"], of)

    places = outputs.placed(folder, names, claim, instead=ROWS, reserved=prediction.claim(folder).names)
    outputs.apart(places, paths)
    for place in places:
        place.check()
    return places


def _stem(path: Path) -> str:
    """The name of a file without its ending."""
    endings = sorted(table.FORMS, key=len, reverse=True)
    ending = next((ending for ending in endings if path.name.lower().endswith(ending)), "")
    return path.name[: len(path.name) - len(ending)]


def _write(model: RowModel, path: Path, wanted: Wanted, place: Claim) -> dict[str, Any]:
    """Write the predictions of a file into its `place`; returns their summary."""
    network, (csv_path, json_path) = model.network, map(place.folder.joinpath, place.names)
    with new_rows.opened(path, wanted) as rows:
        place.take()
        counts: Counter[str] = Counter()
        sizes: list[int] = []
        dropped: list[str] = []
        try:
            files.write_whole(csv_path, lambda file: _write_rows(file, model, rows, path.name, counts, dropped, sizes))
        except CommanderError:
            place.release()
            raise
    if dropped:
        first = "; ".join(dropped[:NAMED]) + ("; ..." if len(dropped) > NAMED else "")
        log.warning("unusable rows dropped from %s: %d; %s", path, len(dropped), first)
    if rows.label:
        what = "%s of %s has labels: they are copied as true, and not used; --test-on %s scores the run on them"
        log.info(what, rows.label, path.name, path)
    found = {
        "file": place.within, "rows": sum(sizes), "dropped": len(dropped), model.decides: dict(counts),
        "columns": rows.matched, "copied": rows.copied, "run": network.run,
        "checkpoint": network.checkpoint, "epoch": network.epoch, **decisions.facts(network),
        "predictions": str(csv_path),
    }  # fmt: skip
    files.write_json(
        json_path, found | {"split_rule": network.spec.split_rule, "source": place.of["source"], "notice": NOTICE}
    )
    place.log_name(path)
    log.info("%s: %s rows, %s", place.within, f"{found['rows']:,}", csv_path)
    return found


def _write_rows(
    file: BinaryIO,
    model: RowModel,
    rows: new_rows.NewRows,
    name: str,
    counts: Counter[str],
    dropped: list[str],
    sizes: list[int],
) -> None:
    """Write a line a row; counts the decisions, and collects the faults of dropped rows."""
    import pandas as pd

    digits = "%.6f" if model.classifies else "%.6g"
    for decided_as in decisions.facts(model.network).get("classes", ("False", "True")):
        counts[decided_as] = 0
    first = True
    with terminal.bar(desc=name, total=100, unit="%", leave=False) as bar:
        for part in rows.parts:
            dropped += part.dropped
            if len(part.index):
                found = model.predict(part.x)
                sizes.append(len(part.index))
                counts.update(model.decisions(found[model.decides]))
                copied = list(part.copied.values())
                true = [] if part.label is None else [part.label]
                names = outputs.distinct(["row", *found, *(["true"] if true else []), *part.copied])
                values = [part.index, *found.values(), *true, *copied]
                frame = pd.DataFrame(dict(zip(names, values, strict=True)))
                order = ["row", *names[len(names) - len(copied) :], *names[1 : len(names) - len(copied)]]
                text = frame[order].to_csv(index=False, header=first, float_format=digits, lineterminator="\n")
                file.write(text.encode())
                first = False
            bar.update(100 * part.done - bar.n)


def _table(done: Sequence[Mapping[str, Any]]) -> str:
    """Rows and counts of each file as text."""
    if not done:
        return NOTICE
    decides = next(name for name in ("predicted", "anomaly") if name in done[0])
    head = ["file", "rows", *({"True": "anomalies", "False": "normal"}.get(name, name) for name in done[0][decides])]
    cells = [[of["file"], f"{of['rows']:,}", *(f"{count:,}" for count in of[decides].values())] for of in done]
    return plain.lines([*tables.aligned(head, cells), NOTICE])
