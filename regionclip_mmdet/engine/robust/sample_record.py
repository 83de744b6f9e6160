# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Which samples each process trained on, in a file that outlives the process."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from mmdet.registry import HOOKS
from mmengine.dist import get_dist_info
from mmengine.hooks import Hook
from mmengine.runner import Runner

FILE_NAME = 'samples_rank{}.jsonl'


@HOOKS.register_module()
class SampleRecordHook(Hook):
    """Writes the samples of every iteration to ``samples_rankR.jsonl`` in the run's log folder.

    Each start of a run has a log folder of its own (``WORK_DIR/20260131_120000``), so what a run
    that was killed had done is kept. A line is handed to the system before its iteration begins: a
    batch that took part in an update is on record whatever happens to the process afterwards, and
    at most the last line tells of a batch that did not.

    The first line of a file: ``rank``, ``world_size``, ``pid``, ``first_iteration``,
    ``batches_per_pass``. The others: ``iteration`` (from 1), ``pass`` and ``batch`` (from 0; the
    place in the data, for samplers that come to an end), ``images`` (``img_id`` of each sample) and
    ``instead_of`` (of each: the broken image in whose place it was drawn, or null).
    ``checks.pretraining`` reads and judges these files.
    """

    # before anything that may end the iteration or the process
    priority = 'VERY_HIGH'

    _file: TextIO

    def before_train(self, runner: Runner) -> None:
        rank, world_size = get_dist_info()
        path = Path(runner.log_dir) / FILE_NAME.format(rank)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, 'a', encoding='utf-8')
        self._write(
            rank=rank,
            world_size=world_size,
            pid=os.getpid(),
            first_iteration=runner.iter + 1,
            batches_per_pass=len(runner.train_dataloader),
        )

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        number, batch = _place(runner, batch_idx)
        metas = [sample.metainfo for sample in _samples(data_batch)]
        self._write(
            iteration=runner.iter + 1,
            **{'pass': number},
            batch=batch,
            images=[_image_id(meta) for meta in metas],
            instead_of=[meta.get('instead_of') for meta in metas],
        )

    def after_train(self, runner: Runner) -> None:
        self._file.close()

    def _write(self, **line: Any) -> None:
        self._file.write(json.dumps(line) + '\n')
        self._file.flush()


def _place(runner: Runner, batch_idx: int) -> tuple[int, int]:
    """Pass, and batch within it."""
    loop = runner.train_loop
    behind = getattr(loop, 'batches_behind', runner.iter)
    if not hasattr(loop, 'run_epoch'):
        return divmod(behind, len(runner.train_dataloader))
    return runner.epoch, getattr(loop, 'batches_behind', batch_idx)


def _samples(data_batch: Any) -> Sequence[Any]:
    if not isinstance(data_batch, dict) or 'data_samples' not in data_batch:
        raise TypeError(
            'SampleRecordHook: batches have no data_samples. It needs a pipeline that ends with '
            'PackDetInputs or PackRegionInputs.'
        )
    return data_batch['data_samples']


def _image_id(meta: dict) -> Any:
    if 'img_id' not in meta:
        raise KeyError(
            "SampleRecordHook: samples have no img_id. Add 'img_id' to meta_keys of the packing "
            'transform.'
        )
    return meta['img_id']
