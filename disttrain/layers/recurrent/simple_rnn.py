"""The plain recurrent layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain import activations
from disttrain.layers.recurrent.rnn import Mask, RecurrentCell, RecurrentLayer, project


class SimpleRNNCell(RecurrentCell):
    """One step of a SimpleRNN; see `SimpleRNN`."""

    masks_per_gate = False

    def step(self, inputs: Tensor, states: list[Tensor], input_mask: Mask, state_mask: Mask) -> tuple[Tensor, list[Tensor]]:
        y = project(inputs, self.kernel, input_mask) + project(states[0], self.recurrent_kernel, state_mask)
        hidden = self.activation(y if self.bias is None else y + self.bias)
        return hidden, [hidden]

    def can_fuse(self) -> bool:
        return self.activation is activations.tanh

    def fused(self, sequences: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        weights = [self.kernel.t(), self.recurrent_kernel.t()]
        if self.bias is not None:
            weights += [self.bias, torch.zeros_like(self.bias)]
        outputs, hidden = torch._VF.rnn_tanh(
            sequences, states[0].unsqueeze(0), weights, self.bias is not None, 1, 0.0, torch.is_grad_enabled(), False, True
        )
        return outputs, [hidden.squeeze(0)]


class SimpleRNN(RecurrentLayer):
    """`h' = activation(x @ kernel + h @ recurrent_kernel + bias)` (Elman 1990).

    Args:
        units: width of the state and of the output.
        dropout, recurrent_dropout: shares of inputs and of the state that are zeroed, the same for all steps of a sequence.
        return_sequences, return_state, go_backwards: see `RecurrentLayer`.

    Weights: `cell.kernel (features, units)`, Glorot uniform; `cell.recurrent_kernel (units, units)`, orthogonal; `cell.bias (units,)`.
    """

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
        activity_regularizer: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        cell = SimpleRNNCell(
            units,
            activation,
            use_bias,
            kernel_initializer,
            recurrent_initializer,
            bias_initializer,
            kernel_regularizer,
            recurrent_regularizer,
            bias_regularizer,
            dropout,
            recurrent_dropout,
            seed,
            dtype=kwargs.get("dtype"),
            trainable=kwargs.get("trainable", True),
        )
        super().__init__(
            cell, return_sequences, return_state, go_backwards, stateful, unroll, activity_regularizer=activity_regularizer, **kwargs
        )
