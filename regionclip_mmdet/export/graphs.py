# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The parts of a detector as functions of tensors alone, which an exporter can follow.

They compute what the model's own modules compute, with their weights, and leave out what a graph
cannot hold: Python lists of images, chunks, early exit, shortcuts that depend on the input's size.
One image per call. Images are RGB pixels 0..255, of the size that the test pipeline makes, and
boxes absolute ``(x1, y1, x2, y2)`` in that frame.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import nms, roi_align

from ..models.recognition import region_probabilities
from ..models.region_encoders.region_encoder import C4_STRIDE
from ..models.text.causal_tower import attend

FAR_CORNERS = ((1.0, 1.0, 2.0, 2.0), (3.0, 3.0, 4.0, 4.0))


class BackboneGraph(nn.Module):
    """Image ``(1, 3, H, W)`` to its C4 map ``(1, C, H / 16, W / 16)``.

    Args:
        model: An ``OpenVocabularyRCNN``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.register_buffer('mean', model.data_preprocessor.mean.detach().clone())
        self.register_buffer('std', model.data_preprocessor.std.detach().clone())

    def normalize(self, image: Tensor) -> Tensor:
        """What the data preprocessor does with an image that needs no padding."""
        return (image - self.mean) / self.std

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        return self.backbone(self.normalize(image))[-1]


class RegionGraph(nn.Module):
    """C4 map, boxes and text embeddings to region embeddings, class probabilities and boxes.

    RoIAlign is torchvision's, for which both exporters know the ONNX operator.

    Args:
        model: An ``OpenVocabularyRCNN``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        head = model.roi_head.bbox_head
        self.encoder = model.roi_head.region_encoder
        self.temperature = head.classifier_for(training=False).temperature
        self.regressor = head.fc_reg if head.with_reg else None
        self.coder = head.bbox_coder

    def forward(self, c4: Tensor, boxes: Tensor, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Embed, classify and refine regions.

        Args:
            c4: ``(1, C, H / 16, W / 16)``.
            boxes: ``(N, 4)``.
            text: Text embeddings ``(K, D)``, of any norm.

        Returns:
            Region embeddings ``(N, D)``, not normalized; probabilities ``(N, K)``, where what is
            missing to one in a row is background's; refined boxes ``(N, 4)``, not clipped (the
            boxes themselves if the model has no regressor).
        """
        # with one more region, for operators and the coder fail or branch where there is none
        boxes = F.pad(boxes, (0, 0, 0, 1))
        embeddings = self.embed(c4, boxes)
        probabilities = region_probabilities(embeddings, text, self.temperature)[:, :-1]
        if self.regressor is not None:
            boxes = self.coder.decode(boxes, self.regressor(embeddings))
        return embeddings[:-1], probabilities[:-1], boxes[:-1]

    def embed(self, c4: Tensor, boxes: Tensor) -> Tensor:
        """Region embeddings ``(N, D)``."""
        encoder = self.encoder
        rois = torch.cat([torch.zeros_like(boxes[:, :1]), boxes], dim=1)
        sampling_ratio = encoder.roi_align.sampling_ratio
        regions = roi_align(
            c4,
            rois,
            encoder.arch.roi_size,
            1 / C4_STRIDE,
            sampling_ratio if sampling_ratio > 0 else -1,
            aligned=True,
        )
        return encoder.attnpool(encoder.layer4(regions))


class LocalizerGraph(nn.Module):
    """Image ``(1, 3, H, W)`` to proposals ``(N, 4)`` and their objectness logits ``(N,)``.

    In descending order of objectness, after NMS, at most ``max_per_img``; see ``RPNLocalizer``.

    Args:
        model: An ``OpenVocabularyRCNN`` with an ``RPNLocalizer``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.localizer = model.localizer
        self.register_buffer('mean', model.data_preprocessor.mean.detach().clone())
        self.register_buffer('std', model.data_preprocessor.std.detach().clone())

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        localizer = self.localizer
        # there and back again: the localizer gets the rounded numbers that it gets in the model
        x = localizer.pad(localizer.renormalize((image - self.mean) / self.std))
        feats = localizer.backbone(x)
        if localizer.neck is not None:
            feats = localizer.neck(feats)
        logits, deltas = localizer.rpn_head(feats)
        priors = localizer.rpn_head.prior_generator.grid_priors(
            [m.shape[-2:] for m in logits], dtype=torch.float32, device=image.device
        )
        levels = [
            self._best(level_logits[0], level_deltas[0], level_priors, image)
            for level_logits, level_deltas, level_priors in zip(logits, deltas, priors, strict=True)
        ]
        boxes, objectness, valid = (torch.cat(parts) for parts in zip(*levels, strict=True))
        level = torch.cat([torch.full_like(v, i) for i, (_, v, _) in enumerate(levels)])
        return self._suppress(boxes, objectness, valid, level)

    def _best(
        self, logits: Tensor, deltas: Tensor, priors: Tensor, image: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The ``nms_pre`` best anchors of a level, decoded; and which of them may propose."""
        cfg, coder = self.localizer.test_cfg, self.localizer.rpn_head.bbox_coder
        flat = logits.permute(1, 2, 0).flatten()
        flat = flat.where(flat.isfinite(), torch.full_like(flat, -torch.inf))
        deltas = deltas.permute(1, 2, 0).reshape(-1, 4)
        if cfg.nms_pre > 0:
            # so many more, not valid, that there are always enough to choose from
            fill = flat.new_full((cfg.nms_pre,), -torch.inf)
            flat, index = torch.cat([flat, fill]).topk(cfg.nms_pre)
            index = index.clamp(max=deltas.shape[0] - 1)
            deltas, priors = deltas[index], priors[index]
        boxes = coder.decode(priors, deltas)
        if coder.clip_border:
            boxes = boxes.minimum(_image_limits(image)).clamp_min(0)
        valid = (boxes[:, 2:] - boxes[:, :2] > cfg.min_bbox_size).all(1) & flat.isfinite()
        return boxes, flat, valid

    def _suppress(
        self, boxes: Tensor, objectness: Tensor, valid: Tensor, level: Tensor
    ) -> tuple[Tensor, Tensor]:
        cfg = self.localizer.test_cfg
        rows = valid.nonzero()[:, 0]
        boxes, objectness, level = boxes[rows], objectness[rows], level[rows]
        # as mmcv's batched_nms keeps levels apart; padded, for there may be no boxes
        apart = boxes + (level * (F.pad(boxes, (0, 0, 0, 1)).max() + 1))[:, None]
        # two boxes behind all others and far from them: torch.export takes it for granted that
        # NMS keeps at least two
        far = F.pad(apart, (0, 0, 0, 1)).max() + apart.new_tensor(FAR_CORNERS)
        last = objectness.new_full((2,), torch.finfo(objectness.dtype).min)
        scores = torch.cat([objectness, last])
        keep = nms(torch.cat([apart, far]), scores, cfg.nms.iou_threshold)[:-2]
        keep = keep[: cfg.max_per_img] if cfg.max_per_img > 0 else keep
        return boxes[keep], objectness[keep]


class DetectorGraph(nn.Module):
    """Image and text embeddings to all regions, embedded and named; selection is left out.

    Args:
        model: An ``OpenVocabularyRCNN`` with an ``RPNLocalizer``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.localizer = LocalizerGraph(model)
        self.backbone = BackboneGraph(model)
        self.regions = RegionGraph(model)

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, ...]:
        """Propose, embed and name regions.

        Args:
            image: ``(1, 3, H, W)``.
            text: Text embeddings ``(K, D)``, of any norm.

        Returns:
            Proposals ``(N, 4)``, objectness logits ``(N,)``, then what ``RegionGraph`` returns.
        """
        proposals, objectness = self.localizer(image)
        return proposals, objectness, *self.regions(self.backbone(image), proposals, text)


class TextGraph(nn.Module):
    """Token ids ``(N, L)`` to text embeddings ``(N, D)``, not normalized.

    ``L`` is any length up to the context length; the embedding is read at a row's largest id.

    Args:
        encoder: A ``CLIPTextEncoder``.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.tower = encoder.model

    def forward(self, tokens: Tensor) -> Tensor:
        """See the class."""
        tower, length = self.tower, tokens.shape[1]
        x = tower.token_embedding(tokens) + tower.positional_embedding[:length]
        mask = tower.attn_mask[:length, :length]
        for block in tower.transformer.resblocks:
            # not block.attn(...), whose shapes the tracer takes for constants
            attn = block.attn
            projected = F.linear(block.ln_1(x), attn.in_proj_weight, attn.in_proj_bias)
            q, k, v = projected.chunk(3, dim=-1)
            x = x + block.ls_1(attn.out_proj(attend(q, k, v, tower.heads, mask)))
            x = x + block.ls_2(block.mlp(block.ln_2(x)))
        end = tokens.argmax(dim=-1)[:, None, None].expand(-1, 1, x.shape[-1])
        return tower.ln_final(x.gather(1, end)[:, 0]) @ tower.text_projection


def _image_limits(image: Tensor) -> Tensor:
    """``(W, H, W, H)`` as a tensor that depends on the input's size, not on the example's."""
    width = torch.ones_like(image[0, 0, 0]).sum()
    height = torch.ones_like(image[0, 0, :, 0]).sum()
    return torch.stack([width, height, width, height])
