# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""From a C4 map and boxes to region embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from mmcv.ops import RoIAlign
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from open_clip.utils import freeze_batch_norm_2d
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..backbones.clip_arch import resolve_arch
from .attention_pool import AttentionPool2d

C4_STRIDE = 16


@MODELS.register_module()
class RegionEncoder(BaseModule):
    """RoIAlign, CLIP's layer4 and its attention pool: one embedding per region.

    Used by the detector, the pretraining student and the frozen teacher (RegionCLIP, section 3.1).
    Embeddings are put out unnormalised: the classifier normalises them, the box regressor and
    exported features use them raw.

    Args:
        arch: As in ``CLIPResNet``; fixes the RoIAlign size (14 for RN50, 18 for RN50x4).
        roi_sampling_ratio: RoIAlign samples per bin and axis; 0 takes ``ceil(bin size)``.
        chunk_size: Encode at most so many regions at a time; bounds memory, same result. None
            encodes all at once.
        channels_last: Compute in that memory format, which convolutions are fastest in.
        with_cp: Keep no activations of RoIAlign and layer4; compute them again in the backward
            pass (less memory, about a third more time). Same gradients.
        init_cfg: E.g. ``dict(type='CLIPPretrained', checkpoint='RN50/openai')``.
    """

    clip_prefixes = (('layer4.', 'visual.layer4.'), ('attnpool.', 'visual.attnpool.'))

    def __init__(
        self,
        arch: str | Mapping,
        roi_sampling_ratio: int = 0,
        chunk_size: int | None = 256,
        channels_last: bool = True,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if chunk_size is not None and chunk_size < 1:
            raise ValueError(f'chunk_size must be positive or None, not {chunk_size}.')
        self.arch = resolve_arch(arch)
        self.chunk_size = chunk_size
        self.channels_last = channels_last
        self.with_cp = with_cp
        self.roi_align = RoIAlign(
            self.arch.roi_size,
            spatial_scale=1 / C4_STRIDE,
            sampling_ratio=roi_sampling_ratio,
            aligned=True,
        )
        self.layer4 = self.arch.build_stage(4)
        freeze_batch_norm_2d(self.layer4)
        self.attnpool = AttentionPool2d(
            self.arch.pooled_size,
            self.arch.stage_channels(4),
            self.arch.num_heads,
            self.arch.embed_dim,
        )

    @property
    def embed_dim(self) -> int:
        """Size ``D`` of the embeddings."""
        return self.arch.embed_dim

    def forward(self, feats: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Embed regions.

        Args:
            feats: ``(C4 map,)`` of shape ``(B, C, H/16, W/16)``.
            rois: ``(R, 5)``: image index in the batch, then x1, y1, x2, y2 in input pixels.

        Returns:
            Region embeddings ``(R, D)``, not normalised.
        """
        chunks = [self.attnpool(self.region_maps(feats, part)) for part in self.split(rois)]
        return torch.cat(chunks) if len(chunks) > 1 else chunks[0]

    def split(self, regions: Tensor) -> tuple[Tensor, ...]:
        """Chunks of at most ``chunk_size`` rows; one, empty, of no rows."""
        return regions.split(self.chunk_size or max(len(regions), 1))

    def embed_and_keep_maps(
        self, feats: Sequence[Tensor], rois: Tensor, keep: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Embed regions and keep some of their maps, in one pass.

        Args:
            feats: ``(C4 map,)`` of shape ``(B, C, H/16, W/16)``.
            rois: ``(R, 5)``, as in ``forward``.
            keep: ``(R,)`` bool, the regions whose maps are wanted, too.

        Returns:
            Region embeddings ``(R, D)`` and layer4 maps ``(keep.sum(), C, pooled, pooled)``.
        """
        embeddings, maps = [], []
        for part, kept in zip(self.split(rois), self.split(keep), strict=True):
            part_maps = self.region_maps(feats, part)
            embeddings.append(self.attnpool(part_maps))
            maps.append(part_maps[kept])
        return torch.cat(embeddings), torch.cat(maps)

    def region_maps(self, feats: Sequence[Tensor], rois: Tensor) -> Tensor:
        """layer4 maps ``(R, C, pooled, pooled)`` of regions, before the attention pool."""
        if self.with_cp and torch.is_grad_enabled():
            return checkpoint(self._region_maps, feats[0], rois, use_reentrant=False)
        return self._region_maps(feats[0], rois)

    def _region_maps(self, c4: Tensor, rois: Tensor) -> Tensor:
        # mmdet's SingleRoIExtractor casts boxes to the map's type: in bfloat16 a coordinate near
        # 1000 would be rounded to 4 pixels. Boxes stay float32 here.
        regions = self.roi_align(c4.float(), rois.float()).to(c4.dtype)
        if self.channels_last:
            regions = regions.contiguous(memory_format=torch.channels_last)
        return self.layer4(regions)
