"""The installed commands `ecg-commander` and `ecg-research`, and `python -m ecg_commander`.

Both import the program by the names that its files have for each other (`models`, `loaders`, ...). These names become
importable in this process alone, because the folder enters the import path here and not at installation.
"""

import sys
from pathlib import Path


def commander() -> int:
    """Run one command of the commander; returns its exit code."""
    _enter()
    import commander

    return commander.main()


def research() -> int:
    """Run one command of a study; returns its exit code."""
    _enter()
    import research

    return research.main()


def _enter() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parent))


if __name__ == "__main__":
    sys.exit(commander())
