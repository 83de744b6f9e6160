# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Old name of ``tools/embed_names.py --cache``."""

import runpy
import sys
from pathlib import Path

from regionclip_mmdet.renames import warn_once

if __name__ == '__main__':
    warn_once('tools/concepts/embed_concepts.py', 'tools/embed_names.py --cache')
    if not any(word.startswith(('--cache', '--no-cache')) for word in sys.argv):
        sys.argv.append('--cache')
    runpy.run_path(str(Path(__file__).parents[1] / 'embed_names.py'), run_name='__main__')
