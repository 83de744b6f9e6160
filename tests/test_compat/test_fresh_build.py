# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""mmcv's operators built from source, then compared with those served by torchvision."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from regionclip_mmdet.compat import uses_operator_fallback

ROOT = Path(__file__).resolve().parents[2]
# A folder or an archive of mmcv 2.1's sources, for machines without a package index.
SOURCE = os.environ.get('REGIONCLIP_MMCV_SOURCE', 'mmcv==2.1.0')
UNREACHABLE = ('No matching distribution', 'Could not find a version', 'Connection')


def build(site: Path) -> None:
    """Build mmcv against the installed torch into a folder of its own."""
    command = [sys.executable, '-m', 'pip', 'install', '--target', str(site), '--no-deps']
    command += ['--no-build-isolation', '--no-cache-dir', '--no-binary', 'mmcv', SOURCE]
    folder = Path(sys.executable).parent  # where ninja is, if it is installed
    environment = dict(
        os.environ,
        MMCV_WITH_OPS='1',
        MAX_JOBS=os.environ.get('MAX_JOBS', str(os.cpu_count())),
        PATH=f'{folder}{os.pathsep}{os.environ["PATH"]}',
    )
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    printed = done.stdout + done.stderr
    if done.returncode and any(words in printed for words in UNREACHABLE):
        pytest.skip(f'the sources of {SOURCE} cannot be had here (REGIONCLIP_MMCV_SOURCE)')
    assert done.returncode == 0, printed[-5000:]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which('c++') is None, reason='no C++ compiler')
@pytest.mark.skipif(
    not uses_operator_fallback(), reason='test_compiled_operators compares with the installed mmcv'
)
def test_fresh_build_and_fallback_agree(tmp_path: Path) -> None:
    """About a quarter of an hour on two cores."""
    site = tmp_path / 'site'
    build(site)
    assert list((site / 'mmcv').glob('_ext*.so'))
    comparison = Path(__file__).with_name('test_compiled_operators.py')
    result = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', str(comparison)],
        cwd=ROOT,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join([str(site), str(ROOT)])),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-5000:]
    passed = re.search(r'(\d+) passed', result.stdout)
    assert passed is not None and int(passed[1]) > 50 and 'skipped' not in result.stdout
