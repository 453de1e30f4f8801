"""Checks end alone, whatever becomes of them."""

from __future__ import annotations

import threading
import time

from edge.errors import ConfigError
from edge.tools.doctor.check import Check, Examination, Finding, failed, ok, warning


def test_what_is_found_gets_its_name() -> None:
    assert Examination("disk", lambda: ok("10 MiB")).made() == Check("disk", "ok", "10 MiB")
    assert Examination("disk", lambda: warning("full", "make room")).made() == Check(
        "disk", "warning", "full", "make room"
    )


def test_one_that_hangs_is_left_behind() -> None:
    forever = threading.Event()

    def hang() -> Finding:
        forever.wait()
        return ok("never")

    started_s = time.monotonic()
    check = Examination("camera", hang, limit_s=0.2).made()
    assert (check.state, check.detail) == ("failed", "no answer within 0.2 s")
    assert time.monotonic() - started_s < 5
    forever.set()


def test_one_that_breaks_says_so() -> None:
    check = Examination("board", lambda: failed(*[1])).made()  # type: ignore[arg-type, call-arg]
    assert check.state == "failed"
    assert check.detail.startswith("the check itself broke: TypeError: ")


def test_an_error_that_a_user_can_mend_is_told_as_it_is() -> None:
    def refuse() -> Finding:
        raise ConfigError("mqtt.ca_file: none.pem: No such file")

    assert Examination("broker", refuse).made() == Check("broker", "failed", "mqtt.ca_file: none.pem: No such file")


def test_each_is_one_line() -> None:
    check = Examination("x", lambda: failed("a\nb\x1b[31m", "c\r\nd")).made()
    assert "\n" not in check.detail + check.cure
    assert "\x1b" not in check.detail
