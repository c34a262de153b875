"""What must hold, whatever happens: held against the truth of the simulation, which the controller only hears of."""

from __future__ import annotations

import re
from typing import Any

from disttrain import orchestrator as o
from disttrain.controller.loop import Controller
from disttrain.controller.mailbox import Done
from disttrain.elastic import messages as m
from disttrain.orchestrator.patience import WAITING, WORKING
from disttrain.testing.simulation.call import Call, Hooks, State
from disttrain.testing.simulation.cluster import SimulatedCluster
from disttrain.testing.simulation.process import Process
from disttrain.testing.simulation.scenario import LONGEST_TICK_S, SHORTEST_TICK_S, Scenario
from disttrain.testing.simulation.storage import Storage
from disttrain.testing.simulation.worker import Worker
from disttrain.testing.simulation.world import Violation, World
from disttrain.training.program import Position

BEAT_S = 1.0
LEAST_HANG_S = 300.0  # no tick is called a hang earlier, unless the launch says so
_NOTICED_S = 6.5  # a death is known by then, a beat and a slow line included
LONGEST_STALL_S = 16.0  # of the driver
_WELL_S = 3.0  # a worker that has been well again for less may be killed for what it was before: the word is on its way


class Promises:
    """The promises of one run.

    Attributes:
        cluster, controller, call, storage: of the call that runs now.
        done_at: when something got on last.
        said: the timeline.
    """

    cluster: SimulatedCluster
    storage: Storage
    controller: Controller | None = None
    call: Call

    def __init__(self, world: World, scenario: Scenario) -> None:
        self.world, self.scenario = world, scenario
        self.said: list[tuple[float, str, str]] = []
        self.done_at = 0.0
        self.unreachable: set[str] = set()
        self.last_fault_s = self.stalled_until = self.hooks_until = 0.0
        self.interrupted_at: float | None = None
        self.calm_since_interrupt = False
        self.unresolved: dict[tuple[int, int, int], float] = {}
        self._parts: dict[tuple[int, int, int], set[int]] = {}
        self._told_failed: set[tuple[int, int, int]] = set()
        self._told_commits: dict[int, int] = {}
        self._generation: dict[int, m.Form] = {}  # newest, by call
        self._furthest = -1
        self._broke_at: float | None = None
        self._disturbances = 0
        self._slow_since = float("inf")  # a worker that was killed for that
        self._lost_steps = False
        self._committed: dict[int, int] = {}
        self._ticks_left = 0
        self._told_slow_s: dict[str, float] = {}

    # -- the calls ------------------------------------------------------------------------------------------------------------------

    def begin_call(self, call: Call, controller: Controller, start: int) -> None:
        """A call begins, perhaps once more, from tick `start`."""
        self.call, self.controller = call, controller
        self.done_at = self.world.now
        self._generation.pop(call.number, None)
        self._furthest, self._broke_at, self._disturbances, self._lost_steps = start, None, 0, False
        self.unresolved, self._parts, self._told_failed = {}, {}, set()
        self._told_commits.pop(call.number, None)
        self._told_slow_s = {}

    def fail(self, what: str) -> None:
        """A promise is broken."""
        raise Violation(what)

    # -- workers --------------------------------------------------------------------------------------------------------------------

    def completed(self, worker: Worker, state: State) -> None:
        """A worker has completed a tick: in the newest generation, and with the one possible result."""
        if worker.cluster is not self.cluster or self.call is None or worker.call_number != self.call.number:
            return  # of an attempt or a call that is over: what it does is never kept
        newest = self._generation[worker.call_number].generation
        if worker.generation != newest:
            self.fail(f"{worker.name} of generation {worker.generation} has completed tick {state.tick}, though generation {newest} lives")
        if state.digest != self.call.digests.get(state.tick):
            self.fail(f"{worker.name} made another state of tick {state.tick} than one process does")
        if state.tick > self._furthest:
            self._furthest, self.done_at = state.tick, self.world.now
            self._ticks_left -= 1
            if self.interrupted_at is not None and self.calm_since_interrupt and self._ticks_left < 0:
                ago_s = self.world.now - self.interrupted_at
                self.fail(f"Ctrl-C was {ago_s:.2f} s ago, and the call goes on and on: tick {state.tick} is done")

    def formed(self, form: m.Form) -> None:
        """The controller forms a generation: nobody is still in an older one, and nothing is thrown away that somebody holds."""
        self.done_at = self.world.now
        before = self._generation.get(form.call)
        if before is not None and form.generation <= before.generation:
            self.fail(f"generation {form.generation} is formed after generation {before.generation}")
        self._generation[form.call] = form
        held = []
        for process in self.cluster.processes.values():
            worker = process.worker
            if not process.alive or process.killed or process.told_dead or worker.call_number != form.call:
                continue
            if worker.formed and before is not None:
                self.fail(f"generation {form.generation} is formed while {process.name} is still in generation {worker.generation}")
            if before is not None and process.name in before.members and worker.holds_state and worker.state is not None:
                held.append(worker.state.tick)
        committed = self._told_commits.get(form.call, -1)
        anew = form.restore is not None or (form.source is None and form.tick == 0)
        if self.call.plan.kind != "predict":
            if form.tick < committed - (form.source is not None and form.restore is None):
                self.fail(f"generation {form.generation} goes on at tick {form.tick}; tick {committed} is committed")
            if held and max(held) + 1 >= form.tick and anew and before is not None and max(held) + 1 > max(committed, 0):
                self.fail(f"generation {form.generation} begins anew at tick {form.tick}, though tick {max(held)} is held in memory")
        if self._broke_at is not None and form.tick < self._furthest - 1:
            self._lost_steps = True
        self._furthest = form.tick
        if self._broke_at is None and any(self._stands_still(self.cluster.processes[name]) for name in form.members):
            self._broke_at, self._disturbances = self.world.now, 1

    def kills(self, process: Process) -> None:
        """The controller ends a process: one that works is never killed."""
        worker, now = process.worker, self.world.now
        if not process.alive or process.told:
            return
        if worker.raised or process.name in self.unreachable:
            return
        if process.condition in ("stopped", "unknown") and now - (process.mute_since or 0.0) >= 5.0:
            return
        if process.cut_since is not None and now - process.cut_since >= 5.0:
            return
        if now - process.well_since < _WELL_S and process.well_since > process.started_at:
            return
        unknown_s = self.scenario.policy.hang_timeout_s or 3600.0
        for beat in (worker.activity.beat(), process.heard_beat(now)):  # the second is what the driver knows
            limit_s = self.scenario.policy.hang_timeout_s or (LEAST_HANG_S if beat.activity == "computing" else unknown_s)
            if beat.activity in WORKING - WAITING and beat.seconds >= limit_s - 2 * BEAT_S:
                self._slow_since = min(self._slow_since, now - beat.seconds, process.mute_since or now)
                return  # healthy or not, it took longer than the limit that it was given
        if now - (process.mute_since or now) >= unknown_s - 2 * BEAT_S:
            self._slow_since = min(self._slow_since, process.mute_since or now)
            return
        if not process.booted and now - process.started_at >= self.scenario.policy.start_limit_s - LONGEST_STALL_S:
            return
        self.fail(
            f"{process.name} is killed while it is {worker.stage} (condition {process.condition or 'well'}), "
            f"{now - process.started_at:.1f} s old, activity {worker.activity.beat().activity}"
        )

    def broke(self, name: str) -> None:
        """Something befalls a worker: if it is a member, the group stands still from here on."""
        controller = self.controller
        if controller is None or name not in controller.group.members or isinstance(controller.state, o.Ended):
            return
        self._disturbances += 1
        process = self.cluster.processes[name]
        self._slow_since = min(
            self._slow_since, *(since for since in (process.mute_since, process.cut_since) if since is not None), self.world.now
        )
        if self._broke_at is None:
            self._broke_at = max(self.world.now, self.stalled_until)  # who is stalled cannot tell for how long

    # -- saves ----------------------------------------------------------------------------------------------------------------------

    def part_heard(self, part: m.ShardWritten) -> None:
        """The driver has been told of a part of a save: once it has all, or one that failed, it owes a word."""
        if self.controller is None or part.call != self.controller.number:
            return
        key = part.call, part.generation, part.tick
        parts = self._parts.setdefault(key, set())
        parts.add(part.rank)
        if key not in self._told_failed and (part.error is not None or len(parts) == part.size):
            self.unresolved.setdefault(key, self.world.now)

    def commits(self, call: int, tick: int, state: State, extra: dict[str, Any]) -> None:
        """A checkpoint is written: the state of its tick, and the callbacks' of the same."""
        if self.call.number == call:
            if state.tick != tick or state.digest != self.call.digests.get(tick):
                self.fail(f"a checkpoint of tick {tick} holds another state")
            hooks: Hooks = extra["hooks"]["counted"]
            expected = sum(boundary < tick for boundary in self.call.boundaries)
            if hooks.runs != expected:
                self.fail(f"a checkpoint of tick {tick} says that {hooks.runs} boundaries' hooks have run; {expected} lie before it")
        self._committed[call] = max(tick, self._committed.get(call, -1))

    def saved(self, now: float) -> None:
        """The committer is through with a save."""
        self.done_at = now

    # -- the script -----------------------------------------------------------------------------------------------------------------

    def hooks_run(self, call: Call, counted: Hooks, position: Position, state: State) -> None:
        """Hooks are about to run: those of the next boundary, once in this history."""
        expected = call.boundaries[counted.runs] if counted.runs < len(call.boundaries) else None
        if position.tick != expected:
            self.fail(f"hooks run at tick {position.tick}; those of tick {expected} come next")
        if state.digest != call.digests[position.tick]:
            self.fail(f"hooks at tick {position.tick} are shown another state")

    def fetched(self, tick: int, arrays: dict[str, Any]) -> None:
        """A hook was given weights."""
        if arrays["digest"] != self.call.digests[tick]:
            self.fail(f"a hook at tick {tick} was given the weights of another tick")

    def script_did(self, done: Done) -> None:
        """The script's thread has got on."""
        self.done_at = self.world.now

    def ended(self, controller: Controller, hooks: Any) -> None:
        """A call has finished: its result is that of one process, and all hooks have run."""
        kind, result = self.call.plan.kind, controller.result
        assert result is not None
        if kind == "fit":
            state = result["state"]
            if (state.tick, state.digest) != (self.call.last.tick, self.call.last.digest):
                self.fail(f"the result is not that of one process: {state} instead of {self.call.last}")
        elif kind == "evaluate":
            if result != {"validated": self.call.last.validated}:
                self.fail(f"the result is not that of one process: {result}")
        else:
            count = self.call.job.program.plan(self.call.positions[0].kind)
            whole = {number: number for number in controller.outputs.parts}
            least = count.steps * min(self.scenario.policy.virtual_workers, 5)
            if controller.outputs.parts != whole or len(whole) < least:
                self.fail(f"outputs are missing: {sorted(whole)}")
        if hooks.counted != self.call.hooks:
            self.fail(f"the callbacks have counted {hooks.counted}; in one process {self.call.hooks}")

    # -- the words ------------------------------------------------------------------------------------------------------------------

    def event(self, kind: str, text: str | None = None, **details: Any) -> None:
        """The console's."""
        self.said.append((self.world.now, kind, text or str(details)))
        match kind:
            case "committed":
                self._told_committed(details["name"])
            case "save failed":
                tick = details["tick"]
                self._told_failed |= {key for key in self.unresolved if key[2] == tick}
                self.unresolved = {key: since for key, since in self.unresolved.items() if key[2] != tick}
            case "recovered":
                self._told_recovered(text or "", details)
            case "worker lost":
                self._told_lost(text or "", details)
            case "decision" if "did not pause in time" in details["because"]:
                self._disturbances += 2  # a break of our own making: nobody but the controller knows since when
            case "slow":
                self._told_slow(text or "", details)
            case _:
                pass

    def note(self, text: str) -> None:
        """The console's."""
        self.said.append((self.world.now, "note", text))

    def _told_committed(self, name: str) -> None:
        found = next((checkpoint for checkpoint in self.storage.checkpoints if checkpoint.name == name), None)
        if found is None:
            self.fail(f"{name} is told as committed, and is not")
        assert found is not None
        self._told_commits[found.call] = max(found.tick, self._told_commits.get(found.call, -1))
        self.unresolved = {key: since for key, since in self.unresolved.items() if key[2] > found.tick}

    def _told_recovered(self, text: str, details: dict[str, Any]) -> None:
        form = self._generation[self.call.number]
        members = re.search(r"with (\d+) worker", text)
        if members is None or int(members[1]) != len(form.members):
            self.fail(f"{text!r}: {len(form.members)} workers are in generation {form.generation}")
        if "no step lost" in text and self._lost_steps:
            self.fail(f"{text!r}: steps that were complete are done again")
        if self._broke_at is not None and self._disturbances == 1:
            # While hooks ran nobody had to get on; a stalled driver hears nothing; who is too slow for its limit stalls since it began.
            most, least = (
                self.world.now - min(self._broke_at, self._slow_since),
                self.world.now - max(self._broke_at, self.hooks_until, self.stalled_until),
            )
            if not least - _NOTICED_S < details["seconds"] < most + _NOTICED_S:
                self.fail(f"{text!r}: the stall took {most:.2f} s")
        unwell = [name for name in form.members if self._stands_still(self.cluster.processes[name])]
        self._broke_at, self._disturbances, self._lost_steps = (self.world.now if unwell else None), len(unwell), False
        self._slow_since = float("inf")

    def _told_lost(self, text: str, details: dict[str, Any]) -> None:
        worker, form = details["worker"], self._generation.get(self.call.number)
        self.cluster.processes[worker].told_dead = True
        if self.cluster.processes[worker].alive and self.cluster.processes[worker].cut_since is None:
            self.fail(f"{text!r}: {worker} lives")
        rank = re.search(r"\(rank (\d+)", text)
        if rank is not None and (form is None or worker not in form.members or form.members.index(worker) != int(rank[1])):
            self.fail(f"{text!r}: generation {form and form.generation} is {form and form.members}")
        go_on = re.search(r"; (\d+) go on", text)
        if go_on is not None:
            assert form is not None and self.controller is not None
            left = [name for name in form.members if not self.cluster.processes[name].told_dead]
            if isinstance(self.controller.state, o.Running):
                left = list(self.controller.state.members)  # who is formed in this moment, newcomers included
            if int(go_on[1]) != len(left):
                self.fail(f"{text!r}: {left} go on")

    def _told_slow(self, text: str, details: dict[str, Any]) -> None:
        process, what = self.cluster.processes[details["worker"]], text.split(" for ")[0]
        before = self._told_slow_s.get(what, 0.0)
        if before < details["seconds"] < 1.9 * before:
            self.fail(f"{text!r} is said again after {details['seconds'] - before:.1f} s")
        self._told_slow_s[what] = details["seconds"]
        if self._is_well(process) and not process.line_is_slow:
            now_s = process.worker.activity.beat().seconds
            really = max(now_s, process.heard_beat(self.world.now).seconds)
            if really + 2 * BEAT_S < details["seconds"]:
                self.fail(f"{details['worker']} is called slow for {details['seconds']} s; it has done this for {now_s:.1f} s")

    # -- time -----------------------------------------------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.interrupted_at = self.world.now
        # the tick that is under way, the one after it, a boundary or two, and what is done while the word is on its way
        self._ticks_left = 5 + round(4 * self.scenario.latency_s / SHORTEST_TICK_S)
        self.calm_since_interrupt = self._calm()

    def disturbed(self) -> None:
        """A fault strikes."""
        self.last_fault_s = self.world.now
        self.calm_since_interrupt = False

    def _calm(self) -> bool:
        """Is everybody well, and nobody on the way from one generation to the next?"""
        controller = self.controller
        if (
            controller is None
            or self.world.now < self.stalled_until
            or not isinstance(controller.state, o.Running)
            or controller.call.known.group != "running"
        ):
            return False
        well = all(self._is_well(process) for process in self.cluster.processes.values() if process.name in controller.group.members)
        blocked = any(process.worker.group is not None and process.worker.group.blocked for process in self.cluster.processes.values())
        return well and not blocked

    @staticmethod
    def _stands_still(process: Process) -> bool:
        return not process.alive or process.condition in ("stopped", "unknown") or process.worker.hung_since is not None

    @staticmethod
    def _is_well(process: Process) -> bool:
        return process.alive and process.condition is None and process.cut_since is None and not process.worker.hangs

    def look(self) -> None:
        """After each event that the controller heard of: nobody waits for ever."""
        now = self.world.now
        if now - self.done_at > self.bound_s:
            self.fail(f"nothing has got on for {now - self.done_at:.0f} s: {self.where()}")
        asked_at = self.interrupted_at
        if asked_at is not None and self.calm_since_interrupt and now - max(asked_at, self.hooks_until) > self.stop_bound_s:
            self.fail(f"Ctrl-C was {now - asked_at:.0f} s ago, nothing went wrong since: {self.where()}")
        for key, since in self.unresolved.items():
            if now - since > self._save_bound_s:
                self.fail(f"every part of the save of tick {key[2]} was written {now - since:.0f} s ago; nothing was said of it")

    @property
    def _save_bound_s(self) -> float:
        return 30.0 + 20 * self.scenario.commit_s + max(0.0, self.storage.hangs_until - self.world.now) + 260.0

    @property
    def stop_bound_s(self) -> float:
        """A step, a save, and the callbacks."""
        tick_s = {"short": 2.0, "seconds": 20.0, "minutes": 220.0, "tailed": LONGEST_TICK_S}[self.scenario.pace]
        slow = self.scenario.write_s * 8 + self.scenario.commit_s * 8 + self.scenario.hook_s * 8 + self.scenario.transfer_s * 4
        slow += 2 * self.scenario.open_s  # a call that has just begun
        return 2 * tick_s + slow + 20.0 + max(0.0, self.storage.hangs_until - (self.interrupted_at or 0.0))

    @property
    def bound_s(self) -> float:
        """So long may nothing get on: what is stuck must be found, killed and replaced by then."""
        policy = self.scenario.policy
        limit_s = policy.hang_timeout_s or 3600.0
        return limit_s + policy.wait_s + policy.start_limit_s + 4 * LONGEST_TICK_S + 600.0

    def where(self) -> str:
        """Where the controller stands."""
        controller = self.controller
        if controller is None:
            return "between calls"
        workers = [
            f"{process.name} {process.worker.stage} g{process.worker.generation} tick {process.worker.state and process.worker.state.tick}"
            f"{'' if process.alive else ' dead'}{f' {process.condition}' if process.condition else ''}"
            for process in self.cluster.processes.values()
        ]
        return f"{controller.call}\n  {controller.state}\n  {workers}"
