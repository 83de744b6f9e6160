# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Sizes of CLIP's modified ResNets (Radford et al. 2021, table 19) and of any custom one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from torch import nn

from .folding import FoldedBottleneck as Bottleneck

HEAD_WIDTH = 64


@dataclass(frozen=True)
class CLIPResNetArch:
    """Everything that determines the shapes of a CLIP ResNet.

    Args:
        width: Channels after the stem. Stages put out ``4, 8, 16, 32`` times as many.
        layers: Bottlenecks per stage.
        embed_dim: Size ``D`` of the joint image-text embedding.
        image_size: Side of the images CLIP was trained on, in pixels; fixes the number of
            positional embeddings and so the side of the pooled maps.
    """

    width: int
    layers: tuple[int, int, int, int]
    embed_dim: int
    image_size: int

    @property
    def num_heads(self) -> int:
        """Heads of the attention pool."""
        return self.stage_channels(4) // HEAD_WIDTH

    @property
    def pooled_size(self) -> int:
        """Side of the layer4 map that enters the attention pool (stride 32)."""
        return self.image_size // 32

    @property
    def roi_size(self) -> int:
        """Side of the RoIAlign output; layer4 halves it (stride 16 to 32)."""
        return self.image_size // 16

    def stage_channels(self, stage: int) -> int:
        """Output channels of stage 1 to 4."""
        return self.width * 2 ** (stage - 1) * Bottleneck.expansion

    def build_stage(self, stage: int) -> nn.Sequential:
        """The bottlenecks of stage 1 to 4, as open_clip lays them out."""
        planes = self.width * 2 ** (stage - 1)
        inplanes = self.width if stage == 1 else self.stage_channels(stage - 1)
        blocks: list[nn.Module] = [Bottleneck(inplanes, planes, stride=1 if stage == 1 else 2)]
        for _ in range(1, self.layers[stage - 1]):
            blocks.append(Bottleneck(planes * Bottleneck.expansion, planes))
        return nn.Sequential(*blocks)


CLIP_RESNETS: dict[str, CLIPResNetArch] = {
    'RN50': CLIPResNetArch(64, (3, 4, 6, 3), 1024, 224),
    'RN101': CLIPResNetArch(64, (3, 4, 23, 3), 512, 224),
    'RN50x4': CLIPResNetArch(80, (4, 6, 10, 6), 640, 288),
    'RN50x16': CLIPResNetArch(96, (6, 8, 18, 8), 768, 384),
    'RN50x64': CLIPResNetArch(128, (3, 15, 36, 10), 1024, 448),
}


def resolve_arch(arch: str | Mapping | CLIPResNetArch) -> CLIPResNetArch:
    """Turn a config value into a ``CLIPResNetArch``.

    Args:
        arch: A name of ``CLIP_RESNETS`` or a mapping with ``width``, ``layers``, ``embed_dim``
            and ``image_size``.

    Raises:
        ValueError: Unknown name, or sizes that CLIP's attention pool cannot have.
    """
    if isinstance(arch, CLIPResNetArch):
        return arch
    if isinstance(arch, str):
        if arch not in CLIP_RESNETS:
            raise ValueError(
                f'Unknown CLIP ResNet {arch!r}. Known: {", ".join(CLIP_RESNETS)}; or give a dict '
                'with width, layers, embed_dim and image_size.'
            )
        return CLIP_RESNETS[arch]
    if set(arch) != {field.name for field in fields(CLIPResNetArch)}:
        raise ValueError(
            f'arch needs width, layers, embed_dim and image_size; given: {", ".join(arch)}.'
        )
    resolved = CLIPResNetArch(**{**arch, 'layers': tuple(arch['layers'])})
    if len(resolved.layers) != 4 or min(resolved.layers) < 1:
        raise ValueError(f'layers must be four positive numbers, not {resolved.layers}.')
    if resolved.stage_channels(4) % HEAD_WIDTH:
        raise ValueError(f'width must be even so that heads of 64 channels fit: {resolved.width}.')
    if resolved.image_size % 32:
        raise ValueError(f'image_size must be a multiple of 32, not {resolved.image_size}.')
    return resolved
