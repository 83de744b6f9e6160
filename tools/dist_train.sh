#!/usr/bin/env bash
# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
# Train with several processes on one machine or more: one per GPU, or on CPUs.
set -euo pipefail
source "$(dirname "$0")/dist_run.sh"

[ $# -ge 2 ] || usage 'CONFIG PROCESSES [ARGUMENTS OF tools/train.py]'
config=$1 processes=$2
shift 2
run_by_torchrun "$processes" train.py "$config" --launcher pytorch "$@"
