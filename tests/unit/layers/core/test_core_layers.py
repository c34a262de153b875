"""Numbers, masks and errors of the core layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from disttrain import constraints
from disttrain import layers as L
from disttrain.layers.context import CallContext, call_context
from disttrain.models.saving import deserialize_object, serialize_object


def test_einsum_dense_computes_what_its_equation_says():
    layer = L.EinsumDense("abc,cd->abd", output_shape=(None, 2), bias_axes="d")
    layer.build((None, None, 2))
    layer.set_weights([np.array([[1.0, 0.0], [10.0, -1.0]]), np.array([0.5, 0.0])])
    assert layer(torch.tensor([[[1.0, 2.0]]])).tolist() == [[[21.5, -2.0]]]


@pytest.mark.parametrize(
    ("equation", "output_shape", "inputs"),
    [
        ("abc,cde->abde", (None, 4, 2), (2, 5, 3)),
        ("abcd,cde->abe", (None, 4), (2, 5, 3, 2)),
        ("...x,xy->...y", 4, (2, 5, 6, 3)),
    ],
)
def test_a_plain_matrix_product_gives_the_numbers_of_einsum(equation: str, output_shape: Any, inputs: Any):
    layer = L.EinsumDense(equation, output_shape)
    x = torch.randn(*inputs, generator=torch.Generator().manual_seed(0))
    result = layer(x)
    assert layer._summed is not None
    torch.testing.assert_close(result, torch.einsum(equation, x, layer.kernel))


def test_einsum_dense_scales_initial_weights_by_the_axes_it_sums_over():
    layer = L.EinsumDense("abc,cde->abde", (None, 64, 8))
    layer.build((None, None, 128))
    assert layer.kernel.abs().max() <= (6 / (128 + 512)) ** 0.5  # by the last two axes alone it would be (6 / (128 * 72)) ** 0.5
    assert layer.kernel.std() > 0.9 * (2 / (128 + 512)) ** 0.5


def test_einsum_dense_tells_the_sizes_that_it_knows():
    inputs = L.Input((5, 3))
    assert L.EinsumDense("abc,cd->abd", (None, 8))(inputs).shape == (None, 5, 8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L.EinsumDense("ab,bc", 3), "expected 'X,Y->Z'"),
        (lambda: L.EinsumDense("ab,bc->az", 3), "the output has 'z'"),
        (lambda: L.EinsumDense("ab,bz->ab", 3), "the kernel has 'z'"),
        (lambda: L.EinsumDense("ab,bc->ac", 0), "output_shape=0"),
        (lambda: L.EinsumDense("ab,bc->ac", 3, bias_axes="z"), "bias_axes='z'"),
        (lambda: L.EinsumDense("ab,bc->ac", 3, lora_rank=2), "lora_rank=2.*not supported"),
        (lambda: L.Dense(3, lora_rank=4), "Dense\\(lora_rank=4\\) is not supported"),
        (lambda: L.Dense(3, quantization_config={"a": 1}), "quantization_config"),
        (lambda: L.Dense(0), "Dense\\(units=0\\): expected an integer, 1 or more"),
        (lambda: L.Dense(2, kernel_constrain="non_neg"), "no such argument.*\n.*one of kernel_constraint"),
        (lambda: L.Embedding(0, 3), "input_dim=0"),
        (lambda: L.Embedding(3, 2.5), "output_dim=2.5"),
        (lambda: L.ReversibleEmbedding(3, 2, logit_soft_cap=0.0), "logit_soft_cap=0.0"),
        (lambda: L.Masking("0"), "mask_value='0'"),
        (lambda: L.Wrapper(3), "Layer 3 supplied to Wrapper isn.t a supported layer type"),
    ],
)
def test_a_wrong_argument_is_named(make: Any, message: str):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (L.EinsumDense("abc,cd->abd", (None, 8)), (2, 3), "expected 3 axes"),
        (L.EinsumDense("ab,bc->ac", (4, 3)), (2, 3), "output_shape"),
        (L.EinsumDense("abc,bd->abd", (4, 3)), (2, 5, 3), "'b'"),
        (L.Dense(3), (4,), "2 axes or more"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(layer: Any, shape: Any, message: str):
    with pytest.raises(ValueError, match=message):
        layer(torch.zeros(shape))


@pytest.mark.parametrize("layer", [L.Dense(3), L.EinsumDense("abc,cd->abd", (None, 4))])
def test_another_number_of_features_than_the_weights_were_made_for_is_refused(layer: Any):
    layer(torch.zeros(2, 5, 3))
    with pytest.raises(ValueError, match=r"\(2, 5, 4\), expected .*3"):
        layer(torch.zeros(2, 5, 4))


def test_dense_keeps_its_constraints_for_the_runtime_and_in_its_config():
    layer = L.Dense(2, kernel_constraint="max_norm", bias_constraint="non_neg")
    layer.build((None, 3))
    assert {name: type(value) for name, value in layer._constraints.items()} == {
        "kernel": constraints.MaxNorm,
        "bias": constraints.NonNeg,
    }
    twin = deserialize_object(serialize_object(layer))
    assert isinstance(twin.kernel_constraint, constraints.MaxNorm) and isinstance(twin.bias_constraint, constraints.NonNeg)


def test_embedding_of_zeros_masks_them_for_the_layers_after_it():
    layer = L.Embedding(4, 2, mask_zero=True)
    output = L.Dense(3)(layer(torch.tensor([[1, 0], [3, 2]])))
    assert output._keras_mask.tolist() == [[True, False], [True, True]]
    assert not hasattr(L.Embedding(4, 2)(torch.tensor([[1, 0]])), "_keras_mask")


def test_embedding_starts_from_the_table_that_it_is_given():
    table = np.arange(6.0).reshape(3, 2)
    for weights in (table, [table]):
        assert L.Embedding(3, 2, weights=weights)(torch.tensor([2.0, 0.0])).tolist() == [[4.0, 5.0], [0.0, 1.0]]


def test_a_tied_reversible_embedding_scores_by_its_own_rows():
    layer = L.ReversibleEmbedding(3, 2, weights=[np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])])
    assert layer(torch.tensor([[3.0, 4.0]]), reverse=True).tolist() == [[3.0, 8.0, 7.0]]
    assert len(layer.weights) == 1


def test_scores_of_a_reversible_embedding_are_computed_in_the_dtype_it_was_told():
    layer = L.ReversibleEmbedding(3, 2, dtype="mixed_bfloat16", reverse_dtype="float32")
    assert layer(torch.tensor([1])).dtype is torch.bfloat16
    assert layer(torch.zeros(1, 2, dtype=torch.bfloat16), reverse=True).dtype is torch.float32


def test_masking_zeroes_steps_whose_features_all_have_its_value():
    x = torch.tensor([[[-1.0, -1.0], [-1.0, 2.0]]])
    output = L.Masking(mask_value=-1.0)(x)
    assert output.tolist() == [[[0.0, 0.0], [-1.0, 2.0]]]
    assert output._keras_mask.tolist() == [[False, True]]


def test_identity_hands_on_structures_and_masks():
    x = L.Masking()(torch.tensor([[[0.0], [1.0]]]))
    output = L.Identity()({"a": x, "b": torch.ones(2)})
    assert output["a"] is x and output["a"]._keras_mask.tolist() == [[False, True]]


def test_a_wrapper_builds_its_layer_and_shares_no_weights_with_one_made_from_its_config():
    class Doubled(L.Wrapper):
        def call(self, inputs):
            return 2 * self.layer(inputs)

    wrapper = Doubled(L.Dense(2, kernel_initializer="ones"))
    with call_context(CallContext(training=False)):
        assert wrapper(torch.ones(1, 3)).tolist() == [[6.0, 6.0]]
    twin = Doubled.from_config(wrapper.get_config())
    assert twin.layer is not wrapper.layer and twin.layer.units == 2
    assert wrapper.compute_output_shape((None, 3)) == (None, 2)


@pytest.mark.parametrize("index", [-1, 4])
def test_an_index_that_has_no_row_is_named(index: int):
    with pytest.raises(ValueError, match=rf"Embedding 'table': got indices from .*{index}.*, expected 0 to 3"):
        L.Embedding(4, 2, name="table")(np.array([[2, index]]))
