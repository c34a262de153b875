"""Kernels that compute a short-time Fourier transform by a convolution."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.initializers.initializer import Initializer

# Sums of cosines (Harris 1978, Nuttall 1981; flattop as in Matlab): w(n) = a0 - a1 cos(2 pi n / N) + a2 cos(4 pi n / N) - ...
_COSINES: dict[str, tuple[float, ...]] = {
    "blackman": (0.42, 0.5, 0.08),
    "blackmanharris": (0.35875, 0.48829, 0.14128, 0.01168),
    "boxcar": (1.0,),
    "flattop": (0.21557895, 0.41663158, 0.277263158, 0.083578947, 0.006947368),
    "hamming": (0.54, 0.46),
    "hann": (0.5, 0.5),
    "nuttall": (0.3635819, 0.4891775, 0.1365995, 0.0106411),
}
WINDOWS = sorted([*_COSINES, "bartlett", "cosine"])


class STFT(Initializer):
    """The real or the imaginary side of a Fourier transform of `T` steps, as a kernel `(T, 1, F // 2 + 1)` of a 1-D convolution.

    Args:
        side: "real", the cosines, or "imag", minus the sines.
        window: a name of `WINDOWS`, the T values themselves, or None for no window.
        scaling: "density" divides by the root of the sum of the window's squares, "spectrum" by the sum of its magnitudes, None by 1.
        periodic: the window is one period of an endless one, rather than symmetric.

    Example:
        >>> STFT("real", window=None)((4, 1, 3))[:, 0, 1].round().tolist()
        [1.0, 0.0, -1.0, -0.0]
    """

    def __init__(
        self, side: str = "real", window: str | Sequence[float] | None = "hann", scaling: str | None = "density", periodic: bool = False
    ) -> None:
        if side not in ("real", "imag"):
            raise ValueError(f"STFT(side={side!r}): expected 'real' or 'imag'.")
        if isinstance(window, str) and window not in WINDOWS:
            nearest = difflib.get_close_matches(window, WINDOWS, n=len(WINDOWS), cutoff=0.0)
            raise ValueError(
                f"STFT(window={window!r}): no such window.\n  expected  one of {', '.join(nearest)}, the values themselves, or None"
            )
        if scaling not in (None, "density", "spectrum"):
            raise ValueError(f"STFT(scaling={scaling!r}): expected 'density', 'spectrum' or None.")
        self.side, self.scaling, self.periodic = side, scaling, bool(periodic)
        self.window = window if window is None or isinstance(window, str) else [float(value) for value in window]

    def __call__(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        if len(shape) != 3 or shape[1] != 1 or shape[2] < 2:
            raise ValueError(f"STFT()(shape={tuple(shape)}): expected (steps, 1, frequencies), 2 frequencies or more.")
        steps, _, frequencies = shape
        time = torch.arange(steps, dtype=torch.float64).view(-1, 1, 1)
        angle = -math.pi * time * torch.arange(frequencies, dtype=torch.float64) / (frequencies - 1)
        kernel = angle.cos() if self.side == "real" else angle.sin()
        if self.window is None:
            return kernel.to(dtype)
        values = _window(self.window, steps, self.periodic) if isinstance(self.window, str) else torch.tensor(self.window).double()
        if values.shape != (steps,):
            raise ValueError(
                f"STFT(window of {values.numel()} values)(shape={tuple(shape)}): expected a value for each of the {steps} steps."
            )
        scale = {"density": values.square().sum().sqrt(), "spectrum": values.abs().sum(), None: torch.ones(())}[self.scaling]
        return (kernel * values.view(-1, 1, 1) / scale).to(dtype)

    def get_config(self) -> dict[str, Any]:
        return {"side": self.side, "window": self.window, "periodic": self.periodic, "scaling": self.scaling}


def _window(name: str, steps: int, periodic: bool) -> Tensor:
    """The window in float64; a symmetric one ends as it begins, a periodic one a step before."""
    if steps == 1:
        return torch.ones(1, dtype=torch.float64)
    n = torch.arange(steps, dtype=torch.float64)
    last = steps if periodic else steps - 1
    if name == "bartlett":
        return 1.0 - (2.0 * n / last - 1.0).abs()
    if name == "cosine":
        return torch.sin(math.pi * (n + 0.5) / (last + 1))
    terms = [(-1) ** k * a * torch.cos(2.0 * math.pi * k * n / last) for k, a in enumerate(_COSINES[name])]
    return torch.stack(terms).sum(0)
