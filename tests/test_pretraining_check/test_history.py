# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The judge of a training's history: made-up records, sound ones and each kind of unsound ones."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from checks.pretraining import (
    History,
    PassReport,
    check_passes,
    read_starts,
    surviving_history,
)

SAMPLES = [f'{number // 5:05d}.tar/{number:09d}' for number in range(27)]
BATCH = 3
PER_PASS = 5  # batches of each process: 14 samples with padding, 13 without
LAST = 2 * PER_PASS


def plan(
    processes: int = 2, samples: list[str] = SAMPLES, tail: str = 'pad'
) -> list[list[list[str]]]:
    """Two passes: of each iteration and process the samples."""
    steps = []
    for number in range(2):
        order = random.Random(number).sample(samples, len(samples))
        uneven = len(order) % processes
        if tail == 'drop':
            order = order[: len(order) - uneven]
        elif uneven:
            order += order[: processes - uneven]
        shares = [order[rank::processes] for rank in range(processes)]
        for first in range(0, len(shares[0]), BATCH):
            steps.append([share[first : first + BATCH] for share in shares])
    return steps


def unchanged(rank: int, line: dict) -> dict:
    return line


def write_start(
    work_dir: Path,
    name: str,
    steps: list[list[list[str]]],
    first: int = 1,
    until: int = LAST,
    behind: int | None = None,
    change: Callable[[int, dict], dict | None] = unchanged,
) -> None:
    """Records of one start: iterations ``first`` to ``until``.

    Args:
        behind: Batches that it takes to be behind, by default the right number.
        change: Makes another line of a line, or none.
    """
    folder = work_dir / name
    folder.mkdir(parents=True)
    for rank in range(len(steps[0])):
        head = dict(
            rank=rank,
            world_size=len(steps[0]),
            pid=100 + rank,
            first_iteration=first,
            batches_per_pass=len(steps) // 2,
        )
        lines = [head]
        for iteration in range(first, until + 1):
            place = iteration - 1 if behind is None else behind + iteration - first
            images = steps[place][rank]
            line = dict(
                iteration=iteration,
                batch=place % (len(steps) // 2),
                images=images,
                instead_of=[None] * len(images),
            )
            line['pass'] = place // (len(steps) // 2)
            lines.append(change(rank, line))
        text = ''.join(json.dumps(line) + '\n' for line in lines if line is not None)
        (folder / f'samples_rank{rank}.jsonl').write_text(text)


def judge(
    work_dir: Path, undecodable: list[str] = (), tail: str = 'pad'
) -> tuple[History, list[PassReport]]:
    history = surviving_history(read_starts(work_dir), LAST)
    good = set(SAMPLES) - set(undecodable)
    return history, check_passes(history, PER_PASS, good, undecodable, tail)


def problems(work_dir: Path, **kwargs: object) -> str:
    history, reports = judge(work_dir, **kwargs)
    return '\n'.join(history.problems + [p for report in reports for p in report.problems])


def broken_off(work_dir: Path, resumed_after: int = 6, **resumed: object) -> None:
    """Killed in iteration 8 and 9 (by process), resumed from the checkpoint of iteration 6."""
    write_start(
        work_dir,
        'a',
        plan(),
        until=9,
        change=lambda rank, line: None if (rank, line['iteration']) == (1, 9) else line,
    )
    write_start(work_dir, 'b', plan(), first=resumed_after + 1, **resumed)


def test_a_sound_history(tmp_path: Path) -> None:
    broken_off(tmp_path)
    history, reports = judge(tmp_path)
    assert history.problems == [] and history.differing == []
    assert sorted(history.steps) == list(range(1, 11)) and history.lost == [7, 8]
    assert [(r.number, r.iterations, r.once, r.problems) for r in reports] == [
        (0, (1, 5), 27, []),
        (1, (6, 10), 27, []),
    ]
    assert [r.padding for r in reports] == [[plan()[5 * n][0][0]] for n in range(2)]
    assert str(reports[0]) == 'iterations 1 to 5: 27 samples once, the first 1 again as padding'


def test_what_was_lost_is_not_counted(tmp_path: Path) -> None:
    broken_off(tmp_path)
    with_lost = surviving_history(read_starts(tmp_path), LAST)
    write_start(tmp_path / 'straight', 'a', plan())
    assert with_lost.steps == surviving_history(read_starts(tmp_path / 'straight'), LAST).steps


@pytest.mark.parametrize('processes', [1, 3])
def test_no_padding_where_shares_are_even(tmp_path: Path, processes: int) -> None:
    steps = plan(processes)
    write_start(tmp_path, 'a', steps, until=len(steps))
    history = surviving_history(read_starts(tmp_path), len(steps))
    reports = check_passes(history, len(steps) // 2, SAMPLES)
    assert [(r.once, r.padding, r.problems) for r in reports] == [(27, [], [])] * 2


def test_a_tail_that_is_dropped(tmp_path: Path) -> None:
    write_start(tmp_path, 'a', plan(tail='drop'))
    _, reports = judge(tmp_path, tail='drop')
    assert [(r.once, r.left_out, r.problems) for r in reports] == [(26, 1, [])] * 2
    assert '26 samples in place of 28' in problems(tmp_path)


def other_image(line: dict, image: str) -> dict:
    return line | dict(images=[image, *line['images'][1:]])


def test_doubled_and_missing_samples(tmp_path: Path) -> None:
    steps = plan()
    doubled, lost = steps[2][1][0], steps[3][0][0]

    def change(rank: int, line: dict) -> dict:
        return other_image(line, doubled) if (rank, line['iteration']) == (0, 4) else line

    write_start(tmp_path, 'a', steps, change=change)
    found = problems(tmp_path)
    assert f'1 repeated: {doubled}' in found and f'1 missing: {lost}' in found


def test_unknown_samples_and_false_padding(tmp_path: Path) -> None:
    def change(rank: int, line: dict) -> dict:
        if (rank, line['iteration']) == (1, 2):
            return other_image(line, 'x.tar/0')
        if (rank, line['iteration']) == (1, 10):
            return line | dict(images=[line['images'][0], SAMPLES[3]])
        return line

    write_start(tmp_path, 'a', plan(), change=change)
    found = problems(tmp_path)
    assert '1 unknown: x.tar/0' in found and 'broken or unknown ones trained: x.tar/0' in found
    assert f'padding is not the first of the pass: {SAMPLES[3]}' in found


def test_processes_that_see_the_same_samples(tmp_path: Path) -> None:
    steps = [[batches[0], batches[0]] for batches in plan()]
    write_start(tmp_path, 'a', steps)
    assert 'repeated' in problems(tmp_path) and 'missing' in problems(tmp_path)


@pytest.mark.parametrize('behind', [5, 7, 0])
def test_a_wrong_place_in_the_data_after_resuming(tmp_path: Path, behind: int) -> None:
    """Iteration 7 goes on with another batch than the one after those of iteration 6."""
    steps = [*plan(), *plan()]
    write_start(tmp_path, 'a', plan(), until=9)
    write_start(tmp_path, 'b', steps, first=7, behind=behind)
    history, (first, second) = judge(tmp_path)
    assert history.differing == [7, 8, 9] and first.problems == []
    told = '; '.join(second.problems)
    assert 'repeated' in told and 'missing' in told
    found = divmod(behind, len(steps) // 2)
    assert f'4 out of place: iteration 7: pass and batch [{found}], not (1, 1)' in told


def test_samples_of_another_order_after_resuming(tmp_path: Path) -> None:
    """Places are right, but the order is another one, as with another seed."""
    other = [[list(batch) for batch in batches] for batches in plan()]
    shuffled = plan(samples=SAMPLES[::-1])
    write_start(tmp_path, 'a', other, until=9)
    write_start(tmp_path, 'b', shuffled, first=7)
    history, _ = judge(tmp_path)
    assert history.differing == [7, 8, 9]
    assert 'repeated' in problems(tmp_path) and 'missing' in problems(tmp_path)


def test_a_gap(tmp_path: Path) -> None:
    write_start(tmp_path, 'a', plan(), until=6)
    write_start(tmp_path, 'b', plan(), first=8)
    assert 'a: no record of iteration 7 by process [0, 1]' in problems(tmp_path)


def test_an_end_that_is_missing(tmp_path: Path) -> None:
    broken_off(tmp_path, until=9)
    assert 'b: no record of iteration 10 by process [0, 1]' in problems(tmp_path)


def test_a_beginning_that_is_missing(tmp_path: Path) -> None:
    write_start(tmp_path, 'a', plan(), first=3)
    assert 'the first start began with iteration 3, not 1' in problems(tmp_path)


def test_a_record_that_is_missing(tmp_path: Path) -> None:
    broken_off(tmp_path)
    (tmp_path / 'b' / 'samples_rank1.jsonl').unlink()
    assert 'b: records of processes [0], of 2' in problems(tmp_path)


def test_processes_that_began_elsewhere(tmp_path: Path) -> None:
    write_start(tmp_path, 'a', plan())
    path = tmp_path / 'a' / 'samples_rank1.jsonl'
    path.write_text(path.read_text().replace('"first_iteration": 1', '"first_iteration": 5'))
    assert 'a: first_iteration differs by process: [1, 5]' in problems(tmp_path)


def test_nothing_recorded(tmp_path: Path) -> None:
    assert problems(tmp_path) == 'no process recorded anything'


def replace(broken: str, stand_in: str, told: bool = True) -> Callable[[int, dict], dict]:
    def change(rank: int, line: dict) -> dict:
        images = [stand_in if image == broken else image for image in line['images']]
        instead = [broken if told and image == broken else None for image in line['images']]
        return line | dict(images=images, instead_of=instead)

    return change


def test_a_broken_image_in_whose_place_another_comes(tmp_path: Path) -> None:
    steps = plan()
    # not the padding, which would come twice
    broken, stand_in = steps[2][0][2], steps[3][0][1]
    assert broken not in (steps[0][0][0], steps[5][0][0])
    write_start(tmp_path, 'a', steps, change=replace(broken, stand_in))
    history, reports = judge(tmp_path, undecodable=[broken])
    assert history.problems == [] and [r.problems for r in reports] == [[], []]
    assert [r.stand_ins for r in reports] == [[(broken, stand_in)]] * 2
    assert f'1 good ones replaced: {broken}' in problems(tmp_path)
    write_start(tmp_path / 'untold', 'a', steps, change=replace(broken, stand_in, told=False))
    found = problems(tmp_path / 'untold', undecodable=[broken])
    assert f'1 repeated: {stand_in}' in found and f'1 missing: {broken}' in found
    write_start(tmp_path / 'trained', 'a', steps)
    found = problems(tmp_path / 'trained', undecodable=[broken])
    assert f'broken or unknown ones trained: {broken}' in found


def test_half_a_line_at_the_end(tmp_path: Path) -> None:
    broken_off(tmp_path)
    path = tmp_path / 'a' / 'samples_rank0.jsonl'
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b''.join(lines[:-1]) + lines[-1][:30])
    assert problems(tmp_path) == ''
    path.write_bytes(b''.join([*lines[:3], lines[3][:30] + b'\n', *lines[4:]]))
    with pytest.raises(ValueError, match=r'samples_rank0.jsonl, line 4: no line of SampleRecord'):
        read_starts(tmp_path)


def test_a_pass_that_is_not_complete_is_not_judged(tmp_path: Path) -> None:
    write_start(tmp_path, 'a', plan(), until=9)
    history = surviving_history(read_starts(tmp_path), 9)
    assert [r.number for r in check_passes(history, PER_PASS, SAMPLES)] == [0]
