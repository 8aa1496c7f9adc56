"""The one lookup: an unknown name is an error that lists the known ones and suggests the nearest."""

import re

import pytest

import args
from commands import choices
from toolbox.errors import UsageError
from toolbox.registry import pick

ENTRIES = [(flag, name) for flag, table in choices.CHOICES.items() for name in table]


@pytest.mark.parametrize(("flag", "name"), ENTRIES)
def test_every_name_is_found(flag: str, name: str) -> None:
    assert pick(flag, choices.CHOICES[flag], name) is choices.CHOICES[flag][name]
    detects = args.FLAGS.by_name[flag.replace("-", "_")].task == "detect"
    more = {"task": "detect"} if detects else {"view": "chart"} if name in choices.VISION else {}
    choices.settle(args.resolve({**more, flag.replace("-", "_"): name}))


@pytest.mark.parametrize("asked", [{"test": True}, {"resume": "best"}, {"explain": "gradcam"}], ids=str)
def test_a_run_that_is_there_knows_its_view(asked: dict[str, object]) -> None:
    name = next(iter(choices.VISION))
    assert choices.settle(args.resolve({"model_name": name, **asked})).view == "signal"  # until its config is read
    with pytest.raises(UsageError, match="is a network for charts"):
        choices.settle(args.resolve({"model_name": name}))


@pytest.mark.parametrize("flag", choices.CHOICES)
def test_an_unknown_name_is_quoted_and_the_known_ones_are_listed(flag: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"unknown --{flag} 'zzz'")) as caught:
        choices.settle(args.resolve({flag.replace("-", "_"): "zzz"}))
    assert all(name in caught.value.what for name in choices.CHOICES[flag])
    assert caught.value.hint in choices.CHOICES[flag]


@pytest.mark.parametrize(("flag", "name"), ENTRIES)
def test_a_mistyped_name_is_suggested(flag: str, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        pick(flag, choices.CHOICES[flag], name + "_")
    assert caught.value.hint.split(" or ")[0] == name


@pytest.mark.parametrize("what", choices.TABLES)
def test_list_prints_every_name_of_its_choice(what: str) -> None:
    assert choices.names(what) == list(choices.TABLES[what])
    assert what in next(action.help for action in args.FLAGS.parser._actions if action.dest == "list")


def test_an_unknown_list_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="datasets, models"):
        choices.names("model")


@pytest.mark.parametrize("name", choices.MODELS)
def test_the_task_is_what_the_network_is_for_and_decides_what_was_left_open(name: str) -> None:
    flags = choices.settle(args.resolve({"model_name": name, "view": "chart" if name in choices.VISION else "signal"}))
    assert name in choices.NETWORKS[flags.task]
    defaults = choices.task_defaults(flags.task)
    assert {key: getattr(flags, key) for key in defaults} == defaults | {"model_name": name}


@pytest.mark.parametrize("task", choices.NETWORKS)
def test_a_task_has_a_network_of_its_own_and_refuses_those_of_others(task: str) -> None:
    assert choices.settle(args.resolve({"task": task})).model_name in choices.NETWORKS[task]
    for name in choices.MODELS.keys() - choices.NETWORKS[task]:
        with pytest.raises(UsageError, match=f"{name} is not a network for --task {task}"):
            choices.settle(args.resolve({"task": task, "model_name": name}))


@pytest.mark.parametrize(
    "given", [{"sampler": "equal"}, {"class_balance": "equal"}, {"class_weights": "1,2"}, {"confusion_video": "gif"}]
)
def test_what_weighs_classes_is_not_for_a_detector(given: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="is only valid with --task classify"):
        choices.settle(args.resolve({"task": "detect", **given}))


@pytest.mark.parametrize("given", [{"normal_class": "N"}, {"baseline": "pca"}, {"threshold": "sd:3"}])
def test_what_is_for_a_detector_is_not_for_a_classifier(given: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"is only valid with --task detect.*--task detect, or leave it out"):
        choices.settle(args.resolve(given))
    assert choices.settle(args.resolve({"task": "detect", **given}))
