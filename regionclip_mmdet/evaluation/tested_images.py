# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Are the images that were tested those that a metric knows? By id, name and size."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

# COCO 2014 called them so; the same images lost the prefix in 2017.
_OLD_PREFIX = re.compile(r'^COCO_[a-z]+2014_')


@dataclass(frozen=True)
class ImageIdentity:
    """What tells one image from another.

    Attributes:
        id: As the annotation file has it.
        name: Path, as far as known.
        height: Pixels; None if unknown.
        width: Pixels; None if unknown.
    """

    id: Any
    name: str = ''
    height: float | None = None
    width: float | None = None

    @classmethod
    def annotated(cls, image: Mapping[str, Any]) -> ImageIdentity:
        """An image of an annotation file."""
        # of an address only the last part is sure to be the file's name
        name = image.get('file_name') or (image.get('coco_url') or '').rpartition('/')[2]
        return cls(image['id'], name, image.get('height'), image.get('width'))

    @classmethod
    def of_dataset(cls, item: Mapping[str, Any]) -> ImageIdentity:
        """An item of an mmdet dataset (``get_data_info``)."""
        path = item.get('img_path')
        name = path if isinstance(path, str) else ''
        return cls(item.get('img_id'), name, item.get('height'), item.get('width'))

    @classmethod
    def of_sample(cls, sample: Mapping[str, Any]) -> ImageIdentity:
        """A data sample that a metric gets."""
        height, width = tuple(sample.get('ori_shape') or (None, None))[:2]
        return cls(sample.get('img_id'), sample.get('img_path') or '', height, width)

    def differs_from(self, other: ImageIdentity, turned: bool = False) -> str | None:
        """How two images of one id differ; None if they can be the same.

        Args:
            other: The other one.
            turned: Whether one of them may have been turned, as EXIF says.
        """
        if self.name and other.name and not same_name(self.name, other.name):
            return f'{self.name} and {other.name}'
        sizes = [(image.height, image.width) for image in (self, other)]
        if any(None in size for size in sizes) or sizes[0] == sizes[1]:
            return None
        if turned and sizes[0] == sizes[1][::-1]:
            return None
        shown = [f'{height} x {width}' for height, width in sizes]
        return (
            f'{self.name or other.name or "unnamed"} of {shown[0]} and {shown[1]} (height, width)'
        )


def same_name(one: str, other: str) -> bool:
    """Whether two paths end in the same folders and file, as far as both have them.

    The suffix may differ, and COCO's prefix of 2014.
    """
    parts = []
    for path in (one, other):
        found = [p for p in path.replace('\\', '/').split('/') if p not in ('', '.')]
        *folders, name = found or ['']
        stem = name.rpartition('.')[0] or name
        parts.append([*folders, _OLD_PREFIX.sub('', stem)])
    common = min(map(len, parts))
    return parts[0][-common:] == parts[1][-common:]


def refuse_twice(ids: Iterable[Any], who: str) -> None:
    """Refuse an image id that comes twice.

    Args:
        ids: Of all images tested; None where unknown.
        who: The metric, for the message.

    Raises:
        ValueError: One does.
    """
    counts = Counter(id for id in ids if id is not None)
    twice = [id for id, count in counts.items() if count > 1]
    if twice:
        raise ValueError(
            f'{who}: {len(twice)} image ids come twice among the images that are tested, e.g. '
            f'{twice[0]!r}; metrics tell images apart by their ids. Datasets put together '
            '(ConcatDataset) need a metric each: '
            "test_evaluator=dict(type='MultiDatasetsEvaluator', metrics=[...], "
            'dataset_prefixes=[...]).'
        )


def check_tested(
    tested: Collection[ImageIdentity],
    known: Mapping[Any, ImageIdentity],
    path: str,
    who: str,
    part: str,
    turned: bool = False,
) -> None:
    """Compare the images that are tested with those of a metric's annotation file.

    Args:
        tested: Images that are, or were, tested.
        known: Images of the file by id.
        path: Of the file.
        who: The metric, for messages.
        part: What it means that only a part of the file's images is tested, for the log.
        turned: See ``ImageIdentity.differs_from``.

    Raises:
        ValueError: An id comes twice, or the file does not have it; or the image of an id is
            another one in the file.
    """
    refuse_twice([image.id for image in tested], who)
    same_file = 'Give metric and dataset the same annotation file (ann_file).'
    unknown = [image.id for image in tested if image.id not in known]
    if unknown:
        raise ValueError(
            f'{who}: {len(unknown)} of {len(tested)} images that are tested are not in {path}, '
            f'e.g. the id {unknown[0]!r} (the file has {next(iter(known), None)!r} and so on). '
            f'{same_file}'
        )
    pairs = ((image.id, image.differs_from(known[image.id], turned)) for image in tested)
    other = [(id, difference) for id, difference in pairs if difference]
    if other:
        raise ValueError(
            f'{who}: {len(other)} of {len(tested)} images that are tested are others in {path}, '
            f'e.g. those of id {other[0][0]!r}: {other[0][1]}. {same_file}'
        )
    if len(tested) < len(known):
        print_log(
            f'{who}: {len(tested)} of the {len(known)} images of {path} are tested. {part}',
            logger='current',
            level=logging.WARNING,
        )


class ComparesImages(BaseMetric):
    """A metric that compares the images that are tested with those it knows.

    ``DatasetCheckHook`` hands over a dataset's images before a run; without it the metric sees
    them with the first batch, or, of datasets put together, when the results are computed.
    """

    PART = 'The results are those of this part.'
    # Path and images by id of the annotation file; None if there is none.
    known_images: tuple[str, Mapping[Any, ImageIdentity]] | None = None

    def compare_images(self, images: Sequence[ImageIdentity], turned: bool = False) -> None:
        """Compare images that are, or were, tested with the metric's own.

        Raises:
            ValueError: See ``check_tested``; there is no image.
        """
        who = type(self).__name__
        if not images:
            raise ValueError(f'{who}: no image was tested.')
        if self.known_images is None:
            refuse_twice([image.id for image in images], who)
            return
        path, known = self.known_images
        check_tested(images, known, path, who, self.PART, turned)

    def look_at(self, samples: Iterable[Mapping[str, Any]]) -> list[ImageIdentity]:
        """Images of a batch; an error if they cannot be the metric's.

        Of datasets put together a metric sees the samples of all, so nothing is refused here.

        Raises:
            ValueError: An image is not in the annotation file, or is another one there.
        """
        images = [ImageIdentity.of_sample(sample) for sample in samples]
        meta = self.dataset_meta
        if self.known_images is not None and isinstance(meta or {}, Mapping):
            if 'cumulative_sizes' not in (meta or {}):
                path, known = self.known_images
                for image in images:
                    here = {image.id: known[image.id]} if image.id in known else {}
                    check_tested([image], here or known, path, type(self).__name__, '', True)
        return images


class ComparesImagesOfPairs(ComparesImages):
    """The same for mmdet's metrics, which keep pairs of ground truth and predictions."""

    @classmethod
    def kinds_of(cls, metric: str | Sequence[str]) -> list[str]:
        """``metric`` of our metrics as a list of 'bbox' and 'segm'.

        Raises:
            ValueError: It is something else.
        """
        kinds = [metric] if isinstance(metric, str) else list(metric)
        unknown = [kind for kind in kinds if kind not in ('bbox', 'segm')]
        if unknown:
            raise ValueError(
                f"{cls.__name__}: metric must be 'bbox' or 'segm', not {unknown}; recall of "
                'proposals is ProposalRecallMetric.'
            )
        return kinds

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep ground truth and predictions of a batch, and which images they are of.

        Raises:
            ValueError: See ``look_at``.
        """
        images = self.look_at(data_samples)
        super().process(data_batch, data_samples)
        kept = self.results[len(self.results) - len(images) :]
        for (truth, _), image in zip(kept, images, strict=True):
            truth['image'] = image
