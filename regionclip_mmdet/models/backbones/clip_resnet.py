# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""CLIP's modified ResNet up to layer3: the image side of every RegionCLIP model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from open_clip.utils import freeze_batch_norm_2d
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .clip_arch import resolve_arch
from .folding import conv_norm

NUM_STAGES = 3
STRIDE = 16


@MODELS.register_module()
class CLIPResNet(BaseModule):
    """Stem and stages 1 to 3 of open_clip's ``ModifiedResNet``; layer3 is the C4 map (stride 16).

    layer4 and the attention pool run per region and live in ``RegionEncoder``. All batch norms are
    frozen (buffers, not parameters) in every stage, trained stages included, as in the official
    RegionCLIP. Parameter names equal CLIP's without its ``visual.`` prefix.

    Args:
        arch: ``'RN50'``, ``'RN101'``, ``'RN50x4'``, ``'RN50x16'``, ``'RN50x64'`` or a mapping with
            ``width``, ``layers``, ``embed_dim``, ``image_size``.
        frozen_stages: Stages without gradients: -1 none, 0 the stem, k the stem and stages 1 to k.
        out_indices: Stages whose maps are put out, 0 for layer1 to 2 for layer3.
        channels_last: Compute in that memory format, which convolutions are fastest in.
        with_cp: Keep no activations inside the bottlenecks of trained stages; compute them again
            in the backward pass (less memory, about a third more time). Same gradients.
        init_cfg: E.g. ``dict(type='CLIPPretrained', checkpoint='RN50/openai')``.

    Shapes:
        Input ``(B, 3, H, W)``, RGB, normalized with CLIP's mean and std, padded with zeros;
        sides under 16 are padded with zeros to 16.
        Output: one ``(B, C, H/s, W/s)`` per index, ``s = 4, 8, 16`` (rounded down at the poolings).
    """

    clip_prefixes = (('', 'visual.'),)

    def __init__(
        self,
        arch: str | Mapping,
        frozen_stages: int = 1,
        out_indices: Sequence[int] = (2,),
        channels_last: bool = True,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if not -1 <= frozen_stages <= NUM_STAGES:
            raise ValueError(f'frozen_stages must be within [-1, {NUM_STAGES}]: {frozen_stages}.')
        if not out_indices or any(i not in range(NUM_STAGES) for i in out_indices):
            raise ValueError(f'out_indices must name stages 0 to {NUM_STAGES - 1}: {out_indices}.')
        self.arch = resolve_arch(arch)
        self.frozen_stages = frozen_stages
        self.out_indices = tuple(out_indices)
        self.channels_last = channels_last
        self.with_cp = with_cp
        self._build_stem()
        for stage in range(1, NUM_STAGES + 1):
            self.add_module(f'layer{stage}', self.arch.build_stage(stage))
        freeze_batch_norm_2d(self)
        self._freeze_stages()

    def _build_stem(self) -> None:
        width = self.arch.width
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.avgpool = nn.AvgPool2d(2)

    def _freeze_stages(self) -> None:
        if self.frozen_stages < 0:
            return
        stem = (self.conv1, self.conv2, self.conv3)
        stages = (getattr(self, f'layer{i}') for i in range(1, self.frozen_stages + 1))
        for module in (*stem, *stages):
            module.requires_grad_(False)

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of the maps put out."""
        return tuple(self.arch.stage_channels(i + 1) for i in self.out_indices)

    def forward(self, x: Tensor, first_step: int = 0) -> tuple[Tensor, ...]:
        """Feature maps of a batch; see the class for shapes.

        Args:
            x: A batch, or the output of ``run_steps(batch, 0, first_step)``.
            first_step: 0 for a batch; how many steps have been run on ``x`` already.

        Raises:
            ValueError: A map that is to be put out lies before ``first_step``.
        """
        if first_step > min(self.out_indices) + 1:
            raise ValueError(f'out_indices {self.out_indices} lie before step {first_step}.')
        outs = []
        for i in range(max(self.out_indices) + 1):
            x = self.run_steps(x, first_step, i + 2)
            first_step = max(first_step, i + 2)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)

    def run_steps(self, x: Tensor, first: int, end: int) -> Tensor:
        """Run steps ``first`` to ``end - 1``; step 0 is the stem, step k is layer k.

        Args:
            x: What step ``first`` takes: the batch ``(B, 3, H, W)`` or the step before's output.
            first: First step to run.
            end: Step to stop before.

        Returns:
            The output of step ``end - 1``; ``x`` if there is nothing to run.
        """
        for step in range(first, end):
            x = self._stem(x) if step == 0 else self._stage(x, step)
        return x

    def step_modules(self, step: int) -> list[nn.Module]:
        """Modules with the weights of a step, see ``run_steps``."""
        if step == 0:
            return [self.conv1, self.bn1, self.conv2, self.bn2, self.conv3, self.bn3]
        return [getattr(self, f'layer{step}')]

    def _stage(self, x: Tensor, step: int) -> Tensor:
        stage = getattr(self, f'layer{step}')
        if not (self.with_cp and torch.is_grad_enabled() and step > self.frozen_stages):
            return stage(x)
        for block in stage:
            x = checkpoint(block, x, use_reentrant=False)
        return x

    def _stem(self, x: Tensor) -> Tensor:
        # the long edge rule can leave a thin image so few pixels that a pooling would have none
        missing = [max(STRIDE - side, 0) for side in x.shape[-2:]]
        if any(missing):
            x = F.pad(x, (0, missing[1], 0, missing[0]))
        # images come in float32; after half() the weights do not
        x = x.to(self.conv1.weight.dtype)
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = F.relu_(conv_norm(x, conv, norm))
        return self.avgpool(x)
