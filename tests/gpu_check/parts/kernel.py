"""The merge kernel alone: right, and how near it comes to the memory's speed."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from edge.inference.launches import Kernels
from edge.kernels.launch import Launch, merge_launch
from edge.kernels.parameters import Cells, MergeParams
from tests.gpu_check.driver import need_driver
from tests.gpu_check.figures import Figures, NotHereError
from tests.gpu_check.gpu import Bench, DeviceMemory, bench, merge_kernels
from tests.gpu_check.merge_cases import cases, judge, judge_filter, small
from tests.gpu_check.moved import CELLS, merge_bytes
from tests.gpu_check.timing import measured

SIZES = ((1280, 720), (1920, 1080), (3840, 2160), (8192, 8192))  # the last fills any chip in one launch
BATCH, STREAMS, BATCH_SIZE = 64, 8, (1280, 720)  # frames, how many run side by side, and their size
CASES = 60
COPY_BYTES = 1 << 30
ROTATED_BYTES = 1 << 29  # several times what a GPU's cache holds, so that the memory is measured
SANITIZERS = ("memcheck", "racecheck", "initcheck")
TOOLKIT = Path("/usr/local/cuda/bin")


def correct(figures: Figures, count: str = str(CASES), watched: str = "") -> None:
    """Fresh random frames against the oracle. `watched`: only what is quick under compute-sanitizer."""
    gpu = bench()
    seed = secrets.randbits(32)
    figures["seed"] = seed
    with gpu.device.current():
        kernels, memory = merge_kernels(gpu.device), DeviceMemory(gpu.device, gpu.stream)

        def launch(each: Launch) -> None:
            kernels.launch(each, gpu.stream)

        chosen = [case for case in cases(int(count), seed) if not watched or small(case)]
        errors = [judge(case, launch, memory) for case in chosen]
        figures["frames"] = len(errors)
        figures["mean_error_levels"] = float(np.mean([error["mean"] for error in errors]))
        figures["highest_error_levels"] = max(error["highest"] for error in errors)
        figures["filter_error"] = max(judge_filter(seed + number, launch, memory) for number in range(10))


def sanitized(figures: Figures) -> None:
    """The same under compute-sanitizer, which sees every access of the kernels."""
    need_driver()
    tool = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path=str(TOOLKIT))
    if tool is None:
        raise NotHereError("no compute-sanitizer on this machine")
    for name in SANITIZERS:
        with figures.going_on(name), tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "figures.json"
            child = [sys.executable, "-m", "tests.gpu_check.child", str(file), "kernel", "correct", "8", "watched"]
            _sanitize([tool, "--tool", name, "--error-exitcode", "9", *child])
            if reasons := json.loads(file.read_text(encoding="utf-8"))["reasons"]:
                raise RuntimeError("; ".join(reasons))
            figures[name] = "clean"


def _sanitize(command: Sequence[str]) -> None:
    """Run a command under a sanitizer.

    Raises:
        RuntimeError: it found something, or did not say that there is nothing.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.splitlines() if line.startswith("=========")]
    if done.returncode:
        raise RuntimeError(" ".join(found[-6:]) or done.stderr[-300:])
    if not any("ERROR SUMMARY: 0 errors" in line or "0 hazards" in line for line in found):
        raise RuntimeError(f"it gave no summary: {' '.join(found[-3:]) or done.stderr[-300:]}")


def speed(figures: Figures) -> None:
    """Each size, in both ways of upsampling; bytes a second beside those of a plain copy in the same run."""
    gpu = bench()
    with gpu.device.current():
        copy = copy_bytes_per_s(gpu)
        figures["copy_bytes_per_s"] = copy
        kernels = merge_kernels(gpu.device)
        for upsampling in ("nearest", "guided"):
            for width, height in SIZES:
                with figures.going_on(f"{upsampling} {width}x{height}"):
                    frames = _frames(gpu, width, height, guided=upsampling == "guided")
                    times = _merge_times(gpu, kernels, frames)
                    figures[f"{upsampling} {width}x{height}"] = times | rates(width, height, times, copy)
        with figures.going_on("batch"):
            figures[f"nearest batch of {BATCH}"] = _batch(gpu, kernels, copy)


def copy_bytes_per_s(gpu: Bench) -> float:
    """The memory's own speed: a copy within it, bytes read and bytes written."""
    size = min(COPY_BYTES, gpu.device.gpu.memory_bytes // 8)
    source, target = gpu.device.memory(size), gpu.device.memory(size)
    once = gpu.by_events(lambda: gpu.device.copy(int(target), int(source), size, gpu.stream))
    median_ms = float(measured(once, measured_s=1, fewest=20)["median_ms"])
    return 2 * size / (median_ms / 1e3)


def rates(width: int, height: int, times: dict[str, Any], copy: float) -> dict[str, float]:
    """Bytes a second of a merge, and as a share of a copy's."""
    moved = merge_bytes(width, height)
    rate = moved / (times["median_ms"] / 1e3)
    return {"moved_bytes": moved, "bytes_per_s": float(f"{rate:.4g}"), "of_copy": round(rate / copy, 3)}


def _merge_times(gpu: Bench, kernels: Kernels, frames: Sequence[_Frame]) -> dict[str, Any]:
    """One launch waited for at a time, and one of many in a row, over frames that no cache holds."""
    launches = [merge_launch(frame.params) for frame in frames]
    in_turn = cycle(launches)
    alone = measured(gpu.by_events(lambda: kernels.launch(next(in_turn), gpu.stream)), measured_s=0.5)
    row = measured(gpu.by_events(gpu.as_graph(lambda: _all(kernels, launches, gpu))), measured_s=0.5, fewest=20)
    each = {name: value / len(launches) if name.endswith("_ms") else value for name, value in row.items()}
    return {**each, "frames_in_a_row": len(launches), "one_waited_for": alone}


def _all(kernels: Kernels, launches: Sequence[Launch], gpu: Bench) -> None:
    for launch in launches:
        kernels.launch(launch, gpu.stream)


def _batch(gpu: Bench, kernels: Kernels, copy: float) -> dict[str, Any]:
    """Many streams' frames at once: launches that run side by side, in one graph."""
    frames = _frames(gpu, *BATCH_SIZE, count=BATCH)  # their memory is freed with them
    launches = [merge_launch(frame.params) for frame in frames]
    others = [gpu.device.stream() for _ in range(STREAMS - 1)]
    events: list[Any] = []
    work = gpu.as_graph(lambda: _side_by_side(kernels, launches, [gpu.stream, *others], events))
    times = measured(gpu.by_events(work), measured_s=0.5, fewest=20)
    each = {"median_ms": times["median_ms"] / BATCH}
    return times | {"each_ms": each["median_ms"]} | rates(*BATCH_SIZE, each, copy)


def _side_by_side(kernels: Kernels, launches: Sequence[Launch], streams: Sequence[Any], events: list[Any]) -> None:
    """The launches in turn on streams that fork from the first and join it again, as a capture asks for.

    `events` keeps those that it makes.
    """
    from pycuda.driver import Event, event_flags

    def mark(stream: Any) -> Any:
        event = Event(event_flags.DISABLE_TIMING)
        event.record(stream)
        events.append(event)
        return event

    first, *others = streams
    begin = mark(first)
    for stream in others:
        stream.wait_for_event(begin)
    for launch, stream in zip(launches, cycle(streams), strict=False):
        kernels.launch(launch, stream)
    for stream in others:
        first.wait_for_event(mark(stream))


class _Frame:
    """A frame in the GPU's memory, of random numbers: zeros can run faster."""

    def __init__(self, gpu: Bench, width: int, height: int, *, guided: bool) -> None:
        self._gpu, self._held = gpu, list[Any]()
        rng = np.random.default_rng(0)
        luma = self._put(rng.integers(0, 256, (height, width), dtype=np.uint8))
        ab = self._put(rng.uniform(-60, 60, (2, CELLS, CELLS)).astype(np.float32))
        guide = self._put(rng.integers(0, 256, (CELLS, CELLS), dtype=np.uint8)) if guided else None
        self._held.append(gpu.device.memory(width * height * 3 // 2))
        out = int(self._held[-1])
        self.params = MergeParams(luma=luma, luma_pitch=width, width=width, height=height)
        self.params.y, self.params.cbcr = out, out + width * height
        self.params.y_pitch = self.params.cbcr_pitch = width
        self.params.cells = Cells(ab, None, guide, CELLS, CELLS, 0, 12.0)

    def _put(self, array: Any) -> int:
        buffer = self._gpu.device.buffer(array.shape, str(array.dtype))
        buffer.host[:] = array
        buffer.upload(self._gpu.stream)
        self._held.append(buffer)
        return int(buffer.address)


def _frames(gpu: Bench, width: int, height: int, *, guided: bool = False, count: int = 0) -> list[_Frame]:
    """So many that together they are larger than any cache, or `count`."""
    count = count or max(2, -(-ROTATED_BYTES // merge_bytes(width, height)))
    frames = [_Frame(gpu, width, height, guided=guided) for _ in range(count)]
    gpu.stream.synchronize()
    return frames
