"""Whether the unit's wall clock can be believed: it hangs on a pole, perhaps without a battery for its clock.

The kernel is asked (adjtimex), as `timedatectl` does. It knows of every program that sets the clock (timesyncd,
chrony, ntpd, PTP), and its answer ages by itself: nine hours after the last correction, about, the clock no longer
counts as synchronised. The file /run/systemd/timesync/synchronized is written by timesyncd alone, and stays.
"""

from __future__ import annotations

import ctypes
import logging
import os

log = logging.getLogger(__name__)

UNKNOWN_ERROR_US = 16_000_000  # NTP_PHASE_LIMIT: where the kernel's bound of the error starts, and where it ends


class Timex(ctypes.Structure):
    """struct timex of <sys/timex.h>, as far as it is read here."""

    _fields_ = (
        ("modes", ctypes.c_uint),  # 0 sets nothing
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror_us", ctypes.c_long),
        ("esterror_us", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time_s", ctypes.c_long),
        ("time_us", ctypes.c_long),
        ("tick_us", ctypes.c_long),
        ("rest", ctypes.c_byte * 128),
    )


_libc = ctypes.CDLL(None, use_errno=True)


def is_synchronised() -> bool:
    """Whether a time server, or another trusted source, keeps the clock. False also where that cannot be known."""
    state = kernel_clock()
    # Not the flag STA_UNSYNC: chrony leaves it set unless it also keeps the hardware clock (rtcsync).
    return state is not None and state.maxerror_us < UNKNOWN_ERROR_US


def kernel_clock() -> Timex | None:
    """What the kernel knows of its clock; None where a sandbox forbids the question."""
    state = Timex()
    if _libc.adjtimex(ctypes.byref(state)) < 0:
        log.debug("adjtimex: %s", os.strerror(ctypes.get_errno()))
        return None
    return state
