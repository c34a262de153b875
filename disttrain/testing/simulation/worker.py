"""What runs in a worker's process: takes commands, steps with its generation, says what happened. As `elastic.member.Member` does, with
time in place of work.

The main thread is a chain of events; each carries the `token` that was valid when it was planned, so that what breaks off a chain only
needs a new token.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from disttrain.elastic import messages as m
from disttrain.elastic.activity import Activity
from disttrain.testing.simulation.call import Call, State
from disttrain.testing.simulation.contracts import Host
from disttrain.testing.simulation.group import Group
from disttrain.testing.simulation.part_writer import PartWriter
from disttrain.testing.simulation.scenario import tick_s
from disttrain.training.program import BOUNDARIES, Kind, Position
from disttrain.training.step.side_channel import REQUESTS

_BITS = {name: 1 << number for number, name in enumerate(REQUESTS)}
_ABORT_LOOK_S = 0.05  # how often a wait in a collective looks at the flag
_LOAD_S = 0.1


class Worker:
    """One worker. `token` is valid for what its main thread does now."""

    def __init__(self, process: Host) -> None:
        self.process, self.name, self.world, self.cluster = process, process.name, process.world, process.cluster
        self.scenario, self.checks, self.rng = self.cluster.scenario, self.cluster.checks, process.rng
        self.activity = Activity(self.name, self.world)
        self.token: int = 0
        self.writer = PartWriter(self)
        self.hangs, self.hung_since = False, None  # type: bool, float | None
        self.stage = "idle"  # where the main thread is, for faults and checks
        self.call_number, self.generation = -1, -1
        self.call: Call | None = None
        self.state: State | None = None  # None: no engine
        self.formed = self.holds_state = False
        self.group: Group | None = None
        self.raised = False
        self._free, self._in_collective = True, False
        self._inbox: deque[object] = deque()
        self._aborted: set[tuple[int, int]] = set()
        self._requested: dict[tuple[int, int], int] = {}
        self._kept: Group | None = None
        self._settings: m.CallSettings | None = None
        self._form: m.Form | None = None
        self._rank = 0
        self._said = self._timed = 0.0
        self._shipped = 0
        self._predictions: dict[int, Any] = {}

    # -- from any thread ------------------------------------------------------------------------------------------------------------

    def receive(self, command: object) -> None:
        """A command has come."""
        if isinstance(command, m.Abort):
            self._aborted.add((command.call, command.generation))
            if self._in_collective and (command.call, command.generation) == (self.call_number, self.generation):
                self.world.after(self.rng.uniform(0.0, _ABORT_LOOK_S), self.sees_broken, self.group, self.token, "told to")
        if isinstance(command, m.Request):
            key = command.call, command.generation
            for name in command.names:
                self._requested[key] = self._requested.get(key, 0) | _BITS[name]
            return
        self._inbox.append(command)
        self._next()

    def sees_broken(self, group: Group | None, token: int, why: str) -> None:
        """A wait in a collective finds that the group is over."""
        if token != self.token or self.group is not group or not self._in_collective:
            return
        if self.process.condition is not None:
            self.process.run(self.sees_broken, group, token, why)
            return
        self._stop(f"the group broke: {why}")

    # -- the main thread ------------------------------------------------------------------------------------------------------------

    def soon(self, seconds: float, then: Callable[..., Any], *args: Any) -> None:
        """The main thread goes on with `then` in so many seconds, unless something breaks it off."""
        self.token += 1
        self.world.after(seconds, self.process.run, self._go_on, self.token, then, args)

    def _go_on(self, token: int, then: Callable[..., Any], args: tuple[Any, ...]) -> None:
        if token == self.token:
            then(*args)

    def enter(self, stage: str) -> None:
        self.stage = stage
        self.cluster.enter(stage, self.process)

    def _next(self) -> None:
        while self._free and self._inbox and self.process.alive:
            self._obey(self._inbox.popleft())

    def _be_free(self) -> None:
        self._free, self._in_collective = True, False
        self.token += 1
        self._next()

    def _obey(self, command: object) -> None:
        if getattr(command, "call", None) != self.call_number and not isinstance(command, m.Begin):
            return
        match command:
            case m.Begin():
                self._begin(command)
            case m.Form():
                self._join(command)
            case m.Abort() if command.generation == self.generation:
                self._stop("told to")
            case m.Proceed():
                self._proceed(command)
            case m.Fetch() if self.state is not None:
                if self.holds_state and (command.tick is None or self.state.tick == command.tick):
                    self.process.say(m.Fetched(self.name, self.call_number, command.request, self._aside({"digest": self.state.digest})))
            case m.SaveHeld() if self.state is not None:
                if self.call is not None and self.call.trains and self.holds_state and self.state.tick == command.tick:
                    self._free = False
                    self._save(0, 1, command.generation, self._be_free)
            case _:
                pass

    def _begin(self, command: m.Begin) -> None:
        self._leave_group()
        self._free = False
        self.state, self.call, self.call_number, self.generation = None, None, command.call, -1
        self._aborted = {key for key in self._aborted if key[0] >= command.call}
        self._requested = {key: bits for key, bits in self._requested.items() if key[0] >= command.call}
        self.activity.begin_call(command.call)
        self.activity.now("opening")
        self._settings = command.settings
        self.enter("opening")
        self.soon(self.scenario.open_s * self.rng.uniform(0.7, 1.5), self._opened, command.job)

    def _opened(self, job: Any) -> None:
        if self.raised:
            error = f"Traceback\nFileNotFoundError: not on the machine of {self.name}"
            self.process.say(m.Failed(self.name, self.call_number, -1, -1, None, error))
            self._be_free()
            return
        self.call, self.state, self.holds_state = self.cluster.call_of(job), State(), False
        self._predictions = {}
        self.activity.now("idle")
        self.stage = "idle"
        self.process.say(m.Ready(self.name, self.call_number, 1000 + self.process.number, "host"))
        self._be_free()

    # -- forming --------------------------------------------------------------------------------------------------------------------

    def _join(self, command: m.Form) -> None:
        if self.state is None:
            return
        self._leave_group()
        self._free, self._form = False, command
        self.generation = self.activity.generation = command.generation
        self.formed = True
        self._rank = rank = command.members.index(self.name)
        self.holds_state = command.source is None or (command.restore is None and command.ticks[rank] is not None)
        self.activity.now("forming", command.tick)
        self.enter("forming")
        own = f"c{command.call}g{command.generation}"
        if len(command.members) == 1:
            self._let_go_of_kept()
            self.group = Group(self.world, own, command.members, 0.0)
            self._grouped(0)
        elif self._kept is not None and self._kept.name == command.group:
            self.group, self._kept = self._kept, None
            if self.group.usable(self.name):
                self._grouped(0)
            else:
                self._stop("the group broke: this group is over")
        elif command.group not in ("", own):
            self._let_go_of_kept()
            self._stop(f"the group broke: the group {command.group} that was to be used again is not whole")
        else:
            self._let_go_of_kept()
            self.group = self.cluster.meeting(command)
            self._exchange(("form", command.generation), self._grouped)

    def _exchange(self, key: Any, then: Callable[..., Any], requests: int = 0) -> bool:
        """A collective. True if it has to wait for others."""
        if (self.call_number, self.generation) in self._aborted:
            self._stop("the group broke: told to")
            return False
        self._in_collective = True
        self.token += 1
        assert self.group is not None
        return self.group.arrive(self, key, requests, then)

    def _grouped(self, _: int) -> None:
        self._in_collective = False
        command, call = self._form, self.call
        assert command is not None and call is not None and self.state is not None
        if call.plan.kind == "predict":
            self.state = State(command.tick)
        else:
            if command.frozen is not None:
                self._freeze(",".join(command.frozen["layers"]))
            if command.restore is not None and self._rank == 0:
                self.activity.now("loading", command.tick)
                self.stage = "loading"
                self.soon(_LOAD_S, self._loaded)
                return
        self._share()

    def _freeze(self, frozen: str) -> None:
        state = self.state
        assert state is not None
        self.state = State(state.tick, state.digest, state.seen, state.validated, state.iterations, frozen, state.ended)

    def _loaded(self) -> None:
        assert self._form is not None and self._form.restore is not None
        self.state = self.cluster.storage.load(self._form.restore)
        self._share()

    def _share(self) -> None:
        command = self._form
        assert command is not None and self.group is not None
        source, behind = command.source, [command.restore is not None or tick != command.tick for tick in command.ticks]
        others = source is not None and any(flag for rank, flag in enumerate(behind) if rank != source)
        if self.call is None or self.call.plan.kind == "predict" or self.group.size == 1 or not others:
            self._go()
            return
        self.enter("sharing")
        self.activity.now("receiving", command.tick)
        if self._rank == source:
            self.group.sent = self.state
        self._exchange(("share", command.generation), self._shared)

    def _shared(self, _: int) -> None:
        self._in_collective = False
        self.stage = "receiving"
        self.soon(self.scenario.transfer_s * self.rng.uniform(0.9, 1.1), self._sent)

    def _sent(self) -> None:
        assert self._form is not None
        self.activity.now("receiving", self._form.tick)
        self._exchange(("shared", self.generation), self._received)

    def _received(self, _: int) -> None:
        self._in_collective = False
        command = self._form
        assert command is not None and self.group is not None
        if self._rank != command.source and (command.restore is not None or command.ticks[self._rank] != command.tick):
            self.state = self.group.sent
        self._go()

    # -- stepping -------------------------------------------------------------------------------------------------------------------

    def _go(self) -> None:
        self.holds_state = True
        self._said, self._first = self.world.now, True
        self._step()

    def _step(self) -> None:
        call, state = self.call, self.state
        assert call is not None and state is not None
        position = call.at(state)
        if position.kind is Kind.END:
            self._finish()
        elif position.kind in BOUNDARIES:
            self._at_boundary(position)
        elif (self.call_number, self.generation) in self._aborted:
            self._stop("the group broke: told to")
        else:
            self.activity.begin_tick(position.tick)
            self.enter("computing")
            requests = self._requested.get((self.call_number, self.generation), 0)
            self.soon(tick_s(self.scenario, self.rng, self.process.number), self._computed, position, requests)

    def hang(self) -> None:
        """The tick that it computes, or the next, never ends."""
        self.hangs = True

    def _computed(self, position: Position, requests: int) -> None:
        if self.hangs:
            self.hung_since = self.world.now
            self.checks.broke(self.name)
            return
        self.stage = "waiting"
        self.cluster.enter("waiting", self.process)
        if self._exchange(("tick", position.tick), self._stepped, requests):
            self.activity.waits(True)

    def _stepped(self, agreed: int) -> None:
        self._in_collective = False
        call, state, settings = self.call, self.state, self._settings
        assert call is not None and state is not None and settings is not None
        position = call.at(state)
        self.activity.waits(False)
        self.activity.end_tick()
        self.state = state = call.after(state, position)
        self.checks.completed(self, state)
        if position.kind is Kind.PREDICT:
            V = self.scenario.policy.virtual_workers
            assert self._form is not None
            most = min(V, call.job.program.plan(Kind.PREDICT).batch_count(0, position.step))
            first, last = self._form.placement[self._rank]
            self._predictions |= {position.step * V + rank: position.step * V + rank for rank in range(first, min(last, most))}
            if len(self._predictions) >= 5:
                self._send_predictions()
        due = position.kind is Kind.TRAIN and settings.every_steps and state.iterations % settings.every_steps == 0
        if call.trains and (due or agreed & (_BITS["save"] | _BITS["stop"])):
            assert self.group is not None
            self._save(self._rank, self.group.size, self.generation, self._after_save, agreed)
        else:
            self._after_save(agreed)

    def _after_save(self, agreed: int) -> None:
        state, call, settings = self.state, self.call, self._settings
        assert state is not None and call is not None and settings is not None
        key = self.call_number, self.generation
        if agreed:
            self._requested[key] = self._requested.get(key, 0) & ~agreed
        if agreed & (_BITS["pause"] | _BITS["stop"]):
            self._stop("asked to pause" if agreed & _BITS["pause"] else "asked to stop")
            return
        if self._rank == 0 and (self._first or self.world.now - self._said >= settings.progress_every_s):
            self._said = self.world.now
            step = state.iterations if call.trains else state.tick
            self.process.say(m.Progress(self.name, self.call_number, self.generation, state.tick, {"seen": state.seen}, step))
        self._first = False
        self._step()

    def _at_boundary(self, position: Position) -> None:
        state = self.state
        assert state is not None
        self.activity.now("boundary", position.tick)
        self.enter("boundary")
        if self._rank == 0:
            logs = {"state": state}
            about = {"iterations": state.iterations}
            self.process.say(m.AtBoundary(self.name, self.call_number, self.generation, position.tick, logs, about))
        self._be_free()

    def _proceed(self, command: m.Proceed) -> None:
        state, call = self.state, self.call
        if state is None or call is None or not self.formed:
            return
        position = call.at(state)
        if position.tick != command.tick or position.kind not in BOUNDARIES:
            return
        self._free = False
        self.state = state = call.proceed(state, command.decision)
        self.checks.completed(self, state)
        if command.decision.save and not state.ended and call.trains:
            assert self.group is not None
            self._save(self._rank, self.group.size, self.generation, self._go_again)
        else:
            self._go_again()

    def _go_again(self) -> None:
        self.activity.now("computing", self.state.tick if self.state else -1)
        self._said, self._first = self.world.now, True
        self._step()

    def _finish(self) -> None:
        assert self.call is not None and self.group is not None
        self.enter("finishing")
        if self.call.plan.kind == "predict":
            self._send_predictions()
            self._finished(None)
        elif self.call.trains:
            self._save(self._rank, self.group.size, self.generation, self._finished_training)
        else:
            self._finished({"validated": self.state.validated} if self._rank == 0 and self.state else None)

    def _finished_training(self) -> None:
        result = None
        if self._rank == 0:
            result = self._aside({"state": self.state})
        self._finished(result)

    def _finished(self, result: Any) -> None:
        assert self.state is not None
        self.activity.now("idle", self.state.tick)
        self.stage = "finished"
        self.process.say(m.Finished(self.name, self.call_number, self.generation, self.state.tick, result))
        self._be_free()

    def _send_predictions(self) -> None:
        if self._predictions:
            self.process.say(m.Predicted(self.name, self.call_number, self._aside(self._predictions)))
            self._predictions = {}

    def _save(self, rank: int, size: int, generation: int, then: Callable[..., None], *args: Any) -> None:
        """Save a part of the state, then go on."""
        assert self._settings is not None and self.state is not None
        if self._settings.run_dir is None:
            then(*args)
            return
        self.activity.now("copying", self.state.tick)
        self.enter("copying")
        self.writer.save(self.state, self._settings, (rank, size, generation), then, args)

    def _aside(self, value: Any) -> Any:
        self._shipped += 1
        return self.process.ship(f"{self.cluster.attempt}:{self.name}:{self._shipped}", value)

    # -- leaving --------------------------------------------------------------------------------------------------------------------

    def _stop(self, because: str) -> None:
        if self.formed and self.state is not None:
            self._let_go_of_group()
            self.activity.now("idle", self.state.tick)
            tick = self.state.tick if self.holds_state else None
            self.enter("stopping")
            self.process.say(m.Stopped(self.name, self.call_number, self.generation, tick, because))
        self._be_free()

    def _leave_group(self) -> None:
        group, self.group, self.formed = self.group, None, False
        if group is not None and group.size > 1 and group.usable(self.name) and (self.call_number, self.generation) not in self._aborted:
            self._let_go_of_kept()
            self._kept = group
        elif group is not None:
            group.leave(self.name)

    def _let_go_of_group(self) -> None:
        group, self.group, self.formed = self.group, None, False
        if group is not None:
            group.leave(self.name)

    def _let_go_of_kept(self) -> None:
        if self._kept is not None:
            self._kept.leave(self.name)
            self._kept = None

    def leave_all_groups(self) -> None:
        """The process is dead."""
        self._let_go_of_group()
        self._let_go_of_kept()
        self.token += 1
