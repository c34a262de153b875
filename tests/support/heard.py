"""A cluster and all that it has reported so far; jobs for its workers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import disttrain as dt
from disttrain import layers
from disttrain.elastic import messages as m
from disttrain.elastic.shipping import Shipment, pack
from disttrain.orchestrator.events import WorkerLost
from disttrain.training.local import runner

LIMIT_S = 300.0  # for a busy machine; nothing here waits for it when all is well
SETTINGS = m.CallSettings(run_dir=None, attempt=1, sequence_base=0, every_steps=None, threads=1)


class Heard:
    """A cluster, and all that it has reported so far."""

    def __init__(self, cluster: Any) -> None:
        self.cluster, self.reports = cluster, []
        self._names = 0

    def start(self) -> str:
        """Start a worker under a name that no other ever had."""
        name = f"{id(self)}-{self._names}"
        self._names += 1
        self.cluster.start_worker(name)
        return name

    def listen(self, timeout_s: float = 0.1) -> None:
        self.reports += self.cluster.reports(timeout_s)

    def wait(self, condition: Callable[[Any], bool]) -> Any:
        """The first report for which `condition` holds."""
        end, seen = time.monotonic() + LIMIT_S, 0
        while time.monotonic() < end:
            for report in self.reports[seen:]:
                if condition(report):
                    return report
            seen = len(self.reports)
            self.listen()
        raise AssertionError(f"this was never reported; heard {self.reports}")

    def value(self, left: Any) -> Any:
        """What a worker sent with a report, or left to be collected."""
        if not isinstance(left, m.Bulk):
            return left
        self.cluster.collect(left)
        collected = self.wait(lambda report: isinstance(report, m.Collected) and report.key == left.key)
        assert collected.error is None, collected.error
        return collected.value

    def begin(self, worker: str, shipment: Shipment, call: int = 0) -> None:
        self.cluster.send(worker, m.Begin(call, self.cluster.put(shipment), SETTINGS))

    def run(self, worker: str, function: Callable[..., Any], *arguments: Any) -> None:
        """Have the worker call the function while it opens a job; a `Failed` follows, if the process lives on."""
        self.begin(worker, pack(_Opens(function, arguments), Path(__file__).parent))

    def visible_gpus(self, worker: str) -> str:
        """What the worker's process is shown of GPUs."""
        self.run(worker, tell_visible_gpus)
        told: str = self.wait(lambda report: isinstance(report, m.Failed) and report.worker == worker).traceback
        return told.rpartition("CUDA_VISIBLE_DEVICES=")[2].strip()

    def ready(self, worker: str) -> m.Ready:
        return self.wait(lambda report: isinstance(report, m.Ready) and report.worker == worker)

    def loss(self, worker: str) -> WorkerLost:
        """Wait for the report of its death."""
        return self.wait(lambda report: isinstance(report, WorkerLost) and report.worker == worker)

    def lost(self, worker: str) -> list[WorkerLost]:
        return [report for report in self.reports if isinstance(report, WorkerLost) and report.worker == worker]


class _Opens:
    """Calls a function as it is unpacked."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


class _Captured(runner.LocalRunner):
    def predict(self, job, callbacks=None):
        self.job = job
        return None


def predict_shipment() -> Shipment:
    """The job of a small predict: it can be formed with one worker and answers with numbers that are known."""
    dt.clear_session()
    dt.set_random_seed(0)
    model = dt.Sequential([dt.Input((2,)), layers.Dense(1, kernel_initializer="ones")])
    with runner.installed(_Captured(runner._InProcess(2))) as captured:
        model.predict(np.arange(8, dtype=np.float32).reshape(4, 2), batch_size=4)
    return pack(captured.job)


def form(call: int, worker: str) -> m.Form:
    return m.Form(call, 1, (worker,), ((0, 2),), (None,), None, None, None, 0)


def ended(pid: int) -> None:
    """Wait until no process has that pid, or only its zombie."""
    wait_until(lambda: state_of(pid) in "ZX", f"the end of process {pid}")


def state_of(pid: int) -> str:
    """As the kernel says it: R, S, T, Z ...; X for a process that is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """What `condition` returns once that is true."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"this never came: {what}")


# -- what a worker is made to do --------------------------------------------------------------------------------------------------------


def fail() -> None:
    """Raise."""
    raise LookupError("this job cannot be opened")


def segfault() -> None:
    """Die by SIGSEGV."""
    import ctypes

    ctypes.string_at(0)


def leave(code: int) -> None:
    """End by the script's own call."""
    os._exit(code)


def signal_itself(number: int) -> None:
    """As somebody from outside would."""
    os.kill(os.getpid(), number)
    time.sleep(600)


def hold_the_interpreter(seconds: int) -> None:
    """No thread of this process's Python runs meanwhile."""
    import ctypes

    ctypes.PyDLL(None).sleep(seconds)


def say(text: str, error: str) -> None:
    """Print, to both streams, and log."""
    import logging
    import sys

    print(text)
    print(error, file=sys.stderr)
    logging.getLogger("script").warning("and logged")


def tell_visible_gpus() -> None:
    """Raise what this process is shown of them."""
    raise LookupError(f"CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')!r}")
