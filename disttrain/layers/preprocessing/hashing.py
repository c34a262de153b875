"""Strings and whole numbers as bins, by their hash."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.layers.dtypes import DTYPES, standard_dtype
from disttrain.layers.geometry import integer
from disttrain.layers.preprocessing.categorical import check_output_mode, encoded_shape
from disttrain.layers.preprocessing.fingerprint import fingerprint64, siphash64
from disttrain.layers.preprocessing.text_layer import TextLayer, hot, tokens_of
from disttrain.layers.preprocessing.vocabulary import two_keys
from disttrain.layers.symbolic import Shape, SymbolicTensor


class Hashing(TextLayer):
    """A bin for each string or number: its hash modulo `num_bins`. FarmHash, or SipHash where there is a salt, as in Keras.

    Args:
        num_bins: how many bins, that of the mask included.
        mask_value: what stands for nothing: bin 0, and the others share the bins from 1 on. None: there is none.
        salt: one or two whole numbers, the key of SipHash.
        output_mode: "int": the bin; "one_hot", "multi_hot", "count": as `CategoryEncoding` encodes it.
        sparse: is refused; torch's sparse tensors are no inputs of other layers.
        dtype: of the result: with "int" "int64" unless told, or "int32".

    Input shape: any, of strings or numbers; of a float counts what is before the point. Output shape: the same for "int"; else see
    `CategoryEncoding`.

    Source: Weinberger et al. 2009.

    Raises:
        ValueError: `num_bins` below 1, a `salt` that is neither a number nor two, an unknown `output_mode`, `sparse=True`.

    Example:
        >>> Hashing(3)([["A"], ["B"], ["C"]]).flatten()
        tensor([1, 0, 1])
    """

    def __init__(
        self, num_bins: int, mask_value: Any = None, salt: Any = None, output_mode: str = "int", sparse: bool = False, **kwargs: Any
    ) -> None:
        self_dtype = kwargs.pop("dtype", None)
        super().__init__(**kwargs)
        self.num_bins = integer(num_bins, "num_bins", "Hashing", meaning="how many bins there are")
        self.output_mode = check_output_mode(output_mode, ("int", "one_hot", "multi_hot", "count"), "Hashing")
        if sparse:
            raise ValueError("Hashing(sparse=True) is not supported: layers take no sparse tensors. Use sparse=False.")
        self.result_dtype = result_dtype(self_dtype, output_mode, "Hashing")
        self.mask_value, self.salt, self.sparse = mask_value, two_keys(salt, "Hashing"), False

    def call(self, inputs: Tensor) -> Tensor:
        tokens, shape = tokens_of(inputs)
        masked = self.mask_value is not None and self.num_bins > 1
        bins = self.num_bins - 1 if masked else self.num_bins
        known: dict[Any, int] = {}
        found = []
        for token in tokens:
            if token not in known:
                known[token] = 0 if masked and token == self.mask_value else self._hash(token) % bins + masked
            found.append(known[token])
        indices = np.array(found, np.int64).reshape(shape)
        if self.output_mode == "int":
            return torch.from_numpy(indices).to(inputs.device, DTYPES[self.result_dtype])
        return hot(indices, self.output_mode, self.num_bins, DTYPES[self.result_dtype]).to(inputs.device)

    def _hash(self, token: Any) -> int:
        data = (token if isinstance(token, str) else str(int(token))).encode()
        return fingerprint64(data) if self.salt is None else siphash64(data, self.salt)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape) if self.output_mode == "int" else encoded_shape(tuple(input_shape), self.output_mode, self.num_bins)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        inputs = args[0] if args else kwargs["inputs"]
        return SymbolicTensor(self.compute_output_shape(inputs.shape), self.result_dtype)

    def get_config(self) -> dict[str, Any]:
        own = {"num_bins": self.num_bins, "salt": self.salt, "mask_value": self.mask_value, "output_mode": self.output_mode}
        return {**super().get_config(), "dtype": self.result_dtype, **own, "sparse": False}


def result_dtype(dtype: Any, output_mode: str, owner: str) -> str:
    """The dtype of bins, or of vectors that stand for them, from what a person said.

    Raises:
        ValueError: bins that would be no integers.
    """
    if isinstance(dtype, dict):  # a policy of Keras
        dtype = (dtype.get("config") or {}).get("name")
    name = getattr(dtype, "name", None) or (str(dtype).removeprefix("torch.") if dtype is not None else None)
    if output_mode == "int":
        if name not in (None, "int32", "int64"):
            raise ValueError(f"{owner}(output_mode='int', dtype={dtype!r}): expected 'int32' or 'int64'.")
        return name or "int64"
    if name is not None and name not in DTYPES:
        raise ValueError(f"{owner}(dtype={dtype!r}): expected one of {', '.join(DTYPES)}.")
    return name or standard_dtype(None)


__all__ = ["Hashing", "result_dtype"]
