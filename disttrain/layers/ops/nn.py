"""The functions between layers: activations, softmax, one-hot vectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain import activations
from disttrain.layers.dtypes import DTYPES, standard_dtype
from disttrain.layers.ops.operation import as_tensor, floating, operation


@operation("Relu", module="nn")
def relu(x: Any) -> Tensor:
    """`max(x, 0)`."""
    return torch.relu(as_tensor(x))


@operation("Relu6", module="nn")
def relu6(x: Any) -> Tensor:
    """`min(max(x, 0), 6)`."""
    return activations.relu6(as_tensor(x))


@operation("LeakyRelu", module="nn")
def leaky_relu(x: Any, negative_slope: float = 0.2) -> Tensor:
    """`x`, times `negative_slope` below 0."""
    return activations.leaky_relu(floating(x), negative_slope)


@operation("Elu", module="nn")
def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """`x`, below 0 `alpha * (exp(x) - 1)`."""
    return activations.elu(floating(x), alpha)


@operation("Celu", module="nn")
def celu(x: Any, alpha: float = 1.0) -> Tensor:
    """`x`, below 0 `alpha * (exp(x / alpha) - 1)`."""
    return activations.celu(floating(x), alpha)


@operation("Selu", module="nn")
def selu(x: Any) -> Tensor:
    """The elu that keeps mean 0 and variance 1."""
    return activations.selu(floating(x))


@operation("Gelu", module="nn")
def gelu(x: Any, approximate: bool = True) -> Tensor:
    """`x` times the normal distribution's share below it; by a tanh unless told otherwise."""
    return activations.gelu(floating(x), approximate)


@operation("Glu", module="nn")
def glu(x: Any, axis: int = -1) -> Tensor:
    """One half times the sigmoid of the other."""
    return activations.glu(floating(x), axis)


@operation("Silu", module="nn")
def silu(x: Any) -> Tensor:
    """`x * sigmoid(x)`."""
    return activations.silu(floating(x))


@operation("Sigmoid", module="nn")
def sigmoid(x: Any) -> Tensor:
    """`1 / (1 + exp(-x))`."""
    return torch.sigmoid(floating(x))


@operation("HardSigmoid", module="nn")
def hard_sigmoid(x: Any) -> Tensor:
    """`relu6(x + 3) / 6`."""
    return activations.hard_sigmoid(floating(x))


@operation("HardSilu", module="nn")
def hard_silu(x: Any) -> Tensor:
    """`x * hard_sigmoid(x)`."""
    return activations.hard_silu(floating(x))


@operation("LogSigmoid", module="nn")
def log_sigmoid(x: Any) -> Tensor:
    """`log(sigmoid(x))`."""
    return activations.log_sigmoid(floating(x))


@operation("Softplus", module="nn")
def softplus(x: Any) -> Tensor:
    """`log(1 + exp(x))`."""
    return activations.softplus(floating(x))


@operation("Softsign", module="nn")
def softsign(x: Any) -> Tensor:
    """`x / (1 + |x|)`."""
    return activations.softsign(floating(x))


@operation("HardTanh", module="nn")
def hard_tanh(x: Any) -> Tensor:
    """`x`, from -1 to 1."""
    return activations.hard_tanh(as_tensor(x))


@operation("TanhShrink", module="nn")
def tanh_shrink(x: Any) -> Tensor:
    """`x - tanh(x)`."""
    return activations.tanh_shrink(floating(x))


@operation("Softmax", module="nn")
def softmax(x: Any, axis: Any = -1) -> Tensor:
    """Numbers from 0 to 1 that sum to 1 along `axis`, over everything where it is None."""
    x = floating(x)
    if axis is None:
        return torch.softmax(x.reshape(-1), dim=0).reshape(x.shape)
    return activations.softmax(x, axis)


@operation("LogSoftmax", module="nn")
def log_softmax(x: Any, axis: Any = -1) -> Tensor:
    """`log(softmax(x))`."""
    x = floating(x)
    if axis is None:
        return torch.log_softmax(x.reshape(-1), dim=0).reshape(x.shape)
    return activations.log_softmax(x, axis)


@operation("Normalize", module="nn")
def normalize(x: Any, axis: int = -1, order: float = 2, epsilon: float | None = None) -> Tensor:
    """Vectors along `axis` of length 1 in the norm of `order`."""
    x = floating(x)
    return torch.nn.functional.normalize(x, p=order, dim=axis, eps=1e-7 if epsilon is None else epsilon)


@operation("OneHot", module="nn")
def one_hot(x: Any, num_classes: int, axis: int = -1, dtype: Any = "float32", sparse: bool = False) -> Tensor:
    """1 at the index and 0 elsewhere, along a new axis of size `num_classes`; all 0 for a negative index."""
    if sparse:
        raise ValueError("one_hot(sparse=True) is not supported: tensors are dense.")
    x = as_tensor(x).long()
    wanted = DTYPES[standard_dtype(dtype)]
    hot = torch.arange(num_classes, device=x.device) == x.unsqueeze(-1)
    return torch.moveaxis(hot, -1, axis).to(wanted)


__all__ = [
    "celu",
    "elu",
    "gelu",
    "glu",
    "hard_sigmoid",
    "hard_silu",
    "hard_tanh",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "normalize",
    "one_hot",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "tanh_shrink",
]
