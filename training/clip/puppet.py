"""Cut-out puppets: one photograph of an animal or person, made to walk by bending its limbs.

A limb is a piece of the photograph that turns about a joint inside the body. Every bend is a swirl: the angle
grows with the distance from the joint, so that the piece stays attached and no seam opens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
UInt8Array = npt.NDArray[np.uint8]
Point = tuple[float, float]
Polygon = Sequence[Point]

STANCE = 0.6  # share of a step cycle that a foot stays on the ground, walking
DARKER_BEHIND = 0.82  # a far leg drawn from the near leg's picture gets less light


@dataclass(frozen=True)
class Limb:
    """A piece that turns about `pivot`; all points in pixels of the photograph.

    Within `seam` of the pivot the limb merges with the body. A leg has a `knee` and a `foot` and steps at its
    `phase` of the cycle; another limb (head, tail) swings by `sway_deg`, once in `period_s`.
    """

    outline: Polygon
    pivot: Point
    seam: float
    knee: Point | None = None
    foot: Point | None = None
    phase: float = 0.0
    flex_deg: float = 0.0  # of the knee while the foot is in the air; positive is clockwise
    far: bool = False  # drawn behind the body
    shift: Point = (0.0, 0.0)  # where a leg that hides behind another one is drawn, from that one's picture
    sway_deg: float = 0.0
    period_s: float = 1.0


@dataclass(frozen=True)
class Figure:
    """What to cut from a photograph, and how it moves."""

    height_m: float  # from the ground to the top of the cut-out
    tones: tuple[float, float, float]  # darkest and brightest grey level in near infrared, and the gamma between
    stride_deg: float  # how far a leg swings to either side
    faces_left: bool
    limbs: Sequence[Limb]
    outline: Polygon = ()  # around the figure, a little outside; empty where the picture has transparency
    solid: Sequence[Polygon] = ()  # surely the figure, where its colour does not tell
    cut: Sequence[Polygon] = ()  # parts of the figure to leave out
    eyes: Sequence[Point] = ()


@dataclass
class Layers:
    """The puppet's pieces at drawing size: grey level and opacity (0 to 1), float32[H, W] each."""

    grey: FloatArray
    body: FloatArray
    limbs: list[FloatArray]
    scale: float  # drawing pixels in a photograph's pixel
    origin: Point  # of the drawing, in photograph pixels
    figure: Figure = field(repr=False)

    @property
    def ground_px(self) -> float:
        """Row of the lowest foot."""
        return max(self.at(limb.foot)[1] for limb in self.figure.limbs if limb.foot)

    @property
    def leg_px(self) -> float:
        """Mean length of a leg."""
        legs = [(limb.pivot, limb.foot) for limb in self.figure.limbs if limb.foot]
        return float(np.mean([np.hypot(f[0] - p[0], f[1] - p[1]) for p, f in legs])) * self.scale

    @property
    def cycle_px(self) -> float:
        """Distance walked in one cycle without a foot sliding: what a leg sweeps while it stands, and the rest."""
        return 2 * self.leg_px * float(np.sin(np.deg2rad(self.figure.stride_deg))) / STANCE

    def at(self, point: Point) -> Point:
        """A photograph's point in the drawing."""
        return (point[0] - self.origin[0]) * self.scale, (point[1] - self.origin[1]) * self.scale


def points(text: str) -> Polygon:
    """A polygon from "x,y x,y ...", as SVG writes it."""
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in text.split())]


def cut_opacity(photograph: UInt8Array, figure: Figure) -> FloatArray:
    """Opacity 0 to 1 of the figure in a uint8[H, W, 3 or 4] BGR(A) photograph: its own, or found by GrabCut."""
    has_alpha = photograph.shape[2] == 4
    opacity = photograph[..., 3] / np.float32(255) if has_alpha else _grab_cut(photograph, figure)
    return np.asarray(opacity * (1 - _filled(photograph.shape[:2], figure.cut)), np.float32)


def _grab_cut(photograph: UInt8Array, figure: Figure) -> FloatArray:
    mask = np.full(photograph.shape[:2], cv2.GC_BGD, np.uint8)
    mask[_filled(mask.shape, [figure.outline]) > 0] = cv2.GC_PR_FGD
    mask[_filled(mask.shape, figure.solid) > 0] = cv2.GC_FGD
    cv2.setRNGSeed(1)
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))  # GrabCut's colour models
    cv2.grabCut(photograph, mask, (0, 0, 1, 1), background, foreground, 6, cv2.GC_INIT_WITH_MASK)
    found = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    found = np.asarray(cv2.erode(found, np.ones((3, 3))), np.uint8)  # edges carry the old background's colour
    _, labels, stats, _ = cv2.connectedComponentsWithStats(found)
    largest = labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return np.asarray(cv2.GaussianBlur(largest.astype(np.float32), (0, 0), 1.2), np.float32)


def layers_of(grey: FloatArray, opacity: FloatArray, figure: Figure, height_px: float) -> Layers:
    """Body and limbs of a figure that will be drawn up to `height_px` high."""
    rows, columns = np.flatnonzero(opacity.max(1) > 0.5), np.flatnonzero(opacity.max(0) > 0.5)
    scale = height_px / (rows[-1] - rows[0])
    margin = 0.2 * (rows[-1] - rows[0])  # room for what swings out
    origin = (float(columns[0] - margin), float(rows[0] - margin))
    size = [int((span[-1] - span[0] + 2 * margin) * scale) for span in (columns, rows)]
    matrix = np.array([[scale, 0, -origin[0] * scale], [0, scale, -origin[1] * scale]])
    y, x = np.mgrid[: opacity.shape[0], : opacity.shape[1]].astype(np.float32)
    body, pieces = opacity.copy(), []
    for limb in figure.limbs:
        radius = np.hypot(x - limb.pivot[0], y - limb.pivot[1]) / limb.seam
        inside = _filled(opacity.shape, [limb.outline])
        pieces.append(opacity * inside * _ramp(radius, 0.7, 1.0))
        if limb.shift == (0, 0):
            body *= 1 - cv2.dilate(inside, np.ones((5, 5))) * _ramp(radius, 1.1, 1.4)
    small = [_resized(image, matrix, size, scale) for image in (grey, body, *pieces)]
    return Layers(small[0], small[1], small[2:], scale, origin, figure)


def pose(
    layers: Layers, phase: float, stride: float, time_s: float, grass: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The puppet as it stands at one moment.

    Args:
        phase: of the step cycle, 1 is one whole cycle.
        stride: 0 standing to 1 walking.
        time_s: for heads and tails.
        grass: float32[W], how many pixels of a foot the grass hides in each column.

    Returns:
        Grey level times opacity, and opacity: float32[H, W] each.
    """
    shape = layers.grey.shape
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    colour, opacity = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    sunk = sink_px(layers, phase, stride)

    def draw(grey: FloatArray, alpha: FloatArray) -> None:
        np.multiply(colour, 1 - alpha, out=colour)
        np.multiply(opacity, 1 - alpha, out=opacity)
        np.add(colour, grey * alpha, out=colour)
        np.add(opacity, alpha, out=opacity)

    def draw_limbs(far: bool) -> None:
        for limb, piece in zip(layers.figure.limbs, layers.limbs, strict=True):
            if limb.far == far:
                sx, sy = _bent(layers, limb, x, y, phase, stride, time_s)
                alpha = np.asarray(cv2.remap(piece, sx, sy, cv2.INTER_LINEAR), np.float32)
                if limb.foot:
                    floor = layers.at(limb.foot)[1] + limb.shift[1] * layers.scale - sunk + 2
                    alpha *= np.clip(floor - grass[None, :] - y, 0, 1)
                light = np.float32(DARKER_BEHIND if limb.shift != (0, 0) else 1)
                draw(light * np.asarray(cv2.remap(layers.grey, sx, sy, cv2.INTER_LINEAR), np.float32), alpha)

    draw_limbs(far=True)
    draw(layers.grey, layers.body)
    draw_limbs(far=False)
    return colour, opacity


def sink_px(layers: Layers, phase: float, stride: float) -> float:
    """How far the body sinks because the legs that carry it stand aslant."""
    legs = [limb for limb in layers.figure.limbs if limb.foot and (phase + limb.phase) % 1.0 < STANCE]
    angles = [np.deg2rad(step(phase + leg.phase)[0] * layers.figure.stride_deg * stride) for leg in legs]
    return layers.leg_px * (1 - float(np.mean(np.cos(angles))))


def step(phase: float) -> tuple[float, float]:
    """Where a leg is in its cycle: swing from 1 (forward) to -1 (back), and the knee's bend from 0 to 1."""
    phase %= 1.0
    if phase < STANCE:  # on the ground: at the body's speed, or the foot slides
        return 1 - 2 * phase / STANCE, 0.0
    air = (phase - STANCE) / (1 - STANCE)
    return -float(np.cos(np.pi * air)), float(np.sin(np.pi * air))


def _bent(
    layers: Layers, limb: Limb, x: FloatArray, y: FloatArray, phase: float, stride: float, time_s: float
) -> tuple[FloatArray, FloatArray]:
    """Where each pixel of the drawing looks up the limb's picture."""
    x, y = x - np.float32(limb.shift[0] * layers.scale), y - np.float32(limb.shift[1] * layers.scale)
    pivot, seam = layers.at(limb.pivot), limb.seam * layers.scale
    if limb.knee is None or limb.foot is None:
        turn = limb.sway_deg * float(np.sin(2 * np.pi * time_s / limb.period_s))
        return _swirled(x, y, pivot, turn, _ramp(np.hypot(x - pivot[0], y - pivot[1]) / seam, 0.5, 2.0))
    swing, bend = step(phase + limb.phase)
    turn = swing * layers.figure.stride_deg * (1 if layers.figure.faces_left else -1) * stride
    x, y = _swirled(x, y, pivot, turn, _ramp(np.hypot(x - pivot[0], y - pivot[1]) / seam, 0.4, 1.3))
    knee, foot = layers.at(limb.knee), layers.at(limb.foot)
    length = float(np.hypot(foot[0] - knee[0], foot[1] - knee[1]))
    along = ((x - knee[0]) * (foot[0] - knee[0]) + (y - knee[1]) * (foot[1] - knee[1])) / length**2
    return _swirled(x, y, knee, limb.flex_deg * bend * stride, _ramp(np.asarray(along, np.float32), -0.2, 0.3))


def _swirled(
    x: FloatArray, y: FloatArray, centre: Point, turn_deg: float, share: FloatArray
) -> tuple[FloatArray, FloatArray]:
    angle = np.float32(np.deg2rad(turn_deg)) * share
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    cos, sin = np.cos(angle), np.sin(angle)
    return np.float32(centre[0]) + cos * dx + sin * dy, np.float32(centre[1]) - sin * dx + cos * dy


def _ramp(value: FloatArray, start: float, end: float) -> FloatArray:
    t = np.clip((value - start) / (end - start), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _filled(shape: tuple[int, ...], polygons: Sequence[Polygon]) -> FloatArray:
    mask = np.zeros(shape[:2], np.float32)
    for polygon in polygons:
        cv2.fillPoly(mask, [np.array(polygon, np.int32)], 1.0)
    return mask


def _resized(image: FloatArray, matrix: npt.NDArray[np.float64], size: list[int], scale: float) -> FloatArray:
    """`image` through an affine map that shrinks it, blurred first so that nothing aliases."""
    smooth = cv2.GaussianBlur(image, (0, 0), 0.45 * (1 / scale - 0.7)) if scale < 0.8 else image
    return np.asarray(cv2.warpAffine(smooth, matrix, size), np.float32)
