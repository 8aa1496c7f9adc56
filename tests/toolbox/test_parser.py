"""--config: flags of a file count as typed ones; a saved configuration repeats its run; the shell's completions."""

import json
import os
import re
import shlex
import subprocess
import sys
from html import unescape
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import args
from commands import own_parts, runs
from helpers.commands import SHORT, assert_error, assert_same_run, carried_out, offline
from helpers.data import ROOT
from helpers.documents import EXAMPLE, written
from toolbox.errors import UsageError
from toolbox.flags import ROOT_VARIABLE


def parsed(path: Path, text: str, *typed: str) -> dict[str, object]:
    path.write_text(text)
    return args.parse(["--config", str(path), *typed])


def test_a_file_counts_as_typed_and_typed_flags_override_it(tmp_path: Path) -> None:
    yaml = "dataset: synth\nmodel-name: cnn1d_3\nval_fraction: 0.2\nshort-run: true\n"
    yaml += "cost: false\nlr: ~\nlabel-column: no\n"
    found = {"dataset": "synth", "model_name": "cnn1d_3", "val_fraction": 0.2, "short_run": True, "label_column": "no"}
    assert parsed(tmp_path / "r.yaml", yaml) == found
    assert parsed(tmp_path / "r.yml", yaml, "--val-fraction", "0.3", "--cost") == found | {
        "val_fraction": 0.3, "cost": True
    }  # fmt: skip
    text = json.dumps({**found, "lr": None, "cost": False, "import": ["a.py", "b.py"], "compare": ["x", "y"]})
    assert parsed(tmp_path / "r.json", text) == found | {"import": ["a.py", "b.py"], "compare": ["x", "y"]}
    assert parsed(tmp_path / "r.json", "{}") == {}


def test_of_several_files_the_later_wins_flag_by_flag(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("epochs: 3\nlr: 0.1\n")
    (tmp_path / "b.yaml").write_text("lr: 0.2\nseed: 0\n")
    files = [f"--config={tmp_path / name}.yaml" for name in "ab"]
    assert args.parse(files) == {"epochs": 3, "lr": 0.2, "seed": 0}
    assert args.parse([*reversed(files), "--seed", "5"]) == {"epochs": 3, "lr": 0.1, "seed": 5}
    (tmp_path / "a.yaml").write_text("epochs: 0\n")
    assert_error(carried_out(*files), 2, "--epochs is 0", str(tmp_path / "a.yaml"))


def test_a_list_of_names_is_typed_in_one_word_or_in_several(tmp_path: Path) -> None:
    for typed in (["--log-to", "mlflow,wandb"], ["--log-to", "mlflow", "--log-to=wandb"]):
        assert args.parse(typed) == {"log_to": "mlflow,wandb"}
    assert parsed(tmp_path / "r.yaml", "log-to: [mlflow, wandb]") == {"log_to": "mlflow,wandb"}
    assert parsed(tmp_path / "r.yaml", "log-to: mlflow,wandb", "--log-to", "wandb") == {"log_to": "wandb"}


def test_an_error_in_a_flag_of_a_file_names_the_file_and_one_in_a_typed_flag_does_not(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    for text, what in (("epochs: 0", "--epochs is 0"), ("dataset: sinth", "unknown --dataset"), ("a: [1", "not YAML")):
        path.write_text(text)
        ended = carried_out("--config", path)
        assert_error(ended, 2, what, f"({path})")
        assert "unicode string" not in ended.err
    path.write_text("dataset: synth")
    assert str(path) not in carried_out("--config", path, "--epochs", 0).err


def test_a_file_turns_off_a_switch_that_is_on_by_default(tmp_path: Path, plain_run: Path, short_run: Any) -> None:
    for text in ("tensorboard: false", "no-tensorboard: true"):
        assert parsed(tmp_path / "r.yaml", text) == {"tensorboard": False}
    for text in ("tensorboard: true", "no_tensorboard: false"):
        assert parsed(tmp_path / "r.yaml", text) == {"tensorboard": True}
    for run, on in ((plain_run, False), (short_run.path, True)):
        assert args.parse(["--config", str(run / "config.json")])["tensorboard"] == on


WRONG = {  # the text -> what is told
    "epoch: 3": "unknown flag --epoch (",
    "lrr: 3": "unknown flag --lrr (",
    "epochs: many": "argument --epochs: invalid int value: 'many'",
    "short-run: 3": "short_run is '3', must be true or false",
    "epochs: [1, 2]": "must be text or a number",
    "import: a.py": "import is 'a.py', must be a list",
    "config: x.yaml": "--config cannot stand in a configuration",
    "- a\n- b": "the configuration is not one",
    "a: 1\na: 2": "'a' stands twice, at line 2",
    "": "the configuration has no flags",
    "# epochs: 5": "the configuration has no flags",
    "a: [": "the file is not YAML",
    "imports: 3": "the configuration is not one: imports",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_fault_of_a_file_is_named_with_the_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError) as refused:
        parsed(tmp_path / "r.yaml", text)
    assert WRONG[text] in str(refused.value)
    assert str(tmp_path / "r.yaml") in str(refused.value)


def test_a_file_that_cannot_be_read_is_one_line_and_a_range_is_checked(tmp_path: Path) -> None:
    cases = {"gone.yaml": "cannot be read", "gone.json": "cannot be read", "x.txt": ".yaml, .yml, .json"}
    for name, told in cases.items():
        assert_error(carried_out("--config", tmp_path / name), 2, told, name)
    (tmp_path / "r.json").write_text("{nonsense")
    assert_error(carried_out("--config", tmp_path / "r.json"), 2, "is not JSON", "r.json")
    assert_error(carried_out("--config", tmp_path / "no.yaml"), 2, "cannot be read", "Try: a file of flags")
    (tmp_path / "r.json").write_text('{"epochs": 0}')
    assert_error(carried_out("--config", tmp_path / "r.json"), 2, "--epochs is 0, must be from 1")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, synth_cache: Path) -> SimpleNamespace:
    """A run with a file of the user's, and its flags in two files."""
    folder = tmp_path_factory.mktemp("saved")
    (folder / "root").mkdir()
    own = ("--import", written(EXAMPLE, folder), "--root-dir", folder / "root")
    ended = carried_out(
        *own, "--dataset", "waves", "--gain", "2", "--model-name", "tiny", "--criterion", "poly1", "--epochs", "2",
        "--no-figures", "--save-config", folder / "run.yaml",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    return SimpleNamespace(folder=folder, run=Path(ended.result["run_folder"]))


@pytest.mark.parametrize("source", ["run.yaml", "config.json"])
def test_a_configuration_repeats_its_run_to_the_last_bit(saved: SimpleNamespace, source: str) -> None:
    path = (saved.folder if source == "run.yaml" else saved.run) / source
    again = carried_out("--config", path, "--root-dir", saved.folder / "root", "--no-figures")
    assert again.code == 0, again.err
    assert_same_run(saved.run, Path(again.result["run_folder"]))
    configs = [json.loads((run / "config.json").read_text()) for run in (saved.run, Path(again.result["run_folder"]))]
    assert configs[0]["imports"] == configs[1]["imports"]


def test_every_command_that_repeats_a_run_has_the_users_file_and_the_flags_of_its_dataset(
    saved: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the page of the run, of all runs and of several runs, and on a model card, whose paths are names."""
    monkeypatch.chdir(saved.folder)
    root, config = saved.folder / "root", json.loads((saved.run / "config.json").read_text())
    own_parts.use([])  # a command on runs alone imports no file
    (row,) = runs.rows(root)[-1:]
    lines = [row["command"]]
    assert carried_out("--report", saved.run.name, "--root-dir", root).code == 0
    lines += re.findall(r"<pre[^>]*>(.*?)</pre>", (saved.run / "report.html").read_text(), re.DOTALL)[:1]
    if find_spec("safetensors"):
        assert carried_out("--dataset", "waves", "--model-name", "tiny", "--export", "safetensors", "--root-dir", root,
                           "--version", "1").code == 0  # fmt: skip
        card = (saved.run / "export/safetensors/model_card.md").read_text()
        lines += re.findall(r"```sh\n(.*)\n```", card)[-1:]
        assert f"file {Path(config['imports'][0]['file']).name} (SHA-256 {config['imports'][0]['sha256']})" in card
    assert config["data"]["split_rule"].startswith("rows split at random")  # nobody has said that they are beats
    for line in lines:
        words = shlex.split(unescape(line).replace("$ROOT", str(root)))
        assert Path(words[words.index("--import") + 1]).resolve() == (saved.folder / "mine.py").resolve()
        assert " --gain 2 " in f"{line} "
        assert " --criterion poly1 " in f"{line} "


def test_a_configuration_knows_the_digest_of_an_imported_file(saved: SimpleNamespace, tmp_path: Path) -> None:
    text = (saved.folder / "run.yaml").read_text()
    changed = written(f"{EXAMPLE}\n", tmp_path)
    (tmp_path / "run.yaml").write_text(text.replace(str(saved.folder / "mine.py"), str(changed)))
    assert_error(carried_out("--config", tmp_path / "run.yaml"), 2, "mine.py has changed", "run.yaml has")


def test_another_optimizer_leaves_the_rates_of_a_run_to_its_default(short_run: SimpleNamespace) -> None:
    config = ["--config", str(short_run.path / "config.json")]
    assert args.parse(config)["lr"] == 0.005
    assert "lr" not in args.parse([*config, "--optimizer", "sgd"])


def test_a_saved_configuration_goes_with_a_new_run_alone(tmp_path: Path) -> None:
    for flags in (("--test",), ("--explore",), ("--resume", "latest")):
        for asked in (("--save-config", tmp_path / "x.json"), ("--dry-run",)):
            if flags[0] != "--explore":  # a flag that it ignores
                assert_error(carried_out(*flags, *asked), 2, f"{asked[0]} goes with a new run alone")
    assert_error(carried_out("--save-config", tmp_path / "x.txt"), 2, "must be a file that ends in .yaml, .yml, .json")


def test_the_environment_names_the_root_and_a_typed_one_overrides_it(root: Path, tmp_path: Path) -> None:
    named = {ROOT_VARIABLE: str(root)}
    run = (*SHORT, "--epochs", "1")
    ended = carried_out(*run, env=named)
    assert ended.code == 0, ended.err
    assert Path(ended.result["run_folder"]).is_relative_to(root)
    assert carried_out(*SHORT[:4], "--test", "--no-figures", env=named).code == 0
    told = carried_out(*SHORT[:4], "--test", "--root-dir", tmp_path / "other", env=named)
    assert_error(told, 4, str(tmp_path / "other"))
    assert ROOT_VARIABLE in carried_out("--help").out


LINES = {  # what stands before the tab key -> completions, and others that are none
    "commander.py --dataset syn": {"synth", "synth_patients", "synth_rhythms", "synth_strips"},
    "commander.py --model-name lstm_": {f"lstm_{k}{flat}" for k in (1, 2, 3) for flat in ("", "_flat")} | {"lstm_ae"},
    "commander.py --epochs 3 --data-f": {"--data-file"},
    "commander.py --view ": {"signal", "chart"},
    "commander.py --optimizer a": {"adam", "adamw"},
    "commander.py --list lo": {"losses"},
}


def completed(line: str) -> set[str]:
    """The completions that the shell gets."""
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9"}
    reading, writing = os.pipe()
    script = "import os, sys; os.dup2(int(sys.argv.pop(1)), 8); os.dup2(2, 9); sys.path.insert(0, sys.argv.pop(1))\n"
    blocked = "sys.modules.update(dict.fromkeys(('torch', 'numpy', 'pandas')))\nimport commander; commander.main()"
    with os.fdopen(reading) as answer:
        command = [sys.executable, "-c", script + blocked, str(writing), str(ROOT)]
        subprocess.run(command, env=offline() | asked | {"IFS": "\v"}, pass_fds=[writing], check=True, timeout=60)
        os.close(writing)
        return {word.strip() for word in answer.read().split("\v")}


@pytest.mark.parametrize("line", LINES)
def test_the_shell_completes_flags_and_names_without_torch(line: str) -> None:
    pytest.importorskip("argcomplete", reason="argcomplete is not installed")
    assert completed(line) == LINES[line]
