# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""How large each edition of the quickstart is; the models and rates are in the other files.

An empty ``iterations`` means: as long as the stage's config says. The seeds were fixed beforehand.
"""

demo = dict(
    seeds=[0],
    images=dict(
        object_centric_train=8000, object_centric_val=640, scenes_train=3000, scenes_val=400
    ),
    iterations=dict(),
    pairs_per_shard=500,
    bootstrap=200,
    real_size=dict(short_edge=800, long_edge=1333, num_proposals=1000),
)
# Three times the demo, with other worlds and other draws each time.
full = dict(demo, seeds=[0, 1, 2])
# Runs every line of code in a minute or two; its numbers mean nothing.
smoke = dict(
    seeds=[0],
    images=dict(object_centric_train=128, object_centric_val=16, scenes_train=32, scenes_val=12),
    iterations=dict(clip=3, localizer=3, pretrain=2, transfer=2),
    pairs_per_shard=12,
    bootstrap=10,
    real_size=dict(short_edge=160, long_edge=240, num_proposals=20),
)
