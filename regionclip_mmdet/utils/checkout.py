# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Top-level folders that are not part of the installed package."""

from __future__ import annotations

import sys
from pathlib import Path


def use_checkout(script: str, folder: str) -> None:
    """Make a folder beside ``tools/`` importable, by its path from the repository's root.

    Args:
        script: ``__file__`` of a script in ``tools/`` or ``demo/``.
        folder: The folder whose modules the script imports, for example ``examples/quickstart``.

    Raises:
        SystemExit: The script was installed with the wheel, which does not carry the folder.
    """
    root = Path(script).resolve().parents[1]
    if not (root / folder).is_dir():
        raise SystemExit(
            f'{Path(script).name} needs a checkout of the repository: {folder}/ is not part of the '
            'installed package. Clone the repository, install it with "pip install -e ." and run '
            f'{Path(script).parent.name}/{Path(script).name} there.'
        )
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
