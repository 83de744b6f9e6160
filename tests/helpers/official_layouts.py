# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Official files, generated: of each kind every tensor that it has, none left out.

Layers are as many as in the released files. The localizer has its real widths, the recognizer and
the text tower narrow ones (``ARCH``, ``TEXT_ARCH``), which ``custom_sizes=True`` allows.

* pretrained RegionCLIP: recognizer, text encoder, localizer;
* finetuned detector: recognizer, localizer, box head (COCO, R50-C4), mask head (LVIS, R50-FPN with
  large-scale jitter), class embeddings of training and testing;
* teacher and student;
* localizers: whole Mask R-CNNs of detectron2, RoI heads included;
* class embeddings, a bare matrix.
"""

from __future__ import annotations

from functools import lru_cache
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from checks.parity.generated_weights import fill_tensors
from checks.parity.official_shapes import (
    Shapes,
    image_tower_shapes,
    localizer_shapes,
    text_tower_shapes,
)
from regionclip_mmdet.models.backbones.clip_arch import CLIPResNetArch, resolve_arch

ARCH = dict(width=16, layers=(3, 4, 6, 3), embed_dim=32, image_size=64)
TEXT_ARCH = dict(context_length=77, vocab_size=49408, width=64, heads=1, layers=12, embed_dim=32)
LOCALIZERS = ('c4', 'fpn', 'fpn_lsj')
BASE = tuple(f'base {i}' for i in range(5))
NAMES = tuple(f'thing {i}' for i in range(7))
# RN50's text tower, made narrow
_NARROW = {512: 64, 3 * 512: 3 * 64, 4 * 512: 4 * 64, 1024: 32}
_BOX = 'roi_heads.box_predictor.'
State = dict[str, Tensor]


def arch() -> CLIPResNetArch:
    return resolve_arch(ARCH)


@lru_cache
def image_tower(prefix: str, seed: int = 1) -> State:
    return fill_tensors(image_tower_shapes(arch(), prefix), seed)


@lru_cache
def text_tower(seed: int = 2) -> State:
    shapes = {
        key: tuple(_NARROW.get(side, side) for side in shape)
        for key, shape in text_tower_shapes('RN50').items()
    }
    return fill_tensors(shapes, seed)


@lru_cache
def localizer(kind: str, seed: int = 3) -> State:
    """As in a whole model, below ``offline_``."""
    return fill_tensors(localizer_shapes(kind), seed)


def pretrained(kind: str = 'c4') -> State:
    return {**image_tower('backbone.'), **text_tower(), **localizer(kind)}


def teacher_student() -> State:
    return {
        **image_tower('backbone.'),
        **image_tower('teacher_backbone.', seed=7),
        **text_tower(),
    }


def embeddings(number: int, seed: int = 4) -> Tensor:
    return torch.randn(number, ARCH['embed_dim'], generator=torch.Generator().manual_seed(seed))


def finetuned(
    kind: str = 'c4',
    masks: bool = False,
    classes: int = len(BASE),
    test_classes: int | None = len(NAMES),
) -> State:
    """A detector, trained on so many classes and tested on others, if any."""
    width = ARCH['embed_dim']
    shapes: Shapes = {f'{_BOX}bbox_pred.weight': (4, width), f'{_BOX}bbox_pred.bias': (4,)}
    if masks:
        shapes |= {
            'roi_heads.mask_head.deconv.weight': (32 * ARCH['width'], 256, 2, 2),
            'roi_heads.mask_head.deconv.bias': (256,),
            'roi_heads.mask_head.predictor.weight': (1, 256, 1, 1),
            'roi_heads.mask_head.predictor.bias': (1,),
        }
    state = {**image_tower('backbone.', seed=5), **localizer(kind), **fill_tensors(shapes, 6)}
    state[f'{_BOX}cls_score.weight'] = embeddings(classes)
    state[f'{_BOX}cls_bg_score.weight'] = torch.zeros(1, width)
    if test_classes is not None:
        state[f'{_BOX}test_cls_score.weight'] = embeddings(test_classes, seed=9)
    return state


def clip(seed: int = 8) -> State:
    """OpenAI's file, as a state dict."""
    text = {key.removeprefix('lang_encoder.'): value for key, value in text_tower().items()}
    settings = dict(input_resolution=224, context_length=77, vocab_size=49408)
    return {
        **image_tower('visual.', seed),
        **text,
        'logit_scale': torch.tensor(4.6),
        **{key: torch.tensor(value) for key, value in settings.items()},
    }


def localizer_file(kind: str, buffers: bool = True, seed: int = 3) -> State:
    """A file of a localizer: the whole Mask R-CNN that was trained for it.

    Args:
        kind: One of ``LOCALIZERS``.
        buffers: With anchors and pixel statistics, as detectron2 wrote them before version 0.5.
        seed: Of the weights.
    """
    state = {key.removeprefix('offline_'): value for key, value in localizer(kind, seed).items()}
    shapes = _heads(kind, classes=48 if kind == 'c4' else 866)
    # values that nobody reads: one number, seen many times
    state |= {key: torch.full((), 0.5).expand(shape) for key, shape in shapes.items()}
    if kind == 'fpn_lsj':  # SyncBN counts its steps
        means = [key for key in state if key.endswith('.norm.running_mean')]
        state |= {
            f'{key.removesuffix("running_mean")}num_batches_tracked': torch.tensor(7)
            for key in means
        }
    if buffers:
        state |= {f'{_CELLS}.{i}': value for i, value in enumerate(_cell_anchors(kind))}
        state['pixel_mean'] = torch.tensor([103.53, 116.28, 123.675]).view(3, 1, 1)
        state['pixel_std'] = torch.ones(3, 1, 1)
    return state


_CELLS = 'proposal_generator.anchor_generator.cell_anchors'


def _cell_anchors(kind: str) -> list[Tensor]:
    sizes = [[32, 64, 128, 256, 512]] if kind == 'c4' else [[32], [64], [128], [256], [512]]
    levels = []
    for level in sizes:
        rows = []
        for size in level:
            for ratio in (0.5, 1.0, 2.0):  # height over width
                width = sqrt(size**2 / ratio)
                height = ratio * width
                rows.append([-width / 2, -height / 2, width / 2, height / 2])
        levels.append(torch.tensor(rows))
    return levels


def _heads(kind: str, classes: int) -> Shapes:
    """RoI heads of detectron2's Mask R-CNN."""
    shapes: Shapes = {}
    norm = ('weight', 'bias', 'running_mean', 'running_var')
    if kind == 'c4':
        for block in range(3):
            inputs = 1024 if block == 0 else 2048
            convs = dict(conv1=(512, inputs, 1, 1), conv2=(512, 512, 3, 3), conv3=(2048, 512, 1, 1))
            if block == 0:
                convs['shortcut'] = (2048, 1024, 1, 1)
            for conv, shape in convs.items():
                name = f'roi_heads.res5.{block}.{conv}'
                shapes[f'{name}.weight'] = shape
                shapes |= {f'{name}.norm.{leaf}': shape[:1] for leaf in norm}
        width = inputs_of_masks = 2048
    else:
        width, inputs_of_masks = 1024, 256
        if kind == 'fpn_lsj':
            for part, layer in (('box_head', 'conv'), ('mask_head', 'mask_fcn')):
                for number in range(1, 5):
                    name = f'roi_heads.{part}.{layer}{number}'
                    shapes[f'{name}.weight'] = (256, 256, 3, 3)
                    shapes |= {f'{name}.norm.{leaf}': (256,) for leaf in norm}
        else:
            for number in range(1, 5):
                shapes[f'roi_heads.mask_head.mask_fcn{number}.weight'] = (256, 256, 3, 3)
                shapes[f'roi_heads.mask_head.mask_fcn{number}.bias'] = (256,)
            shapes |= {
                'roi_heads.box_head.fc2.weight': (1024, 1024),
                'roi_heads.box_head.fc2.bias': (1024,),
            }
        shapes |= {
            'roi_heads.box_head.fc1.weight': (1024, 256 * 7 * 7),
            'roi_heads.box_head.fc1.bias': (1024,),
        }
    return shapes | {
        f'{_BOX}cls_score.weight': (classes + 1, width),
        f'{_BOX}cls_score.bias': (classes + 1,),
        f'{_BOX}bbox_pred.weight': (4 * classes, width),
        f'{_BOX}bbox_pred.bias': (4 * classes,),
        'roi_heads.mask_head.deconv.weight': (inputs_of_masks, 256, 2, 2),
        'roi_heads.mask_head.deconv.bias': (256,),
        'roi_heads.mask_head.predictor.weight': (classes, 256, 1, 1),
        'roi_heads.mask_head.predictor.bias': (classes,),
    }


def as_arrays(state: State) -> dict[str, np.ndarray]:
    """As detectron2's model zoo holds them."""
    return {key: value.numpy() for key, value in state.items()}
