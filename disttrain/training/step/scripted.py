"""A step of the script's own over all slices: wherever it applies gradients, every slice stops, the sum is taken and the update made."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from disttrain.collectives import GroupBroken
from disttrain.collectives.tree import local_merges
from disttrain.data.packing import pack_x_y_sample_weight
from disttrain.errors import UsageError
from disttrain.layers.context import CallContext
from disttrain.seeds import fold_in
from disttrain.training.program import Kind, Position
from disttrain.training.step.asking import Ask, asker
from disttrain.training.step.audit import Audit
from disttrain.training.step.audited import audits, until_two_agree
from disttrain.training.step.custom_step import SUMS, ApplyRequest, CustomStep, Update
from disttrain.training.step.gradient_buffers import Contribution
from disttrain.training.step.scripted_audit import RoundsAudit
from disttrain.training.step.slice_thread import SliceThread
from disttrain.training.step.workspace import Workspace, samples_of


class ScriptedStep:
    """The way of a phase whose steps are a `train_step` or `test_step` of the script's own."""

    def __init__(self, workspace: Workspace, custom: CustomStep) -> None:
        self._workspace, self._custom = workspace, custom

    def run(self, position: Position, requests: Sequence[bool]) -> tuple[bool, ...]:
        """One step; the requests that any worker had.

        Raises:
            GroupBroken: a worker is gone; the state is that of the tick before.
            NonFiniteLoss: the loss is NaN or infinite; the state is that of the tick before.
            UsageError: the slices did not all make the same updates.
        """
        if position.kind is not Kind.TRAIN:
            return self._step(position, requests, None)
        return until_two_agree(self._workspace, position, lambda audit: self._step(position, requests, audit))

    def _step(self, position: Position, requests: Sequence[bool], audit: Audit | None) -> tuple[bool, ...]:
        rounds = Rounds(self._workspace, self._custom, position, audit)
        try:
            with self._custom.installed():
                return rounds.run(requests)
        except BaseException:
            rounds.roll_back()
            raise
        finally:
            rounds.close()


class Rounds:
    """One step: rounds of sums, each for one update, and a last one for logs, metrics and buffers."""

    def __init__(self, workspace: Workspace, custom: CustomStep, position: Position, audit: Audit | None = None) -> None:
        self.workspace, self.custom, self.position = workspace, custom, position
        self.kind = position.kind
        self.count = workspace.program.plan(self.kind).batch_count(position.epoch, position.step)
        self.leaves = min(workspace.job.virtual_workers, self.count)
        self.before = workspace.state.snapshot()
        self.moved = custom.moved
        self.base, self.still = self.moved.values(), self.moved.still()  # what they were when all slices saw them alike last
        self.rates_before = self.base
        self.optimizers_before: list[tuple[Any, dict[str, Any]]] | None = None
        self.flats_before: list[Tensor] = []
        self.sums: list[Tensor] = []  # of the gradients that a slice measures
        self.left = False  # has a slice computed gradients that it did not use?
        self.slice_threads: list[SliceThread] = []
        self.step_key = workspace.step_key(position)
        self.ranks = range(workspace.start, min(workspace.stop, self.leaves))
        self.hosted = [*self.ranks, *([audit.slice] if audit is not None and audits(workspace, audit) else [])]
        audited = self.kind is Kind.TRAIN and workspace.audit_share
        self.audit = RoundsAudit(workspace, position.tick, audit, self.leaves) if audited else None
        self.asking = workspace.asking if custom.asks else None
        self.updates_before = workspace.replica.optimizer.calls if self.kind is Kind.TRAIN else 0

    def run(self, requests: Sequence[bool]) -> tuple[bool, ...]:
        with torch.set_grad_enabled(self.kind is Kind.TRAIN):
            if len(self.hosted) == 1:
                ask = None if self.asking is None else self.asking.answer_at_once(self.leaves)
                logs, context = self.slice(self.ranks[0], lambda request: self._inline(request), ask)
                self._settle()
                return self._finish(self._round([self._ending(self.ranks[0], logs, context)], requests))
            grad = torch.is_grad_enabled()
            self.slice_threads = [SliceThread(self._work(rank, grad), self._save, self._restore) for rank in self.hosted]
            while True:
                contributions = []
                if self.asking is not None:
                    self._advance_asking()
                for rank, slice_thread in zip(self.hosted, self.slice_threads, strict=True):
                    if self.asking is None:
                        slice_thread.advance()
                    contributions.append(
                        self._ending(rank, *slice_thread.result) if slice_thread.ended else self._asking(rank, slice_thread.request)
                    )
                total = self._round(contributions, requests)
                if not self._mark(total):
                    return self._finish(total)
                self._update(total)

    # -- one slice ------------------------------------------------------------------------------------------------------------------

    def _work(self, rank: int, grad: bool) -> Callable[[Callable[[Any], None]], Any]:
        def work(pause: Callable[[Any], None]) -> Any:
            with torch.set_grad_enabled(grad):  # a setting of each thread
                if self.asking is None:
                    return (*self.slice(rank, pause, None), None)
                return (*self.slice(rank, pause, asker(pause)), self.workspace.save_slice())  # others go on before this is read

        return work

    def _advance_asking(self) -> None:
        """Let every slice go on to where it applies gradients or ends; what they ask on the way is answered."""
        assert self.asking is not None
        for slice_thread in self.slice_threads:
            slice_thread.advance()
        self.asking.answer_all(self.slice_threads, self.leaves)

    def _save(self) -> Any:
        """What the other slices will change before this one goes on."""
        return self.workspace.save_slice(), self.custom.scratch.save()

    def _restore(self, kept: Any) -> None:
        self.workspace.restore_slice(kept[0])
        self.custom.scratch.restore(kept[1])

    def _settle(self) -> None:
        if self.asking is not None:
            self.asking.settle(len(self.ranks), self.leaves)

    def slice(self, rank: int, apply: Callable[[ApplyRequest], None], ask: Ask | None) -> tuple[list[float], CallContext]:
        """Run the step for one slice: its numbers, and what surrounded it. Buffers and states are left for whoever reads them next."""
        workspace = self.workspace
        workspace.state.restore(self.before)
        self.moved.set_rates(self.base)
        workspace.begin_slice()
        for param in workspace.state.params:
            param.grad = None
        key = fold_in(self.step_key, rank)
        context = workspace.context(key, rank, self.count, None)
        data = pack_x_y_sample_weight(*workspace.forward.fetch(self.kind, self.position.epoch, self.position.step, rank, context))

        def stop(request: ApplyRequest) -> None:
            self._check_still()
            apply(replace(request, moved=self.moved.values()))
            self.moved.set(self.base)
            update = self.custom.updates[request.mark - 1]
            if update.name == SUMS:
                with torch.no_grad():
                    for number, value in zip(update.numbers, self.sums, strict=True):
                        workspace.state.params[number].grad.copy_(value)  # type: ignore[union-attr]

        with workspace.state.copied_for_backward() if len(self.hosted) > 1 else nullcontext():
            logs = self.custom.numbers(self.custom.run(data, context, stop, ask))
            self.left = self.left or self.custom.leaves_gradients()
        self._check_still()
        return logs, context

    def _check_still(self) -> None:
        if not torch.equal(self.moved.still(), self.still):
            raise UsageError(
                f"{type(self.custom.model).__name__}.{self.custom.method} wrote into weights that it left alone when it was tried out.\n"
                "  expected  weights that optimizers change, or that are written into in every step\n"
                "  try       write them in each step, by a factor that is mostly 0; or in a callback's on_train_batch_end"
            )

    # -- rounds ---------------------------------------------------------------------------------------------------------------------

    def _inline(self, request: ApplyRequest) -> None:
        """The only slice here: stop for the others without a thread."""
        kept = self.workspace.save_slice()
        self._settle()
        total = self._round([self._asking(self.ranks[0], request)], ())
        if self._mark(total) != request.mark:
            raise self._different_ways()
        self._update(total)
        self.workspace.restore_slice(kept)

    def _asking(self, rank: int, request: ApplyRequest) -> Contribution:
        workspace = self.workspace
        contribution = workspace.pools[self.kind].take()
        first, stop = workspace.context(0, rank, self.count, None).rows[:2]  # type: ignore[index]
        share = (stop - first) / self.count
        contribution.buffer.zero_()
        with torch.no_grad():
            numbers = self.custom.updates[request.mark - 1].numbers
            for number, grad in zip(numbers, request.grads, strict=True):
                view = contribution.views[number]
                view.copy_(grad if share == 1.0 else grad * share)
            self._write_mark(contribution, request.mark, request.value * (stop - first))
            self._write_moved(contribution, request.moved, stop - first, rank)
        return contribution

    def _ending(self, rank: int, numbers: list[float], context: CallContext, kept: Any = None) -> Contribution:
        workspace, layout = self.workspace, self.workspace.layouts[self.kind]
        if kept is not None:
            workspace.restore_slice(kept)
        contribution = workspace.pools[self.kind].take()
        for view in contribution.views:
            view.zero_()
        with torch.no_grad():
            workspace.fill(layout, contribution.side_channel, numbers, context, rank, self.before)
            self._write_mark(contribution, 0)
            self._write_moved(contribution, self.moved.values(), samples_of(context), rank)
        return contribution

    def _write_mark(self, contribution: Contribution, mark: int, value: float = 0.0) -> None:
        marks = self.workspace.layouts[self.kind].marks_of(contribution.side_channel)
        marks[0], marks[1], marks[2] = mark, mark * mark, value

    def _write_moved(self, contribution: Contribution, values: Sequence[Tensor], samples: int, rank: int) -> None:
        if self.moved.any:
            target = self.workspace.layouts[self.kind].moved_of(contribution.side_channel)
            self.moved.write(target, values, self.base, samples, first=rank == 0)

    def _read_moved(self, total: Contribution) -> None:
        """The weights that the step writes into, as all slices together have left them."""
        if self.moved.any:
            self.moved.read(self.workspace.layouts[self.kind].moved_of(total.side_channel), self.base, self.count, self.leaves)

    def _round(self, contributions: list[Contribution], requests: Sequence[bool]) -> Contribution:
        """The sum of all slices' contributions. Slices run side by side, so they are folded here, in the order of the tree."""
        workspace, pool, audit = self.workspace, self.workspace.pools[self.kind], self.audit
        if audit is not None:
            audit.computed(dict(zip(self.hosted, contributions, strict=True)))
        own, again = contributions[: len(self.ranks)], contributions[len(self.ranks) :]
        stack: list[Contribution] = []
        for contribution, merge in zip(own, local_merges(workspace.start, workspace.stop, self.leaves), strict=True):
            stack.append(contribution)
            pool.merge(stack, merge)
        if audit is not None and stack:
            audit.write(stack[0].side_channel)
        reduction = workspace.begin_reduction(self.kind, self.leaves)
        try:
            total = workspace.reduce(self.kind, reduction, stack, requests)
        except GroupBroken:
            if audit is not None:
                audit.broke()
            raise
        pool.give([*stack, *again])
        if audit is not None:
            audit.summed(total.side_channel)
        return total

    def _mark(self, total: Contribution) -> int:
        """Which update all slices ask for, 0 at the end. The sum of squares is what it should be only where all are the same."""
        first, second, _ = self.workspace.layouts[self.kind].marks_of(total.side_channel).tolist()
        mark: int = round(first / self.leaves)
        if first != mark * self.leaves or second != mark * mark * self.leaves:
            raise self._different_ways()
        return mark

    def _different_ways(self) -> UsageError:
        return UsageError(
            f"{type(self.custom.model).__name__}.{self.custom.method} made different updates for different slices of one batch.\n"
            "  expected  the same calls of apply() whatever the samples are: every slice takes part in each update"
        )

    def _update(self, total: Contribution) -> None:
        """Carry an update out."""
        workspace, update = self.workspace, self.custom.updates[self._mark(total) - 1]
        if self.optimizers_before is None:
            owners = [*(state.optimizer for state in workspace.state.optimizers), *self.custom.schedulers.values()]
            self.optimizers_before = [(owner, owner.state_dict()) for owner in owners]
            self.flats_before = [flat.clone() for flat in self._flats()]
        self._read_moved(total)
        with self.custom.executing():
            if update.name == SUMS:
                self.sums = [total.views[number].clone() for number in update.numbers]
            elif update.numbers:
                self._apply(update, total)
            else:
                value = float(workspace.layouts[self.kind].marks_of(total.side_channel)[2]) / self.count
                self.custom.schedulers[update.name].step(value if update.measured else None)
        self.base, self.still = self.moved.values(), self.moved.still()
        workspace.pools[self.kind].give([total])

    def _apply(self, update: Update, total: Contribution) -> None:
        workspace, numbers = self.workspace, update.numbers
        chosen = next(state for state in workspace.state.optimizers if state.name == update.name)
        if workspace.job.keeps_gradients:
            workspace.keep_gradients(numbers, [total.views[number].clone() for number in numbers])
        with torch.no_grad():
            if chosen.flat and len(numbers) == len(workspace.state.params):
                chosen.optimizer.apply_to(workspace.state.flat_params, total.flat_gradients, chosen.flat_slots)
            else:
                places = [chosen.places[number] for number in numbers]
                slots = {slot: [tensors[place] for place in places] for slot, tensors in chosen.optimizer.slots.items()}
                params = [workspace.state.params[number] for number in numbers]
                some = None if len(places) == len(chosen.numbers) else places
                chosen.optimizer.apply_to(params, total.gradients(workspace.state.params, numbers), slots, some)
            workspace.state.constrain(numbers)

    def _finish(self, total: Contribution) -> tuple[bool, ...]:
        workspace, layout = self.workspace, self.workspace.layouts[self.kind]
        if self.left:
            raise self.custom.gradients_left()
        self._check_finite(total)
        if self.audit is not None:
            self.audit.passed()
        with torch.no_grad():
            if layout.buffers:
                workspace.state.read_changes(layout.buffers_of(total.side_channel), self.before, self.count)
            else:
                workspace.state.restore(self.before)
            workspace.state.read_rows(layout.rows_of(total.side_channel))
            self._read_moved(total)
        workspace.account(layout, total.side_channel, self.count)
        agreed = layout.agreed(total.side_channel)
        workspace.pools[self.kind].give([total])
        return agreed

    def _check_finite(self, total: Contribution) -> None:
        if self.kind is not Kind.TRAIN:
            return
        entry = next((entry for entry in self.custom.logs if entry.name == "loss"), None)
        if entry is None:
            return
        if entry.metric is None:
            value = float(total.side_channel[self.custom.means.index("loss")]) / self.count
        else:
            self.workspace.scratch.copy_(self.workspace.layouts[self.kind].states_of(total.side_channel))
            value = float(entry.metric.result())
        if not math.isfinite(value):
            raise self.workspace.not_finite(value, self.position, self.updates_before)

    # -- leaving --------------------------------------------------------------------------------------------------------------------

    def _flats(self) -> list[Tensor]:
        state = self.workspace.state
        return [*state.flat_params, *(flat for own in state.optimizers for flats in own.flat_slots.values() for flat in flats)]

    def roll_back(self) -> None:
        """Back to the state of the tick before."""
        if self.optimizers_before is not None:
            with torch.no_grad():
                for flat, old in zip(self._flats(), self.flats_before, strict=True):
                    flat.copy_(old)
            for owner, old_state in self.optimizers_before:
                owner.load_state_dict(old_state)
        self.moved.set_rates(self.rates_before)
        self.workspace.state.restore(self.before)  # last: it has the weights that the step itself writes into as they were

    def close(self) -> None:
        """End what still runs."""
        for slice_thread in self.slice_threads:
            slice_thread.close()
