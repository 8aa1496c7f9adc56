"""The commands that `benchmarks/same_bytes.py` runs with two source trees, in groups, and the files that they read."""

from pathlib import Path

import numpy as np
import wfdb
from scipy.io import savemat

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
    "datasets", "models", "optimizers", "schedulers", "losses", "samplers", "metrics", "augmentations", "baselines",
    "explainers",
)  # fmt: skip
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
        "compare": f"{C} --compare synth_patients_cnn1d_3_1 data/synth_patients/runs/synth_patients_cnn1d_3_2",
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
