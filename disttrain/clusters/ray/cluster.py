"""The Cluster port over Ray: every worker an actor with one `reports` call always under way."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from disttrain.clusters.ray.actor import WorkerActor, kill_process
from disttrain.elastic.messages import Leave
from disttrain.orchestrator.events import Silent, StartFailed, WorkerLost

if TYPE_CHECKING:
    from disttrain.elastic.shipping import Shipment

_POLL_S = 1.0  # how long a `reports` call waits on the worker; also the rhythm of its heartbeat
_SILENT_S = 5.0  # a call that has not come back for so long is a heartbeat missed
_GONE_S = 30.0  # an actor that Ray calls unavailable for so long is treated as lost
_LEASE_S = 20.0


class _Worker:
    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.pid, self.node = 0, ""
        self.heard = time.monotonic()
        self.alive = False  # has answered once
        self.unavailable_since: float | None = None
        self.killed = False


class RayCluster:
    """Workers on Ray.

    Args:
        cpus_per_worker, gpus_per_worker: what each actor holds; Ray puts it where that is free, and waits for it if need be.
    """

    def __init__(self, cpus_per_worker: float = 1, gpus_per_worker: float = 0) -> None:
        self._resources = {"num_cpus": cpus_per_worker, "num_gpus": gpus_per_worker}
        # One thread for each: commands stay in order, and a waiting `reports` never holds up a command.
        remote: Any = ray.remote  # its types do not know concurrency groups
        self._actor_class = remote(max_restarts=0, concurrency_groups={"commands": 1, "reports": 1})(WorkerActor)
        self._workers: dict[str, _Worker] = {}
        self._calls: dict[Any, tuple[str, str]] = {}  # a call under way -> (worker, kind)
        self._lock = threading.Lock()
        self._reports: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._looked = time.monotonic()
        self._poller = threading.Thread(target=self._poll, name="ray-reports", daemon=True)
        self._poller.start()

    # -- the port -------------------------------------------------------------------------------------------------------------------

    def start_worker(self, worker: str) -> None:
        with self._lock:
            if worker in self._workers or self._closed.is_set():
                return
            actor = self._actor_class.options(**self._resources).remote(worker, _LEASE_S)
            self._workers[worker] = _Worker(actor)
            self._calls[actor.where.options(concurrency_group="commands").remote()] = (worker, "where")
            self._ask(worker, actor)

    def send(self, worker: str, command: object) -> None:
        with self._lock:
            known = self._workers.get(worker)
        if known is not None:
            known.actor.receive.options(concurrency_group="commands").remote(command)

    def reports(self, timeout_s: float) -> list[object]:
        found: list[object] = []
        try:
            found.append(self._reports.get(timeout=max(0.0, timeout_s)))
            while True:
                found.append(self._reports.get_nowait())
        except queue.Empty:
            return found

    def kill(self, worker: str) -> None:
        with self._lock:
            known = self._workers.get(worker)
        if known is None or known.killed:
            return
        known.killed = True
        try:
            ray.kill(known.actor, no_restart=True)
            if known.pid:
                affinity = NodeAffinitySchedulingStrategy(known.node, soft=False)
                ray.remote(kill_process).options(num_cpus=0, scheduling_strategy=affinity, max_retries=0).remote(known.pid)
        except (RayError, ValueError):
            pass  # the node is gone; the worker's lease ends it there
        self._lost(worker, "killed because it did not answer")

    def close(self) -> None:
        if self._closed.is_set():
            return
        self._closed.set()
        with self._lock:
            workers = dict(self._workers)
        for known in workers.values():
            try:
                known.actor.receive.options(concurrency_group="commands").remote(Leave())
            except RayError:
                continue
        self._poller.join(timeout=5.0)
        for known in workers.values():
            try:
                ray.kill(known.actor, no_restart=True)
            except (RayError, ValueError):
                continue

    # -- beyond the port ------------------------------------------------------------------------------------------------------------

    def put(self, shipment: Shipment) -> tuple[list[Any], list[Any]]:
        """A handle to the shipment in the object store: each node fetches it once, its workers map it."""
        return [ray.put(shipment.pickled)], [ray.put(buffer) for buffer in shipment.buffers]

    def address(self) -> str:
        """The address of this machine that workers reach."""
        return str(ray.util.get_node_ip_address())

    # -- hearing --------------------------------------------------------------------------------------------------------------------

    def _ask(self, worker: str, actor: Any) -> None:
        self._calls[actor.reports.options(concurrency_group="reports").remote(_POLL_S)] = (worker, "reports")

    def _poll(self) -> None:
        while not self._closed.is_set():
            with self._lock:
                calls = list(self._calls)
            if not calls:
                time.sleep(0.01)
                continue
            try:
                done, _ = ray.wait(calls, num_returns=1, timeout=0.1)
            except Exception:
                if self._closed.is_set():
                    return
                raise
            if done:
                # whatever else has come by now, in one go
                done = ray.wait(calls, num_returns=len(calls), timeout=0)[0] or done
            for call in done:
                self._take(call)
            self._look_for_silence()

    def _take(self, call: Any) -> None:
        with self._lock:
            worker, kind = self._calls.pop(call, ("", ""))  # forgotten meanwhile: its worker was killed
            known = self._workers.get(worker)
        if known is None:
            return
        try:
            answer = ray.get(call, timeout=10)
        except (ActorUnavailableError, GetTimeoutError) as error:
            now = time.monotonic()
            known.unavailable_since = known.unavailable_since or now
            if now - known.unavailable_since > _GONE_S:
                self._lost(worker, f"unreachable for {_GONE_S:.0f} s: {_brief(error)}")
            elif kind == "reports":
                time.sleep(0.05)
                with self._lock:
                    self._ask(worker, known.actor)
            return
        except RayTaskError as error:  # our own actor raised: a fault of ours or of the environment, such as a failed import
            self._reports.put(StartFailed(worker, _brief(error), time.monotonic()))
            self._forget(worker)
            return
        except RayActorError as error:
            self._lost(worker, _brief(error))
            return
        known.heard, known.unavailable_since, known.alive = time.monotonic(), None, True
        if kind == "where":
            known.pid, known.node = answer
            return
        for report in answer:
            self._reports.put(report)
        with self._lock:
            if not self._closed.is_set():
                self._ask(worker, known.actor)

    def _look_for_silence(self) -> None:
        now = time.monotonic()
        if now - self._looked < 1.0:
            return
        self._looked = now
        with self._lock:
            quiet = [(name, known.heard) for name, known in self._workers.items() if known.alive and now - known.heard > _SILENT_S]
        for name, since in quiet:
            self._reports.put(Silent(name, since, now))  # whether that is too long is not for this room to say

    def _lost(self, worker: str, reason: str) -> None:
        if self._forget(worker):
            self._reports.put(WorkerLost(worker, reason, time.monotonic()))

    def _forget(self, worker: str) -> bool:
        with self._lock:
            self._calls = {call: owner for call, owner in self._calls.items() if owner[0] != worker}
            return self._workers.pop(worker, None) is not None


def _brief(error: BaseException) -> str:
    """Ray's reason in one line."""
    text = str(error)
    for line in text.splitlines():
        if "died" in line or "exit" in line.lower() or "killed" in line.lower():
            return line.strip()[:200]
    return (text.splitlines() or [type(error).__name__])[0].strip()[:200]
