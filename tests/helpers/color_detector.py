# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A detector without weights that is always right: regions are named by their mean color.

Its images are rectangles of pure colors on black, none of them where its mirror image would be.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from PIL import Image
from torch import Tensor, nn

from regionclip_mmdet.models.text import TextEmbeddings

COLORS = dict(red=(255, 0, 0), green=(0, 255, 0), blue=(0, 0, 255), yellow=(255, 255, 0))
NAMES = tuple(COLORS)
SIZE = (96, 64)  # width and height
# per image: name and box (x1, y1, x2, y2)
IMAGES = (
    (('red', (4, 4, 34, 28)), ('green', (40, 30, 60, 60)), ('blue', (70, 8, 80, 20))),
    (('yellow', (50, 2, 92, 22)), ('red', (2, 34, 22, 62))),
    (('blue', (8, 8, 24, 24)), ('green', (10, 40, 60, 56)), ('yellow', (70, 30, 90, 50))),
)


@MODELS.register_module()
class Pixels(nn.Module):
    """A backbone that leaves the image as it is."""

    weights_source = 'this test'

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (x * self.scale,)


@MODELS.register_module()
class MeanColor(nn.Module):
    """A region encoder: the mean color of a region's pixels."""

    embed_dim = 3

    def forward(self, x: Sequence[Tensor], rois: Tensor) -> Tensor:
        found = [torch.zeros(0, 3)]
        for index, *box in rois.tolist():
            x1, y1, x2, y2 = (round(value) for value in box)
            pixels = x[0][int(index), :, y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]
            found.append(pixels.mean((1, 2))[None] + 1e-3)
        return torch.cat(found)


@MODELS.register_module()
class ColorBoxes(nn.Module):
    """A localizer: the smallest box around each color but black."""

    def __init__(self) -> None:
        super().__init__()
        self.test_cfg = ConfigDict(nms=dict(type='nms', iou_threshold=0.7), max_per_img=10)

    def check_inputs(self, preprocessor: nn.Module) -> None:
        pass

    def forward(self, x: Tensor, metas: Sequence[dict]) -> list[InstanceData]:
        return [self.boxes(image) for image in x]

    def boxes(self, image: Tensor) -> InstanceData:
        boxes = []
        for color in COLORS.values():
            rows, columns = (image == image.new_tensor(color)[:, None, None]).all(0).nonzero().T
            if len(rows):
                corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                boxes.append(torch.stack(corners).float())
        logits = torch.linspace(3, 2, len(boxes))
        return InstanceData(
            bboxes=torch.stack(boxes), scores=logits.sigmoid(), objectness_logits=logits
        )


@MODELS.register_module()
class ColorWords(nn.Module):
    """A text encoder: a name means the color it begins with."""

    embed_dim, context_length, weights_source = 3, 77, 'this test'

    def encode_names(
        self, names: Sequence[str], templates: object = None, progress: bool = False
    ) -> TextEmbeddings:
        matrix = torch.tensor([COLORS[name.split()[0]] for name in names]).float() + 1e-3
        return TextEmbeddings(tuple(names), matrix)

    def provenance(self, templates: object) -> dict:
        return {}


def vocabulary(names: Sequence[str] = NAMES) -> TextEmbeddings:
    """Names and their colors."""
    matrix = torch.tensor([COLORS[name] for name in names]).float() + 1e-3
    return TextEmbeddings(tuple(names), matrix)


def model_config(localizer: bool, words: bool = False, **rcnn: object) -> ConfigDict:
    """An ``OpenVocabularyRCNN`` whose boxes are its proposals, with or without text encoder."""
    return ConfigDict(
        type='OpenVocabularyRCNN',
        data_preprocessor=dict(
            type='DetDataPreprocessor', mean=[0.0] * 3, std=[1.0] * 3, bgr_to_rgb=True
        ),
        backbone=dict(type='Pixels'),
        localizer=dict(type='ColorBoxes') if localizer else None,
        text_encoder=dict(type='ColorWords') if words else None,
        roi_head=dict(
            type='OpenVocabRoIHead',
            region_encoder=dict(type='MeanColor'),
            bbox_head=dict(type='TextEmbeddingBBoxHead', embed_dim=3, with_reg=False),
        ),
        test_cfg=dict(
            rcnn=dict(
                dict(
                    score_thr=0.001,
                    nms=dict(type='nms', iou_threshold=0.5),
                    max_per_img=20,
                    objectness='none',
                ),
                **rcnn,
            )
        ),
    )


def make_world(folder: Path, categories: Sequence[str] = NAMES) -> None:
    """``images/*.png``, ``instances.json``, and ``proposals.json`` with every true box."""
    (folder / 'images').mkdir(parents=True)
    images, annotations, proposals = [], [], {}
    for i, content in enumerate(IMAGES):
        pixels = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
        for name, (x1, y1, x2, y2) in content:
            pixels[y1:y2, x1:x2] = COLORS[name]
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=i + 1,
                    category_id=categories.index(name) + 1,
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=(x2 - x1) * (y2 - y1),
                    iscrowd=0,
                )
            )
        Image.fromarray(pixels).save(folder / 'images' / f'{i}.png')
        images.append(dict(id=i + 1, file_name=f'{i}.png', width=SIZE[0], height=SIZE[1]))
        proposals[f'images/{i}.png'] = dict(
            bboxes=[box for _, box in content], objectness_logits=[2.0] * len(content)
        )
    content = dict(
        images=images,
        annotations=annotations,
        categories=[dict(id=i, name=name) for i, name in enumerate(categories, 1)],
    )
    (folder / 'instances.json').write_text(json.dumps(content))
    (folder / 'proposals.json').write_text(json.dumps(proposals))
