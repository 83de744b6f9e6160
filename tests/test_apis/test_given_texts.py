# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Texts given to mmdet's own inferencer: a detector that is always right names colors by them."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet.apis import DetInferencer, inference_detector, init_detector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import DefaultScope

from helpers import color_detector as colors
from helpers import tiny_inference, tiny_models
from helpers.drawn_names import drawn_names
from regionclip_mmdet.apis import RegionCLIPInferencer, given_texts

# of the first image, in the order of the localizer
FIRST = [(name, box) for color in colors.NAMES for name, box in colors.IMAGES[0] if name == color]


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('colors') / 'world'
    colors.make_world(folder)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(colors.model_config(localizer=True))
    meta = dict(dataset_meta=dict(classes=('couch', 'lamp'), palette=[(1, 2, 3), (4, 5, 6)]))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / 'colors.pth')
    return folder


def config(world: Path, words: bool = True, pack: dict | None = None) -> Config:
    model = colors.model_config(localizer=True, words=words)
    model.roi_head.bbox_head.vocabulary = str(world / 'names.pth')
    colors.vocabulary().save(world / 'names.pth')
    dataset = dict(
        type='CocoDataset',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            pack or dict(type='PackDetInputs', meta_keys=('img_path', 'ori_shape', 'img_shape')),
        ],
    )
    return Config(
        dict(
            default_scope='mmdet',
            model=model,
            test_dataloader=dict(dataset=dataset),
            visualizer=dict(type='OpenVocabVisualizer', name='given_texts'),
        )
    )


def inferencer(world: Path, **settings: Any) -> DetInferencer:
    made = DetInferencer(config(world, **settings), str(world / 'colors.pth'), device='cpu')
    made.show_progress = False
    return made


def found_in(sample: DetDataSample) -> dict[tuple, str]:
    """Best name by box."""
    found = sample.pred_instances
    found = found[found.scores > 0.4]  # long indices, bool masks: names stay with their labels
    return {
        tuple(round(v) for v in box): name
        for box, name in zip(found.bboxes.tolist(), found.label_names, strict=True)
    }


def expected(image: int, **names: str) -> dict[tuple, str]:
    """What is called what, by colors."""
    return {box: names[color] for color, box in colors.IMAGES[image] if color in names}


OWN = {name: name for name in colors.NAMES}
TEXTS = [
    ('red car . blue cone .', dict(red='red car', blue='blue cone')),
    ('blue cone, red car', dict(red='red car', blue='blue cone')),
    (['yellow bus', 'green tree'], dict(green='green tree', yellow='yellow bus')),
]


@pytest.mark.parametrize('custom', [True, False])
@pytest.mark.parametrize(('text', 'names'), TEXTS, ids=['stops', 'commas', 'list'])
def test_texts_are_the_vocabulary(world: Path, text: Any, names: dict, custom: bool) -> None:
    infer = inferencer(world)
    image = str(world / 'images' / '0.png')
    given = text if isinstance(text, str) else [text]
    with drawn_names() as drawn:
        result = infer(
            image, texts=given, custom_entities=custom, return_datasamples=True, return_vis=True
        )
    (sample,) = result['predictions']
    right = expected(0, **names)
    assert {box: name for box, name in found_in(sample).items() if box in right} == right
    assert set(found_in(sample).values()) <= set(names.values())
    assert set(drawn) == set(found_in(sample).values())
    # the next call without texts is the model's own again
    (sample,) = infer(image, return_datasamples=True)['predictions']
    assert found_in(sample) == expected(0, **OWN)
    assert infer.model.dataset_meta['classes'] == colors.NAMES


def test_each_image_of_a_batch_has_its_own(world: Path) -> None:
    infer = inferencer(world)
    images = [str(world / 'images' / f'{i}.png') for i in range(3)]
    texts = [
        'red car . green tree . blue cone',
        ['yellow bus', 'red bike'],
        'blue . green . yellow',
    ]
    for batch_size in (1, 3):
        found = infer(images, texts=texts, batch_size=batch_size, return_datasamples=True)
        first, second, third = found['predictions']
        assert found_in(first) == expected(0, red='red car', green='green tree', blue='blue cone')
        assert found_in(second) == expected(1, yellow='yellow bus', red='red bike')
        assert found_in(third) == expected(2, **OWN)


def test_inference_detector_takes_a_prompt(world: Path) -> None:
    model = init_detector(config(world), str(world / 'colors.pth'), device='cpu')
    image = str(world / 'images' / '1.png')
    sample = inference_detector(
        model, image, text_prompt='yellow bus . red car', custom_entities=True
    )
    assert found_in(sample) == expected(1, yellow='yellow bus', red='red car')
    assert found_in(inference_detector(model, image)) == expected(1, **OWN)
    # a model with remembered texts can be copied
    again = copy.deepcopy(model)
    assert found_in(inference_detector(again, image, text_prompt='red x . yellow y')) == expected(
        1, yellow='yellow y', red='red x'
    )


@pytest.mark.parametrize(
    'pack', [dict(type='PackDetInputs'), dict(type='mmdet.PackRegionInputs', meta_keys=('img_id',))]
)
def test_whatever_the_pipeline_keeps(world: Path, pack: dict) -> None:
    if 'meta_keys' in pack:
        pack = dict(pack, meta_keys=('img_path', 'ori_shape', 'img_shape', 'text'))
    infer = inferencer(world, pack=pack)
    result = infer(str(world / 'images' / '1.png'), texts='red car . yellow bus',
                   return_datasamples=True)  # fmt: skip
    names = dict(red='red car', yellow='yellow bus')
    assert found_in(result['predictions'][0]) == expected(1, **names)


def test_captions_of_a_dataset_are_no_vocabulary(world: Path) -> None:
    """A pipeline may hand captions on, as those of pretraining do."""
    model = init_detector(config(world), str(world / 'colors.pth'), device='cpu')
    pixels = torch.zeros(3, 40, 60)
    pixels[2, 5:20, 5:30] = 255  # red, in BGR
    sample = DetDataSample(
        metainfo=dict(img_shape=(40, 60), ori_shape=(40, 60), text='a photo of a green cube')
    )
    (found,) = model.test_step(dict(inputs=[pixels], data_samples=[sample]))
    assert found.pred_instances.label_names == ['red']


def test_names_are_embedded_once(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    infer = inferencer(world)
    asked = []
    encode = colors.ColorWords.encode_names

    def counted(self: Any, names: Any, *args: Any, **kwargs: Any) -> Any:
        asked.extend(names)
        return encode(self, names, *args, **kwargs)

    monkeypatch.setattr(colors.ColorWords, 'encode_names', counted)
    images = [str(world / 'images' / f'{i}.png') for i in range(3)]
    infer(images, texts='red car . blue cone')
    infer(images, texts='green tree, red car')
    assert sorted(asked) == ['blue cone', 'green tree', 'red car']
    assert len(given_texts._of_model) >= 1
    asked.clear()
    infer(images, texts=' . '.join(colors.NAMES))  # the model's own: nothing to embed
    assert asked == []


def test_without_a_text_encoder(world: Path) -> None:
    """Its own names need none; others are refused with what helps."""
    infer = inferencer(world, words=False)
    image = str(world / 'images' / '0.png')
    (sample,) = infer(image, texts='blue . red', return_datasamples=True)['predictions']
    assert set(found_in(sample).values()) == {'blue', 'red'}
    right = expected(0, red='red', blue='blue')
    assert {box: found_in(sample)[box] for box in right} == right
    with pytest.raises(RuntimeError, match=r'own names need a text encoder.*Give one of'):
        infer(image, texts='red car . blue cone')


def test_a_text_encoder_in_the_checkpoint(tmp_path: Path) -> None:
    """The config has none; the checkpoint's is read when it is needed."""
    files = tiny_inference.save_detector(tmp_path)
    infer = DetInferencer(Config.fromfile(files.bare_config), str(files.checkpoint), device='cpu')
    infer.show_progress = False
    assert infer.model.text_encoder is None
    image = str(tiny_inference.save_image(tmp_path / 'a.png'))
    (sample,) = infer(image, texts='tram . a river', return_datasamples=True)['predictions']
    own = RegionCLIPInferencer(files.bare_config, files.checkpoint, 'cpu', show_progress=False)
    same = own(image, texts='tram . a river')['predictions'][0]
    assert sample.pred_instances.label_names == same['label_names']
    assert set(same['label_names']) == {'tram', 'a river'}
    assert sample.pred_instances.scores.tolist() == pytest.approx(same['scores'])


def test_what_no_names_can_be_made_of(world: Path) -> None:
    infer = inferencer(world)
    image = str(world / 'images' / '0.png')
    with pytest.raises(ValueError, match='no names'):
        infer(image, texts=' . ')
    with pytest.raises(ValueError, match='tokens_positive says which letters'):
        infer(image, texts='red car', tokens_positive=[[0, 3]])
    with pytest.raises(ValueError, match='stuff_text names surfaces'):
        infer(image, texts='red car', stuff_texts='blue sky')


def test_names_go_wherever_instances_go(world: Path) -> None:
    """Cut, joined, moved, as arrays and pickled; without this package, at any vocabulary's size."""
    many = [f'red {i}' for i in range(20_000)]
    infer = inferencer(world)
    infer.model.roi_head.test_cfg.score_thr = 0.0
    (sample,) = infer(
        str(world / 'images' / '0.png'), texts=[[*many, 'blue cone']], return_datasamples=True
    )['predictions']
    found = sample.pred_instances
    labels = found.labels.tolist()
    right = [([*many, 'blue cone'])[label] for label in labels]
    assert found.label_names == right and len(found) == 20
    mask = torch.arange(len(found)) % 3 == 1
    assert found[mask].label_names == right[1::3]
    order = torch.tensor([5, 0, 5])
    assert found[order].label_names == [right[5], right[0], right[5]]
    assert found[:4].label_names == right[:4] and found[7].label_names == [right[7]]
    assert found[~mask & mask].label_names == []
    assert found.cat([found, found[mask]]).label_names == right + right[1::3]
    assert found.cpu().numpy().label_names == right
    content = pickle.dumps(found)
    assert b'regionclip_mmdet' not in content and len(content) < 50_000


def test_a_larger_vocabulary_than_the_palette(world: Path) -> None:
    """mmdet's own visualizer has a color for every label, not only for the checkpoint's two."""
    model = init_detector(config(world), str(world / 'colors.pth'), palette='none', device='cpu')
    assert model.dataset_meta['classes'] == colors.NAMES
    for palette in ([(1, 2, 3)] * 3, 'nonsense', None, [(1, 2, 3)] * 4, 'coco', 'blue'):
        model.dataset_meta = dict(classes=('couch',), palette=palette)
        kept = palette in ('coco', 'blue') or (isinstance(palette, list) and len(palette) == 4)
        assert model.dataset_meta['palette'] == (palette if kept else 'random')
        assert model.dataset_meta['classes'] == colors.NAMES
    shown = model.dataset_meta
    model.set_vocabulary(tiny_models.vocabulary([f'n{i}' for i in range(90)], dim=3))
    assert shown['classes'][89] == 'n89' and shown['palette'] == 'random'  # the same dict
    model.dataset_meta = None
    assert model.dataset_meta is shown and shown['classes'][89] == 'n89'
