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
    path = Path(script).resolve()
    # tools/ and demo/ hold scripts of their own, tools/data/ and the like one folder further down
    root = path.parents[1] if path.parent.name in ('tools', 'demo') else path.parents[2]
    if not (root / folder).is_dir():
        raise SystemExit(
            f'{path.name} needs a checkout of the repository: {folder}/ is not part of the '
            'installed package. Clone the repository, install it with "pip install -e ." and run '
            f'{path.relative_to(root)} there.'
        )
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
