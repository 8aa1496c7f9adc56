"""Dataset `ptbdb`: beats of healthy people and of patients, most after a myocardial infarction, in the Kaggle heartbeat
layout.

A row is 187 samples at 125 Hz in [0, 1] and a label (Kachuee et al., arXiv 1805.00794), from lead II of the PTB
Diagnostic ECG Database (Bousseljot et al., Biomedizinische Technik 40, S1, 1995; Goldberger et al., Circulation
101(23), 2000). The files are ptbdb_normal.csv (4,046 rows) and ptbdb_abnormal.csv (10,506), loose or in the zip that
has those of `ecg` as well.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

from loaders.base import Data, DataSpec, Split
from loaders.datasets import kaggle_heartbeat
from loaders.families import beats_kaggle
from loaders.files.archives import reading
from loaders.files.sources import Wanted, fetch_first, locate, names_in, search
from loaders.formats.csv.rowfiles import read_file
from loaders.formats.csv.rows import Layout
from loaders.splits import by_row, holdout
from loaders.splits.holdout import Holdout
from toolbox.errors import DataError

CLASSES = ("normal", "abnormal")
FILES = tuple(f"ptbdb_{name}.csv" for name in CLASSES)
TEST_FRACTION = 0.2
HELP = "put ptbdb_normal.csv and ptbdb_abnormal.csv into {}, or name their folder or zip with --data-file"
WANTED = Wanted(
    files=FILES,
    enough=lambda names: set(FILES) <= names,
    what=f"neither {FILES[0]} nor {FILES[1]} is",
    would_do=f"a folder or zip with {FILES[0]} and {FILES[1]}",
)


def load(root: Path, *, data_file: Path | None, val_fraction: Holdout, seed: int, bad_rows: str = "error") -> Data:
    """The beats from `data_file`, else from <root>/ptbdb or <root>/ecg, else fetched into <root>/ecg: x (N, 1, 187) in
    [0, 1].

    There is no official split: `seed` draws the test rows, 20 % of each class, and `val_fraction` of the others for
    validation. Raises DataError for what cannot be used, DownloadError where nothing can be fetched, ResourceError for
    a lack of permission.
    """
    folder, beside = root / "ptbdb", root / "ecg"
    with reading(data_file or folder):
        source = locate(data_file, WANTED) if data_file else search(folder, WANTED) or search(beside, WANTED)
    source = source or fetch_first(kaggle_heartbeat.REMOTES[:1], beside, WANTED, HELP.format(folder))
    everything, checksum = _both(source, folder / "cache", bad_rows)
    where = str(source)
    rest, test = by_row.stratified(everything.y, round(TEST_FRACTION * len(everything)), seed, where=where)
    train, val, drawn = holdout.drawn(
        everything.y[rest], val_fraction, seed, record=everything.record[rest], where=where
    )
    rule = f"beats split at random, stratified by class, 80/20, seed {seed}; one patient's beats stand on both sides"
    spec = DataSpec(
        name="ptbdb",
        view="beat",
        channels=1,
        samples=beats_kaggle.SAMPLES,
        rate_hz=beats_kaggle.RATE_HZ,
        unit="fraction of the beat's range",
        leads=("II",),
        classes=CLASSES,
        importance=(1.0, 1.0),
        source="PTB Diagnostic ECG Database",
        licence="ODC-By 1.0",
        split_rule=f"{rule}; {drawn}",
    )
    return Data(spec, everything.rows(rest[train]), everything.rows(rest[val]), lambda: everything.rows(test), checksum)


def _both(source: Path, cache: Path, bad_rows: str) -> tuple[Split, str]:
    """The rows of the normal file, then of the abnormal one, and a checksum of both; each file may hold its own label
    only."""
    with reading(source):
        there = names_in(source, WANTED)
    parts, checksums = [], []
    for label, name in enumerate(FILES):
        if name not in there:
            raise DataError(
                f"{name} is missing", where=str(source), hint="both ptbdb files of the Kaggle dataset in one folder"
            )
        layout = Layout(beats_kaggle.SAMPLES, CLASSES[label : label + 1], lowest=label)
        rows, checksum = read_file(source, name, cache, layout=layout, bad_rows=bad_rows)
        parts.append(replace(rows, y=rows.y + label))
        checksums.append(checksum)
    return Split.joined(*parts), hashlib.sha256("".join(checksums).encode()).hexdigest()
