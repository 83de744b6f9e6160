# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Images and captions, each combination judged for itself."""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from ..precision import StaysFloat32
from ..recognition import unit_vectors
from .gathering import mean_over_pairs, own_rank, rows_of_ranks


class _SumOfLosses(torch.autograd.Function):
    """Losses of this rank's images with the captions of all ranks, one rank's at a time.

    Gradients are computed at once, so that no block's logits are kept, and all ranks exchange in
    the forward pass alone. A caption's gradient is the sum over the images of all ranks.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        images: Tensor,
        texts: Tensor,
        log_scale: Tensor,
        bias: Tensor,
        sizes: list[int],
        rank: int,
    ) -> Tensor:
        scale = log_scale.exp()
        total, bias_grad = images.new_zeros(2).unbind()
        image_grad, text_grad = torch.zeros_like(images), torch.zeros_like(texts)
        for source, captions in enumerate(sizes):
            if captions == 0:
                continue
            block = texts.clone() if source == rank else texts.new_empty(captions, texts.shape[1])
            if len(sizes) > 1:
                dist.broadcast(block, source)
            logits = (images @ block.t()).mul_(scale).add_(bias)
            if source == rank:
                logits.diagonal().neg_()
            total = total + F.softplus(logits).sum()
            slope = logits.sigmoid_()
            if source == rank:
                slope.diagonal().neg_()
            bias_grad = bias_grad + slope.sum()
            image_grad.addmm_(slope, block)
            if ctx.needs_input_grad[1]:
                block_grad = slope.t() @ images
                if len(sizes) > 1:
                    dist.reduce(block_grad, source)
                if source == rank:
                    text_grad = block_grad
        image_grad *= scale
        # sum of slope * cosine * scale
        scale_grad = (images * image_grad).sum()
        ctx.save_for_backward(
            image_grad, text_grad * scale, scale_grad.to(log_scale), bias_grad.to(bias)
        )
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple:
        gradients = (saved * grad.to(saved) for saved in ctx.saved_tensors)
        return *gradients, None, None


@MODELS.register_module()
class ImageTextSigmoidLoss(StaysFloat32):
    """Sigmoid loss over image-caption pairs (SigLIP, Zhai et al. 2023, section 3.2, algorithm 1).

    Logits ``exp(t') * cos(v_i, t_j) + b``; the mean over images of the sum over captions of
    ``-log sigmoid(logit)`` for an image's own caption, of ``-log sigmoid(-logit)`` for any other.
    With several processes, the captions of all ranks are seen, those of one rank at a time: memory
    of a rank grows with its own pairs alone. After data parallelism's averaging, gradients are
    those of one process with the whole batch, however the pairs are spread.

    A learned ``t'`` (``log_scale``) and ``b`` (``bias``) are parameters of the model: optimized,
    and in its checkpoints. A checkpoint without them leaves the initial values.

    Args:
        scale: Initial ``exp(t')``. 10 in the paper, for training from scratch.
        bias: Initial ``b``; -10 in the paper, as most combinations are no pairs.
        learnable: Whether both are learned.
        gather: See the captions of all ranks.
        loss_weight: Factor of the loss.
    """

    weights_source = 'initial scale and bias of the config'

    # see AccumulationCheckHook
    contrasts_batch = True

    def __init__(
        self,
        scale: float = 10.0,
        bias: float = -10.0,
        learnable: bool = True,
        gather: bool = True,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if scale <= 0:
            raise ValueError(f'scale must be positive, not {scale}.')
        for name, value in (('log_scale', math.log(scale)), ('bias', float(bias))):
            if learnable:
                self.register_parameter(name, nn.Parameter(torch.tensor(value)))
            else:  # of the config, not of checkpoints
                self.register_buffer(name, torch.tensor(value), persistent=False)
        self.gather = gather
        self.loss_weight = loss_weight

    def forward(self, image_embeddings: Tensor, text_embeddings: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            image_embeddings: ``(B, D)``, any norm.
            text_embeddings: ``(B, D)``, row i the caption of image i.

        Returns:
            A scalar, the same on every rank when gathered; 0 if there is no pair.
        """
        device = image_embeddings.device
        with torch.autocast(device.type, enabled=False):
            images = unit_vectors(image_embeddings)
            texts = unit_vectors(text_embeddings)
            sizes = rows_of_ranks(len(images), device, self.gather)
            own = _SumOfLosses.apply(
                images, texts, self.log_scale, self.bias, sizes, own_rank(sizes)
            )
            return self.loss_weight * mean_over_pairs(own, sizes)
