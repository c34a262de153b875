"""One simulation: the faults strike, the driver dies and is started again, until the script is through."""

from __future__ import annotations

import traceback
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from disttrain import orchestrator as o
from disttrain.collectives.store_server import StoreAddress
from disttrain.controller.checkpoint_interval import CheckpointInterval
from disttrain.controller.environment import CallEnvironment, KeptGroup, WorkerFacts
from disttrain.controller.loop import Controller
from disttrain.errors import DisttrainError, InfrastructureError, Interrupted, PoisonBatch
from disttrain.orchestrator import call_states as c
from disttrain.rundir.resume import ResumePoint
from disttrain.testing.simulation.call import Call
from disttrain.testing.simulation.cluster import SimulatedCluster
from disttrain.testing.simulation.process import Process
from disttrain.testing.simulation.promises import Promises
from disttrain.testing.simulation.scenario import DRIVER_FAULTS, GROUP_FAULTS, STORAGE_FAULTS, Fault, Scenario
from disttrain.testing.simulation.script import SimulatedCallHooks, SimulatedFitHooks, SimulatedMailbox
from disttrain.testing.simulation.storage import SimulatedCommitter, Storage
from disttrain.testing.simulation.world import Violation, World

_LOOK_S = 0.5  # the driver looks at clocks at least that often
_ATTEMPTS = 12
_EVENTS = 400_000


class _DriverDied(BaseException):
    """It is gone, with its workers."""


@dataclass(frozen=True)
class Outcome:
    """How a simulation ended.

    Args:
        events: so many things have happened, in `seconds` of simulated time.
        failure: the promise that was broken.
        struck: which faults found something to strike.
        said: the timeline.
    """

    scenario: Scenario
    events: int
    seconds: float
    failure: str | None
    struck: tuple[Fault, ...]
    said: tuple[tuple[float, str, str], ...]
    endings: tuple[str, ...]


class Simulation:
    """One run of a script, with everything around it."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario, self.world = scenario, World(scenario.seed)
        self.checks = Promises(self.world, scenario)
        self.storage = Storage(self.world, scenario, self.checks)
        self.checks.storage = self.storage
        self.calls = [Call(number, plan, scenario.policy.virtual_workers, 7) for number, plan in enumerate(scenario.calls)]
        self.struck: list[Fault] = []
        self.endings: list[str] = []
        self._stages: Counter[str] = Counter()
        self._by_stage: dict[str, list[Fault]] = {}
        self._stalled_until = 0.0
        self._interrupts = 0
        self._driver_dead = False
        self._mailbox: SimulatedMailbox | None = None
        self._turned = 0.0
        self._committer: SimulatedCommitter | None = None
        for fault in scenario.faults:
            if fault.at_s is not None:
                self.world.at(fault.at_s, self._strike, fault, None)
            else:
                self._by_stage.setdefault(fault.stage, []).append(fault)

    def run(self) -> None:
        """To the end of the script.

        Raises:
            Violation: a promise was broken.
        """
        for attempt in range(_ATTEMPTS):
            ending = self._attempt(attempt)
            self.endings.append(ending)
            if ending == "finished":
                return
        self.checks.fail(f"after {_ATTEMPTS} starts the script is not through: {self.endings}")

    # -- one start of the driver ----------------------------------------------------------------------------------------------------

    def _attempt(self, attempt: int) -> str:
        self._interrupts, self._driver_dead, self.checks.interrupted_at = 0, False, None
        self.checks.controller = None
        cluster = self.cluster = SimulatedCluster(self.world, self.scenario, attempt, self.storage, self.checks, self._entered)
        self.checks.cluster = cluster
        resume = self.storage.resume_point()
        self._committer = self.storage.committer(attempt)
        state: o.State = self._start_workers(cluster)
        kept, facts, sequence = KeptGroup(), dict[str, WorkerFacts](), 0
        try:
            for call in self.calls:
                if call.number not in self.storage.results:
                    mine = resume if resume is not None and resume.call == call.number and call.trains else None
                    state = self._call(call, attempt, mine, state, kept, facts, sequence)
                    sequence += call.job.program.ticks + 2
            return "finished"
        except _DriverDied:
            return "the driver died"
        except Interrupted as error:
            if not self._interrupts:
                self.checks.fail(f"interrupted, though nobody asked: {error}")
            return "interrupted"
        except InfrastructureError as error:
            self._check_reason(error)
            return f"{type(error).__name__}: {str(error).splitlines()[0]}"
        finally:
            self._committer.die(lands=self.world.rng(f"{attempt}/death").random() < 0.5)
            if self._mailbox is not None:
                self._mailbox.end()
            cluster.close()

    def _call(
        self, call: Call, attempt: int, resume: ResumePoint | None, state: o.State, kept: KeptGroup, facts: dict[str, WorkerFacts],
        sequence: int,
    ) -> o.State:  # fmt: skip
        """One call of the script."""
        cluster, checks = self.cluster, self.checks
        hooks: Any = (SimulatedFitHooks if call.trains else SimulatedCallHooks)(call, checks)
        mailbox: Any = SimulatedMailbox(cluster, checks, lambda: hooks.handled)
        self._mailbox = mailbox
        controller = Controller(
            self._environment(cluster, attempt), call.number, replace(call.job), lambda job: cluster.put(call), state=state, facts=facts,
            hooks=hooks, saves=self._committer if call.trains else None, resume=resume, sequence_base=sequence, kept=kept, mailbox=mailbox,
        )  # fmt: skip
        checks.begin_call(call, controller, 0 if resume is None else resume.tick)
        self._carry(controller)
        checks.ended(controller, hooks)
        if not call.trains or controller.final_commit is not None:
            self.storage.results[call.number] = controller.result
        checks.controller = None
        return controller.state

    def _start_workers(self, cluster: SimulatedCluster) -> o.State:
        decision = o.first_call(self.scenario.policy, at_s=self.world.now)
        for effect in decision.effects:
            if isinstance(effect, o.StartWorker):
                cluster.start_worker(effect.worker)
        return decision.state

    def _environment(self, cluster: SimulatedCluster, attempt: int) -> CallEnvironment:
        scenario = self.scenario
        console: Any = self.checks
        interval = CheckpointInterval(steps=scenario.every_steps, seconds=scenario.every_s, epoch=scenario.every_epoch)
        return CallEnvironment(
            cluster=cluster, policy=scenario.policy, run_dir="simulated", attempt=attempt, threads=1,
            meeting_place=lambda: StoreAddress("simulated", 0, b""), checkpoint_interval=interval, console=console,
            interrupts=lambda: self._interrupts, first_step=lambda: None, clock=self.world,
        )  # fmt: skip

    def _carry(self, controller: Controller) -> None:
        """What the controller's thread does, event by event."""
        world, cluster, checks = self.world, self.cluster, self.checks
        controller.open()
        over = c.Over
        self._look(controller)
        while not isinstance(controller.call, over):
            world.step()
            if self._driver_dead:
                raise _DriverDied
            if cluster.due and world.now >= self._stalled_until:
                cluster.due = False
                self._turned = world.now
                controller.turn(0.0)
                checks.look()
                if world.events % 64 == 0:
                    controller.status()
            if world.events > _EVENTS:
                checks.fail(f"{_EVENTS} events, and the script is not through: {checks.where()}")

    def _look(self, controller: Controller) -> None:
        """The loop looks at its clocks."""
        if self.checks.controller is not controller or self._driver_dead:
            return
        self.world.events -= 1  # nothing has happened
        now = self.world.now
        if now < self._stalled_until:
            self.world.at(self._stalled_until, self._look, controller)
            return
        deadline = o.next_deadline(controller.state, controller.policy)
        if now - self._turned >= _LOOK_S or (deadline is not None and now >= deadline):
            self.cluster.due = True
        following = now + _LOOK_S
        if deadline is not None and now < deadline < following:
            following = deadline
        self.world.at(following, self._look, controller)

    def _check_reason(self, error: InfrastructureError) -> None:
        """An end that is no one's fault has a reason that is true."""
        controller = self.checks.controller
        assert controller is not None
        if isinstance(error, PoisonBatch):
            trouble = controller.state.roster.trouble
            own = [worker for worker in trouble.workers if self.cluster.processes[worker].killed]
            if own:
                self.checks.fail(f"{own} were killed by us, and the batch is blamed: {error}")
        if not self.scenario.faults:
            self.checks.fail(f"nothing went wrong, and the call ends: {type(error).__name__}: {error}")

    # -- faults ---------------------------------------------------------------------------------------------------------------------

    def _entered(self, stage: str, process: Process) -> None:
        self._stages[stage] += 1
        for fault in self._by_stage.get(stage, ()):
            if fault.nth == self._stages[stage]:
                self.world.after(fault.delay_s, self._strike, fault, process)

    def _strike(self, fault: Fault, process: Process | None) -> None:
        if not hasattr(self, "cluster"):
            return
        living = self.cluster.living()
        if process is None and living:
            process = living[fault.pick % len(living)]
        if self._befall(fault, process):
            self.struck.append(fault)

    def _befall(self, fault: Fault, process: Process | None) -> bool:
        seconds, now = fault.seconds or 0.0, self.world.now
        if fault.kind != "interrupt":
            self.checks.disturbed()
        if fault.kind in DRIVER_FAULTS:
            return self._befall_driver(fault.kind, seconds)
        if fault.kind in STORAGE_FAULTS:
            name = {"save_fails": "parts_fail_until", "commit_fails": "commits_fail_until", "storage_hangs": "hangs_until"}[fault.kind]
            setattr(self.storage, name, max(getattr(self.storage, name), now + seconds))
            return True
        if fault.kind == "long_hook":
            if self._mailbox is not None:
                self._mailbox.longer_s += seconds
            return self._mailbox is not None
        if process is None or not process.alive or self.cluster.closed or process.cluster is not self.cluster:
            return False
        if fault.kind in GROUP_FAULTS:
            return self._befall_group(fault.kind, process)
        match fault.kind:
            case "die":
                process.die("SIGKILL")
            case "crash":
                process.die("SIGSEGV", crashed=True)
            case "freeze":
                process.mute("stopped", fault.seconds)
            case "vanish":
                process.mute("unknown", None)
            case "busy":
                process.mute("alive", seconds)
            case "hang":
                process.worker.hang()
            case "cut":
                process.cut(seconds)
            case "slow_link":
                before, process.latency_s = process.latency_s, max(process.latency_s, 4.0)
                self.world.after(seconds, setattr, process, "latency_s", before)
            case "raise_if_new":
                controller = self.checks.controller
                members = () if controller is None else controller.group.members
                if not members or process.name in members or process.worker.state is not None:
                    return False
                process.worker.raised = True
            case "fail_start":
                if process.booted:
                    return False
                self.cluster.fail_start(process, "no room")
        return True

    def _befall_group(self, kind: str, process: Process) -> bool:
        group = process.worker.group
        if group is None or group.size < 2:
            return False
        if kind == "break":
            self.checks.broke(process.name)
            process.worker.sees_broken(group, process.worker.token, "connection reset by peer")
        else:
            group.blocked = True
        return True

    def _befall_driver(self, kind: str, seconds: float) -> bool:
        if self.checks.controller is None:
            return False
        if kind == "interrupt":
            self._interrupts += 1
            self.checks.interrupt()
            self.cluster.wake()
        elif kind == "driver_dies":
            self._driver_dead = True
        else:
            self._stalled_until = self.checks.stalled_until = self.world.now + seconds
        return True


def simulate(scenario: Scenario) -> Outcome:
    """Run it; a broken promise is in the outcome."""
    simulation, failure = Simulation(scenario), None
    try:
        simulation.run()
    except Violation as broken:
        failure = str(broken)
    except (AssertionError, o.IllegalTransition, LookupError, TypeError, AttributeError, ValueError, DisttrainError) as error:
        failure = f"{type(error).__name__}: {error}\n{''.join(traceback.format_exception(error)[-4:])}"
    world = simulation.world
    struck = tuple(dict.fromkeys(simulation.struck))
    return Outcome(scenario, world.events, world.now, failure, struck, tuple(simulation.checks.said), tuple(simulation.endings))
