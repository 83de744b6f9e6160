# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The page itself, in gradio: what it shows, and which event queries what.

Nothing about a visitor lives on the server but files in gradio's temporary folder: every event
carries the words, the settings and the name of the upload with it.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder
from starlette.middleware import Middleware

from .detections import DetectionService, Report
from .outcomes import banner
from .plain_refusals import PlainBlocks, PlainErrors
from .requests import (
    MOST_NAMES_LISTED,
    NO_PRESET,
    OVERLAP,
    WAITING,
    PageSettings,
    RequestReader,
)
from .vocabularies import Preset

TITLE = 'RegionCLIP: find things by their names'
_INTRODUCTION = (
    'Upload an image, write what to look for, press Detect. The image is encoded once; other '
    'words and thresholds are then answered quickly.'
)
_BOX = 'box (x1, y1, x2, y2)'
_BUSY = 'Too many queries are waiting on this server. Press Detect again in a moment.'
# All that encodes or compares counts against one limit.
_QUEUE = 'detections'


def build_page(
    service: DetectionService,
    presets: Sequence[Preset],
    examples: Sequence[tuple[str, str]],
    settings: PageSettings,
) -> gr.Blocks:
    """The page, ready to be launched with ``LAUNCH``.

    Args:
        service: Answers.
        presets: Lists of names to choose from.
        examples: Paths of images and words.
        settings: initial values of the page.
    """
    # preprocess=False: gradio's own decoding would fail on what only ``read_upload`` explains
    raw = dict(preprocess=False, api_visibility='private')
    keep = settings.uploads_kept_s
    with PlainBlocks(
        title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(keep // 4, keep)
    ) as page:
        gr.HTML(f'<h1>{TITLE}</h1><p>{_INTRODUCTION}</p>', elem_id='rc-head')
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=320):
                image = gr.Image(
                    label='Image', type='filepath', image_mode=None, height=300,
                    sources=['upload', 'clipboard'], buttons=['fullscreen'], elem_id='rc-image',
                )  # fmt: skip
                words = gr.Textbox(
                    label='Names', lines=3, max_lines=8, elem_id='rc-words',
                    info='Separated by full stops or commas, or one a line. Shift+Enter detects.',
                    placeholder='cat . dog . red umbrella .',
                )  # fmt: skip
                preset = gr.Dropdown(
                    [NO_PRESET, *(p.title for p in presets)], value=NO_PRESET,
                    label='List of names', info='Goes together with your own.',
                    elem_id='rc-preset',
                )  # fmt: skip
                sliders = _sliders(settings)
                button = gr.Button('Detect', variant='primary', elem_id='rc-detect')
            with gr.Column(scale=3, min_width=320):
                status = gr.HTML(banner('wait', WAITING), elem_id='rc-status')
                result = gr.Image(
                    show_label=False, format='png', interactive=False,
                    buttons=['download', 'fullscreen'], elem_id='rc-result',
                )  # fmt: skip
                with gr.Tab('Detections'):
                    table = gr.Dataframe(
                        headers=['name', 'score', _BOX, 'region'],
                        datatype=['str', 'number', 'str', 'number'], type='array',
                        interactive=False, show_label=False, max_height=340, wrap=True,
                        column_widths=['34%', '14%', '36%', '16%'], elem_id='rc-table',
                    )  # fmt: skip
                with gr.Tab('What each region resembles'):
                    regions = gr.Dataframe(
                        headers=['region', 'best names with their probabilities'],
                        datatype=['number', 'str'], type='array', interactive=False,
                        show_label=False, max_height=340, wrap=True, column_widths=['15%', '85%'],
                        elem_id='rc-regions',
                    )  # fmt: skip
                with gr.Tab('JSON'):
                    content = gr.JSON(show_label=False, max_height=340, elem_id='rc-json')
        if examples:
            gr.Examples(
                [list(example) for example in examples], inputs=[image, words],
                label='Examples', cache_examples=False, preload=False,
            )  # fmt: skip
        gr.HTML(f'<p>{html.escape(settings.about)}</p>', elem_id='rc-foot')

        inputs = [image, words, preset, *sliders]
        shown = [status, result, table, regions, content]
        reader = RequestReader(service, presets, settings, get_upload_folder())
        quick = dict(queue=False, show_progress='hidden', api_visibility='private')
        ran = gr.on(
            [button.click, words.submit],
            lambda: gr.update(value='Detecting ...', interactive=False),
            outputs=button,
            **quick,
        ).then(
            _on_detect(reader), inputs, shown, concurrency_id=_QUEUE,
            show_progress_on=[result], **raw,
        )  # fmt: skip
        ran.then(_rested, outputs=button, **quick)
        # gradio's own refusals, which do not reach ``detect``, end the chain above
        ran.failure(lambda: [_rested(), banner('error', _BUSY)], outputs=[button, status], **quick)
        moved = gr.on(
            [slider.release for slider in sliders], _on_refresh(reader), inputs, shown,
            concurrency_id=_QUEUE, show_progress_on=[result], trigger_mode='always_last', **raw,
        )  # fmt: skip
        # results of the image before are not to appear under this one
        image.change(
            _on_image(reader), image, [*shown, button], queue=False, show_progress='hidden',
            cancels=[ran, moved], **raw,
        )  # fmt: skip
    page.queue(
        max_size=settings.queue_size, default_concurrency_limit=settings.concurrency,
        api_open=False,
    )  # fmt: skip
    return page


def launch_settings() -> dict:
    """Arguments of ``launch``: nothing is fetched from, sent to or shared with anyone."""
    return dict(
        share=False,
        app_kwargs=dict(middleware=[Middleware(PlainErrors)]),
        show_error=True,
        enable_monitoring=False,
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        footer_links=[],
        theme=gr.themes.Soft(
            primary_hue='emerald',
            font=['system-ui', 'sans-serif'],
            font_mono=['ui-monospace', 'monospace'],
        ),
        css_paths=Path(__file__).with_name('page.css'),
    )


def _rested() -> dict:
    """The button as it was; gradio takes the dict apart, so each needs its own."""
    return gr.update(value='Detect', interactive=True)


def _sliders(settings: PageSettings) -> list[gr.Slider]:
    """Score threshold, most detections, names per region, overlap; in this order."""
    score = gr.Slider(
        0, settings.max_score, settings.score_thr, step=0.01, label='Lowest score',
        elem_id='rc-score',
    )  # fmt: skip
    with gr.Accordion('More settings', open=False):
        most = gr.Slider(
            1, settings.most_detections, settings.max_per_img, step=1, label='Most detections'
        )  # fmt: skip
        top_k = gr.Slider(1, MOST_NAMES_LISTED, 5, step=1, label='Names listed for each region')
        overlap = gr.Slider(
            *OVERLAP, settings.iou_thr or 0.5, step=0.05, visible=settings.iou_thr is not None,
            label='Overlap (IoU) up to which boxes of one name are kept',
        )  # fmt: skip
    return [score, most, top_k, overlap]


def _on_detect(reader: RequestReader) -> Callable[..., list]:
    def detect(
        upload: Any,
        *values: Any,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  (how gradio hands it over)
    ) -> list:
        return reader.detect(upload, values, _reporter(progress))

    return detect


def _on_refresh(reader: RequestReader) -> Callable[..., list]:
    def refresh(
        upload: Any,
        *values: Any,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> list:
        shown = reader.refresh(upload, values, _reporter(progress))
        return [gr.skip()] * 5 if shown is None else shown

    return refresh


def _on_image(reader: RequestReader) -> Callable[..., list]:
    def look(upload: Any) -> list:
        return [*reader.look(upload), _rested()]

    return look


def _reporter(progress: gr.Progress) -> Report:
    def report(stage: str, part: float | None) -> None:
        progress(part or 0.0, desc=stage)  # without a number gradio shows no text

    return report
