"""Records in WFDB's formats, written for a test."""

import os
from pathlib import Path

import numpy as np
import wfdb

R_PEAKS = np.array([100, 400, 688, 1048, 1300])  # at 360 Hz; the signal has 1440 samples
SYMBOLS = ["N", "V", "+", "A", "/"]


def write_record(
    folder: Path,
    name: str = "1",
    *,
    leads: dict[str, np.ndarray] | None = None,
    peaks: np.ndarray = R_PEAKS,
    symbols: list[str] | None = None,
    rate_hz: float = 360,
) -> Path:
    """A record of 1,440 samples with the given leads in mV; the path of its header."""
    folder.mkdir(parents=True, exist_ok=True)
    leads = leads or {"MLII": ecg_like()}
    signal = np.stack(list(leads.values()), axis=1)
    how = {"units": ["mV"] * len(leads), "sig_name": list(leads), "fmt": ["212"] * len(leads)}
    how |= {"adc_gain": [200] * len(leads), "baseline": [0] * len(leads), "write_dir": str(folder)}
    wfdb.wrsamp(name, rate_hz, p_signal=signal, **how)
    wfdb.wrann(name, "atr", np.asarray(peaks), symbol=symbols or SYMBOLS[: len(peaks)], write_dir=str(folder))
    return folder / f"{name}.hea"


def ecg_like(samples: int = 1440) -> np.ndarray:
    """A slow wave with a narrow peak at every R peak, in mV."""
    time = np.arange(samples)
    return 0.2 * np.sin(time / 50) + sum(np.exp(-(((time - peak) / 8) ** 2)) for peak in R_PEAKS)


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def spoil(header: Path, what: str) -> None:
    signal, annotations = header.with_suffix(".dat"), header.with_suffix(".atr")
    whole = annotations.read_bytes()
    end = whole.rindex(b"\0\0")
    {
        "no .dat": signal.unlink,
        "an empty .dat": lambda: os.truncate(signal, 0),
        "half a .dat": lambda: os.truncate(signal, signal.stat().st_size // 2),
        "a .dat one byte short": lambda: os.truncate(signal, signal.stat().st_size - 1),
        "half a .dat and no length in the header": lambda: (
            header.write_text(header.read_text().replace(" 1440\n", "\n", 1).replace(" 650000\n", "\n", 1)),
            os.truncate(signal, signal.stat().st_size // 2),
        ),
        "a changed byte": lambda: replace(signal, bytes([signal.read_bytes()[0] ^ 1]) + signal.read_bytes()[1:]),
        "missing samples": lambda: signal.write_bytes(
            b"\x00\x88\x00" * (signal.stat().st_size // 3)
        ),  # -2048, in format 212
        "a pipe for a .dat": lambda: (signal.unlink(), os.mkfifo(signal)),
        "no .atr": annotations.unlink,
        "an empty .atr": lambda: os.truncate(annotations, 0),
        "an .atr without its end": lambda: os.truncate(annotations, end),
        "half an annotation": lambda: os.truncate(annotations, 5),
        "an .atr of something else": lambda: annotations.write_bytes(b"\xff" * 99 + b"\0\0"),
        "a huge .atr": lambda: os.truncate(annotations, 2**23),
        "a pipe for an .atr": lambda: (annotations.unlink(), os.mkfifo(annotations)),
        "annotations past the end": lambda: annotations.write_bytes(
            whole[:end] + b"\x00\xec\x10\x00\x00\x00\x01\x04\0\0"
        ),
        "annotations before the begin": lambda: annotations.write_bytes(b"\x00\xec\xff\xff\x00\x00\x01\x04" + whole),
        "annotations out of order": lambda: annotations.write_bytes(
            whole[:end] + b"\x00\xec\xff\xff\xf0\xff\x01\x04\0\0"
        ),
    }[what]()
