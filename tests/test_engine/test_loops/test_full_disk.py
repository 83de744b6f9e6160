# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A full disk met by whatever writes during training."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from helpers import toy_training


class Raises(Hook):
    def __init__(self, error: OSError) -> None:
        self.error = error

    def after_train_iter(self, runner: Runner, *args: object, **kwargs: object) -> None:
        raise self.error


def train(folder: Path, error: OSError) -> None:
    settings = toy_training.config(work_dir=str(folder), experiment_name=folder.name)
    runner = Runner.from_cfg(Config(settings))
    runner.register_hook(Raises(error))
    runner.train()


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EDQUOT])
def test_the_work_dir_is_named(tmp_path: Path, number: int) -> None:
    reason = os.strerror(number)
    with pytest.raises(OSError, match=f'{tmp_path} could not be written: {reason}.*--resume') as e:
        train(tmp_path, OSError(number, reason))
    assert e.value.errno == number


def test_other_errors_stay_as_they_are(tmp_path: Path) -> None:
    error = ConnectionResetError(errno.ECONNRESET, 'of a loader')
    with pytest.raises(ConnectionResetError) as caught:
        train(tmp_path, error)
    assert caught.value is error
