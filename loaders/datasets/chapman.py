"""Dataset `chapman`: twelve leads, 10 s at 500 Hz, of 10,646 patients with a rhythm each; or any WFDB records with
SNOMED codes.

The Chapman-Shaoxing database (Zheng et al., Sci Data 7:48, 2020) as on figshare, collection 4560497: a CSV a patient in
ECGDataDenoised or ECGData, in microvolts, and Diagnostics.xlsx with the rhythms. Its larger successor on PhysioNet
(ecg-arrhythmia) and the sets of the PhysioNet/CinC Challenges 2020 and 2021: WFDB headers with codes in #Dx, and MAT
files.
"""

import csv
import io
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np

from loaders.base import Data
from loaders.datasets import chapman_tracings, chapman_workbook
from loaders.datasets.chapman_tracings import CSV, Source
from loaders.families import twelve_lead
from loaders.files.archives import reading
from loaders.files.cache import Arrays, cached, fingerprint
from loaders.files.sources import Remote, download, log, topmost
from loaders.splits.holdout import Holdout
from toolbox import files
from toolbox.errors import DataError, DownloadError
from toolbox.outputs import begins, check_head

VERSION = 1  # raised when recordings or rows are read another way
LABELS, QUALITY = "Diagnostics.xlsx", "quality.csv"
QUALITY_HEAD = ("record", "fault")
SITE = "https://ndownloader.figshare.com/files"
REMOTES = (Remote(LABELS, f"{SITE}/15653771"), Remote("ECGDataDenoised.zip", f"{SITE}/15652862"))
HELP = (
    "put ECGDataDenoised.zip, or its folder, and Diagnostics.xlsx of figshare (collection 4560497) into {}, or"
    " --data-file"
)
LICENCE = "CC BY 4.0"
SOURCES = {
    CSV: "Chapman-Shaoxing twelve-lead database, figshare collection 4560497",
    chapman_tracings.WFDB: "twelve-lead WFDB records with SNOMED CT codes (PhysioNet ecg-arrhythmia, or a challenge's)",
}
NAMED = 3  # records, in a warning
WITHOUT = "without a row in Diagnostics.xlsx"


def load(
    root: Path,
    *,
    data_file: Path | None,
    val_fraction: Holdout,
    seed: int,
    bad_rows: str = "drop",
    leads: str | None = None,
    rate: float | None = None,
    filter: str | None = None,
    normalise: str | None = None,
    label_map: str | None = None,
) -> Data:
    """The records from `data_file`, else from <root>/chapman, else fetched into it; options as of `twelve.Choices`.

    A record that fails the checks of `tracing` is left out, which is told, as in the published study; with `bad_rows`
    "error" it is a DataError. All faults stand in <root>/chapman/quality.csv. Raises UsageError for what cannot be
    asked for, DataError for what cannot be used, DownloadError where nothing can be fetched, ResourceError for a lack
    of permission.
    """
    how = {"leads": leads, "rate": rate, "filter": filter, "normalise": normalise, "label_map": label_map}
    choices, folder = twelve_lead.Choices.of(**how, val_fraction=val_fraction, seed=seed), root / "chapman"
    source = _find(data_file, folder)
    cache = folder / "cache"
    read = partial(chapman_tracings.read_all, source, cache)
    with reading(source.path):
        key = fingerprint(*source.paths)
    arrays, checksum = cached(cache / f"records-v{VERSION}-{key}", read, by_record=["samples"])
    arrays, absent = _labelled(arrays, source, data_file, folder)
    _report(arrays, absent, source, folder, bad_rows=bad_rows)
    facts = {"source": SOURCES[source.kind], "licence": LICENCE}
    how = {
        "choices": choices,
        "cache": cache,
        "facts": facts,
        "refused": len(arrays["failed"]),
        "where": str(source.path),
    }
    return twelve_lead.as_data("chapman", arrays, checksum, **how)


def _find(data_file: Path | None, folder: Path) -> Source:
    """The recordings; fetched where no place is named and none are there."""
    if data_file and not data_file.exists():
        raise DataError(
            "there is no such file or folder",
            where=str(data_file),
            hint=f"--data-file with {chapman_tracings.WOULD_DO}",
        )
    with reading(data_file or folder):
        source = chapman_tracings.find(data_file) if data_file else chapman_tracings.find(folder, pointed_at=False)
    if source is None and data_file:
        raise DataError(
            "there are no twelve-lead recordings here", where=str(data_file), hint=chapman_tracings.WOULD_DO
        )
    return source or _fetched(folder)


def _fetched(folder: Path) -> Source:
    """The zip of the denoised recordings from figshare, and the workbook, where it is not there."""
    try:
        for remote in REMOTES:
            if not (folder / remote.name).is_file():
                download(remote, folder)
    except DownloadError as error:
        what = f"the data is not here and cannot be fetched: {error.what}"
        raise DownloadError(what, hint=HELP.format(folder)) from error
    with reading(folder):
        source = chapman_tracings.find(folder, pointed_at=False)
    if source is None:
        raise DataError(
            "there are no twelve-lead recordings in what was fetched", where=str(folder), hint=HELP.format(folder)
        )
    return source


def _labelled(arrays: Arrays, source: Source, data_file: Path | None, folder: Path) -> tuple[Arrays, dict[str, str]]:
    """The arrays with the rhythms of the workbook, for CSV files; what is on one side only, by record."""
    if source.kind != CSV:
        return arrays, {}
    path = _workbook(source, data_file, folder)
    key = fingerprint(path)
    labels, _ = cached(folder / "cache" / f"labels-v{VERSION}-{key}", partial(chapman_workbook.read_rhythms, path))
    rhythms = dict(zip(labels["record"].tolist(), labels["rhythm"].tolist(), strict=True))
    here = {*arrays["record"].tolist(), *arrays["failed"].tolist()}
    absent = dict.fromkeys(sorted(here - rhythms.keys()), WITHOUT)
    absent |= dict.fromkeys(sorted(rhythms.keys() - here), f"in {LABELS} without a recording")
    rhythm = np.array([rhythms.get(name, "") for name in arrays["record"].tolist()], str)
    return arrays | {"rhythm": rhythm}, absent


def _workbook(source: Source, data_file: Path | None, folder: Path) -> Path:
    """Diagnostics.xlsx in the folder of the recordings, beside it or the zip, where the user points, or in `folder`."""
    beside = [source.path, source.path.parent] if source.path.is_dir() else [source.path.parent]
    there = [path / LABELS for path in beside if (path / LABELS).is_file()]
    there += topmost(data_file, LABELS) if data_file and data_file.is_dir() else []
    there += topmost(folder, LABELS)
    if not there:
        raise DataError(
            f"{LABELS} with the rhythms is missing", where=str(source.path), hint=f"put it beside {source.path.name}"
        )
    return there[0]


def _report(arrays: Arrays, absent: dict[str, str], source: Source, folder: Path, *, bad_rows: str) -> None:
    """Tell of the records that cannot be used or matched, and write them down; a DataError where there may be none."""
    faults = dict(zip(arrays["failed"].tolist(), arrays["fault"].tolist(), strict=True))
    lines = io.StringIO()
    csv.writer(lines).writerows([QUALITY_HEAD, *sorted((faults | absent).items())])
    head = ",".join(QUALITY_HEAD)
    if faults | absent:
        check_head(folder / QUALITY, head)
    if faults | absent or begins(folder / QUALITY, head):
        files.write_text(folder / QUALITY, lines.getvalue())
    of = f"{len(faults):,} of {len(source.files):,} records fail the checks"
    if faults and bad_rows == "error":
        name, fault = next(iter(faults.items()))
        what = f"{of}, the first {name}: {fault}"
        raise DataError(
            what, where=str(source.path), hint=f"--bad-rows drop leaves them out; all are in {folder / QUALITY}"
        )
    if faults:
        kinds = Counter(fault.partition(":")[0] for fault in faults.values())
        told = ", ".join(f"{kind} {count:,}" for kind, count in kinds.most_common())
        log.warning("%s and are left out: %s (%s); all are in %s", of, told, _named(list(faults)), folder / QUALITY)
    for what in dict.fromkeys(absent.values()):
        names = [name for name, own in absent.items() if own == what]
        log.warning("%s records are %s: %s; all are in %s", f"{len(names):,}", what, _named(names), folder / QUALITY)


def _named(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
