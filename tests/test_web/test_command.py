# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What the command line makes of files, without serving anything."""

from __future__ import annotations

import argparse
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from demo.web import UserError
from demo.web import command as module
from demo.web.examples import write_examples
from helpers import tiny_models, tiny_web
from regionclip_mmdet.models.text import TextEmbeddings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return list(map(str, tiny_web.write_detector(tmp_path_factory.mktemp('web'))))


@pytest.fixture
def files_without_encoder(tmp_path: Path) -> list[str]:
    return list(map(str, tiny_web.write_detector(tmp_path, with_text_encoder=False)))


def parsed(*arguments: str) -> argparse.Namespace:
    return module._parse_args('', arguments)


def test_words_are_embedded_by_the_models_text_encoder(files: list[str]) -> None:
    service, own = module.make_service(parsed(*files, '--max-upload-mb', '2', '--max-names', '7'))
    assert own.names == tiny_models.NAMES and service.embedder.known is None
    assert service.limits.max_bytes == 2 * 2**20 and service.max_names == 7
    found = service.embedder.embed(['zebra', 'cat'])
    expected = service.model.text_encoder.encode_names(['zebra', 'cat'], 'single')
    torch.testing.assert_close(found.matrix, expected.matrix)
    # names of the checkpoint are those of the checkpoint
    assert torch.equal(service.embedder.embed(['dog']).matrix, own.matrix[[1]])


def test_templates(files: list[str]) -> None:
    service, _ = module.make_service(parsed(*files, '--templates', 'plain'))
    expected = service.model.text_encoder.encode_names(['zebra'], 'plain')
    torch.testing.assert_close(service.embedder.embed(['zebra']).matrix, expected.matrix)


def test_without_text_encoder(
    files_without_encoder: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    more = tiny_models.vocabulary(('horse', 'bird'), seed=4)
    more.save(tmp_path / 'more.pth')
    arguments = parsed(*files_without_encoder, '--embeddings', str(tmp_path / 'more.pth'))
    service, _ = module.make_service(arguments)
    assert 'Only names with embeddings in hand' in capsys.readouterr().out
    assert service.embedder.known == {*tiny_models.NAMES, 'horse', 'bird'}
    assert torch.equal(service.embedder.embed(['bird']).matrix, more.matrix[[1]])
    with pytest.raises(UserError, match='no text encoder'):
        service.embedder.embed(['zebra'])


def test_embeddings_of_another_width_are_refused(files: list[str], tmp_path: Path) -> None:
    TextEmbeddings(('a',), torch.ones(1, 5)).save(tmp_path / 'other.pth')
    with pytest.raises(ValueError, match='5-dimensional.*32-dimensional'):
        module.make_service(parsed(*files, '--embeddings', str(tmp_path / 'other.pth')))


@pytest.mark.parametrize(
    'arguments', [['--max-names', '0'], ['--queue-size', '-1'], ['--port', '65536']]
)
def test_numbers_that_make_no_sense(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        parsed('config.py', 'weights.pth', *arguments)


def test_a_missing_file_is_a_sentence(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.util, 'find_spec', lambda name: True)
    for name in (*module._SILENCE, 'GRADIO_TEMP_DIR'):
        monkeypatch.setenv(name, '')  # what main sets is unset again
    with pytest.raises(SystemExit, match='cannot be served: .*missing.pth'):
        module.main('', [files[0], str(tmp_path / 'missing.pth')])


def test_without_gradio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.util, 'find_spec', lambda name: None)
    with pytest.raises(SystemExit, match=r"pip install 'regionclip_mmdet\[web\]'"):
        module.main('', ['config.py', 'weights.pth'])


def test_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(sys, 'argv', ['web_app.py', '--help'])
    with pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / 'demo' / 'web_app.py'), run_name='__main__')
    shown = capsys.readouterr().out
    assert 'python demo/web_app.py CONFIG CHECKPOINT' in shown and '--max-upload-mb' in shown


def test_examples(tmp_path: Path) -> None:
    toy = tiny_models.vocabulary(('red circle', 'blue square'))
    examples = write_examples(tmp_path, own=toy)
    assert [Path(path).name for path, _ in examples[:2]] == ['shapes_1.png', 'shapes_2.png']
    for path, words in examples:
        assert np.asarray(Image.open(path)).std() > 10 and words.endswith(' .')
    shape = examples[0][1].split(' . ')[0]
    known = frozenset([shape])
    assert write_examples(tmp_path, known, toy)[0] == (examples[0][0], f'{shape} .')
    assert write_examples(tmp_path, frozenset(['nothing']), toy) == []


@pytest.mark.parametrize('own', [None, ('cat', 'dog'), ('cat', 'red circle')])
def test_other_detectors_are_shown_no_shapes(tmp_path: Path, own: tuple | None) -> None:
    examples = write_examples(tmp_path, own=own and tiny_models.vocabulary(own))
    assert not list(tmp_path.glob('shapes*'))
    assert not any('shapes' in path for path, _ in examples)


@pytest.mark.parametrize(('templates', 'together'), [('single', 64), ('ensemble81', 4)])
def test_names_of_many_prompts_are_fewer_at_a_time(
    files: list[str], templates: str, together: int
) -> None:
    service, _ = module.make_service(parsed(*files, '--templates', templates))
    assert service.embedder.chunk == together


def test_fifty_may_ask_four_times_each() -> None:
    args = parsed('config.py', 'weights.pth')
    assert args.queue_size + args.concurrency >= 200 and args.concurrency > 1
