# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
r"""Time the embedding of concepts by a text tower, against the whole context for every prompt.

    python tools/benchmark.py embed-concepts
    python tools/benchmark.py embed-concepts --device cuda --sample 1203 --naive-sample 64

Names are a sample of LVIS' (a word or two, as concepts), the tower has its full size and random
weights: times do not depend on them. Rows:

whole context: all 77 tokens, the prompts of one concept at a time;
trimmed: prompts of like length together, cut behind the longest one's end;
shared beginnings: what the tools do, tokens before the name once per template and batch.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from regionclip_mmdet.datasets.categories import LVIS_V1_NAMES
from regionclip_mmdet.models.text import (
    CLIPTextEncoder,
    clean_lvis_name,
    fill_prompts,
    get_templates,
)

from ..timing import now

HELP = 'concepts embedded by a text tower: whole context, trimmed, beginnings shared'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    parser.add_argument(
        '--arch', default='RN50', help='open_clip model, or sizes as a JSON object (default: RN50)'
    )
    parser.add_argument('--templates', default='ensemble81', choices=['ensemble81', 'single'])
    parser.add_argument('--sample', type=int, default=64, help='concepts (default: %(default)s)')
    parser.add_argument(
        '--naive-sample',
        type=int,
        default=4,
        help='concepts of them in the first row (default: %(default)s)',
    )
    parser.add_argument(
        '--concepts', type=int, default=4764, help='to extrapolate to (default: %(default)s)'
    )
    parser.add_argument('--batch-size', type=int, default=256, help='prompts (default: 256)')
    parser.add_argument('--device', default='cpu', help='cpu (default) or cuda')
    parser.add_argument('--threads', type=int, default=0, help="torch's threads on a CPU")


@torch.no_grad()
def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure and print."""
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    arch = json.loads(args.arch) if args.arch.startswith('{') else args.arch
    encoder = CLIPTextEncoder(arch).to(args.device)
    names = sample_names(args.sample)
    prompts = len(get_templates(args.templates))
    tokens = encoder.tokenize([p for name in names for p in fill_prompts(name, args.templates)])
    length = float(tokens.argmax(dim=1).add(1).float().mean())
    print(
        f'{len(names)} concepts, {prompts} prompts each of {length:.1f} tokens on average; '
        f'{args.arch}, random weights, float32, {args.device}'
    )
    options = (encoder, args.templates, args.batch_size)
    rows: list[dict[str, Any]] = []
    reference = None
    for label, embed, sample in (
        ('whole context', embed_whole_context, names[: args.naive_sample]),
        ('trimmed', embed_trimmed, names),
        ('shared beginnings', embed_as_the_tools, names),
    ):
        print(f'  measuring {label} ...', flush=True)
        embed(*options, names[:1])  # to warm up
        seconds, cpu_seconds, made = _timed(embed, *options, sample, args.device)
        reference = made if reference is None else reference
        gap = (made[: len(reference)] - reference).abs().max() / reference.abs().max()
        rows.append(
            dict(
                label=label,
                concepts=len(sample),
                seconds=seconds / len(sample),
                cpu_seconds=cpu_seconds / len(sample),
                gap=float(gap),
            )
        )
    print('\n' + table(rows, prompts, args.concepts))
    return dict(prompts=prompts, tokens=length, rows=rows)


def sample_names(number: int) -> list[str]:
    """Names of LVIS, spread evenly over its list."""
    if not 0 < number <= len(LVIS_V1_NAMES):
        raise ValueError(f'a sample has 1 to {len(LVIS_V1_NAMES)} concepts, not {number}.')
    places = torch.linspace(0, len(LVIS_V1_NAMES) - 1, number).long().tolist()
    return [clean_lvis_name(LVIS_V1_NAMES[place]) for place in places]


def embed_whole_context(
    encoder: CLIPTextEncoder, templates: str, batch_size: int, names: list[str]
) -> Tensor:
    """By open_clip's tower as it is."""
    device = encoder.model.positional_embedding.device
    rows = [
        encoder.model(encoder.tokenize(fill_prompts(name, templates)).to(device)).mean(dim=0)
        for name in names
    ]
    return torch.stack(rows).cpu()


def embed_trimmed(
    encoder: CLIPTextEncoder, templates: str, batch_size: int, names: list[str]
) -> Tensor:
    """Batches of prompts by length, each cut at its longest."""
    ids = encoder.tokenize([p for name in names for p in fill_prompts(name, templates)])
    embedded = torch.zeros(len(ids), encoder.embed_dim)
    for rows in ids.argmax(dim=-1).argsort(stable=True).split(batch_size):
        embedded[rows] = encoder(ids[rows]).cpu()
    return embedded.view(len(names), -1, encoder.embed_dim).mean(dim=1)


def embed_as_the_tools(
    encoder: CLIPTextEncoder, templates: str, batch_size: int, names: list[str]
) -> Tensor:
    """By ``encode_names``."""
    return encoder.encode_names(names, templates, batch_size).matrix


def _timed(embed: Callable[..., Tensor], *args: Any) -> tuple[float, float, Tensor]:
    """Seconds, seconds of all threads on the CPU, and what was made."""
    *options, device = args
    start, used = now(device), time.process_time()
    made = embed(*options)
    return now(device) - start, time.process_time() - used, made


def table(rows: list[dict[str, Any]], prompts: int, concepts: int) -> str:
    """A Markdown table."""
    lines = [
        '| | concepts | ms each | CPU ms each | prompts/s | times as fast '
        f'| minutes for {concepts} concepts, extrapolated | largest difference, relative |',
        '| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |',
    ]
    for row in rows:
        seconds = row['seconds']
        cells = [
            row['label'],
            str(row['concepts']),
            f'{1000 * seconds:.0f}',
            f'{1000 * row["cpu_seconds"]:.0f}',
            f'{prompts / seconds:.0f}',
            f'{rows[0]["seconds"] / seconds:.1f}',
            f'{concepts * seconds / 60:.1f}',
            f'{row["gap"]:.1e}',
        ]
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)
