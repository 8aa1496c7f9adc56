"""--explain: chooses rows, attributes the predictions of a trained run, draws the maps and checks them.

<run>/explain/<method>/    index.html, a PNG a row, attributions.npz, explain.json, doubts.png
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from commands.explain import attribution
from commands.explain.attribution import Array, Checked, Seen, Subject
from commands.trained import TrainedRun
from toolbox import devices, files, plain, terminal
from toolbox.errors import ResourceError, UsageError
from toolbox.explain import methods
from toolbox.flags import Flags, words
from toolbox.plain import NOTICE
from toolbox.registry import pick
from toolbox.reports import explanation, plots, tables
from toolbox.reports.explanation import Example
from toolbox.reports.run import ending
from toolbox.runs.outputs import Claim
from toolbox.terminal import StopRequest

SIDES = {"val": "validation, which chose the epoch and trained nothing", "test": "test"}
EXPLAINED = {"predicted": "the predicted class", "true": "the true class"}
CHOSEN = "of each row a class that it has or that is predicted"  # of many labels
SUMMARY = "explain.json"
FILES = (SUMMARY, "index.html", "attributions.npz", "doubts.png")
MOST_NAMED = 48  # rows of --records that are all shown
MOST = 12  # classes of many labels
log = logging.getLogger("commander")


def explain(given: Mapping[str, Any], stop: StopRequest) -> None:
    """Carry out --explain: write pictures, page and figures of the explanation; print JSON."""
    trained = TrainedRun.open(given)
    run, flags = trained.run, trained.flags
    trained.check_unchanged()
    if flags.task != "classify":
        what = "--explain needs a classifier, this run was trained with --task detect"
        raise UsageError(what, where=str(run.path), hint="a run that was trained with --task classify")
    if trained.spec.many_labels:
        _check_many_labels(flags)
    own = [attribution.PREDICTED] if trained.spec.many_labels else [*EXPLAINED]
    pick("explain-class", dict.fromkeys((*own, *trained.spec.classes)), flags.explain_class)
    methods.check(flags.explain)
    trained.note_short_run()
    with run.locked(), devices.enough_memory(flags.batch_size):
        subject = attribution.load(trained)
        probabilities = subject.probabilities()
        chosen = (_of_labels if trained.spec.many_labels else _chosen)(subject, probabilities)
        if not chosen:
            raise _nothing(subject, probabilities)
        which, said = (np.array(each, int) for each in zip(*(own[:2] for own in chosen), strict=True))
        log.info("%s of %d rows of %s", flags.explain, _count(subject, which), flags.explain_rows)
        seen = attribution.attribute(subject, which, said)
        found = attribution.doubt(subject, seen, stop)
        values = _write(subject, seen, found, [group for *_, group in chosen], probabilities[which])
    terminal.answer(values, at_terminal=_text(values), as_json=flags.json)


def _text(values: Mapping[str, Any]) -> str:
    """The facts of an explanation, its checks, and the path of its page, for a terminal."""
    facts = [f"{name}: {values[name]}" for name in ("run", "method", "rows", "split")]
    checks = tables.aligned(["check", "figure"], [[of["name"], of["figure"]] for of in values["checks"]])
    return plain.lines([*facts, "", *checks, "", *ending.paths({"page": Path(values["page"])})])


def _check_many_labels(flags: Flags) -> None:
    """Raise UsageError for what only rows with one class have."""
    if flags.explain_class == attribution.TRUE:
        what = "--explain-class true is of rows with one class each, these have many labels"
        raise UsageError(what, hint="a class by name, or leave it out")
    if flags.explain_random_labels:
        what = "--explain-random-labels is of rows with one class each, these have many labels"
        raise UsageError(what, hint="leave it out")


Chosen = list[tuple[int, int, str]]  # row, class that it is chosen for, group


def _chosen(subject: Subject, probabilities: Array) -> Chosen:
    """Rows, predicted classes and groups: of each class the most and least certain, right and wrong; or the rows of
    --records."""
    among, are_named = _among(subject)
    predicted, sure, chosen = probabilities.argmax(1), probabilities.max(1), []
    if are_named:
        return [(int(row), int(predicted[row]), "named") for row in among]
    for k in range(len(subject.data.spec.classes)):
        for group, right in (("right", True), ("wrong", False)):
            own = among[(subject.rows.y[among] == k) & ((predicted[among] == k) == right)]
            chosen += [(row, int(predicted[row]), of) for row, of in _ends(own, sure, group, subject)]
    return chosen


def _of_labels(subject: Subject, probabilities: Array) -> Chosen:
    """The same for many labels: a row is chosen for a class that it has or that is predicted, of the classes with most
    rows or for that of --explain-class; a row of --records for its most probable class."""
    spec, among, are_named = subject.data.spec, *_among(subject)
    asked, y = subject.flags.explain_class, subject.rows.y == 1
    classes = [spec.classes.index(asked)] if asked in spec.classes else [*np.argsort(-y.sum(0), kind="stable")][:MOST]
    if are_named:
        most = probabilities[:, classes].argmax(1)
        return [(int(row), int(classes[most[row]]), "named") for row in among]
    predicted, chosen = probabilities >= subject.thresholds, []
    for k in sorted(map(int, classes)):
        for group, own in (("right", y[:, k] & predicted[:, k]), ("wrong", y[:, k] != predicted[:, k])):
            chosen += [(row, k, of) for row, of in _ends(among[own[among]], probabilities[:, k], group, subject)]
    return chosen


def _nothing(subject: Subject, probabilities: Array) -> UsageError:
    """The error of rows without the class of --explain-class, true or predicted; of any class without the flag."""
    flags, classes = subject.flags, subject.data.spec.classes
    of = flags.explain_class if flags.explain_class in classes else "any class"
    what = f"no row of {flags.explain_rows} has {of}, and of none it is predicted"
    having = (subject.rows.y == 1) | (probabilities >= subject.thresholds)
    known = [classes[k] for k in np.argsort(-having.sum(0), kind="stable") if having[:, k].any()]
    hint = f"--explain-class {known[0]}" if known else "--explain-rows test, or another run"
    return UsageError(what, where=str(subject.run.path), hint=hint)


def _count(subject: Subject, which: Array) -> int:
    """The number of different rows among `which`: a row may be explained for several classes, or on several charts."""
    return len(np.unique(subject.rows.index[which]))


def _among(subject: Subject) -> tuple[Array, bool]:
    """The rows that are chosen from, and whether --records names so few that all of them are shown."""
    names = words(subject.flags.records)
    among = np.arange(len(subject.rows)) if names is None else _named(subject, names)
    return among, names is not None and len(among) <= MOST_NAMED


def _ends(own: Array, sure: Array, group: str, subject: Subject) -> list[tuple[int, str]]:
    """The most and the least certain ones of the rows `own`, with the names of their groups."""
    count, own = subject.flags.explain_count, own[np.argsort(-sure[own], kind="stable")]
    most, least = own[:count], own[count:][::-1][:count]
    return [(int(row), f"{group}-{end}") for end, rows in (("most", most), ("least", least)) for row in rows]


def _named(subject: Subject, names: Sequence[str]) -> Array:
    """The rows of these records or with these numbers in the source."""
    rows = subject.rows
    by_name = {name: rows.record == name for name in set(rows.record.tolist()) - {""}}
    by_index = {str(index): rows.index == index for index in rows.index}
    known, found = by_index | by_name, np.zeros(len(rows), bool)
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=3, cutoff=0.4)
            what = f"no row of {subject.flags.explain_rows} has the record or the number {name[:60]}"
            raise UsageError(what, where=str(subject.run.path), hint=" or ".join(near) or "--explain-rows test")
        found |= known[name]
    return np.flatnonzero(found)


def _write(subject: Subject, seen: Seen, found: Checked, groups: Sequence[str], probabilities: Array) -> dict[str, Any]:
    """Write everything into the run's folder; returns the values for stdout."""
    run, flags, spec = subject.run, subject.flags, subject.data.spec
    examples = _examples(subject, seen, groups, probabilities)
    folder = _folder(subject, [example.picture for example in examples])
    _draw(folder, examples, seen, subject)
    if found.curves and found.cascade:
        plots.save_png(explanation.curves_figure(vars(found.curves), found.cascade), folder / "doubts.png")
    files.write_whole(
        folder / "attributions.npz",
        lambda file: np.savez_compressed(
            file,
            index=subject.rows.index[seen.which],
            record=subject.rows.record[seen.which],
            true=subject.rows.y[seen.which],
            target=seen.target.cpu().numpy(),
            attribution=seen.attribution.cpu().numpy(),
            predicted=seen.said,
            probabilities=probabilities,
            x=seen.inputs[0].cpu().numpy(),
        ),
    )
    shown, explained = _count(subject, seen.which), EXPLAINED.get(flags.explain_class, flags.explain_class)
    if spec.many_labels and flags.explain_class == attribution.PREDICTED:
        explained = CHOSEN
    more = f"; {len(examples):,} pictures" if len(examples) > shown else ""
    facts = {
        "run": f"{run.path.name}, {subject.checkpoint} checkpoint, of epoch {subject.epoch}",
        "method": f"{flags.explain}: {methods.told(flags.explain)}",
        "explained": explained,
        "rows": f"{shown:,} of {_count(subject, np.arange(len(subject.rows))):,} of {SIDES[flags.explain_rows]}{more}",
        "split": spec.split_rule,
        "data": f"{spec.source}; {spec.licence}",
    }
    page = explanation.write(
        folder,
        examples,
        classes=spec.classes,
        title=f"What {run.path.name} looks at",
        facts=list(facts.items()),
        doubts=found.sentences,
        by="explained" if spec.many_labels else "true",
        wide=explanation.is_wide_picture(*spec.image) if spec.image else explanation.is_wide(spec.samples, spec),
    )
    values = {**facts, "notice": NOTICE, "doubts": found.values, "checks": [asdict(each) for each in found.sentences]}
    files.write_json(folder / SUMMARY, values | {"examples": [asdict(each) for each in examples]})
    return {"run_folder": str(run.path), "page": str(page), **values}


def _folder(subject: Subject, pictures: Sequence[str]) -> Path:
    """The folder of the method, emptied of pictures of an earlier command."""
    name = subject.flags.explain if subject.checkpoint == "best" else f"{subject.flags.explain}-{subject.checkpoint}"
    within, of = f"explain/{name}", {"output": "explanation"}
    listed = _listed(subject.run / within / SUMMARY)
    names = [*FILES, *pictures]
    claim = Claim(subject.run.path, within, names, of, lambda path: of if path.name in listed else None, "--root-dir")
    claim.check()
    try:
        for before in claim.earlier():
            if before.suffix == ".png":
                before.unlink()
    except OSError as error:
        what = f"cannot remove an earlier picture: {error.strerror}"
        raise ResourceError(what, where=str(claim.folder), hint="check the permissions") from error
    claim.take()
    return claim.folder


def _listed(summary: Path) -> set[str]:
    """The files of an earlier version of this program, which left no mark in its folder; from its summary."""
    try:
        found = files.read_json(summary)
        return {*FILES, *(each["picture"] for each in found["examples"])} if found["notice"] == NOTICE else set()
    except (ValueError, LookupError, TypeError):
        return set()


def _examples(subject: Subject, seen: Seen, groups: Sequence[str], probabilities: Array) -> list[Example]:
    rows, classes, examples, marked = subject.rows, subject.data.spec.classes, [], seen.marked
    alone = len(np.unique(rows.index[seen.which])) == len(seen.which)  # not several charts of a row
    for place, (row, group) in enumerate(zip(seen.which, groups, strict=True)):
        predicted, index = int(seen.said[place]), int(rows.index[row])
        if subject.thresholds is None:
            true, said = classes[rows.y[row]], classes[predicted]
        else:
            true, said = (_joined(of, classes) for of in (rows.y[row] == 1, probabilities[place] >= subject.thresholds))
        example = Example(
            index=index,
            record=str(rows.record[row]),
            true=true,
            said=said,
            probability=float(probabilities[place, predicted]),
            explained=classes[int(seen.target[place])],
            group=group,
            picture=f"row_{index}.png" if alone else f"row_{index}_{place + 1}.png",
            marked=bool(marked[place]),
            many_labels=subject.thresholds is not None,
        )
        examples.append(example)
    return examples


def _joined(which: Array, classes: Sequence[str]) -> str:
    return ", ".join(name for name, there in zip(classes, which, strict=True) if there) or "no class"


def _draw(folder: Path, examples: Sequence[Example], seen: Seen, subject: Subject) -> None:
    """Draw one picture a row."""
    spec, x, found = subject.data.spec, seen.inputs[0].cpu().numpy(), seen.attribution.cpu().numpy()
    for row, example in enumerate(terminal.bar(iterable=examples, desc="pictures", unit="row")):
        if spec.image:
            figure = explanation.picture_figure(x[row], found[row], title=example.title)
        else:
            peaks = () if seen.peaks is None else seen.peaks[row]
            figure = explanation.row_figure(x[row], found[row], spec=spec, title=example.title, peaks=peaks)
        plots.save_png(figure, folder / example.picture)
