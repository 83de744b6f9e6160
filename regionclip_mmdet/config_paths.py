# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Finding the configs that come with the package."""

import difflib
import os
from pathlib import Path

from .renames import warn_once

_PACKAGE = Path(__file__).resolve().parent


def config_path(name: str | os.PathLike) -> str:
    """Absolute path of one of our configs, wherever the package lies.

    Another project inherits from it by
    ``_base_ = [__import__('regionclip_mmdet').config_path('quickstart/...py')]``.

    Args:
        name: Path below ``configs/``, for example ``quickstart/clip.py``.

    Raises:
        FileNotFoundError: There is no such config; the message lists similar names.
    """
    folder, name = config_folder(), os.fspath(name)
    path = folder / name
    if path.is_file():
        return str(path)
    known = sorted(str(config.relative_to(folder).as_posix()) for config in shipped_configs())
    # By base name first: people remember the file more often than its folder.
    near = [config for config in known if Path(config).name == Path(name).name]
    near += difflib.get_close_matches(name, known, n=5, cutoff=0.4)
    hint = '\n'.join(f'    {config}' for config in dict.fromkeys(near)) or '    (none)'
    raise FileNotFoundError(f'There is no config {name!r} in {folder}. Similar ones:\n{hint}')


def config_folder() -> Path:
    """Folder with our configs: in a wheel, an editable installation or a checkout.

    Raises:
        FileNotFoundError: The installation carries no configs.
    """
    # A wheel carries real files under .mim; in a checkout .mim/configs is a symbolic
    # link, which some systems check out as a small text file: then the real folder.
    for folder in (_PACKAGE / '.mim' / 'configs', _PACKAGE.parent / 'configs'):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f'{_PACKAGE} carries no configs: the installation is incomplete. '
        'Install it again from a wheel or a checkout: pip install --force-reinstall --no-deps .'
    )


def shipped_configs(family: str = '') -> list[Path]:
    """Config files below ``configs/FAMILY``, without those that keep an old name alive."""
    found = sorted((config_folder() / family).rglob('*.py'))
    return [path for path in found if 'config_paths.renamed(' not in path.read_text('utf-8')]


def renamed(name: str) -> str:
    """Path of a config that was renamed: the only base of the file with its old name.

    Args:
        name: New path below ``configs/``. A warning names it once.
    """
    warn_once('This config', f'configs/{name}')
    return config_path(name)
