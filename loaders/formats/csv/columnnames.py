"""What the names of a table's columns tell: which are of samples, and which say whose row it is."""

import re
from collections import Counter
from collections.abc import Sequence

COUNTING = 8  # so many names that count up from 0 or 1 are a header that pandas wrote, and no samples
ALIKE = 0.9  # of the names of samples differ in their numbers only: then another name is no sample's
# Words for whose row it is, those for a person first: rows of one person should stay together, whatever they are
# records of.
OF_RECORDS = (
    r"patients?|pat|subjects?|subj|participants?|persons?|people|individuals?|volunteers?|probands?|user",
    r"records?|recordings?|rec|ecg|study|exam|session|file",
    r"groups?|case",
)
ALONE = ("pid", "sid", "mrn", "uid")
NUMBERED = r"(?:ids?|identifiers?|no|nr|num|numbers?|names?|codes?|keys?|idx|index)"
BARE = "pat|rec|ecg|user|study|exam|session|file|case"  # these mean a record only with a word for a number after them


def of_records(names: Sequence[str]) -> list[int]:
    """The columns, counted from 0, that are called as records are: patient, Subject ID, record_name, group; persons
    first."""
    ranked = [(rank, column) for column, name in enumerate(names) if (rank := _rank(name)) is not None]
    return [column for _, column in sorted(ranked)]


def _rank(name: str) -> int | None:
    word = re.sub(r"[\W_]+", "", name).lower()
    if word in ALONE:
        return 0
    for rank, stems in enumerate(OF_RECORDS):
        found = re.fullmatch(rf"(?:id)?({stems})({NUMBERED})?", word)
        if found and not (re.fullmatch(BARE, found[1]) and not (found[2] or word.startswith("id"))):
            return rank
    return None


def odd(names: Sequence[str]) -> tuple[list[int], str]:
    """The columns whose name is not like those of the samples, and such a name of a sample; none where names are too
    few."""
    stems = [re.sub(r"[\d.]+", "", name) for name in names]
    usual, count = Counter(stems).most_common(1)[0]
    if len(names) <= COUNTING or count < ALIKE * len(names):
        return [], names[stems.index(usual)]
    return [column for column, stem in enumerate(stems) if stem != usual], names[stems.index(usual)]


def is_number(cell: str) -> bool:
    """Whether a cell is a number as Python writes it."""
    try:
        float(cell)
    except ValueError:
        return False
    return True
