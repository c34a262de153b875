from __future__ import annotations

import numpy as np
import pytest

from disttrain.checkpoint.arrays import DTYPES, NamedArray, TensorSpec


@pytest.mark.parametrize("dtype", [dtype.numpy for dtype in DTYPES.values() if dtype.numpy])
def test_a_numpy_array_comes_back_equal_and_shares_its_memory(dtype: str) -> None:
    array = np.arange(6).astype(dtype).reshape(2, 3)
    named = NamedArray.from_numpy(array)
    assert named.to_numpy().dtype == array.dtype
    assert np.array_equal(named.to_numpy(), array)
    assert np.shares_memory(named.data, array)


def test_big_endian_and_strided_arrays_become_little_endian_and_contiguous() -> None:
    array = np.array([[1, 2], [3, 4]], dtype=">i4").T
    assert NamedArray.from_numpy(array).data.tobytes() == b"\1\0\0\0\3\0\0\0\2\0\0\0\4\0\0\0"


def test_a_scalar_keeps_its_empty_shape() -> None:
    named = NamedArray.from_numpy(np.array(3.0))
    assert named.shape == ()
    assert named.to_numpy().shape == ()


def test_a_dtype_that_numpy_lacks_travels_as_bytes() -> None:
    named = NamedArray("BF16", (2,), np.array([0x80, 0x3F, 0x00, 0x40], np.uint8))  # 1.0 and 2.0
    with pytest.raises(ValueError, match="NumPy has no BF16"):
        named.to_numpy()


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([None]), np.array(["2020-01-01"], "datetime64[D]"), np.zeros(2, "i4,f4")])
def test_arrays_without_plain_numbers_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="cannot be saved"):
        NamedArray.from_numpy(array)


def test_data_of_the_wrong_length_is_refused_with_both_lengths() -> None:
    with pytest.raises(ValueError, match=r"expected data as 8 contiguous uint8, received uint8 of shape \(7,\)"):
        NamedArray("F32", (2,), np.zeros(7, np.uint8))


def test_rows_and_bytes_of_a_spec() -> None:
    assert (TensorSpec("a", "F32", (4, 3)).rows, TensorSpec("a", "F32", (4, 3)).row_bytes, TensorSpec("a", "F32", (4, 3)).nbytes) == (
        4,
        12,
        48,
    )
    assert (TensorSpec("a", "F64", ()).rows, TensorSpec("a", "F64", ()).row_bytes) == (1, 8)
    assert TensorSpec("a", "F64", (0, 3)).nbytes == 0


@pytest.mark.parametrize(
    ("name", "dtype", "shape"),
    [("", "F32", ()), ("a\0b", "F32", ()), ("\ud800", "F32", ()), ("__metadata__", "F32", ()), ("a", "float32", ()), ("a", "F32", (-1,))],
)
def test_a_spec_that_no_file_could_hold_is_refused(name: str, dtype: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        TensorSpec(name, dtype, shape)
