# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What proves that the package is right: recorded cases, exported graphs, long pretraining runs."""
