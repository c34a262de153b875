"""A small process beside the driver that outlives it, ends what is left of the Ray that the driver had started, and removes its folder.

Ray asks the kernel to end its first processes with the driver, but not those that they start: its agents (90 MB each) stay for ever when
the driver is ended by a signal, above all while Ray is still starting. Only the standard library is used, and nothing of disttrain is
imported, so it is there within milliseconds: `python -I -S sweeper.py FOLDER`, a pipe from the driver as its standard input.

It acts once the pipe closes, whatever closed it. The driver says `END` before, where it has taken Ray down itself: then one look is enough.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable

END = b"end\n"
_DRIVER_EVERY_S = 1.0  # a child that the script forked may hold the pipe open when the driver is gone
_QUIET_S = 2.0  # after a violent end: processes that were just being started show up late
_AT_MOST_S = 30.0
_PROGRAMS = ("/ray/core/", "/ray/_private/", "/ray/dashboard/", "/ray/autoscaler/")  # in the command lines of Ray's own processes


class Sweeper:
    """The driver's side: begins with the folder, `end` waits for the sweep.

    Args:
        folder: the temporary folder of the Ray, under a name that nobody else has. Created by the caller, removed by the sweep.
    """

    def __init__(self, folder: str) -> None:
        command = [sys.executable, "-I", "-S", os.path.abspath(__file__), folder]
        # a session of its own, so that Ctrl-C and a hangup of the terminal are the driver's alone
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self, timeout_s: float = _AT_MOST_S) -> None:
        """Have everything that is left ended and removed; returns when that is done. May be called twice."""
        if self._process.stdin is None or self._process.stdin.closed:
            return
        try:
            swept, _ = self._process.communicate(END, timeout=timeout_s)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
            return
        for pid in swept.split():
            try:
                os.waitpid(int(pid), os.WNOHANG)  # one of our own children: nobody else waits for it now
            except ChildProcessError:
                continue


# -- the process ------------------------------------------------------------------------------------------------------------------------


def main(folder: str) -> None:
    """Wait for the driver's end, then sweep; prints the pids it ended."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    quiet_s = 0.0 if _wait_for_the_end() else _QUIET_S
    swept = sweep(folder, quiet_s)
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # nobody may be there to read it
        os.write(1, (" ".join(map(str, swept)) + "\n").encode())


def _wait_for_the_end() -> bool:
    """Was it told to us, rather than seen?"""
    driver = os.getppid()
    while os.getppid() == driver:
        if select.select([0], [], [], _DRIVER_EVERY_S)[0]:
            return os.read(0, len(END)) == END
    return False


def sweep(folder: str, quiet_s: float) -> list[int]:
    """End the processes of the Ray in `folder`, until none was seen for `quiet_s` seconds; their pids."""
    swept: list[int] = []
    end = time.monotonic() + _AT_MOST_S
    clear_since: float | None = None
    while (now := time.monotonic()) < end:
        found = processes_of(folder)
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            swept.append(pid)
        if found:
            clear_since = None
        elif clear_since is None:
            clear_since = now
        if clear_since is not None and now - clear_since >= quiet_s:
            break
        time.sleep(0.02)
    return swept


def processes_of(folder: str) -> set[int]:
    """Processes of the Ray whose temporary folder this is, and all that these have started. Never a person's that only looks in there."""
    parents: dict[int, int] = {}
    mine: set[int] = set()
    for name in os.listdir("/proc") if os.path.isdir("/proc") else []:
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as stat:
                state, parent = stat.read().rpartition(b")")[2].split()[:2]
            if state in b"ZX":
                continue
            parents[int(name)] = int(parent)
            if _is_of(int(name), folder):
                mine.add(int(name))
        except (OSError, ValueError):
            continue  # it has just ended, or it is somebody else's
    while more := {pid for pid, parent in parents.items() if parent in mine and pid not in mine}:
        mine |= more
    return mine


def _is_of(pid: int, folder: str) -> bool:
    """Its output goes into the folder; or it is Ray's by its command line, and names the folder or has a file open there.

    Some of Ray's processes overwrite their command line with a title, and write elsewhere than into the folder: hence the open files.
    """
    if _lies_in(_links(pid, ("1", "2")), folder):
        return True
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        command = os.fsdecode(file.read())
    if not command.startswith("ray::") and not any(program in command for program in _PROGRAMS):
        return False
    return f"{folder}/" in command or _lies_in(_links(pid, os.listdir(f"/proc/{pid}/fd")), folder)


def _links(pid: int, numbers: Iterable[str]) -> list[str]:
    found = []
    for number in numbers:
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{number}"))
        except FileNotFoundError:
            continue
    return found


def _lies_in(paths: list[str], folder: str) -> bool:
    return any(path.startswith(f"{folder}/") for path in paths)


if __name__ == "__main__":
    main(sys.argv[1])
