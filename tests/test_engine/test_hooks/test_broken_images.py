# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Names of broken images that any process met, in the log of the main one."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from mmdet.structures import DetDataSample
from mmengine.logging import MessageHub

from regionclip_mmdet.engine.hooks import BrokenImagesHook, broken_images


class Counting:
    """A dataset."""

    num_broken = 1


def runner(iteration: int) -> Any:
    return SimpleNamespace(
        iter=iteration,
        max_iters=1000,
        train_loop=SimpleNamespace(dataloader=range(1000)),
        train_dataloader=SimpleNamespace(dataset=Counting()),
        message_hub=MessageHub.get_instance('names_of_broken_images'),
        logger=logging.getLogger('names_of_broken_images'),
    )


def batch(*broken: str | None) -> dict:
    metas = [{} if name is None else dict(instead_of=name) for name in broken]
    return dict(data_samples=[DetDataSample(metainfo=meta) for meta in metas])


def run(hook: BrokenImagesHook, batches: list[dict], others: list[str]) -> None:
    """Iterations of the main process; the other one met the others."""
    with mock.patch.object(broken_images, 'all_gather_object', lambda own: [own, others]):
        for iteration, content in enumerate(batches):
            hook.after_train_iter(runner(iteration), iteration, content)


def test_each_is_named_once_for_all_processes(caplog: pytest.LogCaptureFixture) -> None:
    hook = BrokenImagesHook(interval=2)
    run(hook, [batch('b/2', None), batch(None)] * 2, ['a/1', 'b/2'])
    run(hook, [batch(None), batch('b/3', 'b/2')], [])
    told = [record.getMessage().rpartition(': ')[2] for record in caplog.records]
    assert told == ['a/1, b/2.', 'b/3.']


def test_so_many_are_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broken_images, 'MAX_NAMED', 3)
    hook = BrokenImagesHook(interval=1)
    run(hook, [batch('1', '2')], [])
    run(hook, [batch('3', '4')], [])
    run(hook, [batch('5')], [])
    told = [record.getMessage().partition('processes: ')[2] for record in caplog.records]
    assert told == ['1, 2.', '3. Further ones are counted, not named.']
