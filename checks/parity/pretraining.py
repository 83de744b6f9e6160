# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Cases of pretraining: one step's labels, losses and gradients."""

from __future__ import annotations

from collections.abc import Sequence

from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from regionclip_mmdet.models.detectors import RegionCLIP
from regionclip_mmdet.models.text import TextEmbeddings

from . import models
from .case import Case, CaseError
from .comparison import Comparison
from .gradients import compare_gradients

WHAT = 'pretraining: pseudo labels, three losses, gradients'
MARKS = ('loss_img_txt_level', 'keep_regions', 'target_inds', 'concept_scores_kept')
NEEDED = (
    'loss_img_txt_level',
    'loss_region_distill',
    'loss_concept_contrastive',
    'keep_regions',
    'target_inds',
)
LOSSES = dict(
    loss_image_text='loss_img_txt_level',
    loss_region_distill='loss_region_distill',
    loss_region_contrast='loss_concept_contrastive',
)
# A loss is 0 where all regions have one label; relative differences of 0 say nothing.
ZERO_LOSS = 1e-5


def run(case: Case, comparison: Comparison) -> None:
    """Compare a step of the student on all given regions."""
    model = build(case)
    numbers = case.numbered('image{}')
    batch, samples = inputs(case, model, numbers)
    seen = observe(model)
    losses = step(model, batch, samples)

    _compare_labels(case, comparison, seen['labels'])
    _compare_embeddings(case, comparison, seen)
    ids = model.text_encoder.tokenize([sample.text for sample in samples])
    for i in numbers:
        if f'caption_ids{i}' in case:
            comparison.add(f'caption_ids{i}', ids[i], 0)
    if 'global_box' in case:
        boxes = model.roi_head.global_rois([s.metainfo for s in samples], batch.shape[-2:])
        recorded = case['global_box'].expand(len(boxes), 4)
        comparison.add('global_box', boxes[:, 1:], 0, recorded=recorded)
    compare_losses(comparison, losses, case.limit('losses_rel', 2e-4))
    compare_gradients(comparison, model, case.limit('grad_norm_rel', 2e-3))
    for part in (model.teacher, model.text_encoder):
        if any(p.grad is not None for p in part.parameters()):
            comparison.fail('frozen parts', f'{type(part).__name__} has gradients')


def build(case: Case) -> RegionCLIP:
    """The student, its teacher and text encoder, with the case's concept pools."""
    student_pool = case['concept_pool_student']
    separate = case.note('teacher_pool', default='separate') == 'separate'
    teacher_pool = case['concept_pool_teacher'] if separate else student_pool
    arch = models.arch_of(case, student_pool.shape[1])
    teacher = models.arch_of(case, teacher_pool.shape[1])
    config = models.pretraining_config(arch, teacher)
    head = config.roi_head.region_text_head
    head.concept_pool = TextEmbeddings.from_tensor(student_pool)
    head.teacher_concept_pool = TextEmbeddings.from_tensor(teacher_pool)
    models.set_unless_official(head, 'concept_threshold', case.note('concept_threshold'), 0.1)
    # the teacher's is fixed in the official code
    for loss in (config.roi_head.loss_image_text, head.loss_contrast, head.loss_distill):
        models.set_unless_official(loss, 'temperature', case.note('temperature'), 0.01)
    model = models.build(config).train()
    models.load_detector(model, models.official_weights(case, 'pretraining_shapes', arch, teacher))
    return model.to(case.device)


def inputs(
    case: Case, model: RegionCLIP, numbers: Sequence[int]
) -> tuple[Tensor, list[DetDataSample]]:
    """The batch of some of the case's images; samples carry caption and regions."""
    captions = case.note('captions')
    if captions is None or len(captions) <= max(numbers):
        raise CaseError("meta has no 'captions', or fewer than there are images")
    metas = [dict(text=captions[i]) for i in numbers]
    images = [case[f'image{i}'] for i in numbers]
    batch, samples = models.preprocess(model.data_preprocessor, images, metas)
    for i, sample in zip(numbers, samples, strict=True):
        sample.proposals = InstanceData(bboxes=case[f'proposals{i}'])
    return batch, samples


def observe(model: RegionCLIP) -> dict:
    """Fills the returned dict, in the next step, with what is computed on the way."""
    seen: dict = {}
    head = model.roi_head.region_text_head
    label = head.pseudo_label

    def remember(teacher_embeddings: Tensor) -> object:
        seen['labels'] = label(teacher_embeddings)
        return seen['labels']

    head.pseudo_label = remember
    for name, part in (
        ('student', model.roi_head.region_encoder),
        ('teacher', model.teacher),
        ('text', model.text_encoder),
    ):
        part.register_forward_hook(lambda module, args, out, name=name: seen.update({name: out}))
    return seen


def step(model: RegionCLIP, batch: Tensor, samples: Sequence[DetDataSample]) -> dict:
    """Losses of a batch after their backward pass; all given regions are learned from."""
    # in the given order: the official random choice was bypassed
    model.draw_proposals = lambda *args: [sample.proposals for sample in samples]
    model.zero_grad()
    losses = model.loss(batch, list(samples))
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    return losses


def compare_losses(comparison: Comparison, losses: dict, limit: float, prefix: str = '') -> None:
    """Compare the three losses.

    Args:
        comparison: Takes the differences.
        losses: By our names.
        limit: Relative.
        prefix: Of the recorded names.
    """
    for ours, official in LOSSES.items():
        name = prefix + official
        small = name in comparison.case and abs(float(comparison.case[name])) < ZERO_LOSS
        if small:
            comparison.add(name, losses[ours], ZERO_LOSS)
        else:
            comparison.add(name, losses[ours], limit, 'relative')


def _compare_labels(case: Case, comparison: Comparison, labels: object) -> None:
    comparison.add('keep_regions', labels.keep, 0)
    comparison.add('target_inds', labels.labels, 0)
    if 'concept_scores_kept' in case:
        limit = case.limit('concept_scores_max_abs', 1e-3)
        comparison.add('concept_scores_kept', labels.probs, limit)


def _compare_embeddings(case: Case, comparison: Comparison, seen: dict) -> None:
    limit = case.limit('region_features_max_abs', 2e-4)
    regions = len(seen['teacher'])
    for name, ours, tolerance in (
        ('region_features', seen['student'][:regions], limit),
        ('global_features', seen['student'][regions:], limit),
        # of another depth, maybe
        ('teacher_region_features', seen['teacher'], 2e-4 if regions else limit),
        ('text_embeddings', seen['text'], case.limit('embeddings_max_abs', 1e-4)),
    ):
        if name in case:
            comparison.add(name, ours, tolerance)
