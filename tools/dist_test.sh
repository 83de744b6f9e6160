#!/usr/bin/env bash
# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
# Test with several processes on one machine or more: one per GPU, or on CPUs.
set -euo pipefail
source "$(dirname "$0")/dist_run.sh"

[ $# -ge 3 ] || usage 'CONFIG CHECKPOINT PROCESSES [ARGUMENTS OF tools/test.py]'
config=$1 checkpoint=$2 processes=$3
shift 3
run_by_torchrun "$processes" test.py "$config" "$checkpoint" --launcher pytorch "$@"
