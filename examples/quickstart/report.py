# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Stage 7: what was done and measured, as Markdown and as one HTML file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regionclip_mmdet.datasets.shapes_world import NOVEL_CLASSES
from regionclip_mmdet.fileio import write_text

from .console import clock
from .document import Document
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
    document = Document('CLIP becomes RegionCLIP, in a world of colored shapes')
    _introduction(document, edition)
    seeds = [_results(workspace, prefix) for prefix in prefixes]
    _result_section(document, seeds)
    _teacher_note(document, workspace, prefixes)
    _steps_section(document, workspace, prefixes)
    _pictures_section(document, workspace.root / prefixes[0], folder)
    _real_size_section(document, workspace)
    _reading_section(document)
    paths = [folder / name for name in REPORT_NAMES]
    write_text(paths[0], document.to_markdown(folder))
    write_text(paths[1], document.to_html())
    return paths


def _results(workspace: Workspace, prefix: str) -> dict[tuple[str, str], dict]:
    """Measured tables of one seed by (stage, entry)."""
    tables = {}
    for _, stage, entry in MEASURES:
        result = workspace.marker(prefix + stage).get('result', {})
        if entry in result:
            tables[stage, entry] = result[entry]
    return tables


def _introduction(document: Document, edition: str) -> None:
    if edition == 'smoke':
        document.paragraph(
            '**This was a smoke run of a few steps per stage. Its numbers mean nothing.**'
        )
    document.paragraph(
        'A small CLIP learned from captions of images that mostly show one large object. Here it '
        'is asked to name the small objects of crowded scenes, region by region. RegionCLIP '
        '(Zhong et al., CVPR 2022) lets that same CLIP, shown the scenes enlarged, label regions '
        'of captioned scenes and learns from its labels; no box with a name is used. Then both '
        'are fine-tuned as detectors on the boxes of 48 **base** names and tested on 64, of which '
        '16 are **novel**: they occurred in captions, never with a box.'
    )


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
    """``12.3 ± 0.4``, with a sign where asked for."""
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


HEADER = ('', 'classes', 'CLIP', 'RegionCLIP', 'difference')


def _result_section(document: Document, seeds: Sequence[Mapping]) -> None:
    if not seeds[0]:
        return
    several = len(seeds) > 1
    tables = mean_over_seeds(seeds) if several else seeds[0]
    cards = [
        ('Novel AP50 after transfer', ('transfer', 'ap50')),
        ('Novel AP50, zero-shot, localizer boxes', ('zero_shot', 'rpn_ap50')),
        ('Novel names right on annotated boxes, zero-shot', ('zero_shot', 'gt_accuracy')),
    ]
    novel = [(what, tables[key]['novel']) for what, key in cards if key in tables]
    document.cards(
        [
            (
                what,
                f'{cell["clip"][0]:.1f} → {cell["regionclip"][0]:.1f}',
                f'difference {show(cell["difference"], signed=True)}',
            )
            for what, cell in novel
        ]
    )
    document.heading('What was measured')
    document.paragraph(
        'Percent, on held-out scenes. '
        + (
            f'Means over {len(seeds)} seeds fixed beforehand, with the standard error of the mean.'
            if several
            else 'Standard errors are over images (bootstrap; the difference is paired: both '
            'models on the same draws). They do not tell how another training seed would have '
            'come out.'
        )
    )
    document.table(HEADER, result_rows(tables), text_columns=2)
    for seed, table in enumerate(seeds if several else ()):
        document.paragraph(f'Run {seed + 1} of {len(seeds)}; standard errors over images:')
        document.table(HEADER, result_rows(table), text_columns=2)


def _teacher_note(document: Document, workspace: Workspace, prefixes: Sequence[str]) -> None:
    results = [workspace.marker(f'{prefix}zero_shot').get('result', {}) for prefix in prefixes]
    found = [result['teacher_accuracy'] for result in results if 'teacher_accuracy' in result]
    if found:
        means = {split: np.mean([table[split][0] for table in found]) for split in SPLITS}
        document.paragraph(
            'For comparison: the teacher, that is CLIP shown the scenes enlarged, names this share '
            'of annotated boxes right: '
            + ', '.join(f'{split} {means[split]:.1f} %' for split in SPLITS)
            + '. CLIP and RegionCLIP in the table see the scenes at one size.'
        )


def _steps_section(document: Document, workspace: Workspace, prefixes: Sequence[str]) -> None:
    document.heading('What was done')
    prefix = prefixes[0]
    marker = {
        name: workspace.marker(prefix + name)
        for name in ('world', 'clip', 'localizer', 'pretrain', 'zero_shot', 'transfer')
    }
    described = (describe_step(name, m.get('result', {})) for name, m in marker.items())
    rows = [
        [title, finding, clock(m['seconds'])]
        for (title, finding), m in zip(described, marker.values())
        if m
    ]
    if len(prefixes) > 1:
        document.paragraph('Findings and times of the first run.')
    document.table(('step', 'finding', 'time'), rows, text_columns=2)


def describe_step(name: str, result: Mapping[str, Any]) -> tuple[str, str]:
    """Title and finding of a stage, from its result."""
    if not result:
        return name, ''
    if name == 'world':
        images = result['images']
        finding = ', '.join(f'{n} {key.replace("_", " ")}' for key, n in images.items())
        return '1. Shapes world', finding
    if name == 'clip':
        finding = f'names {result["top1"]:.1f} % of held-out single objects right (chance 1.6 %)'
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


def _pictures_section(document: Document, folder: Path, out: Path) -> None:
    world = folder / 'world'
    if (folder / 'transfer' / 'regionclip.bbox.json').exists():
        document.heading('Held-out scenes')
        scenes = Scenes(world / 'scenes_val', NOVEL_CLASSES)
        tuned = folder / 'transfer'
        document.picture(
            detections_image(
                scenes,
                [
                    ('CLIP, zero-shot', folder / 'zero_shot' / 'clip_rpn.bbox.json'),
                    ('RegionCLIP, zero-shot', folder / 'zero_shot' / 'regionclip_rpn.bbox.json'),
                ],
                out / 'zero_shot.jpg',
            ),
            "Zero-shot with the localizer's boxes. The first scenes with a novel object (◆), not "
            'chosen otherwise. Green: named right. Red: named wrong. Gray: on no object. The best '
            'name per place, with score 0.5 or more.',
        )
        document.picture(
            detections_image(
                scenes,
                [
                    ('after transfer, from CLIP', tuned / 'clip.bbox.json'),
                    ('after transfer, from RegionCLIP', tuned / 'regionclip.bbox.json'),
                ],
                out / 'transfer.jpg',
            ),
            'The same scenes after fine-tuning on base boxes.',
        )
    if (folder / 'pretrain' / 'pseudo_labels.json').exists():
        document.heading('Pseudo labels: what RegionCLIP learned from')
        document.picture(
            pseudo_labels_image(
                Scenes(world / 'scenes_train', NOVEL_CLASSES),
                folder / 'pretrain' / 'pseudo_labels.json',
                out / 'pseudo_labels.jpg',
            ),
            'Regions that the localizer proposed in captioned scenes, and what CLIP called them, '
            'sure enough to be learned from. The colors tell what training did not know: green is '
            'right, red wrong, gray on no object.',
        )
    document.heading('Loss curves')
    document.picture(curves_image(folder, out / 'curves.png'), 'Thin: logged; thick: smoothed.')


def _real_size_section(document: Document, workspace: Workspace) -> None:
    result = workspace.marker('real_size').get('result')
    if not result:
        return
    document.heading('The same code at real size')
    height, width = result['input_size']
    document.paragraph(
        f'RN50 detector with an R50-C4 localizer, {width} × {height} pixels, '
        f'{result["proposals"]} proposals, CPU threads: {result["threads"]}, generated weights: it '
        'shows that the path runs and where its time goes. The boxes and names mean nothing.'
    )
    total = result['total']
    rows = [
        [part, f'{s:.2f} s', f'{100 * s / total:.0f} %'] for part, s in result['seconds'].items()
    ]
    document.table(('part', 'time', 'share'), [*rows, ['**total**', f'**{total:.2f} s**', '']])
    document.picture(
        workspace.folder('real_size') / 'detections.jpg',
        'Best-scored boxes of an untrained detector. Photograph: NASA, public domain.',
    )


def _reading_section(document: Document) -> None:
    document.heading('How to read this')
    document.paragraph(
        'Top-1 accuracy on annotated boxes tests region embeddings alone. AP50 with localizer '
        'boxes tests naming and finding together. Transfer is where the paper reports its largest '
        'gain (novel AP50 about 14 to 31 on COCO). The world is small and so is the run: look at '
        'the differences and their errors, not at the absolute numbers.'
    )
    document.paragraph(
        "Everything lies in this folder's parent: checkpoints, detections as COCO-format JSON, "
        'and the full log of every run. `docs/quickstart.md` explains the stages and gives the '
        'results of the larger runs with several seeds.'
    )
