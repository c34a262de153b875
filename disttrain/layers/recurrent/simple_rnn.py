"""The plain recurrent layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain import activations
from disttrain.layers.recurrent.cell import RecurrentCell, given
from disttrain.layers.recurrent.fused_weights import fused_weights
from disttrain.layers.recurrent.recurrent_layer import RecurrentLayer, of_cell
from disttrain.layers.recurrent.walk import States


class SimpleRNNCell(RecurrentCell):
    """One step of a `SimpleRNN`: `(inputs (batch, features), states) -> (output, new states)`, one state (batch, units).

    Args: those of `SimpleRNN` up to `recurrent_dropout`, and `seed`.

    Source: Elman 1990.

    Raises:
        ValueError: `units` below 1, a dropout outside of 0 to 1, an `implementation` other than 1 or 2; inputs or states of another shape
            than built for.
    """

    masks_per_gate = False

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
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**given(locals()))

    def step(self, projected: Tensor, states: States, state_mask: Tensor | None) -> tuple[Tensor, States]:
        hidden = self.activation(self.recur(states[0], state_mask, projected))
        return hidden, [hidden]

    def can_fuse(self) -> bool:
        return self.activation is activations.tanh or self.activation is activations.relu

    def fused(self, sequences: Tensor, states: States) -> tuple[Tensor, States]:
        kernel = torch._VF.rnn_tanh if self.activation is activations.tanh else torch._VF.rnn_relu
        weights = fused_weights(self.kernel, self.recurrent_kernel, self.bias)
        outputs, hidden = kernel(
            sequences, states[0].unsqueeze(0), weights, self.bias is not None, 1, 0.0, torch.is_grad_enabled(), False, True
        )
        return outputs, [hidden.squeeze(0)]


class SimpleRNN(RecurrentLayer):
    """`h' = activation(x @ kernel + h @ recurrent_kernel + bias)` (Elman 1990).

    With tanh or relu and no recurrent dropout one kernel of torch computes all steps.

    Args:
        units: width of the state and of the output.
        activation: a name, a callable, or None to stay linear.
        use_bias: learn an offset.
        kernel_initializer, recurrent_initializer, bias_initializer: first values of the weights.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: penalties on the weights.
        activity_regularizer: penalty on the output.
        kernel_constraint, recurrent_constraint, bias_constraint: what weights become after each update.
        dropout, recurrent_dropout: shares of inputs and of the state that are zeroed, the same for all steps of a call.
        return_sequences, return_state, go_backwards, stateful, unroll: see `RNN`.
        seed: sets the dropout masks apart from those of a layer with another seed.

    Input shape: `(batch, time, features)`. Output shape: `(batch, units)`, or `(batch, time, units)` with `return_sequences`.
    Weights: `cell.kernel (features, units)`, Glorot uniform; `cell.recurrent_kernel (units, units)`, orthogonal; `cell.bias (units,)`.

    Raises:
        ValueError: `units` below 1, a dropout outside of 0 to 1, `use_cudnn=True` where no fused kernel computes this; an input that is not
            `(batch, time, features)`, states or a mask of another shape; with `stateful`, a batch of another size than before.

    Example:
        >>> import torch
        >>> SimpleRNN(4)(torch.zeros(2, 5, 3)).shape
        torch.Size([2, 4])
    """

    cell_class = SimpleRNNCell
    units = of_cell("units")

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
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
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
        super().__init__(**given(locals()))
