"""`tapetum-edge run`, and what a service manager does for it.

It is started again when it ends by itself, and ended when it does not feed its watchdog.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edge.telemetry.spool import FILE
from edge.telemetry.spool_file import salvage
from tests.e2e.service import ROOT, Sections, ServiceManager, write_config
from tests.faults.ledger import events_put
from tests.mosquitto import free_port

RESTART_S = 2.0  # as RestartSec in the unit file
WATCHDOG_S = 30.0  # as WatchdogSec
STOP_S = 30.0


class Unit:
    """The service over all its lives, with one log. `on_death` is called between a life and the next.

    `folder` keeps configuration, log and spool copies, `state_dir` is the service's own.
    """

    def __init__(
        self,
        folder: Path,
        sections: Sections,
        *,
        env: Mapping[str, str],
        within: Sequence[str] = (),
        on_death: Callable[[list[str], set[str]], None],
    ) -> None:
        self.port = free_port()
        self.deaths: list[int] = []  # the exit codes, negative for signals
        self._folder, self._on_death = folder, on_death
        self._state_dir = Path(sections["service"]["state_dir"])
        config = write_config(folder / "edge.toml", {**sections, "rtsp": {"port": self.port}})
        self._command = [*within, sys.executable, "-m", "edge", "run", "--config", str(config)]
        self._manager = ServiceManager(folder / "notify")
        watchdog = {"NOTIFY_SOCKET": str(self._manager.path), "WATCHDOG_USEC": str(round(WATCHDOG_S * 1e6))}
        self._env = {**os.environ, **watchdog, **env}
        self._log = folder / "log"
        self._log.touch()
        self._told = 0  # bytes of the log that are of earlier lives
        self._stopping = threading.Event()

    def __enter__(self) -> Unit:
        self._start()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._process.kill()
        self._keeper.join()
        self._manager.close()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/colour"

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def rss_mb(self) -> float:
        """Resident memory in 2**20 bytes; 0 while there is no process."""
        return self._status("VmRSS:") / 1024

    @property
    def threads(self) -> int:
        return self._status("Threads:")

    @property
    def descriptors(self) -> int:
        try:
            return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())
        except OSError:
            return 0

    def kill(self) -> None:
        """SIGKILL: as a power cut, but that the disk's cache stays."""
        self._process.kill()

    def stop(self) -> int:
        """The end as the service manager asks for it; the exit code."""
        self._stopping.set()
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(STOP_S)

    def _start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, cwd=ROOT, stderr=log, env=self._env)

    def _keep(self) -> None:
        while True:
            code = self._watch()
            if self._stopping.is_set():
                return
            self.deaths.append(code)
            self._on_death(self._events_of_life(), self._spooled())
            if self._stopping.wait(RESTART_S):
                return
            self._start()

    def _watch(self) -> int:
        """Until the process ends, by itself or by its watchdog; the exit code."""
        fed, fed_s = self._manager.count("WATCHDOG=1"), float("inf")
        while True:
            try:
                return self._process.wait(0.5)
            except subprocess.TimeoutExpired:
                now = self._manager.count("WATCHDOG=1")
            if now > fed:
                fed, fed_s = now, time.monotonic()
            if time.monotonic() - fed_s > WATCHDOG_S:
                self._process.send_signal(signal.SIGABRT)

    def _events_of_life(self) -> list[str]:
        log = self._log.read_bytes()
        life, self._told = log[self._told :], len(log)
        return events_put(life.decode(errors="replace"))

    def _spooled(self) -> set[str]:
        """The identities of the events on disk, read from a copy."""
        copy = self._folder / "spool-copy.db"
        for end in ("", "-wal"):
            original = self._state_dir / f"{FILE}{end}"
            if original.exists():
                shutil.copyfile(original, Path(f"{copy}{end}"))
        found = {json.loads(row.payload)["event_id"] for row in salvage(copy)} if copy.exists() else set()
        for left in self._folder.glob("spool-copy*"):
            left.unlink()
        return found

    def _status(self, key: str) -> int:
        try:
            lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) for line in lines if line.startswith(key)), 0)
