"""Steps of one slice on one worker, one after the other: nothing is ever summed, so there is nothing but the model's own work."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from disttrain.layers.context import call_context
from disttrain.seeds import fold_in
from disttrain.training.compiled.outputs import as_arrays
from disttrain.training.program import Kind, Position
from disttrain.training.step.step_context import StepContext
from disttrain.training.step.step_times import clock

if TYPE_CHECKING:
    from disttrain.training.step.engine import Engine


def run_directly(engine: Engine, position: Position, until: float | None) -> Position:
    """Do the step at `position` and those that follow it in its phase, up to a boundary or the time `until`; the last one's position."""
    return _train(engine, position, until) if position.kind is Kind.TRAIN else _infer(engine, position, until)


def _many(engine: Engine, position: Position, until: float | None) -> bool:
    return until is not None and position.kind not in engine.program.every_batch


def _at(kind: Kind, tick: int) -> Position:
    return Position(tick, kind, 0, 0, kind)


def _last(position: Position, done: int) -> Position:
    return Position(position.tick + done - 1, position.kind, position.epoch, position.step + done - 1, position.phase)


def _infer(engine: Engine, position: Position, until: float | None) -> Position:
    kind, epoch, first = position.kind, position.epoch, position.step
    program, forward = engine.program, engine.forward
    plan = program.plan(kind)
    many, steps, tick = _many(engine, position, until), plan.steps, position.tick
    context, draws = StepContext(training=False), engine.foreign_randomness
    compiled, predicts = forward.compiled, kind is Kind.PREDICT
    step = first
    with torch.inference_mode(), call_context(context):
        while True:
            count = plan.batch_count(epoch, step)
            context.begin(lambda: fold_in(engine.step_key(_at(kind, engine.tick)), 0), 1.0, (0, count, count))
            x, y, weight = forward.fetch(kind, epoch, step, 0, context)
            if draws:
                torch.manual_seed(context.key or 0)
            if predicts:
                engine.predictions[step] = as_arrays(forward.outputs(x))
            else:
                means, outputs = forward.run(x, y, weight, context)
                add(engine, means, count)
                if compiled is not None:
                    compiled.update_state(y, outputs, weight)
            step, tick = step + 1, tick + 1
            engine.tick = tick
            if not many or step == steps or time.monotonic() >= until:  # type: ignore[operator]
                return _last(position, step - first)


def _train(engine: Engine, position: Position, until: float | None) -> Position:
    epoch, first = position.epoch, position.step
    program, forward, state = engine.program, engine.forward, engine.state
    plan = program.plan(Kind.TRAIN)
    many, steps, tick = _many(engine, position, until), plan.steps, position.tick
    context, draws, on_cpu = StepContext(training=True), engine.foreign_randomness, engine.device.type == "cpu"
    compiled, scale, update = forward.compiled, forward.scale, engine.in_place_update
    step_times, keeps = engine.step_times, engine.job.keeps_gradients
    assert update is not None
    step = first
    with call_context(context):
        while True:
            count = plan.batch_count(epoch, step)
            context.begin(lambda: fold_in(engine.step_key(position), 0), 1.0, (0, count, count))
            before = forward.before = state.snapshot() if state.has_buffers else None
            try:
                waited = clock()
                x, y, weight = forward.fetch(Kind.TRAIN, epoch, step, 0, context)
                step_times.data_seconds += clock() - waited
                if draws:
                    torch.manual_seed(context.key or 0)
                means, outputs = forward.run(x, y, weight, context)
                loss = means[0]
                if loss.requires_grad:
                    (loss if scale is None else scale(loss)).backward()
                if on_cpu and not math.isfinite(value := loss.item()):
                    raise engine.not_finite(value, _last(position, step - first + 1))
            except BaseException:
                if before is not None:
                    state.restore(before)
                for param in state.params:
                    param.grad = None
                raise
            with torch.no_grad():
                if keeps:
                    engine.keep_gradients(range(len(state.params)), [param.grad for param in state.params])
                update.apply()
                if state.constraints:
                    state.constrain()
                add(engine, means, count)
                if compiled is not None:
                    compiled.update_state(y, outputs, weight)
            step, tick = step + 1, tick + 1
            engine.tick = tick
            if not many or step == steps or time.monotonic() >= until:  # type: ignore[operator]
                return _last(position, step - first)


def add(engine: Engine, means: Sequence[Tensor], count: int) -> None:
    """Add the means over the samples of a whole batch to the totals."""
    running: Any = engine.running
    if running is None:
        engine.totals[: len(means)] += torch.stack([mean.detach().double() for mean in means]) * count
        engine.totals[-1] += count
        return
    for number, mean in enumerate(means):
        running[number] += mean.item() * count
    running[-1] += count
