# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Puts ``tests/`` on the import path, so that every test can ``import golden_weights``."""

import regionclip_mmdet  # noqa: F401  (registers the components, installs the operator fallback)
