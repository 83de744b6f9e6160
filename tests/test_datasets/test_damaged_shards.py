# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Images that are damaged, and lists of pairs to leave out."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader

from helpers import generated_shards as made
from helpers.shard_datasets import PIPELINE, captions, make, messages
from regionclip_mmdet.datasets import BrokenImageError
from regionclip_mmdet.datasets.shards.exclusions import exclusion_line


class TestBrokenImages:
    def shards(self, folder: Path, size: int = 200, every: int = 20) -> Path:
        """One of ``every`` images is half a file; their captions are sound."""
        members = []
        for number in range(size):
            image, *rest = made.pair(number)
            if number % every == 3:
                image = (image[0], image[1][:40])
            members += [image, *rest]
        made.write_tar(folder / '00000.tar', members)
        return folder

    def test_are_skipped_counted_and_logged(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        dataset = make(self.shards(tmp_path))
        text = messages(caplog, lambda: [dataset[i] for i in range(200)])
        assert dataset.num_broken >= 10
        assert f'skipped broken image 1, {tmp_path}/00000.tar/000000003.png' in text

    @pytest.mark.parametrize(
        'context', [None, 'fork', pytest.param('spawn', marks=pytest.mark.slow)]
    )
    def test_are_counted_over_workers(self, tmp_path: Path, context: str | None) -> None:
        workers = dict(num_workers=2, multiprocessing_context=context) if context else {}
        if context == 'spawn':  # imports everything anew: few of them
            workers['num_workers'] = 1
        dataset = make(self.shards(tmp_path))
        for epoch in (1, 2):
            loader = DataLoader(dataset, batch_size=5, collate_fn=list, **workers)
            assert sum(map(len, loader)) == 200
            assert (dataset.num_broken, dataset.num_tried) == (10 * epoch, 200 * epoch)
            if context == 'spawn':
                break
        copied = copy.deepcopy(dataset)
        before = dataset.num_tried
        copied[0]
        assert (copied.num_tried, dataset.num_tried) == (before + 1, before)

    def test_are_errors_if_told_so(self, tmp_path: Path) -> None:
        dataset = make(self.shards(tmp_path), skip_broken=False)
        with pytest.raises(BrokenImageError, match=r'00000\.tar/000000003\.png: .*decoded'):
            dataset[3]

    def test_end_the_run_if_they_are_too_many(self, tmp_path: Path) -> None:
        folder = self.shards(tmp_path, every=5)
        dataset = make(folder)
        for i in range(5):
            dataset[i]
        # more than a tenth of all 200, as soon as that is certain
        with pytest.raises(OSError, match=r'21 of 104 samples asked .*max_broken_share=0\.1'):
            for i in range(5, 200):
                dataset[i]
        patient = make(folder, max_broken_share=0.5)
        assert len([patient[i] for i in range(200)]) == 200

    @pytest.mark.parametrize('seed', range(3))
    def test_are_replaced_from_their_own_shard(self, tmp_path: Path, seed: int) -> None:
        self.shards(tmp_path, size=20, every=4)
        made.write_shards(tmp_path / 'b', [5] * 3)
        dataset = make(tmp_path, ['00000.tar', 'b/*.tar'], max_broken_share=1.0)
        drawn = []
        for _ in range(2):
            np.random.seed(seed)
            drawn.append([dataset[i]['data_samples'] for i in range(3, 20, 4)])
        assert [s.img_id for s in drawn[0]] == [s.img_id for s in drawn[1]]  # as after resuming
        assert sum(s.img_id.startswith('00000.tar/') for s in drawn[0]) >= 4
        assert [s.instead_of for s in drawn[0]] == [f'00000.tar/{i:09d}' for i in range(3, 20, 4)]

    def test_a_lost_shard_of_many_does_not_end_the_run(self, tmp_path: Path) -> None:
        """It is all that is seen at first, and yet but a twentieth; the next one stands in."""
        made.write_shards(tmp_path, [20] * 20)
        dataset = make(tmp_path)
        os.truncate(tmp_path / '00000.tar', 0)
        drawn = [dataset[i]['data_samples'].img_id.split('/')[0] for i in range(25)]
        assert drawn == ['00001.tar'] * 25
        assert dataset.num_broken == 20 and dataset.num_tried == 25
        os.truncate(tmp_path / '00001.tar', 0)
        os.truncate(tmp_path / '00019.tar', 0)
        assert dataset[399]['data_samples'].img_id.startswith('00002.tar')
        with pytest.raises(OSError, match=r'41 of 4\d samples asked'):
            for i in range(20, 60):
                dataset[i % 40]

    def test_can_be_left_out_by_a_list(self, tmp_path: Path) -> None:
        folder = self.shards(tmp_path)
        bad = range(3, 200, 20)
        (folder / 'broken.tsv').write_text(
            ''.join(f'00000.tar\t{n:09d}\tcannot be decoded\n' for n in bad)
        )
        dataset = make(folder, exclude='broken.tsv')
        numbers = [made.number_in(dataset[i]['inputs']) for i in range(len(dataset))]
        assert numbers == [n for n in range(200) if n not in bad] and dataset.num_broken == 0
        made.write_shards(folder / 'other', [2])
        both = ['00000.tar', 'other/00000.tar']
        with pytest.raises(ValueError, match=r'line 1: 2 shards are called 00000\.tar'):
            make(folder, both, exclude='broken.tsv')
        (folder / 'broken.tsv').write_text('00000.tar 000000003\n')
        with pytest.raises(ValueError, match=r'broken\.tsv, line 1: needs a shard, a tab'):
            make(folder, exclude='broken.tsv')

    def test_lists_leave_the_account_of_damage_alone(self, tmp_path: Path) -> None:
        made.write_shards(tmp_path, [4])
        os.truncate(tmp_path / '00000.tar', 512 * 6 * 3 + 520)
        before = make(tmp_path).broken_pairs()
        (tmp_path / 'broken.tsv').write_text('00000.tar\t000000001\n')
        dataset = make(tmp_path, exclude='broken.tsv')
        assert captions(dataset) == [['caption 0'], ['caption 2']]
        assert dataset.broken_pairs() == before and len(before) == 1
        with pytest.raises(FileNotFoundError, match=r'exclude.*none\.tsv does not exist.*--broken'):
            make(tmp_path, exclude='none.tsv')

    def test_of_a_shard_that_shrinks_while_training(self, tmp_path: Path) -> None:
        dataset = make(made.write_shards(tmp_path, [4]), skip_broken=False)
        os.truncate(tmp_path / '00000.tar', 512 * 6 * 2)
        assert dataset[1]['data_samples'].text == 'caption 1'
        with pytest.raises(BrokenImageError, match=r'00000\.tar/000000002\.png: .*ends before'):
            dataset[2]


class TestExclusions:
    KEYS = (
        *('a\tb', 'a\nb', 'a\r', 'c\\td', 'c\td', 'e\\', 'quo"te', '"quoted"', "it's", ' front'),
        *(
            'back ',
            'in ner',
            'nb\u00a0sp',
            'gro\u0308ße',
            'größe',
            '猫',
            'x.y.z',
            'd/e f',
            '#1',
            '0',
        ),
        *('\ufefffirst', 'a\u2028b', '1,2', 'e\u0301'),
    )

    def shards(self, folder: Path, name: str = 'a.tar') -> Path:
        folder.mkdir(exist_ok=True)
        pairs = [[(f'{key}.png', made.image(n)), (f'{key}.txt', b'x')]
                 for n, key in enumerate(self.KEYS)]  # fmt: skip
        return made.write_tar(folder / name, [member for both in pairs for member in both])

    def left(self, folder: Path, lines: str | bytes, **changes: Any) -> list[int]:
        content = lines if isinstance(lines, bytes) else lines.encode()
        (folder / 'out.tsv').write_bytes(content)
        dataset = make(folder, exclude='out.tsv', pipeline=PIPELINE[:1], **changes)
        return [made.number_in(dataset[i]['img']) for i in range(len(dataset))]

    @pytest.mark.parametrize('shard', ['a.tar', 'b c.tar', 'gro\u0308ße "1".tar', 'tab\t.tar'])
    def test_any_key_as_our_tools_write_it(self, tmp_path: Path, shard: str) -> None:
        path = str(self.shards(tmp_path, shard))
        everything = set(range(len(self.KEYS)))
        for number, key in enumerate(self.KEYS):
            line = exclusion_line(path, key, 'why\tever\n') + '\n'
            assert self.left(tmp_path, line) == sorted(everything - {number}), key
        lines = [exclusion_line(path, key, 'why') for key in self.KEYS[1:]]
        for text in ('\n'.join(lines), '\r\n'.join(lines), '\ufeff' + '\n'.join(lines)):
            assert self.left(tmp_path, text) == [0]

    @pytest.mark.parametrize(
        ('written', 'key'),
        [
            ('c\\td', 'c\td'),
            ('e\\', 'e\\'),
            ('"quo""te"', 'quo"te'),
            ('"it\'s"', "it's"),
            ('"quoted"', '"quoted"'),
            ('front', ' front'),
            ('back', 'back '),
            ('größe', 'größe'),
            ('gro\u0308ße', 'gro\u0308ße'),
            ('é', 'e\u0301'),
            ('in ner.png', 'in ner'),
            ('x.y.z.png', 'x.y.z'),
            (' 0 ', '0'),
        ],
    )
    def test_keys_as_others_write_them(self, tmp_path: Path, written: str, key: str) -> None:
        self.shards(tmp_path)
        everything = set(range(len(self.KEYS)))
        for shard in ('a.tar', './a.tar', '"a.tar"', '/elsewhere/a.tar'):
            found = self.left(tmp_path, f'{shard}\t{written}\twhy\n')
            assert found == sorted(everything - {self.KEYS.index(key)})

    def test_lines_without_effect_are_told(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.shards(tmp_path)
        text = messages(caplog, lambda: self.left(tmp_path, 'a.tar\t0\na.tar\tno\nb.tar\tno\n'))
        assert '1 of 3 lines name no pair of their shard, e.g. ["line 2: \'no\' of a.tar"]' in text
        text = messages(caplog, lambda: self.left(tmp_path, 'b.tar\tno\n\n'))
        assert 'none of its 1 lines is of a shard of this dataset' in text
        with pytest.raises(ValueError, match=r'out\.tsv \(exclude\) is not UTF-8'):
            self.left(tmp_path, b'a.tar\t\xff\n')
