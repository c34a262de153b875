"""From samples to losses: the forward pass of a slice, what the model's own methods make of it, and what is learned from an example."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from disttrain import bounds
from disttrain.data import ArraySource, BatchPlan, DatasetSource, StreamPlan
from disttrain.data.bad_samples import BadSample, Skip
from disttrain.data.generators import seed_generators
from disttrain.data.packing import pack_x_y_sample_weight
from disttrain.data.reading import ReadAhead
from disttrain.data.structure import joined, map_structure, rows_in
from disttrain.errors import UsageError
from disttrain.layers.context import CallContext, call_context
from disttrain.layers.recomputation import follow_checkpoints
from disttrain.metrics import TorchMetric
from disttrain.seeds import fold_in
from disttrain.training.compiled.class_weight import class_weights
from disttrain.training.compiled.logs import LogAccumulator
from disttrain.training.compiled.loss import CompiledLoss
from disttrain.training.compiled.metrics import CompiledMetrics
from disttrain.training.compiled.torchmetrics_states import TorchmetricsStates
from disttrain.training.job import Job
from disttrain.training.program import Kind, Position
from disttrain.training.step.asking import Ask, Noticing
from disttrain.training.step.custom_step import CustomStep
from disttrain.training.step.jit import compiled
from disttrain.training.step.model_state import ModelState, Snapshot
from disttrain.training.step.trial import may_change_state, refuse_carried, refuse_moved, tried
from disttrain.training.step.uploads import uploaded


class Forward:
    """The forward pass of a job on one worker.

    Args:
        sources: those of the job, wherever their samples lie.

    Attributes:
        scripts: the phases whose steps the script wrote itself.
        log_accumulator: what is logged.
        torchmetrics: those among the metrics.
        asks: does a loss of the model's own pass divide by a count of the whole batch, which the slices must ask for?
        compiled: the compiled metrics, None where there are none.
        before: the buffers before the running pass, set by whoever keeps them.
        scale: what the optimizer makes of a loss before its gradient is taken, None where that is nothing.
        ledger: of indices that lay outside their range, None on CPUs, whose kernels look for themselves.
    """

    def __init__(self, job: Job, state: ModelState, device: torch.device, sources: Mapping[Kind, Any]) -> None:
        self.job, self.model, self.device, self._state = job, job.model, device, state
        follow_checkpoints()
        self.before: Snapshot | None = None
        self.ledger = bounds.Ledger() if bounds.guarded(device) else None
        overrides = self.model.overridden_steps()
        self.scripts: dict[Kind, CustomStep] = {}
        self._predict: Callable[[Any], Any] | None = None
        self.compiled: CompiledMetrics | None = None
        self.scale: Callable[[Tensor], Tensor] | None = None
        self.reads_ahead = True  # False: only what is asked for is made, here
        self._ahead: dict[Kind, ReadAhead] = {
            kind: ReadAhead(source, plan, job.program.epochs)
            for kind, plan in job.program.plans
            if isinstance(source := job.sources[kind], DatasetSource) and source.loader is not None
        }
        self._feeds: dict[Kind, tuple[BatchPlan, Any, bool, bool]] = {
            kind: (
                plan,
                sources[kind],
                isinstance(job.sources[kind], ArraySource) and not plan.shuffle,
                bool(getattr(job.sources[kind], "draws", True)),
            )
            for kind, plan in job.program.plans
        }
        self._penalties = _penalties(self.model)
        self._call: Callable[[Any], Any] = self.model
        self._pass: Callable[..., tuple[list[Tensor], Any]] = self._run
        if self.model.jit_compile:
            described = f"{type(self.model).__name__} {self.model.name!r}"
            everywhere, deterministic = job.virtual_workers > 1, job.numerics.deterministic
            self._call = compiled(lambda x: self.model(x), described, same_everywhere=everywhere, deterministic=deterministic)
            self._pass = compiled(self._run, described, self._undo, same_everywhere=everywhere, deterministic=deterministic)
        self._noticed = Noticing()
        self._own_loss = "compute_loss" in overrides
        self._added: list[str] = []
        means: list[str] = []
        own, reported = self.model.own_metrics()
        if job.kind == "predict":
            own, reported = [], []
            if "predict_step" in overrides:
                self._predict = lambda x: self.model.predict_step(pack_x_y_sample_weight(x, None, None))
        else:
            held = [metric for metric in own if isinstance(metric, TorchMetric)]
            for metric in held:
                metric.set_aside()
            self._learn(state, overrides, own)
            for metric in held:
                metric.put_back()
            means = ["loss", *self._loss.value_names(), *self._added]
        self.asks = self._noticed.asks
        if self.asks:  # a pass that stops in the middle is no function that could be compiled
            self._call, self._pass = self.model, self._run
        own, reported = ([metric for metric in some if not isinstance(metric, TorchMetric) or metric.used] for some in (own, reported))
        self.log_accumulator = LogAccumulator(means, self.compiled, own, reported, self.scripts)
        plans = [plan for _, plan in job.program.plans]
        step_samples, phase_samples = (
            max(plan.batch_size for plan in plans),
            max(plan.batch_size * (plan.known_steps or 1) for plan in plans),
        )
        self.torchmetrics = TorchmetricsStates(self.log_accumulator.metrics, job.virtual_workers, step_samples, phase_samples)
        if self.torchmetrics.gathers and any(isinstance(plan, StreamPlan) for plan in plans):
            raise UsageError(
                "a torchmetric that keeps the values of every sample, beside data whose number of samples nobody knows.\n"
                "  expected  metrics that are sums, or data of known size: arrays, a map-style Dataset"
            )
        if job.kind == "fit":
            self.scale = scaling_of(self.model.optimizer)

    def _learn(self, state: ModelState, overrides: frozenset[str], own: list[Any]) -> None:
        """Fit losses and metrics to the outputs for the example; try out steps of the script's own."""
        model, job = self.model, self.job
        x, y, weight = (map_structure(lambda t: t.to(self.device), part) for part in job.example)
        training = {"train_step", "compute_metrics"} & overrides and job.kind == "fit"
        testing = {"test_step", "compute_metrics"} & overrides and any(kind is Kind.VALIDATE for kind, _ in job.program.plans)
        context = CallContext(training=False, key=0, rows=None)
        if not training or job.has_outputs:
            tries = job.virtual_workers > 1
            before = state.snapshot() if state.rows or (tries and self._own_loss) else None  # what a compute_loss counts is undone
            noticing = self._noticed if tries else nullcontext()
            with torch.no_grad(), call_context(context), noticing:
                outputs = model(x)
                model.build_compiled(outputs, y)
                if tries:
                    self._try_loss(x, y, outputs, weight)
            for metric in own:
                if isinstance(metric, TorchMetric):
                    metric.measure(rows_in(x))
            if before is not None:
                state.restore(before)
            self._added = list(dict.fromkeys(name for name, _ in context.metrics))
        self._loss: CompiledLoss = model.compiled_loss
        self.compiled = model.compiled_metrics if model.compiled_metrics is not None and model.compiled_metrics.entries else None
        metrics = [*own, *model.loss_trackers(), *([] if self.compiled is None else self.compiled.metrics)]
        for kind, method, wanted in ((Kind.TRAIN, "train_step", training), (Kind.VALIDATE, "test_step", testing)):
            if wanted:
                script = CustomStep(model, method, state, metrics)
                key = fold_in(job.seed, "example", method)
                size = rows_in(x)
                with torch.set_grad_enabled(kind is Kind.TRAIN):
                    script.rehearse(pack_x_y_sample_weight(x, y, weight), CallContext(None, key, 1.0, (0, size, size)), job.virtual_workers)
                self.scripts[kind] = script
        if job.kind == "fit" and Kind.TRAIN not in self.scripts and job.virtual_workers > 1:
            self._try_pass(x, y, weight)
            for metric in own:
                if not isinstance(metric, TorchMetric):
                    metric.reset_state()
        if self.scripts:
            own[:] = metrics
            self.compiled = None if len(self.scripts) == 2 else self.compiled

    def _try_pass(self, x: Any, y: Any, weight: Any) -> None:
        """Notice what the model's own code changes in a pass, where it is not known to change nothing but buffers.

        Raises:
            UsageError: something that slices could not bring together.
        """
        model, key = self.model, fold_in(self.job.seed, "example", "pass")
        if not may_change_state(model):
            return
        if not self._state.rows:  # two samples, for the sake of statistics
            x, y, weight = (joined([part, part]) for part in (x, y, weight))
        size = rows_in(x)

        def work() -> None:
            seed_generators(key)
            with call_context(CallContext(training=True, key=key, rows=(0, size, size))):
                outputs = model(x)
                if self._own_loss:
                    model.checked_loss(x, y, outputs, weight, True)

        try:
            findings = tried(model, self._state, work)
        except Exception:  # what fails on an example that was made up fails on real samples too, where it can be told better
            return
        where = f"The forward pass of {type(model).__name__}"
        refuse_carried(findings, where, self.job.virtual_workers)
        refuse_moved(
            findings.moved, where, model, "self.register_buffer(name, tensor) for what is no weight; max_norm=None for an embedding"
        )

    def _try_loss(self, x: Any, y: Any, outputs: Any, weight: Any) -> None:
        """Notice what the loss of an example asks for; where that cannot be found out, it may ask."""
        loss, noticed = self.model.compiled_loss, self._noticed
        try:
            if self._own_loss:
                self.model.checked_loss(x, y, outputs, weight, False)
            elif not loss.empty:
                loss.slice_value(y, outputs, weight, 1.0)
        except Exception:  # an example is no batch: what fails for it may work for that, and else fails there
            noticed.asks = noticed.by_torch = True
        noticed.asks |= any(getattr(one, "reduction", None) == "mean_with_sample_weight" for one in loss.losses)

    def host(self, ranks: range) -> None:
        """From now on, slices of these virtual ranks are computed here."""
        for ahead in self._ahead.values():
            ahead.host(ranks)

    def begin(self, position: Position) -> None:
        """Steps follow from this one on: what reads ahead may begin."""
        if position.kind in self._ahead:
            self._ahead[position.kind].begin(position.epoch, position.step)

    def forget(self) -> None:
        """Slices to come are not those that were read ahead."""
        for ahead in self._ahead.values():
            ahead.forget()

    def rest(self) -> None:
        """No step comes after this one: let go of what reads ahead."""
        for ahead in self._ahead.values():
            ahead.rest()

    # -- samples --------------------------------------------------------------------------------------------------------------------

    def fetch(self, kind: Kind, epoch: int, step: int, rank: int, context: CallContext) -> tuple[Any, Any, Any]:
        """(x, y, sample_weight) of the slice of virtual rank `rank` of a step, on the device."""
        plan, source, runs, draws = self._feeds[kind]
        run = plan.run(epoch, step, rank) if runs else None
        try:
            if run is not None:
                x, y, weight = source.fetch_run(*run)
            elif isinstance(plan, StreamPlan) and plan.brings_samples:
                x, y, weight = plan.part(epoch, step, rank)
            elif kind in self._ahead and self.reads_ahead:
                x, y, weight = self._ahead[kind].take(epoch, step, rank)
            else:
                x, y, weight = source.fetch(plan.indices(epoch, step, rank), plan.key(epoch, step, rank) if draws else 0)
        except BadSample as bad:
            bad.skip = Skip(kind.value, *plan.place_of(epoch, step, rank, bad.offset), bad.number, bad.why)
            raise
        if draws:
            seed_generators(context.key or 0)  # whoever made the samples, the step finds the generators the same
        if self.job.class_weight is not None and kind is Kind.TRAIN:
            weight = class_weights(y, self.job.class_weight)
        if self.device.type != "cpu":
            x, y, weight = (map_structure(lambda t: uploaded(t, self.device), part) for part in (x, y, weight))
        return x, y, weight

    # -- losses ---------------------------------------------------------------------------------------------------------------------

    def run(self, x: Any, y: Any, weight: Any, context: CallContext, ask: Ask | None = None) -> tuple[list[Tensor], Any]:
        """Forward and losses of a slice: (means as in the log_accumulator, the loss first; the outputs); counts by `ask`."""
        if ask is None:
            means, outputs = self._pass(x, y, weight, context)
        else:
            with self._noticed.slice(ask, context.slice_fraction):
                means, outputs = self._pass(x, y, weight, context)
        if self.ledger is not None:
            means = [self.ledger.poisoned(means[0]), *means[1:]]
        return means, outputs

    @property
    def loss_parts(self) -> list[Tensor]:
        """The losses of the outputs that the running pass has come to."""
        return self._loss.parts

    @loss_parts.setter
    def loss_parts(self, parts: list[Tensor]) -> None:
        self._loss.parts = parts

    def outputs(self, x: Any) -> Any:
        """Forward of a slice of `predict`."""
        return self._call(x) if self._predict is None else self._predict(x)

    def _undo(self, x: Any, y: Any, weight: Any, context: CallContext) -> None:
        """As before a pass that was broken off."""
        for found in (context.losses, context.metrics, context._draws):
            found.clear()
        if self.before is not None:
            self._state.restore(self.before)

    def _run(self, x: Any, y: Any, weight: Any, context: CallContext) -> tuple[list[Tensor], Any]:
        outputs = self.model(x)
        return self._means(x, y, outputs, weight, context), outputs

    def _means(self, x: Any, y: Any, outputs: Any, weight: Any, context: CallContext) -> list[Tensor]:
        """The loss over the slice with all that was added, the loss of each output, what layers logged: means over its samples."""
        loss = self._loss
        if self._own_loss:
            loss.parts = []
            total = self.model.checked_loss(x, y, outputs, weight, bool(context.training))
        else:
            total = self._total(y, outputs, weight, context)
        names = len(self.log_accumulator.means)
        if names == 1:
            return [total]
        parts = loss.parts if names - len(self._added) > 1 else []
        missing = names - 1 - len(self._added) - len(parts)
        return [total, *parts, *[total.new_zeros(())] * missing, *self._logged(context, total)]

    def _total(self, y: Any, outputs: Any, weight: Any, context: CallContext) -> Tensor:
        """The compiled loss, what layers added, and the penalties of the weights."""
        total = self._loss.slice_value(y, outputs, weight, context.slice_fraction)
        for added in context.losses:
            added = added if added.ndim == 0 else added.sum()
            total = added if total is None else total + added
        for regularizer, weights in self._penalties:
            total = regularizer(weights) if total is None else total + regularizer(weights)
        if total is None:
            raise no_loss()
        return total

    def _logged(self, context: CallContext, like: Tensor) -> list[Tensor]:
        """What layers gave to `add_metric`, by name: the mean over a name's values."""
        found: dict[str, list[Tensor]] = {name: [] for name in self._added}
        for name, value in context.metrics:
            if name in found:
                found[name].append(value.double().mean())
        return [torch.stack(values).mean() if values else like.new_zeros(()) for values in found.values()]


def scaling_of(optimizer: Any) -> Callable[[Tensor], Tensor] | None:
    """`optimizer.scale_loss`, or None where it would give the loss back unchanged."""
    scale: Callable[[Tensor], Tensor] | None = getattr(optimizer, "scale_loss", None)
    if scale is None:
        return None
    probe = torch.ones(())
    return None if scale(probe) is probe else scale


def no_loss() -> UsageError:
    """The error for a model that has nothing to make small."""
    return UsageError(
        "there is no loss to compute.\n  expected  compile(loss=...), a layer that calls add_loss, or a compute_loss of the model's own"
    )


def _penalties(model: nn.Module) -> list[tuple[Callable[[Tensor], Tensor], nn.Parameter]]:
    """The regularizers of the trainable weights, in the order of the layers; found once, for walking over a model takes time."""
    found: list[tuple[Callable[[Tensor], Tensor], nn.Parameter]] = []
    for module in model.modules():
        for name, regularizer in getattr(module, "_regularizers", {}).items():
            weight = module._parameters.get(name)
            if weight is not None and weight.requires_grad:
                found.append((regularizer, weight))
    return found
