#!/usr/bin/env bash
# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
# Create or complete a virtual environment with tested versions.
# Usage: create_environment.sh FOLDER   (environment: PYTHON, PIP_OPTIONS)
set -euo pipefail

venv=$1
root=$(cd "$(dirname "$0")/.." && pwd)
needed_gib=8  # 5.3 GiB of packages plus room to unpack them

fail() {
    printf '\nregionclip_mmdet: %s\n' "$*" >&2
    exit 1
}

# Runs, is one of the supported versions, and can make virtual environments with pip.
suitable() {
    "$1" -c 'import sys, venv, ensurepip
sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1
}

find_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        suitable "$PYTHON" || fail "PYTHON=$PYTHON does not run, is not Python 3.10 to 3.12, or" \
            "lacks the venv and ensurepip modules (Debian, Ubuntu: apt install python3-venv)."
        echo "$PYTHON"
        return
    fi
    local pyenv="${PYENV_ROOT:-$HOME/.pyenv}/versions"
    for candidate in python3.11 python3.12 python3.10 python3 python \
        "$pyenv"/3.11.*/bin/python "$pyenv"/3.12.*/bin/python "$pyenv"/3.10.*/bin/python; do
        if suitable "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "no suitable Python found. Needed: Python 3.10, 3.11 or 3.12 with the venv and" \
        "ensurepip modules (Debian, Ubuntu: apt install python3.11 python3.11-venv; or" \
        "pyenv install 3.11). Name it with: make PYTHON=/path/to/python3.11"
}

check_disk() {
    local folder free_gib
    folder=$(dirname "$venv")
    mkdir -p "$folder"
    free_gib=$(($(df -Pk "$folder" | awk 'NR == 2 {print $4}') / 1048576))
    [ "$free_gib" -ge "$needed_gib" ] || fail "only $free_gib GiB are free in $folder, but about" \
        "$needed_gib GiB are needed. Free some, or put the environment elsewhere: make VENV=/path"
}

if [ ! -x "$venv/bin/python" ]; then
    python=$(find_python)
    check_disk
    echo "Creating $venv with $("$python" --version)"
    "$python" -m venv "$venv" || fail "$python could not create $venv."
fi
"$venv/bin/python" -m pip --version >/dev/null 2>&1 ||
    fail "$venv has no pip. Remove the folder and run this again, or: $venv/bin/python -m ensurepip"

echo "Installing tested versions into $venv (a few minutes the first time)"
# shellcheck disable=SC2086  # PIP_OPTIONS is a list of words
"$venv/bin/python" -m pip install --disable-pip-version-check --quiet ${PIP_OPTIONS:-} \
    -c "$root/requirements/constraints.txt" -e "$root[lite,quickstart,dev]" ||
    fail "pip could not install the requirements; its message is above. Without a network, or" \
        "behind a mirror, say so: make PIP_OPTIONS='--index-url ...'"
# Not "python -c" in the checkout: that would find the package by the current folder.
(cd / && "$(cd "$root" && cd "$(dirname "$venv")" && pwd)/$(basename "$venv")/bin/python" \
    -c 'import regionclip_mmdet; print("Installed regionclip_mmdet", regionclip_mmdet.__version__)')
