"""The running service is commanded through a broker with an access list: by those who may, and nobody else."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from statistics import fmean
from typing import Any

import cv2
import numpy as np
import pytest

from edge.bundles.store import BundleStore
from edge.commands.handlers import RESTART_S
from tests.clip import GROUND, HEIGHT, WIDTH
from tests.e2e.commander import BASE, UNIT, USERS, Commander, Packets, Picture, guarded_broker, login
from tests.e2e.service import PATIENCE_S, Sections, Service, Viewer, pictures, record
from tests.e2e.test_service import tiny_colour
from tests.edge.bundle_makers import release, stored
from tests.edge.telemetry.schemas import DOCUMENT
from tests.mosquitto import Broker, Subscriber, wait_until


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("commands")


@pytest.fixture(scope="module")
def broker(folder: Path) -> Iterator[Broker]:
    with guarded_broker(folder / "broker") as running:
        yield running


@pytest.fixture(scope="module")
def sections(bundle: Path, clip: Path, folder: Path) -> Sections:
    """All but the broker's port."""
    secret = folder / "secret"
    secret.write_text(USERS[UNIT])
    return {
        "unit": {"name": UNIT},
        "source": {"kind": "file", "path": str(clip)},
        "bundle": {"path": str(bundle)},
        "mqtt": {"username": UNIT, "password_file": str(secret), "health_interval_s": 1},
        "commands": {"enabled": True, "max_per_minute": 600},
        "detect": {"score_threshold": 1.0},
    }


@pytest.fixture(scope="module")
def service(sections: Sections, broker: Broker, folder: Path) -> Iterator[Service]:
    """One for all tests that leave it as it was."""
    with Service(folder / "unit", at(broker, sections)) as running:
        running.wait_ready()
        wait_until(lambda: listens(broker), PATIENCE_S, what="the unit listens")
        yield running
        assert running.stop() == 0, running.stderr
        assert "Traceback" not in running.stderr


@pytest.fixture(scope="module")
def keeper(broker: Broker) -> Iterator[Commander]:
    with Commander(broker) as somebody:
        yield somebody


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """For a service of its own: on one broker, two units of one name push each other off."""
    with guarded_broker(tmp_path / "broker") as running:
        yield running


def at(broker: Broker, sections: Sections, **more: dict[str, Any]) -> Sections:
    """The configuration for a broker, with sections that replace the usual ones."""
    return {**sections, "mqtt": {**sections["mqtt"], "port": broker.port}, **more}


def listens(broker: Broker, times: int = 1) -> bool:
    return broker.log().count(f"{BASE}/cmd/+ (QoS 0)") >= times


class TestSnapshot:
    def test_both_pictures_are_what_the_unit_sees(
        self, service: Service, keeper: Commander, broker: Broker, tmp_path: Path
    ) -> None:
        files = {name: Picture(broker, f"{BASE}/snapshot/{name}/s1", tmp_path / name) for name in ("colour", "nir")}
        data = keeper.ask("snapshot", "s1")["data"]
        pictures = {}
        for name, file in files.items():
            content = file.received()
            assert data[name] == {
                "topic": f"snapshot/{name}/s1",
                "bytes": len(content),
                "width": WIDTH,
                "height": HEIGHT,
            }
            pictures[name] = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        assert pictures["nir"].shape == (HEIGHT, WIDTH)
        assert pictures["nir"][:20, :20].mean() == pytest.approx(GROUND, abs=3)
        np.testing.assert_allclose(pictures["colour"][:20, :20, ::-1].mean((0, 1)), tiny_colour(GROUND), atol=10)

    def test_a_small_one(self, service: Service, keeper: Commander) -> None:
        data = keeper.ask("snapshot", "s2", max_kib=8)["data"]
        assert max(data["colour"]["bytes"], data["nir"]["bytes"]) <= 8 * 1024

    def test_the_examples_of_the_document(self, service: Service, broker: Broker, tmp_path: Path) -> None:
        blocks = re.findall(r"^```sh\n(mosquitto_sub[^`]*?mosquitto_pub.*?)^```", DOCUMENT.read_text(), re.M | re.S)
        said = []
        for block in blocks:
            script = block.replace("-h BROKER", f"-h {broker.host} -p {broker.port}")
            script = re.sub(r"-u (\w+) -P PASSWORD", lambda who: f'-u {who[1]} -P "{USERS[who[1]]}"', script)
            assert "BROKER" not in script and "PASSWORD" not in script
            done = subprocess.run(["bash", "-ec", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
            assert done.stderr == ""
            said.append(done.stdout)
        assert [json.loads(text)["result"] for text in said if text] == ["done"]
        assert cv2.imread(str(tmp_path / "night.jpg")).shape == (HEIGHT, WIDTH, 3)


class TestValues:
    def test_with_a_lower_threshold_it_sees_what_it_did_not(
        self, service: Service, keeper: Commander, broker: Broker
    ) -> None:
        with (
            Subscriber(broker, f"{BASE}/health", login("viewer")) as health,
            Subscriber(broker, f"{BASE}/events/+", login("viewer")) as events,
        ):
            health.wait_for(2)
            assert events.received == []
            answer = keeper.ask("set", "v1", key="score_threshold", value=0.5)
            assert (answer["result"], answer["reason"]) == ("done", "")
            assert answer["data"] == {"key": "score_threshold", "value": 0.5, "before": 1.0}
            events.wait_for(1, "/appear", PATIENCE_S)
            events.wait_for(2, "/update", PATIENCE_S)
            keeper.ask("set", "v2", key="update_interval_s", value=3600)
            before = len(events.on("/update"))
            health.wait_for(len(health.received) + 3)
            assert len(events.on("/update")) <= before + 1

    def test_the_overlay(self, service: Service, keeper: Commander, tmp_path: Path) -> None:
        """The boxes of dogs are red, and nothing else in the picture is."""
        names = (tmp_path / f"{number}.mkv" for number in count())

        def is_red() -> bool:
            frames = pictures(record(service.url("colour"), next(names), frames=20), WIDTH, HEIGHT)
            rgb = frames[10:].astype(int)  # the first ones were made before anybody watched
            return bool((rgb[..., 0] - rgb[..., 1]).max() > 70)

        keeper.ask("set", "o0", key="score_threshold", value=0.5)
        keeper.ask("set", "o1", key="overlay", value=True)
        wait_until(is_red, PATIENCE_S, what="boxes")
        assert keeper.ask("set", "o2", key="overlay", value=False)["data"]["before"] is True
        assert not is_red()
        keeper.ask("set", "o3", key="overlay", value=True)
        wait_until(is_red, PATIENCE_S, what="boxes again")

    def test_the_log_level(self, service: Service, keeper: Commander) -> None:
        assert keeper.ask("set", "l1", key="log_level", value="debug")["data"]["before"] == "info"
        keeper.ask("set", "l2", key="log_level", value="info")
        keeper.ask("snapshot", "l3")
        told = [
            id for id in ("l1", "l2", "l3") if f" DEBUG edge.commands.desk: command set {id} begins" in service.stderr
        ]
        assert told == ["l2"]

    def test_the_bitrate_changes_for_who_watches_and_for_who_comes(
        self, sections: Sections, own_broker: Broker, tmp_path: Path
    ) -> None:
        """Snow takes what it gets."""
        snow = {"kind": "test", "pattern": "snow", "width": 160, "height": 120, "fps": 10}
        config = at(own_broker, sections, source=snow, rtsp={"bitrate_kbps": 2000})
        with Commander(own_broker) as keeper, Service(tmp_path / "unit", config) as service:
            service.wait_ready()
            with Packets(service.url("nir")) as watching:
                rich = fmean(watching.sizes(50)[20:])
                assert keeper.ask("set", "b1", key="bitrate_kbps", value=200)["data"]["before"] == 2000
                poor = fmean(watching.sizes(60)[30:])
                assert poor < rich / 4, (rich, poor)
                with Packets(service.url("colour")) as coming:
                    assert fmean(coming.sizes(50)[30:]) < rich / 4
                keeper.ask("set", "b2", key="bitrate_kbps", value=2000)
                assert fmean(watching.sizes(80)[60:]) > 2 * poor


def test_the_source_is_restarted_and_viewers_stay(service: Service, keeper: Commander, broker: Broker) -> None:
    with Subscriber(broker, f"{BASE}/health", login("viewer")) as health, Viewer(service.url("nir")) as viewer:
        viewer.wait_for(GROUND, 200)
        before = health.wait_for(1)[-1].payload["source"]["rebuilds"]
        answers = [keeper.ask("restart-source", f"r{number}") for number in range(2)]
        told = [(answer["result"], answer["data"]) for answer in answers]
        assert told == [("done", {"rebuilds": before + 1}), ("done", {"rebuilds": before + 2})]
        viewer.wait_for(GROUND, 200)


def test_the_self_test_finds_what_is_wrong(service: Service, keeper: Commander, folder: Path) -> None:
    answer = keeper.ask("self-test", "d1")
    checks = {check["name"]: check for check in answer["data"]["checks"]}
    assert answer["result"] == "done" and {"state folder", "disk", "secrets", "bundle"} <= set(checks)
    assert all(check["state"] != "failed" for check in checks.values())
    secret = (folder / "secret").rename(folder / "lost")
    answer = keeper.ask("self-test", "d2")
    (folder / "lost").rename(folder / "secret")
    assert answer["result"] == "failed"
    assert answer["reason"] == f"1 of {len(checks)} checks: secrets"
    (wrong,) = [check for check in answer["data"]["checks"] if check["state"] == "failed"]
    assert str(secret.parent) in wrong["detail"] and wrong["cure"]


def test_what_this_unit_cannot_do_has_a_reason(service: Service, keeper: Commander) -> None:
    """It has no GPU, and its configuration names the bundle."""
    answers = {
        "engines-rebuild": keeper.ask("engines-rebuild", "c1"),
        "bundle-activate": keeper.ask("bundle-activate", "c2", bundle="site-a"),
        "bundle-rollback": keeper.ask("bundle-rollback", "c3"),
    }
    assert {answer["result"] for answer in answers.values()} == {"refused"}
    assert "GPU" in answers["engines-rebuild"]["reason"]
    assert all("bundle.path" in answers[name]["reason"] for name in answers if name.startswith("bundle"))


def test_bundles_are_switched_and_taken_back(
    sections: Sections, own_broker: Broker, bundle: Path, tmp_path: Path
) -> None:
    store = BundleStore(tmp_path / "state")
    first, second = (stored(store, release(bundle, tmp_path / version, version)) for version in ("1.1", "1.2"))
    store.activate(first, untried=True)
    config = at(
        own_broker,
        {name: section for name, section in sections.items() if name != "bundle"},
        service={"state_dir": str(tmp_path / "state"), "runtime": "cpu"},
        updates={"trial_s": 2},
        detect={"score_threshold": 0.5},
        rtsp={"enabled": False},
    )
    with (
        Commander(own_broker) as keeper,
        Subscriber(own_broker, f"{BASE}/health", login("viewer")) as health,
        Service(tmp_path / "unit", config) as service,
    ):

        def runs(version: str) -> None:
            newest = lambda: health.received[-1].payload["bundle"]["version"]  # noqa: E731
            wait_until(lambda: health.received and newest() == version, PATIENCE_S, what=f"{version} runs")

        service.wait_ready()
        wait_until(lambda: listens(own_broker), PATIENCE_S, what="the unit listens")
        runs("1.1")
        assert keeper.ask("bundle-activate", "m0", bundle="tiny-9")["result"] == "refused"
        started = keeper.ask("bundle-activate", "m1", bundle=second)
        assert (started["result"], started["data"]) == ("started", {"bundle": second})
        runs("1.2")
        assert keeper.ask("bundle-rollback", "m2")["data"] == {"bundle": first}
        runs("1.1")


class TestRefused:
    def test_what_is_wrong(self, service: Service, keeper: Commander) -> None:
        before = len(keeper.answers(None))
        wrong = [
            ("reboot", '{"id": "w1"}', "w1", "unknown command: known are snapshot, "),
            ("set", '{"id": "w2", "key": "score_threshold", "value": 7}', "w2", "score_threshold: .* 1$"),
            ("set", '{"id": "w3", "key": "bitrate_kbps", "value": 99}', "w3", "bitrate_kbps: .* 100$"),
            (
                "set",
                '{"id": "w4", "key": "password_file", "value": "/etc/shadow"}',
                "w4",
                "no such value: choose one",
            ),
            ("set", '{"id": "w5", "key": "overlay", "value": 1}', "w5", "overlay: "),
            ("snapshot", '{"id": "w6", "quality": 100}', "w6", "unknown key: known are id, time_utc, max_kib"),
            ("snapshot", '{"id": "w7", "time_utc": "2024-05-01T22:04:05Z"}', "w7", "time_utc is [0-9]+ s old"),
            ("snapshot", '{"id": "../../w8"}', None, "id: "),
            ("snapshot", "now", None, "not JSON"),
            ("snapshot", '{"id": "w9"}' + " " * 4096, None, "too long: 4108 bytes, at most 4096"),
        ]
        for name, payload, id, reason in wrong:
            assert keeper.send(name, payload) == ""
            answer = keeper.answer(id, before if id is None else 0)
            before += id is None
            assert answer["result"] == "refused" and re.match(reason, answer["reason"]), answer

    def test_the_same_id_again(self, service: Service, keeper: Commander) -> None:
        assert keeper.ask("self-test", "again")["result"] == "done"
        assert "this id was here before" in keeper.ask("set", "again", key="overlay", value=True)["reason"]

    def test_retained(self, service: Service, keeper: Commander) -> None:
        keeper.send("self-test", '{"id": "kept"}', "-r")
        assert "retained" in keeper.answer("kept")["reason"]
        keeper.send("self-test", "", "-r")  # an empty one: the broker forgets it
        wait_until(lambda: any("not JSON" in it["reason"] for it in keeper.answers(None)))

    def test_the_log_has_one_line_for_each_and_no_text_from_outside(
        self, service: Service, keeper: Commander
    ) -> None:
        forged = "x\n2024-05-01 00:00:00,000 ERROR edge.app: all is lost\x1b[31m"
        keeper.send("set", json.dumps({"id": "f1", "key": forged, "value": forged, forged: forged}))
        keeper.send("snapshot", json.dumps({"id": forged}))
        keeper.send("set", json.dumps({"id": "f2", "key": "log_level", "value": forged}))
        keeper.send("all is lost", '{"id": "f3"}')
        keeper.answer("f3")
        assert "all is lost" not in service.stderr
        assert len(re.findall(r"command (set|None) f[123]: refused: ", service.stderr)) == 3


class TestAccess:
    """The broker's list is that of the document."""

    def test_who_may_only_take_pictures(self, service: Service, keeper: Commander, broker: Broker) -> None:
        with Commander(broker, "ranger") as ranger:
            assert ranger.ask("snapshot", "a1")["result"] == "done"
            assert "Not authorized" in ranger.send("set", '{"id": "a2", "key": "overlay", "value": false}')
        self._nobody_answered(keeper, "a2")

    @pytest.mark.parametrize("thief", ["viewer", "tapetum-2"])
    def test_who_may_command_nothing(self, thief: str, service: Service, keeper: Commander, broker: Broker) -> None:
        """One who watches, and one who stole the login of another unit."""
        with Subscriber(broker, "#", login(thief)) as seen:
            with Commander(broker, thief) as somebody:
                for unit in (UNIT, thief):
                    for name in ("set", "snapshot", "bundle-rollback"):
                        assert "Not authorized" in somebody.send(name, f'{{"id": "t-{thief}"}}', unit=unit)
                assert "Not authorized" in somebody.send("../ack", "{}")
            keeper.ask("snapshot", f"secret-{thief}")
        self._nobody_answered(keeper, f"t-{thief}")
        topics = {message.topic for message in seen.received}
        assert not any("/cmd/" in topic or "/ack" in topic or "/snapshot/" in topic for topic in topics)
        assert thief == "viewer" or topics == set()

    def test_who_has_no_login(self, service: Service, broker: Broker) -> None:
        command = ["mosquitto_pub", "-h", broker.host, "-p", str(broker.port), "-t", f"{BASE}/cmd/set", "-m", "{}"]
        assert subprocess.run(command, capture_output=True, timeout=20).returncode != 0

    @staticmethod
    def _nobody_answered(keeper: Commander, id: str) -> None:
        keeper.ask("snapshot", f"after-{id}")  # what came before would have been answered
        assert keeper.answers(id) == []


def test_a_restart_forgets_no_id_and_takes_no_old_command(
    sections: Sections, own_broker: Broker, tmp_path: Path
) -> None:
    """And a small allowance is soon spent."""
    state = {"state_dir": str(tmp_path / "state")}
    few = {"enabled": True, "max_per_minute": 2}
    config = at(own_broker, sections, service=state, commands=few, rtsp={"enabled": False})
    with Commander(own_broker) as keeper:
        keeper.send("snapshot", '{"id": "old"}', "-r")
        with Service(tmp_path / "first", config) as service:
            service.wait_ready()
            wait_until(lambda: listens(own_broker), PATIENCE_S, what="the unit listens")
            assert keeper.ask("self-test", "once")["result"] == "done"
            assert service.stop() == 0, service.stderr
        with Service(tmp_path / "second", config) as service:
            service.wait_ready()
            wait_until(lambda: listens(own_broker, 2), PATIENCE_S, what="the unit listens")
            assert "this id was here before" in keeper.ask("self-test", "once")["reason"]
            results = [keeper.ask("self-test", f"p{number}")["reason"] for number in range(3)]
            assert results == ["", "", "too many commands: at most 2 in a minute"]
        assert keeper.answers("old") == []


def test_a_command_under_way_does_not_hold_up_the_stop(
    sections: Sections, own_broker: Broker, tmp_path: Path
) -> None:
    """The camera that it waits for is not there."""
    absent = {"kind": "v4l2", "device": "/dev/video-none"}
    config = at(own_broker, sections, source=absent, rtsp={"enabled": False})
    with Commander(own_broker) as keeper, Service(tmp_path / "unit", config) as service:
        service.wait_ready()
        wait_until(lambda: listens(own_broker), PATIENCE_S, what="the unit listens")
        assert keeper.ask("snapshot", "h1")["reason"] == "there was no frame yet: is the camera there?"
        keeper.send("restart-source", '{"id": "h2"}')
        keeper.send("reboot", '{"id": "h3"}')
        keeper.answer("h3")  # so the one before was taken
        started_s = time.monotonic()
        assert service.stop() == 0, service.stderr
        assert time.monotonic() - started_s < RESTART_S
        assert keeper.answers("h2") == [] and "Traceback" not in service.stderr
