# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Programs of ``torch.export``, run as the ONNX files are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torchvision  # noqa: F401  (its operators are part of the programs)

from .onnx_detector import OnnxDetector


class ProgramDetector(OnnxDetector):
    """``OnnxDetector`` with programs (``.pt2``) in place of ONNX files; needs torch.

    Arguments are those of ``OnnxDetector``; threads are torch's, whatever ``threads`` says.
    """

    suffix = '.pt2'

    def _open(self, path: Path) -> _Program:
        return _Program(path)


class _Program:
    """A loaded program with the calling convention of an ONNX session."""

    def __init__(self, path: Path) -> None:
        self.module = torch.export.load(path).module()

    @torch.no_grad()
    def run(self, names: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """All outputs, for inputs by name (in the program's order)."""
        outputs = self.module(*(torch.from_numpy(np.ascontiguousarray(v)) for v in inputs.values()))
        outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        return [output.numpy() for output in outputs]
