"""Multiply-accumulates of a network: one multiplication with its addition; those of convolutions, linear and recurrent
layers and matrix products (attention) are counted, what is done value by value is not."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def count(model: nn.Module, inputs: Sequence[Tensor]) -> int:
    """Multiply-accumulates of the rows `inputs` on their way through the network, as it is when it is used.

    torch's counter sees neither recurrent layers nor the fused attention of a network that is not trained, so the first
    are counted by formula and the second is carried out as the matrix products that it is.
    """
    counter, cells = FlopCounterMode(display=False), []

    def before(layer: nn.RNNBase, _: Any) -> None:
        cells.append(counter.get_total_flops())

    def after(layer: nn.RNNBase, inputs: tuple[Any, ...], _: Any) -> None:
        seen = counter.get_total_flops() - cells.pop()
        recurrent.append(of_recurrent(layer, inputs[0]) - seen // 2)

    recurrent: list[int] = []
    layers = [layer for layer in model.modules() if isinstance(layer, nn.RNNBase)]
    hooks = [layer.register_forward_pre_hook(before) for layer in layers]
    hooks += [layer.register_forward_hook(after) for layer in layers]
    try:
        with answering(model), _unfused(), counter:
            model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return counter.get_total_flops() // 2 + sum(recurrent)


def of_recurrent(layer: nn.RNNBase, x: Any) -> int:
    """Multiply-accumulates of an LSTM or GRU: every matrix of its weights, once a step of each row."""
    x = getattr(x, "data", x)  # of a packed sequence
    steps = x.numel() // x.shape[-1]
    return steps * sum(each.numel() for each in layer.parameters() if each.dim() == 2)


@contextmanager
def _unfused() -> Iterator[None]:
    """Attention as matrix products, for as long as it lasts."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextmanager
def answering(model: nn.Module) -> Iterator[None]:
    """The network as it is when it is used, and not trained."""
    trained = [part for part in model.modules() if part.training]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for part in trained:
            part.training = True
