"""ECG-FM (McKeen et al., JAMIA Open 2025): wav2vec 2.0 over twelve leads, trained without labels.

Names, sizes and order of operations by github.com/Jwoo5/fairseq-signals: models/ecg_transformer.py (539dde7),
models/transformer.py and modules/conv_positional_encoding.py (97ecd13), modules/conv_feature_extraction.py (0d35ddd),
modules/transformer_encoder.py (2c78eb8), and modules/transformer_encoder_layer.py as in the copy of
github.com/HeartWise-AI/fairseq-signals (cb1b2fd); input by notebooks/infer_quickstart.ipynb of
github.com/bowang-lab/ECG-FM (3ff744e).
"""

import math

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from loaders.base import DataSpec
from models.encoders.contract import InputContract
from models.encoders.encoder import Encoder

CHANNELS, CONVOLUTIONS = 256, 4
WIDTH, HIDDEN, HEADS, LAYERS = 768, 3072, 12, 12
PLACES, GROUPS = 128, 16  # of the convolution that encodes positions
DROPOUT = 0.1


class Convolutions(nn.Module):
    """(B, leads, T) -> (B, 256, T / 16): four convolutions that halve the rate, a group norm in the first."""

    def __init__(self, leads: int) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList()
        for place in range(CONVOLUTIONS):
            conv = nn.Conv1d(CHANNELS if place else leads, CHANNELS, 2, 2, bias=False)
            norm = [] if place else [nn.GroupNorm(CHANNELS, CHANNELS)]
            self.conv_layers.append(nn.Sequential(conv, nn.Identity(), *norm, nn.GELU()))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.conv_layers:
            x = layer(x)
        return x


class Positions(nn.Module):
    """(B, T, D) -> (B, T, D): a convolution over 128 tokens, whose weight is normalised over its places."""

    def __init__(self) -> None:
        super().__init__()
        conv = nn.Conv1d(WIDTH, WIDTH, PLACES, padding=PLACES // 2, groups=GROUPS)
        nn.init.normal_(conv.weight, std=math.sqrt(4 / (PLACES * WIDTH)))
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        self.pos_conv = nn.Sequential(parametrizations.weight_norm(conv, dim=2))

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.pos_conv(x.transpose(1, 2))[..., : x.shape[1]]).transpose(1, 2)


class SelfAttention(nn.Module):
    """Self-attention over (B, T, D) with one matrix for each of its parts."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        parts = self.q_proj, self.k_proj, self.v_proj
        q, k, v = (part(x).unflatten(2, (HEADS, -1)).transpose(1, 2) for part in parts)
        found = F.scaled_dot_product_attention(q, k, v, dropout_p=DROPOUT if self.training else 0.0)
        return self.out_proj(found.transpose(1, 2).flatten(2))


class PostNormLayer(nn.Module):
    """A transformer layer, (B, T, D) -> (B, T, D), whose norms come after the sums."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = SelfAttention()
        self.self_attn_layer_norm, self.final_layer_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        x = self.self_attn_layer_norm(x + self.dropout(self.self_attn(x)))
        return self.final_layer_norm(x + self.dropout(self.fc2(F.gelu(self.fc1(x)))))


class Transformer(nn.Module):
    """(B, T, D) -> (B, T, D): a layer norm, dropout and twelve layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(PostNormLayer() for _ in range(LAYERS))
        self.layer_norm, self.dropout = nn.LayerNorm(WIDTH), nn.Dropout(DROPOUT)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.normal_(part.weight, std=0.02)
                nn.init.zeros_(part.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(self.layer_norm(x))
        for layer in self.layers:
            x = layer(x)
        return x


class Wav2Vec(nn.Module):
    """(B, leads, T) -> (B, 768): a token for 16 samples, their positions, the transformer, the mean over tokens."""

    def __init__(self, leads: int) -> None:
        super().__init__()
        self.feature_extractor = Convolutions(leads)
        self.layer_norm = nn.LayerNorm(CHANNELS)
        self.post_extract_proj = nn.Linear(CHANNELS, WIDTH)
        self.conv_pos, self.encoder = Positions(), Transformer()

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.post_extract_proj(self.layer_norm(self.feature_extractor(x).transpose(1, 2)))
        return self.encoder(tokens + self.conv_pos(tokens)).mean(1)


class EcgFm(Encoder):
    """The network without the parts of its training. The published names are those of `Wav2Vec`."""

    unused = ("mask_emb", "quantizer.", "project_q.", "final_proj.", "proj.")

    def __init__(self, contract: InputContract, spec: DataSpec) -> None:
        super().__init__(spec, contract, Wav2Vec(len(contract.leads)), WIDTH)
