# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What is shown of detections: places in a smaller image, probabilities beside background."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from demo.web import UserError, outcomes
from demo.web.outcomes import describe
from demo.web.uploads import UploadedImage
from regionclip_mmdet.apis import EncodedImage
from regionclip_mmdet.models.text import TextEmbeddings
from regionclip_mmdet.visualization import name_color

BOX = [800.0, 400.0, 2400.0, 1200.0]


def test_boxes_in_a_shrunk_image_and_probabilities_with_background() -> None:
    """3200 pixels are shown as 1600; an embedding of cosine 0.01 to 'cat' and -0.01 to 'dog'."""
    image = UploadedImage(rgb=np.full((1600, 3200, 3), 128, dtype=np.uint8), key='a')
    embedding = torch.tensor([[0.01, -0.01, (1 - 2e-4) ** 0.5]])
    boxes = torch.tensor([BOX])
    encoded = EncodedImage(
        boxes=boxes,
        embeddings=embedding,
        objectness_logits=None,
        img_meta={},
        input_boxes=boxes,
        proposal_inds=torch.zeros(1, dtype=torch.long),
        num_proposals=1,
    )
    vocabulary = TextEmbeddings(names=('cat', 'dog'), matrix=torch.eye(3)[:2])
    found = InstanceData(
        bboxes=boxes,
        scores=torch.tensor([0.5]),
        labels=torch.tensor([0]),
        region_inds=torch.tensor([0]),
    )
    classifier = SimpleNamespace(temperature=0.01)
    head = SimpleNamespace(active_classifier=classifier)
    model = SimpleNamespace(roi_head=SimpleNamespace(bbox_head=head))
    shown = describe(model, image, encoded, vocabulary, found, top_k=2)

    assert shown.visualization.shape == (800, 1600, 3)
    drawn = np.argwhere((shown.visualization == name_color('cat')).all(-1))
    (_, left), (bottom, right) = drawn.min(0), drawn.max(0)
    assert (left, right, bottom) == pytest.approx((400, 1200, 600), abs=4)
    assert shown.detections[0]['box'] == BOX
    # logits 1, -1 and the background's 0
    total = np.exp(1) + np.exp(-1) + 1
    probabilities = [found['probability'] for found in shown.regions[0]['names']]
    assert probabilities == pytest.approx([np.exp(1) / total, np.exp(-1) / total], abs=1e-4)


def test_a_fault_of_ours_is_a_message_and_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr(outcomes, 'print_log', lambda text, *_: logged.append(text))
    banner, image, *rest = outcomes.safely(lambda: 1 / 0)
    assert 'Something went wrong' in banner and 'ZeroDivision' not in banner
    assert image is None and rest == [[], [], None]
    assert 'ZeroDivisionError' in logged[0] and logged[0].split()[1] in banner


def test_what_a_visitor_typed_is_no_html() -> None:
    def refuse() -> list:
        raise UserError('no name in "<img src=x onerror=alert(1)>"')

    banner = outcomes.safely(refuse)[0]
    assert 'rc-error' in banner and 'role="alert"' in banner
    assert '<img' not in banner and '&lt;img src=x' in banner
