# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Legal but unusual: no boxes, no proposals, very many, thin images, captions of every kind."""

from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn

from helpers import tiny_models

SIZES = [(64, 64), (48, 64)]


def fill(config: dict) -> nn.Module:
    torch.manual_seed(0)
    return tiny_models.fill(MODELS.build(config))


def detector_config(**settings: object) -> dict:
    """For predictions: a random box regressor would be refused."""
    return tiny_models.detector_config(bbox_head=dict(with_reg=False), **settings)


def boxes(number: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(number, 2, generator=generator) * 24
    return torch.cat([low, low + 4 + torch.rand(number, 2, generator=generator) * 16], dim=1)


def total(losses: dict) -> Tensor:
    return sum(value for name, value in losses.items() if 'loss' in name)


def assert_finite_gradients(model: nn.Module) -> None:
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert grads and all(g.isfinite().all() for g in grads)


@torch.no_grad()
@pytest.mark.parametrize('objectness', ['none', 'logit', 'sigmoid'])
def test_detecting_without_proposals(objectness: str) -> None:
    model = fill(detector_config(rcnn=dict(objectness=objectness))).eval()
    samples = tiny_models.samples(*SIZES, proposals=[boxes(0), boxes(6)])
    for sample in samples:
        number = len(sample.proposals)
        sample.proposals.objectness_logits = torch.arange(1.0, number + 1)
    found = model.predict(tiny_models.images(*SIZES), samples)
    assert len(found[0].pred_instances) == 0 and found[0].pred_instances.bboxes.shape == (0, 4)
    assert len(found[1].pred_instances) > 0
    # the image without proposals changes nothing for the other one
    (alone,) = model.predict(tiny_models.images(*SIZES)[1:], samples[1:])
    torch.testing.assert_close(
        alone.pred_instances.scores, found[1].pred_instances.scores, rtol=1e-5, atol=1e-6
    )


def test_training_without_boxes_and_without_proposals() -> None:
    model = fill(tiny_models.detector_config()).train()
    samples = tiny_models.samples(*SIZES, proposals=[boxes(12), boxes(0)])
    for sample in samples:
        sample.gt_instances = InstanceData(bboxes=boxes(0), labels=torch.zeros(0).long())
    losses = model.loss(tiny_models.images(*SIZES), samples)
    assert losses['loss_bbox'] == 0 and losses['loss_cls'] > 0
    total(losses).backward()
    assert_finite_gradients(model)
    # nothing at all to learn from
    model.zero_grad()
    for sample in samples:
        sample.proposals = InstanceData(bboxes=boxes(0))
    losses = model.loss(tiny_models.images(*SIZES), samples)
    assert total(losses) == 0
    total(losses).backward()


def test_pretraining_without_proposals() -> None:
    model = fill(tiny_models.regionclip_config()).train()
    samples = tiny_models.samples(*SIZES, captions=['a cat', 'two dogs'], proposals=[boxes(0)] * 2)
    losses = model.loss(tiny_models.images(*SIZES), samples)
    assert losses['loss_image_text'] > 0
    assert losses['loss_region_contrast'] == losses['loss_region_distill'] == 0
    total(losses).backward()
    assert_finite_gradients(model)


class ChunkSizes:
    """Counts the regions of every pass through layer4."""

    def __init__(self, encoder: nn.Module) -> None:
        self.sizes: list[int] = []
        encoder.layer4.register_forward_pre_hook(lambda _, x: self.sizes.append(len(x[0])))


@torch.no_grad()
@pytest.mark.parametrize('objectness', ['none', 'sigmoid'])
def test_twenty_thousand_proposals_are_encoded_in_chunks(objectness: str) -> None:
    config = detector_config(rcnn=dict(objectness=objectness, score_thr=0.5))
    config.roi_head.region_encoder.chunk_size = 512
    model = fill(config).eval()
    chunks = ChunkSizes(model.roi_head.region_encoder)
    number = 20_000
    samples = tiny_models.samples((32, 32), proposals=[boxes(number)])
    samples[0].proposals.objectness_logits = torch.linspace(4, -4, number)
    found = model.predict(tiny_models.images((32, 32)), samples)
    assert max(chunks.sizes) <= 512
    assert len(found[0].pred_instances) <= 20
    if objectness == 'none':
        assert chunks.sizes == [512] * 39 + [32]  # 39 * 512 + 32 = 20,000
    else:
        assert 0 < sum(chunks.sizes) <= number


@torch.no_grad()
@pytest.mark.slow
def test_a_hundred_thousand_proposals() -> None:
    config = detector_config(rcnn=dict(objectness='none', score_thr=0.0))
    config.roi_head.region_encoder.chunk_size = 4096
    model = fill(config).eval()
    chunks = ChunkSizes(model.roi_head.region_encoder)
    samples = tiny_models.samples((32, 32), proposals=[boxes(100_000)])
    found = model.predict(tiny_models.images((32, 32)), samples)[0].pred_instances
    assert chunks.sizes == [4096] * 24 + [1696]  # 24 * 4096 + 1696 = 100,000
    assert 0 < len(found) <= 20 and found.scores.isfinite().all()


@torch.no_grad()
class TestMetas:
    """A test pipeline without Resize, or that does not pack what Resize says."""

    def predict(self, **metas: object) -> InstanceData:
        model = fill(detector_config()).eval()
        samples = tiny_models.samples((32, 40), proposals=[boxes(6)])
        kept = {k: v for k, v in samples[0].metainfo.items() if k in ('img_shape', 'img_path')}
        sample = DetDataSample(metainfo=kept | metas)
        sample.proposals = samples[0].proposals
        return model.predict(tiny_models.images((32, 40)), [sample])[0].pred_instances

    def test_nothing_was_resized(self) -> None:
        expected = self.predict(scale_factor=(1.0, 1.0), ori_shape=(32, 40))
        for metas in (dict(), dict(ori_shape=(32, 40))):
            found = self.predict(**metas)
            assert len(found) > 1 and torch.equal(found.bboxes, expected.bboxes)
        scaled = self.predict(scale_factor=(2.0, 2.0), ori_shape=(16, 20))
        torch.testing.assert_close(scaled.bboxes, expected.bboxes / 2)

    def test_what_cannot_be_known_is_named(self) -> None:
        message = r'Image a.jpg, originally \(16, 20\), comes without scale_factor.*meta_keys'
        with pytest.raises(ValueError, match=message):
            self.predict(ori_shape=(16, 20), img_path='a.jpg')
        with pytest.raises(ValueError, match='Image a.jpg comes without img_shape'):
            self.predict(img_shape=None, img_path='a.jpg')


def test_pretraining_draws_from_many_proposals() -> None:
    model = fill(tiny_models.regionclip_config(num_regions=7)).train()
    chunks = ChunkSizes(model.roi_head.region_encoder)
    proposals = [boxes(20_000), boxes(3)]
    samples = tiny_models.samples(*SIZES, captions=['a', 'b'], proposals=proposals)
    total(model.loss(tiny_models.images(*SIZES), samples)).backward()
    assert chunks.sizes == [7 + 3 + 2]  # and one box for each whole image
    assert_finite_gradients(model)


@pytest.mark.parametrize('size', [(13, 133), (133, 13), (1, 1), (15, 15)])
def test_thin_images(size: tuple[int, int]) -> None:
    """Without padding to 16 pixels, a pooling of the backbone would have no pixel left."""
    height, width = size
    whole = torch.tensor([[0.0, 0.0, width, height]])
    model = fill(detector_config()).eval()
    images = tiny_models.images(size)
    c4 = model.backbone(images)[0]
    assert c4.shape[-2:] == (max(height // 16, 1), max(width // 16, 1))
    padded = torch.zeros(1, 3, max(height, 16), max(width, 16))
    padded[..., :height, :width] = images
    torch.testing.assert_close(c4, model.backbone(padded)[0], rtol=0, atol=0)
    (found,) = model.predict(images, tiny_models.samples(size, proposals=[whole]))
    assert found.pred_instances.scores.isfinite().all() and len(found.pred_instances) > 0
    pretrainer = fill(tiny_models.regionclip_config()).train()
    samples = tiny_models.samples(size, captions=['a'], proposals=[whole])
    total(pretrainer.loss(images, samples)).backward()
    assert_finite_gradients(pretrainer)


def test_the_localizer_proposes_on_thin_images() -> None:
    model = fill(detector_config(localizer=tiny_models.localizer())).eval()
    (found,) = model.predict(tiny_models.images((9, 90)), tiny_models.samples((9, 90)))
    assert found.pred_instances.bboxes.isfinite().all()


CAPTIONS = [
    'a cat',
    '一只猫坐在沙发上',
    '一只狗坐在沙发上',
    'قطة على الأريكة',
    'кошка на диване',
    '😀🐱',
    '😀🐶',
    '\u200b',  # nothing to see
    'e\u0301te\u0301',  # combining accents
]


def test_captions_in_every_script_have_their_own_embedding() -> None:
    config = tiny_models.text_encoder()
    config['arch'] = {**config['arch'], 'context_length': 77}
    encoder = fill(config)
    long = ['dog ' * 2500, 'cat ' * 2500, '狗' * 10_000, '😀' * 10_000]
    captions = [*CAPTIONS, *long]
    ids = encoder.tokenize(captions)
    assert ids.shape == (len(captions), 77)
    end = int(ids[0].max())
    assert (ids == end).sum(dim=1).tolist() == [1] * len(captions)
    assert (ids[-len(long) :, -1] == end).all()  # cut, with the end token last
    embeddings = torch.nn.functional.normalize(encoder(captions), dim=1)
    assert embeddings.isfinite().all()
    distances = torch.cdist(embeddings, embeddings) + torch.eye(len(captions))
    assert distances.min() > 1e-3


def test_pretraining_with_long_and_foreign_captions() -> None:
    model = fill(tiny_models.regionclip_config()).train()
    sizes = [(32, 32)] * 3
    captions = ['word ' * 2000, '一只猫', '😀']
    samples = tiny_models.samples(*sizes, captions=captions, proposals=[boxes(3)] * 3)
    total(model.loss(tiny_models.images(*sizes), samples)).backward()
    assert_finite_gradients(model)
