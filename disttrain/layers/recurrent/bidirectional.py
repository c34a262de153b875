"""A sequence read from both ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.layers.layer import Layer
from disttrain.layers.nesting import fresh_copy, unshared, wrapped
from disttrain.layers.recurrent.rnn import build_for_this_batch
from disttrain.layers.symbolic import Shape

_MERGE_MODES = ("sum", "mul", "ave", "concat", None)
_ALIKE = ("stateful", "return_sequences", "return_state")


class Bidirectional(Layer):
    """A recurrent layer that walks forwards, another that walks backwards, and their outputs merged step by step.

    Args:
        layer: a recurrent layer, or one with `go_backwards`, `return_sequences`, `return_state` and `stateful` of the same meaning. It is
            copied, without its weights, as `forward_<name>`; with `return_sequences` its outputs of masked steps are zeros.
        merge_mode: `"sum"`, `"mul"`, `"ave"`, `"concat"` along the last axis, or None for both outputs as they are.
        weights: first values, those of `layer`, then those of the other.
        backward_layer: the layer that walks backwards; made from `layer` where it is None.

    `call` takes `initial_state`, a list whose first half is for `layer`; states come in the same order: `(output, state, ...)`.

    Input shape and output shape are those of `layer`, the last axis twice as long with `"concat"`; with None there are two outputs.

    Source: Schuster & Paliwal 1997.

    Raises:
        ValueError: a `layer` that is not recurrent, an unknown `merge_mode`, or a `backward_layer` that walks in the same direction or
            differs in what it returns; initial states that are no list of two halves.
        AttributeError: `reset_state` of layers that keep none.

    Example:
        >>> from disttrain.layers import LSTM
        >>> Bidirectional(LSTM(4, return_sequences=True))(torch.zeros(2, 5, 3)).shape
        torch.Size([2, 5, 8])
    """

    _starts_mask = False

    def __init__(
        self, layer: Layer, merge_mode: str | None = "concat", weights: Sequence[Any] | None = None, backward_layer: Layer | None = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        for argument, value in (("layer", layer), ("backward_layer", backward_layer)):
            if argument == "backward_layer" and value is None:
                continue
            if not isinstance(value, Layer) or not all(hasattr(value, name) for name in ("go_backwards", *_ALIKE)):
                raise ValueError(f"Bidirectional({argument}={value!r}): expected a recurrent layer, such as LSTM(8).")
        if merge_mode not in _MERGE_MODES:
            raise ValueError(f"Bidirectional(merge_mode={merge_mode!r}): expected 'sum', 'mul', 'ave', 'concat' or None.")
        forward = fresh_copy(layer, name=f"forward_{layer.name.removeprefix('forward_')}")
        if backward_layer is None:
            name = f"backward_{layer.name.removeprefix('backward_')}"
            backward_layer = fresh_copy(layer, name=name, go_backwards=True)
        _check_pair(forward, backward_layer)
        for child in (forward, backward_layer):
            if hasattr(layer, "use_cudnn"):  # is in no config
                child.use_cudnn = layer.use_cudnn
            if hasattr(child, "zero_output_for_mask"):  # else the repeated outputs of one would meet steps of the other
                child.zero_output_for_mask = child.return_sequences
        self.forward_layer, self.backward_layer = wrapped(forward), wrapped(backward_layer)
        self.merge_mode = merge_mode
        self.stateful, self.return_sequences, self.return_state = (bool(getattr(layer, name)) for name in _ALIKE)
        self._first_weights = None if weights is None else list(weights)

    def build(self, sequences_shape: Shape, initial_state_shape: Any = None) -> None:
        for child in (self.forward_layer, self.backward_layer):
            if not child.built:
                child.build(sequences_shape)
        if self._first_weights is not None:
            self.set_weights(self._first_weights)
            self._first_weights = None

    def _build_for(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.stateful:
            build_for_this_batch(self, args)
        else:
            super()._build_for(args, kwargs)

    def call(self, sequences: Tensor, initial_state: Any = None, mask: Tensor | None = None, training: bool = False) -> Any:
        there, back = self._halves(initial_state)
        one = self.forward_layer(sequences, mask=mask, training=training, **there)
        two = self.backward_layer(sequences, mask=mask, training=training, **back)
        states: tuple[Any, ...] = ()
        if self.return_state:
            states = (*one[1:], *two[1:])
            one, two = one[0], two[0]
        merged = self._merged(one, two.flip(1) if self.return_sequences else two)
        if self.return_state:
            return (*merged, *states) if self.merge_mode is None else (merged, *states)
        return merged

    def _halves(self, initial_state: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        if initial_state is None:
            return {}, {}
        if not isinstance(initial_state, list | tuple) or len(initial_state) % 2:
            got = len(initial_state) if isinstance(initial_state, list | tuple) else 1
            raise ValueError(f"{self._described()}: got {got} initial states, expected a list, half of it for each direction.")
        half = len(initial_state) // 2
        return {"initial_state": list(initial_state[:half])}, {"initial_state": list(initial_state[half:])}

    def _merged(self, one: Tensor, two: Tensor) -> Any:
        one, two = one.to(self._compute_dtype), two.to(self._compute_dtype)
        if self.merge_mode == "concat":
            return torch.cat([one, two], -1)
        if self.merge_mode == "sum":
            return one + two
        if self.merge_mode == "ave":
            return (one + two) / 2
        return one * two if self.merge_mode == "mul" else (one, two)

    def reset_state(self) -> None:
        """Set the kept states of both layers to zeros.

        Raises:
            AttributeError: the layers are not stateful.
        """
        if not self.stateful:
            raise AttributeError(f"{self._described()}.reset_state(): its layers keep no states.\n  try  stateful=True in the inner layer")
        self.forward_layer.reset_state()
        self.backward_layer.reset_state()

    def reset_states(self) -> None:
        """Keras's older name for `reset_state`."""
        self.reset_state()

    @property
    def states(self) -> tuple[Any, ...] | None:
        """With `stateful`, the states as they are kept, those of the forward layer first."""
        kept = [getattr(child, "states", None) for child in (self.forward_layer, self.backward_layer)]
        return None if None in kept else (*kept[0], *kept[1])  # type: ignore[misc]

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """That of the input for sequences of outputs, none for single ones or for states."""
        mask = previous_mask[0] if isinstance(previous_mask, list) else previous_mask
        mask = mask if self.return_sequences else None
        return [mask, mask] if self.merge_mode is None else [mask] if self.return_state else mask

    def compute_output_shape(self, sequences_shape: Shape, initial_state_shape: Any = None) -> Any:
        output, states = self.forward_layer.compute_output_shape(sequences_shape), ()
        if self.return_state:
            output, states = output[0], (*output[1:], *output[1:])
        if self.merge_mode is None:
            return (output, output, *states)
        if self.merge_mode == "concat":
            output = (*output[:-1], 2 * output[-1])
        return (output, *states) if self.return_state else output

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "merge_mode": self.merge_mode,
            "layer": self.forward_layer,
            "backward_layer": self.backward_layer,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return super().from_config({**config, "backward_layer": unshared(config.get("backward_layer"))})


def _check_pair(forward: Any, backward: Any) -> None:
    if forward.go_backwards == backward.go_backwards:
        raise ValueError(
            f"Bidirectional: both layers have go_backwards={forward.go_backwards}; one of layer and backward_layer must walk backwards."
        )
    for name in _ALIKE:
        if getattr(forward, name) != getattr(backward, name):
            raise ValueError(
                f"Bidirectional: layer has {name}={getattr(forward, name)}, backward_layer {name}={getattr(backward, name)}; "
                "expected the same in both."
            )
