# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Box head: cosine logits, vocabularies, losses as the paper normalizes them, detections."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from torch import Tensor

from helpers import tiny_models
from regionclip_mmdet.models.roi_heads import TextEmbeddingBBoxHead

TEST_NAMES = ('bird', 'cat')
RCNN = dict(score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)


def head(**settings: object) -> TextEmbeddingBBoxHead:
    config = dict(type='TextEmbeddingBBoxHead', embed_dim=32, vocabulary=tiny_models.vocabulary())
    return MODELS.build({**config, **settings})


def embeddings(rows: int = 5) -> Tensor:
    return torch.randn(rows, 32, generator=torch.Generator().manual_seed(3))


class TestForward:
    def test_cosine_over_temperature_and_background_zero(self) -> None:
        model, x = head(temperature=0.05), embeddings()
        logits, deltas = model(x)
        assert logits.shape == (5, 4) and deltas.shape == (5, 4)
        names = tiny_models.vocabulary().matrix
        for i in range(5):
            cosines = F.cosine_similarity(x[i][None], names)
            torch.testing.assert_close(logits[i, :3], cosines / 0.05)
        assert (logits[:, 3] == 0).all()

    def test_boxes_are_regressed_from_the_raw_embedding(self) -> None:
        model, x = head(), embeddings()
        logits, deltas = model(x)
        torch.testing.assert_close(deltas, x @ model.fc_reg.weight.t() + model.fc_reg.bias)
        twice_logits, twice = model(2 * x)
        torch.testing.assert_close(twice_logits, logits)
        torch.testing.assert_close(twice - model.fc_reg.bias, 2 * (deltas - model.fc_reg.bias))

    def test_float32_under_autocast(self) -> None:
        model, x = head(), embeddings().bfloat16()
        with torch.autocast('cpu', torch.bfloat16):
            logits, deltas = model(x)
        assert logits.dtype == deltas.dtype == torch.float32
        expected = model(x.float())
        torch.testing.assert_close(logits, expected[0], rtol=0, atol=1e-4)
        torch.testing.assert_close(deltas, expected[1], rtol=1e-6, atol=1e-6)

    def test_without_regressor(self) -> None:
        model = head(with_reg=False)
        model.init_weights()
        assert model(embeddings())[1] is None
        assert not list(model.parameters()) and not model.with_reg

    def test_regressor_starts_small(self) -> None:
        model = head()
        model.init_weights()
        assert 0 < float(model.fc_reg.weight.detach().std()) < 0.002
        assert (model.fc_reg.bias == 0).all()


class TestVocabulary:
    def test_other_names_for_testing(self) -> None:
        model = head(test_vocabulary=tiny_models.vocabulary(TEST_NAMES, seed=5))
        assert model.train()(embeddings())[0].shape == (5, 4) and model.num_classes == 3
        model.eval()
        assert model.num_classes == 2  # before any forward
        logits = model(embeddings())[0]
        assert logits.shape == (5, 3)
        names = tiny_models.vocabulary(TEST_NAMES, seed=5).matrix
        expected = F.normalize(embeddings()) @ F.normalize(names).t() / 0.01
        torch.testing.assert_close(logits[:, :2], expected)

    def test_training_names_serve_for_testing_too(self) -> None:
        model = head()
        assert model.eval().active_classifier.names == tiny_models.NAMES
        assert model.num_classes == 3

    def test_set_for_testing_leaves_training_alone(self) -> None:
        model = head()
        model.eval()
        model.set_vocabulary(tiny_models.vocabulary(TEST_NAMES))
        assert model.num_classes == 2 and model.active_classifier.names == TEST_NAMES
        model.set_vocabulary(tiny_models.vocabulary(('x',)))
        assert model(embeddings())[0].shape == (5, 2)
        model.train()
        assert model.num_classes == 3 and model.active_classifier.names == tiny_models.NAMES

    def test_set_for_training_serves_testing(self) -> None:
        model = head(vocabulary=None)
        model.train()
        model.set_vocabulary(tiny_models.vocabulary(TEST_NAMES))
        assert model.num_classes == 2 and model.eval().num_classes == 2

    def test_without_any_forward_is_refused(self) -> None:
        model = head(vocabulary=None)
        assert model.num_classes == 0
        with pytest.raises(RuntimeError, match='no vocabulary'):
            model(embeddings())

    @pytest.mark.parametrize('keep_vocabulary', [True, False])
    def test_a_checkpoints_names_serve_where_none_are_given(self, keep_vocabulary: bool) -> None:
        trained = head(test_vocabulary=tiny_models.vocabulary(TEST_NAMES)).state_dict()
        model = head(vocabulary=tiny_models.vocabulary(('x', 'y')) if keep_vocabulary else None)
        model.load_state_dict(trained)
        names = ('x', 'y') if keep_vocabulary else tiny_models.NAMES
        assert model.train().active_classifier.names == names
        # names given for training outrank testing names that only the checkpoint brought
        assert model.eval().active_classifier.names == (names if keep_vocabulary else TEST_NAMES)

    def test_given_testing_names_win(self) -> None:
        trained = head(test_vocabulary=tiny_models.vocabulary(TEST_NAMES)).state_dict()
        model = head(vocabulary=None, test_vocabulary=tiny_models.vocabulary(('z',)))
        model.load_state_dict(trained)
        assert model.classifier.names == tiny_models.NAMES
        assert model.eval().active_classifier.names == ('z',)

    def test_round_trip_keeps_both(self) -> None:
        trained = head(test_vocabulary=tiny_models.vocabulary(TEST_NAMES, seed=9))
        model = head(vocabulary=None)
        model.load_state_dict(trained.state_dict())
        again = head(vocabulary=None)
        again.load_state_dict(model.state_dict())
        expected = trained.eval()(embeddings())[0]
        torch.testing.assert_close(again.eval()(embeddings())[0], expected)


def test_the_number_of_classes_of_an_inherited_config_is_checked() -> None:
    assert head(num_classes=3).num_classes == 3
    with pytest.raises(ValueError, match='num_classes is 80, but its vocabulary has 3 names'):
        head(num_classes=80)
    other = dict(vocabulary=None, test_vocabulary=tiny_models.vocabulary(TEST_NAMES))
    with pytest.raises(ValueError, match='num_classes is 80, but its test_vocabulary has 2 names'):
        head(num_classes=80, **other)
    # the number of a checkpoint's names is not known yet
    assert head(num_classes=80, vocabulary=None).num_classes == 0


class TestLoss:
    def test_classes_and_boxes_are_averaged_over_all_regions(self) -> None:
        model = head(temperature=0.2)
        rois = torch.tensor([[0.0, 0, 0, 20, 20]] * 4)
        labels = torch.tensor([2, 3, 0, 3])  # 3 is background
        logits, deltas = model(embeddings(4))
        targets = torch.tensor([[1.0, 2, 3, 4], [9, 9, 9, 9], [0.5, 0, 0, 0], [9, 9, 9, 9]])
        weights = torch.tensor([1.0, 0, 1, 0])[:, None].expand(4, 4)
        losses = model.loss(logits, deltas, rois, labels, torch.ones(4), targets, weights)
        expected = (deltas[[0, 2]] - targets[[0, 2]]).abs().sum() / 4
        torch.testing.assert_close(losses['loss_bbox'], expected)
        log_p = logits.log_softmax(1)[torch.arange(4), labels]
        scaled = -log_p * (1 - log_p.exp()).sqrt() * torch.tensor([1, 0.2, 1, 0.2])
        torch.testing.assert_close(losses['loss_cls'], scaled.sum() / 4)

    def test_delta_weights(self) -> None:
        model = head()
        boxes = torch.tensor([[0.0, 0, 10, 20]])
        moved = torch.tensor([[1.0, 2, 21, 22]])
        # 10 dx / w, 10 dy / h, 5 log(w' / w), 5 log(h' / h)
        expected = [10 * 6 / 10, 10 * 2 / 20, 5 * torch.tensor(2.0).log().item(), 0]
        assert model.bbox_coder.encode(boxes, moved)[0].tolist() == pytest.approx(expected)


class TestPredict:
    META = dict(img_shape=(50, 80), scale_factor=(2.0, 4.0))
    ROIS = torch.tensor([[0.0, 10, 10, 30, 30], [0, 40, 20, 100, 70], [0, 2, 2, 8, 8]])

    def predict(self, model: TextEmbeddingBBoxHead, logits: Tensor, deltas: Tensor | None, **kw):
        rcnn = ConfigDict(RCNN, **kw.pop('rcnn', {}))
        return model._predict_by_feat_single(
            self.ROIS, logits, deltas, self.META, rcnn_test_cfg=rcnn, **kw
        )

    LOGITS = torch.tensor([[8.0, 0, 0, 0], [0, 0, 9.0, 0], [0, 7.0, 0, 0]])

    def top(self, result: object) -> list[tuple[int, list[float]]]:
        found = result[result.scores > 0.9]
        return list(zip(found.labels.tolist(), found.bboxes.tolist(), strict=True))

    def test_proposals_are_clipped_to_the_image(self) -> None:
        result = self.predict(head(with_reg=False), self.LOGITS, None)
        assert self.top(result) == [
            (2, [40, 20, 80, 50]),
            (0, [10, 10, 30, 30]),
            (1, [2, 2, 8, 8]),
        ]
        expected = self.LOGITS.softmax(1)[:, :3]
        assert result.scores.tolist() == pytest.approx(
            expected[result.region_inds, result.labels].tolist()
        )

    def test_rescaling_divides_each_axis(self) -> None:
        result = self.predict(head(with_reg=False), self.LOGITS, None, rescale=True)
        assert self.top(result)[0] == (2, [20, 5, 40, 12.5])

    def test_boxes_are_decoded(self) -> None:
        deltas = torch.tensor([[5.0, -2.5, 0, 0], [0, 0, 0, 0], [0, 0, 5, 5]])
        result = self.predict(head(), self.LOGITS, deltas)
        assert self.top(result)[1] == (0, [20, 5, 40, 25])
        grown = 3 * torch.e  # half of 6 times e, clipped at the left and top
        assert self.top(result)[2][1] == pytest.approx([0, 0, 5 + grown, 5 + grown], rel=1e-5)

    @pytest.mark.parametrize('rescale', [False, True])
    def test_boxes_regressed_out_of_the_image_are_no_detections(self, rescale: bool) -> None:
        deltas = torch.zeros(3, 4)
        deltas[0, 0] = 100  # 10 widths to the right
        result = self.predict(head(), self.LOGITS, deltas, rescale=rescale)
        assert set(result.region_inds.tolist()) == {1, 2}
        assert result.bboxes.shape == (6, 4)

    def test_objectness_is_fused(self) -> None:
        objectness = torch.tensor([4.0, -1.0, 0.25])
        model = head(with_reg=False)
        result = self.predict(
            model, self.LOGITS, None, objectness=objectness, rcnn=dict(objectness='logit')
        )
        assert set(result.region_inds.tolist()) == {0, 2}  # negative logits are dropped
        p = float(self.LOGITS[0].softmax(0)[0])
        assert float(result.scores[0]) == pytest.approx((p * 4) ** 0.5)
        assert float(result.scores[0]) > 1
        result = self.predict(
            model, self.LOGITS, None, objectness=objectness, rcnn=dict(objectness='sigmoid')
        )
        assert set(result.region_inds.tolist()) == {0, 1, 2}
        plain = self.predict(model, self.LOGITS, None, objectness=objectness)
        assert float(plain.scores[0]) == pytest.approx(float(self.LOGITS[1].softmax(0)[2]))

    def test_fusing_needs_objectness(self) -> None:
        with pytest.raises(ValueError, match="objectness='none' .e.g. ground-truth boxes"):
            self.predict(head(), self.LOGITS, None, rcnn=dict(objectness='logit'))

    def test_no_region(self) -> None:
        empty = torch.zeros(0, 5)
        (result,) = head().predict_by_feat(
            [empty],
            [torch.zeros(0, 4)],
            [torch.zeros(0, 4)],
            [self.META],
            rcnn_test_cfg=ConfigDict(RCNN),
            rescale=True,
        )
        assert result.bboxes.shape == (0, 4) and result.labels.dtype == torch.int64
