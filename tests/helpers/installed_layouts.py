# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The package as pip installs it, from a wheel and editable, without installing it anywhere.

Both are built from a copy and unpacked into a folder of their own. Python processes then see that
folder and the packages that this process sees, but not the checkout.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / 'regionclip_mmdet'
IGNORED = shutil.ignore_patterns('__pycache__', '*.egg-info')
_EDITABLE = 'import sys, setuptools.build_meta as b; print(b.build_editable(sys.argv[1]))'
# -S leaves out the .pth files of the environment, among them that of an editable installation.
_PRELUDE = """
import site, sys
folder, *others = {paths!r}
sys.path += others
sys.path.insert(0, folder)
site.addsitedir(folder)
sys.path[:] = dict.fromkeys(sys.path)
"""


@dataclass(frozen=True)
class Layout:
    """A folder that takes the place of site-packages."""

    name: str
    folder: Path

    def python(self, code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
        """Run code in a process that sees the package in this layout.

        Args:
            code: Python source.
            folder: Current folder of the process.
            **environment: Further environment variables.
        """
        return subprocess.run(
            [sys.executable, '-S', '-c', self.prelude() + code],
            cwd=folder,
            env={**clean_environment(), **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )

    def prelude(self) -> str:
        """Source that makes the package visible."""
        return _PRELUDE.format(paths=[str(self.folder), *other_packages()])


def other_packages() -> list[str]:
    """Folders of this process' packages, without the checkout."""
    paths = [Path(path).resolve() for path in sys.path if path]
    return [
        str(path) for path in paths if path != ROOT and ROOT / 'tests' not in (path, *path.parents)
    ]


def clean_environment() -> dict[str, str]:
    """Environment variables without the checkout, with one thread."""
    variables = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    return dict(variables, OMP_NUM_THREADS='1')


def copy_sources(target: Path) -> Path:
    """Copy what wheels are built from: the package, what .mim links to, files beside them."""
    linked = [path.resolve() for path in (PACKAGE / '.mim').iterdir()]
    for folder in (PACKAGE, *(path for path in linked if path.is_dir())):
        shutil.copytree(folder, target / folder.name, symlinks=True, ignore=IGNORED)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy2(path, target / path.name)
    return target


def build_wheel(source: Path, work: Path) -> Path:
    """Build a wheel without a network."""
    command = [sys.executable, '-m', 'pip', 'wheel', '.', '--no-deps', '--no-build-isolation']
    _run([*command, '--no-index', '-w', str(work)], source)
    (wheel,) = work.glob('*.whl')
    return wheel


def build_editable(source: Path, work: Path) -> Path:
    """Build what ``pip install -e`` unpacks."""
    work.mkdir(parents=True, exist_ok=True)
    _run([sys.executable, '-c', _EDITABLE, str(work)], source)
    (wheel,) = work.glob('*.whl')
    return wheel


def unpack(wheel: Path, site: Path) -> Path:
    """Unpack as pip does, with run bits; links are refused."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            mode = member.external_attr >> 16
            assert not stat.S_ISLNK(mode), f'{member.filename} is a link'
            Path(archive.extract(member, site)).chmod(mode & 0o777)
    return site


def _run(command: list[str], folder: Path) -> None:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def make_environment(folder: Path, *packages: str | Path) -> Path:
    """A virtual environment that sees this process' packages, with packages of its own before.

    Args:
        folder: Where to make it.
        *packages: Words for pip: files of wheels, folders, ``-e`` and a folder.

    Returns:
        Its interpreter.
    """
    _run([sys.executable, '-m', 'venv', '--without-pip', str(folder)], folder.parent)
    (site,) = folder.glob('lib/python*/site-packages')
    # read last: what is installed here comes first
    (site / 'zz_others.pth').write_text('\n'.join(other_packages()) + '\n')
    python = folder / 'bin' / 'python'
    options = ['--no-deps', '--no-index', '--no-build-isolation', '--ignore-installed']
    pip = [sys.executable, '-m', 'pip', '--python', str(python), 'install', *options]
    _run([*pip, *map(str, packages)], folder.parent)
    return python
