# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""From a C4 map and boxes to region embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from open_clip.utils import freeze_batch_norm_2d
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...compat.autocast import cpu_autocast_is_on
from ..backbones.clip_arch import resolve_arch
from ..backbones.folding import fold
from .attention_pool import AttentionPool2d
from .region_align import RegionAlign

C4_STRIDE = 16


class RegionStage(nn.Sequential):
    """CLIP's layer4.

    Its first block begins with a 1x1 convolution and, in the shortcut, a 2x2 average pool and
    another 1x1 convolution. Both are linear up to their bias, and so is RoIAlign: they commute.
    Where many regions share a map, ``project`` runs them once on the map; RoIAlign then pools
    their outputs, the biases are added, and ``forward`` goes on. The same numbers up to rounding
    with 18 % fewer multiplications in layer4 (RN50).
    """

    def project(self, c4: Tensor) -> tuple[Tensor, Tensor]:
        """Both first convolutions on a map, without biases.

        Args:
            c4: ``(B, C, H, W)``.

        Returns:
            ``(B, C / 2, H, W)``, to be pooled as ``forward``'s ``x``, and ``(B, 2C, H, W)``, to be
            pooled at half the resolution as its ``shortcut``.
        """
        first = self[0]
        _, conv, norm = first.downsample
        return (
            F.conv2d(c4, fold(first.conv1, first.bn1)[0]),
            F.conv2d(c4, fold(conv, norm)[0]),
        )

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """Run the stage on regions.

        Args:
            x: ``(R, C, h, w)``, or projected regions ``(R, C / 2, h, w)``, changed in place.
            shortcut: ``(R, 2C, h / 2, w / 2)``, with projected regions; changed in place.

        Returns:
            ``(R, 2C, h / 2, w / 2)``.
        """
        if shortcut is None:
            return super().forward(x)
        first, *others = self
        _, conv, norm = first.downsample
        x = F.relu_(x.add_(fold(first.conv1, first.bn1)[1].view(-1, 1, 1)))
        shortcut = shortcut.add_(fold(conv, norm)[1].view(-1, 1, 1))
        x = first.finish(x, shortcut)
        for block in others:
            x = block(x)
        return x


@MODELS.register_module()
class RegionEncoder(BaseModule):
    """RoIAlign, CLIP's layer4 and its attention pool: one embedding per region.

    Used by the detector, the pretraining student and the frozen teacher (RegionCLIP, section 3.1).
    Embeddings are put out unnormalized: the classifier normalizes them, the box regressor and
    exported features use them raw.

    Args:
        arch: As in ``CLIPResNet``; fixes the RoIAlign size (14 for RN50, 18 for RN50x4).
        roi_sampling_ratio: RoIAlign samples per bin and axis; 0 takes ``ceil(bin size)``.
        chunk_size: Encode at most so many regions at a time; bounds memory, same result. None
            encodes all at once.
        channels_last: Compute in that memory format, which convolutions are fastest in.
        project_first: On a CPU, run the linear first steps of layer4 once on the map where that
            is less work than on every region (see ``RegionStage``); same result.
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
        project_first: bool = True,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if chunk_size is not None and chunk_size < 1:
            raise ValueError(f'chunk_size must be positive or None, not {chunk_size}.')
        self.arch = resolve_arch(arch)
        self.chunk_size = chunk_size
        self.channels_last = channels_last
        self.project_first = project_first
        self.with_cp = with_cp
        self.roi_align = RegionAlign(self.arch.roi_size, 1 / C4_STRIDE, roi_sampling_ratio)
        self.layer4 = RegionStage(*self.arch.build_stage(4))
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

    @property
    def map_channels(self) -> int:
        """Channels of the maps that ``region_maps`` puts out, which a mask head reads."""
        return self.arch.stage_channels(4)

    def forward(self, feats: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Embed regions.

        Args:
            feats: ``(C4 map,)`` of shape ``(B, C, H/16, W/16)``.
            rois: ``(R, 5)``: image index in the batch, then x1, y1, x2, y2 in input pixels.

        Returns:
            Region embeddings ``(R, D)``, not normalized.
        """
        maps = self._shared_maps(feats[0], rois)
        chunks = [self.attnpool(self._encode(maps, part)) for part in self.split(rois)]
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
        shared = self._shared_maps(feats[0], rois)
        embeddings, maps = [], []
        for part, kept in zip(self.split(rois), self.split(keep), strict=True):
            part_maps = self._encode(shared, part)
            embeddings.append(self.attnpool(part_maps))
            maps.append(part_maps[kept])
        return torch.cat(embeddings), torch.cat(maps)

    def region_maps(self, feats: Sequence[Tensor], rois: Tensor) -> Tensor:
        """layer4 maps ``(R, C, pooled, pooled)`` of regions, before the attention pool."""
        return self._encode(self._shared_maps(feats[0], rois), rois)

    def _shared_maps(self, c4: Tensor, rois: Tensor) -> tuple[Tensor, ...]:
        """What regions are pooled from: the C4 map, or what layer4's first steps make of it."""
        positions = len(c4) * c4.shape[-2] * c4.shape[-1]
        in_full = c4.dtype in (torch.float32, torch.float64) and not cpu_autocast_is_on()
        if (
            self.project_first
            and self.roi_align.serves(c4)
            and in_full
            and len(rois) * self.arch.roi_size**2 > positions
        ):
            return self.layer4.project(c4)
        return (c4,)

    def _encode(self, maps: tuple[Tensor, ...], rois: Tensor) -> Tensor:
        if self.with_cp and torch.is_grad_enabled():
            return checkpoint(self._region_maps, rois, *maps, use_reentrant=False)
        return self._region_maps(rois, *maps)

    def _region_maps(self, rois: Tensor, *maps: Tensor) -> Tensor:
        if len(maps) == 2:
            return self.layer4(*self.roi_align(maps, rois))
        # mmdet's SingleRoIExtractor casts boxes to the map's type: in bfloat16 a coordinate near
        # 1000 would be rounded to 4 pixels. Boxes stay float32 here.
        full = torch.promote_types(maps[0].dtype, torch.float32)
        regions = self.roi_align(maps[0].to(full), rois.to(full)).to(maps[0].dtype)
        if self.channels_last:
            regions = regions.contiguous(memory_format=torch.channels_last)
        return self.layer4(regions)
