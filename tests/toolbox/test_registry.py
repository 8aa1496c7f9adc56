"""The lookup of names: an unknown name is an error that lists the known ones and suggests the nearest."""

import re

import pytest

import args
from commands import choices
from toolbox.errors import UsageError
from toolbox.registry import pick

every_choice = pytest.mark.parametrize("flag", choices.CHOICES)


def settled(**given: object) -> args.Flags:
    return choices.settle(args.resolve(given))


@every_choice
def test_every_name_is_found_and_suggested_where_it_is_mistyped(flag: str) -> None:
    known, key = choices.CHOICES[flag], flag.replace("-", "_")
    for name in known:
        assert pick(flag, known, name) is known[name]
        view = {"view": "chart"} if name in choices.VISION else {}
        how = {"task": "detect"} if args.FLAGS.by_name[key].task == "detect" else view
        settled(**how, **({"pretrained": "a run"} if name == "probe" else {}), **{key: name})
        with pytest.raises(UsageError) as caught:
            pick(flag, known, name + "_")
        assert caught.value.hint.split(" or ")[0] == name


@every_choice
def test_an_unknown_name_is_quoted_and_the_known_ones_are_listed(flag: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"unknown --{flag} 'zzz'")) as caught:
        settled(**{flag.replace("-", "_"): "zzz"})
    assert all(name in caught.value.what for name in choices.CHOICES[flag])
    assert caught.value.hint in choices.CHOICES[flag]


@pytest.mark.parametrize("asked", [{"test": True}, {"resume": "best"}, {"explain": "gradcam"}], ids=str)
def test_a_command_on_a_run_takes_its_view_from_the_run(asked: dict[str, object]) -> None:
    name = next(iter(choices.VISION))
    assert settled(model_name=name, **asked).view == "signal"  # until its config is read
    with pytest.raises(UsageError, match="is a network for charts"):
        settled(model_name=name)


def test_of_many_names_the_nearest_stand_first() -> None:
    with pytest.raises(UsageError, match=r"known are resnet1d_18, resnet1d_10, .*ecgformer") as caught:
        pick("model-name", choices.NETWORKS, "resnet1d_11")
    assert caught.value.hint.startswith("resnet1d_18 or resnet1d_10")


@pytest.mark.parametrize(
    ("typed", "table"), [("networks", "models"), ("arch", "models"), ("loss", "losses"), ("optim", "optimizers")]
)
def test_list_suggests_the_table_for_words_of_other_tools(typed: str, table: str) -> None:
    with pytest.raises(UsageError, match=f"unknown --list '{typed}'") as caught:
        choices.names(typed)
    assert caught.value.hint == f"--list {table}"


def test_list_prints_every_name_of_its_choice() -> None:
    (listed,) = (action.help for action in args.FLAGS.parser._actions if action.dest == "list")
    for what, table in choices.TABLES.items():
        assert choices.names(what) == list(table)
        assert what in listed
    with pytest.raises(UsageError, match="datasets, models"):
        choices.names("model")


def test_the_task_is_that_of_the_network_and_decides_the_flags_that_were_left_open() -> None:
    for name in choices.NETWORKS:
        flags = settled(model_name=name, view="chart" if name in choices.VISION else "signal")
        assert name in choices.networks(flags.task)
        defaults = choices.task_defaults(flags.task)
        assert {key: getattr(flags, key) for key in defaults} == defaults | {"model_name": name}
    for task in choices.TASKS:
        networks = choices.networks(task)
        assert settled(task=task).model_name in networks
        for name in choices.NETWORKS.keys() - networks:
            with pytest.raises(UsageError, match=f"{name} is not a network for --task {task}"):
                settled(task=task, model_name=name)


def test_a_flag_of_one_task_is_refused_by_the_other() -> None:
    of_classes = {"sampler": "equal", "class_balance": "equal", "class_weights": "1,2", "confusion_video": "gif"}
    for key, value in of_classes.items():
        with pytest.raises(UsageError, match="is only valid with --task classify"):
            settled(task="detect", **{key: value})
    for key, value in {"normal_class": "N", "baseline": "pca", "threshold": "sd:3"}.items():
        with pytest.raises(UsageError, match=r"is only valid with --task detect.*--task detect, or leave it out"):
            settled(**{key: value})
        assert settled(task="detect", **{key: value})
