# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Missing files are explained by the command that makes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from regionclip_mmdet.known_files import NAME_LISTS, how_to_make, require_file
from regionclip_mmdet.recipes.name_lists import LISTS


@pytest.mark.parametrize(
    ('path', 'command'),
    [
        (
            'data/vocabularies/ov_coco_65_rn50.pth',
            'tools/embed_names.py ov_coco_65 --arch RN50 -o data/vocabularies/ov_coco_65_rn50.pth',
        ),
        (
            'x/lvis_1203_rn50x4.pth',
            'tools/embed_names.py lvis_1203 --arch RN50x4 -o x/lvis_1203_rn50x4.pth',
        ),
        # not a list of ours: a text file beside it
        (
            'a/coco_nouns_4764_rn50.pth',
            'tools/embed_names.py a/coco_nouns_4764.txt --arch RN50 -o a/coco_nouns_4764_rn50.pth',
        ),
        (
            'checkpoints/regionclip_rn50x4_with_rpn_coco_48.pth',
            'tools/convert_checkpoint.py downloads/regionclip_pretrained-cc_rn50x4.pth '
            'downloads/rpn_coco_48.pth -o checkpoints/regionclip_rn50x4_with_rpn_coco_48.pth',
        ),
        (
            'c/clip_rn50.pth',
            'tools/convert_checkpoint.py RN50/openai -o c/clip_rn50.pth',
        ),
        (
            'c/rpn_lvis_866_lsj.pth',
            'tools/convert_checkpoint.py downloads/rpn_lvis_866_lsj.pth -o c/rpn_lvis_866_lsj.pth',
        ),
        (
            'data/p/00003.proposals.npz',
            'tools/pretrain/precompute_proposals.py CONFIG --out data/p',
        ),
        (
            'data/p/00003.teacher.npz',
            'tools/pretrain/precompute_proposals.py CONFIG --out data/p --teacher',
        ),
    ],
)
def test_commands(path: str, command: str) -> None:
    assert f'python {command}' in how_to_make(path)
    with pytest.raises(FileNotFoundError) as caught:
        require_file(path, 'thing')
    assert f'thing {path} does not exist' in str(caught.value) and command in str(caught.value)


def test_other_files_are_explained_in_general(tmp_path: Path) -> None:
    assert 'docs/recipes.md' in how_to_make('mine.pth')
    require_file('https://example.org/x.pth', 'thing')
    (tmp_path / 'there.pth').touch()
    require_file(tmp_path / 'there.pth', 'thing')


def test_lists_that_need_no_file_are_the_tools() -> None:
    assert set(NAME_LISTS) == set(LISTS)
    for name, names in LISTS.items():
        assert len(set(names)) == len(names) == int(name.rpartition('_')[2])
