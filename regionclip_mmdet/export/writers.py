# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Writing a graph as ONNX or as a program of ``torch.export``."""

from __future__ import annotations

import importlib
import operator
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from packaging.version import Version
from torch import Tensor, nn

from ..fileio import write_whole
from .specs import GraphSpec

# RoiAlign has aligned=True ("half_pixel") from 16 on.
OPSET = 17
TORCH = Version(Version(torch.__version__).base_version)
FIRST_WITH_PROGRAMS = Version('2.6')


def write_onnx(graph: nn.Module, spec: GraphSpec, inputs: tuple[Tensor, ...], path: Path) -> None:
    """Write an ONNX file, checked by ``onnx``.

    It is traced: torch's other exporter, ``dynamo=True``, cannot convert the localizer and is not
    there in torch 2.1.

    Args:
        graph: The module.
        spec: Names and free axes of its inputs and outputs.
        inputs: To trace with.
        path: Of the file; written as a whole or not at all.

    Raises:
        ImportError: ``onnx`` is not installed.
    """
    onnx = require('onnx')
    # the parameter came with the other exporter
    options: dict[str, Any] = dict(dynamo=False) if TORCH >= Version('2.5') else {}
    axes = {name: dict(free) for name, free in {**spec.inputs, **spec.outputs}.items()}

    with write_whole(path) as unfinished:
        with torch.no_grad(), warnings.catch_warnings():
            # of the tracer about shapes that are the same for every input; of torch about itself
            warnings.simplefilter('ignore')
            torch.onnx.export(
                graph.eval(),
                inputs,
                str(unfinished),
                input_names=list(spec.inputs),
                output_names=list(spec.outputs),
                dynamic_axes=axes,
                opset_version=OPSET,
                **options,
            )
        onnx.checker.check_model(str(unfinished))


def write_program(
    graph: nn.Module,
    spec: GraphSpec,
    inputs: tuple[Tensor, ...],
    path: Path,
    least_size: Callable[[str], int],
) -> None:
    """Write a program of ``torch.export``, to be read by ``torch.export.load``.

    Args:
        graph: The module.
        spec: Free axes of its inputs.
        inputs: To follow the graph with.
        path: Of the file; written as a whole or not at all.
        least_size: Of the free axes, by their names.

    Raises:
        RuntimeError: This torch is too old.
    """
    if TORCH < FIRST_WITH_PROGRAMS:
        raise RuntimeError(
            f'Programs of torch.export need torch {FIRST_WITH_PROGRAMS} or newer; this is {TORCH}. '
            'ONNX can be exported.'
        )
    dims = {
        name: torch.export.Dim(name, min=least_size(name))
        for free in spec.inputs.values()
        for name in free.values()
    }
    shapes = tuple({axis: dims[n] for axis, n in free.items()} for free in spec.inputs.values())
    with torch.no_grad(), _sizes_of_pools_by_formula():
        program = torch.export.export(graph.eval(), inputs, dynamic_shapes=shapes, strict=False)
    with write_whole(path) as unfinished:  # its suffix tells torch the format
        torch.export.save(program, str(unfinished))


@contextmanager
def _sizes_of_pools_by_formula() -> Iterator[None]:
    """Have torch compute the sizes of pooled maps without a branch, while a graph is followed.

    torch decides by the remainder of the division whether to round; that would tie a program to
    image sizes with the example's remainders. Floor division needs no such branch and gives the
    same size. A torch without that function is left as it is.
    """
    meta = getattr(torch, '_meta_registrations', None)
    if meta is None or not hasattr(meta, 'div_rtn'):
        yield
        return
    with mock.patch.object(meta, 'div_rtn', operator.floordiv):
        yield


def require(name: str) -> ModuleType:
    """Import ``onnx`` or ``onnxruntime``.

    Raises:
        ImportError: It is not installed; says how to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f'{name} cannot be imported ({error}). Exporting to ONNX and comparing need it: '
            'pip install "regionclip_mmdet[export]", in a checkout pip install -e ".[export]".'
        ) from error
