# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A data loader that starts at any batch, and its position as checkpoints record it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from mmengine.dist import get_rank, get_world_size
from torch.utils.data import DataLoader, Dataset, IterableDataset

from .randomness import ORDER, SAMPLE, derive_seed, seed_generators

# of a checkpoint
KEY = 'data_position'


class SeededIndex(NamedTuple):
    """What the sampler chose, and the seed of everything random about this sample."""

    index: Any
    seed: int


class SeededDataset(Dataset):
    """Loads samples by ``SeededIndex``; each draws from generators seeded for it alone."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, item: SeededIndex) -> Any:
        seed_generators(item.seed, accelerators=False)
        return self.dataset[item.index]


class SeededBatches:
    """Batches of ``SeededIndex`` from a batch sampler, from any position on.

    Args:
        batch_sampler: Yields lists of indices; whatever it wraps as ``sampler`` is told the epoch.
        seed: Seed of the run.
        endless: True goes on with the next epoch where the batch sampler ends.
    """

    def __init__(self, batch_sampler: Any, seed: int, endless: bool) -> None:
        self.batch_sampler = batch_sampler
        self.seed = seed
        self.endless = endless
        self.epoch = 0
        self.skip = 0

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[list[SeededIndex]]:
        epoch, skip, rank = self.epoch, self.skip, get_rank()
        while True:
            self._begin(epoch)
            number = -1
            for number, batch in enumerate(self.batch_sampler):  # noqa: B007
                if skip > 0:
                    skip -= 1
                    continue
                yield [
                    SeededIndex(
                        index, derive_seed(SAMPLE, self.seed, rank, epoch, number, position)
                    )
                    for position, index in enumerate(batch)
                ]
            if not self.endless:
                return
            if number < 0:
                raise RuntimeError(
                    'The training data loader yields no batch: its dataset is empty, or smaller '
                    'than one batch with drop_last=True.'
                )
            epoch += 1

    def _begin(self, epoch: int) -> None:
        # for samplers that draw from the global generators, as torch's RandomSampler does
        seed_generators(derive_seed(ORDER, self.seed, epoch), accelerators=False)
        sampler: Any = getattr(self.batch_sampler, 'sampler', None)
        if hasattr(sampler, 'set_epoch'):
            sampler.set_epoch(epoch)


class ResumableLoader(DataLoader):
    """Stands in for a ``DataLoader`` in a training loop; ``batches`` starts anywhere.

    Everything else (``dataset``, ``batch_sampler``, ``num_workers``, ...) is the original loader's,
    so that hooks find what they look for. It is a ``DataLoader`` by class alone, which
    ``FlexibleRunner`` checks; it builds one itself when batches are wanted.

    Args:
        source: Any loader of a map-style dataset with automatic batching; never iterated itself.

    Raises:
        ValueError: Positions in this loader mean nothing.
    """

    def __init__(self, source: DataLoader) -> None:
        what = None
        if isinstance(source.dataset, IterableDataset):
            what = f'{type(source.dataset).__name__} is an iterable dataset'
        elif source.batch_sampler is None:
            what = 'batch_size is None'
        if what is not None:
            raise ValueError(
                f'train_dataloader: {what}, so there are no positions to resume at. Use '
                "mmengine's train_cfg=dict(type='IterBasedTrainLoop') or 'EpochBasedTrainLoop', "
                'without exact resuming.'
            )
        self.source = source
        self._loader: DataLoader | None = None
        # mmdet's hooks that switch pipelines set this to None to have the workers restarted
        self._iterator: Any = None

    def __getattr__(self, name: str) -> Any:
        # only called for what is not found here; copying looks before there is a source
        if name == 'source':
            raise AttributeError(name)
        return getattr(self.source, name)

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Any:
        """One pass, for hooks; starts nothing before the first batch is wanted."""
        yield from self.source

    def batches(self, seed: int, epoch: int, skip: int, endless: bool) -> Iterator:
        """Iterate from a position on; what lies before is not loaded.

        Args:
            seed: Seed of the run.
            epoch: Which pass over the data.
            skip: Batches of this process to leave out.
            endless: True goes on with the next passes.

        Returns:
            Iterator over collated batches.
        """
        if self._loader is None or self._iterator is None:
            self._loader = self._build(SeededBatches(self.source.batch_sampler, seed, endless))
        stream: Any = self._loader.batch_sampler
        stream.seed, stream.epoch, stream.skip, stream.endless = seed, epoch, skip, endless
        self._iterator = iter(self._loader)
        return self._iterator

    def worker_ids(self) -> set[int]:
        """Process ids of the workers; empty without workers or before the first batch."""
        return {worker.pid for worker in getattr(self._iterator, '_workers', ())}

    def has_dead_workers(self) -> bool:
        """Whether a worker has ended, or does so within a second."""
        workers = getattr(self._iterator, '_workers', ())
        for worker in workers:
            worker.join(1.0 / len(workers))
        return not all(worker.is_alive() for worker in workers)

    def close(self) -> None:
        """Let the workers go."""
        self._loader = self._iterator = None

    def _build(self, stream: SeededBatches) -> DataLoader:
        source = self.source
        options = dict(
            num_workers=source.num_workers,
            collate_fn=source.collate_fn,
            pin_memory=source.pin_memory,
            timeout=source.timeout,
            worker_init_fn=source.worker_init_fn,
            multiprocessing_context=source.multiprocessing_context,
            generator=source.generator,
            prefetch_factor=source.prefetch_factor,
            persistent_workers=source.persistent_workers,
        )
        if source.pin_memory_device:
            options.update(pin_memory_device=source.pin_memory_device)
        return DataLoader(SeededDataset(source.dataset), batch_sampler=stream, **options)


def describe_position(loader: ResumableLoader, loop: str, epoch: int, batch: int) -> dict[str, Any]:
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
        now: ``describe_position`` of the present run, whatever its position.

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
