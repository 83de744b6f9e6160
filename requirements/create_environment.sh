#!/usr/bin/env bash
# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
# Create or complete a virtual environment with tested versions.
# Usage: create_environment.sh FOLDER
# Environment variables, all optional:
#   PYTHON           interpreter (default: the first suitable one found)
#   PYTHON_VERSIONS  versions to look for, best first (default: 3.11 3.12 3.10)
#   CONSTRAINTS      file of tested versions (default: requirements/constraints.txt)
#   REQUIREMENTS     file of requirements to install instead of the package's own
#   MMCV             lite (default): nothing to compile; ops: compile mmcv's operators
#   PIP_OPTIONS      further options of pip install
set -euo pipefail

venv=$1
root=$(cd "$(dirname "$0")/.." && pwd)
versions=${PYTHON_VERSIONS:-3.11 3.12 3.10}
constraints=${CONSTRAINTS:-$root/requirements/constraints.txt}
requirements=${REQUIREMENTS:-}
mmcv=${MMCV:-lite}
needed_gib=8  # 5.3 GiB of packages plus room to unpack them

fail() {
    printf '\nregionclip_mmdet: %s\n' "$*" >&2
    exit 1
}

case $mmcv in
    lite | ops) ;;
    *) fail "MMCV=$mmcv is neither lite nor ops." ;;
esac
for file in "$constraints" ${requirements:+"$requirements"}; do
    [ -f "$file" ] || fail "there is no file $file (CONSTRAINTS, REQUIREMENTS)."
done

# Runs, is one of the wanted versions, and can make virtual environments with pip.
suitable() {
    "$1" -c 'import sys, venv, ensurepip
sys.exit("%d.%d" % sys.version_info[:2] not in sys.argv[1:])' $versions >/dev/null 2>&1
}

find_python() {
    local candidate version
    if [ -n "${PYTHON:-}" ]; then
        suitable "$PYTHON" || fail "PYTHON=$PYTHON does not run, is not one of Python $versions, or" \
            "lacks the venv and ensurepip modules (Debian, Ubuntu: apt install python3-venv)."
        echo "$PYTHON"
        return
    fi
    local pyenv="${PYENV_ROOT:-$HOME/.pyenv}/versions"
    for version in $versions; do
        for candidate in "python$version" python3 python "$pyenv/$version".*/bin/python; do
            if versions=$version suitable "$candidate"; then
                echo "$candidate"
                return
            fi
        done
    done
    version=${versions%% *}
    fail "no suitable Python found. Needed: one of Python $versions with the venv and" \
        "ensurepip modules (Debian, Ubuntu: apt install python$version python$version-venv; or" \
        "pyenv install $version). Name it with: make PYTHON=/path/to/python$version"
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
install() {
    # shellcheck disable=SC2086  # PIP_OPTIONS is a list of words
    "$venv/bin/python" -m pip install --disable-pip-version-check --quiet ${PIP_OPTIONS:-} \
        -c "$constraints" "$@"
}
# Loads the extension alone: mmcv itself needs packages that an interrupted run has not installed.
has_operators() {
    "$venv/bin/python" -c 'import glob, importlib.util, sysconfig, torch
[path] = glob.glob(sysconfig.get_path("platlib") + "/mmcv/_ext.*.so")
importlib.util.module_from_spec(importlib.util.spec_from_file_location("_ext", path))' \
        >/dev/null 2>&1
}
if [ "$mmcv" = ops ] && ! has_operators; then
    # mmcv is built against the installed torch; pip's cache would not ask for which one.
    "$venv/bin/python" -m pip uninstall --quiet -y mmcv-lite # owns the same folder
    install torch torchvision numpy setuptools wheel ninja &&
        echo 'Compiling mmcv (MAX_JOBS=... compilers at once, 4 by default)' &&
        PATH="$(cd "$venv" && pwd)/bin:$PATH" \
            install --no-build-isolation --no-cache-dir --no-deps --no-binary mmcv \
            --force-reinstall mmcv ||
        fail "mmcv could not be compiled; the message is above. Needed: a C++ compiler (Debian," \
            "Ubuntu: apt install g++) and Python's headers. Without one: MMCV=lite."
fi
if [ -n "$requirements" ]; then
    install -r "$requirements" && install --no-deps --no-build-isolation -e "$root"
else
    install -e "$root[$mmcv,quickstart,dev]"
fi ||
    fail "pip could not install the requirements; its message is above. Without a network, or" \
        "behind a mirror, say so: make PIP_OPTIONS='--index-url ...'"
# Not "python -c" in the checkout: that would find the package by the current folder.
(cd / && "$(cd "$root" && cd "$(dirname "$venv")" && pwd)/$(basename "$venv")/bin/python" \
    -c 'import regionclip_mmdet; print("Installed regionclip_mmdet", regionclip_mmdet.__version__)')
