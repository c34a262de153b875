"""Categories as vectors."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain.layers.geometry import integer
from disttrain.layers.layer import Layer
from disttrain.layers.preprocessing.categorical import check_output_mode, encode, encoded_shape
from disttrain.layers.symbolic import Shape


class CategoryEncoding(Layer):
    """Integers from 0 to `num_tokens - 1` as vectors of `num_tokens` elements.

    Args:
        num_tokens: how many categories there are, 1 or more.
        output_mode: "multi_hot": for the integers of a sample together, 1 at each that is there; "one_hot": for each integer, 1 at its
            place; "count": how often each is there.
        sparse: is refused; torch's sparse tensors are no inputs of other layers.

    Call:
        count_weights: of the shape of the inputs; with "count" they are summed instead of ones.

    Input shape: `(..., n)`. Output shape: `(..., num_tokens)`; as "one_hot" `(..., n, num_tokens)`, where an n of 1 is left out.

    Raises:
        ValueError: an unknown `output_mode`, `num_tokens` below 1, `sparse=True`; `count_weights` without `output_mode="count"` or of
            another shape; an index outside of 0 to `num_tokens - 1`.

    Example:
        >>> import torch
        >>> CategoryEncoding(4, "count")(torch.tensor([[0, 1], [3, 3]]))
        tensor([[1., 1., 0., 0.],
                [0., 0., 0., 2.]])
    """

    def __init__(self, num_tokens: int | None = None, output_mode: str = "multi_hot", sparse: bool = False, **kwargs: Any) -> None:
        super().__init__(**{"autocast": False, **kwargs})  # an integer that came as a float must not be rounded
        output_mode = "multi_hot" if output_mode == "binary" else output_mode  # as older files have it
        self.output_mode = check_output_mode(output_mode, ("count", "multi_hot", "one_hot"), "CategoryEncoding")
        if sparse:
            raise ValueError("CategoryEncoding(sparse=True) is not supported: layers take no sparse tensors. Use sparse=False.")
        self.num_tokens = integer(num_tokens, "num_tokens", "CategoryEncoding", meaning="how many categories there are")
        self.sparse = False

    def call(self, inputs: Tensor, count_weights: Tensor | None = None) -> Tensor:
        if count_weights is not None:
            if self.output_mode != "count":
                raise ValueError(f"{self._described()}: count_weights go with output_mode='count', not {self.output_mode!r}.")
            if count_weights.shape != inputs.shape:
                raise ValueError(f"{self._described()}: count_weights has shape {tuple(count_weights.shape)}, not {tuple(inputs.shape)}.")
            count_weights = count_weights.to(self._compute_dtype)
        try:
            return encode(inputs, self.output_mode, self.num_tokens, self._compute_dtype, count_weights)
        except ValueError as error:
            raise ValueError(f"{self._described()}: {error}") from None

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return encoded_shape(input_shape, self.output_mode, self.num_tokens)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_tokens": self.num_tokens, "output_mode": self.output_mode}
