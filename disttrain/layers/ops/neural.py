"""Convolutions, pools, norms, attention and cross-entropies as functions, with kernels and channels as Keras has them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from disttrain.layers.geometry import check_data_format, check_padding, same_padding, sizes
from disttrain.layers.ops.operation import as_tensor, both, floating, operation

_EPSILON = 1e-7

# -- activations --------------------------------------------------------------------------------------------------------------------------


@operation("HardShrink", module="nn")
def hard_shrink(x: Any, threshold: float = 0.5) -> Tensor:
    """`x`, and 0 from `-threshold` to `threshold`."""
    return F.hardshrink(floating(x), threshold)


@operation("SoftShrink", module="nn")
def soft_shrink(x: Any, threshold: float = 0.5) -> Tensor:
    """`x` nearer to 0 by `threshold`, and 0 where that goes beyond."""
    return F.softshrink(floating(x), threshold)


@operation("Threshold", module="nn")
def threshold(x: Any, threshold: float, default_value: float) -> Tensor:
    """`x` where it is above `threshold`, else `default_value`."""
    return F.threshold(floating(x), threshold, default_value)


@operation("SparseSigmoid", module="nn")
def sparse_sigmoid(x: Any) -> Tensor:
    """`(x + 1) / 2`, from 0 to 1."""
    return torch.clamp(0.5 * (floating(x) + 1), 0, 1)


@operation("SparsePlus", module="nn")
def sparse_plus(x: Any) -> Tensor:
    """0 up to -1, `x` from 1 on, and a parabola between."""
    x = floating(x)
    return torch.where(x <= -1, torch.zeros_like(x), torch.where(x < 1, (x + 1) ** 2 / 4, x))


@operation("Squareplus", module="nn")
def squareplus(x: Any, b: float = 4) -> Tensor:
    """`(x + sqrt(x**2 + b)) / 2`."""
    x = floating(x)
    return (x + torch.sqrt(x**2 + b)) / 2  # type: ignore[no-any-return]


@operation("Sparsemax", module="nn")
def sparsemax(x: Any, axis: int = -1) -> Tensor:
    """Numbers that sum to 1 along `axis`, the small ones 0 (Martins & Astudillo 2016, alg. 1)."""
    x = floating(x)
    ordered = torch.sort(x, dim=axis, descending=True).values
    total = torch.cumsum(ordered, axis)
    shape = [1] * x.ndim
    shape[axis] = -1
    rank = torch.arange(1, x.shape[axis] + 1, device=x.device, dtype=x.dtype).reshape(shape)
    support = ordered - (total - 1) / rank > 0
    # The threshold: the mean of what is kept, less 1 / how many those are. Keras 3.15 sums running sums there, which is no threshold.
    kept = support.sum(axis, keepdim=True)
    tau = (torch.where(support, ordered, 0.0).sum(axis, keepdim=True) - 1) / kept
    return torch.clamp(x - tau, min=0)


# -- windows ------------------------------------------------------------------------------------------------------------------------------


def _first(x: Tensor, data_format: str) -> Tensor:
    return torch.movedim(x, -1, 1) if data_format == "channels_last" else x


def _last(x: Tensor, data_format: str) -> Tensor:
    return torch.movedim(x, 1, -1).contiguous() if data_format == "channels_last" else x


def _padded(x: Tensor, window: tuple[int, ...], strides: tuple[int, ...], dilation: tuple[int, ...], padding: str, value: float) -> Tensor:
    """`x` with channels first, filled up so that "valid" windows are those of `padding`."""
    if padding == "valid":
        return x
    flat: list[int] = []
    for place in range(len(window) - 1, -1, -1):
        before, after = same_padding(x.shape[2 + place], window[place], strides[place], dilation[place])
        if padding == "causal":
            before, after = dilation[place] * (window[place] - 1), 0
        flat += [before, after]
    return F.pad(x, flat, value=value)


_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE: dict[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_ADAPTIVE_MAX: dict[int, Any] = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}
_ADAPTIVE_AVERAGE: dict[int, Any] = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


def _rank(x: Tensor, name: str) -> int:
    rank = x.ndim - 2
    if rank not in _CONVOLUTIONS:
        raise ValueError(f"{name}: got shape {tuple(x.shape)}, expected (batch, 1 to 3 axes, channels).")
    return rank


@operation("Conv", module="nn", tensors=2)
def conv(
    inputs: Any, kernel: Any, strides: Any = 1, padding: str = "valid", data_format: str | None = None, dilation_rate: Any = 1
) -> Tensor:
    """A convolution with a kernel `(k..., in, out)`; with fewer input channels than there are, in groups."""
    inputs, kernel = both(floating(inputs), floating(kernel))
    rank, layout = _rank(inputs, "conv"), check_data_format(data_format, "conv")
    steps, dilation = sizes(strides, rank, "strides", "conv"), sizes(dilation_rate, rank, "dilation_rate", "conv")
    x = _first(inputs, layout)
    if x.shape[1] % kernel.shape[-2]:
        raise ValueError(f"conv: {x.shape[1]} channels are no multiple of {kernel.shape[-2]}, the kernel's.")
    x = _padded(x, tuple(kernel.shape[:-2]), steps, dilation, check_padding(padding, "conv", causal=rank == 1), 0.0)
    weight = kernel.permute(rank + 1, rank, *range(rank))
    return _last(_CONVOLUTIONS[rank](x, weight, None, steps, 0, dilation, x.shape[1] // kernel.shape[-2]), layout)


@operation("DepthwiseConv", module="nn", tensors=2)
def depthwise_conv(
    inputs: Any, kernel: Any, strides: Any = 1, padding: str = "valid", data_format: str | None = None, dilation_rate: Any = 1
) -> Tensor:
    """A convolution of each channel by itself with a kernel `(k..., channels, multiplier)`."""
    kernel = floating(kernel)
    flat = kernel.reshape(*kernel.shape[:-2], 1, -1)
    found: Tensor = conv(inputs, flat, strides, padding, data_format, dilation_rate)
    return found


@operation("SeparableConv", module="nn", tensors=3)
def separable_conv(
    inputs: Any, depthwise_kernel: Any, pointwise_kernel: Any, strides: Any = 1, padding: str = "valid", data_format: str | None = None,
    dilation_rate: Any = 1,
) -> Tensor:  # fmt: skip
    """`depthwise_conv`, then a convolution with windows of 1."""
    inside = depthwise_conv(inputs, depthwise_kernel, strides, padding, data_format, dilation_rate)
    found: Tensor = conv(inside, pointwise_kernel, data_format=data_format)
    return found


@operation("ConvTranspose", module="nn", tensors=2)
def conv_transpose(
    inputs: Any, kernel: Any, strides: Any = 1, padding: str = "valid", output_padding: Any = None, data_format: str | None = None,
    dilation_rate: Any = 1,
) -> Tensor:  # fmt: skip
    """The transpose of a convolution, with a kernel `(k..., out, in)`."""
    inputs, kernel = both(floating(inputs), floating(kernel))
    rank, layout = _rank(inputs, "conv_transpose"), check_data_format(data_format, "conv_transpose")
    steps, dilation = sizes(strides, rank, "strides", "conv_transpose"), sizes(dilation_rate, rank, "dilation_rate", "conv_transpose")
    extra = None if output_padding is None else sizes(output_padding, rank, "output_padding", "conv_transpose", minimum=0)
    padding = check_padding(padding, "conv_transpose")
    x = _first(inputs, layout)
    weight = kernel.permute(rank + 1, rank, *range(rank))
    found = _TRANSPOSED[rank](x, weight, None, steps, 0, 0, 1, dilation)
    for place in range(rank):
        window, step = kernel.shape[place], steps[place]
        wide = (window - 1) * dilation[place] + 1
        if padding == "valid":
            before, after = 0, -(max(step - wide, 0) if extra is None else extra[place])
        else:  # as in `ConvTranspose._crop`
            total = step + wide - 2 if extra is None else wide + wide % 2 - 2 + extra[place]
            most = min((total + 1) // 2, wide - 1)
            before, after = wide - 1 - most, wide - 1 - (total - most)
        if after < 0:
            found = F.pad(found, [0] * (2 * (rank - 1 - place)) + [0, -after])
        found = found.narrow(2 + place, before, found.shape[2 + place] - before - max(after, 0))
    return _last(found, layout)


@operation("MaxPool", module="nn")
def max_pool(inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: str | None = None) -> Tensor:
    """The largest number of each window."""
    inputs = as_tensor(inputs)
    rank, layout = _rank(inputs, "max_pool"), check_data_format(data_format, "max_pool")
    window = sizes(pool_size, rank, "pool_size", "max_pool")
    steps = window if strides is None else sizes(strides, rank, "strides", "max_pool")
    x = _padded(_first(inputs, layout), window, steps, (1,) * rank, check_padding(padding, "max_pool"), -torch.inf)
    return _last(_MAX[rank](x, window, steps), layout)


@operation("AveragePool", module="nn")
def average_pool(inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: str | None = None) -> Tensor:
    """The mean of each window; at the edges of what is there."""
    inputs = floating(inputs)
    rank, layout = _rank(inputs, "average_pool"), check_data_format(data_format, "average_pool")
    window = sizes(pool_size, rank, "pool_size", "average_pool")
    steps = window if strides is None else sizes(strides, rank, "strides", "average_pool")
    padding = check_padding(padding, "average_pool")
    x = _first(inputs, layout)
    if padding == "valid":
        return _last(_AVERAGE[rank](x, window, steps), layout)
    filled = _padded(x, window, steps, (1,) * rank, padding, 0.0)
    there = _padded(torch.ones_like(x[:1, :1]), window, steps, (1,) * rank, padding, 0.0)
    return _last(_AVERAGE[rank](filled, window, steps) / _AVERAGE[rank](there, window, steps), layout)


@operation("AdaptiveMaxPool", module="nn")
def adaptive_max_pool(inputs: Any, output_size: Any, data_format: str | None = None) -> Tensor:
    """The largest numbers of as many windows as make `output_size`."""
    inputs = as_tensor(inputs)
    rank, layout = _rank(inputs, "adaptive_max_pool"), check_data_format(data_format, "adaptive_max_pool")
    return _last(_ADAPTIVE_MAX[rank](_first(inputs, layout), sizes(output_size, rank, "output_size", "adaptive_max_pool")), layout)


@operation("AdaptiveAveragePool", module="nn")
def adaptive_average_pool(inputs: Any, output_size: Any, data_format: str | None = None) -> Tensor:
    """The means of as many windows as make `output_size`."""
    inputs = floating(inputs)
    rank, layout = _rank(inputs, "adaptive_average_pool"), check_data_format(data_format, "adaptive_average_pool")
    return _last(_ADAPTIVE_AVERAGE[rank](_first(inputs, layout), sizes(output_size, rank, "output_size", "adaptive_average_pool")), layout)


@operation("Unfold", module="nn")
def unfold(x: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The windows of images `(batch, channels, rows, columns)` as columns, `(batch, channels * window, windows)`."""
    return F.unfold(as_tensor(x), kernel_size, dilation, padding, stride)


@operation("Fold", module="nn")
def fold(x: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """Windows as columns added up to images `(batch, channels, rows, columns)` of `output_size`."""
    return F.fold(as_tensor(x), output_size, kernel_size, dilation, padding, stride)


@operation("DepthToSpace", module="nn")
def depth_to_space(x: Any, block_size: int, data_format: str = "channels_last") -> Tensor:
    """Channels as blocks of pixels."""
    x, b, layout = as_tensor(x), block_size, check_data_format(data_format, "depth_to_space")
    n, h, w, c = x.shape if layout == "channels_last" else (x.shape[0], *x.shape[2:], x.shape[1])
    if c % (b * b):
        raise ValueError(f"depth_to_space(block_size={b}): {c} channels are no multiple of {b * b}.")
    if layout == "channels_last":
        return x.reshape(n, h, w, b, b, c // b**2).permute(0, 1, 3, 2, 4, 5).reshape(n, h * b, w * b, c // b**2)  # type: ignore[no-any-return]
    return x.reshape(n, c // b**2, b, b, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, c // b**2, h * b, w * b)  # type: ignore[no-any-return]


@operation("SpaceToDepth", module="nn")
def space_to_depth(x: Any, block_size: int, data_format: str = "channels_last") -> Tensor:
    """Blocks of pixels as channels."""
    x, b, layout = as_tensor(x), block_size, check_data_format(data_format, "space_to_depth")
    n, h, w, c = x.shape if layout == "channels_last" else (x.shape[0], *x.shape[2:], x.shape[1])
    if h % b or w % b:
        raise ValueError(f"space_to_depth(block_size={b}): {h} by {w} pixels are no multiples of {b}.")
    if layout == "channels_last":
        return x.reshape(n, h // b, b, w // b, b, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h // b, w // b, c * b**2)  # type: ignore[no-any-return]
    return x.reshape(n, c, h // b, b, w // b, b).permute(0, 1, 3, 5, 2, 4).reshape(n, c * b**2, h // b, w // b)  # type: ignore[no-any-return]


# -- norms and attention ------------------------------------------------------------------------------------------------------------------


@operation("BatchNorm", module="nn", tensors=("x", "mean", "variance", "offset", "scale"))
def batch_normalization(
    x: Any, mean: Any, variance: Any, axis: int, offset: Any = None, scale: Any = None, epsilon: float = 1e-3
) -> Tensor:
    """`(x - mean) / sqrt(variance + epsilon) * scale + offset`, with a number of each for each index of `axis`."""
    x = floating(x)
    shape = [1] * x.ndim
    shape[axis] = -1
    mean, variance = as_tensor(mean, x).reshape(shape), as_tensor(variance, x).reshape(shape)
    factor = torch.rsqrt(variance + epsilon)
    factor = factor if scale is None else factor * as_tensor(scale, x).reshape(shape)
    found = (x - mean) * factor
    return found if offset is None else found + as_tensor(offset, x).reshape(shape)  # type: ignore[no-any-return]


@operation("LayerNorm", module="nn", tensors=("x", "gamma", "beta"))
def layer_normalization(x: Any, gamma: Any = None, beta: Any = None, axis: Any = -1, epsilon: float | None = None) -> Tensor:
    """Mean 0 and variance 1 along `axis`, then `* gamma + beta`."""
    x = floating(x)
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    mean = wide.mean(axes, keepdim=True)
    variance = torch.square(wide - mean).mean(axes, keepdim=True)
    found = (wide - mean) * torch.rsqrt(variance + (_EPSILON if epsilon is None else epsilon))
    found = found if gamma is None else found * _along(gamma, wide, axes)
    return (found if beta is None else found + _along(beta, wide, axes)).to(x.dtype)  # type: ignore[no-any-return]


@operation("RMSNorm", module="nn", tensors=("x", "scale"))
def rms_normalization(x: Any, scale: Any = None, axis: Any = -1, epsilon: float | None = None) -> Tensor:
    """`x` by the root of its mean square along `axis`, then `* scale`."""
    x = floating(x)
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    found = wide * torch.rsqrt(torch.square(wide).mean(axes, keepdim=True) + (_EPSILON if epsilon is None else epsilon))
    return (found if scale is None else found * _along(scale, wide, axes)).to(x.dtype)  # type: ignore[no-any-return]


def _along(value: Any, x: Tensor, axes: tuple[int, ...]) -> Tensor:
    tensor = as_tensor(value, x)
    kept = {axis % x.ndim for axis in axes}
    if tensor.ndim == x.ndim or tensor.ndim == 0:
        return tensor
    return tensor.reshape([size if place in kept else 1 for place, size in enumerate(x.shape)])


@operation("DotProductAttention", module="nn", tensors=("query", "key", "value", "bias", "mask", "scale"))
def dot_product_attention(
    query: Any, key: Any, value: Any, bias: Any = None, mask: Any = None, scale: float | None = None, is_causal: bool = False,
    flash_attention: bool | None = None, attn_logits_soft_cap: float | None = None,
) -> Tensor:  # fmt: skip
    """`softmax(query @ key.T * scale + bias) @ value` for `(batch, length, heads, size)`.

    Args:
        bias: is added to the scores.
        mask: True where a key may be attended to.
        scale: `1 / sqrt(size)` unless told.
        is_causal: attend to no later place.
        flash_attention: changes nothing; torch chooses the kernel.
        attn_logits_soft_cap: is refused, as torch has no such kernel.
    """
    if attn_logits_soft_cap is not None:
        raise ValueError("dot_product_attention(attn_logits_soft_cap=...) is not supported: torch's kernels have no cap.")
    query, key, value = floating(query), floating(key), floating(value)
    if not query.ndim == key.ndim == value.ndim == 4:
        raise ValueError(
            f"dot_product_attention: got shapes {tuple(query.shape)}, {tuple(key.shape)}, {tuple(value.shape)}, expected "
            "(batch, length, heads, size) each."
        )
    if bias is not None and mask is not None:
        raise ValueError("dot_product_attention: expected bias or mask, not both.")
    dtype = torch.promote_types(torch.promote_types(query.dtype, key.dtype), value.dtype)
    q, k, v = (tensor.to(dtype).transpose(1, 2) for tensor in (query, key, value))
    if q.shape[1] > k.shape[1] > 1:
        k, v = (tensor.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for tensor in (k, v))
    added = None if bias is None else as_tensor(bias, query).to(dtype)
    causal = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril() if is_causal else None
    if mask is not None:
        allowed = as_tensor(mask, query).bool()
        allowed = allowed if causal is None else allowed & causal
        added = torch.where(allowed, 0.0, torch.finfo(dtype).min * 0.7).to(dtype)
    elif causal is not None and added is not None:
        added = torch.where(causal, added, torch.finfo(dtype).min * 0.7).to(dtype)
    elif causal is not None:
        added = torch.where(causal, 0.0, torch.finfo(dtype).min * 0.7).to(dtype)
    found = F.scaled_dot_product_attention(q, k, v, added, scale=scale)
    return found.transpose(1, 2)


# -- losses for each sample ---------------------------------------------------------------------------------------------------------------


@operation("BinaryCrossentropy", module="nn", tensors=2)
def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Tensor:
    """`-(t * log(p) + (1 - t) * log(1 - p))` for each number."""
    target, output = both(floating(target), floating(output))
    _same_shape("binary_crossentropy", target, output)
    if from_logits:
        return F.binary_cross_entropy_with_logits(output, target.to(output.dtype), reduction="none")
    p = torch.clamp(output, _EPSILON, 1 - _EPSILON)
    return -(target * torch.log(p) + (1 - target) * torch.log(1 - p))  # type: ignore[no-any-return]


@operation("CategoricalCrossentropy", module="nn", tensors=2)
def categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Tensor:
    """`-sum(t * log(p))` along `axis`; probabilities are scaled to sum 1."""
    target, output = both(floating(target), floating(output))
    _same_shape("categorical_crossentropy", target, output)
    return -(target * _log_probability(output, from_logits, axis)).sum(axis)  # type: ignore[no-any-return]


@operation("SparseCategoricalCrossentropy", module="nn", tensors=2)
def sparse_categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Tensor:
    """`-log(p[label])` along `axis`; probabilities are scaled to sum 1."""
    output = floating(output)
    labels = as_tensor(target, output).long()
    if labels.ndim == output.ndim and labels.shape[axis] == 1:
        labels = labels.squeeze(axis)
    expected = list(output.shape)
    del expected[axis]
    if list(labels.shape) != expected:
        raise ValueError(
            f"sparse_categorical_crossentropy: target has shape {tuple(labels.shape)}, output {tuple(output.shape)}: expected "
            f"{tuple(expected)}."
        )
    return -torch.take_along_dim(_log_probability(output, from_logits, axis), labels.unsqueeze(axis), axis).squeeze(axis)


def _log_probability(output: Tensor, from_logits: bool, axis: int) -> Tensor:
    if from_logits:
        return F.log_softmax(output, axis)
    return torch.log(torch.clamp(output / output.sum(axis, keepdim=True), _EPSILON, 1 - _EPSILON))


def _same_shape(name: str, one: Tensor, two: Tensor) -> None:
    if one.shape != two.shape:
        raise ValueError(f"{name}: target has shape {tuple(one.shape)}, output {tuple(two.shape)}: expected the same.")


@operation("CTCLoss", module="nn", tensors=4)
def ctc_loss(target: Any, output: Any, target_length: Any, output_length: Any, mask_index: int = 0) -> Tensor:
    """The loss of connectionist temporal classification of each sample, of logits `(batch, steps, classes)`."""
    output = floating(output)
    output = output.float() if output.dtype in (torch.float16, torch.bfloat16) else output
    target, target_length, output_length = (as_tensor(value, output).long() for value in (target, target_length, output_length))
    scores = F.log_softmax(output.transpose(0, 1), -1)
    return F.ctc_loss(scores, target, output_length, target_length, blank=mask_index, reduction="none")


@operation("PSNR", module="nn", tensors=2)
def psnr(x1: Any, x2: Any, max_val: float) -> Tensor:
    """The peak signal-to-noise ratio in decibels."""
    x1, x2 = both(floating(x1), floating(x2))
    if x1.shape != x2.shape:
        raise ValueError(f"psnr: got shapes {tuple(x1.shape)} and {tuple(x2.shape)}, expected the same.")
    peak = torch.as_tensor(max_val, dtype=x1.dtype, device=x1.device)
    return 20 * torch.log10(peak) - 10 * torch.log10(torch.mean(torch.square(x1 - x2)))


__all__ = [
    "adaptive_average_pool",
    "adaptive_max_pool",
    "average_pool",
    "batch_normalization",
    "binary_crossentropy",
    "categorical_crossentropy",
    "conv",
    "conv_transpose",
    "ctc_loss",
    "depth_to_space",
    "depthwise_conv",
    "dot_product_attention",
    "fold",
    "hard_shrink",
    "layer_normalization",
    "max_pool",
    "psnr",
    "rms_normalization",
    "separable_conv",
    "soft_shrink",
    "space_to_depth",
    "sparse_categorical_crossentropy",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "squareplus",
    "threshold",
    "unfold",
]
