"""Spectral normalization of the kernel of another layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from disttrain import initializers
from disttrain.layers.core.wrapper import Wrapper
from disttrain.layers.geometry import integer
from disttrain.layers.layer import Layer

_FUZZ = 1e-7  # Keras's epsilon(), the smallest norm that is divided by


class SpectralNormalization(Wrapper):
    """Divides the kernel of `layer` by its largest singular value, so that the layer stretches no input (Miyato et al. 2018).

    When training, `u` follows the power iteration `v = normalize(u W^T)`, `u = normalize(v W)` over the kernel `W` as a matrix
    `(-1, last axis)`, and the layer computes with `W / (v W u^T)`, whose gradient is taken for that of `W` itself, as in Keras. After
    each update the kernel is divided once more, so inference takes it as it is. A frozen wrapper leaves all as it is.

    Args:
        layer: one with `kernel` or `embeddings`, such as `Dense`, `Conv2D`, `Embedding`.
        power_iterations: how many at each step, 1 or more.

    Weights: the kernel of `layer`, then the buffer `vector_u (1, last axis of the kernel)`, truncated normal of 0.02, then the others
    of `layer`.

    Raises:
        ValueError: `power_iterations` below 1; a `layer` that has neither a kernel nor embeddings.

    Example:
        >>> import torch
        >>> from disttrain.layers import Dense
        >>> SpectralNormalization(Dense(4))(torch.zeros(2, 3)).shape
        torch.Size([2, 4])
    """

    def __init__(self, layer: Layer, power_iterations: int = 1, **kwargs: Any) -> None:
        super().__init__(layer, **kwargs)
        self.power_iterations = integer(
            power_iterations, "power_iterations", "SpectralNormalization", meaning="`power_iterations` should be greater than zero"
        )

    def build(self, input_shape: Any = None) -> None:
        super().build(input_shape)
        inner = self.layer
        found = next((name for name in ("kernel", "embeddings") if inner._parameters.get(name) is not None), None)
        if found is None:
            raise ValueError(f"{self._described()}: {inner._described()} object has no attribute 'kernel' nor 'embeddings'.")
        self._inner_name = found
        self._inner_constraint = inner._constraints.get(found)
        kernel = inner._parameters[found]
        assert kernel is not None
        self.kernel = kernel  # shared with `layer`, as in Keras: weights and files name it here too
        self._kept_dtype.add("kernel")
        # This one stands for that of `layer`: of a weight that two layers hold, the runtime takes the outer layer's.
        self._constraints["kernel"] = self._after_update
        dtype = str(kernel.dtype).removeprefix("torch.")
        start = initializers.TruncatedNormal(stddev=0.02)
        self.vector_u = self.add_weight("vector_u", (1, kernel.shape[-1]), start, trainable=False, dtype=dtype)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training or not self._trainable:
            return self.layer(inputs)
        kernel = self.kernel
        with torch.no_grad():
            normalized, vector_u = self._normalized(kernel)
            self.vector_u.copy_(vector_u)
        with self._kernel_of_layer(kernel - kernel.detach() + normalized):  # the value is the last's, the gradient the first's
            return self.layer(inputs)

    def _normalized(self, kernel: Tensor) -> tuple[Tensor, Tensor]:
        """(`kernel` over its largest singular value, the next `u`); a kernel of zeros stays, and so does `u`."""
        matrix, u = kernel.reshape(-1, kernel.shape[-1]), self.vector_u
        v = u
        for _ in range(self.power_iterations):
            v = _unit(u @ matrix.t())
            u = _unit(v @ matrix)
        largest = (v @ matrix @ u.t()).squeeze()
        zero = ~matrix.any()
        return kernel / torch.where(zero, 1.0, largest), torch.where(zero, self.vector_u, u)

    def _after_update(self, kernel: Tensor) -> Tensor:
        """What the kernel becomes after an update: by the constraint of `layer`, then over its largest singular value.

        The next step goes the same way from the same `u` and finds 1, so it starts where Keras's, which divides then, would start.
        """
        kernel = kernel if self._inner_constraint is None else self._inner_constraint(kernel)
        return self._normalized(kernel)[0]

    @contextmanager
    def _kernel_of_layer(self, kernel: Tensor) -> Iterator[None]:
        """Within the block, `layer` computes with this kernel."""
        kept = self.layer._parameters
        self.layer.__dict__["_parameters"] = {**kept, self._inner_name: kernel}
        try:
            yield
        finally:
            self.layer.__dict__["_parameters"] = kept

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The kernel once, as `kernel`."""
        found = super().state_dict(*args, **kwargs)
        if self.built:
            found.pop(f"{kwargs.get('prefix', '')}layer.{self._inner_name}", None)
        return found

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        if self.built and f"{prefix}kernel" in state_dict:
            state_dict[f"{prefix}layer.{self._inner_name}"] = state_dict[f"{prefix}kernel"]
        super()._load_from_state_dict(state_dict, prefix, *args)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "power_iterations": self.power_iterations}


def _unit(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().sum()).clamp_max(1 / _FUZZ)
