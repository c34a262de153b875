"""Which process drives a run, told apart without a wall clock: a boot, a namespace of pids, a pid, and the ticks at which it started."""

from __future__ import annotations

import os
import socket
from typing import Any

import psutil


def this_process() -> dict[str, Any]:
    """What an attempt's record says of its driver."""
    pid = os.getpid()
    return {
        "host": socket.gethostname(),
        "pid": pid,
        "boot": _boot_id(),
        "pid_namespace": _pid_namespace(),
        "start_ticks": _start_ticks(pid),
    }


def is_alive(info: dict[str, Any]) -> bool | None:
    """Is the process of such a record alive? None where this process cannot know: on another machine, or among other pids.

    A pid alone says nothing: another boot, or a container with the same host name, has the same pids. And the wall clock says
    nothing: it is stepped. Who is told None looks whether the driver still writes.
    """
    boot, namespace = _boot_id(), _pid_namespace()
    own = (boot, namespace, socket.gethostname())
    if not boot or not namespace or (info.get("boot"), info.get("pid_namespace"), info.get("host")) != own:
        return None
    try:
        pid = int(info["pid"])
    except (KeyError, TypeError, ValueError):
        return None
    started = _start_ticks(pid)
    if started is not None:
        return started == info.get("start_ticks")
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return None  # it is somebody else's, and /proc hides it
    return False if _is_zombie(pid) else None


def _start_ticks(pid: int) -> int | None:
    """Ticks from the boot to the start of a process; None where there is none, or only what is left of one."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            state, *rest = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in ("Z", "X") else int(rest[18])


def _is_zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
