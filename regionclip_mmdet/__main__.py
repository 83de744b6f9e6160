# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Run a script of mmdet's with this package at hand.

    python -m regionclip_mmdet SCRIPT [ARGUMENTS ...]

mmdet's own scripts (analysis_tools/analyze_results.py, for example) import compiled operators
before they read a config. After this package's import they find torchvision's.
"""

from __future__ import annotations

import os
import runpy
import sys


def main() -> None:
    """Run the script in this process, as Python would."""
    if len(sys.argv) < 2 or not os.path.isfile(sys.argv[1]):
        raise SystemExit(f'{__doc__.split(chr(10) * 2)[1].strip()}: SCRIPT is a file of Python.')
    sys.argv = sys.argv[1:]
    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
    runpy.run_path(sys.argv[0], run_name='__main__')


if __name__ == '__main__':
    main()
