# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Reading and writing checkpoints of other projects."""
