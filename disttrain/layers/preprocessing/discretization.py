"""Numbers as the bins they fall into."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.host_numbers import on_device
from disttrain.layers.geometry import integer
from disttrain.layers.layer import Layer
from disttrain.layers.preprocessing import quantiles
from disttrain.layers.preprocessing.batches import batches
from disttrain.layers.preprocessing.categorical import check_output_mode, encode, encoded_shape
from disttrain.layers.symbolic import Shape, SymbolicTensor


class Discretization(Layer):
    """The number of the bin that each element is in: below the first boundary 0, from boundary i on i + 1.

    Args:
        bin_boundaries: the boundaries in order; `[0, 1]` makes the bins below 0, from 0 to below 1, and from 1 on.
        num_bins: instead of boundaries, how many bins of equal weight `adapt` is to find.
        epsilon: how exactly: `adapt` keeps about `1 / epsilon` values.
        output_mode: "int" for the number, or how it is encoded: "one_hot", "multi_hot", "count"; see `CategoryEncoding`.
        sparse: is refused; torch's sparse tensors are no inputs of other layers.

    Input shape: any. Output shape: the same for "int", dtype int32; else see `CategoryEncoding`.

    Raises:
        ValueError: both or none of `bin_boundaries` and `num_bins`, boundaries that are not in order, an `epsilon` outside of 0 to 1, an
            unknown `output_mode`, `sparse=True`; an input before `adapt`.

    Example:
        >>> import torch
        >>> Discretization([0.0, 1.0])(torch.tensor([-0.5, 0.0, 7.0]))
        tensor([0, 1, 2], dtype=torch.int32)
    """

    def __init__(
        self,
        bin_boundaries: Any = None,
        num_bins: int | None = None,
        epsilon: float = 0.01,
        output_mode: str = "int",
        sparse: bool = False,
        dtype: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(dtype=dtype, name=name, **kwargs)
        self.output_mode = check_output_mode(output_mode, ("int", "one_hot", "multi_hot", "count"), "Discretization")
        if sparse:
            raise ValueError("Discretization(sparse=True) is not supported: layers take no sparse tensors. Use sparse=False.")
        if (bin_boundaries is None) == (num_bins is None):
            raise ValueError(f"Discretization(bin_boundaries={bin_boundaries!r}, num_bins={num_bins!r}): expected one of the two.")
        if not isinstance(epsilon, int | float) or not 0 < epsilon <= 1:
            raise ValueError(f"Discretization(epsilon={epsilon!r}): expected a number above 0, at most 1.")
        self.bin_boundaries = None if bin_boundaries is None else _boundaries(bin_boundaries)
        self.num_bins = None if num_bins is None else integer(num_bins, "num_bins", "Discretization")
        self.epsilon, self.sparse = epsilon, False
        self.summary = quantiles.EMPTY

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Find boundaries between `num_bins` bins that hold about as many numbers of `data` each.

        Args:
            data: an array, a tensor, or an iterable of batches, each of them (x, y, ...) or x.
            steps: of the batches, look at so many.

        Raises:
            ValueError: the layer was given `bin_boundaries`; no data.
        """
        if self.num_bins is None:
            raise ValueError(f"{self._described()}.adapt: the layer was made with bin_boundaries; use num_bins to have them found.")
        self.reset_state()
        for number, batch in enumerate(batches(data, self._described())):
            if steps is not None and number >= steps:
                break
            self.update_state(batch)
        self.finalize_state()

    def reset_state(self) -> None:
        """Forget the numbers seen so far."""
        self.summary = quantiles.EMPTY

    def update_state(self, data: Any) -> None:
        """Look at more numbers."""
        values = np.asarray(data.cpu() if isinstance(data, Tensor) else data).astype("float32")
        self.summary = quantiles.merge(quantiles.summarize(values, self.epsilon), self.summary, self.epsilon)

    def finalize_state(self) -> None:
        """Set the boundaries to those of the numbers seen; without any, leave them: they may come from a file."""
        if self.num_bins is not None and self.summary.size:
            self.bin_boundaries = quantiles.boundaries(self.summary, self.num_bins)

    def call(self, inputs: Tensor) -> Tensor:
        if self.bin_boundaries is None:
            raise ValueError(f"{self._described()}: has no boundaries yet.\n  try  layer.adapt(data), or bin_boundaries=[...]")
        x = inputs.to(torch.uint8) if inputs.dtype is torch.bool else inputs
        bounds = on_device(self.bin_boundaries, x.device, torch.float32)
        indices = torch.bucketize(x, bounds, right=True, out_int32=True)
        if self.output_mode == "int":
            return indices
        return encode(indices, self.output_mode, len(self.bin_boundaries) + 1, self._compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if self.output_mode == "int":
            return input_shape
        depth = self.num_bins if self.bin_boundaries is None else len(self.bin_boundaries) + 1
        return encoded_shape(input_shape, self.output_mode, depth or 1)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        inputs = args[0] if args else kwargs["inputs"]
        dtype = "int32" if self.output_mode == "int" else self.compute_dtype
        return SymbolicTensor(self.compute_output_shape(inputs.shape), dtype)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if self.trainable:
            del config["trainable"]  # Keras's constructor does not take it
        own = {"bin_boundaries": self.bin_boundaries, "num_bins": self.num_bins, "epsilon": self.epsilon}
        return {**config, **own, "output_mode": self.output_mode, "sparse": self.sparse}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        found = config.get("bin_boundaries") if config.get("num_bins") is not None else None
        layer = super().from_config({**config, "bin_boundaries": None} if found is not None else config)
        if found is not None:  # adapt has found them
            layer.bin_boundaries = _boundaries(found)
        return layer


def _boundaries(values: Any) -> list[float]:
    """`values` as a list of numbers.

    Raises:
        ValueError: something else, or not in order.
    """
    array = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "fiu") or bool((np.diff(array) < 0).any()):
        raise ValueError(f"Discretization(bin_boundaries={values!r}): expected a list of numbers in order, the least first.")
    listed: list[float] = array.tolist()
    return listed
