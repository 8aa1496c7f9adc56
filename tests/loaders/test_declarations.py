"""What is declared of a dataset is what its loader does: names, options, files and facts."""

import subprocess
import sys
from dataclasses import fields

import pytest

import args
from helpers.data import ROOT
from loaders import DATASETS, VIEWS, loaded, options_of
from loaders.declaration import FAMILIES
from loaders.families.row_forms import FORMS, SYMBOLS
from toolbox.errors import UsageError


def test_declarations_are_read_without_numpy_and_torch() -> None:
    code = "import sys, loaders; sys.exit(any(name in sys.modules for name in ('numpy', 'torch', 'pandas')))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("name", DATASETS)
def test_what_a_declaration_names_is_there(name: str) -> None:
    dataset = DATASETS[name]
    targets = [dataset.target, *filter(None, (dataset.files.finder, dataset.files.diagnose))]
    assert all(callable(loaded(target)) for target in targets)
    assert dataset.phrase
    assert dataset.licence
    assert dataset.row_form in {"", *FORMS}
    assert dataset.symbol_map in {"", *SYMBOLS}
    assert set(dataset.scored) <= set(dataset.classes)
    assert len(dataset.importance) in {0, len(dataset.classes)}
    assert dataset.generated == (not dataset.files.needs) or name == "table"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_options_of_a_family_are_flags_of_their_type(family: str) -> None:
    assert {option.name for option in fields(FAMILIES[family])} == {*args.FLAGS.names(family=family)}
    for option in fields(FAMILIES[family]):
        assert option.default is None or isinstance(option.default, args.FLAGS.by_name[option.name].type | int)


def test_options_that_are_left_out_are_the_declared_defaults() -> None:
    for name, dataset in DATASETS.items():
        asked, own = options_of(name, {"rr_features": False, **dict.fromkeys(dataset.options)})
        assert asked == FAMILIES[dataset.family]()
        assert own == {}
        assert dataset.without == tuple(set(vars(asked)) - set(dataset.options))


def test_an_option_of_another_family_is_refused_and_its_datasets_are_named() -> None:
    with pytest.raises(UsageError, match="--crops is not for --dataset ecg, it goes with cinc2017, synth_strips"):
        options_of("ecg", {"crops": "3000"})


def test_views_are_signals_and_charts() -> None:
    assert [*VIEWS] == ["signal", "chart"]
