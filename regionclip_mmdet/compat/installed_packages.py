# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""mmengine's package look-up by the import system instead of ``pkg_resources``.

setuptools 82 removed ``pkg_resources``; and for editable installations it names a folder
in site-packages that does not exist, so ``'regionclip_mmdet::...'`` would not resolve.
"""

import importlib.util
from importlib import metadata
from pathlib import Path


def provide_package_lookup() -> None:
    """Replace mmengine's ``is_installed`` and ``get_installed_path``."""
    import mmengine.config.config
    import mmengine.hub.hub
    import mmengine.utils
    import mmengine.utils.package_utils

    for module in (
        mmengine.config.config,
        mmengine.hub.hub,
        mmengine.utils,
        mmengine.utils.package_utils,
    ):
        for function in (is_installed, get_installed_path):
            if hasattr(module, function.__name__):
                setattr(module, function.__name__, function)


def is_installed(package: str) -> bool:
    """Whether a distribution or an importable module of that name exists.

    Args:
        package: Name of a distribution (``mmsegmentation``) or module (``mmseg``).
    """
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        spec = importlib.util.find_spec(package)
        return spec is not None and spec.origin is not None
    return True


def get_installed_path(package: str) -> str:
    """Folder of an installed package.

    Args:
        package: Name of a distribution or module.

    Raises:
        ModuleNotFoundError: There is no such package.
    """
    spec = importlib.util.find_spec(_module_name(package))
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f'{package} is not installed or is a namespace package; try: pip install {package}'
        )
    return str(Path(spec.origin).parent)


def _module_name(package: str) -> str:
    if importlib.util.find_spec(package) is not None:
        return package
    # Module and distribution may differ: mmsegmentation provides mmseg. Of several modules
    # the shortest name is the package itself: open_clip rather than open_clip_train.
    try:
        files = metadata.distribution(package).files or []
    except metadata.PackageNotFoundError:
        return package
    # metadata.packages_distributions says the same, but on Python 3.10 knows only of
    # distributions with a top_level.txt, which not every build tool writes.
    modules = {file.parts[0] for file in files if file.name == '__init__.py'}
    return min(modules, key=lambda module: (len(module), module), default=package)
