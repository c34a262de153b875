"""A metric of the package torchmetrics as one of ours. The package itself is never imported: its objects are known by their class.

Torchmetrics says of each state how the states of several processes come together: `dist_reduce_fx`. That is how the slices of a batch, and
the steps of an epoch, come together here. Sums and means are added up as our own variables are. The largest, the smallest, and values that
are kept one by one travel beside them, in places of their own for each slice or each sample: see `Gathered`.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from disttrain.errors import DataError, UsageError
from disttrain.host_numbers import on_device
from disttrain.identifiers import to_snake_case
from disttrain.metrics.base import Metric, Variable
from disttrain.metrics.shapes import same_rank, without_gradient

_AROUND = frozenset({"ClasswiseWrapper", "CompositionalMetric"})  # what holds other metrics, and no state that it does not give them


def is_torchmetric(thing: Any) -> bool:
    """A `torchmetrics.Metric`."""
    kind: Any = type(thing)
    return "Metric" in _names(kind)


def is_collection(thing: Any) -> bool:
    """A `torchmetrics.MetricCollection`."""
    kind: Any = type(thing)
    return "MetricCollection" in _names(kind)


@functools.cache
def _names(kind: Any) -> frozenset[str]:
    """The classes of the package that it is made from."""
    return frozenset(base.__name__ for base in kind.__mro__ if base.__module__.split(".")[0] == "torchmetrics")


def in_collection(collection: Any) -> list[TorchMetric]:
    """The metrics of a collection, under their names there."""
    return [TorchMetric(metric, name) for name, metric in collection.items()]


def metrics_within(module: nn.Module) -> list[tuple[str, Any]]:
    """(name of the attribute, torchmetrics.Metric) below a module, without those that another one holds."""
    found: dict[int, tuple[str, Any]] = {}
    inner: set[int] = set()
    for path, child in module.named_modules():
        if is_collection(child):
            child._enable_compute_groups = child._groups_checked = False  # metrics of a group would share their states
        if is_torchmetric(child):
            found.setdefault(id(child), (path.rpartition(".")[2], child))
            inner |= {id(below) for below in child.modules() if below is not child}
    return [pair for key, pair in found.items() if key not in inner]


@dataclass
class Added:
    """A state that is added up.

    Args:
        owner, name: whose attribute it is.
        place: of its sum among the variables.
        mean: is it the mean over updates, rather than the sum?

    Attributes:
        dtype: that of the state, once an example has reached it.
    """

    owner: Any
    name: str
    place: int
    mean: bool
    dtype: torch.dtype | None = None

    @property
    def value(self) -> Tensor:
        """The state as it is now."""
        value: Tensor = getattr(self.owner, self.name).detach()
        return value

    @property
    def default(self) -> Tensor:
        """What a state begins with."""
        value: Tensor = self.owner._defaults[self.name]
        return value


@dataclass
class Gathered:
    """A state whose parts are no summands: a slice puts its own in a place of its own, so that the sum of all holds each.

    Args:
        kind: "max", "min" or "cat".
        default: where "max" and "min" begin.

    Attributes:
        pending: what the running slice has so far.
        rows: of "cat", how many a sample has; `width` numbers each, of shape `row`.
        whole: over the phase, set for the time of a result.
    """

    owner: Any
    name: str
    kind: str
    default: Any
    pending: list[Tensor] = field(default_factory=list)
    rows: int = 0
    row: tuple[int, ...] = ()
    dtype: torch.dtype = torch.float32
    whole: Tensor | None = None

    @property
    def width(self) -> int:
        return int(torch.Size(self.row).numel())

    def measure(self, samples: int) -> None:
        """Learn from what `samples` samples gave how many rows there are."""
        values = self._joined()
        if values is None:
            return
        self.row, self.dtype = tuple(values.shape[1:]), values.dtype
        if self.kind != "cat":
            return
        if len(values) % samples:
            raise self._uneven(len(values), samples)
        self.rows = len(values) // samples

    def size(self, slices: int, samples: int) -> int:
        """Numbers for a step of so many slices and samples."""
        return (slices if self.kind != "cat" else samples * self.rows) * self.width

    def kept(self, samples: int) -> int:
        """Numbers for a phase of so many samples."""
        return (1 if self.kind != "cat" else samples * self.rows) * self.width

    def write(self, target: Tensor, rank: int, rows: tuple[int, int, int]) -> None:
        """The running slice's part into `target`, which is zero; the next slice begins with nothing."""
        values, (first, stop, _) = self._joined(), rows
        self.pending = []
        if self.kind != "cat":
            values = self.default.expand(1, *self.row) if values is None else values
            target[rank * self.width : (rank + 1) * self.width] = self._extreme(values).double().reshape(-1)
            return
        count = 0 if values is None else len(values)
        if count != self.rows * (stop - first) or (values is not None and tuple(values.shape[1:]) != self.row):
            raise self._uneven(count, stop - first)
        if values is not None:
            target[first * self.rows * self.width : stop * self.rows * self.width] = values.double().reshape(-1)

    def fold(self, kept: Tensor, step: Tensor, slices: int, before: int, count: int) -> None:
        """Put a step of `slices` slices and `count` samples, after `before` samples of the phase, to what is kept."""
        if self.kind != "cat":
            values = step[: slices * self.width].reshape(slices, self.width)
            if before:
                values = torch.cat([values, kept.reshape(1, -1)])
            kept.copy_(self._extreme(values))
            return
        per = self.rows * self.width
        kept[before * per : (before + count) * per] = step[: count * per]

    def read(self, kept: Tensor, samples: int) -> None:
        """Let the state be what is kept of `samples` samples."""
        size = self.kept(samples)
        self.whole = kept[:size].to(self.dtype).reshape(-1, *self.row) if self.kind == "cat" else kept.to(self.dtype).reshape(self.row)

    def value(self) -> Any:
        """The state, as torchmetrics keeps it."""
        if self.whole is not None:
            return [self.whole] if self.kind == "cat" else self.whole
        values = self._joined()
        if self.kind == "cat":
            return [] if values is None else [values]
        return self.default.clone() if values is None else self._extreme(values)

    def _extreme(self, values: Tensor) -> Tensor:
        return values.amax(0) if self.kind == "max" else values.amin(0)

    def _joined(self) -> Tensor | None:
        return torch.cat(self.pending) if self.pending else None

    def _uneven(self, rows: int, samples: int) -> DataError:
        return DataError(
            f"torchmetrics' {type(self.owner).__name__} keeps {rows} values of {samples} samples in its state {self.name!r}.\n"
            f"  expected  as many values of one shape for each sample{f', here {self.rows}' if self.rows else ''}: they are kept by it\n"
            "  try       metrics that keep sums, such as thresholds=100 instead of None, or compute it after predict()"
        )


class TorchMetric(Metric):
    """A `torchmetrics.Metric`, called with (outputs, targets).

    Args:
        metric: the metric.
        name: the name in the logs; the class name in snake_case unless given.

    Variables: one for each state that torchmetrics adds up, and the number of updates where a state is a mean over them.

    Attributes:
        used: did the example of this call reach it? One that it does not reach is the script's, which may count in it what it likes.

    Raises:
        ValueError: a state that cannot be merged; the message names it.
    """

    def __init__(self, metric: Any, name: str | None = None) -> None:
        super().__init__(None, name or to_snake_case(type(metric).__name__))
        self.metric = metric
        better = getattr(metric, "higher_is_better", None)
        self._direction = None if better is None else "up" if better else "down"
        self._added: list[Added] = []
        self.gathered: list[Gathered] = []
        self.used: bool = False
        self._is_ours, self._knows_shapes, self._holds_whole = True, False, False
        self._aside: list[tuple[int, dict[str, Any]]] = []
        self._inner = self._found()
        for inner in self._inner:
            inner.sync_on_compute = inner.dist_sync_on_step = inner._to_sync = False  # slices come together here
            for state, reduction in inner._reductions.items():
                self._add_state(inner, state, reduction, inner._defaults[state])
        self._updates = len(self._variables) if any(state.mean for state in self._added) else None
        if self._updates is not None:
            self.add_variable(name="updates")

    def _found(self) -> list[Any]:
        """The metric, and those that it is made of."""
        kind = type(self.metric).__name__
        below = [inner for inner in self.metric.modules() if is_torchmetric(inner)]
        if len(below) > 1 and kind not in _AROUND:
            raise ValueError(
                f"torchmetrics' {kind} keeps other metrics and what it makes of them: that cannot be merged over slices.\n"
                "  try       the metrics themselves"
            )
        return below

    def _add_state(self, inner: Any, state: str, reduction: Any, default: Any) -> None:
        how = getattr(reduction, "__name__", "").removeprefix("dim_zero_")
        if isinstance(default, list) and (reduction is None or how == "cat"):
            self.gathered.append(Gathered(inner, state, "cat", []))
        elif isinstance(default, Tensor) and how in ("sum", "mean"):
            self._added.append(Added(inner, state, len(self._variables), how == "mean"))
            self.add_variable(tuple(default.shape), name=state)
        elif isinstance(default, Tensor) and how in ("max", "min"):
            self.gathered.append(Gathered(inner, state, how, default))
        else:
            says = "None" if reduction is None else getattr(reduction, "__name__", repr(reduction))
            raise ValueError(
                f"torchmetrics' {type(inner).__name__}: its state {state!r} has dist_reduce_fx={says}: slices cannot be merged by that.\n"
                "  expected  sum, mean, max, min or cat\n"
                "  try       a metric of dt.metrics, or compute it after predict()"
            )

    # -- one slice ------------------------------------------------------------------------------------------------------------------

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        if sample_weight is not None:
            raise UsageError(
                f"torchmetrics' {type(self.metric).__name__} takes no weights of samples.\n"
                "  expected  it in metrics=, not in weighted_metrics="
            )
        self._begin()
        outputs, targets = self._arguments(y_true, y_pred)
        if self.metric.device != outputs.device:
            self.metric.to(outputs.device)
        self.metric.update(outputs, targets)
        self.collect()

    def _arguments(self, y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
        """(outputs, targets) as torchmetrics wants them: of one rank, labels as integers; steps that a mask leaves out are gone."""
        mask: Tensor | None = getattr(y_pred, "_keras_mask", None)
        outputs = without_gradient(y_pred)
        targets = on_device(y_true, outputs.device)
        if targets.shape != outputs.shape:
            if targets.ndim == outputs.ndim > 1 and targets.shape[-1] == 1 < outputs.shape[-1]:
                targets = targets.squeeze(-1)  # labels as a column
            elif outputs.shape[-1:] == (1,) or targets.shape[-1:] == (1,):
                targets, outputs = same_rank(targets, outputs)
        labels = any(".classification" in type(inner).__module__ for inner in self._inner)
        if labels and targets.is_floating_point() and bool((targets == targets.round()).all()):
            targets = targets.long()
        return (outputs, targets) if mask is None else (outputs[mask], targets[mask])

    def begin_slice(self) -> None:
        """Nothing is measured yet."""
        self._begin()
        for state in self.gathered:
            state.pending = []

    def _begin(self) -> None:
        self.metric.reset()
        self._holds_whole = False

    @torch.no_grad()
    def collect(self) -> None:
        """Add what the metric holds to the variables, and begin it anew."""
        updates = max(inner._update_count for inner in self._inner)
        if not updates or self._holds_whole or not self._is_ours:
            return
        self.used = True
        if not self._knows_shapes:
            self._learn_shapes()
        for added in self._added:
            variable, value = self._variables[added.place], added.value
            variable.add_(value.double() * updates if added.mean else value.double() - added.default.to(variable.device).double())
        if self._updates is not None:
            self._variables[self._updates].add_(updates)
        for of in self.gathered:
            value = getattr(of.owner, of.name)
            if of.kind == "cat":
                of.pending += [torch.atleast_1d(part.detach()) for part in (value if isinstance(value, list) else [value])]
            else:
                of.pending.append(value.detach().clone().unsqueeze(0))
        self._begin()

    def _learn_shapes(self) -> None:
        """An example tells: a state may begin as one number and become one for each output."""
        self._knows_shapes = True
        for added in self._added:
            added.dtype = added.value.dtype
            if added.value.shape != self._variables[added.place].shape:
                self._variables[added.place] = torch.zeros(added.value.shape, dtype=torch.float64).as_subclass(Variable)

    def set_aside(self) -> None:
        """Before an example is tried out: what the script counted is kept until it is known whose the metric is."""
        self._aside = self._states()
        self.used, self._is_ours = False, True
        self.begin_slice()

    def put_back(self) -> None:
        """After it: a metric that the example did not reach is as it was."""
        self._is_ours = self.used
        if not self.used:
            self._set_states(self._aside)
        self._aside = []

    def reached(self) -> bool:
        """Has anything been measured in this call?"""
        self.collect()
        return self.used

    def measure(self, samples: int) -> None:
        """Learn from what an example of so many samples left here how large the states are; then forget it."""
        self.collect()
        for state in self.gathered:
            state.measure(samples)
        self.reset_state()

    def save(self) -> Any:
        """What the running slice has so far, beside the variables; the next slice may begin."""
        kept = self._states(), [list(state.pending) for state in self.gathered]
        self.begin_slice()
        return kept

    def restore(self, kept: Any) -> None:
        """The inverse of `save`."""
        self._begin()
        self._set_states(kept[0])
        for state, pending in zip(self.gathered, kept[1], strict=True):
            state.pending = list(pending)

    def _states(self) -> list[tuple[int, dict[str, Any]]]:
        """What torchmetrics holds: copies, by metric the number of updates and the states."""
        return [(inner._update_count, copy.deepcopy(inner.metric_state)) for inner in self._inner]

    def _set_states(self, kept: list[tuple[int, dict[str, Any]]]) -> None:
        for inner, (updates, states) in zip(self._inner, kept, strict=True):
            for name, value in states.items():
                setattr(inner, name, value)
            inner._update_count = updates

    # -- results --------------------------------------------------------------------------------------------------------------------

    def read(self, kept: Sequence[Tensor], samples: int) -> None:
        """Let the next results be those of a phase of so many samples: the variables, and what is kept of each of `gathered`."""
        self.begin_slice()
        for state, values in zip(self.gathered, kept, strict=True):
            state.read(values, samples)
        self._holds_whole = True

    @torch.no_grad()
    def result(self) -> Any:
        self.collect()
        for added in self._added:
            total = self._variables[added.place].value
            if added.mean:
                assert self._updates is not None
                whole = total / self._variables[self._updates].value.clamp(min=1.0)
            else:
                whole = total + added.default.to(total.device).double()
            setattr(added.owner, added.name, whole.to(added.dtype or added.default.dtype))
        for of in self.gathered:
            setattr(of.owner, of.name, of.value())
            of.whole = None
        for inner in self._inner:
            inner._update_count, inner._computed = 1, None
        value = self.metric.compute()
        if not self._holds_whole:  # the slice goes on; at the end of a phase the script may ask the metric itself
            self.metric.reset()
        return value

    def reset_state(self) -> None:
        super().reset_state()
        self.begin_slice()

    def get_config(self) -> dict[str, Any]:
        """Holds the metric itself: it is code and belongs to the script."""
        return {"name": self.name, "metric": self.metric}
