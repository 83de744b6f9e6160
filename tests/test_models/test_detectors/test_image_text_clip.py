# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The trainable CLIP: open_clip's numbers, its loss, its export."""

import math
from pathlib import Path

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.runner.checkpoint import load_state_dict
from open_clip import SimpleTokenizer
from torch.nn import functional as F

from regionclip_mmdet.evaluation import ZeroShotTop1
from regionclip_mmdet.models.backbones import CLIPResNet
from regionclip_mmdet.models.detectors import ImageTextCLIP
from regionclip_mmdet.models.region_encoders import RegionEncoder
from regionclip_mmdet.models.text import CLIPTextEncoder

ARCH = dict(width=8, layers=(1, 1, 1, 1), embed_dim=16, image_size=64)
TEXT = dict(context_length=12, vocab_size=49408, width=32, heads=2, layers=2)
CAPTIONS = ['a red circle', 'a photo of a blue star', 'two green rings']


def _model() -> ImageTextCLIP:
    torch.manual_seed(0)
    return ImageTextCLIP(ARCH, TEXT)


def _samples(captions: list[str] = CAPTIONS) -> list[DetDataSample]:
    return [DetDataSample(metainfo=dict(text=caption)) for caption in captions]


def _images(number: int = 3) -> torch.Tensor:
    return torch.randn(number, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_loss_is_the_symmetric_cross_entropy() -> None:
    model = _model().eval()  # batch norms as they are
    losses = model(_images(), _samples(), mode='loss')
    images = F.normalize(model.clip.visual(_images()), dim=-1)
    tokens = SimpleTokenizer(context_length=12)(CAPTIONS)
    texts = F.normalize(model.clip.encode_text(tokens), dim=-1)
    logits = images @ texts.T / 0.07
    expected = -(logits.log_softmax(0) + logits.log_softmax(1)).diagonal().mean() / 2
    torch.testing.assert_close(losses['loss_image_text'], expected)
    assert losses['logit_scale'].item() == pytest.approx(1 / 0.07)


def test_logits_are_float32_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = _model().eval(), []
    for name in ('encode_images', 'encode_texts'):
        encode = getattr(model, name)
        spy = lambda x, encode=encode: seen.append(encode(x)) or seen[-1]  # noqa: E731
        monkeypatch.setattr(model, name, spy)
    with torch.autocast('cpu', torch.bfloat16):
        loss = model(_images(), _samples(), mode='loss')['loss_image_text']
    assert loss.dtype == torch.float32
    logits = seen[0].float() @ seen[1].float().T / 0.07
    expected = -(logits.log_softmax(0) + logits.log_softmax(1)).diagonal().mean() / 2
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)


def test_both_towers_and_the_scale_learn() -> None:
    model = _model()
    model(_images(), _samples(), mode='loss')['loss_image_text'].backward()
    # open_clip starts residual branches at zero, so their insides see no gradient at first.
    learned = ('visual.conv1.weight', 'visual.layer3.0.bn3.weight', 'visual.attnpool.v_proj.weight')
    learned += ('token_embedding.weight', 'text_projection', 'logit_scale')
    parameters = dict(model.clip.named_parameters())
    for name in learned:
        assert parameters[name].grad.abs().sum() > 0, name


def test_scale_is_clipped_at_100() -> None:
    model = _model()
    with torch.no_grad():
        model.clip.logit_scale.fill_(7.0)
    losses = model(_images(), _samples(), mode='loss')
    assert losses['logit_scale'].item() == pytest.approx(100.0, rel=1e-5)
    assert model.clip.logit_scale.item() == pytest.approx(math.log(100))


def test_predict_gives_unit_embeddings_in_order() -> None:
    model = _model().eval()
    samples = model(_images(), _samples(), mode='predict')
    images = model(_images(), mode='tensor')
    for sample, image in zip(samples, images):
        torch.testing.assert_close(sample.image_embedding, image)
        assert sample.text_embedding.norm().item() == pytest.approx(1, abs=1e-5)


def test_export_fills_every_downstream_part(tmp_path: Path) -> None:
    model = _model().eval()
    torch.save(model.export_state_dict(), tmp_path / 'clip.pth')
    init_cfg = dict(type='CLIPPretrained', checkpoint=str(tmp_path / 'clip.pth'))
    backbone = CLIPResNet(ARCH, init_cfg=init_cfg).eval()
    encoder = RegionEncoder(ARCH, init_cfg=init_cfg).eval()
    text = CLIPTextEncoder(dict(TEXT, embed_dim=16), init_cfg=init_cfg)
    for part in (backbone, encoder, text):
        part.init_weights()
    with torch.no_grad():
        feature = encoder.attnpool(encoder.layer4(backbone(_images())[0]))
        torch.testing.assert_close(
            F.normalize(feature, dim=-1), model.encode_images(_images()), atol=1e-5, rtol=1e-4
        )
        torch.testing.assert_close(
            F.normalize(text(CAPTIONS), dim=-1), model.encode_texts(CAPTIONS), atol=1e-5, rtol=1e-4
        )


def test_export_has_open_clips_keys() -> None:
    model = _model()
    exported = model.export_state_dict()
    load_state_dict(_model().clip, exported, strict=True)
    assert {'visual.conv1.weight', 'text_projection', 'logit_scale'} <= set(exported)


def test_missing_caption_and_wrong_size_are_named() -> None:
    model = _model()
    with pytest.raises(ValueError, match='dog.jpg has no caption.*PackDetInputs'):
        model(_images(1), [DetDataSample(metainfo=dict(img_path='dog.jpg'))], mode='loss')
    with pytest.raises(ValueError, match=r'64 x 64 pixels, got \(96, 64\)'):
        model(torch.zeros(1, 3, 96, 64), _samples(CAPTIONS[:1]), mode='loss')
    with pytest.raises(ValueError, match="not 'train'"):
        model(_images(1), mode='train')


def test_zero_shot_top1_counts_nearest_captions() -> None:
    def sample(text: str, image: list[float], caption: list[float]) -> dict:
        image_embedding, text_embedding = torch.tensor(image), torch.tensor(caption)
        return dict(text=text, image_embedding=image_embedding, text_embedding=text_embedding)

    metric = ZeroShotTop1()
    metric.process(
        {},
        [
            sample('a', [1.0, 0.0], [1.0, 0.0]),
            sample('b', [0.0, 1.0], [0.0, 1.0]),
            sample('a', [0.1, 0.9], [1.0, 0.0]),
            sample('b', [0.3, 0.9], [0.0, 1.0]),
        ],
    )
    assert metric.evaluate(4) == {'clip/top1': 75.0, 'clip/candidates': 2.0}
