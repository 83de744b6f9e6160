# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Models; importing this package registers them all."""
