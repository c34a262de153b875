"""The walk along time: a cell called step after step, with masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from disttrain.layers.layer import Layer
from disttrain.layers.weight_holder import cast_weights

States = list[Any]  # of tensors; for a stack of cells, of one tensor or list of tensors for each cell
Step = Callable[[Any, States], tuple[Tensor, States]]


@dataclass(frozen=True, slots=True)
class Walk:
    """How to walk, and what is wanted of it.

    Args:
        mask: (batch, time), bool, True where a step counts; None if all do. At a step that does not, states stay as they are.
        training: are dropout masks drawn?
        every_output: the outputs of all steps (batch, time, ...) are wanted, not only the last.
        last_states: the states after the last step are wanted, not only outputs.
        zero_output_for_mask: the output of a step that does not count is zeros, not that of the step before.
        fused: may a kernel that computes all steps at once be used?
    """

    mask: Tensor | None = None
    training: bool = False
    every_output: bool = True
    last_states: bool = True
    zero_output_for_mask: bool = False
    fused: bool = True

    def to_the_next_cell(self) -> Walk:
        """What a stack wants of a cell whose outputs enter another one."""
        return replace(self, every_output=True)


def walk_cell(cell: Any, inputs: Tensor, states: States, how: Walk) -> tuple[Tensor, States]:
    """All steps of `inputs` (batch, time, ...) through one cell: (outputs or the last output, last states).

    A cell that has a `walk` of its own, as those of this package do, is faster than one that is called for every step.
    """
    if isinstance(cell, Layer) and cell._computes_otherwise:
        with cast_weights(cell._weight_holders(), cell._compute_dtype):  # once, not at every step
            return _walk_cell(cell, inputs, states, how)
    return _walk_cell(cell, inputs, states, how)


def _walk_cell(cell: Any, inputs: Tensor, states: States, how: Walk) -> tuple[Tensor, States]:
    own = getattr(cell, "walk", None)
    if own is not None and "call" not in _overridden_since(type(cell), "walk"):
        return own(inputs, states, how)  # type: ignore[no-any-return]
    call = cell if callable(cell) else cell.call

    def step(x: Tensor, states: States) -> tuple[Tensor, States]:
        output, new = call(x, states)
        return output, list(new) if isinstance(new, list | tuple) else [new]

    return walk(step, inputs.unbind(1), states, how)


def _overridden_since(cls: type, method: str) -> set[str]:
    """What the subclasses of the class that defines `method` define."""
    found: set[str] = set()
    for base in cls.__mro__:
        if method in base.__dict__:
            break
        found |= set(base.__dict__)
    return found


def walk(step: Step, inputs: Sequence[Any], states: States, how: Walk) -> tuple[Tensor, States]:
    """`step(inputs[t], states) -> (output, states)` for each t: (outputs (batch, time, ...) or the last output, last states)."""
    counts = None if how.mask is None else how.mask.unbind(1)
    outputs: list[Tensor] = []
    output: Tensor | None = None
    for time, x in enumerate(inputs):
        new, new_states = step(x, states)
        if counts is None:
            output, states = new, new_states
        else:
            before = torch.zeros_like(new) if output is None or how.zero_output_for_mask else output
            output = _where(counts[time], new, before)
            states = _where(counts[time], new_states, states)
        if how.every_output:
            outputs.append(output)
    assert output is not None, "a sequence has one step or more"
    return (torch.stack(outputs, 1) if how.every_output else output), states


def _where(now: Tensor, new: Any, old: Any) -> Any:
    """`new` in the rows that count now, `old` in the others; in lists, item by item."""
    if isinstance(new, list | tuple):
        return [_where(now, one, two) for one, two in zip(new, old, strict=True)]
    return torch.where(now.reshape(-1, *(1 for _ in new.shape[1:])), new, old)
