# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""How well a CLIP classifies whole images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric


@METRICS.register_module()
class ZeroShotTop1(BaseMetric):
    """Zero-shot top-1 accuracy: the candidates are the distinct captions of the whole set.

    With one caption pattern filled with each image's name ("a photo of a red circle") this is
    CLIP's zero-shot classification (Radford et al. 2021, section 3.1) with one prompt.

    Samples carry ``text``, ``image_embedding`` and ``text_embedding``, each ``(D,)``, as
    ``ImageTextCLIP`` predicts them.
    """

    default_prefix = 'clip'

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            self.results.append(
                (sample['text'], sample['image_embedding'].cpu(), sample['text_embedding'].cpu())
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        texts, images, embeddings = zip(*results)
        candidates = sorted(set(texts))
        matrix = torch.stack([embeddings[texts.index(text)] for text in candidates])
        nearest = (torch.stack(images) @ matrix.T).argmax(dim=1)
        hits = [candidates[i] == text for i, text in zip(nearest.tolist(), texts)]
        return dict(top1=100.0 * sum(hits) / len(hits), candidates=float(len(candidates)))
