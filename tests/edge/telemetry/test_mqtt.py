"""The unit's MQTT client against a real mosquitto, read by a real mosquitto_sub."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.errors import ConfigError
from edge.sections import MqttConfig, SpoolConfig
from edge.telemetry import payloads
from edge.telemetry.mqtt import MqttClient, MqttState
from edge.telemetry.spool import Spool
from tests.edge.telemetry.samples import BUNDLE, UNIT, report, report_of_a_young_unit, scene
from tests.edge.telemetry.schemas import validate
from tests.edge.telemetry.unit_process import unit_process
from tests.mosquitto import Broker, Subscriber, free_port, wait_until

DURABLE = ["-c", "-i", "durable"]  # the broker keeps for this subscriber what it misses


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as running:
        yield running


def config_for(broker: Broker, **more: Any) -> MqttConfig:
    return MqttConfig(host=broker.host, port=broker.port, **more)


def is_online(client: MqttClient) -> bool:
    return client.state is MqttState.ONLINE


def numbered(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"kind": "update", "n": n} for n in range(start, start + count)]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


def test_everything_published_is_as_the_document_says(broker: Broker, spool: Spool) -> None:
    with Subscriber(broker, "tapetum/#") as subscriber, MqttClient(config_for(broker), UNIT, spool) as client:
        for event in scene():
            client.publish_event(payloads.event(event, UNIT, BUNDLE))
        wait_until(lambda: client.published == 6)  # a report would overtake what still waits
        client.publish_health(payloads.health(report(), UNIT))
        wait_until(lambda: client.queued == 0)  # a report that still waits would be replaced
        client.publish_health(payloads.health(report_of_a_young_unit(), UNIT))
        client.stop()
        received = subscriber.wait_for(9)
    for message in received:
        validate(message.payload)
    base = "tapetum/unit-1"
    assert [message.topic for message in received] == [
        f"{base}/status",
        f"{base}/events/appear",
        *[f"{base}/events/update"] * 3,
        f"{base}/events/leave",
        *[f"{base}/health"] * 2,
        f"{base}/status",
    ]
    assert (client.published, client.queued, client.dropped) == (9, 0, 0)
    assert client.state is MqttState.OFFLINE


def test_presence_is_retained_and_nothing_else(broker: Broker, spool: Spool) -> None:
    config = config_for(broker, prefix="farm/north")
    with MqttClient(config, UNIT, spool) as client:
        client.publish_event(payloads.event(scene()[0], UNIT, BUNDLE))
        client.publish_health(payloads.health(report(), UNIT))
        wait_until(lambda: client.published == 3)
        with Subscriber(broker) as late:
            late.wait_for_state("online")
            assert [(m.topic, m.retained) for m in late.received] == [("farm/north/unit-1/status", True)]
    with Subscriber(broker) as later:
        assert later.wait_for_state("offline").retained


def test_a_killed_process_is_told_offline_by_its_last_will(broker: Broker, tmp_path: Path) -> None:
    with Subscriber(broker) as subscriber, unit_process(broker, tmp_path) as unit:
        subscriber.wait_for_state("online")
        unit.kill()
        subscriber.wait_for_state("offline")
    with Subscriber(broker) as later:
        assert later.wait_for_state("offline").retained


def test_a_new_process_ends_the_half_dead_one_and_has_the_last_word(
    broker: Broker, spool: Spool, tmp_path: Path
) -> None:
    """The old line still stands for the broker: its will must not come after the new "online"."""
    with Subscriber(broker) as subscriber, MqttClient(config_for(broker), UNIT, spool) as old:
        wait_until(lambda: is_online(old))
        with MqttClient(config_for(broker), UNIT, Spool(tmp_path, SpoolConfig())) as new:
            wait_until(lambda: is_online(new))
            wait_until(lambda: "connection lost" in old.detail)
            old.stop()
            states = [message.payload["state"] for message in subscriber.wait_for(3, "/status")]
            assert states == ["online", "offline", "online"]


def test_a_broker_absent_at_the_start_costs_no_message(tmp_path: Path, spool: Spool) -> None:
    broker = Broker(tmp_path)
    with MqttClient(config_for(broker), UNIT, spool) as client:
        for payload in numbered(50):
            client.publish_event(payload)
        wait_until(lambda: "Connection refused" in client.detail)
        assert (client.state, client.queued) == (MqttState.OFFLINE, 50)
        with broker:
            wait_until(lambda: client.published == 51)
            client.stop()
    assert client.queued == 0


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_broker_that_goes_and_comes_back_costs_no_message(tmp_path: Path, end: str, spool: Spool) -> None:
    keep = [f"persistence true\npersistence_location {tmp_path}/\nautosave_on_changes true\nautosave_interval 1"]
    with (
        Broker(tmp_path, extra=keep) as broker,
        MqttClient(config_for(broker), UNIT, spool) as client,
        Subscriber(broker, "tapetum/#", DURABLE) as subscriber,
    ):

        def received() -> list[int]:
            """In order of arrival; a message that came twice, as QoS 1 may do, counts once."""
            return list(dict.fromkeys(message.payload["n"] for message in subscriber.on("/events/update")))

        for payload in numbered(100):
            client.publish_event(payload)
        wait_until(lambda: len(received()) == 100)
        getattr(broker, end)()
        for payload in numbered(100, start=100):
            client.publish_event(payload)
        wait_until(lambda: client.state is MqttState.OFFLINE)
        assert client.queued >= 100
        broker.start()
        for payload in numbered(100, start=200):
            client.publish_event(payload)
        wait_until(lambda: len(received()) == 300)
        wait_until(lambda: client.queued == 0)
        assert received() == list(range(300))
        assert client.dropped == 0


def test_messages_on_the_line_when_the_broker_dies_come_again(tmp_path: Path, spool: Spool) -> None:
    """A frozen broker takes nothing in: what was sent to it has no answer when it is killed."""
    with Broker(tmp_path) as broker, MqttClient(config_for(broker), UNIT, spool) as client:
        wait_until(lambda: client.published == 1)
        broker.freeze()
        for payload in numbered(40):
            client.publish_event(payload)
        wait_until(lambda: client._outbox.in_flight > 0, what="messages on the line")
        broker.kill()
        wait_until(lambda: client.state is MqttState.OFFLINE)
        assert (client.published, client.queued) == (1, 40)
        broker.start()
        wait_until(lambda: client.published == 42)
        assert client.queued == 0


def test_thousands_of_messages_keep_their_order(broker: Broker, spool: Spool) -> None:
    with Subscriber(broker, "+/+/events/+") as subscriber, MqttClient(config_for(broker), UNIT, spool) as client:
        for payload in numbered(3000):
            client.publish_event(payload)
        received = [message.payload["n"] for message in subscriber.wait_for(3000)]
    assert received == list(range(3000))


def test_publishing_never_waits_for_the_broker(tmp_path: Path, spool: Spool) -> None:
    with Broker(tmp_path) as broker, MqttClient(config_for(broker), UNIT, spool) as client:
        wait_until(lambda: is_online(client))
        broker.freeze()
        started_s = time.monotonic()
        for payload in numbered(2000):
            client.publish_event(payload)
        assert time.monotonic() - started_s < 2  # against for ever
        assert client.queued == 2000
        broker.thaw()
        wait_until(lambda: client.queued == 0)


def test_a_refused_login_is_told_once_and_heals_at_the_broker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spool: Spool
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("right\n")
    with Broker(tmp_path / "broker", users={"cam": "wrong"}) as broker:
        config = config_for(broker, username="cam", password_file=str(secret))
        with MqttClient(config, UNIT, spool) as client:
            client.publish_event(numbered(1)[0])
            wait_until(lambda: client.state is MqttState.REFUSED)
            wait_until(lambda: broker.log().count("not authorised") >= 2, what="a second attempt")
            (line,) = warnings(caplog)
            assert line.startswith(f"MQTT broker 127.0.0.1:{broker.port} refused user 'cam': Not authorized: check ")
            assert (client.published, client.queued) == (0, 1)
            broker.set_password("cam", "right")
            wait_until(lambda: is_online(client))
            wait_until(lambda: client.published == 2)


def test_a_refused_login_heals_at_the_unit(tmp_path: Path, spool: Spool) -> None:
    secret = tmp_path / "secret"
    secret.write_text("wrong\n")
    with Broker(tmp_path / "broker", users={"cam": "right"}) as broker:
        config = config_for(broker, username="cam", password_file=str(secret))
        with MqttClient(config, UNIT, spool) as client:
            wait_until(lambda: client.state is MqttState.REFUSED)
            secret.unlink()
            wait_until(lambda: "cannot read the secret" in client.detail)
            secret.write_text("right\n")
            wait_until(lambda: is_online(client))


def test_no_login_where_one_is_needed(tmp_path: Path, spool: Spool) -> None:
    with (
        Broker(tmp_path, users={"cam": "right"}) as broker,
        MqttClient(config_for(broker), UNIT, spool) as client,
    ):
        wait_until(lambda: client.state is MqttState.REFUSED)
        assert "refused a client without a user: Not authorized" in client.detail


def test_a_topic_that_is_not_allowed_is_told_once_and_does_not_stop_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spool: Spool
) -> None:
    rules = tmp_path / "acl"
    rules.write_text(
        "topic readwrite tapetum/unit-1/status\ntopic readwrite tapetum/unit-1/health\ntopic read $SYS/#\n"
    )
    rules.chmod(0o600)
    with (
        Broker(tmp_path, extra=[f"acl_file {rules}"]) as broker,
        MqttClient(config_for(broker), UNIT, spool) as client,
    ):
        for payload in numbered(3):
            client.publish_event(payload)
        client.publish_health(payloads.health(report(), UNIT))
        wait_until(lambda: client.queued == 0)
        assert (client.published, client.dropped, client.state) == (2, 3, MqttState.ONLINE)
        (line,) = warnings(caplog)
        assert line.endswith("does not take messages on tapetum/unit-1/events/update: Not authorized")


def test_what_is_no_broker_gets_a_clear_line(spool: Spool) -> None:
    """A web server, say, or the TLS port of a broker."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            line, _ = server.accept()
            with line:
                line.recv(4096)
                line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with MqttClient(MqttConfig(port=port), UNIT, spool) as client:
            wait_until(lambda: client.state is MqttState.OFFLINE)
            assert "gave no answer: does it speak MQTT 5" in client.detail
        thread.join()


@pytest.mark.parametrize("host", ["name.invalid", "a..b"])
def test_a_host_that_cannot_be_found_gets_a_clear_line(host: str, spool: Spool) -> None:
    with MqttClient(MqttConfig(host=host), UNIT, spool) as client:
        wait_until(lambda: client.state is MqttState.OFFLINE)
        assert client.detail.startswith(f"MQTT broker {host}:1883: cannot connect: ")


def test_stop_is_prompt_when_no_broker_ever_answered(spool: Spool) -> None:
    started_s = time.monotonic()
    with MqttClient(MqttConfig(port=free_port()), UNIT, spool) as client:
        client.publish_event(numbered(1)[0])
        wait_until(lambda: client.state is MqttState.OFFLINE)
    assert time.monotonic() - started_s < 3  # and not the minute of the longest back-off


def test_stop_is_bounded_when_the_broker_is_frozen_and_the_will_speaks(tmp_path: Path, spool: Spool) -> None:
    with Broker(tmp_path) as broker, MqttClient(config_for(broker), UNIT, spool) as client:
        wait_until(lambda: client.published == 1)
        broker.freeze()
        client.publish_event(numbered(1)[0])
        started_s = time.monotonic()
        client.stop()
        assert time.monotonic() - started_s < 5
        broker.thaw()
        with Subscriber(broker) as subscriber:
            subscriber.wait_for_state("offline")


def test_a_client_that_was_never_started_stops(spool: Spool) -> None:
    MqttClient(MqttConfig(), UNIT, spool).stop()


def test_a_missing_password_file_is_told_at_once(tmp_path: Path, spool: Spool) -> None:
    with pytest.raises(ConfigError, match="cannot read the secret"):
        MqttClient(MqttConfig(username="cam", password_file=str(tmp_path / "none")), UNIT, spool)


def test_messages_are_compact_utf8_json(broker: Broker, spool: Spool) -> None:
    with Subscriber(broker) as subscriber, MqttClient(config_for(broker), UNIT, spool) as client:
        client.publish_event({"kind": "appear", "label": "Füchsin"})
        (message,) = subscriber.wait_for(1, "/events/appear")
    assert message.payload["label"] == "Füchsin"
    with pytest.raises(ValueError, match="Out of range"):
        client.publish_event({"kind": "appear", "score": float("nan")})
