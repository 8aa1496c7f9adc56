"""Published weights: taken but for the head and said so, fetched whole or not at all, and no file but the right one."""

import hashlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import args
from commands import build as assembly
from commands import choices
from commands.trained import TrainedRun
from helpers.commands import carried_out
from helpers.data import make_spec
from helpers.published import SMALL, published
from helpers.servers import Server, cut_off, refusal, whole
from helpers.training import StopAfter, assert_same, build, fit, through_a_file
from loaders.base import Data
from models import VISION, get_model
from models.charts import vision
from models.charts.vision import POSITIONS, resized
from studies import cells
from toolbox.errors import CheckpointError, DownloadError, UsageError
from toolbox.runs.folder import RunFolder
from toolbox.training import transfer


def test_all_but_the_last_layer_is_taken_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    torch.manual_seed(1)
    model, path = get_model(SMALL, make_spec(image=(64, 64))), published(tmp_path)
    head, taken = model.head.weight.clone(), torch.load(path, weights_only=True)
    said = vision.load(model, path)
    own = model.body.state_dict()
    assert own.keys() == taken.keys() - {"classifier.3.weight", "classifier.3.bias"}
    assert all(torch.equal(own[name], taken[name]) for name in own)
    assert torch.equal(model.head.weight, head)
    assert said == {
        "weights": None,
        "file": "weights.pth",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "source": "a file of the user's",
        "licence": "not stated",
        "tensors_loaded": len(own),
        "tensors_left": ["classifier.3.bias", "classifier.3.weight"],
    }
    assert f"loaded {len(own)} of {len(taken)} tensors from weights.pth; reinitialised: the head" in caplog.text


def test_a_published_file_is_known_by_its_sum_and_its_name_and_terms_are_stated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = published(tmp_path)
    (entry,) = vision.models().get_model_weights(SMALL)
    mine = replace(
        entry.value,
        url=f"https://download.pytorch.org/models/x-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth",
    )
    monkeypatch.setattr(entry, "_value_", mine)
    said = vision.load(get_model(SMALL, make_spec(image=(64, 64))), path)
    assert (said["weights"], said["source"]) == ("MobileNet_V3_Small_Weights.IMAGENET1K_V1", mine.url)
    assert "BSD-3-Clause" in said["licence"]
    assert "ImageNet" in said["licence"]


def test_positions_of_a_transformer_are_brought_to_the_size_of_the_charts() -> None:
    with torch.device("meta"):
        model = get_model("vit_b_16", make_spec(image=(32, 64)))
    theirs = torch.rand(1, 197, 768)
    fitted = model.fitted(
        {POSITIONS: theirs, "heads.head.weight": torch.zeros(1000, 768), "class_token": torch.ones(1)}
    )
    assert fitted.keys() == {POSITIONS, "class_token"}
    assert torch.equal(fitted[POSITIONS], resized(theirs, (2, 4)))
    assert model.body.encoder.pos_embedding.shape == fitted[POSITIONS].shape


def test_a_file_without_counters_of_batches_is_taken_as_older_ones_are(tmp_path: Path) -> None:
    lacking = {
        name.replace(".", "__"): None
        for name in vision.models().get_model("resnet18").state_dict()
        if name.endswith("num_batches_tracked")
    }
    assert vision.load(get_model("resnet18", make_spec(image=(64, 64))), published(tmp_path, "resnet18", **lacking))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "the older format"])
def test_a_state_dict_is_taken_as_torch_writes_it_in_either_format(zipped: bool, tmp_path: Path) -> None:
    theirs, model = (vision.models().get_model(SMALL).state_dict(), get_model(SMALL, make_spec(image=(64, 64))))
    torch.save(theirs, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    assert vision.load(model, tmp_path / "w.pth")["tensors_loaded"] == len(theirs) - 2
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in model.body.state_dict().items())


def test_every_member_of_a_committee_begins_with_them(tmp_path: Path) -> None:
    model, path = get_model(SMALL, make_spec(image=(64, 64)), members=2), published(tmp_path)
    vision.load(model, path)
    one, other = model.members
    assert all(torch.equal(tensor, other.body.state_dict()[name]) for name, tensor in one.body.state_dict().items())
    assert not torch.equal(one.head.weight, other.head.weight)


class Payload:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("was_run"),))


def of_another(folder: Path) -> Path:
    return published(folder, "resnet18")


def of_another_shape(folder: Path) -> Path:
    return published(folder, features__0__0__weight=torch.zeros(16, 1, 3, 3))


def of_a_run(folder: Path) -> Path:
    torch.save({"format": 1, "epoch": 1, "model": {"w": torch.zeros(1)}}, folder / "run.tar")
    return folder / "run.tar"


def malicious(folder: Path) -> Path:
    torch.save({"w": Payload()}, folder / "bad.pth")
    return folder / "bad.pth"


def cut(folder: Path) -> Path:
    path = published(folder)
    path.write_bytes(path.read_bytes()[:100_000])
    return path


def misnamed(folder: Path) -> Path:
    return published(folder, file="mobilenet_v3_small-047dcff4.pth")


WRONG = {
    of_another: r"no weights of mobilenet_v3_small: .*; .*; ",
    of_another_shape: r"features.0.0.weight is \(16, 1, 3, 3\), the model has \(16, 3, 3, 3\)",
    of_a_run: "not a state dict.*--pretrained",
    malicious: "more than tensors and plain values",
    cut: "damaged.*a copy of https://download.pytorch.org",
    misnamed: r"its name gives 047dcff4\.\.\.",
    lambda folder: folder / "absent.pth": "cannot be read",
    lambda folder: folder: "cannot be read",
}


@pytest.mark.parametrize("make", WRONG, ids=lambda make: make.__name__)
def test_a_wrong_file_is_a_line_and_changes_nothing(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = get_model(SMALL, make_spec(image=(64, 64)))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=WRONG[make]) as caught:
        vision.load(model, make(tmp_path))
    assert caught.value.code == 4
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not (tmp_path / "was_run").exists()


# Fetching


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """torch.hub's folder, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "a b"))
    return tmp_path / "a b" / "hub" / "checkpoints"


CONTENT = b"weights" * 20_000
NAMED = f"net-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


def test_weights_are_fetched_once_into_torchs_folder(server: Server, hub: Path) -> None:
    server.answer = whole(CONTENT)
    url = server.url.replace("beats.zip", NAMED)
    assert vision.fetched(url) == vision.fetched(url) == hub / NAMED
    assert [path.name for path in hub.iterdir()] == [NAMED]
    assert (hub / NAMED).read_bytes() == CONTENT
    assert len(server.asked) == 1


BROKEN = {
    "cut off": (cut_off(CONTENT, 70_000), "the transfer broke"),
    "a page": (whole(b"<html>sign in</html>"), "a page came in its place"),
    "absent": (refusal(404), "the server answers 404"),
    "busy": (refusal(503), "the server answers 503"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_transfer_that_breaks_is_a_line_with_the_url_and_leaves_nothing(
    server: Server, hub: Path, fault: str
) -> None:
    server.answer, says = BROKEN[fault]
    url = server.url.replace("beats.zip", NAMED)
    with pytest.raises(DownloadError, match=says) as caught:
        vision.fetched(url)
    assert caught.value.code == 7
    assert url in str(caught.value)
    assert "--weights-file" in caught.value.hint
    assert list(hub.iterdir()) == []


def test_a_server_that_says_nothing_more_is_given_up(
    server: Server, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vision, "TIMEOUT_S", 0.2)
    given_up = threading.Event()
    server.answer = lambda request: given_up.wait(60)  # its own socket would lose patience too
    with pytest.raises(DownloadError, match="timed out"):
        vision.fetched(server.url)
    given_up.set()
    assert list(hub.iterdir()) == []


# As a user types it


def settled(**given: Any) -> Any:
    given |= {"view": "chart"} if given["model_name"] in VISION else {}
    assert args.complaints(given) == []
    return choices.settle(args.resolve(given))


def test_without_a_run_pretrained_means_imagenet_and_as_a_value_of_a_grid_too() -> None:
    for words in (["--pretrained"], ["--pretrained", "imagenet"], ["--pretrained=imagenet"]):
        assert args.parse(["--model-name", "resnet18", *words])["pretrained"] == transfer.IMAGENET
    assert {action.dest: action.const for action in args.FLAGS.parser._actions}["pretrained"] == transfer.IMAGENET
    assert args.parse(["--pretrained", "--train", "head"]) == {"pretrained": "imagenet", "train": "head"}
    cell = {"dataset": "synth", "view": "chart", "model-name": "resnet18", "pretrained": "imagenet"}
    assert cells.configuration(cell).given["pretrained"] == transfer.IMAGENET


@pytest.mark.parametrize("given", [{"pretrained": "imagenet"}, {"weights_file": "w.pth"}], ids=str)
def test_a_network_without_published_weights_refuses_them(given: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"networks for charts.*resnet18.*not with cnn1d_3.*Try: --pretrained RUN"):
        settled(model_name="cnn1d_3", **given)
    assert settled(model_name="resnet18", **given)
    assert settled(model_name="cnn1d_3", pretrained="a_run")


def test_a_file_and_a_run_exclude_each_other() -> None:
    given = {"model_name": "resnet18", "weights_file": "w.pth"}
    assert args.complaints({**given, "pretrained": "some_run"}) == [
        "--weights-file and --pretrained of a run exclude each other"
    ]
    assert args.complaints({**given, "pretrained": "imagenet"}) == []


def test_no_network_and_no_copy_is_a_line_with_the_address_and_the_way_out(
    tmp_path: Path, tiny_charts: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(DownloadError) as caught:
        assembly.pretrain(
            settled(model_name="resnet18", pretrained="imagenet"), build(tiny_charts, model_name="resnet18")
        )
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in str(caught.value)
    assert "Try: --weights-file" in str(caught.value)
    assert not list((tmp_path / "hub" / "checkpoints").iterdir())


def test_a_head_on_published_weights_stopped_and_resumed_equals_one_never_stopped(
    tiny_charts: Data, tmp_path: Path
) -> None:
    path, flags = published(tmp_path, "resnet18"), {"model_name": "resnet18", "train": "head", "batch_size": 10}
    undisturbed, stopped = build(tiny_charts, **flags), build(tiny_charts, **flags)
    for trainer in (undisturbed, stopped):
        vision.load(trainer.model, path)
    fit(undisturbed, 3)
    assert fit(stopped, 3, StopAfter(6)).epoch == 1
    path.unlink()
    (tmp_path / "run").mkdir()
    assert_same(undisturbed, fit(through_a_file(stopped, tiny_charts, RunFolder(tmp_path / "run"), **flags), 3))


def test_another_beginning_is_refused_when_a_run_goes_on(tmp_path: Path) -> None:
    trained = TrainedRun(RunFolder(tmp_path), {}, {}, args.resolve({"override": True}), {})
    with pytest.raises(UsageError, match="only a new run can start with other weights"):
        trained.permit({"weights_file": ["a.pth", "b.pth"]})


def test_signals_with_a_network_for_charts_are_a_line_and_no_folder_is_made(tmp_path: Path) -> None:
    ended = carried_out("--dataset", "synth", "--model-name", "resnet18", "--short-run", "--root-dir", tmp_path)
    assert ended.code == 2, ended.err
    assert (
        "resnet18 is a network for charts, the rows are signals. Try: --view chart"
        in ended.err.strip().splitlines()[-1]
    )
    assert not list(tmp_path.glob("*/runs"))
