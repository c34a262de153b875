"""What layers that change numbers one by one have in common."""

from __future__ import annotations

from typing import Any

from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape


class Pointwise(Layer):
    """A function of each number: the shape stays, and a mask goes on to the output."""

    supports_masking = True
    _needs_no_build = True

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


def number(value: Any, argument: str, owner: str, minimum: float | None = 0.0) -> Any:
    """`value` as it is.

    Raises:
        ValueError: not a number of `minimum` or more.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or (minimum is not None and not value >= minimum):
        told = f"expected a number{'' if minimum is None else f', {minimum:g} or more'}"
        if minimum == 0:  # Keras's words
            of = f"{argument} of a {owner} layer" if owner == "ReLU" else f"The {argument} value of a {owner} layer"
            told = f"{of} cannot be {'' if argument == 'max_value' else 'None or '}a negative value"
        raise ValueError(f"{owner.replace(' ', '')}({argument}={value!r}): {told}.")
    return value
