# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What a user reads when a dependency is missing, unsupported or does not fit."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import regionclip_mmdet
from regionclip_mmdet.compat import DEPENDENCIES, Dependency, check_dependencies, dependencies

ROOT = Path(regionclip_mmdet.__file__).parents[1]


def test_this_environment_is_supported() -> None:
    check_dependencies()


def test_every_problem_is_named_with_one_remedy() -> None:
    wanted = [
        Dependency('no_such_module', 'no-such-dist>=1', (('no-such-dist', '>=1'),)),
        Dependency('torch', 'torch>=999', (('torch', '>=999'),)),
        Dependency('numpy', 'numpy>=1', (('numpy', '>=1'),)),
    ]
    with pytest.raises(ImportError) as caught:
        check_dependencies(wanted)
    message = str(caught.value)
    assert 'no_such_module is not installed' in message
    assert f'torch {metadata.version("torch")} is installed, but >=999 is supported' in message
    assert 'pip install "no-such-dist>=1" "torch>=999"' in message
    assert 'numpy' not in message
    assert caught.value.__suppress_context__


def test_the_first_distribution_installed_counts() -> None:
    fork = Dependency('torch', 'torch>=999', (('not-torch', '>=999'), ('torch', '')))
    check_dependencies([fork])


def test_import_of_the_package_fails_with_one_clear_error() -> None:
    code = (
        f'import sys; sys.path.insert(0, {str(ROOT)!r}); sys.modules["mmdet"] = None\n'
        'import regionclip_mmdet'
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert result.returncode == 1
    assert 'ImportError: regionclip_mmdet cannot be imported' in result.stderr
    assert 'pip install "mmdet>=3.3,<3.4"' in result.stderr
    assert result.stderr.count('Traceback') == 1


def test_torchvision_that_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'torchvision', None)
    with pytest.raises(ImportError, match='torchvision does not fit torch') as caught:
        dependencies._check_torchvision_fits_torch()
    assert 'same package index' in str(caught.value)
    assert caught.value.__suppress_context__


def test_ranges_equal_those_pip_is_told() -> None:
    text = (ROOT / 'pyproject.toml').read_text()
    for dependency in DEPENDENCIES:
        assert re.search(rf'"{re.escape(dependency.requirement)}"', text), dependency.requirement
