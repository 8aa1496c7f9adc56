"""Trained networks as files of other programs: ONNX and safetensors.

    content = written("onnx", network, inputs)       # bytes, checked against the network at two batch sizes
    model = OnnxNetwork(content, where)              # opened with onnxruntime, on the CPU
    tensors = tensors_of(content, where)             # of a safetensors file, for `checkpoints.load_weights`

Both formats are extras (`requirements-export.txt`), imported when they are used. ONNX comes from torch's exporter by
tracing (`dynamo=False`): it takes 0.05 to 1 s where the one over `torch.export` takes 2 to 8, and needs no onnxscript.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toolbox.errors import CheckpointError, NumericsError, UsageError
from toolbox.runs import checkpoints

OPSET = 17
BATCHES = (1, 3)  # rows of the batches that are compared; the traced batch has two
TRACED = 2
TOLERANCE = 1e-4  # of the largest output, or of 1 if that is smaller
INPUTS, OUTPUT, BATCH = ("x", "features"), "outputs", "batch"
ANOTHER = "another folder of --export, or export the run again"
log = logging.getLogger("commander")
Rows = Callable[[int], list[Tensor]]


def as_onnx(model: nn.Module, rows: Rows, name: str) -> bytes:
    """The network as ONNX, with a free number of rows; `rows(n)` gives inputs of n rows, on the CPU like the network.

    Raises UsageError for a network that cannot be traced, NumericsError if onnxruntime computes other outputs.
    """
    import onnx  # noqa: F401 (torch's exporter needs it)

    inputs, file = rows(TRACED), io.BytesIO()
    to: Any = file  # torch's types lack it
    names = INPUTS[: len(inputs)]
    try:
        with _tracing(), torch.no_grad():
            torch.onnx.export(
                model,
                tuple(inputs),
                to,
                dynamo=False,
                opset_version=OPSET,
                input_names=list(names),
                output_names=[OUTPUT],
                dynamic_axes={each: {0: BATCH} for each in (*names, OUTPUT)},
            )
        opened = OnnxNetwork(file.getvalue(), name)
        faults = [_difference(model, opened, rows(count)) for count in BATCHES]
    except CheckpointError as error:
        raise _unfit(name, error.what) from error
    except (torch.onnx.OnnxExporterError, RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        raise _unfit(name, str(error)) from error
    for count, fault in zip(BATCHES, faults, strict=True):
        if fault:
            what = f"ONNX of {name} computes other outputs than the network for {count} rows: {fault}"
            raise NumericsError(what, hint="--export safetensors; nothing was written")
    return file.getvalue()


def as_safetensors(model: nn.Module, rows: Rows, name: str) -> bytes:
    """The weights of the network as safetensors, read back and compared."""
    from safetensors.torch import save

    tensors = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in model.state_dict().items()}
    content = save(tensors)
    back = tensors_of(content, name)
    if any(not torch.equal(tensor, back[key]) for key, tensor in tensors.items()):
        raise NumericsError(f"safetensors of {name} holds other weights", hint="--export onnx; nothing was written")
    return content


# The file of each format, and the function that makes its content.
FORMATS: dict[str, tuple[str, Callable[[nn.Module, Rows, str], bytes]]] = {
    "onnx": ("model.onnx", as_onnx),
    "safetensors": ("model.safetensors", as_safetensors),
}


class OnnxNetwork(nn.Module):
    """A network in ONNX, computed by onnxruntime on the CPU: (B, ...) and features (B, F) -> outputs (B, ...).

    Raises CheckpointError for a file that onnxruntime cannot open.
    """

    def __init__(self, content: bytes, where: str) -> None:
        import onnxruntime

        super().__init__()
        onnxruntime.set_default_logger_severity(4)  # its errors are raised, too
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common class
            what = f"onnxruntime cannot open the network: {_first_line(error)}"
            raise CheckpointError(what, where=where, hint=ANOTHER) from error

    def forward(self, *inputs: Tensor) -> Tensor:
        feed = {each.name: x.cpu().numpy() for each, x in zip(self.session.get_inputs(), inputs, strict=True)}
        try:
            return torch.from_numpy(self.session.run([OUTPUT], feed)[0])
        except Exception as error:  # as above
            raise CheckpointError(f"onnxruntime cannot compute the network: {_first_line(error)}") from error

    def misfit(self, shapes: Sequence[tuple[int, ...]]) -> str:
        """Why the inputs are not of these shapes, without the batch; "" if they are."""
        own = [tuple(each.shape[1:]) for each in self.session.get_inputs()]
        return "" if own == list(shapes) else f"the network takes rows {own}, the contract states {list(shapes)}"


def tensors_of(content: bytes, where: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name. Raises CheckpointError for another file, or unusable weights."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        what = f"the weights cannot be read: {_first_line(error)}"
        raise CheckpointError(what, where=where, hint=ANOTHER) from error
    if why := checkpoints.unsound(tensors):
        raise CheckpointError(f"the weights cannot be used: {why}", where=where, hint=ANOTHER)
    return tensors


def read(path: Path, form: str) -> bytes:
    """The content of a file of weights. Raises CheckpointError for an unknown format or an unreadable file."""
    if form not in FORMATS:
        what = f"the weights have the format {form[:40]!r}, known are {', '.join(FORMATS)}"
        raise CheckpointError(what, where=str(path), hint=ANOTHER)
    try:
        return path.read_bytes()
    except OSError as error:
        what = f"the weights cannot be read: {error.strerror or error}"
        raise CheckpointError(what, where=str(path), hint=ANOTHER) from error


def _difference(model: nn.Module, other: nn.Module, inputs: list[Tensor]) -> str:
    """The shapes, or the largest difference above the tolerance, in which two networks differ; "" if they agree."""
    with torch.inference_mode():
        expected, found = model(*inputs), other(*inputs)
    if expected.shape != found.shape:
        return f"{tuple(found.shape)} in place of {tuple(expected.shape)}"
    away = float((expected - found).abs().max())
    most = TOLERANCE * max(1.0, float(expected.abs().max()))
    return "" if away <= most else f"up to {away:.3g} away, {most:.3g} is allowed"


def _unfit(name: str, why: str) -> UsageError:
    what = (
        f"{name} cannot be written as ONNX: {why.strip().splitlines()[0][:200] if why.strip() else 'no reason given'}"
    )
    return UsageError(what, hint="--export safetensors")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


@contextlib.contextmanager
def _tracing() -> Iterator[None]:
    """torch's exporter without its warnings, and without the graph that it prints to stdout where it fails.

    The fused attention of evaluation mode has no counterpart in ONNX, so it is off.
    """
    of_torch: Any = torch._C
    logs, fast = of_torch._jit_onnx_log, torch.backends.mha.get_fastpath_enabled()
    of_torch._jit_onnx_log = lambda *_: None
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        of_torch._jit_onnx_log = logs
        torch.backends.mha.set_fastpath_enabled(fast)
