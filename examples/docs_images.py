# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The images of docs/visualization.md.

    python -m examples.docs_images docs/images

The photograph is scikit-image's (Eileen Collins; NASA, public domain), the scenes are of the shapes
world. Boxes, names and scores were written by hand: they show the drawing, not what a model finds.
Needs the extra ``quickstart`` for scikit-image.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from PIL import Image
from torchvision.ops import box_iou

from examples.shapes_world import ShapesWorldSpec, make_shapes_world
from regionclip_mmdet.fileio import read_json
from regionclip_mmdet.visualization import (
    OpenVocabVisualizer,
    draw_detections,
    draw_pseudo_labels,
    draw_regions,
)

PERSON, FLAG, SHUTTLE = (18, 14, 364, 512), (0, 0, 96, 512), (354, 0, 474, 284)
HELMET, PATCH, TAG = (276, 342, 506, 512), (132, 348, 216, 424), (278, 338, 330, 378)
DETECTIONS = (
    (PERSON, 'astronaut in an orange suit', 0.91),
    (FLAG, 'флаг', 0.78),
    (SHUTTLE, '航天飞机', 0.83),
    (HELMET, 'خوذة', 0.66),
    (PATCH, 'mission patch', 0.47),
    (TAG, 'name tag', 0.08),
)
REGIONS = (
    (PERSON, {'astronaut': 0.91, 'person': 0.88, 'woman': 0.52, 'firefighter': 0.11}),
    (FLAG, {'flag': 0.78, 'curtain': 0.34}),
    (SHUTTLE, {'space shuttle': 0.83, 'rocket': 0.71, 'toy': 0.4}),
    (HELMET, {'helmet': 0.66, 'bowl': 0.21, 'black ball': 0.2}),
)
PHOTO_SIDE = 640
QUALITY = 82
SCENE, SEED = 3, 0


def photograph() -> np.ndarray:
    """The photograph, uint8 RGB ``(512, 512, 3)``."""
    from skimage import data

    return data.astronaut()


def detections_image() -> np.ndarray:
    """Names in four scripts."""
    boxes, names, scores = zip(*DETECTIONS)
    return draw_detections(photograph(), boxes, names, scores, scale=PHOTO_SIDE / 512)


def regions_image() -> np.ndarray:
    """Several names per box; the image as class-wise NMS would have it: a box per name."""
    found = [(box, name, score) for box, named in REGIONS for name, score in named.items()]
    boxes, names, scores = zip(*found)
    return draw_regions(photograph(), boxes, names, scores, topk=3, scale=PHOTO_SIDE / 512)


class Scene:
    """A scene of the shapes world.

    Args:
        index: Which of the first scenes.
    """

    def __init__(self, index: int = SCENE) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            spec = ShapesWorldSpec('scenes', index + 1)
            make_shapes_world(folder, spec, num_workers=1, progress=False)
            content = read_json(folder / 'instances.json')
            captions = read_json(folder / 'captions.json')
            info = content['images'][index]
            image = Image.open(folder / 'images' / info['file_name']).convert('RGB')
            self.image = np.array(image)
        names = {category['id']: category['name'] for category in content['categories']}
        own = [a for a in content['annotations'] if a['image_id'] == info['id']]
        corners = np.array([a['bbox'] for a in own], dtype=np.float32)
        corners[:, 2:] += corners[:, :2]
        self.boxes = torch.from_numpy(corners)
        self.names = [names[a['category_id']] for a in own]
        self.caption = next(
            a['caption'] for a in captions['annotations'] if a['image_id'] == info['id']
        )


def sample_image(scene: Scene) -> np.ndarray:
    """What the visualizer makes of a sample: annotations, detections, proposals.

    Detections are the annotations with a second name; proposals are random boxes around them whose
    objectness is their IoU with the nearest object.
    """
    generator = torch.Generator().manual_seed(SEED)
    classes = [*dict.fromkeys(scene.names), 'orange moon']
    labels = torch.tensor([classes.index(name) for name in scene.names])
    first = scene.boxes[:1]
    scores = torch.linspace(0.9, 0.5, len(labels))
    near = scene.boxes.repeat(8, 1)
    sides = (near[:, 2:] - near[:, :2]).repeat(1, 2)
    near = near + 0.25 * sides * torch.randn(near.shape, generator=generator)
    near = near[(near[:, 2:] > near[:, :2] + 4).all(1)]
    objectness = box_iou(near, scene.boxes).amax(1)
    sample = DetDataSample(
        gt_instances=InstanceData(bboxes=scene.boxes, labels=labels),
        pred_instances=InstanceData(
            bboxes=torch.cat([scene.boxes, first]),
            labels=torch.cat([labels, torch.tensor([len(classes) - 1])]),
            scores=torch.cat([scores, torch.tensor([0.34])]),
        ),
        proposals=InstanceData(bboxes=near, scores=objectness),
    )
    visualizer = OpenVocabVisualizer('examples', draw_proposals=20, min_side=300)
    visualizer.add_datasample('scene', scene.image, sample, classes=classes)
    return visualizer.get_image()


def pseudo_labels_image(scene: Scene) -> np.ndarray:
    """Regions with names and the caption; the first name is replaced by a wrong one."""
    names = ['orange moon', *scene.names[1:]]
    scores = np.linspace(0.97, 0.42, len(names))
    return draw_pseudo_labels(
        scene.image, scene.boxes, names, scores, caption=scene.caption, min_side=400
    )


def write_images(folder: Path) -> list[Path]:
    """Draw all images.

    Args:
        folder: Where the files ``visualization_*.jpg`` go.

    Returns:
        Their paths.
    """
    scene = Scene()
    images = dict(
        detections=detections_image(),
        regions=regions_image(),
        sample=sample_image(scene),
        pseudo_labels=pseudo_labels_image(scene),
    )
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for title, image in images.items():
        paths.append(folder / f'visualization_{title}.jpg')
        Image.fromarray(image).save(paths[-1], quality=QUALITY, optimize=True)
    return paths


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', type=Path, help='folder for the images')
    for path in write_images(parser.parse_args().folder):
        print(f'{path}: {path.stat().st_size / 1000:.0f} kB')


if __name__ == '__main__':
    main()
