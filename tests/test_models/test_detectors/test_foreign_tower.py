# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A tower that is none of ours (``foreign_tower``) pretrains, is transferred and detects."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi
from mmdet.structures.mask import PolygonMasks
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from helpers import foreign_tower, tiny_inference, tiny_models
from regionclip_mmdet.apis import RegionCLIPInferencer, encode_images, query_image
from regionclip_mmdet.apis.image_inputs import ImageInputs
from regionclip_mmdet.export import export_detector
from regionclip_mmdet.features import RegionMaker, RegionSettings
from regionclip_mmdet.models.backbones import CLIPResNet
from regionclip_mmdet.models.detectors.teachers import SharedFrozenSteps
from regionclip_mmdet.pretraining import ProposalMaker

SIZES = ((64, 80), (96, 64))
CAPTIONS = ('a cat on a mat', 'two red balls')
BOXES = [
    torch.tensor([[4.0, 4.0, 40.0, 36.0], [30.0, 20.0, 70.0, 60.0], [2.0, 30.0, 30.0, 62.0]]),
    torch.tensor([[0.0, 0.0, 64.0, 80.0], [20.0, 10.0, 60.0, 50.0]]),
]
CLIP = dict(backbone=tiny_models.backbone(), region_encoder=tiny_models.encoder())
FOREIGN = foreign_tower.tower()


def samples(with_masks: bool = False) -> list:
    found = tiny_models.samples(*SIZES, captions=CAPTIONS, proposals=BOXES)
    for sample in found:
        sample.proposals.objectness_logits = torch.linspace(2, -0.5, len(sample.proposals))
        if with_masks:
            boxes = sample.gt_instances.bboxes.numpy()
            polygons = [[box[[0, 1, 2, 1, 2, 3, 0, 3]]] for box in boxes]
            sample.gt_instances.masks = PolygonMasks(polygons, *sample.img_shape)
    return found


def built(config: dict, seed: int = 0) -> nn.Module:
    model = MODELS.build(config)
    model.init_weights()
    model.ensure_weights(learning=True)
    return foreign_tower.spread(model, seed)


def detector(**settings: object) -> nn.Module:
    model = MODELS.build(foreign_tower.detector_config(**settings))
    model.init_weights()
    for part in model.weight_sources():
        if (module := dict(model.named_modules()).get(part)) is not None:
            module.weights_source = 'this test'
    return foreign_tower.spread(model)


@pytest.mark.parametrize(
    ('student', 'teacher', 'scale'),
    [(FOREIGN, FOREIGN, 1.0), (FOREIGN, CLIP, 1.0), (CLIP, FOREIGN, 1.0), (FOREIGN, FOREIGN, 1.5)],
    ids=['both', 'student', 'teacher', 'both, enlarged'],
)
def test_a_pretraining_step(student: dict, teacher: dict, scale: float) -> None:
    """The losses are those of embeddings that the towers make when they are called by hand."""
    model = built(foreign_tower.regionclip_config(student, teacher, scale=scale)).train()
    batch, before = tiny_models.images(*SIZES), copy.deepcopy(model.state_dict())
    frozen = copy.deepcopy(model.teacher.state_dict())
    rois = bbox2roi(BOXES)
    with torch.no_grad():
        seen, boxes = batch, rois
        if scale != 1:
            size = [round(side * scale) for side in batch.shape[-2:]]
            seen = nn.functional.interpolate(batch, size, mode='bilinear', align_corners=False)
            boxes = torch.cat([rois[:, :1], rois[:, 1:] * scale], 1)
        embeddings = model.teacher.region_encoder(model.teacher.backbone(seen), boxes)
    expected = model.roi_head.loss(
        model.backbone(batch),
        rois,
        embeddings,
        model.text_encoder(CAPTIONS),
        [sample.metainfo for sample in samples()],
        batch.shape[-2:],
    )
    losses = model.loss(batch, samples())
    for name in ('loss_region_distill', 'loss_region_contrast', 'loss_image_text'):
        torch.testing.assert_close(losses[name], expected[name], rtol=1e-4, atol=1e-5)
    learned = [p for p in model.parameters() if p.requires_grad]
    wrapper = OptimWrapper(torch.optim.SGD(learned, lr=1e-3))
    model.train_step(dict(inputs=batch, data_samples=samples()), wrapper)
    after = model.state_dict()
    parts = [k for k in before if k.startswith('roi_head.region_encoder.') and k.endswith('weight')]
    moved = [key for key in parts if not torch.equal(after[key], before[key])]
    assert len(moved) > 3
    for key, value in model.teacher.state_dict().items():
        assert torch.equal(value, frozen[key])


def test_no_steps_are_shared_with_or_between_others() -> None:
    """Nor with a CLIPResNet that does more than its steps."""

    class Shifted(CLIPResNet):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return tuple(maps + 1 for maps in super().forward(x))

    clip = MODELS.build(tiny_models.backbone())
    shifted = Shifted(arch=tiny_models.ARCH)
    shifted.load_state_dict(clip.state_dict())
    foreign = MODELS.build(FOREIGN['backbone'])
    shared = SharedFrozenSteps()
    assert shared.count(clip, copy.deepcopy(clip)) == 2
    for other in (shifted, foreign):
        assert shared.count(clip, other) == shared.count(other, clip) == 0
        assert shared.count(other, other) == 0
    config = tiny_models.regionclip_config(teacher=dict(CLIP))
    config.backbone = dict(type=Shifted, arch=tiny_models.ARCH, init_cfg=dict(type='RandomWeights'))
    losses = built(config).loss(tiny_models.images(*SIZES), samples())
    assert all(value.isfinite() for value in losses.values())


def test_pseudo_labels_and_proposals_computed_before(tmp_path: Path) -> None:
    model = built(foreign_tower.regionclip_config(FOREIGN, FOREIGN)).eval()
    found = model.predict(tiny_models.images(*SIZES), samples())
    assert all(len(sample.pred_instances) for sample in found)
    with DefaultScope.overwrite_default_scope('mmdet'):
        maker = ProposalMaker(
            tiny_models.localizer(), tiny_inference.PREPROCESSOR, dict(FOREIGN), num=4
        )
    maker.ensure_weights()
    image = torch.randint(0, 256, (3, 64, 80), dtype=torch.uint8)
    (made,) = maker.make([dict(inputs=image, data_samples=samples()[0])])
    assert made.embeddings.shape == (len(made.boxes), 32) and len(made.boxes) > 0


@pytest.mark.parametrize('with_mask', [False, True])
def test_a_transfer_step(with_mask: bool) -> None:
    pretrained = built(foreign_tower.regionclip_config(FOREIGN, FOREIGN), seed=3)
    model = MODELS.build(foreign_tower.detector_config(with_mask=with_mask)).train()
    model.init_weights()
    model.load_state_dict(pretrained.state_dict(), strict=False)
    assert torch.equal(
        model.roi_head.region_encoder.proj.weight, pretrained.roi_head.region_encoder.proj.weight
    )
    losses = model.loss(tiny_models.images(*SIZES), samples(with_mask))
    names = {'loss_cls', 'loss_bbox'} | ({'loss_mask'} if with_mask else set())
    assert {name for name in losses if name.startswith('loss')} == names
    model.parse_losses(losses)[0].backward()
    for part in (model.backbone.stem, model.roi_head.region_encoder.proj):
        assert all(p.grad.isfinite().all() and p.grad.any() for p in part.parameters())
    if with_mask:
        assert losses['loss_mask'] > 0.1
        assert model.roi_head.mask_head.conv_logits.weight.grad.any()


def test_masks_of_the_foreground_alone() -> None:
    """Both ways to the maps, in one pass (ours) and in two (others), give the same."""
    model = detector(with_mask=True).train()
    encoder = model.roi_head.region_encoder
    batch, seen = tiny_models.images(*SIZES), []
    model.roi_head.mask_head.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    torch.manual_seed(0)
    expected = model.loss(batch, samples(True))['loss_mask']

    def in_one_pass(feats: tuple, rois: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        maps = encoder.pool(feats, rois)
        return encoder.embed(maps), maps[keep]

    encoder.embed_and_keep_maps = in_one_pass
    torch.manual_seed(0)
    found = model.loss(batch, samples(True))['loss_mask']
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*seen)
    assert len(seen[0]) > 1 and seen[0].shape[1:] == (64, 2, 2)


def test_mask_heads_that_do_not_fit_are_refused() -> None:
    config = foreign_tower.detector_config(with_mask=True)
    config.roi_head.mask_head.in_channels = 512
    with pytest.raises(ValueError, match='in_channels is 512, but .* have 64 channels'):
        MODELS.build(config)
    config.roi_head.region_encoder.type = 'ConvNeXtRegions'
    with pytest.raises(ValueError, match='ConvNeXtRegions has no region_maps'):
        MODELS.build(config)


@pytest.mark.parametrize('nms', [dict(type='nms', iou_threshold=0.5), dict(type='global_soft_nms')])
def test_detections(nms: dict) -> None:
    """With early exit those of all regions; masks included."""
    rcnn = dict(objectness='sigmoid', nms=nms, max_per_img=2)
    model, found = detector(with_mask=True, rcnn=rcnn).eval(), []
    for early_exit in (False, 1):
        model.roi_head.test_cfg.early_exit = early_exit
        with torch.no_grad():
            results = model.predict(tiny_models.images(*SIZES), samples())
        found.append([sample.pred_instances for sample in results])
    for every, few in zip(*found, strict=True):
        assert len(every) == 2 and every.masks.shape[0] == 2
        for key in ('bboxes', 'scores', 'labels', 'region_inds'):
            torch.testing.assert_close(few[key], every[key], rtol=1e-4, atol=1e-4)
        assert torch.equal(few.masks, every.masks)


@pytest.fixture(scope='module')
def loaded() -> nn.Module:
    """A detector with its localizer and config, as an application has it."""
    cfg = tiny_inference.config(bbox_head=dict(with_reg=False, temperature=0.1, vocabulary=None))
    cfg.model.backbone = FOREIGN['backbone']
    cfg.model.roi_head.region_encoder = FOREIGN['region_encoder']
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model).eval()
    model.init_weights()
    for part in (model.backbone, model.roi_head.region_encoder):
        foreign_tower.spread(part)
    model.cfg = cfg
    return model


def test_the_inferencer(loaded: nn.Module, tmp_path: Path) -> None:
    """With names, a text encoder of a file must say its sizes: no CLIP tower is named."""
    vocabulary = tiny_models.vocabulary(('tram', 'bridge'))
    clip = tiny_models.save_clip(tmp_path / 'clip.pth')
    files = tmp_path / 'config.py', tmp_path / 'weights.pth'
    loaded.cfg.dump(files[0])
    torch.save(dict(state_dict=loaded.state_dict()), files[1])

    def inferencer(text_encoder: object) -> RegionCLIPInferencer:
        return RegionCLIPInferencer(
            *map(str, files), text_encoder=text_encoder, device='cpu', show_progress=False
        )

    image = tiny_inference.image()
    ready = inferencer(tiny_models.text_encoder(clip))
    (found,) = ready(image, texts=vocabulary)['predictions']
    (encoded,) = encode_images(loaded, image)
    expected = query_image(loaded, encoded, vocabulary)
    assert len(expected) > 0
    assert found['scores'] == pytest.approx(expected.scores.tolist(), abs=1e-5)
    assert found['label_names'] == [vocabulary.names[label] for label in expected.labels]
    (found,) = ready(image, texts=['owl', 'fox'])['predictions']
    assert set(found['label_names']) <= {'owl', 'fox'} and found['scores']
    with pytest.raises(ValueError, match='the sizes of the text tower are not known'):
        inferencer(str(clip))(image, texts=['owl', 'fox'])


def test_exporting_is_refused(loaded: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='ConvNeXtMap and ConvNeXtRegions cannot be exported'):
        export_detector(loaded, tmp_path, formats=('torch',))
    with pytest.raises(ValueError, match='made of float32 weights'):
        export_detector(tiny_inference.detector().half(), tmp_path, formats=('torch',))
    assert not list(tmp_path.iterdir())


def test_region_features(loaded: nn.Module, tmp_path: Path) -> None:
    maker = RegionMaker(loaded, RegionSettings(source='localizer'))
    sample = ImageInputs(loaded.cfg)(str(tiny_inference.save_image(tmp_path / 'a.png')))
    (regions,) = maker.make([sample])
    assert regions.embeddings.shape == (len(regions.boxes), 32) and len(regions.boxes) > 0
