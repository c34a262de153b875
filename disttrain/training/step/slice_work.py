"""Forward and backward for one slice of a training step: what it contributes to the sum, wherever and however often it is computed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from disttrain.checkpoint import fault_digest
from disttrain.layers.context import call_context
from disttrain.seeds import fold_in
from disttrain.training.program import Kind, Position
from disttrain.training.step.gradient_buffers import Contribution
from disttrain.training.step.model_state import Snapshot
from disttrain.training.step.state_digest import as_bytes
from disttrain.training.step.step_times import clock
from disttrain.training.step.workspace import Workspace, samples_of


class SliceWork:
    """The slices of one training step, one by one.

    Attributes:
        leaves: so many slices have samples.
    """

    def __init__(self, workspace: Workspace, position: Position) -> None:
        self._workspace, self._position = workspace, position
        self._count = workspace.program.plan(Kind.TRAIN).batch_count(position.epoch, position.step)
        self.leaves = min(workspace.job.virtual_workers, self._count)
        self._key = workspace.step_key(position)

    def contribute(
        self, rank: int, before: Snapshot, backward: Callable[[Tensor, Contribution], None] | None = None
    ) -> Contribution:  # fmt: skip
        """What the slice of virtual rank `rank` adds. Buffers move; they are those of `before` when this begins.

        Args:
            backward: carries the backward pass out and moves the gradients into the contribution, where that is done in another way.
        """
        workspace, state, forward, position = self._workspace, self._workspace.state, self._workspace.forward, self._position
        layout, step_times = workspace.layouts[Kind.TRAIN], workspace.by_products.step_times
        contribution = workspace.pools[Kind.TRAIN].take()
        key = fold_in(self._key, rank)
        context = workspace.context(key, rank, self._count, training=True)
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
        if backward is not None:
            backward(objective, contribution)
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
        return contribution

    def digest(self, contribution: Contribution) -> bytes:
        """Of what one slice contributes: equal digests, equal bits."""
        return fault_digest(b"".join(fault_digest(as_bytes(part)) for part in (*contribution.flats, contribution.side_channel)))
