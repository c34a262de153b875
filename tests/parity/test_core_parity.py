"""Core and activation layers beside Keras's, over shapes, arguments and masks."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from keras_parity import assert_same_layer

from disttrain import layers as L

pytestmark = pytest.mark.filterwarnings("ignore:You are using a softmax")  # over an axis of size 1, which shapes drawn here may have

sizes = st.integers(1, 4)


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


@settings(max_examples=20)
@given(
    shape=st.lists(sizes, min_size=2, max_size=4),
    units=sizes,
    activation=st.sampled_from([None, "relu", "softmax", "selu"]),
    use_bias=st.booleans(),
    regularizer=st.sampled_from([None, "l1", "l2"]),
    seed=st.integers(0, 99),
)
def test_dense_for_any_rank_activation_and_penalty(shape: Any, units: int, activation: Any, use_bias: bool, regularizer: Any, seed: int):
    arguments = {"kernel_regularizer": regularizer, "bias_constraint": "non_neg", "activity_regularizer": regularizer}
    assert_same_layer(lambda N: N.Dense(units, activation, use_bias, **arguments), drawn(seed, *shape))


@settings(max_examples=25)
@given(
    equation=st.sampled_from(
        [
            ("ab,bc->ac", 2, (3,)),
            ("ab,cb->ac", 2, (3,)),
            ("abc,cd->abd", 3, (None, 3)),
            ("abc,cde->abde", 3, (None, 2, 3)),
            ("abc,cde->abed", 3, (None, 2, 3)),
            ("abcd,cde->abe", 4, (None, 3)),
            ("abcd,dce->abe", 4, (None, 3)),
            ("abc,bd->adc", 3, (3, None)),
            ("abc,bcd->abd", 3, (None, 2)),
            ("abcd,cdef->abef", 4, (None, 2, 3)),
            ("...x,xy->...y", 3, (3,)),
            ("...xy,xz->...zy", 3, (3, None)),
            ("ab...,bc->ac...", 4, (3,)),
        ]
    ),
    bias=st.sampled_from([None, "first", "last", "all"]),
    fixed=st.lists(sizes, min_size=4, max_size=4),
    seed=st.integers(0, 99),
)
def test_einsum_dense_for_any_equation(equation: Any, bias: Any, fixed: Any, seed: int):
    text, rank, output_shape = equation
    letters = text.split("->")[1].replace(".", "")
    new = [letter for letter in letters if letter not in text.split(",")[0]]
    bias_axes = {None: None, "first": new[0], "last": new[-1], "all": "".join(new)}[bias]
    inputs = text.split(",")[0].replace(".", "")
    known = dict(zip(inputs, fixed[4 - len(inputs) :], strict=True))
    shape = fixed[:rank]
    for place, letter in enumerate(inputs):
        shape[place if not text.startswith("...") else rank - len(inputs) + place] = known[letter]
    sizes_of_output = tuple(
        known.get(letter) if size is None else size for letter, size in zip(letters[-len(output_shape) :], output_shape, strict=True)
    )
    assert_same_layer(lambda N: N.EinsumDense(text, sizes_of_output, bias_axes=bias_axes, activation="tanh"), drawn(seed, *shape))


def test_einsum_dense_keeps_the_order_of_elided_axes_where_keras_turns_it_round():
    layer, other = (N.EinsumDense("...x,xy->...y", 4) for N in (L, keras.layers))
    assert other.compute_output_shape((None, 6, 5, 3)) == (None, 5, 6, 4)  # keras 3.15
    assert tuple(other(torch.zeros(2, 6, 5, 3)).shape) == (2, 6, 5, 4)
    assert layer.compute_output_shape((None, 6, 5, 3)) == (None, 6, 5, 4)


@settings(max_examples=15)
@given(shape=st.lists(sizes, min_size=1, max_size=3), mask_zero=st.booleans(), floating=st.booleans(), seed=st.integers(0, 99))
def test_embedding_of_any_shape_of_integers_or_floats(shape: Any, mask_zero: bool, floating: bool, seed: int):
    indices = np.random.default_rng(seed).integers(0, 5, shape).astype("float32" if floating else "int32")
    assert_same_layer(lambda N: N.Embedding(5, 3, mask_zero=mask_zero, embeddings_regularizer="l2"), indices, gradients=not floating)
    ours, theirs = (N.Embedding(5, 3, mask_zero=mask_zero)(torch.tensor(indices)) for N in (L, keras.layers))
    one, two = (getattr(output, "_keras_mask", None) for output in (ours, theirs))
    assert (one is None) == (two is None) == (not mask_zero)
    assert one is None or torch.equal(one, two)


@pytest.mark.parametrize("tie_weights", [True, False])
def test_a_reversible_embedding_goes_back_with_the_tied_or_its_own_weight(tie_weights: bool):
    assert_same_layer(
        lambda N: N.ReversibleEmbedding(5, 3, tie_weights, logit_soft_cap=1.5, reverse_dtype="float32"),
        drawn(1, 2, 4, 3),
        {"reverse": True},
    )


@settings(max_examples=15)
@given(shape=st.lists(sizes, min_size=2, max_size=3), mask_value=st.sampled_from([0.0, -1.0, 2]), seed=st.integers(0, 99))
def test_masking_marks_and_zeroes_the_same_steps(shape: Any, mask_value: float, seed: int):
    inputs = np.random.default_rng(seed).choice([mask_value, mask_value, 1.0], shape).astype("float32")
    assert_same_layer(lambda N: N.Masking(mask_value), inputs)
    ours, theirs = (N.Masking(mask_value)(torch.tensor(inputs)) for N in (L, keras.layers))
    assert torch.equal(ours._keras_mask, theirs._keras_mask)


LAYERS_OF_ONE_SHAPE = [
    lambda N, a: N.ReLU(None, a, 0.0),
    lambda N, a: N.ReLU(1.5, a, 0.3),
    lambda N, a: N.LeakyReLU(a),
    lambda N, a: N.ELU(a),
    lambda N, a: N.Softmax(axis=-1),
    lambda N, a: N.Softmax(axis=[1, -1]),
    lambda N, a: N.Activation("mish"),
    lambda N, a: N.PReLU("glorot_uniform", "l2", "non_neg"),
    lambda N, a: N.PReLU("ones", shared_axes=[1]),
]


@settings(max_examples=30)
@given(
    make=st.sampled_from(LAYERS_OF_ONE_SHAPE),
    slope=st.floats(0.0, 2.0, width=16),
    shape=st.lists(sizes, min_size=3, max_size=4),
    seed=st.integers(0, 99),
)
def test_activation_layers(make: Any, slope: float, shape: Any, seed: int):
    assert_same_layer(lambda N: make(N, slope), drawn(seed, *shape))


@settings(max_examples=15)
@given(shape=st.lists(sizes, min_size=3, max_size=3), axis=st.sampled_from([-1, 1, [1, 2]]), boolean=st.booleans(), seed=st.integers(0, 99))
def test_softmax_under_a_mask(shape: Any, axis: Any, boolean: bool, seed: int):
    mask = np.random.default_rng(seed).random(shape) > 0.4
    assert_same_layer(lambda N: N.Softmax(axis=axis), drawn(seed, *shape), {"mask": mask if boolean else mask.astype("float32")})
