"""What a test left behind: threads, child processes, environment variables."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import psutil

KINDS = ("threads", "processes", "environment")
GRACE_S = 60.0  # for what was told to end and is on its way; nothing waits when nothing leaks

# One for the life of the process, started by a library at first use and shared by all later ones.
LASTING_THREADS = ("fsspecIO", "asyncio_", "tqdm_monitor")  # asyncio_: of fsspec's loop
LASTING_PROCESSES = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
# PYTEST_CURRENT_TEST is pytest's own; Ray and scikit-learn set the others when they are first imported.
LASTING_VARIABLES = frozenset({"PYTEST_CURRENT_TEST", "RAY_CLIENT_MODE", "KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK"})


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What ran and what was set at one moment."""

    threads: frozenset[threading.Thread]
    processes: frozenset[psutil.Process]
    environment: dict[str, str]

    @classmethod
    def now(cls) -> Surroundings:
        return cls(frozenset(threading.enumerate()), frozenset(_children()), dict(os.environ))


def clear_away(before: Surroundings, allowed: Collection[str] = ()) -> list[str]:
    """One line for each thing that is there now and was not in `before`, less the kinds in `allowed`.

    Leaked processes are ended and leaked variables put back, so that one careless test fails and not all that follow it. A thread cannot be
    ended from outside. Raises ValueError for a kind that does not exist.
    """
    for kind in allowed:
        if kind not in KINDS:
            raise ValueError(f"leaves_behind({kind!r}): expected one or more of {', '.join(KINDS)}.")
    found: list[str] = []
    if "threads" not in allowed:
        found += _threads(before)
    if "processes" not in allowed:
        found += _processes(before)
    if "environment" not in allowed:
        found += _environment(before)
    return found


def _threads(before: Surroundings) -> list[str]:
    new = [t for t in threading.enumerate() if t not in before.threads and not t.name.startswith(LASTING_THREADS)]
    for thread in new:
        thread.join(GRACE_S)
    return [f"thread {t.name!r} is still running (daemon={t.daemon})" for t in new if t.is_alive()]


def _processes(before: Surroundings) -> list[str]:
    new = [p for p in _children() if p not in before.processes]
    _, running = psutil.wait_procs([p for p in new if not _lasting(p)], timeout=GRACE_S)
    found = []
    for process in running:
        found.append(f"process {process.pid} is still running: {_command(process)}")
        process.kill()
    psutil.wait_procs(running, timeout=GRACE_S)
    return found


def _environment(before: Surroundings) -> list[str]:
    found = []
    for name in sorted(before.environment.keys() | os.environ.keys()):
        was, now = before.environment.get(name), os.environ.get(name)
        if was == now or name in LASTING_VARIABLES:
            continue
        found.append(f"environment variable {name} is {now!r}, was {was!r}: set it with monkeypatch.setenv")
        if was is None:
            del os.environ[name]
        else:
            os.environ[name] = was
    return found


def _children() -> list[psutil.Process]:
    """Children and theirs. psutil reads every process of the machine for them, so the kernel is asked first whether there is one."""
    try:
        with_children = any(Path(task, "children").read_bytes() for task in Path("/proc/self/task").iterdir())
    except OSError:  # a thread ended meanwhile, or this kernel does not tell
        with_children = True
    return psutil.Process().children(recursive=True) if with_children else []


def _lasting(process: psutil.Process) -> bool:
    return any(part in _command(process) for part in LASTING_PROCESSES)


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return "(gone)"
