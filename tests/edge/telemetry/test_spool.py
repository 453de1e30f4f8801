"""The spool with a real disk, a real broker and processes that are killed: no event is lost, none is out of order."""

from __future__ import annotations

import json
import logging
import math
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edge.sections import MqttConfig, SpoolConfig
from edge.station import clock
from edge.telemetry import spool as spool_module
from edge.telemetry.mqtt import MqttClient, MqttState
from edge.telemetry.spool import Spool
from edge.telemetry.spool_file import DamagedError, Row, SpoolFile
from tests.edge.telemetry.samples import UNIT
from tests.edge.telemetry.unit_process import ROOT, unit_process
from tests.mosquitto import Broker, Subscriber, wait_until

DURABLE = ["-c", "-i", "durable"]  # the broker keeps for this subscriber what it misses
PADDING = "x" * 500  # an event of the usual size


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "RETRY_S", 0.1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    made.mkdir()
    return made


def keeping(folder: Path) -> Broker:
    """A broker that keeps what it has acknowledged, also when it is stopped."""
    return Broker(folder, extra=["persistence true", f"persistence_location {folder}/"])


def put(spool: Spool, numbers: range, kind: str = "update") -> None:
    for n in numbers:
        spool.backlog.put(kind, json.dumps({"kind": kind, "n": n, "padding": PADDING}).encode())


def put_on_disk(spool: Spool, numbers: range, kind: str = "update") -> None:
    put(spool, numbers, kind)
    wait_until(lambda: not spool.backlog.unsaved, what="events on disk")


def client_of(spool: Spool, broker: Broker) -> MqttClient:
    return MqttClient(MqttConfig(port=broker.port), UNIT, spool)


def events(subscriber: Subscriber) -> list[dict[str, object]]:
    return [message.payload for message in list(subscriber.received) if "/events/" in message.topic]


def order(subscriber: Subscriber) -> list[object]:
    """The events' numbers in the order of arrival; those that come again count once."""
    return list(dict.fromkeys(payload["n"] for payload in events(subscriber)))


def delivered(folder: Path, broker: Broker, config: SpoolConfig | None = None) -> list[dict[str, object]]:
    """What a new run sends from what it finds on disk."""
    with (
        Subscriber(broker) as subscriber,
        Spool(folder, config or SpoolConfig()) as spool,
        client_of(spool, broker) as client,
    ):
        wait_until(lambda: client.state is MqttState.ONLINE and client.published > 1 and not len(spool.backlog))
        subscriber.wait_for(client.published)
        return events(subscriber)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == spool_module.__name__]


def test_units_that_are_killed_and_brokers_that_go_lose_no_event(tmp_path: Path, folder: Path) -> None:
    """Every event whose number the unit told was on disk then. After each kill the next run sends the rest first."""
    chance = random.Random(6)
    told: list[int] = []
    with keeping(tmp_path / "broker") as broker, Subscriber(broker, "tapetum/#", DURABLE) as subscriber:
        for run in range(6):
            first = 1_000_000 * run
            with unit_process(broker, folder, first, count=999_999) as unit:
                assert unit.stdout is not None
                for n in range(chance.randrange(50, 400)):
                    told.append(int(unit.stdout.readline()))
                    if run % 3 == 1 and n == 20:
                        broker.stop()
                    if run % 3 == 2 and n == 40:
                        broker.start()
                unit.kill()
        with unit_process(broker, folder) as unit:
            wait_until(lambda: set(told) <= set(order(subscriber)), 40, what="all events that were on disk")
            unit.kill()
            assert order(subscriber) == sorted(order(subscriber)), "oldest first"  # type: ignore[type-var]
        identities = {payload["n"]: payload["event_id"] for payload in events(subscriber)}
        assert all(payload["event_id"] == identities[payload["n"]] for payload in events(subscriber))
        assert len(set(identities.values())) == len(identities)


def test_what_an_earlier_run_put_is_late_and_goes_first(tmp_path: Path, folder: Path) -> None:
    with Spool(folder, SpoolConfig()) as spool:
        put(spool, range(200))
    with (
        Broker(tmp_path / "broker") as broker,
        Subscriber(broker) as subscriber,
        Spool(folder, SpoolConfig()) as spool,
    ):
        put_on_disk(spool, range(200, 250))
        assert len(spool.backlog) == 250
        with client_of(spool, broker):
            put(spool, range(250, 300))
            wait_until(lambda: len(events(subscriber)) == 300)
        assert [payload["n"] for payload in events(subscriber)] == list(range(300))
        assert [payload["late"] for payload in events(subscriber)] == [True] * 200 + [False] * 100


def test_what_was_delivered_is_gone_after_a_clean_end(tmp_path: Path, folder: Path) -> None:
    with (
        Broker(tmp_path / "broker") as broker,
        Spool(folder, SpoolConfig()) as spool,
        client_of(spool, broker) as client,
    ):
        put(spool, range(500))
        wait_until(lambda: client.published == 501)
    file = SpoolFile(folder / spool_module.FILE)
    assert file.rows == 0
    file.close()


def test_nothing_is_sent_before_it_is_on_disk(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And who puts events does not wait for a disk that hangs."""
    goes_on = threading.Event()
    store = SpoolFile.store

    def hanging_store(self: SpoolFile, *arguments: object) -> int:
        goes_on.wait(30)
        return store(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(SpoolFile, "store", hanging_store)
    with (
        Broker(tmp_path / "broker") as broker,
        Subscriber(broker) as subscriber,
        Spool(folder, SpoolConfig()) as spool,
        client_of(spool, broker) as client,
    ):
        wait_until(lambda: client.published == 1)
        put(spool, range(1000))
        assert not goes_on.is_set()
        time.sleep(0.3)
        assert (events(subscriber), client.unsaved, client.queued) == ([], 1000, 1000)
        goes_on.set()
        wait_until(lambda: order(subscriber) == list(range(1000)))


def test_a_spool_that_is_full_keeps_what_appears_and_leaves(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = SpoolConfig(max_mib=1)
    with Spool(folder, config) as spool:
        for n in range(0, 4000, 10):
            put(spool, range(n, n + 1), "appear")
            put(spool, range(n + 1, n + 9))
            put(spool, range(n + 9, n + 10), "leave")
            if n % 500 == 0:
                wait_until(lambda: not spool.backlog.unsaved)
        wait_until(lambda: not spool.backlog.unsaved)
        dropped = spool.backlog.dropped
        assert dropped + len(spool.backlog) == 4000
    (line,) = warnings(caplog)
    assert line.endswith(
        "spool.db has reached its bounds (max_mib = 1, max_age_days = 30): the oldest updates go first"
    )
    with Broker(tmp_path / "broker") as broker:
        found = [int(str(payload["n"])) for payload in delivered(folder, broker, config)]
    kept = [n for n in found if n % 10 not in (0, 9)]
    assert [n for n in found if n % 10 in (0, 9)] == [n for n in range(4000) if n % 10 in (0, 9)]
    assert kept == [n for n in range(4000) if n % 10 not in (0, 9)][dropped:], "the newest updates"


@pytest.mark.parametrize(("is_synchronised", "expected"), [(True, [2, 3]), (False, [1, 2, 3])])
def test_old_events_go_where_the_clock_is_right(
    is_synchronised: bool, expected: list[int], tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "is_synchronised", lambda: is_synchronised)
    now_s = int(time.time())
    file = SpoolFile(folder / spool_module.FILE)
    ages = {1: now_s - 31 * 86_400, 2: now_s - 29 * 86_400, 3: None}
    file.store([Row(n, "appear", b'{"n":%d}' % n, 1, put_s) for n, put_s in ages.items()], [], 1 << 30)
    file.close()
    with Broker(tmp_path / "broker") as broker:
        assert [payload["n"] for payload in delivered(folder, broker)] == expected


def test_a_damaged_file_is_set_aside_and_what_can_be_read_is_sent(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Spool(folder, SpoolConfig()) as spool:
        put_on_disk(spool, range(1000))
    path = folder / spool_module.FILE
    data = bytearray(path.read_bytes())
    data[100_000:150_000] = random.Random(1).randbytes(50_000)
    path.write_bytes(data)
    with Broker(tmp_path / "broker") as broker:
        numbers = [int(str(payload["n"])) for payload in delivered(folder, broker)]
        assert numbers == sorted(numbers)
        assert len(numbers) > 700
    (line,) = warnings(caplog)
    assert "spool.db was damaged (" in line
    assert line.endswith(f"): {len(numbers)} events saved; set aside as spool.db.damaged")
    assert (folder / "spool.db.damaged").stat().st_size == len(data)


def test_a_file_that_is_damaged_while_it_is_used_costs_no_event_in_memory(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The broker is frozen, so that events are on their way when all pages but the first few are overwritten."""
    path = folder / spool_module.FILE
    with Spool(folder, SpoolConfig()) as spool:
        put_on_disk(spool, range(9000))
    with (
        Broker(tmp_path / "broker") as broker,
        Subscriber(broker) as subscriber,
        Spool(folder, SpoolConfig()) as spool,
        client_of(spool, broker) as client,
    ):
        wait_until(lambda: len(events(subscriber)) > 100)
        broker.freeze()
        wait_until(lambda: client._outbox.in_flight > 0)
        with path.open("r+b") as file:
            file.seek(2_000_000)
            file.write(os.urandom(path.stat().st_size - 2_000_000))
        broker.thaw()
        wait_until(lambda: "damaged" in caplog.text, what="the damage is found")
        put(spool, range(9000, 9100))
        wait_until(lambda: not len(spool.backlog), 40)
        wait_until(lambda: order(subscriber)[-1:] == [9099])
    numbers = [int(str(n)) for n in order(subscriber)]
    assert numbers == sorted(numbers)
    assert numbers[:1000] == list(range(1000)), "those before the damage"
    assert numbers[-100:] == list(range(9000, 9100)), "those after it"


def test_a_file_that_another_service_has_is_left_alone(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = Spool(folder, SpoolConfig())
    with Broker(tmp_path / "broker") as broker, Subscriber(broker) as subscriber:
        with first:
            put_on_disk(first, range(3))
            second = Spool(folder, SpoolConfig())
            second.start()
            wait_until(lambda: second.backlog.trouble)
            with client_of(second, broker) as client:
                put(second, range(10, 13))
                wait_until(lambda: client.published == 4)
        put_on_disk(second, range(13, 16))
        second.close()
        assert [payload["n"] for payload in delivered(folder, broker)] == [0, 1, 2, 13, 14, 15]
        wait_until(lambda: order(subscriber) == [10, 11, 12, 0, 1, 2, 13, 14, 15])
    (line,) = warnings(caplog)
    assert "database is locked: events wait in memory, 10000 at most" in line


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_costs_no_event(small_disk: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ballast = small_disk / "ballast"
    broker = keeping(tmp_path / "broker")
    with Spool(small_disk, SpoolConfig()) as spool, client_of(spool, broker) as client:
        put_on_disk(spool, range(100))
        fill(ballast)
        put(spool, range(100, 2000))
        wait_until(lambda: spool.backlog.trouble)
        assert len(spool.backlog) == 2000
        assert client.unsaved > 0
        with broker, Subscriber(broker, "tapetum/#", DURABLE) as subscriber:
            wait_until(lambda: order(subscriber) == list(range(2000)), 40, what="all in order, from memory too")
            wait_until(lambda: client.queued == 0)
        put(spool, range(2000, 3000))
        wait_until(lambda: client.state is MqttState.OFFLINE)
        assert client.unsaved > 0
        ballast.unlink()
        wait_until(lambda: not client.unsaved, what="the disk takes them")
    assert len([line for line in warnings(caplog) if "database or disk is full" in line]) == 1
    with broker:
        assert [payload["n"] for payload in delivered(small_disk, broker)] == list(range(2000, 3000))


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1024))
        except OSError:
            pass


LIMITED = """
import resource, sys, time
from pathlib import Path
from edge.sections import SpoolConfig
from edge.telemetry import spool as spool_module
from edge.telemetry.spool import Spool
spool_module.RETRY_S = 0.1
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
with Spool(Path(sys.argv[1]), SpoolConfig()) as spool:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, most))
    for n in range(500):
        spool.backlog.put("appear", b'{"n":%d,"padding":"%s"}' % (n, b"x" * 500))
        time.sleep(0.001)
    while not spool.backlog.trouble:
        time.sleep(0.01)
    assert spool.backlog.unsaved
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    while spool.backlog.unsaved:
        time.sleep(0.01)
"""


def test_a_file_that_must_not_grow_costs_no_event(tmp_path: Path, folder: Path) -> None:
    """A quota, say: other than a full disk to SQLite."""
    command = [sys.executable, "-c", LIMITED, str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("events wait in memory") == 1
    with Broker(tmp_path / "broker") as broker:
        assert [payload["n"] for payload in delivered(folder, broker)] == list(range(500))


def test_a_folder_that_is_not_there_is_told_and_events_go_from_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        Broker(tmp_path / "broker") as broker,
        Subscriber(broker) as subscriber,
        Spool(tmp_path / "none", SpoolConfig()) as spool,
        client_of(spool, broker),
    ):
        put(spool, range(100))
        wait_until(lambda: order(subscriber) == list(range(100)))
        (line,) = warnings(caplog)
        assert "unable to open database file: events wait in memory" in line


def test_what_is_in_memory_alone_at_the_end_is_told_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Spool(tmp_path / "none", SpoolConfig()) as spool:
        put(spool, range(3))
        wait_until(lambda: spool.backlog.trouble)
        put(spool, range(3, 7))
        caplog.clear()
        spool._warn_s = 0.0  # a warning would be due
    (line,) = warnings(caplog)
    assert line.endswith("spool.db: 7 events that were in memory alone are lost: unable to open database file")


def test_a_disk_that_spoils_one_file_after_another_gets_pauses_and_costs_no_event(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each new file is damaged with the first commit: it is not renewed as fast as the processor can."""
    store = SpoolFile.store
    attempts = 0

    def spoiling_store(self: SpoolFile, *arguments: object) -> int:
        nonlocal attempts
        attempts += 1
        raise DamagedError("bit rot")

    with (
        Broker(tmp_path / "broker") as broker,
        Subscriber(broker) as subscriber,
        Spool(folder, SpoolConfig()) as spool,
        client_of(spool, broker),
    ):
        monkeypatch.setattr(SpoolFile, "store", spoiling_store)
        for n in range(100):  # in two seconds
            put(spool, range(n, n + 1))
            time.sleep(0.02)
        assert 3 <= attempts <= 10, "after 0.1 s, 0.2 s, 0.4 s and so on"
        monkeypatch.setattr(SpoolFile, "store", store)
        put(spool, range(100, 110))
        wait_until(lambda: not spool.backlog.unsaved, 40, what="the disk is good again")
        wait_until(lambda: order(subscriber) == list(range(110)))
    assert len([line for line in warnings(caplog) if "damaged again (bit rot): events wait in memory" in line]) == 1


@pytest.mark.parametrize("times", [1, 2])
def test_damage_that_is_found_at_the_end_costs_no_event(
    times: int, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the last commit: the file is renewed then, once. A disk that spoils that one too is left alone."""
    store = SpoolFile.store
    left = times

    def spoilt_at_the_end(self: SpoolFile, *arguments: object) -> int:
        nonlocal left
        if spool.backlog._is_closing and left:
            left -= 1
            raise DamagedError("bit rot")
        return store(self, *arguments)  # type: ignore[arg-type]

    with Spool(folder, SpoolConfig()) as spool:
        put_on_disk(spool, range(10))
        monkeypatch.setattr(SpoolFile, "store", spoilt_at_the_end)
        spool.backlog.trouble = "the disk hangs"  # so that these wait for the end
        spool._retry_s = math.inf
        put(spool, range(10, 15))
    with closing(SpoolFile(folder / spool_module.FILE)) as file:
        found = [json.loads(row.payload)["n"] for row in file.read(0, 100)]
    assert found == list(range(15 if times == 1 else 10))
    lost = [line for line in warnings(caplog) if "lost" in line]
    assert [line.partition("spool.db: ")[2] for line in lost] == [
        "5 events that were in memory alone are lost: damaged again (bit rot)"
    ] * (times - 1)
