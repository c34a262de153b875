"""Long short-term memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain import activations
from disttrain.layers.recurrent.rnn import Mask, RecurrentCell, RecurrentLayer, project


class LSTMCell(RecurrentCell):
    """One step of an LSTM; see `LSTM`."""

    gates = 4

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer, **kwargs)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias

    @property
    def state_size(self) -> tuple[int, ...]:
        return (self.units, self.units)

    def _make_bias(self) -> Any:
        if not self.unit_forget_bias:
            return super()._make_bias()
        units, initial = self.units, self.bias_initializer

        def bias(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
            assert initial is not None
            return torch.cat([initial((units,), dtype), torch.ones(units, dtype=dtype), initial((2 * units,), dtype)])

        return self.add_weight("bias", (4 * units,), bias, self.bias_regularizer)

    def step(self, inputs: Tensor, states: list[Tensor], input_mask: Mask, state_mask: Mask) -> tuple[Tensor, list[Tensor]]:
        hidden, carry = states
        z = project(inputs, self.kernel, input_mask) + project(hidden, self.recurrent_kernel, state_mask)
        i, f, c, o = (z if self.bias is None else z + self.bias).chunk(4, 1)
        carry = self.recurrent_activation(f) * carry + self.recurrent_activation(i) * self.activation(c)
        hidden = self.recurrent_activation(o) * self.activation(carry)
        return hidden, [hidden, carry]

    def can_fuse(self) -> bool:
        return self.activation is activations.tanh and self.recurrent_activation is activations.sigmoid

    def fused(self, sequences: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        weights = [self.kernel.t(), self.recurrent_kernel.t()]  # torch has Keras's order of gates, and two biases that it adds
        if self.bias is not None:
            weights += [self.bias, torch.zeros_like(self.bias)]
        start = tuple(state.unsqueeze(0) for state in states)
        outputs, hidden, carry = torch._VF.lstm(
            sequences, start, weights, self.bias is not None, 1, 0.0, torch.is_grad_enabled(), False, True
        )
        return outputs, [hidden.squeeze(0), carry.squeeze(0)]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "recurrent_activation": activations.serialize(self.recurrent_activation),
            "unit_forget_bias": self.unit_forget_bias,
        }


class LSTM(RecurrentLayer):
    """Long short-term memory (Hochreiter & Schmidhuber 1997), gates in Keras's order i, f, c, o.

    `c' = s(f) * c + s(i) * tanh(c~)`, `h' = s(o) * tanh(c')`, with s the recurrent activation and each gate
    `x @ kernel + h @ recurrent_kernel + bias`. With the default activations one kernel of torch computes all steps.

    Args:
        units: width of the state and of the output.
        unit_forget_bias: the bias of the forget gate starts at 1.
        dropout, recurrent_dropout: shares of inputs and of the state that are zeroed, the same for all steps of a sequence.
        return_sequences, return_state, go_backwards: see `RecurrentLayer`; states come as h, c.

    Weights: `cell.kernel (features, 4 units)`, Glorot uniform; `cell.recurrent_kernel (units, 4 units)`, orthogonal;
    `cell.bias (4 units,)`, zeros and ones.
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        **kwargs: Any,
    ) -> None:
        cell = LSTMCell(
            units,
            activation,
            recurrent_activation,
            use_bias,
            kernel_initializer,
            recurrent_initializer,
            bias_initializer,
            unit_forget_bias,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            seed=seed,
            dtype=kwargs.get("dtype"),
            trainable=kwargs.get("trainable", True),
        )
        super().__init__(
            cell, return_sequences, return_state, go_backwards, stateful, unroll, activity_regularizer=activity_regularizer, **kwargs
        )
