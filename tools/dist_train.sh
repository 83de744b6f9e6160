#!/usr/bin/env bash
# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
# Train with several processes on one machine or more: one per GPU, or on CPUs.
set -euo pipefail

if [ $# -lt 2 ]; then
    cat >&2 <<'USAGE'
Usage: bash tools/dist_train.sh CONFIG PROCESSES [ARGUMENTS OF tools/train.py]

  PROCESSES     per machine: the number of its GPUs
  NNODES        machines (default 1); NODE_RANK: which one this is, from 0
  MASTER_ADDR   address of machine 0 (default 127.0.0.1); PORT (default 29500)
USAGE
    exit 2
fi
config=$1 processes=$2
shift 2
exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes "${NNODES:-1}" --node_rank "${NODE_RANK:-0}" \
    --master_addr "${MASTER_ADDR:-127.0.0.1}" --master_port "${PORT:-29500}" \
    --nproc_per_node "$processes" \
    "$(dirname "$0")/train.py" "$config" --launcher pytorch "$@"
