#!/usr/bin/env bash
# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
# What dist_train.sh and dist_test.sh share; sourced by them.

# Show how the calling script is used, and end. Argument: the words it takes.
usage() {
    cat >&2 <<USAGE
Usage: bash tools/$(basename "$0") $1

  PROCESSES     per machine: the number of its GPUs
  NNODES        machines (default 1); NODE_RANK: which one this is, from 0
  MASTER_ADDR   address of machine 0, of several
  PORT          there, else MASTER_PORT; by default a free one, of several machines one
                that follows from slurm's job number, else 29500
USAGE
    exit 2
}

# Run one of the Python tools by torchrun. Arguments: processes, tool, the tool's.
run_by_torchrun() {
    local processes=$1 tool=$2
    shift 2
    local port=${PORT:-${MASTER_PORT:-}} meeting
    if [ -z "$port" ] && [ "${NNODES:-1}" = 1 ]; then
        meeting=(--standalone)
    else
        if [ -z "$port" ]; then
            port=29500
            [ -z "${SLURM_JOB_ID:-}" ] || port=$((12000 + 16 * SLURM_JOB_ID % 20000))
        fi
        meeting=(--nnodes "${NNODES:-1}" --node_rank "${NODE_RANK:-0}"
            --master_addr "${MASTER_ADDR:-127.0.0.1}" --master_port "$port")
    fi
    exec "${PYTHON:-python}" -m torch.distributed.run "${meeting[@]}" \
        --nproc_per_node "$processes" "$(dirname "$0")/$tool" "$@"
}
