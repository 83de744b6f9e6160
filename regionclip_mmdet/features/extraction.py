# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Region features of many images, shared out among processes."""

from __future__ import annotations

import json
import os
import os.path as osp
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mmengine.dist import all_gather_object, broadcast_object_list, get_dist_info
from tqdm import tqdm

from ..apis.image_inputs import ImageInputs
from ..apis.image_kinds import count_unread
from ..apis.size_groups import groups_of_one_size
from ..engine.robust.ranks import of_all_ranks, raise_on_all_ranks
from ..pretraining.proposal_maker import weights_hash
from .folder import BROKEN_FILE, Manifest, Part, split_images
from .given_boxes import CocoBoxes, GivenBoxes, GridBoxes
from .images import ImageList, printable
from .loading import Loaded, load_images
from .part_file import NAMES_FILE
from .region_maker import RegionMaker
from .regions import ImageRegions
from .stores import FILE_FORMATS

# Parts of a model's config that are counted otherwise: by weights, names, or settings of their own.
_COUNTED_ELSEWHERE = ('init_cfg', 'train_cfg', 'test_cfg', 'text_encoder', 'vocabulary')


@dataclass
class ExtractionReport:
    """What was done.

    Attributes:
        images: Number of images in the list.
        computed: Of these, how many were looked at now, by all processes.
        regions: Regions in the folder; of the official format those written now.
        dropped: Given boxes without an area within their image.
        seconds: Until the slowest process had finished.
        broken: Path and reason of each image that could not be read.
        notes: What of given boxes is left out or missing, see ``CocoBoxes``.
    """

    images: int
    computed: int
    regions: int
    dropped: int
    seconds: float
    broken: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        rate = f' ({self.computed / self.seconds:.1f} a second)' if self.computed else ''
        lines = [
            f'{self.regions} regions; {self.images} images, {self.computed} of them computed '
            f'now{rate}; {len(self.broken)} could not be read'
        ]
        kinds = count_unread(path for path, _ in self.broken)
        if kinds:
            lines.append(f'  {kinds}: kinds that are not read here; convert them to JPEG or PNG')
        if self.dropped:
            lines.append(f'  {self.dropped} given boxes have no area within their image: left out')
        lines += [f'  {note}' for note in self.notes]
        lines += [printable(f'  {path}: {why}') for path, why in self.broken[:20]]
        if len(self.broken) > 20:
            lines.append(f'  and {len(self.broken) - 20} more in {BROKEN_FILE}')
        return '\n'.join(lines)


def extract_region_features(
    maker: RegionMaker,
    images: ImageList,
    inputs: ImageInputs,
    out: str | os.PathLike,
    boxes: CocoBoxes | GridBoxes | None = None,
    file_format: str = 'npz',
    batch_size: int = 1,
    images_per_file: int = 256,
    num_workers: int = 0,
    overwrite: bool = False,
    progress: bool = True,
) -> ExtractionReport:
    """Write the regions of all images into a folder.

    To be called by all processes; each takes every ``n``-th of the files that are missing. Which
    image is in which file depends on the list alone, and batches do not reach across files, so the
    files do not depend on the number of processes. Files are written whole or not at all: after an
    interruption the same call goes on with those that are missing.

    Args:
        maker: On its device.
        images: The images.
        inputs: The test pipeline.
        out: Folder.
        boxes: Boxes of every image, if the maker's source is ``'given'``.
        file_format: ``'npz'`` (``write_part``) or ``'official'`` (``write_official``).
        batch_size: Images of one size that are computed together; results of several are equal up
            to rounding.
        images_per_file: What an interruption loses at most, for each process.
        num_workers: Processes that load images, for each process.
        overwrite: Make files anew that were made with other settings.
        progress: Show a progress bar.

    Raises:
        ValueError: The folder was made with other settings, or boxes do not fit their image.
        OSError: None of the images can be read.
    """
    if (boxes is None) != (maker.settings.source != 'given'):
        raise ValueError("Boxes belong to the source 'given', which needs some.")
    if isinstance(boxes, GridBoxes) and maker.settings.needs_scores:
        raise ValueError('Windows of a grid have no scores to select by.')
    if isinstance(boxes, CocoBoxes) and maker.settings.needs_scores and not boxes.have_scores:
        raise ValueError(
            f'{boxes.path}: boxes without scores cannot be selected by score, nor by NMS.'
        )
    out = os.fspath(out)
    rank, world_size = get_dist_info()
    parts = split_images(images, images_per_file)
    manifest = _manifest(maker, images, inputs, boxes, file_format, images_per_file, len(parts))
    store = FILE_FORMATS[file_format](out, manifest, images, parts)
    shared: list[Any] = [None]
    with raise_on_all_ranks():
        if rank == 0:
            shared = [store.begin(overwrite)]
            if maker.vocabulary is not None:
                maker.vocabulary.save(osp.join(out, NAMES_FILE))
    broadcast_object_list(shared)
    mine: list[Part] = shared[0][rank::world_size]
    begin = time.monotonic()
    title = out if world_size == 1 else f'{out} (process 1 of {world_size})'
    rows = [row for part in mine for row in part.rows]
    with tqdm(total=len(rows), desc=title, unit='images', disable=not progress or rank != 0) as bar:
        loaded = load_images(images, rows, inputs, boxes, num_workers)
        for part in mine:
            store.write(part, *_compute(part, loaded, maker, batch_size, bar))
    computed = sum(of_all_ranks(len(rows)))  # waits for all
    seconds = time.monotonic() - begin
    regions, dropped = (sum(of_all_ranks(n)) for n in (store.num_regions, store.num_dropped))
    met = [image for of_rank in all_gather_object(store.broken) for image in of_rank]
    found: list[Any] = [None]
    with raise_on_all_ranks():
        if rank == 0:
            found = [store.finish(met)]
    broadcast_object_list(found)
    totals = found[0]
    broken = totals.broken
    if len(broken) == len(images):
        raise OSError(
            f'none of the {len(images)} images of {images.source} can be read; the first one: '
            f'{broken[0][0]}: {broken[0][1]}'
        )
    if totals.regions is not None:
        regions, dropped = totals.regions, totals.dropped
    notes = boxes.notes if isinstance(boxes, CocoBoxes) else []
    return ExtractionReport(len(images), computed, regions, dropped, seconds, broken, notes)


def _manifest(
    maker: RegionMaker,
    images: ImageList,
    inputs: ImageInputs,
    boxes: CocoBoxes | GridBoxes | None,
    file_format: str,
    images_per_file: int,
    parts: int,
) -> Manifest:
    model = maker.model
    settings = dict(
        **maker.settings.describe(),
        names=list(maker.names),
        given=None if boxes is None else boxes.describe(),
        file_format=file_format,
        images_per_file=images_per_file,
        pipeline=[repr(inputs.load_file), repr(inputs.transform)],
        test_cfg=model.roi_head.test_cfg if maker.settings.source == 'detections' else None,
        localizer_cfg=None if model.localizer is None else model.localizer.test_cfg,
        model_cfg=_without(getattr(model, 'cfg', {}).get('model'), _COUNTED_ELSEWHERE),
        weights_sha256=weights_hash(model),
    )
    label_names = maker.names if maker.settings.source == 'detections' else ()
    return Manifest(
        # as it will be read; of a config in pure Python, classes by their names
        settings=json.loads(json.dumps(settings, sort_keys=True, default=str)),
        names=maker.names,
        label_names=label_names if boxes is None else boxes.names,
        embed_dim=maker.width,
        images=len(images),
        parts=parts,
        image_root=images.root,
    )


def _without(config: Any, keys: tuple[str, ...]) -> Any:
    if isinstance(config, Mapping):
        return {k: _without(v, keys) for k, v in config.items() if k not in keys}
    if isinstance(config, list | tuple):
        return [_without(value, keys) for value in config]
    return config


def _compute(
    part: Part, loaded: Iterator[Loaded], maker: RegionMaker, batch_size: int, bar: tqdm
) -> tuple[list[ImageRegions | None], dict[int, str]]:
    """Regions of a part's images, and why some are broken, by place in the part."""
    found: list[ImageRegions | None] = [None] * len(part.rows)
    broken: dict[int, str] = {}

    def whole() -> Iterator[tuple[int, Loaded]]:
        for place in range(len(part.rows)):
            image = next(loaded)
            bar.update()
            if image.refused:
                raise ValueError(image.refused)
            if image.sample is None:
                broken[place] = image.broken
            else:
                yield place, image

    for group in groups_of_one_size(
        whole(), lambda item: tuple(item[1].sample['inputs'].shape), batch_size
    ):
        given: list[GivenBoxes] | None = None
        if group[0][1].given is not None:
            given = [image.given for _, image in group]
        made = maker.make([image.sample for _, image in group], given)
        for (place, _), regions in zip(group, made, strict=True):
            found[place] = regions
    return found, broken
