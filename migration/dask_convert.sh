#!/usr/bin/env bash
# Convert one large store on a Dask cluster that lives as long as the conversion.
#
#   migration/dask_convert.sh SOURCE OUT [OPTION...]            on this machine
#   sbatch --nodes=4 migration/dask_convert.sh SOURCE OUT ...   on four nodes of a SLURM cluster
#
# All machines must see SOURCE and OUT under the same paths and have yprov-mlflow[dask]. OPTIONs
# are those of `yprov-mlflow convert`. With a scheduler that runs already, this script is not
# needed: `yprov-mlflow convert SOURCE -o OUT --dask tcp://HOST:8786`.
#
# DASK_WORKERS: worker processes on each machine (default: its CPUs).
#SBATCH --job-name=yprov-convert
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=8G
#SBATCH --time=08:00:00
set -euo pipefail

if [ $# -lt 2 ]; then
  echo "usage: $(basename "$0") SOURCE OUT [OPTION...]" >&2
  exit 2
fi
source=$1 out=$2
shift 2

work=$(mktemp -d "${TMPDIR:-/tmp}/yprov-dask.XXXXXX")
[ -z "${SLURM_JOB_ID:-}" ] || { mkdir -p "$out" && work=$(mktemp -d "$out/.yprov-dask.XXXXXX"); }
started=()
finish() {
  code=$?
  [ "$code" = 0 ] || [ "$code" = 3 ] || tail -n 20 "$work"/*.log >&2 || true
  for process in "${started[@]}"; do kill "$process" 2>/dev/null && wait "$process" || true; done
  rm -rf "$work"
}
trap finish EXIT

if [ -n "${SLURM_JOB_ID:-}" ]; then
  host=$(hostname) each=(srun --ntasks-per-node=1)
else
  host=127.0.0.1 each=()
fi
# The workers find the scheduler by this file: its port is whichever is free.
dask scheduler --host "$host" --port 0 --no-dashboard --scheduler-file "$work/scheduler.json" \
  >"$work/scheduler.log" 2>&1 &
started=($!)
"${each[@]}" dask worker --scheduler-file "$work/scheduler.json" --no-dashboard --nthreads 1 \
  --nworkers "${DASK_WORKERS:-${SLURM_CPUS_PER_TASK:-$(nproc)}}" --local-directory "$work" \
  >"$work/workers.log" 2>&1 &
started=($! "${started[@]}") # to be ended first

until [ -s "$work/scheduler.json" ]; do
  kill -0 "${started[1]}" 2>/dev/null || { echo "the scheduler did not start" >&2; exit 1; }
  sleep 0.2
done
address=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["address"])' \
  "$work/scheduler.json")
yprov-mlflow convert "$source" --out "$out" --dask "$address" "$@"
