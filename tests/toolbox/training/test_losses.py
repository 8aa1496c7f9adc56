"""Every loss against a formula written another way, and the properties that all of them have."""

import pytest
import torch
from torch.nn import functional as F

from commands.check.training import loss_checks
from toolbox.training.losses import LABEL_LOSSES, LOSSES, RECONSTRUCTION, smoothed

B, K = 32, 5
LOGITS = torch.randn(B, K, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.arange(B) % K
P = LOGITS.softmax(1)
OF_LABEL = P[torch.arange(B), LABELS]
ONE_HOT = torch.eye(K, dtype=torch.float64)[LABELS]
FORMULAS = {
    "crossentropy": LOGITS.exp().sum(1).log() - LOGITS[torch.arange(B), LABELS],
    "nll": -OF_LABEL.log(),
    "bce": F.binary_cross_entropy(LOGITS.sigmoid(), ONE_HOT, reduction="none").mean(1),
    "focal": -((1 - OF_LABEL) ** 2) * OF_LABEL.log(),
    "mse": F.mse_loss(P, ONE_HOT, reduction="none").mean(1),
    "l1": F.l1_loss(P, ONE_HOT, reduction="none").mean(1),
}
EVERY = [*((name, "classify") for name in LOSSES), *((name, "detect") for name in RECONSTRUCTION)]
every_loss = pytest.mark.parametrize("name", LOSSES)


@every_loss
def test_a_loss_is_its_formula(name: str) -> None:
    rows = LOSSES[name](LOGITS, LABELS)
    torch.testing.assert_close(rows, FORMULAS[name])


@pytest.mark.parametrize("of", EVERY)
def test_a_loss_passes_every_check(of: tuple[str, str]) -> None:
    """What --check asks of a user's loss."""
    for about, check in loss_checks(of).items():
        assert check(of) == "", about


@every_loss
def test_no_loss_is_below_0(name: str) -> None:
    for scale in (1.0, 1e4, 1e30):
        assert (LOSSES[name](scale * LOGITS.float(), LABELS) >= 0).all()


def test_smoothed_cross_entropy_is_torchs() -> None:
    found = smoothed(LOSSES["crossentropy"], LOGITS, LABELS, part=0.1, values=K)
    torch.testing.assert_close(found, F.cross_entropy(LOGITS, LABELS, reduction="none", label_smoothing=0.1))


def test_smoothed_binary_cross_entropy_of_many_labels_has_targets_between_0_and_1() -> None:
    labels = ONE_HOT.long()
    found = smoothed(LABEL_LOSSES["bce"], LOGITS, labels, part=0.2, values=2)
    expected = F.binary_cross_entropy_with_logits(LOGITS, 0.8 * ONE_HOT + 0.1, reduction="none")
    torch.testing.assert_close(found, expected)


@every_loss
def test_without_smoothing_a_loss_is_itself_bit_by_bit(name: str) -> None:
    assert torch.equal(smoothed(LOSSES[name], LOGITS, LABELS, part=0.0, values=K), LOSSES[name](LOGITS, LABELS))
