# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Measurements side by side, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .measure import Measurement

PLAIN = 'none'


@dataclass(frozen=True)
class Result:
    """A variant and its measurement.

    Attributes:
        switched_on: Names of the speed-ups in use.
        measurement: What was seen.
    """

    switched_on: tuple[str, ...]
    measurement: Measurement

    @property
    def label(self) -> str:
        """``none``, or ``+ NAME`` of the speed-up added last."""
        return f'+ {self.switched_on[-1]}' if self.switched_on else PLAIN


def format_report(results: Sequence[Result]) -> str:
    """A Markdown table: one row per variant, against the first.

    Args:
        results: Measured variants; the first is what the others are compared with.
    """
    parts = list(results[0].measurement.parts)
    head = ['speed-ups', 's', 'times as fast', *parts, 'regions', 'peak MiB', 'largest difference']
    rows = [head, ['---', *['---:'] * (len(head) - 1)]]
    base = results[0].measurement
    for result in results:
        seen = result.measurement
        rows.append(
            [
                result.label,
                f'{seen.total:.3g}',
                f'{base.total / seen.total:.2f}',
                *(f'{seen.parts[part]:.3g}' for part in parts),
                str(seen.regions),
                f'{seen.memory_mib:.0f}',
                f'{difference(base, seen):.1e}',
            ]
        )
    return '\n'.join('| ' + ' | '.join(row) + ' |' for row in rows)


def difference(base: Measurement, other: Measurement) -> float:
    """Largest absolute difference of scores or losses; infinite where the numbers differ.

    Labels and boxes must follow the scores' order only where scores do not tie, so they do not
    enter here.
    """
    largest = 0.0
    for key, value in base.outputs.items():
        if key in ('labels', 'bboxes'):
            continue
        if value.shape != other.outputs[key].shape:
            return float('inf')
        if value.numel():
            gap = float((value - other.outputs[key]).abs().max())
            largest = max(largest, gap if math.isfinite(gap) else float('inf'))
    return largest
