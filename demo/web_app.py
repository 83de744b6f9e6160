# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A web page: upload a picture, write what to look for, see where it is.

    pip install 'regionclip_mmdet[web]'
    python demo/web_app.py CONFIG CHECKPOINT
    python demo/web_app.py CONFIG CHECKPOINT --text-encoder RN50 --host 0.0.0.0 --port 8000

Then open http://127.0.0.1:7860. Nothing is sent to anyone but the visitors; no network is needed.
docs/web_app.md says more.
"""

# First: registers everything and serves mmcv's operators to the imports below.
import regionclip_mmdet  # noqa: F401

# isort: split
from regionclip_mmdet.web.command import main

if __name__ == '__main__':
    main(__doc__)
