"""The comparison with peers: all ways train on the same rows, and a table has the costs of each and the ratios."""

import re
import resource
import sys

import numpy as np
import pytest

from helpers.commands import finish, launch
from helpers.data import ROOT, benchmark
from loaders.synthetic import twelve_lead

MINIATURE = ("--models", "cnn1d_3", "--rows", "300", "--rounds", "1", "--ways", "here", "bare")


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return benchmark("peers")


def test_this_program_and_a_peer_train_on_the_same_rows(peers, monkeypatch, capsys) -> None:
    logged = {}

    def spent(*words: object, env: object) -> object:
        done = finish(launch(*words[2:], script="benchmarks/ways.py"))
        assert done.code == 0, done.err
        logged[words[2]] = done.err
        return peers.Cost(2.0, 1.0, 300.0)

    monkeypatch.setattr(peers, "spent", spent)
    monkeypatch.setattr(sys, "argv", ["peers.py", *MINIATURE])
    peers.main()
    assert "300 train, 0 validation rows" in logged["here"]
    out = capsys.readouterr().out
    assert "cnn1d_3: rows 300, epochs 1, batch 128" in out
    rows = {title: cells for title, *cells in (line.strip("| ").split(" | ") for line in out.splitlines())}
    for title in ("this program", "bare loop", "this / best peer"):
        assert len(rows[title]) == len(peers.COLUMNS)
        assert all(re.fullmatch(r"[\d.]+ \[[\d.]+-[\d.]+\]|-", cell) for cell in rows[title])
    assert rows["this program"][:3] == ["2.00 [2.00-2.00]", "1.00 [1.00-1.00]", "300 [300-300]"]


def test_every_peer_gets_the_training_rows_alone(peers, tmp_path) -> None:
    ways, file = peers.ways, tmp_path / "rows.npz"
    ways.written(file, 300)
    setting = ways.Setting.of(file, "cnn1d_3", "cpu", "float32")
    assert setting.x.shape == (300, 1, 187)
    assert len(setting.spec.classes) == 5
    batches = [len(y) for _, y in ways.Tensors(setting.x, setting.y)]
    assert batches == [len(y) for _, y in setting.loader()] == [128, 128, 44]


def test_a_ratio_is_to_the_best_peer_of_its_column(peers) -> None:
    ours, slow = [(3.0,) * 6] * 2, [(9.0, 2.0, 4.0, 9.0, 9.0, 0.0)] * 2
    fast = [(4.0, 8.0, 6.0, 9.0, 9.0, 0.0)] * 2
    *_, last = peers.table({"here": ours, "bare": slow, "lightning": fast}).splitlines()
    best = ("0.75", "1.50", "0.75", "0.33", "0.33")
    assert last == f"| this / best peer | {' | '.join(f'{ratio} [{ratio}-{ratio}]' for ratio in best)} | - |"


def test_the_memory_of_a_process_is_its_own_and_a_failure_has_its_reason(peers) -> None:
    own = peers.ways.peak_mib(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert 0 < peers.spent(sys.executable, "-c", "pass").mib < own / 2
    with pytest.raises(RuntimeError, match="no such reason"):
        peers.spent(sys.executable, "-c", "raise ValueError('no such reason')")


def test_the_features_of_a_record_have_its_heart_rate_and_are_finite_for_a_flat_one() -> None:
    features = benchmark("ptbxl_mini").features
    record = twelve_lead.record("SB", np.random.default_rng(0))[:, ::5] / 1000
    found, flat = features(record, 100), features(np.zeros((12, 1000)), 100)
    assert found.shape == flat.shape
    assert np.isfinite([found, flat]).all()
    assert 40 < found[-2] < 57  # beats a minute
    assert flat[-2] == 0
