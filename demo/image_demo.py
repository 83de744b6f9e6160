# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Find what you name in your own images.

    python demo/image_demo.py photo.jpg CONFIG CHECKPOINT --texts 'traffic cone . red umbrella'
    python demo/image_demo.py photos/ CONFIG CHECKPOINT --texts names.txt --out found
    python demo/image_demo.py a.jpg regionclip_rn50_rpn_zero-shot_lvis random --texts 'cat . dog'

The last one needs no file: its weights are generated, so its boxes mean nothing.
Pictures go to OUT/vis, detections (JSON, boxes in pixels of the image) to OUT/preds.
"""

# First: registers everything and serves mmcv's operators to the imports below.
import regionclip_mmdet  # noqa: F401

# isort: split
from regionclip_mmdet.apis.image_command import main

if __name__ == '__main__':
    main(__doc__)
