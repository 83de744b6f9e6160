# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Names of OV-COCO and OV-LVIS, against mmdet's."""

import runpy
from pathlib import Path

import mmdet
from mmdet.datasets import CocoDataset, LVISV1Dataset

from regionclip_mmdet.datasets import categories

CONVERTERS = Path(mmdet.__file__).parent / '.mim' / 'tools' / 'dataset_converters'


def test_coco() -> None:
    assert categories.COCO_80 == CocoDataset.METAINFO['classes']
    theirs = runpy.run_path(str(CONVERTERS / 'coco2ovd.py'))
    assert categories.OV_COCO_BASE == theirs['base_classes']
    assert categories.OV_COCO_NOVEL == theirs['novel_classes']
    assert len(categories.OV_COCO_ALL) == 65
    assert categories.OV_COCO_ALL[3:6] == ('motorcycle', 'airplane', 'bus')


def test_lvis() -> None:
    ours, theirs = categories.LVIS_V1_NAMES, LVISV1Dataset.METAINFO['classes']
    # the annotation files have a typing error, which mmdet corrected
    different = {(a, b) for a, b in zip(ours, theirs, strict=True) if a != b}
    assert different == {('speaker_(stero_equipment)', 'speaker_(stereo_equipment)')}
    assert [c.id for c in categories.LVIS_V1] == list(range(1, 1204))
    assert len(categories.OV_LVIS_BASE) == 866 and len(categories.OV_LVIS_NOVEL) == 337
    assert sorted(categories.OV_LVIS_BASE + categories.OV_LVIS_NOVEL) == sorted(ours)


def test_plain_names_and_synonyms() -> None:
    assert categories.plain('Bow_(decorative_ribbons)') == 'bow'
    assert categories.plain('table-tennis_table') == 'table tennis table'
    assert categories.synonyms('couch') == ('couch', 'lounge', 'sofa')
    assert 'necktie' in categories.synonyms('tie')
    assert categories.synonyms('Blue_Gnu') == ('blue gnu',)


def test_one_lvis_name_is_no_synonym_of_its_own() -> None:
    """detectron2 shows the first synonym in place of the name: they differ for id 162 alone."""
    differing = {c.id: (c.name, c.synonyms) for c in categories.LVIS_V1 if c.synonyms[0] != c.name}
    assert differing == {162: ('bull', ('horned_cow',))}
