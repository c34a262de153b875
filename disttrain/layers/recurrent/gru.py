"""Gated recurrent unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain import activations
from disttrain.layers.recurrent.cell import RecurrentCell, given
from disttrain.layers.recurrent.fused_weights import fused_weights
from disttrain.layers.recurrent.gru_kernel import gru
from disttrain.layers.recurrent.recurrent_layer import RecurrentLayer, of_cell
from disttrain.layers.recurrent.walk import States


class GRUCell(RecurrentCell):
    """One step of a `GRU`: `(inputs (batch, features), states) -> (output, new states)`, one state (batch, units).

    Args: those of `GRU` up to `recurrent_dropout`, then `reset_after` and `seed`.

    Source: Cho et al. 2014.

    Raises:
        ValueError: `units` below 1, a dropout outside of 0 to 1, an `implementation` other than 1 or 2; inputs or states of another shape
            than built for.
    """

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
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        reset_after: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        arguments = given(locals())
        recurrent_activation, reset_after = arguments.pop("recurrent_activation"), arguments.pop("reset_after")
        super().__init__(**arguments)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.reset_after = bool(reset_after)

    def _add_bias(self, shape: Sequence[int] | None = None, initializer: Any = None) -> Any:
        return super()._add_bias((2, 3 * self.units) if self.reset_after else None)

    def _input_bias(self) -> Tensor | None:
        return self.bias[0] if self.reset_after and self.bias is not None else self.bias

    def step(self, projected: Tensor, states: States, state_mask: Tensor | None) -> tuple[Tensor, States]:
        (hidden,) = states
        if self.reset_after:
            x_z, x_r, x_h = projected.chunk(3, 1)
            h_z, h_r, h_h = self.recur(hidden, state_mask, None if self.bias is None else self.bias[1]).chunk(3, 1)
            z, r = self.recurrent_activation(x_z + h_z), self.recurrent_activation(x_r + h_r)
            candidate = self.activation(torch.addcmul(x_h, r, h_h))
        else:
            masks = [state_mask] * 3 if state_mask is None or state_mask.ndim == 2 else state_mask
            z_part, r_part, h_part = (
                (hidden if own is None else hidden * own, x, part)
                for own, x, part in zip(masks, projected.chunk(3, 1), self.recurrent_kernel.chunk(3, 1), strict=True)
            )
            z, r = (self.recurrent_activation(torch.addmm(x, h, part)) for h, x, part in (z_part, r_part))
            h, x, part = h_part
            candidate = self.activation(torch.addmm(x, r * h, part))
        hidden = z * hidden + (1 - z) * candidate
        return hidden, [hidden]

    def can_fuse(self) -> bool:
        return self.reset_after and self.activation is activations.tanh and self.recurrent_activation is activations.sigmoid

    def fused(self, sequences: Tensor, states: States) -> tuple[Tensor, States]:
        tracing = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None  # a trace has no backward of ours
        if torch.is_grad_enabled() and sequences.device.type == "cpu" and not tracing:
            outputs, hidden = gru(sequences, states[0], self.kernel, self.recurrent_kernel, self.bias)
            return outputs, [hidden]
        biases = None if self.bias is None else (_for_torch(self.bias[0]), _for_torch(self.bias[1]))
        weights = fused_weights(_for_torch(self.kernel), _for_torch(self.recurrent_kernel), biases)
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
    or before it. With the default activations, `reset_after` and no recurrent dropout one kernel computes all steps, masked ones too.

    Args:
        units: width of the state and of the output.
        activation, recurrent_activation: of the candidate h~ and of the gates; names, callables, or None to stay linear.
        use_bias: learn an offset.
        kernel_initializer, recurrent_initializer, bias_initializer: first values of the weights.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: penalties on the weights.
        activity_regularizer: penalty on the output.
        kernel_constraint, recurrent_constraint, bias_constraint: what weights become after each update.
        dropout, recurrent_dropout: shares of inputs and of the state that are zeroed, the same for all steps of a call: one mask for all
            gates, or one for each as soon as there is recurrent dropout.
        seed: sets the dropout masks apart from those of a layer with another seed.
        return_sequences, return_state, go_backwards, stateful, unroll: see `RNN`.
        reset_after: where the reset gate acts.
        use_cudnn: False takes a step at a time, which can be differentiated twice; True refuses arguments that no fused kernel has.
        implementation: 1 draws a dropout mask for each gate.

    Input shape: `(batch, time, features)`. Output shape: `(batch, units)`, or `(batch, time, units)` with `return_sequences`.
    Weights: `cell.kernel (features, 3 units)`, Glorot uniform; `cell.recurrent_kernel (units, 3 units)`, orthogonal;
    `cell.bias (2, 3 units)`, or `(3 units,)` without `reset_after`, zeros.

    Raises:
        ValueError: `units` below 1, a dropout outside of 0 to 1, `use_cudnn=True` where no fused kernel computes this; an input that is not
            `(batch, time, features)`, states or a mask of another shape; with `stateful`, a batch of another size than before.

    Example:
        >>> import torch
        >>> GRU(4, return_sequences=True)(torch.zeros(2, 5, 3)).shape
        torch.Size([2, 5, 4])
    """

    cell_class = GRUCell
    units = of_cell("units")
    recurrent_activation = of_cell("recurrent_activation")
    reset_after = of_cell("reset_after")

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
        reset_after: bool = True,
        use_cudnn: bool | str = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(**given(locals()))


def _for_torch(weight: Tensor) -> Tensor:
    """Keras's gates z, r, h along the last axis, in torch's order r, z, n."""
    z, r, h = weight.chunk(3, -1)
    return torch.cat([r, z, h], -1)
