"""The cost of a network: size and work, which are exact, and time, which is measured.

`size_and_work(model, spec)` is the same on every machine; `times(model, spec, ...)` depend on the model's device. Rows
are random, of the shape of `spec`.

A multiply-accumulate is one multiplication with its addition. The count includes convolutions, linear and recurrent
layers and matrix products (attention), but no elementwise operations or Fourier transforms.
"""

import inspect
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, _FlopCounterMode

WARM_UPS = 3
FEWEST, MOST, ENOUGH_S = 5, 200, 1.0  # number of measurements of a time, and their total that is enough
SPREAD = (10, 90)  # percentiles reported with a median
Clock = Callable[[], float]  # seconds


class Counting(_FlopCounterMode):
    """torch's count, without the guard that keeps it out of a compiled graph: it imports the compiler, a second."""

    __torch_dispatch__ = inspect.unwrap(_FlopCounterMode.__torch_dispatch__)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


def count(model: nn.Module, inputs: Sequence[Tensor]) -> int:
    """Multiply-accumulates of the rows `inputs` in the network's evaluation mode.

    torch's counter misses recurrent layers, counted here by formula, and the fused attention of evaluation mode, run
    here as matrix products.
    """
    counter, cells, recurrent = FlopCounterMode(display=False), [], []

    def before(layer: nn.RNNBase, _: Any) -> None:
        cells.append(counter.get_total_flops())

    def after(layer: nn.RNNBase, inputs: tuple[Any, ...], _: Any) -> None:
        """Count every weight matrix once per step of each row, in place of torch's count."""
        x = getattr(inputs[0], "data", inputs[0])  # of a packed sequence
        weights = sum(each.numel() for each in layer.parameters() if each.dim() == 2)
        recurrent.append(x.numel() // x.shape[-1] * weights - (counter.get_total_flops() - cells.pop()) // 2)

    layers = [layer for layer in model.modules() if isinstance(layer, nn.RNNBase)]
    hooks = [layer.register_forward_pre_hook(before) for layer in layers]
    hooks += [layer.register_forward_hook(after) for layer in layers]
    try:
        with answering(model), _unfused(), Counting(counter):
            model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return counter.get_total_flops() // 2 + sum(recurrent)


class Layer(NamedTuple):
    """A part of a network that has no parts: its name, class, output shape for one row, parameters, and work."""

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    macs: int


def layers(model: nn.Module, inputs: Sequence[Tensor], *, work: bool = True) -> list[Layer]:
    """The layers of the network in the order in which the rows `inputs` pass them; of a repeated one the first pass.

    Recurrent layers and attention are one layer each. Work between layers is in none of them; without `work` it is not
    counted, which takes most of the time.
    """
    seen: dict[str, tuple[nn.Module, Any, Any]] = {}

    def after(layer: nn.Module, given: tuple[Any, ...], outputs: Any, *, name: str) -> None:
        seen.setdefault(name, (layer, given, outputs))

    hooks = [layer.register_forward_hook(partial(after, name=name)) for name, layer in _whole_layers(model)]
    try:
        with answering(model), _unfused():
            model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    found = []
    for name, (layer, given, outputs) in seen.items():
        first: Any = outputs[0] if isinstance(outputs, tuple) else outputs
        shape = tuple(getattr(first, "data", first).shape)
        own = sum(each.numel() for each in layer.parameters())
        found.append(Layer(name, type(layer).__name__, shape, own, count(layer, given) if own and work else 0))
    return found


def _whole_layers(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The parts without parts, and recurrent layers and attention as they are."""
    for name, part in model.named_children():
        if isinstance(part, nn.RNNBase | nn.MultiheadAttention) or not any(True for _ in part.children()):
            yield f"{prefix}{name}", part
        else:
            yield from _whole_layers(part, f"{prefix}{name}.")


@contextmanager
def _unfused() -> Iterator[None]:
    """Attention as matrix products within the block."""
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
    """The network in evaluation and inference mode within the block."""
    trained = [part for part in model.modules() if part.training]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for part in trained:
            part.training = True


class Inputs(Protocol):
    """The facts of the data that give the shape of a network's inputs."""

    @property
    def features(self) -> tuple[str, ...]: ...

    @property
    def shape(self) -> tuple[int, ...]: ...


def inputs(spec: Inputs, rows: int, device: torch.device | str = "cpu") -> list[Tensor]:
    """Random inputs of `rows` rows: x of the shape of `spec` in [0, 1], and features (B, F)."""
    chance = torch.Generator().manual_seed(0)
    shapes = [spec.shape, (len(spec.features),)] if spec.features else [spec.shape]
    return [torch.rand(rows, *shape, generator=chance).to(device) for shape in shapes]


def size_and_work(model: nn.Module, spec: Inputs) -> dict[str, int]:
    """Parameters, bytes of a file of the weights alone, and multiply-accumulates of one row."""
    parameters = list(model.parameters())
    return {
        "parameters": sum(each.numel() for each in parameters),
        "trainable_parameters": sum(each.numel() for each in parameters if each.requires_grad),
        "file_bytes": file_bytes(model),
        "macs": count(model, inputs(spec, 1, parameters[0].device)),
    }


def file_bytes(model: nn.Module) -> int:
    """The size of torch.save's file of the weights, without writing it."""
    sizes: list[int] = []

    def write(data: bytes) -> int:
        sizes.append(len(data))
        return len(data)

    file: Any = SimpleNamespace(write=write, flush=lambda: None)
    torch.save(model.state_dict(), file)
    return sum(sizes)


def times(model: nn.Module, spec: Inputs, *, batch_size: int, clock: Clock = time.perf_counter) -> dict[str, Any]:
    """Milliseconds of a single row, rows per second in batches, and the device and settings of the measurement."""
    weights = next(model.parameters())
    device = weights.device
    one, many = (inputs(spec, rows, device) for rows in (1, batch_size))
    with answering(model):
        alone, together = (seconds(partial(model, *rows), device, clock) for rows in (one, many))
    low, high = np.percentile(alone, SPREAD)
    return {
        "latency_ms": 1000 * float(np.median(alone)),
        "latency_p10_ms": 1000 * float(low),
        "latency_p90_ms": 1000 * float(high),
        "rows_per_s": batch_size / float(np.median(together)),
        "batch_size": batch_size,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "dtype": str(weights.dtype).removeprefix("torch."),
        "torch": torch.__version__,
    }


def seconds(work: Callable[[], Any], device: torch.device, clock: Clock = time.perf_counter) -> list[float]:
    """Durations of `work` until the device has finished, without the slower first few."""
    taken: list[float] = []
    wait = (lambda: None) if device.type == "cpu" else partial(torch.accelerator.synchronize, device)
    for number in range(WARM_UPS + MOST):
        wait()
        started = clock()
        work()
        wait()
        if number >= WARM_UPS:
            taken.append(clock() - started)
        if len(taken) >= FEWEST and sum(taken) > ENOUGH_S:
            break
    return taken


def device_name(device: torch.device) -> str:
    """The model of a GPU or of the processor, if the system names it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8", "replace").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return name if device.type == "cpu" else f"{device.type}, {name}"
