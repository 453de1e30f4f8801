"""What must not leave the unit in a report, and how it is taken out."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from edge.config import Config, credential, read_secret
from edge.errors import ConfigError

HIDDEN = "***"

_PATTERNS = (
    # What a password may stand in, whoever's it is: addresses, headers, keys.
    (re.compile(r"(\w+://)[^/\s@'\"]+@"), rf"\1{HIDDEN}@"),
    (re.compile(r"(?i)(authorization|cookie)(['\"]?\s*[:=]).*"), rf"\1\2 {HIDDEN}"),
    (re.compile(r"(?i)\b(pass(?:word|wd)?|pwd|secret|token|api_?key)(['\"]?\s*[=:]\s*)[^\s&;,]+"), rf"\1\2{HIDDEN}"),
    (re.compile(r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*-----|\Z)"), HIDDEN),
)
_LEAST = 3  # characters: shorter ones are in every word


class Scrubber:
    """Takes secrets out of text: those that it is given, however they are written, and what looks like one."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _forms(secret) if len(form) >= _LEAST}
        self._known = re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True))) or r"(?!)")

    def __call__(self, text: str) -> str:
        text = self._known.sub(HIDDEN, text)
        for pattern, shown in _PATTERNS:
            text = pattern.sub(shown, text)
        return text


def secrets_of(config: Config) -> Iterator[str]:
    """Every secret that the configuration leads to and that may be read."""
    from edge.tools.doctor.storage import secret_files

    for key, file in secret_files(config):
        with suppress(ConfigError, OSError, UnicodeDecodeError):
            if key.endswith("password_file"):
                yield read_secret(file)
            else:
                yield from (line for line in credential(file).read_text().splitlines() if "-----" not in line)
    parts = urlsplit(config.source.url)  # some cameras take the login there
    yield from (parts.path.strip("/"), parts.query, *(value for _, value in parse_qsl(parts.query)))


def shown_document(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A configuration file as far as it may be told: known keys, without what addresses and slips may hold."""
    known = Config().model_dump()
    shown: dict[str, dict[str, Any]] = {}
    for section, keys in document.items():
        if section in known and isinstance(keys, dict):
            shown[section] = {key: _shown(key, value) for key, value in keys.items() if key in known[section]}
    return shown


def as_toml(document: dict[str, dict[str, Any]]) -> str:
    """Strings, numbers and booleans are written as in JSON."""
    lines = []
    for section, keys in document.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value, default=str)}" for key, value in keys.items()), ""]
    return "\n".join(lines)


def _shown(key: str, value: Any) -> Any:
    if key == "url":
        parts = re.match(r"(rtsps?://)(?:.*@)?([^/?#\s]*)", str(value))
        return f"{parts[1]}{parts[2]}/{HIDDEN}" if parts else HIDDEN if value else ""
    if key in ("password_file", "key_file") and value:
        # Somebody may have written the password itself.
        return value if isinstance(value, str) and _is_file(value) else f"{HIDDEN} (no such file)"
    return value


def _is_file(name: str) -> bool:
    try:
        return credential(name).is_file()
    except (OSError, ValueError):
        return False


def _forms(secret: str) -> set[str]:
    """A secret, as it would stand in an address, in JSON, in Python, and in a header."""
    return {
        secret,
        quote(secret),
        quote(secret, safe=""),
        unquote(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        base64.b64encode(secret.encode()).decode(),
    }
