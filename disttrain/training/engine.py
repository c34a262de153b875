"""One worker's part of a call: forward, backward, the sum over slices, the update. Knows no Ray and no files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from disttrain.collectives import Group, SoloGroup
from disttrain.collectives.layout import Layout
from disttrain.collectives.reduction import Reduction, TreeReduction, fold
from disttrain.collectives.tree import Add, local_merges
from disttrain.data.structure import map_structure
from disttrain.errors import NonFiniteLoss
from disttrain.layers.context import CallContext, call_context
from disttrain.layers.layer import Layer
from disttrain.seeds import fold_in
from disttrain.training.compiled import CompiledMetrics
from disttrain.training.flat import FlatSpace
from disttrain.training.job import Job
from disttrain.training.orders import Orders
from disttrain.training.program import Kind, Position

WISHES = ("save", "pause", "stop")  # what a worker may ask of all; summed with the step, so all see it at the same step
OVERLAP_BYTES = 4 << 20  # from here on buckets leave during the backward pass; below, the hooks cost more than they hide


class Engine:
    """The state of a call on one worker, and the ticks that move it.

    The state is: `tick`, the flat parameters, buffers and optimizer slots, the optimizer's counters, the sums of losses and metrics
    of the running phase, and the finished training logs of the epoch. Everything else is a function of the job.
    """

    def __init__(self, job: Job, device: torch.device | None = None) -> None:
        self.job, self.program, self.model = job, job.program, job.model
        self.device = device or torch.device("cpu")
        self.tick, self.ended = 0, False
        self.trains = job.kind == "fit"
        self.predictions: dict[int, Any] = {}
        self.train_logs: dict[str, Any] = {}
        self._foreign_randomness = any(not isinstance(module, Layer) and not list(module.children()) for module in self.model.modules())
        self._arrange_model()
        self._compile()
        self.totals = torch.zeros(self._payload_sums + 1, dtype=torch.float64)  # the sums of the phase, then the number of samples
        self.attach(SoloGroup(), [(0, job.virtual_workers)])

    # -- what lies where ------------------------------------------------------------------------------------------------------------

    def _arrange_model(self) -> None:
        model = self.model.to(self.device)
        names = {id(tensor): name for name, tensor in model.named_weights()}
        params = [p for p in model.parameters() if p.requires_grad]
        self.params: list[nn.Parameter] = params
        self.param_names = [names.get(id(p), f"unnamed.{i}") for i, p in enumerate(params)]
        self.space = FlatSpace(params)
        self.flat_params = self.space.gather(params, self.device)
        self.param_views = self.space.views(self.flat_params)
        buffers = [b for _, b in sorted(model.named_buffers(), key=lambda pair: pair[0]) if b.numel()]
        self.float_buffers = [b for b in buffers if b.is_floating_point()]
        self.other_buffers = [b for b in buffers if not b.is_floating_point()]
        self.buffer_space = FlatSpace(self.float_buffers)
        self.flat_buffers = self.buffer_space.gather(self.float_buffers, self.device)
        self.optimizer: Any = model.optimizer if self.trains else None
        self.flat_slots: dict[str, list[Tensor]] = {}
        if self.optimizer is not None:
            if not self.optimizer.slots or len(next(iter(self.optimizer.slots.values()), params)) != len(params):
                self.optimizer.build(params, self.param_names)
            for slot, tensors in self.optimizer.slots.items():
                for tensor in tensors:
                    tensor.data = tensor.data.to(self.device)
                self.flat_slots[slot] = self.space.gather(tensors, self.device)

    def _compile(self) -> None:
        model, job = self.model, self.job
        self.metrics: CompiledMetrics | None = None
        losses: list[str] = []
        if job.kind != "predict":
            x, y = job.example
            with torch.no_grad():
                outputs = model(map_structure(lambda t: t.to(self.device), x))
            self.loss = model.compiled_loss(outputs)
            given, weighted = model.compiled_metrics()
            self.metrics = CompiledMetrics(given, weighted, self.loss, y, outputs)
            losses = self.loss.value_names()
        self._loss_names = ["loss", *losses]
        states = 0 if self.metrics is None else self.metrics.state.numel()
        self._payload_sums = len(self._loss_names) + states
        self._payload_buffers = sum(flat.numel() for flat in self.flat_buffers)
        self._payload_others = sum(b.numel() for b in self.other_buffers)
        self._payload = self._payload_sums + self._payload_buffers + self._payload_others + len(WISHES)

    def attach(self, group: Group, placement: Sequence[tuple[int, int]]) -> None:
        """Take part in a generation: `placement` gives the run of virtual ranks of each of its members, in rank order.

        Buffers are made anew: late bytes of a broken generation must not reach the numbers of the next.
        """
        self.group, self.placement = group, list(placement)
        self.start, self.stop = self.placement[group.rank]
        tail = [(torch.float64, self._payload)]
        self._reductions = {Kind.VALIDATE: TreeReduction(group, placement, Layout.of(tail), self.device)}
        if self.trains:
            self._reductions[Kind.TRAIN] = TreeReduction(group, placement, Layout.of(self.space.parts + tail), self.device)
        self._reductions[Kind.PREDICT] = self._reductions[Kind.VALIDATE]
        self._pools: dict[Kind, list[_Contribution]] = {kind: [] for kind in self._reductions}
        self._overlaps = self.trains and group.size > 1 and self._reductions[Kind.TRAIN].capacity >= OVERLAP_BYTES
        self._late_buckets = {kind: _first_with_payload(plan) for kind, plan in self._reductions.items()}

    # -- ticks ----------------------------------------------------------------------------------------------------------------------

    @property
    def position(self) -> Position:
        """Where the call stands."""
        return Position(self.tick, Kind.END, self.program.epochs, 0, Kind.END) if self.ended else self.program.at(self.tick)

    def run_tick(self, position: Position, wishes: Sequence[bool] = (False, False, False)) -> tuple[bool, ...]:
        """Do one step; the wishes that any worker had, the same on all of them.

        Raises:
            GroupBroken: a worker is gone; the state is still that of the tick before.
            NonFiniteLoss: the loss of this step is NaN or infinite; nothing was updated.
        """
        if position.step == 0:
            self.totals.zero_()
            if position.kind is Kind.TRAIN:
                self.train_logs = {}
        granted = self._train(position, wishes) if position.kind is Kind.TRAIN else self._infer(position, wishes)
        self._move_to(self.tick + 1, position)
        return granted

    def apply(self, orders: Orders) -> None:
        """Do what the callbacks decided at the boundary where this worker stands, and step over it."""
        position = self.position
        if orders.learning_rate is not None:
            self.optimizer.learning_rate = orders.learning_rate
        if orders.weights is not None:
            self.set_arrays({f"model/{name}": torch.from_numpy(value) for name, value in orders.weights.items()})
        self._move_to(self.program.after_phase(position) if orders.end_phase else self.tick + 1, position)
        self.ended = orders.end_call

    def _move_to(self, tick: int, position: Position) -> None:
        """Step on from `position`; the last of the training phase leaves its means behind."""
        self.tick = tick
        if position.phase is Kind.TRAIN and self.program.at(tick).phase is not Kind.TRAIN:
            self.train_logs = self.results()

    def logs(self, position: Position) -> dict[str, Any]:
        """The means so far: of training, or at and after validation those of training and, prefixed `val_`, of validation."""
        if not self.trains:
            return self.results()
        if position.phase is Kind.TRAIN:
            return self.results()
        if position.phase is Kind.VALIDATE or (self.program.validates(position.epoch) and self.totals[-1] and self._has_validation()):
            return {**self.train_logs, **{f"val_{name}": value for name, value in self.results().items()}}
        return dict(self.train_logs)

    def _has_validation(self) -> bool:
        return any(kind is Kind.VALIDATE for kind, _ in self.program.plans)

    def results(self) -> dict[str, Any]:
        """The values of losses and metrics over the running phase."""
        count = float(self.totals[-1])
        if not count:
            return {}
        losses = {name: float(self.totals[i]) / count for i, name in enumerate(self._loss_names)}
        states = self.totals[len(self._loss_names) : -1]
        return {**losses, **({} if self.metrics is None else self.metrics.results(states))}

    # -- one slice, one step --------------------------------------------------------------------------------------------------------

    def _train(self, position: Position, wishes: Sequence[bool]) -> tuple[bool, ...]:
        before = [flat.clone() for flat in self.flat_buffers], [b.clone() for b in self.other_buffers]
        try:
            total, stack = self._summed_gradients(position, wishes, *before)
            self._check_finite(total.payload, position)
        except BaseException:
            self._restore_buffers(*before)  # the forward pass has moved them: without the sum they must be those of the tick before
            raise
        count = self.program.plan(Kind.TRAIN).batch_count(position.epoch, position.step)
        if self.flat_buffers or self.other_buffers:
            self._apply_buffers(total.payload, count, *before)
        with torch.no_grad():
            self._update(total)
        granted = self._account(total.payload, count)
        self._release(Kind.TRAIN, [total, *stack])
        return granted

    def _summed_gradients(
        self, position: Position, wishes: Sequence[bool], before: list[Tensor], others_before: list[Tensor]
    ) -> tuple[_Contribution, list[_Contribution]]:
        """Forward and backward for the slices hosted here, and the sum over all: (the sum, this worker's own pieces)."""
        plan = self.program.plan(Kind.TRAIN)
        count = plan.batch_count(position.epoch, position.step)
        leaves = min(self.job.virtual_workers, count)
        step_key = fold_in(self.job.seed, "step", self.optimizer.iterations)
        reduction = self._reductions[Kind.TRAIN].start(leaves) if self.group.size > 1 else None
        stack: list[_Contribution] = []
        self._sent = False
        merges = local_merges(self.start, self.stop, leaves)
        for number, (rank, merge) in enumerate(zip(range(self.start, min(self.stop, leaves)), merges, strict=True)):
            if number:
                self._restore_buffers(before, others_before)
            contribution = self._contribution(Kind.TRAIN)
            indices = plan.indices(position.epoch, position.step, rank)
            key = fold_in(step_key, rank)
            x, y, weight = self._fetch(Kind.TRAIN, indices, key)
            fraction = len(indices) / count
            if self._foreign_randomness:
                torch.manual_seed(key)
            with call_context(CallContext(training=True, key=key, slice_fraction=fraction)) as context:
                outputs = self.model(x)
                mean, parts = self.model.slice_loss(self.loss, x, y, outputs, weight, context)
            last = number == len(merges) - 1
            self._backward(mean * fraction if fraction != 1.0 else mean, contribution, stack, merge, reduction if last else None)
            with torch.no_grad():
                self._fill_payload(contribution.payload, mean, parts, y, outputs, weight, len(indices), before, others_before, rank)
            stack.append(contribution)
            self._merge(stack, merge, Kind.TRAIN, gradients=not (last and self._sent))
        return self._reduce(Kind.TRAIN, reduction, stack, wishes), stack

    def _infer(self, position: Position, wishes: Sequence[bool]) -> tuple[bool, ...]:
        plan = self.program.plan(position.kind)
        count = plan.batch_count(position.epoch, position.step)
        leaves = min(self.job.virtual_workers, count)
        reduction = self._reductions[position.kind].start(leaves) if self.group.size > 1 else None
        stack: list[_Contribution] = []
        merges = local_merges(self.start, self.stop, leaves)
        for rank, merge in zip(range(self.start, min(self.stop, leaves)), merges, strict=True):
            contribution = self._contribution(position.kind)
            indices = plan.indices(position.epoch, position.step, rank)
            key = fold_in(self.job.seed, position.kind.value, position.tick, rank)
            x, y, weight = self._fetch(position.kind, indices, key)
            with torch.inference_mode(), call_context(CallContext(training=False, key=key, slice_fraction=len(indices) / count)) as context:
                outputs = self.model(x)
                if position.kind is Kind.PREDICT:
                    self.predictions[position.step * self.job.virtual_workers + rank] = map_structure(lambda t: t.cpu().numpy(), outputs)
                else:
                    mean, parts = self.model.slice_loss(self.loss, x, y, outputs, weight, context)
                    self._fill_payload(contribution.payload, mean, parts, y, outputs, weight, len(indices), None, None, rank)
            stack.append(contribution)
            self._merge(stack, merge, position.kind, gradients=True)
        total = self._reduce(position.kind, reduction, stack, wishes)
        granted = self._account(total.payload, count)
        self._release(position.kind, [total, *stack])
        return granted

    def _fetch(self, kind: Kind, indices: Any, key: int) -> tuple[Any, Any, Any]:
        x, y, weight = self.job.sources[kind].fetch(indices, key)
        if self.job.class_weight is not None and kind is Kind.TRAIN:
            weight = class_weights(y, self.job.class_weight)
        if self.device.type != "cpu":
            x, y, weight = (map_structure(lambda t: t.to(self.device, non_blocking=True), part) for part in (x, y, weight))
        return x, y, weight

    def _backward(
        self, objective: Tensor, contribution: _Contribution, stack: list[_Contribution], merge: int, reduction: Reduction | None
    ) -> None:
        """Leave the gradients of the slice in `contribution`; of the last slice, ship each bucket as soon as it is complete."""
        if reduction is not None and self._overlaps:
            self._sent = True
            _Overlap(self, contribution, stack, merge, reduction).backward(objective)
            return
        objective.backward()
        self._collect(contribution, range(len(self.params)))

    def _collect(self, contribution: _Contribution, numbers: Sequence[int]) -> None:
        """Move the gradients of those parameters into the contribution."""
        views, grads = [], []
        for number in numbers:
            param, view = self.params[number], contribution.views[number]
            if param.grad is None:
                view.zero_()
            else:
                views.append(view)
                grads.append(param.grad)
                param.grad = None
        if views:
            torch._foreach_copy_(views, grads)

    def _fill_payload(
        self, payload: Tensor, mean: Tensor, parts: list[Tensor], y: Any, outputs: Any, weight: Any, samples: int,
        before: list[Tensor] | None, others_before: list[Tensor] | None, rank: int,
    ) -> None:  # fmt: skip
        payload.zero_()
        payload[0] = mean.detach()
        names = len(self._loss_names)
        for number, part in enumerate(parts[: names - 1] if names > 1 else []):
            payload[1 + number] = part.detach()
        payload[:names] *= samples
        if self.metrics is not None and self.metrics.entries:
            self.metrics.state.zero_()
            self.metrics.update(y, outputs, weight)
            payload[names : self._payload_sums] = self.metrics.state
        if before is None or others_before is None:
            return
        at = self._payload_sums
        share = samples  # divided by the batch's count once, after the sum
        for flat, old in zip(self.flat_buffers, before, strict=True):
            payload[at : at + flat.numel()] = (flat - old).double() * share
            at += flat.numel()
        if rank == 0:  # counters and the like: those of the first slice, which every batch has
            for buffer, old in zip(self.other_buffers, others_before, strict=True):
                payload[at : at + buffer.numel()] = (buffer.long() - old.long()).double().reshape(-1)
                at += buffer.numel()

    def _merge(self, stack: list[_Contribution], merges: int, kind: Kind, *, gradients: bool) -> None:
        """Fold the newest contributions, as the tree says; without `gradients` (already folded and sent) only the payload."""
        layout = self._reductions[kind].layout
        for _ in range(merges):
            right = stack.pop()
            if gradients:
                fold((stack[-1].buffer, right.buffer), (Add(0, 1),), layout, 0, layout.size_bytes)
            else:
                stack[-1].payload.add_(right.payload)
            self._release(kind, [right])

    def _reduce(self, kind: Kind, reduction: Reduction | None, stack: list[_Contribution], wishes: Sequence[bool]) -> _Contribution:
        if reduction is None:
            for wish, wanted in enumerate(wishes):
                stack[0].payload[self._payload - len(WISHES) + wish] = float(wanted)
            return stack.pop()
        if stack and any(wishes):
            stack[0].payload[self._payload - len(WISHES) :] = torch.tensor([float(wanted) for wanted in wishes], dtype=torch.float64)
        plan = self._reductions[kind]
        first = self._late_buckets[kind] if kind is Kind.TRAIN and self._sent else 0
        for bucket in range(first, len(plan.buckets)):
            reduction.send(bucket, [contribution.buffer for contribution in stack])
        total = self._contribution(kind)
        reduction.finish(total.buffer)
        return total

    def _check_finite(self, payload: Tensor, position: Position) -> None:
        if self.device.type == "cpu" and not math.isfinite(payload[0]):
            raise NonFiniteLoss(
                f"the loss became {float(payload[0])} at step {self.optimizer.iterations + 1} "
                f"(epoch {position.epoch + 1}, batch {position.step + 1}).\n"
                "  expected  a finite number; the weights are those before this step\n"
                "  try       a smaller learning rate, clipnorm=1.0, or look for NaN and infinity in the data"
            )

    def _apply_buffers(self, payload: Tensor, samples: int, before: list[Tensor], others_before: list[Tensor]) -> None:
        """Every buffer becomes its old value plus the mean change over the slices, weighted by their samples."""
        at = self._payload_sums
        for flat, old in zip(self.flat_buffers, before, strict=True):
            torch.add(old, (payload[at : at + flat.numel()] / samples).to(flat.dtype), out=flat)
            at += flat.numel()
        for buffer, old in zip(self.other_buffers, others_before, strict=True):
            buffer.copy_((old.long() + payload[at : at + buffer.numel()].long().reshape(old.shape)).to(buffer.dtype))
            at += buffer.numel()

    def _restore_buffers(self, before: list[Tensor], others_before: list[Tensor]) -> None:
        for flat, old in zip(self.flat_buffers, before, strict=True):
            flat.copy_(old)
        for buffer, old in zip(self.other_buffers, others_before, strict=True):
            buffer.copy_(old)

    def _update(self, total: _Contribution) -> None:
        optimizer = self.optimizer
        if optimizer.elementwise and not optimizer.needs_variables:
            optimizer.apply(self.flat_params, total.flats, self.flat_slots)
        else:
            optimizer.apply(self.params, total.views, optimizer.slots)

    def _account(self, payload: Tensor, count: int) -> tuple[bool, ...]:
        self.totals[:-1] += payload[: self._payload_sums].to(self.totals.device)
        self.totals[-1] += count
        return tuple(wish > 0 for wish in payload[self._payload - len(WISHES) : self._payload].tolist())

    # -- buffers of one step --------------------------------------------------------------------------------------------------------

    def _contribution(self, kind: Kind) -> _Contribution:
        pool = self._pools[kind]
        if pool:
            return pool.pop()
        return _Contribution(self._reductions[kind], self.space if kind is Kind.TRAIN else None)

    def _release(self, kind: Kind, contributions: Sequence[_Contribution]) -> None:
        self._pools[kind].extend(contributions)

    # -- the state as arrays --------------------------------------------------------------------------------------------------------

    def arrays(self) -> dict[str, Tensor]:
        """The state by name: `model/...`, `optimizer/<slot>/...` and `totals`; live views, not copies."""
        named = {f"model/{name}": tensor.detach() for name, tensor in self.model.named_weights()}
        for slot, flats in self.flat_slots.items():
            for name, view in zip(self.param_names, self.space.views(flats), strict=True):
                named[f"optimizer/{slot}/{name}"] = view
        named["totals"] = self.totals
        return named

    def set_arrays(self, arrays: dict[str, Tensor]) -> None:
        """Copy values into the state; names that are not given keep theirs."""
        own = self.arrays()
        unknown = sorted(set(arrays) - set(own))
        if unknown:
            raise KeyError(f"the state has no {unknown[0]!r} (and {len(unknown) - 1} others)")
        with torch.no_grad():
            for name, value in arrays.items():
                own[name].copy_(value)

    def meta(self) -> dict[str, Any]:
        """The rest of the state, in JSON types."""
        optimizer = {} if self.optimizer is None else self.optimizer.state_dict()
        return {"tick": self.tick, "ended": self.ended, "train_logs": self.train_logs, "optimizer": optimizer}

    def set_meta(self, meta: dict[str, Any]) -> None:
        """The inverse of `meta`."""
        self.tick, self.ended, self.train_logs = meta["tick"], meta["ended"], meta["train_logs"]
        if self.optimizer is not None:
            self.optimizer.load_state_dict(meta["optimizer"])

    def flat_state(self) -> list[Tensor]:
        """The state as few flat tensors, for a transfer between workers that run the same job."""
        frozen = [p.data for p in self.model.parameters() if not p.requires_grad]
        slots = [flat for name in sorted(self.flat_slots) for flat in self.flat_slots[name]]
        return [*self.flat_params, *self.flat_buffers, *self.other_buffers, *slots, self.totals, *frozen]


class _Contribution:
    """What one slice, or a sum of slices, adds: gradients and payload in one buffer of bytes."""

    def __init__(self, plan: TreeReduction, space: FlatSpace | None) -> None:
        self.buffer = plan.buffer()
        *flats, self.payload = plan.layout.views(self.buffer)
        self.flats = flats
        self.views = [] if space is None else space.views(flats)


class _Overlap:
    """The backward pass of the last slice: a bucket is folded and shipped as soon as its gradients are complete.

    Buckets leave in their fixed order, which is nearly that of completion; those that carry the payload, or a part of it, follow the pass.
    """

    def __init__(self, engine: Engine, contribution: _Contribution, stack: list[_Contribution], merges: int, reduction: Reduction) -> None:
        self.engine, self.contribution, self.reduction = engine, contribution, reduction
        self.pieces = [*stack, contribution]
        self.merges = merges
        plan = engine._reductions[Kind.TRAIN]
        self.plan, self.next, self.late = plan, 0, engine._late_buckets[Kind.TRAIN]
        self.waiting: list[set[int]] = [set() for _ in plan.buckets]
        self.buckets_of: list[list[int]] = []
        for number, segment in enumerate(engine.space.segments):
            section = plan.layout.sections[segment.group]
            first = section.offset + segment.offset * section.dtype.itemsize
            last = first + max(1, segment.numel) * section.dtype.itemsize
            touched = [b for b, (start, stop) in enumerate(plan.buckets) if start < last and first < stop]
            self.buckets_of.append(touched)
            for bucket in touched:
                self.waiting[bucket].add(number)

    def backward(self, objective: Tensor) -> None:
        engine = self.engine
        handles = [
            param.register_post_accumulate_grad_hook(lambda _, number=number: self._ready(number))
            for number, param in enumerate(engine.params)
        ]
        try:
            objective.backward()
        finally:
            for handle in handles:
                handle.remove()
        for number in sorted({number for bucket in self.waiting for number in bucket}):  # parameters that the loss does not depend on
            self._ready(number)
        for bucket in range(self.next, len(self.plan.buckets)):
            self._fold(bucket)
            if bucket < self.late:
                self.reduction.send(bucket, self._folded())

    def _ready(self, number: int) -> None:
        self.engine._collect(self.contribution, (number,))
        for bucket in self.buckets_of[number]:
            self.waiting[bucket].discard(number)
        while self.next < self.late and not self.waiting[self.next]:
            self._fold(self.next)
            self.reduction.send(self.next, self._folded())
            self.next += 1

    def _folded(self) -> list[Tensor]:
        return [piece.buffer for piece in self.pieces[: len(self.pieces) - self.merges]]

    def _fold(self, bucket: int) -> None:
        """Merge the newest pieces over the bytes of one bucket, payload left out: it is not complete yet."""
        start, stop = self.plan.buckets[bucket]
        stop = min(stop, self.plan.layout.sections[-1].offset)
        if stop <= start:
            return
        top = len(self.pieces) - 1
        for step in range(self.merges):
            target, source = self.pieces[top - step - 1].buffer, self.pieces[top - step].buffer
            fold((target[start:stop], source[start:stop]), (Add(0, 1),), self.plan.layout, start, stop)


def _first_with_payload(plan: TreeReduction) -> int:
    """The first bucket that holds a byte of the payload: it and those after it cannot leave before the forward pass is accounted for."""
    payload = plan.layout.sections[-1].offset
    return next(number for number, (_, stop) in enumerate(plan.buckets) if stop > payload)


def class_weights(y: Any, weights: dict[int, float]) -> Tensor:
    """The weight of each sample, by its class; a class that is not listed weighs 1. `y`: labels (n,) or (n, 1), or one-hot (n, classes)."""
    labels = y.argmax(-1) if y.ndim > 1 and y.shape[-1] > 1 else y.reshape(len(y))
    labels = labels.long()
    table = torch.ones(max(int(labels.max()) if len(labels) else 0, *weights) + 1)
    for label, weight in weights.items():
        table[label] = weight
    return table[labels]
