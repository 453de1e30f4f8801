"""TLS to a real mosquitto, with an authority and certificates of our own made by openssl."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.errors import ConfigError
from edge.sections import MqttConfig
from edge.telemetry import payloads
from edge.telemetry.mqtt import MqttClient, MqttState
from edge.telemetry.spool import Spool
from tests.edge.telemetry.samples import BUNDLE, UNIT, report, scene
from tests.edge.telemetry.schemas import validate
from tests.mosquitto import Broker, Subscriber, wait_until


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def make_authority(folder: Path, name: str) -> None:
    key, certificate = folder / f"{name}.key", folder / f"{name}.crt"
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl("req", "-x509", *new_key, "-keyout", key, "-out", certificate, "-days", 2, "-subj", f"/CN={name}", *usage)


def make_certificate(folder: Path, name: str, authority: str, extensions: str) -> None:
    key, request, certificate = (folder / f"{name}.{suffix}" for suffix in ("key", "csr", "crt"))
    (folder / f"{name}.ext").write_text(f"{extensions}\nauthorityKeyIdentifier=keyid\n")
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", *new_key, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
    signer = ("-CA", folder / f"{authority}.crt", "-CAkey", folder / f"{authority}.key", "-CAcreateserial")
    openssl(
        "x509", "-req", "-in", request, *signer, "-out", certificate, "-days", 2, "-extfile", folder / f"{name}.ext"
    )


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two authorities, ours and a stranger, and certificates for the broker and a unit."""
    folder = tmp_path_factory.mktemp("pki")
    make_authority(folder, "ours")
    make_authority(folder, "stranger")
    make_certificate(folder, "broker", "ours", "subjectAltName=IP:127.0.0.1")
    make_certificate(folder, "unit", "ours", "extendedKeyUsage=clientAuth")
    openssl("ec", "-in", folder / "unit.key", "-out", folder / "locked.key", "-aes128", "-passout", "pass:secret")
    (folder / "garbage.pem").write_text("-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n")
    (folder / "empty.pem").touch()
    return folder


def tls_lines(pki: Path) -> list[str]:
    return [f"certfile {pki}/broker.crt", f"keyfile {pki}/broker.key", f"cafile {pki}/ours.crt"]


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


def test_a_certificate_for_another_host_is_not_trusted(broker: Broker, pki: Path, spool: Spool) -> None:
    with MqttClient(tls_config(broker, pki, host="localhost", ca_file="ours.crt"), UNIT, spool) as client:
        wait_until(lambda: client.state is MqttState.REFUSED)
        assert "Hostname mismatch, certificate is not valid for 'localhost'" in client.detail


def test_a_broker_that_wants_a_certificate_gets_ours(pki: Path, tmp_path: Path, spool: Spool) -> None:
    with Broker(tmp_path, extra=[*tls_lines(pki), "require_certificate true"]) as broker:
        with MqttClient(tls_config(broker, pki, ca_file="ours.crt"), UNIT, spool) as client:
            wait_until(lambda: client.state is MqttState.OFFLINE)
            assert "do mqtt.tls and mqtt.cert_file suit its port?" in client.detail
        own = {"cert_file": "unit.crt", "key_file": "unit.key"}
        with MqttClient(tls_config(broker, pki, ca_file="ours.crt", **own), UNIT, spool) as client:
            wait_until(lambda: client.state is MqttState.ONLINE)


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
        ({"cert_file": "unit.crt", "key_file": "broker.key"}, "mqtt.cert_file, mqtt.key_file: .*KEY_VALUES_MISMATCH"),
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
