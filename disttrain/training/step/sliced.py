"""Steps of several slices: forward and backward for those hosted here, the sum over all, one update."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from disttrain.collectives.tree import local_merges
from disttrain.layers.context import call_context
from disttrain.seeds import fold_in
from disttrain.training.compiled.outputs import as_arrays
from disttrain.training.program import Kind, Position
from disttrain.training.step.gradient_buffers import Contribution, Overlap
from disttrain.training.step.model_state import Snapshot
from disttrain.training.step.step_times import clock
from disttrain.training.step.workspace import Workspace, samples_of


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
        for number, (rank, merge) in enumerate(zip(range(workspace.start, min(workspace.stop, leaves)), merges, strict=True)):
            if number:
                state.restore(before)
            contribution = pool.take()
            key = fold_in(step_key, rank)
            context = workspace.context(key, rank, count, training=True)
            waited = clock()
            x, y, weight = forward.fetch(Kind.TRAIN, position.epoch, position.step, rank, context)
            step_times.data_seconds += clock() - waited
            if workspace.seeds_generators:
                torch.manual_seed(key)
            workspace.scratch.zero_()
            with call_context(context):
                means, outputs = forward.run(x, y, weight, context)
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
                    forward.compiled.update_state(y, outputs, weight)
                workspace.fill(layout, contribution.side_channel, means, context)
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
            for rank, merge in zip(range(workspace.start, min(workspace.stop, leaves)), merges, strict=True):
                if before is not None:
                    state.restore(before)
                contribution = pool.take()
                key = fold_in(step_key, rank)
                context = workspace.context(key, rank, count, training=False)
                x, y, weight = forward.fetch(kind, position.epoch, position.step, rank, context)
                if workspace.seeds_generators:
                    torch.manual_seed(key)
                workspace.scratch.zero_()
                with torch.inference_mode(), call_context(context):
                    means: list[Tensor] = []
                    if kind is Kind.PREDICT:
                        number = position.step * workspace.job.virtual_workers + rank
                        workspace.by_products.predictions[number] = as_arrays(forward.outputs(x))
                    else:
                        means, outputs = forward.run(x, y, weight, context)
                        if forward.compiled is not None:
                            forward.compiled.update_state(y, outputs, weight)
                    workspace.fill(layout, contribution.side_channel, means, context)
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

    def _update(self, total: Contribution) -> None:
        """The update by the sum over all slices."""
        state = self._workspace.state
        if not state.params:
            return
        chosen = state.optimizers[0]
        if chosen.flat:
            chosen.optimizer.apply(state.flat_params, total.flats, chosen.flat_slots)
        else:
            chosen.optimizer.apply(state.params, total.views, chosen.optimizer.slots)
        if state.constraints:
            state.constrain()
