"""A store of small charts."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from loaders.charts import store as chartstore
from loaders.charts.store import ChartStore, key
from toolbox.paper import layouts
from toolbox.paper.drawing import Drawing

RATE_HZ = 100


(SHEET,) = layouts.sheets(layouts.parse("1x2"), ("II",), size=48)


HOW = Drawing(SHEET, RATE_HZ, 200, 0.35)
FACTS = {"layout": "1x2", "size": 48}


def signal(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(0, 0.3, (1, 200)).astype(np.float32).cumsum(1) / 4


def window(each: bytes) -> np.ndarray:
    return signal(int.from_bytes(each[:8], "big"))


def keys(count: int, first: int = 0) -> list[bytes]:
    return [key(index, 0) for index in range(first, first + count)]


def opened(root: Path, **facts: object) -> ChartStore:
    return ChartStore(root, {**FACTS, **facts}, SHEET.image)


def fill(
    store: ChartStore, keys: list[bytes], of: Callable[[bytes], np.ndarray], how: Drawing, workers: int = 0
) -> None:
    chartstore.fill(store, {each: partial(of, each) for each in keys}, how, workers=workers)
