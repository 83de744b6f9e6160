# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What the localizer configs train, RPNLocalizer loads; and it proposes the same boxes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from helpers import tiny_models, tiny_recipes
from regionclip_mmdet import config_path, conversion
from regionclip_mmdet.models.localizers import CLIP_MEAN, CLIP_STD

PAIRS = {
    'rpn_r50-caffe-c4_8xb2-1x_coco48': 'rpn_r50_c4',
    'rpn_r50-caffe_fpn_8xb2-180k_lvis866': 'rpn_r50_fpn',
    'rpn_r50-caffe_fpn_lsj_64xb1-737k_lvis866': 'rpn_r50_fpn_lsj',
}


class Fill(Hook):
    """Weights that leave nothing without effect, once the runner has initialized its own."""

    def before_train(self, runner: Runner) -> None:
        state = tiny_models.fill(runner.model).state_dict()
        for key, value in state.items():
            if 'rpn_cls' in key or 'rpn_reg' in key:
                value.mul_(0.01)  # pixels are not normalized: boxes would all be the image
        self.start = {key: value.clone() for key, value in state.items()}


@pytest.mark.parametrize('name', PAIRS)
def test_trained_saved_loaded(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Config, 'pretty_text', property(lambda cfg: str(cfg.to_dict())))
    (tiny_recipes.make_lvis if 'lvis' in name else tiny_recipes.make_coco)()
    cfg = tiny_recipes.load(f'localizers/{name}.py', iterations=1)
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    runner = Runner.from_cfg(cfg)
    filled = Fill()
    runner.register_hook(filled)
    runner.train()
    trained = runner.model.eval()
    moved = [k for k, v in trained.state_dict().items() if not torch.equal(v, filled.start[k])]
    assert any(key.startswith('bbox_head.rpn_') for key in moved)
    # the stem is frozen where the official one is
    assert any(key.startswith('backbone.conv1') for key in moved) == ('lsj' in name)

    own = Config.fromfile(config_path(f'_base_/localizers/{PAIRS[name]}.py'))
    tiny_recipes.shrink_model(own.localizer)
    own.localizer.init_cfg = dict(type='LocalizerPretrained', checkpoint='run/iter_1.pth')
    own.localizer.test_cfg.max_per_img = cfg.model.test_cfg.rpn.max_per_img = 20
    localizer = MODELS.build(own.localizer)
    localizer.init_weights()

    pixels = torch.randint(0, 256, (3, 64, 96), generator=torch.Generator().manual_seed(1)).float()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    meta = dict(img_shape=(64, 96))
    (found,) = localizer(((pixels - mean) / std)[None], [meta])

    trained.bbox_head.test_cfg.max_per_img = 20
    bgr = pixels.flip(0) - torch.tensor([103.530, 116.280, 123.675]).view(3, 1, 1)
    (sample,) = tiny_models.samples((64, 96))
    with torch.no_grad():
        (wanted,) = trained.predict(bgr[None], [sample], rescale=False)
    assert len(found) == len(wanted.pred_instances) > 10
    assert len(found.scores.unique()) > 10
    torch.testing.assert_close(found.bboxes, wanted.pred_instances.bboxes, atol=0.02, rtol=1e-3)
    torch.testing.assert_close(found.scores, wanted.pred_instances.scores, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('name', PAIRS)
def test_a_checkpoint_of_real_size_is_converted(name: str) -> None:
    cfg = Config.fromfile(config_path(f'localizers/{name}.py'))
    own = Config.fromfile(config_path(f'_base_/localizers/{PAIRS[name]}.py'))
    with torch.device('meta'), DefaultScope.overwrite_default_scope('mmdet'):
        trained, localizer = MODELS.build(cfg.model), MODELS.build(own.localizer)
    converted = conversion.convert(dict(state_dict=trained.state_dict()))
    assert set(converted.parts) == {'localizer'}
    wanted = {
        f'localizer.{key}': value.shape
        for key, value in localizer.state_dict().items()
        if not key.endswith('num_batches_tracked')
    }
    assert {key: value.shape for key, value in converted.state_dict.items()} == wanted
