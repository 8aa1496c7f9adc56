"""--report: the page of a run, made again from the files of its folder, without data; `write` makes it after a test."""

import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import args
from commands.trained import FORM, MEND, spec_of
from loaders.families.rows import normal_class
from loaders.undivided import split_name
from toolbox import schema, terminal
from toolbox.errors import CheckpointError, UsageError, program
from toolbox.flags import Flags, as_typed, flag_name
from toolbox.reports import pages
from toolbox.reports.run import report
from toolbox.reports.run.report import PAGE, Provenance
from toolbox.runs import outcome, summary
from toolbox.runs.folder import CONFIG, RESULTS, RunFolder, versions

VARIABLE = "$ROOT"
COMPARISON = "comparison.html"  # in the root, of several runs


def rebuild(flags: Flags) -> None:
    """Write the page of the named run, and of its tests with other checkpoints or data, or of several runs compared;
    prints the page's path."""
    name, *others = flags.report
    run = RunFolder.named(name, flags.root_dir)
    page = Path(flags.out) if flags.out else flags.root_dir / COMPARISON if others else run / PAGE
    if page.is_dir():
        raise UsageError(f"--out is the folder {page}", hint=f"--out {page / PAGE}, the name of a page")
    if not page.parent.is_dir():
        raise UsageError(f"the folder of --out {page} does not exist", where=str(page.parent), hint="make it first")
    if flags.out or others:
        pages.check_replaceable(page)
    if others:
        from commands import runs

        runs.compare_runs(flags, page)
        return
    try:
        write(run, run / "pred", page, root=flags.root_dir, alone=flags.self_contained)
        for folder in _others(run) if not flags.out else ():
            write(run, folder, folder / PAGE, root=flags.root_dir, alone=flags.self_contained)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        what = f"the files of the run do not fit together: {type(error).__name__} {error}"
        raise CheckpointError(what, where=str(run.path), hint="--test again writes them again") from error
    facts = {"run": str(run.path), "tested": outcome.place(run.path) is not None}
    terminal.page(page, facts, as_json=flags.json)


def write(
    run: RunFolder,
    folder: Path,
    page: Path,
    *,
    root: Path,
    alone: bool = False,
    results: Mapping[str, Any] | None = None,
) -> Path:
    """Write the page of a run and of its test in `folder`; with `alone`, the page holds plotly's library.

    A page outside of the root holds it too. `results` stand in for a results.json that is not written yet. Raises
    CheckpointError for unusable files of the run, ResourceError.
    """
    config = run.read_json(CONFIG)
    if what := schema.misfit(config, FORM):
        raise CheckpointError(f"config.json: {what}", where=str(run / CONFIG), hint=MEND)
    spec = spec_of(config, str(run / CONFIG))
    material = report.read(run, folder, spec, normal=_normal(config, spec.classes), results=results)
    if spec.many_labels and (tested := tuple(material.test.get("per_class", ()))):  # other data may lack some classes
        material = replace(material, spec=replace(spec, classes=tested))
    library = pages.INLINE if alone else pages.shared(page, root)
    provenance = Provenance(_commands(run, config, material.facts), _settings(config))
    return report.save(page, material, provenance=provenance, library=library, folder=folder)


def _others(run: RunFolder) -> list[Path]:
    """The folders of tests with other checkpoints, flags or data."""
    return sorted(path.parent for path in (run / outcome.TEST).glob(f"*/{RESULTS}"))


def _normal(config: Mapping[str, Any], classes: tuple[str, ...]) -> int | None:
    """The normal class of a detector."""
    if config["flags"].get("task") != "detect":
        return None
    try:
        return classes.index(normal_class(classes, config["flags"].get("normal_class")))
    except UsageError:
        return None


def _commands(run: RunFolder, config: Mapping[str, Any], facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Commands to train the run again, to test it again and to make its page, for a shell.

    A run folder names no place, so that a root other than the default is the variable ROOT of the shell.
    """
    flags, data = config["flags"], config["data"]
    root = args.FLAGS.defaults["root_dir"] if facts.get("default_root", True) else VARIABLE
    where = [] if facts.get("default_root", True) else ["--root-dir", root]
    stored = flags | {"dataset": data.get("name")}
    naming = ("dataset", *args.FLAGS.names("network"))
    given = {*config.get("given", ()), *naming}

    def line(names: Iterable[str]) -> list[str]:
        imports = [each["file"] for each in config.get("imports", ())]
        return [*where, *args.FLAGS.again(stored, names, lambda path: _below(root, f"./{path}"), imports)]

    which = [] if (tested := facts.get("checkpoint", "best").partition("-")[0]) == "best" else ["--resume", tested]
    name, file = split_name(facts.get("test_on") or "")
    on = ["--test-on", "=".join(filter(None, (name, _below(root, file or ""))))] if name or file else []
    again = "Train again, as a new version:"
    if parts := summary.parts(config):
        again = f"The run was {parts}. Train again with its last flags, as a new version:"
    lines = [] if "imported" in config else [(again, line(name for name in stored if name in given))]
    lines.append(("Test these weights again:", [*line(naming), *_version(run, config), "--test", *which, *on]))
    lines.append(("Make this page again, without the data:", [*where, "--report", run.path.name]))
    note = "" if not where else f" ({VARIABLE} is the folder of data and runs)"
    return [(what.replace(":", f"{note}:"), f"{program()} {_quoted(words)}") for what, words in lines]


def _quoted(words: list[str]) -> str:
    """Words for a shell, in which the variable ROOT stays one."""
    return " ".join(map(_quoted_word, words))


def _quoted_word(word: str) -> str:
    before, variable, rest = word.partition(VARIABLE)
    if not variable:
        return shlex.quote(word)
    return f'"{before}{VARIABLE}"{shlex.quote(rest) if rest else ""}'


def _below(root: str, what: str) -> str:
    """A path relative to the root, which begins with ./, as one of the working folder; a name stays."""
    if not what.startswith(os.curdir):
        return what
    return f"{root}/{os.path.normpath(what)}" if root == VARIABLE else os.path.normpath(f"{root}/{what}")


def _version(run: RunFolder, config: Mapping[str, Any]) -> list[str]:
    """The flag that selects this run among the versions of its network, if it lies among them."""
    dataset, model = str(config["data"].get("name")), str(config["flags"].get("model_name"))
    root = next(iter(run.path.resolve().parents[2:]), run.path)
    names = {f"{dataset}_{model}_{number}": number for number in versions(root, dataset, model)}
    return ["--version", str(names[run.path.name])] if run.path.name in names else []


def _settings(config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Every flag of the run with a value, in the order of config.json, and whether it was typed."""
    return [
        (flag_name(name), "on" if value is True else as_typed(value), "typed" * (name in config.get("given", ())))
        for name, value in config["flags"].items()
        if value not in (None, False, "")
    ]
