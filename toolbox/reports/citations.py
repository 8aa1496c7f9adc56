"""BibTeX of publications, by key or as a user's own entry, and of this program.

    citations.bibtex({"data: mitdb": ("moody2001",), "program": (citations.program("0.2.0", commit),)})

`references.bib` has the publications; declarations of datasets, networks and protocols name their keys in `cites`. A
dataset or network of a user's own may hold an entry as text in place of a key.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from toolbox.errors import UsageError
from toolbox.plain import escaped

REFERENCES = Path(__file__).parent / "references.bib"
ENTRY = re.compile(r"^@(\w+)\{([^,\s]+),\n.*?^\}$", re.MULTILINE | re.DOTALL)
TITLE, AUTHOR = "ECG Commander", "The ECG Commander maintainers"  # as in CITATION.cff


@functools.cache
def references() -> dict[str, str]:
    """The entries of `references.bib` by key."""
    text = REFERENCES.read_text("utf-8")
    return {found[2]: found[0] for found in ENTRY.finditer(text)}


def entry(cited: str) -> str:
    """The BibTeX of a key, or of a text that is an entry itself. Raises UsageError for an unknown key."""
    text = cited.strip()
    if text.startswith("@"):
        return text
    if text not in references():
        what = f"a declaration cites {text[:60]!r}, which is no key of {REFERENCES.name} and no entry (@article{{...}})"
        raise UsageError(what, hint="mend `cites` of the dataset or the network")
    return references()[text]


def program(version: str, commit: str | None) -> str:
    """The entry of this program."""
    fields = {"author": f"{{{AUTHOR}}}", "title": f"{{{TITLE}}}", "version": version}
    fields |= {"note": f"commit {commit.rstrip('+')}"} if commit else {}
    lines = [f"  {name} = {{{value}}}" for name, value in fields.items()]
    return "@software{ecg_commander,\n" + ",\n".join(lines) + "\n}"


def bibtex(parts: Mapping[str, Iterable[str]]) -> str:
    """The entries of all parts under a comment each; an entry that two parts cite stands once, under the first."""
    written: set[str] = set()
    blocks = []
    for title, cites in parts.items():
        entries = [each for each in map(entry, cites) if each not in written]
        written.update(entries)
        blocks.append("\n\n".join([f"% {escaped(title)}", *entries]))
    return "\n\n".join(blocks) + "\n"
