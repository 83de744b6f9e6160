# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""mmcv's RoIAlign, nms and soft-nms, computed by torchvision and NumPy.

Signatures and in-place conventions are those of mmcv 2.1's extension module.
Symbols: ``N`` boxes, ``R`` RoIs, ``C`` channels; boxes are ``(x1, y1, x2, y2)``.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torchvision
from torch import Tensor

__all__ = [
    'get_compiler_version',
    'get_compiling_cuda_version',
    'nms',
    'roi_align_backward',
    'roi_align_forward',
    'softnms',
]

_AVERAGE_POOLING = 1
# Values of mmcv's ``method`` argument.
_NAIVE, _LINEAR, _GAUSSIAN = 0, 1, 2


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign; fills ``output`` in place.

    Args:
        input: Feature map ``(B, C, H, W)``.
        rois: ``(R, 5)``: index in the batch and box in image coordinates.
        output: ``(R, C, aligned_height, aligned_width)``.
        argmax_y: Unused, belongs to max pooling.
        argmax_x: Unused, belongs to max pooling.
        aligned_height: Height of the output grid.
        aligned_width: Width of the output grid.
        spatial_scale: Feature map size divided by image size.
        sampling_ratio: Samples per bin and axis; 0 or less: adapts to the RoI's size.
        pool_mode: 1 for average pooling; max pooling (0) is not served.
        aligned: Whether coordinates are shifted by half a pixel.
    """
    _require_average_pooling(pool_mode)
    dtype = _compute_dtype(input)
    input, rois = input.to(dtype).contiguous(), rois.to(dtype)

    # autograd is told of by the caller, and does not know that other threads are not to record
    @torch.no_grad()
    def align(part: slice) -> None:
        output[part] = torch.ops.torchvision.roi_align(
            input,
            rois[part],
            spatial_scale,
            aligned_height,
            aligned_width,
            sampling_ratio if sampling_ratio > 0 else -1,
            aligned,
        )

    _in_threads(align, len(rois), input)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Gradient of :func:`roi_align_forward` by its input; fills ``grad_input`` in place.

    Args:
        grad_output: ``(R, C, aligned_height, aligned_width)``.
        rois: ``(R, 5)``.
        argmax_y: Unused.
        argmax_x: Unused.
        grad_input: ``(B, C, H, W)``.
        aligned_height: As in the forward pass, like all that follow.
    """
    _require_average_pooling(pool_mode)
    dtype = _compute_dtype(grad_output)
    grad_output, rois = grad_output.to(dtype), rois.to(dtype)
    batch, channels, height, width = grad_input.shape

    @torch.no_grad()
    def scatter(part: slice) -> None:
        grad = grad_output[:, part]
        grad_input[:, part] = torch.ops.torchvision._roi_align_backward(
            grad,
            rois,
            spatial_scale,
            aligned_height,
            aligned_width,
            batch,
            grad.shape[1],
            height,
            width,
            sampling_ratio if sampling_ratio > 0 else -1,
            aligned,
        )

    # by channels: RoIs overlap, so threads that share a channel would add to the same pixels
    _in_threads(scatter, channels, grad_input)


def nms(boxes: Tensor, scores: Tensor, *, iou_threshold: float, offset: int) -> Tensor:
    """Greedy non-maximum suppression.

    Args:
        boxes: ``(N, 4)``.
        scores: ``(N,)``.
        iou_threshold: Boxes that overlap a better one by more than this are dropped.
        offset: 1 where ``x2`` and ``y2`` are the last pixel inside the box, else 0.

    Returns:
        Indices of the boxes kept, ``(M,)``, in descending score order.
    """
    dtype = _compute_dtype(boxes)
    boxes = boxes.to(dtype)
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return torchvision.ops.nms(boxes, scores.to(dtype), iou_threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    *,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft-NMS on the CPU (Bodla et al., 2017); fills ``dets`` in place.

    Args:
        boxes: ``(N, 4)``.
        scores: ``(N,)``.
        dets: ``(N, 5)``; its first ``M`` rows receive box and decayed score of each pick.
        iou_threshold: Overlap from which methods 0 and 1 act.
        sigma: Width of the Gaussian of method 2.
        min_score: Boxes whose score decays below this are dropped.
        method: 0 naive (score becomes 0), 1 linear (times ``1 - IoU``), 2 Gaussian
            (times ``exp(-IoU^2 / sigma)``).
        offset: 1 where ``x2`` and ``y2`` are the last pixel inside the box, else 0.

    Returns:
        Indices of the picks, ``(M,)``, in the order of picking.
    """
    if method not in (_NAIVE, _LINEAR, _GAUSSIAN):
        raise ValueError(f'soft-nms: method must be 0, 1 or 2, but is {method}')
    # One row per candidate: x1, y1, x2, y2, score. Slot 0..picks-1 holds what was picked.
    rows = torch.cat([boxes, scores[:, None]], dim=1).float().cpu().numpy().copy()
    areas = (rows[:, 2] - rows[:, 0] + offset) * (rows[:, 3] - rows[:, 1] + offset)
    indices = np.arange(len(rows))
    total, pick = len(rows), 0
    while pick < total:
        best = pick + int(rows[pick:total, 4].argmax())
        for array in (rows, areas, indices):
            array[[pick, best]] = array[[best, pick]]
        rest = slice(pick + 1, total)
        overlaps = _iou(rows[pick], areas[pick], rows[rest], areas[rest], offset)
        rows[rest, 4] *= _decay(overlaps, method, iou_threshold, sigma)
        order = _drop_below(rows[rest, 4], min_score)
        total = pick + 1 + len(order)
        for array in (rows, areas, indices):
            array[pick + 1 : total] = array[rest][order]
        pick += 1
    dets[:total] = torch.from_numpy(rows[:total]).to(dets)
    return torch.from_numpy(indices[:total]).to(boxes.device)


def get_compiler_version() -> str:
    """What environment reports print as mmcv's compiler."""
    return 'none (operators served by torchvision)'


def get_compiling_cuda_version() -> str:
    """What environment reports print as mmcv's CUDA compiler."""
    return 'none (operators served by torchvision)'


def _in_threads(work: Callable[[slice], None], count: int, tensor: Tensor) -> None:
    """Do ``work`` on parts of ``count`` items: torchvision's operators use one CPU core."""
    threads = 1 if tensor.is_cuda else min(torch.get_num_threads(), count)
    if threads < 2:
        work(slice(None))
        return
    borders = torch.linspace(0, count, threads + 1).round().int().tolist()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, map(slice, borders[:-1], borders[1:])))


def _compute_dtype(tensor: Tensor) -> torch.dtype:
    """float32 for half precision (torchvision lacks it on CPUs and for bfloat16)."""
    return tensor.dtype if tensor.dtype == torch.float64 else torch.float32


def _require_average_pooling(pool_mode: int) -> None:
    if pool_mode != _AVERAGE_POOLING:
        raise NotImplementedError(
            "RoIAlign with pool_mode='max' is not served by torchvision; use pool_mode='avg' or "
            'install a compiled mmcv (pip uninstall -y mmcv-lite && pip install "mmcv>=2.1,<2.2").'
        )


def _iou(
    box: np.ndarray, area: np.float32, others: np.ndarray, areas: np.ndarray, offset: int
) -> np.ndarray:
    """IoU of one row with ``(M, 5)`` rows; returns ``(M,)``."""
    width = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0]) + offset
    height = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1]) + offset
    inter = np.maximum(width, 0) * np.maximum(height, 0)
    with np.errstate(invalid='ignore', divide='ignore'):
        return inter / (area + areas - inter)


def _decay(overlaps: np.ndarray, method: int, iou_threshold: float, sigma: float) -> np.ndarray:
    if method == _GAUSSIAN:
        return np.exp(-(overlaps * overlaps) / np.float32(sigma))
    weights = 1 - overlaps if method == _LINEAR else np.zeros_like(overlaps)
    return np.where(overlaps >= np.float32(iou_threshold), weights, np.float32(1))


def _drop_below(scores: np.ndarray, min_score: float) -> np.ndarray:
    """Order of the survivors, ``(M,)``.

    mmcv fills the place of a dropped box with the last survivor. The order decides
    which of two equal scores is picked first, so it is followed here.
    """
    alive = ~(scores < np.float32(min_score))
    count = int(alive.sum())
    order = np.arange(count)
    holes = ~alive[:count]
    order[holes] = np.flatnonzero(alive[count:])[::-1] + count
    return order
