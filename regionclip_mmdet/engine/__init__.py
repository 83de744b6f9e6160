# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What takes part in running: hooks."""
