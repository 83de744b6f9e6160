# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Find what you name in a video.

    python demo/video_demo.py street.mp4 CONFIG CHECKPOINT --texts 'bus . red umbrella'
    python demo/video_demo.py street.mp4 CONFIG CHECKPOINT --texts names.txt --interval 5 --show

Writes OUT, an mp4 with the detections drawn. Words are embedded once; frames are read, detected and
written one after the other, so memory does not grow with the video. With --interval N every Nth
frame is detected, and its boxes stay until the next one.
"""

# First: registers everything and serves mmcv's operators to the imports below.
import regionclip_mmdet  # noqa: F401

# isort: split
from regionclip_mmdet.apis.video_command import main

if __name__ == '__main__':
    main(__doc__)
