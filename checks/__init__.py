# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What proves the package right: recorded cases of the official code, long pretraining runs."""
