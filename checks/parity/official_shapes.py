# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Names and shapes of every tensor of the official RegionCLIP model, by its own key layout.

Written from the official layout, not derived from our modules: a converter that forgets a tensor
is to be found out.
"""

from __future__ import annotations

from collections.abc import Sequence

from regionclip_mmdet.models.backbones import CLIP_RESNETS
from regionclip_mmdet.models.backbones.clip_arch import CLIPResNetArch

Shapes = dict[str, tuple[int, ...]]

LOCALIZERS = ('c4', 'fpn', 'fpn_lsj')
NORM = ('weight', 'bias', 'running_mean', 'running_var')
EXPANSION = 4
VOCABULARY, CONTEXT, TEXT_LAYERS = 49408, 77, 12
TEXT_WIDTHS = dict(RN50=512, RN50x4=640)


def detector_shapes(arch: str, localizer: str | None = None, masks: bool = False) -> Shapes:
    """The official detector, without its class embeddings.

    Args:
        arch: Name of a CLIP ResNet.
        localizer: One of ``LOCALIZERS``; None where regions were given.
        masks: Whether it has the mask head.
    """
    sizes = CLIP_RESNETS[arch]
    shapes = image_tower_shapes(sizes, 'backbone.')
    if localizer is not None:
        shapes |= localizer_shapes(localizer)
    head = 'roi_heads.box_predictor.bbox_pred'
    shapes |= {f'{head}.weight': (4, sizes.embed_dim), f'{head}.bias': (4,)}
    if masks:
        channels = sizes.stage_channels(4)
        shapes |= {
            'roi_heads.mask_head.deconv.weight': (channels, 256, 2, 2),
            'roi_heads.mask_head.deconv.bias': (256,),
            'roi_heads.mask_head.predictor.weight': (1, 256, 1, 1),
            'roi_heads.mask_head.predictor.bias': (1,),
        }
    return shapes


def pretraining_shapes(arch: str, teacher: str) -> Shapes:
    """The official pretraining model without localizer: student, teacher and text encoder.

    Args:
        arch: The student's CLIP ResNet, and that of the text encoder.
        teacher: The teacher's CLIP ResNet.
    """
    return {
        **image_tower_shapes(CLIP_RESNETS[arch], 'backbone.'),
        **image_tower_shapes(CLIP_RESNETS[teacher], 'teacher_backbone.'),
        **text_tower_shapes(arch),
    }


def image_tower_shapes(arch: CLIPResNetArch, prefix: str) -> Shapes:
    """CLIP's image tower, layer4 and attention pool included."""
    shapes: Shapes = {}
    half = arch.width // 2
    for name, (inputs, outputs) in enumerate(((3, half), (half, half), (half, arch.width)), 1):
        shapes[f'conv{name}.weight'] = (outputs, inputs, 3, 3)
        shapes |= _norm(f'bn{name}', outputs)
    inputs = arch.width
    for stage, blocks in enumerate(arch.layers, 1):
        planes = arch.width * 2 ** (stage - 1)
        for block in range(blocks):
            name = f'layer{stage}.{block}'
            shapes |= _bottleneck(name, inputs, planes)
            if block == 0:
                shapes[f'{name}.downsample.0.weight'] = (planes * EXPANSION, inputs, 1, 1)
                shapes |= _norm(f'{name}.downsample.1', planes * EXPANSION)
            inputs = planes * EXPANSION
    shapes['attnpool.positional_embedding'] = (arch.pooled_size**2 + 1, inputs)
    for projection in 'qkvc':
        outputs = arch.embed_dim if projection == 'c' else inputs
        shapes[f'attnpool.{projection}_proj.weight'] = (outputs, inputs)
        shapes[f'attnpool.{projection}_proj.bias'] = (outputs,)
    return _below(prefix, shapes)


def text_tower_shapes(arch: str) -> Shapes:
    """CLIP's text tower of a published model (RN50 or RN50x4)."""
    width = TEXT_WIDTHS[arch]
    shapes: Shapes = {
        'token_embedding.weight': (VOCABULARY, width),
        'positional_embedding': (CONTEXT, width),
        'text_projection': (width, CLIP_RESNETS[arch].embed_dim),
        **_weight_and_bias('ln_final', (width,)),
    }
    for layer in range(TEXT_LAYERS):
        block = f'transformer.resblocks.{layer}'
        shapes |= {
            **_weight_and_bias(f'{block}.ln_1', (width,)),
            f'{block}.attn.in_proj_weight': (3 * width, width),
            f'{block}.attn.in_proj_bias': (3 * width,),
            **_weight_and_bias(f'{block}.attn.out_proj', (width, width)),
            **_weight_and_bias(f'{block}.ln_2', (width,)),
            **_weight_and_bias(f'{block}.mlp.c_fc', (4 * width, width)),
            **_weight_and_bias(f'{block}.mlp.c_proj', (width, 4 * width)),
        }
    return _below('lang_encoder.', shapes)


def localizer_shapes(kind: str) -> Shapes:
    """The official R50 localizer.

    Args:
        kind: One of ``LOCALIZERS``.
    """
    fpn, normed = kind != 'c4', kind == 'fpn_lsj'
    backbone: Shapes = {'stem.conv1.weight': (64, 3, 7, 7), **_norm('stem.conv1.norm', 64)}
    inputs = 64
    for stage, blocks in zip((2, 3, 4, 5), (3, 4, 6, 3 if fpn else 0), strict=True):
        planes = 64 * 2 ** (stage - 2)
        for block in range(blocks):
            name = f'res{stage}.{block}'
            backbone |= _bottleneck(name, inputs, planes, norm='conv{}.norm')
            if block == 0:
                backbone[f'{name}.shortcut.weight'] = (planes * EXPANSION, inputs, 1, 1)
                backbone |= _norm(f'{name}.shortcut.norm', planes * EXPANSION)
            inputs = planes * EXPANSION
    if fpn:
        backbone = _below('bottom_up.', backbone)
        for level in (2, 3, 4, 5):
            channels = 64 * 2 ** (level - 2) * EXPANSION
            for name, shape in (
                (f'fpn_lateral{level}', (256, channels, 1, 1)),
                (f'fpn_output{level}', (256, 256, 3, 3)),
            ):
                backbone[f'{name}.weight'] = shape
                backbone |= _norm(f'{name}.norm', 256) if normed else {f'{name}.bias': (256,)}
    width, anchors = (256, 3) if fpn else (1024, 15)
    head: Shapes = {}
    for conv in ('conv.conv0', 'conv.conv1') if normed else ('conv',):
        head |= _weight_and_bias(conv, (width, width, 3, 3))
    head |= _weight_and_bias('objectness_logits', (anchors, width, 1, 1))
    head |= _weight_and_bias('anchor_deltas', (4 * anchors, width, 1, 1))
    return {
        **_below('offline_backbone.', backbone),
        **_below('offline_proposal_generator.rpn_head.', head),
    }


def _bottleneck(name: str, inputs: int, planes: int, norm: str = 'bn{}') -> Shapes:
    shapes: Shapes = {}
    convs = ((inputs, planes, 1), (planes, planes, 3), (planes, planes * EXPANSION, 1))
    for number, (from_, to, side) in enumerate(convs, 1):
        shapes[f'{name}.conv{number}.weight'] = (to, from_, side, side)
        shapes |= _norm(f'{name}.{norm.format(number)}', to)
    return shapes


def _norm(name: str, channels: int) -> Shapes:
    return {f'{name}.{leaf}': (channels,) for leaf in NORM}


def _weight_and_bias(name: str, shape: Sequence[int]) -> Shapes:
    return {f'{name}.weight': tuple(shape), f'{name}.bias': (shape[0],)}


def _below(prefix: str, shapes: Shapes) -> Shapes:
    return {prefix + key: shape for key, shape in shapes.items()}
