"""Is this machine ready to train? Each thing that launches need is looked at, with what to do where it is not as it should be."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Literal

import psutil

from disttrain.checkpoint import Store
from disttrain.clusters.ray.tokens import of_another
from disttrain.devices.drivers import gpus_here
from disttrain.errors import DisttrainError

State = Literal["ok", "warning", "wrong"]

_SHARED_MIB = 512  # what a small run keeps in Ray's object store, some times over
_FILES = 4096  # sockets and files of a driver with a few workers
_CLOCK_S = 5.0
_CONNECT_S = 3.0
_ADDRESS = re.compile(r"(?P<host>.+):(?P<port>\d{1,5})")


@dataclass(frozen=True)
class Finding:
    """What was found of one thing; `todo` is empty where nothing need be done."""

    name: str
    state: State
    found: str
    todo: str = ""


def examine(address: str | None = None, run_dir: str | None = None) -> list[Finding]:
    """Look at everything; a look that fails is a finding too.

    Args:
        address: of a Ray cluster that shall be joined, HOST:PORT.
        run_dir: where a run shall be kept, any fsspec URL; a small file is made there and taken away.
    """
    looks: list[tuple[str, Callable[[], Finding]]] = [
        ("python", _python),
        ("torch", _torch),
        ("kernels", _kernels),
        ("ray", _ray),
        ("cores", _cores),
        ("memory", _memory),
        ("shared memory", _shared_memory),
        ("open files", _open_files),
        ("ports", _ports),
        ("interfaces", _interfaces),
        ("gpus", _gpus),
        ("clock", lambda: _clock(run_dir)),
    ]
    if address is not None:
        looks.append(("cluster", lambda: _cluster(address)))
    if run_dir is not None:
        looks.append(("storage", lambda: _storage(run_dir)))
    return [_looked(name, look) for name, look in looks]


def _looked(name: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except DisttrainError as error:
        first, *rest = str(error).splitlines()
        todo = next((line.split(None, 1)[1] for line in rest if line.strip().startswith("try ")), "see what it says")
        return Finding(name, "wrong", first, todo)
    except Exception as error:
        return Finding(name, "warning", f"cannot be looked at: {type(error).__name__}: {error}", "look at it by hand")


def _python() -> Finding:
    return Finding("python", "ok", f"{platform.python_version()} at {sys.executable}")  # an older one does not load this module


def _torch() -> Finding:
    try:
        found = version("torch")
    except PackageNotFoundError:
        return Finding("torch", "wrong", "not installed", "pip install torch")
    import torch  # late: whether it loads at all is the question

    return Finding("torch", "ok", f"{found}, {torch.get_num_threads()} threads here; a worker has --cpus-per-worker")


def _kernels() -> Finding:
    import torch  # late: see above

    capability = torch.backends.cpu.get_cpu_capability()
    return Finding("kernels", "ok", f"{platform.processor() or platform.machine()}, {capability}; beside another make: --kernels common")


def _ray() -> Finding:
    try:
        found = version("ray")
    except PackageNotFoundError:
        return Finding("ray", "wrong", "not installed", "pip install ray")
    wanted = next((line for line in requires("disttrain") or [] if re.match(r"ray\b(?!\[)", line)), "ray")
    least = re.search(r">=([\d.]+)", wanted)
    most = re.search(r"<([\d.]+)", wanted)
    if (least and _numbers(found) < _numbers(least[1])) or (most and _numbers(found) >= _numbers(most[1])):
        return Finding("ray", "warning", f"{found}; tested are others ({wanted})", f"pip install '{wanted}'")
    return Finding("ray", "ok", found)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _cores() -> Finding:
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Finding("cores", "ok", f"{here}: so many workers of one CPU each compute at a time")


def _memory() -> Finding:
    free = psutil.virtual_memory().available >> 20
    if free < 1024:
        return Finding("memory", "warning", f"{free:,} MiB free", "a worker takes some 400 MiB beside model and data: fewer --workers")
    return Finding("memory", "ok", f"{free:,} MiB free")


def _shared_memory() -> Finding:
    if not os.path.isdir("/dev/shm"):
        return Finding("shared memory", "ok", "no /dev/shm here: Ray takes a folder")
    free = shutil.disk_usage("/dev/shm").free >> 20
    if free < _SHARED_MIB:
        todo = (
            f"in a container --shm-size 2g; Ray takes a folder on the disk instead, which is slower; at least {_SHARED_MIB} MiB are better"
        )
        return Finding("shared memory", "warning", f"{free:,} MiB free in /dev/shm", todo)
    return Finding("shared memory", "ok", f"{free:,} MiB free in /dev/shm")


def _open_files() -> Finding:
    import resource  # late: not on every platform

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _FILES:
        return Finding(
            "open files", "warning", f"at most {soft} for a process", f"ulimit -n {_FILES if hard < 0 or hard >= _FILES else hard}"
        )
    return Finding("open files", "ok", "no limit" if soft == resource.RLIM_INFINITY else f"at most {soft:,} for a process")


def _ports() -> Finding:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=_CONNECT_S):
            return Finding("ports", "ok", f"a port can be opened and reached on this machine ({port})")


def _interfaces() -> Finding:
    addresses = {
        name: [entry.address for entry in entries if entry.family == socket.AF_INET] for name, entries in psutil.net_if_addrs().items()
    }
    shown = ", ".join(f"{name} {' '.join(found)}" for name, found in sorted(addresses.items()) if found)
    return Finding("interfaces", "ok", shown or "none with an IPv4 address")


def _gpus() -> Finding:
    found = gpus_here()
    if not found:
        return Finding("gpus", "ok", "none seen: workers compute on CPUs")
    import torch  # late: see above

    words = ", ".join(f"{gpu.name} {gpu.memory_mib:,} MiB" for gpu in found)
    if torch.version.cuda is None:
        return Finding("gpus", "warning", f"{words}; this torch is a build for CPUs", "install torch with CUDA, or --device cpu")
    return Finding("gpus", "ok", f"{words}; torch for CUDA {torch.version.cuda}")


def _clock(run_dir: str | None) -> Finding:
    """The clock against that of the disk the run would be kept on, which on a network is another machine's."""
    store = None
    with suppress(DisttrainError):  # which the look at the storage tells
        store = None if run_dir is None else Store(run_dir)
    folder = store.root if store is not None and store.is_local and os.path.isdir(store.root) else tempfile.gettempdir()
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".clock-") as file:
        file.write(b"now")
        file.flush()
        apart = os.stat(file.name).st_mtime - time.time()
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    if abs(apart) > _CLOCK_S:
        return Finding(
            "clock", "warning", f"{shown}; files in {folder} are stamped {apart:+.0f} s apart", "set both by NTP: times in logs differ"
        )
    return Finding("clock", "ok", f"{shown}, as files in {folder} are stamped")


def _cluster(address: str) -> Finding:
    where = _ADDRESS.fullmatch(address)
    if where is None:
        return Finding("cluster", "warning", f"{address} is looked up by Ray when it is joined", "name HOST:PORT to have it tried here")
    try:
        with socket.create_connection((where["host"], int(where["port"])), timeout=_CONNECT_S):
            pass
    except OSError as error:
        todo = "is Ray started there (ray start --head), and is the port open from here? ray status, on the cluster, says more"
        return Finding("cluster", "wrong", f"{address} does not answer: {error}", todo)
    _, note = of_another(address)
    return Finding("cluster", "ok" if note is None else "warning", f"{address} answers", note or "")


def _storage(run_dir: str) -> Finding:
    store = Store(run_dir)
    was_there = not store.is_local or os.path.isdir(store.root)
    try:
        began = time.monotonic()
        refuses = store.probe()
        took = time.monotonic() - began
    finally:
        if not was_there:
            with suppress(OSError):
                os.rmdir(store.root)
    found = f"{run_dir}: a small file is written, read and deleted in {took:.2f} s"
    if not refuses:
        todo = "two drivers that start in the same instant are told apart by reading back, not refused: start one at a time"
        return Finding("storage", "warning", f"{found}; it does not refuse to create what exists", todo)
    return Finding("storage", "ok", f"{found}; what exists is not created again")
