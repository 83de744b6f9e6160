# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Lines of the result: what passes, what does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from checks.pretraining import History, PassReport, Start, checks
from checks.pretraining.history import Record
from checks.pretraining.run_sizes import FULL, SMOKE, Sizes, plan
from checks.pretraining.shards import Damage
from checks.pretraining.training import message

LOG = """
4 broken pairs or shards
  /data/00002.tar/000000217: empty caption
  /data/00011.tar: truncated in 000001162.jpg
"""


@pytest.mark.parametrize(
    ('pair', 'passed'),
    [
        (('00002.tar', '000000217'), True),
        (('00011.tar', '000001162'), True),
        (('00002.tar', '000000218'), False),
        (('00002.tar', '00000021'), False),
        (('00003.tar', '000000217'), False),
        (('00011.tar', '000001163'), False),
    ],
)
def test_broken_pairs_are_named(pair: tuple[str, str], passed: bool) -> None:
    check = checks.named('names', LOG, [('00002.tar', '000000217'), pair])
    assert check.passed == passed
    assert str(check).startswith('ok   names: 2 of 2' if passed else 'FAIL names: 1 of 2')
    assert ('not named: ' + '/'.join(pair) in check.value) != passed


def test_counts_and_lists_of_the_inspection() -> None:
    damage = Damage(
        good={('a.tar', str(n)): '' for n in range(5)},
        undecodable={('b.tar', '1'): ''},
        unusable=[('a.tar', '9')],
    )
    assert checks.usable('3 shards, 6 pairs, 1.0 MB', damage).passed
    assert not checks.usable('3 shards, 5 pairs, 1.0 MB', damage).passed
    assert not checks.usable('', damage).passed
    both = 'a.tar\t9\tempty caption\nb.tar\t1\tOSError: x\n'
    assert checks.excluded(both, damage).passed
    assert not checks.excluded(both.splitlines()[0], damage).passed
    assert not checks.excluded(both + 'a.tar\t3\tx\n', damage).passed


def test_counts_of_concepts() -> None:
    captions = ['a red moon, a red star and another red star', 'a ring', 'hearts and a circle']
    counts = dict(moon=1, star=2, ring=1, heart=1, circle=1, photo=3)
    check = checks.pool(counts, captions)
    assert check.passed and '5 of 8 shapes' in check.value and 'cross' in check.value
    assert not checks.pool(counts | dict(star=3), captions).passed
    assert not checks.pool(dict(moon=1, star=2, ring=1), captions).passed


def test_boxes_of_images(tmp_path: Path) -> None:
    def save(boxes: list, objectness: list, starts: tuple = (0, 1, 3), keys: str = 'xy') -> None:
        np.savez(
            tmp_path / '00003.proposals.npz',
            keys=np.array(list(keys)),
            starts=np.array(starts),
            boxes=np.array(boxes, dtype=np.float32),
            objectness=np.array(objectness, dtype=np.float32),
        )

    good = [('00003.tar', 'x'), ('00003.tar', 'y')]
    boxes = [[0, 0, 1, 1], [0.25, 0, 0.5, 1], [0, 0, 0.5, 0.25]]
    save(boxes, [0, 3, 2])
    check = checks.proposals(tmp_path, good)
    assert check.passed and check.value == '3 boxes of 2 images (expected 2)'
    assert not checks.proposals(tmp_path, good[:1]).passed
    assert not checks.proposals(tmp_path, [*good, ('00004.tar', 'x')]).passed
    for wrong in (
        dict(boxes=boxes, objectness=[0, 2, 3]),
        dict(boxes=boxes, objectness=[0, 3, np.nan]),
        dict(boxes=[*boxes[:2], [0, 0, 1.5, 1]], objectness=[0, 3, 2]),
        dict(boxes=[*boxes[:2], [0.5, 0, 0.5, 1]], objectness=[0, 3, 2]),
        dict(boxes=boxes, objectness=[3, 2, 1], starts=(0, 0, 3)),
        dict(boxes=boxes, objectness=[0, 3, 2], keys='xz'),
    ):
        save(**wrong)
        assert not checks.proposals(tmp_path, good).passed


def start(*firsts: int) -> Start:
    return Start('x', [Record(r, len(firsts), 1, first, 9) for r, first in enumerate(firsts)])


def test_where_a_run_went_on() -> None:
    assert checks.resumed([start(1, 1), start(81, 81)], 80).passed
    assert not checks.resumed([start(1, 1), start(61, 61)], 80).passed
    assert not checks.resumed([start(1, 1), start(81, 61)], 80).passed
    assert not checks.resumed([start(1, 1)], 80).passed


def test_histories_and_passes() -> None:
    steps = dict.fromkeys(range(1, 5), [])
    assert checks.history_is_whole(History(steps), 4).passed
    assert not checks.history_is_whole(History(steps), 5).passed
    assert not checks.history_is_whole(History(steps, problems=['a gap']), 4).passed
    assert checks.repeated(History(lost=[3, 4])).passed
    assert not checks.repeated(History()).passed
    assert not checks.repeated(History(lost=[3, 4], differing=[4])).passed
    good, bad = PassReport(0, (1, 2), once=7), PassReport(1, (3, 4), 7, problems=['1 missing: x'])
    assert [check.passed for check in checks.passes([good, bad], 2, 7)] == [True, False, True]
    assert [check.passed for check in checks.passes([good], 2, 8)] == [False, False]


def test_losses() -> None:
    falling = {step: 1 / step for step in range(10, 70, 10)}
    check = checks.learning(falling)
    assert check.passed and check.value == '0.075 in the first third, 0.018 in the last'
    assert not checks.learning({-step: loss for step, loss in falling.items()}).passed
    assert not checks.learning(falling | {30: float('nan')}).passed
    assert checks.learning({10: 0.5}).passed
    assert not checks.learning({}).passed


def test_numbers_of_the_evaluation() -> None:
    before = {'regions/top1': 0.25, 'regions/novel_top1': 0.125, 'regions/ap': 0.5, 'time': 1}
    check = checks.naming(before, before | {'regions/top1': 0.375})
    assert check.passed and 'top1 25.0 -> 37.5 %, novel_top1 12.5 -> 12.5 %' in check.value
    assert not checks.naming(before, before).passed
    assert not checks.naming(before, before | {'regions/top1': float('nan')}).passed
    assert not checks.naming(before, before | {'regions/top1': -1.0}).passed
    assert not checks.naming({}, {}).passed


TOLD = """
LostProcessError: Process 0 of 2, iteration 91: the connection to another process is gone (gloo).
  exitcode  : -9 (pid: 22)
"""


def test_messages_at_the_end_of_a_job() -> None:
    check = message(TOLD, [11, 22], 1)
    assert check.passed
    assert check.value.startswith('exitcode : -9 (pid: 22); LostProcessError: Process 0 of 2, iter')
    assert not message(TOLD, [11, 23], 1).passed
    assert not message(TOLD.replace('Lost', ''), [11, 22], 1).passed
    assert message(TOLD.replace('Lost', ''), [22], 0).passed
    assert message(TOLD.replace('Lost', ''), [11, 22], 1, on_gpus=True).passed
    assert not message('', [11, 22], 1, on_gpus=True).passed


def test_schedules() -> None:
    schedule = plan(FULL, 1959, 2)
    assert (schedule.batches_per_pass, schedule.iterations) == (62, 186)
    assert (schedule.checkpoint, schedule.kill_at) == (80, 91)
    for sizes in (FULL, SMOKE):
        lost = sizes.pairs // sizes.shards - sizes.keep
        samples = sizes.pairs - 3 - lost
        assert samples % 2 == 1  # so that two processes need padding
        found = plan(sizes, samples, 2)
        assert found.batches_per_pass < found.checkpoint < found.kill_at
        assert found.kill_at < min(found.checkpoint + sizes.interval, 2 * found.batches_per_pass)
        # the last batch of a pass is a smaller one
        assert -(-samples // 2) % sizes.batch_size
    with pytest.raises(ValueError, match='50 samples are too few for 4 processes'):
        plan(Sizes(batch_size=8), 50, 4)
