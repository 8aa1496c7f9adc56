"""A small convolutional network for beats: the baseline that trains in seconds an epoch."""

from torch import Tensor, nn

from loaders.base import DataSpec
from models.blocks import BatchNorm1d, Conv1d, MaxPool1d
from toolbox.errors import UsageError


class CNN1d(nn.Module):
    """(B, C, T) -> logits (B, K) by two convolutions without padding, each with ReLU and max-pooling by 3.

    The first is batch-normalised, which the published count of 4,789 parameters for 187 samples and five classes
    includes. `widths` are the channels of the two; `kernel` and `pool` are lengths in samples.

    Raises UsageError for rows that are too short.
    """

    def __init__(self, spec: DataSpec, *, widths: tuple[int, int] = (8, 32), kernel: int = 7, pool: int = 3) -> None:
        super().__init__()
        first, second = widths
        self.features = nn.Sequential(
            Conv1d(spec.channels, first, kernel),
            BatchNorm1d(first),
            MaxPool1d(pool),
            nn.ReLU(),
            Conv1d(first, second, kernel),
            nn.ReLU(),
            MaxPool1d(pool),
            nn.Flatten(),
        )
        samples, least = spec.samples, 1
        for _ in widths:
            samples, least = (samples - kernel + 1) // pool, least * pool + kernel - 1
        if spec.samples < least:
            what = f"this network needs rows of {least} samples or more, {spec.name} has {spec.samples}"
            raise UsageError(what, hint="--model-name resnet1d_10")
        self.head = nn.Linear(second * samples, len(spec.classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))
