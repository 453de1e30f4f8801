"""Threads that give way, also in a service that was started with `nice`."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

from edge.priority import NICENESS, give_way

# Only root may take niceness away, so root becomes nobody.
NICE_19 = """
import os
from edge.priority import give_way
os.setpriority(os.PRIO_PROCESS, 0, 19)
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
give_way()
print(os.getpriority(os.PRIO_PROCESS, 0))
"""


def test_it_is_the_thread_alone() -> None:
    seen: list[int] = []

    def work() -> None:
        give_way()
        seen.append(os.getpriority(os.PRIO_PROCESS, 0))

    before = os.getpriority(os.PRIO_PROCESS, 0)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [max(NICENESS, before)]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_a_service_that_gives_way_as_a_whole_is_not_refused() -> None:
    told = subprocess.run([sys.executable, "-c", NICE_19], capture_output=True, text=True)
    assert told.stdout == "19\n", told.stderr
