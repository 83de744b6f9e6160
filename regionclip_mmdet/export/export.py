# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A detector as a folder of graphs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ..fileio import write_json, write_whole
from ..version import __version__
from . import onnx_detector
from .graphs import Detector
from .settings import export_settings
from .specs import GRAPHS, choose_graphs, example_inputs, least_size
from .writers import require, write_onnx, write_program

SUFFIXES = dict(onnx='.onnx', torch='.pt2')


def export_detector(
    model: Detector,
    folder: str | os.PathLike,
    graphs: Sequence[str] | None = None,
    formats: Sequence[str] = ('onnx',),
    test_pipeline: Sequence[Mapping] | None = None,
    progress: bool = False,
) -> list[Path]:
    """Write graphs of a detector, its settings, its vocabulary and ``onnx_detector.py``.

    Args:
        model: An ``OpenVocabularyRCNN`` in evaluation mode on the CPU, with its weights.
        folder: Where to; graphs and vocabulary of an earlier export are removed from it: they may
            be another model's.
        graphs: Names of ``GRAPHS``; None: localizer (if it has one), backbone, regions.
        formats: ``'onnx'``, ``'torch'`` (``torch.export``) or both.
        test_pipeline: Configs of the transforms that images go through in testing; None: images
            are to be taken as they are.
        progress: Show a progress bar.

    Returns:
        The files written.

    Raises:
        ImportError: ONNX is wanted and ``onnx`` is not installed.
        RuntimeError: The model runs on random weights, or torch is too old for programs.
        ValueError: The model has no such graph, or something that cannot be exported.
    """
    unknown = sorted(set(formats) - set(SUFFIXES))
    if unknown or not formats:
        raise ValueError(f'Unknown formats {unknown}; known: {", ".join(SUFFIXES)}.')
    if 'onnx' in formats:
        require('onnx')
    names = choose_graphs(model, graphs)
    model.ensure_weights()
    settings = export_settings(model, test_pipeline)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _remove_earlier(folder)
    written = []
    jobs = [(name, kind) for name in names for kind in formats]
    for name, kind in tqdm(jobs, unit='graph', disable=not progress):
        spec, inputs = GRAPHS[name], example_inputs(name, model)
        graph = spec.build(model).eval()
        path = folder / f'{name}{SUFFIXES[kind]}'
        if kind == 'onnx':
            write_onnx(graph, spec, inputs, path)
        else:
            write_program(graph, spec, inputs, path, lambda axis: least_size(axis, model))
        written.append(path)
    return written + _write_rest(model, settings, folder)


def _remove_earlier(folder: Path) -> None:
    for name in GRAPHS:
        for suffix in SUFFIXES.values():
            (folder / f'{name}{suffix}').unlink(missing_ok=True)
    for name in (onnx_detector.SETTINGS_FILE, onnx_detector.VOCABULARY_FILE):
        (folder / name).unlink(missing_ok=True)


def _write_rest(model: Detector, settings: dict, folder: Path) -> list[Path]:
    """Settings, vocabulary and the program that uses them."""
    classifier = model.roi_head.bbox_head.classifier_for(training=False)
    settings = {
        **settings,
        'temperature': classifier.temperature,
        'written_by': f'regionclip_mmdet {__version__}, torch {torch.__version__}',
    }
    paths = [folder / onnx_detector.SETTINGS_FILE]
    write_json(paths[0], settings, indent=2)
    if classifier.num_classes:
        paths.append(folder / onnx_detector.VOCABULARY_FILE)
        names = np.array(classifier.names)
        matrix = classifier.embeddings.float().cpu().numpy()
        with write_whole(paths[-1]) as unfinished:
            np.savez(unfinished, names=names, embeddings=matrix)
    paths.append(folder / Path(onnx_detector.__file__).name)
    with write_whole(paths[-1]) as unfinished:
        shutil.copyfile(onnx_detector.__file__, unfinished)
    return paths
