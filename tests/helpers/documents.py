"""The documentation as files."""

import re
from pathlib import Path

from helpers.data import ROOT

PAGES = {
    path: path.read_text()
    for path in (
        ROOT / "README.md",
        ROOT / "benchmarks" / "RESULTS.md",
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted((ROOT / "docs").glob("tutorials/*.md")),
    )
}


README, DOCS = PAGES[ROOT / "README.md"], ROOT / "docs"


TREE = PAGES[DOCS / "architecture.md"].split("```text\n")[1].split("```")[0]


def files_of_the_tree() -> set[str]:
    """The files that the tree of docs/architecture.md names."""
    folders, files = [], set()
    for indent, name in re.findall(r"^( *)([\w.]+/?)(?: |$)", TREE, re.MULTILINE):
        folders = folders[: len(indent) // 2]
        if name.endswith("/"):
            folders.append(name)
        else:
            files.add("".join([*folders, name]))
    return files


EXAMPLE = re.search(r"^```python\n# mine\.py\n(.*?)^```$", PAGES[DOCS / "plugins.md"], re.MULTILINE | re.DOTALL)[1]


def written(text: str, folder: Path) -> Path:
    """The file mine.py of a user, in a folder."""
    path = folder / "mine.py"
    path.write_text(text)
    return path
