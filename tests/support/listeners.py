"""What the processes of a run listen on, as the kernel says."""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass

import psutil

# By a part of the command line; the first that fits.
_KINDS = [
    ("/gcs/gcs_server", "gcs_server"),
    ("/raylet/raylet", "raylet"),
    ("ray::RuntimeEnvAgent", "runtime_env_agent"),
    ("runtime_env/agent/main.py", "runtime_env_agent"),
    ("ray::DashboardAgent", "dashboard_agent"),
    ("dashboard/agent.py", "dashboard_agent"),
    ("dashboard/dashboard.py", "dashboard"),
    ("autoscaler/_private/monitor.py", "monitor"),
    ("autoscaler/v2/monitor.py", "monitor"),
    ("log_monitor.py", "log_monitor"),
    ("lease_server.py", "lease_server.py"),
    ("store_server.py", "store_server.py"),
    ("sweeper.py", "sweeper.py"),
    ("ray::", "worker"),
    ("default_worker.py", "worker"),
    ("ray.util.client.server", "client_server"),
    ("disttrain launch", "driver"),
]


@dataclass(frozen=True, order=True)
class Listener:
    """One listening socket; `kind` says whose it is, in the words of SECURITY.md."""

    kind: str
    host: str
    port: int
    pid: int


def processes_of(driver: int) -> list[psutil.Process]:
    """A driver and all that was started for its run, also what has been handed to another parent since."""
    first = psutil.Process(driver)
    found = {each.pid: each for each in (first, *first.children(recursive=True))}
    folder = f"/tmp/disttrain-ray-{driver}-"
    for process in psutil.process_iter():
        try:
            if folder in " ".join(process.cmdline()):
                found[process.pid] = process
        except psutil.Error:
            continue
    return list(found.values())


def kind_of(process: psutil.Process) -> str:
    words = " ".join(process.cmdline())
    return next((kind for part, kind in _KINDS if part in words), words[:60])


def listeners_of(processes: list[psutil.Process]) -> list[Listener]:
    """From /proc/PID/net/tcp, of the process's own network namespace."""
    found = []
    for process in processes:
        try:
            inodes = _sockets(process.pid)
            for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
                with open(f"/proc/{process.pid}/net/{table}") as file:
                    lines = file.read().splitlines()[1:]
                for line in lines:
                    words = line.split()
                    if words[3] == "0A" and words[9] in inodes:
                        host, port = words[1].split(":")
                        found.append(Listener(kind_of(process), _address(host, family), int(port, 16), process.pid))
        except (OSError, psutil.Error):
            continue  # it has ended
    return sorted(found)


def _sockets(pid: int) -> set[str]:
    inodes = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            link = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue
        if link.startswith("socket:["):
            inodes.add(link[8:-1])
    return inodes


def _address(text: str, family: socket.AddressFamily) -> str:
    words = [struct.pack("<I", int(text[start : start + 8], 16)) for start in range(0, len(text), 8)]
    return socket.inet_ntop(family, b"".join(words)).removeprefix("::ffff:")
