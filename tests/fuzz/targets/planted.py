"""Readers that go wrong when they meet a word, each in its way: a fuzzer that does not find them is worth nothing."""

from __future__ import annotations

import ctypes
import os
import re
import threading
from abc import abstractmethod

from edge.errors import InputError
from tests.fuzz.target import SECRET, Target

WORD = b"trigger"


class Planted(Target):
    """Takes its one seed, refuses all else, and goes wrong at the word."""

    tokens = (WORD,)

    def seeds(self) -> list[bytes]:
        return [b"a good input"]

    def feed(self, data: bytes) -> None:
        if WORD in data:
            self.go_wrong()
        elif data not in self.seeds():
            raise InputError("not a good input")

    @abstractmethod
    def go_wrong(self) -> None: ...


class Error(Planted):
    def go_wrong(self) -> None:
        raise KeyError("a bug")


class Lines(Planted):
    def go_wrong(self) -> None:
        raise InputError("two\nlines")


class Secret(Planted):
    def go_wrong(self) -> None:
        raise InputError(f"the password is not {SECRET}")


class Segfault(Planted):
    def go_wrong(self) -> None:
        ctypes.string_at(0)


class Hang(Planted):
    """In C code, and it does not let go of the interpreter."""

    def go_wrong(self) -> None:
        re.match(r"(a+)+$", "a" * 64 + "b")


class Memory(Planted):
    def go_wrong(self) -> None:
        bytearray(1 << 40)


class Noise(Planted):
    def go_wrong(self) -> None:
        os.write(2, b"libexample: something odd\n")


class Thread(Planted):
    """Its traceback comes by a thread."""

    def go_wrong(self) -> None:
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()


class Promise(Planted):
    def go_wrong(self) -> None:
        raise AssertionError("read something else than was written")


class Batch(Planted):
    """Nothing shows with the input itself."""

    _is_wrong = False

    def go_wrong(self) -> None:
        self._is_wrong = True

    def after_batch(self) -> None:
        assert not self._is_wrong, "descriptors grew"
