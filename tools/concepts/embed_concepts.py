# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
r"""Embed a concept pool: the file that pretraining reads.

    python tools/concepts/embed_concepts.py data/vocabularies/coco_nouns.txt --arch RN50 \
        -o data/vocabularies/coco_nouns_rn50.pth
    python tools/concepts/embed_concepts.py pool.txt --arch ViT-B-32 \
        --weights ViT-B-32/laion2b_s34b_b79k -o pool_vit_b_32.pth

Reads what build_concept_pool.py writes, official pools ("name,count") and names alone. The same as
tools/embed_names.py, except that embeddings are kept beside the output, in embedding_cache: a run
that was stopped goes on, and pools that share names share their embeddings. The folder can be
deleted at any time.
"""

# First: registers everything and serves mmcv's operators to the imports below.
import regionclip_mmdet  # noqa: F401

# isort: split
from regionclip_mmdet.recipes.embedding_command import main

if __name__ == '__main__':
    main(__doc__, cache=True)
