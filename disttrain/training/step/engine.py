"""One worker's part of a call: forward, backward, the sum over slices, the update. Knows no Ray and no files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.collectives import Group, SoloGroup
from disttrain.collectives.layout import Layout
from disttrain.collectives.reduction import Reduction, TreeReduction
from disttrain.data.plan import slice_of
from disttrain.data.structure import map_structure
from disttrain.errors import NonFiniteLoss
from disttrain.layers.context import CallContext
from disttrain.layers.layer import Layer
from disttrain.seeds import fold_in
from disttrain.training.boundary_decision import BoundaryDecision
from disttrain.training.compiled.outputs import as_arrays
from disttrain.training.fingerprint import check_fingerprint, fingerprint
from disttrain.training.job import Job
from disttrain.training.program import Kind, Position
from disttrain.training.step.direct import run_directly
from disttrain.training.step.forward import Forward
from disttrain.training.step.gradient_buffers import Contribution, Pool, first_with_payload
from disttrain.training.step.in_place_update import InPlaceUpdate
from disttrain.training.step.matching import check_arrays
from disttrain.training.step.model_state import ModelState, OptimizerState, Slots
from disttrain.training.step.optimizer_slots import arrange_slots
from disttrain.training.step.scripted import run_scripted
from disttrain.training.step.side_channel import REQUESTS, SideChannelLayout
from disttrain.training.step.sliced import run_in_slices, samples_of
from disttrain.training.step.step_times import StepTimes, clock
from disttrain.training.trainability import Frozen, Trainability

OVERLAP_BYTES = 4 << 20  # from here on buckets leave during the backward pass; below, the hooks cost more than they hide


class Engine:
    """The state of a call on one worker, and the ticks that move it.

    The state is: `tick`, the flat parameters, buffers and optimizer slots, the optimizers' counters, the sums of losses and metrics
    of the running phase, and the finished training logs of the epoch. Everything else is a function of the job.
    """

    def __init__(self, job: Job, device: torch.device | None = None) -> None:
        self.job, self.program, self.model = job, job.program, job.model
        self.device = device or torch.device("cpu")
        self.tick, self.ended = job.start_tick, False
        self.trains = job.kind == "fit"
        self.predictions: dict[int, Any] = {}
        self.step_times = StepTimes()
        self.kept_gradients: dict[str, Tensor] = {}  # of the last step, where the job asks for them
        self.train_logs: dict[str, Any] = {}
        self.foreign_randomness = any(not isinstance(module, Layer) and not list(module.children()) for module in self.model.modules())
        self.trainability = Trainability(self.model)
        self.state = ModelState(self.model, self.device, trains=self.trains)
        self.forward = Forward(job, self.state, self.device)
        self._first_rows = [rows.clone() for rows in self.state.rows] if job.kind == "predict" else []
        self.optimizer: Any = None
        if self.trains:
            self._take_optimizers()
        log_accumulator = self.forward.log_accumulator
        self.totals = torch.zeros(
            log_accumulator.width + log_accumulator.states + 1, dtype=torch.float64, device=self.device
        )  # sums, then samples
        self.scratch = torch.zeros(log_accumulator.states, dtype=torch.float64, device=self.device)
        self._finalized, self._fingerprint = False, fingerprint(job)
        self._next: Position | None = None
        self.attach(SoloGroup(), [(0, job.virtual_workers)])

    def _take_optimizers(self, kept: dict[str, Slots] | None = None) -> None:
        """The model's optimizer for all weights, or those that a step of the script's own applies, each for its own weights."""
        script = self.forward.scripts.get(Kind.TRAIN)
        chosen: dict[str, tuple[Any, set[int]]] = {}
        if script is None:
            chosen = {"optimizer": (self.model.optimizer, set(range(len(self.state.params))))}
        else:
            for name, numbers in script.updates:
                chosen.setdefault(name, (script.optimizers[name], set()))[1].update(numbers)
        for name, (optimizer, own) in chosen.items():
            state = OptimizerState(name, optimizer, tuple(sorted(own)))
            state.arrange(self.state.params, self.state.names, self.device, None if kept is None else kept.get(name, {}))
            self.state.optimizers.append(state)
        if self.state.optimizers:
            first = next((state for state in self.state.optimizers if state.name == "optimizer"), self.state.optimizers[0])
            self.optimizer = first.optimizer
        else:
            self.optimizer = self.model.optimizer

    def _script_optimizers(self) -> dict[str, Any]:
        """By attribute, the optimizers that a step of the script's own may apply, those of frozen weights too."""
        script = self.forward.scripts.get(Kind.TRAIN) if self.trains else None
        return {} if script is None else script.optimizers

    def _optimizer_called(self, name: str) -> Any:
        return self._script_optimizers().get(name) or getattr(self.model, name)

    def main_counters(self) -> dict[str, Any]:
        """The `state_dict()` of the optimizer whose count is that of the training; empty where nothing is trained."""
        return {} if self.optimizer is None else self.optimizer.state_dict()

    def counters(self) -> dict[str, dict[str, Any]]:
        """By attribute, the `state_dict()` of the optimizers of a step of the script's own, but for the model's main one."""
        return {name: optimizer.state_dict() for name, optimizer in self._script_optimizers().items() if name != "optimizer"}

    def rearrange(self, frozen: Frozen) -> None:
        """Let training change other weights than before. Slots stay with their weights; those of a weight that is frozen are dropped."""
        self.trainability.freeze(frozen)
        params = [param for param in self.model.parameters() if param.requires_grad]
        arranged = all(own.is_arranged(self.state.names) for own in self.state.optimizers)
        if arranged and [id(param) for param in params] == [id(param) for param in self.state.params]:
            return
        kept, before = {own.name: own.kept_slots() for own in self.state.optimizers}, self.state.optimizers
        self.kept_gradients = {}  # a weight that is frozen has none
        self.state = ModelState(self.model, self.device, trains=self.trains)
        self.forward = Forward(self.job, self.state, self.device)
        if self.trains:
            self._take_optimizers(kept)
            taken = {own.name for own in self.state.optimizers}
            for own in before:
                if own.name not in taken:
                    arrange_slots(own.optimizer, [], [], {})
        self.attach(self.group, self.placement)

    def attach(self, group: Group, placement: Sequence[tuple[int, int]]) -> None:
        """Take part in a generation: `placement` gives the run of virtual ranks of each of its members, in rank order.

        Buffers are made anew: late bytes of a broken generation must not reach the numbers of the next.
        """
        self.group, self.placement = group, list(placement)
        self.start, self.stop = self.placement[group.rank]
        log_accumulator, state = self.forward.log_accumulator, self.state
        marks = 2 if self.forward.scripts else 0
        width, states = log_accumulator.width, log_accumulator.states
        self.layouts = {
            Kind.TRAIN: SideChannelLayout(width, states, state.buffers_size, state.rows_size, marks),
            Kind.VALIDATE: SideChannelLayout(width, states, 0, state.rows_size, marks),
        }
        self.layouts[Kind.PREDICT] = self.layouts[Kind.VALIDATE]
        self.pools: dict[Kind, Pool] = {}
        for kind, side_channel in self.layouts.items():
            if kind is Kind.TRAIN and not self.trains:
                continue
            parts = [*(state.space.parts if kind is Kind.TRAIN else ()), (torch.float64, side_channel.size)]
            plan = TreeReduction(group, placement, Layout.of(parts), self.device)
            self.pools[kind] = Pool(plan, state.space if kind is Kind.TRAIN else None)
        self.overlaps = self.trains and group.size > 1 and self.pools[Kind.TRAIN].plan.capacity >= OVERLAP_BYTES
        # One slice on one worker: nothing is ever summed, so losses and metrics go straight into the totals.
        self._direct = group.size == 1 and self.job.virtual_workers == 1 and not self.forward.scripts and not log_accumulator.own
        self._bound = self.totals[width:-1] if self._direct else self.scratch
        log_accumulator.bind(self._bound)
        self.in_place_update = InPlaceUpdate(state, state.optimizers[0]) if self._direct and self.trains else None
        self.running = self.totals.numpy() if self.device.type == "cpu" else None

    @property
    def draws(self) -> bool:
        """May a step seed the generators of the process?"""
        sources = self.job.sources.values()
        return self.foreign_randomness or bool(self.forward.scripts) or any(getattr(source, "draws", False) for source in sources)

    def hold(self) -> None:
        """Take weights and metrics back after other code ran, such as a callback that trained or evaluated the same model."""
        self.state.hold()
        if not all(own.is_arranged(self.state.names) for own in self.state.optimizers):
            self.rearrange(self.trainability.frozen())
        self.forward.log_accumulator.bind(self._bound)

    def go_back_to(self, tick: int) -> None:
        """Let a predict go on at `tick`. Row states, which nobody else knows, are those of the first batch only: then at that one."""
        self.tick = 0 if self._first_rows else tick
        with torch.no_grad():
            for rows, first in zip(self.state.rows, self._first_rows, strict=True):
                rows.copy_(first)

    # -- ticks ----------------------------------------------------------------------------------------------------------------------

    @property
    def position(self) -> Position:
        """Where the call stands."""
        if self.ended:
            return Position(self.tick, Kind.END, self.program.epochs, 0, Kind.END)
        if self._next is None or self._next.tick != self.tick:
            self._next = self.program.at(self.tick)
        return self._next

    def run_tick(self, position: Position, requests: Sequence[bool] = (False, False, False)) -> tuple[bool, ...]:
        """Do one step; the requests that any worker had, the same on all of them.

        Raises:
            GroupBroken: a worker is gone; the state is still that of the tick before.
            NonFiniteLoss: the loss of this step is NaN or infinite; nothing was updated.
        """
        kept = (self.totals.clone(), self.train_logs) if position.step == 0 else None
        self._begin(position)
        began = clock()
        try:
            agreed = self._step(position, requests)
        except BaseException as error:
            if isinstance(error, NonFiniteLoss) and self.job.ends_at_nan:
                self._give_up_phase(position, error)
                return (False,) * len(REQUESTS)
            if kept is not None:  # the sums are part of the state of the tick before
                self.totals.copy_(kept[0])
                self.train_logs = kept[1]
            raise
        self._took(position, position, began)
        self._move_to(position.tick + 1, position)
        return agreed

    def _step(self, position: Position, requests: Sequence[bool]) -> tuple[bool, ...]:
        if position.kind in self.forward.scripts:
            return run_scripted(self, self.forward.scripts[position.kind], position, requests)
        if self._direct:
            run_directly(self, position, None)
            return tuple(bool(request) for request in requests)
        return run_in_slices(self, position, requests)

    def run_ticks(self, position: Position, until: float) -> Position:
        """Do one step or, where nobody else has a say, those that follow in its phase until the clock shows `until`; the last one done."""
        if not self._direct:
            self.run_tick(position)
            return position
        self._begin(position)
        began = clock()
        try:
            last = run_directly(self, position, until)
        except NonFiniteLoss as error:
            if not self.job.ends_at_nan:
                raise
            last = self.position
            self._give_up_phase(last, error)
            return last
        self._took(position, last, began)
        self._move_to(last.tick + 1, last)
        return last

    def _give_up_phase(self, position: Position, error: NonFiniteLoss) -> None:
        """Leave out the rest of the phase, and let its loss say why; the weights are those before the step."""
        self.totals[0] = error.loss
        self.totals[-1] += self.program.plan(position.phase).batch_count(position.epoch, position.step)
        self._move_to(self.program.after_phase(position), position)

    def _took(self, first: Position, last: Position, began: float) -> None:
        if first.kind is Kind.TRAIN:
            self.step_times.steps += last.step - first.step + 1
            self.step_times.step_seconds += clock() - began

    def _begin(self, position: Position) -> None:
        """A phase begins with nothing summed up."""
        if position.step == 0:
            self.totals.zero_()
            if position.kind is Kind.TRAIN:
                self.train_logs = {}

    def apply(self, decision: BoundaryDecision) -> None:
        """Do what the callbacks decided at the boundary where this worker stands, and step over it."""
        position = self.position
        tick = self.program.after_phase(position) if decision.end_phase else self.tick + 1
        if decision.learning_rate is not None:
            self.optimizer.learning_rate = decision.learning_rate
        if decision.end_call or tick >= self.program.ticks:
            self.finalize()  # first: weights that a callback put back at the end are the last word, as in Keras
        if decision.frozen is not None:
            self.rearrange(decision.frozen)
        for name, counters in (decision.optimizers or {}).items():
            self._optimizer_called(name).load_state_dict(counters)
        if decision.arrays is not None:
            own = self.arrays()
            changed = {name: torch.from_numpy(value) for name, value in decision.arrays.items() if name in own}  # not of frozen ones
            self.set_arrays(changed, partly=True)
        self._move_to(tick, position)
        self.ended = decision.end_call

    def finalize(self) -> None:
        """Let the optimizers leave in the weights what they keep beside them, such as a moving average. Once, after the last step."""
        if self._finalized or not self.trains:
            return
        self._finalized = True
        for state in self.state.optimizers:
            finish = getattr(state.optimizer, "finalize_variable_values", None)
            if finish is not None:
                with torch.no_grad():
                    finish([self.state.params[number] for number in state.numbers])

    def _move_to(self, tick: int, position: Position) -> None:
        """Step on from `position`; the last of the training phase leaves its means behind."""
        self.tick = tick
        if position.phase is Kind.TRAIN and self.position.phase is not Kind.TRAIN:
            self.train_logs = self.results_of(Kind.TRAIN)

    def logs(self, position: Position) -> dict[str, Any]:
        """The means so far: of training, or at and after validation those of training and, prefixed `val_`, of validation."""
        if not self.trains:
            return self.results()
        if position.phase is Kind.TRAIN:
            return self.results_of(Kind.TRAIN)
        if position.kind is Kind.TEST_BOUNDARY:
            return dict(self.train_logs)
        validates = any(kind is Kind.VALIDATE for kind, _ in self.program.plans) and self.program.validates(position.epoch)
        if position.phase is Kind.VALIDATE or (validates and self.totals[-1]):
            return {**self.train_logs, **{f"val_{name}": value for name, value in self.results_of(Kind.VALIDATE).items()}}
        return dict(self.train_logs)

    def results(self) -> dict[str, Any]:
        """The values of losses and metrics over the running phase."""
        return self.results_of(Kind.TRAIN if self.trains else Kind.VALIDATE)

    def results_of(self, kind: Kind) -> dict[str, Any]:
        """The same, of steps of `kind`."""
        totals = self.totals.tolist()
        if not totals[-1]:
            return {}
        log_accumulator = self.forward.log_accumulator
        if not self._direct:
            self.scratch.copy_(self.totals[log_accumulator.width : -1])
        return log_accumulator.results(kind, totals, totals[-1])

    def outputs_of(self, position: Position) -> Any:
        """The outputs of a step of `predict`, those of its slices joined."""
        return outputs_of_step(self.predictions, position.step, self.job.virtual_workers)

    # -- one slice, one step --------------------------------------------------------------------------------------------------------

    def context(self, position: Position, key: int, rank: int, count: int, training: bool | None) -> CallContext:
        """What surrounds the forward pass of the slice of virtual rank `rank` of a batch of `count`."""
        first, stop = slice_of(count, self.job.virtual_workers, rank)
        return CallContext(training=training, key=key, slice_fraction=(stop - first) / count, rows=(first, stop, count))

    def step_key(self, position: Position) -> int:
        """What the keys of the slices of a step are drawn from."""
        if position.kind is Kind.TRAIN:
            return fold_in(self.job.seed, "step", self.optimizer.iterations)
        return fold_in(self.job.seed, position.kind.value, position.tick)

    def fill(self, layout: SideChannelLayout, side_channel: Tensor, means: Sequence[Tensor | float], context: CallContext) -> None:
        """A slice's means, states of metrics and rows into its side_channel; the rest of it zero."""
        side_channel.zero_()
        for number, mean in enumerate(means):
            side_channel[number] = mean.detach() if isinstance(mean, Tensor) else mean
        side_channel[: len(means)] *= samples_of(context)
        if layout.states:
            layout.states_of(side_channel).copy_(self.scratch)
        if layout.rows:
            assert context.rows is not None
            self.state.write_rows(layout.rows_of(side_channel), context.rows[0], context.rows[1])

    def reduce(
        self, kind: Kind, reduction: Reduction | None, stack: list[Contribution], requests: Sequence[bool], *, sent: bool = False
    ) -> Contribution:
        """The sum over all slices; with `sent`, the buckets without side_channel have left already."""
        pool, layout = self.pools[kind], self.layouts[kind]
        if stack and any(requests):
            layout.request(stack[0].side_channel, requests)
        if reduction is None:
            return stack.pop()
        for bucket in range(first_with_payload(pool.plan) if sent else 0, len(pool.plan.buckets)):
            reduction.send(bucket, [contribution.buffer for contribution in stack])
        total = pool.take()
        reduction.finish(total.buffer)
        return total

    def account(self, layout: SideChannelLayout, side_channel: Tensor, count: int) -> tuple[bool, ...]:
        """Add a batch to the totals; the requests that came with it."""
        self.totals[:-1] += side_channel[: layout.sums]
        self.totals[-1] += count
        return layout.agreed(side_channel)

    def not_finite(self, loss: float, position: Position) -> NonFiniteLoss:
        """The error for a loss that is NaN or infinite."""
        error = NonFiniteLoss(
            f"the loss became {loss} at step {self.optimizer.iterations + 1} "
            f"(epoch {position.epoch + 1}, batch {position.step + 1}).\n"
            "  expected  a finite number; the weights are those before this step\n"
            "  try       a smaller learning rate, clipnorm=1.0, or look for NaN and infinity in the data"
        )
        error.loss = loss
        return error

    # -- the state as arrays --------------------------------------------------------------------------------------------------------

    def arrays(self) -> dict[str, Tensor]:
        """The state by name: `model/...`, `optimizer/<slot>/...` and `totals`; live views, not copies."""
        return {**self.state.arrays(), "totals": self.totals}

    def set_arrays(self, arrays: dict[str, Tensor], *, partly: bool = False) -> None:
        """Copy values into the state: each of its arrays, of that shape and dtype; `partly`, what is not given stays.

        Raises:
            CheckpointMismatch: a name, a shape or a dtype differs; nothing was copied.
        """
        own = self.arrays()
        check_arrays(own, arrays, partly=partly)
        with torch.no_grad():
            for name, value in arrays.items():
                own[name].copy_(value)

    def meta(self) -> dict[str, Any]:
        """The rest of the state, in JSON types."""
        meta = {"tick": self.tick, "ended": self.ended, "train_logs": self.train_logs, "optimizer": self.main_counters()}
        others = {name: optimizer.state_dict() for name, optimizer in self._script_optimizers().items() if optimizer is not self.optimizer}
        if others:
            meta["other_optimizers"] = others
        return {**meta, "finalized": self._finalized, "frozen": self.trainability.frozen(), "call": self._fingerprint}

    def set_meta(self, meta: dict[str, Any]) -> None:
        """The inverse of `meta`.

        Raises:
            RunMismatch: the state is one in the middle of a call with other data, batches or boundaries.
        """
        check_fingerprint(self.job, meta)
        self.tick, self.ended, self.train_logs = meta["tick"], meta["ended"], meta["train_logs"]
        self._finalized = meta.get("finalized", False)
        if self.optimizer is not None:
            self.optimizer.load_state_dict(meta["optimizer"])
        for name, optimizer in self._script_optimizers().items():
            if name in meta.get("other_optimizers", {}):
                optimizer.load_state_dict(meta["other_optimizers"][name])

    def gradients(self) -> dict[str, np.ndarray]:
        """The gradient of the last step, the mean over the global batch, by weight; empty where this worker did not take part in it."""
        return {name: gradient.detach().cpu().numpy().copy() for name, gradient in self.kept_gradients.items()}

    def keep_gradients(self, numbers: Sequence[int], gradients: Sequence[Tensor | None]) -> None:
        """Keep those of the parameters of these numbers, which stay as they are; without the factor that the loss was scaled by."""
        scale = self.forward.scale
        factor = 1.0 if scale is None else 1.0 / float(scale(torch.ones((), device=self.device)))
        for number, gradient in zip(numbers, gradients, strict=True):
            kept = torch.zeros_like(self.state.params[number]) if gradient is None else gradient
            self.kept_gradients[self.state.names[number]] = kept if factor == 1.0 else kept * factor

    def flat_state(self) -> list[Tensor]:
        """The state as few flat tensors, for a transfer between workers that run the same job."""
        return [*self.state.flat(), self.totals]


def join_predictions(parts: dict[int, Any]) -> Any:
    """The slices' outputs, by (step, virtual rank), as one structure of arrays."""
    if not parts:
        return None
    ordered = [parts[number] for number in sorted(parts)]
    if isinstance(ordered[0], np.ndarray):
        return ordered[0] if len(ordered) == 1 else np.concatenate(ordered)
    leaves: list[list[Any]] = [[] for _ in ordered]
    for collected, part in zip(leaves, ordered, strict=True):
        map_structure(collected.append, part)
    joined = iter([np.concatenate(column) for column in zip(*leaves, strict=True)])
    return map_structure(lambda _: next(joined), ordered[0])


def outputs_of_step(parts: dict[int, Any], step: int, virtual_workers: int) -> Any:
    """The outputs of one step of `predict`, those of its slices joined."""
    first = step * virtual_workers
    return join_predictions({number: parts[number] for number in range(first, first + virtual_workers) if number in parts})


__all__ = ["OVERLAP_BYTES", "REQUESTS", "Engine", "as_arrays", "join_predictions", "outputs_of_step"]
