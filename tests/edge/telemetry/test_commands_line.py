"""What reaches the unit of what is published to it, and how its answers leave: against a real mosquitto."""

from __future__ import annotations

import logging
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from edge.sections import MqttConfig
from edge.telemetry.line import MAX_ARRIVAL_BYTES, Arrival
from edge.telemetry.mqtt import MqttClient, MqttState
from edge.telemetry.outbox import MAX_ANSWERS
from edge.telemetry.spool import Spool
from tests.edge.telemetry.samples import UNIT
from tests.mosquitto import Broker, Subscriber, wait_until

BASE = f"tapetum/{UNIT}"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as running:
        yield running


def publish(broker: Broker, topic: str, payload: str = "{}", *arguments: str) -> str:
    """mosquitto_pub; what it says."""
    command = ["mosquitto_pub", "-V", "5", "-h", broker.host, "-p", str(broker.port), "-q", "1", "-t", topic]
    done = subprocess.run([*command, "-m", payload, *arguments], capture_output=True, text=True, timeout=20)
    return done.stderr


@contextmanager
def listening(broker: Broker, spool: Spool, **config: Any) -> Iterator[tuple[MqttClient, list[Arrival]]]:
    arrivals: list[Arrival] = []
    with MqttClient(MqttConfig(host=broker.host, port=broker.port, **config), UNIT, spool) as client:
        client.listen(arrivals.append)
        wait_until(lambda: subscriptions(broker) >= 1, what="the unit listens")
        yield client, arrivals


def subscriptions(broker: Broker) -> int:
    """How often the unit has subscribed since the broker began its log."""
    return broker.log().count(f"{BASE}/cmd/+ (QoS 0)")


@pytest.fixture
def logging_broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker", extra=["log_type all"]) as running:
        yield running


def test_one_level_below_cmd_and_nothing_else(logging_broker: Broker, spool: Spool) -> None:
    with listening(logging_broker, spool) as (_, arrivals):
        for topic in (BASE, f"{BASE}/cmd", f"{BASE}/cmd/a/b", "tapetum/unit-2/cmd/set", f"{BASE}/ack", "cmd/set"):
            publish(logging_broker, topic)
        publish(logging_broker, f"{BASE}/cmd/set", '{"id": "a"}')
        wait_until(lambda: arrivals)
    assert arrivals == [Arrival(f"{BASE}/cmd/set", b'{"id": "a"}')]


def test_who_does_not_listen_does_not_subscribe(logging_broker: Broker, spool: Spool) -> None:
    with MqttClient(MqttConfig(port=logging_broker.port), UNIT, spool) as client:
        wait_until(lambda: client.published == 1)
    assert "SUBSCRIBE" not in logging_broker.log()


def test_what_was_kept_does_not_come_and_what_is_to_be_kept_is_marked(logging_broker: Broker, spool: Spool) -> None:
    publish(logging_broker, f"{BASE}/cmd/set", "kept", "-r")
    with listening(logging_broker, spool) as (_, arrivals):
        publish(logging_broker, f"{BASE}/cmd/set", "to be kept", "-r")
        publish(logging_broker, f"{BASE}/cmd/set", "passing")
        wait_until(lambda: len(arrivals) == 2)
    assert [(it.payload, it.is_retained) for it in arrivals] == [(b"to be kept", True), (b"passing", False)]


def test_nothing_waits_for_a_unit_that_is_away(logging_broker: Broker, spool: Spool, tmp_path: Path) -> None:
    with listening(logging_broker, spool):
        pass
    publish(logging_broker, f"{BASE}/cmd/set", "while away")
    with listening(logging_broker, spool) as (_, arrivals):
        wait_until(lambda: subscriptions(logging_broker) == 2)
        publish(logging_broker, f"{BASE}/cmd/set", "now")
        wait_until(lambda: arrivals)
    assert [it.payload for it in arrivals] == [b"now"]


def test_it_listens_again_after_the_broker_was_away(tmp_path: Path, spool: Spool) -> None:
    with (
        Broker(tmp_path / "broker", extra=["log_type all"]) as broker,
        listening(broker, spool) as (client, arrivals),
    ):
        broker.kill()
        wait_until(lambda: client.state is MqttState.OFFLINE)
        broker.start()
        wait_until(lambda: subscriptions(broker) == 2, what="a second subscription")
        publish(broker, f"{BASE}/cmd/set", "again")
        wait_until(lambda: arrivals)


def test_the_time_that_is_left_comes_along(logging_broker: Broker, spool: Spool) -> None:
    with listening(logging_broker, spool) as (_, arrivals):
        publish(logging_broker, f"{BASE}/cmd/set", "x", "-D", "publish", "message-expiry-interval", "30")
        wait_until(lambda: arrivals)
    assert arrivals[0].expiry_s in (29, 30)


def test_a_packet_that_is_far_too_long_never_comes_and_holds_up_nothing(logging_broker: Broker, spool: Spool) -> None:
    with listening(logging_broker, spool) as (client, arrivals):
        for _ in range(40):  # more than may be on the line at once
            publish(logging_broker, f"{BASE}/cmd/set", "x" * MAX_ARRIVAL_BYTES)
        publish(logging_broker, f"{BASE}/cmd/set", "short")
        wait_until(lambda: arrivals)
        assert client.state is MqttState.ONLINE
    assert [it.payload for it in arrivals] == [b"short"]


def _long(broker: socket.socket) -> None:
    broker.sendall(bytes([0x30, 0x80, 0x80, 0x80, 0x10]))  # PUBLISH of 32 MiB
    broker.sendall(bytes(32 << 20))


def _unreleased(broker: socket.socket) -> None:
    for number in range(1, 1000):  # PUBLISH with QoS 2: kept until it is released
        body = b"\0\1t" + number.to_bytes(2, "big") + bytes(60_000)
        length = bytes([len(body) & 0x7F | 0x80, len(body) >> 7 & 0x7F | 0x80, len(body) >> 14])
        broker.sendall(bytes([0x34]) + length + body)


@pytest.mark.parametrize("flood", [_long, _unreleased])
def test_a_broker_that_would_fill_the_memory_is_left(
    flood: Callable[[socket.socket], None], spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    sent_all = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            line, _ = server.accept()
            with line, suppress(OSError):
                line.recv(4096)
                line.sendall(bytes([0x20, 3, 0, 0, 0]))  # CONNACK: success
                flood(line)
                sent_all.set()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with MqttClient(MqttConfig(port=server.getsockname()[1]), UNIT, spool) as client:
            client.listen(lambda _: None)
            wait_until(lambda: "connection lost" in caplog.text)
            thread.join(20)
    assert not sent_all.is_set()


def test_a_broker_that_refuses_the_subscription_is_told(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    """mosquitto with an ACL file never does; others do. A few bytes of MQTT 5 will."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            line, _ = server.accept()
            with line:
                line.recv(4096)
                line.sendall(bytes([0x20, 3, 0, 0, 0]))  # CONNACK: success
                while packet := line.recv(4096):
                    if (at := packet.find(0x82)) >= 0:  # SUBSCRIBE
                        line.sendall(bytes([0x90, 4, *packet[at + 2 : at + 4], 0, 0x87]))  # not authorised

        threading.Thread(target=answer, daemon=True).start()
        with MqttClient(MqttConfig(port=server.getsockname()[1]), UNIT, spool) as client:
            client.listen(lambda _: None)
            wait_until(lambda: "does not let us read" in caplog.text)
    (line,) = [it.message for it in caplog.records if it.levelno == logging.WARNING and "let us" in it.message]
    hint = "no command will come; mend its access list (docs/mqtt.md)"
    assert line.endswith(f"does not let us read {BASE}/cmd/+: Not authorized: {hint}")


@pytest.mark.parametrize("is_named_by_login", [True, False])
def test_whether_another_login_can_push_the_unit_off(is_named_by_login: bool, tmp_path: Path, spool: Spool) -> None:
    """As docs/mqtt.md says of use_username_as_clientid."""
    secret = tmp_path / "secret"
    secret.write_text("owl")
    option = ["use_username_as_clientid true"] if is_named_by_login else []
    with Broker(tmp_path / "broker", users={UNIT: "owl", "thief": "x"}, extra=option) as broker:
        config = MqttConfig(port=broker.port, username=UNIT, password_file=str(secret))
        with MqttClient(config, UNIT, spool) as client:
            wait_until(lambda: client.published == 1)
            publish(broker, "a", "b", "-u", "thief", "-P", "x", "-i", f"tapetum-{UNIT}")
            if is_named_by_login:
                client.publish_answer({"still": "there"})
                wait_until(lambda: client.published == 2)
                assert "connection lost" not in client.detail and client.state is MqttState.ONLINE
            else:
                wait_until(lambda: "connection lost" in client.detail)


def test_answers_arrive_in_order_each_once(broker: Broker, spool: Spool) -> None:
    with (
        Subscriber(broker, f"{BASE}/ack") as answers,
        MqttClient(MqttConfig(port=broker.port), UNIT, spool) as client,
    ):
        for number in range(MAX_ANSWERS):
            client.publish_answer({"n": number})
        received = answers.wait_for(MAX_ANSWERS)
    assert [it.payload["n"] for it in received] == list(range(MAX_ANSWERS))
    assert not any(it.retained for it in received)


def test_answers_outlive_an_outage_and_pictures_do_not(tmp_path: Path, spool: Spool) -> None:
    with Broker(tmp_path / "broker") as broker, MqttClient(MqttConfig(port=broker.port), UNIT, spool) as client:
        wait_until(lambda: client.published == 1)
        broker.freeze()
        for number in range(20):  # more than are on the line at once
            client.publish_snapshot(f"colour/{number}", b"\xff\xd8")
            client.publish_answer({"n": number})
        wait_until(lambda: client._outbox.in_flight > 0)
        broker.kill()
        wait_until(lambda: client.state is MqttState.OFFLINE)
        wait_until(lambda: client.queued == 20)
        broker.start()
        with Subscriber(broker, f"{BASE}/ack") as answers:
            wait_until(lambda: client.queued == 0)
        assert [it.payload["n"] for it in answers.received] == sorted(it.payload["n"] for it in answers.received)
        assert client.published == 22
