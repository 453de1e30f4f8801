"""Colour photographs made to look as if a near-infrared camera had taken them.

Luma is not NIR: over real pairs their correlation runs from 0.26 to 0.91. What differs most: foliage is bright (the
red edge), clear sky and water are dark, skin and cloth lose contrast, an infrared flash falls off with distance and
towards the corners, and a night sensor is noisy and soft. Each function takes and returns float32[H, W] in 0..1
unless it says otherwise; randomness comes from the generator that is handed in.
"""

from __future__ import annotations

import cv2
import numpy as np

from edge.types import Float32Array, UInt8Array

LUMA_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601, as the cameras and OpenCV do


def luma_of(rgb: UInt8Array) -> UInt8Array:
    """BT.601 luma uint8[H, W] of uint8[H, W, 3] RGB: the runtime's own conversion."""
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)


def nir_like(rgb: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """A random NIR rendering uint8[H, W] of a photograph uint8[H, W, 3] RGB."""
    image = spectral_mix(rgb.astype(np.float32) / 255.0, rng)
    image = tone(image, rng)
    if rng.random() < 0.4:
        image = flash(image, rng)
    image = sensor(image, rng)
    return np.asarray(np.rint(image * 255.0), np.uint8)


def spectral_mix(rgb: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Weigh the channels anew (float32[H, W, 3] in), lift foliage, darken clear sky and water."""
    weights = LUMA_WEIGHTS * rng.uniform(0.5, 1.5, 3).astype(np.float32)
    weights[0] += rng.uniform(0.0, 0.4)  # red lies nearest to NIR
    image = rgb @ (weights / weights.sum())
    image = red_edge(image.clip(0, 1), rgb, float(np.exp(rng.uniform(0.0, np.log(8.0)))))
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    sky = np.clip(blue - np.maximum(red, green * 0.9), 0, 1)
    image = image - sky * image * rng.uniform(0.0, 1.2)
    return np.asarray(image.clip(0, 1), np.float32)


def red_edge(image: Float32Array, rgb: Float32Array, lift: float) -> Float32Array:
    """Brighten what is green: chlorophyll reflects near infrared, so leaves and grass come out nearly white.

    The excess green index (Woebbecke et al., 1995) says how green; there, 1 - image is raised to the power `lift`
    (1 changes nothing, 8 is a sunlit tree), which keeps the leaves' texture.
    """
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    excess_green = (2.0 * green - red - blue) / (red + green + blue + 0.05)
    foliage = np.clip((excess_green - 0.02) / 0.12, 0.0, 1.0)
    return np.asarray(image + foliage * ((1.0 - image) - (1.0 - image) ** lift), np.float32)


def tone(image: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Random gamma, contrast and black level."""
    image = image ** np.float32(rng.uniform(0.7, 1.4))
    contrast = rng.uniform(0.6, 1.1)
    level = rng.uniform(-0.1, 0.1) + (1 - contrast) * float(image.mean())
    return np.asarray((image * contrast + level).clip(0, 1), np.float32)


def flash(image: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Fall-off of an infrared flash: bright near its axis, dark towards the corners and the upper background."""
    height, width = image.shape
    centre_x, centre_y = rng.uniform(0.3, 0.7) * width, rng.uniform(0.4, 0.8) * height
    y, x = np.ogrid[:height, :width]
    radius2 = ((x - centre_x) / width) ** 2 + ((y - centre_y) / height) ** 2
    falloff = 1.0 / (1.0 + rng.uniform(0.5, 4.0) * radius2)
    return np.asarray((image * falloff * rng.uniform(0.9, 1.3)).clip(0, 1), np.float32)


def sensor(image: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Soft optics, shot noise and read noise."""
    if rng.random() < 0.5:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 1.2))), np.float32)
    shot, read = rng.uniform(0.0, 0.04), rng.uniform(0.0, 0.025)
    noise = rng.standard_normal(image.shape, np.float32) * np.sqrt(shot**2 * image + read**2)
    return np.asarray((image + noise).clip(0, 1), np.float32)
