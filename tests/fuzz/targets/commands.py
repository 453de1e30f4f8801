"""MQTT commands: a message becomes a command that is what it says, or a refusal that repeats nothing of it."""

from __future__ import annotations

import json
from pathlib import Path

from edge.commands.gate import Gate
from edge.commands.parse import COMMANDS, MAX_BYTES, SetValue, command_id, parse_command
from edge.config import Config
from edge.sections import CommandsConfig
from edge.settings import Settings
from tests.fuzz.target import SECRET, Target
from tests.fuzz.targets.bundles import JSON_TOKENS

GOOD = {
    "snapshot": {"id": "a1", "max_kib": 200},
    "restart-source": {"id": "a2", "time_utc": "2024-05-01T22:04:05Z"},
    "set": {"id": "a3", "key": "score_threshold", "value": 0.4},
    "bundle-activate": {"id": "a4", "bundle": "north-1.2-0123456789ab"},
    "bundle-rollback": {"id": "a5"},
    "engines-rebuild": {"id": "a6", "time_utc": "2024-05-01T22:04:05.678Z"},
    "self-test": {"id": "a_7-B"},
}


class MqttCommand(Target):
    """The topic, up to the first line end, and the payload behind it."""

    tokens = (
        *JSON_TOKENS,
        *(name.encode() for name in COMMANDS),
        *(b'"id"', b'"key"', b'"value"', b'"time_utc"', b'"overlay"', b'"log_level"', b'"bitrate_kbps"', b'"bundle"'),
        *(b"../", b"/cmd/", b"#", b"+", b"2024-02-30T24:61:61Z", b"0001-01-01T00:00:00Z", b"9999-12-31T23:59:59Z"),
    )

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._config = CommandsConfig()
        self._settings = Settings(Config())

    def seeds(self) -> list[bytes]:
        made = [f"tapetum/unit/cmd/{name}\n{json.dumps(payload)}" for name, payload in GOOD.items()]
        values = [
            {"id": "b", "key": key, "value": value} for key, value in (("overlay", False), ("log_level", "info"))
        ]
        made += [f"tapetum/unit/cmd/set\n{json.dumps(payload)}" for payload in values]
        # None of these is taken, and what they hold is not repeated.
        made += [f'tapetum/unit/cmd/{SECRET}\n{{"id":"c"}}', f'a/cmd/set\n{{"id":"d","key":"{SECRET}","value":1}}']
        made += [f'a/cmd/self-test\n{{"id":"{SECRET} "}}', f'a/cmd/self-test\n{{"id":"e","{SECRET}":1}}']
        made += [f'a/cmd/set\n{{"id":"f","key":"log_level","value":"{SECRET}"}}']
        return [text.encode() for text in made]

    def feed(self, data: bytes) -> None:
        line, _, payload = data.partition(b"\n")
        topic = line.decode(errors="replace")
        self._check_id(payload)
        command = parse_command(topic, payload)
        assert type(command) is COMMANDS[topic.rpartition("/")[2]] and len(payload) <= MAX_BYTES
        assert command.id == json.loads(payload)["id"] == command_id(payload)
        gate = Gate(self._config, self.folder)
        gate.check(command, is_retained=False)
        gate.admit(command)
        gate.save()
        if isinstance(command, SetValue):
            self._settings.set(command.key, command.value)
            now = self._settings.now
            assert 0.05 <= now.score_threshold <= 1 and 1 <= now.update_interval_s <= 3600
            assert 100 <= now.bitrate_kbps <= 50_000 and type(now.overlay) is bool
        (self.folder / "commands.seen").unlink()

    def _check_id(self, payload: bytes) -> None:
        """It goes into the answer, whatever becomes of the command."""
        found = command_id(payload)
        assert found is None or (found.isascii() and found.isprintable() and 1 <= len(found) <= 64)
