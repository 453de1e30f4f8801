"""The service's side of systemd's notification protocol, sd_notify(3). Without systemd nothing happens."""

from __future__ import annotations

import os
import socket


def notify(**fields: str | int) -> bool:
    """Send `KEY=value` lines to the service manager; True when they were handed over.

    A manager that is absent or does not listen is never a reason to stop: the answer is False.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # the abstract name space of Linux
        address = "\0" + address[1:]
    # A newline would start another field.
    lines = (f"{key}={' '.join(str(value).splitlines())}" for key, value in fields.items())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        manager.settimeout(1.0)  # a manager whose queue is full must not hold up the caller
        try:
            manager.sendto("\n".join(lines).encode(), address)
        except OSError:
            return False
    return True


def ready(text: str = "") -> bool:
    """The service is up; `text` is shown by `systemctl status`."""
    return notify(READY=1, STATUS=text)


def status(text: str) -> bool:
    """One line for `systemctl status`."""
    return notify(STATUS=text)


def watchdog() -> bool:
    """The service is alive: restart the watchdog's clock."""
    return notify(WATCHDOG=1)


def extend_timeout(seconds: float) -> bool:
    """A start or stop that takes long is under way: it may take so long from now on. Call it again before that."""
    return notify(EXTEND_TIMEOUT_USEC=round(seconds * 1_000_000))


def stopping(text: str = "") -> bool:
    """The service has begun to stop."""
    return notify(STOPPING=1, STATUS=text)


def watchdog_interval_s() -> float | None:
    """Time within which `watchdog` must be called, over and over; None when nobody watches this process.

    Call it at about half of this interval, as sd_watchdog_enabled(3) advises.
    """
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None  # meant for our parent
    interval_us = os.environ.get("WATCHDOG_USEC", "")
    if not interval_us.isdecimal() or int(interval_us) == 0:
        return None
    return int(interval_us) / 1_000_000
