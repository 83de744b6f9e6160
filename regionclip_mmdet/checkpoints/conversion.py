# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Checkpoints of other projects to ours, every tensor accounted for; and back to CLIP's layout."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..compat.checkpoints import save_whole
from ..fileio import write_whole
from ..models.text import TextEmbeddings
from ..models.text.text_embeddings import encode_names
from ..version import __version__
from .expected import (
    CLASS_EMBEDDINGS,
    PARTS,
    IncompleteError,
    arch_name,
    expected_shapes,
    infer_arch,
    part_of,
)
from .layouts import EMBEDDINGS, FINETUNED, LOGIT_SCALE, NAMELESS, NEEDED, clip_key
from .translation import Conversion, translate

PathLike = str | os.PathLike
BOX_HEAD = 'roi_head.bbox_head'
# CLIP's logit scale at the end of its training, where a file does not tell: ln 100
CLIP_LOGIT_SCALE = 4.6052


def convert(
    content: Any,
    allow_missing: Collection[str] = (),
    custom_sizes: bool = False,
    what: str = 'The file',
) -> Conversion:
    """Convert the content of a checkpoint; its kind is recognized.

    Args:
        content: A state dict, possibly nested under ``state_dict`` or ``model``.
        allow_missing: Parts (``expected.PARTS``, or ``expected.CLASS_EMBEDDINGS``) that the file
            may do without.
        custom_sizes: True allows CLIP ResNets of sizes that were never published.
        what: The file, for messages.

    Returns:
        The conversion; every part in it is complete.

    Raises:
        ValueError: See ``translate``; a part incomplete, of other shapes or types, or absent
            although a file of this kind has it; tensors of unknown names.
    """
    result = translate(content, what)
    _check_parts(result, allow_missing, custom_sizes)
    result.notes.update(kind=result.kind, converter=f'regionclip_mmdet {__version__}')
    return result


def name_embeddings(conversions: Sequence[Conversion], names: Sequence[str]) -> None:
    """Give the class embeddings in finetuned files their names, so that they become a vocabulary.

    Args:
        conversions: Changed: embeddings with as many rows as names are named.
        names: In the order of the rows.

    Raises:
        ValueError: No embeddings have as many rows.
    """
    sizes = {k: len(v) for result in conversions for k, v in result.embeddings.items()}
    if len(names) not in sizes.values():
        raise ValueError(
            f'{len(names)} names were given, but the class embeddings in the '
            f'file{"s" * (len(conversions) > 1)} have other numbers of rows: {sizes or "none"}.'
        )
    for result in conversions:
        nameless = result.unused.pop(NAMELESS, [])
        for key, classifier in EMBEDDINGS.items():
            matrix = result.embeddings.get(classifier)
            if matrix is not None and len(matrix) == len(names):
                add_vocabulary(result, TextEmbeddings(tuple(names), matrix), classifier)
                del result.embeddings[classifier]
                nameless.remove(key)
        if nameless:
            result.unused['text embeddings of other classes than those named'] = nameless


def add_vocabulary(
    result: Conversion, vocabulary: TextEmbeddings, classifier: str = 'classifier'
) -> None:
    """Put a vocabulary into a converted detector.

    Args:
        result: The conversion, changed.
        vocabulary: Names and embeddings.
        classifier: ``'classifier'``, or ``'test_classifier'`` for names of testing alone.

    Raises:
        ValueError: Its width is not that of the region embeddings.
    """
    if any(key.startswith('roi_head.region_encoder.') for key in result.state_dict):
        width = infer_arch(result.state_dict).embed_dim
        if vocabulary.embed_dim != width:
            raise ValueError(
                f'The vocabulary has embeddings of width {vocabulary.embed_dim}, the model makes '
                f'region embeddings of width {width}: they come from different CLIP models.'
            )
    prefix = f'{BOX_HEAD}.{classifier}.'
    result.state_dict[f'{prefix}embeddings'] = vocabulary.matrix.clone()
    result.state_dict[f'{prefix}names_utf8'] = encode_names(vocabulary.names)
    result.notes.setdefault('vocabularies', {})[classifier] = dict(
        names=len(vocabulary), **{k: v for k, v in vocabulary.provenance.items() if k != 'names'}
    )
    result.notes['dataset_meta'] = dict(classes=list(vocabulary.names))


def merge(conversions: Sequence[Conversion]) -> tuple[Conversion, list[str]]:
    """One checkpoint from several, for example a recognizer and a localizer.

    Args:
        conversions: Where two have the same part, the later one's is taken, whole.

    Returns:
        The merged checkpoint, and the parts that were replaced.
    """
    first, replaced = conversions[0], []
    merged = Conversion(' + '.join(dict.fromkeys(c.kind for c in conversions)))
    merged.notes.update(first.notes, kind=merged.kind)
    for note in ('vocabularies', 'dataset_meta'):
        for other in conversions:
            if note in other.notes:
                merged.notes[note] = {**merged.notes.get(note, {}), **other.notes[note]}
    for other in conversions:
        for part in other.parts:
            if part in merged.parts:
                replaced.append(part)
                for key in [k for k in merged.state_dict if part_of(k) == part]:
                    del merged.state_dict[key]
        merged.state_dict.update(other.state_dict)
        merged.parts.update(other.parts)
        merged.embeddings.update(other.embeddings)
        merged.absent.extend(part for part in other.absent if part not in merged.absent)
        for reason, keys in other.unused.items():
            merged.unused.setdefault(reason, []).extend(keys)
    merged.absent = [part for part in merged.absent if part not in merged.parts]
    return merged, replaced


def to_clip(result: Conversion) -> tuple[dict[str, Tensor], list[str]]:
    """Image tower and, where there, text tower in the layout of OpenAI's CLIP and open_clip.

    Args:
        result: Any conversion with a backbone and a region encoder.

    Returns:
        The state dict, ``logit_scale`` included, and our names that CLIP has no place for.

    Raises:
        ValueError: There is no image tower.
    """
    state, left = {}, []
    for key, tensor in result.state_dict.items():
        theirs = clip_key(key)
        if theirs is None:
            left.append(key)
        else:
            state[theirs] = tensor
    if not any(key.startswith('visual.attnpool.') for key in state):
        raise ValueError('There is no CLIP image tower in this checkpoint.')
    state[LOGIT_SCALE] = torch.tensor(result.notes.get('logit_scale', CLIP_LOGIT_SCALE))
    return state, left


def save(state: Mapping[str, Tensor], notes: Mapping[str, Any], path: PathLike) -> None:
    """Write tensors and notes, whole or not at all.

    Args:
        state: The tensors.
        notes: JSON-able; ``meta`` of a ``.pth`` file, metadata of a ``.safetensors`` one.
        path: Ends with ``.pth`` or ``.safetensors``.

    Raises:
        OSError: It could not be written; with its path.
        ValueError: A tensor has no values.
    """
    hollow = next((key for key, tensor in state.items() if tensor.is_meta), None)
    if hollow is not None:
        raise ValueError(f'{hollow} has a shape but no values (it is on the meta device).')
    tensors = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in state.items()}
    if not os.fspath(path).endswith('.safetensors'):
        save_whole(dict(meta=dict(notes), state_dict=tensors), path)
        return
    from safetensors.torch import save_file

    with write_whole(path) as unfinished:
        save_file(tensors, unfinished, metadata=dict(regionclip_mmdet=json.dumps(dict(notes))))


def _check_parts(result: Conversion, allow_missing: Collection[str], custom_sizes: bool) -> None:
    wrong_names = sorted(set(allow_missing) - {*PARTS, CLASS_EMBEDDINGS})
    if wrong_names:
        raise ValueError(f'No parts: {wrong_names}. Parts are: {", ".join(PARTS)}.')
    present = dict.fromkeys(part_of(key) for key in result.state_dict)
    problems = []
    for part in (*NEEDED[result.kind], *_needed_heads(result)):
        if part in present:
            continue
        if part in allow_missing:
            result.absent.append(part)
        else:
            problems.append(f"'{part}' is absent (allow_missing={part!r} if that is meant)")
    for part in filter(None, present):
        try:
            wanted, words = expected_shapes(part, result.state_dict)
        except IncompleteError as error:
            problems.append(f"'{part}' is incomplete: {error}")
            continue
        except (
            ValueError,
            TypeError,
            LookupError,
            ArithmeticError,
            RuntimeError,
            AssertionError,
        ) as error:
            problems.append(f"'{part}' has sizes that none of its kind has: {error}")
            continue
        own = {k: v for k, v in result.state_dict.items() if part_of(k) == part}
        missing = [key for key in wanted if key not in own]
        extra = [key for key in own if key not in wanted]
        other = [
            f'{key} {tuple(own[key].shape)} instead of {shape}'
            for key, shape in wanted.items()
            if key in own and tuple(own[key].shape) != shape
        ]
        integers = [f'{k} ({v.dtype})' for k, v in own.items() if not v.is_floating_point()]
        for what, keys in (
            ('missing', missing),
            ('unknown', extra),
            ('misshapen', other),
            ('no floating point numbers', integers),
        ):
            if keys:
                problems.append(f"'{part}': {len(keys)} tensors {what}, e.g. {keys[0]}")
        if words.startswith('of no published size') and not custom_sizes:
            problems.append(
                f"'{part}' is {words}. A stage may be cut off; custom_sizes=True if it is not"
            )
        result.parts[part] = (words, len(wanted))
    unknown = result.unused.get('unknown here')
    if unknown:
        problems.append(f'{len(unknown)} tensors of unknown names, e.g. {", ".join(unknown[:3])}')
    if problems:
        raise ValueError(f'{result.kind}, but:\n  ' + '\n  '.join(problems))
    if 'roi_head.region_encoder' in present and 'backbone' in present:
        result.notes['arch'] = arch_name(infer_arch(result.state_dict)) or 'custom'


def _needed_heads(result: Conversion) -> list[str]:
    """What an official finetuned detector has besides: class embeddings; LVIS' also masks.

    Detectors of LVIS are told by their FPN localizer; those of COCO have R50-C4 and no masks.
    """
    if result.kind != FINETUNED:
        return []
    heads = [] if 'classifier' in result.embeddings else [CLASS_EMBEDDINGS]
    fpn = any(key.startswith('localizer.neck.') for key in result.state_dict)
    return [*heads, 'roi_head.mask_head'] if fpn else heads
