"""Run-time values: the configuration's, its bounds, and who is told."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest

from edge.config import Config, parse_config
from edge.errors import ConfigError, RefusedError
from edge.settings import Settings, Values

SECTIONS = {
    "score_threshold": "detect",
    "update_interval_s": "detect",
    "overlay": "rtsp",
    "bitrate_kbps": "rtsp",
    "log_level": "service",
}


def test_they_begin_with_what_the_file_says() -> None:
    config = parse_config({"detect": {"score_threshold": 0.7}, "rtsp": {"overlay": False}}, origin="test")
    assert Settings(config).now == Values(0.7, 1.0, False, 2000, "info")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("score_threshold", 0.05),
        ("score_threshold", 1),
        ("update_interval_s", 3600),
        ("overlay", False),
        ("bitrate_kbps", 50_000),
        ("log_level", "debug"),
    ],
)
def test_a_change_is_seen_and_told(name: str, value: object) -> None:
    settings, told = Settings(Config()), []
    before = settings.now
    settings.watch(told.append)
    settings.set(name, value)
    assert told == [settings.now]
    assert getattr(settings.now, name) == value
    others = [field.name for field in fields(Values) if field.name != name]
    assert [getattr(before, other) for other in others] == [getattr(settings.now, other) for other in others]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("score_threshold", 0.04),
        ("score_threshold", 1.01),
        ("score_threshold", math.nan),
        ("score_threshold", math.inf),
        ("score_threshold", "0.5"),
        ("score_threshold", True),
        ("score_threshold", None),
        ("score_threshold", [0.5]),
        ("update_interval_s", 0.5),
        ("update_interval_s", 3601),
        ("overlay", 1),
        ("overlay", "false"),
        ("bitrate_kbps", 99),
        ("bitrate_kbps", 50_001),
        ("bitrate_kbps", 1000.5),
        ("bitrate_kbps", 10**400),
        ("log_level", "critical"),
        ("log_level", "DEBUG"),
        ("log_level", "x\n\x1b"),
    ],
)
def test_what_the_file_could_not_say_is_refused_and_changes_nothing(name: str, value: object) -> None:
    settings, told = Settings(Config()), []
    before = settings.now
    settings.watch(told.append)
    with pytest.raises(RefusedError, match=f"^{name}: ") as refused:
        settings.set(name, value)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 200
    assert settings.now is before and told == []
    with pytest.raises(ConfigError):
        parse_config({SECTIONS[name]: {name: value}}, origin="the same in the file")


@pytest.mark.parametrize("name", ["", "password_file", "port", "now", "_values", "__class__"])
def test_no_other_key_can_be_set(name: str) -> None:
    with pytest.raises(
        RefusedError, match="no such value: choose one of score_threshold, update_interval_s, overlay"
    ):
        Settings(Config()).set(name, "x")
