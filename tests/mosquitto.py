"""A real MQTT broker and a real subscriber, both from the mosquitto project: nothing here shares code with edge."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
MARKER = "$SYS/broker/version"  # retained by every mosquitto: its arrival shows that a subscription stands


def wait_until(condition: Callable[[], object], timeout_s: float = 20.0, *, what: str = "") -> None:
    """Poll until the condition holds; fail with a clear line when it never does."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s: {what or condition}"
        time.sleep(0.01)


def free_port() -> int:
    """A loopback TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class Broker:
    """mosquitto on a loopback port, with its files in `folder`. Restarts keep the port.

    `users` maps names to passwords; empty lets everybody in. `extra` are lines for mosquitto.conf, after its
    `listener` line, so that TLS settings belong to that listener. `within` is a command that runs another elsewhere,
    as nsenter does; then `host` is where the broker is from here.
    """

    def __init__(
        self,
        folder: Path,
        *,
        users: Mapping[str, str] | None = None,
        extra: Sequence[str] = (),
        within: Sequence[str] = (),
        host: str = HOST,
    ) -> None:
        self.host = host
        self.port = free_port()
        self.within = within
        self._config = folder / "mosquitto.conf"
        self._passwords = folder / "passwords"
        self._log = folder / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        login = [f"password_file {self._passwords}"] if users else ["allow_anonymous true"]
        # Started by root, mosquitto would turn into a user who cannot read the test's folder.
        lines = [f"user {getpass.getuser()}", f"listener {self.port} {'' if within else HOST}", *login, *extra]
        self._config.write_text("\n".join(lines) + "\n")
        for name, password in (users or {}).items():
            self.set_password(name, password)

    def start(self) -> Broker:
        with self._log.open("ab") as log:
            command = [*self.within, _program("mosquitto"), "-c", str(self._config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._answers, what="mosquitto listens")
        return self

    def stop(self) -> None:
        """SIGTERM: mosquitto saves what is persistent."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: as if its machine lost power."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP: its lines stand, but nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def set_password(self, name: str, password: str) -> None:
        """Add a user or change a password; a running broker takes it over at once."""
        self._passwords.touch(mode=0o600)
        subprocess.run([_program("mosquitto_passwd"), "-b", self._passwords, name, password], check=True)
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    def log(self) -> str:
        return self._log.read_text()

    def __enter__(self) -> Broker:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"mosquitto did not start:\n{self.log()}"
        with socket.socket() as probe:
            return probe.connect_ex((self.host, self.port)) == 0

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(10)
            self._process = None


@dataclass(frozen=True)
class Received:
    topic: str
    retained: bool
    payload: dict[str, Any]
    at_s: float = field(default_factory=time.monotonic, compare=False)


class Subscriber:
    """mosquitto_sub in the background: what arrived, in order. `arguments` are its own (login, TLS, -c ...)."""

    def __init__(self, broker: Broker, topic: str = "#", arguments: Sequence[str] = ()) -> None:
        self.received: list[Received] = []
        self._ready = threading.Event()
        command = [*broker.within, _program("mosquitto_sub"), "-h", HOST, "-p", str(broker.port), "-q", "1"]
        command += ["-t", topic, "-t", MARKER, "-F", "%r %t %p", *arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._ready.wait(10), "mosquitto_sub never got its subscription"

    def wait_for(self, count: int, topic: str = "", timeout_s: float = 20.0) -> list[Received]:
        """The messages whose topic ends so, as soon as there are `count` of them."""
        wait_until(lambda: len(self.on(topic)) >= count, timeout_s, what=f"{count} messages on ...{topic}")
        return self.on(topic)

    def wait_for_state(self, state: str, timeout_s: float = 20.0) -> Received:
        """The newest status message, as soon as it says so."""
        is_there = lambda: [m.payload["state"] for m in self.on("/status")][-1:] == [state]  # noqa: E731
        wait_until(is_there, timeout_s, what=f"status {state}")
        return self.on("/status")[-1]

    def on(self, topic: str) -> list[Received]:
        return [message for message in list(self.received) if message.topic.endswith(topic)]

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # its handler of SIGTERM takes locks, and may hang
        self._process.wait(10)
        self._reader.join(10)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                retained, topic, payload = line.split(" ", 2)
                if topic == MARKER:
                    self._ready.set()
                else:
                    self.received.append(Received(topic, retained == "1", json.loads(payload)))


def _program(name: str) -> str:
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")
    assert found is not None, f"{name} is missing: install mosquitto and mosquitto-clients"
    return found
