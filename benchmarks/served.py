"""A measured process that lives through a benchmark and does pieces of work as it is told; see `fit_server.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO

from crashes import Crashes
from harness import HERE, JobCrashed, ended


class Server:
    """A measured process.

    Args:
        system: who is measured, for messages.
        script: what it runs, below this folder, and its options.
        workload: what it is to train.
        folder: where it runs and logs.
    """

    def __init__(self, system: str, script: Sequence[str], workload: str, folder: Path, number: int = 0) -> None:
        self.system, self._script, self.log = system, list(script), folder / f"{system}-{workload}-{number}.log"
        self._workload, self._folder = workload, folder
        self._start()

    def _start(self) -> None:
        script, *options = self._script
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(HERE / script), self._workload, *options],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment, cwd=self._folder,
            )  # fmt: skip
        self._line()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def again(self) -> None:
        """Another process in the place of one that crashed."""
        self._end()
        self._start()

    def _end(self) -> None:
        with suppress(BrokenPipeError):
            self._stream(self._process.stdin).close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stream(self._process.stdout).close()

    def rate(self, kind: str) -> float:
        """Steps, or calls, per second of CPU time."""
        with suppress(BrokenPipeError):  # it has crashed, as the missing answer says
            print(kind, file=self._stream(self._process.stdin), flush=True)
        answer = json.loads(self._line())
        return float(answer["steps"] / answer["cpu_s"])

    def _line(self) -> str:
        line = self._stream(self._process.stdout).readline()
        if not line:
            code = self._process.wait()
            raise JobCrashed(f"{self.system} {ended(code)}.\n{self.log.read_text(errors='replace')[-3000:]}")
        return line

    @staticmethod
    def _stream(stream: IO[str] | None) -> IO[str]:
        assert stream is not None
        return stream


def rates(servers: Sequence[Server], kind: str, repeats: int, crashes: Crashes) -> dict[str, list[float]]:
    """The rate of each, in turns: every other round in reversed order."""
    found: dict[str, list[float]] = {server.system: [] for server in servers}
    for turn in range(repeats):
        for server in servers if turn % 2 == 0 else reversed(servers):
            found[server.system].append(crashes.retried(server.system, partial(_rate, server, kind)))
    return found


def _rate(server: Server, kind: str, number: int) -> float:
    """Of try `number`: after a crash, in a new process."""
    if number:
        server.again()
    return server.rate(kind)
