"""ECGFounder (Li et al., NEJM AI 2025): Net1D, trained on ten million ECGs of one hospital with 150 labels.

Names and sizes by net1d.py and finetune_model.py, input by dataset.py, of github.com/PKUDigitalHealth/ECGFounder at
39477db.
"""

import re
from dataclasses import replace

from torch import nn

from loaders.base import DataSpec
from models import MODELS
from models.encoders.contract import InputContract
from models.encoders.encoder import Encoder

WIDTHS, BLOCKS, STEM = (64, 160, 160, 400, 400, 1024, 1024), (2, 2, 2, 3, 3, 4, 4), 64
PUBLISHED = (
    (r"^stem\.", "first_conv.conv."),
    (r"^stages\.(\d+)\.(\d+)\.", r"stage_list.\1.block_list.\2."),
    (r"\.(conv\d)\.", r".\1.conv."),
    (r"\.squeeze\.", ".se_fc1."),
    (r"\.excite\.", ".se_fc2."),
)


class EcgFounder(Encoder):
    """The network without its last layer; features (B, 1024) are means over time."""

    unused = ("dense.", "first_bn.")

    def __init__(self, contract: InputContract, spec: DataSpec) -> None:
        rows = replace(spec, channels=len(contract.leads) or 1)
        body = MODELS["net1d"].build(rows, widths=WIDTHS, blocks=BLOCKS, stem=STEM, norm=False)
        body.head = nn.Identity()
        super().__init__(spec, contract, body, WIDTHS[-1])

    def names(self, own: str) -> str:
        for mine, theirs in PUBLISHED:
            own = re.sub(mine, theirs, own)
        return own
