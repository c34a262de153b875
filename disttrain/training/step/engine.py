"""One worker's part of a call, tick by tick: which step comes, which way it goes, what a boundary decided. Knows no Ray and no files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from disttrain.bounds import watching
from disttrain.collectives import Group, SoloGroup
from disttrain.data import StreamPlan
from disttrain.data.bad_samples import BadSample, Skip
from disttrain.determinism import settle, told
from disttrain.errors import NonFiniteLoss
from disttrain.host_numbers import tensor_of
from disttrain.training.boundary_decision import BoundaryDecision
from disttrain.training.job import Job
from disttrain.training.program import BOUNDARIES, Kind, Position
from disttrain.training.step.direct import DirectStep
from disttrain.training.step.predictions import outputs_of_step
from disttrain.training.step.replica import Replica, StateDict
from disttrain.training.step.scripted import ScriptedStep
from disttrain.training.step.side_channel import REQUESTS
from disttrain.training.step.sliced import SlicedStep
from disttrain.training.step.step_times import clock
from disttrain.training.step.workspace import ByProducts, Workspace
from disttrain.training.trainability import Frozen


class _Way(Protocol):
    """How a step is carried out: each way is made for one workspace. Where more than one can, they agree in every bit."""

    def run(self, position: Position, requests: Sequence[bool]) -> tuple[bool, ...]:
        """One step; the requests that any worker had."""


class Engine:
    """The ticks of a call on one worker, and the state that they move.

    Args:
        audit_share: of the time of a training that computing slices a second time is to take; losses that divide by a count of the
            whole batch, and data that are read in their own order, are not audited.

    Attributes:
        replica: the state.
        by_products: what steps leave behind beside it.
        workspace: what one step needs, anew for each generation and each layout of the state.
    """

    def __init__(self, job: Job, device: torch.device | None = None, audit_share: float = 0.0) -> None:
        self.job, self.program = job, job.program
        settle("cpu" if device is None else device.type, job.numerics)
        self.replica = Replica(job, device)
        self.by_products = ByProducts()
        self.trains = self.replica.trains
        forward = self.replica.forward
        streams = any(isinstance(plan, StreamPlan) for _, plan in self.program.plans)  # slices of others are not here
        asks = forward.asks or any(script.asks for script in forward.scripts.values())
        self._audit_share = 0.0 if asks or streams else audit_share
        self._next: Position | None = None
        self.attach(SoloGroup(), [(0, job.virtual_workers)])

    def attach(self, group: Group, placement: Sequence[tuple[int, int]]) -> None:
        """Take part in a generation: `placement` gives the run of virtual ranks of each of its members, in rank order."""
        self._group, self._placement = group, list(placement)
        workspace = self.workspace = Workspace(self.replica, group, self._placement, self.by_products, self._audit_share)
        self._direct = DirectStep(workspace) if workspace.is_direct else None
        way: _Way = self._direct or SlicedStep(workspace)
        scripts = self.replica.forward.scripts
        self._ways: dict[Kind, _Way] = {
            kind: ScriptedStep(workspace, scripts[kind]) if kind in scripts else way for kind in workspace.layouts
        }

    def begin(self) -> None:
        """Steps follow soon: what reads ahead may begin."""
        self.replica.forward.begin(self.program.at(self.tick))

    def skip(self, skips: Sequence[Skip]) -> None:
        """Leave samples out, for good."""
        for skip in skips:
            self.program.plan(Kind(skip.phase)).skip(skip.data_pass, skip.place)
        if skips:
            self.replica.forward.forget()

    def rest(self) -> None:
        """The call is over, or goes on later: let go of what reads ahead."""
        self.replica.forward.rest()

    def rearrange(self, frozen: Frozen) -> None:
        """Let training change other weights than before. Slots stay with their weights; those of a weight that is frozen are dropped."""
        if self.replica.rearrange(frozen):
            self._attach_again()

    def hold(self) -> None:
        """Take weights and metrics back after other code ran, such as a callback that trained or evaluated the same model."""
        if self.replica.hold():
            self._attach_again()
        else:
            self.workspace.bind()

    def _attach_again(self) -> None:
        self.by_products.gradients = {}  # a weight that is frozen has none
        self.attach(self._group, self._placement)

    @property
    def tick(self) -> int:
        """The first that is not done yet."""
        return self.replica.tick

    @tick.setter
    def tick(self, tick: int) -> None:
        self.replica.tick = tick

    @property
    def draws(self) -> bool:
        """May a step seed the generators of the process?"""
        if self.replica.seeds_generators or self.replica.forward.scripts:
            return True
        return any(getattr(source, "draws", False) for source in self.job.sources.values())

    # -- ticks ----------------------------------------------------------------------------------------------------------------------

    @property
    def position(self) -> Position:
        """Where the call stands."""
        tick = self.replica.tick
        if self.replica.ended:
            return Position(tick, Kind.END, self.program.epochs, 0, Kind.END)
        if self._next is None or self._next.tick != tick:
            self._next = self._resolved(self.program.at(tick))
            self.replica.tick = self._next.tick
        return self._next

    def _resolved(self, position: Position) -> Position:
        """Where the call stands once it is known whether its data go on: a phase that ends with them ends here."""
        while position.kind in self._ways and self.program.plan(position.kind).ended(position.epoch, position.step):
            position = self.program.at(self.program.after_phase(position))
        return position

    def run_tick(self, position: Position, requests: Sequence[bool] = (False,) * len(REQUESTS)) -> tuple[bool, ...]:
        """Do one step; the requests that any worker had, the same on all of them.

        Raises:
            GroupBroken: a worker is gone; the state is still that of the tick before.
            NonFiniteLoss: the loss of this step is NaN or infinite; nothing was updated.
        """
        replica = self.replica
        kept = (replica.totals.clone(), replica.train_logs) if position.step == 0 else None
        self._begin(position)
        began = clock()
        try:
            agreed: tuple[bool, ...] = self._watched(self._ways[position.kind].run, position, requests)
        except BaseException as error:
            if isinstance(error, NonFiniteLoss) and self.job.ends_at_nan:
                self._give_up_phase(position, error)
                return (False,) * len(REQUESTS)
            if kept is not None:  # the sums are part of the state of the tick before
                replica.totals.copy_(kept[0])
                replica.train_logs = kept[1]
            if isinstance(error, RuntimeError) and (better := told(error)) is not error:
                raise better from error
            raise
        self._took(position, position, began)
        self._move_to(position.tick + 1, position)
        return agreed

    def run_ticks(self, position: Position, until: float) -> Position:
        """Do one step or, where nobody else has a say, those that follow in its phase until the clock shows `until`; the last one done."""
        if self._direct is None:
            try:
                self.run_tick(position)
            except BadSample as bad:
                return self._without(bad, position, until)
            return position
        self._begin(position)
        began = clock()
        try:
            last: Position = self._watched(self._direct.run_until, position, until)
        except BadSample as bad:
            return self._without(bad, self.position, until)
        except NonFiniteLoss as error:
            if not self.job.ends_at_nan:
                raise
            last = self.position
            self._give_up_phase(last, error)
            return last
        except RuntimeError as error:
            if (better := told(error)) is error:
                raise
            raise better from error
        self._took(position, last, began)
        self._move_to(last.tick + 1, last)
        return last

    def _without(self, bad: BadSample, position: Position, until: float) -> Position:
        """Go on without a sample that cannot be made."""
        warnings.warn(f"sample {bad.number} could not be made and is left out: {bad.why}", stacklevel=2)
        self.skip([bad.skip])
        return self.run_ticks(position, until)

    def _give_up_phase(self, position: Position, error: NonFiniteLoss) -> None:
        """Leave out the rest of the phase, and let its loss say why; the weights are those before the step."""
        totals = self.replica.totals
        totals[0] = error.loss
        totals[-1] += self.program.plan(position.phase).batch_count(position.epoch, position.step)
        self._move_to(self.program.after_phase(position), position)

    def _took(self, first: Position, last: Position, began: float) -> None:
        if first.kind is Kind.TRAIN:
            times = self.by_products.step_times
            times.steps += last.step - first.step + 1
            times.step_seconds += clock() - began

    def _begin(self, position: Position) -> None:
        """A phase begins with nothing summed up."""
        if position.step == 0:
            self.replica.totals.zero_()
            if position.kind is Kind.TRAIN:
                self.replica.train_logs = {}

    def apply(self, decision: BoundaryDecision) -> None:
        """Do what the callbacks decided at the boundary where this worker stands, and step over it."""
        position, replica = self.position, self.replica
        tick = self.program.after_phase(position) if decision.end_phase else position.tick + 1
        if decision.learning_rate is not None:
            replica.model.optimizer.learning_rate = decision.learning_rate
        if decision.end_call or tick >= self.program.ticks:
            replica.finalize()  # first: weights that a callback put back at the end are the last word, as in Keras
        if decision.frozen is not None:
            self.rearrange(decision.frozen)
        for name, counters in (decision.optimizers or {}).items():
            replica.optimizer_called(name).load_state_dict(counters)
        if decision.arrays is not None:
            own = replica.state_dict().tensors
            changed = {name: tensor_of(value) for name, value in decision.arrays.items() if name in own}  # not of frozen ones
            replica.load_state_dict(StateDict(changed, {}), strict=False)
        self._move_to(tick, position)
        replica.ended = decision.end_call

    def _move_to(self, tick: int, position: Position) -> None:
        """Step on from `position`; the last of the training phase leaves its means behind."""
        self.replica.tick = tick
        if position.phase is Kind.TRAIN and self.position.phase is not Kind.TRAIN:
            self.replica.train_logs = self.results_of(Kind.TRAIN)
        ledger = self.replica.forward.ledger
        if ledger is not None and position.kind not in BOUNDARIES and self._tells_indices(position.kind):
            self.workspace.look_at_indices(ledger)

    def _watched(self, run: Callable[..., Any], *arguments: Any) -> Any:
        """Run it, and let indices that lie outside their range be noted meanwhile."""
        ledger = self.replica.forward.ledger
        if ledger is None:
            return run(*arguments)
        with watching(ledger):
            return run(*arguments)

    def _tells_indices(self, kind: Kind) -> bool:
        """Is it time to look at indices that no loss brought up: those of a script's own step, of metrics, of predictions?"""
        return self.position.kind is not kind or kind in self.replica.forward.scripts

    def logs(self, position: Position) -> dict[str, Any]:
        """The means so far: of training, or at and after validation those of training and, prefixed `val_`, of validation."""
        if not self.trains:
            return self.results()
        if position.phase is Kind.TRAIN:
            return self.results_of(Kind.TRAIN)
        if position.kind is Kind.TEST_BOUNDARY:
            return dict(self.replica.train_logs)
        validates = any(kind is Kind.VALIDATE for kind, _ in self.program.plans) and self.program.validates(position.epoch)
        if position.phase is Kind.VALIDATE or (validates and self.replica.totals[-1]):
            return {**self.replica.train_logs, **{f"val_{name}": value for name, value in self.results_of(Kind.VALIDATE).items()}}
        return dict(self.replica.train_logs)

    def results(self) -> dict[str, Any]:
        """The values of losses and metrics over the running phase."""
        return self.results_of(Kind.TRAIN if self.trains else Kind.VALIDATE)

    def results_of(self, kind: Kind) -> dict[str, Any]:
        """The same, of steps of `kind`."""
        totals = self.replica.totals.tolist()
        if not totals[-1]:
            return {}
        forward, kept = self.replica.forward, self.replica.totals
        accumulator = forward.log_accumulator
        if self._direct is None:
            self.workspace.scratch.copy_(self.replica.metric_states)
        forward.torchmetrics.read(kept[accumulator.width + accumulator.states : -1], int(totals[-1]))
        return accumulator.results(kind, totals, totals[-1])

    def outputs_of(self, position: Position) -> Any:
        """The outputs of a step of `predict`, those of its slices joined."""
        return outputs_of_step(self.by_products.predictions, position.step, self.job.virtual_workers)
