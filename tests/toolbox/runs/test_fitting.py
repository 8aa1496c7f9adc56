"""A checkpoint with odd values, or of another run, is refused: every value in it is replaced and must be named."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.commands import SHORT, assert_error, carried_out, contents, on
from helpers.training import StopAfter, assert_same, build, fit
from loaders.base import Data
from toolbox.errors import CheckpointError
from toolbox.runs import checkpoints, folder
from trainer import Trainer

ODD = (None, True, "x", float("nan"), float("-inf"), -1, 10**30, 10**400, [], [1], {}, {"x": 1}, torch.zeros(3))
ODD += (torch.zeros(()),)
CHECKED = ("epoch", "best", "seconds", "history", "optimizer", "scheduler", "meter", "rng")


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Where every value of a state stands, those that hold others too."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        yield from places(each, (*path, key))


def put(state: Any, path: tuple, value: Any) -> Any:
    """The state with another value in one place, and otherwise the same objects."""
    if not path:
        return value
    changed = copy.copy(state)
    changed[path[0]] = put(state[path[0]], path[1:], value)
    return changed


def at(state: Any, path: tuple) -> Any:
    for key in path:
        state = state[key]
    return state


def odd_for(value: Any) -> list[Any]:
    """What may not stand in the place of a value; for tensors others of its shape too."""
    if not isinstance(value, torch.Tensor):
        return [odd for odd in ODD if not (type(odd) is type(value) and odd == value)]
    as_doubles = value.double() if value.dtype is not torch.float64 else value.float()
    damaged = [value.new_zeros((*value.shape, 1)), value[:-1] if value.dim() else value.new_zeros(2), as_doubles]
    nan = [torch.full_like(value, bad) for bad in (torch.nan, torch.inf)] if value.is_floating_point() else []
    return [*(odd for odd in ODD if not (isinstance(odd, torch.Tensor) and odd.shape == value.shape)), *damaged, *nan]


def is_lawful(path: tuple, value: Any) -> bool:
    """What may stand in a place though it stood otherwise: a metric, rate or time of the history that is not known."""
    number = value is None or (isinstance(value, float | int) and folder.is_number(value))
    if path == ("meter", "losses"):  # NaN where an older version made the steps
        return isinstance(value, torch.Tensor) and bool(value.isnan().all())
    if path == ("best",) or path[0] == "meter":
        return value is None
    if path == ("best", "value"):
        return isinstance(value, float | int) and number
    if path == ("best", "loss"):
        return number
    if path[-1] == "_last_lr":
        return isinstance(value, list) and value == [1]
    if path == ("scheduler", "best"):
        return isinstance(value, int | float) and (value == -1 or value == float("-inf"))
    if path[0] == "history":
        split = len(path) == 3 and path[2] in ("train", "val") and isinstance(value, dict)
        known = path[3:4] != ("confusion_matrix",) or (path[4:] == () and value is None)
        figure = len(path) == 4 or (len(path) == 3 and path[2] in folder.TIMES)
        return split or path[3:4] == ("per_class",) or (figure and known and number)
    if path[:2] == ("optimizer", "state"):
        return len(path) == 2 and value == {}
    return path[0] == "optimizer" and path[-1] == "lr" and isinstance(value, int) and value == 0


FLAGS = [{}, {"optimizer": "sgd", "scheduler": "ReduceLROnPlateau"}]
FLAGS += [pytest.param({"optimizer": "adam", "scheduler": "StepLR", "step": 1}, marks=pytest.mark.soak)]


@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_every_odd_value_in_a_checkpoint_is_refused_before_any_is_used(tiny: Data, flags: dict[str, Any]) -> None:
    state = copy.deepcopy(fit(build(tiny, **flags), 3, StopAfter(9)).state_dict())
    assert state["meter"]
    assert state["epoch"] == 1
    resumed, fresh, tried = build(tiny, **flags), build(tiny, **flags), 0
    for path in [path for part in CHECKED for path in places(state[part], (part,))]:
        for odd in odd_for(at(state, path)):
            if is_lawful(path, odd):
                continue
            why = checkpoints.unfinished(put(state, path, odd), 0) or resumed._misfit(put(state, path, odd))
            assert why, (path, odd)
            assert path[0] in why or path[0] in ("meter", "scheduler"), why
            tried += 1
    assert tried > 1000
    assert_same(resumed, fresh)


def test_a_lacking_state_of_one_parameter_ends_the_run_before_its_step(tiny: Data) -> None:
    state = copy.deepcopy(fit(build(tiny), 3, StopAfter(9)).state_dict())
    del state["optimizer"]["state"][1]
    resumed = build(tiny)
    resumed.model.load_state_dict(state["model"])
    resumed.load_state_dict(state)
    with pytest.raises(CheckpointError, match=r"the state of \S+ is missing"):
        fit(resumed, 3)
    assert all(torch.equal(parameter, state["model"][name]) for name, parameter in resumed.model.named_parameters())


def test_a_parameter_that_no_step_asked_for_has_no_state_and_may_lack_one(tiny: Data) -> None:
    def with_spare(trainer: Trainer) -> Trainer:
        trainer.model.spare = torch.nn.Parameter(torch.ones(3))
        trainer.optimizer.param_groups[0]["params"].append(trainer.model.spare)
        return trainer

    undisturbed = fit(with_spare(build(tiny)), 2)
    stopped = fit(with_spare(build(tiny)), 2, StopAfter(9))
    resumed = with_spare(build(tiny))
    resumed.model.load_state_dict(stopped.model.state_dict())
    state = stopped.state_dict()
    assert len(state["optimizer"]["state"]) == len(list(stopped.model.parameters())) - 1
    resumed.load_state_dict(copy.deepcopy(state))
    assert_same(undisturbed, fit(resumed, 2))


WEIGHTS: dict[str, tuple[str, Callable[[torch.Tensor], torch.Tensor], str]] = {
    "NaN": ("features.0.weight", lambda of: of * torch.nan, "features.0.weight is not finite"),
    "one infinity": ("head.bias", lambda of: of.index_fill(0, torch.tensor(2), torch.inf), "head.bias is not finite"),
    "a negative variance": ("features.1.running_var", lambda of: -of - 1, "features.1.running_var is negative"),
    "doubles": ("head.weight", lambda of: of.double(), "(5, 576) float64, the model has (5, 576) float32"),
    "sparse": ("head.bias", lambda of: of.to_sparse(), "head.bias is no plain tensor"),
    "a bomb": ("head.bias", lambda of: of[:1].expand(10**11), "head.bias is larger than its stored bytes"),
}


@pytest.mark.parametrize("damage", WEIGHTS)
def test_weights_that_cannot_be_used_are_named_with_their_file_by_every_command(copied_run: Path, damage: str) -> None:
    name, spoilt, says = WEIGHTS[damage]
    for checkpoint in ("checkpoint.pth.tar", "model_best.pth.tar"):
        state = torch.load(copied_run / checkpoint, weights_only=True)
        torch.save(state | {"model": state["model"] | {name: spoilt(state["model"][name])}}, copied_run / checkpoint)
    before = contents(copied_run)
    for flags in (("--test",), ("--resume", "latest", "--epochs", "3"), ("--explain", "saliency")):
        assert_error(on(copied_run, *flags), 4, says, "pth.tar")
    ended = carried_out(*SHORT, "--pretrained", copied_run.name, "--root-dir", copied_run.parents[2])
    assert_error(ended, 4, says if "model has" not in says else "float64", "model_best.pth.tar")
    assert contents(copied_run) == before
    assert len(list(copied_run.parent.iterdir())) == 1


def test_a_state_of_the_optimizer_in_another_shape_is_an_error(copied_run: Path) -> None:
    path = copied_run / "checkpoint.pth.tar"
    state = torch.load(path, weights_only=True)
    state["optimizer"]["state"][0]["exp_avg"] = torch.zeros(1)
    torch.save(state, path)
    before, says = contents(copied_run), "features.0.weight: exp_avg is (1,), it must be (8, 1, 7)"
    assert_error(on(copied_run, "--resume", "latest", "--epochs", "3"), 4, says, str(path))
    assert contents(copied_run) == before


def test_finite_values_whose_sum_is_not_are_sound() -> None:
    large = {"weight": torch.full((1000,), 3e38), "half": torch.full((9,), 6e4, dtype=torch.float16)}
    assert checkpoints.unsound(large) == ""
    assert checkpoints.unsound({"weight": torch.tensor([3e38, 3e38, torch.nan])}) == "weight is not finite"
    assert checkpoints.unsound({"empty": torch.empty(0), "count": torch.tensor(3), "mask": torch.tensor([True])}) == ""


def test_an_overridden_run_can_be_resumed_at_once(copied_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "fit", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        on(copied_run, "--resume", "latest", "--epochs", "3", "--override", "--optimizer", "sgd")
    monkeypatch.undo()
    ended = on(copied_run, "--resume", "latest")
    assert ended.code == 0, ended.err
    assert json.loads((copied_run / "logger.json").read_text())[-1]["epoch"] == 3


def test_a_checkpoint_from_before_an_override_is_tested_and_resumed_with_a_new_optimizer(copied_run: Path) -> None:
    state = torch.load(copied_run / "model_best.pth.tar", weights_only=True)
    ended = on(copied_run, "--resume", "latest", "--epochs", "3", "--override", "--lr", "0.0001")
    assert ended.code == 0, ended.err
    torch.save(state, copied_run / "model_best.pth.tar")  # as where no epoch since has been better
    before = on(copied_run, "--test")
    assert before.code == 0, before.err
    resumed = on(copied_run, "--resume", "best", "--epochs", "4")
    assert resumed.code == 0, resumed.err
    assert f"optimizer and schedule are reinitialised after epoch {state['epoch']}" in resumed.err
    config = json.loads((copied_run / "config.json").read_text())
    assert config["flags"]["start_epoch"] == config["overrides"][0]["after_epoch"] == state["epoch"]
    assert on(copied_run, "--resume", "latest", "--epochs", "5").code == 0
