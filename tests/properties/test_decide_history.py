"""Whatever dies, joins, comes late or comes twice: what `decide` never does, and that it always gets there once things go well.

The cluster here is simulated in one thread. Every message is in flight until a rule of the test delivers it, in order from and to each
worker and in any order between workers; deaths are told apart from last words, before or after them. Workers behave as the real ones
promise to: a tick completes at a member only when all members have contributed to it, so members differ by one tick at most.
"""

from __future__ import annotations

import pickle
from collections import deque
from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from disttrain.orchestrator import (
    Abort,
    CallFinished,
    CheckpointCommitted,
    Effect,
    Ended,
    Event,
    Form,
    Gathering,
    GiveUp,
    Kill,
    Pause,
    Progress,
    RecoveryPolicy,
    Silent,
    StartFailed,
    StartWorker,
    Stopped,
    Timer,
    WorkerLost,
    WorkerReady,
    decide,
    first_call,
    new_call,
    next_deadline,
)
from disttrain.orchestrator.states import members_of

TICKS = 6  # of a call


@dataclass
class Group:
    """One generation as its members see it."""

    form: Form
    contributed: dict[str, int]  # newest tick each member has given its part to
    gone: set[str] = field(default_factory=set)  # members that died or left the loop
    pause_at: int | None = None  # the boundary that its members agreed on
    finished: bool = False


@dataclass
class Worker:
    name: str
    alive: bool = True
    hung: bool = False
    came_up: bool = False
    tick: int | None = None  # state in memory; None: none of this call
    group: Group | None = None  # while in the loop
    inbox: deque[Effect] = field(default_factory=deque)
    outbox: deque[Event] = field(default_factory=deque)


class History(RuleBasedStateMachine):
    """One run, several calls; `self.now` is the driver's clock."""

    @initialize(
        workers=st.integers(1, 4),
        fewer=st.integers(0, 3),
        more=st.integers(0, 2),
        virtual_workers=st.integers(1, 6),
        spares=st.integers(0, 1),
        patient=st.booleans(),
        head_start=st.integers(0, 60),
    )
    def begin(self, workers: int, fewer: int, more: int, virtual_workers: int, spares: int, patient: bool, head_start: int) -> None:
        self.policy = RecoveryPolicy(
            workers=workers,
            virtual_workers=virtual_workers,
            min_workers=max(1, min(workers - fewer, virtual_workers)),
            max_workers=workers + more,
            spares=spares,
            start_grace_s=5.0,
            start_limit_s=50.0,
            stop_limit_s=10.0,
            wait_s=1e6 if patient else 200.0,
            start_failure_limit=1000 if patient else 4,
            poison_limit=1000 if patient else 3,
            break_limit=1000 if patient else 8,
        )
        self.now = 0.0
        self.workers: dict[str, Worker] = {}
        self.deaths: deque[str] = deque()
        self.results: deque[Event] = deque()  # commits: the storage tells of them, whoever died since
        self.past: list[Event] = []  # told before, to be told again
        self.told_dead: set[str] = set()
        self.reported: dict[tuple[str, int], int | None] = {}  # (worker, generation) -> tick, as Stopped told it
        self.committed_tick = -1
        self.generation = 0
        self.gave_up: str | None = None
        self.follow(first_call(self.policy, self.now))
        self.go_on_in_order(head_start)

    # ---- the driver: decide, check, perform

    def tell(self, event: Event) -> None:
        if isinstance(event, WorkerLost):
            self.told_dead.add(event.worker)
        if isinstance(event, Stopped):
            self.reported.setdefault((event.worker, event.generation), event.tick)
        self.past.append(event)
        self.follow(decide(self.state, event, self.policy))

    def follow(self, decision) -> None:  # type: ignore[no-untyped-def]
        self.sound = False
        self.state = decision.state
        assert decision.because
        assert pickle.loads(pickle.dumps(decision)) == decision  # the journal is made of them
        self.check_state()
        for effect in decision.effects:
            self.perform(effect)
        self.sound = True

    def perform(self, effect: Effect) -> None:
        match effect:
            case StartWorker(worker):
                assert worker not in self.workers, "a name came twice"
                self.workers[worker] = Worker(worker)
            case Kill(worker):
                self.die(self.workers[worker])
            case Abort(_, names):
                for name in names:
                    self.send(name, effect)
            case Pause():
                for name in self.members_before_pause():
                    self.send(name, effect)
            case Form():
                self.check_form(effect)
                group = Group(effect, dict.fromkeys(effect.members, effect.tick))
                self.groups[effect.generation] = group
                for name in effect.members:
                    self.send(name, effect)
            case GiveUp(kind):
                assert isinstance(self.state, Ended) and self.state.outcome == kind
                self.gave_up = kind

    def members_before_pause(self) -> tuple[str, ...]:
        return self.groups[self.state.roster.generation].form.members

    @property
    def groups(self) -> dict[int, Group]:
        if not hasattr(self, "_groups"):
            self._groups: dict[int, Group] = {}
        return self._groups

    def send(self, name: str, command: Effect) -> None:
        if self.workers[name].alive:  # a command to the dead is lost
            self.workers[name].inbox.append(command)

    # ---- what must hold

    def check_form(self, form: Form) -> None:
        assert form.generation > self.generation, "generations must increase"
        self.generation = form.generation
        assert len(set(form.members)) == len(form.members)
        assert not set(form.members) & self.told_dead
        assert all(self.workers[name].came_up for name in form.members)
        assert self.policy.min_workers <= len(form.members) <= self.policy.member_limit
        flat = [rank for start, stop in form.placement for rank in range(start, stop)]
        assert flat == list(range(self.policy.virtual_workers)) and len(form.placement) == len(form.members)
        assert all(stop > start for start, stop in form.placement)
        if not self.call_is_new:
            # one live generation at most: whoever lives has left the loop of every older one
            assert not [worker.name for worker in self.workers.values() if worker.alive and worker.group is not None]
        known = {name: self.reported.get((name, form.generation - 1)) for name in form.members} if not self.call_is_new else {}
        held = [tick for tick in known.values() if tick is not None]
        committed = self.state.roster.committed
        if form.source is None:
            # nobody holds a state, or one that is worth less than the newest checkpoint
            assert not held or (committed and committed.tick > max(held) + 1)
            assert (form.restore, form.tick) == ((committed.name, committed.tick) if committed else (None, 0))
        else:
            # from memory: the furthest of all members, and of those the lowest rank
            assert form.restore is None
            assert form.tick == max(held)
            assert form.source == next(name for name in form.members if known[name] == form.tick)
            source = self.workers[form.source]
            assert not source.alive or source.tick == form.tick, "the source does not hold what it is to send"
        # never below the newest checkpoint, but for the one tick that a survivor may be behind whom the checkpoint has outlived
        assert form.tick >= self.committed_tick - (form.source is not None)

    def check_state(self) -> None:
        state = self.state
        committed = state.roster.committed
        if committed is not None:
            assert committed.tick >= self.committed_tick, "a committed tick went back"
            self.committed_tick = committed.tick
        assert state.roster.generation >= self.generation
        known = members_of(state) + state.roster.ready + tuple(start.worker for start in state.roster.starting)
        assert len(set(known)) == len(known)
        if isinstance(state, Gathering):
            assert state.stepping, "a group of which everybody has stopped is not waited for"
            assert not set(state.members) & self.told_dead, "waits for the dead"
            assert {holding.worker for holding in state.stopped} < set(state.members)
        if not isinstance(state, Ended):
            assert not set(known) & self.told_dead
            assert len(known) <= self.policy.process_limit

    # ---- faults

    def die(self, worker: Worker) -> None:
        if worker.alive:
            worker.alive = False
            self.leave(worker)
            worker.inbox.clear()
            self.deaths.append(worker.name)

    def pick(self, data: st.DataObject, workers: list[Worker]) -> Worker:
        return data.draw(st.sampled_from(sorted(workers, key=lambda worker: int(worker.name[1:]))), label="worker")

    def living(self) -> list[Worker]:
        return [worker for worker in self.workers.values() if worker.alive]

    @precondition(lambda self: self.living())
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        self.die(self.pick(data, self.living()))

    @precondition(lambda self: [w for w in self.living() if w.came_up])
    @rule(data=st.data())
    def hang(self, data: st.DataObject) -> None:
        self.pick(data, [w for w in self.living() if w.came_up]).hung = True

    @precondition(lambda self: any(worker.hung for worker in self.living()))
    @rule(data=st.data())
    def miss_heartbeats(self, data: st.DataObject) -> None:
        worker = self.pick(data, [w for w in self.living() if w.hung])
        self.tell(Silent(worker.name, since_s=self.now - 2 * self.policy.silence_limit_s, at_s=self.now))

    @precondition(lambda self: any(not worker.came_up for worker in self.living()))
    @rule(data=st.data())
    def fail_to_start(self, data: st.DataObject) -> None:
        worker = self.pick(data, [w for w in self.living() if not w.came_up])
        worker.alive = False
        worker.outbox.append(StartFailed(worker.name, "no room", self.now))

    @precondition(lambda self: any(worker.group for worker in self.living()))
    @rule(data=st.data(), cut=st.booleans())
    def break_connection(self, data: st.DataObject, cut: bool) -> None:
        """A member sees the group broken, rightly or wrongly."""
        self.stop(self.pick(data, [w for w in self.living() if w.group]), cut)

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def repeat_a_report(self, data: st.DataObject) -> None:
        event = data.draw(st.sampled_from(self.past[-12:]), label="event")
        # an earlier call's commits are the driver's to drop; a repeated StartFailed names a worker that is gone
        if not isinstance(event, CheckpointCommitted):
            self.tell(event)

    # ---- ordinary life

    @rule(picks=st.lists(st.integers(0, 23), min_size=1, max_size=20))
    def go_on(self, picks: list[int]) -> None:
        for pick in picks:
            moves = self.moves()
            if moves:
                moves[pick % len(moves)][1]()

    @rule(count=st.integers(1, 40))
    def go_on_for_a_while(self, count: int) -> None:
        self.go_on_in_order(count)

    def go_on_in_order(self, count: int) -> None:
        for _ in range(count):
            moves = self.moves()
            if moves:
                moves[0][1]()

    @rule(seconds=st.floats(0.1, 30.0))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds
        self.tell(Timer(self.now))

    @rule()
    def reach_the_deadline(self) -> None:
        deadline = next_deadline(self.state, self.policy)
        if deadline is not None:
            self.now = max(self.now, deadline)
            self.tell(Timer(self.now))
            again = next_deadline(self.state, self.policy)
            assert again is None or again > self.now, "a Timer that settles nothing would be sent for ever"

    @precondition(lambda self: isinstance(self.state, Ended))
    @rule()
    def begin_the_next_call(self) -> None:
        for worker in self.living():
            worker.tick = None
        self.committed_tick = -1
        self.results.clear()
        self.past = [event for event in self.past if not isinstance(event, CheckpointCommitted)]
        self.gave_up = None
        self.call_from = self.generation + 1
        self.follow(new_call(self.state, self.policy, self.now))

    call_from = 1  # first generation of this call

    @property
    def call_is_new(self) -> bool:
        return self.generation <= self.call_from

    def moves(self) -> list[tuple[str, object]]:
        """Everything that can happen next by itself, in a fixed order."""
        moves: list[tuple[str, object]] = []
        for worker in self.workers.values():
            name = worker.name
            if worker.outbox:
                moves.append((f"hear {name}", lambda w=worker: self.tell(w.outbox.popleft())))
            if not worker.alive or worker.hung:
                continue
            if worker.inbox:
                moves.append((f"{name} is told", lambda w=worker: self.obey(w, w.inbox.popleft())))
            if not worker.came_up:
                moves.append((f"{name} comes up", lambda w=worker: self.come_up(w)))
            if worker.group is not None:
                moves += self.moves_in_loop(worker, worker.group)
        if self.deaths:
            moves.append(("hear of a death", self.hear_of_a_death))
        if self.results:
            moves.append(("hear of a checkpoint", lambda: self.tell(self.results.popleft())))
        return moves

    def moves_in_loop(self, worker: Worker, group: Group) -> list[tuple[str, object]]:
        name, form, moves = worker.name, group.form, []
        if worker.tick != form.tick and group.contributed[name] == form.tick and (worker.tick is None or worker.tick < form.tick):
            source = self.workers[form.source] if form.source else None
            if source is None or source.group is group:
                moves.append((f"{name} receives tick {form.tick}", lambda: self.receive(worker, form.tick)))
        elif worker.tick is not None:
            after = worker.tick + 1
            if group.contributed[name] < after <= TICKS and (group.pause_at is None or after <= group.pause_at):
                moves.append((f"{name} contributes to {after}", lambda: group.contributed.update({name: after})))
            if all(newest >= after for newest in group.contributed.values()):
                moves.append((f"{name} completes {after}", lambda: self.complete(worker, group, after)))
            if worker.tick == TICKS and name == form.members[0] and not group.finished:
                moves.append((f"{name} is through", lambda: self.finish(worker, group)))
            if group.pause_at is not None and worker.tick >= group.pause_at:
                moves.append((f"{name} pauses", lambda: self.stop(worker, cut=False)))
        if group.gone:
            moves.append((f"{name} sees the others gone", lambda: self.stop(worker, cut=True)))
        return moves

    def hear_of_a_death(self) -> None:
        self.tell(WorkerLost(self.deaths.popleft(), "SIGKILL", self.now))

    def come_up(self, worker: Worker) -> None:
        worker.came_up = True
        worker.outbox.append(WorkerReady(worker.name, self.now))

    def obey(self, worker: Worker, command: Effect) -> None:
        match command:
            case Form():
                if worker.group is not None:
                    self.stop(worker, cut=True)
                worker.group = self.groups[command.generation]
            case Abort(generation) if worker.group is not None and worker.group.form.generation == generation:
                self.stop(worker, cut=True)
            case Pause(generation) if worker.group is not None and worker.group.form.generation == generation:
                if worker.group.pause_at is None:
                    worker.group.pause_at = max(worker.group.contributed.values())

    def receive(self, worker: Worker, tick: int) -> None:
        worker.tick = tick

    def complete(self, worker: Worker, group: Group, tick: int) -> None:
        worker.tick = tick
        worker.outbox.append(Progress(group.form.generation, tick, self.now))
        if tick % 2 == 0 and group.form.generation >= self.call_from:  # committed behind the training's back
            self.results.append(CheckpointCommitted(f"tick-{tick}", tick, self.now))

    def finish(self, worker: Worker, group: Group) -> None:
        """Rank 0 delivers the result; should it die before, the others are still there to be told."""
        group.finished = True
        worker.outbox.append(CallFinished(group.form.generation, self.now))

    def stop(self, worker: Worker, cut: bool) -> None:
        """Leave the loop and say so. `cut`: a transfer into its memory was under way, if it is behind."""
        group = worker.group
        assert group is not None
        if cut and (worker.tick is None or worker.tick < group.form.tick):
            worker.tick = None
        worker.outbox.append(Stopped(worker.name, group.form.generation, worker.tick, self.now))
        self.leave(worker)

    def leave(self, worker: Worker) -> None:
        if worker.group is not None:
            worker.group.gone.add(worker.name)
            worker.group = None

    @invariant()
    def a_call_that_ended_has_a_reason(self) -> None:
        if isinstance(getattr(self, "state", None), Ended):
            assert self.state.outcome in ("finished", self.gave_up)

    # ---- liveness: from wherever the history stands, with no fault any more

    def teardown(self) -> None:
        if not getattr(self, "sound", False):
            return  # a promise was broken before: that is the failure to show
        for _ in range(3000):
            if isinstance(self.state, Ended):
                break
            hung = [worker for worker in self.living() if worker.hung]
            moves = self.moves()
            if moves:
                self.now += 0.001
                moves[0][1]()
            elif hung:
                self.now += 2 * self.policy.silence_limit_s
                for worker in hung:
                    self.tell(Silent(worker.name, since_s=0.0 - self.policy.silence_limit_s, at_s=self.now))
            else:
                deadline = next_deadline(self.state, self.policy)
                assert deadline is not None, f"stuck: {self.state}"
                self.now = max(self.now, deadline)
                self.tell(Timer(self.now))
        assert isinstance(self.state, Ended), f"never ends: {self.state}"
        assert self.state.outcome == "finished" or (self.gave_up and self.policy.poison_limit < 1000), self.state


History.TestCase.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
test_no_history_breaks_a_promise_and_every_history_can_end_well = History.TestCase
