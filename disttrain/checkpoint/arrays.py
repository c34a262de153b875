"""An array as a checkpoint sees it: a dtype name, a shape, and raw little-endian bytes. NumPy where NumPy has the dtype."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]  # one-dimensional and contiguous

MAX_RANK = 32  # what every NumPy can hold
MAX_NAME_CHARS = 1024


@dataclass(frozen=True, slots=True)
class DType:
    """One element type.

    Attributes:
        name: as in safetensors, or C32 and C128, which that format lacks.
        item_bytes: size of one element.
        numpy: NumPy's name with its byte order, None where NumPy has no such type.
        stored: the dtype that the shard's header gives; a complex type that safetensors lacks is pairs of its real part's type.
    """

    name: str
    item_bytes: int
    numpy: str | None
    stored: str

    @property
    def is_paired(self) -> bool:
        """Whether a shard stores an element as two, in one more axis of length 2."""
        return self.stored != self.name


def _dtype(name: str, item_bytes: int, numpy: str | None = None, stored: str | None = None) -> DType:
    return DType(name, item_bytes, numpy, stored or name)


DTYPES: dict[str, DType] = {
    dtype.name: dtype
    for dtype in (
        _dtype("BF16", 2),
        _dtype("BOOL", 1, "|b1"),
        _dtype("C128", 16, "<c16", stored="F64"),
        _dtype("C32", 4, stored="F16"),
        _dtype("C64", 8, "<c8"),
        _dtype("F16", 2, "<f2"),
        _dtype("F32", 4, "<f4"),
        _dtype("F64", 8, "<f8"),
        _dtype("F8_E4M3", 1),
        _dtype("F8_E4M3FNUZ", 1),
        _dtype("F8_E5M2", 1),
        _dtype("F8_E5M2FNUZ", 1),
        _dtype("F8_E8M0", 1),
        _dtype("I16", 2, "<i2"),
        _dtype("I32", 4, "<i4"),
        _dtype("I64", 8, "<i8"),
        _dtype("I8", 1, "|i1"),
        _dtype("U16", 2, "<u2"),
        _dtype("U32", 4, "<u4"),
        _dtype("U64", 8, "<u8"),
        _dtype("U8", 1, "|u1"),
    )
}
_BY_NUMPY: dict[str, DType] = {dtype.numpy: dtype for dtype in DTYPES.values() if dtype.numpy}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What a tensor is, without its values.

    Args:
        name: such as `"model/dense.kernel"`; 1 to 1024 characters, no NUL.
        dtype: a key of `DTYPES`.
        shape: its axes, none negative; `()` is a scalar.

    Raises:
        ValueError: for anything else.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.name) <= MAX_NAME_CHARS or "\0" in self.name or self.name == "__metadata__" or not _encodes(self.name):
            raise ValueError(f"tensor name {self.name[:80]!r}: expected 1 to {MAX_NAME_CHARS} characters, no NUL, not '__metadata__'.")
        if self.dtype not in DTYPES:
            raise ValueError(f"tensor {self.name!r} has dtype={self.dtype!r}: expected one of {', '.join(DTYPES)}.")
        if len(self.shape) > MAX_RANK or any(size < 0 or size >= 1 << 48 for size in self.shape):
            raise ValueError(f"tensor {self.name!r} has shape={self.shape!r}: expected at most {MAX_RANK} axes, each from 0 to 2**48 - 1.")

    @property
    def rows(self) -> int:
        """Length of axis 0, along which a tensor can be cut; a scalar is one row."""
        return self.shape[0] if self.shape else 1

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape[1:]) * DTYPES[self.dtype].item_bytes

    @property
    def nbytes(self) -> int:
        """Bytes of the whole tensor."""
        return self.rows * self.row_bytes


@dataclass(frozen=True, slots=True, eq=False)
class NamedArray:
    """A tensor's values: `data` holds its elements in C order, little-endian, as raw bytes. Nothing is copied on the way in.

    Args:
        dtype: a key of `DTYPES`, so types that NumPy lacks (bfloat16, the 8-bit floats) pass through untouched.
        shape: its axes.
        data: one-dimensional contiguous uint8; as long as dtype and shape say.

    Raises:
        ValueError: the length of `data` does not fit dtype and shape.
    """

    dtype: str
    shape: tuple[int, ...]
    data: Bytes

    def __post_init__(self) -> None:
        expected = self.spec("array").nbytes
        if self.data.dtype != np.uint8 or self.data.ndim != 1 or not self.data.flags.c_contiguous or self.data.size != expected:
            raise ValueError(
                f"NamedArray({self.dtype}, shape={self.shape}): expected data as {expected} contiguous uint8, "
                f"received {self.data.dtype} of shape {self.data.shape}."
            )

    def spec(self, name: str) -> TensorSpec:
        """The spec of this array under a name."""
        return TensorSpec(name, self.dtype, self.shape)

    @classmethod
    def empty(cls, spec: TensorSpec) -> NamedArray:
        """An array with room for `spec` and values yet to be written."""
        return cls(spec.dtype, spec.shape, np.empty(spec.nbytes, np.uint8))

    @classmethod
    def from_numpy(cls, array: NDArray[Any]) -> NamedArray:
        """The same memory where the array is contiguous and little-endian, else a copy.

        Raises:
            ValueError: the array holds objects, strings, dates or another type that a checkpoint cannot carry.
        """
        little = array.dtype.newbyteorder("<")
        dtype = _BY_NUMPY.get(little.str)
        if dtype is None:
            raise ValueError(f"an array of dtype {array.dtype} cannot be saved: expected one of {', '.join(sorted(_BY_NUMPY))}.")
        flat = np.ascontiguousarray(array, dtype=little).reshape(-1)
        return cls(dtype.name, tuple(int(size) for size in array.shape), flat.view(np.uint8))

    def to_numpy(self) -> NDArray[Any]:
        """The same memory as a NumPy array.

        Raises:
            ValueError: NumPy has no such dtype; take `data`, the raw bytes, instead.
        """
        dtype = DTYPES[self.dtype].numpy
        if dtype is None:
            raise ValueError(f"NumPy has no {self.dtype}: take .data, the raw bytes, and give them to a library that has it.")
        return self.data.view(np.dtype(dtype)).reshape(self.shape)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
