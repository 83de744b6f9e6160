# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Detect what you name in a video.

    python demo/video_demo.py street.mp4 CONFIG CHECKPOINT --texts 'bus . red umbrella'
    python demo/video_demo.py street.mp4 CONFIG CHECKPOINT --texts names.txt --interval 5 --show

Writes OUT, an mp4 with the detections drawn. Words are embedded once; frames are read, detected and
written one after the other, so memory does not grow with the video. With --interval N every Nth
frame is detected, and its boxes stay until the next one.
"""

from __future__ import annotations

import argparse
import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

# First: registers everything and serves mmcv's operators to the imports below.
import regionclip_mmdet  # noqa: F401

# isort: split
import cv2
import mmcv
import numpy as np
from mmdet.structures import DetDataSample
from tqdm import tqdm

from regionclip_mmdet.apis import RegionCLIPInferencer
from regionclip_mmdet.apis.command_line import (
    make_inferencer,
    make_parser,
    overrides,
    run_or_explain,
)
from regionclip_mmdet.fileio import write_whole

MIN_SECONDS = 0.001  # a window's shortest time; 0 would wait for a key


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__, 'a video that OpenCV can read', 'VIDEO')
    parser.add_argument(
        '--out', metavar='FILE', help='default: VIDEO with _detections.mp4 in place of its ending'
    )
    parser.add_argument('--no-save', action='store_true', help='write nothing, only --show')
    parser.add_argument(
        '--interval', type=int, default=1, metavar='N', help='detect every Nth frame (default: 1)'
    )
    parser.add_argument('--max-frames', type=int, metavar='N', help='stop after N frames')
    parsed = parser.parse_args(args)
    if parsed.interval < 1:
        parser.error('--interval must be at least 1')
    if parsed.max_frames is not None and parsed.max_frames < 1:
        parser.error('--max-frames must be at least 1')
    return parsed


def main(args: Sequence[str] | None = None) -> None:
    """Detect in a video."""
    options = parse_args(args)
    run_or_explain(lambda: detect(options))


def detect(args: argparse.Namespace) -> None:
    """Read, detect, draw and write frame by frame.

    Raises:
        FileNotFoundError: No such video.
        ValueError: OpenCV reads no frame of it, or cannot write the other; both are one file.
    """
    if not os.path.isfile(args.input):
        raise FileNotFoundError(f'there is no video {args.input}.')
    video = mmcv.VideoReader(args.input)
    if not video.opened or video.width < 1:
        raise ValueError(f'{args.input}: OpenCV reads no frame of it. Is it a video, and whole?')
    out = None
    if not args.no_save:
        out = Path(args.out or f'{Path(args.input).with_suffix("")}_detections.mp4')
        if out.exists() and out.samefile(args.input):
            raise ValueError(f'--out {out} is the video itself: it would be lost.')
    inferencer = make_inferencer(args)
    total = min(video.frame_cnt, args.max_frames or video.frame_cnt)
    frames = tqdm(drawn_frames(inferencer, video, args), total=total, unit='frame')
    if out is None:
        for _ in frames:
            pass
        return
    write_video(frames, out, video.fps)
    print(f'Written to {out}.')


def drawn_frames(
    inferencer: RegionCLIPInferencer, video: mmcv.VideoReader, args: argparse.Namespace
) -> Iterator[np.ndarray]:
    """Frames ``(H, W, 3)``, RGB, with detections.

    Args:
        inferencer: Detects.
        video: Iterated once; frames are BGR.
        args: Of ``parse_args``.
    """
    vocabulary = inferencer.vocabulary(args.texts)
    sample: DetDataSample | None = None
    for number, frame in enumerate(video):
        if args.max_frames is not None and number >= args.max_frames:
            return
        if number % args.interval == 0:
            sample = inferencer.query(
                vocabulary, image=frame, return_datasamples=True, **overrides(args)
            )
        yield inferencer.draw(
            frame,
            sample,
            args.score_thr,
            show=args.show,
            wait_time=max(args.wait_time, MIN_SECONDS),
        )


def write_video(frames: Iterable[np.ndarray], out: Path, fps: float) -> None:
    """Write frames as they come; the file appears when all are written.

    Args:
        frames: uint8 ``(H, W, 3)``, RGB, of one size.
        out: An ``.mp4``.
        fps: Frames per second; 0, of videos that do not say: 25.

    Raises:
        ValueError: Another ending, no frames, or OpenCV cannot write there.
    """
    if out.suffix.lower() != '.mp4':
        raise ValueError(f'{out}: videos are written as .mp4.')
    writer = None
    with write_whole(out) as unfinished:  # its ending tells OpenCV the format
        try:
            for frame in frames:
                if writer is None:
                    codec = cv2.VideoWriter_fourcc(*'mp4v')
                    size = frame.shape[1::-1]
                    writer = cv2.VideoWriter(str(unfinished), codec, fps or 25.0, size)
                    if not writer.isOpened():
                        raise ValueError(f'{out}: OpenCV cannot write mp4 there (codec mp4v).')
                writer.write(np.ascontiguousarray(frame[..., ::-1]))
            if writer is None:
                raise ValueError(f'{out}: there is no frame to write.')
        finally:
            if writer is not None:
                writer.release()
        # OpenCV says nothing of a full disk
        if not cv2.VideoCapture(str(unfinished)).isOpened():
            raise OSError(errno.EIO, 'OpenCV left no readable video; usually the disk is full')


if __name__ == '__main__':
    main()
