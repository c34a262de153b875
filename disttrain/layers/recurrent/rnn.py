"""What recurrent layers share: the walk along time, states, masks and dropout."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain import activations, initializers, regularizers
from disttrain.layers.geometry import check_rank
from disttrain.layers.layer import Layer
from disttrain.layers.regularization.dropout import dropout_mask
from disttrain.layers.symbolic import Shape

Mask = Tensor | tuple[Tensor, ...] | None  # for dropout: one for all gates, or one for each


class RecurrentCell(Layer):
    """One step: `(inputs (batch, features), states) -> (output, new states)`.

    Subclasses say how many `gates` a kernel holds side by side and define `step`; `fused`, where torch has a kernel for all steps.
    """

    gates = 1
    masks_per_gate = True  # with recurrent dropout, each gate has masks of its own; Keras's SimpleRNN has one for all

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        owner = type(self).__name__.removesuffix("Cell")
        if isinstance(units, bool) or not isinstance(units, int) or units < 1:
            raise ValueError(f"{owner}(units={units!r}): expected an integer, 1 or more.")
        for argument, rate in (("dropout", dropout), ("recurrent_dropout", recurrent_dropout)):
            if not 0.0 <= rate <= 1.0:
                raise ValueError(f"{owner}({argument}={rate!r}): expected a number from 0 to 1.")
        self.units, self.use_bias, self.seed = units, use_bias, seed
        self.activation = activations.get(activation)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.dropout, self.recurrent_dropout = float(dropout), float(recurrent_dropout)

    @property
    def state_size(self) -> tuple[int, ...]:
        """The width of each state."""
        return (self.units,)

    def build(self, input_shape: Shape) -> None:
        if input_shape[-1] is None:
            raise ValueError(f"{self._described()}: got an input of shape {input_shape}; the size of its last axis must be known.")
        width = self.gates * self.units
        self.kernel = self.add_weight("kernel", (input_shape[-1], width), self.kernel_initializer, self.kernel_regularizer)
        self.recurrent_kernel = self.add_weight(
            "recurrent_kernel", (self.units, width), self.recurrent_initializer, self.recurrent_regularizer
        )
        self.bias = self._make_bias() if self.use_bias else None

    def _make_bias(self) -> Any:
        return self.add_weight("bias", (self.gates * self.units,), self.bias_initializer, self.bias_regularizer)

    def get_initial_state(self, batch_size: int, like: Tensor) -> list[Tensor]:
        """Zeros, on the device of `like`."""
        return [like.new_zeros(batch_size, size) for size in self.state_size]

    def draw_masks(self, inputs: Tensor, state: Tensor, training: bool) -> tuple[Mask, Mask]:
        """Dropout masks for the inputs (batch, features) and for the state, the same for all steps of a sequence."""
        if not training:
            return None, None
        each = self.masks_per_gate and self.recurrent_dropout > 0

        def draw(like: Tensor, rate: float) -> Mask:
            if not rate:
                return None
            masks = tuple(dropout_mask(self, like, rate, seed=self.seed) for _ in range(self.gates if each else 1))
            return masks if each else masks[0]

        return draw(inputs, self.dropout), draw(state, self.recurrent_dropout)

    def call(self, inputs: Tensor, states: list[Tensor], training: bool = False) -> tuple[Tensor, list[Tensor]]:
        return self.step(inputs, states, *self.draw_masks(inputs, states[0], training))

    def step(self, inputs: Tensor, states: list[Tensor], input_mask: Mask, state_mask: Mask) -> tuple[Tensor, list[Tensor]]:
        """One step with given dropout masks."""
        raise NotImplementedError

    def can_fuse(self) -> bool:
        """Has torch one kernel that computes exactly this cell over all steps?"""
        return False

    def fused(self, sequences: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """All steps at once: (outputs (batch, time, units), last states)."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": initializers.serialize(self.recurrent_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "recurrent_regularizer": regularizers.serialize(self.recurrent_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "seed": self.seed,
        }


class RecurrentLayer(Layer):
    """A cell walked along the time axis.

    Args:
        cell: the cell, a child of this layer, whose weights are its own.
        return_sequences: give the output of every step instead of the last.
        return_state: give the last states too: a flat tuple `(output, state, ...)`.
        go_backwards: walk from the end; outputs stay in the order of the walk.
        stateful: only False is supported: a state kept between batches would be hidden state of the run.
        unroll: changes nothing here; accepted since configs of Keras have it.
        zero_output_for_mask: outputs of masked steps are zeros; else they repeat the output before.

    `call` takes `initial_state`, a list of tensors (batch, units), and `mask`, (batch, time) with False where a step does not count.

    Input shape: `(batch, time, features)`. Output shape: `(batch, units)`, or with `return_sequences` `(batch, time, units)`.
    """

    def __init__(
        self,
        cell: RecurrentCell,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if stateful:
            raise ValueError(f"{type(self).__name__}(stateful=True) is not supported: pass initial_state=, and take the states it returns.")
        self.cell = cell
        self.return_sequences, self.return_state, self.go_backwards = return_sequences, return_state, go_backwards
        self.unroll, self.zero_output_for_mask = unroll, zero_output_for_mask

    def build(self, input_shape: Shape) -> None:
        check_rank(input_shape, 3, self._described(), "batch, time and features")
        self.cell.build((input_shape[0], input_shape[2]))

    def build_from_config(self, config: dict[str, Any]) -> None:
        shapes = config.get("shapes_dict", config)  # Keras's form where initial states have shapes too
        self.build(shapes.get("input_shape") or shapes["sequences_shape"])

    def call(
        self, sequences: Tensor, initial_state: Any = None, mask: Tensor | None = None, training: bool = False
    ) -> Tensor | tuple[Tensor, ...]:  # fmt: skip
        cell = self.cell
        states = cell.get_initial_state(sequences.shape[0], sequences) if initial_state is None else _as_list(initial_state)
        if len(states) != len(cell.state_size):
            raise ValueError(f"{self._described()}: got {len(states)} initial states, expected {len(cell.state_size)}.")
        x = sequences.flip(1) if self.go_backwards else sequences
        input_mask, state_mask = cell.draw_masks(x[:, 0], states[0], training)
        if mask is None and state_mask is None and cell.can_fuse():
            outputs, states = cell.fused(x * input_mask.unsqueeze(1) if isinstance(input_mask, Tensor) else x, states)
            output = outputs if self.return_sequences else states[0]  # not outputs[:, -1], whose gradient is as large as outputs
        else:
            output, states = self._walk(x, states, mask, input_mask, state_mask)
        return (output, *states) if self.return_state else output

    def _walk(
        self, x: Tensor, states: list[Tensor], mask: Tensor | None, input_mask: Mask, state_mask: Mask
    ) -> tuple[Tensor, list[Tensor]]:
        counts = None if mask is None else (mask.flip(1) if self.go_backwards else mask).bool().unsqueeze(-1)
        outputs: list[Tensor] = []
        output = x.new_zeros(x.shape[0], self.cell.units)  # what a masked first step repeats
        for time in range(x.shape[1]):
            new, new_states = self.cell.step(x[:, time], states, input_mask, state_mask)
            if counts is None:
                output, states = new, new_states
            else:
                now = counts[:, time]
                shown = torch.where(now, new, torch.zeros_like(new) if self.zero_output_for_mask else output)
                output = torch.where(now, new, output)
                states = [torch.where(now, after, before) for after, before in zip(new_states, states, strict=True)]
                outputs.append(shown)
                continue
            outputs.append(output)
        if self.return_sequences:
            return torch.stack(outputs, 1), states
        return (outputs[-1] if self.zero_output_for_mask and outputs else output), states

    def compute_output_shape(self, input_shape: Shape) -> Any:
        batch, time = input_shape[0], input_shape[1]
        output = (batch, time, self.cell.units) if self.return_sequences else (batch, self.cell.units)
        return (output, *((batch, size) for size in self.cell.state_size)) if self.return_state else output

    def get_config(self) -> dict[str, Any]:
        cell = self.cell.get_config()
        for key in ("name", "trainable", "dtype"):
            cell.pop(key)
        return {
            **super().get_config(),
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "stateful": False,
            "unroll": self.unroll,
            "zero_output_for_mask": self.zero_output_for_mask,
            **cell,
        }


def project(x: Tensor, kernel: Tensor, mask: Mask) -> Tensor:
    """`x @ kernel` with dropout on x: one mask, or one for each gate's part of the kernel."""
    if mask is None:
        return x @ kernel
    if isinstance(mask, Tensor):
        return (x * mask) @ kernel
    return torch.cat([(x * each) @ part for each, part in zip(mask, kernel.chunk(len(mask), 1), strict=True)], 1)


def _as_list(states: Any) -> list[Tensor]:
    return list(states) if isinstance(states, list | tuple) else [states]
