# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Our models as the shipped configs build them, filled through the checkpoint converter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from regionclip_mmdet import conversion
from regionclip_mmdet.checkpoints.official import FILE_PREFIXES, MODEL_PREFIXES
from regionclip_mmdet.checkpoints.parts import CLASS_EMBEDDINGS, PARTS
from regionclip_mmdet.config_paths import config_path
from regionclip_mmdet.models.backbones import CLIP_RESNETS
from regionclip_mmdet.models.text import TextEmbeddings

from . import official_shapes
from .case import Case, CaseError
from .generated_weights import fill_tensors

DETECTOR = '_base_/models/regionclip_rn50.py'
DETECTOR_WITH_MASKS = '_base_/models/regionclip_rn50_fpn_lvis_mask.py'
ZERO_SHOT = '_base_/models/regionclip_rn50_zero_shot.py'
ZERO_SHOT_ON_PROPOSALS = '_base_/models/regionclip_rn50_fpn_zero_shot.py'
PRETRAINING = '_base_/models/regionclip_rn50_pretrain.py'
LOCALIZER = '_base_/localizers/rpn_r50_{}.py'
# Official depth flags of the backbone (MODEL.RESNETS.DEPTH).
DEPTHS = {50: 'RN50', 101: 'RN101', 200: 'RN50x4'}


def arch_of(case: Case, embed_dim: int) -> str:
    """The CLIP ResNet of a case, by its depth flag or else by the width of its embeddings.

    Raises:
        CaseError: None of the published models has that depth and width.
    """
    depth = case.option('MODEL.RESNETS.DEPTH')
    if depth is None:
        named = [n for n in official_shapes.TEXT_WIDTHS if CLIP_RESNETS[n].embed_dim == embed_dim]
    else:
        named = [DEPTHS[int(depth)]] if int(depth) in DEPTHS else []
    if not named or CLIP_RESNETS[named[0]].embed_dim != embed_dim:
        raise CaseError(f'no CLIP ResNet of depth {depth} has embeddings of width {embed_dim}')
    return named[0]


def localizer_kind(case: Case) -> str:
    """Kind of the localizer a case was recorded with, see ``official_shapes.LOCALIZERS``."""
    strides = case.note('strides')
    config = case.note('offline_config', default=case.note('config', default=''))
    fpn = '_FPN_' in config if strides is None else len(strides) > 1
    if not fpn:
        return 'c4'
    return 'fpn_lsj' if case.note('lsj', default=False) else 'fpn'


def build(config: ConfigDict) -> nn.Module:
    """A model of a config; parts are built in mmdet's scope."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(config)


def detector_config(name: str, arch: str, localizer: str | None = None) -> ConfigDict:
    """A shipped detector config, with another arch or localizer where the case has them.

    Args:
        name: Of the config.
        arch: Name of a CLIP ResNet.
        localizer: One of ``official_shapes.LOCALIZERS``; None for none. A localizer of that kind
            which the config has is kept, with its settings.
    """
    config = Config.fromfile(config_path(name)).model
    own = config.get('localizer')
    if localizer is None:
        config.localizer = None
    elif own is None or kind_of_localizer(own) != localizer:
        config.localizer = localizer_config(localizer)
    if arch != config.backbone.arch:
        sizes = CLIP_RESNETS[arch]
        config.backbone.arch = config.roi_head.region_encoder.arch = arch
        config.roi_head.bbox_head.embed_dim = sizes.embed_dim
        if 'mask_head' in config.roi_head:
            config.roi_head.mask_head.in_channels = sizes.stage_channels(4)
    return config


def kind_of_localizer(config: ConfigDict) -> str:
    """Kind of a shipped localizer's config, see ``official_shapes.LOCALIZERS``."""
    normed = config.get('neck') is not None and 'norm_cfg' in config.neck
    return 'c4' if config.get('neck') is None else 'fpn_lsj' if normed else 'fpn'


def pretraining_config(arch: str, teacher: str) -> ConfigDict:
    """The shipped pretraining config without localizer; where weights come from is left out."""
    config = Config.fromfile(config_path(PRETRAINING)).model
    config.localizer, config.save_frozen = None, True
    student = (config.backbone, config.roi_head.region_encoder, config.text_encoder)
    teachers = (config.teacher.backbone, config.teacher.region_encoder)
    for part in (*student, *teachers):
        part.init_cfg = None
        part.arch = arch if part in student else teacher
    return config


def localizer_config(kind: str) -> ConfigDict:
    """The shipped config of a localizer."""
    return Config.fromfile(config_path(LOCALIZER.format(kind))).localizer


def data_preprocessor() -> nn.Module:
    """The shipped data preprocessor."""
    return build(Config.fromfile(config_path(DETECTOR)).model.data_preprocessor)


@lru_cache(maxsize=2)
def _generated(seed: int, layout: str, *arguments: Any) -> dict[str, Tensor]:
    return fill_tensors(getattr(official_shapes, layout)(*arguments), seed)


def official_weights(case: Case, layout: str, *arguments: Any) -> dict[str, Tensor]:
    """The case's weights by the official names.

    Args:
        case: With ``weights_seed`` and, maybe, ``weight_overrides`` (``key``, ``add``).
        layout: Name of a function of ``official_shapes``, and its arguments.
        arguments: Its arguments.

    Raises:
        CaseError: An override is for a tensor that is not there, or of an unknown kind.
    """
    state = dict(_generated(case.seed, layout, *arguments))
    for override in case.note('weight_overrides', default=()):
        key = override.get('key')
        if key not in state or set(override) != {'key', 'add'}:
            raise CaseError(f'the weight override {override} cannot be carried out')
        state[key] = state[key] + override['add']
    return state


def load_detector(
    model: nn.Module,
    official: Mapping[str, Tensor],
    vocabulary: Tensor | None = None,
    test_vocabulary: Tensor | None = None,
) -> None:
    """Convert official weights and load them into a detector or a pretraining model.

    Args:
        model: Ours.
        official: Tensors by the official names.
        vocabulary: Class embeddings ``(K, D)`` of training, which become part of the checkpoint.
        test_vocabulary: Those of testing.
    """
    parts = ('localizer', 'text_encoder', 'roi_head.mask_head')
    absent = {part for part in parts if part not in model.weight_sources()}
    result = conversion.convert(
        dict(model=dict(official)), allow_missing={*absent, CLASS_EMBEDDINGS}
    )
    for name, matrix in (('classifier', vocabulary), ('test_classifier', test_vocabulary)):
        if matrix is not None:
            conversion.add_vocabulary(result, TextEmbeddings.from_tensor(matrix), name)
    model.load_state_dict(result.state_dict, strict=False)
    wrong = [part for part, source in model.weight_sources().items() if source != 'checkpoint']
    if wrong:
        raise CaseError(f'not filled by the converted weights: {", ".join(wrong)}')


def load_part(part: nn.Module, official: Mapping[str, Tensor], name: str) -> None:
    """Convert official weights of one part and load it strictly.

    Args:
        part: Ours, e.g. an ``RPNLocalizer``.
        official: Tensors by the official names in a whole model; those of a localizer are renamed
            to what they are called in a file of their own.
        name: Of the part in our models.
    """
    state = dict(official)
    if name == 'localizer':
        for prefix, own in zip(MODEL_PREFIXES, FILE_PREFIXES, strict=True):
            state = {
                own + k[len(prefix) :] if k.startswith(prefix) else k: v for k, v in state.items()
            }
    result = conversion.convert(dict(model=state), allow_missing=set(PARTS) - {name})
    own_state = {
        key.removeprefix(f'{name}.'): tensor
        for key, tensor in result.state_dict.items()
        if key.startswith(f'{name}.')
    }
    loaded = part.load_state_dict(own_state, strict=False)
    missing = [key for key in loaded.missing_keys if not key.endswith('num_batches_tracked')]
    if missing or loaded.unexpected_keys:
        raise CaseError(f'{name}: missing {missing[:3]}, unexpected {loaded.unexpected_keys[:3]}')


def preprocess(
    preprocessor: nn.Module, images: Sequence[Tensor], metas: Sequence[dict] | None = None
) -> tuple[Tensor, list[DetDataSample]]:
    """A batch as a data preprocessor makes it.

    Args:
        preprocessor: Of a model.
        images: uint8 RGB ``(3, H, W)``; handed over in BGR, as mmdet loads images.
        metas: Further notes per image.

    Returns:
        The batch ``(B, 3, H, W)`` and its samples, with ``img_shape``, ``ori_shape`` and
        ``scale_factor``.
    """
    samples = []
    for i, image in enumerate(images):
        shape = tuple(image.shape[1:])
        notes = dict(img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0))
        samples.append(DetDataSample(metainfo={**notes, **(metas[i] if metas else {})}))
    data = dict(inputs=[image.flip(0) for image in images], data_samples=samples)
    data = preprocessor(data, training=False)
    return data['inputs'], data['data_samples']


def set_unless_official(config: ConfigDict, key: str, value: Any, official: Any) -> None:
    """Set a config value that a case was recorded with, where it is not the official recipe's.

    What is official is left as the shipped config has it, so that a wrong config is found out.

    Args:
        config: Changed.
        key: Of the value.
        value: Of the case; None where it does not say.
        official: Of the official recipe.
    """
    if value is not None and value != official:
        config[key] = value


def nms_config(case: Case, soft: bool) -> dict:
    """NMS settings of a case: ``soft_nms`` (method, sigma, least score), ``nms_thresh``."""
    threshold = case.note('nms_thresh', default=0.5)
    if not soft:
        return dict(type='nms', iou_threshold=threshold)
    settings = case.note('soft_nms', default=['gaussian', 0.5, 0.001])
    method, sigma, least = [s for s in settings if not isinstance(s, bool)]
    return dict(
        type='global_soft_nms',
        method=method,
        sigma=sigma,
        iou_threshold=threshold,
        min_score=least,
    )
