"""A network that one thread compiled and another one closed must not be the end of a process that gets a signal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.edge.tiny_bundle import make_tiny_bundle

ROOT = Path(__file__).parents[2]
PROGRAM = """
import ctypes, gc, os, signal, sys, threading, time
from pathlib import Path
from edge.bundles.bundle import load_bundle
from edge.inference.signal_stack import _Stack
from edge.vision.networks import Networks

heard = []
signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
networks = Networks(load_bundle(Path(sys.argv[1])), threads=1)
thread = threading.Thread(target=networks.close)
thread.start()
thread.join()
gc.collect()
kept = [bytearray(1 << 16) for _ in range(200)]
os.kill(os.getpid(), signal.SIGTERM)
stack = _Stack()
ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
print(len(heard), stack.flags)
"""
SS_DISABLE = 2


def test_a_signal_after_another_thread_closed_the_networks(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle")
    ran = subprocess.run([sys.executable, "-c", PROGRAM, str(bundle)], cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, f"1 {SS_DISABLE}\n"), ran.stderr
