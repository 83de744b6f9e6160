# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Does pretraining work on this machine, with several processes, broken data and a crash?

    python tools/check_pretraining.py            minutes on 2 cores
    python tools/check_pretraining.py --smoke    the same with few data

``--help`` says what is done.
"""

import os
import sys

# Before torch starts its threads, see tools/quickstart.py.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

from regionclip_mmdet.utils.checkout import use_checkout  # noqa: E402

use_checkout(__file__, 'checks/pretraining')

from checks.pretraining.main import main  # noqa: E402

if __name__ == '__main__':
    sys.exit(main())
