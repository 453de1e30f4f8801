"""A whole station: camera, unit, broker, reader and viewer, each a process, with bad lines between them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from tests.e2e.service import Sections
from tests.faults.camera import Camera
from tests.faults.clock import WallClock
from tests.faults.disk import Disk
from tests.faults.ledger import Balance, Ledger, events_put
from tests.faults.link import Link
from tests.faults.memory import Group
from tests.faults.proxy import Proxy
from tests.faults.scene import Scene
from tests.faults.unit import Unit
from tests.faults.viewers import Audience
from tests.mosquitto import HOST, Broker, Received, Subscriber, wait_until

UNIT = "fold-3"
CAMERA_FPS = 25
PASSWORDS = {"unit": "hare-and-owl", "reader": "badger"}
PATIENCE_S = 90.0
# The broker keeps what it has acknowledged, and who listens: what it loses when killed is not the unit's fault.
KEEPS = ("persistence true", "autosave_on_changes true", "autosave_interval 1", "max_queued_messages 0")
SETTLED = 3  # messages that may wait in a unit that is well


class Station:
    """All runs between `with` and its end. `parts` names what only some faults need: clock, disk, group, link."""

    def __init__(self, folder: Path, scene: Scene, *, parts: Sequence[str] = (), fps: int = CAMERA_FPS) -> None:
        self._folder, self._scene, self._parts, self.fps = folder, scene, parts, fps
        self.state_dir = folder / "state"
        self._ledger = Ledger()
        self._running = ExitStack()

    def __enter__(self) -> Station:
        with ExitStack() as starting:
            self._start(starting)
            self._running = starting.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._running.__exit__(*error)

    def _start(self, parts: ExitStack) -> None:
        folder = self._folder
        films = shutil.copytree(self._scene.films, folder / "films", dirs_exist_ok=True)
        self.camera = parts.enter_context(Camera(films, self.fps))
        self.camera_line = parts.enter_context(Proxy(self.camera.port))
        self.link = parts.enter_context(Link()) if "link" in self._parts else None
        elsewhere: dict[str, Any] = {"within": self.link.within, "host": self.link.far} if self.link else {}
        keeps = (*KEEPS, f"persistence_location {folder / 'broker'}/")
        self.broker = parts.enter_context(Broker(folder / "broker", users=PASSWORDS, extra=keeps, **elsewhere))
        self.broker_line = parts.enter_context(Proxy(self.broker.port))
        login = ["-u", "reader", "-P", PASSWORDS["reader"]]
        lasting = ["-c", "-i", "reader", "-k", "5", "--quiet"]
        self.reader = parts.enter_context(Subscriber(self.broker, f"tapetum/{UNIT}/#", [*login, *lasting]))
        self.clock = WallClock(folder) if "clock" in self._parts else None
        self.disk = parts.enter_context(Disk(self.state_dir)) if "disk" in self._parts else None
        self.group = parts.enter_context(Group()) if "group" in self._parts else None
        self.unit = parts.enter_context(
            Unit(
                folder,
                self._sections(),
                env=self.clock.env if self.clock else {},
                within=self.group.within if self.group else (),
                on_death=lambda put, on_disk: self._ledger.note_death(put, on_disk, set(self.came)),
            )
        )
        self.audience = parts.enter_context(Audience(self.unit.url))

    def _sections(self) -> Sections:
        secret = self._folder / "secret"
        secret.write_text(PASSWORDS["unit"] + "\n")
        far = (self.link.far, self.broker.port) if self.link else (HOST, self.broker_line.port)
        broker = {"host": far[0], "port": far[1], "username": "unit", "password_file": str(secret)}
        source: dict[str, Any] = {"kind": "rtsp", "url": f"rtsp://{HOST}:{self.camera_line.port}/live"}
        return {
            "unit": {"name": UNIT},
            "service": {"state_dir": str(self.state_dir), "log_level": "debug"},
            "source": source,
            "bundle": {"path": str(self._scene.bundle)},
            "mqtt": {**broker, "health_interval_s": 1},
            "governor": {"load": 1000.0},  # what else this machine does is not the unit's affair
        }

    @property
    def came(self) -> list[str]:
        """The identities of the events that arrived, in order, with repeats."""
        return [message.payload["event_id"] for message in self._on("/events/")]

    @property
    def health(self) -> list[Received]:
        """All health messages so far."""
        return self.reader.on("/health")

    def frames(self) -> int:
        """What the unit has taken from the camera, over all its lives, by its health messages."""
        total = before = 0
        for message in self.health:
            now = message.payload["source"]["frames"]
            total += now - before if now >= before else now
            before = now
        return total

    def count_frames(self) -> tuple[int, int]:
        """Frames made by the camera and taken by the unit, both as of the next health message."""
        have = len(self.health)
        wait_until(lambda: len(self.health) > have, PATIENCE_S, what="a health message")
        return self.camera.made, self.frames()

    def rss_mb(self) -> float:
        """The median over a second."""
        found = []
        for _ in range(5):
            found.append(self.unit.rss_mb)
            time.sleep(0.2)
        return median(found)

    def wait_well(self, since_s: float = 0.0) -> dict[str, float]:
        """Until all is as it should be: the viewer sees pictures, and the reader hears that the unit does.

        Returns:
            How long each took, and how long it took until all was well, in seconds since `since_s`, a time of
            time.monotonic().
        """
        checks = {"video": self._is_seen, "messages": self._is_heard}
        took: dict[str, float] = {}

        def is_well() -> bool:
            for name, is_good in checks.items():
                if is_good(since_s):
                    took.setdefault(name, time.monotonic() - since_s)
                else:
                    took.pop(name, None)
            return len(took) == len(checks)

        try:
            wait_until(is_well, PATIENCE_S)
        except AssertionError:
            newest = self.health[-1].payload if self.health else None
            raise AssertionError(f"not well within {PATIENCE_S} s: {newest}\n{self.unit.log[-4000:]}") from None
        return {**took, "all": max(took.values())}

    def settle(self) -> Balance:
        """Stop the unit as a service manager does, wait for what is on its way, and draw the balance."""
        code = self.unit.stop()
        assert code == 0, f"exit code {code}:\n{self.unit.log[-2000:]}"
        self.reader.wait_for_state("offline", PATIENCE_S)
        return self.balance()

    def balance(self) -> Balance:
        return self._ledger.balance(events_put(self.unit.log), self.came)

    def _on(self, part: str) -> list[Received]:
        return [message for message in list(self.reader.received) if part in message.topic]

    def _is_seen(self, since_s: float) -> bool:
        return self.audience.frame_s > since_s

    def _is_heard(self, since_s: float) -> bool:
        newest = next(
            (message for message in reversed(self.reader.received) if message.topic.endswith("/health")), None
        )
        if newest is None or newest.at_s <= since_s:
            return False
        source, fps, queued = (newest.payload[key] for key in ("source", "fps", "mqtt"))
        runs = source["state"] == "live" and min(fps.values()) > 0
        return bool(runs and queued["queued"] <= SETTLED)
