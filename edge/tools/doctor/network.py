"""The broker, and the port that viewers come to."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from edge.config import Config, read_secret
from edge.sections import is_loopback
from edge.telemetry import tls
from edge.telemetry.line import Line, LineError, LineEvents
from edge.tools.doctor.check import Finding, failed, ok, warning

LIMIT_S = 15.0  # a firewall that swallows everything keeps paho waiting for five seconds, for each address
_ANSWER_S = 3.0
_OURS = ("tapetum-edge run", "-m edge run")  # how the service was called
_LISTENS = "0A"  # TCP_LISTEN of the kernel


class Visit:
    """A connection of its own to the broker, under another name than the service's: it publishes nothing.

    Attributes:
        refusal: why the broker did not take it; None while it has not answered, "" when it has.
    """

    def __init__(self, config: Config) -> None:
        mqtt = config.mqtt
        self.refusal: str | None = None
        events = LineEvents(
            self._on_connected, self._on_disconnected, lambda _: None, lambda _, __: None, lambda _: None
        )
        self._line = Line(f"{mqtt.prefix}-{config.unit.name}-doctor".replace("/", "-"), None, events)
        password = read_secret(mqtt.password_file) if mqtt.password_file else None
        login = (mqtt.username, password) if mqtt.username else None
        self._line.connect(mqtt.host, mqtt.port, login, tls.client_context(mqtt) if mqtt.tls else None)
        end_s = time.monotonic() + _ANSWER_S
        while self.refusal is None and time.monotonic() < end_s and self._line.turn():
            pass

    def close(self) -> None:
        self._line.disconnect()
        self._line.close()

    def _on_connected(self, refusal: str, _receive_maximum: int | None) -> None:
        self.refusal = refusal

    def _on_disconnected(self, reason: str) -> None:
        self.refusal = self.refusal or reason or "it hung up without a word"


def broker(config: Config) -> Finding:
    """Whether it can be reached, is the one that it says it is, and takes the login."""
    mqtt = config.mqtt
    if not mqtt.enabled:
        return ok("not asked for: [mqtt] enabled = false")
    where = f"{mqtt.host}:{mqtt.port}"
    try:
        visit = Visit(config)
    except LineError as error:
        cure = "" if error.is_refusal else "check mqtt.host, mqtt.port and the network between"
        return failed(f"{where}: {error}", cure)
    with closing(visit):
        if visit.refusal is None:
            return failed(f"{where} gave no answer", "does it speak MQTT 5, and does mqtt.tls suit its port?")
        if visit.refusal:
            return failed(
                f"{where}: {visit.refusal}", "check mqtt.username, mqtt.password_file and the broker's list"
            )
    user = f"user {mqtt.username}" if mqtt.username else "without a login"
    if mqtt.tls:
        return ok(f"{where}, TLS, {user}")
    if mqtt.username and not is_loopback(mqtt.host):
        return warning(f"{where}, {user}: the password crosses the network readable", "set mqtt.tls = true")
    return ok(f"{where}, {user}")


class Holder(NamedTuple):
    """Who listens on a port; `command` is empty where only root may know."""

    process: int
    command: str


def rtsp_port(config: Config, root: Path) -> Finding:
    """Whether viewers can come: the port is free, or the service itself has it."""
    rtsp = config.rtsp
    if not rtsp.enabled:
        return ok("not asked for: [rtsp] enabled = false")
    where = f"{rtsp.address} port {rtsp.port}"
    holder = port_holder(rtsp.port, root) if rtsp.port else None
    if holder is None:
        trouble = _bind(rtsp.address, rtsp.port)
        return failed(f"{where}: {trouble}", "set address and port in [rtsp]") if trouble else ok(f"{where}, free")
    if any(words in holder.command for words in _OURS):
        return ok(f"{where}, held by the service (process {holder.process})")
    if not holder.command:
        return warning(f"{where}, taken by somebody", "run the doctor as root to see by whom")
    return failed(
        f"{where}, taken by process {holder.process} ({holder.command[:60]})", "stop it, or set another rtsp.port"
    )


def port_holder(port: int, root: Path) -> Holder | None:
    """Who listens on a TCP port, as /proc tells."""
    inodes = set(_listening(port, root))
    if not inodes:
        return None
    for folder in (root / "proc").iterdir():
        if not folder.name.isdecimal():
            continue
        with suppress(OSError):  # another user's, or gone
            links = {str(link.readlink()) for link in (folder / "fd").iterdir()}
            if links & {f"socket:[{inode}]" for inode in inodes}:
                words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
                return Holder(int(folder.name), " ".join(words).strip())
    return Holder(0, "")


def _listening(port: int, root: Path) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (root / "proc/net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _bind(address: str, port: int) -> str:
    """Why the port cannot be opened; empty when it can."""
    try:
        family, kind, protocol, _, endpoint = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(endpoint)
    except OSError as error:
        return error.strerror or str(error)
    return ""
