# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Command line, and the whole chain at a trivial size."""

import json
import re
from pathlib import Path

import pytest

from examples.quickstart.main import all_stages, expand, main, parse_args
from regionclip_mmdet.apis import RegionCLIPInferencer

SIZES = dict(
    seeds=[0, 1],
    images=dict(object_centric_train=1, object_centric_val=1, scenes_train=1, scenes_val=1),
    iterations=dict(clip=3),
    pairs_per_shard=2,
    bootstrap=2,
    real_size=dict(short_edge=100, long_edge=200, num_proposals=5),
)
NAMES = [
    'world', 'clip', 'localizer', 'pretrain', 'zero_shot', 'transfer', 'report', 'real_size',
    'detector',
]  # fmt: skip


def test_stages_of_one_and_of_several_seeds() -> None:
    assert [s.name for s in all_stages(SIZES, [4], 'demo')] == NAMES
    several = all_stages(SIZES, [4, 5], 'full')
    assert [s.name for s in several[6:12]] == [f'seed5/{name}' for name in NAMES[:6]]
    assert several[7].settings['seed'] == 5
    assert several[7].needs == ('seed5/world',)
    assert 'seed4/transfer' in several[12].needs and 'seed5/transfer' in several[12].needs
    assert several[-1].name == 'seed4/detector' and 'seed4/transfer' in several[-1].needs


def test_every_input_is_an_earlier_stage() -> None:
    seen: set[str] = set()
    for stage in all_stages(SIZES, [0, 1, 2], 'full'):
        assert set(stage.needs) <= seen
        seen.add(stage.name)


def test_words_mean_the_stage_of_every_seed() -> None:
    stages = all_stages(SIZES, [0, 1], 'full')
    assert expand(['clip', 'seed1/world'], stages) == ['seed0/clip', 'seed1/clip', 'seed1/world']
    assert expand(['nonsense'], stages) == ['nonsense']


def test_arguments() -> None:
    assert parse_args([]).edition == 'demo'
    assert parse_args(['--full', '--seeds', '3', '4']).seeds == [3, 4]
    with pytest.raises(SystemExit):
        parse_args(['--full', '--smoke'])


def test_missing_inputs_end_with_a_message(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match='needs the results of world'):
        main(['--smoke', '--only', 'clip', '--work-dir', str(tmp_path)])
    with pytest.raises(SystemExit, match='No such stage: clap'):
        main(['--smoke', '--only', 'clap', '--work-dir', str(tmp_path)])


@pytest.mark.slow
def test_whole_chain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(['--smoke', '--work-dir', str(tmp_path)])
    told = capsys.readouterr().out
    assert '[1/9]' in told and '[9/9]' in told and 'report.html' in told
    for name in NAMES:
        assert json.loads((tmp_path / name / 'done.json').read_text())['key'], name
    text = (tmp_path / 'report' / 'report.md').read_text(encoding='utf-8')
    for part in ('AP50', 'Pseudo labels', 'Loss curves', 'real size', 'smoke run'):
        assert part in text
    assert str(tmp_path) not in text
    transfer = json.loads((tmp_path / 'transfer' / 'done.json').read_text())['result']
    assert set(transfer['ap50']['novel']) == {'clip', 'regionclip', 'difference'}

    command = re.search(r'python demo/image_demo.py PHOTO.jpg (\S+) (\S+) --texts', told)
    inferencer = RegionCLIPInferencer(*command.groups(), device='cpu', show_progress=False)
    image = next((tmp_path / 'world' / 'scenes_val' / 'images').iterdir())
    (result,) = inferencer(image, texts='red circle . a house')['predictions']
    assert result['names'] == ['red circle', 'a house'] and result['labels']
    (own,) = inferencer(image)['predictions']
    assert len(own['names']) == 64

    before = {name: (tmp_path / name / 'done.json').stat().st_mtime_ns for name in NAMES}
    main(['--smoke', '--work-dir', str(tmp_path)])
    assert capsys.readouterr().out.count('done before') == 9
    after = {name: (tmp_path / name / 'done.json').stat().st_mtime_ns for name in NAMES}
    assert after == before
