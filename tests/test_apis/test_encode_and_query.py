# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Encoding once and asking later gives the detections of ``predict``."""

from __future__ import annotations

import copy
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from PIL import Image

from helpers import tiny_inference, tiny_models
from regionclip_mmdet.apis import EncodedImage, encode_images, query_image
from regionclip_mmdet.datasets.transforms import BrokenImageError
from regionclip_mmdet.models.detectors import OpenVocabularyRCNN
from regionclip_mmdet.models.text import TextEmbeddings

NAMES = ('tram', 'bridge', 'river', 'a lamp', 'tree')
NMS = dict(
    hard=dict(type='nms', iou_threshold=0.5),
    soft=dict(type='global_soft_nms', method='gaussian', min_score=0.001),
    linear=dict(type='global_soft_nms', method='linear', iou_threshold=0.3),
    mmcv=dict(type='nms', iou_threshold=0.5, class_agnostic=True),
)


def detector(**rcnn: object) -> OpenVocabularyRCNN:
    settings = dict(with_reg=rcnn.pop('with_reg', True), temperature=0.1)
    with_mask = rcnn.pop('with_mask', False)
    model = tiny_inference.detector(bbox_head=settings, rcnn=rcnn, with_mask=with_mask)
    # both signs, so that the fusions differ in what they can detect
    (encoded,) = encode_images(model, tiny_inference.image(), all_regions=True)
    model.localizer.rpn_head.rpn_cls.bias.data -= encoded.objectness_logits.median()
    return model


def predict(
    model: OpenVocabularyRCNN, images: list, vocabulary: TextEmbeddings
) -> list[InstanceData]:
    """What mmdet's own entry point gives after ``set_vocabulary``."""
    model = copy.deepcopy(model)
    model.set_vocabulary(vocabulary)
    with DefaultScope.overwrite_default_scope('mmdet'):
        return [inference_detector(model, image).pred_instances for image in images]


def assert_same(found: InstanceData, expected: InstanceData, encoded: EncodedImage) -> None:
    assert len(found) == len(expected)
    assert torch.equal(found.labels, expected.labels)
    assert torch.equal(encoded.proposal_inds[found.region_inds], expected.region_inds)
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.bboxes, expected.bboxes, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize('nms', NMS)
@pytest.mark.parametrize('objectness', ['none', 'logit', 'sigmoid'])
@pytest.mark.parametrize('with_reg', [True, False])
@pytest.mark.parametrize('early_exit', [4, False])
def test_detections_are_those_of_predict(
    nms: str, objectness: str, with_reg: bool, early_exit: int | bool
) -> None:
    model = detector(
        nms=NMS[nms],
        objectness=objectness,
        with_reg=with_reg,
        early_exit=early_exit,
        max_per_img=7,
        score_thr=0.05,
    )
    images = [tiny_inference.image(60, 80, seed=3), tiny_inference.image(90, 70, seed=4)]
    encoded = encode_images(model, images)
    lengths = [len(one) for one in encoded]
    assert (sum(lengths) < 20) == (objectness == 'logit')
    for seed in (0, 1):
        vocabulary = tiny_models.vocabulary(NAMES, seed)
        for one, expected in zip(encoded, predict(model, images, vocabulary), strict=True):
            assert len(expected) >= 2
            assert_same(query_image(model, one, vocabulary), expected, one)


def test_bit_for_bit_where_predict_encodes_all_regions_at_once() -> None:
    model = detector(objectness='sigmoid', early_exit=False)
    image = tiny_inference.image(60, 80)
    (encoded,) = encode_images(model, image)
    vocabulary = tiny_models.vocabulary(NAMES, 5)
    found = query_image(model, encoded, vocabulary)
    (expected,) = predict(model, [image], vocabulary)
    for key in ('bboxes', 'scores', 'labels', 'region_inds'):
        assert torch.equal(found[key], expected[key]), key


def test_scoring_a_few_regions_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = detector(objectness='sigmoid', report_scores='class')
    (encoded,) = encode_images(model, tiny_inference.image())
    vocabulary = tiny_models.vocabulary(NAMES)
    whole = query_image(model, encoded, vocabulary)
    monkeypatch.setattr('regionclip_mmdet.models.recognition.LOGITS_AT_A_TIME', 13)  # two regions
    parts = query_image(model, encoded, vocabulary)
    assert len(whole) > 3
    for key in ('bboxes', 'scores', 'labels', 'region_inds'):
        torch.testing.assert_close(parts[key], whole[key], rtol=1e-5, atol=1e-6)


def test_class_probabilities_can_be_reported() -> None:
    vocabulary = tiny_models.vocabulary(NAMES)
    image = tiny_inference.image()
    model = detector(objectness='sigmoid', report_scores='class')
    (encoded,) = encode_images(model, image)
    (expected,) = predict(model, [image], vocabulary)
    assert_same(query_image(model, encoded, vocabulary), expected, encoded)
    fused = query_image(model, encoded, vocabulary, report_scores='fused')
    assert not torch.allclose(fused.scores, expected.scores)


def test_masks_are_those_of_predict() -> None:
    model = detector(with_mask=True, max_per_img=5)
    image = tiny_inference.image(60, 80)
    (encoded,) = encode_images(model, image)
    vocabulary = tiny_models.vocabulary(NAMES, 2)
    (expected,) = predict(model, [image], vocabulary)
    found = query_image(model, encoded, vocabulary)
    assert_same(found, expected, encoded)
    assert found.masks.shape == (5, 60, 80)
    assert torch.equal(found.masks, expected.masks)
    without = query_image(model, encoded, vocabulary, masks=False)
    assert_same(without, expected, encoded)
    assert 'masks' not in without


class TestOverrides:
    def test_they_hold_for_one_question(self) -> None:
        model = detector(score_thr=0.0, max_per_img=20)
        (encoded,) = encode_images(model, tiny_inference.image())
        vocabulary = tiny_models.vocabulary(NAMES)
        many = query_image(model, encoded, vocabulary)
        few = query_image(model, encoded, vocabulary, max_per_img=3)
        assert len(many) > 3 and len(few) == 3
        assert torch.equal(few.scores, many.scores[:3])
        strict = query_image(model, encoded, vocabulary, score_thr=float(many.scores[4]))
        assert len(strict) == 4
        assert len(query_image(model, encoded, vocabulary)) == len(many)

    def test_unknown_ones_are_refused(self) -> None:
        model = detector()
        (encoded,) = encode_images(model, tiny_inference.image())
        with pytest.raises(TypeError, match='no threshold; only score_thr'):
            query_image(model, encoded, tiny_models.vocabulary(), threshold=0.5)

    def test_regions_left_out_are_missed(self) -> None:
        model = detector(objectness='logit')
        image = tiny_inference.image()
        (encoded,) = encode_images(model, image)
        assert 0 < len(encoded) < encoded.num_proposals == 10, encoded
        assert (encoded.objectness_logits >= 0).all()
        with pytest.raises(ValueError, match='all_regions=True'):
            query_image(model, encoded, tiny_models.vocabulary(), objectness='none')
        (whole,) = encode_images(model, image, all_regions=True)
        assert len(whole) == 10 and torch.equal(whole.proposal_inds, torch.arange(10))
        torch.testing.assert_close(whole.embeddings[encoded.proposal_inds], encoded.embeddings)
        query_image(model, whole, tiny_models.vocabulary(), objectness='none')


def test_asking_changes_no_tensor_of_the_model() -> None:
    model = detector(objectness='sigmoid')
    before = {key: value.clone() for key, value in model.state_dict().items()}
    (encoded,) = encode_images(model, tiny_inference.image())
    query_image(model, encoded, tiny_models.vocabulary(NAMES, 3))
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert model.roi_head.bbox_head.active_classifier.names == tiny_models.NAMES


def test_several_threads_ask_with_vocabularies_of_their_own() -> None:
    model = detector(objectness='sigmoid')
    images = [tiny_inference.image(seed=seed) for seed in range(4)]
    vocabularies = [
        tiny_models.vocabulary([f'{i} {j}' for j in range(3 + 7 * i)], i) for i in range(4)
    ]
    expected = [
        query_image(model, encode_images(model, image)[0], vocabulary)
        for image, vocabulary in zip(images, vocabularies, strict=True)
    ]
    found: dict[int, list[InstanceData]] = {i: [] for i in range(4)}

    def ask(i: int) -> None:
        for _ in range(5):
            (encoded,) = encode_images(model, images[i])
            found[i].append(query_image(model, encoded, vocabularies[i]))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, several in found.items():
        assert len(several) == 5
        for one in several:
            assert torch.equal(one.labels, expected[i].labels)
            torch.testing.assert_close(one.scores, expected[i].scores)


class TestBoxes:
    def test_of_the_localizer_in_original_pixels(self) -> None:
        model = detector(with_reg=False)
        (encoded,) = encode_images(model, tiny_inference.image(60, 80))
        assert len(encoded) == 10 == encoded.num_proposals
        assert encoded.embeddings.shape == (10, 32)
        assert encoded.img_meta['ori_shape'] == (60, 80)
        assert encoded.img_meta['img_shape'] == (90, 120)
        torch.testing.assert_close(encoded.boxes * 1.5, encoded.input_boxes)
        found = query_image(model, encoded, tiny_models.vocabulary())
        torch.testing.assert_close(found.bboxes, encoded.boxes[found.region_inds])

    def test_given_ones_are_named_in_place(self) -> None:
        model = detector(with_reg=False, nms=dict(type='nms', iou_threshold=1.0))
        boxes = [[10, 10, 40, 50], [0, 0, 80, 60], [5.5, 20, 30, 31]]
        (encoded,) = encode_images(model, [tiny_inference.image(60, 80)], boxes=[boxes])
        assert encoded.objectness_logits is None and encoded.num_proposals == 3
        assert encoded.boxes.tolist() == boxes
        vocabulary = tiny_models.vocabulary()
        found = query_image(model, encoded, vocabulary)
        assert torch.equal(found.bboxes, encoded.boxes[found.region_inds])
        assert set(found.region_inds.tolist()) == {0, 1, 2}
        cosines = torch.nn.functional.cosine_similarity(
            encoded.embeddings[:, None], vocabulary.matrix[None], dim=2
        )
        probs = torch.nn.functional.pad(cosines / 0.1, (0, 1)).softmax(1)
        torch.testing.assert_close(found.scores, probs[found.region_inds, found.labels])

    def test_embeddings_are_those_of_the_same_boxes_by_the_localizer(self) -> None:
        model = detector()
        image = tiny_inference.image(60, 80)
        (own,) = encode_images(model, image)
        (given,) = encode_images(model, [image], boxes=[own.boxes])
        torch.testing.assert_close(given.embeddings, own.embeddings, rtol=1e-3, atol=1e-4)

    def test_none_in_an_image(self) -> None:
        model = detector()
        image = tiny_inference.image()
        empty, one = encode_images(model, [image, image], boxes=[[], [[0, 0, 9, 9]]], batch_size=2)
        assert len(empty) == 0 and len(one) == 1
        assert len(query_image(model, empty, tiny_models.vocabulary())) == 0

    @pytest.mark.parametrize(
        ('boxes', 'message'),
        [
            ([[[0, 0, 9]]], r'shape \(1, 3\)'),
            ([[[0, 0, 9, 9], [5, 5, 2, 9]]], r'box 1 of an array .* x1 <= x2'),
            ([[[0, 0, float('nan'), 9]]], 'box 0 of an array'),
            ([[], []], '1 images but boxes for 2'),
        ],
    )
    def test_wrong_ones_are_refused(self, boxes: list, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            encode_images(detector(), [tiny_inference.image()], boxes=boxes)

    def test_they_are_needed_without_a_localizer(self) -> None:
        model = tiny_inference.detector(localizer=None)
        with pytest.raises(ValueError, match='no localizer'):
            encode_images(model, tiny_inference.image())

    def test_fused_scores_need_objectness(self) -> None:
        model = detector(objectness='sigmoid')
        (encoded,) = encode_images(model, [tiny_inference.image()], boxes=[[[0, 0, 9, 9]]])
        with pytest.raises(ValueError, match="objectness='none'"):
            query_image(model, encoded, tiny_models.vocabulary())
        assert len(query_image(model, encoded, tiny_models.vocabulary(), objectness='none')) > 0


class TestImages:
    def test_files_arrays_and_pillow_images_are_the_same(self, tmp_path: Path) -> None:
        model = detector()
        array = tiny_inference.image()
        path = tiny_inference.save_image(tmp_path / 'a.png')
        with Image.open(path) as pillow:
            images = [str(path), path, array, pillow]
            encoded = encode_images(model, images, batch_size=3)
        assert [one.img_meta['img_path'] for one in encoded] == [str(path), str(path), None, None]
        for one in encoded[1:]:
            torch.testing.assert_close(one.embeddings, encoded[0].embeddings, rtol=0, atol=1e-4)
            # not to the last bit: the last image is a batch of its own
            torch.testing.assert_close(one.boxes, encoded[0].boxes, rtol=0, atol=1e-3)

    def test_other_arrays(self) -> None:
        model = detector()
        gray = tiny_inference.image()[..., 0]
        alpha = np.dstack([tiny_inference.image(), gray])
        as_gray, one_channel, with_alpha, bgr = encode_images(
            model, [gray, gray[..., None], alpha, tiny_inference.image()]
        )
        assert torch.equal(as_gray.embeddings, one_channel.embeddings)
        assert torch.equal(with_alpha.embeddings, bgr.embeddings)
        for wrong, message in (
            (tiny_inference.image() / 255.0, 'float64.*uint8'),
            (tiny_inference.image().transpose(2, 0, 1), 'Channels come last'),
        ):
            with pytest.raises(ValueError, match=message):
                encode_images(model, wrong)
        with pytest.raises(TypeError, match='not a Tensor'):
            encode_images(model, [torch.zeros(3, 9, 9)])

    @pytest.mark.parametrize('backend', ['pillow', 'cv2'])
    def test_broken_files_are_named(self, tmp_path: Path, backend: str) -> None:
        model = detector()
        model.cfg.test_dataloader.dataset.pipeline[0]['imdecode_backend'] = backend
        text = tmp_path / 'text.jpg'
        text.write_text('no image')
        with pytest.raises(BrokenImageError, match=r'text\.jpg: .* decoded \(8 bytes\)'):
            encode_images(model, text)
        with pytest.raises(BrokenImageError, match=r'nowhere\.jpg: there is no such image'):
            encode_images(model, tmp_path / 'nowhere.jpg')


def test_length_words_and_device(device: torch.device) -> None:
    model = detector(objectness='sigmoid').to(device)
    (encoded,) = encode_images(model, tiny_inference.image())
    assert len(encoded) == 10
    assert '10 regions of 10 proposals' in repr(encoded)
    moved = encoded.to('cpu')
    assert moved.embeddings.device.type == moved.input_boxes.device.type == 'cpu'
    assert moved.left_out_under is None and moved.img_meta == encoded.img_meta
    found = query_image(model, encoded, tiny_models.vocabulary())
    assert found.scores.device == encoded.embeddings.device


def test_another_width_is_refused() -> None:
    model = detector()
    (encoded,) = encode_images(model, tiny_inference.image())
    with pytest.raises(ValueError, match='16-dimensional embeddings, but .* 32-dimensional'):
        query_image(model, encoded, tiny_models.vocabulary(dim=16))


def test_random_weights_are_refused() -> None:
    model = detector()
    model.backbone.weights_source, model.backbone.init_cfg = None, None
    with pytest.raises(RuntimeError, match='random weights'):
        encode_images(model, tiny_inference.image())


def test_a_config_without_a_pipeline_is_refused() -> None:
    model = detector()
    model.cfg = copy.deepcopy(model.cfg)
    model.cfg.pop('test_dataloader')
    with pytest.raises(ValueError, match='no test_dataloader'):
        encode_images(model, tiny_inference.image())
