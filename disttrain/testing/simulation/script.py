"""The script's thread: a mailbox in which the callbacks take simulated time, look at weights, and must run once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from disttrain.controller.fetching import Fetch
from disttrain.controller.mailbox import Done, Question
from disttrain.testing.simulation.call import Call, Hooks, State
from disttrain.testing.simulation.cluster import SimulatedCluster
from disttrain.testing.simulation.contracts import Checks
from disttrain.training.boundary_decision import BoundaryDecision
from disttrain.training.hooks import CallHooks, FitHooks
from disttrain.training.program import Position


class _Asked(Question):
    """A question whose answer lets the script go on."""

    def __init__(self, what: object, then: Callable[[], None]) -> None:
        super().__init__(what)
        self._then = then

    def answer(self, reply: Any = None, error: BaseException | None = None) -> None:
        first = not self.answered.is_set()
        super().answer(reply, error)
        if first:
            self._then()


class SimulatedMailbox:
    """As `controller.mailbox.Mailbox`, on simulated time.

    Args:
        handled: the last boundary whose hooks have run.
    """

    def __init__(self, cluster: SimulatedCluster, checks: Checks, handled: Callable[[], int]) -> None:
        self._cluster, self._world, self._checks, self._handled = cluster, cluster.world, checks, handled
        self._rng = self._world.rng(f"{cluster.attempt}/script")
        self._work: deque[tuple[object, Callable[[], Any]]] = deque()
        self._answers: list[Done | Question] = []
        self._undone = 0
        self._busy = self.dead = False
        self.longer_s = 0.0  # the next hook takes so much longer

    def do(self, what: object, action: Callable[[], Any]) -> None:
        self._undone += 1
        self._work.append((what, action))
        self._next()

    @property
    def idle(self) -> bool:
        return self._undone == 0

    def answers(self, timeout_s: float = 0.0) -> list[Done | Question]:
        found, self._answers = self._answers, []
        self._undone -= sum(isinstance(answer, Done) for answer in found)
        return found

    def end(self, error: BaseException | None = None) -> None:
        self.dead = True

    def _next(self) -> None:
        if self._busy or not self._work or self.dead:
            return
        self._busy = True
        what, action = self._work.popleft()
        seconds = self._cluster.scenario.hook_s * self._rng.uniform(0.5, 2.0)
        asks = (
            isinstance(what, tuple)
            and what[0] == "hooks"
            and what[1] > self._handled()
            and self._rng.random() < self._cluster.scenario.asks
        )
        if isinstance(what, tuple):
            seconds, self.longer_s = seconds + self.longer_s, 0.0
        self._checks.hooks_until = self._world.now + seconds
        self._world.after(seconds / 2, self._asks if asks else self._carry_out, what, action, seconds / 2)

    def _asks(self, what: tuple[str, int], action: Callable[[], Any], left_s: float) -> None:
        if self.dead:
            return

        def answered() -> None:
            if question.error is not None:
                self._world.after(0.0, self._end, Done(what, given_up=True))
                return
            self._checks.fetched(what[1], question.reply)
            self._world.after(left_s, self._carry_out, what, action, 0.0)

        question = _Asked(Fetch("weights", what[1], self._rng.choice((0, 0, 1))), answered)
        self._answers.append(question)
        self._cluster.wake()

    def _carry_out(self, what: object, action: Callable[[], Any], left_s: float) -> None:
        if self.dead:
            return
        if left_s:
            self._world.after(left_s, self._carry_out, what, action, 0.0)
            return
        self._end(Done(what, action()))

    def _end(self, done: Done) -> None:
        if self.dead:
            return
        self._busy = False
        self._answers.append(done)
        self._checks.script_did(done)
        self._cluster.wake()
        self._next()


class _Trainability:
    def __init__(self, hooks: SimulatedFitHooks) -> None:
        self._hooks = hooks

    def frozen(self) -> dict[str, list[str]]:
        frozen = self._hooks.counted.frozen
        return {"layers": [frozen] if frozen else [], "weights": []}


class SimulatedFitHooks(FitHooks):
    """The callbacks of a fit: they count, and what they decide hangs on what they have counted."""

    def __init__(self, call: Call, checks: Checks) -> None:
        self._call, self._checks = call, checks
        self.counted = Hooks()
        self.start_tick, self.decision = 0, {}
        self.trainability: Any = _Trainability(self)

    @property
    def handled(self) -> int:  # type: ignore[override]
        return self.counted.handled

    def begin(self, state: dict[str, Any] | None = None, arrays: dict[str, Any] | None = None) -> None:
        if state is not None:
            self.load_state(state, arrays or {})

    def boundary(self, position: Position, logs: dict[str, Any]) -> BoundaryDecision:
        if position.tick <= self.handled:
            return self.decision[position.tick]
        state: State = logs["state"]
        decision, self.counted = self._run(position, state)
        self.decision = {position.tick: decision}
        return decision

    def _run(self, position: Position, state: State) -> tuple[BoundaryDecision, Hooks]:
        self._checks.hooks_run(self._call, self.counted, position, state)
        return self._call.decide(self.counted, position, state)

    def sample(self, position: Position, logs: dict[str, Any]) -> None:
        return

    def state(self) -> dict[str, Any]:
        return {"counted": self.counted, "frozen": self.trainability.frozen()}

    def capture(self) -> Callable[[], dict[str, Any]]:
        state = self.state()
        return lambda: state

    def arrays(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: dict[str, Any], arrays: dict[str, Any]) -> None:
        self.counted = state["counted"]


class SimulatedCallHooks(CallHooks):
    """The callbacks of an evaluate or a predict."""

    def __init__(self, call: Call, checks: Checks) -> None:
        self._call, self._checks = call, checks
        self.handled = -1
        self.counted = Hooks()

    def begin(self) -> None:
        return

    def boundary(self, position: Position, logs: dict[str, Any]) -> BoundaryDecision:
        if position.tick > self.handled:
            self.handled = position.tick
            self._checks.hooks_run(self._call, self.counted, position, logs["state"])
            decision, self.counted = self._call.decide(self.counted, position, logs["state"])
            return decision
        return BoundaryDecision()

    def sample(self, position: Position, logs: dict[str, Any]) -> None:
        return
