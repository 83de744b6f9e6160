# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The open-vocabulary detector: transfer and zero-shot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmdet.models.detectors import TwoStageDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ...checkpoints.parts import (
    BOX_DELTAS,
    IMAGE_TEXT_LOSS,
    IMAGE_TOWER,
    LOCALIZER,
    MASK_HEAD,
    TEACHER,
    TEXT_ENCODER,
)
from ...contracts import Vocabulary
from ..encoded_image import EncodedImage, complete_image_metas
from ..localizers import RPNLocalizer, get_proposals
from ..post_processing import first_chunk
from ..precision import CastsCarefully
from ..region_encoders import with_arch_of
from ..roi_heads import OpenVocabRoIHead
from ..text import CLIPTextEncoder, TextEmbeddings
from ..weights import WeightGuard
from .active_names import ActiveNames

PARTS = (*IMAGE_TOWER, BOX_DELTAS, MASK_HEAD, LOCALIZER, TEXT_ENCODER)
# A detector starts from a pretrained region encoder: its box and mask heads are new, and what
# pretraining needed besides the student is not used.
NEW_PARTS = (BOX_DELTAS, MASK_HEAD)
PRETRAINING_KEYS = (f'{TEACHER}.', f'{TEXT_ENCODER}.', f'{IMAGE_TEXT_LOSS}.')


@MODELS.register_module()
class OpenVocabularyRCNN(ActiveNames, WeightGuard, CastsCarefully, TwoStageDetector):
    """A two-stage detector that classifies regions by text (RegionCLIP, section 3.4).

    mmdet's ``TwoStageDetector`` without an RPN of its own: proposals are read from the samples or
    come from a frozen localizer.

    Args:
        backbone: Config of a ``CLIPResNet``.
        roi_head: Config of an ``OpenVocabRoIHead``; its region encoder's ``arch`` follows from the
            backbone.
        localizer: Config of an ``RPNLocalizer``, if samples carry no proposals.
        text_encoder: Config of a ``CLIPTextEncoder``, for ``set_vocabulary`` with names.
        train_cfg: ``rcnn`` with assigner and sampler.
        test_cfg: ``rcnn`` with ``score_thr``, ``nms``, ``max_per_img``, ``objectness``. With
            ``keep_proposals=True`` samples keep the localizer's proposals, to be looked at
            (``proposals``, in pixels of the network input).
        data_preprocessor: ``DetDataPreprocessor`` with CLIP's mean and std, RGB.
        may_be_missing: Parts a checkpoint need not hold; see ``WeightGuard``.
        may_be_unexpected: Key prefixes of a checkpoint to be ignored.
        init_cfg: As in mmengine.
    """

    cfg: Config
    data_preprocessor: nn.Module
    localizer: RPNLocalizer | None
    roi_head: OpenVocabRoIHead
    text_encoder: CLIPTextEncoder | None

    def __init__(
        self,
        backbone: dict,
        roi_head: dict,
        localizer: dict | None = None,
        text_encoder: dict | None = None,
        train_cfg: ConfigDict | None = None,
        test_cfg: ConfigDict | None = None,
        data_preprocessor: dict | None = None,
        may_be_missing: Sequence[str] = NEW_PARTS,
        may_be_unexpected: Sequence[str] = PRETRAINING_KEYS,
        init_cfg: dict | None = None,
    ) -> None:
        encoder = with_arch_of(backbone, roi_head['region_encoder'])
        super().__init__(
            backbone=backbone,
            roi_head={**roi_head, 'region_encoder': encoder},
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.localizer = MODELS.build(localizer) if localizer else None
        self.text_encoder = MODELS.build(text_encoder) if text_encoder else None
        if self.localizer is not None:
            self.localizer.check_inputs(self.data_preprocessor)
        self.set_parts(PARTS, may_be_missing, may_be_unexpected, unsaved=('text_encoder',))

    def set_vocabulary(
        self,
        vocabulary: TextEmbeddings | Sequence[str],
        templates: str | Sequence[str] = 'ensemble81',
    ) -> None:
        """Detect other classes from now on.

        Args:
            vocabulary: Embeddings, or class names to be embedded by this model's text encoder.
            templates: Prompts for names; see ``TextEmbeddings.from_names``.

        Raises:
            RuntimeError: Names were given but the model has no text encoder, or a random one.
            ValueError: Names that cannot be used, or embeddings of another width. The present
                vocabulary stays.
        """
        if not isinstance(vocabulary, TextEmbeddings):
            if self.text_encoder is None:
                raise RuntimeError(
                    'set_vocabulary got names, but this model has no text encoder. Give '
                    "TextEmbeddings, or add text_encoder=dict(type='CLIPTextEncoder', ...) to the "
                    'model config.'
                )
            self.ensure_weights('text_encoder')
            # a bare string is refused there; list() would make letters of it
            names = vocabulary if isinstance(vocabulary, str) else list(vocabulary)
            vocabulary = self.text_encoder.encode_names(names, templates)
        self.roi_head.bbox_head.set_vocabulary(vocabulary)
        # where mmdet's visualizers look names up; a palette belonged to the names before
        self.dataset_meta['palette'] = 'random'

    @property
    def shown_names(self) -> tuple[str, ...]:
        """Names of the active vocabulary."""
        return self.roi_head.bbox_head.active_classifier.names

    def loss(self, batch_inputs: Tensor, batch_data_samples: Sequence[DetDataSample]) -> dict:
        """Losses of a batch of annotated images; inputs ``(B, 3, H, W)``."""
        self.ensure_weights(learning=self.training)
        proposals = get_proposals(self.localizer, batch_inputs, batch_data_samples)
        return self.roi_head.loss(self.extract_feat(batch_inputs), proposals, batch_data_samples)

    def encode(
        self,
        batch_inputs: Tensor,
        batch_data_samples: Sequence[DetDataSample],
        all_regions: bool = False,
        embed: bool = True,
    ) -> list[EncodedImage]:
        """The costly half of detection: regions and their embeddings, for any vocabularies.

        Args:
            batch_inputs: ``(B, 3, H, W)`` from the data preprocessor.
            batch_data_samples: ``B`` samples, with ``proposals`` if there is no localizer.
            all_regions: Encode regions, too, that cannot become detections under ``test_cfg``:
                those with a negative logit if objectness is fused by ``'logit'``.
            embed: False leaves ``embeddings`` None: ``detect`` then computes those that can matter.

        Returns:
            Per image an ``EncodedImage``.

        Raises:
            RuntimeError: A part of the model has random weights.
            ValueError: No proposals and no localizer.
        """
        self.ensure_weights()
        proposals = get_proposals(self.localizer, batch_inputs, batch_data_samples)
        if self.test_cfg and self.test_cfg.get('keep_proposals', False):
            for sample, own in zip(batch_data_samples, proposals, strict=True):
                sample.proposals = own.clone()
        metas = [sample.metainfo for sample in batch_data_samples]
        maps = self.extract_feat(batch_inputs)
        return self.roi_head.encode(maps, proposals, metas, all_regions, embed)

    def detect(
        self,
        encoded: EncodedImage,
        vocabulary: Vocabulary | None = None,
        masks: bool = True,
        rescale: bool = True,
        **overrides: Any,
    ) -> InstanceData:
        """The cheap half of detection: classify regions, select, refine. The model is only read.

        Args:
            encoded: Created by ``encode``, on the model's device.
            vocabulary: ``K`` class names and embeddings; None: the model's own.
            masks: Whether masks are wanted, if there is a mask head: a pass through layer4 for
                every detection.
            rescale: Whether boxes are wanted in the original image's pixels.
            **overrides: Settings in place of those of ``test_cfg.rcnn``.

        Returns:
            In descending score order: ``bboxes (M, 4)``, ``scores (M,)``, ``labels (M,)`` and
            ``label_names``, ``region_inds (M,)`` into the encoded regions; with a mask head
            ``masks (M, H, W)``, bool.

        Raises:
            ValueError: The overrides need objectness that there is none of, or regions that were
                left out.
        """
        cfg = ConfigDict({**self.roi_head.test_cfg, **overrides})
        fusion = cfg.get('objectness', 'none')
        if encoded.left_out_under not in (None, fusion):
            raise ValueError(
                f'{encoded.num_proposals - len(encoded)} of {encoded.num_proposals} proposals were '
                f'not encoded, because with objectness={encoded.left_out_under!r} they cannot '
                f'become detections; with {fusion!r} they can. Encode with all_regions=True.'
            )
        return self.roi_head.detect(encoded, vocabulary, cfg, masks, rescale)

    def predict(
        self,
        batch_inputs: Tensor,
        batch_data_samples: Sequence[DetDataSample],
        rescale: bool = True,
    ) -> list[DetDataSample]:
        """``encode`` and ``detect`` of a batch; boxes in the original images' pixels by default.

        Images that come with texts (``DetInferencer(texts=...)``, ``inference_detector(...,
        text_prompt=...)``) are searched for these class names, the others for the active ones; each
        prediction carries its own in ``pred_instances.label_names``.

        Raises:
            RuntimeError: Texts, but no text encoder; says what helps.
            ValueError: Metas are missing; see ``complete_image_metas``. Or texts that are no class
                names; see ``parse_vocabulary``.
        """
        self.ensure_weights()
        vocabularies = self.vocabularies_of(batch_data_samples)
        if rescale:
            complete_image_metas(batch_data_samples)
        # where regions can be left out, each is embedded when it is needed
        embed = not first_chunk(self.roi_head.test_cfg)
        encoded = self.encode(batch_inputs, batch_data_samples, all_regions=True, embed=embed)
        results = [
            self.detect(image, own, rescale=rescale)
            for image, own in zip(encoded, vocabularies, strict=True)
        ]
        _ = self.dataset_meta  # a vocabulary may have been read from its file by now
        return self.add_pred_to_datasample(batch_data_samples, results)

    def vocabularies_of(self, samples: Sequence[DetDataSample]) -> list[Vocabulary | None]:
        """Per image the class names that it is to be searched for; None: the active ones.

        mmdet's tools give ``custom_entities`` with their texts; captions of a dataset have none.
        """
        if not any(sample.get('custom_entities') is not None for sample in samples):
            return [None] * len(samples)
        # the parser of what users write and the finder of text encoders lie above
        from ...apis.given_texts import vocabularies_of

        self.dataset_meta['palette'] = 'random'  # one of few colors would not do for any names
        return list(vocabularies_of(self, samples))

    def _forward(self, batch_inputs: Tensor, batch_data_samples: Sequence[DetDataSample]) -> tuple:
        """Raw logits and box deltas of all proposals, without post-processing."""
        self.ensure_weights()
        proposals = get_proposals(self.localizer, batch_inputs, batch_data_samples)
        return self.roi_head.forward(self.extract_feat(batch_inputs), proposals, batch_data_samples)
