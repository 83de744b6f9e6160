#!/usr/bin/env bash
# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
# Test on a cluster run by slurm: one task per GPU.
set -euo pipefail

if [ $# -lt 4 ]; then
    cat >&2 <<'USAGE'
Usage: bash tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [ARGUMENTS OF tools/test.py]

  GPUS            in all (default 8); GPUS_PER_NODE (default 8, at most GPUS)
  CPUS_PER_TASK   per GPU (default 5)
  SRUN_ARGS       further arguments of srun
USAGE
    exit 2
fi
partition=$1 job=$2 config=$3 checkpoint=$4
shift 4
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
# shellcheck disable=SC2086  # SRUN_ARGS is a list of words
exec srun -p "$partition" --job-name="$job" \
    --gres="gpu:$per_node" --ntasks="$gpus" --ntasks-per-node="$per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$(dirname "$0")/test.py" "$config" "$checkpoint" --launcher slurm "$@"
