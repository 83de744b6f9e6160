# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""mmdet's visualizer with this package's drawing: for hooks, tools and inferencers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import torch
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks, PolygonMasks, bitmap_to_polygon
from mmdet.visualization import DetLocalVisualizer
from mmengine.dist import master_only
from mmengine.structures import InstanceData
from mmengine.visualization import LocalVisBackend

from ..fileio import write_whole
from .colors import Color, assign_colors
from .fonts import FontChain, FontPath
from .views import as_array, draw_detections, draw_proposals, draw_regions, side_by_side

SEGMENTATIONS = ('gt_sem_seg', 'pred_sem_seg', 'gt_panoptic_seg', 'pred_panoptic_seg')


@VISUALIZERS.register_module()
class OpenVocabVisualizer(DetLocalVisualizer):
    """Draws annotations, detections and proposals of an open vocabulary side by side.

    Stands where mmdet's ``DetLocalVisualizer`` does: ``DetVisualizationHook``, ``tools/test.py
    --show`` and ``--show-dir``, every ``vis_backend``. The colors are those of ``assign_colors``
    for the names of the whole image, so a vocabulary of any size costs nothing before something
    is drawn. Names are looked up when a sample is
    drawn: those of its instances (``label_names``) first, then ``classes`` of the call, then the
    present ``dataset_meta['classes']``. Samples with segmentation maps are left to mmdet.

    Args:
        name: As in mmdet.
        image: As in mmdet.
        vis_backends: As in mmdet.
        save_dir: As in mmdet.
        topk: Names shown per box, where ``unique_boxes`` puts several together.
        unique_boxes: Draw detections of one box once, with their names under each other; a number
            below 1 puts boxes of at least this IoU together, too. False: one by one.
        max_detections: Draw so many detections at most, the best. None: all above the threshold.
        draw_proposals: A third image with so many proposals of the sample; 0: none. Precomputed
            proposals are in the sample; those of a localizer stay there with
            ``model.test_cfg.keep_proposals=True``.
        min_side: Images whose short side is smaller are enlarged by a whole factor to at least
            this, boxes and masks with them; None: never.
        font: File of a font for names, or several; see ``FontChain``.
        font_size: In pixels; None: follows the image.
        line_width: In pixels; None: follows the image.
        alpha: Opacity of masks, as in mmdet.

    Raises:
        FileNotFoundError: There is no such font file.
        ValueError: A font file is none, or a number is out of range.
    """

    _artists = 0  # of matplotlib, when the image was set

    def __init__(
        self,
        name: str = 'visualizer',
        image: np.ndarray | None = None,
        vis_backends: list | dict | None = None,
        save_dir: str | None = None,
        topk: int = 3,
        unique_boxes: bool | float = True,
        max_detections: int | None = None,
        draw_proposals: int = 0,
        min_side: int | None = None,
        font: FontPath | Sequence[FontPath] | None = None,
        font_size: int | None = None,
        line_width: int | None = None,
        alpha: float = 0.8,
    ) -> None:
        super().__init__(name, image, vis_backends, save_dir, alpha=alpha)
        least = min(topk, 1 if max_detections is None else max_detections)
        if least < 1 or draw_proposals < 0 or not 0 <= unique_boxes <= 1:
            raise ValueError(
                'OpenVocabVisualizer: topk and max_detections must be at least 1, draw_proposals '
                f'at least 0 and unique_boxes within 0..1, not {topk}, {max_detections}, '
                f'{draw_proposals}, {unique_boxes}.'
            )
        FontChain(font)  # a wrong path is said now, not at the first image
        self.topk = topk
        self.unique_boxes = unique_boxes
        self.max_detections = max_detections
        self.draw_proposals = draw_proposals
        self._look: dict[str, Any] = dict(
            min_side=min_side, font=font, font_size=font_size, line_width=line_width
        )

    @master_only
    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: DetDataSample | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        pred_score_thr: float = 0.3,
        step: int = 0,
        classes: Sequence[str] | None = None,
    ) -> None:
        """Draw a sample and show it, write it, or hand it to the backends.

        From left to right: annotations, detections, proposals, whatever of them the sample has.

        Args:
            name: Name of the visualization.
            image: RGB ``(H, W, 3)``.
            data_sample: Instances in the image's pixels; ``proposals`` in those of the network
                input, as mmdet keeps them (``scale_factor`` leads back).
            draw_gt: Whether annotations are drawn.
            draw_pred: Whether detections and proposals are drawn.
            show: Show a window.
            wait_time: Seconds that the window stays.
            out_file: Write the image there; backends get nothing then.
            pred_score_thr: Detections with higher scores are drawn.
            step: For the backends.
            classes: Names of this call, in the order of the labels.

        Raises:
            ValueError: A label has no name: the names are those of another vocabulary.
        """
        image = image.clip(0, 255).astype(np.uint8)
        how = dict(show=show, wait_time=wait_time, out_file=out_file, step=step)
        if data_sample is not None and any(key in data_sample for key in SEGMENTATIONS):
            super().add_datasample(
                name, image, data_sample, draw_gt, draw_pred, pred_score_thr=pred_score_thr, **how
            )
            return
        if classes is None:
            classes = (self.dataset_meta or {}).get('classes')
        images = []
        if data_sample is not None:
            sample = data_sample.cpu()
            shown = []
            if draw_gt and 'gt_instances' in sample:
                shown.append(sample.gt_instances)
            if draw_pred and 'pred_instances' in sample:
                shown.append(self._best(sample.pred_instances, pred_score_thr))
            named = [names_of(instances, classes) for instances in shown]
            colors = assign_colors(name for names in named for name in names)
            for instances, names in zip(shown, named, strict=True):
                images.append(self._draw_named(image, instances, names, colors))
            if draw_pred and self.draw_proposals:
                images += self._proposals(image, sample)
        image = side_by_side(*images) if images else image
        # without a sample mmdet's method shows, writes and records the image as it is
        if out_file is None:
            super().add_datasample(name, image, None, **how)
            return
        with write_whole(out_file) as unfinished:
            super().add_datasample(name, image, None, **{**how, 'out_file': str(unfinished)})

    @master_only
    def add_image(self, name: str, image: np.ndarray, step: int = 0) -> None:
        """Hand a visualization to the backends.

        ``LocalVisBackend`` writes with OpenCV, which says nothing of a full disk, so its file is
        written here.

        Args:
            name: Name of the visualization.
            image: RGB ``(H, W, 3)``.
            step: For the backends.

        Raises:
            OSError: The file cannot be written; with its path.
        """
        for backend in self._vis_backends.values():
            if type(backend) is not LocalVisBackend:
                backend.add_image(name, image, step)
                continue
            folder = Path(backend.experiment._img_save_dir)
            with write_whole(folder / f'{name}_{step}.png') as unfinished:
                mmcv.imwrite(image[..., ::-1], str(unfinished))

    @master_only
    def set_image(self, image: np.ndarray) -> None:
        """Begin an image; what mmengine's ``draw_*`` methods add lies on it."""
        super().set_image(image)
        self._artists = len(self.ax_save.get_children())

    @master_only
    def get_image(self) -> np.ndarray:
        """The image, RGB: as it was set, unless a ``draw_*`` method added something.

        mmengine has matplotlib paint it again, which takes seconds for large images.
        """
        added = len(self.ax_save.get_children()) - self._artists
        return super().get_image() if added else self._image.copy()

    def _best(self, found: InstanceData, score_thr: float) -> InstanceData:
        """Detections to be drawn: as they come or, if there are too many, by descending score."""
        chosen = (found.scores > score_thr).nonzero()[:, 0]
        if self.max_detections is not None and len(chosen) > self.max_detections:
            chosen = chosen[found.scores[chosen].topk(self.max_detections).indices]
        return found[chosen]

    def _draw_instances(
        self,
        image: np.ndarray,
        instances: InstanceData,
        classes: Sequence[str] | None,
        palette: None = None,
    ) -> np.ndarray:
        """Where mmdet's own drawing, of samples with segmentation maps, comes to instances."""
        names = names_of(instances, classes)
        return self._draw_named(image, instances, names, assign_colors(names))

    def _draw_named(
        self,
        image: np.ndarray,
        instances: InstanceData,
        names: list[str],
        of_name: Mapping[str, Color],
    ) -> np.ndarray:
        """Annotations (without scores) or detections, ``N`` names and colors of all names."""
        if 'masks' in instances and len(instances) > 0:
            image = self._draw_masks(image, instances, [of_name[name] for name in names])
        boxes = instances.bboxes if 'bboxes' in instances else np.zeros((0, 4))
        boxes = as_array(getattr(boxes, 'tensor', boxes))  # mmdet's HorizontalBoxes
        scores = as_array(instances.scores) if 'scores' in instances else None
        if scores is None or not self.unique_boxes:
            names = names[: len(boxes)]
            colors = [of_name[name] for name in names]
            return draw_detections(image, boxes, names, scores, colors, **self._look)
        how = (self.topk, float(self.unique_boxes), of_name)
        return draw_regions(image, boxes, names, scores, *how, **self._look)

    def _draw_masks(
        self, image: np.ndarray, instances: InstanceData, colors: Sequence[Color]
    ) -> np.ndarray:
        """Masks with white outlines, as mmdet draws them, in the colors of their names."""
        masks = instances.masks
        if isinstance(masks, (PolygonMasks, BitmapMasks)):
            masks = masks.to_ndarray()
        masks = np.asarray(torch.as_tensor(masks)).astype(bool)
        self.set_image(image)
        outlines = [outline for mask in masks for outline in bitmap_to_polygon(mask)[0]]
        if outlines:
            self.draw_polygons(outlines, edge_colors='w', alpha=self.alpha)
        self.draw_binary_masks(masks, colors=list(colors), alphas=self.alpha)
        return self.get_image()

    def _proposals(self, image: np.ndarray, sample: DetDataSample) -> list[np.ndarray]:
        """An image of the sample's proposals, if it has any."""
        if 'proposals' not in sample:
            warnings.warn(
                f'draw_proposals={self.draw_proposals}, but the sample carries no proposals. Those '
                'of a localizer are kept with model.test_cfg.keep_proposals=True.'
            )
            return []
        proposals = sample.proposals
        boxes = as_array(getattr(proposals.bboxes, 'tensor', proposals.bboxes))
        boxes = boxes / np.tile(sample.metainfo.get('scale_factor', (1.0, 1.0)), 2)
        objectness = proposals.get('objectness_logits', proposals.get('scores'))
        return [draw_proposals(image, boxes, objectness, self.draw_proposals, **self._look)]


def names_of(instances: InstanceData, classes: Sequence[str] | None) -> list[str]:
    """The names of instances: their own ``label_names``, else those of ``classes``.

    Args:
        instances: With ``labels (N,)`` or ``label_names``.
        classes: Names in the order of the labels; None: ``class 0``, ``class 1``, ... as in mmdet.

    Raises:
        ValueError: A label has no name.
    """
    if 'label_names' in instances:
        return list(instances.label_names)
    labels = [int(label) for label in instances.labels]
    if classes is None:
        return [f'class {label}' for label in labels]
    strays = [label for label in labels if not 0 <= label < len(classes)]
    if strays:
        raise ValueError(
            f'label {strays[0]} has no name: there are {len(classes)} ({list(classes[:3])}, ...). '
            "These are names of another vocabulary: set the visualizer's dataset_meta to that of "
            'the model, or give add_datasample classes=...'
        )
    return [classes[label] for label in labels]
