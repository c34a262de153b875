"""Combinations of categories as bins, by their hash."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.layers.dtypes import DTYPES
from disttrain.layers.geometry import integer
from disttrain.layers.preprocessing.categorical import check_output_mode, encoded_shape
from disttrain.layers.preprocessing.fingerprint import fingerprint64, joined64
from disttrain.layers.preprocessing.hashing import result_dtype
from disttrain.layers.preprocessing.text_layer import TextLayer, as_entry, hot, tokens_of
from disttrain.layers.symbolic import SymbolicTensor, has_symbolic
from disttrain.text import is_text

_START = 0xDECAFCAFFE  # TensorFlow's `sparse.cross_hashed` begins with it


class HashedCrossing(TextLayer):
    """A bin for each combination of two or more features, by the hash of their hashes, as in Keras.

    Args:
        num_bins: how many bins there are.
        output_mode: "int": the bin; "one_hot": 1 at the bin.
        sparse: is refused; torch's sparse tensors are no inputs of other layers.
        dtype: of the result: with "int" "int64" unless told.

    Call: a list of features, of strings or whole numbers, each of shape `()`, `(batch,)` or `(batch, 1)`.
    Output shape: that of a feature; with "one_hot" `(batch, num_bins)`.

    Source: Cheng et al. 2016.

    Raises:
        ValueError: `num_bins` below 1, an unknown `output_mode`, `sparse=True`; features that are neither strings nor whole numbers, or of
            different shapes.

    Example:
        >>> HashedCrossing(5)((["A", "B", "A"], [101, 101, 102]))
        tensor([1, 4, 3])
    """

    _calls_itself = True  # its `forward` takes text, and calls as any layer

    def __init__(
        self, num_bins: int, output_mode: str = "int", sparse: bool = False, name: str | None = None, dtype: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.num_bins = integer(num_bins, "num_bins", "HashedCrossing", meaning="how many bins there are")
        self.output_mode = check_output_mode(output_mode, ("int", "one_hot"), "HashedCrossing")
        if sparse:
            raise ValueError("HashedCrossing(sparse=True) is not supported: layers take no sparse tensors. Use sparse=False.")
        self.result_dtype, self.sparse = result_dtype(dtype, output_mode, "HashedCrossing"), False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        inputs = args[0] if args else kwargs.get("inputs")
        if not isinstance(inputs, list | tuple) or len(inputs) < 2:
            raise ValueError(f"{self._described()}: expected a list of two features or more, got {type(inputs).__name__}.")
        if has_symbolic(args, kwargs):
            return super().forward(*args, **kwargs)
        return super().forward([as_entry(feature) for feature in inputs])

    def call(self, inputs: Any) -> Tensor:
        features = [tokens_of(feature) for feature in inputs]
        shapes = {shape for _, shape in features}
        shape = features[0][1]
        if len(shapes) > 1 or len(shape) > 2 or (len(shape) == 2 and shape[-1] != 1):
            raise ValueError(
                f"{self._described()}: got features of shapes {[shape for _, shape in features]}, expected all (), (batch,) or (batch, 1)."
            )
        for feature in inputs:
            if not is_text(feature) and (feature.is_floating_point() or feature.dtype is torch.bool):
                raise ValueError(f"{self._described()}: got a feature of {feature.dtype}, expected strings or whole numbers.")
        known: dict[Any, int] = {}
        found = []
        for combination in zip(*(tokens for tokens, _ in features), strict=True):
            if combination not in known:
                total = _START
                for token in combination:
                    own = fingerprint64(token.encode()) if isinstance(token, str) else token & ((1 << 64) - 1)
                    total = joined64(total, own)
                known[combination] = total % self.num_bins
            found.append(known[combination])
        indices = np.array(found, np.int64).reshape(shape)
        device = inputs[0].device
        if self.output_mode == "int":
            return torch.from_numpy(indices).to(device, DTYPES[self.result_dtype])
        return hot(indices, "one_hot", self.num_bins, DTYPES[self.result_dtype]).to(device)

    def compute_output_shape(self, input_shape: Any) -> Any:
        shape = tuple(input_shape[0])
        return shape if self.output_mode == "int" else encoded_shape(shape, "one_hot", self.num_bins)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        inputs = args[0] if args else kwargs["inputs"]
        return SymbolicTensor(self.compute_output_shape([feature.shape for feature in inputs]), self.result_dtype)

    def get_config(self) -> dict[str, Any]:
        own = {"num_bins": self.num_bins, "output_mode": self.output_mode, "sparse": False}
        return {**super().get_config(), "dtype": self.result_dtype, **own}
