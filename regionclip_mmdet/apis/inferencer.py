# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Own images, own words: mmdet's inferencer with a vocabulary per call."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from tqdm import tqdm

from ..datasets.image_kinds import count_unread
from ..datasets.transforms import BrokenImageError
from ..models.encoded_image import EncodedImage
from ..models.text import TextEmbeddings
from .encoding import Boxes, encode_samples
from .image_inputs import ImageInput
from .input_lists import OutputNames, list_inputs, refuse_to_overwrite
from .loaded_detector import LoadedDetector
from .querying import query_image
from .results import as_dict, write_json
from .vocabulary import Texts


class RegionCLIPInferencer(LoadedDetector):
    """Detects what words describe::

        inferencer = RegionCLIPInferencer(CONFIG, CHECKPOINT)
        found = inferencer('photo.jpg', texts='traffic cone . red umbrella', out_dir='out')

    or, with the image encoded once and any number of queries::

        inferencer.set_image('photo.jpg')
        found = inferencer.query(['traffic cone', 'red umbrella'])

    ``texts`` is the vocabulary of the whole call (in mmdet's ``DetInferencer``: a caption per
    image). The model is never changed, so several threads may call one inferencer; only the image
    of ``set_image`` is common to them: pass what it returns as ``image=``.

    Arguments are those of ``LoadedDetector``: ``model`` (the config), ``weights``, ``device``,
    ``text_encoder``, ``templates``, ``embedding_cache``, ``trust``.

    Attributes:
        encoded: the image that ``set_image`` encoded last.
    """

    encoded: EncodedImage | None = None

    # -- encode once, query often ---------------------------------------------------------------

    def encode(
        self, image: ImageInput, boxes: Boxes | None = None, all_regions: bool = False
    ) -> EncodedImage:
        """Regions of one image; see ``encode_images``. Nothing is remembered."""
        given = None if boxes is None else [boxes]
        (encoded,) = encode_samples(self.model, [self.pipeline(image)], given, all_regions)
        return encoded

    def set_image(
        self, image: ImageInput, boxes: Boxes | None = None, all_regions: bool = False
    ) -> EncodedImage:
        """Encode an image and remember it for ``query``.

        Args:
            image: see ``encode_images``.
            boxes: ``(N, 4)`` to be classified, instead of the localizer's.
            all_regions: see ``encode_images``.
        """
        self.encoded = self.encode(image, boxes, all_regions)
        return self.encoded

    def query(
        self,
        texts: Texts | None = None,
        image: EncodedImage | ImageInput | None = None,
        templates: str | Sequence[str] | None = None,
        return_datasamples: bool = False,
        return_region_embeddings: bool = False,
        **overrides: Any,
    ) -> dict[str, Any] | DetDataSample:
        """Detections of one image for any words.

        Args:
            texts: see ``vocabulary``.
            image: what ``set_image`` or ``encode`` returned; an image is encoded for this query
                only. None: the image that was set last.
            templates: see ``vocabulary``.
            return_datasamples: A ``DetDataSample`` in place of a dict.
            return_region_embeddings: see ``__call__``.
            **overrides: see ``query_image``: ``score_thr``, ``max_per_img`` and so on.

        Returns:
            As one of ``__call__``'s predictions.

        Raises:
            RuntimeError: No image was set.
        """
        if image is None:
            image = self.encoded
            if image is None:
                raise RuntimeError('there is no image to query: call set_image(image) first.')
        vocabulary = self.vocabulary(texts, templates)
        if not isinstance(image, EncodedImage):
            image = self.encode(image)
        sample = self.detect(image, vocabulary, return_region_embeddings, **overrides)
        return sample if return_datasamples else as_dict(sample)

    def detect(
        self,
        encoded: EncodedImage,
        vocabulary: TextEmbeddings,
        with_embeddings: bool = False,
        **overrides: Any,
    ) -> DetDataSample:
        """``query_image`` as a data sample: ``pred_instances``, and the ``names`` in its metas."""
        found: InstanceData = query_image(self.model, encoded, vocabulary, **overrides)
        if with_embeddings:
            found.region_embeddings = encoded.require_embeddings()[found.region_inds]
        meta = {**encoded.img_meta, 'names': vocabulary.names}
        return DetDataSample(metainfo=meta, pred_instances=found)

    # -- many images --------------------------------------------------------------------------

    def __call__(
        self,
        inputs: ImageInput | Sequence[ImageInput],
        texts: Texts | None = None,
        batch_size: int = 1,
        return_vis: bool = False,
        show: bool = False,
        wait_time: int = 0,
        no_save_vis: bool = False,
        draw_pred: bool = True,
        pred_score_thr: float = 0.3,
        return_datasamples: bool = False,
        print_result: bool = False,
        no_save_pred: bool = True,
        out_dir: str | os.PathLike = '',
        return_region_embeddings: bool = False,
        skip_broken: bool | None = None,
        templates: str | Sequence[str] | None = None,
        **overrides: Any,
    ) -> dict[str, list]:
        """Detect in images; all arguments not described here are mmdet's.

        Args:
            inputs: An image (see ``encode_images``), a list of them, a folder, or a pattern.
            texts: The names to look for, in all images; see ``vocabulary``.
            pred_score_thr: Lowest score to be drawn. Predictions hold what ``test_cfg`` lets
                through; ``score_thr=`` overrides that.
            no_save_pred: Write no ``preds/*.json`` into ``out_dir``; visualizations go to ``vis/``.
            return_region_embeddings: Add ``region_embeddings (M, D)`` of the detections, not
                normalized, to the predictions; not written to files.
            skip_broken: Leave images out that cannot be read, and say so at the end. None: in
                folders and patterns; a broken image that was named is an error.
            templates: see ``vocabulary``.
            **overrides: see ``query_image``: ``score_thr``, ``max_per_img`` and so on.

        Returns:
            ``predictions``, one per image that could be read, see ``as_dict``; ``visualization``,
            RGB arrays if ``return_vis``; ``skipped``, per image left out its ``img_path`` and
            ``error``.

        Raises:
            BrokenImageError: An image cannot be read, or is too thin to be resized.
            FileNotFoundError, ValueError: no images, or visualizations would replace them; see also
                ``vocabulary``.
        """
        if batch_size < 1:
            raise ValueError(f'batch_size is {batch_size}; at least 1 image goes into a batch.')
        vocabulary = self.vocabulary(texts, templates)
        listed = list_inputs(inputs)
        if skip_broken is None:
            skip_broken = listed.searched is not None
        results: dict[str, list] = dict(predictions=[], visualization=[], skipped=[])
        names = OutputNames()
        vis = Path(out_dir, 'vis') if out_dir and not no_save_vis else None
        preds = Path(out_dir, 'preds') if out_dir and not no_save_pred else None
        if vis is not None:
            refuse_to_overwrite(listed.images, vis)
        with tqdm(
            total=len(listed.images),
            unit='image',
            disable=not self.show_progress or len(listed.images) < 2,
        ) as bar:
            loaded = self._load(listed.images, results['skipped'] if skip_broken else None, bar)
            for batch in _chunks(loaded, batch_size):
                encoded = encode_samples(self.model, [sample for sample, _ in batch])
                for one, (_, pixels) in zip(encoded, batch, strict=True):
                    sample = self.detect(one, vocabulary, return_region_embeddings, **overrides)
                    stem, ending = names(one.img_meta.get('img_path'))
                    if show or return_vis or vis is not None:
                        drawn = self.draw(
                            pixels,
                            sample,
                            pred_score_thr,
                            draw_pred=draw_pred,
                            name=stem + ending,
                            show=show,
                            wait_time=wait_time,
                            out_file=None if vis is None else vis / f'{stem}{ending}',
                        )
                        if return_vis:
                            results['visualization'].append(drawn)
                    result = as_dict(sample)
                    if preds is not None:
                        write_json(result, preds / f'{stem}.json')
                    results['predictions'].append(sample if return_datasamples else result)
                bar.update(len(batch))
        self._tell_of_skipped(results, listed.searched)
        if print_result:
            print(dict(predictions=results['predictions']))
        return results

    def _load(
        self, images: Sequence[ImageInput], skipped: list[dict] | None, bar: tqdm
    ) -> Iterator[tuple[dict, np.ndarray]]:
        """Samples and the pixels they were made of, one after the other."""
        for image in images:
            try:
                loaded = self.pipeline.load(image)
                pixels = loaded['img']
                sample = self.pipeline.prepare(loaded)
            except BrokenImageError as error:
                if skipped is None:
                    raise
                skipped.append(dict(img_path=str(image), error=str(error)))
                bar.update(1)
                continue
            yield sample, pixels

    @staticmethod
    def _tell_of_skipped(results: dict[str, list], searched: str | None) -> None:
        skipped = results['skipped']
        if not skipped:
            return
        lines = '\n  '.join(item['error'] for item in skipped)
        where = f' of {searched}' if searched else ''
        kinds = count_unread(item['img_path'] for item in skipped)
        kinds = f' ({kinds}: kinds that are not read here)' if kinds else ''
        if not results['predictions']:
            raise BrokenImageError(
                f'none of the {len(skipped)} images{where} can be read{kinds}:\n  {lines}'
            )
        warnings.warn(
            f'{len(skipped)} of {len(skipped) + len(results["predictions"])} images{where} cannot '
            f'be read and were left out{kinds}:\n  {lines}',
            stacklevel=3,
        )


def _chunks(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
