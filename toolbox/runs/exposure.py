"""A run's training and validation rows, stored in its folder, and their overlap with tested rows.

    Exposure.of(data.train, data.val).save(run)         # before the first step
    Exposure.of_run(run).overlap(test_rows).sentence

A row is identified by eight bytes of the BLAKE2b digest of its samples, as float32 in the data's unit, or as recorded
if rows are whole records; a record by its name. Only bit-identical rows are found.
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
# The claim of a split rule about its own splits, which is not true for another run.
CLAIM = re.compile(r"[;,] no (?:record|person) (?:stands|is) on two sides")


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
    """The number of `rows` tested rows trained on and validated on (None if unknown), and their records."""

    rows: int
    trained: int | None
    validated: int | None
    records: int
    known: tuple[str, ...] = field(default_factory=tuple)

    @property
    def shared(self) -> int | None:
        """The number of tested rows trained or validated on, None if unknown."""
        return None if self.trained is None or self.validated is None else self.trained + self.validated

    @property
    def any(self) -> bool:
        """Whether a tested row or record was trained or validated on."""
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
        """A split rule with this run's overlap in place of the claim about its own splits."""
        return f"{CLAIM.sub('', rule)}; {self.sentence}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for results.json."""
        counts = {"rows": self.rows, "trained_rows": self.trained, "validated_rows": self.validated}
        return counts | {"records": self.records, "known_records": list(self.known)}


@dataclass(frozen=True)
class Exposure:
    """Sorted digests of training and validation rows (None if not stored), and their records' names.

    `digested` names the content of the digests; other content cannot be compared.
    """

    train: Digests | None
    val: Digests | None
    records: Names
    digested: str = ""

    @classmethod
    def of(cls, train: DigestedRows, val: DigestedRows) -> "Exposure":
        """The exposure to the train and validation splits of a dataset."""
        records = np.unique(np.concatenate([side.record[side.record != ""] for side in (train, val)]))
        return cls(np.unique(train.digests), np.unique(val.digests), records, train.digested)

    @classmethod
    def of_run(cls, run: RunFolder) -> "Exposure":
        """The stored exposure of a run; without stored digests only the record names in its config.json, if any."""
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
        """The union of both; without digests if they cannot be compared."""
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
        """The overlap of tested rows with this run; several pieces of one row count once."""
        names = np.unique(rows.record[rows.record != ""])
        known = tuple(np.intersect1d(names, self.records).tolist())
        _, first = np.unique(rows.index, return_index=True)
        if self.train is None or self.val is None or self.digested != rows.digested:
            return Overlap(len(first), None, None, len(names), known)
        digests = rows.digests[first]
        trained = np.isin(digests, self.train)
        validated = np.isin(digests, self.val) & ~trained
        return Overlap(len(first), int(trained.sum()), int(validated.sum()), len(names), known)
