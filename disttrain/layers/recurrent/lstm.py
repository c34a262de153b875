"""Long short-term memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain import activations
from disttrain.layers.recurrent.cell import RecurrentCell, given
from disttrain.layers.recurrent.fused_weights import fused_weights
from disttrain.layers.recurrent.recurrent_layer import RecurrentLayer, of_cell
from disttrain.layers.recurrent.walk import States


class LSTMCell(RecurrentCell):
    """One step of an `LSTM`: `(inputs (batch, features), [h, c]) -> (h', [h', c'])`, states (batch, units).

    Args: those of `LSTM` up to `seed`.

    Source: Hochreiter & Schmidhuber 1997.

    Raises:
        ValueError: `units` below 1, a dropout outside of 0 to 1, an `implementation` other than 1 or 2; inputs or states of another shape
            than built for.
    """

    gates = 4
    gate_axis = -1  # of what `project` and `recur` give

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
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        arguments = given(locals())
        recurrent_activation, unit_forget_bias = arguments.pop("recurrent_activation"), arguments.pop("unit_forget_bias")
        super().__init__(**arguments)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.unit_forget_bias = bool(unit_forget_bias)

    @property
    def state_size(self) -> list[int]:
        return [self.units, self.units]

    def _add_bias(self, shape: Sequence[int] | None = None, initializer: Any = None) -> Any:
        units, initial = self.units, self.bias_initializer
        if not self.unit_forget_bias:
            return super()._add_bias()

        def bias(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
            parts = [initial((units,), dtype), torch.ones(units, dtype=dtype), initial((2 * units,), dtype)]  # type: ignore[misc]
            return torch.cat(parts)

        return super()._add_bias(initializer=bias)

    def step(self, projected: Tensor, states: States, state_mask: Tensor | None) -> tuple[Tensor, States]:
        hidden, carry = states
        i, f, c, o = self.recur(hidden, state_mask, projected).chunk(4, self.gate_axis)
        carry = torch.addcmul(self.recurrent_activation(i) * self.activation(c), self.recurrent_activation(f), carry)
        hidden = self.recurrent_activation(o) * self.activation(carry)
        return hidden, [hidden, carry]

    def can_fuse(self) -> bool:
        return self.activation is activations.tanh and self.recurrent_activation is activations.sigmoid

    def fused(self, sequences: Tensor, states: States) -> tuple[Tensor, States]:
        weights = fused_weights(self.kernel, self.recurrent_kernel, self.bias)  # torch has Keras's order of gates
        if sequences.device.type == "cpu":  # oneDNN wants them contiguous in both passes: once here is cheaper than once in each
            weights[:2] = [weight.contiguous() for weight in weights[:2]]
        start = tuple(state.unsqueeze(0) for state in states)
        outputs, hidden, carry = torch._VF.lstm(
            sequences, start, weights, self.bias is not None, 1, 0.0, torch.is_grad_enabled(), False, True
        )
        return outputs, [hidden.squeeze(0), carry.squeeze(0)]

    def further_states(self, sequences: Tensor, outputs: Tensor, states: States) -> list[Tensor]:
        """The carry of every step, which the fused kernel keeps to itself: all gates follow at once from the outputs."""
        before = torch.cat([states[0].unsqueeze(1), outputs[:, :-1]], 1)
        z = self.project(sequences.transpose(0, 1), None) + before.transpose(0, 1) @ self.recurrent_kernel
        i, f, c, _ = z.chunk(4, -1)
        new, kept = torch.sigmoid(i) * torch.tanh(c), torch.sigmoid(f)
        carry, carries = states[1], []
        for fresh, share in zip(new.unbind(0), kept.unbind(0), strict=True):
            carry = torch.addcmul(fresh, share, carry)
            carries.append(carry)
        return [torch.stack(carries, 1)]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "recurrent_activation": activations.serialize(self.recurrent_activation),
            "unit_forget_bias": self.unit_forget_bias,
        }


class LSTM(RecurrentLayer):
    """Long short-term memory (Hochreiter & Schmidhuber 1997), gates in Keras's order i, f, c, o.

    `c' = s(f) * c + s(i) * a(c~)`, `h' = s(o) * a(c')`, with s the recurrent activation, a the activation, and each gate
    `x @ kernel + h @ recurrent_kernel + bias`. With the default activations and no recurrent dropout one kernel of torch computes all
    steps, masked ones too.

    Args:
        units: width of the state and of the output.
        activation, recurrent_activation: a and s; names, callables, or None to stay linear.
        use_bias: learn an offset.
        kernel_initializer, recurrent_initializer, bias_initializer: first values of the weights.
        unit_forget_bias: the bias of the forget gate starts at 1 (Jozefowicz et al. 2015).
        kernel_regularizer, recurrent_regularizer, bias_regularizer: penalties on the weights.
        activity_regularizer: penalty on the output.
        kernel_constraint, recurrent_constraint, bias_constraint: what weights become after each update.
        dropout, recurrent_dropout: shares of inputs and of the state that are zeroed, the same for all steps of a call: one mask for all
            gates, or one for each as soon as there is recurrent dropout.
        seed: sets the dropout masks apart from those of a layer with another seed.
        return_sequences, return_state, go_backwards, stateful, unroll: see `RNN`; states come as h, c.
        use_cudnn: False takes a step at a time, which can be differentiated twice; True refuses arguments that no fused kernel has.
        implementation: 1 draws a dropout mask for each gate.

    Input shape: `(batch, time, features)`. Output shape: `(batch, units)`, or `(batch, time, units)` with `return_sequences`.
    Weights: `cell.kernel (features, 4 units)`, Glorot uniform; `cell.recurrent_kernel (units, 4 units)`, orthogonal;
    `cell.bias (4 units,)`, zeros and ones.

    Raises:
        ValueError: `units` below 1, a dropout outside of 0 to 1, `use_cudnn=True` where no fused kernel computes this; an input that is not
            `(batch, time, features)`, states or a mask of another shape; with `stateful`, a batch of another size than before.

    Example:
        >>> import torch
        >>> output, h, c = LSTM(4, return_sequences=True, return_state=True)(torch.zeros(2, 5, 3))
        >>> output.shape, h.shape, c.shape
        (torch.Size([2, 5, 4]), torch.Size([2, 4]), torch.Size([2, 4]))
    """

    cell_class = LSTMCell
    units = of_cell("units")
    recurrent_activation = of_cell("recurrent_activation")
    unit_forget_bias = of_cell("unit_forget_bias")

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
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        use_cudnn: bool | str = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(**given(locals()))
