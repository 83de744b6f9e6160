# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Where in its data a run is, as checkpoints record it."""

from __future__ import annotations

from typing import Any

from mmengine.dist import get_world_size

from .resumable_data import ResumableLoader

KEY = 'data_position'


def describe(loader: ResumableLoader, loop: str, epoch: int, batch: int) -> dict[str, Any]:
    """Record of a position.

    Args:
        loader: Loader of the training data.
        loop: Name of the loop's class.
        epoch: Number of the pass over the data.
        batch: Number of batches consumed by each process in this pass, or, in an iteration-based
            loop, in the whole run.

    Returns:
        Plain values, for a checkpoint.
    """
    batch_sampler = loader.batch_sampler
    sampler = getattr(batch_sampler, 'sampler', None)
    dataset: Any = loader.dataset
    return dict(
        loop=loop,
        epoch=epoch,
        batch=batch,
        batch_size=getattr(batch_sampler, 'batch_size', None),
        world_size=get_world_size(),
        dataset_size=len(dataset),
        samplers=f'{type(batch_sampler).__name__}({type(sampler).__name__})',
        sampler_seed=getattr(sampler, 'seed', None),
        sampler_settings=getattr(sampler, 'order_settings', None),
    )


def adopt_sampler_seed(loader: ResumableLoader, record: dict[str, Any]) -> None:
    """Give the sampler the seed it had, which differs where none was configured."""
    sampler: Any = getattr(loader.batch_sampler, 'sampler', None)
    if record['sampler_seed'] is not None and hasattr(sampler, 'seed'):
        sampler.seed = record['sampler_seed']


def batches_to_skip(record: dict[str, Any], now: dict[str, Any]) -> tuple[int, str | None]:
    """Translate a recorded position into batches of the present run.

    Args:
        record: From the checkpoint.
        now: ``describe`` of the present run, whatever its position.

    Returns:
        Batches of each process to leave out, and what is not exact about it, if anything.

    Raises:
        RuntimeError: The data are others, so the position means nothing.
    """
    names = dict(
        loop='train loop',
        dataset_size='samples in the dataset',
        samplers='samplers',
        sampler_settings='settings of the sampler',
    )
    changed = [
        f'{what}: {record[k]}, now {now[k]}'
        for k, what in names.items()
        if k in record and record[k] != now[k]
    ]
    sizes = [(r['batch_size'], r['world_size']) for r in (record, now)]
    if sizes[0] != sizes[1] and not all(isinstance(batch_size, int) for batch_size, _ in sizes):
        changed.append(f'batch size and processes: {sizes[0]}, now {sizes[1]}')
    if changed:
        raise RuntimeError(
            'The training data are not those of the checkpoint, so its position in them means '
            f'nothing: {"; ".join(changed)}. Restore them, or start a new run from the weights '
            'alone (load_from=CHECKPOINT, resume=False), or begin a new pass over the data with '
            'train_cfg=dict(allow_changed_data=True).'
        )
    if sizes[0] == sizes[1]:
        return record['batch'], None
    (old_batch, old_world), (batch, world) = sizes
    skip = record['batch'] * old_batch * old_world // (batch * world)
    return skip, (
        f'The checkpoint was written with {old_world} processes of batch size {old_batch}, now '
        f'there are {world} of {batch}. The data go on after about as many samples as were seen, '
        f'{skip} batches of each process, but this is not the same training: check the learning '
        'rate and the number of iterations.'
    )
