"""--import: the parts of a user's files in the tables of names.

`prepare` reads the files before the flags are parsed: their datasets may have flags, too. `use` registers the parts of
these files, and of no others. `complete` answers a shell's tab key, with these names.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import args
import commands
import loaders
from loaders.declaration import FAMILIES, Dataset
from toolbox import plugins
from toolbox.errors import CommanderError, UsageError
from toolbox.flags import DATA, TEST, USE, Flag
from toolbox.parser import FlagFile
from toolbox.plugins import Part

SHIPPED = args.FLAGS
HELP = ("-h", "--help", "--help-all")
CHANGED = "the file as it was, in place or with --import; --test and --resume take the changed one with --override"
Entry = tuple[dict[str, Any], Any]  # a table, and the value of a part's name in it
ENTERED: list[tuple[dict[str, Any], str]] = []  # the names of parts in tables


def complete() -> None:
    """Answer a shell's request for completions, without torch unless a file of --import needs it."""
    import models

    with suppress(CommanderError):
        prepare(os.environ.get("COMP_LINE", "").split()[1:])
    tables = commands.names() | {"datasets": [*loaders.DATASETS], "models": [*models.MODELS]}
    known = {flag.name: tables[flag.choices] for flag in args.FLAGS if flag.choices}
    args.FLAGS.parser.complete(known | {"list": commands.lists()})


def prepare(argv: Sequence[str]) -> None:
    """Register the typed files, else those of the run that the command line names, else those of the environment.

    Raises UsageError or DataError for a file that is missing, broken, or not that of the run.
    """
    try:
        typed, own = _scanned([word for word in argv if word not in HELP])
    except UsageError:
        return  # the whole parser reports it
    if own and own.imports and "import" not in typed:
        typed["import"] = [*map(str, plugins.found(own.imports, own.base, of=own.path.name, hint=CHANGED))]
    paths = [*typed.get("import", ()), *([typed["check"]] if "check" in typed else ())]
    of_runs = any(one.mode in (TEST, USE) for one in SHIPPED.commands(typed)) or "resume" in typed or "test_on" in typed
    if of_runs and not paths:
        paths = [*map(str, _of_run(typed))]
    use(paths or plugins.from_environment())


def _scanned(argv: Sequence[str]) -> tuple[dict[str, Any], FlagFile | None]:
    """The typed flags that are the program's own, over those of --config, and its last file with parts of the user."""
    typed, own = vars(SHIPPED.parser.parse_known_args([*argv])[0]), None
    for path in reversed(typed.get("config", ())):
        file = FlagFile.read(Path(path))
        typed = {**vars(SHIPPED.parser.parse_known_args(file.words(SHIPPED, unknown=True))[0]), **typed}
        own = own if own and own.imports else file
    return typed, own


def _of_run(typed: Mapping[str, Any]) -> list[Path]:
    """The files of the run that the flags name; none if it is not found, which the command reports."""
    from toolbox.errors import CheckpointError
    from toolbox.runs.folder import CONFIG, RunFolder

    flags = {**SHIPPED.defaults, **typed, "root_dir": SHIPPED.resolve(typed).root_dir}
    model = flags["model_name"] or SHIPPED.by_name["model_name"].by_task.get(flags["task"] or "classify", "")
    for dataset in [flags["dataset"]] if flags["dataset"] else loaders.BY_DEFAULT:
        try:
            run = RunFolder.find(Path(flags["root_dir"]), dataset, model, flags["version"] or "latest")
            return of_config(run.read_json(CONFIG), Path(flags["root_dir"]), changed=flags["override"])
        except (CheckpointError, LookupError, TypeError, AttributeError):
            continue
    return []


def of_config(config: Mapping[str, Any], root: Path, *, changed: bool = False) -> list[Path]:
    """The files that a run's config.json imports."""
    return plugins.found(config.get("imports", []), root, of="the run", hint=CHANGED, changed=changed)


def use(paths: Sequence[str | Path]) -> None:
    """Register the parts of these files and remove those of all others; files in use stay as they are.

    Raises DataError for a broken file, UsageError for a name that is taken or an invalid declaration.
    """
    wanted = {own.digest: own for own in map(plugins.opened, paths)}
    if [*wanted] == [own.digest for own in plugins.IN_USE]:
        for own in plugins.IN_USE:
            own.path = wanted[own.digest].path
        return
    _clear()
    try:
        for own in wanted.values():
            plugins.IN_USE.append(plugins.read(own.path))
            for part in plugins.IN_USE[-1].parts:
                _enter(part)
    except BaseException:
        _clear()
        raise


def _clear() -> None:
    for table, name in ENTERED:
        table.pop(name, None)
    ENTERED.clear()
    plugins.IN_USE.clear()
    args.FLAGS = SHIPPED


def _enter(part: Part) -> None:
    """Put a part into its tables. Raises UsageError for a taken name, or facts that its kind does not have."""
    try:
        entries = ENTRIES[part.kind](part)
    except (TypeError, ValueError) as error:
        what = f"{part.kind} {part.name} cannot be registered: {error}"
        raise UsageError(what, where=part.where, hint="the example in docs/plugins.md") from error
    for table, _ in entries:
        if part.name in table:
            what = f"the name {part.name} of your {part.kind} is taken, by {_holder(part)}"
            raise UsageError(what, where=part.where, hint=f"another name, such as my_{part.name}")
    for table, value in entries:
        table[part.name] = value
        ENTERED.append((table, part.name))
    if part.kind == "dataset":
        _add_flags(part)


def _holder(part: Part) -> str:
    same = [one.where for own in plugins.IN_USE for one in own.parts if (one.kind, one.name) == (part.kind, part.name)]
    return next((where for where in same if where != part.where), "the program")


def _dataset(part: Part) -> list[Entry]:
    unknown = part.facts.keys() - {field.name for field in fields(Dataset)}
    if unknown:
        raise TypeError(f"a dataset has no {min(unknown)}; it has {', '.join(field.name for field in fields(Dataset))}")
    entry = Dataset(part.target, **{"licence": "the user's own", "view": "row", **part.facts})
    if entry.family not in FAMILIES:
        raise ValueError(f"family is {entry.family!r}, it must be one of {', '.join(FAMILIES)}")
    if len(entry.importance) not in (0, len(entry.classes)):
        raise ValueError(f"{len(entry.importance)} importance for {len(entry.classes)} classes")
    return [(loaders.DATASETS, entry)]


def _add_flags(part: Part) -> None:
    """Add the flags of a dataset to `args.FLAGS`."""
    own: tuple[Flag, ...] = loaders.DATASETS[part.name].flags
    for flag in own:
        if not isinstance(flag, Flag) or flag.kind is not DATA or flag.choices:
            what = (
                f"{getattr(flag, 'typed', flag)} of dataset {part.name} must be Flag(NAME, DATA, ...), without choices"
            )
            raise UsageError(what, where=part.where, hint='Flag("--gain", DATA, "factor of the samples", type=float)')
        if taken := {flag.typed, *flag.also} & args.FLAGS.by_spelling.keys() or {flag.name} & args.FLAGS.by_name.keys():
            what = f"the flag {min(taken)} of dataset {part.name} is taken"
            raise UsageError(what, where=part.where, hint="another name")
    args.add_flags(own)


def _network(part: Part) -> list[Entry]:
    import models

    unknown = part.facts.keys() - {field.name for field in fields(models.Network)}
    if unknown:
        raise TypeError(f"a network has no {min(unknown)}")
    entry = models.Network(part.target, **part.facts)
    if entry.task not in ("classify", "detect") or entry.view not in loaders.VIEWS:
        raise ValueError(f"task is {entry.task!r} (classify or detect), view is {entry.view!r} (signal or chart)")
    tables: list[dict[str, Any]] = [models.MODELS]
    tables.append(models.AUTOENCODERS if entry.task == "detect" else models.CLASSIFIERS)
    return [(table, entry) for table in (*tables, *([models.VISION] if entry.view == "chart" else ()))]


def _loss(part: Part) -> list[Entry]:
    from toolbox.training import losses

    tables: dict[str, dict[str, Any]] = {"classify": losses.LOSSES, "detect": losses.RECONSTRUCTION}
    if part.facts["task"] not in tables:
        raise ValueError(f"task is {part.facts['task']!r}, it must be classify or detect")
    return [(tables[part.facts["task"]], part.target)]


def _metric(part: Part) -> list[Entry]:
    from toolbox.metrics.classification import METRICS, Metric

    low, high = float(part.facts["low"]), float(part.facts["high"])
    if not float("-inf") < low < high:
        raise ValueError(f"its range is {low:g} to {high:g}, the lower end must be finite and below the higher")
    return [(METRICS, Metric((low, high), bool(part.facts["lower_is_better"]), part.target))]


def _augmentation(part: Part) -> list[Entry]:
    from loaders.augment import AUGMENTATIONS, Augmentation

    facts = dict(part.facts)
    low, high = facts.pop("low"), facts.pop("high")
    if not low <= facts["strength"] <= high or not 0 <= facts["probability"] <= 1:
        raise ValueError(f"strength must be from {low:g} to {high:g}, probability from 0 to 1")
    if not {*facts["rows"]} <= {"signals", "charts"}:
        raise ValueError(f"rows are {', '.join(map(str, facts['rows']))}, they must be signals or charts")
    allowed = (f"from {low:g} to {high:g}", lambda strength: low <= strength <= high)
    return [(AUGMENTATIONS, Augmentation(part.target, allowed=allowed, **facts))]


def _sampler(part: Part) -> list[Entry]:
    from toolbox.training import samplers

    return [(samplers.SAMPLERS, part.target)]


def _optimizer(part: Part) -> list[Entry]:
    from toolbox.training import optimizers

    lr, weight_decay = float(part.facts["lr"]), float(part.facts["weight_decay"])
    return [
        (optimizers.OPTIMIZERS, part.target), (optimizers.DEFAULT_LR, lr),
        (optimizers.DEFAULT_WEIGHT_DECAY, weight_decay),
    ]  # fmt: skip


ENTRIES = {
    "dataset": _dataset,
    "network": _network,
    "loss": _loss,
    "metric": _metric,
    "augmentation": _augmentation,
    "sampler": _sampler,
    "optimizer": _optimizer,
}
