# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Exported detectors against PyTorch: the same detections, from ONNX files and from programs."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from helpers import exported_models, tiny_models
from regionclip_mmdet.apis import encode_images, query_image
from regionclip_mmdet.export import OnnxDetector, compare_with_torch, export_detector
from regionclip_mmdet.export.compare import compare_detections, torch_detector
from regionclip_mmdet.export.programs import ProgramDetector
from regionclip_mmdet.export.specs import GRAPHS, available_graphs
from regionclip_mmdet.export.writers import FIRST_WITH_PROGRAMS, TORCH, write_onnx

pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')
needs_programs = pytest.mark.skipif(
    TORCH < FIRST_WITH_PROGRAMS, reason=f'torch.export of torch {FIRST_WITH_PROGRAMS} is needed'
)
ROOT = Path(__file__).resolve().parents[2]
TEMPERATURE = dict(temperature=0.05)  # scores of all sizes


def export(model: nn.Module, folder: Path, **settings: object) -> Path:
    pipeline = model.cfg.test_dataloader.dataset.pipeline
    export_detector(model, folder, test_pipeline=pipeline, **settings)
    return folder


def images() -> dict[str, np.ndarray]:
    """Sizes that have nothing in common with the example's, nor with each other."""
    return dict(
        wide=exported_models.photograph(150, 221), upright=exported_models.photograph(301, 203, 1)
    )


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = exported_models.build('c4', bbox_head=TEMPERATURE)
    return export(model, tmp_path_factory.mktemp('exported'))


@pytest.mark.parametrize(
    ('kind', 'rcnn'),
    [
        ('c4', dict(score_thr=0.01)),
        ('fpn', dict(objectness='sigmoid', early_exit=4)),
        ('fpn', dict(nms=exported_models.SOFT_NMS)),
    ],
)
def test_onnxruntime_finds_what_torch_finds(kind: str, rcnn: dict, tmp_path: Path) -> None:
    model = exported_models.build(kind, rcnn=rcnn, bbox_head=TEMPERATURE)
    export(model, tmp_path)
    detector = OnnxDetector(tmp_path, threads=1, chunk_size=4)  # regions in several chunks
    for found in compare_with_torch(model, detector, images(), repeats=0):
        assert found.passes(1e-4), found
        assert found.counts[0] >= 5


def test_whole_detector_in_one_file(tmp_path: Path) -> None:
    model = exported_models.build('c4', bbox_head=TEMPERATURE)
    export(model, tmp_path, graphs=['detector'])
    assert [p.name for p in tmp_path.glob('*.onnx')] == ['detector.onnx']
    for found in compare_with_torch(model, OnnxDetector(tmp_path), images(), repeats=0):
        assert found.passes(1e-4), found
    with pytest.raises(ValueError, match='backbone, regions'):
        OnnxDetector(tmp_path)(images()['wide'], boxes=np.array([[0, 0, 9, 9]]))


@needs_programs
def test_programs_of_torch_export_find_the_same(tmp_path: Path) -> None:
    model = exported_models.build('c4', bbox_head=TEMPERATURE)
    export(model, tmp_path, formats=['torch'])
    for found in compare_with_torch(model, ProgramDetector(tmp_path), images(), repeats=0):
        assert found.passes(1e-4), found


@pytest.mark.parametrize('count', [1, 40])
def test_any_number_of_other_names(folder: Path, count: int) -> None:
    names = [f'name {i}' for i in range(count)]
    vocabulary = tiny_models.vocabulary(names, seed=5)
    model = exported_models.build('c4', bbox_head=TEMPERATURE | dict(vocabulary=vocabulary))
    detector = OnnxDetector(folder)
    text = vocabulary.matrix.numpy()
    for image in images().values():
        found = detector(image, text)
        expected = torch_detections(model, image)
        compared = compare_detections('', image, expected, found, 0.0)
        assert compared.passes(1e-4), compared
        assert found['embeddings'].shape == (len(found['boxes']), 32)


def torch_detections(model: nn.Module, image: np.ndarray) -> dict:
    return torch_detector(model)(image)


def test_boxes_of_ones_own_in_a_model_without_localizer(tmp_path: Path) -> None:
    model = exported_models.build('none', bbox_head=TEMPERATURE | dict(with_reg=False))
    export(model, tmp_path)
    detector, image = OnnxDetector(tmp_path), images()['wide']
    boxes = np.array([[10, 20, 110.5, 90], [0, 0, 221, 150]], np.float32)
    found = detector(image, boxes=boxes)
    assert len(found['boxes'])
    gaps = np.abs(found['boxes'][:, None] - boxes).max(2).min(1)
    assert (gaps < 1e-4).all()  # with_reg=False: the boxes themselves
    with pytest.raises(ValueError, match='no localizer'):
        detector(image)
    assert len(detector(image, boxes=np.zeros((0, 4)))['boxes']) == 0


def test_boxes_of_ones_own_where_objectness_is_fused(tmp_path: Path) -> None:
    """They have none; boxes that reach out are cut off, as PyTorch cuts them."""
    model = exported_models.build(
        'c4', rcnn=dict(objectness='logit'), bbox_head=TEMPERATURE | dict(with_reg=False)
    )
    detector, image = OnnxDetector(export(model, tmp_path)), images()['wide']
    boxes = np.array([[10, 20, 400, 90], [-30, 0, 100, 150]], np.float32)
    with pytest.raises(ValueError, match="give objectness='none'"):
        detector(image, boxes=boxes)
    found = detector(image, boxes=boxes, objectness='none')
    (encoded,) = encode_images(model, [image[..., ::-1].copy()], [boxes], all_regions=True)
    own = model.roi_head.bbox_head.active_classifier.vocabulary
    expected = query_image(model, encoded, own, objectness='none')
    assert len(expected) and found['labels'].tolist() == expected.labels.tolist()
    np.testing.assert_allclose(found['scores'], expected.scores, atol=1e-5)
    np.testing.assert_allclose(found['boxes'], expected.bboxes, atol=1e-3)


def test_an_earlier_export_is_removed(tmp_path: Path) -> None:
    export(exported_models.build('c4'), tmp_path)
    (tmp_path / 'notes.txt').write_text('mine')
    export(exported_models.build('c4'), tmp_path, graphs=['detector'])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'detector.json', 'detector.onnx', 'notes.txt', 'onnx_detector.py', 'vocabulary.npz',
    ]  # fmt: skip


def test_text_encoder_graph_at_other_lengths(tmp_path: Path) -> None:
    model = exported_models.build('c4', text_encoder=tiny_models.text_encoder())
    export(model, tmp_path, graphs=['text_encoder'])
    session = onnxruntime.InferenceSession(str(tmp_path / 'text_encoder.onnx'))
    for texts in (['a photo of a cat', 'dog', 'a', 'red'], ['a very long photo of a red ball']):
        tokens = model.text_encoder.tokenize(texts)
        (found,) = session.run(None, dict(tokens=tokens.numpy()))
        expected = model.text_encoder(tokens).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_example_of_the_docs_runs_without_torch(folder: Path, tmp_path: Path) -> None:
    """In a process in which neither torch nor anything of OpenMMLab can be imported."""
    (tmp_path / 'work_dirs').mkdir()
    (tmp_path / 'work_dirs' / 'exported').symlink_to(folder)
    image = images()['wide']
    Image.fromarray(image).save(tmp_path / 'photo.jpg', format='png')  # lossless
    page = (ROOT / 'docs' / 'export.md').read_text(encoding='utf-8')
    example = page.split('```python\n')[1].split('```')[0]
    blocked = ('torch', 'torchvision', 'mmcv', 'mmdet', 'mmengine', 'regionclip_mmdet')
    program = f'import sys\nsys.modules.update(dict.fromkeys({blocked}))\n{example}'
    program += "np.savez('found.npz', **found)\n"
    result = subprocess.run(
        [sys.executable, '-c', program], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    expected = OnnxDetector(folder)(image)
    printed = result.stdout.splitlines()
    assert len(printed) == len(expected['boxes']) > 0
    for line, label in zip(printed, expected['labels'], strict=True):
        assert line.startswith(tiny_models.NAMES[label])
    with np.load(tmp_path / 'found.npz') as found:
        np.testing.assert_allclose(found['boxes'], expected['boxes'], atol=1e-4)


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    model = exported_models.build('none')
    assert available_graphs(model) == ['backbone', 'regions']
    with pytest.raises(ValueError, match='needs a model with a localizer'):
        export(model, tmp_path, graphs=['localizer'])
    with pytest.raises(ValueError, match='no graph'):
        export(model, tmp_path, graphs=['heads'])
    with pytest.raises(ValueError, match='formats'):
        export(model, tmp_path, formats=['tflite'])
    random = exported_models.build('none', loaded=False)
    with pytest.raises(RuntimeError, match='random weights'):
        export(random, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_failed_export_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / 'backbone.onnx'
    path.write_text('before')
    with pytest.raises(TypeError):
        write_onnx(nn.Identity(), GRAPHS['backbone'], (torch.zeros(1, 3, 9, 9), 'no tensor'), path)
    assert path.read_text() == 'before' and len(list(tmp_path.iterdir())) == 1


def detections(boxes: list, scores: list, labels: list) -> dict:
    arrays = (np.array(boxes, np.float32).reshape(-1, 4), np.array(scores), np.array(labels))
    return dict(zip(('boxes', 'scores', 'labels'), arrays, strict=True))


def test_comparison_tells_what_differs() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    box, other = [10, 10, 50, 50], [60, 10, 90, 50]
    mine = detections([box, other], [0.9, 0.5], [0, 1])

    def against(*arrays: list) -> object:
        return compare_detections('', image, mine, detections(*arrays))

    same = against([other, box], [0.5, 0.9], [1, 0])
    assert same.passes() and same.counts == (2, 2)
    assert not against([box, other], [0.9, 0.5], [0, 2]).passes()
    assert not against([box], [0.9], [0]).passes()
    assert not against([box, other, other], [0.9, 0.5, 0.4], [0, 1, 1]).passes()
    assert against([box, other, other], [0.9, 0.5, 0.04], [0, 1, 1]).passes()
    assert not against([box, other], [0.9, 0.502], [0, 1]).passes()
    assert against([box, other], [0.9, 0.5005], [0, 1]).passes()
    assert not against([box, [60, 10, 90.3, 50]], [0.9, 0.5], [0, 1]).passes()
    assert against([box, [60, 10, 90.1, 50]], [0.9, 0.5], [0, 1]).passes()
    twice, once = detections([box, box], [0.9, 0.9], [0, 0]), detections([box], [0.9], [0])
    assert compare_detections('', image, twice, once).unpaired == 1
    nothing = compare_detections('', image, detections([], [], []), detections([], [], []))
    assert not nothing.passes()
    assert not dataclasses.replace(same, counts=(0, 0)).passes()
