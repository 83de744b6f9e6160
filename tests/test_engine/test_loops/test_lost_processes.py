# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Errors of communication say that another process is gone; others stay what they are."""

from __future__ import annotations

from unittest import mock

import pytest
from torch.distributed import DistBackendError

from regionclip_mmdet.engine.loops import LostProcessError, explain_lost_processes

MODULE = 'regionclip_mmdet.engine.robust.failures'
GLOO = (
    '[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:538] Read error [127.0.0.1]:20905: '
    'Connection reset by peer'
)


def meet(error: Exception, world_size: int = 2) -> None:
    with (
        mock.patch(f'{MODULE}.get_world_size', return_value=world_size),
        mock.patch(f'{MODULE}.get_rank', return_value=1),
        explain_lost_processes(lambda: 37),
    ):
        raise error


@pytest.mark.parametrize(
    'error',
    [
        RuntimeError(GLOO),
        RuntimeError('Timed out waiting 1800000ms for recv operation (gloo/transport/tcp)'),
        DistBackendError('NCCL communicator was aborted on rank 1.\nLast error: ...'),
        RuntimeError('NCCL Error 6: remote process exited'),
    ],
)
def test_a_lost_connection_is_explained(error: RuntimeError) -> None:
    with pytest.raises(LostProcessError) as found:
        meet(error)
    text = str(found.value)
    assert text.startswith('Process 1 of 2, iteration 37: the connection to another process is')
    assert str(error).splitlines()[0] in text and '--resume' in text
    assert found.value.__cause__ is error


def test_other_errors_stay() -> None:
    with pytest.raises(RuntimeError) as found:
        meet(RuntimeError('shapes (2, 3) and (4, 5) do not fit'))
    assert type(found.value) is RuntimeError
    for text in (
        '[enforce fail at /pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:454] 8 vs 16',
        'NCCL error: unhandled cuda error (run with NCCL_DEBUG=INFO for details)',
    ):
        with pytest.raises(DistBackendError):
            meet(DistBackendError(text))
    with pytest.raises(RuntimeError) as found:
        meet(RuntimeError(GLOO), world_size=1)
    assert type(found.value) is RuntimeError
