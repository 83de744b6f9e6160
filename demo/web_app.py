# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A web page: upload an image, write what to look for, see where it is.

    pip install 'regionclip_mmdet[web]'
    python demo/web_app.py CONFIG CHECKPOINT
    python demo/web_app.py CONFIG CHECKPOINT --text-encoder RN50 --host 0.0.0.0 --port 8000

Then open http://127.0.0.1:7860. Nothing is sent to anyone but the visitors; no network is needed.
docs/web_app.md says more.
"""

from regionclip_mmdet.utils.checkout import use_checkout

use_checkout(__file__, 'demo/web')

from demo.web.command import main  # noqa: E402

if __name__ == '__main__':
    main(__doc__)
