"""The README says what is there: its commands are read by the program, its tables and its tree are the code's."""

import re
import shlex
import subprocess
import sys

import pytest
import torch

import args
import research
from commands.choices import CHOICES
from conftest import ROOT, make_spec
from models import VISION, get_model
from toolbox import errors

PACKAGES = ("commands", "loaders", "models", "studies", "toolbox")
README = (ROOT / "README.md").read_text()
LINES = [line.strip() for block in re.findall(r"(?:^    .+\n)+", README, re.MULTILINE) for line in block.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("python commander.py")]
RESEARCH = [line for line in LINES if line.startswith("python research.py")]
SHELL = [line for line in LINES if re.match(r"(make|tensorboard|python benchmarks\S+) ", line)]
REQUIREMENTS = (
    "requirements.txt",
    "requirements-research.txt",
    "requirements-vision.txt",
    "requirements-explain.txt",
    "requirements-dev.txt",
)
PROMISES = (ROOT / "docs" / "promises.md").read_text()
CODES = {
    int(code)
    for codes in re.findall(r"^\| ([\d, ]+) \|", README.split("| exit code |")[1].split("\n\n")[0], re.MULTILINE)
    for code in codes.split(", ")
}
TREE = README.split("## The tree")[1].split("## ")[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command: str) -> None:
    words = shlex.split(command)[2:]
    if "--help" in words:
        with pytest.raises(SystemExit) as ended:
            args.parse(words)
        assert ended.value.code == 0
        return
    given = args.parse(words)
    assert args.complaints(given) == []
    for flag, table in CHOICES.items():
        assert given.get(flag.replace("-", "_")) in {None, *table}


@pytest.mark.parametrize("command", RESEARCH)
def test_every_command_of_a_research_is_understood(command: str) -> None:
    flags = research.understood(shlex.split(command)[2:])
    assert flags.results or (ROOT / flags.grid).is_file()


def test_the_other_commands_name_what_is_there() -> None:
    assert {"make train", "make test"} <= set(SHELL)
    for command in SHELL:
        words = shlex.split(command)
        if words[0] == "make":
            subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, check=True, capture_output=True)
        elif words[0] == "python":
            assert (ROOT / words[1]).is_file()
        else:
            assert words[:2] == ["tensorboard", "--logdir"]


def test_the_table_of_networks_is_the_registry_with_its_parameter_counts() -> None:
    tables = README.split("## Networks")[1].split("## ")[0] + README.split("## Vision networks")[1].split("## ")[0]
    rows = re.findall(r"^\| (`.*?) \| ([\d,/ ]+) \|", tables, re.MULTILINE)
    counted = {}
    for names, numbers in rows:
        names, numbers = re.findall(r"`(\w+)`", names), [int(n.replace(",", "")) for n in numbers.split("/")]
        counted |= dict(zip(names, numbers * len(names) if len(numbers) == 1 else numbers, strict=False))
    charts = make_spec(classes=("a", "b", "c", "d"), image=(224, 224))
    with torch.device("meta"):
        networks = {name: get_model(name, charts if name in VISION else make_spec()) for name in CHOICES["model-name"]}
    assert counted == {
        name: sum(p.numel() for p in network.parameters() if p.requires_grad) for name, network in networks.items()
    }


def test_the_table_of_datasets_is_the_registry() -> None:
    table = README.split("## Data")[1].split("## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(CHOICES["dataset"])


def test_the_pictures_are_there() -> None:
    assert all((ROOT / path).is_file() for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README))


def test_what_it_links_to_is_there() -> None:
    titles = re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    anchors = {"#" + re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
    links = set(re.findall(r"(?<!!)\[[^]]*\]\(([^)]+)\)", README))
    assert {link for link in links if link.startswith("#")} <= anchors
    assert all((ROOT / link).is_file() for link in links if not link.startswith(("#", "http")))
    assert "docs/promises.md" in links


def test_every_promise_ends_with_an_exit_code_that_there_is() -> None:
    rows = re.findall(r"^\| (.+) \| ([^|]+) \| ([\d, ]+) \|$", PROMISES, re.MULTILINE)
    assert len(rows) == PROMISES.count("\n| ") - 2  # all but the head
    assert {int(code) for *_, codes in rows for code in codes.split(", ")} <= CODES


def test_the_tree_is_the_tree() -> None:
    lines = [line for line in TREE.splitlines() if line.startswith("    ")]
    packages = [folder for package in PACKAGES for folder in (ROOT / package).glob("*/") if any(folder.glob("*.py"))]
    assert {word for line in lines for word in re.findall(r"^ {4}([\w]+\.py)", line)} == {
        p.name for p in ROOT.glob("*.py")
    }
    assert {line.split("/")[0].strip() for line in lines if line.startswith("      ")} == {p.name for p in packages}


def test_every_exit_code_is_named() -> None:
    kinds = [kind.code for kind in (errors.CommanderError, *errors.CommanderError.__subclasses__())]
    assert {0, *kinds} == {code for code in CODES if code < 10}


def test_every_requirement_is_named_with_its_reason() -> None:
    lines = [line for name in REQUIREMENTS for line in (ROOT / name).read_text().splitlines()]
    packages = {re.match(r"[\w-]+", line)[0] for line in lines if not line.startswith("-")}
    table = README.split("## What it stands on")[1]
    assert packages <= set(re.findall(r"[\w-]+", " ".join(re.findall(r"^\| (.+?) \|", table, re.MULTILINE))))


def test_what_is_imported_is_required() -> None:
    own = {path.stem for path in ROOT.glob("*.py")} | {*PACKAGES}
    product = [*ROOT.glob("*.py"), *(path for package in PACKAGES for path in ROOT.glob(f"{package}/**/*.py"))]
    text = "\n".join(path.read_text() for path in product)
    imported = set(
        re.findall(r"^\s*(?:from (?=\S+ import )|import )(?:torch\.utils\.(?=tensorboard))?(\w+)", text, re.MULTILINE)
    )
    imported = {{"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}.get(name, name) for name in imported}
    assert required(*REQUIREMENTS[:2]) <= imported - sys.stdlib_module_names - own <= required(*REQUIREMENTS[:-1])


def required(*names: str) -> set[str]:
    lines = [line for name in names for line in (ROOT / name).read_text().splitlines()]
    return {re.match(r"[\w-]+", line)[0] for line in lines if not line.startswith("-")}
