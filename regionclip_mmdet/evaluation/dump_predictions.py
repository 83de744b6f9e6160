# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Predictions in a pickle file, for mmdet's offline tools."""

from __future__ import annotations

from mmdet.evaluation import DumpDetResults
from mmdet.registry import METRICS
from mmengine.fileio import dump
from mmengine.logging import print_log

from ..fileio import write_whole


@METRICS.register_module()
class DumpPredictions(DumpDetResults):
    """mmdet's ``DumpDetResults``; the file is whole or not there, and an error names it.

    Args:
        out_file_path: Ends with ``.pkl`` or ``.pickle``.
        collect_device: As in mmdet.
    """

    def compute_metrics(self, results: list) -> dict:
        """Write the predictions.

        Args:
            results: One dict an image.

        Raises:
            OSError: The file could not be written; what was there before is there still.
        """
        with write_whole(self.out_file_path) as unfinished:
            dump(results, unfinished)
        print_log(f'Predictions are in {self.out_file_path}.', 'current')
        return {}
