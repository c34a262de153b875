"""What one step is: losses, metrics and their names, and the methods that a subclass may write anew, as in Keras."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor

from disttrain.data import rows_in
from disttrain.data.packing import unpack_x_y_sample_weight
from disttrain.errors import UsageError
from disttrain.layers.context import innermost
from disttrain.layers.layer import Layer
from disttrain.metrics import Mean, Metric, TorchMetric
from disttrain.metrics.from_torchmetrics import metrics_within
from disttrain.training.compiled.loss import CompiledLoss
from disttrain.training.compiled.metrics import CompiledMetrics
from disttrain.training.compiled.outputs import Outputs
from disttrain.training.step.forward import no_loss

_OVERRIDABLE = ("compute_loss", "compute_metrics", "metrics", "predict_step", "test_step", "train_step")
_INTERNAL = frozenset({"_compile_arguments", "_compile_metrics", "_loss_tracker", "_of_torchmetrics", "_output_trackers"})


class TrainStep:
    """The half of `Trainer` that says what happens to one batch.

    A subclass may define, in Keras's words:

    - `compute_loss(x, y, y_pred, sample_weight, training)`, the loss of a batch;
    - `train_step(data)` and `test_step(data)`, which return a dict of logs, and `predict_step(data)`, which returns the outputs;
    - `compute_metrics(x, y, y_pred, sample_weight)`, which returns a dict of logs.

    A batch is cut into slices, one for each virtual worker, and each of these runs for every slice. What `self.optimizer.apply(grads,
    trainable_variables)` is given is summed over the slices, each by its share of the batch, and applied once. Metrics that the model
    holds as attributes are summed over slices too, so their results are those of all samples; other numbers that a step returns are
    averaged over samples. A step draws at random from torch's, NumPy's and Python's generators, which are seeded for each slice.
    """

    optimizer: Any
    _compile_arguments: dict[str, Any] | None = None
    _compile_loss: CompiledLoss | None = None
    _compile_metrics: CompiledMetrics | None = None
    _loss_tracker: Mean | None = None
    _output_trackers: tuple[Mean, ...] = ()

    # -- for subclasses -------------------------------------------------------------------------------------------------------------

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True) -> Any:
        """The compiled loss and everything that layers added, as one number: a mean over the samples.

        Raises:
            UsageError: there is nothing to make small.
        """
        context = innermost()
        if y_pred is not None and self._compile_loss is not None and not self._compile_loss.built:
            self.build_compiled(y_pred, y)
        total: Tensor | None = None
        if self._compile_loss is not None:
            total = self._compile_loss.slice_value(y, y_pred, sample_weight, 1.0 if context is None else context.slice_fraction)
        for added in self.losses:
            total = added.sum() if total is None else total + added.sum()
        if total is None:
            raise no_loss()
        return total

    def train_step(self, data: Any) -> dict[str, Any]:
        """Forward, backward, update and logs for a batch, or a slice of one."""
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        y_pred = self(x, training=True) if self._call_takes_training() else self(x)  # type: ignore[operator]
        self.zero_grad()  # type: ignore[attr-defined]
        loss = self.checked_loss(x, y, y_pred, sample_weight, True)
        self._track(loss, x)
        weights = self.trainable_weights  # type: ignore[attr-defined]
        if weights:
            scale = getattr(self.optimizer, "scale_loss", None)
            (loss if scale is None else scale(loss)).backward()
            with torch.no_grad():
                self.optimizer.apply_gradients([(weight.grad, weight) for weight in weights])
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def test_step(self, data: Any) -> dict[str, Any]:
        """Forward and logs for a batch, or a slice of one."""
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        y_pred = self(x, training=False) if self._call_takes_training() else self(x)  # type: ignore[operator]
        self._track(self.checked_loss(x, y, y_pred, sample_weight, False), x)
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def predict_step(self, data: Any) -> Any:
        """The outputs for a batch, or a slice of one."""
        x, _, _ = unpack_x_y_sample_weight(data)
        return self(x, training=False) if self._call_takes_training() else self(x)  # type: ignore[operator]

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Add a batch to the compiled metrics; the results of all metrics."""
        if self._compile_metrics is not None:
            self._compile_metrics.update_state(y, y_pred, sample_weight)
        return self.get_metrics_result()

    # -- metrics --------------------------------------------------------------------------------------------------------------------

    @property
    def metrics(self) -> list[Any]:
        """Keras's list: the mean of the loss, the compiled metrics as one, the losses of outputs, then metrics that the model holds."""
        return [*self.loss_trackers(), *self._held_metrics()]

    @property
    def metrics_names(self) -> list[str]:
        """The names of `metrics`."""
        return [metric.name for metric in self.metrics]

    def get_metrics_result(self) -> dict[str, Any]:
        """The running result of each of `metrics`, by name; those of the compiled metrics among them."""
        found: dict[str, Any] = {}
        for metric in self.metrics:
            if isinstance(metric, TorchMetric) and not metric.reached():
                continue
            result = metric.result()
            found.update(result if isinstance(result, dict) else {metric.name: result})
        return found

    def reset_metrics(self) -> None:
        """Set all metrics back."""
        for metric in self.metrics:
            metric.reset_state()

    @property
    def losses(self) -> list[Tensor]:
        """What the layers added in the running pass, or in the last one; then the penalties of the weights."""
        context = innermost()
        added = self._call_losses if context is None else context.losses  # type: ignore[attr-defined]
        return [*added, *self.regularization_losses()]  # type: ignore[attr-defined]

    def loss_trackers(self) -> list[Any]:
        """The metrics that `compile` makes."""
        if self._compile_arguments is None or self._loss_tracker is None:
            return []
        given = self._compile_metrics is not None and (self._compile_metrics.given or self._compile_metrics.entries)
        return [self._loss_tracker, *([self._compile_metrics] if given else []), *self._output_trackers]

    def _held_metrics(self) -> list[Metric]:
        """Metrics in attributes of the model and of its layers, also in lists and dicts."""
        found = list(_metrics_in(vars(self)))
        for module in self.modules():  # type: ignore[attr-defined]
            if module is not self and isinstance(module, Layer) and not isinstance(module, TrainStep):
                found += _metrics_in(vars(module))
        return list({id(metric): metric for metric in (*found, *self._held_torchmetrics())}.values())

    def _held_torchmetrics(self) -> list[TorchMetric]:
        """The torchmetrics in attributes, each as one of ours; always the same ones."""
        known = self.__dict__.setdefault("_of_torchmetrics", {})
        for name, metric in metrics_within(self):  # type: ignore[arg-type]
            if id(metric) not in known or known[id(metric)].metric is not metric:
                known[id(metric)] = TorchMetric(metric, name)
        return [known[id(metric)] for _, metric in metrics_within(self)]  # type: ignore[arg-type]

    # -- what the runtime asks ------------------------------------------------------------------------------------------------------

    def overridden_steps(self) -> frozenset[str]:
        """Which of the methods above the class brings itself."""
        return _overridden(cast(Any, type(self)))

    def own_metrics(self) -> tuple[list[Any], list[Any]]:
        """(the metrics that the model holds, those of them that are logged)."""
        held = self._held_metrics()
        made = {id(metric) for metric in self.loss_trackers()}
        listed = [metric for metric in self.metrics if id(metric) not in made] if "metrics" in self.overridden_steps() else held
        return list({id(metric): metric for metric in (*held, *listed)}.values()), listed

    @property
    def compiled_loss(self) -> CompiledLoss:
        """The losses, as `compile` made them."""
        assert self._compile_loss is not None
        return self._compile_loss

    @property
    def compiled_metrics(self) -> CompiledMetrics | None:
        """The metrics, as `compile` made them."""
        return self._compile_metrics

    def build_compiled(self, outputs: Any, y: Any) -> None:
        """Fit losses and metrics to the outputs for an example with targets `y`; once."""
        loss, metrics = self._compile_loss, self._compile_metrics
        if loss is None or metrics is None:
            return
        described = Outputs(outputs, getattr(self, "output_names", None))
        if not loss.built:
            loss.build(described, y, outputs)
            self.__dict__["_output_trackers"] = tuple(Mean(name=name) for name in loss.value_names())
        if not metrics.built:
            metrics.build(described, loss, y, outputs)

    def checked_loss(self, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool) -> Tensor:
        """`compute_loss`, also of a class that wrote it before Keras gave it `training`."""
        arguments = {"training": training} if _takes_training(cast(Any, type(self))) else {}
        loss = self.compute_loss(x, y, y_pred, sample_weight, **arguments)
        if not isinstance(loss, Tensor) or loss.ndim:
            shape = f" of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else ""
            raise UsageError(f"{type(self).__name__}.compute_loss gave {type(loss).__name__}{shape}: expected a tensor of one number.")
        return loss

    def _track(self, loss: Tensor, x: Any) -> None:
        """Add a batch to the mean of the loss, and to those of the outputs."""
        samples = rows_in(x)
        assert self._loss_tracker is not None
        self._loss_tracker.update_state(loss.detach(), sample_weight=samples)
        if self._compile_loss is not None:
            for tracker, part in zip(self._output_trackers, self._compile_loss.parts, strict=False):
                tracker.update_state(part.detach(), sample_weight=samples)

    def _call_takes_training(self) -> bool:
        return bool(self._signature.takes_training)  # type: ignore[attr-defined]

    def flat_results(self, logs: dict[str, Any]) -> Any:
        """Logs as `evaluate` and `train_on_batch` give them: the loss, or [loss, metrics in their order, the rest by name]."""
        order: list[str] = []
        for metric in self.metrics:
            order += [inner.name for inner in metric.metrics] if isinstance(metric, CompiledMetrics) else [metric.name]
        known = [name for name in dict.fromkeys(order) if name in logs]
        values = [logs[name] for name in (*known, *sorted(name for name in logs if name not in known))]
        return values[0] if len(values) == 1 else values


@functools.cache
def _overridden(cls: Any) -> frozenset[str]:
    return frozenset(name for name in _OVERRIDABLE if getattr(cls, name) is not getattr(TrainStep, name))


@functools.cache
def _takes_training(cls: Any) -> bool:
    parameters = inspect.signature(cls.compute_loss).parameters.values()
    return any(parameter.name == "training" or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _metrics_in(value: Any, depth: int = 0) -> Iterator[Metric]:
    if isinstance(value, Metric):
        yield value
    elif isinstance(value, dict) and depth < 3:
        for name, item in value.items():
            if depth or name not in _INTERNAL:
                yield from _metrics_in(item, depth + 1)
    elif isinstance(value, list | tuple) and depth < 3:
        for item in value:
            yield from _metrics_in(item, depth + 1)
