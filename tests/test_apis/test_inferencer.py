# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The inferencer: inputs, words, results and files of a call."""

from __future__ import annotations

import json
import threading
import warnings
from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from PIL import Image, features

from helpers import tiny_inference, tiny_models
from regionclip_mmdet.apis import EncodedImage, RegionCLIPInferencer, encode_images, query_image
from regionclip_mmdet.datasets.transforms import BrokenImageError

NAMES = ['tram', 'bridge', 'a river']


@pytest.fixture(scope='module')
def inferencer(files: tiny_inference.DetectorFiles) -> RegionCLIPInferencer:
    return RegionCLIPInferencer(
        str(files.config), str(files.checkpoint), device='cpu', show_progress=False
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, name in enumerate(('b.png', 'a.JPG', 'c.jpeg')):
        tiny_inference.save_image(tmp_path / name, seed=seed)
    (tmp_path / 'notes.txt').write_text('no image')
    (tmp_path / 'below').mkdir()
    tiny_inference.save_image(tmp_path / 'below' / 'd.png')
    return tmp_path


def paths_of(results: dict) -> list[str]:
    return [Path(result['img_path']).name for result in results['predictions']]


class TestOneImage:
    def test_result_is_mmdets_with_names(self, inferencer: RegionCLIPInferencer) -> None:
        image = tiny_inference.image()
        (result,) = inferencer(image, texts=NAMES, max_per_img=6)['predictions']
        vocabulary = inferencer.vocabulary(NAMES)
        (encoded,) = encode_images(inferencer.model, image)
        expected = query_image(inferencer.model, encoded, vocabulary, max_per_img=6)
        assert len(expected) == 6
        assert result['labels'] == expected.labels.tolist()
        assert result['label_names'] == [NAMES[label] for label in result['labels']]
        assert result['scores'] == pytest.approx(expected.scores.tolist())
        assert np.allclose(result['bboxes'], expected.bboxes.tolist())
        assert result['region_inds'] == expected.region_inds.tolist()
        assert result['names'] == NAMES and result['img_path'] is None
        json.dumps(result)

    def test_words_follow_each_call_and_the_model_keeps_its_own(
        self, inferencer: RegionCLIPInferencer
    ) -> None:
        image = tiny_inference.image()
        for texts, names in (
            ('cat . dog', {'cat', 'dog'}),
            (['lamp'], {'lamp'}),
            (None, set(tiny_models.NAMES)),
        ):
            (result,) = inferencer(image, texts=texts)['predictions']
            assert set(result['names']) == names >= set(result['label_names'])
            assert result['labels']
        assert inferencer.model.roi_head.bbox_head.active_classifier.names == tiny_models.NAMES

    def test_own_vocabulary_gives_what_predict_gives(
        self, inferencer: RegionCLIPInferencer, tmp_path: Path
    ) -> None:
        path = tiny_inference.save_image(tmp_path / 'a.png')
        (result,) = inferencer(path)['predictions']
        sample = inferencer.pipeline(path)
        batch = dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']])
        with torch.no_grad():
            expected = inferencer.model.test_step(batch)[0].pred_instances
        assert result['labels'] == expected.labels.tolist()
        assert result['scores'] == pytest.approx(expected.scores.tolist())

    def test_data_samples_and_region_embeddings(self, inferencer: RegionCLIPInferencer) -> None:
        image = tiny_inference.image()
        arguments = dict(texts=NAMES, return_region_embeddings=True, max_per_img=4)
        (sample,) = inferencer(image, return_datasamples=True, **arguments)['predictions']
        assert isinstance(sample, DetDataSample) and sample.names == tuple(NAMES)
        (encoded,) = encode_images(inferencer.model, image)
        rows = sample.pred_instances.region_inds
        assert torch.equal(sample.pred_instances.region_embeddings, encoded.embeddings[rows])
        (result,) = inferencer(image, **arguments)['predictions']
        assert np.array_equal(result['region_embeddings'], encoded.embeddings[rows].numpy())
        assert 'region_embeddings' not in inferencer(image, texts=NAMES)['predictions'][0]

    def test_printing(
        self, inferencer: RegionCLIPInferencer, capsys: pytest.CaptureFixture
    ) -> None:
        inferencer(tiny_inference.image(), texts=['lamp'], print_result=True)
        assert "'label_names': ['lamp'" in capsys.readouterr().out

    def test_unknown_arguments_are_refused(self, inferencer: RegionCLIPInferencer) -> None:
        with pytest.raises(TypeError, match='knows no thresh'):
            inferencer(tiny_inference.image(), texts=['lamp'], thresh=1)


class TestManyImages:
    def test_folder(self, inferencer: RegionCLIPInferencer, folder: Path) -> None:
        for inputs in (folder, str(folder)):
            assert paths_of(inferencer(inputs, texts=NAMES)) == ['a.JPG', 'b.png', 'c.jpeg']

    def test_patterns(self, inferencer: RegionCLIPInferencer, folder: Path) -> None:
        assert paths_of(inferencer(f'{folder}/*', texts=NAMES)) == ['a.JPG', 'b.png', 'c.jpeg']
        found = paths_of(inferencer(f'{folder}/**/*.png', texts=NAMES))
        assert found == ['b.png', 'd.png']
        with pytest.raises(FileNotFoundError, match=r"no image fits the pattern '.*\*\.gif'"):
            inferencer(f'{folder}/*.gif', texts=NAMES)

    def test_lists_in_batches(self, inferencer: RegionCLIPInferencer, folder: Path) -> None:
        images = [tiny_inference.image(seed=seed) for seed in range(3)]
        inputs = [*images, folder / 'b.png', str(folder / 'a.JPG')]
        alone = inferencer(inputs, texts=NAMES)['predictions']
        batched = inferencer(inputs, texts=NAMES, batch_size=2)['predictions']
        assert len(alone) == len(batched) == 5
        for one, other in zip(alone, batched, strict=True):
            assert one['labels'] == other['labels']
            assert one['scores'] == pytest.approx(other['scores'], rel=1e-4)
        assert alone[0]['scores'] == pytest.approx(alone[3]['scores'])  # the same image
        assert alone[1]['scores'] != pytest.approx(alone[3]['scores'])

    def test_nothing(self, inferencer: RegionCLIPInferencer, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match='no images in the folder'):
            inferencer(tmp_path, texts=NAMES)
        with pytest.raises(ValueError, match='empty list'):
            inferencer([], texts=NAMES)

    def test_progress(
        self, files: tiny_inference.DetectorFiles, folder: Path, capsys: pytest.CaptureFixture
    ) -> None:
        noisy = RegionCLIPInferencer(files.bare_config, files.bare_checkpoint, device='cpu')
        noisy(folder, texts=files.names)
        assert '3/3' in capsys.readouterr().err
        noisy(folder / 'b.png', texts=files.names)
        assert '1/1' not in capsys.readouterr().err


class TestBrokenImages:
    def test_one_is_an_error(self, inferencer: RegionCLIPInferencer, tmp_path: Path) -> None:
        path = tmp_path / 'half.jpg'
        path.write_bytes(b'\xff\xd8\xff\xe0 not a photo')
        for inputs in (path, [tiny_inference.image(), str(path)]):
            with pytest.raises(BrokenImageError, match=r'half\.jpg: the image cannot be decoded'):
                inferencer(inputs, texts=NAMES)

    def test_in_a_folder_they_are_skipped_and_listed(
        self, inferencer: RegionCLIPInferencer, folder: Path
    ) -> None:
        (folder / 'aa.jpg').write_text('no image')
        with pytest.warns(UserWarning, match=r'(?s)1 of 4 images of .*aa\.jpg'):
            results = inferencer(folder, texts=NAMES, batch_size=2)
        assert paths_of(results) == ['a.JPG', 'b.png', 'c.jpeg']
        (skipped,) = results['skipped']
        assert skipped['img_path'] == str(folder / 'aa.jpg') and 'decoded' in skipped['error']
        with pytest.raises(BrokenImageError):
            inferencer(folder, texts=NAMES, skip_broken=False)

    @pytest.mark.skipif(not features.check('avif'), reason='this Pillow reads no AVIF')
    def test_kinds_of_images(self, inferencer: RegionCLIPInferencer, tmp_path: Path) -> None:
        """A folder, a pattern and a name alone: the same rule."""
        for name in ('a.gif', 'b.avif', 'c.BMP', 'd.tif', 'e.jp2'):
            Image.fromarray(tiny_inference.image()).save(tmp_path / name)
        for name in ('f.HEIC', 'g.heic', 'h.svg', 'i.eps', 'j.cr2'):
            (tmp_path / name).write_bytes(b'%!PS-Adobe-3.0 EPSF-3.0')
        kinds = r'5 of 10 images .* \(1 \.cr2, 1 \.eps, 2 \.heic, 1 \.svg: kinds that are not read'
        for inputs in (tmp_path, f'{tmp_path}/*'):
            with pytest.warns(UserWarning, match=kinds):
                results = inferencer(inputs, texts=NAMES)
            assert paths_of(results) == ['a.gif', 'b.avif', 'c.BMP', 'd.tif', 'e.jp2']
            assert len(results['skipped']) == 5
        for name in ('a.gif', 'b.avif', 'e.jp2'):
            assert paths_of(inferencer(tmp_path / name, texts=NAMES)) == [name]
        for name, kind in (('f.HEIC', '.heic'), ('i.eps', '.eps')):
            with pytest.raises(BrokenImageError, match=rf'the kind \{kind} are not read here'):
                inferencer(tmp_path / name, texts=NAMES)

    def test_of_a_list_on_demand(self, inferencer: RegionCLIPInferencer, folder: Path) -> None:
        with pytest.warns(UserWarning, match=r'nowhere\.jpg: there is no such image'):
            results = inferencer(['nowhere.jpg', folder / 'b.png'], texts=NAMES, skip_broken=True)
        assert paths_of(results) == ['b.png']

    def test_if_nothing_is_left(self, inferencer: RegionCLIPInferencer, tmp_path: Path) -> None:
        (tmp_path / 'a.jpg').write_text('no image')
        with pytest.raises(BrokenImageError, match='none of the 1 images'):
            inferencer(tmp_path, texts=NAMES)


class TestFiles:
    def test_visualizations_and_predictions(
        self, inferencer: RegionCLIPInferencer, folder: Path, tmp_path_factory
    ) -> None:
        out = tmp_path_factory.mktemp('out')
        inputs = [folder / 'b.png', folder / 'below' / 'd.png', tiny_inference.image()]
        results = inferencer(
            inputs, texts=NAMES, out_dir=out, no_save_pred=False, return_region_embeddings=True
        )
        assert sorted(p.name for p in (out / 'vis').iterdir()) == [
            '00000000.jpg',
            'b.png',
            'd.png',
        ]
        assert mmcv.imread(str(out / 'vis' / 'b.png')).shape == (60, 80, 3)
        for name, result in zip(('b', 'd', '00000000'), results['predictions'], strict=True):
            written = json.loads((out / 'preds' / f'{name}.json').read_text())
            assert written == {k: v for k, v in result.items() if k != 'region_embeddings'}

    def test_images_of_the_same_name_do_not_overwrite_each_other(
        self, inferencer: RegionCLIPInferencer, tmp_path: Path
    ) -> None:
        for i, name in enumerate(('x/a.png', 'y/a.png', 'x/a.jpg')):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            tiny_inference.save_image(tmp_path / name, seed=i)
        inputs = [tmp_path / 'x' / 'a.png', tmp_path / 'y' / 'a.png', tmp_path / 'x' / 'a.jpg']
        results = inferencer(inputs, texts=NAMES, out_dir=tmp_path, no_save_pred=False)
        assert sorted(p.name for p in (tmp_path / 'vis').iterdir()) == [
            'a.png',
            'a_1.png',
            'a_2.jpg',
        ]
        second = json.loads((tmp_path / 'preds' / 'a_1.json').read_text())
        assert second == results['predictions'][1]

    def test_none_unless_asked(self, inferencer: RegionCLIPInferencer, tmp_path: Path) -> None:
        image = tiny_inference.image()
        inferencer(image, texts=NAMES, out_dir=tmp_path, no_save_vis=True)
        assert list(tmp_path.iterdir()) == []
        inferencer(image, texts=NAMES, out_dir=tmp_path)  # mmdet's default: visualizations alone
        assert [p.name for p in tmp_path.iterdir()] == ['vis']

    def test_visualizations_are_rgb_and_show_what_is_above_the_threshold(
        self, inferencer: RegionCLIPInferencer
    ) -> None:
        image = tiny_inference.image()
        arguments = dict(texts=NAMES, return_vis=True)
        (drawn,) = inferencer(image, pred_score_thr=2.0, **arguments)['visualization']
        assert np.array_equal(drawn, image[..., ::-1])
        (drawn,) = inferencer(image, pred_score_thr=0.0, **arguments)['visualization']
        assert not np.array_equal(drawn, image[..., ::-1])

    def test_a_window(
        self, inferencer: RegionCLIPInferencer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shown = []
        monkeypatch.setattr(
            type(inferencer.visualizer),
            'show',
            lambda self, drawn, win_name, wait_time: shown.append((win_name, wait_time)),
        )
        inferencer(tiny_inference.image(), texts=NAMES, show=True, wait_time=3)
        assert shown == [('00000000.jpg', 3)]


class TestEncodedOnce:
    def test_set_and_ask(self, inferencer: RegionCLIPInferencer) -> None:
        image = tiny_inference.image()
        encoded = inferencer.set_image(image)
        assert isinstance(encoded, EncodedImage) and inferencer.encoded is encoded
        for texts in (NAMES, 'lamp', None):
            (expected,) = inferencer(image, texts=texts)['predictions']
            found = inferencer.query(texts)
            assert found['labels'] == expected['labels'] and found['names'] == expected['names']
            assert found['scores'] == pytest.approx(expected['scores'])
        sample = inferencer.query(NAMES, return_datasamples=True, max_per_img=2)
        assert len(sample.pred_instances) == 2

    def test_another_image_for_one_question(self, inferencer: RegionCLIPInferencer) -> None:
        first, second = tiny_inference.image(seed=0), tiny_inference.image(seed=1)
        kept = inferencer.set_image(first)
        encoded = inferencer.encode(second)
        by_encoding = inferencer.query(NAMES, image=encoded)
        by_image = inferencer.query(NAMES, image=second)
        assert by_encoding == by_image != inferencer.query(NAMES)
        assert inferencer.encoded is kept

    def test_given_boxes(self, inferencer: RegionCLIPInferencer) -> None:
        inferencer.set_image(tiny_inference.image(), boxes=[[10, 10, 40, 40], [0, 0, 80, 60]])
        found = inferencer.query(NAMES, objectness='none', score_thr=0.0)
        assert set(map(tuple, found['bboxes'])) == {(10, 10, 40, 40), (0, 0, 80, 60)}

    def test_no_image(self, files: tiny_inference.DetectorFiles) -> None:
        fresh = RegionCLIPInferencer(files.bare_config, files.bare_checkpoint, device='cpu')
        with pytest.raises(RuntimeError, match=r'set_image\(image\) first'):
            fresh.query(files.names)

    def test_threads_with_their_own_images_and_words(
        self, inferencer: RegionCLIPInferencer
    ) -> None:
        questions = [
            (tiny_inference.image(seed=i), [f'thing {i} {j}' for j in range(2 + i)])
            for i in range(4)
        ]
        expected = [inferencer.query(names, image=image) for image, names in questions]
        found: dict[int, list] = {}

        def ask(i: int) -> None:
            image, names = questions[i]
            encoded = inferencer.encode(image)
            found[i] = []
            for _ in range(3):
                sample = inferencer.query(names, image=encoded, return_datasamples=True)
                drawn = inferencer.draw(image, sample, score_thr=0.0)
                found[i].append((sample.pred_instances.labels.tolist(), drawn))

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for i, (image, names) in enumerate(questions):
            sample = inferencer.query(names, image=image, return_datasamples=True)
            drawn = inferencer.draw(image, sample, score_thr=0.0)
            assert len(found[i]) == 3
            for labels, visualization in found[i]:
                assert labels == expected[i]['labels']
                assert np.array_equal(visualization, drawn)


def test_no_warning_of_mmdets_about_datasets(files: tiny_inference.DetectorFiles) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        one = RegionCLIPInferencer(files.bare_config, files.bare_checkpoint, device='cpu')
        one(tiny_inference.image(), texts=files.names)


def test_wrong_numbers_and_a_checkpoint_alone(
    inferencer: RegionCLIPInferencer, files: tiny_inference.DetectorFiles, folder: Path
) -> None:
    with pytest.raises(ValueError, match='batch_size is 0'):
        inferencer(folder, texts='a . b', batch_size=0)
    with pytest.raises(ValueError, match='batch_size is 0'):
        encode_images(inferencer.model, [], batch_size=0)
    with pytest.raises(TypeError, match='nms is a dict'):
        inferencer.query(None, tiny_inference.image(90, 120), nms=None)
    with pytest.raises(ValueError, match='give the config as well'):
        RegionCLIPInferencer(
            None, files.checkpoint, text_encoder=files.checkpoint, device='cpu', trust=True
        )


def test_the_config_in_a_checkpoint_is_run_when_it_is_trusted(
    files: tiny_inference.DetectorFiles, tmp_path: Path
) -> None:
    ran = tmp_path / 'ran'
    text = Config.fromfile(files.config).dump()
    content = torch.load(files.checkpoint)
    content['meta'] = dict(cfg=f'ran = __import__("os").mkdir({str(ran)!r})\n{text}')
    torch.save(content, tmp_path / 'own.pth')
    for given in ((None, tmp_path / 'own.pth'), (None, str(tmp_path / 'own.pth'), 'cpu')):
        with pytest.raises(ValueError, match=r'own\.pth was given without a config.*trust=True'):
            RegionCLIPInferencer(*given)
    RegionCLIPInferencer(files.config, tmp_path / 'own.pth', device='cpu')
    assert not ran.exists()
    trusted = RegionCLIPInferencer(None, tmp_path / 'own.pth', device='cpu', trust=True)
    assert ran.exists()
    asked = dict(texts=NAMES, image=tiny_inference.image())
    expected = RegionCLIPInferencer(files.config, files.checkpoint, device='cpu').query(**asked)
    assert trusted.query(**asked) == expected and expected['labels']
