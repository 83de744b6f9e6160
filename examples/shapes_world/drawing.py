# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Outlines of the shapes, and drawing them onto varied backgrounds with Pillow."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from PIL import Image, ImageDraw

from regionclip_mmdet.datasets.shapes_world import COLORS, SHAPES, class_name

# Largest rotation in degrees. Limited where a turn would be unnatural, full where it is not.
MAX_ROTATION: dict[str, float] = {
    'circle': 180.0,
    'square': 180.0,
    'triangle': 180.0,
    'star': 180.0,
    'cross': 180.0,
    'heart': 35.0,
    'ring': 180.0,
    'moon': 60.0,
}
BACKGROUNDS: tuple[str, ...] = ('flat', 'gradient', 'noise', 'stripes', 'blotches')
RING_HOLE = 0.55  # radius of a ring's hole over its outer radius


@dataclasses.dataclass(frozen=True)
class DrawnObject:
    """One object of an image.

    Attributes:
        name: Category name.
        rgb: Its color.
        outline: Outer outline of shape ``(P, 2)`` in image pixels.
        hole: Outline of the hole of shape ``(Q, 2)``, or ``None``.
    """

    name: str
    rgb: tuple[int, int, int]
    outline: np.ndarray
    hole: np.ndarray | None

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Tight (x1, y1, x2, y2) of the outline."""
        low, high = self.outline.min(axis=0), self.outline.max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    @property
    def polygon(self) -> np.ndarray:
        """One closed polygon ``(P', 2)``; a hole is reached through a slit of no width."""
        if self.hole is None:
            return self.outline
        inner = self.hole[::-1]
        return np.concatenate([self.outline, self.outline[:1], inner, inner[:1]])

    @property
    def area(self) -> float:
        """Area of the polygon in square pixels, holes taken off."""
        x, y = self.polygon.T
        return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def _arc(start: float, stop: float, points: int, radius: float = 1.0) -> np.ndarray:
    angles = np.linspace(start, stop, points, endpoint=False)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _moon() -> np.ndarray:
    # Outer circle minus a circle of radius 0.8 shifted right by 0.55; they meet at +-theta.
    shift, radius = 0.55, 0.8
    meet_x = (1 + shift**2 - radius**2) / (2 * shift)
    theta = math.acos(meet_x)
    phi = math.atan2(math.sin(theta), meet_x - shift)
    outer = _arc(theta, 2 * math.pi - theta, 28)
    inner = _arc(2 * math.pi - phi, phi, 20, radius) + np.array([shift, 0.0])
    return np.concatenate([outer, inner])


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * math.pi, 36, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x, -y], axis=1) / 16


def _star() -> np.ndarray:
    radii = np.where(np.arange(10) % 2 == 0, 1.0, 0.42)
    return _arc(-math.pi / 2, 1.5 * math.pi, 10) * radii[:, None]


def _cross() -> np.ndarray:
    a, b = 1.0, 0.33
    corners = [(-b, -a), (b, -a), (b, -b), (a, -b), (a, b), (b, b)]
    corners += [(b, a), (-b, a), (-b, b), (-a, b), (-a, -b), (-b, -b)]
    return np.array(corners)


_UNIT_OUTLINES: dict[str, np.ndarray] = {
    'circle': _arc(0, 2 * math.pi, 36),
    'square': np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]),
    'triangle': _arc(-math.pi / 2, 1.5 * math.pi, 3),
    'star': _star(),
    'cross': _cross(),
    'heart': _heart(),
    'ring': _arc(0, 2 * math.pi, 36),
    'moon': _moon(),
}


def sample_object(
    rng: np.random.Generator, size: float, image_size: int, color_jitter: int
) -> DrawnObject:
    """Draw class, color, rotation, aspect and position of one object.

    Args:
        rng: Source of randomness.
        size: Longer side of its box in pixels.
        image_size: Side of the image; the object lies inside with one pixel to spare.
        color_jitter: Largest change of each RGB channel.
    """
    color = list(COLORS)[rng.integers(len(COLORS))]
    shape = SHAPES[rng.integers(len(SHAPES))]
    angle = math.radians(rng.uniform(-1, 1) * MAX_ROTATION[shape])
    aspect = rng.uniform(0.9, 1.1)
    cos, sin = math.cos(angle), math.sin(angle)
    # unit shape -> stretched -> rotated
    matrix = np.array([[cos, -sin], [sin, cos]]) @ np.diag([aspect, 1.0])
    outline = _UNIT_OUTLINES[shape] @ matrix.T
    scale = size / np.ptp(outline, axis=0).max()
    outline = outline * scale
    room = image_size - 2 - np.ptp(outline, axis=0)
    offset = 1 + rng.uniform(0, 1, size=2) * room - outline.min(axis=0)
    hole = outline * RING_HOLE + offset if shape == 'ring' else None
    jitter = rng.integers(-color_jitter, color_jitter + 1, size=3)
    rgb = tuple(int(v) for v in np.clip(np.array(COLORS[color]) + jitter, 0, 255))
    return DrawnObject(class_name(color, shape), rgb, outline + offset, hole)


def object_mask(
    obj: DrawnObject, image_size: int, supersample: int = 3
) -> tuple[Image.Image, tuple[int, int]]:
    """Anti-aliased coverage of an object.

    Returns:
        An 'L' image of the patch around the object, and the patch's upper left corner.
    """
    x1, y1, x2, y2 = obj.box
    left, top = math.floor(x1), math.floor(y1)
    right, bottom = min(math.ceil(x2), image_size), min(math.ceil(y2), image_size)
    mask = Image.new('L', ((right - left) * supersample, (bottom - top) * supersample))
    draw = ImageDraw.Draw(mask)

    def to_canvas(points: np.ndarray) -> list[tuple[float, float]]:
        # Pillow's coordinates name pixel centers, ours name the grid: hence the half pixel
        moved = (points - (left, top)) * supersample - 0.5
        return [(float(x), float(y)) for x, y in moved]

    draw.polygon(to_canvas(obj.outline), fill=255)
    if obj.hole is not None:
        draw.polygon(to_canvas(obj.hole), fill=0)
    return mask.reduce(supersample), (left, top)


def color_distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Red-mean weighted RGB distance (0 to about 765), broadcast over leading axes.

    A cheap stand-in for a perceptual distance: plain RGB distance rates blues too far apart.
    """
    red = (first[..., 0] + second[..., 0]) / 2
    d = (first - second) ** 2
    total = (2 + red / 256) * d[..., 0] + 4 * d[..., 1] + (2 + (255 - red) / 256) * d[..., 2]
    return np.sqrt(total)


def _background_colors(
    rng: np.random.Generator, objects: list[DrawnObject], min_contrast: float
) -> np.ndarray:
    """Two muted RGB colors ``(2, 3)``; neither they nor their mixtures come near an object's.

    If no draw satisfies ``min_contrast``, the best of the draws is taken.
    """
    targets = np.array([obj.rgb for obj in objects], dtype=np.float64)
    gray = rng.uniform(15, 240, size=(96, 1, 1))
    first = gray + rng.uniform(-45, 45, size=(96, 1, 3))
    second = first + rng.uniform(-50, 50, size=(96, 1, 1)) + rng.uniform(-25, 25, size=(96, 1, 3))
    ends = np.clip(np.concatenate([first, second], axis=1), 0, 255)
    t = np.linspace(0, 1, 5)[:, None]
    mixtures = ends[:, :1] * (1 - t) + ends[:, 1:] * t  # (96, 5, 3)
    contrast = color_distance(mixtures[:, :, None], targets).min(axis=(1, 2))
    good = np.flatnonzero(contrast >= min_contrast)
    return ends[good[0] if len(good) else contrast.argmax()]


def draw_background(
    rng: np.random.Generator, size: int, objects: list[DrawnObject], min_contrast: float
) -> Image.Image:
    """A flat, graded, noisy, striped or blotchy background that hides none of the objects."""
    style = BACKGROUNDS[rng.integers(len(BACKGROUNDS))]
    ends = _background_colors(rng, objects, min_contrast)
    angle = rng.uniform(0, 2 * math.pi)
    axis = (np.arange(size) + 0.5) / size - 0.5
    ramp = math.cos(angle) * axis[None, :] + math.sin(angle) * axis[:, None]  # (size, size)
    if style == 'flat':
        mix = np.zeros((size, size))
    elif style == 'gradient':
        mix = ramp / 1.42 + 0.5
    elif style == 'stripes':
        period = rng.uniform(0.06, 0.25)
        mix = np.clip(0.5 + 3 * np.sin(2 * math.pi * ramp / period), 0, 1)
    else:
        cells = int(rng.integers(3, 8)) if style == 'blotches' else size // 2
        coarse = Image.fromarray(rng.integers(0, 256, size=(cells, cells)).astype(np.uint8))
        mix = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)) / 255.0
    pixels = ends[0] + mix[..., None] * (ends[1] - ends[0])
    grain = rng.uniform(0, 5)
    pixels += rng.uniform(-grain, grain, size=(size, size, 1))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
