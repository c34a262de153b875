from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from disttrain.checkpoint import Attempt, CommittedCheckpoint, NamedArray, Store, checkpoint_digest, weights_digest


def test_the_digest_is_that_of_the_bytes_in_the_documented_order() -> None:
    arrays = {"b": np.array([[1.0, 2.0]], np.float32), "a": NamedArray("BF16", (1,), np.array([0x80, 0x3F], np.uint8)), "c": np.array(True)}
    text = b"a\0BF16\0[1]\0\x80\x3f" + b"b\0<f4\0[1, 2]\0\0\0\x80\x3f\0\0\0\x40" + b"c\0|b1\0[]\0\1"
    assert weights_digest(arrays) == hashlib.sha256(text).hexdigest()


def test_the_order_in_memory_and_the_byte_order_do_not_matter() -> None:
    array = np.arange(6, dtype="<i4").reshape(2, 3)
    assert weights_digest({"a": array}) == weights_digest({"a": np.asfortranarray(array)}) == weights_digest({"a": array.astype(">i4")})


def test_one_bit_a_name_or_a_shape_makes_another_digest() -> None:
    array = np.zeros((2, 3), np.float32)
    changed = array.copy()
    changed[1, 2] = -0.0
    digests = {
        weights_digest(x) for x in ({"a": array}, {"a": changed}, {"b": array}, {"a": array.reshape(3, 2)}, {"a": array.view(np.int32)})
    }
    assert len(digests) == 5


def test_a_checkpoint_has_the_digest_of_the_weights_saved_in_it(
    store: Store, arrays: dict[str, NamedArray], started: Callable[[Store], Attempt], save: Callable[..., CommittedCheckpoint]
) -> None:
    name = save(store, started(store), 1, arrays).name
    weights = {"dense.kernel": arrays["model/dense.kernel"], "dense.bias": arrays["model/dense.bias"]}
    assert checkpoint_digest(store, name) == checkpoint_digest(store) == weights_digest(weights)
