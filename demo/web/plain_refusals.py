# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What gradio cannot read becomes a message that says nothing of the server, and a line in the log.

Requests that the page never sends (wrong types, other paths, unknown functions) end in gradio's own
errors otherwise: tracebacks in the log, folders of the server in the answer.
"""

from __future__ import annotations

import logging
from typing import Any
from uuid import uuid4

import gradio as gr
from mmengine.logging import print_log
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import UserError


class PlainBlocks(gr.Blocks):
    """Gradio's page with plain refusals."""

    async def process_api(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Answer a request."""
        try:
            if _has_address([*args[1:2], kwargs.get('inputs')]):
                raise UserError('a file elsewhere is named')  # gradio would fetch it
            return await super().process_api(*args, **kwargs)
        except gr.Error:
            raise
        except Exception as error:
            raise gr.Error(_refusal(error), print_exception=False) from None


class PlainErrors:
    """What no function of the page can be found for.

    Args:
        app: the application that is served.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        begun = False

        async def send_on(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, send_on)
        except Exception as error:
            if begun or scope['type'] != 'http':
                raise
            answer = JSONResponse(dict(error=_refusal(error)), status_code=400)
            await answer(scope, receive, send)


def _refusal(error: Exception) -> str:
    number = uuid4().hex[:8]
    reason = ' '.join(str(error).split())[:300]
    print_log(f'refused {number}: {type(error).__name__}: {reason}', 'current', logging.WARNING)
    return (
        'This request cannot be read: it is not one that the page sends. Load the page again. '
        f"(Number {number} in the server's log.)"
    )


def _has_address(value: Any) -> bool:
    if isinstance(value, dict):
        path = value.get('path')
        if isinstance(path, str) and '://' in path:
            return True
        value = list(value.values())
    return isinstance(value, list | tuple) and any(map(_has_address, value))
