"""One process that feeds one target: `python -m tests.fuzz.worker`, started by tests/fuzz/run.py.

It tells how far it is on stdout, one JSON object a line. Each input is written down before it is fed, so that it is
known after a crash; an input that takes too long ends the process, with the place where it hangs on stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import importlib
import json
import os
import random
import re
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

from tests.fuzz.finding import Finding, save
from tests.fuzz.mutate import LARGEST, input_of, spoilt
from tests.fuzz.target import BATCH, Target, is_taken
from tests.fuzz.targets import target_class

START_S = 60.0  # what imports, and the seeds, may take besides
TELL_S = 0.5
GUIDES = ["edge", "tomllib", "tarfile"]  # packages whose branches lead the guided inputs
LIBFUZZER = r"(INFO|WARNING): .*|#\d+\t.*|\tNEW_FUNC.*"  # what it says of itself


class Worker:
    """Feeds a target and counts."""

    def __init__(self, options: argparse.Namespace, target: Target, tell: IO[str]) -> None:
        self.target = target
        self.seeds = target.seeds()
        self._options = options
        self._tell_on = tell
        self._ends_s = time.monotonic() + options.seconds
        self._told_s = self._slowest_s = 0.0
        self._counts = {"inputs": 0, "taken": 0}
        self._known: set[str] = set()
        self._noise_bytes = os.fstat(2).st_size

    def feed(self, data: bytes) -> None:
        """One input."""
        self._counts["inputs"] += 1
        self._options.state.write_bytes(b"%d\n%b" % (self._counts["inputs"], data))
        started_s = time.monotonic()
        try:
            self._counts["taken"] += is_taken(self.target, data)
            if self._counts["inputs"] % BATCH == 0:
                self.target.after_batch()
            self._check_silence()
        except Exception as error:
            self._found(data, error)
        now_s = time.monotonic()
        self._slowest_s = max(self._slowest_s, now_s - started_s)
        if now_s >= self._told_s + TELL_S:
            self.tell(now_s)

    def tell(self, now_s: float) -> None:
        """Say how far it is, and give the next inputs their time."""
        self._told_s = now_s
        faulthandler.dump_traceback_later(self._options.hang, exit=True)
        print(json.dumps({**self._counts, "slowest_s": round(self._slowest_s, 3)}), file=self._tell_on, flush=True)

    @property
    def is_over(self) -> bool:
        return self._counts["inputs"] >= self._options.count or time.monotonic() >= self._ends_s

    def finish(self) -> None:
        """What shows at the end only."""
        try:
            self.target.after_batch()
            self.target.close()
            self._check_silence()
        except Exception as error:
            self._found(b"", error)
        self.tell(time.monotonic())
        faulthandler.cancel_dump_traceback_later()

    def _check_silence(self) -> None:
        """Nothing but our own lines belongs on stderr: no traceback of a thread, no word of a library."""
        if (size := os.fstat(2).st_size) != self._noise_bytes:
            with Path("/proc/self/fd/2").open("rb") as noise:
                noise.seek(self._noise_bytes)
                lines = noise.read(1 << 16).decode(errors="replace").splitlines()
            self._noise_bytes = size
            borne = rf"{self.target.noise}|{LIBFUZZER}" if self._options.guided else self.target.noise
            told = [line for line in lines if line and not re.fullmatch(borne, line)]
            assert not told, f"on stderr: {' | '.join(told[-5:])}"

    def _found(self, data: bytes, error: Exception) -> None:
        """Keep the first input of each kind."""
        last = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{type(error).__name__} {last.filename}:{last.lineno}"
        if kind not in self._known:
            self._known.add(kind)
            reason = "".join(traceback.format_exception(error))
            path = save(self._options.out, Finding(self._options.target, data, reason))
            line = " ".join(traceback.format_exception_only(error)[-1].split())[:300]
            print(json.dumps({"finding": str(path), "reason": line}), file=self._tell_on, flush=True)


def blind(worker: Worker, options: argparse.Namespace) -> None:
    """Inputs that follow from the seed and their number alone."""
    number = options.start
    while not worker.is_over:
        worker.feed(input_of(options.target, options.seed, number, worker.seeds, worker.target.tokens))
        number += 1


def guided(worker: Worker, options: argparse.Namespace, atheris: Any) -> None:
    """Inputs that reach new branches are kept, and spoilt further. Does not return."""
    corpus = options.out / "corpus" / options.target
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(worker.seeds):
        (corpus / f"seed{number}").write_bytes(seed)

    def mutate(data: bytes, _most: int, seed: int) -> bytes:
        return spoilt(random.Random(seed), data, worker.seeds, worker.target.tokens)

    def feed(data: bytes) -> None:
        worker.feed(data)
        if worker.is_over:
            worker.finish()
            os._exit(0)  # libFuzzer has no other end

    silent = ["-verbosity=0", "-rss_limit_mb=0", "-timeout=3600", "-print_final_stats=0", "-detect_leaks=0"]
    arguments = [
        "fuzz",
        f"-seed={options.seed + options.start + 1}",
        f"-max_len={LARGEST}",
        f"-artifact_prefix={options.out}/",
        *silent,
        str(corpus),
    ]
    atheris.Setup(arguments, feed, custom_mutator=mutate)
    atheris.Fuzz()


def _stand(options: argparse.Namespace, folder: Path, importing: Callable[[], Any]) -> Target:
    """The target after its own seeds, bounded in memory from then on."""
    with importing():
        made = target_class(options.target)
    target = made(folder)
    taken = [is_taken(target, seed) for seed in target.seeds()]
    assert any(taken), f"{options.target} takes none of its seeds"
    if target.limit_mib:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + (target.limit_mib << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    return target


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--start", type=int, default=0, help="number of the first input")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--hang", type=float, required=True, help="seconds that an input may take")
    parser.add_argument("--state", type=Path, required=True, help="file that holds the input which is being fed")
    parser.add_argument("--out", type=Path, required=True, help="folder of findings")
    parser.add_argument("--guided", action="store_true", help="by coverage; needs atheris")
    return parser.parse_args()


def main() -> None:
    options = _options()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tell = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what is fuzzed has no business on stdout
    faulthandler.enable()
    faulthandler.dump_traceback_later(options.hang + START_S, exit=True)
    atheris = importlib.import_module("atheris") if options.guided else None
    importing = partial(atheris.instrument_imports, include=GUIDES) if atheris else contextlib.nullcontext
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        worker = Worker(options, _stand(options, Path(folder), importing), tell)
        worker.tell(time.monotonic())
        if atheris:
            guided(worker, options, atheris)
        blind(worker, options)
        worker.finish()


if __name__ == "__main__":
    sys.exit(main())
