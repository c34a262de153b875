"""A Ray head started for tests by Ray's own command, and taken down with everything of it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil


class SharedRay:
    """`ray start --head`, in a session of its own; every process of it is ended by pid."""

    def __init__(self, cpus: int) -> None:
        self._cpus = cpus
        self._folder = tempfile.mkdtemp(prefix="dtr-", dir="/tmp")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"

    def __enter__(self) -> SharedRay:
        port = self.address.rpartition(":")[2]
        command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--port={port}", f"--num-cpus={self._cpus}"]
        command += ["--node-ip-address=127.0.0.1", "--include-dashboard=false", f"--temp-dir={self._folder}", "--disable-usage-stats"]
        command += ["--system-config", '{"preload_python_modules": ["torch", "disttrain.elastic.member"]}']
        environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}
        self._log = Path(self._folder, "head.log").open("wb")
        self._head = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT, env=environment, start_new_session=True)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if b"Ray runtime started" in Path(self._folder, "head.log").read_bytes():
                return self
            assert self._head.poll() is None, Path(self._folder, "head.log").read_text()
            time.sleep(0.1)
        self.__exit__()
        raise AssertionError("Ray did not start")

    def __exit__(self, *error: object) -> None:
        try:
            processes = [psutil.Process(self._head.pid), *psutil.Process(self._head.pid).children(recursive=True)]
        except psutil.Error:
            processes = []
        for process in processes:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.Error:
                continue
        psutil.wait_procs(processes, timeout=5)
        self._head.wait()
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)
