# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""From official files to names on visualizations, as a user goes.

Complete files of every kind are converted by ``tools/convert_checkpoint.py`` and run by the shipped
configs, through ``tools/test.py``, mmdet's ``DetInferencer`` as its ``image_demo.py`` calls it, and
``RegionCLIPInferencer``. The right name of a region is computed by hand, from its embedding and the
matrix in the official file: the name whose row is nearest. That matrix is made such that regions
of one image have several names.
"""

from __future__ import annotations

import json
import pickle
import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.runner import checkpoint
from mmengine.visualization import Visualizer
from PIL import Image
from torch import Tensor

from helpers import official_layouts as official
from helpers import tiny_recipes
from regionclip_mmdet import config_path
from regionclip_mmdet.apis import RegionCLIPInferencer
from regionclip_mmdet.recipes.name_lists import LISTS
from regionclip_mmdet.visualization import open_vocab_visualizer

ROOT = Path(__file__).resolve().parents[2]
TESTED = 'roi_heads.box_predictor.test_cls_score.weight'
# A region is said to have a name of at least this probability. Soft-NMS may take its score down to
# exp(-2) of it, or that squared where scores are roots: still more than any other name's.
SURE = 0.99
State = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    """What a user has, and wants to test.

    Attributes:
        config: A shipped one.
        model: Content of the official file of the model.
        kind: Of the localizer's own file.
        names: List of the names that are tested.
        data: Makes the data that the config tests on.
        score: Name of the metric that is printed.
    """

    config: str
    model: Callable[..., State]
    kind: str
    names: str
    data: Callable[[], None]
    score: str


CASES = {
    'ov_coco': Case(
        'ov_coco/regionclip_rn50_c4_8xb2-1x_ov-coco.py',
        lambda: official.finetuned('c4', classes=48),
        'c4',
        'ov_coco_65',
        tiny_recipes.make_coco,
        'bbox_mAP',
    ),
    'ov_lvis': Case(
        'ov_lvis/regionclip_rn50_fpn-lsj_mask_8xb2-180k_ov-lvis.py',
        lambda: official.finetuned('fpn_lsj', masks=True, classes=866),
        'fpn_lsj',
        'lvis_1203',
        tiny_recipes.make_lvis,
        'AP',
    ),
    'zero_shot': Case(
        'zero_shot/regionclip_rn50_rpn_zero-shot_coco65.py',
        official.pretrained,  # its localizer is replaced
        'fpn',
        'ov_coco_65',
        tiny_recipes.make_coco,
        'bbox_mAP',
    ),
}


def run_tool(name: str, *arguments: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [f'{name}.py', *arguments])
        runpy.run_path(str(ROOT / 'tools' / f'{name}.py'), run_name='__main__')


def write_config(case: Case) -> str:
    """The shipped config, for recognizers of narrow layers and small images."""
    cfg = Config.fromfile(config_path(case.config))
    for part in tiny_recipes.walk(cfg.model):
        if part.get('type') in ('CLIPResNet', 'RegionEncoder'):
            part.arch = official.ARCH
        elif part.get('type') == 'TextEmbeddingBBoxHead':
            part.embed_dim = official.ARCH['embed_dim']
        elif part.get('type') == 'RegionMaskHead':
            part.in_channels = 32 * official.ARCH['width']
    cfg.model.localizer.test_cfg.max_per_img = 30
    for key in ('val_dataloader', 'test_dataloader'):
        cfg[key].num_workers, cfg[key].persistent_workers = 0, False
        for transform in tiny_recipes.transforms(cfg[key].dataset):
            tiny_recipes.shrink_transform(transform)
    cfg.env_cfg.dist_cfg.backend = 'gloo'
    cfg.dump('config.py')
    return 'config.py'


def convert(case: Case, matrix: Tensor) -> None:
    """As docs/checkpoints.md says; the detector gets another localizer, and ``matrix``."""
    state = case.model()
    if TESTED in state:
        state[TESTED] = matrix
    torch.save(dict(model=state, iteration=90000), 'official.pth')
    torch.save(dict(model=official.localizer_file(case.kind, seed=13)), 'rpn.pth')
    files = ['official.pth', 'rpn.pth', '--custom-sizes', '-o', 'detector.pth']
    if TESTED in state:
        run_tool('convert_checkpoint', *files, '--names', case.names)
        return
    run_tool('convert_checkpoint', *files)
    torch.save(matrix, 'cls_emb.pth')
    vocabulary = f'data/vocabularies/{case.names}_rn50.pth'
    run_tool('convert_checkpoint', 'cls_emb.pth', '--names', case.names, '-o', vocabulary)


def telling_matrix(embeddings: Tensor, number: int) -> Tensor:
    """Embeddings of so many names, of which a few tell regions apart; the others are far off."""
    generator = torch.Generator().manual_seed(4)
    middle = embeddings.mean(0)
    noise = torch.randn(number, len(middle), generator=generator)
    rows = 0.1 * middle.norm() * noise / noise.norm(dim=1, keepdim=True) - middle
    places = torch.randperm(number, generator=generator)
    chosen = [int((embeddings - middle).norm(dim=1).argmax())]
    while len(chosen) < 5:  # the farthest from those chosen
        chosen.append(int(torch.cdist(embeddings, embeddings[chosen]).amin(1).argmax()))
    for region, place in zip(chosen, places):
        rows[place] = (
            embeddings[region] - middle * (embeddings[region] @ middle) / middle.norm() ** 2
        )
    return rows


def image_file(folder: Path) -> str:
    """Rectangles of colors, which give regions of several names."""
    generator = np.random.default_rng(3)
    pixels = np.full((72, 96, 3), 110, np.uint8)
    for _ in range(12):
        top, left = generator.integers(0, 56), generator.integers(0, 80)
        height, width = generator.integers(8, 40, 2)
        pixels[top : top + height, left : left + width] = generator.integers(0, 256, 3)
    Image.fromarray(pixels).save(folder / 'image.png')
    return str(folder / 'image.png')


def right_names(
    detector: RegionCLIPInferencer, image: str, matrix: Tensor, names: tuple[str, ...]
) -> tuple[DetDataSample, dict[int, str]]:
    """Detections of an image, and by row what their names must be.

    A region's name is that of the nearest row of ``matrix``, where there is no doubt. Other names
    that the region may have as well are told by their scores, which are low.
    """
    encoded = detector.encode(image)
    sample = detector.detect(encoded, detector.vocabulary(), with_embeddings=True)
    found = sample.pred_instances
    rows = matrix.double().numpy()
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    right: dict[int, str] = {}
    for row, region in enumerate(found.region_inds.tolist()):
        embedding = found.region_embeddings[row].double().numpy()
        cosines = rows @ (embedding / np.linalg.norm(embedding))
        weights = np.exp(100 * np.append(cosines, 0.0))
        probabilities = weights[:-1] / weights.sum()
        score = float(found.scores[row])
        if detector.model.test_cfg.rcnn.objectness == 'logit':  # the root of both
            score = score**2 / float(encoded.objectness_logits[region])
        if probabilities.max() > SURE and score > 1.2 * (1 - SURE):
            right[row] = names[int(probabilities.argmax())]
    return sample, right


class Drawn:
    """Boxes and names that reach an image, through whichever visualizer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.named: list[tuple[list[float], str]] = []
        self.texts: list[str] = []
        draw_regions, draw_texts = open_vocab_visualizer.draw_regions, Visualizer.draw_texts

        def regions(image: Any, boxes: Any, names: Any, *args: Any, **settings: Any) -> Any:
            self.named += zip(np.asarray(boxes).tolist(), names, strict=True)
            return draw_regions(image, boxes, names, *args, **settings)

        def texts(visualizer: Any, text: str, *args: Any, **settings: Any) -> Any:
            self.texts.append(text)
            return draw_texts(visualizer, text, *args, **settings)

        monkeypatch.setattr(open_vocab_visualizer, 'draw_regions', regions)
        monkeypatch.setattr(Visualizer, 'draw_texts', texts)


@pytest.mark.slow
@pytest.mark.parametrize('name', CASES)
def test_right_names_everywhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    case, names = CASES[name], tuple(LISTS[CASES[name].names])
    monkeypatch.chdir(tmp_path)
    case.data()
    config, image = write_config(case), image_file(tmp_path)
    convert(case, torch.ones(len(names), official.ARCH['embed_dim']))
    probe = RegionCLIPInferencer(config, 'detector.pth', 'cpu', show_progress=False)
    embeddings = probe.encode(image, all_regions=True).embeddings
    matrix = telling_matrix(embeddings, len(names))
    capsys.readouterr()
    convert(case, matrix)
    assert 'without names' not in capsys.readouterr().out

    # own images, and the names that are right
    ours = RegionCLIPInferencer(config, 'detector.pth', 'cpu', show_progress=False)
    sample, right = right_names(ours, image, matrix, names)
    found = sample.pred_instances
    assert len(right) > 3 and len(set(right.values())) > 1
    assert tuple(sample.names) == names
    plain = ours.query(image=image)
    assert plain['labels'] == found.labels.tolist()
    assert all(plain['label_names'][row] == word for row, word in right.items())
    by_box = {tuple(np.round(found.bboxes[row].tolist(), 2)): word for row, word in right.items()}
    assert len(by_box) == len(right)

    # mmdet's demo/image_demo.py: this object, these arguments
    drawn = Drawn(monkeypatch)
    mmdets = DetInferencer(model=config, weights='detector.pth', device='cpu', palette='none')
    mmdets.show_progress = False
    capsys.readouterr()
    result = mmdets(
        inputs=image, out_dir='outputs', texts=None, pred_score_thr=0.0, batch_size=1, show=False,
        no_save_vis=False, no_save_pred=False, print_result=False, custom_entities=False,
    )  # fmt: skip
    assert Path('outputs/vis/image.png').is_file()
    saved = json.loads(Path('outputs/preds/image.json').read_text())
    assert saved['labels'] == found.labels.tolist() == result['predictions'][0]['labels']
    assert tuple(mmdets.model.dataset_meta['classes']) == names
    assert tuple(mmdets.visualizer.dataset_meta['classes']) == names
    shown = {tuple(np.round(box, 2)): word for box, word in reversed(drawn.named)}
    assert {box: shown[box] for box in by_box} == by_box

    # its own visualizer, and what it returns
    plain_mmdet = dict(type='DetLocalVisualizer', name=f'mmdets_own_{name}')
    cfg = Config.fromfile(config)
    cfg.visualizer = plain_mmdet
    stock = DetInferencer(cfg, 'detector.pth', device='cpu', show_progress=False)
    answer = stock(image, return_datasamples=True, return_vis=True, pred_score_thr=0.0)
    instances = answer['predictions'][0].pred_instances
    assert list(instances.label_names) == [names[label] for label in instances.labels.tolist()]
    assert [instances.label_names[row] for row in right] == list(right.values())
    words = {text.partition(':')[0] for text in drawn.texts}
    assert set(right.values()) <= words <= set(names)

    # the test set
    drawn.named.clear()
    alarms: list[str] = []
    monkeypatch.setattr(checkpoint, 'print_log', lambda text, *_, **__: alarms.append(text))
    # what a run writes of its config takes seconds to be made pretty
    monkeypatch.setattr(Config, 'pretty_text', property(lambda cfg: str(cfg.to_dict())))
    run_tool(
        'test', config, 'detector.pth', '--work-dir', 'run', '--out', 'found.pkl',
        '--show-dir', 'drawn',
    )  # fmt: skip
    assert case.score in ''.join(capsys.readouterr())
    assert not [text for text in alarms if 'do not match' in text]
    samples = pickle.loads(Path('found.pkl').read_bytes())
    assert samples
    for one in samples:
        own, right = right_names(ours, one['img_path'], matrix, names)
        theirs = one['pred_instances']
        assert torch.equal(theirs['labels'].cpu(), own.pred_instances.labels)
        assert list(theirs['label_names']) == [names[label] for label in theirs['labels'].tolist()]
        for row, word in right.items():
            assert theirs['label_names'][row] == word
    assert {word for _, word in drawn.named} <= set(names)


@pytest.mark.slow
def test_an_official_file_given_to_the_test_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is; the same detections as with the file that is made of it."""
    case = CASES['ov_coco']
    monkeypatch.chdir(tmp_path)
    case.data()
    config = write_config(case)
    torch.save(dict(model=case.model()), 'official.pth')
    run_tool('convert_checkpoint', 'official.pth', '--custom-sizes', '-o', 'converted.pth')
    for names in ('ov_coco_48', 'ov_coco_65'):
        torch.save(official.embeddings(len(LISTS[names]), seed=9), 'cls_emb.pth')
        vocabulary = f'data/vocabularies/{names}_rn50.pth'
        run_tool('convert_checkpoint', 'cls_emb.pth', '--names', names, '-o', vocabulary)
    monkeypatch.setattr(Config, 'pretty_text', property(lambda cfg: str(cfg.to_dict())))
    found = []
    for weights in ('official', 'converted'):
        run_tool(
            'test', config, f'{weights}.pth', '--work-dir', f'run_{weights}',
            '--out', f'{weights}.pkl',
        )  # fmt: skip
        found.append(pickle.loads(Path(f'{weights}.pkl').read_bytes()))
    assert len(found[0]) == len(found[1]) > 1
    for one, other in zip(*found, strict=True):
        theirs, ours = one['pred_instances'], other['pred_instances']
        assert len(ours['labels']) > 3 and torch.equal(theirs['labels'], ours['labels'])
        assert torch.equal(theirs['bboxes'], ours['bboxes'])
        assert torch.equal(theirs['scores'], ours['scores'])
