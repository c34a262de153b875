"""What `compile(metrics=..., weighted_metrics=...)` was given, fitted to a model's outputs; itself used as a metric, as in Keras."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from disttrain import metrics
from disttrain.metrics import TorchMetric
from disttrain.metrics.from_torchmetrics import in_collection, is_collection
from disttrain.training.compiled.loss import CompiledLoss, single_precision
from disttrain.training.compiled.outputs import Outputs


@dataclass(frozen=True)
class Entry:
    """One metric of one output: the name in the logs, the number of the output, and whether weights reach it."""

    name: str
    output: int
    metric: Any
    weighted: bool


class CompiledMetrics:
    """The metrics of all outputs.

    Every state is a sum over samples: adding the parts of all slices gives the state of the whole, whatever the slices are.
    """

    name = "compile_metrics"

    def __init__(self, given: Any, weighted: Any) -> None:
        for argument, value in (("metrics", given), ("weighted_metrics", weighted)):
            if value is not None and is_collection(value):
                continue
            if value and not isinstance(value, list | tuple | dict):
                raise ValueError(f"compile({argument}={value!r}): expected a list, or a dict by output name.")
        self._given, self._weighted = given, weighted
        self.given = any(value is not None and bool(len(value)) for value in (given, weighted))
        self.entries: list[Entry] = []
        self.outputs: Outputs | None = None
        self._wanted: list[bool] = []

    @property
    def functions(self) -> list[Any]:
        """What was given, in its nesting."""
        return [self._given, self._weighted]

    @property
    def built(self) -> bool:
        """Is it fitted to a model's outputs?"""
        return self.outputs is not None

    def build(self, outputs: Outputs, loss: CompiledLoss, y: Any, y_pred: Any) -> CompiledMetrics:
        """Fit to `outputs`; an example's targets and outputs choose `"accuracy"`.

        Raises:
            ValueError: metrics for outputs that are not there, an unknown name.
        """
        self.outputs, self.entries, self._wanted = outputs, [], loss.wanted
        targets = outputs.aligned(y, "y", wanted=self._wanted) if y is not None else [None] * outputs.count
        predictions = outputs.leaves(y_pred)
        taken: set[str] = set()
        for argument, given, weighted in (("metrics", self._given, False), ("weighted_metrics", self._weighted, True)):
            for number, of_output in enumerate(_by_output(argument, given, outputs)):
                for identifier in of_output:
                    target = targets[number]
                    metric = metrics.resolve(
                        identifier,
                        None if target is None else tuple(target.shape),
                        tuple(predictions[number].shape),
                        loss.losses[number],
                    )
                    prefix = f"{outputs.names[number]}_" if outputs.count > 1 else ""
                    name = f"{prefix}{identifier if isinstance(identifier, str) else metric.name}"
                    if weighted and name in taken:
                        name = f"{prefix}weighted_{name.removeprefix(prefix)}"
                    base, count = name, 0
                    while name in taken:
                        count += 1
                        name = f"{base}_{count}"
                    taken.add(name)
                    self.entries.append(Entry(name, number, metric, weighted))
                    if isinstance(metric, TorchMetric) and target is not None:  # how many values it keeps of a sample
                        metric.update_state(target, single_precision(predictions[number]))
                        metric.measure(len(predictions[number]))
        return self

    @property
    def metrics(self) -> list[Any]:
        """The metrics, in the order of the logs."""
        return [entry.metric for entry in self.entries]

    @property
    def variables(self) -> list[Tensor]:
        """The states of all metrics."""
        return [variable for metric in self.metrics for variable in metric.variables]

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch, or a slice of one, to the states."""
        if not self.entries:
            return
        plain = isinstance(y_pred, Tensor) and not isinstance(y_true, dict | list | tuple) and not isinstance(sample_weight, dict | list)
        if len(self.entries) == 1 and plain:
            entry = self.entries[0]
            entry.metric.update_state(y_true, single_precision(y_pred), sample_weight if entry.weighted else None)
            return
        assert self.outputs is not None
        targets = self.outputs.aligned(y_true, "y", wanted=self._wanted)
        predictions = [single_precision(output) for output in self.outputs.leaves(y_pred)]
        weights = self.outputs.aligned(sample_weight, "sample_weight", broadcast=True)
        for entry in self.entries:
            number = entry.output
            entry.metric.update_state(targets[number], predictions[number], weights[number] if entry.weighted else None)

    def result(self) -> dict[str, Any]:
        """The value of each metric, by the name in the logs."""
        return {entry.name: entry.metric.result() for entry in self.entries}

    def reset_state(self) -> None:
        """Start again from zero."""
        for metric in self.metrics:
            metric.reset_state()

    def direction(self, name: str) -> str | None:
        """ "up" when more is better, "down" when less is, None when unknown."""
        return next((getattr(entry.metric, "_direction", None) for entry in self.entries if entry.name == name), None)


def bind(variables: Sequence[Tensor], vector: Tensor) -> None:
    """Make `variables` views of `vector`, a float64 tensor of as many numbers, one after the other; `vector` keeps its values."""
    offset = 0
    for variable in variables:
        size = variable.numel()
        strides = torch.empty(variable.shape, device="meta").stride()
        if variable.device == vector.device:
            variable.set_(vector.untyped_storage(), vector.storage_offset() + offset, variable.shape, strides)
        else:
            variable.data = vector[offset : offset + size].view(variable.shape)
        offset += size


def numbers(results: dict[str, Any]) -> dict[str, Any]:
    """Results as Python numbers or nested lists of them; a dict of results among them is spread out, as in Keras's logs."""
    plain: dict[str, Any] = {}
    for name, value in results.items():
        if isinstance(value, dict):
            plain.update(numbers(value))
        else:
            plain[name] = _plain(value)
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):  # such as the curves of torchmetrics
        return [_plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else float(value)


def distinct(found: Iterable[Any]) -> list[Any]:
    """Each object once, in the order in which it is met."""
    seen: dict[int, Any] = {}
    for item in found:
        seen.setdefault(id(item), item)
    return list(seen.values())


def _by_output(argument: str, given: Any, outputs: Outputs) -> list[list[Any]]:
    if not given:
        return [[] for _ in outputs.names]
    if outputs.count == 1:
        return [_identifiers(given)]
    if isinstance(given, list | tuple) and len(given) != outputs.count:
        raise ValueError(
            f"compile({argument}=...) for the {outputs.count} outputs {outputs.names}: expected a dict by name or a list of one entry each."
        )
    return [_identifiers(entry) for entry in outputs.chosen(argument, given)]


def _identifiers(given: Any) -> list[Any]:
    """The metrics in nested lists or a dict by name, flat; a config, itself a dict, is one."""
    if given is None:
        return []
    if is_collection(given):
        return in_collection(given)
    if isinstance(given, dict) and "class_name" not in given:
        return [found for key in sorted(given) for found in _identifiers(given[key])]
    if isinstance(given, list | tuple):
        return [found for item in given for found in _identifiers(item)]
    return [given]
