"""A run's training and validation rows, stored in its folder, and their overlap with tested rows.

    Exposure.of(data.train, data.val).save(run)         # before the first step
    Exposure.of_run(run).overlap(test_rows).sentence

A row is identified by eight bytes of the BLAKE2b digest of its samples, as float32 in the data's unit, or as recorded
if rows are whole records; a record by its name. Only bit-identical rows are found, and the records of PTB-XL in the
sets of the PhysioNet/CinC Challenges, which are named after their number in PTB-XL: at another rate they differ.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from toolbox import files
from toolbox.errors import CheckpointError
from toolbox.runs.folder import CONFIG, RunFolder

Digests = NDArray[np.uint64]
Names = NDArray[np.str_]
KEPT = "trained_on.npz"
LISTED = 5  # records in a sentence
PUBLISHED = re.compile(r"HR\d{5}")  # a record of PTB-XL in a Challenge's set
NO_DIGESTS = ", as it kept no digests of its rows that fit these"
# The claim of a split rule about its own splits, which is not true for another run.
CLAIM = re.compile(r"[;,] no (?:record|person) (?:stands|is) on two sides")
NAMES = ("train_names", "val_names")  # in KEPT; older runs lack them


def _no_names() -> Names:
    return np.empty(0, str)


class DigestedRows(Protocol):
    """One split of a dataset, or the whole dataset."""

    @property
    def record(self) -> Names: ...
    @property
    def index(self) -> NDArray[np.int64]: ...
    @property
    def digested(self) -> str: ...

    @property
    def digests(self) -> Digests:
        """Eight bytes (N,) of the digest of each row."""


@dataclass(frozen=True)
class Overlap:
    """The number of `rows` tested rows trained on and validated on (None if unknown); their records, the ones that are
    `known` by name, and the rows that only their name in other databases, as `published`, makes known."""

    rows: int
    trained: int | None
    validated: int | None
    records: int
    known: tuple[str, ...] = field(default_factory=tuple)
    published: tuple[str, ...] = field(default_factory=tuple)

    @property
    def shared(self) -> int | None:
        """The number of tested rows trained or validated on, None if unknown."""
        return None if self.trained is None or self.validated is None else self.trained + self.validated

    @property
    def any(self) -> bool:
        """Whether a tested row or record was trained or validated on."""
        return bool(self.shared or self.known or self.published)

    @property
    def sentence(self) -> str:
        """For the report and the split rule."""
        if self.shared is None:
            told = f"how many rows the run trained or validated on is not known{NO_DIGESTS}"
        elif self.shared:
            told = (
                f"of {self.rows:,} tested rows the run trained on {self.trained:,} and validated on {self.validated:,}"
            )
        else:
            told = f"the run trained and validated on none of the {self.rows:,} tested rows"
        if self.published:
            listed = _listed(self.published)
            told += f"; it knew {len(self.published):,} of them by their number in PTB-XL: {listed}"
        if self.known:
            named = _listed(self.known)
            return f"{told}; it knew {len(self.known):,} of these {self.records:,} records by name: {named}"
        if not self.records or self.published:
            return told
        return f"{told}; it knew no record by the name of one of these {self.records:,}"

    def rule(self, rule: str) -> str:
        """A split rule with this run's overlap in place of the claim about its own splits."""
        return f"{CLAIM.sub('', rule)}; {self.sentence}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for results.json."""
        counts = {"rows": self.rows, "trained_rows": self.trained, "validated_rows": self.validated}
        published = {"published_records": list(self.published)} if self.published else {}
        return counts | {"records": self.records, "known_records": list(self.known)} | published


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")


def published_names(rows: DigestedRows, published: str) -> Names:
    """The name (N,) under which several databases have each row, "" for none; `published` as in `Data`."""
    if published:
        return np.array([published.format(index) for index in rows.index.tolist()], str)
    return _of_ptbxl(rows.record)


def _of_ptbxl(record: Names) -> Names:
    """The names (N,) that are those of records of PTB-XL in a Challenge's set, "" for others."""
    return np.array([name if PUBLISHED.fullmatch(name) else "" for name in record.tolist()], str)


@dataclass(frozen=True)
class Exposure:
    """Sorted digests of training and validation rows (None if not stored), and their records' names.

    `digested` names the content of the digests; other content cannot be compared. `train_names` and `val_names` are the
    published names of rows, as far as they have one.
    """

    train: Digests | None
    val: Digests | None
    records: Names
    digested: str = ""
    train_names: Names = field(default_factory=_no_names)
    val_names: Names = field(default_factory=_no_names)

    @classmethod
    def of(cls, train: DigestedRows, val: DigestedRows, published: str = "") -> "Exposure":
        """The exposure to the train and validation splits of a dataset; `published` as in `Data`."""
        records = np.unique(np.concatenate([side.record[side.record != ""] for side in (train, val)]))
        names = [np.setdiff1d(published_names(side, published), [""]) for side in (train, val)]
        return cls(np.unique(train.digests), np.unique(val.digests), records, train.digested, *names)

    @classmethod
    def of_run(cls, run: RunFolder) -> "Exposure":
        """The stored exposure of a run; without stored digests only the record names in its config.json, if any."""
        if not (run / KEPT).exists():
            data = run.read_json(CONFIG).get("data", {}) if (run / CONFIG).exists() else {}
            sides = [np.array(data.get(f"{side}_records") or [], str) for side in ("train", "val")]
            names = [np.setdiff1d(_of_ptbxl(own), [""]) for own in sides]
            return cls(None, None, np.unique(np.concatenate(sides)), "", *names)
        try:
            with np.load(run / KEPT, allow_pickle=False) as arrays:
                train, val = (arrays["train"], arrays["val"]) if arrays["digested"] else (None, None)
                names = [arrays[name] if name in arrays else _no_names() for name in NAMES]
                return cls(train, val, arrays["records"], str(arrays["digested"]), *names)
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            what = f"{KEPT} is damaged: {error}"
            hint = "remove it: which rows the run trained on is then not known"
            raise CheckpointError(what, where=str(run / KEPT), hint=hint) from error

    def joined(self, other: "Exposure") -> "Exposure":
        """The union of both; without digests if they cannot be compared."""
        pairs = (
            (self.records, other.records),
            (self.train_names, other.train_names),
            (self.val_names, other.val_names),
        )
        records, *names = (np.union1d(*pair) for pair in pairs)
        if self.train is None or self.val is None or other.train is None or other.val is None:
            return Exposure(None, None, records, "", *names)
        if self.digested != other.digested:
            return Exposure(None, None, records, "", *names)
        train, val = np.union1d(self.train, other.train), np.union1d(self.val, other.val)
        return Exposure(train, val, records, self.digested, *names)

    def save(self, run: RunFolder) -> None:
        """Write it into the run's folder."""
        train, val = (np.empty(0, np.uint64) if side is None else side for side in (self.train, self.val))
        arrays: dict[str, Any] = {
            "train": train,
            "val": val,
            "records": self.records,
            "digested": np.array(self.digested),
            **{name: getattr(self, name) for name in NAMES},
        }
        files.write_whole(run / KEPT, lambda file: np.savez(file, **arrays))

    def overlap(self, rows: DigestedRows, published: str = "") -> Overlap:
        """The overlap of tested rows with this run; several pieces of one row count once. `published` as in `Data`."""
        names = np.unique(rows.record[rows.record != ""])
        known = np.intersect1d(names, self.records)
        _, first = np.unique(rows.index, return_index=True)
        own = published_names(rows, published)[first]
        named = [np.isin(own, of) for of in (self.train_names, self.val_names)]
        counts: tuple[int | None, int | None] = (None, None)
        equal = np.zeros(len(first), bool)
        if self.train is not None and self.val is not None and self.digested == rows.digested:
            digests = rows.digests[first]
            same = [np.isin(digests, of) for of in (self.train, self.val)]
            trained, equal = same[0] | named[0], same[0] | same[1]
            counts = int(trained.sum()), int(((same[1] | named[1]) & ~trained).sum())
        only_named = np.setdiff1d(own[(named[0] | named[1]) & ~equal], known)
        return Overlap(len(first), *counts, len(names), tuple(known.tolist()), tuple(only_named.tolist()))
