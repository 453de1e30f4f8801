"""The broker by a real mosquitto, the port by real processes."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.config import Config
from edge.telemetry import payloads
from edge.telemetry.mqtt import MqttClient, MqttState
from edge.telemetry.spool import Spool
from edge.tools.doctor import network
from tests.edge.telemetry.samples import report
from tests.mosquitto import Broker, Subscriber, free_port

ROOT = Path("/")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker", users={"unit": "owl"}) as running:
        yield running


@pytest.fixture
def mqtt(broker: Broker, tmp_path: Path) -> dict[str, object]:
    (tmp_path / "secret").write_text("owl\n")
    return {"port": broker.port, "username": "unit", "password_file": str(tmp_path / "secret")}


class TestBroker:
    def test_the_login_is_taken(self, config: Callable[..., Config], mqtt: dict[str, object]) -> None:
        found = network.broker(config(mqtt=mqtt))
        assert found == ("ok", f"127.0.0.1:{mqtt['port']}, user unit", "")

    def test_a_wrong_password(self, config: Callable[..., Config], mqtt: dict[str, object], tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("guess\n")
        found = network.broker(config(mqtt=mqtt))
        assert found.state == "failed" and "Not authorized" in found.detail and "mqtt.password_file" in found.cure
        assert "guess" not in str(found)

    def test_nobody_there(self, config: Callable[..., Config]) -> None:
        found = network.broker(config(mqtt={"port": free_port()}))
        assert found.state == "failed" and "Connection refused" in found.detail

    def test_one_that_does_not_speak(self, config: Callable[..., Config]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            found = network.broker(config(mqtt={"port": mute.getsockname()[1]}))
        assert found.state == "failed" and "no answer" in found.detail

    def test_a_name_that_is_none(self, config: Callable[..., Config]) -> None:
        assert network.broker(config(mqtt={"host": "no-such-host.invalid"})).state == "failed"

    def test_a_certificate_that_is_not_trusted(
        self, config: Callable[..., Config], tmp_path: Path, pki: Path
    ) -> None:
        lines = [f"certfile {pki}/server.crt", f"keyfile {pki}/server.key"]
        with Broker(tmp_path / "secure", extra=lines) as broker:
            tls = {"port": broker.port, "tls": True}
            assert network.broker(config(mqtt={**tls, "ca_file": str(pki / "ours.crt")})).state == "ok"
            found = network.broker(config(mqtt={**tls, "ca_file": str(pki / "stranger.crt")}))
        assert found.state == "failed" and "certificate not trusted: unable to get local issuer" in found.detail

    def test_a_password_that_crosses_the_network_readable(
        self, config: Callable[..., Config], mqtt: dict[str, object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(network, "is_loopback", lambda host: False)
        found = network.broker(config(mqtt=mqtt))
        assert found.state == "warning" and found.cure == "set mqtt.tls = true"

    def test_the_running_service_does_not_notice(
        self, config: Callable[..., Config], mqtt: dict[str, object], broker: Broker, tmp_path: Path
    ) -> None:
        """A second client of the same identity would end its connection, and publish its will."""
        settings = config(mqtt=mqtt)
        spool = Spool(tmp_path / "spool", settings.spool)
        reader = ["-u", "unit", "-P", "owl"]
        with (
            spool,
            Subscriber(broker, "tapetum/#", reader) as seen,
            MqttClient(settings.mqtt, "tapetum-1", spool) as client,
        ):
            seen.wait_for_state("online")
            for _ in range(3):
                assert network.broker(settings).state == "ok"
            client.publish_health(payloads.health(report(), "tapetum-1"))
            seen.wait_for(1, "/health")
            assert client.state is MqttState.ONLINE
            assert [message.payload["state"] for message in seen.on("/status")] == ["online"]


HOLD = """
import socket, sys
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
input()
"""


class TestRtspPort:
    @pytest.fixture
    def hold(self) -> Iterator[Callable[..., subprocess.Popen[str]]]:
        """`hold(port, *words)` starts a process that listens, with these words in its command line."""
        started: list[subprocess.Popen[str]] = []

        def start(port: int, *words: str) -> subprocess.Popen[str]:
            command = [sys.executable, "-c", HOLD, str(port), *words]
            started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            assert started[-1].stdout is not None and started[-1].stdout.readline() == "ready\n"
            return started[-1]

        yield start
        for process in started:
            process.communicate("\n")

    def test_it_is_free(self, config: Callable[..., Config]) -> None:
        port = free_port()
        assert network.rtsp_port(config(rtsp={"port": port}), ROOT) == ("ok", f"127.0.0.1 port {port}, free", "")

    def test_the_service_has_it(
        self, config: Callable[..., Config], hold: Callable[..., subprocess.Popen[str]]
    ) -> None:
        port = free_port()
        process = hold(port, "-m", "edge", "run")
        found = network.rtsp_port(config(rtsp={"port": port}), ROOT)
        assert found.state == "ok" and f"held by the service (process {process.pid})" in found.detail

    def test_somebody_else_has_it(
        self, config: Callable[..., Config], hold: Callable[..., subprocess.Popen[str]]
    ) -> None:
        port = free_port()
        process = hold(port)
        found = network.rtsp_port(config(rtsp={"port": port}), ROOT)
        assert found.state == "failed" and f"taken by process {process.pid} (" in found.detail

    def test_whose_it_is_may_be_hidden(self, config: Callable[..., Config], tmp_path: Path) -> None:
        (tmp_path / "proc/net").mkdir(parents=True)
        (tmp_path / "proc/net/tcp").write_text(
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
            "   0: 0100007F:216A 00000000:0000 0A 00000000:00000000 00:00000000 00000000   107        0 4711 1\n"
        )
        found = network.rtsp_port(config(rtsp={"port": 8554}), tmp_path)
        assert found.state == "warning" and "as root" in found.cure

    def test_an_address_that_is_not_ours(self, config: Callable[..., Config], tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("owl")
        login = {"username": "keeper", "password_file": str(tmp_path / "secret")}
        found = network.rtsp_port(config(rtsp={"address": "192.0.2.1", "port": free_port(), **login}), ROOT)
        assert found.state == "failed" and "Cannot assign" in found.detail


def test_nothing_is_asked_of_what_is_switched_off(config: Callable[..., Config]) -> None:
    off = config(mqtt={"enabled": False}, rtsp={"enabled": False})
    assert (network.broker(off).state, network.rtsp_port(off, ROOT).state) == ("ok", "ok")
