"""Gated recurrent unit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain import activations
from disttrain.layers.recurrent.rnn import Mask, RecurrentCell, RecurrentLayer, project


class GRUCell(RecurrentCell):
    """One step of a GRU; see `GRU`."""

    gates = 3

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        reset_after: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer, **kwargs)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.reset_after = reset_after

    def _make_bias(self) -> Any:
        shape = (2, 3 * self.units) if self.reset_after else (3 * self.units,)
        return self.add_weight("bias", shape, self.bias_initializer, self.bias_regularizer)

    def step(self, inputs: Tensor, states: list[Tensor], input_mask: Mask, state_mask: Mask) -> tuple[Tensor, list[Tensor]]:
        (hidden,) = states
        x = project(inputs, self.kernel, input_mask)
        if self.bias is not None:
            x = x + (self.bias[0] if self.reset_after else self.bias)
        x_z, x_r, x_h = x.chunk(3, 1)
        if self.reset_after:
            h = project(hidden, self.recurrent_kernel, state_mask)
            h_z, h_r, h_h = (h if self.bias is None else h + self.bias[1]).chunk(3, 1)
            z, r = self.recurrent_activation(x_z + h_z), self.recurrent_activation(x_r + h_r)
            candidate = self.activation(x_h + r * h_h)
        else:
            masks = state_mask if isinstance(state_mask, tuple) else (state_mask,) * 3
            k_z, k_r, k_h = self.recurrent_kernel.chunk(3, 1)
            z = self.recurrent_activation(x_z + project(hidden, k_z, masks[0]))
            r = self.recurrent_activation(x_r + project(hidden, k_r, masks[1]))
            candidate = self.activation(x_h + project(r * hidden, k_h, masks[2]))
        hidden = z * hidden + (1 - z) * candidate
        return hidden, [hidden]

    def can_fuse(self) -> bool:
        return self.reset_after and self.activation is activations.tanh and self.recurrent_activation is activations.sigmoid

    def fused(self, sequences: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        weights = [_for_torch(self.kernel).t(), _for_torch(self.recurrent_kernel).t()]
        if self.bias is not None:
            weights += list(_for_torch(self.bias))
        outputs, hidden = torch._VF.gru(
            sequences, states[0].unsqueeze(0), weights, self.bias is not None, 1, 0.0, torch.is_grad_enabled(), False, True
        )
        return outputs, [hidden.squeeze(0)]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "recurrent_activation": activations.serialize(self.recurrent_activation),
            "reset_after": self.reset_after,
        }


class GRU(RecurrentLayer):
    """Gated recurrent unit (Cho et al. 2014), gates in Keras's order z, r, h.

    `h' = z * h + (1 - z) * h~`, where the reset gate r acts after the product with the recurrent kernel (`reset_after`, as in cuDNN)
    or before it. With the default activations and `reset_after` one kernel of torch computes all steps.

    Args:
        units: width of the state and of the output.
        reset_after: where the reset gate acts.
        dropout, recurrent_dropout: shares of inputs and of the state that are zeroed, the same for all steps of a sequence.
        return_sequences, return_state, go_backwards: see `RecurrentLayer`.

    Weights: `cell.kernel (features, 3 units)`, Glorot uniform; `cell.recurrent_kernel (units, 3 units)`, orthogonal;
    `cell.bias (2, 3 units)`, or `(3 units,)` without `reset_after`, zeros.
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
        reset_after: bool = True,
        **kwargs: Any,
    ) -> None:
        cell = GRUCell(
            units,
            activation,
            recurrent_activation,
            use_bias,
            kernel_initializer,
            recurrent_initializer,
            bias_initializer,
            reset_after,
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


def _for_torch(weight: Tensor) -> Tensor:
    """Keras's gates z, r, h along the last axis, in torch's order r, z, n."""
    z, r, h = weight.chunk(3, -1)
    return torch.cat([r, z, h], -1)
