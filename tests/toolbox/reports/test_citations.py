"""Citations: every dataset and network has its publications, and every entry is sound BibTeX that something cites."""

import re

import pytest
import yaml

from helpers.data import ROOT
from loaders import DATASETS
from loaders.families import labels
from models import MODELS, NETWORKS, committee
from models.charts import vision
from toolbox import devices
from toolbox.errors import UsageError
from toolbox.metrics import classification, platt
from toolbox.reports import citations

NEEDS = {
    "article": {"author", "title", "journal", "year", "volume"},
    "inproceedings": {"author", "title", "booktitle", "year"},
    "incollection": {"author", "title", "booktitle", "publisher", "year"},
    "techreport": {"author", "title", "institution", "year"},
    "misc": {"author", "title", "year", "howpublished"},
    "software": {"author", "title", "version"},
}
OF_PARTS = (labels.CITES, committee.CITES, vision.CITES, classification.CITES, platt.CITES)
WITHOUT = {"table", "synth_patients", "synth_rhythms", "synth_strips"}  # a user's own rows, and this program's


def fields(entry: str) -> dict[str, str]:
    return dict(re.findall(r"(?:^ |,) (\w+) = \{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}", entry, re.MULTILINE))


def assert_sound(entry: str, key: str) -> None:
    kind = re.match(r"@(\w+)\{(\w+),\n", entry)
    assert kind, entry
    assert kind[2] == key
    assert entry.count("{") == entry.count("}")
    own = fields(entry)
    assert own.keys() >= NEEDS[kind[1]], key
    assert re.fullmatch(r"(19|20)\d\d", own.get("year", "2000"))
    assert re.fullmatch(r"10\.\d{4,}/\S+", own.get("doi", "10.1000/x"))
    assert "--" in own.get("pages", "--") or own["pages"].isdigit()


def test_every_entry_is_sound_and_cited() -> None:
    found = citations.references()
    assert len(found) == citations.REFERENCES.read_text().count("\n@") > 25
    for key, entry in found.items():
        assert_sound(entry, key)
        year = re.search(r"\d{4}", key)
        assert not year or fields(entry)["year"] == year[0], key
    cohorts = [dataset.cohort.cites for dataset in DATASETS.values() if dataset.cohort]
    declared = [each.cites for each in (*DATASETS.values(), *NETWORKS.values())]
    assert {*found} == {key for cites in (*OF_PARTS, *cohorts, *declared) for key in cites}


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_has_its_publications(name: str) -> None:
    assert bool(DATASETS[name].cites) is (name not in WITHOUT)
    assert citations.bibtex({name: DATASETS[name].cites}).startswith(f"% {name}\n")


@pytest.mark.parametrize("name", MODELS)
def test_every_network_has_its_publications(name: str) -> None:
    assert MODELS[name].cites
    assert citations.bibtex({name: MODELS[name].cites}).count("@") == len(MODELS[name].cites)


def test_the_program_is_cited_as_its_citation_file_states() -> None:
    stated = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    entry = citations.program(devices.own_version(), "abc+")
    assert_sound(entry, "ecg_commander")
    own = {name: text.strip("{}") for name, text in fields(entry).items()}
    (author,) = stated["authors"]
    assert own == {
        "title": stated["title"], "version": stated["version"], "author": author["name"], "note": "commit abc",
    }  # fmt: skip


def test_an_entry_stands_once_an_own_one_is_taken_and_an_unknown_key_is_named() -> None:
    own = "@misc{mine,\n  title = {Mine}\n}"
    text = citations.bibtex({"data: a\nb": ("moody2001", own), "network": ("moody2001",)})
    assert text.count("@article{moody2001,") == 1
    assert own in text
    assert text.startswith("% data: a\\nb\n")
    with pytest.raises(UsageError, match="moody2002"):
        citations.bibtex({"data": ("moody2002",)})
