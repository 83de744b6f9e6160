# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Region features of many images, shared among processes."""

from __future__ import annotations

import os
import os.path as osp
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mmengine.dist import all_gather_object
from torch.utils.data import Dataset

from ..apis.image_inputs import ImageInputs
from ..datasets.image_kinds import count_unread
from ..datasets.size_groups import groups_of_one_size
from ..engine.robust.ranks import of_all_ranks
from ..resumable_job import (
    ResumableJob,
    as_json,
    broken_lines,
    from_main_process,
    weights_hash,
    without_keys,
)
from .folder import NAMES_FILE, FeatureStore, Manifest, Part, split_images
from .given_boxes import CocoBoxes, GivenBoxes, GridBoxes
from .images import ImageList, printable
from .npz_store import NpzStore
from .official_store import OfficialStore
from .region_maker import RegionMaker
from .regions import ImageRegions

FILE_FORMATS: dict[str, type[FeatureStore]] = dict(npz=NpzStore, official=OfficialStore)
# Parts of a model's config that are counted otherwise: by weights, names, or settings of their own.
_COUNTED_ELSEWHERE = ('init_cfg', 'train_cfg', 'test_cfg', 'text_encoder', 'vocabulary')


@dataclass
class ExtractionReport:
    """What was done.

    Attributes:
        images: number of images in the list.
        computed: number of these that were looked at now, by all processes.
        regions: number of regions in the folder; of the official format those written now.
        dropped: number of given boxes without an area within their image.
        seconds: time until the slowest process had finished.
        broken: path and reason of each image that could not be read.
        notes: what of given boxes is left out or missing, see ``CocoBoxes``.
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
        lines += map(printable, broken_lines(self.broken))
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

    To be called by all processes, see ``ResumableJob``. Which image is in which file depends on the
    list alone, and batches do not reach across files, so the files do not depend on the number of
    processes.

    Args:
        maker: detector that makes the regions, on its device.
        images: the images.
        inputs: the test pipeline.
        out: folder for the files.
        boxes: boxes of every image, if the maker's source is ``'given'``.
        file_format: ``'npz'`` (``write_part``) or ``'official'`` (``write_official``).
        batch_size: number of images of one size that are computed together; results of several are
            equal up to rounding.
        images_per_file: number of images that an interruption loses at most, for each process.
        num_workers: number of processes that load images, for each process.
        overwrite: replace files that were made with other settings.
        progress: show a progress bar.

    Raises:
        ValueError: the folder was made with other settings, or boxes do not fit their image.
        OSError: none of the images can be read.
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
    parts = split_images(images, images_per_file)
    manifest = _manifest(maker, images, inputs, boxes, file_format, images_per_file, len(parts))
    store = FILE_FORMATS[file_format](out, manifest, images, parts)
    done = _Extraction(maker, inputs, store, boxes, batch_size, overwrite).run(
        out, num_workers, progress
    )
    regions, dropped = (sum(of_all_ranks(n)) for n in (store.num_regions, store.num_dropped))
    met = [image for of_rank in all_gather_object(store.broken) for image in of_rank]
    totals = from_main_process(lambda: store.finish(met))
    broken = totals.broken
    if len(broken) == len(images):
        raise OSError(
            f'none of the {len(images)} images of {images.source} can be read; the first one: '
            f'{broken[0][0]}: {broken[0][1]}'
        )
    if totals.regions is not None and totals.dropped is not None:
        regions, dropped = totals.regions, totals.dropped
    notes = boxes.notes if isinstance(boxes, CocoBoxes) else []
    return ExtractionReport(len(images), done.images, regions, dropped, done.seconds, broken, notes)


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
        model_cfg=without_keys(getattr(model, 'cfg', {}).get('model'), _COUNTED_ELSEWHERE),
        weights_sha256=weights_hash(model),
    )
    label_names = maker.names if maker.settings.source == 'detections' else ()
    return Manifest(
        settings=as_json(settings),  # of a config in pure Python, classes by their names
        names=maker.names,
        label_names=label_names if boxes is None else boxes.names,
        embed_dim=maker.width,
        images=len(images),
        parts=parts,
        image_root=images.root,
    )


class _Loaded(NamedTuple):
    """An image: its packed sample and given boxes, or what is wrong.

    Attributes:
        sample: what ``ImageInputs`` returns.
        given: boxes, where they are given.
        broken: why the image cannot be read.
        refused: why its boxes do not fit.
    """

    sample: dict[str, Any] | None = None
    given: GivenBoxes | None = None
    broken: str = ''
    refused: str = ''


class _Images(Dataset):
    """Images of a list, decoded and resized by worker processes."""

    def __init__(
        self,
        images: ImageList,
        rows: Sequence[int],
        inputs: ImageInputs,
        boxes: CocoBoxes | GridBoxes | None,
    ) -> None:
        self.images, self.rows, self.inputs, self.boxes = images, rows, inputs, boxes

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> _Loaded:
        row = self.rows[place]
        given = None
        try:
            image = self.inputs.load(self.images.full_path(row))
            if self.boxes is not None:
                given = self.boxes.of(row, tuple(image['ori_shape'][:2]))
            return _Loaded(self.inputs.prepare(image), given)
        except OSError as error:  # BrokenImageError; other images go on
            # without places in memory, which differ from run to run
            why = re.sub(r'\s*<\S+ object at 0x[0-9a-f]+>', '', str(error))
            return _Loaded(broken=' '.join(why.split()))
        except ValueError as error:  # a worker's own error would come with its whole traceback
            return _Loaded(refused=str(error))


class _Extraction(ResumableJob[Part]):
    def __init__(
        self,
        maker: RegionMaker,
        inputs: ImageInputs,
        store: FeatureStore,
        boxes: CocoBoxes | GridBoxes | None,
        batch_size: int,
        overwrite: bool,
    ) -> None:
        self.maker, self.inputs, self.store, self.boxes = maker, inputs, store, boxes
        self.batch_size, self.overwrite = batch_size, overwrite

    def missing(self) -> list[Part]:
        """Files that the folder lacks; describes the folder."""
        missing = self.store.begin(self.overwrite)
        if self.maker.vocabulary is not None:
            self.maker.vocabulary.save(osp.join(self.store.folder, NAMES_FILE))
        return missing

    def dataset(self, parts: Sequence[Part]) -> Dataset:
        """Images of some files."""
        rows = [row for part in parts for row in part.rows]
        return _Images(self.store.images, rows, self.inputs, self.boxes)

    def compute(self, part: Part, images: Iterator[_Loaded]) -> None:
        """Regions of one file; images of one size are computed together."""
        found: list[ImageRegions | None] = [None] * len(part.rows)
        broken: dict[int, str] = {}

        def whole() -> Iterator[tuple[int, dict[str, Any], GivenBoxes | None]]:
            for place in range(len(part.rows)):
                image = next(images)
                if image.refused:
                    raise ValueError(image.refused)
                if image.sample is None:
                    broken[place] = image.broken
                else:
                    yield place, image.sample, image.given

        for group in groups_of_one_size(
            whole(), lambda item: tuple(item[1]['inputs'].shape), self.batch_size
        ):
            given = [boxes for _, _, boxes in group if boxes is not None]
            made = self.maker.make([sample for _, sample, _ in group], given)
            for (place, _, _), regions in zip(group, made, strict=True):
                found[place] = regions
        self.store.write(part, found, broken)
