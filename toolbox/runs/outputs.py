"""Results go to new files, or replace earlier results of this program for the same input; nothing else.

    claim = Claim(base, "r1", ("r1.csv", "r1.json"), of={"recording": sha256})
    claim.check()    # UsageError that names the file in the way; nothing is written
    claim.take()     # makes the folder and its marker, before the files themselves

The marker of a folder, `.ecg-commander`, is JSON: the files that this program wrote there, and their input (`of`).
Links are never followed or replaced.
"""

import hashlib
import logging
import os
import re
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from toolbox import files
from toolbox.errors import ResourceError, UsageError

MARKER, MADE_BY = ".ecg-commander", "ECG Commander"
LONGEST = 150  # bytes of a name, which leaves room for numbers and endings
FORBIDDEN = '/\\:*?"<>|'  # in names, on some operating system
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # names reserved by Windows
UNFINISHED = re.compile(r"\.(.+)\.\d+\.tmp")  # temporary files of `files.write_whole`
DAY_S = 24 * 3600

Of = Mapping[str, Any]
log = logging.getLogger("commander")


def safe_name(text: str, instead: str = "recording") -> str:
    """`text` as a valid name on every file system, at most `LONGEST` bytes; `instead` for an empty one.

    Ordinary names stay. Control characters, line ends, bidirectional marks and path separators become `_`.
    """
    name = "".join(map(_letter, unicodedata.normalize("NFC", text))).lstrip(" .-").rstrip(" .") or instead
    if DEVICES.fullmatch(name):
        name = f"{name}_"
    if len(name.encode()) > LONGEST:
        digest = hashlib.sha256(os.fsencode(text)).hexdigest()[:8]
        name = f"{name.encode()[: LONGEST - 9].decode(errors='ignore')}_{digest}"
    return name


def _letter(letter: str) -> str:
    kind = unicodedata.category(letter)
    return "_" if letter in FORBIDDEN or kind[0] == "C" or kind in ("Zl", "Zp") else letter


def folded(name: str) -> str:
    """A key that is equal for names that some file system treats as equal."""
    return unicodedata.normalize("NFC", name).casefold()


def distinct(names: Iterable[str]) -> list[str]:
    """`names` in their order; a repeated name gets a number."""
    taken: set[str] = set()
    number: dict[str, int] = {}
    chosen = []
    for name in names:
        own, key = name, folded(name)
        while folded(own) in taken:
            number[key] = number.get(key, 1) + 1
            own = f"{name}_{number[key]}"
        taken.add(folded(own))
        chosen.append(own)
    return chosen


@dataclass(frozen=True)
class Claim:
    """The files `names` in the folder `within` of `base`, to hold results of the input `of`.

    `known` gives the input of an unmarked file that an earlier version of this program wrote, else None. `flag` names
    the folder on the command line.
    """

    base: Path
    within: str
    names: Sequence[str]
    of: Of
    known: Callable[[Path], Of | None] = lambda path: None
    flag: str = "--out"
    wished: str = ""  # the name of the folder, if it got another

    @property
    def folder(self) -> Path:
        """The folder of the files."""
        return self.base / self.within

    @cached_property
    def _marker(self) -> dict[str, Any]:
        """The content of the folder's marker; no files without a marker."""
        try:
            return read_marker(self.folder) or {"of": None, "files": []}
        except UsageError:
            return {"of": None, "files": []}

    def earlier(self) -> list[Path]:
        """The existing files that an earlier command wrote for the same input."""
        marked = self._marker["files"] if self._marker["of"] == self.of else []
        paths = map(self.folder.joinpath, dict.fromkeys([*marked, *self.names]))
        return [path for path in paths if self._owner(path) == self.of]

    def is_of_another(self) -> bool:
        """Whether the folder holds results of this program for another input."""
        if self._marker["of"] is not None:
            return self._marker["of"] != self.of
        return any(owner not in (None, self.of) for owner in map(self._owner, self._paths))

    def check(self) -> None:
        """Raise UsageError for a file in the way, ResourceError if the folder cannot be made."""
        there = next(path for path in (self.base, *self.base.absolute().parents) if os.path.lexists(path))
        if not there.is_dir():
            raise self._no_folder(f"{there.name} is a file", there)
        read_marker(self.folder)
        parts = (part for path in self._paths for part in reversed(path.relative_to(self.base).parents[:-1]))
        for path in map(self.base.joinpath, dict.fromkeys(parts)):
            if path.is_symlink():
                raise self._refusal(path, "is a link", "results are not written through links")
            if os.path.lexists(path) and not path.is_dir():
                raise self._refusal(path, "is no folder")
        for path in self._paths:
            if os.path.lexists(path) and self._owner(path) != self.of:
                why = "not an earlier result of this command for the same data"
                raise self._refusal(path, "is there already", why)

    def take(self) -> None:
        """Make the folder and its marker. Raises as `check`."""
        for seen in ("_marker", "_marked"):
            self.__dict__.pop(seen, None)
        self.check()
        same = self._marker["of"] == self.of
        listed = sorted({*self.names, *(self._marker["files"] if same else ())})
        try:
            for folder in dict.fromkeys(path.parent for path in self._paths):
                folder.mkdir(parents=True, exist_ok=True)
            self._clear()
        except OSError as error:
            raise self._no_folder(error.strerror or str(error), self.folder) from error
        if not same or listed != self._marker["files"]:
            files.write_json(self.folder / MARKER, {"made_by": MADE_BY, "of": dict(self.of), "files": listed})

    def log_name(self, path: Path) -> None:
        """Warn of results of `path` in a folder of another name."""
        if self.wished:
            why = "the name %s is taken, or a file cannot have it"
            log.warning(f"%s is written as %s: {why}", path, self.within, self.wished)

    def release(self) -> None:
        """Remove the folder if it has nothing but its marker, as no result was written."""
        with suppress(OSError):
            if os.listdir(self.folder) == [MARKER]:
                (self.folder / MARKER).unlink()
                self.folder.rmdir()

    @cached_property
    def _paths(self) -> list[Path]:
        return [self.folder / name for name in self.names]

    @cached_property
    def _marked(self) -> frozenset[str]:
        return frozenset(self._marker["files"])

    def _owner(self, path: Path) -> Of | None:
        """The input that a file is a result of; None for a missing or foreign file."""
        if path.is_symlink() or not path.is_file():
            return None
        if str(path.relative_to(self.folder)) in self._marked:
            return self._marker["of"]
        return self.known(path)

    def _no_folder(self, why: str, path: Path) -> ResourceError:
        hint = f"another {self.flag}, or free space"
        return ResourceError(f"cannot make the folder: {why}", where=str(path), hint=hint)

    def _refusal(self, path: Path, what: str, why: str = "") -> UsageError:
        message = f"{path.name} {what}" + (f": {why}" if why else "")
        return UsageError(message, where=str(path), hint=f"another {self.flag}, or move that file away")

    def _clear(self) -> None:
        """Remove old unfinished files of killed processes."""
        own = {*self._paths}
        for folder in dict.fromkeys(path.parent for path in own):
            for path in folder.iterdir():
                unfinished = UNFINISHED.fullmatch(path.name)
                if unfinished and folder / unfinished[1] in own and time.time() - path.lstat().st_mtime > DAY_S:
                    path.unlink()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder of results, and make it; another command that writes there waits.

    A new folder without content is removed at the end. A folder that cannot be made or locked is left to `Claim.check`.
    """
    new = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    handle = None
    with suppress(OSError):
        while handle is None:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            files.lock(handle, f"writes results into {folder}")
            if not folder.is_dir() or not os.path.samestat(os.fstat(handle), os.stat(folder)):  # removed in between
                os.close(handle)
                handle = None
    try:
        yield
    finally:
        for path in new:
            with suppress(OSError):
                path.rmdir()
        if handle is not None:
            os.close(handle)


def read_marker(folder: Path) -> dict[str, Any] | None:
    """The marker of a folder, None without one. Raises UsageError if another file has its name."""
    path = folder / MARKER
    if not os.path.lexists(path):
        return None
    try:
        if path.is_symlink():
            raise ValueError
        marker = files.read_json(path)
        inside = not any({"..", "/"} & {*PurePosixPath(name).parts} for name in marker["files"])
        if marker["made_by"] == MADE_BY and isinstance(marker["of"], dict) and inside:
            return marker
    except (OSError, ValueError, LookupError, TypeError):
        pass
    hint = "another folder, or move that file away"
    raise UsageError(f"{MARKER} is not a marker of this program", where=str(path), hint=hint)


def marked(folder: Path) -> frozenset[str]:
    """The names of the files that a folder's marker lists."""
    try:
        return frozenset((read_marker(folder) or {"files": ()})["files"])
    except UsageError:
        return frozenset()


def placed(
    base: Path, wished: Sequence[str], claim: Callable[[int, str], Claim], *, instead: str, reserved: Iterable[str] = ()
) -> list[Claim]:
    """A claim on a folder of `base` for each of the `wished` names, numbered if another input's results have the name.

    `claim(i, folder)` makes the claim of name i. Folders and `reserved` names differ in more than upper and lower case.
    """
    taken = {folded(name) for name in reserved}
    there = {folded(name): name for name in os.listdir(base)} if base.is_dir() else {}
    number: dict[str, int] = {}
    claims = []
    for place, name in enumerate(safe_name(name, instead) for name in wished):
        own, key = name, folded(name)
        while folded(own) in taken or there.get(folded(own), own) != own or claim(place, own).is_of_another():
            number[key] = number.get(key, 1) + 1
            own = f"{name}_{number[key]}"
        taken.add(folded(own))
        claims.append(replace(claim(place, own), wished=wished[place] if own != wished[place] else ""))
    return claims


def apart(claims: Iterable[Claim], inputs: Iterable[Path]) -> None:
    """Raise UsageError for an input inside a folder of results or among their files."""
    claims = list(claims)
    own = {claim.folder.resolve(): claim for claim in claims if claim.within}
    written = {path.resolve(): claim for claim in claims for path in claim._paths}
    for path in inputs:
        whole = path.resolve()
        if claim := next((own[folder] for folder in whole.parents if folder in own), written.get(whole)):
            what = f"{path.name} is an input of this command and lies where its results are written"
            raise UsageError(what, where=str(path), hint=f"another {claim.flag}")


def check_head(path: Path, head: str) -> None:
    """Raise UsageError if an existing file does not start with `head`, as this program writes it."""
    if os.path.lexists(path) and not begins(path, head):
        what = f"{path.name} exists already and was not written by this program"
        raise UsageError(what, where=str(path), hint="move that file away")


def begins(path: Path, head: str) -> bool:
    """Whether the file exists and starts with `head`."""
    try:
        with open(path, "rb") as file:
            return not path.is_symlink() and file.read(len(head.encode())) == head.encode()
    except OSError:
        return False
