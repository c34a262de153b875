"""What the cells of this package share: weights, dropout masks, and the walk with all inputs projected before the first step."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain import activations, constraints, initializers, regularizers
from disttrain.layers.layer import Layer
from disttrain.layers.randomness import kept
from disttrain.layers.recurrent.compaction import Compaction
from disttrain.layers.recurrent.walk import States, Walk, walk
from disttrain.layers.symbolic import Shape


class RecurrentCell(Layer):
    """One step: `(inputs (batch, features), states) -> (output, new states)`.

    Subclasses say how many `gates` a kernel holds side by side and define `step`; where torch has a kernel that computes all steps at
    once, also `can_fuse` and `fused`.

    A dropout mask is drawn once for all steps of a call: (batch, size) for all gates, or (gates, batch, size), one for each.
    """

    gates = 1
    masks_per_gate = True  # as soon as there is recurrent dropout; Keras's SimpleRNN has one for all
    size_argument = "units"

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
        *,
        implementation: int = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        owner = type(self).__name__
        if isinstance(units, bool) or not isinstance(units, int) or units < 1:
            raise ValueError(f"{owner}({self.size_argument}={units!r}): expected an integer, 1 or more.")
        for argument, rate in (("dropout", dropout), ("recurrent_dropout", recurrent_dropout)):
            if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0.0 <= rate <= 1.0:
                raise ValueError(f"{owner}({argument}={rate!r}): expected a number from 0 to 1, the share that is zeroed.")
        if implementation == 0:  # of older Keras
            implementation = 1
            warnings.warn(f"{owner}(implementation=0) is of older Keras; taken for 1.", stacklevel=3)
        if implementation not in (1, 2):
            raise ValueError(f"{owner}(implementation={implementation!r}): expected 1 or 2.")
        self.units, self.use_bias, self.seed = units, bool(use_bias), seed
        self.activation = activations.get(activation)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.recurrent_constraint = constraints.get(recurrent_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.dropout, self.recurrent_dropout = float(dropout), float(recurrent_dropout)
        self.implementation = 1 if recurrent_dropout else implementation

    @property
    def state_size(self) -> int | list[int]:
        """The width of the state, or of each."""
        return self.units

    @property
    def output_size(self) -> int:
        """The width of the output."""
        return self.units

    # -- weights --------------------------------------------------------------------------------------------------------------------

    def build(self, input_shape: Shape) -> None:
        if not input_shape or input_shape[-1] is None:
            raise ValueError(f"{self._described()}: got an input of shape {input_shape}; the size of its last axis must be known.")
        width = self.gates * self.units
        self._add_kernels((input_shape[-1], width), (self.units, width))
        self.bias = self._add_bias() if self.use_bias else None

    def _add_kernels(self, kernel: tuple[int, ...], recurrent: tuple[int, ...]) -> None:
        self.kernel = self.add_weight("kernel", kernel, self.kernel_initializer, self.kernel_regularizer, constraint=self.kernel_constraint)
        self.recurrent_kernel = self.add_weight(
            "recurrent_kernel", recurrent, self.recurrent_initializer, self.recurrent_regularizer, constraint=self.recurrent_constraint
        )

    def _add_bias(self, shape: Sequence[int] | None = None, initializer: Any = None) -> Any:
        return self.add_weight(
            "bias",
            shape or (self.gates * self.units,),
            initializer or self.bias_initializer,
            self.bias_regularizer,
            constraint=self.bias_constraint,
        )

    def _input_bias(self) -> Tensor | None:
        """What is added to the product with the kernel."""
        return self.bias

    # -- states and masks -----------------------------------------------------------------------------------------------------------

    def get_initial_state(self, batch_size: int) -> list[Tensor]:
        """Zeros (batch_size, units) for each state."""
        sizes = self.state_size if isinstance(self.state_size, list) else [self.state_size]
        device = self.kernel.device if self.built else None
        return [torch.zeros(batch_size, size, dtype=self._compute_dtype, device=device) for size in sizes]

    def draw_masks(self, inputs: Sequence[int], state: Sequence[int], training: bool) -> tuple[Tensor | None, Tensor | None]:
        """Dropout masks for inputs and for a state of these shapes, batch included."""
        if not training:
            return None, None
        gates = (self.gates,) if self.masks_per_gate and self.implementation == 1 else ()
        return self._draw((*gates, *inputs), self.dropout), self._draw((*gates, *state), self.recurrent_dropout)

    def _draw(self, shape: tuple[int, ...], rate: float) -> Tensor | None:
        if not rate:
            return None
        if rate == 1.0:
            return torch.zeros(shape, dtype=self._compute_dtype, device=self._own_device())
        return kept(self, shape, rate, self._compute_dtype, self._own_device(), self.seed).div_(1.0 - rate)

    # -- one step -------------------------------------------------------------------------------------------------------------------

    def call(self, inputs: Tensor, states: Any, training: bool = False) -> tuple[Tensor, Any]:
        given = list(states) if isinstance(states, list | tuple) else [states]
        expected = len(self.state_size) if isinstance(self.state_size, list) else 1
        if len(given) != expected:
            raise ValueError(f"{self._described()}: got {len(given)} states, expected {expected}.")
        self._check_inputs(inputs, inputs.shape)
        input_mask, state_mask = self.draw_masks(inputs.shape, given[0].shape, training)
        output, new = self.step(self.project(inputs, input_mask), given, state_mask)
        return output, new if isinstance(states, list | tuple) else new[0]

    def step(self, projected: Tensor, states: States, state_mask: Tensor | None) -> tuple[Tensor, States]:
        """One step from inputs that went through `project`, with a given dropout mask for the state."""
        raise NotImplementedError

    def project(self, inputs: Tensor, mask: Tensor | None) -> Tensor:
        """`inputs @ kernel + bias` with dropout on the inputs, of one step (batch, features) or of many (..., batch, features)."""
        bias = self._input_bias()
        if mask is not None and mask.ndim > 2:
            parts = self.kernel.chunk(self.gates, 1)
            y = torch.cat([(inputs * own) @ part for own, part in zip(mask, parts, strict=True)], -1)
            return y if bias is None else y + bias
        flat = (inputs if mask is None else inputs * mask).reshape(-1, inputs.shape[-1])
        y = flat @ self.kernel if bias is None else torch.addmm(bias, flat, self.kernel)
        return y.view(*inputs.shape[:-1], -1)

    def recur(self, hidden: Tensor, mask: Tensor | None, plus: Tensor | None) -> Tensor:
        """`hidden @ recurrent_kernel + plus` with dropout on the state."""
        if mask is not None and mask.ndim > 2:
            parts = self.recurrent_kernel.reshape(self.units, self.gates, self.units).transpose(0, 1)
            y = torch.bmm(hidden * mask, parts).transpose(0, 1).reshape(hidden.shape[0], -1)
            return y if plus is None else y + plus
        hidden = hidden if mask is None else hidden * mask
        return hidden @ self.recurrent_kernel if plus is None else torch.addmm(plus, hidden, self.recurrent_kernel)

    # -- all steps ------------------------------------------------------------------------------------------------------------------

    def walk(self, inputs: Tensor, states: States, how: Walk) -> tuple[Tensor, States]:
        """All steps of `inputs` (batch, time, features): (outputs or the last output, last states)."""
        if inputs.dtype is not self._compute_dtype or states[0].dtype is not self._compute_dtype:
            inputs, states = inputs.to(self._compute_dtype), [state.to(self._compute_dtype) for state in states]
        self._check_inputs(inputs, (inputs.shape[0], *inputs.shape[2:]))
        input_mask, state_mask = self.draw_masks((inputs.shape[0], *inputs.shape[2:]), states[0].shape, how.training)
        if how.fused and self.can_fuse() and state_mask is None and (input_mask is None or input_mask.ndim == 2):
            return self._walk_fused(inputs if input_mask is None else inputs * input_mask.unsqueeze(1), states, how)
        projected = self.project(inputs.transpose(0, 1), input_mask)  # one large product; time first, so that a step is contiguous
        return walk(lambda x, before: self.step(x, before, state_mask), projected.unbind(0), states, how)

    def _walk_fused(self, inputs: Tensor, states: States, how: Walk) -> tuple[Tensor, States]:
        if how.mask is None:
            outputs, last = self.fused(inputs, states)
            return (outputs if how.every_output else last[0]), last  # not outputs[:, -1], whose gradient is as large as outputs
        moved = Compaction(how.mask)
        inputs = moved.front(inputs)
        outputs, _ = self.fused(inputs, states)
        last = [moved.last(outputs, states[0])]
        if how.last_states and len(states) > 1:
            last += [moved.last(each, state) for each, state in zip(self.further_states(inputs, outputs, states), states[1:], strict=True)]
        if how.every_output:
            return moved.back(outputs, how.zero_output_for_mask), last
        if how.zero_output_for_mask:
            return torch.where(how.mask[:, -1:], last[0], torch.zeros_like(last[0])), last
        return torch.where(moved.so_far[:, -1:] > 0, last[0], torch.zeros_like(last[0])), last

    def can_fuse(self) -> bool:
        """Has torch one kernel that computes exactly this cell over all steps?"""
        return False

    def fused(self, sequences: Tensor, states: States) -> tuple[Tensor, States]:
        """All steps at once: (outputs (batch, time, units), last states)."""
        raise NotImplementedError

    def further_states(self, sequences: Tensor, outputs: Tensor, states: States) -> list[Tensor]:
        """After `fused`: the states beside the output at every step, each (batch, time, units)."""
        return []

    # -- the rest -------------------------------------------------------------------------------------------------------------------

    def _check_inputs(self, inputs: Tensor, shape: Sequence[int]) -> None:
        if len(shape) != 2 or shape[-1] != self.kernel.shape[0]:
            raise ValueError(
                f"{self._described()}: got inputs of shape {tuple(inputs.shape)}, "
                f"expected (batch, {'time, ' if inputs.ndim > 2 else ''}{self.kernel.shape[0]}), as it was built for."
            )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            self.size_argument: self.units,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": initializers.serialize(self.recurrent_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "recurrent_regularizer": regularizers.serialize(self.recurrent_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "kernel_constraint": constraints.serialize(self.kernel_constraint),
            "recurrent_constraint": constraints.serialize(self.recurrent_constraint),
            "bias_constraint": constraints.serialize(self.bias_constraint),
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "seed": self.seed,
        }


def given(scope: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the constructor whose `locals()` these are, by name."""
    return {**{name: value for name, value in scope.items() if name not in ("self", "__class__", "kwargs")}, **scope["kwargs"]}
