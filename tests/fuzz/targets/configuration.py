"""edge.toml, and the files that hold passwords."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge.config import Config, load_config, read_secret, tomllib  # tomli on Python 3.10
from edge.errors import ConfigError
from tests.fuzz.target import SECRET, Target

SHIPPED = Path(__file__).parents[3] / "systemd" / "edge.toml"
_COMMENT = re.compile(rb"(?m)^\s*#.*\n|\s+#[^\"\n]*$")

SMALL = b"""
unit = { name = "north-fold" }
source.kind = "file"
source.path = "/srv/clip.mp4"
[mqtt]
username = "unit"
password_file = "mqtt-password"
tls = true
health_interval_s = 1e1
[detect]
score_threshold = 0.5
"""
# Secrets where they may well be put: none of these is taken.
MISTAKES = (
    b'[mqtt]\npassword = "%b"\n',
    b'[rtsp]\nusername = "viewer"\npassword = """\n%b"""\n',
    b'[source]\nkind = "rtsp"\nurl = "rtsp://camera:%b@192.0.2.7:554/live"\n',
)


class Configuration(Target):
    """Bytes of edge.toml."""

    tokens = (
        *(
            b"[",
            b"]",
            b"[[",
            b"{",
            b"}",
            b'"""',
            b"'''",
            b"=",
            b"#",
            b"\\u0000",
            b"\\U0010FFFF",
            b"inf",
            b"nan",
            b"0x",
        ),
        *(b"true", b"1979-05-27T07:32:00Z", b"rtsp://", b"@", b"[source]", b"[mqtt]", b'"rtsp"', b'"file"', b"\\n"),
    )

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._path = folder / "edge.toml"

    def seeds(self) -> list[bytes]:
        shipped = SHIPPED.read_bytes()
        return [shipped, _COMMENT.sub(b"", shipped), SMALL, *(text % SECRET.encode() for text in MISTAKES)]

    def feed(self, data: bytes) -> None:
        self._path.write_bytes(data)
        try:
            config = load_config(self._path)
        except ConfigError as error:
            if SECRET in str(error) and _is_misplaced(tomllib.loads(data.decode("utf-8-sig"))):
                raise ConfigError("tells what is no secret where it stands") from error
            raise
        assert Config.model_validate(config.model_dump()) == config
        for key, value in _values(config.model_dump()):
            assert not isinstance(value, float) or math.isfinite(value), f"{key} = {value}"
            assert not isinstance(value, str) or value.isprintable(), f"{key} = {value!r}"
        assert 0 <= config.rtsp.port <= 65535 and 1 <= config.mqtt.port <= 65535
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", config.unit.name)
        assert not re.search(r"[+#\0]|^\$|^/|//|/$", config.mqtt.prefix), "a topic that no broker takes"


class Secret(Target):
    """Bytes of a password's file."""

    tokens = (b"\n", b"\r", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b" ")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._path = folder / "secret"

    def seeds(self) -> list[bytes]:
        return [SECRET.encode(), f"{SECRET}\n".encode(), f"pässword {SECRET} \r\nremark\n".encode(), b"\n"]

    def feed(self, data: bytes) -> None:
        self._path.write_bytes(data)
        secret = read_secret(str(self._path))
        assert secret and secret.isprintable(), "cannot be sent as it is"
        assert data.decode().removeprefix("\ufeff").startswith(secret)


def _is_misplaced(node: object, key: str = "") -> bool:
    """Whether spoiling has made the secret a key, or the value of a key that holds none: that may be told."""
    if isinstance(node, dict):
        return any(SECRET in name or _is_misplaced(value, name) for name, value in node.items())
    if isinstance(node, list):
        return any(_is_misplaced(value, key) for value in node)
    return key not in ("password", "url") and SECRET in str(node)


def _values(document: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for section, keys in document.items():
        for key, value in keys.items():
            yield f"{section}.{key}", value
