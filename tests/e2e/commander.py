"""A broker with the access list of docs/mqtt.md, and people who command a unit through it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from tests.e2e.service import PATIENCE_S
from tests.edge.telemetry.schemas import DOCUMENT, validate
from tests.mosquitto import Broker, Subscriber, wait_until

UNIT = "tapetum-1"
BASE = f"tapetum/{UNIT}"
USERS = {name: f"{name}'s password" for name in (UNIT, "tapetum-2", "viewer", "keeper", "ranger")}


def guarded_broker(folder: Path) -> Broker:
    """Everybody has a login and the rights of the document; the broker's log tells of each packet."""
    folder.mkdir(parents=True)
    (rules,) = re.findall(r"^```acl\n(.*?)^```", DOCUMENT.read_text(), re.M | re.S)
    acl = folder / "acl"
    acl.write_text(f"{rules}\npattern read $SYS/broker/version\n")  # the tests' own marker
    acl.chmod(0o600)
    return Broker(folder, users=USERS, extra=[f"acl_file {acl}", "allow_anonymous false", "log_type all"])


def login(user: str) -> list[str]:
    return ["-u", user, "-P", USERS[user]]


class Commander:
    """Somebody with a login: sends commands by mosquitto_pub, reads answers by mosquitto_sub."""

    def __init__(self, broker: Broker, user: str = "keeper") -> None:
        self._broker, self._user = broker, user
        self._answers = Subscriber(broker, f"{BASE}/ack", login(user))

    def __enter__(self) -> Commander:
        return self

    def __exit__(self, *_: object) -> None:
        self._answers.__exit__()

    def send(self, name: str, payload: str, *arguments: str, unit: str = UNIT) -> str:
        """Publish; what mosquitto_pub complains of."""
        topic = f"tapetum/{unit}/cmd/{name}"
        command = ["mosquitto_pub", "-V", "5", "-h", self._broker.host, "-p", str(self._broker.port), "-q", "1"]
        command += [*login(self._user), "-t", topic, *arguments, "-s"]
        done = subprocess.run(command, input=payload.encode(), capture_output=True, timeout=PATIENCE_S)
        return done.stderr.decode()

    def ask(self, name: str, id: str, **more: Any) -> dict[str, Any]:
        """The answer to a command; the first one that comes from now on."""
        before = len(self.answers(id))
        assert self.send(name, json.dumps({"id": id, **more})) == ""
        return self.answer(id, before)

    def answer(self, id: str | None, before: int = 0) -> dict[str, Any]:
        """The answer to an id, as soon as there are more than `before`."""
        wait_until(lambda: len(self.answers(id)) > before, PATIENCE_S, what=f"an answer to {id}")
        found = self.answers(id)[before]
        validate(found)
        return found

    def answers(self, id: str | None) -> list[dict[str, Any]]:
        return [it.payload for it in list(self._answers.received) if it.payload["id"] == id]


class Picture:
    """Waits for one message that is a file, such as a JPEG."""

    def __init__(self, broker: Broker, topic: str, path: Path, user: str = "keeper") -> None:
        self._path = path
        command = ["mosquitto_sub", "-h", broker.host, "-p", str(broker.port), *login(user), "-C", "1", "-N"]
        subscribed = broker.log().count(f"{topic} (QoS 0)")
        with path.open("wb") as file:
            self._process = subprocess.Popen([*command, "-t", topic, "-W", "60"], stdout=file)
        wait_until(lambda: broker.log().count(f"{topic} (QoS 0)") > subscribed, what="the subscription stands")

    def received(self) -> bytes:
        assert self._process.wait(PATIENCE_S) == 0
        return self._path.read_bytes()


class Packets:
    """Somebody who watches a stream: the bytes of each frame, as they come."""

    def __init__(self, url: str) -> None:
        command = ["ffmpeg", "-v", "error", "-rtsp_transport", "tcp", "-i", url, "-c", "copy", "-f", "framecrc"]
        self._process = subprocess.Popen([*command, "-flush_packets", "1", "-"], stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Packets:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def sizes(self, count: int) -> list[int]:
        """Of the next frames."""
        assert self._process.stdout is not None
        sizes: list[int] = []
        while len(sizes) < count:
            line = self._process.stdout.readline()
            assert line, "the stream was interrupted"
            if not line.startswith("#"):
                sizes.append(int(line.split(",")[4]))
        return sizes
