"""Compare two source trees by what their commands write: exit codes, weights, predictions, figures, names of caches.

    python benchmarks/same_bytes.py OLD_TREE [NEW_TREE] [--keep FOLDER] [--only PATTERN ...] [--jobs N]
    python benchmarks/same_bytes.py ../old . --keep /tmp/kept --only "beats/*" "table/*" --texts --pictures

Every command of `golden.TABLE` is run by both trees (OLD_TREE twice where NEW_TREE is left out), each group of commands
in an empty folder of its own, with relative paths; no module of either tree is imported. A group has two halves,
separated by HANDOVER: what OLD_TREE made in the first half is also copied and used by NEW_TREE in the second ("old to
new"), which has to give what OLD_TREE alone gives, and must not write any file of a cache or chart store again.

Compared are the exit code, the JSON on stdout, and every file that a command wrote: tensors and numbers of checkpoints,
arrays of NPZ and NPY, values of JSON, columns of CSV, the bytes of all others. Times, commits, versions and what else
`IGNORED` names are not. Pages, texts and sentences are compared with --texts, pictures by their pixels with --pictures;
--no-additions leaves out the files and parts that only NEW_TREE writes.
--only takes whole groups (the part before the slash), as later commands of a group need the earlier ones. With --keep
the folders and `digests.json` of each tree stay in FOLDER, and those of OLD_TREE are taken from there where its commit
and the table are the same. The exit code is 1 where anything differs.
"""

import argparse
import csv
import fcntl
import hashlib
import inspect
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden import GO_ON, HANDOVER, INPUTS, STOPPED, STUDIES, TABLE, beats, write_inputs
from PIL import Image

# Times and the like, and what is to be removed from the program; keys of JSON and of checkpoints, and columns of CSV.
IGNORED = (
    "seconds", "samples_per_s", "rows_per_s", "latency_ms", "latency_p10_ms", "latency_p90_ms", "commit", "versions",
    "by", "root", "run", "spent_s", "activation_bytes", "adaptive_ece", "classwise_ece", "verdict", "meaning", "doubts",
)  # fmt: skip
TEXTS = {".txt", ".html", ".log", ".md", ".svg"}
PICTURES = {".png", ".gif", ".jpg", ".pdf"}
SKIPPED = {".lock", ".mp4"}  # and events of TensorBoard
STORES = ("cache", "charts")
SENTENCE = 2  # spaces in a string that is prose, not a name
TIMEOUT_S = 600
SHOWN = 10  # differences of a command
Digests = dict[str, dict[str, str]]


def short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The values of nested dicts and lists by their paths; tensors, arrays and lists of numbers by a digest."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, f"{path}/{key}")
    elif isinstance(value, torch.Tensor):
        yield from leaves(value.detach().cpu().contiguous().view(-1).numpy(), path)
        yield f"{path} shape", str(tuple(value.shape))
    elif isinstance(value, np.ndarray):
        yield path, f"{value.dtype} {value.shape} {short(value.tobytes())}"
    elif isinstance(value, list | tuple) and all(isinstance(part, int | float | None) for part in value):
        yield path, short(repr([*value]).encode())
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from leaves(part, f"{path}/{number}")
    elif isinstance(value, str) and value.count(" ") >= SENTENCE:
        yield f"text {path}", value
    else:
        yield path, repr(value)


def table(content: bytes) -> dict[str, str]:
    """A CSV by its columns."""
    rows = [*csv.reader(io.StringIO(content.decode(errors="replace")))]
    columns = (
        zip(*rows, strict=True)
        if len({len(row) for row in rows}) == 1
        else [("lines", content.decode(errors="replace"))]
    )
    return {name: short("\n".join(cells).encode()) for name, *cells in columns}


def digest(path: Path) -> dict[str, str]:
    """What a file holds, part by part; the names of parts that are prose or pictures begin with "text" or "picture"."""
    content, ending = path.read_bytes(), path.suffix
    if ending in SKIPPED or "tfevents" in path.name or path.name == "lock.mdb":
        return {}
    if ending in TEXTS:
        return {"text": short(content)}
    if ending in PICTURES:
        pixels = Image.open(path).convert("RGB").tobytes() if ending != ".pdf" else content
        return {"picture": short(pixels)}
    try:
        if ending == ".json":
            return dict(leaves(json.loads(content)))
        if path.name.endswith(".pth.tar"):
            return dict(leaves(torch.load(path, map_location="cpu", weights_only=True)))
        if ending in (".npz", ".npy"):
            arrays = np.load(path, allow_pickle=False)
            return dict(leaves({key: arrays[key] for key in arrays.files} if ending == ".npz" else arrays))
        if ending == ".csv":
            return table(content)
    except (ValueError, RuntimeError):
        pass  # no such file, whatever its name says
    return {"": short(content)}


def of_stdout(out: str) -> dict[str, str]:
    lines = out.strip().splitlines()
    ending = dict(leaves(json.loads(lines.pop()))) if lines and lines[-1].startswith("{") else {}
    return {"text": short("\n".join(lines).encode()), **ending}


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder, with time and size, by its path."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size) for path in found}


def stored(seen: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Those that belong to caches and chart stores."""
    return {name: when for name, when in seen.items() if {*STORES} & {*Path(name).parts[:-1]} and "lock" not in name}


def by_flags(path: str, folder: Path) -> str:
    """A path with a digest of the flags in which the runs of a dataset differ in place of the run's number, which is
    chance where workers take them in turn."""
    before, runs, rest = path.partition("/runs/")
    config = folder / before / "runs" / rest.split("/")[0] / "config.json"
    if not (runs and config.is_file()):
        return path
    number, _, file = rest.partition("/")
    every = [json.loads(each.read_text())["flags"] for each in (folder / before / "runs").glob("*/config.json")]
    flags = json.loads(config.read_text())["flags"]
    own = {name: flags[name] for name in sorted(flags) if any(other.get(name) != flags[name] for other in every)}
    return f"{before}/runs/{number.rpartition('_')[0]}_{short(json.dumps(own).encode())}/{file}"


def run(tree: Path, folder: Path, words: str, *, stopped: bool) -> tuple[int, str]:
    """Exit code and stdout of one command; one to be `stopped` gets SIGTERM once a new run has an epoch in its
    history."""
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    own = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "TORCH_HOME": "torch", "COLUMNS": "120", "no_proxy": ""}
    program, *flags = words.split()
    line = [
        sys.executable,
        str(tree / program),
        *flags,
        *(["--root-dir", "data"] if flags and "--help" not in flags else []),
    ]
    histories = partial(folder.glob, "data/*/runs/*/logger.json")
    before = {*histories()}
    with open(folder / "stderr.log", "a") as errors:
        process = subprocess.Popen(
            line, cwd=folder, env={**os.environ, **nowhere, **own}, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        while stopped and process.poll() is None:
            if any('"epoch": 1' in history.read_text() for history in {*histories()} - before):
                process.send_signal(signal.SIGTERM)
                break
            time.sleep(0.01)
        try:
            out, _ = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
    return process.returncode, out


def carry_out(
    tree: Path, root: Path, group: str, *, handed: Path | None = None, taken: bool = False
) -> dict[str, Digests]:
    """The digests of a group's commands; a copy is `handed` on at HANDOVER, or a tree begins there with what was
    `taken`."""
    folder, result = root / group, {}
    if not taken:
        folder.mkdir(parents=True)
        write_inputs(folder)
    steps = [*TABLE[group].items()]
    at = [name for name, _ in steps].index(HANDOVER) if HANDOVER in TABLE[group] else len(steps)
    seen, before = files(folder), stored(files(folder))
    for number, (name, words) in enumerate(steps):
        if number == at:
            before = stored(files(folder))
            if handed:
                shutil.copytree(folder, handed / group, symlinks=True)
        if number == at or (taken and number < at):
            continue
        begun, stopped = time.monotonic(), name == STOPPED
        code, out = run(tree, folder, words, stopped=stopped)
        result[f"{group}/{name}"] = {"exit": {"": str(code)}}
        print(f"  {root.name} {group}/{name}: {code}, {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)  # noqa: T201
        now = files(folder)
        changed = [path for path, when in now.items() if seen.get(path) != when and path != "stderr.log"]
        if stopped:  # where is chance; what its run holds in the end is not
            changed = [path for path in changed if "/runs/" not in path]
        if name == GO_ON:
            changed = [path for path in now if path in changed or f"_{words.split()[-1]}/" in path]
        name_of = by_flags if group == STUDIES else lambda path, folder: path
        parts = {name_of(path, folder): digest(folder / path) for path in changed}
        result[f"{group}/{name}"] |= {"stdout": of_stdout(out), **parts}
        seen = now
    after = stored(files(folder))
    again = [path for path, when in before.items() if after.get(path) != when]
    result[f"{group}/stores used"] = {"stores": dict.fromkeys(again, "written again or removed")}
    return result


# What kept digests depend on.
DIGESTING = (write_inputs, beats, leaves, table, digest, of_stdout, by_flags, run, carry_out)


def commit(tree: Path) -> str:
    """The commit of a tree, with "+" where files were changed, or outside of git."""
    line = ["git", "-C", str(tree), "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(line, capture_output=True, text=True, check=False).stdout.strip() or "+"


def many(work: Callable[[str], dict[str, Digests]], groups: list[str], jobs: int, file: Path) -> dict[str, Digests]:
    """The digests of all groups, which `file` has as well, added as each group ends."""
    found = json.loads(file.read_text()) if file.exists() else {}
    with ThreadPoolExecutor(jobs) as pool:
        for part in pool.map(work, groups):
            found |= part
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(found, indent=0))
    return found


def differences(old: Digests, new: Digests, prose: tuple[str, ...], *, additions: bool = True) -> list[str]:
    """What differs of one command: FILE PART: OLD, NEW. Parts whose names begin with one of `prose` are left out, and
    without `additions` the files and parts that only the new tree has."""

    def compared(part: str) -> bool:
        return not (part.startswith(prose) or {*part.split("/")} & {*IGNORED})

    found = []
    for path in sorted(old.keys() | new.keys() if additions else old):
        one, other = (
            {part: value for part, value in each.get(path, {}).items() if compared(part)} for each in (old, new)
        )
        if (path in old) != (path in new) and (one or other):
            found.append(f"{path}: {'only in the new tree' if path in new else 'missing in the new tree'}")
        elif odd := sorted(
            part for part in (one.keys() | other.keys() if additions else one) if one.get(part) != other.get(part)
        ):
            more = f" and {len(odd) - 1} more" * (len(odd) > 1)
            found.append(f"{path} {odd[0]}{more}: {one.get(odd[0], 'absent')}, {other.get(odd[0], 'absent')}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path, nargs="?")
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    parser.add_argument("--only", nargs="+", metavar="PATTERN", default=["*"])
    parser.add_argument("--jobs", type=int, default=1, help="groups at a time")
    parser.add_argument("--texts", action="store_true", help="compare pages, texts and sentences, too")
    parser.add_argument("--pictures", action="store_true", help="compare pictures, too")
    parser.add_argument("--no-additions", action="store_true", help="leave out what only the new tree writes")
    given = parser.parse_args()
    old, new = given.old.resolve(), (given.new or given.old).resolve()
    groups = [
        group
        for group in TABLE
        if any(fnmatch(f"{group}/{name}", each) for each in given.only for name in TABLE[group])
    ]
    with tempfile.TemporaryDirectory() as temporary:
        keep = (given.keep or Path(temporary)).resolve()
        of_table = short("".join(map(inspect.getsource, DIGESTING)).encode() + json.dumps([TABLE, INPUTS]).encode())[:8]
        first, second, third = (keep / f"{name}-{of_table}" for name in (
            f"old-{commit(old)}", f"new-{new.name}-{commit(new)}", f"old-to-{new.name}-{commit(new)}"))  # fmt: skip
        keep.mkdir(parents=True, exist_ok=True)
        with open(keep / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several comparisons may share the digests of the old tree
            for folder in (second, third, *[first] * commit(old).endswith("+")):
                shutil.rmtree(folder, ignore_errors=True)
            kept = json.loads((first / "digests.json").read_text()) if (first / "digests.json").exists() else {}
            missing = [group for group in groups if f"{group}/stores used" not in kept]
            for group in missing:
                shutil.rmtree(first / group, ignore_errors=True)
                shutil.rmtree(first / "handed" / group, ignore_errors=True)
            begun, with_copy = time.monotonic(), partial(carry_out, old, first, handed=first / "handed")
            kept = many(with_copy, missing, given.jobs, first / "digests.json")
        print(f"{len(kept)} commands of the old tree, {time.monotonic() - begun:.0f} s")  # noqa: T201
        handed = [group for group in groups if HANDOVER in TABLE[group]]
        for group in handed:
            shutil.copytree(first / "handed" / group, third / group, symlinks=True)
        begun = time.monotonic()
        results = {"": many(partial(carry_out, new, second), groups, given.jobs, second / "digests.json")}
        print(f"{len(results[''])} commands of the new tree, {time.monotonic() - begun:.0f} s")  # noqa: T201
        going_on = partial(carry_out, new, third, taken=True)
        results[" (old to new)"] = many(going_on, handed, given.jobs, third / "digests.json")
    prose = ("text",) * (not given.texts) + ("picture",) * (not given.pictures)
    told = {
        f"{name}{how}": differences(kept[name], result[name], prose, additions=not given.no_additions)
        for how, result in results.items()
        for name in result
    }
    width = max(map(len, told))
    for name, odd in told.items():
        code = kept[name.partition(" (")[0]].get("exit", {}).get("", "-")
        rest = [f"and {len(odd) - SHOWN} more files"] * (len(odd) > SHOWN)
        print(f"{name:{width}}  exit {code:>3}  {'DIFFERS' if odd else 'same'}", *odd[:SHOWN], *rest, sep="\n      ")  # noqa: T201
    wrong = sum(map(bool, told.values()))
    print(f"{len(told) - wrong} of {len(told)} the same" + f", {wrong} DIFFER" * bool(wrong))  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
