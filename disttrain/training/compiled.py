"""What `compile` was given, fitted to a model's outputs: losses and metrics by output, as sums that add up over slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain import losses, metrics
from disttrain.data.structure import flatten
from disttrain.errors import DataError


def _by_output(argument: str, given: Any, names: Sequence[str]) -> list[Any]:
    """One entry for each output from a single thing, a list, or a dict by output name."""
    if isinstance(given, dict):
        unknown = sorted(set(given) - set(names))
        if unknown:
            raise ValueError(
                f"compile({argument}=...) names the outputs {unknown}, which the model does not have; its outputs are {list(names)}."
            )
        return [given.get(name) for name in names]
    if isinstance(given, list | tuple):
        if len(given) != len(names):
            raise ValueError(f"compile({argument}=...) has {len(given)} entries for the {len(names)} outputs {list(names)}.")
        return list(given)
    return [given] * len(names)


class CompiledLoss:
    """The weighted sum of the losses of the outputs.

    `slice_value` is the mean over the samples of one slice; the runtime multiplies by the slice's share of the batch, so that the slices
    add up to the mean over the batch.
    """

    def __init__(self, loss: Any, loss_weights: Any, output_names: Sequence[str]) -> None:
        self.names = list(output_names)
        self.losses = [losses.get(entry) if entry is not None else None for entry in _by_output("loss", loss, self.names)]
        weights = _by_output("loss_weights", loss_weights, self.names)
        self.weights = [1.0 if weight is None else float(weight) for weight in weights]
        self.single = len(self.names) == 1 and self.weights[0] == 1.0

    def slice_value(self, y: Any, y_pred: Any, sample_weight: Any, slice_fraction: float) -> tuple[Tensor, list[Tensor]]:
        """(weighted total, the loss of each output that has one) over a slice, each a mean over its samples."""
        if self.single:
            loss = self.losses[0]
            if loss is None:
                return torch.zeros(()), []
            value = loss(_only(y, "y"), _only(y_pred, "y_pred"), _only(sample_weight, "sample_weight"), slice_fraction)
            return value, [value]
        targets = _aligned(y, self.names, "y")
        outputs = _aligned(y_pred, self.names, "outputs")
        weights = _aligned(sample_weight, self.names, "sample_weight", broadcast=True)
        total: Tensor | None = None
        values = []
        for target, output, weight, loss, scale in zip(targets, outputs, weights, self.losses, self.weights, strict=True):
            if loss is None:
                continue
            value = loss(target, output, weight, slice_fraction)
            values.append(value)
            total = value * scale if total is None else total + value * scale
        return (torch.zeros(()) if total is None else total), values

    def value_names(self) -> list[str]:
        """The names under which the outputs' own losses are logged: none for a single output, whose loss is `loss`."""
        if len(self.names) == 1:
            return []
        return [f"{name}_loss" for name, loss in zip(self.names, self.losses, strict=True) if loss is not None]

    def check_targets(self, y: Any, outputs: Any) -> None:
        """Raise DataError for targets that no output could match, such as labels outside the classes.

        `y`: the targets as arrays; `outputs`: the model's outputs for one sample or more.
        """
        if y is None:
            return
        for name, target, output, loss in zip(
            self.names, _aligned(y, self.names, "y"), _aligned(outputs, self.names, "outputs"), self.losses, strict=True
        ):
            check = getattr(loss, "check_targets", None)
            if check is None or target is None:
                continue
            try:
                check(np.asarray(target), tuple(output.shape))
            except DataError as error:
                raise (DataError(f"output {name!r}: {error}") if len(self.names) > 1 else error) from None


class CompiledMetrics:
    """The metrics of the outputs, whose states lie in one flat float64 vector, so that a slice's part is one vector.

    Every state is a sum over samples: adding the parts of all slices gives the state of the whole, whatever the slices are.
    """

    def __init__(self, metrics_given: Any, weighted_given: Any, loss: CompiledLoss, y: Any, y_pred: Any) -> None:
        self.entries: list[tuple[str, int, Any, bool]] = []  # logged name, output number, metric, weighted
        names = loss.names
        targets = _aligned(y, names, "y") if y is not None else [None] * len(names)
        outputs = _aligned(y_pred, names, "outputs")
        taken: set[str] = set()
        for given, weighted in ((metrics_given, False), (weighted_given, True)):
            for number, of_output in enumerate(_metrics_by_output(given, names)):
                for identifier in of_output:
                    target, output = targets[number], outputs[number]
                    metric = metrics.resolve(
                        identifier, None if target is None else tuple(target.shape), tuple(output.shape), loss.losses[number]
                    )
                    name = identifier if isinstance(identifier, str) else metric.name
                    if len(names) > 1:
                        name = f"{names[number]}_{name}"
                    if weighted and name in taken:
                        name = f"weighted_{name}"
                    base, count = name, 0
                    while name in taken:
                        count += 1
                        name = f"{base}_{count}"
                    taken.add(name)
                    self.entries.append((name, number, metric, weighted))
        variables = [variable for _, _, metric, _ in self.entries for variable in metric.variables]
        self.state = torch.zeros(sum(v.numel() for v in variables), dtype=torch.float64)
        offset = 0
        for variable in variables:
            size = variable.numel()
            self.state[offset : offset + size] = variable.detach().reshape(-1)
            variable.set_(self.state.untyped_storage(), offset, variable.shape, torch.empty(variable.shape, device="meta").stride())
            offset += size
        self._names = names

    def update(self, y: Any, y_pred: Any, sample_weight: Any) -> None:
        """Add a slice to the states."""
        if not self.entries:
            return
        targets = _aligned(y, self._names, "y")
        outputs = _aligned(y_pred, self._names, "outputs")
        weights = _aligned(sample_weight, self._names, "sample_weight", broadcast=True)
        for _, number, metric, weighted in self.entries:
            metric.update_state(targets[number], outputs[number], weights[number] if weighted else None)

    def results(self, state: Tensor) -> dict[str, Any]:
        """The value of each metric for the given states; numbers, or lists of them."""
        self.state.copy_(state)
        values = {name: _number(metric.result()) for name, _, metric, _ in self.entries}
        self.state.zero_()
        return values

    def direction(self, name: str) -> str | None:
        """ "up" when more is better, "down" when less is, None when unknown."""
        for own, _, metric, _ in self.entries:
            if own == name:
                return getattr(metric, "_direction", None)
        return None


def _number(value: Any) -> Any:
    """A Python number, or nested lists of them."""
    return value.tolist() if hasattr(value, "tolist") else float(value)


def _metrics_by_output(given: Any, names: Sequence[str]) -> list[list[Any]]:
    if given is None:
        return [[] for _ in names]
    if len(names) > 1 and not isinstance(given, dict) and not (isinstance(given, list | tuple) and len(given) == len(names)):
        raise ValueError(
            f"compile(metrics=...) for the {len(names)} outputs {list(names)}: expected a dict by output name or one entry for each."
        )
    if len(names) == 1 and not isinstance(given, dict):
        given = given[0] if isinstance(given, list | tuple) and len(given) == 1 and isinstance(given[0], list | tuple) else given
        return [list(given) if isinstance(given, list | tuple) else [given]]
    return [
        [] if entry is None else list(entry) if isinstance(entry, list | tuple) else [entry]
        for entry in _by_output("metrics", given, names)
    ]


def _only(structure: Any, what: str) -> Any:
    """The one leaf of a structure."""
    if not isinstance(structure, dict | list | tuple):
        return structure
    leaves = flatten(structure)
    if len(leaves) > 1:
        raise DataError(f"{what} holds {len(leaves)} arrays, the model has one output: expected one.")
    return leaves[0] if leaves else None


def _aligned(structure: Any, names: Sequence[str], what: str, *, broadcast: bool = False) -> list[Any]:
    """One leaf for each output."""
    if len(names) == 1:
        return [_only(structure, what)]
    if isinstance(structure, dict):
        if set(structure) != set(names) and len(flatten(structure)) != len(names):
            raise DataError(f"{what} has the keys {sorted(structure)}, the model's outputs are {list(names)}.")
        return [structure.get(name) for name in names] if set(structure) <= set(names) else flatten(structure)
    if structure is None or (broadcast and not isinstance(structure, list | tuple)):
        return [structure] * len(names)
    leaves = flatten(structure)
    if len(leaves) != len(names):
        raise DataError(f"{what} holds {len(leaves)} arrays, the model has {len(names)} outputs: {list(names)}.")
    return leaves
