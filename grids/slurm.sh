#!/bin/bash
# A study on a SLURM cluster: one Dask scheduler, one worker a task, and research.py, which hands runs to them.
#
#     sbatch grids/slurm.sh grids/vision_two_stage.yaml --root-dir /shared/ecg_data --name two_stage
#
# The program, its Python and --root-dir must be on a file system that every node sees at the same path. The arguments
# after the script are those of research.py. The same command resumes the study; so does the job itself when it was
# preempted and is requeued. Scheduler, workers and research.py speak TLS with keys made for this job, in a folder below
# ECG_KEYS (default the home folder) that every node sees and only its owner can read. Anyone who can read that folder,
# such as root, can use the workers.
#SBATCH --job-name=ecg-research
#SBATCH --ntasks=8
#SBATCH --cpus-per-task=4
#SBATCH --gpus-per-task=1
#SBATCH --mem-per-cpu=4G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@300
set -euo pipefail

cd "${ECG_PROGRAM:-${SLURM_SUBMIT_DIR:-.}}"
python="${ECG_PYTHON:-python}"
address="tls://${ECG_HOST:-$(hostname -f)}:${ECG_PORT:-$((20000 + ${SLURM_JOB_ID:-0} % 10000))}"
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"

keys="$(mktemp -d "${ECG_KEYS:-$HOME}/.ecg-keys-XXXXXXXX")"
trap 'rm -rf -- "$keys"' EXIT
"$python" -c 'import pathlib, sys; from studies import runner; runner.write_keys(pathlib.Path(sys.argv[1]))' "$keys"
export DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION=True DASK_DISTRIBUTED__COMM__TLS__CA_FILE="$keys/ca.pem"
for role in SCHEDULER WORKER CLIENT; do
    export "DASK_DISTRIBUTED__COMM__TLS__${role}__KEY=$keys/key.pem" "DASK_DISTRIBUTED__COMM__TLS__${role}__CERT=$keys/cert.pem"
done
export DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES="[]" DASK_DISTRIBUTED__WORKER__HTTP__ROUTES="[]"
http=(--no-dashboard --dashboard-address 127.0.0.1:0)

"$python" -m distributed.cli.dask_scheduler --host "$address" "${http[@]}" &
scheduler=$!
# A worker does one run at a time. If it dies, Dask gives its run to another, which resumes from the checkpoint.
srun --kill-on-bad-exit=0 "$python" -m distributed.cli.dask_worker "$address" --nthreads 1 --no-nanny "${http[@]}" --memory-limit 0 \
    --death-timeout 120 &
workers=$!

over() { # the workers first: stopped together with their scheduler, they may not end
    kill "$workers" 2>/dev/null || true
    for _ in {1..40}; do
        kill -0 "$workers" 2>/dev/null || break
        sleep 0.25
    done
    kill -KILL "$workers" 2>/dev/null || true
    kill "$scheduler" 2>/dev/null || true
    wait || true
    rm -rf -- "$keys"
}
trap over EXIT

# Five minutes before the time limit SLURM sends TERM: every run saves its position, and the job is requeued.
"$python" research.py "$@" --engine-address "$address" &
research=$!
asked=""
trap 'asked=yes; kill -TERM "$research" 2>/dev/null || true' TERM INT
code=0
wait "$research" || code=$?
while kill -0 "$research" 2>/dev/null; do
    code=0
    wait "$research" || code=$?
done
if [ -n "$asked" ] && [ "$code" -ge 128 ] && [ -n "${SLURM_JOB_ID:-}" ]; then # unless the study was done by then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
