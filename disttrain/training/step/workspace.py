"""What the ways to carry a step out share: the state, the slices hosted here, buffers for their sum, and what is done with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.alignment import border_of
from disttrain.bounds import Ledger
from disttrain.collectives import Group, GroupBroken
from disttrain.collectives.layout import Layout
from disttrain.collectives.reduction import Reduction, TreeReduction
from disttrain.data import flatten
from disttrain.data.plan import slice_of
from disttrain.errors import DataError, NonFiniteLoss
from disttrain.host_numbers import readable
from disttrain.layers.context import CallContext
from disttrain.seeds import fold_in
from disttrain.training.program import Kind, Position
from disttrain.training.step.asking import Asking
from disttrain.training.step.audit import WORDS, AuditNote, StatePieces
from disttrain.training.step.custom_step import generator_states, set_generator_states
from disttrain.training.step.gradient_buffers import Contribution, Pool, first_with_payload
from disttrain.training.step.model_state import Snapshot
from disttrain.training.step.replica import Replica
from disttrain.training.step.side_channel import MARKS, SideChannelLayout
from disttrain.training.step.step_times import StepTimes, watch_of

OVERLAP_BYTES = 4 << 20  # from here on gradients and buckets leave during the backward pass; below, the hooks cost more than they hide


@dataclass(slots=True)
class ByProducts:
    """What steps leave behind beside the state; it outlives a generation.

    Args:
        predictions: outputs of the slices of `predict`, by (step, virtual rank) in one number.
        gradients: of the last step, by weight, where the job asks for them.
        step_times: where the time went.
        audits: attempts at audits that this worker had a part in, until they are told; `audits_passed` counts those that agreed.
        audit_round: of the rounds of a step of the script's own, the one in which an audit differed last.
    """

    predictions: dict[int, Any] = field(default_factory=dict)
    gradients: dict[str, Tensor] = field(default_factory=dict)
    step_times: StepTimes = field(default_factory=StepTimes)
    audits: list[AuditNote] = field(default_factory=list)
    audits_passed: int = 0
    audit_round: int = 0

    @property
    def predicted_bytes(self) -> int:
        """About so many the predictions take: all are of about the size of the newest."""
        newest = next(reversed(self.predictions.values()), ())
        size: int = sum(leaf.nbytes for leaf in flatten(newest))
        return size * len(self.predictions)

    def gradient_arrays(self) -> dict[str, np.ndarray]:
        """Copies of the gradients: means over the global batch; empty where this worker did not take part in the last step."""
        return {name: readable(gradient).copy() for name, gradient in self.gradients.items()}


class Workspace:
    """What one step needs, for one generation and one layout of the state.

    It is made anew for each: late bytes of a broken generation must not reach the numbers of the next.

    Args:
        replica: the state.
        group: who takes part.
        placement: the run of virtual ranks of each member, in rank order.
        by_products: what steps leave behind.
        audit_share: of the time that audits are to take.

    Attributes:
        start, stop: the virtual ranks hosted here.
        layouts, pools: by kind of step, what a slice's side channel looks like, and buffers for what slices contribute.
        scratch: the variables of metrics while a slice runs.
        is_direct: is there one slice on one worker, so that nothing is ever summed and losses and metrics go straight into the totals?
        collects: does each gradient go into the contribution as soon as it is complete, so that there are never two of one?
        overlaps: do buckets leave during the backward pass?
        watch: measures exchanges.
        asking: the exchange in the middle of passes, None where no loss asks.
        pieces: of the state, that audits compare in each step; made by whoever does so first.
    """

    def __init__(
        self, replica: Replica, group: Group, placement: Sequence[tuple[int, int]], by_products: ByProducts, audit_share: float = 0.0
    ) -> None:  # fmt: skip
        self.replica, self.group, self.by_products = replica, group, by_products
        self.job, self.program, self.device = replica.job, replica.job.program, replica.device
        self.state, self.forward, self.totals = replica.state, replica.forward, replica.totals
        self.watch = watch_of(by_products.step_times, self.device)
        self.seeds_generators = replica.seeds_generators
        self.placement, self.audit_share = placement, audit_share if group.size > 1 else 0.0
        self.start, self.stop = placement[group.rank]
        self.forward.host(range(self.start, self.stop))
        self.pools: dict[Kind, Pool] = {}
        self.layouts: dict[Kind, SideChannelLayout] = {}
        accumulator, state = self.forward.log_accumulator, self.state
        width, states, marks = accumulator.width, accumulator.states, MARKS if self.forward.scripts else 0
        self.torchmetrics = self.forward.torchmetrics
        for kind in (Kind.TRAIN, Kind.VALIDATE, Kind.PREDICT):
            trains = kind is Kind.TRAIN
            if trains and not replica.trains:
                continue
            layout = self.layouts[kind] = SideChannelLayout(
                width, states, state.buffers_size if trains else 0, state.rows_size, marks, self.torchmetrics.step_size,
                self.forward.scripts[kind].moved.size if kind in self.forward.scripts else 0,
                2 * WORDS if trains and self.audit_share else 0,
            )  # fmt: skip
            parts = [*(state.space.sums if trains else ()), (torch.float64, layout.size)]
            plan = TreeReduction(group, placement, Layout.of(parts, border_of(self.device)), self.device)
            self.pools[kind] = Pool(plan, state.space if trains else None)
        self.pieces: StatePieces | None = None
        self.collects = replica.trains and self.pools[Kind.TRAIN].plan.capacity >= OVERLAP_BYTES
        self.overlaps = self.collects and group.size > 1
        size = max(layout.size for layout in self.layouts.values())
        self._side_channel = torch.zeros(size, dtype=torch.float64, device=self.device)  # of the slice that runs
        self._blank = True
        self.scratch = self._side_channel[width : width + states]
        self.is_direct = group.size == 1 and self.job.virtual_workers == 1 and not self.forward.scripts and not accumulator.own
        self.is_direct &= not self.torchmetrics.gathers
        asks = self.forward.asks or any(script.asks for script in self.forward.scripts.values())
        self.asking = Asking(group, placement, self.device) if asks and self.job.virtual_workers > 1 else None
        self.bind()

    def bind(self) -> None:
        """Let metrics count in here."""
        accumulator = self.forward.log_accumulator
        accumulator.bind(self.replica.metric_states if self.is_direct else self.scratch)

    # -- before the sum -------------------------------------------------------------------------------------------------------------

    def context(self, key: int, rank: int, count: int, training: bool | None) -> CallContext:
        """What surrounds the forward pass of the slice of virtual rank `rank` of a batch of `count`."""
        first, stop = slice_of(count, self.job.virtual_workers, rank)
        return CallContext(training=training, key=key, slice_fraction=(stop - first) / count, rows=(first, stop, count))

    def step_key(self, position: Position) -> int:
        """What the keys of the slices of a step are drawn from."""
        if position.kind is Kind.TRAIN:
            return fold_in(self.job.seed, "step", self.replica.optimizer.calls)
        return fold_in(self.job.seed, position.kind.value, position.tick)

    def begin_slice(self) -> None:
        """Let the metrics count from nothing."""
        self._side_channel.zero_()
        self._blank = True
        self.torchmetrics.begin_slice()

    def save_slice(self) -> Any:
        """What the other slices will change before the running one goes on."""
        grads = [param.grad for param in self.state.params]
        for param in self.state.params:
            param.grad = None
        counted = self.scratch.clone(), self.torchmetrics.save(), self.forward.loss_parts
        return generator_states(), self.state.snapshot(), counted, grads

    def restore_slice(self, kept: Any) -> None:
        """The inverse of `save_slice`."""
        generators, buffers, (states, of_torchmetrics, self.forward.loss_parts), grads = kept
        set_generator_states(generators)
        self.state.restore(buffers)
        self.scratch.copy_(states)
        self.torchmetrics.restore(of_torchmetrics)
        for param, grad in zip(self.state.params, grads, strict=True):
            param.grad = grad

    def fill(
        self, layout: SideChannelLayout, target: Tensor, means: Sequence[Tensor | float], context: CallContext, rank: int,
        before: Snapshot | None = None, *, adds: bool = False,
    ) -> None:  # fmt: skip
        """The means, states of metrics and rows of the slice of virtual rank `rank`, and what has changed of the buffers since `before`,
        become the side channel `target`, the rest of it zero; or are added to it."""
        own = self._side_channel[: layout.size]
        if not self._blank:  # but for the states of metrics, which are this slice's
            own[: layout.means].zero_()
            own[layout.sums :].zero_()
        self._blank = False
        add_means(own, means, samples_of(context))
        self.torchmetrics.collect()
        if self.torchmetrics.gathers:
            assert context.rows is not None
            self.torchmetrics.write(layout.gathered_of(own), rank, context.rows)
        if layout.rows:
            assert context.rows is not None
            self.state.write_rows(layout.rows_of(own), context.rows[0], context.rows[1])
        if before is not None and layout.buffers:
            self.state.write_changes(layout.buffers_of(own), before, samples_of(context), first=rank == 0)
        target.add_(own) if adds else target.copy_(own)

    # -- the sum --------------------------------------------------------------------------------------------------------------------

    def begin_reduction(self, kind: Kind, leaves: int) -> Reduction | None:
        """The exchange with the other workers for one step whose first `leaves` virtual ranks have samples; None where there are none."""
        return self.pools[kind].plan.start(leaves) if self.group.size > 1 else None

    def reduce(
        self, kind: Kind, reduction: Reduction | None, stack: list[Contribution], requests: Sequence[bool], *, sent: bool = False
    ) -> Contribution:
        """The sum over all slices, in the first of `stack`, which it leaves; with `sent`, the buckets without any of the side channel
        have left already."""
        pool, layout = self.pools[kind], self.layouts[kind]
        if stack and any(requests):
            layout.request(stack[0].side_channel, requests)
        if reduction is None:
            return stack.pop()
        pieces = [contribution.buffer for contribution in stack]
        total = stack.pop(0) if stack else pool.take()
        reduction.into(total.buffer)
        for bucket in range(first_with_payload(pool.plan) if sent else 0, len(pool.plan.buckets)):
            reduction.send(bucket, pieces)
        reduction.finish()
        return total

    def account(self, layout: SideChannelLayout, side_channel: Tensor, count: int) -> None:
        """Add a batch to the totals."""
        if self.torchmetrics.gathers:
            kept = self.totals[layout.sums : layout.sums + self.torchmetrics.phase_size]
            self.torchmetrics.fold(kept, layout.gathered_of(side_channel), int(self.totals[-1]), count)
        self.totals[: layout.sums].add_(side_channel[: layout.sums])
        self.totals[-1].add_(count)

    # -- beside it ------------------------------------------------------------------------------------------------------------------

    def not_finite(self, loss: float, position: Position, updates: int | None = None) -> NonFiniteLoss:
        """The error for a loss that is NaN or infinite; `updates` were made before the step, unless they are those made so far.

        Raises:
            DataError: it is so since an index lay outside its range.
            GroupBroken: one did on another worker, which says so.
        """
        if self.forward.ledger is not None:
            self.look_at_indices(self.forward.ledger, all_look=True)
        error = NonFiniteLoss(
            f"the loss became {loss} at step {1 + (self.replica.optimizer.calls if updates is None else updates)} "
            f"(epoch {position.epoch + 1}, batch {position.step + 1}).\n"
            "  expected  a finite number; the weights are those before this step\n"
            "  try       a smaller learning rate, clipnorm=1.0, or look for NaN and infinity in the data"
        )
        error.loss = loss
        return error

    def look_at_indices(self, ledger: Ledger, *, all_look: bool = False) -> None:
        """Raise for an index outside its range; where `all_look` at the same step, the one that has seen it tells, and nobody guesses."""
        wrong = ledger.wrong()
        if all_look and self.group.size > 1:
            own = torch.full((1,), float(wrong is not None), dtype=torch.float64, device=self.device)
            told = torch.zeros(self.group.size, dtype=torch.float64, device=self.device)
            self.group.all_gather(told, own).wait()
            if wrong is None and bool(told.any()):
                raise GroupBroken("another worker has found an index outside its range, and says which")
        if wrong is not None:
            raise DataError(wrong)

    def keep_gradients(self, numbers: Sequence[int], gradients: Sequence[Tensor | None]) -> None:
        """Keep those of the parameters of these numbers, which stay as they are; without the factor that the loss was scaled by."""
        scale = self.forward.scale
        factor = 1.0 if scale is None else 1.0 / float(scale(torch.ones((), device=self.device)))
        for number, gradient in zip(numbers, gradients, strict=True):
            kept = torch.zeros_like(self.state.params[number]) if gradient is None else gradient
            self.by_products.gradients[self.state.names[number]] = kept if factor == 1.0 else kept * factor


def add_means(target: Tensor, means: Sequence[Tensor | float], samples: int) -> None:
    """Add means over so many samples, as sums over them, to the first numbers of `target`."""
    if len(means) == 1 and isinstance(means[0], Tensor):
        target[0].add_(means[0].detach().reshape(()), alpha=samples)
        return
    tensors = [mean.detach().reshape(()) for mean in means if isinstance(mean, Tensor)]
    if len(tensors) == len(means):
        if tensors:
            target[: len(tensors)].add_(torch.stack([tensor.double() for tensor in tensors]), alpha=samples)
        return
    for number, mean in enumerate(means):
        target[number].add_(mean.detach().reshape(()) if isinstance(mean, Tensor) else mean, alpha=samples)


def samples_of(context: CallContext) -> int:
    """How many samples a slice holds."""
    assert context.rows is not None
    return context.rows[1] - context.rows[0]
