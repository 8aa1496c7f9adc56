"""--export: a folder with a run's network for other programs; --predict reads it. --cite: BibTeX of a run.

<run>/export/<format>/    model.onnx or model.safetensors, model_card.md, contract.json (`toolbox.contract`)

    network, symbols = opened(Path("export"), given)    # the network of the folder, without its run
"""

import hashlib
import logging
import os
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

import args
from commands import build, choices
from commands.trained import FITTED, TrainedNetwork, TrainedRun, built, check_same, decision_weights
from loaders import BY_DEFAULT, DATASETS
from loaders.base import OF_TABLES, DataSpec
from loaders.families import by_patient, labels, preparation, row_forms
from models import NETWORKS, VISION, committee
from models.charts import vision
from toolbox import contract as contracts
from toolbox import devices, files, plain, schema, terminal
from toolbox.contract import CARD, CONTRACT
from toolbox.errors import CheckpointError, UsageError, program
from toolbox.flags import MACHINE, Flags
from toolbox.metrics import classification, cost, platt
from toolbox.reports import citations, model_card
from toolbox.reports.run import ending
from toolbox.runs import checkpoints, exchange, outcome
from toolbox.runs.folder import RESULTS, versions
from toolbox.runs.outputs import Claim
from toolbox.runs.predictions import Predictions
from toolbox.training import transfer
from trainer import PREDICT_ROWS

GIVES = {"classify": "logits (B, K)", "detect": "reconstructed rows (B, C, T)"}
# The parts of results.json that are read.
RESULTS_FORM = {"split_rule": str, "best_epoch": schema.Count(), "epoch?": schema.Count(), "test": dict, "val?": dict}
OF_RESULTS = ("split_rule", "shared_rows", "trained_on", "covers", "doubts", "overrides", "val", "test")
OF_VALIDATION = ("temperature", "threshold", "thresholds", "calibration")  # of the outputs
LEARNED = ("train", "val")
log = logging.getLogger("commander")
Symbols = Mapping[str, Sequence[str]]


def export(given: Mapping[str, Any]) -> None:
    """Carry out --export: write weights, model card and contract of a run; print the folder as JSON."""
    trained = TrainedRun.open(given)
    run, flags = trained.run, trained.flags
    trained.check_unchanged()
    trained.note_short_run()
    name, written = exchange.FORMATS[flags.export]
    folder = Path(flags.out) if flags.out else run / "export" / flags.export
    with nullcontext() if flags.out else run.locked(), devices.enough_memory(PREDICT_ROWS):
        network = trained.network()
        claim = Claim(folder, "", (name, CARD, CONTRACT), {"output": "export", "run": run.path.name})
        claim.check()
        model, spec = network.model.cpu(), network.spec
        content = written(model, lambda rows: cost.inputs(spec, rows), flags.model_name)
        digest = hashlib.sha256(content).hexdigest()
        weights = {"format": flags.export, "file": name, "sha256": digest, "bytes": len(content)}
        contract = contracts.sealed(_contract(trained, network, weights))
        command, own = _command(contract["flags"], trained.config), trained.config.get("imports") or ()
        card = model_card.text(contract, command=command, bibtex=citations.bibtex(_cited(flags, spec)), own_files=own)
        claim.take()
        files.write_whole(folder / name, lambda file: file.write(content))
        files.write_text(folder / CARD, card)
        contracts.write(folder, contract)  # the last: without it the folder is no export
    log.info("%s, %s checkpoint, of epoch %d, is in %s", run.path.name, network.checkpoint, network.epoch, folder)
    done = {"export": str(folder), **weights, "tested": contract["results"] is not None}
    paths = {"export": folder, "card": folder / CARD, "contract": folder / CONTRACT}
    terminal.answer(done, at_terminal=plain.lines(ending.paths(paths)), as_json=flags.json)


def opened(folder: Path, given: Mapping[str, Any], *, of_input: Collection[str] = ()) -> tuple[TrainedNetwork, Symbols]:
    """The network of a folder of --export (or of a file in it), and the annotation symbols of its classes.

    Typed flags `of_input` describe the input of the command. Raises CheckpointError for a folder that was edited or
    damaged, UsageError for typed flags that differ from the run's.
    """
    folder = folder.parent if folder.is_file() else folder
    contract = contracts.read(folder)
    typed = {name: value for name, value in args.without_unused(given).items() if name not in of_input}
    flags, spec = _flags_of(contract, typed, folder), _spec_of(contract)
    changed = args.FLAGS.changed(build.movable(typed, flags.root_dir), contract["flags"])
    check_same(changed, where=folder, other="--from-export")
    build.check_classes(flags, spec.name, spec.classes)
    run, output, data = contract["run"], contract["output"], contract["data"]
    fixed = {name: output[name] for name in OF_VALIDATION if output.get(name) is not None}
    if typed.get("calibrate") and not {"temperature", "calibration"} & fixed.keys():
        what = f"--calibrate needs {FITTED[spec.many_labels]}, this network has none"
        raise UsageError(what, where=str(folder), hint="leave it out, or an export of a run with one")
    model, device = _model_of(contract["weights"], flags, spec, folder)
    records = {side: data.get(f"{side}_records") for side in LEARNED}
    network = TrainedNetwork(
        origin=folder,
        run=run["name"],
        checkpoint=run["checkpoint"],
        epoch=run["epoch"],
        spec=spec,
        flags=flags,
        model=model,
        device=device,
        decision=decision_weights(flags, spec, device),
        fixed=fixed,
        records=None if None in records.values() else records,
    )
    return network, output.get("symbols") or {}


def _flags_of(contract: Mapping[str, Any], typed: Mapping[str, Any], folder: Path) -> Flags:
    """The flags of the run with the typed ones over them."""
    what = "; ".join(args.misfits(contract["flags"]))
    try:
        if not what:
            choices.settle(args.resolve({}, contract["flags"]))
    except UsageError as error:
        what = error.what
    if what:
        hint = "the version of the program that exported it, or the file of your own network"
        raise CheckpointError(f"{CONTRACT}: {what}", where=str(folder / CONTRACT), hint=hint)
    return choices.settle(args.resolve(typed, contract["flags"]))


def _spec_of(contract: Mapping[str, Any]) -> DataSpec:
    rows, output, data = contract["input"], contract["output"], contract["data"]
    image = rows.get("image")
    return DataSpec(
        name=data["name"],
        view=rows["view"],
        channels=rows["channels"],
        samples=rows["samples"],
        rate_hz=rows["rate_hz"],
        unit=rows["unit"],
        leads=tuple(rows["leads"]),
        classes=tuple(output["classes"]),
        importance=tuple(output["importance"]),
        source=data["source"],
        licence=data["licence"],
        split_rule=data["split_rule"],
        features=tuple(rows["features"]),
        scored=tuple(output["scored"]),
        image=(image[0], image[1]) if image else None,
        columns=tuple(rows.get("columns") or ()),
        label_name=rows.get("label_name") or "",
        record_name=rows.get("record_name") or "",
        many_labels=bool(rows.get("many_labels")),
    )


def _model_of(
    weights: Mapping[str, Any], flags: Flags, spec: DataSpec, folder: Path
) -> tuple[torch.nn.Module, torch.device]:
    """The network of a file of weights in evaluation mode, and its device."""
    path = folder / weights["file"]
    content = exchange.read(path, weights["format"])
    if weights["format"] == "onnx":
        model = exchange.OnnxNetwork(content, str(path))
        if why := model.misfit([tuple(each.shape[1:]) for each in cost.inputs(spec, 1)]):
            raise CheckpointError(why, where=str(path), hint=contracts.ANOTHER)
        return model, torch.device("cpu")
    own, device = built(flags, spec)
    checkpoints.load_weights(own, exchange.tensors_of(content, str(path)), str(path))
    return own, device


def _contract(trained: TrainedRun, network: TrainedNetwork, weights: Mapping[str, Any]) -> dict[str, Any]:
    """The content of contract.json, without its digest."""
    spec, flags = network.spec, network.flags
    inputs = zip(exchange.INPUTS, cost.inputs(spec, 1), strict=False)
    chart = build.chart_options(flags) if spec.image else None
    return {
        "made_by": contracts.MADE_BY,
        "version": devices.own_version(),
        "format": contracts.FORMAT,
        "run": {"name": network.run, "checkpoint": network.checkpoint, "epoch": network.epoch},
        "weights": {
            **weights,
            "inputs": {name: ["B", *rows.shape[1:]] for name, rows in inputs},
            "output": exchange.OUTPUT,
        },
        "network": {
            "name": flags.model_name,
            "arguments": flags.model_args,
            "members": flags.members,
            **_published(trained),
            **cost.size_and_work(network.model, spec),
        },
        "input": {
            "view": spec.view,
            "channels": spec.channels,
            "samples": spec.samples,
            "seconds": round(spec.samples / spec.rate_hz, 6) if spec.rate_hz else None,
            "rate_hz": spec.rate_hz,
            "unit": spec.unit,
            "leads": spec.leads,
            "features": spec.features,
            "image": spec.image,
            **{name: value for name in OF_TABLES if (value := getattr(spec, name))},
            "preparation": preparation.of(spec, build.options_for(spec.name, flags), chart),
        },
        "output": _output(network),
        "data": _data(trained, spec),
        "results": _results(trained, network.epoch),
        "commit": trained.config.get("commit"),
        "flags": _portable(trained.config["flags"]),
    }


def _published(trained: TrainedRun) -> dict[str, Any]:
    """The facts of an encoder and of its published weights, if the run began with them."""
    entry, of = NETWORKS[trained.flags.model_name], trained.config.get("pretrained") or {}
    if entry.contract is None or entry.published is None or not of.get("published"):
        return {}
    told = {name: getattr(entry.published, name) for name in ("source", "licence", "saw")}
    return {"published": {**told, "input": entry.contract.words, "sha256": of["sha256"]}}


def _output(network: TrainedNetwork) -> dict[str, Any]:
    """The outputs, and the way from them to a class or an anomaly."""
    spec, flags, fixed = network.spec, network.flags, network.fixed
    symbols = None
    if spec.name in row_forms.cut_from_recordings():
        own = row_forms.symbols_of(spec.name, flags.label_map)
        symbols = {name: "".join(members) for name, members in own.items() if name in spec.classes}
    rule = {"error": flags.criterion, "threshold_rule": flags.threshold, "normal_class": flags.normal_class}
    return {
        "task": flags.task,
        "gives": GIVES[flags.task],
        "classes": spec.classes,
        "importance": spec.importance,
        "scored": spec.scored,
        "decision_weights": None if network.decision is None else network.decision.tolist(),
        "temperature": fixed.get("temperature"),
        "threshold": fixed.get("threshold"),
        "fixed_on": f"{fixed.get('validation_rows', 'the')} validation rows, before the test" if fixed else None,
        "symbols": symbols,
        **(rule if flags.task == "detect" else {}),
        **({"thresholds": fixed.get("thresholds")} if spec.many_labels else {}),
        **({"calibration": fixed["calibration"]} if "calibration" in fixed else {}),
    }


def _data(trained: TrainedRun, spec: DataSpec) -> dict[str, Any]:
    """Source, licence, split protocol and size of the data; names of records only for runs on beats of recordings."""
    stored = trained.config["data"]
    rows = {side: stored.get(f"{side}_rows") for side in LEARNED}
    records = {side: len(names) for side in LEARNED if (names := stored.get(f"{side}_records"))}
    path = trained.run / "pred" / ("" if trained.which == "best" else trained.which) / "predictions.npz"
    if path.is_file():
        try:
            tested = Predictions.load(path)
        except (OSError, ValueError, KeyError) as error:
            what = f"the predictions of the test are damaged: {error}"
            raise CheckpointError(what, where=str(path), hint="--test writes them again") from error
        names = np.unique(tested.record[tested.record != ""])
        rows, records = rows | {"test": len(tested.index)}, records | ({"test": len(names)} if len(names) else {})
    cuts = spec.name in row_forms.cut_from_recordings()
    return {
        "name": spec.name,
        "what": DATASETS[spec.name].phrase if spec.name in DATASETS else "",
        "source": spec.source,
        "licence": spec.licence,
        "split_rule": spec.split_rule,
        "checksum": stored["checksum"],
        "rows": rows,
        "records": records,
        **{f"{side}_records": stored.get(f"{side}_records") for side in LEARNED if cuts},
    }


def _results(trained: TrainedRun, epoch: int) -> dict[str, Any] | None:
    """The results of the test of this checkpoint; None for a checkpoint without a test."""
    path = outcome.place(trained.run.path, trained.which)
    if path is None:
        log.warning("%s has no test of this checkpoint, which the model card states", trained.run.path.name)
        return None
    found = trained.run.read_json(str(path.relative_to(trained.run.path)))
    if why := schema.misfit(found, RESULTS_FORM):
        raise CheckpointError(f"{RESULTS}: {why}", where=str(path), hint="--test writes it again")
    if found.get("epoch", found["best_epoch"]) != epoch:
        log.warning("the results in %s are of another epoch: the model card leaves them out", path)
        return None
    return {name: found[name] for name in OF_RESULTS if name in found}


def _portable(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The stored flags that are set, without the machine's, and without paths on it."""
    known = {name: args.FLAGS.by_name[name] for name in stored if name in args.FLAGS.by_name}
    of_runs = {name for name, flag in known.items() if flag.path == "run" and stored[name] != flag.const}
    left = of_runs | {name for name, flag in known.items() if flag.kind is MACHINE}
    left |= {name for name, flag in known.items() if flag.is_path(stored[name])}
    unset = {name for name in known if stored[name] is None or stored[name] is False}
    return {name: stored[name] for name in known if name not in left | unset}


def _command(portable: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The command line of the training, with the typed flags that are not of the machine, and files by their names."""
    typed = {*(config.get("given") or ()), *args.FLAGS.names("network")}
    imports = [each["file"] for each in config.get("imports") or ()]
    line = args.FLAGS.again(portable, [name for name in portable if name in typed], os.path.basename, imports)
    return f"{program()} {shlex.join(line)}"


def cite(given: Mapping[str, Any]) -> None:
    """Carry out --cite: print BibTeX of data, network, protocol and program, of a run if there is one."""
    flags, spec = choices.settle(args.resolve(given)), None
    there = (flags.dataset,) if flags.dataset else BY_DEFAULT
    if flags.version or flags.resume or any(versions(flags.root_dir, name, flags.model_name) for name in there):
        trained = TrainedRun.open(given)
        trained.check_unchanged()
        spec = trained.spec
        flags = trained.flags.replace(dataset=spec.name)
        log.info("citations of the run %s", trained.run.path.name)
    sys.stdout.write(citations.bibtex(_cited(flags, spec)))


def _cited(flags: Flags, spec: DataSpec | None) -> dict[str, tuple[str, ...]]:
    """The publications of the parts of a run (with `spec`) or of a command, by their titles."""
    name = flags.dataset or BY_DEFAULT[0]
    dataset, network = DATASETS[name], NETWORKS[flags.model_name]
    protocol: tuple[str, ...] = ()
    if dataset.cohort:
        protocol += by_patient.cites(flags.split, dataset.cohort)
    if dataset.symbol_map == "aami" and flags.label_map in (None, *labels.AAMI_MAPS):
        protocol += labels.CITES
    scaling = platt.CITES if spec and spec.many_labels else classification.CITES
    protocol += scaling if flags.calibrate else ()
    built_of = network.cites + (committee.CITES if flags.members > 1 else ())
    of_charts = flags.model_name in VISION and (flags.pretrained == transfer.IMAGENET or flags.weights_file)
    built_of += vision.CITES if of_charts else ()
    own = "generated by the program" if dataset.generated else "cite the source of your own rows"
    title = f"data: {name}" + (f" ({own})" if not dataset.cites else "")
    parts = {title: dataset.cites, f"network: {flags.model_name}": built_of}
    parts |= {"protocol": protocol} if protocol else {}
    return parts | {"program": (citations.program(devices.own_version(), devices.commit()),)}
