"""The samples of many records: the same by any number of processes, and after a kill at any moment."""

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from helpers import ptbxl
from helpers.data import ROOT
from loaders.files import building
from loaders.files.building import Reading
from loaders.formats import twelve_leads
from toolbox.errors import ResourceError

NAMES = [str(k) for k in range(200)]
SHAPE = (2, 50)
KILLED_AT = "128"  # the first record of the third part


def samples(name: str) -> np.ndarray | str:
    """The samples of a record, or its fault."""
    return (
        f"a fault: {name}" if int(name) % 50 == 7 else np.random.default_rng(int(name)).integers(-9, 9, SHAPE, np.int16)
    )


def read(names: Sequence[str], *, seen: list[str] | None = None) -> list[np.ndarray | str]:
    if seen is not None:
        seen += names
    return [samples(name) for name in names]


def assert_is_whole(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    for name, own, content, fault in zip(NAMES, *(arrays[k] for k in ("samples", "content", "fault")), strict=True):
        wanted = samples(name)
        assert fault == (wanted if isinstance(wanted, str) else "")
        assert content == ("" if fault else building.content(own))
        np.testing.assert_array_equal(own, 0 if fault else wanted)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def killed(folder: Path) -> None:
    """A process that is killed while it reads the third of four parts."""
    code = f"""
import os, signal, sys
import numpy as np
from pathlib import Path
from loaders.files import building

def read(names):
    if names[0] == {KILLED_AT!r}:
        os.kill(os.getpid(), signal.SIGKILL)
    made = lambda name: np.random.default_rng(int(name)).integers(-9, 9, {SHAPE}, np.int16)
    return [f"a fault: {{name}}" if int(name) % 50 == 7 else made(name) for name in names]

building.kept(Path(sys.argv[1]), building.Reading({NAMES}, {SHAPE}, read), workers=1)
"""
    done = subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL


def damage_samples(there: Path) -> None:
    content = bytearray((there / building.SAMPLES).read_bytes())
    content[70 * 200 : 70 * 200 + 4] = b"\1\2\3\4"
    (there / building.SAMPLES).write_bytes(content)


def tear_line(there: Path) -> None:
    text = (there / building.JOURNAL).read_text()
    (there / building.JOURNAL).write_text(text[:-20])


LEFT: dict[str, tuple[Callable[[Path], object], int]] = {
    "as it was": (lambda _: None, 128),
    "a torn line": (tear_line, 64),
    "other samples": (damage_samples, 64),
    "no journal": (lambda there: (there / building.JOURNAL).unlink(), 0),
}


@pytest.mark.parametrize("left", LEFT)
def test_records_that_were_read_before_a_kill_are_not_read_again(left: str, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "records"
    killed(folder)
    there = folder.with_name(f"records{building.SUFFIX}")
    assert not folder.exists()
    change, first = LEFT[left]
    change(there)
    seen: list[str] = []
    arrays, checksum = building.kept(folder, Reading(NAMES, SHAPE, partial(read, seen=seen)), workers=1)
    assert seen == NAMES[first:]
    assert_is_whole(folder, arrays)
    whole = building.kept(tmp_path / "whole" / "records", Reading(NAMES, SHAPE, read), workers=1)[1]
    assert checksum == whole


def test_any_number_of_processes_reads_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ptbxl.write(tmp_path / "files", records=12)
    work = partial(twelve_leads.read_some, folder, rate_hz=100, samples=1000)
    reading = Reading([ptbxl.path(number, 100) for number in ptbxl.NUMBERS[:12]], (12, 1000), work)
    monkeypatch.setattr(building, "PART", 2)
    alone, checksum = building.kept(tmp_path / "1" / "records", reading, workers=2)
    monkeypatch.setattr(building, "ALONE", 1)
    assert building.kept(tmp_path / "2" / "records", reading, workers=2)[1] == checksum
    np.testing.assert_array_equal(alone["samples"][3], ptbxl.at(ptbxl.NUMBERS[3], 100))


def test_a_full_disk_is_one_line_and_the_records_before_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(names: Sequence[str]) -> list[np.ndarray | str]:
        if names[0] == KILLED_AT:
            raise OSError(28, "No space left on device")
        return read(names)

    folder = tmp_path / "cache" / "records"
    with pytest.raises(ResourceError, match=r"cannot store the records: No space left .* the same command continues"):
        building.kept(folder, Reading(NAMES, SHAPE, full), workers=1)
    seen: list[str] = []
    building.kept(folder, Reading(NAMES, SHAPE, partial(read, seen=seen)), workers=1)
    assert seen == NAMES[128:]
