"""Forward and backward for one slice of a step: what it contributes to the sum, wherever and however often it is computed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from disttrain.checkpoint import fault_digest
from disttrain.layers.context import CallContext, call_context
from disttrain.seeds import fold_in
from disttrain.training.compiled.outputs import as_arrays
from disttrain.training.program import Kind, Position
from disttrain.training.step.asking import Ask
from disttrain.training.step.gradient_buffers import Collecting, Contribution
from disttrain.training.step.model_state import Snapshot
from disttrain.training.step.state_digest import as_bytes
from disttrain.training.step.step_times import clock
from disttrain.training.step.workspace import Workspace


@dataclass
class Passed:
    """What the forward pass of a slice gave; `kept` is the rest of it, where passes of other slices have followed."""

    context: CallContext
    y: Any
    weight: Any
    outputs: Any
    means: list[Tensor]
    kept: Any = None


class SliceWork:
    """The slices of one step, one by one.

    Attributes:
        leaves: so many slices have samples.
    """

    def __init__(self, workspace: Workspace, position: Position) -> None:
        self._workspace, self._position = workspace, position
        self._count = workspace.program.plan(position.kind).batch_count(position.epoch, position.step)
        self.leaves = min(workspace.job.virtual_workers, self._count)
        self._key = workspace.step_key(position)

    def forward(self, rank: int, ask: Ask | None = None) -> Passed:
        """Samples and forward pass of the slice of virtual rank `rank`."""
        workspace, forward, position, kind = self._workspace, self._workspace.forward, self._position, self._position.kind
        key = fold_in(self._key, rank)
        context = workspace.context(key, rank, self._count, training=kind is Kind.TRAIN)
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

    def contribute(
        self, rank: int, before: Snapshot, backward: Callable[[Tensor, Contribution], None] | None = None, passed: Passed | None = None,
        onto: Contribution | None = None,
    ) -> Contribution:  # fmt: skip
        """What a slice adds to the sum of a training step. Buffers move; they are those of `before` when this begins.

        Args:
            backward: carries the backward pass out and moves the gradients into the contribution, where that is done in another way.
            passed: its forward pass, where that has been made.
            onto: add it to that one, which is returned then.
        """
        workspace, state, forward = self._workspace, self._workspace.state, self._workspace.forward
        layout = workspace.layouts[Kind.TRAIN]
        contribution = workspace.pools[Kind.TRAIN].take() if onto is None else onto
        passed = self.forward(rank) if passed is None else passed
        if passed.kept is not None:
            workspace.restore_slice(passed.kept)
        context, means = passed.context, passed.means
        objective = means[0] if context.slice_fraction == 1.0 else means[0] * context.slice_fraction
        if forward.scale is not None:
            objective = forward.scale(objective)
        if backward is not None:
            backward(objective, contribution)
        elif workspace.collects:
            Collecting(state.params, contribution, adds=onto is not None).backward(objective)
        else:
            if objective.requires_grad:
                objective.backward()
            (contribution.collect if onto is None else contribution.add)(state.params, range(len(state.params)))
        with torch.no_grad():
            if forward.compiled is not None:
                forward.compiled.update_state(passed.y, passed.outputs, passed.weight)
            workspace.fill(layout, contribution.side_channel, means, context, rank, before, adds=onto is not None)
        return contribution


def digest_of(contribution: Contribution) -> bytes:
    """Of what one slice contributes: equal digests, equal bits."""
    return fault_digest(b"".join(fault_digest(as_bytes(part)) for part in (*contribution.flats, contribution.side_channel)))
