#!/usr/bin/env bash
# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
# Test on a cluster run by slurm: one task per GPU.
set -euo pipefail
source "$(dirname "$0")/slurm_run.sh"

[ $# -ge 4 ] || usage 'PARTITION JOB_NAME CONFIG CHECKPOINT [ARGUMENTS OF tools/test.py]'
partition=$1 job=$2 config=$3 checkpoint=$4
shift 4
run_by_slurm "$partition" "$job" test.py "$config" "$checkpoint" --launcher slurm "$@"
