#!/usr/bin/env bash
# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
# Train on a cluster run by slurm: one task per GPU.
set -euo pipefail
source "$(dirname "$0")/slurm_run.sh"

[ $# -ge 4 ] || usage 'PARTITION JOB_NAME CONFIG WORK_DIR [ARGUMENTS OF tools/train.py]'
partition=$1 job=$2 config=$3 work_dir=$4
shift 4
run_by_slurm "$partition" "$job" train.py "$config" --work-dir "$work_dir" --launcher slurm "$@"
