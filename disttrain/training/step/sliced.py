"""Steps of several slices: forward and backward for those hosted here, the sum over all, one update."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from disttrain.collectives.tree import local_merges
from disttrain.layers.context import CallContext, call_context
from disttrain.seeds import fold_in
from disttrain.training.compiled.outputs import as_arrays
from disttrain.training.program import Kind, Position
from disttrain.training.step.asking import Ask
from disttrain.training.step.gradient_buffers import Contribution, Overlap
from disttrain.training.step.model_state import Snapshot
from disttrain.training.step.step_times import clock
from disttrain.training.step.workspace import Workspace, samples_of


@dataclass
class Passed:
    """What the forward pass of a slice gave; `kept` is the rest of it, where passes of other slices have followed."""

    context: CallContext
    y: Any
    weight: Any
    outputs: Any
    means: list[Tensor]
    kept: Any = None


class SlicedStep:
    """The way of any workspace, but for steps of the script's own."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def run(self, position: Position, requests: Sequence[bool]) -> tuple[bool, ...]:
        """One step; the requests that any worker had.

        Raises:
            GroupBroken: a worker is gone; the state is still that of the tick before.
            NonFiniteLoss: the loss of this step is NaN or infinite; nothing was updated.
        """
        return self._train(position, requests) if position.kind is Kind.TRAIN else self._infer(position, requests)

    def _train(self, position: Position, requests: Sequence[bool]) -> tuple[bool, ...]:
        workspace, state = self._workspace, self._workspace.state
        pool, layout = workspace.pools[Kind.TRAIN], workspace.layouts[Kind.TRAIN]
        before = workspace.forward.before = state.snapshot()
        try:
            total, stack = self._summed_gradients(position, requests, before)
            if not math.isfinite(value := total.side_channel[0].item()):
                raise workspace.not_finite(value, position)
        except BaseException:
            state.restore(before)  # the forward pass has moved them: without the sum they must be those of the tick before
            for param in state.params:
                param.grad = None
            raise
        count = workspace.program.plan(Kind.TRAIN).batch_count(position.epoch, position.step)
        with torch.no_grad():
            if state.has_buffers:
                state.read_changes(layout.buffers_of(total.side_channel), before, count)
                state.read_rows(layout.rows_of(total.side_channel))
            if workspace.job.keeps_gradients:
                workspace.keep_gradients(range(len(state.params)), [view.clone() for view in total.views])
            self._update(total)
        agreed = workspace.account(layout, total.side_channel, count)
        pool.give([total, *stack])
        return agreed

    def _summed_gradients(self, position: Position, requests: Sequence[bool], before: Snapshot) -> tuple[Contribution, list[Contribution]]:
        """Forward and backward for the slices hosted here, and the sum over all: (the sum, this worker's own pieces)."""
        workspace, state, forward = self._workspace, self._workspace.state, self._workspace.forward
        pool, layout = workspace.pools[Kind.TRAIN], workspace.layouts[Kind.TRAIN]
        step_times = workspace.by_products.step_times
        count = workspace.program.plan(Kind.TRAIN).batch_count(position.epoch, position.step)
        leaves = min(workspace.job.virtual_workers, count)
        step_key = workspace.step_key(position)
        reduction = workspace.begin_reduction(Kind.TRAIN, leaves)
        stack: list[Contribution] = []
        merges = local_merges(workspace.start, workspace.stop, leaves)
        sent = False
        ranks = range(workspace.start, min(workspace.stop, leaves))
        asked = self._asked(position, ranks, leaves, step_key)
        for number, (rank, merge) in enumerate(zip(ranks, merges, strict=True)):
            if number and asked is None:
                state.restore(before)
            contribution = pool.take()
            passed = self._pass(position, rank, step_key) if asked is None else asked[number]
            if passed.kept is not None:
                workspace.restore_slice(passed.kept)
            context, means = passed.context, passed.means
            objective = means[0] if context.slice_fraction == 1.0 else means[0] * context.slice_fraction
            if forward.scale is not None:
                objective = forward.scale(objective)
            last = number == len(merges) - 1
            if last and reduction is not None and workspace.overlaps:
                Overlap(state.params, state.space, pool.plan, reduction, stack, contribution, merge).backward(objective)
                sent = True
            else:
                if objective.requires_grad:
                    objective.backward()
                contribution.collect(state.params, range(len(state.params)))
            with torch.no_grad():
                if forward.compiled is not None:
                    forward.compiled.update_state(passed.y, passed.outputs, passed.weight)
                workspace.fill(layout, contribution.side_channel, means, context, rank)
                if state.has_buffers:
                    state.write_changes(layout.buffers_of(contribution.side_channel), before, samples_of(context), first=rank == 0)
            stack.append(contribution)
            pool.merge(stack, merge, gradients=not (last and sent))
        waited = clock()
        total = workspace.reduce(Kind.TRAIN, reduction, stack, requests, sent=sent)
        step_times.exchange_seconds += clock() - waited
        return total, stack

    def _infer(self, position: Position, requests: Sequence[bool]) -> tuple[bool, ...]:
        kind, workspace, state, forward = position.kind, self._workspace, self._workspace.state, self._workspace.forward
        pool, layout = workspace.pools[kind], workspace.layouts[kind]
        count = workspace.program.plan(kind).batch_count(position.epoch, position.step)
        leaves = min(workspace.job.virtual_workers, count)
        step_key = workspace.step_key(position)
        reduction = workspace.begin_reduction(kind, leaves)
        stack: list[Contribution] = []
        before = forward.before = state.snapshot() if state.rows else None
        merges = local_merges(workspace.start, workspace.stop, leaves)
        try:
            ranks = range(workspace.start, min(workspace.stop, leaves))
            asked = None if kind is Kind.PREDICT else self._asked(position, ranks, leaves, step_key)
            for number, (rank, merge) in enumerate(zip(ranks, merges, strict=True)):
                if before is not None and asked is None:
                    state.restore(before)
                contribution = pool.take()
                passed = self._pass(position, rank, step_key) if asked is None else asked[number]
                if passed.kept is not None:
                    workspace.restore_slice(passed.kept)
                with torch.inference_mode(), call_context(passed.context):
                    if kind is Kind.PREDICT:
                        place = position.step * workspace.job.virtual_workers + rank
                        workspace.by_products.predictions[place] = passed.outputs
                    elif forward.compiled is not None:
                        forward.compiled.update_state(passed.y, passed.outputs, passed.weight)
                    workspace.fill(layout, contribution.side_channel, passed.means, passed.context, rank)
                stack.append(contribution)
                pool.merge(stack, merge)
            total = workspace.reduce(kind, reduction, stack, requests)
        except BaseException:
            if before is not None:
                state.restore(before)
            raise
        with torch.no_grad():
            state.read_rows(layout.rows_of(total.side_channel))
        agreed = workspace.account(layout, total.side_channel, count)
        pool.give([total, *stack])
        return agreed

    def _pass(self, position: Position, rank: int, step_key: int, ask: Ask | None = None) -> Passed:
        """Samples and forward pass of one slice."""
        workspace, forward, kind = self._workspace, self._workspace.forward, position.kind
        count = workspace.program.plan(kind).batch_count(position.epoch, position.step)
        key = fold_in(step_key, rank)
        context = workspace.context(key, rank, count, training=kind is Kind.TRAIN)
        waited = clock()
        x, y, weight = forward.fetch(kind, position.epoch, position.step, rank, context)
        if kind is Kind.TRAIN:
            workspace.by_products.step_times.data_seconds += clock() - waited
        if workspace.seeds_generators:
            torch.manual_seed(key)
        workspace.begin_slice()
        with nullcontext() if kind is Kind.TRAIN else torch.inference_mode(), call_context(context):
            if kind is Kind.PREDICT:
                return Passed(context, y, weight, as_arrays(forward.outputs(x)), [])
            means, outputs = forward.run(x, y, weight, context, ask)
        return Passed(context, y, weight, outputs, means)

    def _asked(self, position: Position, ranks: range, leaves: int, step_key: int) -> list[Passed] | None:
        """The passes of all slices hosted here, where a loss divides by a count of the whole batch; else each runs when it is due."""
        workspace = self._workspace
        if workspace.asking is None or not workspace.forward.asks:
            return None
        before = workspace.state.snapshot()
        found: dict[int, Passed] = {}

        def work(rank: int) -> Callable[[Ask], None]:
            def run(ask: Ask) -> None:
                workspace.state.restore(before)
                passed = self._pass(position, rank, step_key, ask)
                passed.kept = workspace.save_slice() if len(ranks) > 1 else None
                found[rank] = passed

            return run

        workspace.asking.run([work(rank) for rank in ranks], leaves, workspace.save_slice, workspace.restore_slice)
        return [found[rank] for rank in ranks]

    def _update(self, total: Contribution) -> None:
        """The update by the sum over all slices."""
        state = self._workspace.state
        if not state.params:
            return
        chosen = state.optimizers[0]
        if chosen.flat:
            chosen.optimizer.apply_to(state.flat_params, total.flats, chosen.flat_slots)
        else:
            chosen.optimizer.apply_to(state.params, total.views, chosen.optimizer.slots)
        if state.constraints:
            state.constrain()
