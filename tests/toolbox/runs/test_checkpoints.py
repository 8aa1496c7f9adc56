"""Checkpoints are written whole or not at all, and reading one never runs it."""

import pickle
import resource
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from toolbox.errors import CheckpointError, ResourceError
from toolbox.runs import checkpoints
from toolbox.runs.folder import RunFolder


def state(epoch: int = 3, **more: Any) -> dict[str, Any]:
    model = {"w": torch.arange(40.0) + epoch}
    return {"model": model, "epoch": epoch, "best": None, "history": [{"loss": 0.5}], **more}


def write(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


@contextmanager
def full_disk() -> Iterator[None]:
    """No file can grow above 1,000 bytes; compiled modules, of which Python would keep the beginning, are not kept."""
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sys.dont_write_bytecode = kept


class Payload:
    """An object whose unpickling creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_the_latest_every_fifth_and_the_best_are_kept_and_of_a_stop_the_latest(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for epoch in range(1, 12):
        checkpoints.save(run, state(epoch), is_best=epoch in (2, 7), epoch_done=True)
    epochs = {path.name: checkpoints.load(path)["epoch"] for path in tmp_path.iterdir()}
    assert epochs == {
        "checkpoint.pth.tar": 11,
        "checkpoint_epoch5.pth.tar": 5,
        "checkpoint_epoch10.pth.tar": 10,
        "model_best.pth.tar": 7,
    }
    (tmp_path / "stopped").mkdir()
    checkpoints.save(RunFolder(tmp_path / "stopped"), state(5), is_best=True, epoch_done=False)
    assert [path.name for path in (tmp_path / "stopped").iterdir()] == ["checkpoint.pth.tar"]


def test_the_best_is_written_before_the_latest_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pth.tar").mkdir()  # so that writing the latest fails
    with pytest.raises(ResourceError, match="cannot write"):
        checkpoints.save(RunFolder(tmp_path), state(5), is_best=True, epoch_done=True)
    for name in ("model_best.pth.tar", "checkpoint_epoch5.pth.tar"):
        assert checkpoints.load(tmp_path / name)["epoch"] == 5


def test_a_state_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    saved = state(3, best={"epoch": 2, "value": float("nan")}, rng={"cpu": torch.get_rng_state()}, scaler={})
    checkpoints.save(RunFolder(tmp_path), saved, is_best=False, epoch_done=True)
    loaded = checkpoints.load(tmp_path / "checkpoint.pth.tar")
    assert loaded.keys() == {"format", *saved}
    assert torch.equal(loaded["model"]["w"], saved["model"]["w"])
    assert torch.equal(loaded["rng"]["cpu"], saved["rng"]["cpu"])
    assert repr((loaded["best"], loaded["history"])) == repr((saved["best"], saved["history"]))


@pytest.mark.parametrize("container", ["archive", "bare pickle"])
def test_a_malicious_file_is_refused_and_no_code_of_it_runs(tmp_path: Path, container: str) -> None:
    mark, path = tmp_path / "it ran", tmp_path / "checkpoint.pth.tar"
    content = {"format": 1, **state(extra=Payload(mark))}
    if container == "archive":
        write(path, content)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(CheckpointError):
        checkpoints.load(path)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Payload(mark)))  # noqa: S301
    assert mark.exists(), "the payload is a dud, so that nothing was tested"


def test_a_damaged_file_is_a_checkpoint_error(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pth.tar", {"format": 1, **state()})
    whole = path.read_bytes()
    for share in (0, 0.01, 0.5, 0.99):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(CheckpointError, match="is damaged") as caught:
            checkpoints.load(path)
        assert str(path) in str(caught.value)
    path.write_bytes(whole)  # a small file that would unpack to a large one
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(tmp_path / "y", "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(CheckpointError, match="damaged: its members are not as they were written"):
        checkpoints.load(tmp_path / "y")


def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pth.tar", {"format": 1, **state()})
    whole, refused = path.read_bytes(), 0
    expected = repr(checkpoints.load(path))
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            assert repr(checkpoints.load(path)) == expected, place
        except CheckpointError:
            refused += 1
    assert refused > 90


FOREIGN = [{"state_dict": {}}, [1, 2], {"model": {}}, {"format": "x", "model": {}}, torch.zeros(3)]
NEWER = checkpoints.FORMAT + 1


def test_a_file_that_is_no_checkpoint_of_this_format_is_named(tmp_path: Path) -> None:
    refused = [(content, "not a checkpoint of this program") for content in FOREIGN]
    reads = f"has format {NEWER}, this program reads up to {checkpoints.FORMAT}"
    of_a_class = r"more than tensors and plain values.*nothing of it was run"
    refused += [({"format": NEWER, **state()}, reads), ({"format": 1, **state(model=nn.Linear(1, 1))}, of_a_class)]
    for content, says in refused:
        with pytest.raises(CheckpointError, match=says):
            checkpoints.load(write(tmp_path / "x.pth.tar", content))
    for path in (tmp_path, tmp_path / "missing.pth.tar"):
        with pytest.raises(CheckpointError, match="cannot be read"):
            checkpoints.load(path)


def test_weights_of_the_same_model_are_loaded_and_those_of_another_named() -> None:
    one, other = nn.Linear(3, 2), nn.Linear(3, 2)
    checkpoints.load_weights(other, one.state_dict(), "here")
    assert torch.equal(one.weight, other.weight)
    says = r"weight is \(5, 3\), the model has \(2, 3\).*bias is missing.*gain is not in"
    with pytest.raises(CheckpointError, match=says):
        checkpoints.load_weights(other, {"weight": torch.zeros(5, 3), "gain": torch.zeros(1)}, "here")
    assert torch.equal(one.weight, other.weight)


def test_a_full_disk_leaves_the_checkpoints_before_and_no_temporary_file(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    checkpoints.save(run, state(5), is_best=True, epoch_done=True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with full_disk(), pytest.raises(ResourceError, match=r"cannot write .*: File too large") as caught:
        checkpoints.save(run, state(10, big=torch.zeros(10_000)), is_best=True, epoch_done=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert caught.value.where == "1000 bytes written"
    assert caught.value.code == 6
