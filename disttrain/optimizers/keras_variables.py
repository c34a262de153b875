"""The state of an optimizer as the list of variables that Keras has, in Keras's order, which is how files hold it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.variables import State, as_variable


class OptimizerVariable(State):
    """One of `optimizer.variables`: a slot, or a number that the optimizer holds, such as the count of its steps."""

    _write: Callable[[Tensor], Any] | None = None

    def assign(self, value: Any) -> Tensor:
        new = super().assign(value)
        if self._write is not None:
            self._write(new)
        return new

    def _moved(self, value: Any, called: str, sign: int) -> Tensor:
        new = super()._moved(value, called, sign)
        if self._write is not None:
            self._write(new)
        return new


@dataclass(frozen=True, slots=True)
class Entry:
    """One variable of an optimizer: its name, its value (a live view where it is a tensor), and how to set it."""

    name: str
    value: Tensor
    write: Callable[[Tensor], Any]

    def variable(self, owner: str) -> Tensor:
        """The value with the methods of Keras's variables, on the same memory; what is assigned reaches the optimizer."""
        made: Tensor = as_variable(self.value, OptimizerVariable, name=self.name.replace("/", "_"), scope=owner)
        made._write = self.write  # type: ignore[attr-defined]
        return made

    @staticmethod
    def of(name: str, tensor: Tensor) -> Entry:
        """A tensor of the state itself."""
        return Entry(name, tensor, tensor.copy_)


def as_arrays(entries: Sequence[Entry]) -> list[np.ndarray]:
    """The values, copied; bfloat16, which NumPy lacks, as float32."""
    values = [entry.value.detach().cpu() for entry in entries]
    return [np.array((value.float() if value.dtype == torch.bfloat16 else value).numpy()) for value in values]


@torch.no_grad()
def write_all(owner: str, entries: Sequence[Entry], values: Sequence[Any]) -> None:
    """Set every variable, or none.

    Raises:
        ValueError: another number of values than of variables, or a value of another shape; both are named.
    """
    if len(values) != len(entries):
        raise ValueError(
            f"You are calling set_weights of {owner}, which has {len(entries)} variables, with {len(values)} values.\n"
            f"  expected  {', '.join(entry.name for entry in entries[:8])}{', ...' if len(entries) > 8 else ''}\n"
            "  try       an optimizer with the same arguments, on the same trainable weights, as the one that was saved"
        )
    tensors = [value if isinstance(value, Tensor) else torch.from_numpy(np.array(value)) for value in values]
    for number, (entry, tensor) in enumerate(zip(entries, tensors, strict=True)):
        if entry.value.shape != tensor.shape:
            raise ValueError(
                f"{owner}: variable {number}, {entry.name!r}, has shape {tuple(entry.value.shape)}, the value given {tuple(tensor.shape)}."
            )
    for entry, tensor in zip(entries, tensors, strict=True):
        entry.write(tensor)


class KerasVariables:
    """The part of an optimizer that lists its variables; `Optimizer` has the state itself."""

    name: str
    slot_names: tuple[str, ...]
    slots: dict[str, list[Tensor]]
    calls: int
    built: bool
    _learning_rate: Any

    def build(self, params: Sequence[Tensor], names: Sequence[str] | None = None) -> None:
        """Make the slots; see `Optimizer`."""
        raise NotImplementedError

    def slot_groups(self) -> tuple[tuple[str, ...], ...]:
        """The rule's slots as Keras orders them: one group after the other, the slots of a group in turn for each variable."""
        return (self.slot_names,)

    def entries(self) -> list[Entry]:
        """The variables in Keras's order.

        `iteration`; `learning_rate`, unless it is computed; and once built, the averages of all weights; their accumulated gradients;
        then the rule's own, which its docstring gives.
        """
        found = [Entry("iteration", torch.tensor(self.calls, dtype=torch.int32), lambda value: setattr(self, "calls", int(value)))]
        if isinstance(self._learning_rate, float):
            rate = torch.tensor(self._learning_rate, dtype=torch.float32)
            found.append(Entry("learning_rate", rate, lambda value: setattr(self, "_learning_rate", float(value))))
        for slot in ("average", "gradient_accumulator"):
            if slot not in self.slot_names:
                found += [Entry.of(f"{slot}/{place}", tensor) for place, tensor in enumerate(self.slots.get(slot, ()))]
        return [*found, *self.own_entries()] if self.built else found

    def own_entries(self) -> list[Entry]:
        """The part of `entries` that is the rule's."""
        found: list[Entry] = []
        for group in self.slot_groups():
            for place, tensors in enumerate(zip(*(self.slots[slot] for slot in group), strict=True)):
                found += [Entry.of(f"{slot}/{place}", tensor) for slot, tensor in zip(group, tensors, strict=True)]
        return found

    @property
    def variables(self) -> list[Tensor]:
        """What Keras lists under this name, in its order (see `entries`): the slots themselves, and numbers, as variables."""
        return [entry.variable(self.name) for entry in self.entries()]

    def named_variables(self, names: Sequence[str] | None = None) -> list[tuple[str, Tensor]]:
        """(name, tensor) of `variables`: `iteration`, `learning_rate`, then `<slot>/<variable>`, by number unless `names` are given."""
        found = []
        for entry in self.entries():
            slot, _, place = entry.name.partition("/")
            found.append((f"{slot}/{names[int(place)]}" if names is not None and place else entry.name, entry.value))
        return found

    def load_variables(self, values: Sequence[Any]) -> None:
        """Set all `variables` of a built optimizer, from arrays or tensors in their order.

        Raises:
            ValueError: another number of values, or another shape; nothing is changed then.
        """
        write_all(type(self).__name__, self.entries(), values)

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Keras's other name for `load_variables`."""
        self.load_variables(weights)

    def keras_variables(self, params: Sequence[Tensor] = (), names: Sequence[str] | None = None) -> list[np.ndarray]:
        """Copies of `variables`, as a file holds them under "0", "1", ...; an optimizer without state is built on `params` first."""
        if not self.built:
            self.build(params, names)
        return as_arrays(self.entries())

    def set_keras_variables(self, params: Sequence[Tensor], arrays: Sequence[Any], names: Sequence[str] | None = None) -> None:
        """The inverse of `keras_variables`; raises as `load_variables` does."""
        if not self.built:
            self.build(params, names)
        self.load_variables(arrays)
