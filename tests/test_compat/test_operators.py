# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""mmcv's operators without a compiled mmcv: values, gradients, errors."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from mmcv.ops import batched_nms, nms, roi_align, soft_nms

from regionclip_mmdet.compat import torchvision_operators, uses_operator_fallback

needs_fallback = pytest.mark.skipif(
    not uses_operator_fallback(), reason='mmcv is compiled here, its own operators are used'
)


def random_boxes(count: int, seed: int, size: float = 100.0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, size * 0.6, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, size * 0.4, (count, 2))], axis=1)
    scores = rng.permutation(count) / count + 0.01
    return torch.tensor(boxes, dtype=torch.float32), torch.tensor(scores, dtype=torch.float32)


def iou(a: np.ndarray, b: np.ndarray, offset: int) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    area_a = (a[2] - a[0] + offset) * (a[3] - a[1] + offset)
    area_b = (b[2] - b[0] + offset) * (b[3] - b[1] + offset)
    return width * height / (area_a + area_b - width * height)


def bilinear(image: np.ndarray, y: float, x: float) -> float:
    height, width = image.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    return (
        image[top, left] * (1 - dy) * (1 - dx)
        + image[top, right] * (1 - dy) * dx
        + image[bottom, left] * dy * (1 - dx)
        + image[bottom, right] * dy * dx
    )


def roi_align_by_hand(
    image: np.ndarray, box: list[float], bins: int, scale: float, samples: int, aligned: bool
) -> np.ndarray:
    shift = 0.5 if aligned else 0.0
    x1, y1, x2, y2 = (value * scale - shift for value in box)
    width, height = x2 - x1, y2 - y1
    if not aligned:
        width, height = max(width, 1.0), max(height, 1.0)
    count_y = samples if samples > 0 else int(np.ceil(height / bins))
    count_x = samples if samples > 0 else int(np.ceil(width / bins))
    out = np.zeros((bins, bins))
    for row in range(bins):
        for column in range(bins):
            values = [
                bilinear(
                    image,
                    y1 + (row + (i + 0.5) / count_y) * height / bins,
                    x1 + (column + (j + 0.5) / count_x) * width / bins,
                )
                for i in range(count_y)
                for j in range(count_x)
            ]
            out[row, column] = np.mean(values)
    return out


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('samples', [0, 2])
def test_roi_align_equals_computation_by_hand(aligned: bool, samples: int) -> None:
    features = torch.tensor(np.random.default_rng(0).normal(size=(2, 3, 9, 11)))
    boxes = [[3.0, 5.0, 120.0, 100.0], [-8.0, 10.0, 60.0, 160.0], [50.0, 50.0, 52.0, 51.0]]
    rois = torch.tensor([[index % 2, *box] for index, box in enumerate(boxes)]).double()
    out = roi_align(features, rois, (4, 4), 1 / 16, samples, 'avg', aligned)
    assert out.shape == (3, 3, 4, 4)
    for index, box in enumerate(boxes):
        for channel in range(3):
            expected = roi_align_by_hand(
                features[index % 2, channel].numpy(), box, 4, 1 / 16, samples, aligned
            )
            np.testing.assert_allclose(out[index, channel].numpy(), expected, atol=1e-10)


def test_roi_align_gradient_equals_finite_differences() -> None:
    features = torch.tensor(np.random.default_rng(1).normal(size=(1, 2, 6, 5)))
    features.requires_grad_(True)
    rois = torch.tensor([[0, 2.0, 3.0, 70.0, 60.0], [0, 10.0, 0.0, 30.0, 90.0]]).double()
    assert torch.autograd.gradcheck(
        lambda x: roi_align(x, rois, (3, 3), 1 / 16, 0, 'avg', True), (features,)
    )


@pytest.mark.parametrize('count', [0, 1, 2, 7])
def test_roi_align_on_several_threads_changes_nothing(count: int) -> None:
    feats = torch.randn(2, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    feats.requires_grad_()
    boxes, _ = random_boxes(count, seed=1, size=60.0)
    rois = torch.cat([torch.arange(count).remainder(2).float()[:, None], boxes], 1)
    threads, results = torch.get_num_threads(), []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            out = roi_align(feats, rois, (4, 4), 0.125, 0, 'avg', True)
            (gradient,) = torch.autograd.grad(out.square().sum(), feats)
            results.append((out, gradient))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1])


@needs_fallback
@needs_fallback
@pytest.mark.parametrize('channels', [1, 3, 8])
def test_roi_align_gradient_on_several_threads_changes_nothing(channels: int) -> None:
    boxes, _ = random_boxes(9, seed=2)
    rois = torch.cat([torch.arange(9.0)[:, None] % 2, boxes], dim=1)
    factors = torch.randn(9, channels, 4, 4, generator=torch.Generator().manual_seed(0))
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            feats = torch.zeros(2, channels, 20, 20, requires_grad=True)
            (roi_align(feats, rois, (4, 4), 0.125, 0, 'avg', True) * factors).sum().backward()
            results.append(feats.grad)
    finally:
        torch.set_num_threads(before)
    assert results[0].abs().amax((0, 2, 3)).min() > 0.1
    assert torch.equal(results[0], results[1])


@needs_fallback
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_roi_align_in_half_precision_computes_in_float32(dtype: torch.dtype) -> None:
    features = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    rois = torch.tensor([[0.0, 16.0, 16.0, 96.0, 112.0]])
    features.requires_grad_(True)
    out = roi_align(features, rois.to(dtype), (2, 2), 1 / 16, 0, 'avg', True)
    assert out.dtype == dtype
    exact = roi_align(features.detach().float(), rois, (2, 2), 1 / 16, 0, 'avg', True)
    assert torch.equal(out, exact.to(dtype))
    out.sum().backward()
    assert features.grad.dtype == dtype
    # Every output averages samples inside the map, so each channel's weights sum to 4.
    torch.testing.assert_close(
        features.grad.float().sum(dim=(0, 2, 3)), torch.full((2,), 4.0), rtol=0.02, atol=0
    )


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.2, 0.5])
def test_nms_equals_greedy_selection(offset: int, threshold: float) -> None:
    boxes, scores = random_boxes(60, seed=2)
    dets, kept = nms(boxes, scores, threshold, offset=offset)
    expected: list[int] = []
    for index in scores.argsort(descending=True).tolist():
        overlaps = [iou(boxes[index].numpy(), boxes[other].numpy(), offset) for other in expected]
        if all(overlap <= threshold for overlap in overlaps):
            expected.append(index)
    assert 1 < len(expected) < 60
    assert kept.tolist() == expected
    assert torch.equal(dets, torch.cat([boxes[kept], scores[kept, None]], dim=1))


def test_nms_offset_counts_the_last_pixel() -> None:
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 5, 9, 14]])
    scores = torch.tensor([0.9, 0.8])
    # IoU: 36 / 126 = 0.286 without the last pixel, 50 / 150 = 0.333 with it.
    assert nms(boxes, scores, 0.3, offset=0)[1].tolist() == [0, 1]
    assert nms(boxes, scores, 0.3, offset=1)[1].tolist() == [0]


def test_batched_nms_keeps_classes_apart() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [1, 1, 10, 10]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    _, kept = batched_nms(
        boxes, scores, torch.tensor([0, 1, 0]), dict(type='nms', iou_threshold=0.5)
    )
    assert kept.tolist() == [0, 1]


def soft_nms_by_hand(
    boxes: np.ndarray,
    scores: np.ndarray,
    method: str,
    threshold: float,
    sigma: float,
    min_score: float,
    offset: int,
) -> tuple[list[int], list[float]]:
    left = {index: float(score) for index, score in enumerate(scores)}
    order, values = [], []
    while left:
        best = max(left, key=left.__getitem__)
        order.append(best)
        values.append(left.pop(best))
        for index in list(left):
            overlap = iou(boxes[best], boxes[index], offset)
            if method == 'gaussian':
                left[index] *= np.exp(-(overlap**2) / sigma)
            elif overlap >= threshold:
                left[index] *= 1 - overlap if method == 'linear' else 0
            if left[index] < min_score:
                del left[index]
    return order, values


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
def test_soft_nms_equals_computation_by_hand(method: str, offset: int) -> None:
    boxes, scores = random_boxes(80, seed=3)
    dets, kept = soft_nms(
        boxes, scores, 0.3, sigma=0.5, min_score=0.05, method=method, offset=offset
    )
    order, values = soft_nms_by_hand(
        boxes.double().numpy(), scores.numpy(), method, 0.3, 0.5, 0.05, offset
    )
    assert 1 < len(order) < 80
    assert kept.tolist() == order
    np.testing.assert_allclose(dets[:, 4].numpy(), values, rtol=1e-5)
    assert torch.equal(dets[:, :4], boxes[kept])


def test_soft_nms_of_nothing_is_nothing() -> None:
    dets, kept = soft_nms(torch.zeros(0, 4), torch.zeros(0))
    assert dets.shape == (0, 5)
    assert kept.shape == (0,)


@needs_fallback
def test_soft_nms_breaks_ties_as_mmcv_does() -> None:
    # The first pick drops box 1, whose slot the last box takes: so 3 comes before 2.
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60], [80, 80, 90, 90]])
    scores = torch.tensor([0.9, 0.5, 0.5, 0.5])
    _, kept = soft_nms(boxes, scores, 0.3, min_score=0.1, method='naive')
    assert kept.tolist() == [0, 3, 2]


@needs_fallback
def test_other_operators_say_what_to_do_when_called() -> None:
    from mmcv.ops import sigmoid_focal_loss

    with pytest.raises(NotImplementedError, match='sigmoid_focal_loss_forward') as caught:
        sigmoid_focal_loss(torch.zeros(2, 3), torch.zeros(2).long(), 2.0, 0.25)
    assert 'pip install' in str(caught.value)
    assert 'mmcv>=2.1,<2.2' in str(caught.value)


@needs_fallback
def test_max_pooling_says_what_to_do() -> None:
    with pytest.raises(NotImplementedError, match="pool_mode='avg'"):
        roi_align(torch.zeros(1, 1, 4, 4), torch.zeros(1, 5), (2, 2), 1.0, 0, 'max', True)


@needs_fallback
def test_extension_module_looks_like_a_module() -> None:
    import mmcv._ext as extension

    assert extension.__spec__.name == 'mmcv._ext'
    assert extension.nms is torchvision_operators.nms
    assert not hasattr(extension, '__file__')  # what inspect asks of every module


def test_softnms_refuses_an_unknown_method() -> None:
    with pytest.raises(ValueError, match='method must be 0, 1 or 2, but is 7'):
        torchvision_operators.softnms(
            torch.zeros(1, 4),
            torch.zeros(1),
            torch.zeros(1, 5),
            iou_threshold=0.3,
            sigma=0.5,
            min_score=0.0,
            method=7,
            offset=0,
        )


def test_compiled_extension_is_left_alone(tmp_path) -> None:
    (tmp_path / '_ext.py').write_text('MARK = 42\n')
    code = f"""
        import sys, mmcv
        mmcv.__path__.insert(0, {str(tmp_path)!r})
        from regionclip_mmdet.compat import operators
        finders = list(sys.meta_path)
        operators.install_operator_fallback()
        assert sys.meta_path == finders
        import mmcv._ext
        assert mmcv._ext.MARK == 42
        assert not operators.uses_operator_fallback()
    """
    run_without_package_init(code)


def test_unloadable_extension_says_rebuild(tmp_path) -> None:
    (tmp_path / '_ext.py').write_text('raise ImportError("undefined symbol: _ZN3c10")\n')
    code = f"""
        import mmcv
        mmcv.__path__.insert(0, {str(tmp_path)!r})
        from regionclip_mmdet.compat import operators
        try:
            operators.install_operator_fallback()
        except ImportError as error:
            assert 'undefined symbol' in str(error), error
            assert 'Rebuild mmcv' in str(error), error
            assert error.__suppress_context__
        else:
            raise SystemExit('no error')
    """
    run_without_package_init(code)


def run_without_package_init(code: str) -> None:
    """Run code in a fresh interpreter where only ``regionclip_mmdet.compat`` is imported."""
    import regionclip_mmdet

    header = f"""
        import sys, types
        package = types.ModuleType('regionclip_mmdet')
        package.__path__ = {list(regionclip_mmdet.__path__)!r}
        sys.modules['regionclip_mmdet'] = package
    """
    source = textwrap.dedent(header) + textwrap.dedent(code)
    result = subprocess.run(
        [sys.executable, '-c', source], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
