"""Random bits as a function of a key and a place: Philox-4x64-10 (Salmon et al. 2011), the same stream on every device.

torch's own generators give other numbers on a CPU than on a GPU, and on a GPU others for another number of multiprocessors. Here word i of
the stream of a key is a function of (key, i) in whole numbers. Three ways compute it: NumPy's own Philox, the fastest on a CPU; one kernel
for CUDA, compiled on first use and held to the third way before it is believed; and operations on whole numbers that every device has.

What is made of the words uses only what IEEE 754 rounds in one right way: comparisons, conversions, sums, products, quotients and roots. So
masks and uniform numbers have the same bits wherever they are drawn, and normal numbers on every device but a CPU, see `normal`.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MASK = (1 << 64) - 1
MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
ROUNDS = 10


def words(key: int, count: int, device: torch.device | None = None) -> Tensor:
    """The first `count` words of the stream of `key` (0 or more, below 2**128), int64 with any bits.

    Example:
        >>> words(7, 5)[:2].equal(words(7, 2))
        True
    """
    if device is None or device.type == "cpu":
        return torch.from_numpy(_own_words(key, count))
    if device.type == "cuda" and (kernel := _checked_kernel(device)) is not None:
        places = torch.arange(count, dtype=torch.int64, device=device)
        drawn: Tensor = kernel(places, low=_signed(key), high=_signed(key >> 64))
        return drawn
    return in_whole_numbers(key, count, device)


class _Own(threading.local):
    """A thread's NumPy generator: to set its state takes a tenth of the time that a new one does."""

    def __init__(self) -> None:
        self.source = np.random.Philox(key=0)
        self.state: Any = self.source.state


_own = _Own()


def _own_words(key: int, count: int) -> NDArray[np.int64]:
    source, state = _own.source, _own.state
    state["state"]["key"][:] = key & _MASK, key >> 64
    source.state = state  # otherwise as new: the counter at 0, nothing left over
    return source.random_raw(count).view(np.int64)


def uniform(key: int, shape: Sequence[int], device: torch.device | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers from 0 to below 1, all multiples of 2**-24, or of 2**-53 in float64; narrower dtypes round them."""
    count = math.prod(shape)
    if dtype is torch.float64:
        drawn = words(key, count, device)
        return ((drawn >> 11) & ((1 << 53) - 1)).to(dtype).mul_(2.0**-53).view(tuple(shape))
    drawn = words(key, -(-count // 2), device).view(torch.int32)[:count]
    return ((drawn >> 8) & 0xFFFFFF).to(torch.float32).mul_(2.0**-24).to(dtype).view(tuple(shape))


def normal(key: int, shape: Sequence[int], device: torch.device | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers; narrower dtypes than float32 round those of float32.

    On CPUs they are torch's own, which take a quarter of the time; elsewhere those of Box and Muller (1958), up to 6.7 from 0, the same on
    every device but a CPU.
    """
    sizes = tuple(shape)
    if device is None or device.type == "cpu":
        return torch.randn(sizes, dtype=dtype, generator=torch.Generator().manual_seed(key & (_MASK >> 1)))
    count = math.prod(sizes)
    law = DOUBLE if dtype is torch.float64 else SINGLE
    pairs = -(-count // 2)
    drawn = words(key, -(-2 * pairs * law.bits // 64), device).view(law.whole[1])
    found: Tensor = law.normal(drawn[: 2 * pairs])
    return found[:count].to(dtype).view(sizes)


def permutation(key: int, count: int, device: torch.device | None = None) -> Tensor:
    """The numbers below `count` in an order drawn at random."""
    return words(key, count, device).sort(stable=True).indices


# -- Box and Muller, in operations with one right answer --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Law:
    """Normal numbers of one width, of torch's tensors; NumPy's arrays do as well, which is how a test knows that no library has a say.

    Args:
        whole, real: dtypes of `bits` bits, NumPy's and torch's.
        fraction: bits of a number's fraction; `root_half` are the bits of the least number from sqrt(1/2), `one` those of 1.
        logarithm, angle: terms of the series, as many as its precision needs.
    """

    whole: tuple[Any, torch.dtype]
    real: tuple[Any, torch.dtype]
    bits: int
    fraction: int
    root_half: int
    one: int
    logarithm: int
    angle: int

    def normal(self, drawn: Any) -> Any:
        """As many normal numbers as were drawn, an even number: the radius from the first half of them, the angle from the second."""
        pairs = len(drawn) // 2
        radius = self.radius(drawn[:pairs])
        sine, cosine = self.direction(drawn[pairs:])
        cosine *= radius
        sine *= radius
        return torch.cat([cosine, sine]) if isinstance(cosine, Tensor) else np.concatenate([cosine, sine])

    def radius(self, drawn: Any) -> Any:
        """sqrt(-2 ln u) of a number above 0 and up to 1, made of all bits of `drawn` but the sign, as many as fit near 0."""
        u = self._as_real(drawn & ((1 << (self.bits - 1)) - 1))
        u += 0.5
        u *= 2.0 ** (1 - self.bits)
        squared = self.log(u)
        squared *= -2.0
        return squared.sqrt_() if isinstance(squared, Tensor) else np.sqrt(squared, out=squared)

    def log(self, x: Any) -> Any:
        """ln x = e ln 2 + 2 (s + s**3/3 + s**5/5 ...) with x = m 2**e, m from sqrt(1/2) to sqrt(2), s = (m - 1) / (m + 1)."""
        which = int(isinstance(x, Tensor))
        moved = x.view(self.whole[which]) + (self.one - self.root_half)
        exponent = moved >> self.fraction
        exponent -= self.one >> self.fraction
        moved &= (1 << self.fraction) - 1
        moved += self.root_half
        m = moved.view(self.real[which])
        s = m - 1.0
        m += 1.0
        s /= m
        series = _polynomial(s * s, [2.0 / (2 * k + 1) for k in range(self.logarithm)])
        series *= s
        whole = self._as_real(exponent)
        whole *= math.log(2.0)
        series += whole
        return series

    def direction(self, drawn: Any) -> tuple[Any, Any]:
        """Sine and cosine of an angle: by their series between a quarter turn to the left and to the right, then the sign of the cosine."""
        steps = 1 << (self.fraction + 1)
        turn = self._as_real((drawn & ((1 << (self.bits - 1)) - 1)) >> (self.bits - 2 - self.fraction))
        turn -= steps / 2 - 0.5
        turn *= math.pi / steps
        square = turn * turn
        sine = _polynomial(square, [(-1.0) ** k / math.factorial(2 * k + 1) for k in range(self.angle)])
        sine *= turn
        cosine = _polynomial(square, [(-1.0) ** k / math.factorial(2 * k) for k in range(self.angle + 1)])
        bits = cosine.view(self.whole[int(isinstance(cosine, Tensor))])
        bits ^= drawn & -(1 << (self.bits - 1))
        return sine, cosine

    def _as_real(self, x: Any) -> Any:
        return x.to(self.real[1]) if isinstance(x, Tensor) else x.astype(self.real[0])


SINGLE = Law((np.int32, torch.int32), (np.float32, torch.float32), 32, 23, 0x3F3504F3, 0x3F800000, logarithm=5, angle=7)
DOUBLE = Law((np.int64, torch.int64), (np.float64, torch.float64), 64, 52, 0x3FE6A09E667F3BCD, 0x3FF0000000000000, logarithm=11, angle=12)


def _polynomial(x: Any, factors: Sequence[float]) -> Any:
    """Horner's scheme, one operation at a time: a product and a sum in one would round once, and not everywhere."""
    total = x * factors[-1]
    for factor in factors[-2:0:-1]:
        total += factor
        total *= x
    total += factors[0]
    return total


# -- the stream in whole numbers --------------------------------------------------------------------------------------------------------


def in_whole_numbers(key: int, count: int, device: torch.device | None = None) -> Tensor:
    """As `words`, by operations on int64 tensors that every device has; some 250 of them."""
    blocks = -(-count // 4)
    counters = torch.zeros((4, blocks), dtype=torch.int64, device=device)
    torch.arange(1, blocks + 1, out=counters[0])  # NumPy counts on before it draws
    return cipher(counters, key).T.reshape(-1)[:count]


def cipher(counters: Tensor, key: int) -> Tensor:
    """The four words (a column) for each counter (a column of four words), int64 with any bits."""
    # constants are filled in where they are used: to copy them there would make the host wait
    low, high, whole = (
        _column(counters, *(part(m) for m in MULTIPLIERS)) for part in (lambda m: m & 0xFFFFFFFF, lambda m: m >> 32, _signed)
    )
    even, odd = counters[0::2], counters[1::2]
    schedule = [key & _MASK, key >> 64]
    for _ in range(ROUNDS):
        mixed = _high_product(even, low, high).flip(0).bitwise_xor_(odd)
        for row, part in zip(mixed, schedule, strict=True):
            row.bitwise_xor_(_signed(part))
        even, odd = mixed, (even * whole).flip(0)
        schedule = [(part + step) & _MASK for part, step in zip(schedule, WEYL, strict=True)]
    return torch.stack([even, odd], 1).view(4, -1)


def _high_product(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The upper 64 bits of products of 64 bits, by halves of 32: `low` and `high` are those of the factors."""
    x_low, x_high = x & 0xFFFFFFFF, _upper(x)
    middle = x_high * low + _upper(x_low * low)
    other = x_low * high + (middle & 0xFFFFFFFF)
    return x_high * high + _upper(middle) + _upper(other)


def _upper(x: Tensor) -> Tensor:
    """The upper 32 of 64 bits, without a sign."""
    return (x >> 32) & 0xFFFFFFFF


def _column(like: Tensor, first: int, second: int) -> Tensor:
    column = torch.empty((2, 1), dtype=torch.int64, device=like.device)
    column[0], column[1] = first, second
    return column


def _signed(word: int) -> int:
    """The int64 of the same 64 bits."""
    word &= _MASK
    return word - (1 << 64) if word >> 63 else word


# -- the stream in one kernel -----------------------------------------------------------------------------------------------------------

# torch's own reader of such texts is led astray by signs of comparison and shifts: there are none in it.
KERNEL = (
    """
template <typename T> T philox_word(T place, T low, T high) {
  typedef unsigned long long word;
  const word half = 4294967296ull, lower = 4294967295ull;
  const word m0_low = M0ull % half, m0_high = M0ull / half, m1_low = M1ull % half, m1_high = M1ull / half;
  word c0 = (word)place / 4ull + 1ull, c1 = 0ull, c2 = 0ull, c3 = 0ull, k0 = (word)low, k1 = (word)high;
  for (int left = 10; left != 0; --left) {
    word a = c0 % half, b = c0 / half;
    word middle = b * m0_low + (a * m0_low) / half;
    word other = a * m0_high + (middle & lower);
    word high0 = b * m0_high + middle / half + other / half;
    a = c2 % half; b = c2 / half;
    middle = b * m1_low + (a * m1_low) / half;
    other = a * m1_high + (middle & lower);
    word high1 = b * m1_high + middle / half + other / half;
    word low0 = c0 * M0ull, low1 = c2 * M1ull;
    c0 = high1 ^ c1 ^ k0; c1 = low1; c2 = high0 ^ c3 ^ k1; c3 = low0;
    k0 += W0ull; k1 += W1ull;
  }
  word which = (word)place % 4ull;
  return (T)(which == 0ull ? c0 : which == 1ull ? c1 : which == 2ull ? c2 : c3);
}
""".replace("M0", str(MULTIPLIERS[0]))
    .replace("M1", str(MULTIPLIERS[1]))
    .replace("W0", str(WEYL[0]))
    .replace("W1", str(WEYL[1]))
)

_TRIED, _TRIED_KEY = 4099, 0x0123456789ABCDEF_F0E1D2C3B4A59687


@cache
def _checked_kernel(device: torch.device) -> Any:
    """The kernel, if it gives the very words that operations on whole numbers give; None, with one warning, where it does not."""
    try:
        from torch.cuda.jiterator import _create_jit_fn  # late: for CUDA only

        kernel = _create_jit_fn(KERNEL, low=0, high=0)
        places = torch.arange(_TRIED, dtype=torch.int64, device=device)
        drawn = kernel(places, low=_signed(_TRIED_KEY), high=_signed(_TRIED_KEY >> 64))
        if drawn.equal(in_whole_numbers(_TRIED_KEY, _TRIED, device)):
            return kernel
        reason = "its words are other ones"
    except Exception as error:  # of many kinds: the compiler's, the driver's, a torch without such kernels
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    warnings.warn(
        f"random masks are drawn on {device} by many small kernels, which takes longer: one for all cannot be used: {reason}", stacklevel=2
    )
    return None
