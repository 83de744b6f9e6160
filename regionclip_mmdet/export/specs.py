# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Which graphs there are: names, axes and example inputs of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .graphs import BackboneGraph, Detector, DetectorGraph, LocalizerGraph, RegionGraph, TextGraph

# Axis -> name, of every axis whose size is the caller's.
Axes = Mapping[int, str]

IMAGE: Axes = {2: 'height', 3: 'width'}
C4_MAP: Axes = {2: 'map_height', 3: 'map_width'}
PROPOSALS: dict[str, Axes] = dict(
    proposals={0: 'num_proposals'}, objectness_logits={0: 'num_proposals'}
)
REGIONS: dict[str, Axes] = dict(
    embeddings={0: 'num_regions'},
    probabilities={0: 'num_regions', 1: 'num_names'},
    refined_boxes={0: 'num_regions'},
)
EXAMPLE_SIZE = (160, 224)
NUM_EXAMPLE_BOXES, NUM_EXAMPLE_NAMES = 5, 3


@dataclass(frozen=True)
class GraphSpec:
    """One graph to export.

    Attributes:
        help: What it computes.
        inputs: Name of each input and its free axes.
        outputs: Name of each output and its free axes.
        build: The graph as a module, from an ``OpenVocabularyRCNN``.
        needs: Path of the part without which the model has no such graph.
    """

    help: str
    inputs: Mapping[str, Axes]
    outputs: Mapping[str, Axes]
    build: Callable[[Detector], nn.Module]
    needs: str = 'backbone'


GRAPHS: dict[str, GraphSpec] = dict(
    localizer=GraphSpec(
        'image -> proposals, objectness logits (NMS included)',
        dict(image=IMAGE),
        PROPOSALS,
        LocalizerGraph,
        'localizer',
    ),
    backbone=GraphSpec('image -> C4 map', dict(image=IMAGE), dict(c4=C4_MAP), BackboneGraph),
    regions=GraphSpec(
        'C4 map, boxes, text embeddings -> region embeddings, probabilities, refined boxes',
        dict(c4=C4_MAP, boxes={0: 'num_regions'}, text={0: 'num_names'}),
        REGIONS,
        RegionGraph,
    ),
    detector=GraphSpec(
        'image, text embeddings -> all of the above in one file',
        dict(image=IMAGE, text={0: 'num_names'}),
        {**PROPOSALS, **REGIONS},
        DetectorGraph,
        'localizer',
    ),
    text_encoder=GraphSpec(
        'token ids -> text embeddings',
        dict(tokens={0: 'num_texts', 1: 'length'}),
        dict(embeddings={0: 'num_texts'}),
        lambda model: TextGraph(model.text_encoder),
        'text_encoder',
    ),
)
# What OnnxDetector runs.
PARTS = ('localizer', 'backbone', 'regions')


def available_graphs(model: Detector) -> list[str]:
    """Names of the graphs that a model has the parts for."""
    return [name for name, spec in GRAPHS.items() if getattr(model, spec.needs, None) is not None]


def choose_graphs(model: Detector, names: Sequence[str] | None) -> list[str]:
    """The graphs to export: those named, by default those of ``PARTS`` that the model has.

    Raises:
        ValueError: A name is unknown, or the model lacks the part.
    """
    available = available_graphs(model)
    if names is None:
        return [name for name in PARTS if name in available]
    for name in names:
        if name not in GRAPHS:
            raise ValueError(f'There is no graph {name!r}; there are {", ".join(GRAPHS)}.')
        if name not in available:
            raise ValueError(
                f'The graph {name!r} needs a model with a {GRAPHS[name].needs}; this one has none, '
                f'only {", ".join(available)} can be exported.'
            )
    return list(names)


def example_inputs(name: str, model: Detector) -> tuple[Tensor, ...]:
    """Inputs to follow the graph with, of no particular content.

    Args:
        name: Of the graph.
        model: The detector.
    """
    generator = torch.Generator().manual_seed(0)
    height, width = EXAMPLE_SIZE
    sides = (height / 2, width / 2)
    corners = torch.rand(NUM_EXAMPLE_BOXES, 2, generator=generator) * torch.tensor(sides[::-1])
    encoder = model.roi_head.region_encoder
    made: dict[str, Callable[[], Tensor]] = dict(
        image=lambda: torch.rand(1, 3, height, width, generator=generator) * 255,
        c4=lambda: torch.rand(
            1, encoder.arch.stage_channels(3), height // 16, width // 16, generator=generator
        ),
        boxes=lambda: torch.cat([corners, corners + min(sides)], dim=1),
        text=lambda: torch.randn(NUM_EXAMPLE_NAMES, encoder.embed_dim, generator=generator),
        tokens=lambda: torch.randint(
            1, model.text_encoder.model.vocab_size, (NUM_EXAMPLE_NAMES, 7), generator=generator
        ),
    )
    return tuple(made[input_name]() for input_name in GRAPHS[name].inputs)


def least_size(axis: str, model: Detector) -> int:
    """Smallest size of a free axis that ``torch.export`` lets its programs have.

    Images must be larger than one cell of the coarsest map, for programs are made for maps that
    have neighbors.
    """
    if axis in ('height', 'width'):
        strides = [16]
        if getattr(model, 'localizer', None) is not None:
            generator = model.localizer.rpn_head.prior_generator
            strides += [max(stride) for stride in generator.strides]
        return max(strides) * 2 + 1
    return 2 if axis in ('map_height', 'map_width', 'length') else 0
