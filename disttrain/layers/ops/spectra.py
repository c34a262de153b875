"""Fourier transforms, of sequences cut into windows too, and the windows themselves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.layers.dtypes import DTYPES, standard_dtype
from disttrain.layers.ops.operation import as_tensor, floating, operation


@operation("FFT", module="math")
def fft(x: Any) -> tuple[Tensor, Tensor]:
    """The Fourier transform along the last axis of (real part, imaginary part), as such a pair."""
    found = torch.fft.fft(_complex(x, "fft"))
    return found.real, found.imag


@operation("FFT2", module="math")
def fft2(x: Any) -> tuple[Tensor, Tensor]:
    """The Fourier transform along the last two axes of (real part, imaginary part), as such a pair."""
    found = torch.fft.fft2(_complex(x, "fft2"))
    return found.real, found.imag


@operation("IFFT2", module="math")
def ifft2(x: Any) -> tuple[Tensor, Tensor]:
    """The inverse of `fft2`."""
    found = torch.fft.ifft2(_complex(x, "ifft2"))
    return found.real, found.imag


@operation("RFFT", module="math")
def rfft(x: Any, fft_length: int | None = None) -> tuple[Tensor, Tensor]:
    """The Fourier transform of real numbers along the last axis, cut or filled up to `fft_length`: (real part, imaginary part)."""
    found = torch.fft.rfft(floating(x), n=fft_length)
    return found.real, found.imag


@operation("IRFFT", module="math")
def irfft(x: Any, fft_length: int | None = None) -> Tensor:
    """The inverse of `rfft`."""
    return torch.fft.irfft(_complex(x, "irfft"), n=fft_length)  # type: ignore[no-any-return]


@operation("ExtractSequences", module="math")
def extract_sequences(x: Any, sequence_length: int, sequence_stride: int) -> Tensor:
    """Windows along the last axis, one every `sequence_stride`: `(..., windows, sequence_length)`."""
    return as_tensor(x).unfold(-1, sequence_length, sequence_stride).clone()


@operation("STFT", module="math")
def stft(
    x: Any, sequence_length: int, sequence_stride: int, fft_length: int, window: Any = "hann", center: bool = True
) -> tuple[Tensor, Tensor]:
    """The Fourier transforms of windows along the last axis: (real part, imaginary part), each `(..., windows, fft_length // 2 + 1)`."""
    x = as_tensor(x)
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"stft: got {str(x.dtype).removeprefix('torch.')}, expected float32 or float64.")
    if fft_length < sequence_length:
        raise ValueError(f"stft(sequence_length={sequence_length}, fft_length={fft_length}): expected fft_length of at least that.")
    flat = x.reshape(-1, x.shape[-1]) if x.ndim > 2 else x
    found = torch.stft(
        flat, fft_length, sequence_stride, sequence_length, _window(window, sequence_length, x), center=center, return_complex=True
    )  # fmt: skip
    found = found.reshape(*x.shape[:-1], *found.shape[-2:]).transpose(-2, -1)
    return found.real, found.imag


@operation("ISTFT", module="math")
def istft(
    x: Any,
    sequence_length: int,
    sequence_stride: int,
    fft_length: int,
    length: int | None = None,
    window: Any = "hann",
    center: bool = True,
) -> Tensor:
    """The inverse of `stft`; `length` is that of the result."""
    spectrum = _complex(x, "istft")
    frames = torch.fft.irfft(spectrum, n=fft_length)
    if window is not None:
        shape = _window(window, sequence_length, frames)
        left = (fft_length - sequence_length) // 2
        shape = torch.nn.functional.pad(shape, (left, fft_length - sequence_length - left))
        frames = frames * shape
        weight = torch.square(shape)
    else:
        weight = torch.ones(fft_length, dtype=frames.dtype, device=frames.device)
    count = frames.shape[-2]
    total = _overlapped(frames, sequence_stride)
    if window is not None:
        norm = _overlapped(weight.expand(count, fft_length), sequence_stride)
        total = total / torch.where(norm > 1e-11, norm, 1.0)
    start = fft_length // 2 if center else 0
    stop = start + length if length is not None else total.shape[-1] - (fft_length // 2 if center else 0)
    found = total[..., start:stop]
    missing = 0 if length is None else length - found.shape[-1]
    return torch.nn.functional.pad(found, (0, missing)) if missing > 0 else found


def _overlapped(frames: Tensor, stride: int) -> Tensor:
    """Frames of `(..., count, length)` added up where they lie, `stride` apart."""
    count, length = frames.shape[-2:]
    total = frames.new_zeros(*frames.shape[:-2], stride * (count - 1) + length)
    for number in range(count):
        total[..., number * stride : number * stride + length] += frames[..., number, :]
    return total


def _window(window: Any, length: int, like: Tensor) -> Tensor:
    if window is None:
        return torch.ones(length, dtype=like.dtype, device=like.device)
    if isinstance(window, str):
        make = {"hann": torch.hann_window, "hamming": torch.hamming_window}.get(window)
        if make is None:
            raise ValueError(f"window={window!r}: expected 'hann', 'hamming', None or an array.")
        return make(length, periodic=True, dtype=like.dtype, device=like.device)
    found = as_tensor(window, like).to(like.dtype)
    if found.shape != (length,):
        raise ValueError(f"window of shape {tuple(found.shape)}: expected ({length},), the sequence_length.")
    return found


def _complex(x: Any, name: str) -> Tensor:
    if not isinstance(x, list | tuple) or len(x) != 2:
        raise ValueError(f"{name}: expected a pair of tensors, the real and the imaginary part, got {type(x).__name__}.")
    real, imaginary = as_tensor(x[0]), as_tensor(x[1])
    if real.shape != imaginary.shape:
        raise ValueError(f"{name}: the real part has shape {tuple(real.shape)}, the imaginary part {tuple(imaginary.shape)}.")
    if not (real.is_floating_point() and imaginary.is_floating_point()):
        raise ValueError(f"{name}: expected floats in both parts.")
    return torch.complex(real, imaginary)


# -- windows ------------------------------------------------------------------------------------------------------------------------------


def bartlett(x: int) -> Tensor:
    """A triangle of `x` numbers, from 0 to 0."""
    return torch.bartlett_window(int(x), periodic=False, dtype=_floats()) if int(x) != 1 else torch.ones(1, dtype=_floats())


def blackman(x: int) -> Tensor:
    """Blackman's window of `x` numbers."""
    return torch.blackman_window(int(x), periodic=False, dtype=_floats())


def hamming(x: int) -> Tensor:
    """Hamming's window of `x` numbers."""
    return torch.hamming_window(int(x), periodic=False, dtype=_floats())


def hanning(x: int) -> Tensor:
    """A cosine's bell of `x` numbers, from 0 to 0."""
    return torch.hann_window(int(x), periodic=False, dtype=_floats())


def kaiser(x: int, beta: float) -> Tensor:
    """Kaiser's window of `x` numbers."""
    return torch.kaiser_window(int(x), periodic=False, beta=float(beta), dtype=_floats())


def logspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: float = 10, dtype: Any = None, axis: int = 0) -> Tensor:
    """`num` powers of `base`, whose exponents go from `start` to `stop` at equal distances."""
    return _spaced(start, stop, num, endpoint, dtype, axis, lambda x: base**x)


def geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0) -> Tensor:
    """`num` numbers from `start` to `stop`, each the same multiple of the one before."""
    one, two = as_tensor(start).double(), as_tensor(stop).double()
    if bool(((one == 0) | (two == 0) | (one.sign() != two.sign())).any()):
        raise ValueError(f"geomspace: from {start} to {stop}: expected two numbers of one sign, not 0.")
    sign = one.sign()
    return _spaced(torch.log(one.abs()), torch.log(two.abs()), num, endpoint, dtype, axis, lambda x: sign * torch.exp(x))


def _spaced(start: Any, stop: Any, num: int, endpoint: bool, dtype: Any, axis: int, function: Any) -> Tensor:
    one, two = as_tensor(start).double(), as_tensor(stop).double()
    shares = torch.arange(num, dtype=torch.float64) / max(num - 1 if endpoint else num, 1)
    shares = shares.reshape(-1, *[1] * max(one.ndim, two.ndim))
    found = function(one + (two - one) * shares)
    return torch.moveaxis(found, 0, axis).to(DTYPES[standard_dtype(dtype)])


def _floats() -> torch.dtype:
    return DTYPES[standard_dtype(None)]


__all__ = [
    "bartlett",
    "blackman",
    "extract_sequences",
    "fft",
    "fft2",
    "geomspace",
    "hamming",
    "hanning",
    "ifft2",
    "irfft",
    "istft",
    "kaiser",
    "logspace",
    "rfft",
    "stft",
]
