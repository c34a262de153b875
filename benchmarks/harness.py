"""What the benchmarks share: a job with every process that comes of it, its memory, medians, tables, and the frame of a program."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
_MARK = "DISTTRAIN_BENCH_JOB"  # a private variable in the environment of a job: daemons that left the process tree still carry it
_SESSION = re.compile(r"/tmp/disttrain-ray-\w+")  # of a Ray that disttrain started; it removes the folder itself unless it is killed
_GRACE_S = 15.0  # for a job that is told to end, before it is killed
_LOG_LINES = 30  # of a failed job, shown


class JobFailed(Exception):
    """A measured job did not do what it should; the message says which, how, and shows the end of its output."""


class JobCrashed(JobFailed):
    """It ended by itself with an error, or by a signal."""


class Job:
    """A command under way, with all its processes, including daemons that were adopted by init. Ends them all on the way out.

    Args:
        name: for messages.
        command: what to run; `sys.executable` should be its first word.
        folder: working directory, and where its output goes.
    """

    def __init__(self, name: str, command: Sequence[str], folder: Path) -> None:
        self.name, self.folder = name, folder
        self.log = folder / f"{name.replace(' ', '-')}-{uuid.uuid4().hex[:6]}.log"
        self._command = list(command)
        self._mark = uuid.uuid4().hex
        self._known: dict[tuple[int, float], psutil.Process] = {}

    def __enter__(self) -> Job:
        settings = {
            _MARK: self._mark,
            "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(self.folder),  # what a killed process leaves there goes with the folder
            "RAY_AUTH_MODE": "disabled",  # a token left in the home folder by another Ray must not lock this one's workers out
            "RAY_TRAIN_V2_ENABLED": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            # else torchrun's restarted workers may meet the keys of those before them, and wait for them (pytorch/pytorch#135712)
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        }
        with self.log.open("wb") as log:
            self.started = time.time()
            # a session of its own: Ctrl-C reaches this program alone, which then ends the job in order
            self._process = subprocess.Popen(
                self._command,
                cwd=self.folder,
                env={**os.environ, **settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with _undisturbed():
            self._end()

    def wait(self, limit_s: float) -> float:
        """Seconds from the start to the end of the job.

        Raises:
            JobFailed: it failed, or was not done after `limit_s`.
        """
        try:
            self._process.wait(timeout=max(0.0, self.started + limit_s - time.time()))
        except subprocess.TimeoutExpired:
            raise JobFailed(f"{self.name} was not done after {limit_s:.0f} s.\n{self.tail()}") from None
        took = time.time() - self.started
        self.check(finished=True)
        return took

    def check(self, *, finished: bool = False) -> None:
        """Raise JobCrashed if the job has failed, JobFailed if it has ended although it should go on."""
        code = self._process.poll()
        if code:
            raise JobCrashed(f"{self.name} {ended(code)}.\n{self.tail()}")
        if code == 0 and not finished:
            raise JobFailed(f"{self.name} ended before it should.\n{self.tail()}")

    @property
    def code(self) -> int | None:
        """The exit code; None while it goes on."""
        return self._process.poll()

    def output(self) -> str:
        """What the job has printed."""
        return self.log.read_text(errors="replace")

    def processes(self) -> list[psutil.Process]:
        """The living processes of the job: those with its mark, their descendants, and those seen before.

        A process that changes its title loses its environment for readers, and a daemon loses its parent: no single trait finds all.
        """
        alive = {}
        by_parent: dict[int, list[psutil.Process]] = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                by_parent.setdefault(process.ppid(), []).append(process)
                if (key := _key(process)) in self._known or process.pid == self._process.pid or self._marked(process):
                    alive[key] = process
        unvisited = list(alive.values())
        while unvisited:
            for child in by_parent.get(unvisited.pop().pid, []):
                with suppress(psutil.Error):
                    if (key := _key(child)) not in alive:
                        alive[key] = child
                        unvisited.append(child)
        self._known = alive
        return list(alive.values())

    def _marked(self, process: psutil.Process) -> bool:
        return f"{_MARK}={self._mark}".encode() in Path(f"/proc/{process.pid}/environ").read_bytes()

    def _end(self) -> None:
        """End whatever is left: the command in order, then the rest by force."""
        running = self._process.poll() is None
        left = self.processes()
        sessions = {found for process in left for found in _SESSION.findall(_command_line(process))}
        if running:
            self._process.terminate()
        if left:
            # a job that ended by itself may still have daemons on their way out
            psutil.wait_procs(left, timeout=_GRACE_S if running else 2.0)
        limit = time.monotonic() + _GRACE_S
        while (left := self.processes()) and time.monotonic() < limit:
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, timeout=1.0)
        self._process.wait()
        for session in sessions:
            shutil.rmtree(session, ignore_errors=True)

    def tail(self) -> str:
        """The end of what it has printed, for a message."""
        return "\n".join(f"  | {line}" for line in self.output().splitlines()[-_LOG_LINES:])


class MemoryWatch:
    """The most memory that all processes of a job took together, looked at every 0.25 s from a thread.

    PSS counts a page that n processes share as 1/n in each, so the sum over the processes is what the job takes.
    """

    def __init__(self, job: Job, every_s: float = 0.25) -> None:
        self.peak_mib, self.processes = 0.0, 0
        self._job, self._every_s = job, every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory-watch", daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            sizes = []
            for process in self._job.processes():
                with suppress(psutil.Error):
                    sizes.append(process.memory_full_info().pss)
            self.processes = max(self.processes, len(sizes))
            self.peak_mib = max(self.peak_mib, sum(sizes) / 2**20)


def ended(code: int) -> str:
    """How a process of this exit code ended, in words."""
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _command_line(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def _key(process: psutil.Process) -> tuple[int, float]:
    return process.pid, process.create_time()


# -- commands -----------------------------------------------------------------------------------------------------------------------


def disttrain_command(*arguments: object) -> list[str]:
    """`disttrain ARGUMENTS` of this interpreter."""
    return [sys.executable, "-m", "disttrain", *map(str, arguments)]


def launch_command(script: str, options: Sequence[object], arguments: Sequence[object]) -> list[str]:
    """`disttrain launch ours/SCRIPT OPTIONS -- ARGUMENTS`."""
    return disttrain_command("launch", HERE / "ours" / script, *options, "--", *arguments)


def torchrun_command(script: str, workers: int, arguments: Sequence[object], options: Sequence[object] = ()) -> list[str]:
    """`torchrun --standalone --nproc-per-node WORKERS OPTIONS peers/SCRIPT ARGUMENTS` of this interpreter."""
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", workers, *options]
    return [str(part) for part in (*run, HERE / "peers" / script, *arguments)]


def peer_command(script: str, arguments: Sequence[object]) -> list[str]:
    """`python peers/SCRIPT ARGUMENTS` of this interpreter."""
    return [str(part) for part in (sys.executable, HERE / "peers" / script, *arguments)]


# -- numbers and tables -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Summary:
    """Median and range of repeated measurements."""

    median: float
    low: float
    high: float
    count: int

    @staticmethod
    def of(values: Iterable[float]) -> Summary:
        """Of one value or more."""
        found = list(values)
        return Summary(statistics.median(found), min(found), max(found), len(found))

    def text(self, digits: int = 2) -> str:
        """`median (low-high)`; the median alone where there is nothing to range over."""
        median = f"{self.median:.{digits}f}"
        return median if self.count == 1 else f"{median} ({self.low:.{digits}f}-{self.high:.{digits}f})"


def paired_ratio(ours: Sequence[float], peer: Sequence[float]) -> Summary:
    """Ours over the peer's, repeat by repeat: what drifts over minutes cancels out."""
    return Summary.of(mine / other for mine, other in zip(ours, peer, strict=True))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they need to be; the first one to the left, the rest to the right."""
    widths = [max(len(row[column]) for row in (headers, *rows)) for column in range(len(headers))]
    for row in (headers, ["-" * width for width in widths], *rows):
        first, *others = zip(row, widths, strict=True)
        print("  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]).rstrip())
    print(flush=True)


def progress(text: str) -> None:
    """One line about what was just measured, to stderr: the tables alone are the result."""
    print(f"  {text}", file=sys.stderr, flush=True)


# -- the frame of a program ---------------------------------------------------------------------------------------------------------


def parser(description: str, systems: Sequence[str]) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--quick", action="store_true", help="few and short repeats: does it run, and roughly where does it stand")
    made.add_argument("--json", type=Path, metavar="FILE", default=argparse.SUPPRESS, help="write the results, with every repeat, to FILE")
    made.add_argument("--systems", nargs="+", choices=systems, default=list(systems), metavar="SYSTEM", help="measure only these")
    return made


def run_program(program: str, options: argparse.Namespace, measure: Callable[[argparse.Namespace, Path], dict[str, Any]]) -> int:
    """Call `measure(options, folder)` in a temporary folder, write what it returns as JSON if asked, and give the exit code."""
    machine = describe_machine()
    print(f"{program}: {', '.join(f'{name} {value}' for name, value in machine.items())}")
    if machine["load"] > 0.5:
        print("note: this machine is not idle; ratios stand more firmly than times, and neither as firmly as on an idle one")
    print(flush=True)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with workspace() as folder:
            results = measure(options, folder)
    except JobFailed as error:
        print(f"{program} failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{program}: interrupted; its processes are ended and its files removed", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
    if "json" in options:
        settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
        record = {"program": program, "machine": machine, "options": settings, **results}
        options.json.write_text(json.dumps(record, indent=1, default=_plain))
    return 0


def available(systems: Sequence[str]) -> list[str]:
    """`systems` without Ray Train where what it needs is not installed."""
    missing = [name for name in ("pandas", "pyarrow", "requests") if find_spec(name) is None]
    if "ray train" in systems and missing:
        print(f"note: without Ray Train, which needs {', '.join(missing)}: pip install 'ray[train]'\n", flush=True)
        return [name for name in systems if name != "ray train"]
    return list(systems)


def describe_machine() -> dict[str, Any]:
    """What the numbers depend on."""
    found: dict[str, Any] = {"cpus": os.cpu_count(), "load": round(os.getloadavg()[0], 2), "python": platform.python_version()}
    for package in ("torch", "ray", "disttrain"):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


@contextmanager
def workspace() -> Iterator[Path]:
    """A temporary folder with a short path: Ray puts sockets in it, whose paths may have 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="dtb-", dir="/tmp"))
    try:
        yield folder
    finally:
        with _undisturbed():
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM inside the block: a half-done clean-up leaves processes behind."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _plain(value: Any) -> Any:
    return asdict(value) if isinstance(value, Summary) else str(value)
