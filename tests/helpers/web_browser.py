# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The web page in a real browser: a server of its own, a headless Chromium, a visitor.

Alone it remakes the image of docs/web_app.md, with a server that runs already:

    python tests/helpers/web_browser.py http://127.0.0.1:7860 docs/images/web_app.jpg
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
FLAGS = [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
]
PATIENCE_MS = 60_000
# How often the button has rested again: what it says now may be from before it was pressed.
COUNT_RESTS = """() => {
    window.rests = 0;
    let before = 'Detect';
    new MutationObserver(() => {
        const now = document.querySelector('#rc-detect')?.innerText.trim() ?? before;
        if (now === 'Detect' && before !== 'Detect') window.rests += 1;
        before = now;
    }).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""


def find_chromium() -> str | None:
    """The browser of the system, or what ``CHROMIUM`` names."""
    names = [os.environ['CHROMIUM']] if 'CHROMIUM' in os.environ else NAMES
    return next(filter(None, map(shutil.which, names)), None)


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        yield chromium
        chromium.close()


@contextlib.contextmanager
def server(folder: Path, *arguments: str) -> Iterator[str]:
    """``demo/web_app.py`` on a free port, told to end when done; yields its address."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    log = folder / 'server.log'
    environment = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1', TMPDIR=str(folder))
    command = [sys.executable, str(ROOT / 'demo' / 'web_app.py'), *arguments, '--port', str(port)]
    with log.open('w') as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + 120
        while 'Serving http' not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield f'http://127.0.0.1:{port}'
    finally:
        process.terminate()
        code = process.wait(30)
    assert code == 0, log.read_text()
    assert 'Traceback' not in log.read_text(), log.read_text()
    assert not list(folder.glob('regionclip_web_*')), 'uploads were left behind'


class Visitor:
    """One visitor's page.

    Attributes:
        page: Of playwright.
        requests: Addresses that the page asked for.
        faults: What the page's scripts failed with.
    """

    def __init__(self, chromium: Browser, address: str, width: int = 1280) -> None:
        self.page: Page = chromium.new_context(viewport=dict(width=width, height=900)).new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.requests: list[str] = []
        self.faults: list[str] = []
        self.page.on('request', lambda request: self.requests.append(request.url))
        self.page.on('pageerror', lambda error: self.faults.append(str(error)))
        self.page.goto(address)
        self.page.wait_for_selector('#rc-detect')
        self.page.evaluate(COUNT_RESTS)
        self.rests = 0

    def choose(self, file: Path) -> str:
        """Upload a file in place of the one before; returns what the page says of it."""
        remove = self.page.locator('#rc-image button[aria-label="Remove Image"]')
        if remove.count():
            remove.click()
            self.wait_for('Choose an image')
        before = self.status()
        self.page.set_input_files('#rc-image input[type=file]', file)
        self.page.wait_for_function(
            'before => document.querySelector(".rc-status").innerText.trim() !== before', arg=before
        )
        return self.status()

    def write(self, words: str) -> None:
        """Words in place of those before; many are pasted, as people do."""
        box = self.page.locator('#rc-words textarea')
        box.fill('' if len(words) > 1000 else words)
        if len(words) > 1000:
            self.page.context.grant_permissions(['clipboard-read', 'clipboard-write'])
            self.page.evaluate('text => navigator.clipboard.writeText(text)', words)
            box.focus()
            self.page.keyboard.press('Control+V')

    def set_score(self, lowest: str) -> None:
        """Type the lowest score beside its slider."""
        number = self.page.locator('#rc-score input[type=number]')
        number.fill(lowest)
        number.blur()

    def press(self) -> None:
        """Press the button, wait for nothing."""
        self.rests = self.page.evaluate('window.rests')
        self.page.click('#rc-detect')

    def detect(self) -> str:
        """Press the button; returns what the page says in the end."""
        self.press()
        return self.answered()

    def answered(self) -> str:
        """Wait until the button can be pressed again; returns what the page says."""
        self.page.wait_for_function('before => window.rests > before', arg=self.rests)
        self.page.locator('#rc-detect:not([disabled])', has_text='Detect').wait_for()
        return self.status()

    def status(self) -> str:
        """What the page says."""
        return self.page.inner_text('.rc-status').strip()

    def wait_for(self, text: str) -> None:
        """Until the page says so."""
        self.page.locator('.rc-status', has_text=text).wait_for()

    def rows(self) -> list[list[str]]:
        """Cells of the table of detections that are on the screen."""
        self.page.get_by_role('tab', name='Detections').click()
        return self.cells('#rc-table')

    def cells(self, table: str) -> list[list[str]]:
        """Texts of a table's cells that are on the screen."""
        self.page.wait_for_timeout(300)  # rows follow the message
        rows = self.page.locator(f'{table} .virtual-body [role=row]')
        cells = [row.locator('[role=gridcell]').all_inner_texts() for row in rows.all()]
        return [[cell.strip() for cell in row] for row in cells if any(map(str.strip, row))]

    def image(self) -> np.ndarray:
        """The image with boxes."""
        address = self.page.locator('#rc-result img').get_attribute('src')
        content = self.page.request.get(address).body()
        return np.asarray(Image.open(io.BytesIO(content)).convert('RGB'))

    def toasts(self) -> str:
        """Messages that gradio itself shows."""
        self.page.locator('.toast-body').first.wait_for()
        return '\n'.join(self.page.locator('.toast-body').all_inner_texts())


def main(address: str, path: str, example: str = '0', lowest_score: str = '0.5') -> None:
    """Take the image of the documentation: an example, detected."""
    with browser() as chromium:
        visitor = Visitor(chromium, address)
        visitor.page.set_viewport_size(dict(width=1280, height=1010))
        visitor.page.locator('tr.tr-body').nth(int(example)).click()
        visitor.wait_for('Press Detect')
        visitor.set_score(lowest_score)
        print(json.dumps(dict(status=visitor.detect(), rows=visitor.rows()), indent=1))
        visitor.page.evaluate('window.scrollTo(0, 0)')
        visitor.page.mouse.move(0, 0)
        visitor.page.wait_for_timeout(1000)
        visitor.page.screenshot(path=path, type='jpeg', quality=85)


if __name__ == '__main__':
    main(*sys.argv[1:])
