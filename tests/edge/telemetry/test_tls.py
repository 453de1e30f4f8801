"""TLS to a real mosquitto."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.errors import ConfigError
from edge.sections import MqttConfig
from edge.telemetry import payloads
from edge.telemetry.mqtt import MqttClient, MqttState
from edge.telemetry.spool import Spool
from edge.telemetry.tls import client_context
from tests.edge.telemetry.samples import BUNDLE, UNIT, report, scene
from tests.edge.telemetry.schemas import validate
from tests.mosquitto import Broker, Subscriber, wait_until


def tls_lines(pki: Path, certificate: str = "server") -> list[str]:
    return [f"certfile {pki}/{certificate}.crt", f"keyfile {pki}/{certificate}.key", f"cafile {pki}/ours.crt"]


@pytest.fixture
def broker(pki: Path, tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path, extra=tls_lines(pki)) as running:
        yield running


def tls_config(broker: Broker, pki: Path, *, host: str = "127.0.0.1", **files: str) -> MqttConfig:
    paths = {key: str(pki / name) for key, name in files.items()}
    return MqttConfig.model_validate({"host": host, "port": broker.port, "tls": True, **paths})


def test_messages_go_over_tls(broker: Broker, pki: Path, spool: Spool) -> None:
    reader = ["--cafile", str(pki / "ours.crt")]
    with (
        Subscriber(broker, "tapetum/#", reader) as subscriber,
        MqttClient(tls_config(broker, pki, ca_file="ours.crt"), UNIT, spool) as client,
    ):
        events = [payloads.event(event, UNIT, BUNDLE) for event in scene() * 10]
        for event in events:
            client.publish_event(event)
        for message in subscriber.wait_for(len(events) + 1):
            validate(message.payload)
        client.stop()
        subscriber.wait_for_state("offline")


@pytest.mark.parametrize("files", [{"ca_file": "stranger.crt"}, {}], ids=["another authority", "the system's"])
def test_a_broker_that_is_not_trusted_gets_nothing(
    broker: Broker, pki: Path, files: dict[str, str], spool: Spool
) -> None:
    with MqttClient(tls_config(broker, pki, **files), UNIT, spool) as client:
        client.publish_health(payloads.health(report(), UNIT))
        wait_until(lambda: client.state is MqttState.REFUSED)
        assert client.detail.startswith(f"MQTT broker 127.0.0.1:{broker.port}: certificate not trusted: ")
        assert client.detail.endswith(": check mqtt.host and mqtt.ca_file")
        assert (client.published, client.queued) == (0, 1)


@pytest.mark.parametrize(
    ("certificate", "host", "reason"),
    [
        ("server", "localhost", "Hostname mismatch, certificate is not valid for 'localhost'"),
        ("elsewhere", "127.0.0.1", "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        ("old", "127.0.0.1", "certificate has expired"),
    ],
)
def test_a_certificate_that_does_not_hold_is_not_trusted(
    certificate: str, host: str, reason: str, pki: Path, tmp_path: Path, spool: Spool
) -> None:
    with (
        Broker(tmp_path, extra=tls_lines(pki, certificate)) as broker,
        MqttClient(tls_config(broker, pki, host=host, ca_file="ours.crt"), UNIT, spool) as client,
    ):
        client.publish_health(payloads.health(report(), UNIT))
        wait_until(lambda: client.state is MqttState.REFUSED)
        assert reason in client.detail
        assert (client.published, client.queued) == (0, 1)


def test_a_broker_that_wants_a_certificate_gets_ours(pki: Path, tmp_path: Path, spool: Spool) -> None:
    with Broker(tmp_path, extra=[*tls_lines(pki), "require_certificate true"]) as broker:
        with MqttClient(tls_config(broker, pki, ca_file="ours.crt"), UNIT, spool) as client:
            wait_until(lambda: client.state is MqttState.OFFLINE)
            assert "do mqtt.tls and mqtt.cert_file suit its port?" in client.detail
        own = {"cert_file": "unit.crt", "key_file": "unit.key"}
        with MqttClient(tls_config(broker, pki, ca_file="ours.crt", **own), UNIT, spool) as client:
            wait_until(lambda: client.state is MqttState.ONLINE)


def test_our_certificate_that_has_expired_opens_nothing(pki: Path, tmp_path: Path, spool: Spool) -> None:
    own = {"cert_file": "old-unit.crt", "key_file": "old-unit.key"}
    with (
        Broker(tmp_path, extra=[*tls_lines(pki), "require_certificate true"]) as broker,
        MqttClient(tls_config(broker, pki, ca_file="ours.crt", **own), UNIT, spool) as client,
    ):
        wait_until(lambda: client.state is MqttState.OFFLINE)
        assert "do mqtt.tls and mqtt.cert_file suit its port?" in client.detail


def test_keys_may_be_systemd_credentials(
    broker: Broker, pki: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(pki))
    files = {"ca_file": "ours.crt", "cert_file": "unit.crt", "key_file": "unit.key"}
    config = MqttConfig.model_validate({"port": broker.port, "tls": True, **files})
    with MqttClient(config, UNIT, spool) as client:
        wait_until(lambda: client.state is MqttState.ONLINE)


def test_an_old_tls_is_not_spoken(pki: Path) -> None:
    context = client_context(MqttConfig(tls=True, ca_file=str(pki / "ours.crt")))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname


def test_plain_talk_to_a_tls_port_gets_a_clear_line(broker: Broker, spool: Spool) -> None:
    with MqttClient(MqttConfig(port=broker.port), UNIT, spool) as client:
        wait_until(lambda: client.state is MqttState.OFFLINE)
        assert "do mqtt.tls and mqtt.cert_file suit its port?" in client.detail


def test_tls_to_a_plain_port_gets_a_clear_line(tmp_path: Path, pki: Path, spool: Spool) -> None:
    with Broker(tmp_path) as broker, MqttClient(tls_config(broker, pki, ca_file="ours.crt"), UNIT, spool) as client:
        wait_until(lambda: client.state is MqttState.OFFLINE)
        assert client.detail.startswith(f"MQTT broker 127.0.0.1:{broker.port}: cannot connect: ")
        assert "TLS" in client.detail


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"ca_file": "none.pem"}, "mqtt.ca_file: .*none.pem: No such file"),
        ({"ca_file": "garbage.pem"}, "mqtt.ca_file: .*garbage.pem: not a usable PEM file"),
        ({"ca_file": "empty.pem"}, "mqtt.ca_file: .*empty.pem: not a usable PEM file"),
        ({"cert_file": "none.pem", "key_file": "unit.key"}, "mqtt.cert_file, mqtt.key_file: .*No such file"),
        (
            {"cert_file": "unit.crt", "key_file": "server.key"},
            "mqtt.cert_file, mqtt.key_file: .*the key is not that of the certificate",
        ),
        (
            {"cert_file": "unit.crt", "key_file": "locked.key"},
            "mqtt.cert_file, mqtt.key_file: .*not a usable PEM file",
        ),
    ],
)
def test_unusable_files_are_told_at_once(
    broker: Broker, pki: Path, files: dict[str, str], message: str, spool: Spool
) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        MqttClient(tls_config(broker, pki, **files), UNIT, spool)
    assert "\n" not in str(error.value)
