# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Visualizations of pseudo labels: pixels, places, names and scores; training does not notice."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi
from mmdet.visualization import DetLocalVisualizer
from mmengine.logging import MMLogger
from PIL import Image

from helpers import tiny_models, tiny_runner
from helpers import watched_pretraining as watched
from regionclip_mmdet.engine.hooks import PseudoLabelVisualizationHook
from regionclip_mmdet.visualization import Mark, draw_marks, text_strip, views

RED = (255, 0, 0)


def pretrainer(**settings: Any) -> torch.nn.Module:
    model = MODELS.build(
        tiny_models.regionclip_config(
            localizer=None, data_preprocessor=tiny_runner.PREPROCESSOR, **settings
        )
    )
    for seed, part in enumerate((model, model.teacher, model.text_encoder)):
        if part is not None:
            tiny_models.fill(part, seed)
    return model


class Recorder(DetLocalVisualizer):
    """Keeps the visualizations and what was drawn on them."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.visualizations: dict[tuple[str, int], np.ndarray] = {}
        self.marks: list[list[Mark]] = []
        self.captions: list[str] = []

    def add_image(self, name: str, image: np.ndarray, step: int = 0) -> None:
        self.visualizations[name, step] = image

    def draw_marks(self, image: np.ndarray, marks: list[Mark], style: Any) -> np.ndarray:
        self.marks.append(marks)
        return draw_marks(image, marks, style)

    def text_strip(self, text: str, *args: Any, **kwargs: Any) -> np.ndarray:
        self.captions.append(text)
        return text_strip(text, *args, **kwargs)


def draw(
    model: torch.nn.Module, images: list[torch.Tensor], boxes: list[torch.Tensor], **settings: Any
) -> Recorder:
    """Visualizations after the tenth iteration."""
    sizes = [image.shape[-2:] for image in images]
    samples = tiny_models.samples(*sizes, captions=['a caption'] * len(sizes), proposals=boxes)
    recorder = Recorder('recorder')
    runner = SimpleNamespace(
        model=model,
        visualizer=recorder,
        iter=9,
        optim_wrapper=SimpleNamespace(optim_context=nullcontext),
        logger=MMLogger.get_instance('visualizations', log_level='INFO'),
    )
    hook = PseudoLabelVisualizationHook(interval=10, **settings)
    hook.before_train(runner)
    hook._first = False
    with (
        mock.patch.object(views, 'draw_marks', recorder.draw_marks),
        mock.patch.object(views, 'text_strip', recorder.text_strip),
    ):
        hook.after_train_iter(runner, 9, dict(inputs=images, data_samples=samples))
    return recorder


def test_box_in_its_place_and_colors_right() -> None:
    box = torch.tensor([[20.0, 30.0, 90.0, 70.0]])
    image = torch.zeros(3, 96, 120, dtype=torch.uint8)
    image[2] = 255  # red, as loaded: BGR
    recorder = draw(pretrainer(), [image], [box], min_side=200)
    visualization = recorder.visualizations['pseudo_labels_0', 10]
    assert visualization.shape[1:] == (3 * 120, 3) and visualization.dtype == np.uint8
    caption = visualization[3 * 96 :]
    assert (caption[0] == 255).all() and (caption == 0).all(-1).any()
    assert recorder.captions == ['a caption']
    drawn = (visualization[: 3 * 96] != RED).any(-1)
    rows, columns = (np.flatnonzero(drawn.any(axis)) for axis in (1, 0))
    # the label stands above
    found = [columns[0], columns[-1] + 1, rows[-1] + 1]
    assert found == [60, 270, 210] and 60 < rows[0] < 90
    edge = drawn[:, 3 * 55]  # a column through the middle meets both edges
    assert edge[3 * 30] and edge[3 * 70 - 1] and not edge[3 * 50 : 3 * 65].any()


def test_a_visualization_that_cannot_be_drawn_is_not_the_end_of_a_run() -> None:
    image = torch.zeros(3, 96, 120, dtype=torch.uint8)
    full = mock.patch.object(Recorder, 'add_image', side_effect=OSError('disk full'))
    with full as failing, mock.patch.object(MMLogger, 'warning') as warning:
        draw(pretrainer(), [image], [torch.tensor([[0.0, 0.0, 9.0, 9.0]])])
    assert failing.called
    assert warning.call_args[0] == ('Pseudo labels could not be drawn: OSError: disk full',)


def teacher_embeddings(model: torch.nn.Module, image: torch.Tensor, boxes: torch.Tensor) -> Any:
    mean, std = (torch.tensor(tiny_runner.PREPROCESSOR[k]).view(3, 1, 1) for k in ('mean', 'std'))
    batch = ((image.flip(0) - mean) / std)[None]
    embeddings = model.teacher.region_encoder(model.teacher.backbone(batch), bbox2roi([boxes]))
    return F.normalize(embeddings).detach()


def test_names_and_scores_are_the_teachers() -> None:
    model = pretrainer(region_text_head=dict(concept_threshold=0.45))
    generator = torch.Generator().manual_seed(1)
    size = (3, 64, 80)
    images = [torch.randint(0, 256, size, generator=generator).to(torch.uint8) for _ in range(3)]
    corners = torch.rand(3, 6, 2, generator=generator) * 30
    boxes = list(torch.cat([corners, corners + 20], -1))
    regions = [teacher_embeddings(model, *pair) for pair in zip(images, boxes, strict=True)]
    # the tiny teacher's regions all point nearly the same way: what tells them apart is the rest
    common = torch.cat(regions).mean(0)
    concepts = torch.randn(3, 32, generator=generator)
    concepts = F.normalize(concepts - torch.outer(concepts @ common, common) / common.norm() ** 2)
    head = model.roi_head.region_text_head
    head.teacher_concepts = concepts

    state = torch.get_rng_state()
    recorder = draw(model, images, boxes, num_images=2, max_regions=4, min_side=64)
    assert torch.equal(torch.get_rng_state(), state)
    assert list(recorder.visualizations) == [('pseudo_labels_0', 10), ('pseudo_labels_1', 10)]
    expected = []
    for own, embeddings, marks in zip(boxes, regions, recorder.marks, strict=False):
        best, labels = (embeddings @ concepts.T / 0.01).softmax(-1).max(-1)
        chosen = [i for i in best.argsort(descending=True).tolist() if best[i] > 0.45][:4]
        torch.testing.assert_close(torch.tensor([m.box for m in marks]), own[chosen])
        expected += [(head.concept_names[labels[i]], float(best[i])) for i in chosen]
    assert len({name for name, _ in expected}) > 1 and len(expected) == 8
    found = [mark.rows[0].text.rsplit(' ', 1) for marks in recorder.marks for mark in marks]
    assert [name for name, _ in found] == [name for name, _ in expected]
    scores = [score for _, score in expected]
    assert [float(score) for _, score in found] == pytest.approx(scores, abs=0.006)
    assert max(scores) - min(scores) > 0.05


def test_a_run_with_visualizations(tmp_path: Path) -> None:
    watched.make_files(tmp_path)
    for name, hooks in (
        ('with', [dict(type='PseudoLabelVisualizationHook', interval=4)]),
        ('without', []),
    ):
        train_cfg = dict(type='IterBasedTrainLoop', max_iters=6, val_interval=100)
        watched.train(tmp_path, tmp_path / name, hooks=hooks, validates=False, train_cfg=train_cfg)
    (folder,) = (tmp_path / 'with').glob('*/vis_data/vis_image')
    steps = {f'pseudo_labels_{i}_{step}.png' for i in (0, 1) for step in (1, 4)}
    assert {path.name for path in folder.iterdir()} == steps
    assert Image.open(folder / 'pseudo_labels_0_4.png').width == 512  # 4 x 128
    assert watched.losses(tmp_path / 'with') == watched.losses(tmp_path / 'without')
    (log,) = (tmp_path / 'with').glob('*/*.log')
    assert 'pseudo_labels_1_4: ' in log.read_text()


def test_without_a_teacher_nothing_is_drawn() -> None:
    model = MODELS.build(
        tiny_models.regionclip_config(
            localizer=None, teacher=None, roi_head=dict(region_text_head=None)
        )
    )
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    assert not draw(model, [image], [torch.zeros(0, 4)]).visualizations


def test_refusals() -> None:
    with pytest.raises(ValueError, match='must be positive, not 0, 2, 15, 400'):
        PseudoLabelVisualizationHook(interval=0)
    detector = MODELS.build(tiny_models.detector_config())
    with pytest.raises(TypeError, match='the model is a OpenVocabularyRCNN'):
        PseudoLabelVisualizationHook().before_train(SimpleNamespace(model=detector))
