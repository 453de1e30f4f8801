"""What the kernel is compared with must do the same work: PyTorch's merge and colourist, here on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge.bundles.bundle import DEMO_BUNDLE, load_bundle
from tests.gpu_check import torch_colour
from tests.gpu_check.figures import Figures
from tests.gpu_check.parts import rivals
from tests.gpu_check.parts.frame import frames_per_s
from tests.gpu_check.torch_colour import TorchColourist
from tests.gpu_check.torch_merge import TorchMerge

CPU = torch.device("cpu")


def test_it_agrees_with_the_oracle():
    error = rivals.error_of(TorchMerge(), CPU)
    assert error["mean"] < 0.5
    assert error["highest"] < 2


def test_its_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(rivals, "measured", lambda once, **limits: {"median_ms": once(), "runs": limits["fewest"]})
    figures = Figures(tmp_path / "figures.json")
    rivals.measure(figures, TorchMerge(), CPU, [(64, 32)])
    told = figures._figures["nearest 64x32"]
    assert told["frames_in_a_row"] == 16
    assert told["runs"] == 5
    assert told["median_ms"] < told["one_waited_for"]["median_ms"] * 16


class _Identity(torch.nn.Module):
    """Chroma that says what it was given: a is luma, b the context."""

    def forward(self, luma, context=None):
        if context is None:
            return luma.mean((2, 3)).expand(1, 1000)
        a = torch.nn.functional.interpolate(luma, size=(128, 128), mode="area") * 100
        return torch.cat([a, a * 0 + context[:, :1, None, None]], dim=1)


def test_the_colourist_is_one(monkeypatch):
    monkeypatch.setattr(torch_colour, "torch_network", lambda variant, name, entry: _Identity())
    models = load_bundle(DEMO_BUNDLE).manifest.models
    luma = np.random.default_rng(0).integers(20, 256, (90, 128), dtype=np.uint8)
    darker = luma - 8  # which is between still and moving
    with TorchColourist("field", models, CPU, smoothing=0.7) as colourist:
        colourist.renew_context(luma)
        first, again = colourist.nv12(luma), colourist.nv12(luma)
        assert first.shape == (135, 128)
        assert first.dtype == np.uint8
        np.testing.assert_array_equal(first, again)  # what stands still stays
        with_past = colourist.nv12(darker)
        colourist.forget()
        assert (with_past != colourist.nv12(darker)).any()


def test_streams_are_counted_together():
    frames = [np.zeros((2, 2), np.uint8)]
    counts = [0, 0]

    def colour(number):
        def one(frame):
            counts[number] += 1

        return one

    rate = frames_per_s([colour(0), colour(1)], frames, 0.1)
    assert rate > 0
    assert sum(counts) >= rate * 0.1


def test_a_stream_that_fails_fails_all():
    def wrong(frame):
        raise ValueError("no frame")

    with pytest.raises(ValueError, match="no frame"):
        frames_per_s([lambda frame: None, wrong], [np.zeros((2, 2), np.uint8)], 5.0)
