"""--runs: every run of a root on one page, runs.html; and the page of several runs compared, for --report RUN RUN.

`refresh(root)` writes the page again at the end of a run or study. Nothing is executed or loaded but JSON files, so it
needs no torch; rows of runs that have not changed come from the page itself.
"""

import fcntl
import logging
import os
import shlex
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import args
from commands import compare
from toolbox import files, terminal
from toolbox.errors import BusyError, CheckpointError, DataError, UsageError, program
from toolbox.flags import Flags, words
from toolbox.metrics import meanings
from toolbox.reports import pages, runs
from toolbox.reports.tables import missing, signed
from toolbox.runs import summary
from toolbox.runs.folder import RunFolder
from toolbox.runs.summary import Row

WAIT_S, AGAIN_S = 20.0, 0.05  # for another process that writes the page
# Flags with a column of their own, and flags without a default that a run fills in.
IN_COLUMNS = {flag.name for flag in args.FLAGS if flag.choices in ("datasets", "models", "tasks")}
FILLED_IN = {*args.FLAGS.names("optimizer"), "batch_size", *(flag.name for flag in args.FLAGS if flag.by_task)}
log = logging.getLogger("commander")


def show(flags: Flags) -> None:
    """Write the page of all runs of --root-dir and print its path. Raises DataError without that folder."""
    if not flags.root_dir.is_dir():
        what = "there is no folder of runs"
        raise DataError(what, where=str(flags.root_dir), hint="--root-dir DIR, or train a run first")
    path = write(flags.root_dir)
    states = Counter(row["state"] for row in rows(flags.root_dir)) if flags.json else Counter()
    terminal.page(path, {"runs": states.total(), "states": dict(states)}, as_json=flags.json)


def refresh(root: Path) -> None:
    """Write the page of all runs again; a page that cannot be written is a warning, in a read-only root not even that.

    The run that calls this has ended well, and must not fail for the sake of a page: hence every exception.
    """
    try:
        write(root)
    except Exception as error:
        cause = error.__cause__ or error
        if isinstance(cause, OSError) and cause.errno in files.NOT_WRITABLE:
            log.debug("%s is not written: %s", runs.PAGE, error)
        else:
            log.warning("%s was not written, %s: %s", runs.PAGE, type(error).__name__, error)


def write(root: Path) -> Path:
    """Write runs.html of a root; one process at a time, so that no run is missing from the last page.

    Raises BusyError if another process writes it for too long, UsageError if a foreign file is in its place, and
    ResourceError.
    """
    path = root / runs.PAGE
    with _alone(root):
        found = [described(row, root) for row in summary.of_root(root, runs.known(path))]
        runs.save(path, explored(found, root), library=root)
    return path


def rows(root: Path) -> list[Row]:
    """The rows of all runs of a root, of unchanged runs from its page."""
    try:
        known = runs.known(root / runs.PAGE)
    except UsageError:
        known = {}
    return [described(row, root) for row in summary.of_root(root, known)]


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Lock the root against other writers of its page; a file system without locks is taken as it is."""
    handle, since_s = os.open(root, os.O_RDONLY), time.monotonic()
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() - since_s > WAIT_S:
                    what = f"another process has been writing {runs.PAGE} for {WAIT_S:.0f} s"
                    raise BusyError(what, where=str(root), hint="--runs again") from error
                time.sleep(AGAIN_S)
            except OSError:
                break
        yield
    finally:
        os.close(handle)


def explored(rows: Sequence[Row], root: Path, **more: Any) -> dict[str, Any]:
    """The values of the table of runs: rows, the defaults of flags that make another run, and the command line."""
    defaults = {flag.name: args.FLAGS.defaults[flag.name] for flag in args.FLAGS if flag.kept and flag.identifies}
    typed = f" --root-dir {shlex.quote(str(root))}" if str(root) != args.FLAGS.defaults["root_dir"] else ""
    return runs.explorer(rows, defaults=defaults, program=program(), at=root, root=typed, **more)


def described(row: Row, root: Path) -> Row:
    """The row with the flags that differ from their defaults, in words too, and the command that repeats the run,
    without --root-dir."""
    if "words" in row:  # of an earlier page
        return row
    defaults, known, stored = args.FLAGS.defaults, args.FLAGS.by_name, row["flags"]
    own = {*row["given"]} - known.keys() if row["imports"] else set()  # flags of a user's own dataset
    kept = {name: stored[name] for name in (*args.FLAGS.names(kept=True), *sorted(own)) if name in stored}
    changed = {name: value for name, value in kept.items() if name in own or value != defaults[name]}
    telling = {name for name in changed.keys() - own if known[name].identifies} - FILLED_IN
    given = {name for name in row["given"] if name in kept} or telling
    line = _line(kept, [name for name in kept if name in given], root, row["imports"])
    shown = [name for name in kept if name in given | telling and name not in IN_COLUMNS]
    return row | {
        "flags": changed,
        "words": _line(kept, shown, root),
        "command": f"{program()} {line}" if kept and row["can_repeat"] else "",
        "word": shlex.quote(row["name"]),
        "lacks": {name: missing(why) for name, why in row["lacks"].items()},
        "rule": sha256(compare.test_side(row["split"]).encode()).hexdigest()[:8] if row["split"] else "",
    }


def _line(values: Mapping[str, Any], names: Sequence[str], root: Path, imports: Sequence[str] = ()) -> str:
    """The flags for a shell; config.json has paths from the root."""
    return shlex.join(args.FLAGS.again(values, names, lambda path: os.path.abspath(root / path), imports))


def compare_runs(flags: Flags, path: Path) -> None:
    """Write the page `path` of the runs of --report, each against the first, and print its path.

    Without comparable tests the page has no paired differences and states the reason. Raises CheckpointError for an
    unknown run.
    """
    found = compare.named(flags.report, flags.root_dir)
    rows = [_placed(summary.of_folder(run.path), run.path, path, flags.root_dir) for run in found]
    names = [row["name"] for row in rows]
    values, why = _measured(found, flags)
    runs.save_comparison(
        path,
        explored(rows, flags.root_dir, chosen=True, paired=bool(values)),
        library=pages.INLINE if flags.self_contained else pages.shared(path, flags.root_dir),
        title=f"{', '.join(names[:-1])} and {names[-1]}",
        verdicts=[f"{row['name']}: {verdict(row)}" for row in rows],
        why=why,
        head=compare.head(values) if values else [],
        facts=compare.facts(values) if values else [],
        against=_against(values) if values else [],
        moved_head=compare.MOVED,
        legend=compare.legend(values) if values else [],
    )
    facts = {"runs": [str(run.path) for run in found], "paired": bool(values), **({"why": why} if why else {})}
    terminal.page(path, facts, as_json=flags.json)


def _placed(row: Row, folder: Path, page: Path, root: Path) -> Row:
    """A row whose path leads from the folder of the page to the run."""
    return described(row, root) | {
        "path": os.path.relpath(folder.resolve(), page.parent.resolve()).replace(os.sep, "/")
    }


def _measured(found: Sequence[RunFolder], flags: Flags) -> tuple[dict[str, Any], str]:
    """The paired differences, or the reason why there are none."""
    try:
        return compare.measure(found, macro_over=words(flags.macro_over)), ""
    except (UsageError, CheckpointError) as error:
        log.warning("no paired differences: %s", error.what)
        return {}, error.what


def verdict(row: Row) -> str:
    """The headline of a run: the test metric with its interval, validation, epochs and split protocol."""
    name, parts = row["headline"], []
    if name in row["test"]:
        ends = row["intervals"].get(name)
        interval = f"[{ends[0]:.4f}, {ends[1]:.4f}]" if ends else f"(interval {row['lacks'].get(name, 'n/a')})"
        parts.append(f"test {meanings.name_of(name, row['over'])} {row['test'][name]:.4f} {interval}")
    if (monitor := row["monitor"]) in row["val"]:
        parts.append(f"validation {meanings.name_of(monitor)} {row['val'][monitor]:.4f} in epoch {row['best']}")
    parts += [f"{row['state']}{': ' * bool(row['why'])}{row['why']}"] if row["state"] != summary.DONE else []
    parts += [*row["notes"], f"split: {row['split']}"] if row["split"] else row["notes"]
    return "; ".join(parts)


def _against(values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """For each run but the first: heading, verdict on macro F1, table of figures, and the records that move them."""
    (first, *others), over = values["runs"], meanings.part(values["macro_over"], values["classes"])
    figure = values.get("headline", "macro_f1")
    name = meanings.name_of(f"{compare.kind(values)}{figure}", over)
    found = []
    for other, of in zip(others, values["against_the_first"], strict=True):
        heading = f"A {first['name']}, B {other['name']}"
        rows = compare.lines(first, other, of, over=over)
        found.append((heading, f"{name}: {_told(of[figure])}", rows, compare.moved(values, of)))
    return found


def _told(of: Mapping[str, Any]) -> str:
    """The verdict of a paired difference: which run is better, or that the test does not tell."""
    ends = of["interval"]
    if ends is None:
        return f"B - A is {signed(of['difference'])}, interval {missing(of['without_interval'])}."
    interval = f"{signed(of['difference'])} [{signed(ends[0])}, {signed(ends[1])}]"
    if ends[0] <= 0 <= ends[1]:
        return f"B - A is {interval}. The interval holds 0: this test does not tell which run is better."
    return f"B - A is {interval}. On these test rows {'B' if ends[0] > 0 else 'A'} is better."
