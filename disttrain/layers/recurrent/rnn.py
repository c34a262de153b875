"""Recurrent layers: any cell, walked along time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.layers.context import current
from disttrain.layers.layer import Layer
from disttrain.layers.nesting import unshared, wrapped
from disttrain.layers.recurrent.stacked_rnn_cells import StackedRNNCells, check_cell
from disttrain.layers.recurrent.walk import States, Walk, walk_cell
from disttrain.layers.structure import flatten, map_structure, pack_like
from disttrain.layers.symbolic import Shape


class RNN(Layer):
    """A cell walked along the time axis.

    Args:
        cell: a cell, or a list of cells that are stacked. A cell has `call(inputs, states) -> (output, new states)` for one step,
            `state_size`, the width of its state or a list of them, and perhaps `output_size` and
            `get_initial_state(batch_size)`, which is zeros otherwise.
        return_sequences: give the outputs of all steps instead of the last one.
        return_state: give the last states too, in one tuple `(output, state, ...)`.
        go_backwards: walk from the end; outputs stay in the order of the walk.
        stateful: start each batch with the states after the batch before, row by row, until `reset_state()`. The batch size must be
            known, as with `Input(batch_size=...)`, and no gradient flows from batch to batch.
        unroll: accepted and the same: there is no other loop here than one in Python.
        zero_output_for_mask: outputs of masked steps are zeros; else they repeat the output before.

    `call` takes `initial_state`, a tensor (batch, size) or a list of them, and `mask`, (batch, time), False where a step does not
    count: there states stay as they are.

    Input shape: `(batch, time, ...)`. Output shape: `(batch, output_size)`, or with `return_sequences` `(batch, time, output_size)`.

    Source: Elman 1990.

    Raises:
        ValueError: a `cell` without `call(inputs, states)` or without a `state_size`; an input that is not `(batch, time, ...)`, states or
            a mask of another shape; with `stateful`, an unknown batch size or another than before.

    Example:
        >>> class Sum(Layer):
        ...     state_size = 3
        ...     def call(self, inputs, states):
        ...         total = inputs + states[0]
        ...         return total, [total]
        >>> RNN(Sum())(torch.ones(2, 5, 3)).tolist()
        [[5.0, 5.0, 5.0], [5.0, 5.0, 5.0]]
    """

    _starts_mask = False
    use_cudnn: bool | str = "auto"

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(cell, list | tuple):
            cell = StackedRNNCells(cell, dtype=kwargs.get("dtype"))
        check_cell(cell, f"{type(self).__name__}(cell=")
        self.cell = wrapped(cell)
        self.return_sequences, self.return_state, self.go_backwards = bool(return_sequences), bool(return_state), bool(go_backwards)
        self.stateful, self.unroll, self.zero_output_for_mask = bool(stateful), bool(unroll), bool(zero_output_for_mask)
        self._state_names: list[str] = []

    @property
    def state_size(self) -> list[Any]:
        """The width of each state; for a stack of cells, that of each cell."""
        size = self.cell.state_size
        return list(size) if isinstance(size, list | tuple) else [size]

    # -- building -------------------------------------------------------------------------------------------------------------------

    def build(self, sequences_shape: Shape, initial_state_shape: Any = None) -> None:
        self._check_rank(sequences_shape)
        if isinstance(self.cell, Layer) and not self.cell.built:
            self.cell.build((sequences_shape[0], *sequences_shape[2:]))
        if self.stateful:
            batch = sequences_shape[0]
            if batch is None:
                raise ValueError(
                    f"{self._described()}: stateful=True needs a batch size that is known, got an input of shape {sequences_shape}.\n"
                    "  try  Input(shape, batch_size=...) before it"
                )
            self._keep_states(batch)

    def _keep_states(self, batch: int) -> None:
        for number, state in enumerate(flatten(self.get_initial_state(batch))):
            name = f"rnn_state_{number}"
            self.add_row_state(name, tuple(state.shape)).copy_(state.detach())
            self._state_names.append(name)

    def _build_for(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.stateful:
            build_for_this_batch(self, args)
        else:
            super()._build_for(args, kwargs)

    def _check_rank(self, shape: Any) -> None:
        if len(shape) < 2:
            raise ValueError(f"{self._described()}: got an input of shape {tuple(shape)}, expected (batch, time, ...).")

    # -- states ---------------------------------------------------------------------------------------------------------------------

    def get_initial_state(self, batch_size: int) -> States:
        """What the cell starts with: a list of tensors; for a stack of cells, of one tensor or list for each cell."""
        own = getattr(self.cell, "get_initial_state", None)
        if own is None:
            device = self._own_device()
            return map_structure(lambda size: torch.zeros(batch_size, size, dtype=self._compute_dtype, device=device), self.state_size)  # type: ignore[no-any-return]
        states = own(batch_size=batch_size)
        return list(states) if isinstance(states, list | tuple) else [states]

    @property
    def states(self) -> States | None:
        """With `stateful`, the states as they are kept, in the form of `get_initial_state`; None before building and without."""
        return self._packed([self._buffers[name] for name in self._state_names]) if self._state_names else None

    def reset_state(self) -> None:
        """Set the kept states to zeros; without `stateful` there are none."""
        with torch.no_grad():
            for name in self._state_names:
                self.get_buffer(name).zero_()

    def reset_states(self) -> None:
        """Keras's older name for `reset_state`."""
        self.reset_state()

    def _packed(self, leaves: list[Any]) -> States:
        return pack_like(self.state_size, leaves)  # type: ignore[no-any-return]

    def _first_states(self, sequences: Tensor, initial_state: Any) -> States:
        dtype = self._compute_dtype
        if initial_state is None and self.stateful:
            first, stop, _ = self._rows(sequences)
            return self._packed([self._buffers[name][first:stop].to(dtype, copy=True) for name in self._state_names])  # type: ignore[index]
        if initial_state is None:
            states = self.get_initial_state(sequences.shape[0])
            if all(type(state) is Tensor and state.dtype is dtype and state.device == sequences.device for state in states):
                return states
            return map_structure(lambda state: state.to(sequences.device, dtype), states)  # type: ignore[no-any-return]
        leaves, sizes = flatten(initial_state), flatten(self.state_size)
        if len(leaves) != len(sizes):
            raise ValueError(f"{self._described()}: got {len(leaves)} initial states, expected {len(sizes)}.")
        for number, (state, size) in enumerate(zip(leaves, sizes, strict=True)):
            if isinstance(size, int) and size > 0 and tuple(state.shape) != (sequences.shape[0], size):
                raise ValueError(
                    f"{self._described()}: initial state {number} has shape {tuple(state.shape)}, expected {(sequences.shape[0], size)}."
                )
        return self._packed(leaves)

    def _rows(self, sequences: Tensor) -> tuple[int, int, int]:
        """Which rows of the kept states `sequences` are."""
        batch = self._buffers[self._state_names[0]].shape[0]  # type: ignore[union-attr]
        rows = current().rows or (0, sequences.shape[0], sequences.shape[0])
        if rows[2] != batch or rows[1] - rows[0] != sequences.shape[0]:
            raise ValueError(
                f"{self._described()}: stateful=True keeps states of a batch of {batch}, got a batch of {rows[2]}.\n"
                "  try  a batch_size that divides the number of samples, the same everywhere"
            )
        return rows

    def _remember(self, sequences: Tensor, states: States) -> None:
        first, stop, _ = self._rows(sequences)
        with torch.no_grad():
            for name, state in zip(self._state_names, flatten(states), strict=True):
                self.get_buffer(name)[first:stop].copy_(state)

    # -- calling --------------------------------------------------------------------------------------------------------------------

    def call(self, sequences: Tensor, initial_state: Any = None, mask: Tensor | None = None, training: bool = False) -> Any:
        self._check_rank(sequences.shape)
        if sequences.shape[1] == 0:
            raise ValueError(f"{self._described()}: got sequences of shape {tuple(sequences.shape)}, which have no steps.")
        if mask is not None:
            mask = self._checked_mask(mask, sequences)
        states = self._first_states(sequences, initial_state)
        if self.go_backwards:
            sequences, mask = sequences.flip(1), None if mask is None else mask.flip(1)
        how = Walk(
            mask,
            training,
            every_output=self.return_sequences,
            last_states=self.return_state or self.stateful,
            zero_output_for_mask=self.zero_output_for_mask,
            fused=self.use_cudnn is not False,
        )
        output, states = walk_cell(self.cell, sequences, states, how)
        if self.stateful:
            self._remember(sequences, states)
        if not self.return_state:
            return self._cast(output)
        return (self._cast(output), *map_structure(self._cast, states))

    def _cast(self, result: Tensor) -> Tensor:
        return result if result.dtype is self._compute_dtype else result.to(self._compute_dtype)  # a cell may compute in another one

    def _checked_mask(self, mask: Tensor, sequences: Tensor) -> Tensor:
        if tuple(mask.shape) != tuple(sequences.shape[:2]):
            raise ValueError(
                f"{self._described()}: the mask has shape {tuple(mask.shape)}, expected (batch, time), here {tuple(sequences.shape[:2])}."
            )
        return mask if mask.dtype is torch.bool else mask.bool()

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """That of the input for a sequence of outputs, none for a single one or for states."""
        mask = next(iter(flatten(previous_mask)), None) if self.return_sequences else None
        return [mask, *(None for _ in self.state_size)] if self.return_state else mask

    def compute_output_shape(self, sequences_shape: Shape, initial_state_shape: Any = None) -> Any:
        batch = sequences_shape[0]
        size = getattr(self.cell, "output_size", None)
        size = flatten(self.state_size)[0] if size is None else size
        output = (batch, sequences_shape[1], size) if self.return_sequences else (batch, size)
        return (output, *map_structure(lambda each: (batch, each), self.state_size)) if self.return_state else output

    # -- config ---------------------------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "stateful": self.stateful,
            "unroll": self.unroll,
            "zero_output_for_mask": self.zero_output_for_mask,
            "cell": self.cell,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return super().from_config({**config, "cell": unshared(config["cell"])})


def build_for_this_batch(layer: Layer, args: tuple[Any, ...]) -> None:
    """Build for the shape of the first argument with its batch size, which a layer that keeps states needs."""
    first = args[0]
    layer.build(tuple(first.shape))
    if isinstance(first, Tensor):
        layer.to(first.device)
