"""Steps of several slices: forward and backward for those hosted here, the sum over all, one update."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor

from disttrain.collectives import GroupBroken
from disttrain.collectives.reduction import Reduction
from disttrain.collectives.tree import local_merges
from disttrain.layers.context import call_context
from disttrain.training.program import Kind, Position
from disttrain.training.step.asking import Ask
from disttrain.training.step.audit import Audit, AuditDiffers
from disttrain.training.step.audited import agreed, audits, note, until_two_agree, write_digests
from disttrain.training.step.gradient_buffers import Contribution, Overlap
from disttrain.training.step.model_state import Snapshot
from disttrain.training.step.slice_work import Passed, SliceWork, digest_of
from disttrain.training.step.workspace import Workspace


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
        return until_two_agree(self._workspace, position, lambda audit: self._step(position, requests, audit))

    def _step(self, position: Position, requests: Sequence[bool], audit: Audit | None) -> tuple[bool, ...]:
        workspace, state = self._workspace, self._workspace.state
        pool, layout = workspace.pools[Kind.TRAIN], workspace.layouts[Kind.TRAIN]
        before = workspace.forward.before = state.snapshot()
        try:
            total, stack = self._summed_gradients(position, requests, before, audit)
            value, agreed = layout.read(total.side_channel)
            if not math.isfinite(value):
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
        workspace.account(layout, total.side_channel, count)
        pool.give([total, *stack])
        return agreed

    def _summed_gradients(
        self, position: Position, requests: Sequence[bool], before: Snapshot, audit: Audit | None
    ) -> tuple[Contribution, list[Contribution]]:
        """Forward and backward for the slices hosted here, and the sum over all: (the sum, this worker's own pieces)."""
        workspace, state = self._workspace, self._workspace.state
        pool = workspace.pools[Kind.TRAIN]
        work = SliceWork(workspace, position)
        reduction = workspace.begin_reduction(Kind.TRAIN, work.leaves)
        stack: list[Contribution] = []
        merges = local_merges(workspace.start, workspace.stop, work.leaves)
        audited, mine = -1 if audit is None else audit.slice, b""
        overlaps = reduction is not None and workspace.overlaps and not workspace.start <= audited < workspace.stop
        ranks = range(workspace.start, min(workspace.stop, work.leaves))
        asked = self._asked(work, ranks)
        for number, (rank, merge) in enumerate(zip(ranks, merges, strict=True)):
            if number and asked is None:
                state.restore(before)
            # What is folded at once needs no place of its own, but where its digest is asked for.
            onto = stack[-1] if merge and rank != audited else None
            left = merge - (onto is not None)
            send: Callable[[Tensor, Contribution], None] | None = None
            if sends := overlaps and number == len(merges) - 1:
                assert reduction is not None
                send = partial(self._send_during_backward, reduction, stack, left)
            contribution = work.contribute(rank, before, send, None if asked is None else asked[number], onto)
            if onto is None:
                stack.append(contribution)
            if rank == audited:
                mine = digest_of(contribution)
            pool.merge(stack, left, gradients=not sends)
        if audits(workspace, audit):
            state.restore(before)
            again = work.contribute(audited, before)
            mine = digest_of(again)
            pool.give([again])
        if workspace.audit_share and stack:
            write_digests(workspace, stack[0].side_channel, audit, mine, work.leaves)
        waited = workspace.watch.begin()
        try:
            total = workspace.reduce(Kind.TRAIN, reduction, stack, requests, sent=overlaps and bool(merges))
        except GroupBroken:
            if audit is not None and audit.attempt:  # whoever was done first has left: what this worker got counts all the same
                note(workspace, position.tick, audit, mine, agreed=False)
            raise
        workspace.watch.end(waited)
        if workspace.audit_share:
            self._look(agreed(workspace, total.side_channel, position.tick), position.tick, audit, mine)
        return total, stack

    def _look(self, agreed: bool, tick: int, audit: Audit | None, mine: bytes) -> None:
        """Leave the step where two workers got other bits for the audited slice."""
        if audit is None:
            return
        note(self._workspace, tick, audit, mine, agreed=agreed)
        self._workspace.by_products.audits_passed += agreed
        if not agreed:
            raise AuditDiffers

    def _send_during_backward(
        self, reduction: Reduction, stack: list[Contribution], merge: int, objective: Tensor, contribution: Contribution
    ) -> None:
        workspace = self._workspace
        plan = workspace.pools[Kind.TRAIN].plan
        Overlap(workspace.state.params, workspace.state.space, plan, reduction, stack, contribution, merge).backward(objective)

    def _infer(self, position: Position, requests: Sequence[bool]) -> tuple[bool, ...]:
        kind, workspace, state, forward = position.kind, self._workspace, self._workspace.state, self._workspace.forward
        pool, layout = workspace.pools[kind], workspace.layouts[kind]
        count = workspace.program.plan(kind).batch_count(position.epoch, position.step)
        work = SliceWork(workspace, position)
        reduction = workspace.begin_reduction(kind, work.leaves)
        stack: list[Contribution] = []
        before = forward.before = state.snapshot() if state.rows else None
        merges = local_merges(workspace.start, workspace.stop, work.leaves)
        try:
            ranks = range(workspace.start, min(workspace.stop, work.leaves))
            asked = None if kind is Kind.PREDICT else self._asked(work, ranks)
            for number, (rank, merge) in enumerate(zip(ranks, merges, strict=True)):
                if before is not None and asked is None:
                    state.restore(before)
                contribution = pool.take()
                passed = work.forward(rank) if asked is None else asked[number]
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
        workspace.account(layout, total.side_channel, count)
        agreed = layout.agreed(total.side_channel)
        pool.give([total, *stack])
        return agreed

    def _asked(self, work: SliceWork, ranks: range) -> list[Passed] | None:
        """The passes of all slices hosted here, where a loss divides by a count of the whole batch; else each runs when it is due."""
        workspace = self._workspace
        if workspace.asking is None or not workspace.forward.asks:
            return None
        before = workspace.state.snapshot()
        found: dict[int, Passed] = {}

        def ask_for(rank: int) -> Callable[[Ask], None]:
            def run(ask: Ask) -> None:
                workspace.state.restore(before)
                with workspace.state.copied_for_backward() if len(ranks) > 1 else nullcontext():
                    passed = work.forward(rank, ask)
                passed.kept = workspace.save_slice() if len(ranks) > 1 else None
                found[rank] = passed

            return run

        workspace.asking.run([ask_for(rank) for rank in ranks], work.leaves, workspace.save_slice, workspace.restore_slice)
        return [found[rank] for rank in ranks]

    def _update(self, total: Contribution) -> None:
        """The update by the sum over all slices."""
        state = self._workspace.state
        if not state.params:
            return
        chosen = state.optimizers[0]
        if chosen.flat:
            chosen.optimizer.apply_to(state.flat_params, total.flat_gradients, chosen.flat_slots)
        else:
            chosen.optimizer.apply_to(state.params, total.gradients(state.params), chosen.optimizer.slots)
        if state.constraints:
            state.constrain()
