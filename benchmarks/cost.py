"""What every network costs on rows of one dataset, untrained: a table in markdown.

    python benchmarks/cost.py [--dataset synth] [--batch-size 128] [--image 224 224] [--chart-batch-size 8]

Parameters, file and multiply-accumulates are exact; times are of this machine, a median each. Networks for
charts get them of `--image` pixels, in batches of their own.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch
from torch import nn

from loaders import get_data
from loaders.base import DataSpec
from models import MODELS, get_model
from toolbox.errors import UsageError
from toolbox.metrics import cost
from toolbox.reports.tables import digits

HEAD = """| | parameters | MACs a row | file, kB | ms a row alone | rows a second |
| --- | --- | --- | --- | --- | --- |
"""


def built(name: str, spec: DataSpec, image: Sequence[int]) -> tuple[nn.Module, DataSpec]:
    """The network and what its rows are: those of `spec` or, where it takes no signals, charts of `image` pixels."""
    torch.manual_seed(0)
    try:
        return get_model(name, spec), spec
    except UsageError:
        charts = replace(spec, image=tuple(image), view="chart")
        return get_model(name, charts), charts


def line(name: str, values: dict[str, Any]) -> str:
    """A row of the table."""
    cells = [f"`{name}`", f"{values['parameters']:,}", f"{values['macs']:,}", digits(values["file_bytes"] / 1000)]
    cells += [digits(values[name]) for name in ("latency_ms", "rows_per_s")]
    return f"| {' | '.join(cells)} |\n"


def main() -> None:
    """Print a line for each network, and last what it was measured on."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="synth")
    parser.add_argument("--root-dir", type=Path, default=Path("ecg_data"))
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--image", type=int, nargs=2, default=(224, 224), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--chart-batch-size", type=int, default=8)
    parser.add_argument(
        "--processor-time", action="store_true", help="not the clock's: for one thread of a machine that is busy"
    )
    parser.add_argument("--names", nargs="+", default=list(MODELS))
    asked = parser.parse_args()
    clock = time.process_time if asked.processor_time else time.perf_counter
    data, measured = get_data(asked.dataset, asked.root_dir).spec, {}
    sys.stdout.write(HEAD)
    for name in asked.names:
        network, spec = built(name, data, asked.image)
        rows = asked.chart_batch_size if spec.image else asked.batch_size
        measured = cost.times(network, spec, batch_size=rows, clock=clock)
        sys.stdout.write(line(name, cost.size_and_work(network, spec) | measured))
        sys.stdout.flush()
    where = ("device", "threads", "dtype", "torch")
    sys.stdout.write(
        "\n" + ", ".join(f"{measured[key]} {key}" if key == "threads" else str(measured[key]) for key in where) + "\n"
    )


if __name__ == "__main__":
    main()
