"""The one lookup: an unknown name is an error that lists the known ones and suggests the nearest."""

import re

import pytest

import args
import choices
from toolbox.errors import UsageError
from toolbox.registry import pick

ENTRIES = [(flag, name) for flag, table in choices.CHOICES.items() for name in table]


@pytest.mark.parametrize(("flag", "name"), ENTRIES)
def test_every_name_is_found(flag: str, name: str) -> None:
    assert pick(flag, choices.CHOICES[flag], name) is choices.CHOICES[flag][name]
    choices.check(args.resolve({flag.replace("-", "_"): name}))


@pytest.mark.parametrize("flag", choices.CHOICES)
def test_an_unknown_name_is_quoted_and_the_known_ones_are_listed(flag: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"unknown --{flag} 'zzz'")) as caught:
        choices.check(args.resolve({flag.replace("-", "_"): "zzz"}))
    assert all(name in caught.value.what for name in choices.CHOICES[flag])
    assert caught.value.hint in choices.CHOICES[flag]


@pytest.mark.parametrize(("flag", "name"), ENTRIES)
def test_a_mistyped_name_is_suggested(flag: str, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        pick(flag, choices.CHOICES[flag], name + "_")
    assert caught.value.hint.split(" or ")[0] == name


@pytest.mark.parametrize("what", choices.LISTS)
def test_list_prints_every_name_of_its_choice(what: str) -> None:
    assert choices.names(what) == list(choices.CHOICES[choices.LISTS[what]])
    assert what in next(action.help for action in args.PARSER._actions if action.dest == "list")


def test_an_unknown_list_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="datasets, models"):
        choices.names("model")


def test_weights_that_are_not_published_are_refused() -> None:
    with pytest.raises(UsageError, match="no published weights for resnet1d_10"):
        choices.check(args.resolve({"pretrained": True}))
