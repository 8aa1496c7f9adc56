"""Which detector tells a patient's normal beats from the others: methods of scikit-learn and autoencoders, a patient at
a time, with thresholds by one or more rules.

    python benchmarks/detectors.py --data-file mit-bih-arrhythmia-database-1.0.0.zip [--ecg5000 FOLDER] [--epochs 60]
    [--names conv_ae lstm_ae ...] [--thresholds percentile:98 rate:2 ...] [--seeds 1]

Of each of eight records of MIT-BIH with ectopic beats the normal beats are divided 85/7.5/7.5, as `ecg5000` is, a ninth
set with --ecg5000 (its train file suffices). Only rows that are training rows of `ecg` are used, so that
defaults may be chosen by this table. A method of scikit-learn has no seed.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np

import args as commander_args
from commands import build, choices
from loaders import get_data, splits
from loaders.base import Data, DataSpec, Split
from models import AUTOENCODERS
from toolbox.tasks import detect
from toolbox.training.baselines import BASELINES

RECORDS = ("106", "119", "200", "203", "208", "221", "223", "233")
NEVER = SimpleNamespace(requested=None)


def of_record(everything: Split, record: str, spec: DataSpec) -> Data:
    """The beats of one record: normal ones in three, all others in the test."""
    rows = everything.rows(np.flatnonzero(everything.record == record))
    normal, others = np.flatnonzero(rows.y == 0), np.flatnonzero(rows.y != 0)
    train, val, test = (normal[side] for side in splits.three(rows.y[normal], 42))
    held = rows.rows(np.sort(np.concatenate([test, others])))
    return Data(spec, rows.rows(train), rows.rows(val), lambda: held, "")


def errors_of(name: str, data: Data, epochs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of validation and of the test rows."""
    if name in BASELINES:
        score = BASELINES[name](data.train.x[:, 0])
        return score(data.val.x[:, 0]), score(data.test.x[:, 0])
    flags = {"model_name": name, "epochs": epochs, "batch_size": 32, "device": "cpu", "seed": seed}
    trainer = build.build(choices.settle(commander_args.resolve(flags)), data)
    trainer.fit(epochs, on_epoch=lambda *_: None, stop=NEVER)
    return trainer.predict(data.val).loss, trainer.predict(data.test).loss


def sets(asked: argparse.Namespace, seed: int) -> Iterator[tuple[str, Data]]:
    """The records, and ECG5000 if it was named."""
    whole = get_data("ecg", asked.root_dir, data_file=asked.data_file)
    everything = Split.joined(whole.train, whole.val)
    for record in RECORDS:
        yield record, of_record(everything, record, whole.spec)
    if asked.ecg5000:
        yield "ecg5000", get_data("ecg5000", asked.root_dir, data_file=asked.ecg5000, seed=seed, detect=True)


def main() -> None:
    """Print a line for each detector and rule: means, their standard deviation over seeds, and the least set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-file", type=Path, required=True)
    parser.add_argument("--ecg5000", type=Path)
    parser.add_argument("--root-dir", type=Path, default=Path("ecg_data"))
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--thresholds", nargs="+", default=[commander_args.FLAGS.defaults["threshold"]])
    networks = [name for name in AUTOENCODERS if name != "lstm_ae"]
    parser.add_argument("--names", nargs="+", default=[*BASELINES, *networks])
    asked = parser.parse_args()
    rules = {rule: detect.parse(rule) for rule in asked.thresholds}
    heads = ("AUROC", "normals kept", "caught")
    sys.stdout.write(
        f"{'detector':<20}{'threshold':<15}" + "".join(f"{head:>26}" for head in heads) + f"{'seconds':>9}\n"
    )
    for name in asked.names:
        begun = time.perf_counter()
        figures: dict[str, list[list[float]]] = {}  # by rule and set: a list for each seed
        for seed in range(42, 42 + (1 if name in BASELINES else asked.seeds)):
            for place, data in sets(asked, seed):
                val, test = errors_of(name, data, asked.epochs, seed)
                for rule, threshold in rules.items():
                    found = detect.detection_score(data.test.y != 0, test, threshold(val)["threshold"])
                    row = [found[key] for key in ("auroc", "normals_kept", "anomalies_caught")]
                    figures.setdefault(f"{rule} {place}", []).append(row)
        for rule in rules:
            values = np.array([of for key, of in figures.items() if key.startswith(f"{rule} ")])  # (sets, seeds, 3)
            means, least = values.mean(0), values.mean(1).min(0)
            cells = [f"{means[:, k].mean():.4f} +-{means[:, k].std():.4f} ({least[k]:.3f})" for k in range(len(heads))]
            text = "".join(f"{cell:>26}" for cell in cells)
            sys.stdout.write(f"{name:<20}{rule:<15}{text}{time.perf_counter() - begun:>9.1f}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
