"""Twelve-lead records with any number of statements each become Data: K labels of 0 or 1, folds of the publisher.

    plan = StatementPlan.of(request)
    data = plan.data(Records(...), classes, y)

A `StatementPlan` has the options of `ptbxl`. The publisher's folds are the split: all but the last two train, the last
but one validates, the last one tests. Another --val-fraction or --val-fold divides the folds of training and validation
again, by patient.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loaders import filters, splits
from loaders.base import Data, describe
from loaders.declaration import Request
from loaders.families import twelve_lead
from loaders.families.crops import Cropped
from loaders.families.twelve_lead import UNLABELLED
from loaders.files.cache import Arrays
from loaders.formats.twelve_leads import LEADS
from loaders.records import RecordRows
from loaders.splits import Fold, Indices
from toolbox.errors import DataError, UsageError
from toolbox.registry import pick

BY_FOLD = 0.1  # the default of --val-fraction: validation is the publisher's fold
SIDES = ("training", "validation", "test")


@dataclass(frozen=True)
class Records:
    """Records: `arrays` as in `twelve_lead.stored`, with record, the patient of each (R,), and their checksum; the
    fold of each (R,) from 1 on, and the number of `folds`; the `usable` ones, the number of `refused` ones of the
    source, `remarks` for the split rule, and `published` as in `Data`."""

    arrays: Arrays
    checksum: str
    fold: Indices
    folds: int
    usable: Indices
    refused: int = 0
    remarks: tuple[str, ...] = ()
    published: str = ""


@dataclass(frozen=True)
class StatementPlan:
    """The options of such records, checked before a file is read; leads by their number in LEADS."""

    request: Request
    labels: str
    leads: tuple[int, ...]

    @classmethod
    def of(cls, request: Request, rates_hz: tuple[int, ...]) -> "StatementPlan":
        """The plan of the request's `StatementOptions` for records at `rates_hz`. Raises UsageError."""
        asked = request.options
        if asked.rate not in rates_hz:
            what = f"--rate is {asked.rate:g}, the records are published at {' and '.join(map(str, rates_hz))} Hz"
            raise UsageError(what, hint=f"--rate {rates_hz[0]}")
        for step in filters.parse(asked.filter):
            step(np.zeros((1, int(asked.rate))), asked.rate)  # raises UsageError for a filter above this rate
        pick("normalise", twelve_lead.NORMALISATIONS, asked.normalise)
        pick("unlabelled", UNLABELLED, asked.unlabelled)
        return cls(
            request, asked.labels or next(iter(request.dataset.label_sets)), twelve_lead.parse_leads(asked.leads)
        )

    def data(self, records: Records, classes: tuple[str, ...], y: Indices, *, source: str = "") -> Data:
        """The dataset of the records with the labels y (R, K). Raises DataError for an empty split, and for a patient
        in two splits."""
        request, asked = self.request, self.request.options
        sides, rule = self._divided(records, y)
        sides = [np.intersect1d(side, records.usable) for side in sides]
        self._check_patients(sides, records.arrays["record"])
        bare = [int((y[side].sum(1) == 0).sum()) for side in sides]
        if asked.unlabelled == "drop":
            sides = [side[y[side].sum(1) > 0] for side in sides]
        self._check_rows(sides)
        store, samples = twelve_lead.stored(
            records.arrays, records.checksum, request, self.leads, rate_hz=asked.rate
        )  # fmt: skip
        crops = Cropped.of(request, samples)
        rows = [RecordRows(store, side, y[side], dropped=records.refused, **crops.rows) for side in sides]
        told = "; ".join([*rule, *records.remarks, self._bare(bare)]) + crops.rule
        spec = describe(
            request, told, samples=crops.samples, rate_hz=asked.rate,
            unit=twelve_lead.NORMALISATIONS[asked.normalise], leads=tuple(LEADS[k] for k in self.leads),
            classes=classes, source=source,
        )  # fmt: skip
        of = f"{records.checksum} {twelve_lead.view(asked)} {asked.normalise} {spec.leads} {asked.unlabelled} "
        digest = hashlib.sha256(f"{of}{'|'.join(classes)}".encode() + y.tobytes() + records.fold.tobytes())
        left = {"that fail the checks": records.refused}
        left |= {"without a label": sum(bare)} if asked.unlabelled == "drop" else {}
        return Data(
            spec, rows[0], rows[1], lambda: rows[2], digest.hexdigest(), left_out=twelve_lead.left_out(left),
            published=records.published,
        )  # fmt: skip

    def _divided(self, records: Records, y: Indices) -> tuple[list[Indices], list[str]]:
        """The records of train, validation and test, and the rule."""
        fold, last, holdout = records.fold, records.folds, self.request.val_fraction
        patient, test = records.arrays["record"], np.flatnonzero(records.fold == records.folds)
        rule = f"the publisher's fold {last} of {last} tests, no patient is in two splits"
        if holdout == BY_FOLD:
            sides = [np.flatnonzero(fold < last - 1), np.flatnonzero(fold == last - 1), test]
            return sides, [rule, f"validation is the publisher's fold {last - 1}, folds 1 to {last - 2} train"]
        rest = np.flatnonzero(fold < last)
        if isinstance(holdout, Fold):
            train, val, drawn = self._fold(patient[rest], y[rest], holdout)
        else:
            train, val, drawn = splits.of_records(
                patient[rest], y[rest], holdout, self.request.seed, where=self.request.where
            )  # fmt: skip
        return [rest[train], rest[val], test], [rule, drawn]

    def _fold(self, patient: NDArray[np.str_], y: Indices, holdout: Fold) -> tuple[Indices, Indices, str]:
        """A fold of whole patients with similar shares of each label."""
        names, of = np.unique(patient, return_inverse=True)
        if holdout.folds > len(names):
            what = f"{len(names)} patients cannot be put into {holdout.folds} folds"
            raise DataError(what, where=self.request.where, hint="fewer folds, or more data")
        counts = np.zeros((len(names), y.shape[1] + 1), np.int64)
        np.add.at(counts, of, np.column_stack([y, y.sum(1) == 0]))
        number = splits.folds(counts, holdout.folds, self.request.seed)[of] + 1
        seed = self.request.seed
        rule = f"validation is {holdout} of train, whole patients, stratified by label, seed {seed}"
        return np.flatnonzero(number != holdout.number), np.flatnonzero(number == holdout.number), rule

    def _check_patients(self, sides: list[Indices], patient: NDArray[np.str_]) -> None:
        for one, other in ((0, 1), (0, 2), (1, 2)):
            if (both := np.intersect1d(patient[sides[one]], patient[sides[other]])).size:
                what = f"patient {both[0]} is in {SIDES[one]} and in {SIDES[other]}, one of {len(both):,} such patients"
                hint = "the published folds, which keep the records of a patient together"
                raise DataError(what, where=self.request.where, hint=hint)

    def _check_rows(self, sides: list[Indices]) -> None:
        for name, side in zip(SIDES, sides, strict=True):
            if not len(side) and (name != "validation" or self.request.val_fraction != 0):
                what, hint = f"no record is in {name}", "more records, another --labels, or --unlabelled keep"
                raise DataError(what, where=self.request.where, hint=hint)

    def _bare(self, counts: list[int]) -> str:
        """The records without a label, and their use."""
        if not sum(counts):
            return f"every record has a label of {Path(self.labels).name}"
        how = UNLABELLED[self.request.options.unlabelled]
        return f"{sum(counts):,} records without a label of {Path(self.labels).name} {how} ({counts[2]:,} of test)"
