# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""mmengine's checkpoints load under ``weights_only=True``; nothing more does."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from packaging.version import Version

import regionclip_mmdet  # noqa: F401

pytestmark = pytest.mark.skipif(
    Version(torch.__version__) < Version('2.6'), reason='weights_only is not the default'
)


class Reduced:
    """Pickles as a call, as a hostile checkpoint would."""

    def __init__(self, function: object, *args: object) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple:
        return self.call


def saved(content: object) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(content, file)
    file.seek(0)
    return file


def test_history_survives_the_round_trip(tmp_path: Path) -> None:
    hub = MessageHub('test_history_survives_the_round_trip')
    for value in (3.0, 1.0, 2.5):
        hub.update_scalar('train/loss', value)
    hub.update_info('iter', np.int64(7))
    content = dict(
        meta=dict(seed=3), state_dict=dict(w=torch.ones(2)), message_hub=hub.state_dict()
    )
    torch.save(content, tmp_path / 'iter_7.pth')
    loaded = torch.load(tmp_path / 'iter_7.pth', weights_only=True)['message_hub']
    buffer = loaded['log_scalars']['train/loss']
    assert isinstance(buffer, HistoryBuffer)
    assert buffer.data[0].tolist() == [3.0, 1.0, 2.5]
    assert buffer.statistics('min') == 1.0
    assert buffer.mean() == pytest.approx(6.5 / 3)
    assert loaded['runtime_info']['iter'] == 7


def test_others_allow_and_withdraw_the_same_classes() -> None:
    """As OneDL's mmengine does around each file that it loads."""
    classes = [HistoryBuffer, np.ndarray, np.dtype, type(np.dtype(np.float64))]
    content = dict(buffer=HistoryBuffer([1.0, 3.0], [1, 1]), array=np.ones(2))
    with torch.serialization.safe_globals(classes):
        torch.load(saved(content), weights_only=True)
    loaded = torch.load(saved(content), weights_only=True)
    assert loaded['buffer'].mean() == 2 and loaded['array'].tolist() == [1, 1]


@pytest.mark.parametrize(
    'array',
    [
        np.arange(6, dtype=np.int64).reshape(2, 3),
        np.linspace(0, 1, 4, dtype=np.float32),
        np.array([True, False]),
        np.array(['a', 'bc']),
    ],
)
def test_numpy_arrays_survive_the_round_trip(array: np.ndarray) -> None:
    loaded = torch.load(saved(dict(array=array)), weights_only=True)['array']
    assert loaded.dtype == array.dtype
    np.testing.assert_array_equal(loaded, array)


@pytest.mark.parametrize('core', ['core', '_core'])
def test_files_of_both_numpy_generations_are_read(core: str) -> None:
    raw = pickle.dumps(np.arange(3.0), protocol=2)
    own = b'numpy._core.multiarray' if b'numpy._core' in raw else b'numpy.core.multiarray'
    raw = raw.replace(own, f'numpy.{core}.multiarray'.encode())
    unpickler = torch._weights_only_unpickler.Unpickler(io.BytesIO(raw), encoding='ascii')
    np.testing.assert_array_equal(unpickler.load(), np.arange(3.0))


@pytest.mark.parametrize(
    ('owner', 'name'),
    [
        (HistoryBuffer, '__init__'),
        (HistoryBuffer, '__globals__'),
        (HistoryBuffer, '_set_default_statistics'),
        (HistoryBuffer, 'no_such_statistic'),
        (np.ndarray, 'tofile'),
        (torch.Tensor, 'numpy'),
    ],
)
def test_getattr_reaches_nothing_else(owner: type, name: str) -> None:
    with pytest.raises((ValueError, pickle.UnpicklingError), match=name):
        torch.load(saved(dict(x=Reduced(getattr, owner, name))), weights_only=True)


def test_other_functions_stay_refused() -> None:
    with pytest.raises(pickle.UnpicklingError, match='Unsupported global'):
        torch.load(saved(dict(x=Reduced(eval, '1 + 1'))), weights_only=True)
