# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""From captions to an open-vocabulary detector in a world of coloured shapes, on a CPU.

    python tools/quickstart.py            about 25 minutes on 2 cores
    python tools/quickstart.py --full     three seeds: an hour or more
    python tools/quickstart.py --smoke    a minute or two, to see that everything runs

Stages: world, clip, localizer, pretrain, zero_shot, transfer, report, real_size. Finished ones are
not repeated unless their settings or inputs changed.
"""

import regionclip_mmdet  # noqa: F401  (first: serves mmcv's operators to the imports below)
from regionclip_mmdet.quickstart.main import main

if __name__ == '__main__':
    main()
