# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What visitors can send that the page itself never sends: other paths, other numbers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('gradio')
import httpx  # noqa: E402  (comes with gradio)

from demo.web import ImageLimits, Outcome, Query  # noqa: E402
from demo.web import page as module  # noqa: E402
from demo.web.requests import PageSettings  # noqa: E402

pytestmark = pytest.mark.web
Ask = Callable[[str, list], str]


class Service:
    """Remembers what it was given."""

    limits = ImageLimits()

    def __init__(self) -> None:
        self.files: list[bytes] = []
        self.queries: list[Query] = []

    def look(self, upload: bytes) -> str:
        self.files.append(upload)
        return 'Looked.'

    def answer(self, upload: bytes, query: Query, report: object) -> Outcome:
        self.files.append(upload)
        self.queries.append(query)
        return Outcome(np.zeros((9, 9, 3), np.uint8), [], [], 'Answered.')


@pytest.fixture(scope='module')
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Service, Path]]:
    """Address, what answers there, and the folder of uploads."""
    uploads, service = tmp_path_factory.mktemp('served') / 'uploads', Service()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('GRADIO_TEMP_DIR', str(uploads))
        patch.setenv('GRADIO_ANALYTICS_ENABLED', 'False')
        page = module.build_page(service, (), (), PageSettings())
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
    served[1].files, served[1].queries = [], []
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
    query = ['cat', 'None: only my words', 0.3, 50, 5, 0.5]
    around = str(Path(sent['path']).parent / '..' / '..' / 'secret.png')
    assert Path(around).is_file()
    for path in (str(secret), around):
        for other in (
            dict(path=path),
            dict(sent, path=path),
            dict(sent, path=path, is_stream=True),
        ):
            assert 'Looked.' not in ask('look', [other])
            assert 'Answered.' not in ask('ask', [other, *query])
    assert not service.files


@pytest.mark.parametrize(
    ('sent', 'most', 'listed'), [(0, 1, 1), (-1, 1, 1), (7, 7, 7), (10**6, 300, 20)]
)
def test_numbers_stay_within_their_sliders(
    address: str, ask: Ask, service: Service, tmp_path: Path, sent: int, most: int, listed: int
) -> None:
    """0 and less would mean no limit at all."""
    image = upload(address, save(tmp_path / 'a.png'))
    data = [image, 'cat', 'None: only my words', 0.3, sent, sent, 0.5]
    assert 'Answered.' in ask('ask', data)
    (query,) = service.queries
    assert (query.max_per_img, query.top_k) == (most, listed)


FILE = dict(meta=dict(_type='gradio.FileData'))
IMAGES = [
    5, 'x', [], [1], {}, True,
    dict(path=5), dict(path=None), dict(path=['x']), dict(path='../../etc/passwd'),
    dict(FILE, path='x'), dict(FILE, path='../x'), dict(FILE, path='/etc/passwd'),
    dict(FILE, path='a\x00b'), dict(FILE, path='x' * 5000), dict(FILE, path=''),
    dict(FILE, path=7), dict(FILE, url='x'), dict(path='x', meta=5),
    dict(FILE, path='http://127.0.0.1:9/a.png', url='http://127.0.0.1:9/a.png'),
    [dict(FILE, path='x')],
]  # fmt: skip
QUESTION = ['cat', 'None: only my words', 0.3, 50, 5, 0.5]
BODIES = [b'', b'[]', b'{}', b'{"data": []}', b'{"data": [7]}', b'\xff', b'[' * 9999]
VALUES = [None, 5, 'x', True, [], ['x'], {}, dict(FILE, path='x'), 10**400, 1e300, '\x00', -1]


def test_values_of_any_type_are_a_message(
    ask: Ask, service: Service, capfd: pytest.CaptureFixture
) -> None:
    answers = [ask(name, [p, *q]) for p in IMAGES for name, q in (('look', []), ('ask', QUESTION))]
    for place in range(len(QUESTION)):
        for value in VALUES:
            data = [dict(path='x'), *QUESTION]
            data[place + 1] = value
            answers += [ask('ask', data), ask('refresh', data)]
    answers += [ask('ask', data) for data in ([], [None], [None] * 20)]
    assert not service.files
    check_plain(answers, capfd)
    plain = ('rc-error', 'rc-wait', 'cannot be read', '__type__')  # the last: nothing changes
    assert all(any(word in answer for word in plain) for answer in answers)


def test_requests_for_what_there_is_not(
    address: str, served: tuple, capfd: pytest.CaptureFixture
) -> None:
    api = f'{address}/gradio_api'
    answers = []
    for index in (999, -1, 'ask', 1.5, None, [], 10**30):
        body = dict(data=[None], fn_index=index, session_hash='visitor')
        answers.append(httpx.post(f'{api}/queue/join', json=body))
    for name in ('ask', 'look', 'nothing'):
        for way in ('run', 'api', 'call', 'call/v2'):
            for content in (
                b'',
                b'[]',
                b'{}',
                b'{"data": []}',
                b'{"data": [7]}',
                b'\xff',
                b'[' * 9999,
            ):
                answers.append(httpx.post(f'{api}/{way}/{name}', content=content))
    for path in ('file=x', 'file=../x', 'file=%00', 'proxy=http://x', 'queue/data', 'info'):
        answers.append(httpx.get(f'{api}/{path}'))
    answers += [httpx.get(address), httpx.get(f'{address}/config')]
    assert all(answer.status_code < 500 or 'cannot be read' in answer.text for answer in answers)
    check_plain([answer.text for answer in answers], capfd)


def check_plain(answers: list[str], capfd: pytest.CaptureFixture) -> None:
    """No word of the server's folders, no traceback."""
    for answer in answers:
        assert str(Path.cwd()) not in answer and str(Path(module.__file__).parent) not in answer
        assert 'Traceback' not in answer and 'Something went wrong' not in answer
    shown = capfd.readouterr()
    assert 'Traceback' not in shown.err + shown.out


def test_fifty_visitors_with_four_queries_each(address: str, tmp_path: Path) -> None:
    image = upload(address, save(tmp_path / 'a.png'))
    events = httpx.get(f'{address}/config').json()['dependencies']
    (number,) = (event['id'] for event in events if event['api_name'] == 'ask')

    async def visit(client: httpx.AsyncClient, visitor: int) -> list[str]:
        body = dict(data=[image, *QUESTION], fn_index=number, session_hash=f'v{visitor}')
        for _ in range(4):
            joined = await client.post(f'{address}/gradio_api/queue/join', json=body)
            assert joined.status_code == 200, joined.text
        answers: list[str] = []
        url = f'{address}/gradio_api/queue/data?session_hash=v{visitor}'
        async with client.stream('GET', url) as lines:
            async for line in lines.aiter_lines():
                if '"process_completed"' in line:
                    answers.append(line)
                if len(answers) == 4:
                    break
        return answers

    async def all_visit() -> list[list[str]]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=60, limits=limits) as client:
            return await asyncio.gather(*(visit(client, i) for i in range(50)))

    answers = asyncio.run(all_visit())
    assert [len(of_one) for of_one in answers] == [4] * 50
    assert all('Answered.' in answer for of_one in answers for answer in of_one)
