"""Notebooks: committed without outputs; run from the first cell to the last without a network; they write nothing."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.commands import offline
from helpers.data import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


WITH_COMMANDS = "own_csv"  # trains, by the command line


# Its commands are carried out in the kernel, which has the imports of the notebooks before.
WITHOUT_PROCESSES = f"""
import subprocess, sys
from pathlib import Path
from types import SimpleNamespace
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
from helpers.commands import carried_out
truly = subprocess.run
def run(command, *given, **how):
    if command[:1] != [sys.executable]:
        return truly(command, *given, **how)
    assert Path(command[1]).samefile({str(ROOT / "commander.py")!r})
    done = carried_out(*command[2:])
    return SimpleNamespace(returncode=done.code, stdout=done.out, stderr=done.err)
subprocess.run = run
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[Any]:
    """A kernel without a network, of all notebooks: its imports are paid for once."""
    pytest.importorskip("nbclient")
    manager = pytest.importorskip("jupyter_client").KernelManager(kernel_name="python3")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in offline().items():
            patch.setenv(name, value)
        patch.setenv("no_proxy", "127.0.0.1,localhost")  # the kernel is a server
        yield manager
        if manager.has_kernel:
            manager.shutdown_kernel(now=True)


def executed(kernel: Any, name: str, *parameters: str, first: str = "") -> list[list[dict[str, Any]]]:
    """The outputs of the notebook, carried out after `first` once for each line of `parameters`."""
    import nbclient
    import nbformat

    cells, folder = [], ROOT / "notebooks"
    for line in parameters:
        notebook = nbformat.read(folder / f"{name}.ipynb", as_version=4)
        (given,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
        given.source += f"\n{line}"
        for cell in notebook.cells:
            cell.id += f"-{len(cells)}"
        cells += [nbformat.v4.new_code_cell(f"%reset -f\n{first}"), *notebook.cells]
    where = {"metadata": {"path": str(folder)}}
    client = nbclient.NotebookClient(nbformat.v4.new_notebook(cells=cells), km=kernel, timeout=900, resources=where)
    done = client.execute().cells
    client.kc.stop_channels()
    size = len(done) // len(parameters)
    parts = [done[begin : begin + size] for begin in range(0, len(done), size)]
    return [[output for cell in part for output in cell.get("outputs", [])] for part in parts]


def shown(outputs: list[dict[str, Any]], kind: str) -> list[str]:
    """The outputs of this kind."""
    return [output["data"][kind] for output in outputs if kind in output.get("data", {})]


@every_notebook
def test_a_notebook_is_committed_without_outputs_and_trains_by_commands_alone(path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
            assert not any(word in cell.source for word in ("trainer", ".fit(", "backward", "open_test", "data.test"))
            assert path.stem == WITH_COMMANDS or "subprocess" not in cell.source


def test_a_dataset_is_shown_and_the_run_if_there_is_one_and_nothing_is_written(
    kernel: Any, root: Path, plain_run: Path
) -> None:
    with_run = plain_run.parents[2]
    before = {file: file.stat().st_mtime_ns for file in with_run.rglob("*")}
    without, found = executed(
        kernel, "explore", *(f"root_dir, examples = {str(data)!r}, 1" for data in (root, with_run))
    )
    assert [len(shown(each, "image/png")) for each in (without, found)] == [3, 4]
    assert [len(shown(each, "image/gif")) for each in (without, found)] == [0, 1]
    assert "No run of synth" in shown(without, "text/markdown")[-1]
    assert "10,800 train and 1,200 validation rows" in shown(found, "text/markdown")[0]
    assert {file: file.stat().st_mtime_ns for file in with_run.rglob("*")} == before


def test_runs_are_read_and_compared_and_nothing_is_written(kernel: Any, root: Path, plain_run: Path) -> None:
    runs = [shutil.copytree(plain_run, root / f"synth/runs/synth_cnn1d_3_{number}") for number in (1, 2)]
    before = {file: file.stat().st_mtime_ns for file in root.rglob("*")}
    (read,) = executed(kernel, "read_run", f"root_dir = {str(root)!r}")
    assert any(run.name in shown(read, "text/markdown")[0] for run in runs)
    assert len(shown(read, "image/png")) == 2
    with np.load(runs[0] / "pred" / "predictions.npz") as arrays:
        rows = len(arrays["target"])
    matrix = next(text for text in shown(read, "text/plain") if text.startswith("predicted"))
    counts = [[*map(int, line.split()[1:])] for line in matrix.splitlines()[2:]]
    assert sum(map(sum, counts)) == rows
    (compared,) = executed(kernel, "compare_runs", f"root_dir = {str(root)!r}")
    assert all(run.name in shown(compared, "text/plain")[0] for run in runs)
    assert "B - A" in shown(compared, "text/markdown")[0]
    assert {file: file.stat().st_mtime_ns for file in root.rglob("*")} == before


def test_a_csv_becomes_a_network_predictions_and_an_exported_model(kernel: Any) -> None:
    pytest.importorskip("onnxruntime")
    (outputs,) = executed(kernel, WITH_COMMANDS, "epochs = 1", first=WITHOUT_PROCESSES)
    assert "the same classes: True" in "".join(output.get("text", "") for output in outputs)
