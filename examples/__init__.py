# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What shows the package at work, from a checkout."""
