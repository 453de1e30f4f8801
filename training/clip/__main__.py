"""Makes the demo clip: a meadow at night as a fixed near-infrared camera sees it, from a few free photographs.

    python -m training.clip --animals explore_farm_animals.rcc --person fireman200b.png \\
        --background aitzgorri_by_Aitzol_Berasategi.jpg --out edge/models/demo/night.mp4

NOTICE names the packages that carry these files, their authors and licences. The clip is a loop: its last frame
runs into its first. The same files and seed give the same pictures. It takes about two minutes of one core.
"""

from __future__ import annotations

import argparse
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge.errors import InputError, TapetumError
from training.clip.cast import COW, DOG, HORSE, PERSON, SHEEP
from training.clip.puppet import Figure, FloatArray, UInt8Array, cut_opacity, layers_of, pose, sink_px

WIDTH, HEIGHT, FPS, SECONDS = 640, 480, 25, 28
CROP = (1250, 704, 1800, 1350)  # of the background: x, y, width, height
HORIZON_PX = 190  # where the ground would end; a metre at row y is (y - HORIZON_PX) / CAMERA_M pixels
CAMERA_M = 1.75
EASE_S = 0.35  # starting and stopping
PHOTOGRAPHS = {"cow": 1, "sheep": 2, "horse": 3, "dog": 7}  # places in explore_farm_animals.rcc of gcompris 3.1


@dataclass(frozen=True)
class Role:
    """A figure and its way: (second, x, y) of its feet; seconds may run past the end, into the loop's start."""

    name: str
    figure: Figure
    way: Sequence[tuple[float, float, float]]
    mirrored: bool = False


ROLES = (
    Role("horse", HORSE, ((12, 790, 352), (16.5, 480, 352), (20, 480, 352), (29, -150, 350))),
    Role("person", PERSON, ((11.5, -110, 420), (15, 250, 418), (17.5, 250, 418), (22.5, 760, 420)), mirrored=True),
    Role("sheep", SHEEP, ((4, 740, 392), (9, 540, 392), (12.5, 540, 392), (21, -80, 392)), mirrored=True),
    Role("cow", COW, ((18, 800, 405), (25, 430, 405), (31, 430, 405), (41, -170, 400))),
    Role("sheep", SHEEP, ((14, -90, 446), (18.5, 130, 446), (25, 130, 446), (38, 740, 446))),
    Role("dog", DOG, ((9, -120, 466), (11.5, 220, 466), (13.5, 220, 466), (17, 790, 466))),
)


def nir_background(bgr: UInt8Array) -> FloatArray:
    """A landscape, uint8[H, W, 3], as a camera with an infrared flash sees it: float32[H, W], 0 to 255.

    Foliage reflects near infrared, haze and sky do not; the flash falls off with distance and from the axis.
    """
    blue, green, red = (bgr[..., i].astype(np.float32) for i in range(3))
    grey = np.clip(0.45 * red + 0.95 * green - 0.4 * blue, 0, 255)
    y, x = np.mgrid[: grey.shape[0], : grey.shape[1]].astype(np.float32)
    nearness = 1 / (1 + np.exp(-(y - HORIZON_PX - 50) / 45))
    axis = np.exp(-(((x - grey.shape[1] / 2) / (0.62 * grey.shape[1])) ** 2))
    return np.asarray(grey * (0.34 + 0.54 * nearness * axis), np.float32)


def nir_figure(bgr: UInt8Array, figure: Figure) -> FloatArray:
    """An animal or person in the flash: fur and cloth have less contrast in near infrared than in daylight."""
    blue, green, red = (bgr[..., i].astype(np.float32) for i in range(3))
    low, high, gamma = figure.tones
    mixed = (0.6 * red + 0.3 * green + 0.1 * blue).astype(np.uint8)
    flat = cv2.createCLAHE(3.0, (6, 6)).apply(mixed)  # the flash shows texture where daylight leaves black
    grey = low + (high - low) * ((0.5 * mixed + 0.5 * flat) / 255) ** gamma
    for eye in figure.eyes:  # the tapetum throws the flash back
        spot = np.zeros_like(grey)
        cv2.circle(spot, (int(eye[0]), int(eye[1])), max(2, bgr.shape[0] // 110), 1.0, cv2.FILLED)
        grey += (250 - grey) * cv2.GaussianBlur(spot, (0, 0), 2)
    return np.asarray(grey, np.float32)


class Player:
    """A role with its pictures and its way, ready to be drawn at any frame."""

    def __init__(self, role: Role, photograph: UInt8Array) -> None:
        self.role = role
        start, end = role.way[0][0], role.way[-1][0]
        seconds = np.arange(start, end, 1 / FPS)
        times, xs, ys = zip(*role.way, strict=True)
        self.x, self.y = (_eased(np.interp(seconds, times, values)) for values in (xs, ys))
        self.height_px = float(role.figure.height_m * _metre_px(self.y.max()))
        grey = nir_figure(photograph[..., :3], role.figure)
        self.layers = layers_of(grey, cut_opacity(photograph, role.figure), role.figure, 1.4 * self.height_px)
        self.scale = role.figure.height_m * _metre_px(self.y) / (1.4 * self.height_px)
        moved = np.abs(np.diff(self.x, prepend=self.x[0])) / self.scale
        self.phase = np.cumsum(moved) / self.layers.cycle_px
        self.stride = np.clip(moved / (0.6 * moved.max()), 0, 1)

    def draw(self, frame: FloatArray, index: int, grass: FloatArray) -> None:
        """Add the figure, with its shadow, to float32[H, W]; nothing when it is away at this frame."""
        at = (index - round(self.role.way[0][0] * FPS)) % (SECONDS * FPS)
        if at >= len(self.x):
            return
        layers, phase, stride, scale = self.layers, self.phase[at], self.stride[at], self.scale[at]
        across = -scale if self.role.mirrored else scale
        middle = layers.grey.shape[1] / 2
        columns = self.x[at] + across * (np.arange(layers.grey.shape[1]) - middle)
        hidden = grass[np.clip(columns.astype(int) + WIDTH // 2, 0, len(grass) - 1)] * _metre_px(self.y[at]) / 140
        sunk = sink_px(layers, phase, stride)
        colour, opacity = pose(layers, phase, stride, index / FPS, (hidden / scale).astype(np.float32))
        ground = layers.ground_px - sunk
        matrix = np.array([[across, 0, self.x[at] - across * middle], [0, scale, self.y[at] - scale * ground]])
        _shade(frame, opacity, matrix, self.y[at])
        alpha = np.asarray(cv2.warpAffine(opacity, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR), np.float32)
        light = 0.9 + 0.14 * (self.y[at] - 350) / 110
        frame *= 1 - alpha
        frame += light * cv2.warpAffine(colour, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)


def frames(background: UInt8Array, players: Sequence[Player], seed: int) -> Iterator[UInt8Array]:
    """Every frame of the loop, uint8[480, 640]."""
    random = np.random.default_rng(seed)
    grass = np.abs(np.convolve(random.normal(0, 6, 2 * WIDTH), np.ones(3) / 3, "same")).astype(np.float32)
    scene = nir_background(_cropped(background))
    pattern = random.normal(0, 1.2, scene.shape)  # of the sensor; it does not change
    for index in range(SECONDS * FPS):
        frame = scene.copy()
        for player in sorted(players, key=lambda player: float(player.y.mean())):
            player.draw(frame, index, grass)
        frame = np.asarray(cv2.GaussianBlur(frame, (0, 0), 0.6), np.float32)
        noise = cv2.GaussianBlur(random.standard_normal(scene.shape), (0, 0), 0.5) * (2.0 + 0.14 * np.sqrt(frame))
        yield _stamped(np.clip(np.round(frame + pattern + noise), 0, 255).astype(np.uint8), index)


def encode(pictures: Iterator[UInt8Array], out: Path) -> None:
    """Grey frames to H.264 in an MP4 that plays before it is wholly read; `out` appears only when it is whole."""
    if not shutil.which("ffmpeg"):
        raise InputError("ffmpeg is missing: install it (apt install ffmpeg)")
    partial = out.with_name(f".{out.name}.partial.mp4")
    command = ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{WIDTH}x{HEIGHT}"]
    command += ["-r", str(FPS), "-i", "-", "-an", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-preset", "slow"]
    command += ["-crf", "20", "-g", str(SECONDS * FPS), "-movflags", "+faststart", "-bitexact", str(partial)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin
        for picture in pictures:
            process.stdin.write(picture.tobytes())
    if process.returncode:
        raise InputError(f"ffmpeg could not write {out}")
    partial.replace(out)


def read_photographs(archive: Path) -> dict[str, UInt8Array]:
    """The cast's photographs, uint8[H, W, 3] BGR, out of the Qt resource file: WebP pictures, one after the other."""
    data, pictures, at = archive.read_bytes(), [], 0
    while (at := data.find(b"RIFF", at)) >= 0:
        size = 8 + struct.unpack_from("<I", data, at + 4)[0]
        pictures.append(data[at : at + size])
        at += size
    if len(pictures) <= max(PHOTOGRAPHS.values()):
        raise InputError(f"{archive} holds {len(pictures)} WebP pictures; explore_farm_animals.rcc is expected")
    return {
        name: np.asarray(cv2.imdecode(np.frombuffer(pictures[number], np.uint8), cv2.IMREAD_COLOR), np.uint8)
        for name, number in PHOTOGRAPHS.items()
    }


def _read(path: Path) -> UInt8Array:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise InputError(f"{path} is not a picture that OpenCV reads")
    return np.asarray(image, np.uint8)


def _cropped(background: UInt8Array) -> UInt8Array:
    x, y, width, height = CROP
    part = background[y : y + height, x : x + width]
    return np.asarray(cv2.resize(part, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def _metre_px(y: float | FloatArray) -> FloatArray:
    return np.asarray((np.asarray(y) - HORIZON_PX) / CAMERA_M, np.float32)


def _eased(values: npt.NDArray[np.float64]) -> FloatArray:
    reach = int(4 * EASE_S * FPS)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (EASE_S * FPS)) ** 2)
    padded = np.pad(values, reach, mode="reflect", reflect_type="odd")  # an entrance goes on at its speed
    return np.convolve(padded, kernel / kernel.sum(), "valid").astype(np.float32)


def _shade(frame: FloatArray, opacity: FloatArray, matrix: npt.NDArray[np.float64], ground_y: float) -> None:
    """Darken the ground under and behind a figure: its outline laid down, soft."""
    lay = np.array([[1, -0.2, 0.2 * ground_y], [0, 0.16, 0.84 * ground_y], [0, 0, 1]])
    flat = cv2.warpAffine(opacity, (lay @ np.vstack([matrix, [0, 0, 1]]))[:2], (WIDTH, HEIGHT))
    frame *= 1 - 0.42 * cv2.GaussianBlur(flat, (0, 0), 6)


def _stamped(picture: UInt8Array, index: int) -> UInt8Array:
    text = f"CAM 02   02:14:{index // FPS:02d}"
    cv2.putText(picture, text, (8, HEIGHT - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 190, 1, cv2.LINE_AA)
    return picture


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of `python -m training.clip`."""
    parser = argparse.ArgumentParser(prog="training.clip", description="Make the demo clip.")
    parser.add_argument("--animals", type=Path, required=True, help="explore_farm_animals.rcc, gcompris-qt-data 3.1")
    parser.add_argument("--person", type=Path, required=True, help="fireman200b.png of tuxpaint-stamps-default")
    parser.add_argument("--background", type=Path, required=True, help="aitzgorri_*.jpg of lomiri-wallpapers-16.04")
    parser.add_argument("--out", type=Path, required=True, help="the MP4 to write")
    parser.add_argument("--seed", type=int, default=1, help="of noise and grass (default: 1)")
    options = parser.parse_args(arguments)
    try:
        pictures = read_photographs(options.animals) | {"person": _read(options.person)}
        players = [Player(role, pictures[role.name]) for role in ROLES]
        encode(frames(_read(options.background), players, options.seed), options.out)
    except (TapetumError, OSError) as error:
        print(f"training.clip: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
