# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Exported graphs beside PyTorch, with detectors of full size that need no download."""
