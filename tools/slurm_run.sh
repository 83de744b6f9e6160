#!/usr/bin/env bash
# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
# What slurm_train.sh and slurm_test.sh share; sourced by them.

# Show how the calling script is used, and end. Argument: the words it takes.
usage() {
    cat >&2 <<USAGE
Usage: bash tools/$(basename "$0") $1

  GPUS            in all (default 8); GPUS_PER_NODE (default 8, at most GPUS)
  CPUS_PER_TASK   per GPU (default 5)
  SRUN_ARGS       further arguments of srun
USAGE
    exit 2
}

# Run one of the Python tools, one task per GPU. Arguments: partition, job name, tool, the tool's.
run_by_slurm() {
    local partition=$1 job=$2 tool=$3
    shift 3
    local gpus=${GPUS:-8}
    local per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
    # shellcheck disable=SC2086  # SRUN_ARGS is a list of words
    exec srun -p "$partition" --job-name="$job" \
        --gres="gpu:$per_node" --ntasks="$gpus" --ntasks-per-node="$per_node" \
        --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
        "${PYTHON:-python}" -u "$(dirname "$0")/$tool" "$@"
}
