# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Answers as the values of the page's five outputs: status, picture, two tables, JSON."""

from __future__ import annotations

import html
import logging
import traceback
from collections.abc import Callable
from uuid import uuid4

from mmengine.logging import print_log

from .errors import UserError
from .outcomes import Outcome


def safely(answer: Callable[[], list]) -> list:
    """An answer, or a message in its place; whatever happens, the page lives on."""
    try:
        return answer()
    except UserError as error:
        return blank('error', str(error))
    except Exception:  # a fault of ours: for the log, not for the visitor
        number = uuid4().hex[:8]
        print_log(f'fault {number}\n{traceback.format_exc()}', 'current', logging.ERROR)
        return blank(
            'error',
            f'Something went wrong on the server. Its log has the details under number {number}; '
            'other pictures and words may still work.',
        )


def answered(outcome: Outcome) -> list:
    """Detections and what regions resemble, as rows of the tables, too."""
    detections = [
        [
            found['name'],
            found['score'],
            ', '.join(f'{v:.0f}' for v in found['box']),
            found['region'],
        ]
        for found in outcome.detections
    ]
    regions = [
        [
            region['region'],
            ', '.join(f'{found["name"]} {found["probability"]:.2f}' for found in region['names']),
        ]
        for region in outcome.regions
    ]
    content = dict(detections=outcome.detections, regions=outcome.regions)
    status = banner('done', outcome.summary, '. '.join(outcome.notes))
    return [status, outcome.picture, detections, regions, content]


def blank(kind: str, message: str) -> list:
    """A message, and nothing where results would be; ``kind``: wait, done, or error."""
    return [banner(kind, message), None, [], [], None]


def banner(kind: str, message: str, note: str = '') -> str:
    """A message, escaped: it may repeat what the visitor typed."""
    small = f'<div class="rc-note">{html.escape(note)}</div>' if note else ''
    role = 'alert' if kind == 'error' else 'status'
    return f'<div class="rc-status rc-{kind}" role="{role}">{html.escape(message)}{small}</div>'
