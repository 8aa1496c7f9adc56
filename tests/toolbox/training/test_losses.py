"""Every loss against a formula written another way, and the properties that all of them have."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from toolbox.training.losses import LOSSES

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
every_loss = pytest.mark.parametrize("name", LOSSES)


@every_loss
def test_a_loss_is_its_formula_for_each_row_alone(name: str) -> None:
    rows = LOSSES[name](LOGITS, LABELS)
    assert rows.shape == (B,)
    torch.testing.assert_close(rows, FORMULAS[name])
    alone = torch.cat([LOSSES[name](LOGITS[i : i + 1], LABELS[i : i + 1]) for i in range(B)])
    np.testing.assert_allclose(alone, rows, rtol=1e-6)


@every_loss
@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_loss_and_gradient_are_finite_at_extreme_logits(name: str, scale: float) -> None:
    for label in (0, 1):
        logits = torch.tensor([[scale, -scale, 0.0]], requires_grad=True)
        loss = LOSSES[name](logits, torch.tensor([label]))
        loss.sum().backward()
        assert loss.isfinite().all()
        assert (loss >= 0).all()
        assert logits.grad.isfinite().all()
