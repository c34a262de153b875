"""The Cluster port without processes: every worker a thread with a real `Member`, every group in memory, every fault scripted.

What it promises is what the Ray cluster is shown to do by the same suite (`tests/conformance`).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from disttrain.clock import Clock, SystemClock
from disttrain.collectives import Group, GroupBroken
from disttrain.collectives.port import Pending
from disttrain.collectives.threads import ThreadGroup, thread_groups
from disttrain.elastic import messages as m
from disttrain.elastic.failing import Failure
from disttrain.elastic.member import Member
from disttrain.elastic.outgoing import rest
from disttrain.elastic.shipping import Shipment, unpack
from disttrain.orchestrator.events import StartFailed, WorkerLost

FormGroup = Callable[[m.Form, int, torch.device, threading.Event, Callable[[str], None]], Group]


class Killed(BaseException):
    """The thread of a worker that was killed ends by this."""


@dataclass
class Fault:
    """Kill `worker` at `tick`: "before" its step's first collective, or "after" it laid its part down."""

    worker: str
    tick: int
    place: str
    fired: bool = False


@dataclass
class FaultPlan:
    """Faults by place and tick; a test asks afterwards whether they all fired."""

    faults: list[Fault] = field(default_factory=list)

    def kill(self, worker: str, tick: int, place: str = "before") -> FaultPlan:
        """Add a kill; returns the plan."""
        if place not in ("before", "after"):
            raise ValueError(f"place={place!r}: expected 'before' or 'after'.")
        self.faults.append(Fault(worker, tick, place))
        return self

    @property
    def all_fired(self) -> bool:
        """Did every fault happen?"""
        return all(fault.fired for fault in self.faults)

    def due(self, worker: str, tick: int, place: str) -> bool:
        """Does a fault strike here? It strikes once."""
        for fault in self.faults:
            if not fault.fired and (fault.worker, fault.tick, fault.place) == (worker, tick, place):
                fault.fired = True
                return True
        return False


class _Worker:
    def __init__(self, name: str, cluster: FakeCluster) -> None:
        self.name, self.cluster = name, cluster
        self.dead = threading.Event()
        self.groups: list[Group] = []
        self.reported: set[type] = set()  # the kinds of its reports that are on their way to the driver
        self.gpu = cluster.gpu_for(name)
        self.member = Member(
            name, self.report, cluster.open, self.make_group, host=cluster.host_for(name), end=self.end, gpu_uuid=lambda: self.gpu,
            end_process=self.die,
        )  # fmt: skip
        self.thread = threading.Thread(target=self._live, name=f"fake-{name}", daemon=True)

    def _live(self) -> None:
        try:
            with self.cluster.processors.get(self.member._host, nullcontext)():
                self.member.run()
        except Killed:
            rest(self.member._engine)  # a process that dies takes its loader processes with it
        except BaseException as error:
            self.die(f"the worker's own thread failed: {type(error).__name__}: {error}")
        finally:
            if self.dead.is_set():
                for group in self.groups:  # its sockets end with a process
                    group.close()

    def report(self, report: object) -> None:
        if not self.dead.is_set():
            self.cluster.heard.put(report)
            self.reported.add(type(report))
        elif threading.current_thread() is self.thread:  # its writer's thread ends by itself
            raise Killed

    def end(self, failure: Failure) -> None:
        if failure.report is None:
            self.die(failure.ends or "")  # else its last report is on the way, and the driver ends it

    def make_group(self, command: m.Form, rank: int, device: torch.device, aborted: threading.Event) -> Group:
        if self.dead.is_set():
            raise Killed
        form = self.cluster.form
        group: Group = self.cluster.group(command, rank) if form is None else form(command, rank, device, aborted, self.die)
        self.groups.append(group)
        return _FaultyGroup(group, self, aborted)

    def die(self, reason: str) -> None:
        if not self.dead.is_set():
            self.dead.set()
            self.cluster.heard.put(WorkerLost(self.name, reason, self.cluster.clock.monotonic_s()))
            for group in self.groups:
                group.abort()
            self.member.receive(m.Leave())


class _FaultyGroup:
    """A member's view of its group, with the faults that strike there."""

    def __init__(self, group: Group, worker: _Worker, aborted: threading.Event) -> None:
        self._group, self._worker, self._aborted = group, worker, aborted
        self.rank, self.size = group.rank, group.size
        self.on_wait: Callable[[bool], None] | None = None
        group.on_wait = self._waits
        self._watch(aborted)

    def all_gather(self, output: Tensor, input: Tensor) -> Pending:
        return self._strike(lambda: self._group.all_gather(output, input))

    def all_to_all(self, output: Tensor, input: Tensor, output_splits: list[int], input_splits: list[int]) -> Pending:
        return self._strike(lambda: self._group.all_to_all(output, input, output_splits, input_splits))

    def broadcast(self, tensor: Tensor, source: int) -> Pending:
        return self._strike(lambda: self._group.broadcast(tensor, source))

    @property
    def usable(self) -> bool:
        return self._group.usable and not self._aborted.is_set()

    def rebind(self, aborted: threading.Event) -> None:
        if not self.usable:
            raise GroupBroken("this group is over: something broke, was aborted or left under way; form another one")
        self._group.rebind(aborted)
        before, self._aborted = self._aborted, aborted
        before.set()  # lets its thread go
        self._watch(aborted)

    def abort(self) -> None:
        self._aborted.set()

    def close(self) -> None:
        self._group.close()
        self._aborted.set()  # lets its thread go

    def _strike(self, operation: Any) -> Pending:
        engine = self._worker.member._engine
        tick = -1 if engine is None else engine.tick
        faults = self._worker.cluster.faults
        for place in ("before", "after"):
            if place == "after":
                pending: Pending = operation()
            if faults.due(self._worker.name, tick, place):
                self._worker.die(f"killed {place} the reduction of tick {tick}")
            if self._worker.dead.is_set():
                raise Killed
        return pending

    def _waits(self, waiting: bool) -> None:
        if self.on_wait is not None:
            self.on_wait(waiting)

    def _watch(self, aborted: threading.Event) -> None:
        def until_aborted() -> None:
            aborted.wait()
            if aborted is self._aborted:  # else the group has been bound to another flag since
                self._group.abort()

        threading.Thread(target=until_aborted, name=f"abort-{self._worker.name}", daemon=True).start()


class FakeCluster:
    """Workers as threads. `faults` strike by themselves; `kill` works as on a real cluster.

    Args:
        hosts: the machines that workers are placed on, one after the other; as many as there are workers unless told.
        gpus: the UUIDs of those that workers are given, the first that is free to each; none unless told.
        processors: by machine, a context in which its workers compute.
        form: makes the group of a generation for one member, in the place of one in memory; as `MakeGroup` of `elastic.member`, and told
            what ends the worker.
    """

    def __init__(
        self, faults: FaultPlan | None = None, clock: Clock | None = None, *, hosts: Sequence[str] = (), gpus: Sequence[str] = (),
        processors: Mapping[str, Callable[[], AbstractContextManager[Any]]] | None = None, form: FormGroup | None = None,
    ) -> None:  # fmt: skip
        self.form = form
        self.hosts, self.processors, self.avoided = tuple(hosts), dict(processors or {}), set[str]()
        self._placed: dict[str, str] = {}
        self.gpus, self.avoided_gpus, self.holders = tuple(gpus), set[str](), dict[str, str]()
        self.faults, self.clock = faults or FaultPlan(), clock or SystemClock()
        self.heard: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.workers: dict[str, _Worker] = {}
        self._meetings: dict[tuple[int, int], list[ThreadGroup]] = {}
        self._lock = threading.Lock()

    # -- the port -------------------------------------------------------------------------------------------------------------------

    def start_worker(self, worker: str) -> None:
        if worker in self.holders:
            return
        gpu = self.gpu_for(worker)
        if gpu in self.avoided_gpus:
            self.holders[worker] = gpu
            reason = f"it came to lie on {gpu}, which is left out, and holds that from now on"
            self.heard.put(StartFailed(worker, reason, self.clock.monotonic_s()))
        elif worker not in self.workers:
            self.workers[worker] = _Worker(worker, self)
            self.workers[worker].thread.start()

    def send(self, worker: str, command: object) -> None:
        known = self.workers.get(worker)
        if known is not None and not known.dead.is_set():
            known.member.receive(command)

    def reports(self, timeout_s: float) -> list[object]:
        found: list[object] = []
        try:
            found.append(self.heard.get(timeout=max(0.0, timeout_s)))
            while True:
                found.append(self.heard.get_nowait())
        except queue.Empty:
            return [report for report in found if report is not None]

    def wake(self) -> None:
        self.heard.put(None)

    def collect(self, bulk: m.Bulk) -> None:
        self.heard.put(m.Collected(bulk.key, bulk.handle))

    def kill(self, worker: str) -> None:
        known = self.workers.get(worker)
        if known is not None:
            known.die("killed")

    def avoid(self, hosts: Sequence[str]) -> None:
        self.avoided.update(hosts)

    def avoid_gpus(self, uuids: Sequence[str]) -> None:
        self.avoided_gpus.update(uuids)

    def close(self) -> None:
        for known in self.workers.values():
            known.member.receive(m.Leave())
            if known.member._group is not None:
                known.member._group.abort()
        for known in self.workers.values():
            known.thread.join(timeout=10.0)

    # -- beyond the port ------------------------------------------------------------------------------------------------------------

    def put(self, shipment: Shipment) -> Any:
        """The handle is the shipment: every worker unpacks its own."""
        return shipment

    def open(self, handle: Any) -> Any:
        """Unpack; through bytes, as between processes."""
        return unpack(handle)

    def host_for(self, worker: str) -> str:
        """The machine that a new worker is placed on: of those that are not avoided, the one with the fewest that live."""
        free = [host for host in self.hosts if host not in self.avoided]
        living = [host for name, host in self._placed.items() if name in self.workers and not self.workers[name].dead.is_set()]
        host = min(free, key=living.count) if free else f"host-of-{worker}"
        self._placed[worker] = host
        return host

    def gpu_for(self, worker: str) -> str:
        """The GPU that a new worker is given: the first that nobody holds; "" where there is none."""
        held = {known.gpu for known in self.workers.values() if not known.dead.is_set()} | set(self.holders.values())
        return next((gpu for gpu in self.gpus if gpu not in held), "")

    def address(self) -> str:
        return "127.0.0.1"

    def group(self, command: m.Form, rank: int) -> ThreadGroup:
        """The in-memory group of a generation; all its members come here."""
        with self._lock:
            key = command.call, command.generation
            if key not in self._meetings:
                self._meetings[key] = thread_groups(len(command.members))
            return self._meetings[key][rank]


class Started:
    """A FakeCluster as `launch.cluster_start.ClusterStart` wants one."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster

    def stop(self) -> None:
        """Nothing was started beside it."""
