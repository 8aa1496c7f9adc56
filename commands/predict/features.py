"""--features: what the network of a run makes of its rows, the inputs of its last layer, as an NPZ that is a table.

python commander.py --dataset table --data-file features.npz --split column:split
"""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from commands import build
from commands.probe import features, last_layer
from commands.trained import TrainedNetwork, TrainedRun
from loaders.base import Rows
from toolbox import devices, files, plain, terminal
from toolbox.errors import CheckpointError, UsageError
from toolbox.runs import outcome

log = logging.getLogger("commander")


def write(given: Mapping[str, Any]) -> None:
    """Carry out --features: what the network of a run makes of its rows, as an NPZ that is a table again.

    x (N, D) float32, the mean over the windows of a record; y, classes, split, index and, where every row names one,
    record; the unit names run and weights. The rows of the test are among them if the run has a test.
    """
    trained = TrainedRun.open(given)
    run, flags, out = trained.run, trained.flags, Path(trained.flags.features)
    trained.check_unchanged()
    if out.suffix != ".npz":
        raise UsageError(f"--features is {out.name}, an NPZ is written", hint=f"--features {out.stem}.npz")
    with devices.enough_memory(flags.batch_size):
        network, data = trained.network(), trained.ruled(build.load_data(flags))
        if trained.of_data(data):
            hint = "the run's training data, with --root-dir or --data-file"
            raise CheckpointError("the data's checksum differs from the run's", where=str(run.path), hint=hint)
        last_layer(network.model)
        sides = {"train": data.train, "val": data.val} | ({"test": data.test} if outcome.place(run.path) else {})
        arrays = {name: _of_side(network, rows, name) for name, rows in sides.items() if len(rows)}
    content = b"".join(each.cpu().numpy().tobytes() for each in network.model.state_dict().values())
    unit = f"outputs of {run.path.name}, weights {hashlib.sha256(content).hexdigest()[:16]}"
    whole = {name: np.concatenate([of[name] for of in arrays.values()]) for name in next(iter(arrays.values()))}
    if (whole["record"] == "").any():  # a table names every record, or none
        del whole["record"]
    whole |= {"classes": np.array(data.spec.classes), "unit": np.array(unit)}
    files.write_whole(out, lambda file: np.savez(file, **whole))  # type: ignore[arg-type]
    counts = {name: len(of["x"]) for name, of in arrays.items()}
    log.info("features of %s, %s checkpoint: %s", run.path.name, network.checkpoint, out)
    values = {"features": str(out), "rows": counts, "width": whole["x"].shape[1]}
    text = plain.lines([f"{name}: {count:,} rows" for name, count in counts.items()])
    terminal.answer(values, at_terminal=text, as_json=flags.json)


def _of_side(network: TrainedNetwork, rows: Rows, name: str) -> dict[str, Any]:
    """The arrays of one split, a row a record where windows cover it."""
    found, which = features(network.model, rows, network.spec, network.device)
    _, first, group = np.unique(rows.index[which.cpu().numpy()], return_index=True, return_inverse=True)
    sums = np.zeros((len(first), found.shape[1]))
    np.add.at(sums, group, found.cpu().numpy())
    own = which.cpu().numpy()[first]
    x = (sums / np.bincount(group)[:, None]).astype(np.float32)
    return {"x": x, "y": rows.y[own], "record": rows.record[own], "index": rows.index[own],
            "split": np.full(len(own), name)}  # fmt: skip
