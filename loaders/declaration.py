"""The declaration of a dataset: its files, its facts, its options and the function that loads it.

Standard library only, so that `--help` and `--list datasets` import neither numpy nor torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolbox.flags import DATA, POSITIVE, Check, Flag, Group, between

if TYPE_CHECKING:
    from loaders.splits import Holdout


def loaded(target: str | Callable[..., Any]) -> Callable[..., Any]:
    """The function that `target` names as "module:function"; imports the module. A function is returned as it is."""
    if callable(target):
        return target
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


@dataclass(frozen=True)
class Remote:
    """A file to fetch into <root>/`folder` ("": the dataset's own); `size` in bytes and `sha256` where published."""

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None
    folder: str = ""


@dataclass(frozen=True)
class Files:
    """The source of a dataset: a folder with files that match one of the patterns `marks`, or a zip with enough files.

    A path that matches one of `marks` stands for its folder; `other_marks` are searched for in folders only. A zip has
    enough files if every pattern of one group of `enough` matches a name in it. `needs` describes the missing files.
    `folders` below the root are searched in their order; the first one is the dataset's own. `remotes` are fetched in
    their order until one has the files, then `extras`; a missing extra is a warning. `put` describes the files that a
    user can place there. `diagnose` ("module:function") gets a user's path without files, and may raise a DataError
    with the cause; `finder` finds files that no pattern describes, in a folder or at the user's path.
    """

    needs: str = ""
    put: str = ""
    marks: tuple[str, ...] = ()
    enough: tuple[tuple[str, ...], ...] = ()
    other_marks: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    remotes: tuple[Remote, ...] = ()
    extras: tuple[Remote, ...] = ()
    diagnose: str = ""
    finder: str = ""


@dataclass(frozen=True)
class Cohort:
    """The patients of a database: the records of a published split, its description, and the record that identifies
    the `person` of further records. `cites` as in `Dataset`."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    words: str
    person: Mapping[str, str] = field(default_factory=dict)
    cites: tuple[str, ...] = ()


def _of_sides(default: Any) -> Any:
    """An option that changes labels, features or splits, and no sample of a row."""
    return field(default=default, metadata={"of_sides": True})


@dataclass(frozen=True)
class Options:
    """The options of a family. Published rows have none."""


@dataclass(frozen=True)
class BeatOptions(Options):
    """Beats cut out of recordings and divided by patient; texts as in the flags."""

    split: str = "inter-patient"
    fold: int | None = _of_sides(None)
    leads: str = "MLII"
    window: str = "-0.4,0.8"
    rate: float = 125.0
    filter: str = "none"
    normalise: str = "none"
    rr_features: bool = _of_sides(False)
    p_waves: bool = _of_sides(False)
    label_map: str = _of_sides("aami")


@dataclass(frozen=True)
class StripOptions(Options):
    """Strips of unequal length, cropped in training."""

    split: str = "random"
    fold: int | None = _of_sides(None)
    drop_labels: str | None = _of_sides(None)
    rename_labels: str | None = _of_sides(None)
    normalise: str = "center"
    polarity: str = "upright"
    crops: str = _of_sides("3000")
    resample: float = _of_sides(10.0)
    rate: float | None = None
    rr_features: bool = _of_sides(False)


@dataclass(frozen=True)
class TwelveLeadOptions(Options):
    """Twelve-lead records of one length; `leads` None for all, `labels` None for the first set of the dataset."""

    leads: str | None = None
    rate: float = 500
    filter: str = "none"
    normalise: str = "none"
    crops: str | None = _of_sides(None)
    label_map: str = _of_sides("rhythm4")
    labels: str | None = _of_sides(None)
    unlabelled: str = _of_sides("drop")


@dataclass(frozen=True)
class StatementOptions(TwelveLeadOptions):
    """Twelve-lead records with any number of statements each."""

    rate: float = 100


@dataclass(frozen=True)
class SplitOptions(Options):
    """Rows with a choice of split protocols; None for the default of the data."""

    split: str | None = None


@dataclass(frozen=True)
class TableOptions(SplitOptions):
    """A user's own rows; None for the value in the file."""

    label_column: str | None = None
    record_column: str | None = None
    id_columns: str | None = None
    rate_hz: float | None = None


@dataclass(frozen=True)
class ChartOptions:
    """The drawing of rows as ECG paper: texts as in the flags, and the height in pixels; None for the default."""

    layout: str | None = None
    leads: str | None = None
    size: int | None = None
    style: str | None = None


# The flags of the options that families have for themselves.
# fmt: off
OPTION_FLAGS = (
    Group("few labels", (
        Flag("--label-fraction", DATA, "part of the training rows that is trained on: whole records, in proportion to "
             "the classes, a small part in every larger one; validation and test stay whole (default 1)", type=float,
             metavar="F", unset=1.0, check=Check("above 0, at most 1", lambda part: 0 < part <= 1),
             elsewhere="train-fraction subset data-fraction"),
    ), rare=True),
    Group("tables of your own", (
        Flag("--label-column", DATA, "name or number of a table's label column (default the last), or none; for many "
             "labels a row columns of 0 and 1 with commas between them, or COLUMN:; for one with ; between labels; "
             "with one: before them each row has exactly one label",
             metavar="C", family="table", tags="other-file", elsewhere="label label-col target target-column"),
        Flag("--record-column", DATA, "name or number of a table's record column, or none (default the one called "
             "patient, subject, record or group)", metavar="C", family="table", tags="other-file",
             elsewhere="group groups group-column patient-column subject-column"),
        Flag("--id-columns", DATA, "names or numbers of a table's columns that are no samples: not read to train, "
             "copied by --predict", metavar="C,C", joined=True, family="table", tags="other-file",
             elsewhere="id id-column index-column"),
        Flag("--rate-hz", DATA, "sampling rate of a table's rows, or of recordings that state none", type=float,
             metavar="HZ", check=POSITIVE, family="table", tags="other-file recording",
             elsewhere="sampling-rate sample-rate fs sfreq frequency hz"),
    ), rare=True),
    Group("recordings (mitdb, synth_patients, chapman, ptbxl, synth_rhythms)", (
        Flag("--leads", DATA, "leads, one channel each, | between alternatives: MLII,V1|V5 (default MLII, of "
             "twelve-lead records all); with --predict leads of the recording, -NAME for an inverted one",
             metavar="L,L", family="beats twelve_lead statements", tags="recording", elsewhere="lead channel channels"),
        Flag("--window", DATA, "start and end of a beat in s around the R peak (default --window=-0.4,0.8)",
             metavar="S,S", family="beats"),
        Flag("--rate", DATA, "rate after resampling (default 125, of twelve-lead records 500, of strips as recorded); "
             "of ptbxl 100 (default) or 500, as published", type=float, metavar="HZ", check=between(10, 1000),
             family="beats strips twelve_lead statements", elsewhere="sampling-rate sample-rate fs sfreq frequency hz"),
        Flag("--filter", DATA, "none (default), baseline (running medians), bandpass:LOW:HIGH (Hz), or both with +",
             metavar="F", family="beats twelve_lead statements"),
        Flag("--normalise", DATA, "none (default; mV), record (median and IQR of the lead), beat (mean 0, sd 1) or "
             "typical (minus the record's typical beat); of strips and twelve-lead records none, record or center "
             "(median at 0; default of strips)", metavar="HOW", family="beats strips twelve_lead statements"),
        Flag("--rr-features", DATA, "features next to the signal: of a beat RR intervals and their ratios, one beat "
             "ahead; of a strip numbers of its whole rhythm", type=bool, family="beats strips", task="classify"),
        Flag("--p-waves", DATA, "similarity of the P wave to earlier P waves, as features next to the signal",
             type=bool, family="beats", task="classify"),
        Flag("--label-map", DATA, "classes of the beat symbols: aami (default; e, j in N, as de Chazal), aami-s (in S, "
             "as EC57), symbols, or a file; of rhythms rhythm4 (default), rhythm11, or a file", metavar="MAP",
             path="file or name", family="beats twelve_lead statements"),
        Flag("--labels", DATA, "classes of a record: of ptbxl super (default), sub, diagnostic, form, rhythm, all, "
             "challenge; of chapman rhythm (default; one a record), challenge (26 diagnoses of the Challenge 2021); "
             "of both a file of code,class; of synth_rhythms rhythm, or many (any of rhythm, axis and conduction)",
             metavar="NAME", path="file or name", family="twelve_lead statements",
             elsewhere="label-set task-labels"),
        Flag("--crops", DATA, "training crops, in samples or seconds (2.5s): of twelve-lead records (default the "
             "whole), of strips (default 3000) with the crops of a record of class C in an epoch; validation and test "
             "take the mean over windows", metavar="T:C=N,...", family="strips twelve_lead statements"),
        Flag("--unlabelled", DATA, "records without a label, of sets with several a record: drop (default), or keep as "
             "rows of no class", metavar="HOW", family="twelve_lead statements"),
    ), rare=True),
    Group("strips, labelled as a whole (cinc2017, synth_strips)", (
        Flag("--drop-labels", DATA, "labels of the records to leave out", metavar="L,L", family="strips"),
        Flag("--rename-labels", DATA, "classes of the labels, several may become one: N:NO,O:NO", metavar="L:NEW,...",
             family="strips"),
        Flag("--polarity", DATA, "upright (default; records with downward QRS are inverted), or recorded",
             metavar="HOW", family="strips"),
        Flag("--resample", DATA, "standard deviation of the rate that a training crop is resampled to, 0 for none "
             "(default 10)", type=float, metavar="HZ", check=between(0, 50), family="strips", view="signal"),
    ), rare=True),
)
# fmt: on
# The options of each family: a field has the name and, where it is not None, the type of a flag.
FAMILIES: dict[str, type[Options]] = {
    "rows": Options,
    "divided": SplitOptions,
    "beats": BeatOptions,
    "strips": StripOptions,
    "twelve_lead": TwelveLeadOptions,
    "statements": StatementOptions,
    "table": TableOptions,
}


@dataclass(frozen=True)
class Dataset:
    """A dataset: `target` ("module:function", or the function) makes `base.Data` of a `Request`; `family`: its options.

    Facts that need no file: `view` (the kind of a row), `leads`, `classes` with their `importance` (default 1),
    `rate_hz`, `unit`, `source`, `licence`, `remark` on its split. `without` are options of the family that this dataset
    lacks, `flags` are its own. `bad_rows` is the default of --bad-rows.

    `row_form` names the cut around an R peak (`row_forms.FORMS`), `symbol_map` the annotation symbols of the classes
    (`row_forms.SYMBOLS`); recordings can be classified with both only. `cohort` is the published split by patient,
    `scored` are the classes of the publisher's score. `lowest` is the number of the first class in a table with
    numbers. A dataset that `finds_normal` divides the rows of the normal class itself (`Request.normal_class`). `cites`
    are its publications: keys of `toolbox/reports/references.bib`, or BibTeX entries. `label_sets` are the sets of
    classes of --labels, with a description of each; the first is the default.
    """

    target: str | Callable[..., Any]
    phrase: str
    source: str = ""
    licence: str = ""
    family: str = "rows"
    files: Files = Files()
    generated: bool = False
    view: str = "beat"
    leads: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    importance: tuple[float, ...] = ()
    rate_hz: float = 0
    unit: str = ""
    remark: str = ""
    scored: tuple[str, ...] = ()
    row_form: str = ""
    symbol_map: str = ""
    cohort: Cohort | None = None
    bad_rows: str = "error"
    lowest: int | None = None
    finds_normal: bool = False
    label_sets: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    flags: tuple[Flag, ...] = ()
    cites: tuple[str, ...] = ()

    @property
    def options(self) -> dict[str, Any]:
        """The default of each option, by name."""
        family = FAMILIES[self.family]
        own = {flag.name: False if flag.type is bool else flag.default for flag in self.flags}
        return {name: getattr(family, name) for name in family.__dataclass_fields__ if name not in self.without} | own

    def is_of_sides(self, option: str) -> bool:
        """Whether an option changes no sample of a row."""
        declared = FAMILIES[self.family].__dataclass_fields__.get(option)
        return declared is not None and "of_sides" in declared.metadata


@dataclass(frozen=True)
class Request:
    """A request for the dataset `name`: its options, its source, and the division of its rows.

    `options` are the options of its family, `own` the values of its own flags by name. `val_fraction` is a part of the
    training rows or a `Fold`, drawn with `seed`. `workers` processes read large files (0: one per core).
    `normal_class` is set if the dataset divides its rows for anomaly detection.
    """

    name: str
    dataset: Dataset
    root: Path
    data_file: Path | None
    options: Any
    bad_rows: str
    val_fraction: "Holdout"
    seed: int
    normal_class: str | None = None
    own: Mapping[str, Any] = field(default_factory=dict)
    workers: int = 0

    @property
    def folder(self) -> Path:
        return self.root / (*self.dataset.files.folders, self.name)[0]

    @property
    def cache(self) -> Path:
        """The folder of parsed arrays."""
        return self.folder / "cache"

    @cached_property
    def source(self) -> Any:
        """The folder or zip to read, or the result of the dataset's `finder`; found or fetched at the first access.

        So options are checked before. Raises DataError for unusable files, DownloadError if no download succeeds,
        ResourceError.
        """
        from loaders.files.sources import find

        return find(self.dataset.files, self.root, self.folder, self.data_file)

    @property
    def where(self) -> str:
        """The place that errors name."""
        return str(self.source if self.dataset.files.needs else self.data_file or self.name)
