"""Several cells as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.layers.layer import Layer
from disttrain.layers.nesting import unshared, wrapped
from disttrain.layers.recurrent.walk import States, Walk, walk_cell
from disttrain.layers.symbolic import Shape


class StackedRNNCells(Layer):
    """Cells above each other: the output of one is the input of the next. `RNN([cell, cell])` makes one.

    Args:
        cells: cells, the lowest first; see `RNN` for what a cell is.

    States are a list with an item for each cell: a tensor, or a list of tensors where the cell has several.

    Raises:
        ValueError: `cells` is no list of cells; as many states as cells are expected.

    Example:
        >>> from disttrain.layers import GRUCell, RNN
        >>> RNN(StackedRNNCells([GRUCell(4), GRUCell(2)]))(torch.zeros(3, 5, 1)).shape
        torch.Size([3, 2])
    """

    def __init__(self, cells: Sequence[Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(cells, list | tuple) or not cells:
            raise ValueError(f"StackedRNNCells(cells={cells!r}): expected a list of one cell or more.")
        for number, cell in enumerate(cells):
            check_cell(cell, f"StackedRNNCells(cells[{number}]=")
        self.cells = [wrapped(cell) for cell in cells]

    @property
    def state_size(self) -> list[Any]:
        """The width of the state of each cell, or of each of its states."""
        return [list(size) if isinstance(size, list | tuple) else size for size in (cell.state_size for cell in self.cells)]

    @property
    def output_size(self) -> int:
        """The width of the output, that of the last cell."""
        return _output_size(self.cells[-1])

    def build(self, input_shape: Shape) -> None:
        for cell in self.cells:
            if isinstance(cell, Layer) and not cell.built:
                cell.build(input_shape)
            input_shape = (input_shape[0], _output_size(cell))

    def get_initial_state(self, batch_size: int) -> States:
        """What each cell starts with."""
        states: States = []
        for cell in self.cells:
            several = isinstance(cell.state_size, list | tuple)
            own = getattr(cell, "get_initial_state", None)
            if own is not None:
                first = own(batch_size=batch_size)
                first = list(first) if isinstance(first, list | tuple) else [first]
            else:
                sizes = cell.state_size if several else [cell.state_size]
                first = [torch.zeros(batch_size, size, dtype=self._compute_dtype, device=self._own_device()) for size in sizes]
            states.append(first if several else first[0])
        return states

    def call(self, inputs: Tensor, states: States, training: bool = False) -> tuple[Tensor, States]:
        """One step of every cell."""
        if len(states) != len(self.cells):
            raise ValueError(f"{self._described()}: got {len(states)} states, expected {len(self.cells)}, one for each cell.")
        new_states: States = []
        for cell, state in zip(self.cells, states, strict=True):
            several = isinstance(state, list | tuple)
            call = cell if callable(cell) else cell.call
            inputs, new = call(inputs, list(state) if several else [state])
            new_states.append(_like(new, several))
        return inputs, new_states

    def walk(self, inputs: Tensor, states: States, how: Walk) -> tuple[Tensor, States]:
        """All steps: a cell goes along the whole sequence before the next one starts, so that each takes its fastest way."""
        last: States = []
        for number, (cell, state) in enumerate(zip(self.cells, states, strict=True)):
            several = isinstance(state, list | tuple)
            wanted = how if number == len(self.cells) - 1 else how.to_the_next_cell()
            inputs, new = walk_cell(cell, inputs, list(state) if several else [state], wanted)
            last.append(_like(new, several))
        return inputs, last

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cells": self.cells}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return super().from_config({**config, "cells": unshared(config["cells"])})


def check_cell(cell: Any, argument: str) -> None:
    """Refuse what is no cell; `argument` is how the message starts.

    Raises:
        ValueError: no `call`, no `state_size`, or one that is neither an integer nor a list.
    """
    if not callable(getattr(cell, "call", None)):
        raise ValueError(f"{argument}{cell!r}): expected a cell, with call(inputs, states) -> (output, new states).")
    size = getattr(cell, "state_size", None)
    if isinstance(size, bool) or not isinstance(size, int | list | tuple):
        raise ValueError(
            f"{argument}{cell!r}): the cell has state_size {size!r}, expected an integer, the width of its state, or a list of them."
        )


def _output_size(cell: Any) -> int:
    size = getattr(cell, "output_size", None)
    if size is None:
        size = cell.state_size[0] if isinstance(cell.state_size, list | tuple) else cell.state_size
    return int(size)


def _like(new: Any, several: bool) -> Any:
    """New states as a list, or the only one."""
    if not isinstance(new, list | tuple):
        return [new] if several else new
    return list(new) if several else new[0]
