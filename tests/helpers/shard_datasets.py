# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Datasets of generated shards, their captions, and what is logged of them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from mmengine.logging import MMLogger

from regionclip_mmdet.datasets import ImageTextShards

PIPELINE = [
    dict(type='LoadImageChecked'),
    dict(type='PickCaption', test_mode=True),
    dict(type='PackDetInputs', meta_keys=('img_path', 'img_id', 'text')),
]


def make(folder: Path, shards: Any = '*.tar', **changes: Any) -> ImageTextShards:
    options = dict(pipeline=PIPELINE) | changes
    return ImageTextShards(shards, data_root=str(folder), **options)


def captions(dataset: ImageTextShards) -> list[list[str]]:
    return [dataset.get_data_info(i)['captions'] for i in range(len(dataset))]


def messages(caplog: pytest.LogCaptureFixture, work: Any) -> str:
    logger = MMLogger.get_current_instance()  # where print_log(..., 'current') writes
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.WARNING):
            work()
    finally:
        logger.removeHandler(caplog.handler)
    return '\n'.join(record.getMessage() for record in caplog.records)
