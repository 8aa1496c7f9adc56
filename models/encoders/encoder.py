"""An encoder in a network: a front that converts or refuses the rows of a dataset, the published part, a new layer.

The front is a fixed part of the network, so that exports, predictions and explanations convert in the same way.
"""

from collections.abc import Callable
from math import gcd

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loaders.base import DataSpec
from models.encoders.contract import InputContract
from toolbox.errors import DataError

TINY = 1e-8
MOST_STEPS = 1000  # of the fraction between two rates
UNKNOWN_HZ = 1  # at most: a table whose rate is not stated, as no ECG is sampled so
HALF_LENGTH = 10  # of the filter of a resampling, in samples of the lower rate, as in scipy


def zscore(x: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 of all leads together; a flat row is 0."""
    return (x - x.mean((1, 2), keepdim=True)) / (x.std((1, 2), keepdim=True, unbiased=False) + TINY)


def zscore_lead(x: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 of each lead; a flat lead is 0."""
    return (x - x.mean(2, keepdim=True)) / (x.std(2, keepdim=True, unbiased=False) + TINY)


def rank(x: Tensor) -> Tensor:
    """The rank of each sample in its lead, from -1 to 1; equal samples have their mean rank. ONNX can express it."""
    ordered, which = x.sort(2)
    place = torch.arange(x.shape[2], dtype=x.dtype, device=x.device).expand_as(x)
    steps = F.pad((ordered[..., 1:] != ordered[..., :-1]).long(), (1, 0)).cumsum(2)  # the number of each distinct value
    ties = torch.zeros_like(x).scatter_add(2, steps, torch.ones_like(x))
    sums = torch.zeros_like(x).scatter_add(2, steps, place)
    mean = (sums / ties.clamp(min=1)).gather(2, steps)
    return torch.zeros_like(x).scatter(2, which, mean) * 2 / max(x.shape[2] - 1, 1) - 1


Normalisation = Callable[[Tensor], Tensor]
NORMALISATIONS: dict[str, Normalisation] = {
    "none": nn.Identity(), "zscore": zscore, "zscore_lead": zscore_lead, "rank": rank,
}  # fmt: skip


class Resampled(nn.Module):
    """(B, C, T) -> (B, C, ceil(T * up / down)), as `scipy.signal.resample_poly` resamples."""

    def __init__(self, rate_hz: float, wanted_hz: float) -> None:
        from scipy import signal

        super().__init__()
        up, down = round(wanted_hz * 1000), round(rate_hz * 1000)
        self.up, self.down = up // gcd(up, down), down // gcd(up, down)
        if max(self.up, self.down) > MOST_STEPS:
            what = f"rows at {rate_hz:g} Hz cannot be resampled to {wanted_hz:g} Hz in steps of whole numbers"
            raise DataError(what, hint=f"rows at {wanted_hz:g} Hz")
        most = max(self.up, self.down, 2)
        taps = signal.firwin(2 * HALF_LENGTH * most + 1, 1 / most, window=("kaiser", 5.0)) * self.up
        self.taps: Tensor
        self.register_buffer("taps", torch.tensor(taps, dtype=torch.float32)[None, None], persistent=False)

    def extra_repr(self) -> str:
        return f"up={self.up}, down={self.down}"

    def forward(self, x: Tensor) -> Tensor:
        if self.up == self.down:
            return x
        rows, channels, samples = x.shape
        whole = F.conv_transpose1d(x.reshape(rows * channels, 1, samples), self.taps.to(x.dtype), stride=self.up)
        length, before = -(-samples * self.up // self.down), self.taps.shape[2] // 2
        found = F.pad(whole[..., before:], (0, self.down))[..., :: self.down][..., :length]
        return found.reshape(rows, channels, length)


class Front(nn.Module):
    """(B, C, T) of a dataset -> (B, leads, samples) of the contract: leads, unit, rate, length, normalisation.

    Raises DataError, with both values, for rows that cannot be converted: lacking leads, another length, an unknown
    unit where the unit matters.
    """

    def __init__(self, spec: DataSpec, contract: InputContract) -> None:
        super().__init__()
        self.leads, self.factor = _leads(spec, contract), _factor(spec, contract)
        self.resampled = Resampled(spec.rate_hz, contract.rate_hz)
        self.missing = _missing(spec, contract)
        self.normalise = NORMALISATIONS[contract.normalise]

    def extra_repr(self) -> str:
        return f"leads={self.leads}, factor={self.factor:g}, missing={self.missing}"

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.leads is None else x[:, self.leads]
        x = self.resampled(x if self.factor == 1 else x * self.factor)
        return F.pad(self.normalise(x), (0, self.missing))


def _refused(spec: DataSpec, wants: str, has: str, hint: str) -> DataError:
    return DataError(f"the encoder takes {wants}, the rows have {has}", where=spec.name, hint=hint)


def _is_table(spec: DataSpec) -> bool:
    """Whether the rows are a user's file, which no flag crops, scales or takes leads from."""
    return spec.name == "table"


def _leads(spec: DataSpec, contract: InputContract) -> list[int] | None:
    """The channels of the contract's leads; None for all in their order."""
    if not contract.leads:
        if spec.channels != 1:
            hint = "a file with one of them" if _is_table(spec) else f"--leads {spec.leads[0]}"
            raise _refused(spec, "one lead", f"{spec.channels}: {', '.join(spec.leads)}", hint)
        return None
    there = {name.lower(): place for place, name in enumerate(spec.leads)}
    if any(name.lower() not in there for name in contract.leads):
        wants = f"{len(contract.leads)} leads ({', '.join(contract.leads)})"
        unnamed = _is_table(spec) and spec.leads[0] == "lead 1" and spec.channels >= len(contract.leads)
        hint = "data with all of them, or an encoder for one lead"
        hint = "an NPZ with the array leads, a name for each" if unnamed else hint
        raise _refused(spec, wants, ", ".join(spec.leads), hint)
    places = [there[name.lower()] for name in contract.leads]
    return None if places == [*range(spec.channels)] else places


OF_EACH_LEAD = ("interquartile", "standard")  # first words of units that differ between the leads of a record
MILLIVOLTS = {"mV": 1.0, "uV": 1e-3, "µV": 1e-3, "V": 1e3}


def _factor(spec: DataSpec, contract: InputContract) -> float:
    """The factor from the unit of the rows to that of the contract."""
    unit = spec.unit.split()[0] if spec.unit else ""
    if contract.is_joint and not contract.unit and unit in OF_EACH_LEAD:
        raise _refused(spec, "one unit of all leads", f"the unit {spec.unit!r}", "rows in mV, --normalise none")
    if not contract.unit:
        return 1.0
    if unit not in MILLIVOLTS:
        hint = "rows in mV, " + ("an NPZ with the array unit" if _is_table(spec) else "--normalise none")
        raise _refused(spec, contract.unit, f"the unit {spec.unit or 'not stated'!r}", hint)
    return MILLIVOLTS[unit] / MILLIVOLTS[contract.unit]


def _missing(spec: DataSpec, contract: InputContract) -> int:
    """The zeros that fill a row."""
    there = -(-spec.samples * contract.rate_hz // spec.rate_hz) if spec.rate_hz else 0
    missing = contract.samples - int(there)
    if missing < 0 or (missing > 0 and not contract.pads):
        unknown = spec.rate_hz <= UNKNOWN_HZ
        has = f"{spec.samples} samples at an unknown rate" if unknown else f"{spec.samples / spec.rate_hz:.4g} s"
        stated = "--rate-hz with the samples a second" if _is_table(spec) else "rows of a known rate"
        hint = stated if unknown else _length_hint(spec, contract, longer=missing > 0)
        raise _refused(spec, f"{contract.seconds:g} s", has, hint)
    return missing


def _length_hint(spec: DataSpec, contract: InputContract, *, longer: bool) -> str:
    """The way to rows of the contract's length, `longer` ones than these; only records have crops."""
    if _is_table(spec) or spec.view != "record":
        return f"rows of {contract.seconds:g} s"
    return "leave --crops out, or longer records" if longer else f"--crops {contract.seconds:g}s"


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
