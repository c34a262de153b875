"""Steps of one slice on one worker, one after the other: nothing is ever summed, so there is nothing but the model's own work."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.data import StreamPlan
from disttrain.layers.context import call_context
from disttrain.seeds import fold_in
from disttrain.training.compiled.outputs import as_arrays
from disttrain.training.program import Kind, Position
from disttrain.training.step.in_place_update import InPlaceUpdate
from disttrain.training.step.step_context import StepContext
from disttrain.training.step.step_times import clock
from disttrain.training.step.workspace import Workspace, add_means


class DirectStep:
    """The way of a workspace that `is_direct`."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        state = workspace.state
        self._update = InPlaceUpdate(state, state.optimizers[0]) if workspace.replica.trains else None
        self._running: Any = workspace.totals.numpy() if workspace.device.type == "cpu" else None  # numbers, without a tensor around each

    def run(self, position: Position, requests: Sequence[bool]) -> tuple[bool, ...]:
        """One step; the requests, to which nobody adds any.

        Raises:
            NonFiniteLoss: the loss of this step is NaN or infinite; nothing was updated.
        """
        self.run_until(position, None)
        return tuple(bool(request) for request in requests)

    def run_until(self, position: Position, until: float | None) -> Position:
        """Do the step at `position` and those that follow it in its phase, up to a boundary or the time `until`; the last one's position.

        Raises:
            NonFiniteLoss: the loss of a step is NaN or infinite; the state is that after the step before.
        """
        return self._train(position, until) if position.kind is Kind.TRAIN else self._infer(position, until)

    def _infer(self, position: Position, until: float | None) -> Position:
        workspace, kind, epoch, first = self._workspace, position.kind, position.epoch, position.step
        replica, program, forward = workspace.replica, workspace.program, workspace.forward
        plan = program.plan(kind)
        many, steps, tick = self._many(position, until), plan.steps, position.tick
        context, seeds_generators = StepContext(training=False), workspace.seeds_generators
        compiled, predicts = forward.compiled, kind is Kind.PREDICT
        predictions = workspace.by_products.predictions
        step = first
        with torch.inference_mode(), call_context(context):
            while True:
                count = plan.batch_count(epoch, step)
                context.begin(lambda: fold_in(workspace.step_key(_at(kind, replica.tick)), 0), 1.0, (0, count, count))
                x, y, weight = forward.fetch(kind, epoch, step, 0, context)
                if seeds_generators:
                    torch.manual_seed(context.key or 0)
                if predicts:
                    predictions[step] = as_arrays(forward.outputs(x))
                else:
                    means, outputs = forward.run(x, y, weight, context)
                    self._add(means, count)
                    if compiled is not None:
                        compiled.update_state(y, outputs, weight)
                step, tick = step + 1, tick + 1
                replica.tick = tick
                if not many or step == steps or time.monotonic() >= until:  # type: ignore[operator]
                    return _last(position, step - first)

    def _train(self, position: Position, until: float | None) -> Position:
        workspace, epoch, first = self._workspace, position.epoch, position.step
        replica, program, forward, state = workspace.replica, workspace.program, workspace.forward, workspace.state
        plan = program.plan(Kind.TRAIN)
        many, steps, tick = self._many(position, until), plan.steps, position.tick
        context, seeds_generators = StepContext(training=True), workspace.seeds_generators
        compiled, scale, update = forward.compiled, forward.scale, self._update
        step_times, keeps = workspace.by_products.step_times, workspace.job.keeps_gradients
        assert update is not None
        step = first
        with call_context(context):
            while True:
                count = plan.batch_count(epoch, step)
                context.begin(lambda: fold_in(workspace.step_key(position), 0), 1.0, (0, count, count))
                before = forward.before = state.snapshot() if state.has_buffers else None
                try:
                    waited = clock()
                    x, y, weight = forward.fetch(Kind.TRAIN, epoch, step, 0, context)
                    step_times.data_seconds += clock() - waited
                    if seeds_generators:
                        torch.manual_seed(context.key or 0)
                    means, outputs = forward.run(x, y, weight, context)
                    loss = means[0]
                    if loss.requires_grad:
                        (loss if scale is None else scale(loss)).backward()
                    if not math.isfinite(value := loss.item()):
                        raise workspace.not_finite(value, _last(position, step - first + 1))
                except BaseException:
                    if before is not None:
                        state.restore(before)
                    for param in state.params:
                        param.grad = None
                    raise
                with torch.no_grad():
                    if keeps:
                        workspace.keep_gradients(range(len(state.params)), [param.grad for param in state.params])
                    update.apply()
                    if state.constraints:
                        state.constrain()
                    self._add(means, count)
                    if compiled is not None:
                        compiled.update_state(y, outputs, weight)
                step, tick = step + 1, tick + 1
                replica.tick = tick
                if not many or step == steps or time.monotonic() >= until:  # type: ignore[operator]
                    return _last(position, step - first)

    def _many(self, position: Position, until: float | None) -> bool:
        program = self._workspace.program
        return until is not None and position.kind not in program.every_batch and not isinstance(program.plan(position.kind), StreamPlan)

    def _add(self, means: Sequence[Tensor], count: int) -> None:
        """Add the means over the samples of a whole batch to the totals."""
        running = self._running
        if running is None:
            totals = self._workspace.totals
            add_means(totals, means, count)
            totals[-1].add_(count)
            return
        for number, mean in enumerate(means):
            running[number] += mean.item() * count
        running[-1] += count


def _at(kind: Kind, tick: int) -> Position:
    return Position(tick, kind, 0, 0, kind)


def _last(position: Position, done: int) -> Position:
    return Position(position.tick + done - 1, position.kind, position.epoch, position.step + done - 1, position.phase)
