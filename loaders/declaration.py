"""How a dataset is declared: its files, its facts, the options it takes and the function that loads it.

Standard library only, so that `--help` and `--list datasets` import neither numpy nor torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolbox.flags import Flag

if TYPE_CHECKING:
    from loaders.splits.by_row import Holdout


def loaded(target: str | Callable[..., Any]) -> Callable[..., Any]:
    """The function that "module:function" names, whose module is imported now; a function itself is one, too."""
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
    """What a dataset is read from: a folder with files like one of the patterns `marks`, or a zip that holds enough.

    A path like one of `marks` stands for its folder; `other_marks` are looked for in folders only. A zip holds enough
    when every pattern of one group of `enough` matches a name in it. `needs` says in words what is missing. `folders`
    below the root are searched in their order; the first one is the dataset's own. The first of `remotes` that brings
    the files is fetched, then `extras`, whose absence is a warning; `put` says what a user can place there instead.
    `diagnose` ("module:function") is called with a path of the user's where nothing was found, and may raise a
    DataError that says more; `finder` finds files that no patterns describe, in a folder or where the user pointed.
    """

    needs: str
    put: str
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
    """Whose records a database has: a published division in `words`, and the record that stands for each person of
    several records."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    words: str
    person: Mapping[str, str] = field(default_factory=dict)


def _of_sides(default: Any) -> Any:
    """An option that leaves the samples of a row as they are: it decides labels, features and sides alone."""
    return field(default=default, metadata={"of_sides": True})


@dataclass(frozen=True)
class NoOptions:
    """Rows that are published as they are."""


@dataclass(frozen=True)
class BeatOptions:
    """Beats cut out of recordings and divided by patient; the texts are those of the flags."""

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
class StripOptions:
    """Strips of unequal length, cropped in training."""

    drop_labels: str | None = _of_sides(None)
    rename_labels: str | None = _of_sides(None)
    normalise: str = "center"
    polarity: str = "upright"
    crops: str = _of_sides("3000")
    resample: float = _of_sides(10.0)


@dataclass(frozen=True)
class TwelveLeadOptions:
    """Twelve-lead records of one length; without `leads` all of them."""

    leads: str | None = None
    rate: float = 500
    filter: str = "none"
    normalise: str = "none"
    label_map: str = _of_sides("rhythm4")


@dataclass(frozen=True)
class SplitOptions:
    """Rows with a choice of split protocols; None for the one that suits the data."""

    split: str | None = None


@dataclass(frozen=True)
class TableOptions(SplitOptions):
    """A user's own rows; what is None is taken from the file."""

    label_column: str | None = None
    record_column: str | None = None
    rate_hz: float | None = None


@dataclass(frozen=True)
class ChartOptions:
    """How rows are drawn as ECG paper: texts of the flags, and the height in pixels; None for what suits the data."""

    layout: str | None = None
    leads: str | None = None
    size: int | None = None
    style: str | None = None


# The options of each family: a field has the name and, where it is not None, the type of a flag.
FAMILIES: dict[str, type] = {
    "rows": NoOptions,
    "divided": SplitOptions,
    "beats": BeatOptions,
    "strips": StripOptions,
    "twelve_lead": TwelveLeadOptions,
    "table": TableOptions,
}


@dataclass(frozen=True)
class Dataset:
    """A dataset: `target` ("module:function", or the function) makes `base.Data` of a `Request`; `family`: its options.

    What is known before anything is read: `view` (what a row is), `leads`, `classes` with their `importance` (1 each
    where left out), `rate_hz`, `unit`, `source`, `licence`, `remark` on its split. `without` are options of the family
    that this dataset lacks, `flags` are its own. `bad_rows` is the default of --bad-rows.

    `row_form` names how a row is cut around its R peak (`row_forms.FORMS`), `symbol_map` which annotation symbols its
    classes are (`row_forms.SYMBOLS`); only with both can recordings be classified. `cohort` is the published division
    by patient, `scored` the classes of the publisher's score. `lowest` is the number of the first class where a table
    may number them. A dataset that `finds_normal` divides the rows of the normal class itself (`Request.normal_class`).
    """

    target: str | Callable[..., Any]
    phrase: str
    source: str = ""
    licence: str = ""
    family: str = "rows"
    files: Files | None = None
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
    without: tuple[str, ...] = ()
    flags: tuple[Flag, ...] = ()

    @property
    def options(self) -> dict[str, Any]:
        """The default of each option, by name."""
        family = FAMILIES[self.family]
        own = {flag.name: False if flag.type is bool else flag.default for flag in self.flags}
        return {name: getattr(family, name) for name in family.__dataclass_fields__ if name not in self.without} | own

    def is_of_sides(self, option: str) -> bool:
        """Whether an option leaves the samples of a row as they are."""
        declared = FAMILIES[self.family].__dataclass_fields__.get(option)
        return declared is not None and "of_sides" in declared.metadata


@dataclass(frozen=True)
class Request:
    """What is asked of the dataset `name`: its options, where it is read from, and how its rows are divided.

    `options` are those of its family, `own` the values of its own flags by name. `val_fraction` is a part of the
    training rows or a `Fold`, drawn with `seed`. `normal_class` is set where the dataset is to divide its rows for
    anomaly detection.
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

    @property
    def folder(self) -> Path:
        """The dataset's own folder."""
        files = self.dataset.files
        return self.root / (files.folders[0] if files and files.folders else self.name)

    @property
    def cache(self) -> Path:
        """Where parsed arrays are kept."""
        return self.folder / "cache"

    @cached_property
    def source(self) -> Path:
        """The folder or zip to read, found or fetched when it is first asked for, so that options are checked before.

        Raises DataError for files that cannot be used, DownloadError where nothing can be fetched, ResourceError.
        """
        from loaders.files.sources import find

        return find(self.dataset.files, self.root, self.folder, self.data_file)

    @property
    def where(self) -> str:
        """The place that errors name."""
        return str(self.source if self.dataset.files else self.data_file or self.name)
