# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A video in, a video out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import mmcv
import numpy as np
import pytest

from demo.video_demo import main, write_video
from helpers import tiny_inference
from regionclip_mmdet.apis import RegionCLIPInferencer

FRAMES = 6


@pytest.fixture(scope='module')
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('video') / 'street.mp4'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 10.0, (96, 64))
    for seed in range(FRAMES):
        writer.write(tiny_inference.image(64, 96, seed=seed))
    writer.release()
    return path


def run(*args: object) -> None:
    main([str(arg) for arg in args])


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Frames that were detected."""
    asked: list[np.ndarray] = []
    query = RegionCLIPInferencer.query

    def counted(self: RegionCLIPInferencer, texts: object, image: np.ndarray, **settings: object):
        asked.append(image)
        return query(self, texts, image, **settings)

    monkeypatch.setattr(RegionCLIPInferencer, 'query', counted)
    return asked


def test_every_frame_is_detected_and_written(
    files: tiny_inference.DetectorFiles, video: Path, tmp_path: Path, questions: list
) -> None:
    out = tmp_path / 'new' / 'out.mp4'
    run(video, files.config, files.checkpoint, '--texts', 'tram . a river', '--out', out,
        '--score-thr', 0.0, '--device', 'cpu')  # fmt: skip
    assert len(questions) == FRAMES
    assert [path.name for path in out.parent.iterdir()] == ['out.mp4']
    written, read = mmcv.VideoReader(str(out)), mmcv.VideoReader(str(video))
    assert len(written) == FRAMES and written.fps == pytest.approx(10)
    inferencer = RegionCLIPInferencer(files.config, files.checkpoint, 'cpu', show_progress=False)
    for number in (0, FRAMES - 1):
        sample = inferencer.query('tram . a river', read[number], return_datasamples=True)
        expected = inferencer.draw(read[number], sample, 0.0)[..., ::-1]
        assert written[number].shape == expected.shape
        error = np.abs(written[number].astype(float) - expected).mean()
        other = np.abs(written[number].astype(float) - written[2]).mean()
        assert error < other / 2, number  # mp4 is lossy


def test_interval_and_end(
    files: tiny_inference.DetectorFiles,
    video: Path,
    tmp_path: Path,
    questions: list,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = []
    draw = RegionCLIPInferencer.draw

    def recorded(self: RegionCLIPInferencer, image, sample, *args, **settings):
        drawn.append((image, sample.pred_instances.scores.tolist(), settings['wait_time']))
        return draw(self, image, sample, *args, **settings)

    monkeypatch.setattr(RegionCLIPInferencer, 'draw', recorded)
    run(video, files.bare_config, files.bare_checkpoint, '--texts', files.names, '--interval', 2,
        '--max-frames', 5, '--no-save')  # fmt: skip
    assert len(questions) == 3 and len(drawn) == 5
    assert drawn[0][1] == drawn[1][1] != drawn[2][1] == drawn[3][1]
    assert not np.array_equal(drawn[0][0], drawn[1][0])
    assert all(0 < wait < 0.01 for _, _, wait in drawn)  # 0 would wait for a key
    assert [path.name for path in video.parent.iterdir()] == ['street.mp4']


def test_default_output(files: tiny_inference.DetectorFiles, video: Path, tmp_path: Path) -> None:
    copy = tmp_path / 'my street.mp4'
    copy.write_bytes(video.read_bytes())
    run(copy, files.bare_config, files.bare_checkpoint, '--texts', files.names, '--max-frames', 1)
    assert len(mmcv.VideoReader(str(tmp_path / 'my street_detections.mp4'))) == 1


def test_the_video_itself_is_not_replaced(
    files: tiny_inference.DetectorFiles, video: Path, tmp_path: Path
) -> None:
    copy = tmp_path / 'street.mp4'
    copy.write_bytes(video.read_bytes())
    out = tmp_path / 'link.mp4'
    out.symlink_to(copy)
    for name in (copy, out):
        with pytest.raises(SystemExit, match='is the video itself'):
            run(copy, files.bare_config, files.bare_checkpoint, '--texts', files.names,
                '--out', name)  # fmt: skip
    assert copy.read_bytes() == video.read_bytes() and out.is_symlink()


def test_frames_are_written_as_they_come(tmp_path: Path) -> None:
    out = tmp_path / 'out.mp4'
    alive = []

    def frames() -> Iterator[np.ndarray]:
        for number in range(3):
            frame = np.full((64, 96, 3), 80 * number, np.uint8)
            alive.append(number)
            yield frame
            assert alive == list(range(number + 1))  # none was asked for before it was written
            assert not out.exists()

    write_video(frames(), out, 0)
    read = mmcv.VideoReader(str(out))
    assert len(read) == 3 and read.fps == 25
    assert [round(read[i].mean() / 80) for i in range(3)] == [0, 1, 2]


def test_nothing_to_write_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='no frame to write'):
        write_video([], tmp_path / 'out.mp4', 25)

    def broken() -> Iterator[np.ndarray]:
        yield np.zeros((64, 96, 3), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(broken(), tmp_path / 'out.mp4', 25)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('kind', 'message'),
    [
        ('missing', 'there is no video'),
        ('text', 'OpenCV reads no frame'),
        ('avi', 'written as .mp4'),
    ],
)
def test_mistakes_end_with_a_message(
    files: tiny_inference.DetectorFiles, video: Path, tmp_path: Path, kind: str, message: str
) -> None:
    path = tmp_path / 'a.mp4'
    if kind == 'text':
        path.write_text('no video')
    out = tmp_path / ('out.avi' if kind == 'avi' else 'out.mp4')
    with pytest.raises(SystemExit) as caught:
        run(video if kind == 'avi' else path, files.bare_config, files.bare_checkpoint,
            '--texts', files.names, '--out', out)  # fmt: skip
    assert message in str(caught.value.code)
    assert not out.exists()
