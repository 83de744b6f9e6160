# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Puts ``tests/`` on the import path, so that every test can ``import tiny_models``."""

import os

# Some tests start two processes on as many cores: threads that spin while they wait would slow
# them down many times. Read once, when torch is imported.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

import regionclip_mmdet  # noqa: E402, F401  (registers the components, installs the operator fallback)
