"""Images and videos are decoded in a process of their own: a decoder that crashes ends that one, not ours.

Decoders are C code, and files come from anywhere. Requests go to the process as JSON, one a line; it answers with a
line of JSON, behind a picture's with the picture's bytes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from edge.closing import Closing
from edge.errors import InputError
from edge.media import MOST_PIXELS, Clip, ClipReader, quieten_opencv, read_still
from edge.types import UInt8Array


class Decoder(Closing):
    """`read_still` and `ClipReader` in a process that is started when it is needed, and again after a crash.

    One file at a time.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def still(self, path: Path) -> UInt8Array:
        """Arguments, result and errors are those of `read_still`.

        Raises:
            InputError: also where the decoder crashes.
        """
        return self.picture(self.ask("still", path), path)

    def clip(self, path: Path) -> DecodedClip:
        """Arguments, result and errors are those of `ClipReader`.

        Raises:
            InputError: also where the decoder crashes, here or later.
        """
        return DecodedClip(self, path)

    def ask(self, what: str, path: Path) -> dict[str, Any]:
        """Send a request, and wait for the first answer."""
        if self._process is None or self._process.poll() is not None:
            self._process = _started()
        assert self._process.stdin
        with suppress(BrokenPipeError):  # the answer tells
            self._process.stdin.write(json.dumps([what, str(path)]).encode() + b"\n")
            self._process.stdin.flush()
        return self.answer(path)

    def answer(self, path: Path) -> dict[str, Any]:
        """The next line. Raises InputError: the file is refused, or the decoder is gone."""
        assert self._process and self._process.stdout
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise self._crash(path)
        answer: dict[str, Any] = json.loads(line)
        if "refused" in answer:
            raise InputError(answer["refused"])
        return answer

    def picture(self, answer: dict[str, Any], path: Path) -> UInt8Array:
        """What follows a picture's line: uint8[H, W]."""
        assert self._process and self._process.stdout
        rows, columns = answer["shape"]
        pixels = self._process.stdout.read(rows * columns)
        if len(pixels) < rows * columns:
            raise self._crash(path)
        return np.frombuffer(pixels, np.uint8).reshape(rows, columns)

    def _crash(self, path: Path) -> InputError:
        assert self._process
        code = self._process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return InputError(f"{path}: its decoder crashed ({how}): the file is damaged: leave it out")

    def close(self) -> None:
        """End the process. May be called again."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._process = None


class DecodedClip(Clip):
    """A video file that a `Decoder` reads ahead of us."""

    def __init__(self, decoder: Decoder, path: Path) -> None:
        self._decoder, self._path = decoder, path
        self._is_over = False
        about = decoder.ask("clip", path)
        super().__init__(about["fps"], about["frames"])

    def __iter__(self) -> Iterator[UInt8Array]:
        while not self._is_over:
            answer = self._decoder.answer(self._path)
            if "shape" in answer:
                yield self._decoder.picture(answer, self._path)
            else:
                self._is_over = True

    def close(self) -> None:
        if not self._is_over:  # the rest of it is in the way of the next file
            self._decoder.close()


def _started() -> subprocess.Popen[bytes]:
    bounds = {"OPENCV_IO_MAX_IMAGE_PIXELS": str(MOST_PIXELS)}
    return subprocess.Popen(
        [sys.executable, "-m", "edge.tools.decoder"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # a broken file gets one line, ours; not its decoder's
        env=os.environ | bounds,
    )


def _serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    quieten_opencv()
    for line in requests:
        what, path = json.loads(line)
        try:
            pictures = _clip(Path(path), answers) if what == "clip" else iter([read_still(Path(path))])
            for picture in pictures:
                _tell(answers, shape=picture.shape)
                answers.write(np.ascontiguousarray(picture).data)
                answers.flush()
            if what == "clip":
                _tell(answers, end=True)
        except InputError as error:
            _tell(answers, refused=str(error))


def _clip(path: Path, answers: IO[bytes]) -> Iterator[UInt8Array]:
    with closing(ClipReader(path)) as clip:
        _tell(answers, fps=clip.fps, frames=clip.frames)
        yield from clip


def _tell(answers: IO[bytes], **answer: object) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who asked
    _serve(sys.stdin.buffer, sys.stdout.buffer)
