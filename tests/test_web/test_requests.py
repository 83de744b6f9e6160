# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What visitors can send that the page itself never sends: other paths, other numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('gradio')
import httpx  # noqa: E402  (comes with gradio)

from regionclip_mmdet.web import Outcome, PictureLimits, Question  # noqa: E402
from regionclip_mmdet.web import page as module  # noqa: E402

pytestmark = pytest.mark.web
Ask = Callable[[str, list], str]


class Service:
    """Remembers what it was given."""

    limits = PictureLimits()

    def __init__(self) -> None:
        self.files: list[bytes] = []
        self.questions: list[Question] = []

    def look(self, upload: bytes) -> str:
        self.files.append(upload)
        return 'Looked.'

    def answer(self, upload: bytes, question: Question, report: object) -> Outcome:
        self.files.append(upload)
        self.questions.append(question)
        return Outcome(np.zeros((9, 9, 3), np.uint8), [], [], 'Answered.')


@pytest.fixture(scope='module')
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Service, Path]]:
    """Address, what answers there, and the folder of uploads."""
    uploads, service = tmp_path_factory.mktemp('served') / 'uploads', Service()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('GRADIO_TEMP_DIR', str(uploads))
        patch.setenv('GRADIO_ANALYTICS_ENABLED', 'False')
        page = module.build_page(service, (), (), module.PageSettings())
        _, address, _ = page.launch(
            server_name='127.0.0.1',
            prevent_thread_lock=True,
            quiet=True,
            **module.launch_settings(),
        )
        yield address.rstrip('/'), service, uploads
        page.close(verbose=False)


@pytest.fixture
def address(served: tuple) -> str:
    return served[0]


@pytest.fixture
def service(served: tuple) -> Service:
    served[1].files, served[1].questions = [], []
    return served[1]


@pytest.fixture
def ask(address: str) -> Ask:
    """The answer to an event of the page, sent without the page."""
    events = httpx.get(f'{address}/config').json()['dependencies']

    def send(name: str, data: list) -> str:
        (number,) = (event['id'] for event in events if event['api_name'] == name)
        body = dict(data=data, fn_index=number, session_hash='visitor')
        assert httpx.post(f'{address}/gradio_api/queue/join', json=body).status_code == 200
        answers = f'{address}/gradio_api/queue/data?session_hash=visitor'
        with httpx.stream('GET', answers, timeout=30) as lines:
            for line in lines.iter_lines():
                if '"process_completed"' in line:
                    return str(json.loads(line.removeprefix('data:'))['output'])
        raise AssertionError('no answer')

    return send


def save(path: Path) -> Path:
    Image.new('RGB', (30, 20), 'red').save(path)
    return path


def upload(address: str, file: Path) -> dict:
    """A file as the page sends its name."""
    sent = httpx.post(f'{address}/gradio_api/upload', files=dict(files=file.read_bytes()))
    return dict(path=sent.json()[0], meta=dict(_type='gradio.FileData'))


def test_an_upload_is_read_and_no_other_file(served: tuple, ask: Ask, service: Service) -> None:
    address, _, uploads = served
    secret = save(uploads.parent / 'secret.png')
    sent = upload(address, secret)
    assert 'Looked.' in ask('look', [sent]) and service.files == [secret.read_bytes()]
    service.files.clear()
    question = ['cat', 'None: only my words', 0.3, 50, 5, 0.5]
    around = str(Path(sent['path']).parent / '..' / '..' / 'secret.png')
    assert Path(around).is_file()
    for path in (str(secret), around):
        for other in (
            dict(path=path),
            dict(sent, path=path),
            dict(sent, path=path, is_stream=True),
        ):
            assert 'Looked.' not in ask('look', [other])
            assert 'Answered.' not in ask('ask', [other, *question])
    assert not service.files


def test_a_link_does_not_lead_out_of_the_uploads(
    served: tuple, service: Service, tmp_path: Path
) -> None:
    link = served[2] / 'link.png'
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(save(tmp_path / 'secret.png'))
    with pytest.raises(module.UserError, match='no longer on the server'):
        module._read(dict(path=str(link)), service)


@pytest.mark.parametrize(
    ('sent', 'most', 'listed'), [(0, 1, 1), (-1, 1, 1), (7, 7, 7), (10**6, 300, 20)]
)
def test_numbers_stay_within_their_sliders(
    address: str, ask: Ask, service: Service, tmp_path: Path, sent: int, most: int, listed: int
) -> None:
    """0 and less would mean no limit at all."""
    picture = upload(address, save(tmp_path / 'a.png'))
    data = [picture, 'cat', 'None: only my words', 0.3, sent, sent, 0.5]
    assert 'Answered.' in ask('ask', data)
    (question,) = service.questions
    assert (question.max_per_img, question.top_k) == (most, listed)
