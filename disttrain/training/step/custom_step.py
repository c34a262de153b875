"""A `train_step` or `test_step` of the script's own, run for one slice: with optimizers that stop for the sum over slices, and logs that
are known by where they come from."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.data.generators import seed_generators
from disttrain.errors import UsageError
from disttrain.layers.context import CallContext, call_context, innermost
from disttrain.metrics import TorchMetric
from disttrain.training.step.asking import Ask, Noticing
from disttrain.training.step.attributes import Scratch
from disttrain.training.step.custom_step_optimizer import StepOptimizer
from disttrain.training.step.gradient_sums import GradientSums
from disttrain.training.step.model_state import ModelState
from disttrain.training.step.moved import MovedWeights
from disttrain.training.step.rates import Rates
from disttrain.training.step.step_owners import check_holdings, optimizers_of, schedulers_of
from disttrain.training.step.torch_in_step import stopped_at, strangers_refused
from disttrain.training.step.trial import refuse_carried, refuse_moved, tried
from disttrain.variables import Variable

SUMS = ""  # no attribute: slices take the sums of their gradients

Apply = Callable[["ApplyRequest"], None]
_GIVERS = ("compute", "forward")  # of torchmetrics: what gives a result


@dataclass(frozen=True)
class ApplyRequest:
    """What a slice asks for: an update of the parameters of these numbers by these gradients; or a scheduler's step, by this value.
    `moved` are the values of the parameters that it has written into itself."""

    mark: int
    grads: list[Tensor]
    value: float = 0.0
    moved: Sequence[Tensor] = ()


@dataclass(frozen=True)
class Update:
    """A kind of update: by the optimizer that is this attribute of the model, of the parameters of these numbers; or, without numbers, a
    step of the scheduler that it is, by a measured value or not. Under the name `SUMS`, the gradients of these themselves."""

    name: str
    numbers: tuple[int, ...]
    measured: bool = False


@dataclass(frozen=True)
class LogEntry:
    """A name in what the step returns, and the metric whose result it is; None for a number, which is averaged over samples."""

    name: str
    metric: Any
    part: str | None = None  # of a metric whose result is a dict


class CustomStep:
    """The step as the engine needs it.

    Args:
        model: whose method it is.
        method: "train_step" or "test_step".
        state: the model's parameters.
        metrics: every metric that belongs to the model.

    Attributes:
        logs: what the step returns; known after `rehearse`.
        updates: each kind of update, by its mark less 1; mark 0 is the end.
        noticed: what it asks of all slices, known after `rehearse`.
        moved: the parameters that it writes into itself, known likewise.
        scratch: the attributes that it keeps something in while it runs.
        optimizers, schedulers: those that the model holds, by attribute.
    """

    def __init__(self, model: Any, method: str, state: ModelState, metrics: Sequence[Any]) -> None:
        self.model, self.method, self.state, self.metrics = model, method, state, metrics
        self.logs: list[LogEntry] = []
        self.updates: list[Update] = []
        self.noticed = Noticing()
        self._numbers = {id(param): number for number, param in enumerate(state.params)}
        self._local = threading.local()
        self._rehearsing = False
        self.optimizers, self.schedulers = optimizers_of(model), schedulers_of(model)
        self.moved, self.scratch = MovedWeights(model, state, (), Rates(self.optimizers)), Scratch()

    # -- running --------------------------------------------------------------------------------------------------------------------

    @property
    def asks(self) -> bool:
        """Does a loss in it divide by a count of the whole batch?"""
        return self.noticed.asks

    def run(self, data: Any, context: CallContext, apply: Apply, ask: Ask | None = None) -> dict[str, Any]:
        """The step for one slice; each update goes through `apply`, each count over the batch through `ask`. Its logs, as it gave them."""
        assert context.key is not None
        seed_generators(context.key)
        self._local.apply, self._local.updates = apply, 0
        measuring = self._local.measuring = self._summing(context.slice_fraction)
        with call_context(context), self.noticed.slice(ask, context.slice_fraction), measuring:
            logs = getattr(self.model, self.method)(data)
        if not isinstance(logs, dict):
            raise UsageError(
                f"{type(self.model).__name__}.{self.method} returned {type(logs).__name__}.\n"
                "  expected  a dict of logs, such as {m.name: m.result() for m in self.metrics}"
            )
        return _spread(logs)

    def leaves_gradients(self) -> bool:
        """Has the run that is just over, in this thread, computed gradients and updated nothing?"""
        return self.method == "train_step" and not self._local.updates and any(param.grad is not None for param in self.state.params)

    def gradients_left(self) -> UsageError:
        """The error for that: the next step begins without them."""
        return UsageError(
            f"{type(self.model).__name__}.train_step leaves gradients to a later step, which would not find those of the batch.\n"
            "  expected  an update by them in the step that computes them\n"
            "  try       a larger batch_size: --virtual-workers N computes it in N slices, on one worker one after the other;\n"
            "            or gradient_accumulation_steps= of an optimizer of disttrain in compile, without a train_step"
        )

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Stand in for the model's optimizers, and let an outermost call of the model forget the losses of the call before."""
        own = vars(self.model)
        stand_ins = {name: StepOptimizer(name, optimizer, self._on_apply) for name, optimizer in self.optimizers.items()}
        direct = {name: optimizer for name, optimizer in self.optimizers.items() if own.get(name) is optimizer}
        inside = [(optimizer, stand_ins[name]) for name, optimizer in self.optimizers.items() if name not in direct]
        hook = self.model.register_forward_pre_hook(_forget_losses)
        plain = [param for param in self.state.params if not isinstance(param, Variable)]
        for param in plain:
            param.value = param  # type: ignore[attr-defined]  # Keras's `v.value.grad`, of a torch module's parameters too
        try:
            own.update({name: stand_ins[name] for name in direct})
            for optimizer, stand_in in inside:  # in a list, a dict or a module: it is stopped where it is
                vars(optimizer).update(apply=stand_in.apply, apply_gradients=stand_in.apply_gradients)
            with stopped_at(self.optimizers, self.schedulers, self._on_torch_step, self._on_schedule, self._is_executing):
                yield
        finally:
            for optimizer, _ in inside:
                for method in ("apply", "apply_gradients"):
                    vars(optimizer).pop(method, None)
            for param in plain:
                del param.value  # type: ignore[attr-defined]
            for param in self.state.params:
                param.grad = None
            hook.remove()
            own.update(direct)

    @contextmanager
    def executing(self) -> Iterator[None]:
        """Inside, the `step` of optimizers and schedulers is their own."""
        self._local.executing = True
        try:
            yield
        finally:
            self._local.executing = False

    def _is_executing(self) -> bool:
        return getattr(self._local, "executing", False)

    def _on_torch_step(self, name: str) -> None:
        optimizer = self.optimizers[name]
        if self._rehearsing:
            check_holdings(f"self.{name}", optimizer, self.model)
        pairs = {
            self._numbers[id(param)]: param.grad for param in optimizer.holds() if param.grad is not None and id(param) in self._numbers
        }
        self._request(name, pairs, f"self.{name}.step")

    def _on_schedule(self, name: str, value: float | None) -> None:
        self._stop_for(Update(name, (), value is not None), [], 0.0 if value is None else value, f"stepped self.{name} in another way")

    def _summing(self, fraction: float) -> AbstractContextManager[Any]:
        """What lets a slice measure the gradients of the whole batch, where the step measures any."""
        if self._rehearsing or (fraction != 1.0 and any(update.name == SUMS for update in self.updates)):
            return GradientSums(self.state.params, self._on_measured)
        return nullcontext()

    def _on_measured(self, numbers: list[int]) -> None:
        grads = [self.state.params[number].grad for number in numbers]
        self._stop_for(Update(SUMS, tuple(numbers)), grads, 0.0, "measured other gradients")  # type: ignore[arg-type]

    def _on_apply(self, name: str, grads: list[Any], variables: list[Any] | None) -> None:
        if variables is None:
            variables = [p for p in self.state.params if p.grad is not None] if len(grads) != len(self.state.params) else self.state.params
        if len(grads) != len(variables):
            raise UsageError(f"self.{name}.apply: {len(grads)} gradients for {len(variables)} variables.")
        pairs: dict[int, Tensor] = {}
        for grad, variable in zip(grads, variables, strict=True):
            number = self._numbers.get(id(variable))
            if number is None:
                raise UsageError(
                    f"self.{name}.apply: a variable of shape {tuple(getattr(variable, 'shape', ()))} is no trainable weight of the model.\n"
                    "  expected  apply(gradients, self.trainable_weights): gradients first, as in Keras"
                )
            if grad is not None:
                pairs[number] = grad
        self._request(name, pairs, f"self.{name}.apply")

    def _request(self, name: str, pairs: dict[int, Tensor], call: str) -> None:
        if not pairs:
            raise UsageError(f"{call}: no variable has a gradient.\n  expected  loss.backward() before it")
        update = Update(name, tuple(sorted(pairs)))
        self._stop_for(update, [pairs[number] for number in update.numbers], 0.0, f"applied self.{name} to other weights")

    def _stop_for(self, update: Update, grads: list[Tensor], value: float, did: str) -> None:
        if update not in self.updates:
            if not self._rehearsing:
                raise UsageError(
                    f"{type(self.model).__name__}.{self.method} {did} than when it was tried out.\n"
                    "  expected  the same updates for every batch, so that all slices can take part in each"
                )
            self.updates.append(update)
        self._local.updates += bool(update.numbers) and update.name != SUMS
        measuring = self._local.measuring
        with measuring.suspended() if isinstance(measuring, GradientSums) else nullcontext():
            self._local.apply(ApplyRequest(self.updates.index(update) + 1, grads, value))

    # -- trying it out --------------------------------------------------------------------------------------------------------------

    def rehearse(self, data: Any, context: CallContext, virtual_workers: int) -> None:
        """Run the step once on an example, to learn what it updates, writes into and logs; all state stays as it was.

        Raises:
            UsageError: it changes what no slice, worker or checkpoint could bring together.
        """
        seen: dict[int, tuple[Any, Any, str | None]] = {}

        def work() -> dict[str, Any]:
            for metric in self.metrics:
                metric.reset_state()
            fresh = CallContext(context.training, context.key, context.slice_fraction, context.rows)
            logs = self.run(data, fresh, lambda request: None)
            if self.leaves_gradients():
                raise self.gradients_left()
            return logs

        self._rehearsing = True
        iterations = {name: optimizer.calls for name, optimizer in self.optimizers.items()}
        rates = self.moved.rates
        before = rates.values()
        try:
            for optimizer in self.optimizers.values():
                optimizer.calls = 0  # so that every worker sees the same, and what happens every so many steps happens
            with self.installed(), strangers_refused(self.optimizers), _watched_results(self.metrics, seen), self.noticed:
                found = tried(self.model, self.state, work)
            for metric in self.metrics:
                if isinstance(metric, TorchMetric):
                    assert context.rows is not None
                    metric.measure(context.rows[2])
        finally:
            self._rehearsing = False
            rates.set(before)
            for name, optimizer in self.optimizers.items():
                optimizer.calls = iterations[name]
            for metric in self.metrics:
                metric.reset_state()
        where, logs = f"{type(self.model).__name__}.{self.method}", found.result
        refuse_carried(found, where, virtual_workers)
        if self.method != "train_step":
            refuse_moved(found.moved, where, self.model, "do that in train_step, or in a callback")
        self.moved, self.scratch = MovedWeights(self.model, self.state, found.moved, rates), found.scratch
        self.state.moved = [*self.state.moved, *found.moved]
        by_name = {metric.name: metric for metric in self.metrics}
        for name, value in logs.items():
            _, metric, part = seen.get(id(value), (None, None, None))
            if metric is None and isinstance(value, float) and name in by_name:
                metric = by_name[name]  # float(m.result())
            if metric is None:
                _as_number(value, f"{type(self.model).__name__}.{self.method} returned {name!r}")
            self.logs.append(LogEntry(name, metric, part))

    @property
    def means(self) -> list[str]:
        """The names of the logs that are numbers."""
        return [entry.name for entry in self.logs if entry.metric is None]

    def numbers(self, logs: dict[str, Any]) -> list[float]:
        """Those of one slice, in the order of `means`."""
        missing = [entry.name for entry in self.logs if entry.name not in logs]
        if missing or len(logs) != len(self.logs):
            raise UsageError(
                f"{type(self.model).__name__}.{self.method} returned the logs {sorted(logs)}, "
                f"and {sorted(entry.name for entry in self.logs)} when it was tried out.\n  expected  the same names for every batch"
            )
        return [_as_number(logs[name], f"{self.method} returned {name!r}") for name in self.means]

    def results(self, means: Sequence[float]) -> dict[str, Any]:
        """The logs for the given means and for what the metrics hold now."""
        values = iter(means)
        found: dict[str, Any] = {}
        for entry in self.logs:
            if entry.metric is None:
                found[entry.name] = next(values)
            else:
                result = entry.metric.result()
                found[entry.name] = result if entry.part is None else result[entry.part]
        return found


def generator_states() -> tuple[Any, ...]:
    """The states of those generators, and of the one of the GPU in use, if there is one."""
    of_gpu = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
    return random.getstate(), np.random.get_state(), torch.random.get_rng_state(), of_gpu


def set_generator_states(states: tuple[Any, ...]) -> None:
    """The inverse of `generator_states`."""
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.random.set_rng_state(states[2])
    if states[3] is not None:
        torch.cuda.set_rng_state(states[3])


def _forget_losses(module: Any, args: Any) -> None:
    context = innermost()
    if context is not None and context.training is None:  # nothing encloses this call
        context.losses.clear()
        context.metrics.clear()


def _spread(logs: dict[str, Any]) -> dict[str, Any]:
    """Dicts of results among the logs, such as those of the compiled metrics, spread out as in Keras."""
    found: dict[str, Any] = {}
    for name, value in logs.items():
        if isinstance(value, dict):
            found.update(_spread(value))
        else:
            found[name] = value
    return found


def _as_number(value: Any, what: str) -> float:
    try:
        return float(value.detach() if isinstance(value, Tensor) else value)
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(f"{what} as {type(value).__name__}: expected a metric's result or a number.") from None


@contextmanager
def _watched_results(metrics: Sequence[Any], seen: dict[int, tuple[Any, Any, str | None]]) -> Iterator[None]:
    """Remember each object that a metric gives as its result; the objects are kept, so that ids stay theirs."""

    def watched(metric: Any, result: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            value = result(*args, **kwargs)
            parts = value.items() if isinstance(value, dict) else [(None, value)]
            for part, leaf in parts:
                seen[id(leaf)] = (leaf, metric, part)
            return value

        return call

    theirs = [(metric, name, metric.metric.__dict__.get(name)) for metric in metrics if isinstance(metric, TorchMetric) for name in _GIVERS]
    for metric in metrics:
        metric.__dict__["result"] = watched(metric, metric.result)
    for metric, name, _ in theirs:
        metric.metric.__dict__[name] = watched(metric, getattr(metric.metric, name))
    try:
        yield
    finally:
        for metric in metrics:
            del metric.__dict__["result"]
        for metric, name, before in theirs:
            if before is None:
                del metric.metric.__dict__[name]
            else:
                metric.metric.__dict__[name] = before
