"""What the driver needs from a cluster. Adapters in `disttrain.clusters` conform to it; one shared suite holds them to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Cluster(Protocol):
    """Processes that can be started, told, heard and ended.

    What every adapter promises, and `decide` relies on:
      - after `start_worker` a report follows some day: ready, failed, or lost;
      - commands to one worker arrive in the order of `send`, or it dies first;
      - a dead worker is reported once it is known to be dead, and nothing it did afterwards counts. Its last words may come after that;
      - after `kill` the worker's death is reported, even when its machine cannot be reached: its lease ends it there.
    """

    def start_worker(self, worker: str) -> None:
        """Begin to start a process named `worker`, and return at once. A name that was started before is left alone."""
        ...

    def send(self, worker: str, command: object) -> None:
        """Hand `command` to `worker` and return at once. Never raises for a worker that is dead or unknown: the command is dropped."""
        ...

    def reports(self, timeout_s: float) -> list[object]:
        """What workers said and which of them died, oldest first; waits up to `timeout_s` seconds for the first, [] if none came.

        Raises:
            InfrastructureError: the cluster itself is gone, or what hears it has ended; nothing will be reported any more.
        """
        ...

    def wake(self) -> None:
        """Let a `reports` that waits return at once; for another thread that has something for whoever waits there."""
        ...

    def collect(self, bulk: Any) -> None:
        """Begin to bring what a worker left in `bulk` here, and return at once; a `Collected` follows among the reports."""
        ...

    def kill(self, worker: str) -> None:
        """End the process for certain (SIGKILL, also when it is stopped), and return at once. Harmless for a dead or unknown worker."""
        ...

    def avoid(self, hosts: Sequence[str]) -> None:
        """Place workers that are started from now on elsewhere; where there is no other place, they wait for one."""
        ...

    def avoid_gpus(self, uuids: Sequence[str]) -> None:
        """Let no worker that is started from now on compute on these; one that comes to lie there is a failed start, and holds it."""
        ...

    def close(self) -> None:
        """End every process and connection. May be called twice."""
        ...
