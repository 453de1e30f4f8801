"""Board, clock, GPU, encoder, and GStreamer."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from edge.config import Config
from edge.errors import TapetumError
from edge.inference.cuda import Gpu
from edge.station import clock
from edge.station.machine import l4t_release, processor
from edge.tools.doctor.check import Finding, failed, ok, warning

GPU_LIMIT_S = 20.0  # loading TensorRT and waking the GPU takes a small board several seconds
GSTREAMER_LIMIT_S = 60.0  # its first start on a machine looks at every plugin
_YEAR_2025_S = 1_735_689_600
# What NVIDIA calls the whole of a release of Jetson Linux.
_JETPACKS = {"36.4.0": "6.1", "36.4.3": "6.2", "36.4.4": "6.2.1", "36.4.7": "6.2.1", "36.5.0": "6.2.2", "38.2": "7.0"}


def board(root: Path) -> Finding:
    """Which machine this is, and whether a Jetson's release is one that Tapetum supports."""
    name, release = processor(root), l4t_release(root)
    if release is None:
        if "Jetson" in name:
            return failed(f"{name}, but no /etc/nv_tegra_release", "install JetPack 6.1 or later")
        return ok(f"{name}, not a Jetson")
    jetpack = next((pack for linux, pack in _JETPACKS.items() if release.startswith(linux)), None)
    told = f"{name}, Jetson Linux {release}" + (f" (JetPack {jetpack})" if jetpack else "")
    if tuple(map(int, release.split(".")[:2])) < (36, 4):
        return failed(
            told, "install JetPack 6.1 or later: TensorRT 10.3 is the first that the engines are built with"
        )
    return ok(told)


def time_of_day() -> Finding:
    """Whether events will carry a time that can be believed."""
    if (now_s := time.time()) < _YEAR_2025_S:
        today = time.strftime("%Y-%m-%d", time.gmtime(now_s))
        return failed(
            f"it is set to {today}: no certificate holds by it", "let the unit reach a time server, or set it"
        )
    if not clock.is_synchronised():
        return warning(
            "not synchronised: events are marked so", "timedatectl set-ntp true, with a time server in reach"
        )
    return ok("synchronised")


def gstreamer(config: Config | None) -> Finding:
    """Whether GStreamer and every element of this configuration are there."""
    from edge.video import build, launch
    from edge.video.gi import Gst

    chains = [launch.encoder(2000, jetson=launch.JETSON_ENCODER.exists())]
    if config:
        chains.append(launch.source(config.source))
    for chain in chains:
        build.require(chain)
    return ok(f"{'.'.join(map(str, Gst.version()[:3]))}, with all {sum(map(len, chains))} elements")


def encoder(root: Path) -> Finding:
    """Which H.264 encoder the streams come from."""
    node = root / "dev/v4l2-nvenc"
    if node.exists():
        return ok("the Jetson's own")
    if l4t_release(root):
        return warning(
            "no /dev/v4l2-nvenc: x264 on the CPU",
            "none on an Orin Nano, which has no encoder; else see DeviceAllow= in the unit, and JetPack's multimedia",
        )
    return ok("x264 on the CPU")


class GpuFacts(NamedTuple):
    """What a process of its own found out: drivers that do not fit may end the one that asks."""

    gpu: Gpu | None
    tensorrt: str | None
    trouble: str  # why one of them is missing

    @classmethod
    def found(cls) -> GpuFacts:
        """Ask.

        Raises:
            TapetumError: the process that asked came to a bad end.
        """
        command = [sys.executable, "-m", "edge.tools.doctor.gpu"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=GPU_LIMIT_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise TapetumError(f"TensorRT and the GPU's driver gave no answer within {GPU_LIMIT_S:g} s") from error
        if done.returncode:
            how = signal.Signals(-done.returncode).name if done.returncode < 0 else f"exit code {done.returncode}"
            raise TapetumError(
                f"TensorRT or the GPU's driver ended the process that asked ({how}): install both from one JetPack"
            )
        return cls.read(json.loads(done.stdout))

    @classmethod
    def read(cls, document: dict[str, Any]) -> GpuFacts:
        found = document["gpu"]
        return cls(Gpu(**found) if found else None, document["tensorrt"], document["trouble"])


def tensorrt(config: Config | None, root: Path) -> Finding:
    """Whether the networks can run on the GPU: TensorRT, the driver and the GPU must match."""
    wanted = config.service.runtime if config else "auto"
    if wanted == "cpu":
        return ok('not asked for: [service] runtime = "cpu"')
    facts = GpuFacts.found()
    if not facts.trouble and facts.gpu:
        gpu = facts.gpu
        return ok(f"{facts.tensorrt} on {gpu.name}, compute capability {gpu.compute_capability}, CUDA {gpu.driver}")
    if wanted == "tensorrt":
        return failed(facts.trouble, 'mend that, or set [service] runtime = "auto"')
    if facts.gpu or l4t_release(root):
        return warning(f"the networks run on the CPU: {facts.trouble}", 'mend that, or set [service] runtime = "cpu"')
    return ok("no GPU: the networks run on the CPU")
