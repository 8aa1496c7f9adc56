"""The rows that a run has trained and validated on, kept in its folder, and how many of tested rows it knew.

    Exposure.of(data.train, data.val).save(run)         # before the first step
    Exposure.of_run(run).overlap(test_rows).sentence

A row is known by eight bytes of the BLAKE2b digest of its samples, as float32 in mV or whatever the unit is, or as
recorded where rows are whole records; a record is known by its name. Rows that are alike but not the same, to the last
bit, are not found.
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
NO_DIGESTS = ", as it kept no digests of its rows that fit these"
# What a split rule says of its own sides, which is not true of another run's.
CLAIM = re.compile(r"[;,] no (?:record|person) (?:stands|is) on two sides")


class DigestedRows(Protocol):
    """One split of a dataset, or all of one."""

    record: Names
    index: NDArray[np.int64]
    digested: str

    @property
    def digests(self) -> Digests:
        """Eight bytes (N,) that stand for the samples of each row."""


@dataclass(frozen=True)
class Overlap:
    """How many of `rows` tested rows were trained on and validated on, None where not known; and their records."""

    rows: int
    trained: int | None
    validated: int | None
    records: int
    known: tuple[str, ...] = field(default_factory=tuple)

    @property
    def shared(self) -> int | None:
        """How many of the rows were trained or validated on, None where that is not known."""
        return None if self.trained is None or self.validated is None else self.trained + self.validated

    @property
    def any(self) -> bool:
        """Whether a row or a record that is tested was trained or validated on."""
        return bool(self.shared or self.known)

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
        if not self.records:
            return told
        if not self.known:
            return f"{told}; it knew no record by the name of one of these {self.records:,}"
        listed = ", ".join(self.known[:LISTED]) + (", ..." if len(self.known) > LISTED else "")
        return f"{told}; it knew {len(self.known):,} of these {self.records:,} records by name: {listed}"

    def rule(self, rule: str) -> str:
        """A split rule without what it says of its own sides, and with what is true of this run."""
        return f"{CLAIM.sub('', rule)}; {self.sentence}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for results.json."""
        counts = {"rows": self.rows, "trained_rows": self.trained, "validated_rows": self.validated}
        return counts | {"records": self.records, "known_records": list(self.known)}


@dataclass(frozen=True)
class Exposure:
    """Sorted digests of the rows that trained and that validated, None where none were kept; their records' names.

    Digests of other things than `digested` cannot be compared with these.
    """

    train: Digests | None
    val: Digests | None
    records: Names
    digested: str = ""

    @classmethod
    def of(cls, train: DigestedRows, val: DigestedRows) -> "Exposure":
        """Of the sides of a dataset."""
        records = np.unique(np.concatenate([side.record[side.record != ""] for side in (train, val)]))
        return cls(np.unique(train.digests), np.unique(val.digests), records, train.digested)

    @classmethod
    def of_run(cls, run: RunFolder) -> "Exposure":
        """What a run kept; of one that kept no digests the names of the records in its config.json, if it has one."""
        if not (run / KEPT).exists():
            data = run.read_json(CONFIG).get("data", {}) if (run / CONFIG).exists() else {}
            names = [name for side in ("train", "val") for name in data.get(f"{side}_records") or []]
            return cls(None, None, np.unique(np.array(names, str)))
        try:
            with np.load(run / KEPT, allow_pickle=False) as arrays:
                train, val = (arrays["train"], arrays["val"]) if arrays["digested"] else (None, None)
                return cls(train, val, arrays["records"], str(arrays["digested"]))
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            what = f"{KEPT} is damaged: {error}"
            hint = "remove it: which rows the run trained on is then not known"
            raise CheckpointError(what, where=str(run / KEPT), hint=hint) from error

    def joined(self, other: "Exposure") -> "Exposure":
        """Both together; without digests where they cannot be compared."""
        records = np.union1d(self.records, other.records)
        if self.train is None or self.val is None or other.train is None or other.val is None:
            return Exposure(None, None, records)
        if self.digested != other.digested:
            return Exposure(None, None, records)
        return Exposure(np.union1d(self.train, other.train), np.union1d(self.val, other.val), records, self.digested)

    def save(self, run: RunFolder) -> None:
        """Write it into the run's folder."""
        train, val = (np.empty(0, np.uint64) if side is None else side for side in (self.train, self.val))
        arrays: dict[str, Any] = {
            "train": train,
            "val": val,
            "records": self.records,
            "digested": np.array(self.digested),
        }
        files.write_whole(run / KEPT, lambda file: np.savez(file, **arrays))

    def overlap(self, rows: DigestedRows) -> Overlap:
        """Which of the rows that are tested the run knew; several pieces of one row count once."""
        names = np.unique(rows.record[rows.record != ""])
        known = tuple(np.intersect1d(names, self.records).tolist())
        _, first = np.unique(rows.index, return_index=True)
        if self.train is None or self.val is None or self.digested != rows.digested:
            return Overlap(len(first), None, None, len(names), known)
        digests = rows.digests[first]
        trained = np.isin(digests, self.train)
        validated = np.isin(digests, self.val) & ~trained
        return Overlap(len(first), int(trained.sum()), int(validated.sum()), len(names), known)
