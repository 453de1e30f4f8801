"""The stack that a thread's signal handlers run on, kept from libraries that put their own in its place."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager


class _Stack(ctypes.Structure):
    """stack_t of Linux: see sigaltstack(2)."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Give this thread its signal stack back at the end.

    On CPUs with AMX OpenVINO gives the thread that compiles a network a stack for signals, which it frees with the
    network, whichever thread that happens in. The next signal to the first thread, such as SIGTERM, would be written
    to freed memory: a segmentation fault.
    """
    stack, sigaltstack = _Stack(), ctypes.CDLL(None).sigaltstack
    sigaltstack(None, ctypes.byref(stack))
    try:
        yield
    finally:
        sigaltstack(ctypes.byref(stack), None)
