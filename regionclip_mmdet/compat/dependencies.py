# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""One clear ImportError instead of whatever a missing or wrong dependency would raise."""

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata


@dataclass(frozen=True)
class Dependency:
    """A package that must be importable in a supported version.

    Attributes:
        module: Name under which it is imported.
        requirement: What to install with pip where it is missing.
        distributions: Distributions that provide the module, with the versions of each
            that are supported (empty: any). The first one installed counts.
    """

    module: str
    requirement: str
    distributions: tuple[tuple[str, str], ...]


# The onedl-* distributions are maintained forks of OpenMMLab under the same module names.
DEPENDENCIES: tuple[Dependency, ...] = (
    Dependency('packaging', 'packaging', (('packaging', ''),)),
    Dependency('numpy', 'numpy>=1.26', (('numpy', '>=1.26'),)),
    Dependency('torch', 'torch>=2.1', (('torch', '>=2.1'),)),
    Dependency('torchvision', 'torchvision>=0.16', (('torchvision', '>=0.16'),)),
    Dependency(
        'mmengine',
        'mmengine>=0.10.7,<0.11',
        (('mmengine', '>=0.10.7,<0.11'), ('mmengine-lite', '>=0.10.7,<0.11'),
         ('onedl-mmengine', '')),
    ),
    Dependency(
        'mmcv',
        'mmcv-lite>=2.1,<2.2',
        (('mmcv', '>=2.1,<2.2'), ('mmcv-lite', '>=2.1,<2.2'), ('onedl-mmcv', '')),
    ),
    Dependency(
        'mmdet', 'mmdet>=3.3,<3.4', (('mmdet', '>=3.3,<3.4'), ('onedl-mmdetection', ''))
    ),
    Dependency('open_clip', 'open_clip_torch>=3.3,<4', (('open_clip_torch', '>=3.3,<4'),)),
    Dependency('pycocotools', 'pycocotools>=2.0.11', (('pycocotools', '>=2.0.11'),)),
    Dependency('lvis', 'lvis==0.5.3', (('lvis', '==0.5.3'),)),
)  # fmt: skip


def check_dependencies(dependencies: Iterable[Dependency] = DEPENDENCIES) -> None:
    """Check that everything needed is installed in versions that work together.

    Only metadata is read, except for torchvision: whether its operators fit torch is
    seen by importing it alone.

    Raises:
        ImportError: Something is missing, unsupported or does not fit; the message
            names every problem found and the command that repairs them.
    """
    problems: list[str] = []
    remedies: list[str] = []
    for dependency in dependencies:
        problem = _problem_of(dependency)
        if problem is not None:
            problems.append(problem)
            remedies.append(f'"{dependency.requirement}"')
    if problems:
        raise ImportError(
            'regionclip_mmdet cannot be imported:\n'
            + '\n'.join(f'  - {problem}' for problem in problems)
            + f'\nInstall what is needed:\n    pip install {" ".join(remedies)}'
        ) from None
    _check_torchvision_fits_torch()


def _problem_of(dependency: Dependency) -> str | None:
    if importlib.util.find_spec(dependency.module) is None:
        return f'{dependency.module} is not installed (needed: {dependency.requirement})'
    for name, supported in dependency.distributions:
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if not supported or _is_within(installed, supported):
            return None
        return f'{name} {installed} is installed, but {supported} is supported'
    return None  # importable without metadata: somebody's own checkout, whose word is taken


def _is_within(version: str, supported: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(supported).contains(version, prereleases=True)


def _check_torchvision_fits_torch() -> None:
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        raise ImportError(
            f'regionclip_mmdet cannot be imported: torchvision does not fit torch ({error}). '
            'Install both from the same package index:\n'
            '    pip install --force-reinstall torch torchvision'
        ) from None
