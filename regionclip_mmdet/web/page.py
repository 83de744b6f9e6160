# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The page itself, in gradio: what it shows, and which event asks what.

Nothing about a visitor lives on the server but files in gradio's temporary folder: every event
carries the words, the settings and the name of the upload with it.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder

from .detections import DetectionService, Question
from .errors import UserError
from .values import answered, banner, blank, safely
from .vocabularies import Preset

TITLE = 'RegionCLIP: find things by their names'
_INTRODUCTION = (
    'Upload a picture, write what to look for, press Detect. The picture is encoded once; other '
    'words and thresholds are then answered quickly.'
)
_NO_PRESET = 'None: only my words'
_BOX = 'box (x1, y1, x2, y2)'
_BUSY = 'Too many questions are waiting on this server. Press Detect again in a moment.'
_WAITING = 'Choose a picture and some names.'
# All that encodes or compares counts against one limit.
_QUEUE = 'detections'
# Ends of two sliders.
_MOST_DETECTIONS = 300
_MOST_NAMES_LISTED = 20


@dataclass(frozen=True)
class PageSettings:
    """What the page begins with.

    Attributes:
        about: Which model this is and what it takes, a line of text.
        score_thr: Of the slider.
        max_score: Where the slider ends; scores fused with raw logits exceed 1.
        max_per_img: Of the slider.
        iou_thr: Of the slider; what the model is configured with. None: no such slider.
        concurrency: Questions answered at a time.
        queue_size: Questions that may wait; more are told to come back.
        uploads_kept_s: Seconds after which uploaded files are deleted.
    """

    about: str = ''
    score_thr: float = 0.3
    max_score: float = 1.0
    max_per_img: int = 50
    iou_thr: float | None = 0.5
    concurrency: int = 1
    queue_size: int = 20
    uploads_kept_s: int = 3600


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
        examples: Paths of pictures and words.
        settings: What the page begins with.
    """
    # preprocess=False: gradio's own decoding would fail on what only ``read_picture`` explains
    raw = dict(preprocess=False, api_visibility='private')
    keep = settings.uploads_kept_s
    with gr.Blocks(
        title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(keep // 4, keep)
    ) as page:
        gr.HTML(f'<h1>{TITLE}</h1><p>{_INTRODUCTION}</p>', elem_id='rc-head')
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=320):
                picture = gr.Image(
                    label='Picture', type='filepath', image_mode=None, height=300,
                    sources=['upload', 'clipboard'], buttons=['fullscreen'], elem_id='rc-picture',
                )  # fmt: skip
                words = gr.Textbox(
                    label='Names', lines=3, max_lines=8, elem_id='rc-words',
                    info='Separated by full stops, or one a line. Shift+Enter detects.',
                    placeholder='cat . dog . red umbrella .',
                )  # fmt: skip
                preset = gr.Dropdown(
                    [_NO_PRESET, *(p.title for p in presets)], value=_NO_PRESET,
                    label='List of names', info='Goes together with your own.',
                    elem_id='rc-preset',
                )  # fmt: skip
                sliders = _sliders(settings)
                button = gr.Button('Detect', variant='primary', elem_id='rc-detect')
            with gr.Column(scale=3, min_width=320):
                status = gr.HTML(banner('wait', _WAITING), elem_id='rc-status')
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
                [list(example) for example in examples], inputs=[picture, words],
                label='Examples', cache_examples=False, preload=False,
            )  # fmt: skip
        gr.HTML(f'<p>{html.escape(settings.about)}</p>', elem_id='rc-foot')

        asked = [picture, words, preset, *sliders]
        shown = [status, result, table, regions, content]
        ask = _asker(service, presets, settings)
        quick = dict(queue=False, show_progress='hidden', api_visibility='private')
        ran = gr.on(
            [button.click, words.submit],
            lambda: gr.update(value='Detecting ...', interactive=False),
            outputs=button,
            **quick,
        ).then(ask, asked, shown, concurrency_id=_QUEUE, show_progress_on=[result], **raw)
        ran.then(_rested, outputs=button, **quick)
        # gradio's own refusals, which do not reach ``ask``, end the chain above
        ran.failure(lambda: [_rested(), banner('error', _BUSY)], outputs=[button, status], **quick)
        moved = gr.on(
            [slider.release for slider in sliders], _only_with_picture(ask), asked, shown,
            concurrency_id=_QUEUE, show_progress_on=[result], trigger_mode='always_last', **raw,
        )  # fmt: skip
        # what was asked of the picture before is not to appear under this one
        picture.change(
            _looker(service), picture, [*shown, button], queue=False, show_progress='hidden',
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
            1, _most(settings), settings.max_per_img, step=1, label='Most detections'
        )  # fmt: skip
        top_k = gr.Slider(1, _MOST_NAMES_LISTED, 5, step=1, label='Names listed for each region')
        overlap = gr.Slider(
            0.1, 1, settings.iou_thr or 0.5, step=0.05, visible=settings.iou_thr is not None,
            label='Overlap (IoU) up to which boxes of one name are kept',
        )  # fmt: skip
    return [score, most, top_k, overlap]


def _most(settings: PageSettings) -> int:
    return max(_MOST_DETECTIONS, settings.max_per_img)


def _within(value: float, most: int) -> int:
    """What a slider would have sent: a visitor's own request may hold anything, 0 for no limit."""
    return min(max(int(value), 1), most)


def _asker(
    service: DetectionService, presets: Sequence[Preset], settings: PageSettings
) -> Callable[..., list]:
    names_of = {preset.title: preset.names for preset in presets}

    def ask(
        upload: dict | None,
        words: str | None,
        preset: str | None,
        score_thr: float,
        max_per_img: float,
        top_k: float,
        iou_thr: float,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  (how gradio hands it over)
    ) -> list:
        def report(stage: str, part: float | None) -> None:
            progress(part or 0.0, desc=stage)  # without a number gradio shows no text

        def answer() -> list:
            question = Question(
                words=words or '',
                preset=names_of.get(preset, ()),
                score_thr=float(score_thr),
                max_per_img=_within(max_per_img, _most(settings)),
                iou_thr=None if settings.iou_thr is None else float(iou_thr),
                top_k=_within(top_k, _MOST_NAMES_LISTED),
            )
            return answered(service.answer(_read(upload, service), question, report))

        return safely(answer)

    return ask


def _only_with_picture(ask: Callable[..., list]) -> Callable[..., list]:
    def refresh(
        upload: dict | None,
        words: str | None,
        preset: str | None,
        *settings: float,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> list:
        if not upload or (not (words or '').strip() and preset in (None, _NO_PRESET)):
            return [gr.skip()] * 5
        return ask(upload, words, preset, *settings, progress=progress)

    return refresh


def _looker(service: DetectionService) -> Callable[..., list]:
    """What happens when another picture is chosen: old results go, the picture is checked."""

    def look(upload: dict | None) -> list:
        if not upload:
            return [*blank('wait', _WAITING), _rested()]
        seen = safely(
            lambda: blank('wait', f'{service.look(_read(upload, service))} Press Detect.')
        )
        return [*seen, _rested()]

    return look


def _read(upload: dict | None, service: DetectionService) -> bytes:
    """Bytes of an upload, and of no other file of the server, whatever path the visitor sends."""
    if not upload or not upload.get('path'):
        raise UserError('No picture yet. Choose one, or take an example.')
    path = Path(upload['path']).resolve()
    # gradio lets any path through that does not say it is one of its own
    if not path.is_relative_to(Path(get_upload_folder()).resolve()) or not path.is_file():
        raise UserError('The picture is no longer on the server. Upload it again.')
    with path.open('rb') as file:  # one byte more than allowed is enough to be refused
        return file.read(service.limits.max_bytes + 1)
