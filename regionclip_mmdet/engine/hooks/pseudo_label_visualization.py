# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Visualizations of what the student is taught: regions, the teacher's concepts and scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

from ...models.detectors import RegionCLIP
from ...visualization import draw_pseudo_labels
from ...visualization.fonts import FontPath
from ..robust.once import OnceHook
from ..robust.randomness import untouched_generators
from ..robust.ranks import on_main_process, unwrapped_model


@HOOKS.register_module()
class PseudoLabelVisualizationHook(OnceHook):
    """Draws the teacher's pseudo labels of the batch that was just trained on, and its captions.

    Images are those of the pipeline, flips included; the regions are another draw of
    ``num_regions`` proposals, so not all of them were in the loss. The visualizer hands the
    images ``pseudo_labels_0``, ``pseudo_labels_1``, ... to all its ``vis_backends``; the local
    one keeps them in ``vis_data/vis_image``. The main process alone draws; training does not
    notice, and goes on if they cannot be drawn. Silent for models without a teacher.

    Args:
        interval: Iterations between two drawings. The first iteration of a run is drawn, too:
            misplaced boxes are seen at once.
        num_images: Number of images, the first ones of the main process's batch.
        max_regions: Number of regions that are drawn of each image, the most probable ones.
        min_side: Short side, in pixels, to which smaller images are enlarged, in whole steps, for
            the text to be read.
        font: Path of a font file for concepts and captions, or several; see ``FontChain``.
    """

    # after the iteration's other hooks: it is no part of the times they measure
    priority = 'LOW'

    def __init__(
        self,
        interval: int = 5000,
        num_images: int = 2,
        max_regions: int = 15,
        min_side: int = 400,
        font: FontPath | Sequence[FontPath] | None = None,
    ) -> None:
        if min(interval, num_images, max_regions, min_side) < 1:
            raise ValueError(
                'PseudoLabelVisualizationHook: interval, num_images, max_regions and min_side must '
                f'be positive, not {interval}, {num_images}, {max_regions}, {min_side}.'
            )
        self.interval = interval
        self.num_images = num_images
        self.max_regions = max_regions
        self.min_side = min_side
        self.font = font
        self._model: RegionCLIP | None = None
        self._first = True

    def before_train(self, runner: Runner) -> None:
        """See whether there is something to draw.

        Raises:
            TypeError: The model is no ``RegionCLIP``.
        """
        model = unwrapped_model(runner)
        if not isinstance(model, RegionCLIP):
            raise TypeError(
                'PseudoLabelVisualizationHook draws the pseudo labels of a RegionCLIP, but the '
                f'model is a {type(model).__name__}.'
            )
        self._model = None if model.roi_head.region_text_head is None else model
        self._first = True

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        due = self._first or self.every_n_train_iters(runner, self.interval)
        self._first = False
        model = self._model
        if due and model is not None:
            on_main_process(lambda: self._draw_or_warn(runner, model, data_batch))

    def _draw_or_warn(self, runner: Runner, model: RegionCLIP, data_batch: Any) -> None:
        """No drawing is worth a run."""
        try:
            self._draw(runner, model, data_batch)
        except Exception as error:
            runner.logger.warning(
                f'Pseudo labels could not be drawn: {type(error).__name__}: {error}'
            )

    @untouched_generators()
    @torch.no_grad()
    def _draw(self, runner: Runner, model: RegionCLIP, data_batch: Any) -> None:
        batch = {key: list(values[: self.num_images]) for key, values in data_batch.items()}
        preprocessor: Any = model.data_preprocessor
        # in training's mode, except for augmentations of the batch
        data = preprocessor(batch, False)
        with runner.optim_wrapper.optim_context(model):  # in training's precision
            samples = model.predict(data['inputs'], data['data_samples'])
        for number, (pixels, sample) in enumerate(zip(batch['inputs'], samples, strict=True)):
            found = sample.pred_instances.cpu()
            order = found.scores.argsort(descending=True, stable=True)[: self.max_regions]
            found = found[order]
            labels = found.label_names
            caption, path = sample.get('text'), sample.get('img_path', '')
            drawn = draw_pseudo_labels(
                as_rgb(pixels, preprocessor),
                found.bboxes,
                labels,
                found.scores,
                caption,
                min_side=self.min_side,
                font=self.font,
            )
            runner.visualizer.add_image(f'pseudo_labels_{number}', drawn, runner.iter + 1)
            scored = zip(labels, found.scores.tolist())
            runner.logger.info(
                f'pseudo_labels_{number}_{runner.iter + 1}: {Path(path).name} {caption!r}: '
                + ', '.join(f'{name} {100 * score:.0f}%' for name, score in scored)
            )


def as_rgb(pixels: Tensor, preprocessor: Any) -> np.ndarray:
    """An image of a batch, ``(3, H, W)`` before normalization, as uint8 RGB ``(H, W, 3)``."""
    if getattr(preprocessor, '_channel_conversion', False):
        pixels = pixels.flip(0)
    return np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().to(torch.uint8).numpy())
