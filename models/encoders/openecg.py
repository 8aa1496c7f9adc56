"""The encoder of openecg's layered codec, which finds waves, beats and rhythms in one lead.

Python package openecg, version 0.11.0: classes of openecg/stage2/model_variants.py (sample-resolution heads on a
convolutional tokenizer) with the sizes in models/codec_v6.pt; ranks as input by opendsp/util.py.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loaders.base import DataSpec
from models.encoders.contract import InputContract
from models.encoders.encoder import Encoder

WIDTH, PATCH, PLACES = 128, 10, 512


class Body(nn.Module):
    """(B, 1, T) -> (B, 128): ten samples a token, four convolutions, four transformer layers, refined samples, mean.

    T is at most 5,120. Dropout 0.1 in the transformer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv_tok = nn.Conv1d(1, WIDTH, 2 * PATCH, PATCH, PATCH // 2)
        self.pos_enc: Tensor
        self.register_buffer("pos_enc", _places())
        self.lower_convs = nn.ModuleList(nn.Conv1d(WIDTH, WIDTH, 7, padding=3) for _ in range(4))
        self.lower_norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(4))
        layer = nn.TransformerEncoderLayer(
            WIDTH, 4, dim_feedforward=256, activation="gelu", batch_first=True, norm_first=True
        )
        self.upper_transformer = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        first, second = (nn.Conv1d(WIDTH, WIDTH, 5, padding=2) for _ in range(2))
        self.refine = nn.Sequential(first, nn.GELU(), second)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.conv_tok(x).transpose(1, 2)
        tokens = tokens + self.pos_enc[:, : tokens.shape[1]]
        for conv, norm in zip(self.lower_convs, self.lower_norms, strict=True):
            tokens = norm(F.gelu(conv(tokens.transpose(1, 2)).transpose(1, 2)) + tokens)
        samples = F.interpolate(self.upper_transformer(tokens).transpose(1, 2), scale_factor=PATCH, mode="nearest")
        return (samples + self.refine(samples)).mean(2)


def _places() -> Tensor:
    """Sines and cosines of the token's place (1, 512, 128), as Vaswani et al. (NeurIPS 2017)."""
    place = torch.arange(PLACES, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, WIDTH, 2, dtype=torch.float32) * (-math.log(10_000.0) / WIDTH))
    return torch.stack([(place * rate).sin(), (place * rate).cos()], 2).reshape(1, PLACES, WIDTH)


class OpenEcg(Encoder):
    """The codec without its heads. The published names are those of `Body`."""

    unused = ("head.", "head_sample.", "beat_sample.", "rhythm_sample.")

    def __init__(self, contract: InputContract, spec: DataSpec) -> None:
        super().__init__(spec, contract, Body(), WIDTH)
