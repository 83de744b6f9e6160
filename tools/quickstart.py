# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""From captions to an open-vocabulary detector in a world of colored shapes, on a CPU.

    python tools/quickstart.py            about 25 minutes on 2 cores
    python tools/quickstart.py --full     three seeds: an hour or more
    python tools/quickstart.py --smoke    a minute or two, to see that everything runs

Stages: world, clip, localizer, pretrain, zero_shot, transfer, report, real_size. Finished ones are
not repeated unless their settings or inputs changed.
"""

import os

# Before torch starts its threads: spinning ones fight with the data loader, and with whatever else
# runs, for the cores. On two busy cores a training step took 6.8 s with, 0.45 s without spinning.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

from regionclip_mmdet.utils.checkout import use_checkout  # noqa: E402

use_checkout(__file__, 'examples/quickstart')

from examples.quickstart.main import main  # noqa: E402

if __name__ == '__main__':
    main()
