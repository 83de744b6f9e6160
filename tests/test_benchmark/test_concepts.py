# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Benchmarks of concept pools: generated captions, counting, embedding."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from benchmarks.commands import concept_pool, embed_concepts
from benchmarks.generated_captions import (
    GeneratedCaptions,
    lexicon_words,
    write_captions,
)
from helpers import tiny_models
from regionclip_mmdet.concepts import CaptionFiles, make_backend
from regionclip_mmdet.models.text import CLIPTextEncoder

TOOL = Path(__file__).parents[2] / 'tools' / 'benchmark.py'
NOT_INSTALLED = 'installed without its dependencies'


@pytest.fixture(scope='module')
def captions() -> list[str]:
    pytest.importorskip('textblob', reason=NOT_INSTALLED)
    pytest.importorskip('simplemma', reason=NOT_INSTALLED)
    return list(GeneratedCaptions(4000))


def test_captions_are_as_described(captions: list[str]) -> None:
    words = [caption.split() for caption in captions]
    assert len(captions) == 4000
    assert list(GeneratedCaptions(3000)) == captions[:3000] != list(GeneratedCaptions(3000, 1))
    assert sum(map(len, words)) / len(words) == pytest.approx(10.3, abs=0.3)
    assert min(map(len, words)) == 3 and max(map(len, words)) > 20
    known = set().union(*map(lexicon_words, ('NN', 'NNS', 'JJ', 'VBG', 'VBZ', 'VBN')))
    used = Counter(word for caption in words for word in caption if len(word) > 5)
    unknown = sum(count for word, count in used.items() if word not in known)
    assert 0.003 < unknown / used.total() < 0.02
    nouns = Counter({word: used[word] for word in lexicon_words('NN')})
    frequent = [count for _, count in nouns.most_common(100)]
    # Zipf: 1/(0 + 2.7) against 1/(99 + 2.7) is 38 to 1
    assert 15 < frequent[0] / frequent[99] < 80
    assert len(+nouns) > 1000


def test_a_row_builds_the_pool_of_the_file(tmp_path: Path, captions: list[str]) -> None:
    path = tmp_path / 'c.jsonl'
    assert write_captions(GeneratedCaptions(4000), path) == path.stat().st_size
    assert list(CaptionFiles([path])) == captions
    rows = [concept_pool.build_pool(str(path), 'words', 20, processes) for processes in (1, 2)]
    named = Counter(
        noun.lemma
        for runs in make_backend().find(captions)
        for run in runs
        for noun in run
        if noun.alone
    )
    assert dict(rows[0]['pool']) == {name: count for name, count in named.items() if count >= 20}
    assert rows[0]['pool'] == rows[1]['pool'] and len(rows[0]['pool']) > 50
    assert rows[0]['captions'] == rows[1]['captions'] == 4000
    assert rows[1]['cpu_seconds'] > 0
    rows[1].update(processes=2, seconds=0.5, cpu_seconds=0.75)
    rows[0].update(seconds=1.0)
    last = concept_pool.table(rows).splitlines()[-1]
    assert last == '| 2 | 4000 | 0.5 | 0.8 | 8000 | 2.00 | 375 |'


@pytest.mark.slow
def test_tool(tmp_path: Path, captions: list[str]) -> None:
    kept, out = tmp_path / 'captions.txt', tmp_path / 'numbers.json'
    options = f'--captions 3000 --min-count 9 --keep {kept} --out {out}'
    command = [sys.executable, str(TOOL), 'concept-pool', *options.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert kept.read_text().splitlines() == captions[:3000]
    rows = json.loads(out.read_text())['rows']
    assert [row['processes'] for row in rows] == [1, 2]
    assert all(row['captions'] == 3000 and row['seconds'] > 0 for row in rows)
    assert '| 2 | 3000 | ' in done.stdout and 'the same in every row' in done.stdout


def test_all_ways_to_embed_agree(capsys: pytest.CaptureFixture) -> None:
    parser = argparse.ArgumentParser()
    embed_concepts.add_arguments(parser)
    arch = json.dumps(dict(tiny_models.TEXT_ARCH, context_length=24))
    args = parser.parse_args(['--arch', arch, '--sample', '3', '--naive-sample', '2'])
    found = embed_concepts.run(args)
    assert [row['concepts'] for row in found['rows']] == [2, 3, 3]
    assert all(row['gap'] < 1e-5 for row in found['rows']) and found['prompts'] == 81
    names = embed_concepts.sample_names(3)
    assert f'3 concepts, 81 prompts each of {found["tokens"]:.1f} tokens' in capsys.readouterr().out
    encoder = tiny_models.fill(CLIPTextEncoder(json.loads(arch)))
    options = (encoder, 'ensemble81', 100, names)
    with torch.no_grad():
        whole = embed_concepts.embed_whole_context(*options)
        torch.testing.assert_close(embed_concepts.embed_trimmed(*options), whole)
        torch.testing.assert_close(embed_concepts.embed_as_the_tools(*options), whole)
    assert whole.std() > 0.1


def test_table_of_embedding() -> None:
    rows = [
        dict(label='whole context', concepts=2, seconds=4.0, cpu_seconds=4.0, gap=0.0),
        dict(label='trimmed', concepts=9, seconds=0.5, cpu_seconds=0.4, gap=2e-7),
    ]
    last = embed_concepts.table(rows, 81, 600).splitlines()[-1]
    assert last == '| trimmed | 9 | 500 | 400 | 162 | 8.0 | 5.0 | 2.0e-07 |'


def test_samples_of_names() -> None:
    names = embed_concepts.sample_names(1203)
    assert len(set(names)) == 1203 and 'bow weapon' in names
    with pytest.raises(ValueError, match='1 to 1203 concepts, not 1204'):
        embed_concepts.sample_names(1204)
