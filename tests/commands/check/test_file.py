"""--check finds the faults of a user's parts, a line each with property and place, and no others."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from commands import own_parts
from commands.check.file import CHECKS
from helpers.commands import assert_error, carried_out
from helpers.documents import EXAMPLE, written
from toolbox import plugins

HEAD = """
import numpy as np
import torch
from torch import nn
from loaders.base import Split
from loaders.families import rows
from toolbox.plugins import augmentation, dataset, loss, metric, network, optimizer, sampler
drawn = np.random.default_rng()


class Sound(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.head = nn.Linear(spec.channels, len(spec.classes))

    def forward(self, x):
        return self.head(x.std(2))


def of(request, x=None, record="", y=None):
    y = np.arange(200) % 2 if y is None else y
    x = np.random.default_rng(0).normal(size=(200, 1, 30)).astype(np.float32) if x is None else x
    return rows.as_data(request, Split.of({"x": x, "y": y, "record": np.resize(np.array(record), 200)}))


def quadratic(parameters, lr, momentum, decay):
    return torch.optim.SGD(parameters, lr)


facts = {"leads": ("II",), "classes": ("a", "b"), "rate_hz": 100, "unit": "mV"}
"""
NETWORK = """
@network("it", "broken")
class It(Sound):
    def forward(self, x):
        {}
"""
DATASET = """
@dataset("it", "broken", **facts)
def it(request):
    {}
"""
FAULTS = {  # a property and its fault, by the code
    NETWORK.format("return super().forward(x)[:, :2]"): ("gives finite outputs for any data", "it must give (2, 5)"),
    NETWORK.format("return super().forward(x / (x.shape[2] - 32))"): (
        "takes rows of any length, or refuses them", "not finite"),
    NETWORK.format("return super().forward(x).softmax(1)"): ("gives logits", "without softmax"),
    NETWORK.format("return super().forward(x).log_softmax(1)"): ("gives logits", "log-probabilities"),
    NETWORK.format("return super().forward(x).detach() + 0 * self.head(x.std(2))"): (
        "passes a gradient to every parameter", "the gradient of head.weight is 0"),
    NETWORK.format("return super().forward(x - x.mean(0))"): (
        "gives a row the same outputs in any batch", "depend on the other rows"),
    NETWORK.format("return super().forward(x) + self.secret") + """
    def __init__(self, spec):
        super().__init__(spec)
        self.secret = torch.randn(1)
""": ("is restored from its weights", "has other outputs"),
    NETWORK.format("return self.last(x.std(2))") + """
    def __init__(self, spec):
        super().__init__(spec)
        self.last = self.head
        del self.head
""": ("reads features at its head", "head"),
    DATASET.format("return of(request, x=np.zeros((200, 2, 30), np.float32))"): (
        "agrees with its DataSpec", "by its spec it must be (144, 1, 30)"),
    DATASET.format("return of(request, x=drawn.normal(size=(200, 1, 30)).astype(np.float32))"): (
        "is the same every time", "the checksum differs"),
    DATASET.format('return None'): ("agrees with its DataSpec", "it must return loaders.base.Data"),
    DATASET.format("""from dataclasses import replace
    whole = of(request, record=[f"r{k}" for k in range(200)])
    return replace(whole, open_test=lambda: whole.train)"""): (
        "has rows and records on one side only", "test rows are in train or validation"),
    DATASET.format("""from dataclasses import replace
    whole = of(request)
    return replace(whole, train=replace(whole.train, record=np.full(len(whole.train), "p1")),
                   open_test=lambda: replace(whole.test, record=np.full(len(whole.test), "p1")))"""): (
        "has rows and records on one side only", "records of the test, such as p1"),
    DATASET.format("""from dataclasses import replace
    return of(replace(request, val_fraction=0.2))"""): ("divides its training rows into folds", "fold"),
    '@loss("it")\ndef it(a, b):\n    return nn.functional.cross_entropy(a, b)': (
        "gives a value for each row", "the task averages"),
    '@loss("it")\ndef it(a, b):\n    return a.softmax(1)[torch.arange(len(b)), b].log().neg()': (
        "is finite for extreme logits", "not finite"),
    '@loss("it")\ndef it(a, b):\n    return a.softmax(1)[torch.arange(len(b)), b]': (
        "is smaller for right outputs", "no smaller loss"),
    '@loss("it", task="detect")\ndef it(a, b):\n    return (a - b).square().mean((1, 2)).detach()': (
        "passes a gradient", "does not require grad"),
    '@metric("it")\ndef it(a, b):\n    return 100 * (b.argmax(1) == a).mean()': ("is in its range", "from 0 to 1"),
    '@metric("it")\ndef it(a, b):\n    return a[0] / 5': (
        "does not depend on the order of rows", "in another order"),
    '@metric("it", lower_is_better=True)\ndef it(a, b):\n    return (b.argmax(1) == a).mean()': (
        "is best for right predictions", "lower is better"),
    '@metric("it")\ndef it(a, b):\n    return "much"': ("is in its range", "gives a str"),
    '@augmentation("it", strength=1, unit="")\ndef it(x, s, c):\n    return x[:, :1]': (
        "keeps shape and kind of numbers", "(64, 2, 187) becomes (64, 1, 187)"),
    '@augmentation("it", strength=1, unit="")\ndef it(x, s, c):\n    return x.mul_(2)': (
        "keeps shape and kind of numbers", "it changes the batch itself"),
    '@augmentation("it", strength=1, unit="")\ndef it(x, s, c):\n    return x': (
        "changes nothing with probability 0", "no row changes with probability 1"),
    '@augmentation("it", strength=1, unit="")\ndef it(x, s, c):\n    return x + torch.randn_like(x)': (
        "draws by seed, epoch and step", "draw from `chance`"),
    '@sampler("it")\ndef it(a, b, c):\n    return -torch.ones(len(a))': ("gives every row a weight", "below 0"),
    '@optimizer("it", lr=-0.1)\ndef it(p, lr, m, d):\n    return quadratic(p, 0.0, m, d)': (
        "makes a loss smaller", "no smaller"),
    '@optimizer("it", lr=0.1)\ndef it(p, lr, m, d):\n    return torch.optim.SGD(p, drawn.uniform(0.01, 0.02))': (
        "resumes from a stored state", "differ"),
}  # fmt: skip


@pytest.fixture
def in_use() -> Iterator[None]:
    yield
    own_parts.use([])


@pytest.mark.usefixtures("in_use")
@pytest.mark.parametrize("code", FAULTS, ids=[f"{kind} {number}" for number, (kind, _) in enumerate(FAULTS.values())])
def test_a_fault_is_found_and_its_place_is_named(code: str, tmp_path: Path) -> None:
    import args
    from commands import choices
    from commands.check import file as check

    path = written(HEAD + code, tmp_path)
    own_parts.use([path])
    (part,) = plugins.IN_USE[0].parts
    flags = choices.settle(args.resolve({"root_dir": str(tmp_path)}))
    found = {each.about: each for each in check.findings(part, flags)}
    about, told = FAULTS[code]
    assert told in found[about].fault
    assert found[about].fault
    assert f"{path}, line " in str(found[about])


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """What --check answers to the file in docs/plugins.md."""
    folder = tmp_path_factory.mktemp("mine")
    ended = carried_out("--check", written(EXAMPLE, folder), "--root-dir", folder / "root", "--gain", "2")
    return SimpleNamespace(folder=folder, **vars(ended))


def test_the_example_of_the_documentation_passes_every_check_and_leaves_no_folder(example: SimpleNamespace) -> None:
    assert example.code == 0, example.err
    assert [len(re.findall(rf"^ok     {kind} ", example.out, re.MULTILINE)) for kind in plugins.KINDS] == [
        5, 8, 4, 3, 3, 0, 0
    ]  # fmt: skip
    assert all(line.startswith("ok ") for line in example.out.splitlines())
    assert [path.name for path in example.folder.iterdir()] == ["mine.py"]


def test_faults_come_first_and_the_exit_code_tells_of_them(tmp_path: Path) -> None:
    path = written(EXAMPLE.replace("return -strength * x", "return x"), tmp_path)
    ended = carried_out("--check", path, "--root-dir", tmp_path)
    assert_error(ended, 1, "1 of 23 checks of mine.py failed", "the lines that begin with fault")
    assert [line[:5] for line in ended.out.splitlines()] == ["fault", *["ok   "] * 22]
    assert "fault  augmentation flip  changes nothing with probability 0: no row changes" in ended.out


def test_every_kind_of_part_has_checks() -> None:
    assert [*CHECKS] == [*plugins.KINDS] == [*own_parts.ENTRIES]
