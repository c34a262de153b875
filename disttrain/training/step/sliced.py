"""Steps of several slices: forward and backward for those hosted here, the sum over all, one update."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from disttrain.collectives.tree import local_merges
from disttrain.layers.context import CallContext, call_context
from disttrain.seeds import fold_in
from disttrain.training.compiled.outputs import as_arrays
from disttrain.training.program import Kind, Position
from disttrain.training.step.gradient_buffers import Contribution, Overlap
from disttrain.training.step.model_state import Snapshot
from disttrain.training.step.step_times import clock

if TYPE_CHECKING:
    from disttrain.training.step.engine import Engine


def run_in_slices(engine: Engine, position: Position, requests: Sequence[bool]) -> tuple[bool, ...]:
    """One step; the requests that any worker had.

    Raises:
        GroupBroken: a worker is gone; the state is still that of the tick before.
        NonFiniteLoss: the loss of this step is NaN or infinite; nothing was updated.
    """
    return _train(engine, position, requests) if position.kind is Kind.TRAIN else _infer(engine, position, requests)


def _train(engine: Engine, position: Position, requests: Sequence[bool]) -> tuple[bool, ...]:
    state, pool, layout = engine.state, engine.pools[Kind.TRAIN], engine.layouts[Kind.TRAIN]
    before = engine.forward.before = state.snapshot()
    try:
        total, stack = _summed_gradients(engine, position, requests, before)
        if engine.device.type == "cpu" and not math.isfinite(value := total.side_channel[0].item()):
            raise engine.not_finite(value, position)
    except BaseException:
        state.restore(before)  # the forward pass has moved them: without the sum they must be those of the tick before
        for param in state.params:
            param.grad = None
        raise
    count = engine.program.plan(Kind.TRAIN).batch_count(position.epoch, position.step)
    with torch.no_grad():
        if state.has_buffers:
            state.read_changes(layout.buffers_of(total.side_channel), before, count)
            state.read_rows(layout.rows_of(total.side_channel))
        if engine.job.keeps_gradients:
            engine.keep_gradients(range(len(state.params)), [view.clone() for view in total.views])
        _update(engine, total)
    agreed = engine.account(layout, total.side_channel, count)
    pool.give([total, *stack])
    return agreed


def _summed_gradients(
    engine: Engine, position: Position, requests: Sequence[bool], before: Snapshot
) -> tuple[Contribution, list[Contribution]]:
    """Forward and backward for the slices hosted here, and the sum over all: (the sum, this worker's own pieces)."""
    pool, layout, state = engine.pools[Kind.TRAIN], engine.layouts[Kind.TRAIN], engine.state
    count = engine.program.plan(Kind.TRAIN).batch_count(position.epoch, position.step)
    leaves = min(engine.job.virtual_workers, count)
    step_key = engine.step_key(position)
    reduction = pool.plan.start(leaves) if engine.group.size > 1 else None
    stack: list[Contribution] = []
    merges = local_merges(engine.start, engine.stop, leaves)
    sent = False
    for number, (rank, merge) in enumerate(zip(range(engine.start, min(engine.stop, leaves)), merges, strict=True)):
        if number:
            state.restore(before)
        contribution = pool.take()
        key = fold_in(step_key, rank)
        context = engine.context(position, key, rank, count, training=True)
        waited = clock()
        x, y, weight = engine.forward.fetch(Kind.TRAIN, position.epoch, position.step, rank, context)
        engine.step_times.data_seconds += clock() - waited
        if engine.foreign_randomness:
            torch.manual_seed(key)
        engine.scratch.zero_()
        with call_context(context):
            means, outputs = engine.forward.run(x, y, weight, context)
        objective = means[0] if context.slice_fraction == 1.0 else means[0] * context.slice_fraction
        if engine.forward.scale is not None:
            objective = engine.forward.scale(objective)
        last = number == len(merges) - 1
        if last and reduction is not None and engine.overlaps:
            Overlap(state.params, state.space, pool.plan, reduction, stack, contribution, merge).backward(objective)
            sent = True
        else:
            if objective.requires_grad:
                objective.backward()
            contribution.collect(state.params, range(len(state.params)))
        with torch.no_grad():
            if engine.forward.compiled is not None:
                engine.forward.compiled.update_state(y, outputs, weight)
            engine.fill(layout, contribution.side_channel, means, context)
            if state.has_buffers:
                state.write_changes(layout.buffers_of(contribution.side_channel), before, samples_of(context), first=rank == 0)
        stack.append(contribution)
        pool.merge(stack, merge, gradients=not (last and sent))
    waited = clock()
    total = engine.reduce(Kind.TRAIN, reduction, stack, requests, sent=sent)
    engine.step_times.exchange_seconds += clock() - waited
    return total, stack


def _infer(engine: Engine, position: Position, requests: Sequence[bool]) -> tuple[bool, ...]:
    kind, state = position.kind, engine.state
    pool, layout = engine.pools[kind], engine.layouts[kind]
    count = engine.program.plan(kind).batch_count(position.epoch, position.step)
    leaves = min(engine.job.virtual_workers, count)
    step_key = engine.step_key(position)
    reduction = pool.plan.start(leaves) if engine.group.size > 1 else None
    stack: list[Contribution] = []
    before = engine.forward.before = state.snapshot() if state.rows else None
    merges = local_merges(engine.start, engine.stop, leaves)
    try:
        for rank, merge in zip(range(engine.start, min(engine.stop, leaves)), merges, strict=True):
            if before is not None:
                state.restore(before)
            contribution = pool.take()
            key = fold_in(step_key, rank)
            context = engine.context(position, key, rank, count, training=False)
            x, y, weight = engine.forward.fetch(kind, position.epoch, position.step, rank, context)
            if engine.foreign_randomness:
                torch.manual_seed(key)
            engine.scratch.zero_()
            with torch.inference_mode(), call_context(context):
                means: list[Tensor] = []
                if kind is Kind.PREDICT:
                    engine.predictions[position.step * engine.job.virtual_workers + rank] = as_arrays(engine.forward.outputs(x))
                else:
                    means, outputs = engine.forward.run(x, y, weight, context)
                    if engine.forward.compiled is not None:
                        engine.forward.compiled.update_state(y, outputs, weight)
                engine.fill(layout, contribution.side_channel, means, context)
            stack.append(contribution)
            pool.merge(stack, merge)
        total = engine.reduce(kind, reduction, stack, requests)
    except BaseException:
        if before is not None:
            state.restore(before)
        raise
    with torch.no_grad():
        state.read_rows(layout.rows_of(total.side_channel))
    agreed = engine.account(layout, total.side_channel, count)
    pool.give([total, *stack])
    return agreed


def _update(engine: Engine, total: Contribution) -> None:
    """The update by the sum over all slices."""
    chosen = engine.state.optimizers[0]
    if not engine.state.params:
        return
    if chosen.flat:
        chosen.optimizer.apply(engine.state.flat_params, total.flats, chosen.flat_slots)
    else:
        chosen.optimizer.apply(engine.state.params, total.views, chosen.optimizer.slots)
    if engine.state.constraints:
        engine.state.constrain()


def samples_of(context: CallContext) -> int:
    """How many samples a slice holds."""
    assert context.rows is not None
    return context.rows[1] - context.rows[0]
