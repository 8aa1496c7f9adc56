"""--features: the inputs of a network's last layer for all rows, as an NPZ that is a table.

python commander.py --dataset table --data-file features.npz --split column:split

The network is a run's, or with --pretrained and without --version one of these weights, which needs no run.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

import args
from commands import build, choices, probe
from commands.trained import TrainedRun
from loaders import base
from loaders.base import Data, Rows
from loaders.datasets.table_npz import ORIGIN, origin_of
from toolbox import devices, files, plain, terminal
from toolbox.errors import CheckpointError, ResourceError, UsageError
from toolbox.flags import Flags
from toolbox.runs import outcome

TEST_CLOSED = "the test rows are not among them, as no test has opened them; --train probe and its test do"
OF_WEIGHTS = ("checkpoint", "epoch", "sha256")  # of config.json's entry of loaded weights
log = logging.getLogger("commander")


class Source(NamedTuple):
    """A network, the data of its rows, and `of`: where it comes from, for the file."""

    model: nn.Module
    device: torch.device
    flags: Flags
    data: Data
    of: dict[str, Any]
    tested: bool = False


def write(given: Mapping[str, Any]) -> None:
    """Carry out --features.

    x (N, D) float32, the mean over the windows of a record; y, classes, split, index and, where every row names one,
    record; the unit names network and weights, `origin` all of their source. The rows of the test are among them if
    the run has a test. Raises UsageError for a file in the way.
    """
    named = choices.settle(args.resolve(args.needed(given)))
    out = _checked(Path(named.features))
    with devices.enough_memory(named.batch_size or base.BATCH_SIZE):
        source = _of_weights(given) if named.pretrained and not (named.version or named.resume) else _of_run(given)
        model, data, flags = source.model, source.data, source.flags
        _check_apart(out, source)
        probe.last_layer(model)
        sides = {"train": data.train, "val": data.val} | ({"test": data.test} if source.tested else {})
        arrays = {name: _of_side(source, rows, name) for name, rows in sides.items() if len(rows)}
    whole = {name: np.concatenate([of[name] for of in arrays.values()]) for name in next(iter(arrays.values()))}
    if (whole["record"] == "").any():  # a table names every record, or none
        del whole["record"]
    content = b"".join(each.cpu().numpy().tobytes() for each in probe.frozen(model).values())
    weights = hashlib.sha256(content).hexdigest()
    origin = source.of | {"weights": weights, "dataset": data.spec.name, "checksum": data.checksum}
    whole |= {
        "classes": np.array(data.spec.classes),
        "unit": np.array(f"outputs of {next(iter(source.of.values()))}, weights {weights[:16]}"),
        ORIGIN: np.array(json.dumps(origin | {"split_rule": data.spec.split_rule})),
    }
    files.write_whole(out, lambda file: np.savez(file, **whole))  # type: ignore[arg-type]
    more = "" if source.tested else f"; {TEST_CLOSED}"
    log.info("features of %s, %s: %s%s", *[*map(str, source.of.values())][:2], out, more)
    counts = {name: len(of["x"]) for name, of in arrays.items()}
    values = {"features": str(out), "rows": counts, "width": whole["x"].shape[1]}
    text = plain.lines([f"{name}: {count:,} rows" for name, count in counts.items()])
    terminal.answer(values, at_terminal=text, as_json=flags.json)


def _of_run(given: Mapping[str, Any]) -> Source:
    trained = TrainedRun.open(given)
    run, flags = trained.run, trained.flags
    trained.check_unchanged()
    network, data = trained.network(), trained.ruled(build.load_data(flags))
    if trained.of_data(data):
        hint = "the run's training data, with --root-dir or --data-file"
        raise CheckpointError("the data's checksum differs from the run's", where=str(run.path), hint=hint)
    of = {"run": run.path.name, "checkpoint": network.checkpoint}
    return Source(network.model, network.device, flags, data, of, tested=outcome.place(run.path) is not None)


def _of_weights(given: Mapping[str, Any]) -> Source:
    """The network of --model-name with the weights of --pretrained; they are not trained here."""
    flags = choices.settle(args.resolve(given))
    data = build.load_data(flags)
    flags = choices.for_rows(flags, given, data)
    trainer = build.build(flags, data)
    entry = build.pretrain(flags, trainer)["pretrained"]
    of = {"network": flags.model_name} | {key: entry[key] for key in OF_WEIGHTS if key in entry}
    return Source(trainer.model, trainer.device, flags, data, of)


def _checked(out: Path) -> Path:
    """The path of the new file. Raises UsageError for another kind of file, and for one that is not of --features."""
    if out.suffix != ".npz":
        raise UsageError(f"--features is {out.name}, an NPZ is written", hint=f"--features {out.stem}.npz")
    if not out.parent.is_dir():
        raise ResourceError("there is no such folder", where=str(out.parent), hint="make it, or another --features")
    if out.is_symlink() or (out.exists() and not origin_of(out)):
        what = f"{out.name} is there already and was not written by --features"
        raise UsageError(what, where=str(out), hint="another --features, or move that file away")
    return out


def _check_apart(out: Path, source: Source) -> None:
    """Raise UsageError for the command's own data, and for the features of another network or of other data."""
    inputs = [source.flags.data_file, source.flags.weights_file, source.flags.pretrained]
    if any(each and Path(each).resolve() == out.resolve() for each in inputs):
        what = f"{out.name} is an input of this command"
    elif (there := origin_of(out)) and any(there.get(key) != value for key, value in source.of.items()):
        theirs = [str(there[key]) for key in ("run", "network", *OF_WEIGHTS) if there.get(key)]
        what = f"{out.name} has the features of {', '.join(theirs)}"
    elif there and there.get("checksum") != source.data.checksum:
        what = f"{out.name} has the features of other data ({there.get('dataset')})"
    else:
        return
    raise UsageError(what, where=str(out), hint="another --features, or move that file away")


def _of_side(source: Source, rows: Rows, name: str) -> dict[str, Any]:
    """The arrays of one split, a row a record where windows cover it."""
    found, which = probe.features(source.model, rows, source.data.spec, source.device)
    own = which.cpu().numpy()
    _, first, group = np.unique(rows.index[own], return_index=True, return_inverse=True)
    sums = torch.zeros(len(first), found.shape[1], dtype=torch.float64)
    sums.index_add_(0, torch.from_numpy(group), found.cpu().double())
    x = (sums.numpy() / np.bincount(group)[:, None]).astype(np.float32)
    own = own[first]
    return {"x": x, "y": rows.y[own], "record": rows.record[own], "index": rows.index[own],
            "split": np.full(len(own), name)}  # fmt: skip
