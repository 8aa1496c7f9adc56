"""Classes and metrics in words: those of every dataset that comes with the program, and no guess for others."""

import pytest

from loaders import DATASETS
from loaders.families.labels import RHYTHM_MAPS, SYMBOL_MAPS
from toolbox.metrics import ec57, meanings
from toolbox.metrics.classification import METRICS

DECLARED = {name: dataset.classes for name, dataset in DATASETS.items() if dataset.classes}
MAPPED = {name: tuple(classes) for name, classes in (SYMBOL_MAPS | RHYTHM_MAPS).items()}


@pytest.mark.parametrize("name", [*DECLARED, *MAPPED])
def test_every_class_of_a_dataset_has_a_meaning(name: str) -> None:
    classes = (DECLARED | MAPPED)[name]
    source, words = meanings.of_classes(classes)
    assert source
    assert words.keys() == {*classes}


def test_a_class_name_means_what_it_does_in_its_vocabulary() -> None:
    beats, strips = meanings.of_classes(("N", "S", "V", "F", "Q"))[1], meanings.of_classes(("N", "A", "O", "~"))[1]
    assert beats["N"] != strips["N"]
    for foreign in (("N", "V"), ("healthy", "ill"), ("A", "B"), ("N", "S", "V", "other")):
        assert meanings.of_classes(foreign) == ("", {})


def test_every_metric_is_defined() -> None:
    assert {*METRICS, *ec57.BOUNDS} <= meanings.FIGURES.keys()
    assert all(len(words) > 20 for _, words in meanings.definitions([*meanings.FIGURES]))
    assert meanings.name_of("macro_f1") == "macro F1"
    assert meanings.name_of("a_new_metric") == "a new metric"
    assert meanings.name_of("gross macro_f1", ("N", "S")) == "gross macro F1 over N, S"
    assert meanings.name_of("my_class F1") == "my_class F1"
    assert (meanings.part("AB", "BA"), meanings.part("AB", "ABC")) == ((), "AB")


def test_the_headline_is_declared_once() -> None:
    assert [meanings.headline([*meanings.HEADLINES[i:], "other"]) for i in range(5)] == [*meanings.HEADLINES, "other"]
    assert meanings.headline(()) == ""
