"""The epoch under way, gathered on the device: nobody waits for it but whoever asks."""

from typing import Any

import torch
from torch import Tensor


class Meter:
    """The order of the rows, what the task keeps of each so far, the sum of losses, and the first bad step."""

    def __init__(self, order: Tensor) -> None:
        self.order = order
        self.outputs: Tensor | None = None
        self.loss_sum = torch.zeros((), device=order.device)
        self.bad_step = torch.full((), -1, device=order.device)
        self.rows = self.steps = 0

    def add(self, outputs: Tensor, loss: Tensor) -> None:
        """Take in a step without reading anything back."""
        outputs, loss = outputs.detach(), loss.detach()
        if self.outputs is None:
            self.outputs = outputs.new_empty(len(self.order), *outputs.shape[1:])
        self.outputs[self.rows : self.rows + len(outputs)] = outputs
        self.loss_sum += loss * len(outputs)
        self.rows += len(outputs)
        self.steps += 1

    def mark(self, value: Tensor) -> Tensor:
        """Whether a step so far had a loss or gradient that is not finite; remembers the first, on the device."""
        fresh = ~torch.isfinite(value) & (self.bad_step < 0)
        self.bad_step = torch.where(fresh, self.steps, self.bad_step)
        return self.bad_step >= 0

    def state_dict(self) -> dict[str, Any]:
        """What was produced; the order is made again from seed and epoch."""
        return {
            "outputs": self.outputs[: self.rows].clone(),
            "loss_sum": self.loss_sum.clone(),
            "rows": self.rows,
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.rows, self.steps = state["rows"], state["steps"]
        self.outputs = state["outputs"].new_empty(len(self.order), *state["outputs"].shape[1:], device=self.order.device)
        self.outputs[: self.rows] = state["outputs"]
        self.loss_sum.copy_(state["loss_sum"])
