"""Autoencoders, (B, C, T) -> (B, C, T) through a small code: trained on one class, they fail on the others."""

import torch
from torch import Tensor, nn

from loaders.base import DataSpec
from models.signals.recurrent import start_able_to_remember


class LSTMAutoencoder(nn.Module):
    """An LSTM encodes the row in its last hidden state; another decodes it over time (Srivastava et al., ICML 2015).

    Encoder C -> 2 `code` -> `code`; the code is repeated for every sample; decoder `code` -> `code` -> 2 `code`; a
    linear layer gives the sample. With one lead and a code of 64: 116,736 and 132,737 parameters.
    """

    def __init__(self, spec: DataSpec, *, code: int = 64) -> None:
        super().__init__()
        self.encoder = nn.ModuleList([nn.LSTM(spec.channels, 2 * code), nn.LSTM(2 * code, code)])
        self.decoder = nn.ModuleList([nn.LSTM(code, code), nn.LSTM(code, 2 * code), nn.Linear(2 * code, spec.channels)])
        for cells in (*self.encoder, *self.decoder[:2]):
            start_able_to_remember(cells)

    def forward(self, x: Tensor) -> Tensor:
        sequence = x.permute(2, 0, 1)  # (T, B, C)
        for cells in self.encoder:
            sequence, _ = cells(sequence)
        repeated = sequence[-1].expand(len(sequence), -1, -1)  # (T, B, code)
        first, second, output = self.decoder
        return output(second(first(repeated)[0])[0]).permute(1, 2, 0)


class ConvAutoencoder(nn.Module):
    """Strided convolutions down to `code` values and back, denoising: noise on the input while it trains.

    Vincent et al., JMLR 2010. `noise` is its standard deviation, as a share of the batch's own.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        widths: tuple[int, ...] = (16, 32, 64),
        code: int = 8,
        kernel: int = 7,
        noise: float = 0.1,
    ) -> None:
        super().__init__()
        self.noise = noise
        self.lengths = [spec.samples]
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        width_in = spec.channels
        for width in widths:
            down += [nn.Conv1d(width_in, width, kernel, 2, kernel // 2), nn.BatchNorm1d(width), nn.GELU()]
            up = [nn.ConvTranspose1d(width, width_in, kernel, 2, kernel // 2, (self.lengths[-1] - 1) % 2), *up]
            if width_in != spec.channels:
                up = [up[0], nn.BatchNorm1d(width_in), nn.GELU(), *up[1:]]
            self.lengths.append((self.lengths[-1] + 1) // 2)
            width_in = width
        flat = width_in * self.lengths[-1]
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(flat, code))
        self.decoder = nn.Sequential(
            nn.Linear(code, flat), nn.Unflatten(1, (width_in, self.lengths[-1])), nn.GELU(), *up
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(_noisy(x, self.noise) if self.training else x))


class LinearAutoencoder(nn.Module):
    """One linear layer down and one up over the whole row, denoising: spans the principal components' subspace."""

    def __init__(self, spec: DataSpec, *, code: int = 8, noise: float = 0.1) -> None:
        super().__init__()
        self.noise, size = noise, spec.channels * spec.samples
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(size, code))
        self.decoder = nn.Sequential(nn.Linear(code, size), nn.Unflatten(1, (spec.channels, spec.samples)))

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(_noisy(x, self.noise) if self.training else x))


def _noisy(x: Tensor, share: float) -> Tensor:
    """x with white noise of `share` of its standard deviation."""
    return x + share * x.std() * torch.randn_like(x)
