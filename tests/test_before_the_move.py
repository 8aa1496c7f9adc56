"""A run, a cache and a chart store of an earlier version, before its files were moved, are still resumed and used.

`fixtures/before_the_move.tar.xz` was made by commit e8e648a: 80 generated rows as a table, a run of two epochs that was
stopped in the second, what its undisturbed twin ended with, the parsed rows, and the rows drawn as charts.
"""

import json
import tarfile
from pathlib import Path

import pandas as pd
import pytest
import torch

from helpers.commands import carried_out, weights

ARCHIVE = Path(__file__).parent / "fixtures" / "before_the_move.tar.xz"
RUN = ("--dataset", "table", "--model-name", "cnn1d_3", "--no-figures", "--device", "cpu")
CHARTS = ("--dataset", "table", "--rate-hz", 50, "--view", "chart", "--chart-size", 32)


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """The folder in which the archive was unpacked: root-dir `data`, and the `twin`."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def states(folder: Path) -> dict[Path, tuple[int, int, bytes]]:
    """Every file but locks: which it is, when it was written, its bytes."""
    found = [path for path in folder.rglob("*") if path.is_file() and "lock" not in path.name]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def assert_close(folder: Path, twin: Path) -> None:
    """The weights and predictions of the twin, as near as another processor comes."""
    mine, theirs = weights(folder), weights(twin)
    assert mine.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.allclose(mine[name].double(), tensor.double(), rtol=1e-4, atol=1e-5), name
    tables = [pd.read_csv(path / "predictions.csv", keep_default_na=False) for path in (folder / "pred", twin)]
    pd.testing.assert_frame_equal(*tables, rtol=1e-3, atol=1e-4)


def test_a_run_that_was_stopped_ends_as_its_twin_and_its_table_is_read_once_more(before: Path) -> None:
    """Its rows were parsed by another reading of CSV, so they are parsed again; those of old stay."""
    data, run = before / "data", before / "data" / "table" / "runs" / "table_cnn1d_3_1"
    cache, begun = states(data / "table" / "cache"), json.loads((run / "logger.json").read_text())
    ended = carried_out(*RUN, "--resume", "latest", "--root-dir", data)
    assert ended.code == 0, ended.err
    history = json.loads((run / "logger.json").read_text())
    assert [row["epoch"] for row in history] == [1, 2]
    assert history[:1] == begun  # its seconds, too: that epoch was not trained again
    assert_close(run, before / "twin")
    assert ended.result["best_epoch"] == 2
    parsed = states(data / "table" / "cache")
    assert parsed.items() > cache.items()
    again = carried_out(*RUN, "--test", "--resume", "best", "--root-dir", data)
    assert (again.code, again.result) == (0, ended.result), again.err
    assert states(data / "table" / "cache") == parsed


def test_charts_that_were_drawn_are_not_drawn_again(before: Path) -> None:
    pytest.importorskip("lmdb")
    data = before / "data"
    store = states(data / "table" / "charts")
    ended = carried_out(*CHARTS, "--data-file", data / "rows.csv", "--download", "--root-dir", data)
    assert ended.code == 0, ended.err
    assert states(data / "table" / "charts") == store
