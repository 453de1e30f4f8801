"""A run over many targets: processes are started, watched, and started again behind an input that ended one."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.finding import Finding, save
from tests.fuzz.targets import SHARES, target_class

ROOT = Path(__file__).parents[2]
MOST_DEATHS = 10  # of one target: then it is left alone
HAS_ATHERIS = importlib.util.find_spec("atheris") is not None


@dataclass(slots=True)
class Tally:
    """What became of one target's inputs. `seconds` is the time of its processes."""

    target: str
    inputs: int = 0
    taken: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    guided: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def refused(self) -> int:
        return self.inputs - self.taken

    @property
    def per_s(self) -> float:
        return self.inputs / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much, and from where. `out` keeps the findings; `seconds` bounds the run: all targets get as much of it."""

    count: int
    seed: int
    out: Path
    seconds: float = 1e9
    jobs: int = 2
    hang_s: float = 60.0  # that an input may take, on a busy machine
    may_guide: bool = HAS_ATHERIS


def run(plan: Plan, targets: Sequence[str], say: Callable[[str], None]) -> list[Tally]:
    """Feed all targets, each its share; `say` gets a line now and then."""
    shares = [SHARES.get(name, 1) for name in targets]
    tallies = [Tally(name) for name in targets]
    plan.out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(plan.jobs) as pool:
        counts = [-(-plan.count * share // sum(shares)) for share in shares]
        seconds = plan.seconds * plan.jobs / len(targets)
        running = [pool.submit(_run_target, plan, *each, seconds, say) for each in zip(tallies, counts, strict=True)]
        while not all(one.done() for one in running):
            time.sleep(0.2)
            fed = sum(tally.inputs for tally in tallies)
            say(f"\r{fed} of {sum(counts)} inputs, {sum(len(tally.findings) for tally in tallies)} findings")
        for one in running:
            one.result()
    return tallies


def _run_target(plan: Plan, tally: Tally, count: int, seconds: float, say: Callable[[str], None]) -> None:
    """Blindly, or half of it so and the rest led by coverage where that helps."""
    leads = plan.may_guide and target_class(tally.target).is_python
    first = count // 2 if leads else count
    ends_s = time.monotonic() + seconds
    for part, is_guided in ((first, False), (count - first, True)):
        goal = tally.inputs + part
        deaths = 0
        while tally.inputs < goal and time.monotonic() < ends_s and deaths < MOST_DEATHS:
            deaths += not _run_worker(plan, tally, goal - tally.inputs, ends_s - time.monotonic(), is_guided, say)


def _run_worker(
    plan: Plan, tally: Tally, count: int, seconds: float, is_guided: bool, say: Callable[[str], None]
) -> bool:
    """One process; False when it died of an input, which is saved then."""
    started_s = time.monotonic()
    before = Tally(tally.target, tally.inputs, tally.taken)
    with tempfile.TemporaryDirectory(prefix="fuzz-run-") as folder, (Path(folder) / "stderr").open("w+b") as words:
        state = Path(folder) / "input"
        command = [sys.executable, "-m", "tests.fuzz.worker", tally.target, f"--seed={plan.seed}", f"--state={state}"]
        command += [f"--start={tally.inputs}", f"--count={count}", f"--seconds={seconds}", f"--out={plan.out}"]
        command += [f"--hang={plan.hang_s}", *["--guided"] * is_guided]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=words, text=True) as worker:
            assert worker.stdout
            for line in worker.stdout:
                _listen(tally, before, json.loads(line), say)
        tally.seconds += time.monotonic() - started_s
        if worker.returncode == 0:
            tally.guided += (tally.inputs - before.inputs) * is_guided
            return True
        words.seek(0)
        reason = f"the process ended with {worker.returncode}\n{words.read()[-8000:].decode(errors='replace')}"
        number, _, data = state.read_bytes().partition(b"\n") if state.exists() else (b"0", b"", b"")
    tally.inputs = before.inputs + int(number)  # the next process goes on behind it
    tally.guided += int(number) * is_guided
    _tell_finding(tally, save(plan.out, Finding(tally.target, data, reason)), reason.splitlines()[0], say)
    return False


def _listen(tally: Tally, before: Tally, told: dict[str, object], say: Callable[[str], None]) -> None:
    if "finding" in told:
        _tell_finding(tally, Path(str(told["finding"])), str(told["reason"]), say)
        return
    tally.inputs = before.inputs + int(str(told["inputs"]))
    tally.taken = before.taken + int(str(told["taken"]))
    tally.slowest_s = max(tally.slowest_s, float(str(told["slowest_s"])))


def _tell_finding(tally: Tally, path: Path, reason: str, say: Callable[[str], None]) -> None:
    tally.findings.append(f"{path}: {reason}")
    say(f"{tally.target}: {reason}\n  {path}")


def table(tallies: Sequence[Tally]) -> str:
    """For the terminal; the last row is the sum."""
    rows = [("target", "inputs", "guided", "taken", "refused", "per s", "slowest ms", "findings")]
    whole = Tally("all")
    for tally in tallies:
        rows.append(_row(tally))
        whole.inputs, whole.taken, whole.guided = (
            getattr(whole, name) + getattr(tally, name) for name in ("inputs", "taken", "guided")
        )
        whole.seconds += tally.seconds
        whole.slowest_s = max(whole.slowest_s, tally.slowest_s)
        whole.findings += tally.findings
    rows.append(_row(whole))
    return "\n".join(f"{name:16}" + "".join(f"{cell:>12}" for cell in cells) for name, *cells in rows)


def _row(tally: Tally) -> tuple[str, ...]:
    numbers = (tally.inputs, tally.guided, tally.taken, tally.refused, round(tally.per_s))
    return (tally.target, *map(str, numbers), f"{tally.slowest_s * 1e3:.0f}", str(len(tally.findings)))
