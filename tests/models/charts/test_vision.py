"""Networks for charts: torchvision's outputs for its weights, published weights taken whole or not at all, and their
training: a frozen backbone, two learning rates, bfloat16."""

import hashlib
import json
import logging
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

import args
from commands import build as assembly
from commands import choices
from commands.trained import TrainedRun
from helpers.commands import carried_out, finish, launch, weights
from helpers.data import ROOT, make_spec
from helpers.published import SMALL, published
from helpers.servers import Server, cut_off, refusal, whole
from helpers.training import StopAfter, assert_same, build, fit, through_a_file
from loaders.base import Data
from loaders.synthetic import beats as synth
from models import VISION, get_model
from models.charts import vision
from models.charts.vision import MEAN, POSITIONS, SD, resized
from studies import cells
from toolbox import devices
from toolbox.errors import CheckpointError, DownloadError, UsageError
from toolbox.reports import plots
from toolbox.runs.folder import RunFolder
from toolbox.training import transfer
from toolbox.training.recorders import About, Recorders

FOUR = ("SB", "AFIB", "GSVT", "SR")
# What torchvision's documentation states, with its 1,000 classes, and the inputs of the last layer.
FAMILIES = ["resnet18", SMALL, "vit_b_16"]
FAMILIES += [pytest.param(name, marks=pytest.mark.soak) for name in ("efficientnet_b0", "convnext_tiny")]


def small(image: tuple[int, int] = (64, 64), name: str = SMALL, **how: Any) -> nn.Module:
    return get_model(name, make_spec(classes=FOUR, image=image), **how)


def tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(before: dict[str, torch.Tensor], after: nn.Module) -> set[str]:
    return {name for name, tensor in after.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize("name", FAMILIES)
def test_with_torchvisions_weights_the_outputs_are_torchvisions(name: str) -> None:
    torch.manual_seed(0)
    theirs = vision.models().get_model(name).eval()
    ours = get_model(name, make_spec(classes=tuple(map(str, range(1000))), image=(224, 224))).eval()
    ours.body.load_state_dict(ours.fitted(theirs.state_dict()))
    last = theirs.get_submodule(ours.last)
    if name == "vit_b_16":
        nn.init.normal_(last.weight)  # it begins as zeros
    ours.head.load_state_dict(last.state_dict())
    x = torch.rand(1, 3, 224, 224)
    normal = (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(SD)[:, None, None]
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(normal), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", [SMALL, pytest.param("vit_b_16", marks=pytest.mark.soak)])
def test_a_chart_of_any_proportion_passes_and_every_pixel_reaches_the_output(name: str) -> None:
    torch.manual_seed(0)
    model, x = small((71, 33), name).eval(), torch.rand(2, 3, 71, 33).requires_grad_()
    logits = model(x)
    logits.square().sum().backward()
    assert logits.shape == (2, 4)
    assert x.grad.abs().sum((0, 1)).bool().all()


def test_positions_are_those_of_torchvision_for_square_pictures_and_keep_their_proportion() -> None:
    positions = torch.randn(1, 197, 8, generator=torch.Generator().manual_seed(0))
    interpolate = vision.models().vision_transformer.interpolate_embeddings
    theirs = interpolate(96, 16, {"encoder.pos_embedding": positions})["encoder.pos_embedding"]
    torch.testing.assert_close(resized(positions, (6, 6)), theirs)
    assert torch.equal(resized(positions, (14, 14)), positions)
    wide = resized(positions, (14, 27))
    assert wide.shape == (1, 1 + 14 * 27, 8)
    torch.testing.assert_close(wide[:, 1:].unflatten(1, (14, 27))[:, :, ::2], positions[:, 1:].unflatten(1, (14, 14)))
    with torch.device("meta"):
        model = small((32, 64), "vit_b_16")
    theirs = torch.rand(1, 197, 768)
    given = {POSITIONS: theirs, "heads.head.weight": torch.zeros(1000, 768), "class_token": torch.ones(1)}
    fitted = model.fitted(given)
    assert fitted.keys() == {POSITIONS, "class_token"}
    assert torch.equal(fitted[POSITIONS], resized(theirs, (2, 4)))
    assert model.body.encoder.pos_embedding.shape == fitted[POSITIONS].shape


def test_pictures_are_kept_with_the_channels_last() -> None:
    model, seen = small((32, 32)), []
    first = next(part for part in model.modules() if isinstance(part, nn.Conv2d))
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(torch.rand(2, 3, 32, 32))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert first.weight.is_contiguous(memory_format=torch.channels_last)


def test_rows_of_the_wrong_view_or_size_are_refused() -> None:
    signals = rf"{SMALL} is a network for charts, the rows are signals \(tiny\)\. Try: --view chart"
    charts = r"cnn1d_3 is a network for signals, the rows are charts \(tiny\).*--model-name resnet18"
    with pytest.raises(UsageError, match=signals):
        get_model(SMALL, make_spec())
    with pytest.raises(UsageError, match=charts):
        small(name="cnn1d_3")
    with pytest.raises(UsageError, match="needs charts of 32 pixels or more a side, tiny has 31"):
        small((64, 31))


def test_dropout_hides_features_from_the_head_in_training_alone_and_adds_no_tensor() -> None:
    plain, hiding = (small((32, 32), dropout=part) for part in (0.0, 0.5))
    assert plain.state_dict().keys() == hiding.state_dict().keys()
    hiding.load_state_dict(plain.state_dict())
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(plain.eval()(x), hiding.eval()(x))
        hiding.training = True  # its body is at rest, as with --train head
        features = hiding.body(((x - hiding.mean) / hiding.sd).contiguous(memory_format=torch.channels_last))
        torch.manual_seed(1)
        expected = hiding.head(torch.nn.functional.dropout(features, 0.5))
        torch.manual_seed(1)
        assert torch.equal(hiding(x), expected)
        assert not torch.equal(expected, plain(x))
    with pytest.raises(UsageError, match="dropout is 1, must be at least 0 and below 1"):
        small((32, 32), model_args="dropout=1")


# Where torchvision is not installed


def test_without_torchvision_only_a_network_for_charts_fails_and_the_error_says_what_to_install(tmp_path: Path) -> None:
    modules = "commander, trainer, commands.build, commands.evaluate, commands.predict.recordings, commands.data"
    flags = ["--dataset", "synth_rhythms", "--view", "chart", "--short-run", "--chart-size", "64"]
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.modules['torchvision'] = None; import {modules}; "
    code += "helped = commander.main(['--help']) or commander.main(['--list', 'models']); "
    code += f"sys.exit(helped or commander.main({[*flags, '--root-dir', str(tmp_path)]}))"
    ended = finish(launch("-c", code, script=None), timeout_s=900)
    says = "error: the package torchvision is not installed. Try: pip install -r requirements-vision.txt"
    assert (ended.code, ended.err.strip().splitlines()[-1]) == (6, says)
    assert {"--help-all", *VISION} <= set(ended.out.split())
    statement = re.compile(r"^\s*(import|from) torchvision\b", re.MULTILINE)
    files = [*ROOT.glob("*.py"), *ROOT.glob("[clmst]*/**/*.py")]
    assert [path.name for path in files if statement.search(path.read_text())] == ["vision.py"]


def test_an_import_that_works_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = sys.modules["torchvision"] if vision.models() else None
    monkeypatch.setattr(vision.LIBRARY, "define", None)  # would be called
    vision.models.cache_clear()
    assert vision.models() is imported.models


# Published weights


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published(tmp_path_factory.mktemp("published"))


def test_every_tensor_but_the_last_layer_is_loaded(small_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    model, taken = small(), torch.load(small_file, weights_only=True)
    head = model.head.weight.clone()
    origin = vision.load(model, small_file)
    own = model.body.state_dict()
    assert own.keys() == taken.keys() - {"classifier.3.weight", "classifier.3.bias"}
    assert all(torch.equal(own[name], taken[name]) for name in own)
    assert torch.equal(model.head.weight, head)
    assert origin == {
        "weights": None,
        "file": "weights.pth",
        "sha256": hashlib.sha256(small_file.read_bytes()).hexdigest(),
        "source": "a file of the user's",
        "licence": "not stated",
        "tensors_loaded": len(own),
        "tensors_left": ["classifier.3.bias", "classifier.3.weight"],
    }
    assert f"loaded {len(own)} of {len(taken)} tensors from weights.pth; reinitialised: the head" in caplog.text


def test_a_published_file_is_known_by_its_sum(small_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (entry,) = vision.models().get_model_weights(SMALL)
    named = f"https://download.pytorch.org/models/x-{hashlib.sha256(small_file.read_bytes()).hexdigest()[:8]}.pth"
    monkeypatch.setattr(entry, "_value_", replace(entry.value, url=named))
    origin = vision.load(small(), small_file)
    assert (origin["weights"], origin["source"]) == ("MobileNet_V3_Small_Weights.IMAGENET1K_V1", named)
    assert all(words in origin["licence"] for words in ("BSD-3-Clause", "ImageNet"))


def test_a_file_of_an_older_torch_is_loaded(tmp_path: Path) -> None:
    theirs, model = vision.models().get_model(SMALL).state_dict(), small()
    older = {name: tensor for name, tensor in theirs.items() if not name.endswith("num_batches_tracked")}
    torch.save(older, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    assert vision.load(model, tmp_path / "w.pth")["tensors_loaded"] == len(older) - 2
    own = model.body.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in older.items() if name in own)


def test_every_member_of_a_committee_begins_with_the_published_weights(small_file: Path) -> None:
    model = small(members=2)
    vision.load(model, small_file)
    one, other = model.members
    assert not changed(tensors(one.body), other.body)
    assert not torch.equal(one.head.weight, other.head.weight)


class Payload:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("was_run"),))


def saved(content: Any) -> Callable[[Path, Path], Path]:
    def save(folder: Path, _: Path) -> Path:
        torch.save(content, folder / "other.pth")
        return folder / "other.pth"

    return save


def cut(folder: Path, sound: Path) -> Path:
    (folder / "cut.pth").write_bytes(sound.read_bytes()[:100_000])
    return folder / "cut.pth"


def misnamed(folder: Path, sound: Path) -> Path:
    return shutil.copy(sound, folder / "mobilenet_v3_small-047dcff4.pth")


SHAPE = r"features.0.0.weight is \(16, 1, 3, 3\), the model has \(16, 3, 3, 3\)"
RUN = {"format": 1, "epoch": 1, "model": {"w": torch.zeros(1)}}
WRONG = {
    "of another network": (saved({"conv1.weight": torch.zeros(64, 3, 7, 7)}), f"no weights of {SMALL}: .*; .*; "),
    "of another shape": (lambda at, _: published(at, features__0__0__weight=torch.zeros(16, 1, 3, 3)), SHAPE),
    "of a run": (saved(RUN), "not a state dict.*--pretrained"),
    "malicious": (saved({"w": Payload()}), "more than tensors and plain values"),
    "cut": (cut, "damaged.*a copy of https://download.pytorch.org"),
    "misnamed": (misnamed, r"its name gives 047dcff4\.\.\."),
    "absent": (lambda at, _: at / "absent.pth", "cannot be read"),
    "a folder": (lambda at, _: at, "cannot be read"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_file_is_refused_and_changes_no_tensor(
    fault: str, small_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make, says = WRONG[fault]
    model = small()
    before = tensors(model)
    with pytest.raises(CheckpointError, match=says) as caught:
        vision.load(model, make(tmp_path, small_file))
    assert caught.value.code == 4
    assert not changed(before, model)
    assert not (tmp_path / "was_run").exists()


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
    assert [(path.name, path.read_bytes()) for path in hub.iterdir()] == [(NAMED, CONTENT)]
    assert len(server.asked) == 1


BROKEN = {
    "cut off": (cut_off(CONTENT, 70_000), "the transfer broke"),
    "a page": (whole(b"<html>sign in</html>"), "a page came in its place"),
    "absent": (refusal(404), "the server answers 404"),
    "busy": (refusal(503), "the server answers 503"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_transfer_names_the_url_and_leaves_no_file(server: Server, hub: Path, fault: str) -> None:
    server.answer, says = BROKEN[fault]
    url = server.url.replace("beats.zip", NAMED)
    with pytest.raises(DownloadError, match=says) as caught:
        vision.fetched(url)
    assert caught.value.code == 7
    assert url in str(caught.value)
    assert "--weights-file" in caught.value.hint
    assert list(hub.iterdir()) == []


def test_a_server_that_stops_answering_is_given_up(server: Server, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vision, "TIMEOUT_S", 0.2)
    given_up = threading.Event()
    server.answer = lambda request: given_up.wait(900)  # its own socket would lose patience too
    with pytest.raises(DownloadError, match="timed out"):
        vision.fetched(server.url)
    given_up.set()
    assert list(hub.iterdir()) == []


def settled(**given: Any) -> Any:
    given |= {"view": "chart"} if given["model_name"] in VISION else {}
    assert args.complaints(given) == []
    return choices.settle(args.resolve(given))


def test_pretrained_without_a_run_means_imagenet_also_as_a_value_of_a_grid() -> None:
    for words in (["--pretrained"], ["--pretrained", "imagenet"], ["--pretrained=imagenet"]):
        assert args.parse(["--model-name", "resnet18", *words])["pretrained"] == transfer.IMAGENET
    assert {action.dest: action.const for action in args.FLAGS.parser._actions}["pretrained"] == transfer.IMAGENET
    assert args.parse(["--pretrained", "--train", "head"]) == {"pretrained": "imagenet", "train": "head"}
    cell = {"dataset": "synth", "view": "chart", "model-name": "resnet18", "pretrained": "imagenet"}
    assert cells.configuration(cell).given["pretrained"] == transfer.IMAGENET


def test_published_weights_are_refused_by_other_networks_beside_a_run_and_when_a_run_goes_on(tmp_path: Path) -> None:
    for given in ({"pretrained": "imagenet"}, {"weights_file": "w.pth"}):
        with pytest.raises(UsageError, match=r"networks for charts.*resnet18.*not with cnn1d_3.*Try: --pretrained RUN"):
            settled(model_name="cnn1d_3", **given)
        assert settled(model_name="resnet18", **given)
    assert settled(model_name="cnn1d_3", pretrained="a_run")
    both = {"model_name": "resnet18", "weights_file": "w.pth", "pretrained": "some_run"}
    assert args.complaints(both) == ["--weights-file and --pretrained of a run exclude each other"]
    assert args.complaints(both | {"pretrained": "imagenet"}) == []
    trained = TrainedRun(RunFolder(tmp_path), {}, {}, args.resolve({"override": True}), {})
    with pytest.raises(UsageError, match="only a new run can start with other weights"):
        trained.permit({"weights_file": ["a.pth", "b.pth"]})


def test_without_a_network_the_error_has_the_address(
    tmp_path: Path, tiny_charts: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    flags = settled(model_name="resnet18", pretrained="imagenet")
    with pytest.raises(DownloadError) as caught:
        assembly.pretrain(flags, build(tiny_charts, model_name="resnet18"))
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in str(caught.value)
    assert "Try: --weights-file" in str(caught.value)
    assert not list((tmp_path / "hub" / "checkpoints").iterdir())


# Training

QUICK = {"model_name": SMALL, "batch_size": 10}
HALF = partial(torch.autocast, "cpu", torch.bfloat16)


def test_with_the_head_alone_no_statistic_changes_no_unit_drops_out_and_no_graph_is_made(tiny_charts: Data) -> None:
    trainer = build(tiny_charts, train="head", **QUICK)
    before, seen = tensors(trainer.model), []
    drops = [part for part in trainer.model.modules() if isinstance(part, nn.Dropout)]
    norms = [part for part in trainer.model.modules() if isinstance(part, nn.BatchNorm2d)]
    assert drops
    assert norms
    trainer.model.body.register_forward_hook(lambda _, __, outputs: seen.append(outputs.grad_fn))
    for part in (*drops, *norms):
        part.register_forward_hook(lambda part, *_: seen.append(part.training or None))
    fit(trainer, 1)
    assert changed(before, trainer.model) == {"head.weight", "head.bias"}
    assert set(seen) == {None}
    assert all(parameter.grad is None for parameter in trainer.model.body.parameters())


@pytest.mark.parametrize(
    ("device", "image", "rows"), [("cuda", (224, 224), 167), ("cpu", (224, 224), 10), ("cuda", None, 512)]
)
def test_how_many_rows_are_predicted_at_once(device: str, image: tuple[int, int] | None, rows: int, tiny: Data) -> None:
    trainer, sizes = build(tiny, **({"batch_size": 10} if image else {})), []
    trainer.device = SimpleNamespace(type=device)
    trainer.data = SimpleNamespace(spec=SimpleNamespace(image=image, shape=(3, *image) if image else (1, 187)))

    def stop(order: None, size: int) -> None:
        sizes.append(size)
        raise KeyError

    with pytest.raises(KeyError):
        trainer.predict(SimpleNamespace(batches=lambda _: SimpleNamespace(batches=stop)))
    assert sizes == [rows]


@pytest.mark.parametrize("scheduler", ["OneCycleLR", "ReduceLROnPlateau"])
def test_head_and_backbone_follow_the_schedule_each_with_its_rate(scheduler: str, tiny: Data, tmp_path: Path) -> None:
    flags = {"lr": 0.01, "backbone_lr": 0.001, "scheduler": scheduler, "step": 1}
    undisturbed = fit(build(tiny, **flags), 3)
    for row in undisturbed.history:
        assert row["backbone_lr"] == pytest.approx(0.1 * row["lr"])
    resumed = fit(through_a_file(fit(build(tiny, **flags), 3, StopAfter(7)), tiny, RunFolder(tmp_path), **flags), 3)
    assert_same(undisturbed, resumed)
    rates = [[group["lr"] for group in of.optimizer.param_groups] for of in (resumed, undisturbed)]
    assert rates[0] == rates[1]


@pytest.mark.parametrize("name", ["cnn1d_3", "lstm_1", SMALL])
def test_every_parameter_is_of_the_head_or_of_the_backbone(name: str, tiny: Data, tiny_charts: Data) -> None:
    trainer = build(tiny_charts if name == SMALL else tiny, model_name=name, backbone_lr=1e-4)
    head, backbone = ({id(each) for each in group["params"]} for group in trainer.optimizer.param_groups)
    assert head == {id(each) for each in trainer.model.head.parameters()}
    assert head | backbone == {id(each) for each in trainer.model.parameters()}
    assert not head & backbone


def test_a_rate_of_the_backbone_moves_the_backbone_alone_and_equal_rates_are_one(tiny: Data) -> None:
    trainer = build(tiny, lr=0.01, backbone_lr=1e-12, optimizer="sgd", weight_decay=0.0)
    before = tensors(trainer.model)
    after = fit(trainer, 1).model.state_dict()
    torch.testing.assert_close(after["features.0.weight"], before["features.0.weight"], atol=1e-8, rtol=0)
    assert not torch.allclose(after["head.weight"], before["head.weight"], atol=1e-3)
    same, plain = fit(build(tiny, lr=0.01, backbone_lr=0.01), 1), fit(build(tiny, lr=0.01), 1)
    assert not changed(tensors(plain.model), same.model)
    assert "backbone_lr" not in plain.history[0]


def test_a_network_without_a_head_and_a_frozen_backbone_refuse_a_rate_of_the_backbone(tiny: Data) -> None:
    with pytest.raises(UsageError, match="--backbone-lr is for a network with a head, this one has none"):
        build(tiny, model_name="conv_ae", normal_class="N", backbone_lr=0.1)
    exclude = "--backbone-lr and --train head exclude each other"
    assert args.complaints({"backbone_lr": 0.1, "train": "head"}) == [exclude]
    assert args.complaints({"backbone_lr": 0.0}) == ["--backbone-lr is 0.0, must be above 0 and finite"]


def test_both_rates_are_logged_and_drawn(tiny: Data, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    history = fit(build(tiny, lr=0.01, backbone_lr=0.001, scheduler="none"), 1).history
    RunFolder(tmp_path).log_epoch(history, 4)
    assert "lr 1.00e-02, backbone 1.00e-03" in caplog.text
    assert [name for name, *_ in plots.history_panels(history)[-1].lines] == ["lr", "backbone_lr"]
    assert json.loads((tmp_path / "logger.json").read_text())[0]["backbone_lr"] == pytest.approx(0.001)


@pytest.mark.parametrize("name", [SMALL, pytest.param("vit_b_16", marks=pytest.mark.soak)])
def test_its_graph_is_drawn_and_the_network_left_as_it_was(name: str, tmp_path: Path) -> None:
    model, x = small((32, 48), name), torch.rand(1, 3, 32, 48)
    with Recorders.opened(["tensorboard"], About(tmp_path, tmp_path, ("a", "b"), {}, epochs=1, epochs_done=0)) as board:
        board.graph(model, (x,))
    assert len(EventAccumulator(str(tmp_path / "tensorboard")).Reload().Graph().node) > 100
    assert model.training
    assert torch.backends.mha.get_fastpath_enabled()


def mixed(data: Data, **flags: Any) -> Any:
    """A trainer in bfloat16, whatever this machine has."""
    trainer = build(data, **flags)
    trainer.autocast = HALF
    return trainer


@pytest.mark.parametrize("has_it", [True, False])
def test_a_device_without_bfloat16_trains_in_float32_with_a_warning(
    has_it: bool, tiny: Data, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(devices.HALF, "cpu", lambda: has_it)
    trainer, plain = build(tiny, precision="bfloat16"), build(tiny)
    assert plain.autocast is devices.autocast(torch.device("cpu"), "auto") is nullcontext
    assert bool(changed(tensors(fit(plain, 1).model), fit(trainer, 1).model)) == has_it
    assert ("--precision bfloat16: cpu does not compute in it, training uses float32" in caplog.text) != has_it


def test_in_bfloat16_weights_losses_and_predictions_are_float32(tiny: Data) -> None:
    trainer, seen = mixed(tiny), []
    trainer.model.head.register_forward_hook(
        lambda _, __, outputs: seen.append((trainer.model.training, outputs.dtype))
    )
    loss = trainer.task.loss

    def watched(rows: torch.Tensor, *more: Any) -> torch.Tensor:
        assert rows.dtype == torch.float32
        return loss(rows, *more)

    trainer.task.loss = watched
    fit(trainer, 3)
    assert set(seen) == {(True, torch.bfloat16), (False, torch.float32)}
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}
    plain = build(tiny)
    plain.model.load_state_dict(trainer.model.state_dict())
    np.testing.assert_array_equal(trainer.predict(tiny.val).scores, plain.predict(tiny.val).scores)
    float32 = fit(build(tiny), 3).history[-1]["train"]["loss"]
    assert trainer.history[-1]["train"]["loss"] == pytest.approx(float32, rel=0.05)


def test_in_bfloat16_too_stopped_and_resumed_equals_never_stopped(tiny: Data, tmp_path: Path) -> None:
    undisturbed, stopped = fit(mixed(tiny), 3), fit(mixed(tiny), 3, StopAfter(7))
    resumed = through_a_file(stopped, tiny, RunFolder(tmp_path))
    resumed.autocast = HALF
    assert_same(undisturbed, fit(resumed, 3))


def test_a_run_on_charts_from_a_file_of_weights_is_trained_tested_and_tested_again(tmp_path: Path) -> None:
    beats = synth.beats(80, seed=3)
    np.savez(tmp_path / "beats.npz", x=beats["x"], y=np.where(beats["y"] > 0, "other", "normal"), rate_hz=125.0)
    data = ("--dataset", "table", "--data-file", tmp_path / "beats.npz", "--root-dir", tmp_path)
    run = (*data, "--model-name", SMALL, "--no-figures", "--no-tensorboard")
    how = ("--view", "chart", "--chart-size", "64", "--augment", "tilt,age,mixup", "--calibrate")
    more = ("--weights-file", published(tmp_path), "--backbone-lr", "1e-4", "--mixed-precision", "--patience", "5")
    trained = carried_out(*run, *how, *more, "--epochs", "1", "--batch-size", "40")
    assert trained.code == 0, trained.err
    assert "tensors from weights.pth; reinitialised: the head" in trained.err
    folder = Path(trained.result["run_folder"])
    config = json.loads((folder / "config.json").read_text())
    assert config["pretrained"]["file"] == "weights.pth"
    assert config["flags"]["weights_file"] == "weights.pth"  # beside the root folder's data, and movable with it
    assert config["data"]["image"][0] == 64
    assert {"lr", "backbone_lr"} <= json.loads((folder / "logger.json").read_text())[0].keys()
    assert "body.features.0.0.weight" in weights(folder)
    (tmp_path / "weights.pth").unlink()  # a trained run does not need it again
    again = carried_out(*run, "--test")
    assert again.result == trained.result, again.err
