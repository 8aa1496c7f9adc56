"""The loop: exact resume for every kind of state, numbers of a plain loop, and a stop before a bad step."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from commands.choices import CHOICES
from helpers.data import BIG
from helpers.training import NEVER, StopAfter, assert_same, build, fit, through_a_file, untimed
from loaders import augment
from loaders.base import Data, Split
from models import FORMS, MODELS, VISION, get_model
from toolbox.errors import NumericsError, UsageError
from toolbox.runs import checkpoints
from toolbox.runs.folder import RunFolder


def few(data: Data) -> Data:
    """The first rows: enough for four batches of ten, and quick for the largest network."""
    splits = (
        replace(split.rows(np.arange(n)), x=split.x[:n, :, :61]) for split, n in ((data.train, 35), (data.val, 20))
    )
    return replace(data, spec=replace(data.spec, samples=61), **dict(zip(("train", "val"), splits, strict=True)))


def of_records(data: Data) -> Data:
    """The same training rows, of three records."""
    return replace(data, train=replace(data.train, record=np.resize(np.array(["100", "101", "102"]), len(data.train))))


MIXED = "noise,shift,mixup"
BY_SIZE = sorted(MODELS, key=lambda name: -(MODELS[name].parameters or 0))
# The smallest network of each class.
KINDS = {MODELS[name].target: name for name in BY_SIZE}.values()
# With batch norms, without buffers, recurrent, an autoencoder; those of charts and convolutions stand in lines below.
NETWORKS = ("resnet1d_10", "ecgformer_tiny", "gru_1", "lstm_ae")
SMALL = {"batch_size": 10}
# One for each kind of state that a checkpoint keeps, or of order that depends on the step; every name is a soak.
QUICK: list[dict[str, Any]] = [
    *({"model_name": name, **SMALL} for name in NETWORKS),
    {"augment": ",".join(augment.names("charts")), "model_name": "mobilenet_v3_small", **SMALL},
    {"augment": ",".join(f"{name}::1" for name in augment.names("signals"))},
    {"augment": MIXED, "model_name": "conv_ae", "criterion": "mse", **SMALL},
    {"class_weights": "1,2,0,4,5", "augment": "mixup"},
    {"train": "head"},
    {"members": 3},
    {"sampler": "equal"},
    {"sampler": "records"},
    {"class_balance": "equal"},
    {"optimizer": "sgd", "grad_clip": 0.5},
    {"optimizer": "adam", "scheduler": "ReduceLROnPlateau"},
    {"scheduler": "StepLR", "step": 1, "criterion": "focal"},
    {"short_run": True, "batch_size": 8},
    {"deterministic": True},
    {"start_epoch": 1},
]
EVERY: list[dict[str, Any]] = [
    *({"model_name": name, **SMALL} for name in MODELS if name not in (*BIG, *NETWORKS)),
    *({"augment": f"{name}::1"} for name in augment.names("signals")),
    *({"class_weights": "1,2,0,4,5"}, {"sampler": "importance"}, {"class_balance": "importance"}),
    *({"optimizer": name, "grad_clip": 0.5} for name in CHOICES["optimizer"]),
    *({"scheduler": name, "step": 1} for name in CHOICES["scheduler"]),
    *({"criterion": name} for name in CHOICES["criterion"]),
]
COMBINATIONS = [*QUICK, *(pytest.param(flags, marks=pytest.mark.soak) for flags in EVERY)]


@pytest.mark.parametrize("flags", COMBINATIONS, ids=lambda flags: "-".join(map(str, flags.values())))
def test_stopped_and_resumed_equals_never_stopped(
    tiny: Data, tiny_charts: Data, tmp_path: Any, flags: dict[str, Any]
) -> None:
    data = (
        tiny_charts if flags.get("model_name") in VISION else few(tiny) if "model_name" in flags else of_records(tiny)
    )
    undisturbed = fit(build(data, **flags), 3)
    for looks in (2, 7):  # in the first epoch, and later
        stopped = fit(build(data, **flags), 3, StopAfter(looks))
        assert stopped.epoch < 3
        resumed = fit(through_a_file(stopped, data, RunFolder(tmp_path), **flags), 3)
        assert_same(undisturbed, resumed)


@pytest.mark.parametrize("scheduler", ["StepLR", "ExponentialLR", "ReduceLROnPlateau", "none"])
def test_a_run_made_longer_equals_one_that_was_long_from_the_start(tiny: Data, tmp_path: Any, scheduler: str) -> None:
    short, long = {"epochs": 2, "scheduler": scheduler}, {"epochs": 4, "scheduler": scheduler}
    resumed = through_a_file(fit(build(tiny, **short), 2), tiny, RunFolder(tmp_path), **long)
    assert_same(fit(build(tiny, **long), 4), fit(resumed, 4))


@pytest.mark.parametrize("scheduler", ["CosineAnnealingLR", "OneCycleLR"])
def test_a_shaped_schedule_reaches_its_end_in_a_longer_run(tiny: Data, tmp_path: Any, scheduler: str) -> None:
    short, long = {"epochs": 2, "scheduler": scheduler}, {"epochs": 4, "scheduler": scheduler}
    resumed = fit(through_a_file(fit(build(tiny, **short), 2), tiny, RunFolder(tmp_path), **long), 4)
    assert resumed.epoch == 4
    assert resumed.optimizer.param_groups[0]["lr"] < 1e-4


def test_no_gradient_of_an_earlier_step_is_added_to_the_next(tiny: Data) -> None:
    trainer = build(tiny, grad_clip=0.0)
    trainer.learners = [trainer.learners[0][:1]]  # the `members` of a network may be a part of it
    for parameter in trainer.model.parameters():
        parameter.grad = torch.full_like(parameter, 1e9)
    fit(trainer, 1)
    assert all(parameter.grad.abs().max() < 1e6 for parameter in trainer.model.parameters())


def test_a_checkpoint_that_keeps_no_losses_of_steps_is_resumed_and_those_before_are_not_known(tiny: Data) -> None:
    whole, stopped = fit(build(tiny), 3), fit(build(tiny), 3, StopAfter(10))
    state = stopped.state_dict()
    del state["losses"], state["meter"]["losses"]
    resumed = build(tiny)
    checkpoints.load_weights(resumed.model, state["model"], "here")
    resumed.load_state_dict(state)
    (_, known), (epoch, loss) = (fit(each, 3).losses.arrays().values() for each in (whole, resumed))
    done = state["meter"]["steps"]
    assert epoch.tolist() == [2] * 5 + [3] * 5
    assert np.isnan(loss[:done]).all()
    assert np.array_equal(loss[done:], known[5 + done :])


def test_same_seed_same_weights_other_seed_other_weights(tiny: Data) -> None:
    assert_same(fit(build(tiny), 2), fit(build(tiny), 2))
    one, other = (fit(build(tiny, seed=seed), 1).model.state_dict()["head.weight"] for seed in (1, 2))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("how", [{}, {"model_name": "conv_ae", "batch_size": 10}], ids=["classify", "detect"])
def test_augmented_runs_of_a_seed_are_the_same_run_and_not_the_plain_one(tiny: Data, how: dict[str, Any]) -> None:
    data = few(tiny) if how else tiny
    one, other = (fit(build(data, augment=MIXED, **how), 2) for _ in range(2))
    assert_same(one, other)
    plain = fit(build(data, **how), 2)
    assert untimed(one.history) != untimed(plain.history)


@pytest.mark.parametrize("how", [{}, {"model_name": "conv_ae"}], ids=["classify", "detect"])
def test_predicted_rows_are_never_augmented(tiny: Data, how: dict[str, Any]) -> None:
    changes = ",".join(f"{name}::1" for name in augment.names("signals"))
    augmented, plain = fit(build(tiny, augment=changes, **how), 1), build(tiny, **how)
    plain.model.load_state_dict(augmented.model.state_dict())
    for split in (tiny.val, tiny.test):
        np.testing.assert_array_equal(augmented.predict(split).scores, plain.predict(split).scores)
        np.testing.assert_array_equal(augmented.predict(split).loss, plain.predict(split).loss)
    assert augmented.history[0]["val"]["loss"] == plain.task.measure(plain.predict(tiny.val))["loss"]


def test_a_blended_rows_train_metrics_are_of_its_own_label(tiny: Data) -> None:
    still = {"optimizer": "sgd", "lr": 1e-30, "momentum": 0.0, "weight_decay": 0.0, "scheduler": "none"}
    trainer, mixed = build(tiny, augment="mixup:1", **still), build(tiny, **still)
    order, blend, said = trainer._begin_epoch().order, augment.Augment("mixup:1", rate_hz=125, seed=42), []
    mixed.model.train()
    for step, rows in enumerate(order.split(32)):
        x, _ = blend(torch.from_numpy(tiny.train.x)[rows], epoch=0, step=step)
        said.append(mixed.model(x).argmax(1))
    own, train = torch.from_numpy(tiny.train.y)[order], fit(trainer, 1).history[0]["train"]
    matrix = np.zeros((5, 5))
    np.add.at(matrix, (own.numpy(), torch.cat(said).numpy()), 1)
    np.testing.assert_array_equal(train["confusion_matrix"], matrix)


@pytest.mark.parametrize(
    "flags", [{"batch_size": 1}, {"batch_size": 149}], ids=["each row alone", "the last row alone"]
)
def test_a_class_may_weigh_nothing_though_a_batch_is_all_of_it(tiny: Data, flags: dict[str, int]) -> None:
    trainer = fit(build(few(tiny) if flags["batch_size"] == 1 else tiny, class_weights="0,1,1,1,1", **flags), 1)
    assert np.isfinite(trainer.history[0]["train"]["loss"])


def test_the_loop_is_the_plain_loop(tiny: Data) -> None:
    trainer = build(
        tiny, optimizer="sgd", momentum=0.0, scheduler="none", lr=0.1, weight_decay=0.0, grad_clip=0.0, epochs=1
    )
    plain = build(tiny, seed=42).model
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    order = trainer._begin_epoch().order
    fit(trainer, 1)
    plain.train()
    for begin in range(0, len(order), 32):
        rows = order[begin : begin + 32]
        loss = torch.nn.functional.cross_entropy(
            plain(torch.tensor(tiny.train.x)[rows]), torch.tensor(tiny.train.y)[rows]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(value, trainer.model.state_dict()[key])


def test_every_row_is_seen_once_an_epoch_and_measured(tiny: Data) -> None:
    row = fit(build(tiny, epochs=1), 1).history[0]
    assert np.sum(row["train"]["confusion_matrix"]) == len(tiny.train)
    assert np.sum(row["val"]["confusion_matrix"]) == len(tiny.val)
    assert np.sum(row["train"]["confusion_matrix"], 1).tolist() == np.bincount(tiny.train.y, minlength=5).tolist()


@pytest.mark.parametrize(
    "flags", [{"sampler": "equal"}, {"class_balance": "equal"}, {"class_weights": "1,2,3,4,0"}], ids=str
)
def test_balancing_never_touches_validation(tiny: Data, flags: dict[str, str]) -> None:
    trainer = build(tiny, **flags)
    trainer.model.eval()
    with torch.inference_mode():
        logits = trainer.model(torch.tensor(tiny.val.x))
        plain = float(torch.nn.functional.cross_entropy(logits, torch.tensor(tiny.val.y)))
    assert trainer.task.measure(trainer.predict(tiny.val))["loss"] == pytest.approx(plain, rel=1e-5)


def test_predictions_come_in_the_order_of_the_source(tiny: Data) -> None:
    predictions = build(tiny).predict(tiny.val)
    assert predictions.index.tolist() == tiny.val.index.tolist()
    assert predictions.target.tolist() == tiny.val.y.tolist()
    np.testing.assert_allclose(predictions.scores.sum(1), 1, rtol=1e-5)


def test_a_loss_that_is_not_finite_stops_before_the_step(tiny: Data) -> None:
    x = tiny.train.x.copy()
    x[17] = np.nan
    trainer = build(
        Data(tiny.spec, Split(x, tiny.train.y, tiny.train.record, tiny.train.index), tiny.val, tiny.open_test, "")
    )
    says = r"learning rate of .*no step was made.*epoch 1, batch \d+, rows (\d+, ){5}"
    with pytest.raises(NumericsError, match=says) as caught:
        fit(trainer, 1)
    assert caught.value.code == 5
    assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())


def test_patience_ends_a_run_that_no_longer_improves(tiny: Data) -> None:
    trainer = build(tiny, epochs=30, lr=1e-9)
    trainer.fit(30, on_epoch=lambda *_: None, stop=NEVER, patience=2)
    assert trainer.epoch == trainer.best["epoch"] + 2
    assert trainer.epoch < 30


def test_the_best_epoch_is_the_one_with_the_best_monitored_value(tiny: Data) -> None:
    for monitor, choose in (("macro_f1", max), ("loss", min)):
        trainer = fit(build(tiny, monitor=monitor), 4)
        values = [row["val"][monitor] for row in trainer.history]
        assert (trainer.best_epoch, trainer.best["value"]) == (values.index(choose(values)) + 1, choose(values))


def test_the_last_epoch_is_the_best_if_the_epoch_is_monitored(tiny: Data) -> None:
    last = fit(build(tiny, monitor="epoch"), 3).best
    assert (last["epoch"], last["value"]) == (3, 3)


@pytest.mark.parametrize("name", KINDS)
def test_a_last_batch_of_one_row_is_trained_on_by_every_class_of_network(
    name: str, tiny: Data, tiny_charts: Data
) -> None:
    data = tiny_charts if name in VISION else tiny
    model = get_model(name, data.spec).train()
    model(torch.from_numpy(data.train.x[:1])).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_an_epoch_whose_last_batch_has_one_row_is_trained(tiny: Data) -> None:
    assert fit(build(tiny, batch_size=149, model_name="resnet1d_10"), 1).epoch == 1


@pytest.mark.parametrize("members", [1, 2])
def test_a_last_batch_of_one_row_that_is_too_small_for_batch_norm_is_refused_with_the_flag_to_type(
    tiny: Data, members: int
) -> None:
    splits = {name: replace(split, x=split.x[:, :, :12]) for name, split in (("train", tiny.train), ("val", tiny.val))}
    short = replace(tiny, spec=replace(tiny.spec, samples=12), **splits)
    with pytest.raises(UsageError, match=r"one row of 12 samples .* --batch-size"):
        fit(build(short, batch_size=len(short.train) - 1, model_name="resnet1d_10", members=members), 1)


def test_features_of_a_single_row_are_normalised_by_those_before(tiny: Data) -> None:
    model, x = get_model("cnn1d_3", replace(tiny.spec, features=("a", "b"))).train(), torch.from_numpy(tiny.train.x)
    features = torch.randn(len(x), 2) * 3 + 5
    model(x, features)
    with torch.no_grad():
        alone = model.features[0](features[:1])
    expected = (features[:1] - 5 * 0.1) / (0.9 + 0.1 * features.var(0)).sqrt()
    torch.testing.assert_close(alone, expected, rtol=0.1, atol=0.1)
    model(x[:1], features[:1]).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


THREADS_TOLERANCE = 1e-4  # of the losses of three steps, relative, as docs/promises.md states it


@pytest.mark.parametrize("form", FORMS)
def test_one_thread_and_two_differ_by_rounding_alone(tiny: Data, form: str) -> None:
    threads, losses = torch.get_num_threads(), []
    try:
        for number in (1, 2):
            trainer = build(tiny, model_name="resnet1d_10", batch_size=15, threads=str(number), form=form)
            assert torch.get_num_threads() == number
            losses.append(fit(trainer, 1).losses.arrays()["loss"][:3])
    finally:
        torch.set_num_threads(threads)
    assert losses[0] == pytest.approx(losses[1], rel=THREADS_TOLERANCE)
