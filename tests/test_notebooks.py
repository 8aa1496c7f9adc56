"""Notebooks: committed without outputs; run from the first cell to the last without a network; they write nothing."""

from pathlib import Path

import pytest

from helpers.commands import offline
from helpers.data import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@every_notebook
def test_a_notebook_is_committed_without_outputs_and_never_trains(path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
            assert not any(word in cell.source for word in ("trainer", ".fit(", "backward", "open_test", "data.test"))


@every_notebook
def test_a_notebook_shows_data_and_the_run_if_there_is_one_and_writes_nothing(
    path: Path, root: Path, plain_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One kernel executes the cells twice, the second time with an emptied namespace: its imports are paid for once."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    for name, value in offline().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    cells, with_run = [], plain_run.parents[2]
    for data in (root, with_run):
        notebook = nbformat.read(path, as_version=4)
        (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
        parameters.source += f"\nroot_dir, examples = {str(data)!r}, 1"
        for cell in notebook.cells:
            cell.id += f"-{len(cells)}"
        cells += [nbformat.v4.new_code_cell("%reset -f"), *notebook.cells]
    before = {file: file.stat().st_mtime_ns for file in with_run.rglob("*")}
    where = {"metadata": {"path": str(path.parent)}}
    client = nbclient.NotebookClient(
        nbformat.v4.new_notebook(cells=cells), timeout=900, kernel_name="python3", resources=where
    )
    done = client.execute().cells
    shown, shown_with_run = (
        [output["data"] for cell in part for output in cell.get("outputs", []) if "data" in output]
        for part in (done[: len(done) // 2], done[len(done) // 2 :])
    )
    assert [sum("image/png" in data for data in each) for each in (shown, shown_with_run)] == [3, 4]
    assert [sum("image/gif" in data for data in each) for each in (shown, shown_with_run)] == [0, 1]
    assert "No run of synth" in shown[-1]["text/markdown"]
    assert "10,800 train and 1,200 validation rows" in shown_with_run[0]["text/markdown"]
    assert {file: file.stat().st_mtime_ns for file in with_run.rglob("*")} == before
