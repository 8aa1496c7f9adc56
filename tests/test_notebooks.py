"""Notebooks: committed without outputs, run from the first cell to the last without a network, and only read."""

from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbclient import NotebookClient

from helpers.commands import offline
from helpers.data import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def executed(path: Path, monkeypatch: pytest.MonkeyPatch, parameters: str) -> list[nbformat.NotebookNode]:
    """The cells of a notebook, run where it lies, with `parameters` at the end of its cell of parameters."""
    for name, value in offline().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    notebook = nbformat.read(path, as_version=4)
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    cell.source += f"\n{parameters}"
    client = NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
    )
    return client.execute().cells


def shown(cells: list[nbformat.NotebookNode], kind: str) -> list[str]:
    """The outputs of a MIME type."""
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return [output["data"][kind] for output in outputs if kind in output.get("data", {})]


def files_of(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*")}


@every_notebook
def test_a_notebook_is_committed_without_outputs_and_never_trains(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
            assert not any(word in cell.source for word in ("trainer", ".fit(", "backward", "open_test", "data.test"))


@every_notebook
def test_a_notebook_shows_data_and_run_and_writes_nothing(
    path: Path, short_run: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_of(short_run.root)
    cells = executed(path, monkeypatch, f"root_dir = {str(short_run.root)!r}\nexamples = 2")
    assert len(shown(cells, "image/png")) == 4
    assert len(shown(cells, "image/gif")) == 1
    assert "10,800 train and 1,200 validation rows" in " ".join(shown(cells, "text/markdown"))
    assert files_of(short_run.root) == before


@every_notebook
def test_without_a_run_a_notebook_says_how_to_make_one(path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = executed(path, monkeypatch, f"root_dir = {str(root)!r}\nexamples = 1")
    assert len(shown(cells, "image/png")) == 3
    assert "No run of synth" in " ".join(shown(cells, "text/markdown"))
