# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A detector ready for use: model, vocabularies and visualizations."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from mmdet.apis import DetInferencer
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.runner.checkpoint import _load_checkpoint_to_model
from mmengine.visualization import Visualizer
from torch import nn

from ..checkpoints.translation import into_our_names
from ..default_scope import default_scope
from ..fileio import naming_write_errors
from ..known_files import require_file
from ..models.detectors import OpenVocabularyRCNN
from ..models.text import CLIPTextEncoder, EmbeddingCache, TextEmbeddings
from ..models.weights import generated_model
from .image_inputs import ImageInput, ImageInputs
from .model_sources import RANDOM, read_model_config
from .text_source import PREFIX, TextEncoderSource, find_text_encoder
from .vocabulary import Texts, parse_vocabulary

VISUALIZER = dict(type='OpenVocabVisualizer', name='open_vocabulary', min_side=400)


class LoadedDetector(DetInferencer):
    """What mmdet's inferencer loads, changed for own words.

    Class names and colors do not come from a dataset, configs are found by name, and missing
    weights are an error at once.

    Args:
        model: Config: a file, one of this package by name
            (``'zero_shot/regionclip_rn50_rpn_zero-shot_lvis.py'``, or the base name alone), or a
            ``Config``. Or a model, as ``init_detector`` returns it. None: the config in the
            checkpoint, with ``trust``.
        weights: Checkpoint; None: that of the config's ``load_from``, or what its parts name in
            ``init_cfg``; ``'random'``: generated weights, to try things out without any file.
        device: By default a GPU if there is one.
        text_encoder: For names, if the model and its checkpoint have none; see
            ``find_text_encoder``.
        templates: Prompts for names, see ``CLIPTextEncoder.encode_names``. None: the config's
            ``prompts``, else ``'ensemble81'``, the 81 of RegionCLIP. ``'plain'`` takes 1/81 of the
            time.
        embedding_cache: Folder in which embeddings of names are kept; None: in memory only.
        palette: as in mmdet.
        show_progress: Show progress bars where there are several images or many prompts.
        scope: as in mmdet.
        trust: Whether the config that a checkpoint carries, a program, may be run.

    Raises:
        FileNotFoundError: No such config or checkpoint.
        ValueError: A checkpoint alone, without ``trust``.
        RuntimeError: A part of the model has no weights.
    """

    model: OpenVocabularyRCNN

    def __init__(
        self,
        model: str | os.PathLike | Config | ConfigDict | nn.Module | None = None,
        weights: str | os.PathLike | None = None,
        device: str | None = None,
        text_encoder: TextEncoderSource | None = None,
        templates: str | Sequence[str] | None = None,
        embedding_cache: str | os.PathLike | None = None,
        palette: str = 'random',
        show_progress: bool = True,
        scope: str = 'mmdet',
        trust: bool = False,
    ) -> None:
        if model is None and weights is not None and not trust:
            raise ValueError(
                f'{os.fspath(weights)} was given without a config. The one that a checkpoint '
                'carries is a program, which would be run: give the config as well, or trust=True '
                'if you know where the file comes from.'
            )
        self._built = model if isinstance(model, nn.Module) else None
        self._carried: dict = {}
        self._text_arch: str | dict | None = None
        self._text_encoder = text_encoder
        self._draw_lock = threading.Lock()
        if self._built is not None:
            model = self._built.cfg
            device = device or str(next(self._built.parameters()).device)
        elif isinstance(model, (str, os.PathLike)):
            model = read_model_config(model)
        weights = os.fspath(weights) if weights is not None else None
        self._weights = weights
        super().__init__(
            model=model,
            weights=None if weights == RANDOM else weights,
            device=device,
            scope=scope,
            palette=palette,
            show_progress=show_progress,
        )
        # now, not at the first image: parts that their configs name are filled, others missed
        self.model.ensure_weights()
        self.templates = templates or self.cfg.get('prompts') or 'ensemble81'
        self.embeddings = EmbeddingCache(embedding_cache, self._find_text_encoder, self.templates)

    # -- words --------------------------------------------------------------------------------

    def vocabulary(
        self, texts: Texts | None = None, templates: str | Sequence[str] | None = None
    ) -> TextEmbeddings:
        """Embeddings of what is written; embeddings of names are kept.

        Args:
            texts: see ``parse_vocabulary``; None: the model's own vocabulary.
            templates: Other prompts than the inferencer's.

        Raises:
            FileNotFoundError, TypeError, ValueError: see ``parse_vocabulary``.
            RuntimeError: Names without a text encoder, or None without an own vocabulary; says
                what helps.
        """
        if texts is None:
            own = self.model.roi_head.bbox_head.active_classifier
            own.require_vocabulary()
            vocabulary = own.vocabulary
            assert vocabulary is not None  # just required
            return vocabulary
        names = parse_vocabulary(texts)
        if isinstance(names, TextEmbeddings):
            return names
        progress = self.show_progress and len(names) > 1
        return self.embeddings.encode_names(names, progress=progress, templates=templates)

    def _find_text_encoder(self) -> CLIPTextEncoder:
        origin = self._weights or 'the checkpoint'
        return find_text_encoder(
            self.model, self._text_encoder, self._carried, origin, self._text_arch
        )

    def draw(
        self,
        image: ImageInput,
        sample: DetDataSample,
        score_thr: float = 0.3,
        draw_pred: bool = True,
        name: str = 'detections',
        show: bool = False,
        wait_time: float = 0,
        out_file: str | os.PathLike | None = None,
    ) -> np.ndarray:
        """Draw detections with the config's visualizer; threads take turns.

        Args:
            image: The image itself, as given for detection.
            sample: what ``detect`` or ``query(..., return_datasamples=True)`` returns.
            score_thr: Lowest score to be drawn.
            draw_pred: Whether to draw anything.
            name: Title of the window.
            show: Open a window.
            wait_time: Seconds it stays open; 0: until a key is pressed.
            out_file: path for the visualization.

        Returns:
            uint8 ``(H, W, 3)``, RGB.
        """
        pixels = self.pipeline.pixels(image)
        with self._draw_lock, naming_write_errors(out_file or name):
            # classes of this call, not of the model
            self.visualizer.dataset_meta = dict(classes=sample.names, palette=self.palette)
            self.visualizer.add_datasample(
                name,
                np.ascontiguousarray(pixels[..., ::-1]),
                sample,
                draw_gt=False,
                draw_pred=draw_pred,
                show=show,
                wait_time=wait_time,
                out_file=None if out_file is None else os.fspath(out_file),
                pred_score_thr=score_thr,
            )
            return self.visualizer.get_image()

    # -- what mmdet's constructor calls -------------------------------------------------------

    def _init_model(
        self, cfg: Config | ConfigDict, weights: str | None, device: str = 'cpu'
    ) -> nn.Module:
        if self._built is not None:
            self._built.eval()
            self._load_weights_to_model(self._built, None, cfg)
            return self._built.to(device)
        if self._text_encoder is not None:  # the model's own is not needed then
            if not cfg:
                raise ValueError(
                    'text_encoder goes into the config: give the config as well, not the '
                    'checkpoint alone.'
                )
            own = cfg.model.get('text_encoder') or {}
            self._text_arch = own.get('arch')
            cfg.model.text_encoder = None
        if self._weights == RANDOM:
            with default_scope(self.scope):
                model = generated_model(cfg)
            warnings.warn('weights are generated at random: detections mean nothing.', stacklevel=4)
            model.cfg = cfg
            self._load_weights_to_model(model, None, cfg)
            return model.to(device).eval()
        if weights is None and cfg.get('load_from'):
            weights = self._weights = cfg.load_from
        if weights is not None and '://' not in weights:
            require_file(weights, 'checkpoint')
        return super()._init_model(cfg, weights, device)

    def _load_weights_to_model(
        self, model: nn.Module, checkpoint: dict | None, cfg: Config | ConfigDict | None
    ) -> None:
        """Weights, and the class names they bring; datasets are not read for any."""
        if not isinstance(model, OpenVocabularyRCNN):
            raise TypeError(
                f'RegionCLIPInferencer needs an OpenVocabularyRCNN, not a {type(model).__name__}: '
                'a config from configs/zero_shot, ov_coco, ov_lvis or supervised.'
            )
        if checkpoint is not None:
            state = dict(checkpoint.get('state_dict', checkpoint))
            if model.text_encoder is None:
                into_our_names(state, self._weights, quiet=True)  # told of when it is loaded
                self._carried = {
                    k.removeprefix(PREFIX): v for k, v in state.items() if k.startswith(PREFIX)
                }
            _load_checkpoint_to_model(model, checkpoint)
        names = model.roi_head.bbox_head.active_classifier.names
        model.dataset_meta = dict(classes=names, palette=self.palette)

    def _init_pipeline(self, cfg: Config | ConfigDict) -> ImageInputs:
        return ImageInputs(cfg)

    def _init_collate(self, cfg: Config | ConfigDict) -> Callable:
        return pseudo_collate

    def _init_visualizer(self, cfg: Config | ConfigDict) -> Visualizer:
        visualizer = dict(cfg.get('visualizer') or VISUALIZER)
        # without a folder of its own it would only warn that it stores nothing
        visualizer.pop('vis_backends', None)
        return super()._init_visualizer(ConfigDict(visualizer=visualizer))
