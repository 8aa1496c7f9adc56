"""The script for SLURM, run as it is with plain processes in place of srun: scheduler, workers, and a job that is
preempted."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from helpers.commands import finish, launch, wait_for
from helpers.data import ROOT
from helpers.studies import free_port, is_refused
from studies import tables
from studies.ledger import DONE, Ledger

SCRIPT = ROOT / "grids" / "slurm.sh"
FILE = """
folds: 2
base: {dataset: synth, model-name: cnn1d_3, short-run: true, epochs: 8}
stages:
  - {name: head, base: {train: head}}
  - {name: final, from: head, seeds: 1}
"""
# As srun would, of one task: the command, and its end is waited for.
SRUN = """#!/bin/bash
shift
trap 'kill $(jobs -p)' TERM
"$@" &
wait
wait
"""


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """An environment with what a job of SLURM finds: srun, scontrol, its own number."""
    for name, text in (("srun", SRUN), ("scontrol", f"#!/bin/bash\necho $@ >{tmp_path}/scontrol\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    own = {
        "ECG_PROGRAM": str(ROOT),
        "ECG_PYTHON": os.sys.executable,
        "ECG_HOST": "127.0.0.1",
        "ECG_PORT": str(free_port()),
    }
    own["ECG_KEYS"] = str(tmp_path)
    return own | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "1"}


def test_bash_reads_it_and_it_asks_for_what_the_readme_says() -> None:
    subprocess.run(["bash", "-n", SCRIPT], check=True)
    asked = [line for line in SCRIPT.read_text().splitlines() if line.startswith("#SBATCH")]
    assert {"#SBATCH --requeue", "#SBATCH --signal=B:TERM@300"} <= set(asked)


def test_a_job_that_is_preempted_saves_its_runs_is_requeued_and_ends_when_it_comes_again(
    root: Path, cluster: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "s.yaml").write_text(FILE)
    ledger = Ledger(root / "research" / "s", root)
    job = (
        "-c",
        'import os, sys; os.execvp("bash", ["bash", *sys.argv[1:]])',
        SCRIPT,
        tmp_path / "s.yaml",
        "--root-dir",
        root,
    )
    how = {"script": "", "env": cluster, "cwd": tmp_path, "start_new_session": True, "stderr": subprocess.STDOUT}
    first = launch(*job, **how)
    wait_for(lambda: ledger.path.exists() and bool(ledger.records()), first)
    (keys,) = tmp_path.glob(".ecg-keys-*")
    assert {path.stat().st_mode & 0o077 for path in (keys, *keys.iterdir())} == {0}
    for address in (f"tcp://127.0.0.1:{cluster['ECG_PORT']}", f"tls://127.0.0.1:{cluster['ECG_PORT']}"):
        assert is_refused(address)
    first.send_signal(signal.SIGTERM)  # to the script alone, as --signal=B: does
    ended = finish(first)
    assert ended.code == 143, ended.out
    assert not keys.exists()
    assert (tmp_path / "scontrol").read_text().split() == ["requeue", "7"]
    assert {row["state"] for row in tables.rows(ledger)} <= {DONE, "stopped", "waiting"}
    ended = finish(launch(*job, **how))
    assert ended.code == 0, ended.out
    assert {row["state"] for row in tables.rows(ledger)} == {DONE}
    assert [row["stage"] for row in tables.rows(ledger)] == ["head", "head", "final"]
