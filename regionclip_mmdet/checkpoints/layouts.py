# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Which project wrote a state dict, and our names of its tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .official import (
    FILE_PREFIXES,
    MODEL_PREFIXES,
    rename_official_key,
    rename_official_localizer_key,
)
from .parts import (
    BACKBONE,
    BOX_DELTAS,
    IMAGE_TOWER,
    REGION_ENCODER,
    TEACHER,
    TEACHER_BACKBONE,
    TEACHER_ENCODER,
    TEXT_ENCODER,
)
from .parts import LOCALIZER as LOCALIZER_PART

OURS = 'regionclip_mmdet'
CLIP = 'CLIP'
TEACHER_STUDENT = 'official teacher and student'
LOCALIZER = 'official localizer'
FINETUNED = 'official finetuned detector'
PRETRAINED = 'official pretrained RegionCLIP'
OUR_LOCALIZER = 'mmdet RPN'
KINDS = (OURS, TEACHER_STUDENT, CLIP, PRETRAINED, FINETUNED, LOCALIZER, OUR_LOCALIZER)
OFFICIAL = (TEACHER_STUDENT, CLIP, PRETRAINED, FINETUNED, LOCALIZER)

# Names that one family of files has and no other, so that two of them in one file are a mixture:
# families, their kinds, how names begin. A localizer's file is a whole Mask R-CNN of detectron2,
# RoI heads included; RegionCLIP's own files have their localizer below ``offline_``.
_FAMILIES: tuple[tuple[tuple[str, re.Pattern[str]], ...], ...] = (
    (
        (
            OURS,
            re.compile(rf'({re.escape(REGION_ENCODER)}|{LOCALIZER_PART}|{TEXT_ENCODER}\.model)\.'),
        ),
    ),
    (
        (TEACHER_STUDENT, re.compile(r'teacher_(backbone|visual)\.')),
        (CLIP, re.compile(r'(visual|token_embedding)\.')),
        (PRETRAINED, re.compile(r'(offline_(backbone|proposal_generator)|lang_encoder)\.')),
        (PRETRAINED, re.compile(r'backbone\.attnpool\.')),
    ),
    (
        (
            LOCALIZER,
            re.compile(r'proposal_generator\.|backbone\.(bottom_up|stem\.conv1|fpn_\w+)\.'),
        ),
        (LOCALIZER, re.compile(r'backbone\.res[2-5]\.')),
    ),
    ((OUR_LOCALIZER, re.compile(r'rpn_head\.|bbox_head\.rpn_')),),
)
# What is left of a file of RegionCLIP whose telling parts are cut off: of all ResNets whose layers
# have such names, only CLIP's has a third convolution before its first stage.
_REMAINS = re.compile(r'backbone\.(conv|bn)3\.|roi_heads\.box_predictor\.')
_FINETUNED_HEADS = 'roi_heads.box_predictor.'
_LEARNED = 'roi_heads.box_predictor.cls_score.bias'
_CLIP_BELOW_FPN = re.compile(r'backbone\.bottom_up\.(attnpool|conv3|layer\d)\.')

# Parts without which a file of that kind is not what it should be; others may be there.
NEEDED: dict[str, tuple[str, ...]] = {
    OURS: (),
    CLIP: (*IMAGE_TOWER, TEXT_ENCODER),
    TEACHER_STUDENT: (*IMAGE_TOWER, TEACHER_BACKBONE, TEACHER_ENCODER),
    LOCALIZER: (LOCALIZER_PART,),
    OUR_LOCALIZER: (LOCALIZER_PART,),
    FINETUNED: (*IMAGE_TOWER, LOCALIZER_PART, BOX_DELTAS),
    PRETRAINED: (*IMAGE_TOWER, LOCALIZER_PART, TEXT_ENCODER),
}

# Our prefix of each prefix of CLIP's; what remains below `visual.` is the backbone's.
CLIP_VISUAL = (
    ('visual.layer4.', f'{REGION_ENCODER}.layer4.'),
    ('visual.attnpool.', f'{REGION_ENCODER}.attnpool.'),
    ('visual.', f'{BACKBONE}.'),
)
CLIP_TEXT = f'{TEXT_ENCODER}.model.'
_CLIP_TEXT_KEYS = (
    'transformer.',
    'token_embedding.',
    'positional_embedding',
    'ln_final.',
    'text_projection',
)

EMBEDDINGS = {
    'roi_heads.box_predictor.cls_score.weight': 'classifier',
    'roi_heads.box_predictor.test_cls_score.weight': 'test_classifier',
}
BACKGROUND = 'roi_heads.box_predictor.cls_bg_score.weight'
LOGIT_SCALE = 'logit_scale'
# detectron2 before 0.5 kept them in its checkpoints
PIXELS = ('pixel_mean', 'pixel_std', 'offline_pixel_mean', 'offline_pixel_std')


@dataclass(frozen=True)
class Unused:
    """Why a tensor has no place here."""

    reason: str


_COUNTER = Unused('step counters of norms')
_PIXELS = Unused('normalization of images, which the config says')
NAMELESS = 'text embeddings without names'
_NAMELESS = Unused(NAMELESS)
_BACKGROUND_OF_ZEROS = Unused('background embedding of zeros, which is built in')
_UNKNOWN = Unused('unknown here')


class UnknownKindError(ValueError):
    """A state dict of none of the kinds."""


def recognize(keys: Iterable[str]) -> str:
    """The kind of a state dict: one of ``KINDS``.

    Args:
        keys: keys of the state dict, without ``module.`` and the like.

    Raises:
        UnknownKindError: None of the kinds.
        ValueError: A CLIP vision transformer, a CLIP ResNet below an FPN, a detector with a
            learned classifier, or a mixture of several kinds.
    """
    keys = tuple(keys)
    if any(key.startswith('visual.transformer.') or key == 'visual.proj' for key in keys):
        raise ValueError(
            "These are weights of a CLIP vision transformer. RegionCLIP's region encoder needs a "
            'CLIP ResNet: RN50, RN101, RN50x4, RN50x16 or RN50x64.'
        )
    below_fpn = next(filter(_CLIP_BELOW_FPN.match, keys), None)
    if below_fpn:
        raise ValueError(
            f'This recognizer is a CLIP ResNet below an FPN ({below_fpn}). Here regions are cut '
            'from the C4 map, as in the released models: such a file has no counterpart.'
        )
    found = list(filter(None, (_landmark(family, keys) for family in _FAMILIES)))
    if len(found) > 1:
        (first, one), (second, other), *_ = found
        raise ValueError(
            f'This is a mixture of {first} (e.g. {one}) and {second} (e.g. {other}). Save each in '
            'a file of its own and give both files.'
        )
    remains = next(filter(_REMAINS.match, keys), None)
    if not found and remains is None:
        first = {key.partition('.')[0] for key in keys}
        all_begin = f' All begin with {min(first)[:80]!r}.' if len(first) == 1 else ''
        raise UnknownKindError(
            f'None of the kinds of checkpoint that are known here; its first keys: '
            f'{[key[:80] for key in keys[:5]]}.{all_begin} Known: {", ".join(KINDS)}, and tensors '
            'of text embeddings.'
        )
    kind = found[0][0] if found else PRETRAINED
    heads = any(key.startswith(_FINETUNED_HEADS) for key in keys)
    if kind != PRETRAINED or not heads:
        return kind
    if _LEARNED in keys:
        raise ValueError(
            f'This detector has a learned classifier ({_LEARNED}). Here regions are classified by '
            'text embeddings, as in the released models (USE_TEXT_EMB_CLASSIFIER True).'
        )
    return FINETUNED


def is_ours(keys: Iterable[str]) -> bool:
    """Whether names that only this project's files have are among them."""
    return _landmark(_FAMILIES[0], tuple(keys)) is not None


def _landmark(
    family: tuple[tuple[str, re.Pattern[str]], ...], keys: tuple[str, ...]
) -> tuple[str, str] | None:
    """The first kind of a family that has a telling name, and that name."""
    for kind, pattern in family:
        for key in keys:
            if pattern.match(key):
                return kind, key
    return None


def our_key(key: str, kind: str) -> str | Unused:
    """Our name of a tensor, or why it is not used.

    Args:
        key: name of the tensor in the file.
        kind: Kind of the file, see ``recognize``.
    """
    if key.endswith('num_batches_tracked'):
        return _COUNTER
    if kind == OURS:
        return key
    if key in PIXELS:
        return _PIXELS
    if kind == LOCALIZER:
        return _localizer_key(key, FILE_PREFIXES)
    if kind == OUR_LOCALIZER:
        return _mmdet_localizer_key(key)
    if key.startswith(('teacher_visual.', 'visual.')):
        bare = key.removeprefix('teacher_')
        ours = next(o + bare[len(t) :] for t, o in CLIP_VISUAL if bare.startswith(t))
        return f'{TEACHER}.{ours.removeprefix("roi_head.")}' if bare != key else ours
    if key.startswith(_CLIP_TEXT_KEYS):
        return CLIP_TEXT + key
    if key.startswith(MODEL_PREFIXES):
        return _localizer_key(key, MODEL_PREFIXES)
    if key == BACKGROUND:
        return _BACKGROUND_OF_ZEROS
    if key in EMBEDDINGS or key.rpartition('.')[2].endswith('concept_emb'):
        return _NAMELESS
    if key in (LOGIT_SCALE, f'lang_encoder.{LOGIT_SCALE}'):
        return Unused("CLIP's logit scale (kept in the notes)")
    if key in ('input_resolution', 'context_length', 'vocab_size', 'attn_mask'):
        return Unused("CLIP's settings, which the shapes tell, too")
    ours = rename_official_key(key)
    known = (f'{BACKBONE}.', f'{TEACHER}.', 'roi_head.', CLIP_TEXT)
    return ours if ours.startswith(known) else _UNKNOWN


def clip_key(key: str) -> str | None:
    """CLIP's name of one of our tensors; None for parts that CLIP does not have."""
    for theirs, ours in CLIP_VISUAL:
        if key.startswith(ours):
            return theirs + key[len(ours) :]
    return key[len(CLIP_TEXT) :] if key.startswith(CLIP_TEXT) else None


def _localizer_key(key: str, prefixes: tuple[str, str]) -> str | Unused:
    for prefix, model_prefix in zip(prefixes, MODEL_PREFIXES, strict=True):
        if key.startswith(prefix):
            try:
                ours = rename_official_localizer_key(model_prefix + key[len(prefix) :])
            except KeyError:
                return _UNKNOWN
            return Unused('anchors, which are recomputed') if ours is None else ours
    if key.startswith('roi_heads.'):
        return Unused("heads of the localizer's own detector")
    return _UNKNOWN


def _mmdet_localizer_key(key: str) -> str | Unused:
    if key.startswith('bbox_head.rpn_'):
        key = key.replace('bbox_head.', 'rpn_head.', 1)
    if key.startswith(('backbone.', 'neck.', 'rpn_head.')):
        return f'{LOCALIZER_PART}.{key}'
    return Unused("heads of the localizer's own detector")
