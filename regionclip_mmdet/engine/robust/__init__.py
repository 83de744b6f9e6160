# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What any long run needs; imports neither models nor datasets.

========================  ==========================================================================
``checkpoint_choice``     where a run begins: its latest whole checkpoint, or other weights
``atomic_checkpoint``     checkpoints that are whole or not there; ``best_results``: the best ones
``resumable_loops``       training that goes on as if there had been no break; ``resumable_data``:
                          its loader and the position in it
``failures``              dead data workers, lost processes, full disks: one clear error each
``non_finite``            losses that are NaN or infinite
``save_on_signal``        a checkpoint before a run is ended from outside
``work_dir_lock``         one run at a time in a work dir
``sample_record``         which samples each process trained on
``throughput``            images per second, and the wait for data
``once``                  hooks of which a run has one each
``ranks``                 what one process finds out concerns all; ``randomness``: seeds
========================  ==========================================================================
"""
