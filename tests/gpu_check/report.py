"""The document of a run, and its table."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tests.gpu_check.running import ROOT, Outcome

SCHEMA = 1
COMMAND = "make gpu-check"
# What nvidia-smi is asked for, and what the document calls it.
CLOCKS = {
    "clocks.sm": "sm_mhz",
    "clocks.mem": "memory_mhz",
    "clocks.max.sm": "sm_max_mhz",
    "clocks.max.mem": "memory_max_mhz",
    "power.draw": "power_w",
    "power.limit": "power_limit_w",
    "temperature.gpu": "temperature_c",
}


def document(outcomes: Mapping[str, Outcome], clocks: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that was found. What the first step, `machine`, told of GPU and versions stands at the top.

    Args:
        outcomes: step -> what became of it.
        clocks: "before" and "after" the run, and step -> right after it, as `clocks_now` gives them.
    """
    machine = outcomes["machine"].figures if "machine" in outcomes else {}
    named = gpu_named()
    gpu = (named or {}) | machine.get("gpu", {})
    steps = {name: _step(outcome, clocks.get(name)) for name, outcome in outcomes.items()}
    return {
        "schema": SCHEMA,
        "command": COMMAND,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}, {platform.system()}",
        "gpu": gpu or None,
        "clocks": {when: clocks.get(when) for when in ("before", "after")},
        "versions": {"python": platform.python_version(), **machine.get("versions", {})},
        "failed": [name for name, outcome in outcomes.items() if outcome.is_failure],
        "steps": steps,
    }


def added(previous: Mapping[str, Any], newest: Mapping[str, Any]) -> dict[str, Any]:
    """The newest document, with the steps of an earlier one that did not run again; same GPU."""
    steps = {**previous["steps"], **newest["steps"]}
    failed = [name for name, step in steps.items() if step["status"] not in ("ok", "skipped")]
    return {**newest, "failed": failed, "steps": steps}


def file_name(document: Mapping[str, Any]) -> str:
    """gpu-nvidia-h200.json; gpu-none.json where there was none."""
    name = document["gpu"]["name"] if document["gpu"] else "none"
    return f"gpu-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}.json"


def clocks_now() -> dict[str, float] | None:
    """Clocks and power of the first GPU; None where there is no nvidia-smi (on a Jetson: see nvpmodel)."""
    line = _nvidia_smi(*CLOCKS)
    return None if line is None else parse_clocks(line)


def gpu_named() -> dict[str, str] | None:
    """Name and driver release, which CUDA itself does not tell; None without nvidia-smi."""
    line = _nvidia_smi("name", "driver_version")
    if line is None:
        return None
    name, release = (value.strip() for value in line.split(","))
    return {"name": name, "driver_release": release}


def _nvidia_smi(*what: str) -> str | None:
    if not shutil.which("nvidia-smi"):
        return None
    query = ["nvidia-smi", f"--query-gpu={','.join(what)}", "--format=csv,noheader,nounits", "--id=0"]
    try:
        return subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def parse_clocks(line: str) -> dict[str, float]:
    """nvidia-smi's one line; what it does not know ("[N/A]") is left out."""
    found = {}
    for name, value in zip(CLOCKS.values(), line.split(","), strict=True):
        try:
            found[name] = float(value)
        except ValueError:
            continue
    return found


def table(document: Mapping[str, Any]) -> list[str]:
    """A line for each step: its name, what became of it, how long it took, and why."""
    return [
        f"{name:<48} {step['status']:<10} {step['seconds']:6.1f} s  {step.get('reason', '')}".rstrip()
        for name, step in document["steps"].items()
    ]


def _step(outcome: Outcome, clocks: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {"status": outcome.status, "seconds": outcome.seconds}
    if outcome.reason:
        entry["reason"] = without_folders(outcome.reason)
    if clocks:
        entry["clocks"] = clocks
    return entry | {"figures": outcome.figures}


def without_folders(text: str) -> str:
    """Folders of this machine are nobody's business: of paths in and beside the checkout the rest stays."""
    for folder in (ROOT, Path.home(), Path("/tmp")):
        text = text.replace(f"{folder}/", "")
    return text
