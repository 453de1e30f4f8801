"""When the context vector is renewed, and what the temporal filter keeps."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone

import numpy as np
import pytest

from edge.sections import ColourConfig
from edge.types import Float32Array, Instant, UInt8Array
from edge.vision.base import Colourist
from edge.vision.scene import ChromaSmoother, SceneWatch


def instant(at_s: float) -> Instant:
    return Instant(datetime.fromtimestamp(at_s, timezone.utc), round(at_s * 1e9))


def grey(level: int, size: tuple[int, int] = (121, 163)) -> UInt8Array:
    return np.full(size, level, np.uint8)


class Notes(Colourist):
    """In place of a colourist: what was asked of it, and cells that are the frame itself."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._luma = grey(0)

    def renew_context(self, luma: UInt8Array) -> None:
        self.asked.append(f"context {luma.max()}")

    def nv12(self, luma: UInt8Array) -> UInt8Array:
        self.asked.append(f"nv12 {luma.max()}")
        self._luma = luma
        return luma

    def grey(self, luma: UInt8Array) -> UInt8Array:
        return luma

    @property
    def cells(self) -> UInt8Array:
        return self._luma

    def forget(self) -> None:
        self.asked.append("forget")

    def close(self) -> None:
        pass


class TestSceneWatch:
    @staticmethod
    def renewed(watch: SceneWatch, frames: Iterable[tuple[float, UInt8Array]]) -> list[float]:
        """When the context of a frame was computed."""
        found, colourist = [], Notes()
        for at_s, luma in frames:
            before = len(colourist.asked)
            watch.picture(colourist, luma, instant(at_s))
            if any(note.startswith("context") for note in colourist.asked[before:]):
                found.append(at_s)
        return found

    def test_the_first_frame_and_then_every_interval(self) -> None:
        watch = SceneWatch(ColourConfig(context_interval_s=5))
        assert self.renewed(watch, ((1000 + second, grey(90)) for second in range(14))) == [1000, 1005, 1010]

    def test_under_pressure_the_same_scene_waits(self) -> None:
        watch = SceneWatch(ColourConfig(context_interval_s=5))
        due = [second for second in range(14) if watch.is_due(instant(1000 + second), 2.0)]
        assert due == [0, 10]

    def test_what_is_forgotten_is_due(self) -> None:
        watch = SceneWatch(ColourConfig(context_interval_s=5))
        assert [watch.is_due(instant(1000 + number)) for number in range(2)] == [True, False]
        watch.forget()
        assert watch.is_due(instant(1002))

    def test_a_cut(self) -> None:
        watch = SceneWatch(ColourConfig(scene_change=0.25))
        levels = [40, 40 + 60, 40 + 66, 40 + 67, 40]  # 0.25 of full scale is 63.75 levels
        assert self.renewed(watch, ((1000 + number, grey(level)) for number, level in enumerate(levels))) == [
            1000,
            1002,
            1004,
        ]

    def test_a_cut_is_shown_in_its_own_context_and_without_the_past(self) -> None:
        watch, colourist = SceneWatch(ColourConfig()), Notes()
        for number, level in enumerate((40, 41, 200)):
            picture = watch.picture(colourist, grey(level), instant(1000 + number / 25))
            assert picture.max() == level
        first, cut = ["context 40", "nv12 40", "nv12 41"], ["nv12 200", "context 200", "forget", "nv12 200"]
        assert colourist.asked == first + cut
        assert watch.renewed_ns == round(1000.08 * 1e9)

    def test_a_slow_change_adds_up(self) -> None:
        """A frame is compared with the one whose context is in use, not with the frame before."""
        frames = ((float(level), grey(level)) for level in range(0, 200, 5))
        watch = SceneWatch(ColourConfig(scene_change=0.25, context_interval_s=3600))
        assert self.renewed(watch, frames) == [0, 65, 130, 195]

    def test_noise_is_no_cut(self) -> None:
        watch = SceneWatch(ColourConfig(scene_change=0.05))
        random = np.random.default_rng(1)
        noisy = [random.normal(60, 25, (128, 128)).clip(0, 255).astype(np.uint8) for _ in range(5)]
        assert self.renewed(watch, ((1000 + n / 25, cells) for n, cells in enumerate(noisy))) == [1000]

    def test_another_number_of_cells_is_compared_all_the_same(self) -> None:
        watch = SceneWatch(ColourConfig())
        frames = [(1000.0, grey(90, (128, 128))), (1000.04, grey(90, (31, 17)))]
        assert self.renewed(watch, frames) == [1000]


class TestChromaSmoother:
    @staticmethod
    def ab(value: float) -> Float32Array:
        return np.full((2, 32, 32), value, np.float32)

    def test_flicker_is_averaged_where_nothing_moves(self) -> None:
        smooth = ChromaSmoother(0.75)
        luma = grey(80, (96, 128))
        assert smooth(luma, self.ab(0)).max() == 0
        np.testing.assert_allclose(smooth(luma, self.ab(8)), 2)  # 0.75 * 0 + 0.25 * 8
        np.testing.assert_allclose(smooth(luma, self.ab(8)), 3.5)
        assert smooth(luma, self.ab(8)).dtype == np.float32

    def test_what_moves_takes_its_new_colour_at_once(self) -> None:
        smooth = ChromaSmoother(0.9)
        luma = grey(80, (96, 128))
        smooth(luma, self.ab(0))
        moved = luma.copy()
        moved[:, 64:] = 160
        ab = smooth(moved, self.ab(10))
        np.testing.assert_allclose(ab[:, :, 17:], 10)  # the border itself is blurred
        np.testing.assert_allclose(ab[:, :, :14], 1, rtol=1e-5)

    def test_sensor_noise_is_no_motion(self) -> None:
        smooth = ChromaSmoother(0.6)
        random = np.random.default_rng(1)
        noisy = [random.normal(60, 10, (480, 640)).clip(0, 255).astype(np.uint8) for _ in range(2)]
        smooth(noisy[0], self.ab(0))
        np.testing.assert_allclose(smooth(noisy[1], self.ab(10)).mean(), 4, atol=0.1)

    @pytest.mark.parametrize("smoothing", [0, 0.5])
    def test_the_cells_of_the_newest_frame(self, smoothing: float) -> None:
        smooth = ChromaSmoother(smoothing)
        for level in (80, 90):
            smooth(grey(level), self.ab(0))
            assert (smooth.cells.shape, smooth.cells.min(), smooth.cells.max()) == ((32, 32), level, level)

    def test_off(self) -> None:
        smooth = ChromaSmoother(0)
        luma = grey(80)
        smooth(luma, self.ab(0))
        assert smooth(luma, self.ab(8)).min() == 8

    def test_a_source_that_was_away_starts_anew(self) -> None:
        smooth = ChromaSmoother(0.9)
        luma = grey(80)
        smooth(luma, self.ab(0))
        smooth.forget()
        assert smooth(luma, self.ab(8)).min() == 8

    def test_the_network_s_array_is_not_written_to(self) -> None:
        smooth = ChromaSmoother(0.9)
        luma, ab = grey(80), self.ab(0)
        smooth(luma, ab)
        given = self.ab(8)
        smooth(luma, given)
        assert (ab.max(), given.min()) == (0, 8)

    @pytest.mark.parametrize("size", [(1, 1), (3, 5), (241, 321)])
    def test_any_size(self, size: tuple[int, int]) -> None:
        smooth = ChromaSmoother(0.5)
        smooth(grey(80, size), self.ab(0))
        np.testing.assert_allclose(smooth(grey(80, size), self.ab(8)), 4)
