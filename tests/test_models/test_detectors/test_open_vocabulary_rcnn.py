# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The detector as a runner uses it: proposals, vocabularies at run time, a training step."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from torch import Tensor

from helpers import tiny_models
from regionclip_mmdet.models.detectors import OpenVocabularyRCNN

SIZES = ((64, 80), (80, 64))
BOXES = [
    torch.tensor([[4.0, 4.0, 40.0, 36.0], [30.0, 20.0, 70.0, 60.0]]),
    torch.tensor([[0.0, 0.0, 64.0, 80.0], [20.0, 10.0, 60.0, 50.0], [2.0, 2.0, 20.0, 30.0]]),
]
PREPROCESSOR = dict(
    type='mmdet.DetDataPreprocessor',
    mean=[122.7709383, 116.7460125, 104.09373615],
    std=[68.5005327, 66.6321579, 70.32316305],
    bgr_to_rgb=True,
)


def detector(**settings: object) -> OpenVocabularyRCNN:
    model = tiny_models.fill(MODELS.build(tiny_models.detector_config(**settings)), seed=1).eval()
    if model.roi_head.bbox_head.with_reg:
        model.roi_head.bbox_head.fc_reg.weights_source = 'this test'
    return model


@torch.no_grad()
def predict(model: OpenVocabularyRCNN, proposals: list[Tensor] | None = BOXES, **settings: object):
    samples = tiny_models.samples(*SIZES, proposals=proposals)
    return model.predict(tiny_models.images(*SIZES), samples, **settings)


def test_detections_are_made_of_the_parts() -> None:
    no_nms = dict(nms=dict(type='nms', iou_threshold=1))
    model = detector(bbox_head=dict(with_reg=False), rcnn=no_nms)
    names = tiny_models.vocabulary().matrix
    batch = tiny_models.images(*SIZES)
    for i, sample in enumerate(predict(model)):
        found = sample.pred_instances
        rois = F.pad(BOXES[i], (1, 0), value=i)
        regions = model.roi_head.region_encoder(model.backbone(batch), rois)
        cosines = F.cosine_similarity(regions[:, None], names[None], dim=2)
        probs = F.pad(cosines / 0.01, (0, 1)).softmax(1)
        expected = probs[:, :3].flatten().sort(descending=True)
        count = int((expected.values > 0).sum())
        assert len(found) == count
        torch.testing.assert_close(found.scores, expected.values[:count], rtol=1e-3, atol=1e-5)
        assert int(found.labels[0]) == int(expected.indices[0]) % 3
        assert torch.equal(found.bboxes[0], BOXES[i][int(expected.indices[0]) // 3])


def test_rescaling_to_the_original_image() -> None:
    model = detector()
    given = [tiny_models.samples(*SIZES, proposals=BOXES, scale=2.0) for _ in range(2)]
    with torch.no_grad():
        network, original = (
            model.predict(tiny_models.images(*SIZES), samples, rescale=rescale)
            for samples, rescale in zip(given, (False, True), strict=True)
        )
    for a, b in zip(network, original, strict=True):
        assert len(a.pred_instances) > 2
        torch.testing.assert_close(a.pred_instances.bboxes / 2, b.pred_instances.bboxes)


def test_the_localizer_is_asked_only_without_proposals(monkeypatch: pytest.MonkeyPatch) -> None:
    model = detector(localizer=tiny_models.localizer(), rcnn=dict(objectness='sigmoid'))
    samples = predict(model, None)
    assert all(len(sample.pred_instances) > 2 for sample in samples)
    assert 'proposals' not in samples[0]
    plain = detector(localizer=tiny_models.localizer())
    monkeypatch.setattr(plain.localizer, 'forward', lambda *a: pytest.fail('not needed'))
    assert all(len(sample.pred_instances) > 1 for sample in predict(plain))


def test_a_frozen_localizers_proposals_can_be_given_by_hand() -> None:
    """The same boxes and logits, whether they come from the module or with the samples."""
    model = detector(localizer=tiny_models.localizer(), rcnn=dict(objectness='sigmoid'))
    batch, expected = tiny_models.images(*SIZES), predict(model, None)
    samples = tiny_models.samples(*SIZES)
    found = model.localizer(batch, [sample.metainfo for sample in samples])
    for sample, proposals in zip(samples, found, strict=True):
        sample.proposals = proposals
    with torch.no_grad():
        results = model.predict(batch, samples)
    for a, b in zip(results, expected, strict=True):
        torch.testing.assert_close(a.pred_instances.scores, b.pred_instances.scores)
    assert 'bboxes' in samples[0].proposals


class TestVocabulary:
    def test_names_are_embedded_by_the_text_encoder(self) -> None:
        model = detector(text_encoder=tiny_models.text_encoder())
        model.set_vocabulary(['zebra', 'cat', 'green cube', 'x'], templates=['a {}', '{}'])
        classifier = model.roi_head.bbox_head.active_classifier
        assert classifier.names == ('zebra', 'cat', 'green cube', 'x')
        expected = (model.text_encoder(['a zebra']) + model.text_encoder(['zebra'])) / 2
        torch.testing.assert_close(classifier.embeddings[:1], expected)
        assert {int(i) for s in predict(model) for i in s.pred_instances.labels} <= {0, 1, 2, 3}

    def test_embeddings_need_no_text_encoder(self) -> None:
        model = detector(bbox_head=dict(with_reg=False))
        before = predict(model)[0].pred_instances
        reordered = tiny_models.vocabulary().select(('red ball', 'cat', 'dog'))
        model.set_vocabulary(reordered)
        after = predict(model)[0].pred_instances
        torch.testing.assert_close(after.scores, before.scores)
        new_label = torch.tensor([1, 2, 0])  # of cat, dog, red ball
        assert torch.equal(after.labels, new_label[before.labels])

    def test_names_without_a_text_encoder(self) -> None:
        with pytest.raises(RuntimeError, match='no text encoder. Give TextEmbeddings, or'):
            detector().set_vocabulary(['cat'])

    @pytest.mark.parametrize(
        ('vocabulary', 'message'),
        [
            ([], 'at least one name'),
            ('cat', "not the string 'cat'"),
            (['cat', 3], 'name 1 is 3'),
            (['cat', 'cat'], 'occur again'),
            (tiny_models.vocabulary(dim=16), 'width 16, but the model .* width 32'),
        ],
    )
    def test_what_cannot_be_used_changes_nothing(self, vocabulary: object, message: str) -> None:
        model = detector(text_encoder=tiny_models.text_encoder())
        before = predict(model)[0].pred_instances
        with pytest.raises(ValueError, match=message):
            model.set_vocabulary(vocabulary, templates=['{}'])
        after = predict(model)[0].pred_instances
        torch.testing.assert_close(after.scores, before.scores)
        assert model.roi_head.bbox_head.active_classifier.names == tiny_models.NAMES

    @pytest.mark.parametrize('number', [1, 5000])
    def test_few_and_many_names(self, number: int) -> None:
        model = detector(text_encoder=tiny_models.text_encoder())
        model.set_vocabulary([f'thing {i}' for i in range(number)], templates=['{}'])
        head = model.roi_head.bbox_head
        assert head.num_classes == number
        last = model.text_encoder([f'thing {number - 1}'])
        torch.testing.assert_close(head.active_classifier.embeddings[-1:], last)
        for sample in predict(model):
            found = sample.pred_instances
            assert len(found) > 0 and int(found.labels.max()) < number

    def test_training_goes_on_with_its_own_names(self) -> None:
        model = detector()
        model.set_vocabulary(tiny_models.vocabulary(('only one',)))
        predict(model)
        model.train()
        losses = model.loss(
            tiny_models.images(*SIZES), tiny_models.samples(*SIZES, proposals=BOXES)
        )
        assert losses['loss_cls'].isfinite() and model.roi_head.bbox_head.num_classes == 3


def test_a_training_step_teaches() -> None:
    """Losses fall, through every trained part, and gradients reach layer2 to the regressor."""
    torch.manual_seed(0)
    model = detector(bbox_head=dict(temperature=0.1)).train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 1e-3)
    history = []
    for _ in range(4):
        losses = model.loss(
            tiny_models.images(*SIZES), tiny_models.samples(*SIZES, proposals=BOXES)
        )
        total = losses['loss_cls'] + losses['loss_bbox']
        history.append(float(total.detach()))
        optimizer.zero_grad()
        total.backward()
        if len(history) == 1:
            for name, parameter in model.named_parameters():
                assert (parameter.grad is not None) == parameter.requires_grad, name
        optimizer.step()
    assert history[-1] < 0.9 * history[0]


def test_through_the_data_preprocessor_and_forward_modes() -> None:
    """As a runner calls it; the image arrives as uint8 BGR."""
    model = detector(data_preprocessor=PREPROCESSOR)
    pixels = torch.randint(0, 256, (3, *SIZES[0]), generator=torch.Generator().manual_seed(0))
    (sample,) = tiny_models.samples(SIZES[0], proposals=BOXES[:1])
    data = dict(inputs=[pixels.to(torch.uint8)], data_samples=[sample])
    (result,) = model.test_step(copy.deepcopy(data))
    assert isinstance(result, DetDataSample)
    mean, std = (torch.tensor(PREPROCESSOR[k]).view(3, 1, 1) for k in ('mean', 'std'))
    batch = ((pixels.flip(0).float() - mean) / std)[None]
    with torch.no_grad():
        (expected,) = model.predict(batch, tiny_models.samples(SIZES[0], proposals=BOXES[:1]))
        logits, deltas = model(batch, [sample], mode='tensor')
    torch.testing.assert_close(result.pred_instances.scores, expected.pred_instances.scores)
    assert logits.shape == (2, 4) and deltas.shape == (2, 4)


def test_no_proposals_and_no_localizer() -> None:
    with pytest.raises(ValueError, match='model has no localizer'):
        predict(detector(), None)


def test_the_localizers_proposals_are_kept_if_wanted() -> None:
    settings = dict(localizer=tiny_models.localizer(), data_preprocessor=PREPROCESSOR)
    model = detector(**settings)
    assert not any('proposals' in sample for sample in predict(model, None))
    proposed = model.localizer(
        tiny_models.images(*SIZES), [sample.metainfo for sample in tiny_models.samples(*SIZES)]
    )
    model.test_cfg.keep_proposals = True
    for sample, own in zip(predict(model, None), proposed, strict=True):
        assert len(own) > 3 and torch.equal(sample.proposals.bboxes, own.bboxes)
        assert torch.equal(sample.proposals.objectness_logits, own.objectness_logits)
