"""Compare two source trees by what their commands write: exit codes, weights, predictions, figures, names of caches.

    python benchmarks/same_bytes.py OLD_TREE [NEW_TREE] [--keep FOLDER] [--only PATTERN ...] [--jobs N]
    python benchmarks/same_bytes.py ../old . --keep /tmp/kept --only "beats/*" "table/*" --texts --pictures

Every command of `TABLE` is run by both trees (OLD_TREE twice where NEW_TREE is left out), each group of commands in an
empty folder of its own, with relative paths; no module of either tree is imported. A group has two halves, separated by
HANDOVER: what OLD_TREE made in the first half is also copied and used by NEW_TREE in the second ("old to new"), which
has to give what OLD_TREE alone gives, and must not write any file of a cache or chart store again.

Compared are the exit code, the JSON on stdout, and every file that a command wrote: tensors and numbers of checkpoints,
arrays of NPZ and NPY, values of JSON, columns of CSV, the bytes of all others. Times, commits, versions and what else
`IGNORED` names are not. Pages, texts and sentences are compared with --texts, pictures by their pixels with --pictures.
--only takes whole groups (the part before the slash), as later commands of a group need the earlier ones. With --keep
the folders and `digests.json` of each tree stay in FOLDER, and those of OLD_TREE are taken from there where its commit
and the table are the same. The exit code is 1 where anything differs.
"""

import argparse
import csv
import fcntl
import hashlib
import inspect
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import wfdb
from PIL import Image
from scipy.io import savemat

# Times and the like, and what is to be removed from the program; keys of JSON and of checkpoints, and columns of CSV.
IGNORED = (
    "seconds", "samples_per_s", "rows_per_s", "latency_ms", "latency_p10_ms", "latency_p90_ms", "commit", "versions",
    "by", "root", "run", "spent_s", "activation_bytes", "adaptive_ece", "classwise_ece", "verdict", "meaning", "doubts",
)  # fmt: skip
TEXTS = {".txt", ".html", ".log", ".md", ".svg"}
PICTURES = {".png", ".gif", ".jpg", ".pdf"}
SKIPPED = {".lock", ".mp4"}  # and events of TensorBoard
STORES = ("cache", "charts")
SENTENCE = 2  # spaces in a string that is prose, not a name
TIMEOUT_S = 600
SHOWN = 10  # differences of a command
Digests = dict[str, dict[str, str]]

STOPPED, GO_ON, STUDIES = "stopped", "go on", "studies"
HANDOVER = "-- from here on the other tree may go on --"
C, R = "commander.py", "research.py --workers 1"
SYNTH = f"{C} --device cpu --dataset synth --model-name cnn1d_3"
SHORT = f"{SYNTH} --short-run --no-figures"
PATIENTS = f"{C} --device cpu --dataset synth_patients --model-name cnn1d_3"
STRIPS = f"{C} --device cpu --dataset synth_strips --model-name cnn1d_3"
TWELVE = f"{C} --device cpu --dataset synth_rhythms --model-name cnn1d_3"
CHART = f"{C} --device cpu --dataset synth_rhythms --view chart --model-name mobilenet_v3_small"
SMALL = f"{CHART} --chart-size 32 --leads II,V1 --chart-layout 1x5,1x10 --batch-size 8 --short-run --no-figures"
MINE = f"{C} --device cpu --dataset table --model-name cnn1d_3"
FOUND = f"{C} --device cpu --dataset mitdb --data-file mitdb --model-name cnn1d_3 --split kfold-patient:2"
ANOMALY = f"{C} --device cpu --dataset synth --task detect --model-name linear_ae"
LISTS = (
    "datasets",
    "models",
    "optimizers",
    "schedulers",
    "losses",
    "samplers",
    "metrics",
    "augmentations",
    "baselines",
    "explainers",
)
GRID = "base: {dataset: synth, model-name: cnn1d_3, short-run: true, epochs: 1, device: cpu}\n"
QUICK = "--short-run --no-figures --epochs 1"
PATIENTS_AE, MINE_AE = (each.replace("cnn1d_3", "conv_ae") for each in (PATIENTS, MINE))
STRIPS_CHART, GRU = STRIPS.replace("cnn1d_3", "mobilenet_v3_small"), SHORT.replace("cnn1d_3", "gru_1")
INPUTS = {
    "grid.yaml": f"{GRID}reps: 2\ngrid:\n  - cross: {{lr: [0.001, 0.005]}}\n",
    "folds.yaml": f"{GRID}folds: 2\nstages:\n  - name: head\n    grid: {{cross: {{lr: [0.001, 0.01]}}}}\n"
    "  - name: all\n    from: head\n    base: {pretrained: head}\n    grid: {cross: {lr: [0.0005]}}\n"
    "  - {name: final, from: all, seeds: 1}\n",
    "search.yaml": f"{GRID}grid:\n  - cross: {{lr: 'loguniform(1e-4, 1e-2)', weight-decay: [0.01, 0.1]}}\n",
    "wrong.yaml": f"{GRID}grid:\n  - cross: {{leaning-rate: [1]}}\n",
    "damaged.csv": "a,b,c,d,label\n1,2,3,4,N\n1,2,x,4,V\n1,2,3,N\n" + "1,2,3,4,N\n" * 40,
    "broken.npz": "PK no archive",
}
# The commands of each group by name; STOPPED gets SIGTERM in its second epoch, GO_ON resumes that run.
TABLE: dict[str, dict[str, str]] = {
    "beats": {
        "train": f"{SHORT} --epochs 2 --calibrate --tensorboard",
        STOPPED: f"{SYNTH} --no-figures --epochs 2 --batch-size 32 --version 2",
        HANDOVER: "",
        "test": f"{SYNTH} --test --resume best --version 1 --confusion-video",
        "resume": f"{SHORT} --resume latest --version 1 --epochs 4",
        GO_ON: f"{SYNTH} --no-figures --resume latest --version 2",
        "override": f"{SYNTH} --no-figures --resume latest --version 1 --override --lr 0.001 --epochs 5",
        "test with cost": f"{SHORT} --test --version 1 --cost",
        "transfer": f"{SHORT} --pretrained synth_cnn1d_3_2 --train head --epochs 1 --version 3",
        "other training": f"{SHORT} --version 4 --epochs 2 --augment noise,shift:10:0.5,cutout,mixup --sampler equal "
        "--optimizer sgd --scheduler CosineAnnealingLR --criterion focal --monitor balanced_accuracy --members "
        "2 --seed 3",
        "compare": f"{C} --compare synth_cnn1d_3_3 synth_cnn1d_3_4",
        "integrated gradients": f"{SYNTH} --explain integrated-gradients --version 1 --explain-count 1 "
        f"--explain-random-labels 1",
        "gradcam": f"{SYNTH} --explain gradcam --version 4 --explain-count 1 --explain-class V",
        "recurrent": f"{GRU} --epochs 1 --batch-size 16 --class-balance equal",
    },
    "patients": {
        "train": f"{PATIENTS} --short-run --no-figures --epochs 2 --rr-features --p-waves --calibrate "
        "--normalise record --filter baseline --decision-weights 1,2,1,1,0.5 --sampler records",
        STOPPED: f"{PATIENTS} --no-figures --epochs 2 --batch-size 16 --version 2",
        HANDOVER: "",
        "test": f"{PATIENTS} --no-figures --test --resume best --version 1",
        "resume": f"{PATIENTS} --no-figures --resume latest --version 1 --epochs 4",
        GO_ON: f"{PATIENTS} --no-figures --resume latest --version 2",
        "fold": f"{PATIENTS} {QUICK} --split kfold-patient:4 --fold 2 --val-fold 1/3 --version 3",
        "compare": f"{C} --compare synth_patients_cnn1d_3_1 data/synth_patients/runs/synth_patients_cnn1d_3_1",
        "test on": f"{PATIENTS} --no-figures --version 2 --test-on synth_patients",
        "predict WFDB and CSV": f"{PATIENTS} --version 1 --predict ward.hea ward.csv --out found",
        "predict beats": f"{PATIENTS} --version 2 --predict ward.hea --beats atr --out found2 --from 0:10",
    },
    "strips": {
        "train": f"{STRIPS} --short-run --no-figures --epochs 2 --crops 600:A=2",
        STOPPED: f"{STRIPS} --no-figures --epochs 2 --crops 1500:N=8,A=8,O=8,~=8 --version 2",
        HANDOVER: "",
        "test": f"{STRIPS} --no-figures --test --resume best --version 1",
        "resume": f"{STRIPS} --no-figures --resume latest --version 1 --epochs 4",
        GO_ON: f"{STRIPS} --no-figures --resume latest --version 2",
        "charts": f"{STRIPS_CHART} --view chart --chart-layout 1x5 --chart-size 32 --short-run "
        "--no-figures --epochs 1 --rename-labels A:AF,O:rest,N:rest --batch-size 8 --chart-style grid=off",
    },
    "twelve": {
        "train": f"{TWELVE} --short-run --no-figures --epochs 2 --rate 100 --normalise record",
        STOPPED: f"{TWELVE} --no-figures --epochs 2 --batch-size 1 --leads II,V5 --label-map rhythm11 --version 2",
        HANDOVER: "",
        "test": f"{TWELVE} --no-figures --test --resume best --version 1",
        "resume": f"{TWELVE} --no-figures --resume latest --version 1 --epochs 4",
        GO_ON: f"{TWELVE} --no-figures --resume latest --version 2",
    },
    "table": {
        "train": f"{MINE} --data-file rows.csv --record-column patient --rate-hz 100 --epochs 2 --no-figures",
        "train NPZ": f"{MINE} --data-file rows.npz --epochs 2 --no-figures --val-fraction 0 --version 2",
        STOPPED: f"{MINE} --data-file rows.csv --label-column label --epochs 90 --no-figures --version 3",
        HANDOVER: "",
        "test": f"{MINE} --test --version 1",
        "resume": f"{MINE} --no-figures --resume latest --version 1 --epochs 4",
        GO_ON: f"{MINE} --no-figures --resume latest --version 3",
        "explore": f"{MINE} --data-file rows.csv --rate-hz 100 --explore",
        "test on": f"{MINE} --no-figures --version 1 --test-on other.csv",
        "detect": f"{MINE_AE} --task detect --data-file rows.csv --normal-class N --epochs 2 --no-figures",
    },
    "detect": {
        "train": f"{ANOMALY} --short-run --no-figures --epochs 2 --baseline pca",
        STOPPED: f"{ANOMALY} --no-figures --epochs 2 --batch-size 32 --version 2 --threshold sd:3",
        HANDOVER: "",
        "test": f"{ANOMALY} --no-figures --test --resume best --version 1",
        "resume": f"{ANOMALY} --no-figures --resume latest --version 1 --epochs 4",
        GO_ON: f"{ANOMALY} --no-figures --resume latest --version 2",
        "patients": f"{PATIENTS_AE} --task detect --normal-class N {QUICK}",
    },
    "charts": {
        "train": f"{SMALL} --epochs 2",
        STOPPED: f"{SMALL.replace('--short-run ', '').replace(',1x10', '')} --epochs 2 --version 2 --train head",
        HANDOVER: "",
        "test": f"{CHART} --no-figures --test --resume best --version 1",
        "resume": f"{CHART} --no-figures --resume latest --version 1 --epochs 4",
        GO_ON: f"{CHART} --no-figures --resume latest --version 2",
        "transfer": f"{SMALL} --pretrained synth_rhythms_mobilenet_v3_small_1 --backbone-lr 0.0001 --epochs 1 "
        "--augment move,tilt,grain,fade,mixup",
        "download": f"{CHART} --chart-size 48 --chart-leads I,II --chart-layout 2x5 --download",
        "gradcam": f"{CHART} --explain gradcam --version 1 --explain-count 1",
        "export": f"{C} --dataset synth --view chart --export-charts drawn --short-run",
    },
    "records": {
        "mitdb": f"{FOUND} --fold 1 {QUICK} --rr-features",
        "mitdb symbols": f"{FOUND} --download --label-map symbols --rate 100 --window=-0.3,0.5 --normalise beat",
        HANDOVER: "",
        "test": f"{FOUND} --no-figures --fold 1 --test --resume best",
        "cinc2017": f"{C} --dataset cinc2017 --data-file strips --download --crops 900",
        "ucr": f"{C} --dataset table --data-file UCR_TRAIN.tsv --label-column 1 --model-name cnn1d_3 --epochs 1 "
        "--no-figures --device cpu",
        "chapman": f"{C} --dataset chapman --data-file twelve --download",
    },
    STUDIES: {
        "grid": f"{R.replace('1', '2')} grid.yaml --branches 2",
        "folds": f"{R} folds.yaml",
        "search": f"{R} search.yaml --search tpe --trials 2",
        HANDOVER: "",
        "grid again": f"{R} grid.yaml",
        "results": "research.py --results grid --where lr=0.001 --csv out.csv",
        "folds again": f"{R} folds.yaml",
        "search on": f"{R} search.yaml --search tpe --trials 3",
        "best": f"{R} search.yaml --best --seeds 1",
        "dry run": "research.py grid.yaml --dry-run",
        "wrong flag": "research.py wrong.yaml",
    },
    "refused": {
        "unknown flag": f"{C} --learning-rat 1",
        "unknown name": f"{C} --dataset synth --model-name resnet1d_11",
        "out of range": f"{SHORT} --epochs 0",
        "latest": f"{SHORT} --version latest",
        "no run": f"{SYNTH} --resume latest",
        "nothing to test": f"{SYNTH} --test --version 7",
        "missing file": f"{MINE} --data-file nowhere.csv",
        "damaged CSV": f"{MINE} --data-file damaged.csv",
        "damaged NPZ": f"{MINE} --data-file broken.npz",
        "offline": f"{C} --dataset ptbdb --download",
        "other task": f"{SHORT} --normal-class N",
        "no recording": f"{SYNTH} --predict nowhere.hea",
        "unknown list": f"{C} --list colours",
        "nothing": C,
    },
    "lists": {what: f"{C} --list {what}" for what in LISTS}
    | {"help": f"{C} --help", "help of studies": "research.py --help"},
}


def beats(rng: np.random.Generator, count: int, rate_hz: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """A generated recording (T,) in mV with samples and symbols of its R peaks; every V is early and wide."""
    symbols = ["V" if draw < 0.2 else "A" if draw < 0.3 else "N" for draw in rng.random(count)]
    peaks = (
        np.cumsum([{"N": 0.8, "V": 0.6, "A": 0.65}[each] + rng.normal(0, 0.02) for each in symbols]) * rate_hz
    ).astype(int)
    time_s, signal = np.arange(peaks[-1] + rate_hz) / rate_hz, rng.normal(0, 0.02, peaks[-1] + rate_hz)
    for peak, symbol in zip(peaks, symbols, strict=True):
        for after_s, high, wide_s in (
            (0, 1.2, 0.012 + 0.025 * (symbol == "V")),
            (0.26, 0.3, 0.05),
            (-0.17, 0.15, 0.02),
        ):
            signal += high * np.exp(-(((time_s - peak / rate_hz - after_s) / wide_s) ** 2) / 2)
    return signal, peaks, symbols


def write_inputs(folder: Path) -> None:
    """Generated files for the commands, the same every time."""
    rng = np.random.default_rng(5)
    for name, text in INPUTS.items():
        (folder / name).write_text(text)
    for name, count in (("rows", 320), ("other", 64)):
        y = rng.integers(0, 3, count)
        x = np.sin(np.arange(64) / (3 + 2 * y[:, None])) + rng.normal(0, 0.4, (count, 64))
        lines = [
            f"{','.join(f'{v:.3f}' for v in row)},p{i % 16},{'NVS'[k]}"
            for i, (row, k) in enumerate(zip(x, y, strict=True))
        ]
        (folder / f"{name}.csv").write_text(
            "\n".join([",".join(f"s{i}" for i in range(64)) + ",patient,label", *lines])
        )
    np.savez(
        folder / "rows.npz", x=x.astype(np.float32)[:, None], y=y, record=np.array([f"p{i % 8}" for i in range(count)])
    )
    (folder / "UCR_TRAIN.tsv").write_text(
        "\n".join(f"{k + 1}\t" + "\t".join(f"{v:.3f}" for v in row) for row, k in zip(x, y, strict=True))
    )
    for target, names, rate_hz in (("mitdb", ("101", "106", "108", "109", "112", "114"), 360), (".", ("ward",), 250)):
        (folder / target).mkdir(exist_ok=True)
        for name in names:
            signal, peaks, symbols = beats(rng, 60, rate_hz)
            how = {
                "fmt": ["212"],
                "adc_gain": [200.0],
                "baseline": [0],
                "units": ["mV"],
                "write_dir": str(folder / target),
            }
            wfdb.wrsamp(name, rate_hz, p_signal=signal[:, None], sig_name=["MLII"], **how)
            wfdb.wrann(name, "atr", peaks, symbol=symbols, fs=rate_hz, write_dir=str(folder / target))
    (folder / "mitdb" / "RECORDS").write_text("\n".join(("101", "106", "108", "109", "112", "114")) + "\n")
    (folder / "ward.csv").write_text(
        "time,MLII\n" + "".join(f"{i / rate_hz:.3f},{v:.4f}\n" for i, v in enumerate(signal))
    )
    (folder / "strips").mkdir()
    labels = "NAO~" * 10
    (folder / "strips" / "REFERENCE.csv").write_text("".join(f"A{i:05},{label}\n" for i, label in enumerate(labels, 1)))
    (folder / "twelve").mkdir()
    codes = ("164889003", "426177001", "426783006", "427084000")
    for i in range(1, 41):
        name, wave = f"A{i:05}", np.round(beats(rng, 16, 300)[0] * 1000).astype(np.int16)[None]
        savemat(folder / "strips" / f"{name}.mat", {"val": wave}, format="4")
        (folder / "strips" / f"{name}.hea").write_text(
            f"{name} 1 300 {wave.size}\n{name}.mat 16+24 1000/mV 16 0 {wave[0, 0]} 0 0 ECG\n"
        )
        lead = np.round(beats(rng, 16, 500)[0] * 1000)[:5000]
        eight = lead * rng.uniform(0.3, 1.2, (8, 1)) + rng.integers(-20, 20, (8, 5000))
        one, two = eight[:2]
        wave = (
            np.concatenate([[one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2], eight[2:]])
            .round()
            .astype(np.int16)
        )
        savemat(folder / "twelve" / f"{name}.mat", {"val": wave}, format="4")
        leads = ("I", "II", "III", "aVR", "aVL", "aVF", *(f"V{k}" for k in range(1, 7)))
        rest = "".join(
            f"{name}.mat 16+24 1000/mV 16 0 {row[0]} 0 0 {lead}\n" for row, lead in zip(wave, leads, strict=True)
        )
        (folder / "twelve" / f"{name}.hea").write_text(
            f"{name} 12 500 5000\n{rest}#Age: 50\n#Sex: Male\n#Dx: {codes[i % 4]}\n"
        )


def short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The values of nested dicts and lists by their paths; tensors, arrays and lists of numbers by a digest."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, f"{path}/{key}")
    elif isinstance(value, torch.Tensor):
        yield from leaves(value.detach().cpu().contiguous().view(-1).numpy(), path)
        yield f"{path} shape", str(tuple(value.shape))
    elif isinstance(value, np.ndarray):
        yield path, f"{value.dtype} {value.shape} {short(value.tobytes())}"
    elif isinstance(value, list | tuple) and all(isinstance(part, int | float | None) for part in value):
        yield path, short(repr([*value]).encode())
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from leaves(part, f"{path}/{number}")
    elif isinstance(value, str) and value.count(" ") >= SENTENCE:
        yield f"text {path}", value
    else:
        yield path, repr(value)


def table(content: bytes) -> dict[str, str]:
    """A CSV by its columns."""
    rows = [*csv.reader(io.StringIO(content.decode(errors="replace")))]
    columns = (
        zip(*rows, strict=True)
        if len({len(row) for row in rows}) == 1
        else [("lines", content.decode(errors="replace"))]
    )
    return {name: short("\n".join(cells).encode()) for name, *cells in columns}


def digest(path: Path) -> dict[str, str]:
    """What a file holds, part by part; the names of parts that are prose or pictures begin with "text" or "picture"."""
    content, ending = path.read_bytes(), path.suffix
    if ending in SKIPPED or "tfevents" in path.name or path.name == "lock.mdb":
        return {}
    if ending in TEXTS:
        return {"text": short(content)}
    if ending in PICTURES:
        pixels = Image.open(path).convert("RGB").tobytes() if ending != ".pdf" else content
        return {"picture": short(pixels)}
    try:
        if ending == ".json":
            return dict(leaves(json.loads(content)))
        if path.name.endswith(".pth.tar"):
            return dict(leaves(torch.load(path, map_location="cpu", weights_only=True)))
        if ending in (".npz", ".npy"):
            arrays = np.load(path, allow_pickle=False)
            return dict(leaves({key: arrays[key] for key in arrays.files} if ending == ".npz" else arrays))
        if ending == ".csv":
            return table(content)
    except (ValueError, RuntimeError):
        pass  # no such file, whatever its name says
    return {"": short(content)}


def of_stdout(out: str) -> dict[str, str]:
    lines = out.strip().splitlines()
    ending = dict(leaves(json.loads(lines.pop()))) if lines and lines[-1].startswith("{") else {}
    return {"text": short("\n".join(lines).encode()), **ending}


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder, with time and size, by its path."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size) for path in found}


def stored(seen: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Those that belong to caches and chart stores."""
    return {name: when for name, when in seen.items() if {*STORES} & {*Path(name).parts[:-1]} and "lock" not in name}


def by_flags(path: str, folder: Path) -> str:
    """A path with a digest of the run's flags in place of its number, which is chance where workers take them in
    turn."""
    before, runs, rest = path.partition("/runs/")
    config = folder / before / "runs" / rest.split("/")[0] / "config.json"
    if not (runs and config.is_file()):
        return path
    number, _, file = rest.partition("/")
    flags = json.dumps(json.loads(config.read_text())["flags"], sort_keys=True)
    return f"{before}/runs/{number.rpartition('_')[0]}_{short(flags.encode())}/{file}"


def run(tree: Path, folder: Path, words: str, *, stopped: bool) -> tuple[int, str]:
    """Exit code and stdout of one command; one to be `stopped` gets SIGTERM once a new run has an epoch in its
    history."""
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    own = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "TORCH_HOME": "torch", "COLUMNS": "120", "no_proxy": ""}
    program, *flags = words.split()
    line = [
        sys.executable,
        str(tree / program),
        *flags,
        *(["--root-dir", "data"] if flags and "--help" not in flags else []),
    ]
    histories = partial(folder.glob, "data/*/runs/*/logger.json")
    before = {*histories()}
    with open(folder / "stderr.log", "a") as errors:
        process = subprocess.Popen(
            line, cwd=folder, env={**os.environ, **nowhere, **own}, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        while stopped and process.poll() is None:
            if any('"epoch": 1' in history.read_text() for history in {*histories()} - before):
                process.send_signal(signal.SIGTERM)
                break
            time.sleep(0.01)
        try:
            out, _ = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
    return process.returncode, out


def carry_out(
    tree: Path, root: Path, group: str, *, handed: Path | None = None, taken: bool = False
) -> dict[str, Digests]:
    """The digests of a group's commands; a copy is `handed` on at HANDOVER, or a tree begins there with what was
    `taken`."""
    folder, result = root / group, {}
    if not taken:
        folder.mkdir(parents=True)
        write_inputs(folder)
    steps = [*TABLE[group].items()]
    at = [name for name, _ in steps].index(HANDOVER) if HANDOVER in TABLE[group] else len(steps)
    seen, before = files(folder), stored(files(folder))
    for number, (name, words) in enumerate(steps):
        if number == at:
            before = stored(files(folder))
            if handed:
                shutil.copytree(folder, handed / group, symlinks=True)
        if number == at or (taken and number < at):
            continue
        begun, stopped = time.monotonic(), name == STOPPED
        code, out = run(tree, folder, words, stopped=stopped)
        result[f"{group}/{name}"] = {"exit": {"": str(code)}}
        print(f"  {root.name} {group}/{name}: {code}, {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)  # noqa: T201
        now = files(folder)
        changed = [path for path, when in now.items() if seen.get(path) != when and path != "stderr.log"]
        if stopped:  # where is chance; what its run holds in the end is not
            changed = [path for path in changed if "/runs/" not in path]
        if name == GO_ON:
            changed = [path for path in now if path in changed or f"_{words.split()[-1]}/" in path]
        name_of = by_flags if group == STUDIES else lambda path, folder: path
        parts = {name_of(path, folder): digest(folder / path) for path in changed}
        result[f"{group}/{name}"] |= {"stdout": of_stdout(out), **parts}
        seen = now
    after = stored(files(folder))
    again = [path for path, when in before.items() if after.get(path) != when]
    result[f"{group}/stores used"] = {"stores": dict.fromkeys(again, "written again or removed")}
    return result


# What kept digests depend on.
DIGESTING = (write_inputs, beats, leaves, table, digest, of_stdout, by_flags, run, carry_out)


def commit(tree: Path) -> str:
    """The commit of a tree, with "+" where files were changed, or outside of git."""
    line = ["git", "-C", str(tree), "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(line, capture_output=True, text=True, check=False).stdout.strip() or "+"


def many(work: Callable[[str], dict[str, Digests]], groups: list[str], jobs: int, file: Path) -> dict[str, Digests]:
    """The digests of all groups, which `file` has as well, added as each group ends."""
    found = json.loads(file.read_text()) if file.exists() else {}
    with ThreadPoolExecutor(jobs) as pool:
        for part in pool.map(work, groups):
            found |= part
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(found, indent=0))
    return found


def differences(old: Digests, new: Digests, prose: tuple[str, ...]) -> list[str]:
    """What differs of one command: FILE PART: OLD, NEW. Parts whose names begin with one of `prose` are left out."""

    def compared(part: str) -> bool:
        return not (part.startswith(prose) or {*part.split("/")} & {*IGNORED})

    found = []
    for path in sorted(old.keys() | new.keys()):
        one, other = (
            {part: value for part, value in each.get(path, {}).items() if compared(part)} for each in (old, new)
        )
        if (path in old) != (path in new) and (one or other):
            found.append(f"{path}: {'only in the new tree' if path in new else 'missing in the new tree'}")
        elif odd := sorted(part for part in one.keys() | other.keys() if one.get(part) != other.get(part)):
            more = f" and {len(odd) - 1} more" * (len(odd) > 1)
            found.append(f"{path} {odd[0]}{more}: {one.get(odd[0], 'absent')}, {other.get(odd[0], 'absent')}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path, nargs="?")
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    parser.add_argument("--only", nargs="+", metavar="PATTERN", default=["*"])
    parser.add_argument("--jobs", type=int, default=1, help="groups at a time")
    parser.add_argument("--texts", action="store_true", help="compare pages, texts and sentences, too")
    parser.add_argument("--pictures", action="store_true", help="compare pictures, too")
    given = parser.parse_args()
    old, new = given.old.resolve(), (given.new or given.old).resolve()
    groups = [
        group
        for group in TABLE
        if any(fnmatch(f"{group}/{name}", each) for each in given.only for name in TABLE[group])
    ]
    with tempfile.TemporaryDirectory() as temporary:
        keep = (given.keep or Path(temporary)).resolve()
        of_table = short("".join(map(inspect.getsource, DIGESTING)).encode() + json.dumps([TABLE, INPUTS]).encode())[:8]
        first, second, third = (keep / f"{name}-{of_table}" for name in (
            f"old-{commit(old)}", f"new-{new.name}-{commit(new)}", f"old-to-{new.name}-{commit(new)}"))  # fmt: skip
        keep.mkdir(parents=True, exist_ok=True)
        with open(keep / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several comparisons may share the digests of the old tree
            for folder in (second, third, *[first] * commit(old).endswith("+")):
                shutil.rmtree(folder, ignore_errors=True)
            kept = json.loads((first / "digests.json").read_text()) if (first / "digests.json").exists() else {}
            missing = [group for group in groups if f"{group}/stores used" not in kept]
            for group in missing:
                shutil.rmtree(first / group, ignore_errors=True)
                shutil.rmtree(first / "handed" / group, ignore_errors=True)
            begun, with_copy = time.monotonic(), partial(carry_out, old, first, handed=first / "handed")
            kept = many(with_copy, missing, given.jobs, first / "digests.json")
        print(f"{len(kept)} commands of the old tree, {time.monotonic() - begun:.0f} s")  # noqa: T201
        handed = [group for group in groups if HANDOVER in TABLE[group]]
        for group in handed:
            shutil.copytree(first / "handed" / group, third / group, symlinks=True)
        begun = time.monotonic()
        results = {"": many(partial(carry_out, new, second), groups, given.jobs, second / "digests.json")}
        print(f"{len(results[''])} commands of the new tree, {time.monotonic() - begun:.0f} s")  # noqa: T201
        going_on = partial(carry_out, new, third, taken=True)
        results[" (old to new)"] = many(going_on, handed, given.jobs, third / "digests.json")
    prose = ("text",) * (not given.texts) + ("picture",) * (not given.pictures)
    told = {
        f"{name}{how}": differences(kept[name], result[name], prose)
        for how, result in results.items()
        for name in result
    }
    width = max(map(len, told))
    for name, odd in told.items():
        code = kept[name.partition(" (")[0]].get("exit", {}).get("", "-")
        rest = [f"and {len(odd) - SHOWN} more files"] * (len(odd) > SHOWN)
        print(f"{name:{width}}  exit {code:>3}  {'DIFFERS' if odd else 'same'}", *odd[:SHOWN], *rest, sep="\n      ")  # noqa: T201
    wrong = sum(map(bool, told.values()))
    print(f"{len(told) - wrong} of {len(told)} the same" + f", {wrong} DIFFER" * bool(wrong))  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
