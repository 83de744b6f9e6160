# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Detectors as ONNX files and programs of ``torch.export`` (docs/export.md)."""

from .compare import compare_with_torch
from .export import export_detector
from .onnx_detector import OnnxDetector
from .specs import GRAPHS, available_graphs

__all__ = [
    'GRAPHS',
    'OnnxDetector',
    'available_graphs',
    'compare_with_torch',
    'export_detector',
]
