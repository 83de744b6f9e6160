# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Case f over two processes: gathering, trimming to the smaller batch, gradients of each rank."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from gloo_ranks import main, run_ranks
from golden import GoldenCase, max_abs
from test_models.test_golden_pretraining import IMAGES, build_model, configure, make_samples

from regionclip_mmdet.checkpoints.official import rename_official_key

NAMES = dict(
    loss_img_txt_level='loss_image_text',
    loss_region_distill='loss_region_distill',
    loss_concept_contrastive='loss_region_contrast',
)
ROWS = ([0, 1], [2])  # images of each rank


def step(rank: int) -> dict:
    """Losses and gradients of this rank, before any averaging."""
    inputs, case = GoldenCase('f_pretrain'), GoldenCase('f_pretrain_gather2')
    model = build_model()
    configure(model, inputs, inputs)
    model.roi_head.loss_image_text.uneven = 'trim'
    torch.randperm = lambda n, **kw: torch.arange(n)
    samples = make_samples(inputs)
    losses = model.loss(
        inputs.batch([IMAGES[row] for row in ROWS[rank]]), [samples[row] for row in ROWS[rank]]
    )
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    params = dict(model.named_parameters())
    found = {name: losses[ours].detach() for name, ours in NAMES.items()}
    for key in case.arrays.files:
        if key.startswith(f'rank{rank}:grad_norm:'):
            name = key.split(':')[2]
            gradient = params[rename_official_key(name)].grad
            found[f'grad_norm:{name}'] = gradient.norm()
            found[f'grad_first64:{name}'] = gradient.flatten()[:64].clone()
            found[f'largest:{name}'] = gradient.abs().max()
    return found


def test_two_processes(tmp_path: Path) -> None:
    case = GoldenCase('f_pretrain_gather2')
    limits = case.meta['thresholds']
    for rank, found in enumerate(run_ranks(__file__, 2, tmp_path)):
        for name in NAMES:
            expected = float(case[f'rank{rank}:{name}'])
            assert float(found[name]) == pytest.approx(expected, rel=limits['losses_rel']), name
        gradients = [key[10:] for key in found if key.startswith('grad_norm:')]
        assert len(gradients) == 6
        for name in gradients:
            norm = float(case[f'rank{rank}:grad_norm:{name}'])
            assert float(found[f'grad_norm:{name}']) == pytest.approx(
                norm, rel=limits['grad_norm_rel']
            ), name
            first = case[f'rank{rank}:grad_first64:{name}']
            limit = 2e-3 * float(found[f'largest:{name}'])
            assert max_abs(found[f'grad_first64:{name}'], first) < limit, name


if __name__ == '__main__':
    main(step)
