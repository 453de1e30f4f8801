"""A wall clock that is set from outside, and only that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.faults.clock import WallClock

PROGRAM = """
import datetime, sys, time
while sys.stdin.readline():
    print(time.time(), datetime.datetime.now(datetime.timezone.utc).timestamp(), time.monotonic(), flush=True)
"""


def test_it_jumps_in_a_running_process(tmp_path: Path) -> None:
    clock = WallClock(tmp_path)
    command = [sys.executable, "-c", PROGRAM]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=os.environ | clock.env) as process:

        def read() -> list[float]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            return [float(word) for word in process.stdout.readline().split()]

        before = read()
        clock.offset_s = -86_400
        after = read()
        process.kill()
    for wall in (0, 1):
        assert -86_401 < after[wall] - before[wall] < -86_300
    assert 0 <= after[2] - before[2] < 100
