# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""CLIP itself, trained on images and captions by a standard Runner (Radford et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.model import BaseModel
from open_clip import CLIP, ClipLoss, SimpleTokenizer
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from torch import Tensor

from ...compat import cast_masks_under_cpu_autocast
from ..backbones.clip_arch import resolve_arch
from ..precision import CastsCarefully

MAX_LOGIT_SCALE = 100.0


@MODELS.register_module()
class ImageTextCLIP(CastsCarefully, BaseModel):
    """open_clip's ``CLIP`` with a modified ResNet, trained by the symmetric contrastive loss.

    RegionCLIP starts from a CLIP that has seen captions only. This class makes such a CLIP where
    none can be downloaded, as in the quickstart. :meth:`export_state_dict` gives open_clip's flat
    layout, which ``init_cfg=dict(type='CLIPPretrained', checkpoint=...)`` reads.

    Args:
        arch: Image tower, see ``CLIPResNet``.
        text: ``context_length``, ``width``, ``heads``, ``layers`` of the text transformer.
        init_temperature: First value of the learned temperature (CLIP: 0.07).
        data_preprocessor: Usually mmdet's ``DetDataPreprocessor`` with CLIP's mean and std.
        init_cfg: Initialization of the whole model, rarely needed.

    Shapes:
        Images ``(B, 3, S, S)``, S = ``arch.image_size``; embeddings ``(B, D)``, rows of length 1.
    """

    # see AccumulationCheckHook
    contrasts_batch = True

    def __init__(
        self,
        arch: str | Mapping,
        text: Mapping,
        init_temperature: float = 0.07,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        sizes = resolve_arch(arch)
        self.clip = CLIP(
            embed_dim=sizes.embed_dim,
            vision_cfg=CLIPVisionCfg(
                layers=sizes.layers, width=sizes.width, image_size=sizes.image_size
            ),
            text_cfg=CLIPTextCfg(**text),
            # OpenAI's activation, which CLIPTextEncoder takes for granted too.
            quick_gelu=True,
            init_logit_scale=math.log(1 / init_temperature),
        )
        cast_masks_under_cpu_autocast(self.clip)
        self.image_size = sizes.image_size
        self.tokenizer = SimpleTokenizer(context_length=self.clip.context_length)
        self.criterion = ClipLoss()

    def encode_images(self, images: Tensor) -> Tensor:
        """Normalized image embeddings.

        Args:
            images: ``(B, 3, S, S)``, normalized.

        Returns:
            ``(B, D)``, rows of length 1.

        Raises:
            ValueError: The images do not have the side the attention pool was built for.
        """
        if images.shape[-2:] != (self.image_size, self.image_size):
            raise ValueError(
                f'ImageTextCLIP pools {self.image_size} x {self.image_size} pixels, got '
                f'{tuple(images.shape[-2:])}. Resize in the pipeline with keep_ratio=False.'
            )
        images = images.to(self.clip.visual.conv1.weight.dtype)
        return self.clip.encode_image(images, normalize=True)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Normalized text embeddings ``(len(texts), D)``."""
        tokens = self.tokenizer(list(texts)).to(self.clip.positional_embedding.device)
        return self.clip.encode_text(tokens, normalize=True)

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[DetDataSample] | None = None,
        mode: str = 'tensor',
    ) -> dict[str, Tensor] | list[DetDataSample] | Tensor:
        """Losses, samples with embeddings, or image embeddings, as ``mode`` says.

        Args:
            inputs: ``(B, 3, S, S)``, normalized.
            data_samples: One per image, with the caption as ``text``.
            mode: ``'loss'``, ``'predict'`` or ``'tensor'``.
        """
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        if mode == 'tensor':
            return self.encode_images(inputs)
        raise ValueError(f"mode must be 'loss', 'predict' or 'tensor', not {mode!r}.")

    def loss(self, inputs: Tensor, data_samples: list[DetDataSample]) -> dict[str, Tensor]:
        """Mean of the image-to-text and text-to-image cross-entropies, and the logit scale."""
        # CLIP clips the scale so that one pair cannot dominate the softmax (section 2.5).
        with torch.no_grad():
            self.clip.logit_scale.clamp_(max=math.log(MAX_LOGIT_SCALE))
        images = self.encode_images(inputs)
        texts = self.encode_texts([caption_of(sample) for sample in data_samples])
        scale = self.clip.logit_scale.exp()
        # logits up to 100 have no room for half precision
        with torch.autocast(images.device.type, enabled=False):
            loss = self.criterion(images.float(), texts.float(), scale.float())
        return dict(loss_image_text=loss, logit_scale=scale.detach())

    def predict(self, inputs: Tensor, data_samples: list[DetDataSample]) -> list[DetDataSample]:
        """Samples with ``image_embedding`` and ``text_embedding``, each ``(D,)``."""
        images = self.encode_images(inputs)
        texts = self.encode_texts([caption_of(sample) for sample in data_samples])
        for sample, image, text in zip(data_samples, images, texts):
            sample.set_data(dict(image_embedding=image, text_embedding=text))
        return data_samples

    def export_state_dict(self) -> dict[str, Tensor]:
        """Weights in open_clip's layout (``visual.*``, ``transformer.*``, ...), on the CPU."""
        return {name: value.detach().cpu() for name, value in self.clip.state_dict().items()}


def caption_of(sample: DetDataSample) -> str:
    """The caption that the pipeline packed into a sample.

    Raises:
        ValueError: The sample has none.
    """
    text = sample.get('text', None)
    if not isinstance(text, str):
        raise ValueError(
            f'The sample of {sample.get("img_path", "an image")} has no caption: text is {text!r}. '
            "Pack it with PackDetInputs(meta_keys=(..., 'text')) after picking one caption."
        )
    return text
