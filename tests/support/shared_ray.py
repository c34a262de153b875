"""A Ray head started for tests by Ray's own command, and taken down with everything of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil


class SharedRay:
    """`ray start --head`, in a session of its own; every process of it is ended by pid.

    Args:
        host: the address of the node.
        token: what it asks everybody for; None for nothing.
        within: what stands before the command.
        all_of_it: with the processes that no run needs, an autoscaler and a follower of logs, as on a real cluster.
    """

    def __init__(
        self, cpus: int, host: str = "127.0.0.1", token: str | None = None, within: Sequence[str] = (), all_of_it: bool = False
    ) -> None:
        self._cpus, self._host, self._token, self._within, self._all_of_it = cpus, host, token, within, all_of_it
        self._folder = tempfile.mkdtemp(prefix="dtr-", dir="/tmp")
        self._hosts: list[subprocess.Popen[bytes]] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"{host}:{free.getsockname()[1]}"

    def __enter__(self) -> SharedRay:
        port = self.address.rpartition(":")[2]
        command = [
            *self._within,
            str(Path(sys.executable).with_name("ray")),
            "start",
            "--head",
            "--block",
            f"--port={port}",
            f"--num-cpus={self._cpus}",
        ]
        command += [f"--node-ip-address={self._host}", "--include-dashboard=false", f"--temp-dir={self._folder}", "--disable-usage-stats"]
        command += ["--system-config", '{"preload_python_modules": ["torch", "disttrain.elastic.member"]}']
        if not self._all_of_it:
            command += ["--no-monitor", "--include-log-monitor=false"]
        door = {"RAY_AUTH_MODE": "disabled"} if self._token is None else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self._token}
        environment = {**os.environ, **door, "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}
        self._log = Path(self._folder, "head.log").open("wb")
        self._head = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT, env=environment, start_new_session=True)
        told = self._told_until_started(self._head, "head.log")
        if not told:
            return self
        self.__exit__()
        raise AssertionError(f"Ray did not start:\n{told}")

    def add_host_with_another_disk(self, place: Path, cpus: int) -> None:
        """A second node, for whose processes another, empty disk lies at `place`: a raylet in a mount namespace of its own."""
        ray = [str(Path(sys.executable).with_name("ray")), "start", "--block", f"--address={self.address}", f"--num-cpus={cpus}"]
        ray += [f"--node-ip-address=127.0.0.{len(self._hosts) + 2}", "--disable-usage-stats", "--include-log-monitor=false"]
        mounted = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
        mounted += ["sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', str(place), *ray]
        environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}
        told = ""
        for attempt in range(3):  # Ray gives a node 30 s to start, and a machine that others use may take longer
            name = f"host{len(self._hosts)}.{attempt}.log"
            with Path(self._folder, name).open("wb") as log:
                host = subprocess.Popen(mounted, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True)
            told = self._told_until_started(host, name)
            if not told:
                self._hosts.append(host)
                return
            host.kill()
            host.wait()
        raise AssertionError(f"Ray did not start:\n{told}")

    def _told_until_started(self, process: subprocess.Popen[bytes], log: str) -> str:
        """What a Ray printed that ended before it had started; "" once it has."""
        end = time.monotonic() + 600
        while b"Ray runtime started" not in Path(self._folder, log).read_bytes():
            if process.poll() is not None or time.monotonic() > end:
                return Path(self._folder, log).read_text() or "nothing"
            time.sleep(0.1)
        return ""

    @property
    def pid(self) -> int:
        return self._head.pid

    def __exit__(self, *error: object) -> None:
        processes = []
        for started in (self._head, *self._hosts):
            with contextlib.suppress(psutil.Error):
                processes += [psutil.Process(started.pid), *psutil.Process(started.pid).children(recursive=True)]
        for process in processes:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.Error:
                continue
        psutil.wait_procs(processes, timeout=60)
        for started in (self._head, *self._hosts):
            started.wait()
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)
