#!/usr/bin/env bash
# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
# Add what the tests of the web page need to an environment, and a browser to the system.
# Usage: prepare_web_tests.sh FOLDER_OF_THE_ENVIRONMENT
# Environment variables, all optional:
#   CHROMIUM     the browser (default: the first of Chromium and Chrome in PATH)
#   CONSTRAINTS  file of tested versions (default: requirements/constraints.txt)
#   PIP_OPTIONS  further options of pip install
set -euo pipefail

venv=$1
root=$(cd "$(dirname "$0")/.." && pwd)

find_browser() {
    local name
    if [ -n "${CHROMIUM:-}" ]; then
        command -v "$CHROMIUM"
        return
    fi
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        command -v "$name" && return
    done
    return 1
}

if ! find_browser >/dev/null; then
    if [ -z "${CHROMIUM:-}" ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        echo 'Installing Chromium from the packages of the system'
        # what is missing then is said below
        { apt-get update --quiet &&
            apt-get install --quiet --yes --no-install-recommends chromium; } || true
    fi
    find_browser >/dev/null || {
        printf '\nregionclip_mmdet: no Chromium%s. Install one as root (Debian: apt-get install %s' \
            "${CHROMIUM:+ at CHROMIUM=$CHROMIUM}" \
            'chromium; Fedora: dnf install chromium), or name one: CHROMIUM=/path make test-web
' >&2
        exit 1
    }
fi

echo "Installing gradio and playwright into $venv"
# shellcheck disable=SC2086  # PIP_OPTIONS is a list of words
"$venv/bin/python" -m pip install --disable-pip-version-check --quiet ${PIP_OPTIONS:-} \
    -c "${CONSTRAINTS:-$root/requirements/constraints.txt}" -e "$root[web]" playwright
# Without them the tests would be skipped instead of failing.
"$venv/bin/python" -c 'import gradio, playwright.sync_api'
