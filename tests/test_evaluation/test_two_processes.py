# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Metrics of two processes, the last with padding, equal those of one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers import generated_detections as generated
from helpers import gloo_ranks
from regionclip_mmdet.evaluation import OVCocoAPMetric, OVLVISMetric

IMAGES = 7  # the second process gets the first image again, to have as many as the other


def work(rank: int, folder: Path | None = None) -> dict:
    """Results of both metrics; rank -1 is one process that sees everything."""
    folder = folder or Path(sys.argv[3])
    kinds = ['bbox', 'segm']
    names = generated.COCO_NAMES
    metrics = {
        'coco': OVCocoAPMetric(str(folder / 'coco.json'), kinds),
        'lvis': OVLVISMetric(str(folder / 'lvis.json'), kinds, max_per_class=9),
    }
    ids = dict(coco=generated.COCO_IDS, lvis=generated.LVIS_IDS)
    metrics['coco'].dataset_meta = dict(
        classes=names, base_classes=names[:3], novel_classes=names[3:]
    )
    metrics['lvis'].dataset_meta = dict(classes=generated.LVIS_NAMES)
    found: dict = {}
    for name, metric in metrics.items():
        truth = json.loads((folder / f'{name}.json').read_text())
        samples = generated.detections(np.random.default_rng(1), truth, ids[name])
        if rank >= 0:
            samples = [samples[i % IMAGES] for i in range(rank, IMAGES + 1, 2)]
        metric.process({}, samples)
        found |= metric.evaluate(IMAGES)
    return found


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    for name, make in (('coco', generated.coco_truth), ('lvis', generated.lvis_truth)):
        truth = make(np.random.default_rng(0), images=IMAGES)
        (tmp_path / f'{name}.json').write_text(json.dumps(truth))
    ranks = gloo_ranks.run_ranks(__file__, 2, tmp_path)
    alone = work(-1, tmp_path)
    assert ranks[0] == ranks[1] == pytest.approx(alone, rel=1e-12)
    assert len(alone) == 2 * 11 + 2 * 12 and 0.05 < alone['lvis/bbox_AP'] < 0.95


if __name__ == '__main__':
    gloo_ranks.main(work)
