"""The ticks of a call, and what one undisturbed process makes of them: a digest chained over (tick, samples) stands for the weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from disttrain.data import BatchPlan
from disttrain.training.boundary_decision import BoundaryDecision
from disttrain.training.job import Job
from disttrain.training.program import BOUNDARIES, Kind, Position, Program


@dataclass(frozen=True, slots=True)
class State:
    """What a worker holds: stands for weights, optimizer and sums.

    Args:
        seen: samples of this epoch's training so far; `validated`: of its validation.
        frozen: what training must not change; part of what a step makes of the weights.
    """

    tick: int = 0
    digest: int = 0
    seen: int = 0
    validated: int = 0
    iterations: int = 0
    frozen: str = ""
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the callbacks have counted."""

    handled: int = -1
    runs: int = 0
    chain: int = 0
    rows: tuple[tuple[int, int, int], ...] = ()  # epoch, samples trained on, samples validated on
    frozen: str = ""

    def __deepcopy__(self, memo: object) -> Hooks:
        return self  # nothing in it changes


@dataclass(frozen=True, slots=True)
class CallPlan:
    """What a scenario asks of one call."""

    kind: str = "fit"
    samples: int = 32
    batch: int = 8
    validation: int = 0  # samples
    epochs: int = 2
    every_batch: bool = False
    before_validation: bool = False
    stop_after: int | None = None  # callbacks end the call after so many boundaries
    freeze_at: int | None = None  # they freeze a layer at the boundary of that number


class _Optimizer:
    iterations = 0

    @property
    def calls(self) -> int:
        return self.iterations

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.iterations = state["iterations"]


class _Model:
    def __init__(self) -> None:
        self.optimizer = _Optimizer()


class Call:
    """A call of the script.

    Attributes:
        job: as the controller takes it.
        positions: of each tick.
        digests: of the undisturbed state as of each tick; `boundaries`: where its hooks run; `hooks`: what they have counted at the end.
    """

    def __init__(self, number: int, plan: CallPlan, virtual_workers: int, seed: int) -> None:
        self.number, self.plan, self.virtual_workers, self.seed = number, plan, virtual_workers, seed
        first = {"fit": Kind.TRAIN, "evaluate": Kind.VALIDATE, "predict": Kind.PREDICT}[plan.kind]
        batches = BatchPlan(plan.samples, plan.batch, virtual_workers, shuffle=plan.kind == "fit", seed=seed + number)
        plans = [(first, batches)]
        if plan.validation:
            plans.append((Kind.VALIDATE, BatchPlan(plan.validation, plan.batch, virtual_workers, restarts=True)))
        program = Program(
            tuple(plans), epochs=plan.epochs, every_batch=frozenset({first}) if plan.every_batch else frozenset(),
            boundaries=plan.kind == "fit", before_validation=plan.before_validation and bool(plan.validation),
        )  # fmt: skip
        self.job = Job(plan.kind, _Model(), program, {}, virtual_workers, seed, (None, None, None))
        self.positions: list[Position] = [program.at(tick) for tick in range(program.ticks + 1)]
        self.trains = plan.kind == "fit"
        self._samples = [self._samples_of(position) for position in self.positions]
        self._undisturbed()

    def at(self, state: State) -> Position:
        """Where a state stands."""
        return self.positions[-1 if state.ended else state.tick]

    def after(self, state: State, position: Position) -> State:
        """The state after a step."""
        samples, count = self._samples[state.tick]
        if position.kind is Kind.TRAIN:
            seen = count if position.step == 0 else state.seen + count
            digest = hash((state.digest, state.tick, samples, len(state.frozen)))
            return State(state.tick + 1, digest, seen, 0, state.iterations + 1, state.frozen)
        validated = count if position.step == 0 else state.validated + count
        return State(state.tick + 1, state.digest, state.seen, validated, state.iterations, state.frozen)

    def proceed(self, state: State, decision: BoundaryDecision) -> State:
        """The state after a boundary."""
        position = self.positions[state.tick]
        tick = self.job.program.after_phase(position) if decision.end_phase else state.tick + 1
        digest = state.digest if decision.learning_rate is None else hash((state.digest, decision.learning_rate))
        frozen = state.frozen if decision.frozen is None else ",".join(decision.frozen["layers"])
        return replace(state, tick=tick, digest=digest, frozen=frozen, ended=decision.end_call)

    def decide(self, hooks: Hooks, position: Position, state: State) -> tuple[BoundaryDecision, Hooks]:
        """What the callbacks decide, which hangs on what they have counted; and what they have counted then."""
        runs, last = hooks.runs + 1, position.kind is Kind.EPOCH_BOUNDARY and position.epoch + 1 >= self.plan.epochs
        rows, frozen = hooks.rows, hooks.frozen
        if position.kind is Kind.EPOCH_BOUNDARY:
            rows = (*rows, (position.epoch, state.seen, state.validated))
        if self.plan.freeze_at == runs:
            frozen = "head"
        after = Hooks(position.tick, runs, hash((hooks.chain, position.tick)), rows, frozen)
        decision = BoundaryDecision(
            learning_rate=1.0 / runs if self.trains and runs % 3 == 1 else None,
            frozen={"layers": [frozen], "weights": []} if frozen != hooks.frozen else None,
            end_phase=position.kind is Kind.BATCH_BOUNDARY and runs % 7 == 5 and self.trains,
            end_call=last or (self.plan.stop_after is not None and runs >= self.plan.stop_after and position.kind is Kind.EPOCH_BOUNDARY),
        )
        return decision, after

    def _samples_of(self, position: Position) -> tuple[int, int]:
        """(their numbers as one, how many) of a step's batch."""
        if position.kind in BOUNDARIES or position.kind is Kind.END:
            return 0, 0
        indices = self.job.program.plan(position.kind).indices(position.epoch, position.step).tolist()
        return hash(tuple(indices)), len(indices)

    def _undisturbed(self) -> None:
        state, hooks = State(), Hooks()
        self.digests, self.boundaries = {0: 0}, []
        while (position := self.at(state)).kind is not Kind.END:
            if position.kind in BOUNDARIES:
                self.boundaries.append(position.tick)
                decision, hooks = self.decide(hooks, position, state)
                state = self.proceed(state, decision)
            else:
                state = self.after(state, position)
            self.digests[state.tick] = state.digest
        self.last, self.hooks = state, hooks
