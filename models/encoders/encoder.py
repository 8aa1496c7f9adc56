"""An encoder in a network: a front for its contract, the published part, a new linear layer."""

from torch import Tensor, nn

from loaders.base import DataSpec
from models.encoders.contract import InputContract
from models.encoders.front import Front


class Encoder(nn.Module):
    """(B, C, T) -> logits (B, K): `body` turns rows of the contract into features (B, `width`), a linear layer follows.

    `names` maps a tensor of `body` to its published name; `unused` begin the published names that have no place here.
    """

    unused: tuple[str, ...] = ()

    def __init__(self, spec: DataSpec, contract: InputContract, body: nn.Module, width: int) -> None:
        super().__init__()
        self.front, self.body = Front(spec, contract), body
        self.head = nn.Linear(width, len(spec.classes))

    def names(self, own: str) -> str:
        return own

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.front(x)))
