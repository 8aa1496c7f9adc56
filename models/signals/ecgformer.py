"""Transformer encoders over samples or patches of samples (Vaswani et al. 2017; Dosovitskiy et al. 2021)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loaders.base import DataSpec
from models import PLAIN
from models.blocks import Dropout, LeanLayer

WIDENING = 4  # of the hidden layer in each block
CODE_SD = (
    0.2  # macro F1 of ecgformer_patch after an epoch of generated beats: 0.23 with 0.02, 0.50 with 0.2, 0.40 with 1
)


class Attention(LeanLayer):
    """(B, N, width) -> (B, N, width): softmax(q k' / sqrt(width / heads)) v in each head, then a projection."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, N, width / heads)
        if not self.is_lean(x):
            dropout = self.dropout if self.training and self.form == PLAIN else 0.0
            mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        else:
            with torch.autocast(x.device.type, enabled=False):  # its gradient takes ten times as long in bfloat16
                mixed = F.scaled_dot_product_attention(q.float(), k.float(), v.float())
        return self.proj(mixed.transpose(1, 2).flatten(2))


class EncoderLayer(nn.Module):
    """(B, N, width) -> (B, N, width): attention and a widened layer, each normed before and added after."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.mlp = nn.Sequential(
            nn.Linear(width, WIDENING * width), nn.GELU(), Dropout(dropout), nn.Linear(WIDENING * width, width)
        )
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.dropout(self.mlp(self.norm2(x)))


class ECGFormer(nn.Module):
    """(B, C, T) -> logits (B, K): samples embedded as tokens, encoder layers, mean over all tokens, head.

    A class token comes first, and one learned position code is added before every layer. `patch` samples make a token;
    zeros fill up the last one. The published formulation divides the attention by its scale after the softmax, which
    shrinks the output and leaves the weights unscaled; here the scores are scaled before it, which changes no
    parameter: 2,744,645 for one lead, 187 samples and five classes. The embedding keeps torch's own start: with small
    weights and no bias, the norm after it would take the height of a sample away.
    """

    def __init__(
        self, spec: DataSpec, *, width: int = 192, layers: int = 6, heads: int = 8, patch: int = 1, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.patch = patch
        self.embedding = nn.Sequential(nn.Linear(spec.channels * patch, width), nn.LayerNorm(width), nn.GELU())
        self.token = nn.Parameter(torch.empty(width))
        self.position = nn.Parameter(torch.empty(1 - (-spec.samples // patch), width))
        self.layers = nn.ModuleList(EncoderLayer(width, heads, dropout) for _ in range(layers))
        self.head = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.Linear(width, len(spec.classes)))
        for parameter in (self.token, self.position):
            nn.init.trunc_normal_(parameter, std=CODE_SD)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, -x.shape[2] % self.patch)).unflatten(2, (-1, self.patch))  # (B, C, N, patch)
        x = self.embedding(x.transpose(1, 2).flatten(2))  # (B, N, width)
        x = torch.cat([self.token.expand_as(x[:, :1]), x], 1)
        for layer in self.layers:
            x = layer(x + self.position)
        return self.head(x.mean(1))
