"""The tutorials of docs/tutorials: their commands, one after the other, make the files that they name."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

from helpers.commands import carried_out
from helpers.data import ROOT

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
OTHERS = {"--predict", "--compare", "--export", "--runs", "--report"}
QUICK = ("--short-run", "--no-figures", "--no-tensorboard")
SKIPPED = ("tensorboard", "python research.py")  # a server, and studies, which have their own tests


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_every_command_of_a_tutorial_succeeds_and_the_files_that_it_names_are_there(
    path: Path, tmp_path: Path, synth_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ecg_data/synth").mkdir(parents=True)
    Path("ecg_data/synth/cache").symlink_to(synth_cache)
    text = path.read_text()
    for language, block in re.findall(r"^```(sh|python)\n(.*?)^```$", text, re.M | re.S):
        if language == "python":
            Path("block.py").write_text(block)
            runpy.run_path("block.py")
        for line in block.splitlines() if language == "sh" else ():
            if not line.startswith(SKIPPED):
                done = carried_out(*flags_of(line))
                assert done.code == 0, (line, done.err)
    named = re.findall(r"`(ecg_data/[^`]+)`", text)
    assert path.stem == "study" or len(named) > 0
    for name in named if path.stem != "study" else ():
        assert (tmp_path / name).exists(), name


def flags_of(line: str) -> list[str]:
    """The flags of a command line, or of make train; a training is made short, and a test draws nothing."""
    first, *words = shlex.split(line)
    flags = shlex.split(words[-1].partition("=")[2]) if first == "make" else words[1:]
    return [*flags, *(QUICK[1:2] if "--test" in flags else () if OTHERS.intersection(flags) else QUICK)]
