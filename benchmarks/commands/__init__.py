# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The commands of ``tools/benchmark.py``, a module each.

A module has ``HELP`` (one line), ``add_arguments(parser)`` and ``run(args)``, which measures and
returns what ``--out`` writes as JSON. Its docstring is the command's ``--help``.
"""

from types import ModuleType

from . import concept_pool, embed_concepts, image_text_loss, inference, loader, pretraining, query

COMMANDS: dict[str, ModuleType] = {
    'inference': inference,
    'pretrain': pretraining,
    'loader': loader,
    'image-text-loss': image_text_loss,
    'concept-pool': concept_pool,
    'embed-concepts': embed_concepts,
    'query': query,
}

__all__ = ['COMMANDS']
