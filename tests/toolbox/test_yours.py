"""A fault in a network or a dataset of the user's own is called theirs, with file and line; the program's own stays its
own."""

import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from helpers.data import ROOT, make_spec
from helpers.documents import files_of_the_tree
from loaders import DATASETS, agreement, get_data, splits
from loaders.base import Data, Split
from loaders.declaration import Dataset
from models import check_own
from toolbox import errors
from toolbox.errors import CommanderError, DataError, OwnPartError


def module(path: Path, text: str) -> dict:
    """What a file of the user's defines, wherever it lies."""
    path.write_text(textwrap.dedent(text))
    found: dict = {"torch": torch, "nn": nn, "np": np, "splits": splits}
    exec(compile(path.read_text(), str(path), "exec"), found)  # noqa: S102
    return found


NETWORK = """
class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(187, 5)

    def forward(self, x):
        {}
"""
FORWARDS = {
    "return self.head(x[:, 0])[:, :3]": r"gives \(2, 3\) for 2 rows in training, it must give \(2, 5\)",
    "return self.head(x[:, 0]), x": "gives no tensor but a tuple",
    "return self.head(x[:2, 0])": r"gives \(2, 5\) for 3 rows in training, it must give \(3, 5\)",
    "return self.head(x[:, 0]).mean(0)": r"gives \(5,\) for 2 rows",
    "return self.head(x[:, 0]).round().long()": "gives int64 numbers",
    "out = self.head(x[:, 0]); return out if self.training else out.softmax(1)[0]": "in a test",
}


@pytest.mark.parametrize("body", FORWARDS)
def test_a_network_with_other_outputs_is_named_before_it_is_trained(tmp_path: Path, body: str) -> None:
    network, state = module(tmp_path / "mine.py", NETWORK.format(body))["Mine"](), torch.get_rng_state()
    with pytest.raises(OwnPartError, match=f"your network mine .*{FORWARDS[body]}") as refused:
        check_own(network, "mine", make_spec(), reconstructs=False)
    assert f"{tmp_path / 'mine.py'}, line 7" in str(refused.value)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_sound_network_is_left_as_it_was(tmp_path: Path) -> None:
    network = module(tmp_path / "mine.py", NETWORK.format("return self.head(x[:, 0])"))["Mine"]()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    check_own(network, "mine", make_spec(), reconstructs=False)
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in before.items())


def split(count: int = 20, **other: np.ndarray) -> Split:
    arrays = {"x": np.zeros((count, 1, 187), np.float32), "y": np.arange(count) % 5, "record": np.full(count, "")}
    return Split(**{**arrays, "index": np.arange(count), **other})


def data(train: object = None, test: object = None, **facts: object) -> Data:
    spec = make_spec()
    for name, value in facts.items():
        object.__setattr__(spec, name, value)
    sound = split()
    return Data(spec, sound if train is None else train, sound, lambda: test or sound, "sum")


def load() -> None:
    """Stands for the user's function."""


NAN = np.full((20, 1, 187), np.nan, np.float32)
SHAPE = "train.x is (20, 1, 187) float32, by its spec it must be (20, 1, 90) float32"
WRONG: dict[str, Callable[[], object]] = {
    "it returns NoneType, it must return loaders.base.Data": lambda: None,
    SHAPE: lambda: data(samples=90),
    "spec has 1 leads, it must have 2": lambda: data(channels=2),
    "train.x is (20, 1, 187) float64": lambda: data(split(x=np.zeros((20, 1, 187)))),
    "train.y is float64, labels must be whole numbers": lambda: data(split(y=np.full(20, np.nan))),
    "train.y goes from 0 to 19, the classes are 0 to 4": lambda: data(split(y=np.arange(20))),
    "train.record has the shape (7,), it must be (20,)": lambda: data(split(record=np.full(7, ""))),
    "train.x is not finite, first in row 0": lambda: data(split(x=NAN)),
    "train has no row": lambda: data(split(0, y=np.empty(0, int))),
    "train is list, it must be rows": lambda: data([1, 2]),
    "spec has 5 classes, it must have 1": lambda: data(classes=("a",) * 5),
    "spec.rate_hz is 0, it must be above 0": lambda: data(rate_hz=0),
}


@pytest.mark.parametrize("says", WRONG)
def test_a_dataset_that_does_not_fit_its_spec_is_named(says: str) -> None:
    with pytest.raises(DataError) as refused:
        agreement.checked(WRONG[says](), "mine", load)
    assert str(refused.value).startswith("your dataset mine: ")
    assert says in str(refused.value)
    assert f"{__file__}, line {load.__code__.co_firstlineno}" in str(refused.value)


def test_the_test_rows_of_a_dataset_are_checked_when_they_are_opened() -> None:
    checked = agreement.checked(data(test=split(y=np.full(20, 9))), "mine", load)
    with pytest.raises(DataError, match=r"test.y goes from 9 to 9"):
        checked.test  # noqa: B018
    assert len(agreement.checked(data(), "mine", load).test) == 20


def test_a_fault_below_their_call_is_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
        def load(root, **how):
            return splits.stratified(None, 3, 1)

        def plain(root, **how):
            return {}["gone"]
    """
    theirs = module(tmp_path / "mine.py", text)
    for name, line in (("load", 3), ("plain", 6)):
        try:
            monkeypatch.setitem(DATASETS, "mine", Dataset(theirs[name], "of their own"))
            get_data("mine", tmp_path)
        except Exception as error:
            told = str(errors.unforeseen(error))
        assert told.startswith("your mine.py failed, ")
        assert f"({tmp_path / 'mine.py'}, line {line}). Try: mend it there" in told


def test_a_fault_of_the_program_is_the_programs_and_a_broken_module_theirs(tmp_path: Path) -> None:
    with pytest.raises(TypeError) as found:
        splits.stratified(None, 3, 1)
    error = errors.unforeseen(found.value)
    assert (type(error), str(error).startswith("a fault of the program, ")) == (CommanderError, True)
    with pytest.raises(SyntaxError) as broken:
        module(tmp_path / "mine.py", "x = 1\nclass Mine(\n")
    says = f"your mine.py failed, SyntaxError: '(' was never closed ({tmp_path / 'mine.py'}, line 2)"
    assert says in str(errors.unforeseen(broken.value))


def test_the_list_of_shipped_files_is_the_tree_of_the_documentation() -> None:
    """A new file of the program is a line in toolbox/shipped.txt, and in the tree of docs/architecture.md."""
    listed = (ROOT / "toolbox" / "shipped.txt").read_text().split()
    assert listed == sorted(set(listed))
    there = {
        path.relative_to(ROOT).as_posix() for package in errors.PACKAGES for path in ROOT.glob(f"{package}/**/*.py")
    }
    assert set(listed) <= there
    assert files_of_the_tree() & there <= {*listed}
