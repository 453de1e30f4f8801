"""Spoil good bytes, blindly and repeatably: the same seed gives the same input on every machine."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

LARGEST = 1 << 16  # bytes of an input; what limits a reader has for larger ones, its own tests show
DEEPEST = 6000  # repetitions of one span: deeper than any parser may recurse
UNSPOILT = 0.02  # of all inputs: a target that takes nothing tests nothing

NUMBERS = (
    *("0", "-0", "1", "-1", "127", "128", "255", "256", "32767", "65535", "65536", "2147483647", "2147483648"),
    *("-2147483649", "4294967296", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "1e308"),
    *("1e309", "-1e309", "1e-400", "1e9999999", "nan", "inf", "-inf", "NaN", "Infinity", "0.1", "1_000", "007"),
    *("0x7fffffffffffffff", "0x" + "f" * 5000, "9" * 400, "9" * 5000, "0." + "3" * 400),
)
BYTES = (
    b"\0",
    b"\n",
    b"\r\n",
    b"\t",
    b"\x7f",
    b"\x1b[2J",
    b"\xff\xfe",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xe2\x80\xae",
)
"""Ends of lines, terminal escapes, no UTF-8, surrogates, and what turns the writing direction."""

_NUMBER = re.compile(rb"-?\d+(\.\d+)?")
_WORD = re.compile(rb"[A-Za-z_][A-Za-z0-9_.-]*")

Mutation = Callable[[random.Random, bytes, Sequence[bytes], Sequence[bytes]], bytes]


def spoilt(chance: random.Random, data: bytes, seeds: Sequence[bytes], tokens: Sequence[bytes] = ()) -> bytes:
    """`data` after a few mutations; `seeds` lend parts, `tokens` are words that the reader knows."""
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 5, 12))):
        data = chance.choice(MUTATIONS)(chance, data, seeds, tokens)[:LARGEST]
    return data


def input_of(target: str, seed: int, number: int, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    """Input `number` of a run: it depends on no other, so that any of them can be made again alone."""
    chance = random.Random(f"{target} {seed} {number}")
    data = chance.choice(seeds)
    return data if chance.random() < UNSPOILT else spoilt(chance, data, seeds, tokens)


def _span(chance: random.Random, data: bytes, longest: int = 1 << 30) -> tuple[int, int]:
    start = chance.randrange(len(data) + 1)
    length = min(longest, len(data) - start, 1 << chance.randrange(12))
    return start, start + chance.randint(0, length)


def _flip_bit(chance: random.Random, data: bytes, *_: object) -> bytes:
    if not data:
        return data
    where = chance.randrange(len(data))
    return data[:where] + bytes([data[where] ^ 1 << chance.randrange(8)]) + data[where + 1 :]


def _overwrite(chance: random.Random, data: bytes, *_: object) -> bytes:
    start, end = _span(chance, data, 16)
    return data[:start] + chance.randbytes(end - start) + data[end:]


def _delete(chance: random.Random, data: bytes, *_: object) -> bytes:
    start, end = _span(chance, data)
    return data[:start] + data[end:]


def _truncate(chance: random.Random, data: bytes, *_: object) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _repeat(chance: random.Random, data: bytes, *_: object) -> bytes:
    start, end = _span(chance, data, 64)
    times = chance.choice((2, 3, 10, 100, DEEPEST))
    return data[:start] + data[start:end] * times + data[end:]


def _move(chance: random.Random, data: bytes, *_: object) -> bytes:
    start, end = _span(chance, data, 256)
    rest = data[:start] + data[end:]
    where = chance.randrange(len(rest) + 1)
    return rest[:where] + data[start:end] + rest[where:]


def _splice(chance: random.Random, data: bytes, seeds: Sequence[bytes], _: object) -> bytes:
    other = chance.choice(seeds)
    return data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other) + 1) :]


def _insert_bytes(chance: random.Random, data: bytes, *_: object) -> bytes:
    where = chance.randrange(len(data) + 1)
    return data[:where] + chance.choice(BYTES) + data[where:]


def _insert_token(chance: random.Random, data: bytes, _: object, tokens: Sequence[bytes]) -> bytes:
    where = chance.randrange(len(data) + 1)
    return data[:where] + chance.choice(tokens or BYTES) + data[where:]


def _replace_word(chance: random.Random, data: bytes, _: object, tokens: Sequence[bytes]) -> bytes:
    return _replaced(chance, data, _WORD, chance.choice(tokens or BYTES))


def _replace_number(chance: random.Random, data: bytes, *_: object) -> bytes:
    return _replaced(chance, data, _NUMBER, chance.choice(NUMBERS).encode())


def _replaced(chance: random.Random, data: bytes, pattern: re.Pattern[bytes], new: bytes) -> bytes:
    """The first match behind some place gives way."""
    found = pattern.search(data, chance.randrange(len(data) + 1)) or pattern.search(data)
    return data[: found.start()] + new + data[found.end() :] if found else data + new


def _nest(chance: random.Random, data: bytes, *_: object) -> bytes:
    where, depth = chance.randrange(len(data) + 1), chance.choice((3, 200, DEEPEST))
    return data[:where] + chance.choice((b"[", b"{", b'{"a":', b"[[", b"a.", b"(", b"<")) * depth + data[where:]


MUTATIONS: tuple[Mutation, ...] = (
    *(_flip_bit, _overwrite, _delete, _truncate, _repeat, _move, _splice),
    *(_insert_bytes, _insert_token, _replace_word, _replace_number, _replace_number, _nest),
)
