#!/usr/bin/env bash
# Convert all stores below a folder as a SLURM job array: one task for each line of a list.
#
#   yprov-mlflow convert-mlruns FOLDER --list stores > stores.txt
#   sbatch --array=1-$(wc -l < stores.txt)%20 migration/slurm_convert.sh stores.txt OUT [OPTION...]
#
# A line is a store: a folder, a database URI, a server. A store too large for one task goes by
# experiments: `--list experiments` prints lines of store, tab, experiment. Line N is converted
# to OUT/N by a ledger of its own, so keep the list as long as the output. OPTIONs are those of
# `yprov-mlflow convert`. A task that is stopped (time limit, preemption) and started again goes
# on where it was. A task fails with exit code 3 when something of its store is not converted:
# OUT/N.json says what.
#SBATCH --job-name=yprov-convert
#SBATCH --cpus-per-task=4
#SBATCH --mem=4G
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --output=yprov-convert-%A_%a.log
set -euo pipefail

if [ $# -lt 2 ] || [ -z "${SLURM_ARRAY_TASK_ID:-}" ]; then
  echo "usage: sbatch --array=1-N $(basename "$0") LIST OUT [OPTION...]" >&2
  exit 2
fi
list=$1 out=$2
shift 2

line=$(sed -n "${SLURM_ARRAY_TASK_ID}p" "$list")
IFS=$'\t' read -r store experiment <<<"$line"
if [ -z "$store" ]; then
  echo "$list has no line $SLURM_ARRAY_TASK_ID" >&2
  exit 2
fi
mkdir -p "$out"
exec yprov-mlflow convert "$store" --out "$out/$SLURM_ARRAY_TASK_ID" \
  ${experiment:+--experiment "$experiment"} \
  --workers "${SLURM_CPUS_PER_TASK:-1}" --report "$out/$SLURM_ARRAY_TASK_ID.json" "$@"
