"""What the kernel knows of the clock, by its own word."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
import time

import pytest

from edge.station import clock
from edge.types import Instant

# Forbids the two system calls by which adjtimex is made, as systemd's ProtectClock= does, and asks.
SANDBOXED = """
import ctypes, errno, struct, sys
calls = [int(word) for word in sys.argv[1:]]
allow, forbid = 0x7FFF0000, 0x00050000 | errno.EPERM
load, equal, give = 0x20, 0x15, 0x06  # BPF_LD | BPF_W | BPF_ABS; BPF_JMP | BPF_JEQ; BPF_RET
rules = [(load, 0, 0, 0), *((equal, len(calls) - n, 0, call) for n, call in enumerate(calls)),
         (give, 0, 0, allow), (give, 0, 0, forbid)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
program = ctypes.create_string_buffer(struct.pack("HP", len(rules), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
if libc.prctl(22, 2, program) != 0:  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
    sys.exit("no seccomp here")
from edge.station import clock
print(clock.kernel_clock(), clock.is_synchronised())
"""
CALLS = {"x86_64": ("159", "305"), "aarch64": ("171", "266")}  # adjtimex, clock_adjtime


class NtpTimeval(ctypes.Structure):
    """struct ntptimeval of <sys/timex.h>, but for its end."""

    _fields_ = (
        ("time_s", ctypes.c_long),
        ("time_us", ctypes.c_long),
        ("maxerror_us", ctypes.c_long),
        ("esterror_us", ctypes.c_long),
        ("rest", ctypes.c_long * 8),
    )


def test_the_kernel_s_answer_is_read_in_the_right_places() -> None:
    state = clock.kernel_clock()
    assert state is not None
    assert state.time_s == pytest.approx(time.time(), abs=2)
    assert 9_000 <= state.tick_us <= 11_000
    other = NtpTimeval()
    ctypes.CDLL(None).ntp_gettime(ctypes.byref(other))
    assert state.maxerror_us == pytest.approx(other.maxerror_us, abs=2000)  # it grows by 500 us a second
    assert clock.is_synchronised() == (other.maxerror_us < 16_000_000)


def test_an_instant_knows_whether_the_clock_was_right() -> None:
    assert Instant.now().is_synchronised == clock.is_synchronised()


@pytest.mark.parametrize(("maxerror_us", "expected"), [(0, True), (15_999_999, True), (16_000_000, False)])
def test_the_bound_of_the_error_decides(maxerror_us: int, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "kernel_clock", lambda: clock.Timex(maxerror_us=maxerror_us))
    assert clock.is_synchronised() is expected


@pytest.mark.skipif(platform.machine() not in CALLS, reason="system calls of other machines are not listed here")
def test_a_sandbox_that_forbids_the_question_makes_the_clock_unknown() -> None:
    command = [sys.executable, "-c", SANDBOXED, *CALLS[platform.machine()]]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if "no seccomp here" in result.stderr:
        pytest.skip("this machine's kernel or container has no seccomp")
    assert (result.returncode, result.stdout.strip()) == (0, "None False"), result.stderr
