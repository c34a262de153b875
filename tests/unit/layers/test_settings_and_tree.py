"""`dt.backend`, `dt.config` and `dt.tree` beside Keras's."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from typing import Any

import keras
import pytest

import disttrain as dt
from disttrain import layers, mixed_precision

Pair = namedtuple("Pair", "b a")
STRUCTURES: list[Any] = [
    3,
    [1, (2, [3]), {"b": 4, "a": [5]}],
    {"b": {"c": 1, "d": 2}, "a": None},  # Keras on torch sorts the keys of the outermost dict alone
    OrderedDict([("b", 1), ("a", (2, 3))]),
    Pair([1, 2], {"x": 3}),
    [],
]


@pytest.mark.parametrize("structure", STRUCTURES)
def test_structures_are_walked_as_keras_walks_them(structure: Any):
    ours, theirs = dt.tree, keras.tree
    assert ours.flatten(structure) == theirs.flatten(structure)
    if not isinstance(structure, Pair):
        assert ours.flatten_with_path(structure) == theirs.flatten_with_path(structure)
    assert ours.is_nested(structure) == theirs.is_nested(structure)
    assert ours.map_structure(str, structure) == theirs.map_structure(str, structure)
    assert ours.pack_sequence_as(structure, ours.flatten(structure)) == structure
    assert ours.lists_to_tuples(structure) == theirs.lists_to_tuples(structure)
    for top_down in (True, False):
        seen: tuple[list[Any], list[Any]] = ([], [])
        for module, found in zip((ours, theirs), seen, strict=True):
            module.traverse(lambda part, found=found: found.append(part), structure, top_down)
        assert seen[0] == seen[1]


def test_parts_are_replaced_and_structures_compared_as_in_keras():
    for tree in (dt.tree, keras.tree):
        assert tree.traverse(lambda part: 0 if isinstance(part, tuple) else None, [(1, 2), 3]) == [0, 3]
        assert tree.traverse(lambda part, tree=tree: tree.MAP_TO_NONE if part == 3 else None, [1, 3]) == [1, None]
        assert tree.map_structure(lambda a, b: a + b, {"x": [1, 2]}, {"x": [3, 4]}) == {"x": [4, 6]}
        assert tree.map_structure(lambda a: a + 1, [1, None], none_is_leaf=False) == [2, None]
        assert tree.map_structure_up_to([1, 2], lambda part: part, [[1], (2, 3)]) == [[1], (2, 3)]
        assert tree.map_shape_structure(len, {"a": (None, 3), "b": [(1,), (2, 3, 4)]}) == {"a": 2, "b": [1, 3]}
        tree.assert_same_structure([(1, 2)], [(3, 4)])
        tree.assert_same_paths([(1, 2)], ([3, 4],))
        for one, two in (([1], [1, 2]), ({"a": 1}, {"b": 1}), ([1], 1)):
            with pytest.raises(ValueError):
                tree.assert_same_structure(one, two)
        with pytest.raises(ValueError):
            tree.assert_same_paths([1], {"a": 1})
        with pytest.raises(ValueError):
            tree.map_structure(lambda a, b: a, [1, 2], [1])
    with pytest.raises(ValueError, match="got 1 items, expected 2"):
        dt.tree.pack_sequence_as([1, 2], [1])


def test_settings_say_what_is_and_take_what_can_be():
    assert dt.backend.backend() == dt.config.backend() == "torch" and dt.backend.epsilon() == keras.backend.epsilon()
    for dtype in ("float32", "int32", float, int, bool, "bfloat16"):
        assert dt.backend.standardize_dtype(dtype) == keras.backend.standardize_dtype(dtype)
        assert dt.backend.is_float_dtype(dtype) == keras.backend.is_float_dtype(dtype)
        assert dt.backend.is_int_dtype(dtype) == keras.backend.is_int_dtype(dtype)
    assert dt.backend.result_type("int32", "float16") == keras.backend.result_type("int32", "float16")
    assert dt.backend.is_keras_tensor(dt.Input((2,))) and not dt.backend.is_keras_tensor(3)
    dt.config.set_epsilon(1e-7)
    dt.config.set_backend("torch")
    with pytest.raises(ValueError, match=r"set_epsilon\(0.1\) is not supported"):
        dt.config.set_epsilon(0.1)
    with pytest.raises(ValueError, match="set_backend"):
        dt.config.set_backend("jax")
    with pytest.raises(ValueError, match="set_floatx"):
        dt.config.set_floatx("int32")


def test_floatx_and_the_format_of_images_are_those_of_layers_made_from_then_on():
    assert dt.config.floatx() == "float32" and dt.config.image_data_format() == "channels_last"
    try:
        dt.config.set_floatx("float64")
        dt.config.set_image_data_format("channels_first")
        assert layers.Dense(1).dtype == "float64" == dt.config.floatx()
        assert layers.Conv2D(1, 2).data_format == layers.Flatten().data_format == "channels_first" == dt.backend.image_data_format()
        assert layers.Conv2D(1, 2, data_format="channels_last").data_format == "channels_last"
    finally:
        mixed_precision.set_dtype_policy("float32")
        dt.config.set_image_data_format("channels_last")
    with pytest.raises(ValueError, match="set_image_data_format"):
        dt.config.set_image_data_format("rows_first")
