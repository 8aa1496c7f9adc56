"""Facts of small data, and the real recordings where they are."""

import os
import sys
from collections.abc import Iterable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from loaders.base import DataSpec
from models import VISION

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("ECG_SHARED_DATA", ROOT.parent / "shared" / "data"))
MITDB_ZIP = "mit-bih-arrhythmia-database-1.0.0.zip"
KAGGLE_SAMPLE = "kaggle-heartbeat-sample"


def make_spec(
    *,
    channels: int = 1,
    samples: int = 187,
    classes: tuple[str, ...] = ("N", "S", "V", "F", "Q"),
    image: tuple[int, int] | None = None,
) -> DataSpec:
    importance = (1.0, 2.0, 2.0, 2.0, 0.5)[: len(classes)]
    leads, view = tuple(f"lead{i}" for i in range(channels)), "chart" if image else "beat"
    facts = (channels, samples, 125, "mV", leads, classes, importance, "generated", "none", "none")
    return DataSpec("tiny", view, *facts, image=image)


# Networks that take seconds to build: only test_vision.py runs them.
BIG = ("resnet50", "mobilenet_v3_large", "efficientnet_b0", "efficientnet_b3")
BIG += ("convnext_tiny", "convnext_base", "vit_b_16")
# One small network of every class of models/, and of every path through its forward.
KINDS = ("cnn1d_3", "resnet1d_10", "xresnet1d_10", "resnet1d_grid", "inception1d_small", "lstm_2", "gru_1")
KINDS += ("net1d", "s4d", "preact1d")
KINDS += ("lstm_1_flat", "ecgformer_tiny", "mobilenet_v3_small", "lstm_ae", "conv_ae", "linear_ae")


def by_kind(names: Iterable[str]) -> list[Any]:
    """Parameters of a test: one network of every kind, the other names that are not BIG with -m soak."""
    names = [name for name in names if name not in BIG]
    return [name if name in KINDS else pytest.param(name, marks=pytest.mark.soak) for name in names]


def spec_for(name: str, **facts: Any) -> DataSpec:
    """Facts of data that the network `name` takes: small charts for one of vision, else beats."""
    return make_spec(image=(64, 96) if name in VISION else None, **facts)


def test_set_is_closed(root: Path) -> bool:
    return not list((root / "synth" / "cache").glob("test-*"))


def mutated(whole: bytes) -> "SearchStrategy[bytes]":
    """`whole` with a few pieces overwritten, put in or cut out."""
    from hypothesis import strategies as some

    place = some.integers(0, len(whole))
    edit = some.tuples(place, some.integers(0, 40), some.binary(max_size=40))

    def apply(edits: list[tuple[int, int, bytes]]) -> bytes:
        changed = whole
        for start, gone, put in edits:
            changed = changed[:start] + put + changed[start + gone :]
        return changed

    return some.lists(edit, min_size=1, max_size=4).map(apply)


def benchmark(name: str) -> ModuleType:
    """A script of benchmarks/ as a module, under a name that no package has."""
    spec = spec_from_file_location(f"benchmark_{name}", ROOT / "benchmarks" / f"{name}.py")
    sys.modules[spec.name] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
