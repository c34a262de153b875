"""Activation functions, with the names, arguments and defaults of Keras 3."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from disttrain.arrays import takes_arrays
from disttrain.identifiers import no_such_name
from disttrain.running_sums import running_sum

Activation = Callable[[Tensor], Tensor]


@takes_arrays
def linear(x: Tensor) -> Tensor:
    """`x`, unchanged."""
    return x


@takes_arrays
def relu(x: Tensor, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Tensor:
    """`x` where `x > threshold`, else `negative_slope * (x - threshold)`; never more than `max_value`.

    Example:
        >>> relu(torch.tensor([-2.0, 0.5, 3.0, 9.0]), negative_slope=0.5, max_value=6.0, threshold=1.0)
        tensor([-1.5000, -0.2500,  3.0000,  6.0000])
    """
    if threshold == 0.0 and negative_slope == 0.0:
        y = torch.relu(x)
    elif threshold == 0.0:
        y = F.leaky_relu(x, negative_slope)
    else:
        below = negative_slope * (x - threshold) if negative_slope else torch.zeros_like(x)  # 0 times -inf would be NaN
        y = torch.where(x > threshold, x, below)
    return y if max_value is None else y.clamp(max=max_value)


@takes_arrays
def leaky_relu(x: Tensor, negative_slope: float = 0.2) -> Tensor:
    """`max(x, negative_slope * x)`; the slope is 0.2 here and 0.01 in torch."""
    return F.leaky_relu(x, negative_slope)


@takes_arrays
def relu6(x: Tensor) -> Tensor:
    """`min(max(x, 0), 6)`."""
    return F.relu6(x)


@takes_arrays
def softmax(x: Tensor, axis: int | tuple[int, ...] | list[int] = -1) -> Tensor:
    """`exp(x) / sum(exp(x))` along `axis`, which may be several."""
    if isinstance(axis, int):
        return torch.softmax(x, axis)
    return torch.exp(x - torch.logsumexp(x, tuple(axis), keepdim=True))


@takes_arrays
def log_softmax(x: Tensor, axis: int | tuple[int, ...] | list[int] = -1) -> Tensor:
    """`log(softmax(x))` along `axis`, which may be several, computed without the overflow."""
    if isinstance(axis, int):
        return torch.log_softmax(x, axis)
    return x - torch.logsumexp(x, tuple(axis), keepdim=True)


@takes_arrays
def sparsemax(x: Tensor, axis: int = -1) -> Tensor:
    """The nearest point to `x` among those that are 0 or more and sum to 1 along `axis` (Martins & Astudillo 2016, algorithm 1).

    Unlike softmax it gives zeros: `max(x - tau, 0)`, with the one tau that makes the sum 1.

    Example:
        >>> sparsemax(torch.tensor([0.5, 0.25, -2.0]))
        tensor([0.6250, 0.3750, 0.0000])
    """
    x = x - x.amax(axis, keepdim=True)  # the result is the same, and the sums below stay small
    descending = x.sort(axis, descending=True).values
    sums = running_sum(descending, axis)
    counts = torch.arange(1, x.shape[axis] + 1, dtype=x.dtype, device=x.device).view([-1] + [1] * (x.ndim - 1 - axis % x.ndim))
    support = (1.0 + counts * descending > sums).sum(axis, keepdim=True)  # how many are more than 0, 1 or more
    tau = (sums.gather(axis, support - 1) - 1.0) / support
    return torch.relu(x - tau)


@takes_arrays
def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """`x` where positive, else `alpha * (exp(x) - 1)`."""
    return F.elu(x, alpha)


@takes_arrays
def celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """`max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))`."""
    return F.celu(x, alpha)


@takes_arrays
def selu(x: Tensor) -> Tensor:
    """Scaled exponential linear unit (Klambauer et al. 2017): `1.0507 * elu(x, 1.6733)`."""
    return F.selu(x)


@takes_arrays
def softplus(x: Tensor) -> Tensor:
    """`log(exp(x) + 1)`."""
    return F.softplus(x)


@takes_arrays
def softsign(x: Tensor) -> Tensor:
    """`x / (|x| + 1)`."""
    return F.softsign(x)


@takes_arrays
def silu(x: Tensor) -> Tensor:
    """`x * sigmoid(x)`, also called swish."""
    return F.silu(x)


@takes_arrays
def gelu(x: Tensor, approximate: bool = False) -> Tensor:
    """`x * P(X <= x)` for a standard normal X; `approximate=True` takes the tanh formula of Hendrycks & Gimpel 2016."""
    return F.gelu(x, approximate="tanh" if approximate else "none")


@takes_arrays
def glu(x: Tensor, axis: int = -1) -> Tensor:
    """The first half of `axis` times the sigmoid of the second."""
    return F.glu(x, axis)


@takes_arrays
def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return torch.tanh(x)


@takes_arrays
def tanh_shrink(x: Tensor) -> Tensor:
    """`x - tanh(x)`."""
    return F.tanhshrink(x)


@takes_arrays
def hard_tanh(x: Tensor) -> Tensor:
    """`x` clipped to [-1, 1]."""
    return F.hardtanh(x)


@takes_arrays
def hard_shrink(x: Tensor, threshold: float = 0.5) -> Tensor:
    """`x` where `|x| > threshold`, else 0."""
    return F.hardshrink(x, threshold)


@takes_arrays
def soft_shrink(x: Tensor, threshold: float = 0.5) -> Tensor:
    """`x` moved towards 0 by `threshold`, at most to 0."""
    return F.softshrink(x, threshold)


@takes_arrays
def threshold(x: Tensor, threshold: float, default_value: float) -> Tensor:
    """`x` where `x > threshold`, else `default_value`."""
    return F.threshold(x, threshold, default_value)


@takes_arrays
def sigmoid(x: Tensor) -> Tensor:
    """`1 / (1 + exp(-x))`."""
    return torch.sigmoid(x)


@takes_arrays
def hard_sigmoid(x: Tensor) -> Tensor:
    """`relu6(x + 3) / 6`."""
    return F.hardsigmoid(x)


@takes_arrays
def hard_silu(x: Tensor) -> Tensor:
    """`x * hard_sigmoid(x)`."""
    return F.hardswish(x)


@takes_arrays
def log_sigmoid(x: Tensor) -> Tensor:
    """`log(sigmoid(x))`."""
    return F.logsigmoid(x)


@takes_arrays
def exponential(x: Tensor) -> Tensor:
    """`exp(x)`."""
    return torch.exp(x)


@takes_arrays
def mish(x: Tensor) -> Tensor:
    """`x * tanh(softplus(x))` (Misra 2019)."""
    return F.mish(x)


@takes_arrays
def squareplus(x: Tensor, b: float = 4.0) -> Tensor:
    """`(x + sqrt(x**2 + b)) / 2`, a smooth relu without exponentials."""
    return (x + torch.sqrt(x * x + b)) / 2


@takes_arrays
def sparse_plus(x: Tensor) -> Tensor:
    """0 up to -1, `(x + 1)**2 / 4` up to 1, then `x`."""
    return torch.where(x <= -1, torch.zeros_like(x), torch.where(x < 1, (x + 1) ** 2 / 4, x))


@takes_arrays
def sparse_sigmoid(x: Tensor) -> Tensor:
    """0 up to -1, `(x + 1) / 2` up to 1, then 1."""
    return ((x + 1) / 2).clamp(0.0, 1.0)


swish, hard_swish = silu, hard_silu

BY_NAME: dict[str, Callable[..., Tensor]] = {
    "celu": celu,
    "elu": elu,
    "exponential": exponential,
    "gelu": gelu,
    "glu": glu,
    "hard_shrink": hard_shrink,
    "hard_sigmoid": hard_sigmoid,
    "hard_silu": hard_silu,
    "hard_swish": hard_swish,
    "hard_tanh": hard_tanh,
    "leaky_relu": leaky_relu,
    "linear": linear,
    "log_sigmoid": log_sigmoid,
    "log_softmax": log_softmax,
    "mish": mish,
    "relu": relu,
    "relu6": relu6,
    "selu": selu,
    "sigmoid": sigmoid,
    "silu": silu,
    "soft_shrink": soft_shrink,
    "softmax": softmax,
    "softplus": softplus,
    "softsign": softsign,
    "sparse_plus": sparse_plus,
    "sparse_sigmoid": sparse_sigmoid,
    "sparsemax": sparsemax,
    "squareplus": squareplus,
    "swish": swish,
    "tanh": tanh,
    "tanh_shrink": tanh_shrink,
    "threshold": threshold,
}


def get(identifier: Any) -> Callable[..., Tensor]:
    """An activation from a name, a callable, a saved config, or None, which is `linear`.

    Raises:
        ValueError: nothing is known by that name; the valid ones are listed, nearest first.

    Example:
        >>> get("relu")(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])
    """
    if identifier is None:
        return linear
    if callable(identifier):
        found: Callable[..., Tensor] = identifier
        return found
    if isinstance(identifier, dict) and isinstance(identifier.get("config"), str):
        identifier = identifier["config"]  # Keras writes functions as {"class_name": "function", "config": name}
    if isinstance(identifier, str):
        if identifier in BY_NAME:
            return BY_NAME[identifier]
        nearest = difflib.get_close_matches(identifier.lower(), BY_NAME, n=len(BY_NAME), cutoff=0.0)
        raise ValueError(f"activation={identifier!r}: no such activation.\n  expected  one of {', '.join(nearest)}, nearest first")
    raise ValueError(f"activation={identifier!r}: expected a name such as 'relu', a function of a tensor, or None.")


deserialize = get  # Keras's name for making one from its config


def serialize(activation: Callable[..., Tensor]) -> Any:
    """What a config holds for an activation: its name, or for a layer or other object with `get_config` that object."""
    name = getattr(activation, "__name__", None)
    return name if name is not None and BY_NAME.get(name) is activation else activation


def __getattr__(name: str) -> Any:
    raise no_such_name("disttrain.activations", name, globals())
