"""What sees and colours, whatever runs it: the interface between the lanes and a backend.

One implementation runs on the CPU (`edge/vision/cpu.py`), one on NVIDIA GPUs (`edge/vision/gpu/`); each passes
tests/contract/test_colourist.py and test_detector.py. `edge/vision/backend.py` chooses between them.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge.bundles.manifest import Precision
from edge.closing import Closing
from edge.types import Detections, UInt8Array

MIN_SCORE = 0.05

RuntimeName = Literal["openvino", "tensorrt"]


class Colourist(Closing):
    """One stream of frames, from luma to NV12. Belongs to one thread at a time.

    It keeps what lasts from frame to frame, the scene's context vector and the chroma filter's state, where its
    networks are. In all methods `luma` is uint8[H, W], 0..255 full range, any strides, 2x2 to 8192x8192; frames may
    change their size at any time.

    Attributes:
        grey_frames: frames so far whose chroma was not finite; they were shown grey.

    Raises:
        GpuFaultError: from any method: the GPU is lost to this process, which must end.
    """

    grey_frames: int = 0

    @abstractmethod
    def renew_context(self, luma: UInt8Array) -> None:
        """Compute the scene's context vector from this frame; it holds until the next call."""

    @abstractmethod
    def nv12(self, luma: UInt8Array) -> UInt8Array:
        """One video frame: NV12, a new array uint8[H2 * 3 // 2, W2]; H2 and W2 are H and W made even.

        Chroma is filtered over time (see `edge.kernels.base.MergeKernel`). Where the networks give a value that is
        not finite the whole frame is grey, counted in `grey_frames`, and the filter starts anew.

        Raises:
            ValueError: `renew_context` was never called.
        """

    @abstractmethod
    def grey(self, luma: UInt8Array) -> UInt8Array:
        """The frame without colour, as `edge.video.nv12.from_luma` has it; the filter does not notice."""

    @property
    @abstractmethod
    def cells(self) -> UInt8Array:
        """Mean luma of the chroma cells of the frame that `nv12` was given last, uint8[h, w].

        Until the next call of any method.
        """

    @abstractmethod
    def forget(self) -> None:
        """The chroma filter starts anew: the source was away."""


class Detector(Closing):
    """Finds objects in frames. Belongs to one thread at a time, which may be another than the colourist's.

    Attributes:
        labels: of the bundle, in its order.
    """

    labels: tuple[str, ...]

    @abstractmethod
    def detect(self, luma: UInt8Array, min_score: float = MIN_SCORE) -> Detections:
        """Objects in a frame uint8[H, W], of at least `min_score`, boxes clipped to the frame, best first.

        Raises:
            BundleError: the network tells a label that the manifest does not have.
            GpuFaultError: the GPU is lost to this process, which must end.
        """


@dataclass(frozen=True, slots=True)
class Backend(Closing):
    """What the lanes of a service run on.

    Attributes:
        name: of the runtime.
        precision: of its networks.
        detail: why it is not a better one, in one line; empty where there is none.
        engines: those that were loaded; none on the CPU.
    """

    name: RuntimeName
    precision: Precision
    colourist: Colourist
    detector: Detector
    detail: str = ""
    engines: frozenset[Path] = frozenset()

    def close(self) -> None:
        """Free both."""
        with self.colourist, self.detector:
            pass
