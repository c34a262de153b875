"""The Cluster port over simulated processes. What it promises is what `orchestrator.ports.Cluster` says, and no more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from disttrain.elastic import messages as m
from disttrain.orchestrator.events import Silent, StartFailed, WorkerLost
from disttrain.testing.simulation.call import Call
from disttrain.testing.simulation.contracts import Checks, Disk
from disttrain.testing.simulation.group import Group
from disttrain.testing.simulation.process import Process
from disttrain.testing.simulation.scenario import Scenario
from disttrain.testing.simulation.world import World


class SimulatedCluster:
    """The processes of one attempt.

    Args:
        attempt: number of the driver's start.
        entered: told of each stage that a worker comes to.

    Attributes:
        due: the driver has something to look at.
    """

    silent_s = 5.0  # without an answer for so long, a heartbeat is missed

    def __init__(
        self, world: World, scenario: Scenario, attempt: int, storage: Disk, checks: Checks, entered: Callable[[str, Process], None]
    ) -> None:
        self.world, self.scenario, self.attempt, self.storage, self.checks, self.enter = world, scenario, attempt, storage, checks, entered
        self.processes: dict[str, Process] = {}
        self.due = self.closed = False
        self.boot_fails = 0  # so many of the next starts fail
        self._calls: dict[int, Call] = {}
        self._inbox: list[object] = []
        self._meetings: dict[tuple[int, int], Group] = {}
        self._doubles = world.rng(f"{attempt}/doubles")
        self._formed: dict[int, set[int]] = defaultdict(set)

    # -- the port -------------------------------------------------------------------------------------------------------------------

    def start_worker(self, worker: str) -> None:
        if worker not in self.processes and not self.closed:
            process = self.processes[worker] = Process(worker, self)
            process.boot()

    def send(self, worker: str, command: object) -> None:
        if isinstance(command, m.Form) and command.generation not in self._formed[command.call]:
            self._formed[command.call].add(command.generation)
            self.checks.formed(command)
        process = self.processes.get(worker)
        if process is not None and process.alive:
            process.send(command)

    def reports(self, timeout_s: float) -> list[object]:
        found, self._inbox = self._inbox, []
        return found

    def wake(self) -> None:
        self.due = True

    def collect(self, bulk: m.Bulk) -> None:
        process, value = bulk.handle
        self.world.after(self.scenario.transfer_s * process.rng.uniform(0.5, 1.5), self._collected, bulk.key, process, value)

    def kill(self, worker: str) -> None:
        process = self.processes.get(worker)
        if process is None or process.killed:
            return
        self.checks.kills(process)
        process.killed = True
        if process.cut_since is None:
            process.die("killed", told=False)
        self.tell_death(process, "killed by the driver, which gave it up", False)

    def close(self) -> None:
        """End every process."""
        self.closed = True
        for process in self.processes.values():
            process.die("closed", told=False)

    # -- beyond the port ------------------------------------------------------------------------------------------------------------

    def put(self, call: Call) -> Any:
        """The handle of a job: its number."""
        self._calls[call.number] = call
        return call.number

    def call_of(self, handle: int) -> Call:
        """The job behind a handle."""
        return self._calls[handle]

    def address(self) -> str:
        return "simulated"

    def meeting(self, form: m.Form) -> Group:
        """The group that the members of a generation form."""
        key = form.call, form.generation
        if key not in self._meetings:
            name = f"c{form.call}g{form.generation}"
            group = self._meetings[key] = Group(self.world, name, form.members, 2 * self.scenario.latency_s)
            for member in form.members:
                if not self.processes[member].alive:
                    group.gone.add(member)
        return self._meetings[key]

    def living(self) -> list[Process]:
        """Who really lives."""
        return [process for process in self.processes.values() if process.alive]

    # -- hearing --------------------------------------------------------------------------------------------------------------------

    def arrive(self, process: Process, report: object, said_at: float) -> None:
        """A report comes to the driver's machine."""
        if self.closed or (not process.alive and said_at > process.last_words):
            return
        if process.cut_since is not None:
            process.hold(report)
            return
        process.heard_at = self.world.now
        if isinstance(report, m.Beat):
            process.heard = self.world.now, report
        self._hear(report)
        if self.scenario.doubles and not isinstance(report, m.Beat) and self._doubles.random() < self.scenario.doubles:
            self._hear(report)

    def tell_death(self, process: Process, reason: str, crashed: bool) -> None:
        """The cluster has noticed a death; it tells of it once."""
        if self.closed or process.told or (process.cut_since is not None and not process.killed and reason != "unreachable"):
            return
        process.told = True
        self._hear(WorkerLost(process.name, reason, self.world.now, crashed))

    def fail_start(self, process: Process, reason: str) -> None:
        """A process that has not come up never will."""
        if process.alive and not process.booted and not process.told:
            process.die(reason, told=False)
            process.told = True
            self._hear(StartFailed(process.name, reason, self.world.now))

    def look_for_silence(self, process: Process) -> None:
        """Once a second, as long as it does not answer."""
        mute = process.condition is not None or process.cut_since is not None
        if self.closed or process.told or not mute or not (process.alive or process.cut_since is not None):
            return
        if process.booted and self.world.now - process.heard_at >= self.silent_s:
            condition = process.condition if process.cut_since is None and process.condition else "unknown"
            self._hear(Silent(process.name, process.heard_at, self.world.now, condition))  # type: ignore[arg-type]
        self.world.after(1.0, self.look_for_silence, process)

    def _collected(self, key: str, process: Process, value: Any) -> None:
        if self.closed:
            return
        if process.alive and process.cut_since is None and process.condition in (None, "alive", "stopped"):
            self._hear(m.Collected(key, value))
        elif not process.alive:
            self.checks.unreachable.add(process.name)
            self._hear(m.Collected(key, error=f"the owner {process.name} has died"))
        else:
            self.world.after(1.0, self._collected, key, process, value)

    def _hear(self, report: object) -> None:
        self._inbox.append(report)
        self.due = True
        if isinstance(report, m.ShardWritten):
            self.checks.part_heard(report)
