"""When the context vector is renewed, and what the temporal filter keeps."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
import pytest

from edge.sections import ColourConfig
from edge.types import Float32Array, Frame, Instant, UInt8Array
from edge.vision.scene import ChromaSmoother, SceneWatch


def frame(at_s: float, luma: UInt8Array) -> Frame:
    at = Instant(datetime.fromtimestamp(at_s, timezone.utc), round(at_s * 1e9))
    return Frame(0, at.monotonic_ns, at, luma)


def grey(level: int, size: tuple[int, int] = (121, 163)) -> UInt8Array:
    return np.full(size, level, np.uint8)


class TestSceneWatch:
    def test_the_first_frame_and_then_every_interval(self) -> None:
        watch = SceneWatch(ColourConfig(context_interval_s=5))
        due_at = [second for second in range(14) if watch.is_due(frame(1000 + second, grey(90)))]
        assert due_at == [0, 5, 10]

    def test_a_cut(self) -> None:
        watch = SceneWatch(ColourConfig(scene_change=0.25))
        levels = [40, 40 + 60, 40 + 66, 40 + 66, 40]  # 0.25 of full scale is 63.75 levels
        due = [watch.is_due(frame(1000 + number / 25, grey(level))) for number, level in enumerate(levels)]
        assert due == [True, False, True, False, True]

    def test_a_slow_change_adds_up(self) -> None:
        """A frame is compared with the one whose context is in use, not with the frame before."""
        watch = SceneWatch(ColourConfig(scene_change=0.25))
        due_at = [level for level in range(0, 200, 5) if watch.is_due(frame(1000 + level / 200, grey(level)))]
        assert due_at == [0, 65, 130, 195]

    def test_noise_is_no_cut(self) -> None:
        watch = SceneWatch(ColourConfig(scene_change=0.05))
        random = np.random.default_rng(1)
        noisy = [random.normal(60, 25, (480, 640)).clip(0, 255).astype(np.uint8) for _ in range(5)]
        assert [watch.is_due(frame(1000 + n / 25, luma)) for n, luma in enumerate(noisy)] == [True, *[False] * 4]

    def test_another_size_is_compared_all_the_same(self) -> None:
        watch = SceneWatch(ColourConfig())
        assert watch.is_due(frame(1000, grey(90, (480, 640))))
        assert not watch.is_due(frame(1000.04, grey(90, (31, 17))))


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
