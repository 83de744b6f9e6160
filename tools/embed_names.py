# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Make a vocabulary: embeddings of names by a CLIP text encoder.

    python tools/embed_names.py ov_coco_65 --arch RN50 -o data/vocabularies/ov_coco_65_rn50.pth
    python tools/embed_names.py my_names.txt --arch RN50x4 -o my_names_rn50x4.pth

The embedding of a name is the mean over 81 prompts, as in RegionCLIP. Lists that need no file:
coco_80, ov_coco_48, ov_coco_17, ov_coco_65, ov_lvis_866, lvis_1203. CLIP's weights are downloaded
once by open_clip, unless --weights names a file (OpenAI's archive, a state dict, safetensors).
An annotation file (.json) gives the names of its categories, in its order.
A text file may have counts behind the names, as concept pools do. With --cache a run that was
stopped goes on, and other lists reuse the names they share.
"""

# First: registers everything and serves mmcv's operators to the imports below.
import regionclip_mmdet  # noqa: F401

# isort: split
from regionclip_mmdet.recipes.embedding_command import main

if __name__ == '__main__':
    main(__doc__)
