"""Which detector tells a patient's normal beats from the others: methods of scikit-learn and autoencoders, a patient at
a time.

    python benchmarks/detectors.py --data-file mit-bih-arrhythmia-database-1.0.0.zip [--epochs 60] [--names conv_ae
    lstm_ae ...]

Of each of eight records of MIT-BIH with ectopic beats the normal beats are divided 85/7.5/7.5, as `ecg5000` is; the
threshold is the default one. Only rows that are training rows of `ecg` are used, so that defaults may be chosen by this
table.
"""

import argparse
import sys
import time
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np

import args as commander_args
from commands import build, choices
from loaders import get_data
from loaders.base import Data, DataSpec, Split
from loaders.splits import by_row
from models import AUTOENCODERS
from toolbox.tasks import detect
from toolbox.training.baselines import BASELINES

RECORDS = ("106", "119", "200", "203", "208", "221", "223", "233")
NEVER = SimpleNamespace(requested=None)


def of_record(everything: Split, record: str, spec: DataSpec) -> Data:
    """The beats of one record: normal ones in three, all others in the test."""
    rows = everything.rows(np.flatnonzero(everything.record == record))
    normal, others = np.flatnonzero(rows.y == 0), np.flatnonzero(rows.y != 0)
    train, val, test = (normal[side] for side in by_row.three(rows.y[normal], 42))
    held = rows.rows(np.sort(np.concatenate([test, others])))
    return Data(spec, rows.rows(train), rows.rows(val), lambda: held, "")


def errors_of(name: str, data: Data, epochs: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of validation and of the test rows."""
    if name in BASELINES:
        score = BASELINES[name](data.train.x[:, 0])
        return score(data.val.x[:, 0]), score(data.test.x[:, 0])
    flags = {"model_name": name, "epochs": epochs, "batch_size": 32, "device": "cpu"}
    trainer = build.build(choices.settle(commander_args.resolve(flags)), data)
    trainer.fit(epochs, on_epoch=lambda *_: None, stop=NEVER)
    return trainer.predict(data.val).loss, trainer.predict(data.test).loss


def main() -> None:
    """Print a line for each detector: means over the records, and the least."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-file", type=Path, required=True)
    parser.add_argument("--root-dir", type=Path, default=Path("ecg_data"))
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument(
        "--names", nargs="+", default=[*BASELINES, *(name for name in AUTOENCODERS if name != "lstm_ae")]
    )
    asked = parser.parse_args()
    whole = get_data("ecg", asked.root_dir, data_file=asked.data_file)
    everything, threshold = Split.joined(whole.train, whole.val), detect.parse(detect.DEFAULT)
    sys.stdout.write(
        f"{'detector':<20}{'AUROC':>16}{'normals kept':>16}{'caught':>16}{'seconds':>9}   means over records (least)\n"
    )
    for name in asked.names:
        begun, figures = time.perf_counter(), []
        for record in RECORDS:
            data = of_record(everything, record, whole.spec)
            val, test = errors_of(name, data, asked.epochs)
            figures.append(detect.detection_score(data.test.y != 0, test, threshold(val)["threshold"]))
        cells = [[row[key] for row in figures] for key in ("auroc", "normals_kept", "anomalies_caught")]
        text = "".join(f"{f'{np.mean(values):.4f} ({min(values):.3f})':>16}" for values in cells)
        sys.stdout.write(f"{name:<20}{text}{time.perf_counter() - begun:>9.1f}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
