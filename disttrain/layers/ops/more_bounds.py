"""How many numbers the operations on windows, images, spectra and matrices could give, or need on the way; see `bounds`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

Sizes = tuple[int, ...]
Bound = Callable[[Sequence[Sizes], dict[str, Any]], int]


def whole(value: Any) -> int:
    """The product of a number, or of several."""
    if value is None:
        return 1
    return abs(int(value)) if isinstance(value, int | float) else math.prod(abs(int(one)) for one in value if one is not None)


def largest(value: Any) -> int:
    """The largest of a number, or of several."""
    if value is None:
        return 0
    return abs(int(value)) if isinstance(value, int | float) else max((abs(int(one)) for one in value if one is not None), default=0)


def _products(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    return math.prod(math.prod(shape) for shape in shapes)


def _square(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    return (max(shapes[0], default=1) if len(shapes[0]) < 2 else math.prod(shapes[0])) ** 2 + largest(settings.get("k")) ** 2


def _flat_square(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    return (math.prod(shapes[0]) + largest(settings.get("k"))) ** 2


def _matrices(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    return math.prod(shapes[0][:-2]) * max(shapes[0][-2:], default=1) ** 2


def _times(*names: str) -> Bound:
    """As many numbers as there are, times the settings of these names."""
    return lambda shapes, settings: math.prod(shapes[0]) * math.prod(whole(settings.get(name)) for name in names)


def _patches(size: str, stride: str) -> Bound:
    """As many windows as there are pixels, by the stride."""

    def bound(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
        window, step = settings.get(size, 1), settings.get(stride)
        inside = whole(window if isinstance(window, list | tuple) else [window, window])
        step = window if step is None else step
        apart = whole(step if isinstance(step, list | tuple) else [step, step])
        padding = largest(settings.get("padding")) if not isinstance(settings.get("padding"), str) else 0
        pixels = math.prod(side + 2 * padding for side in shapes[0])
        return max(pixels, pixels * inside // max(1, apart)) + inside

    return bound


def _widened(*names: str) -> Bound:
    """Each axis longer by the settings of these names."""

    def bound(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
        more = sum(largest(settings.get(name)) for name in names)
        return shapes[0][0] * math.prod(size + more for size in shapes[0][1:]) if len(shapes[0]) < 5 else math.prod(shapes[0]) * (1 + more)

    return bound


def _last_axis(*names: str) -> Bound:
    """The last axis as long as the settings of these names say."""
    return lambda shapes, settings: (
        math.prod(shapes[0][:-1]) * max([shapes[0][-1] if shapes[0] else 1, *(largest(settings.get(name)) for name in names)]) * 2
    )


def _adapted(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    shape, size = shapes[0], max(1, largest(settings.get("output_size")))
    return math.prod(shape) + max(shape[0], 1) * max(shape) * math.prod([size] * (len(shape) - 2))


def _resized(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    shape = shapes[0]
    sides = (shape[-3], shape[-2]) if settings.get("data_format") != "channels_first" else (shape[-2], shape[-1])
    rest = math.prod(shape) // max(1, math.prod(sides))
    size = settings.get("size", 1)
    across = rest * whole(size if isinstance(size, list | tuple) else [size, size])
    return max(across, across * (max(sides) if settings.get("pad_to_aspect_ratio") else 1))


def _framed(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    shape = shapes[0]
    sides = (shape[-3], shape[-2]) if settings.get("data_format") != "channels_first" else (shape[-2], shape[-1])
    more = [
        sum(largest(settings.get(name)) for name in names)
        for names in (("top_padding", "bottom_padding", "target_height"), ("left_padding", "right_padding", "target_width"))
    ]
    return math.prod(shape) // max(1, math.prod(sides)) * (sides[0] + more[0]) * (sides[1] + more[1])


def _convolved(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    inputs, kernel = shapes[0], shapes[1]
    more = max(kernel[:-2], default=1) * max(1, largest(settings.get("dilation_rate")))
    grown = inputs[0] * math.prod(size + more for size in inputs[1:-1]) * inputs[-1]
    return max(grown, grown // max(1, inputs[-1]) * max(kernel[-1], kernel[-2] * kernel[-1]))


def _transposed(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    inputs, kernel = shapes[0], shapes[1]
    step, more = largest(settings.get("strides")), max(kernel[:-2], default=1) * max(1, largest(settings.get("dilation_rate")))
    return inputs[0] * math.prod(size * max(1, step) + more for size in inputs[1:-1]) * kernel[-2]


def _scattered(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    return whole(settings.get("shape", 1))


def _attention(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    query, key = shapes[0], shapes[1]
    return math.prod(query[:3]) * key[1] if len(query) == len(key) == 4 else _products(shapes, settings)


def _windows(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    length, stride = largest(settings.get("sequence_length")), max(1, largest(settings.get("sequence_stride")))
    frames = shapes[0][-1] // stride + 2
    return math.prod(shapes[0][:-1]) * frames * max(length, largest(settings.get("fft_length")))


def _overlapped(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    frames = shapes[0][-2] if len(shapes[0]) > 1 else 1
    length, stride = largest(settings.get("fft_length")), largest(settings.get("sequence_stride"))
    return math.prod(shapes[0][:-2]) * max(frames * (length + stride), largest(settings.get("length")))


def _parts(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    places = settings.get("indices_or_sections", 1)
    return math.prod(shapes[0]) + (places if isinstance(places, int) else len(places))


def _powers(shapes: Sequence[Sizes], settings: dict[str, Any]) -> int:
    count = settings.get("N")
    return math.prod(shapes[0]) * (math.prod(shapes[0]) if count is None else largest(count))


MORE: dict[str, Bound] = {
    "AdaptiveAveragePool": _adapted,
    "AdaptiveMaxPool": _adapted,
    "ArraySplit": _parts,
    "AveragePool": _widened("pool_size", "strides"),
    "CDist": _products,
    "Conv": _convolved,
    "ConvTranspose": _transposed,
    "Correlate": _products,
    "DepthwiseConv": _convolved,
    "Diag": _square,
    "Diagflat": _flat_square,
    "DotProductAttention": _attention,
    "Eig": _matrices,
    "ExtractPatches": _patches("size", "strides"),
    "ExtractSequences": _windows,
    "Fold": lambda shapes, settings: shapes[0][0] * shapes[0][1] * max(1, largest(settings.get("output_size"))) ** 2,
    "GaussianBlur": _widened("kernel_size", "kernel_size"),
    "IRFFT": _last_axis("fft_length"),
    "ISTFT": _overlapped,
    "Inner": _products,
    "Kron": _products,
    "MaxPool": _widened("pool_size", "strides"),
    "MultiHot": _times("num_classes"),
    "Nanpercentile": _products,
    "Nanquantile": _products,
    "PadImages": _framed,
    "Percentile": _products,
    "Qr": _matrices,
    "Quantile": _products,
    "RFFT": _last_axis("fft_length"),
    "Resize": _resized,
    "STFT": _windows,
    "SVD": _matrices,
    "Scatter": _scattered,
    "SeparableConv": _convolved,
    "Unfold": _patches("kernel_size", "stride"),
    "Vander": _powers,
}
