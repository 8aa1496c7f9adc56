"""What a run was made with: versions of the libraries and the commit of this program."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("torch", "numpy", "scipy", "wfdb")


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide a result."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def commit() -> str | None:
    """The commit of the program, with "+" where its files were changed; None outside of a git checkout."""
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return told.stdout.strip() or None
