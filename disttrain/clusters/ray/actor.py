"""The process of a worker: an actor that hands commands to its `Member` and holds the reports until the driver asks for them."""

from __future__ import annotations

import os
import queue
import threading
import time
from typing import Any

import ray

from disttrain.elastic.messages import Leave


class WorkerActor:
    """One worker. The driver always has one `reports` call waiting here: it carries the reports, it is the heartbeat, and it is the lease.

    Args:
        name: what the driver calls this worker.
        lease_s: without a call from the driver for so long, the process ends itself: whoever was cut off must not go on writing.
    """

    def __init__(self, name: str, lease_s: float) -> None:
        from disttrain.elastic.member import Member  # late: the driver creates actors before it has loaded torch itself

        self._outbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._lease_s, self._renewed = lease_s, time.monotonic()
        self._member = Member(name, self._outbox.put, _open)
        threading.Thread(target=self._member.run, name="member", daemon=True).start()
        threading.Thread(target=self._watch_lease, name="lease", daemon=True).start()

    def where(self) -> tuple[int, str]:
        """This process and the Ray node it runs on."""
        return os.getpid(), ray.get_runtime_context().get_node_id()

    def receive(self, command: object) -> None:
        """Take a command; returns at once."""
        self._member.receive(command)
        if isinstance(command, Leave):
            threading.Timer(0.2, os._exit, (0,)).start()

    def reports(self, wait_s: float) -> list[object]:
        """Everything to report since the last call; waits up to `wait_s` for the first."""
        self._renewed = time.monotonic()
        found: list[object] = []
        try:
            found.append(self._outbox.get(timeout=wait_s))
            while True:
                found.append(self._outbox.get_nowait())
        except queue.Empty:
            pass
        self._renewed = time.monotonic()
        return found

    def _watch_lease(self) -> None:
        while time.monotonic() - self._renewed < self._lease_s:
            time.sleep(min(1.0, self._lease_s / 4))
        os._exit(1)


def _open(handle: Any) -> Any:
    """The job behind a handle: arrays stay where Ray mapped them."""
    from disttrain.elastic.shipping import Shipment, unpack  # late: brings torch

    (pickled,), buffers = ray.get(handle[0]), handle[1]
    return unpack(Shipment(pickled, ray.get(buffers) if buffers else []))


def kill_process(pid: int) -> None:
    """Run on a worker's own node: `ray.kill` does not end a process that is stopped."""
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return
