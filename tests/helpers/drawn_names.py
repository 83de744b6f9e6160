# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What is written on visualizations, by this package's visualizer and by mmdet's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from mmengine.visualization import Visualizer

from regionclip_mmdet.visualization import views


@contextmanager
def drawn_names() -> Iterator[list[str]]:
    """Names, without their scores, of all labels that are drawn meanwhile."""
    names: list[str] = []
    draw_marks, draw_texts = views.draw_marks, Visualizer.draw_texts

    def ours(image: Any, marks: Any, *args: Any) -> Any:
        names.extend(row.text.rpartition(' ')[0] for mark in marks for row in mark.rows)
        return draw_marks(image, marks, *args)

    def theirs(self: Visualizer, texts: Any, *args: Any, **kwargs: Any) -> Any:
        names.extend(
            text.rpartition(': ')[0] for text in ([texts] if isinstance(texts, str) else texts)
        )
        return draw_texts(self, texts, *args, **kwargs)

    with (
        mock.patch.object(views, 'draw_marks', ours),
        mock.patch.object(Visualizer, 'draw_texts', theirs),
    ):
        yield names
