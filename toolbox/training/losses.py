"""A name becomes a loss of each row (B,): of logits (B, K) and labels (B,), or of a reconstruction (B, C, T); of many
labels a row (B, K), the loss of each class (B, K).

The task weights by class and averages, in the same way for every loss.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor], Tensor]


class Mix(NamedTuple):
    """Rows blended in pairs (mixup): share[i] (B,) float32 of row i and the rest of row partner[i] (B,) int64."""

    partner: Tensor
    share: Tensor

    def only(self, chosen: Tensor) -> "Mix":
        """The same blend for the rows `chosen` (B,); the other rows stay unblended."""
        own = torch.arange(len(chosen), device=chosen.device)
        return Mix(torch.where(chosen, self.partner, own), torch.where(chosen, self.share, 1.0))

    def of(self, x: Tensor) -> Tensor:
        """The mixed rows of x (B, ...)."""
        share = self.share.view(-1, *[1] * (x.dim() - 1)).to(x.dtype)
        return share * x + (1 - share) * x.index_select(0, self.partner)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Negative log of the softmax probability of the label."""
    return F.cross_entropy(logits, labels, reduction="none")


def negative_log_likelihood(logits: Tensor, labels: Tensor) -> Tensor:
    """The same value by way of log_softmax and nll_loss, the form some published runs name."""
    return F.nll_loss(F.log_softmax(logits, 1), labels, reduction="none")


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """One class against the rest by sigmoid, averaged over classes."""
    return F.binary_cross_entropy_with_logits(logits, _one_hot(logits, labels), reduction="none").mean(1)


def focal(logits: Tensor, labels: Tensor, gamma: float = 2.0) -> Tensor:
    """Cross-entropy scaled by (1 - p)^gamma, p the probability of the label (Lin et al., ICCV 2017)."""
    loss = cross_entropy(logits, labels)
    return (1 - torch.exp(-loss)).pow(gamma) * loss


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Squared distance of the softmax probabilities to the one-hot label, averaged over classes (Brier score / K)."""
    return (logits.softmax(1) - _one_hot(logits, labels)).square().mean(1)


def absolute_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Absolute distance of the softmax probabilities to the one-hot label, averaged over classes."""
    return (logits.softmax(1) - _one_hot(logits, labels)).abs().mean(1)


def smoothed(loss: Loss, outputs: Tensor, labels: Tensor, *, part: float, values: int) -> Tensor:
    """`loss` with labels that are wrong with the probability `part`: then every one of `values` is as likely.

    Of `cross_entropy` it is torch's label_smoothing (Szegedy et al., CVPR 2016).
    """
    own = loss(outputs, labels)
    if not part:
        return own
    every = torch.stack([loss(outputs, torch.full_like(labels, value)) for value in range(values)])
    return (1 - part) * own + part * every.mean(0)


def _one_hot(logits: Tensor, labels: Tensor) -> Tensor:
    return F.one_hot(labels, logits.shape[1]).to(logits.dtype)


LOSSES: dict[str, Loss] = {
    "crossentropy": cross_entropy,
    "nll": negative_log_likelihood,
    "bce": binary_cross_entropy,
    "focal": focal,
    "mse": squared_error,
    "l1": absolute_error,
}


def labels_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross entropy of each class."""
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")


def labels_focal(logits: Tensor, labels: Tensor, gamma: float = 2.0) -> Tensor:
    """Binary cross entropy of each class, scaled by (1 - p)^gamma, p the probability of the right answer (Lin et al.,
    ICCV 2017)."""
    loss = labels_cross_entropy(logits, labels)
    return (1 - torch.exp(-loss)).pow(gamma) * loss


def labels_asymmetric(logits: Tensor, labels: Tensor, gamma: float = 4.0, margin: float = 0.05) -> Tensor:
    """Cross entropy of a present class; of an absent one p^gamma times it, with p lowered by `margin`, so that easy
    absent classes count for nothing (Ridnik et al., ICCV 2021, with their gamma- of 4, gamma+ of 0 and margin)."""
    present = labels.to(logits.dtype)
    lowered = (logits.sigmoid() - margin).clamp(min=0)
    absent = lowered.pow(gamma) * -torch.log1p(-lowered)  # lowered is at most 1 - margin
    return present * F.softplus(-logits) + (1 - present) * absent


# Of many labels a row: the loss (B, K) of each class, for logits (B, K) and labels (B, K) of 0 and 1.
LABEL_LOSSES: dict[str, Loss] = {"bce": labels_cross_entropy, "focal": labels_focal, "asymmetric": labels_asymmetric}


def reconstruction_absolute(outputs: Tensor, x: Tensor) -> Tensor:
    """Absolute distance, averaged over leads and samples, in the data's unit."""
    return (outputs - x).abs().mean((1, 2))


def reconstruction_squared(outputs: Tensor, x: Tensor) -> Tensor:
    """Squared distance, averaged over leads and samples."""
    return (outputs - x).square().mean((1, 2))


# These names also exist in LOSSES, for the same distance.
RECONSTRUCTION: dict[str, Loss] = {"l1": reconstruction_absolute, "mse": reconstruction_squared}
