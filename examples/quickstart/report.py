# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Stage 7: what was done and measured, as Markdown and as one HTML file."""

from __future__ import annotations

import base64
import html
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from regionclip_mmdet.datasets.shapes_world import NOVEL_CLASSES
from regionclip_mmdet.fileio import write_text

from .console import clock
from .images import Scenes, curves_image, detections_image, pseudo_labels_image
from .workspace import Job, Workspace

SPLITS = ('novel', 'base', 'all')
# Shown name, stage, entry of its result.
MEASURES = (
    ('Zero-shot, annotated boxes: top-1 accuracy', 'zero_shot', 'gt_accuracy'),
    ('Zero-shot, annotated boxes: AP50', 'zero_shot', 'gt_ap50'),
    ('Zero-shot, localizer boxes: AP50', 'zero_shot', 'rpn_ap50'),
    ('Transfer, trained on base boxes: AP50', 'transfer', 'ap50'),
)
COLUMNS = ('clip', 'regionclip', 'difference')
HEADER = ('', 'classes', 'CLIP', 'RegionCLIP', 'difference')
REPORT_NAMES = ('report.md', 'report.html')


def report(job: Job) -> dict[str, Any]:
    """Stage 7: write the report."""
    settings = job.stage.settings
    paths = write_report(job.workspace, settings['prefixes'], settings['edition'])
    return dict(files=[str(p.relative_to(job.workspace.root)) for p in paths])


def write_report(workspace: Workspace, prefixes: Sequence[str], edition: str) -> list[Path]:
    """Write the report from the stages' results; what has not run is left out.

    Args:
        workspace: Folder of the run.
        prefixes: Prefix of the stage names of each seed.
        edition: ``'demo'``, ``'full'`` or ``'smoke'``.

    Returns:
        The Markdown and the HTML file.
    """
    folder = workspace.folder('report')
    folder.mkdir(parents=True, exist_ok=True)
    seeds = [_results(workspace, prefix) for prefix in prefixes]
    tables = mean_over_seeds(seeds) if len(seeds) > 1 else seeds[0]
    real_size = workspace.marker('real_size').get('result')
    content = dict(
        edition=edition,
        header=HEADER,
        seeds=[result_rows(table) for table in seeds],
        tables=result_rows(tables),
        cards=_cards(tables),
        teacher=_teacher_accuracy(workspace, prefixes),
        steps=_steps(workspace, prefixes[0]),
        real_size=real_size,
        parts=_parts(real_size) if real_size else [],
        images=_images(workspace, workspace.root / prefixes[0], folder),
    )
    paths = [folder / name for name in REPORT_NAMES]
    write_text(paths[0], render(content, 'markdown', folder))
    write_text(paths[1], render(content, 'html', folder))
    return paths


def render(content: Mapping[str, Any], style: str, folder: Path) -> str:
    """Fill ``report.j2``, whose text may use Markdown's ``**bold**`` and `` `code` ``.

    Args:
        content: What the template names.
        style: ``'markdown'`` (images are linked) or ``'html'`` (one file with everything inside).
        folder: Folder of the report.
    """
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, undefined=jinja2.StrictUndefined, keep_trailing_newline=False
    )
    environment.filters.update(
        one_line=lambda text: ' '.join(text.split()),
        inline=_inline,
        data_address=_data_address,
        relative=lambda path: Path(os.path.relpath(path, folder)).as_posix(),
    )
    macros = environment.get_template(f'{style}.j2').module
    return environment.get_template('report.j2').render({**content, 'as': macros})


def _inline(text: str) -> str:
    text = html.escape(text, quote=False)
    text = re.sub(r'\*\*(.+?)\*\*', r'<strong>\1</strong>', text)
    return re.sub(r'`(.+?)`', r'<code>\1</code>', text)


def _data_address(path: Path) -> str:
    """An image as an address that holds all of it."""
    kind = 'jpeg' if path.suffix.lower() in ('.jpg', '.jpeg') else 'png'
    return f'data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}'


def _results(workspace: Workspace, prefix: str) -> dict[tuple[str, str], dict]:
    """Measured tables of one seed by (stage, entry)."""
    tables = {}
    for _, stage, entry in MEASURES:
        result = workspace.marker(prefix + stage).get('result', {})
        if entry in result:
            tables[stage, entry] = result[entry]
    return tables


def mean_over_seeds(seeds: Sequence[Mapping]) -> dict[tuple[str, str], dict]:
    """Means over seeds; the error is that of the mean, from the spread between seeds."""
    merged: dict[tuple[str, str], dict] = {}
    for key in seeds[0]:
        merged[key] = {
            split: {c: _mean_and_error([s[key][split][c][0] for s in seeds]) for c in COLUMNS}
            for split in SPLITS
        }
    return merged


def _mean_and_error(values: Sequence[float]) -> list[float]:
    return [float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values)))]


def show(estimate: Sequence[float], signed: bool = False) -> str:
    """``12.3 ± 0.4``, with a sign if ``signed``."""
    value, error = estimate
    return f'{value:+.1f} ± {error:.1f}' if signed else f'{value:.1f} ± {error:.1f}'


def result_rows(tables: Mapping[tuple[str, str], Mapping]) -> list[list[str]]:
    """Rows of the result table: measure, split, CLIP, RegionCLIP, difference."""
    rows = []
    for name, stage, entry in MEASURES:
        for split in SPLITS if (stage, entry) in tables else ():
            cell = tables[stage, entry][split]
            first = f'**{name}**' if split == SPLITS[0] else ''
            rows.append(
                [first, split, show(cell['clip']), show(cell['regionclip'])]
                + [f'**{show(cell["difference"], signed=True)}**']
            )
    return rows


def _cards(tables: Mapping[tuple[str, str], Mapping]) -> list[tuple[str, str, str]]:
    """Key numbers: what it is, the value, a note."""
    cards = [
        ('Novel AP50 after transfer', ('transfer', 'ap50')),
        ('Novel AP50, zero-shot, localizer boxes', ('zero_shot', 'rpn_ap50')),
        ('Novel classes right on annotated boxes, zero-shot', ('zero_shot', 'gt_accuracy')),
    ]
    novel = [(what, tables[key]['novel']) for what, key in cards if key in tables]
    return [
        (
            what,
            f'{cell["clip"][0]:.1f} → {cell["regionclip"][0]:.1f}',
            f'difference {show(cell["difference"], signed=True)}',
        )
        for what, cell in novel
    ]


def _teacher_accuracy(workspace: Workspace, prefixes: Sequence[str]) -> dict[str, float]:
    """Percent by split, mean over seeds; empty if it was not measured."""
    results = [workspace.marker(f'{prefix}zero_shot').get('result', {}) for prefix in prefixes]
    found = [result['teacher_accuracy'] for result in results if 'teacher_accuracy' in result]
    means = {split: np.mean([table[split][0] for table in found]) for split in SPLITS if found}
    return {split: float(mean) for split, mean in means.items()}


def _steps(workspace: Workspace, prefix: str) -> list[list[str]]:
    """Title, finding and time of each stage that has run."""
    stages = ('world', 'clip', 'localizer', 'pretrain', 'zero_shot', 'transfer')
    markers = {name: workspace.marker(prefix + name) for name in stages}
    return [
        [*describe_step(name, marker.get('result', {})), clock(marker['seconds'])]
        for name, marker in markers.items()
        if marker
    ]


def describe_step(name: str, result: Mapping[str, Any]) -> tuple[str, str]:
    """Title and finding of a stage, from its result."""
    if not result:
        return name, ''
    if name == 'world':
        images = result['images']
        finding = ', '.join(f'{n} {key.replace("_", " ")}' for key, n in images.items())
        return '1. Shapes world', finding
    if name == 'clip':
        finding = f'{result["top1"]:.1f} % of held-out single objects right (chance 1.6 %)'
        return '2. Tiny CLIP from captions', f'{finding}; logit scale {result["logit_scale"]:.0f}'
    if name == 'localizer':
        recall = result['recall']
        shown = ', '.join(f'{split} {recall[split]:.1f} %' for split in SPLITS if split in recall)
        finding = f'recall at IoU 0.5 with {result["num_proposals"]} boxes: {shown}'
        return '3. Localizer from base boxes', finding
    if name == 'pretrain':
        quality = result['pseudo_labels']
        finding = (
            f'{result["concepts"]} concepts found in captions; scenes in {result["shards"]} '
            f'shards, {result["proposals_per_second"]:.0f} a second through the localizer; '
            f'{quality["on_objects"]:.0f} % of the labeled regions lie on objects, '
            f'{quality["right"]:.0f} % of those labels right'
        )
        return '4. Region-text pretraining', finding
    if name == 'zero_shot':
        return '5. Zero-shot tests', 'see above'
    return '6. Transfer from both initializations', 'see above'


def _images(workspace: Workspace, folder: Path, out: Path) -> dict[str, Path]:
    """Draw what the stages of a seed's folder allow, into ``out``."""
    world, zero_shot, tuned = folder / 'world', folder / 'zero_shot', folder / 'transfer'
    drawn = dict(
        curves=curves_image(folder, out / 'curves.png'),
        real_size=workspace.folder('real_size') / 'detections.jpg',
    )
    if (tuned / 'regionclip.bbox.json').exists():
        scenes = Scenes(world / 'scenes_val', NOVEL_CLASSES)
        columns = dict(
            zero_shot=[
                ('CLIP, zero-shot', zero_shot / 'clip_rpn.bbox.json'),
                ('RegionCLIP, zero-shot', zero_shot / 'regionclip_rpn.bbox.json'),
            ],
            transfer=[
                ('after transfer, from CLIP', tuned / 'clip.bbox.json'),
                ('after transfer, from RegionCLIP', tuned / 'regionclip.bbox.json'),
            ],
        )
        for name, found in columns.items():
            drawn[name] = detections_image(scenes, found, out / f'{name}.jpg')
    if (folder / 'pretrain' / 'pseudo_labels.json').exists():
        drawn['pseudo_labels'] = pseudo_labels_image(
            Scenes(world / 'scenes_train', NOVEL_CLASSES),
            folder / 'pretrain' / 'pseudo_labels.json',
            out / 'pseudo_labels.jpg',
        )
    return drawn


def _parts(real_size: Mapping[str, Any]) -> list[list[str]]:
    """Part, time and share of a detection at real size."""
    total = real_size['total']
    rows = [
        [part, f'{seconds:.2f} s', f'{100 * seconds / total:.0f} %']
        for part, seconds in real_size['seconds'].items()
    ]
    return [*rows, ['**total**', f'**{total:.2f} s**', '']]
