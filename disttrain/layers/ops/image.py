"""Functions on images, `(rows, columns, channels)` or batches of them: `ops.image`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from disttrain.layers.geometry import check_data_format, same_padding
from disttrain.layers.ops.operation import as_tensor, both, floating, operation
from disttrain.layers.preprocessing.affine import affine_transform as transformed
from disttrain.layers.preprocessing.resize import aspect_margins, aspect_window, check_interpolation
from disttrain.layers.preprocessing.resize import resize as resized


def _images(images: Any, name: str) -> Tensor:
    x = as_tensor(images)
    if x.ndim not in (3, 4):
        raise ValueError(f"{name}: got shape {tuple(x.shape)}, expected one image, of three axes, or a batch of them.")
    return x


def _channel_axis(data_format: str | None, name: str) -> int:
    return -1 if check_data_format(data_format, name) == "channels_last" else -3


# -- colours ------------------------------------------------------------------------------------------------------------------------------


@operation("RGBToGrayscale", module="image")
def rgb_to_grayscale(images: Any, data_format: str | None = None) -> Tensor:
    """The brightness of each pixel, `0.2989 r + 0.587 g + 0.114 b`, as one channel."""
    x, axis = _images(images, "rgb_to_grayscale"), _channel_axis(data_format, "rgb_to_grayscale")
    if x.shape[axis] not in (1, 3):
        raise ValueError(f"rgb_to_grayscale: got {x.shape[axis]} channels, expected 3, or 1.")
    if x.shape[axis] == 1:
        return x.clone()
    red, green, blue = x.unbind(axis)
    return (0.2989 * red + 0.587 * green + 0.114 * blue).to(x.dtype).unsqueeze(axis)


@operation("RGBToHSV", module="image")
def rgb_to_hsv(images: Any, data_format: str | None = None) -> Tensor:
    """Hue, saturation and value, from 0 to 1, of red, green and blue from 0 to 1."""
    x, axis = _images(images, "rgb_to_hsv"), _channel_axis(data_format, "rgb_to_hsv")
    _check_float(x, "rgb_to_hsv")
    x = torch.where(x.abs() < torch.finfo(x.dtype).eps, 0.0, x)
    red, green, blue = x.unbind(axis)
    value = torch.maximum(torch.maximum(red, green), blue)
    spread = value - torch.minimum(torch.minimum(red, green), blue)
    saturation = torch.where(value > 0, spread / torch.where(value > 0, value, 1.0), 0.0)
    norm = 1 / (6 * torch.where(spread > 0, spread, 1.0))
    hue = torch.where(value == green, norm * (blue - red) + 2 / 6, norm * (red - green) + 4 / 6)
    hue = torch.where(value == red, norm * (green - blue), hue)
    hue = torch.where(spread > 0, hue, 0.0) + (hue < 0).to(hue.dtype)
    return torch.stack([hue, saturation, value], axis)


@operation("HSVToRGB", module="image")
def hsv_to_rgb(images: Any, data_format: str | None = None) -> Tensor:
    """The inverse of `rgb_to_hsv`."""
    x, axis = _images(images, "hsv_to_rgb"), _channel_axis(data_format, "hsv_to_rgb")
    _check_float(x, "hsv_to_rgb")
    hue, saturation, value = x.unbind(axis)
    turn = torch.remainder(hue, 1.0) * 6
    shares = (torch.abs(turn - 3) - 1, 2 - torch.abs(turn - 2), 2 - torch.abs(turn - 4))
    return torch.stack([value * (1 - saturation + saturation * torch.clamp(share, 0, 1)) for share in shares], axis)


def _check_float(x: Tensor, name: str) -> None:
    if not x.is_floating_point():
        raise ValueError(f"{name}: got {str(x.dtype).removeprefix('torch.')}, expected floats.")


# -- size ---------------------------------------------------------------------------------------------------------------------------------


@operation("Resize", module="image")
def resize(
    images: Any, size: Any, interpolation: str = "bilinear", antialias: bool = False, crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False, fill_mode: str = "constant", fill_value: float = 0.0, data_format: str | None = None,
) -> Tensor:  # fmt: skip
    """Images of `size` = (rows, columns); the arguments are those of the layer `Resizing`."""
    x, last = _images(images, "resize"), _channel_axis(data_format, "resize") == -1
    interpolation = check_interpolation(interpolation, "resize")
    if not isinstance(size, list | tuple) or len(size) != 2:
        raise ValueError(f"resize(size={size!r}): expected (rows, columns).")
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        raise ValueError("resize(crop_to_aspect_ratio=True, pad_to_aspect_ratio=True): expected one of the two at most.")
    if fill_mode != "constant":
        raise ValueError(f"resize(fill_mode={fill_mode!r}): expected 'constant', the only one that Keras has too.")
    batch = x if x.ndim == 4 else x[None]
    batch = batch.permute(0, 3, 1, 2) if last else batch
    target = (int(size[0]), int(size[1]))
    if crop_to_aspect_ratio:
        top, left, height, width = aspect_window(batch.shape[2], batch.shape[3], *target)
        batch = batch[:, :, top : top + height, left : left + width]
    if pad_to_aspect_ratio:
        above, beside = aspect_margins(batch.shape[2], batch.shape[3], *target)
        batch = F.pad(batch, (beside, beside, above, above), value=fill_value)
    found = resized(batch, *target, interpolation, antialias)
    found = found.permute(0, 2, 3, 1) if last else found
    return found if x.ndim == 4 else found[0]


def _margins(images: Any, first: Any, last: Any, target: Any, whole: int, name: str, verb: str) -> tuple[int, int]:
    """(before, after) along an axis of `whole` pixels of which two of the three are told."""
    told = sum(value is not None for value in (first, last, target))
    if told != 2:
        raise ValueError(f"{name}: expected exactly two of the first and last {verb} and the target size along each axis.")
    sign = 1 if verb == "padding" else -1
    missing = 0 if target is None else sign * (target - whole)
    before = missing - last if first is None else first
    after = missing - before if last is None else last
    if before < 0 or after < 0:
        raise ValueError(f"{name}: {verb} of {before} and {after} pixels: expected 0 or more.")
    return int(before), int(after)


def _axes(x: Tensor, data_format: str | None, name: str) -> tuple[int, int]:
    return (x.ndim - 3, x.ndim - 2) if _channel_axis(data_format, name) == -1 else (x.ndim - 2, x.ndim - 1)


@operation("PadImages", module="image")
def pad_images(
    images: Any, top_padding: int | None = None, left_padding: int | None = None, bottom_padding: int | None = None,
    right_padding: int | None = None, target_height: int | None = None, target_width: int | None = None, data_format: str | None = None,
) -> Tensor:  # fmt: skip
    """Images with zeros around them; of top, bottom and target height two are told, and of left, right and target width."""
    x = _images(images, "pad_images")
    rows, columns = _axes(x, data_format, "pad_images")
    top, bottom = _margins(x, top_padding, bottom_padding, target_height, x.shape[rows], "pad_images", "padding")
    left, right = _margins(x, left_padding, right_padding, target_width, x.shape[columns], "pad_images", "padding")
    widths = [(0, 0)] * x.ndim
    widths[rows], widths[columns] = (top, bottom), (left, right)
    return F.pad(x, [width for pair in reversed(widths) for width in pair])


@operation("CropImages", module="image")
def crop_images(
    images: Any, top_cropping: int | None = None, left_cropping: int | None = None, bottom_cropping: int | None = None,
    right_cropping: int | None = None, target_height: int | None = None, target_width: int | None = None, data_format: str | None = None,
) -> Tensor:  # fmt: skip
    """Images without their edges; of top, bottom and target height two are told, and of left, right and target width."""
    x = _images(images, "crop_images")
    rows, columns = _axes(x, data_format, "crop_images")
    top, bottom = _margins(x, top_cropping, bottom_cropping, target_height, x.shape[rows], "crop_images", "cropping")
    left, right = _margins(x, left_cropping, right_cropping, target_width, x.shape[columns], "crop_images", "cropping")
    return x.narrow(rows, top, x.shape[rows] - top - bottom).narrow(columns, left, x.shape[columns] - left - right)


@operation("ExtractPatches", module="image")
def extract_patches(
    images: Any, size: Any, strides: Any = None, dilation_rate: Any = 1, padding: str = "valid", data_format: str | None = None
) -> Tensor:
    """The windows of images, each with its numbers in the channels: `(batch, rows, columns, window * channels)`."""
    x = _images(images, "extract_patches")
    last = _channel_axis(data_format, "extract_patches") == -1
    window = (size, size) if isinstance(size, int) else tuple(size)
    if len(window) != 2:
        raise ValueError(f"extract_patches(size={size}): expected one number, or two.")
    steps = window if strides is None else (strides, strides) if isinstance(strides, int) else tuple(strides)
    dilation = (dilation_rate, dilation_rate) if isinstance(dilation_rate, int) else tuple(dilation_rate)
    if padding not in ("valid", "same"):
        raise ValueError(f"extract_patches(padding={padding!r}): expected 'valid' or 'same'.")
    batch = x if x.ndim == 4 else x[None]
    batch = batch.permute(0, 3, 1, 2) if last else batch
    if padding == "same":
        pairs = [same_padding(batch.shape[2 + axis], window[axis], steps[axis], dilation[axis]) for axis in (1, 0)]
        batch = F.pad(batch, [width for pair in pairs for width in pair])
    channels = batch.shape[1]
    counts = [(batch.shape[2 + axis] - (dilation[axis] * (window[axis] - 1) + 1)) // steps[axis] + 1 for axis in (0, 1)]
    columns = F.unfold(batch.float() if not batch.is_floating_point() else batch, window, dilation, 0, steps).to(batch.dtype)
    found = columns.reshape(batch.shape[0], channels, window[0] * window[1], *counts).transpose(1, 2)
    found = found.reshape(batch.shape[0], -1, *counts)
    found = found.permute(0, 2, 3, 1).contiguous() if last else found
    return found if x.ndim == 4 else found[0]


# -- places -------------------------------------------------------------------------------------------------------------------------------


@operation("AffineTransform", module="image", tensors=2)
def affine_transform(
    images: Any, transform: Any, interpolation: str = "bilinear", fill_mode: str = "constant", fill_value: float = 0,
    data_format: str | None = None,
) -> Tensor:  # fmt: skip
    """Images whose pixel (x, y) is what the input has at `(a0 x + a1 y + a2, b0 x + b1 y + b2)`, divided by `c0 x + c1 y + 1`.

    Args:
        transform: a0, a1, a2, b0, b1, b2, c0, c1, or a row of them for each image; c0 and c1 are 0.
        fill_mode: what is beyond the edges: "constant", "nearest", "reflect" or "wrap".
    """
    x = _images(images, "affine_transform")
    rows = as_tensor(transform, x).float()
    last = _channel_axis(data_format, "affine_transform") == -1
    if interpolation not in ("bilinear", "nearest"):
        raise ValueError(f"affine_transform(interpolation={interpolation!r}): expected 'bilinear' or 'nearest'.")
    if fill_mode not in ("constant", "nearest", "reflect", "wrap"):
        raise ValueError(f"affine_transform(fill_mode={fill_mode!r}): expected 'constant', 'nearest', 'reflect' or 'wrap'.")
    if rows.shape[-1] != 8 or rows.ndim not in (1, 2):
        raise ValueError(f"affine_transform: transform has shape {tuple(rows.shape)}, expected (8,) or (batch, 8).")
    batch = x if x.ndim == 4 else x[None]
    batch = batch if last else batch.permute(0, 2, 3, 1)
    rows = rows.expand(len(batch), 8) if rows.ndim == 1 else rows
    found = transformed(batch.to(torch.promote_types(batch.dtype, torch.float32)), rows[:, :6], interpolation, fill_mode, fill_value)
    found = (found if batch.is_floating_point() else found.round()).to(x.dtype)
    found = found if last else found.permute(0, 3, 1, 2)
    return found if x.ndim == 4 else found[0]


def _mirror(index: Tensor, size: int) -> Tensor:
    half = size - 1
    return torch.abs((index + half) % (2 * half) - half) if half else torch.zeros_like(index)


_BEYOND: dict[str, Callable[[Tensor, int], Tensor]] = {
    "constant": lambda index, size: index.clamp(0, size - 1),
    "nearest": lambda index, size: index.clamp(0, size - 1),
    "wrap": lambda index, size: index % size,
    "mirror": _mirror,
    "reflect": lambda index, size: torch.div(_mirror(2 * index + 1, 2 * size + 1) - 1, 2, rounding_mode="floor"),
}


@operation("MapCoordinates", module="image", tensors=2)
def map_coordinates(inputs: Any, coordinates: Any, order: int, fill_mode: str = "constant", fill_value: float = 0) -> Tensor:
    """What `inputs` has at coordinates, a row of them for each axis.

    Args:
        order: 0 for the nearest number, 1 for a mean of the neighbours.
        fill_mode: what is beyond the edges: "constant", "nearest", "wrap", "mirror" or "reflect".
    """
    x, places = both(inputs, coordinates)
    if len(places) != x.ndim or places.ndim < 2:
        raise ValueError(f"map_coordinates: coordinates have shape {tuple(places.shape)}, expected ({x.ndim}, ...): a row for each axis.")
    if fill_mode not in _BEYOND:
        raise ValueError(f"map_coordinates(fill_mode={fill_mode!r}): expected one of {', '.join(_BEYOND)}.")
    if order not in (0, 1):
        raise NotImplementedError(f"map_coordinates(order={order!r}): expected 0 or 1.")
    choices = []
    for axis, along in enumerate(places):
        if order == 0:
            nodes: list[tuple[Tensor, Any]] = [((along if not along.is_floating_point() else along.round()).long(), 1)]
        else:
            lower = torch.floor(along.float() if not along.is_floating_point() else along)
            nodes = [(lower.long(), 1 - (along - lower)), (lower.long() + 1, along - lower)]
        size = x.shape[axis]
        choices.append([(_BEYOND[fill_mode](index, size), (index >= 0) & (index < size), weight) for index, weight in nodes])
    total: Any = 0
    for corner in itertools.product(*choices):
        value = x[tuple(index for index, _, _ in corner)]
        if fill_mode == "constant":
            inside = torch.stack([valid for _, valid, _ in corner]).all(0)
            value = torch.where(inside, value, torch.as_tensor(fill_value, dtype=x.dtype, device=x.device))
        for _, _, weight in corner:
            value = weight * value
        total = total + value
    found: Tensor = total if x.is_floating_point() or not total.is_floating_point() else total.round()
    return found.to(x.dtype)


# -- filters ------------------------------------------------------------------------------------------------------------------------------


@operation("GaussianBlur", module="image")
def gaussian_blur(images: Any, kernel_size: Any = (3, 3), sigma: Any = (1.0, 1.0), data_format: str | None = None) -> Tensor:
    """Images smoothed by a bell of `kernel_size` pixels, zeros beyond the edges; both arguments are told for columns, then for rows."""
    x, last = _images(floating(images), "gaussian_blur"), _channel_axis(data_format, "gaussian_blur") == -1
    if any(size % 2 == 0 for size in kernel_size):
        raise ValueError(f"gaussian_blur(kernel_size={tuple(kernel_size)}): expected odd numbers.")

    def bell(size: int, width: float) -> Tensor:
        place = torch.arange(size, dtype=x.dtype, device=x.device) - (size - 1) / 2
        values = torch.exp(-0.5 * (place / width) ** 2)
        return values / values.sum()

    kernel = torch.outer(bell(int(kernel_size[1]), float(sigma[1])), bell(int(kernel_size[0]), float(sigma[0])))
    batch = x if x.ndim == 4 else x[None]
    batch = batch.permute(0, 3, 1, 2) if last else batch
    channels = batch.shape[1]
    found = F.conv2d(batch, kernel.expand(channels, 1, *kernel.shape), padding=tuple(size // 2 for size in kernel.shape), groups=channels)
    found = found.permute(0, 2, 3, 1) if last else found
    return found if x.ndim == 4 else found[0]


@operation("SobelEdges", module="image")
def sobel_edges(images: Any, data_format: str | None = None) -> Tensor:
    """How much each pixel changes from row to row and from column to column, along a new last axis; zeros beyond the edges."""
    x, last = _images(floating(images), "sobel_edges"), _channel_axis(data_format, "sobel_edges") == -1
    if x.ndim != 4:
        raise ValueError(f"sobel_edges: got shape {tuple(x.shape)}, expected a batch of images.")
    batch = x.permute(0, 3, 1, 2) if last else x
    across = torch.tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=x.dtype, device=x.device)
    channels = batch.shape[1]
    found = [F.conv2d(batch, kernel.expand(channels, 1, 3, 3), padding=1, groups=channels) for kernel in (across.T, across)]
    edges = torch.stack(found, -1)
    return edges.permute(0, 2, 3, 1, 4) if last else edges


_INSTEAD = {
    "elastic_transform": "torchvision.transforms.v2.ElasticTransform in a layer of your own",
    "extract_patches_3d": "Tensor.unfold along each axis in a layer of your own",
    "perspective_transform": "torchvision.transforms.v2.functional.perspective in a layer of your own",
    "scale_and_translate": "ops.image.resize and ops.image.affine_transform",
    "ssim": "torchmetrics.image.StructuralSimilarityIndexMeasure",
}


def __getattr__(name: str) -> Any:
    if name in _INSTEAD:
        raise AttributeError(f"ops.image.{name} is not here.\n  try  {_INSTEAD[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "affine_transform",
    "crop_images",
    "extract_patches",
    "gaussian_blur",
    "hsv_to_rgb",
    "map_coordinates",
    "pad_images",
    "resize",
    "rgb_to_grayscale",
    "rgb_to_hsv",
    "sobel_edges",
]
