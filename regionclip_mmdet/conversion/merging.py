# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""One checkpoint from several, with vocabularies and notes of where its parts come from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ..checkpoints.layouts import EMBEDDINGS, NAMELESS
from ..checkpoints.parts import BOX_HEAD, REGION_ENCODER, part_of
from ..checkpoints.translation import Conversion
from ..fileio import PathLike, sha256_of
from ..models.text import TextEmbeddings
from ..models.text.text_embeddings import encode_names
from .expected import infer_arch


def name_embeddings(conversions: Sequence[Conversion], names: Sequence[str]) -> None:
    """Give the class embeddings in finetuned files their names, so that they become a vocabulary.

    Args:
        conversions: converted files, changed: embeddings with as many rows as names are named.
        names: class names, in the order of the rows.

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
        result: conversion, changed.
        vocabulary: class names and their embeddings.
        classifier: ``'classifier'``, or ``'test_classifier'`` for names of testing alone.

    Raises:
        ValueError: Its embeddings have another dimension than those of regions.
    """
    if any(key.startswith(f'{REGION_ENCODER}.') for key in result.state_dict):
        width = infer_arch(result.state_dict).embed_dim
        if vocabulary.embed_dim != width:
            raise ValueError(
                f'The vocabulary has {vocabulary.embed_dim}-dimensional embeddings, the model '
                f'{width}-dimensional ones of regions: they come from different CLIP models.'
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
        conversions: converted files; where two have the same part, the later one's is taken, whole.

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


def origins(paths: Sequence[PathLike], conversions: Sequence[Conversion]) -> list[dict[str, Any]]:
    """What each source of a merged checkpoint gave.

    Args:
        paths: paths of files, or names of CLIP weights.
        conversions: conversion of each, in the order of merging.

    Returns:
        Per source ``file`` (its name), ``kind`` and ``parts`` (those taken from it; a later source
        replaces a part of an earlier one), and of a local file ``bytes`` and ``sha256``.
    """
    found: list[dict[str, Any]] = []
    for number, (path, conversion) in enumerate(zip(paths, conversions, strict=True)):
        later = {part for other in conversions[number + 1 :] for part in other.parts}
        note: dict[str, Any] = dict(
            file=os.path.basename(os.fspath(path)),
            kind=conversion.kind,
            parts=[part for part in conversion.parts if part not in later],
        )
        if os.path.isfile(path):
            note.update(bytes=os.path.getsize(path), sha256=sha256_of(path))
        found.append(note)
    return found
