"""Numbers, masks, precisions, slices and errors of the normalization layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import disttrain as dt
from disttrain import constraints
from disttrain import layers as L
from disttrain.errors import UsageError
from disttrain.layers.context import CallContext, call_context
from disttrain.models.saving import deserialize_object, serialize_object
from disttrain.training.local import runner


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# -- batch normalization ------------------------------------------------------------------------------------------------------------


def test_batch_normalization_uses_the_biased_variance_of_two_values():
    layer = L.BatchNormalization(momentum=0.75, epsilon=0.0, center=False)
    layer.build((None, 1))
    layer.set_weights([np.array([2.0]), np.array([4.0]), np.array([8.0])])  # gamma, moving mean, moving variance
    assert layer(torch.tensor([[1.0], [5.0]]), training=True).flatten().tolist() == [-2.0, 2.0]  # mean 3, variance 4
    assert layer.moving_mean.item() == 3.75 and layer.moving_variance.item() == pytest.approx(7.0)


@pytest.mark.parametrize(("shape", "axis"), [((3, 4), -1), ((3, 5, 4), -1), ((3, 5, 4), 1), ((2, 3, 5, 4), -1), ((2, 4, 3, 5), 1)])
def test_batch_normalization_is_what_torch_computes_but_for_the_variance_it_follows(shape: Any, axis: int):
    x = random(*shape) * 3 + 1
    layer = L.BatchNormalization(axis, momentum=0.9, epsilon=0.01)
    moved = x.movedim(axis, 1)
    reference = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[len(shape)](moved.shape[1], eps=0.01, momentum=0.1)
    torch.testing.assert_close(layer(x, training=True), reference(moved).movedim(1, axis))
    count = x.numel() // moved.shape[1]
    biased = (reference.running_var - 0.9) * (count - 1) / count + 0.9
    torch.testing.assert_close(layer.moving_mean, reference.running_mean)
    torch.testing.assert_close(layer.moving_variance, biased)
    with torch.no_grad():
        reference.running_var.copy_(biased)
    torch.testing.assert_close(layer(x), reference.eval()(moved).movedim(1, axis))


def test_a_constant_channel_has_variance_zero_not_below():
    layer = L.BatchNormalization(momentum=0.0, epsilon=0.37)
    layer(torch.full((7, 3), 1.7), training=True)
    assert (layer.moving_variance >= 0).all() and layer.moving_variance.max() < 1e-6


def test_steps_that_the_mask_leaves_out_do_not_count_but_are_normalized():
    layer = L.BatchNormalization(momentum=0.0, epsilon=0.0)
    x = torch.tensor([[[1.0], [3.0], [100.0]]])
    y = layer(x, training=True, mask=torch.tensor([[True, True, False]]))
    assert y.flatten().tolist() == pytest.approx([-1.0, 1.0, 98.0], rel=1e-5)
    assert (layer.moving_mean.item(), layer.moving_variance.item()) == pytest.approx((2.0, 1.0))


def test_the_mask_that_an_embedding_sets_reaches_batch_normalization_and_goes_on():
    embedding, layer = L.Embedding(3, 1, mask_zero=True), L.BatchNormalization(momentum=0.0)
    integers = torch.tensor([[1, 2, 0]])
    embedding(integers)
    embedding.set_weights([np.array([[100.0], [1.0], [3.0]])])
    y = layer(embedding(integers), training=True)
    assert layer.moving_mean.item() == pytest.approx(2.0)
    assert y._keras_mask.tolist() == [[True, True, False]]


def test_a_batch_without_any_step_that_counts_gives_finite_numbers():
    layer = L.BatchNormalization()
    y = layer(random(2, 3, 4), training=True, mask=torch.zeros(2, 3, dtype=torch.bool))
    assert torch.isfinite(y).all() and layer.moving_mean.tolist() == [0.0] * 4


def test_a_mask_of_the_wrong_rank_is_refused():
    with pytest.raises(ValueError, match=r"mask of shape \(2, 3, 4\).*without its last axis"):
        L.BatchNormalization()(random(2, 3, 4), training=True, mask=torch.ones(2, 3, 4, dtype=torch.bool))


def test_under_mixed_precision_statistics_are_float32():
    layer = L.BatchNormalization(momentum=0.0, dtype="mixed_bfloat16")
    x = (random(64, 4) + 100).bfloat16()
    y = layer(x, training=True)
    assert y.dtype is torch.bfloat16 and layer.moving_mean.dtype is torch.float32
    torch.testing.assert_close(layer.moving_mean, x.float().mean(0))
    torch.testing.assert_close(layer.moving_variance, x.float().var(0, correction=0), rtol=1e-4, atol=1e-4)


def test_statistics_of_slices_move_by_their_mean_weighted_by_samples():
    x, layer = random(6, 3), L.BatchNormalization(momentum=0.5)
    layer.build((None, 3))
    changes = []
    for part in (x[:4], x[4:]):
        layer.set_weights([np.ones(3), np.zeros(3), np.zeros(3), np.ones(3)])
        with call_context(CallContext(training=True, key=1, slice_fraction=len(part) / 6)):
            layer(part)
        changes.append(layer.moving_mean * len(part) / 6)
    torch.testing.assert_close(sum(changes), 0.5 * x.mean(0))


# -- layer, group, RMS and unit normalization ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [1, [1], [1, 2], [2, 1], [-3, 2], [1, 3]])
def test_layer_normalization_over_inner_axes_where_keras_on_torch_fails(axis: Any):
    x = random(2, 4, 3, 5)
    layer = L.LayerNormalization(axis, epsilon=0.01)
    layer.build((None, 4, 3, 5))
    places = sorted(a % 4 for a in ([axis] if isinstance(axis, int) else axis))
    gamma, beta = (random(*(x.shape[a] for a in places), seed=seed).numpy() for seed in (1, 2))
    layer.set_weights([gamma, beta])
    spread = [x.shape[a] if a in places else 1 for a in range(4)]
    data = x.numpy()
    mean, variance = data.mean(tuple(places), keepdims=True), data.var(tuple(places), keepdims=True)
    expected = (data - mean) / np.sqrt(variance + 0.01) * gamma.reshape(spread) + beta.reshape(spread)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-5, atol=1e-5)


def test_layer_normalization_by_hand():
    layer = L.LayerNormalization(epsilon=0.0)
    layer.build((None, 2))
    layer.set_weights([np.array([1.0, 10.0]), np.array([0.0, 1.0])])
    assert layer(torch.tensor([[2.0, 6.0]])).tolist() == [[-1.0, 11.0]]


def test_rms_scaling_divides_by_the_deviation_and_has_no_beta():
    layer = L.LayerNormalization(epsilon=0.0, rms_scaling=True, scale=False)
    assert layer(torch.tensor([[2.0, 6.0]])).tolist() == [[1.0, 3.0]]  # variance 4
    assert [name for name, _ in layer.named_weights()] == ["gamma"]


def test_layer_normalization_takes_float32_in_before_it_rounds_to_half():
    x = torch.tensor([[1000.0, 1001.0]])  # the same number in bfloat16
    y = L.LayerNormalization(epsilon=0.0, dtype="mixed_bfloat16")(x)
    assert y.dtype is torch.bfloat16 and y.tolist() == [[-1.0, 1.0]]


def test_group_normalization_by_hand():
    layer = L.GroupNormalization(2, epsilon=0.0)
    layer.build((None, 4))
    layer.set_weights([np.array([1.0, 1.0, 2.0, 2.0]), np.array([0.0, 5.0, 0.0, 0.0])])
    assert layer(torch.tensor([[1.0, 3.0, 10.0, 20.0]])).tolist() == [[-1.0, 6.0, -2.0, 2.0]]


def test_minus_one_group_makes_each_channel_its_own_and_the_config_says_how_many():
    layer = L.GroupNormalization(-1, axis=-2)
    x = random(2, 3, 5)
    expected = (x - x.mean(2, keepdim=True)) / torch.sqrt(x.var(2, correction=0, keepdim=True) + 1e-3)
    torch.testing.assert_close(layer(x), expected)
    assert layer.get_config()["groups"] == 3


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("shape", [(2, 4), (2, 3, 4), (2, 3, 5, 4), (2, 3, 2, 2, 4)])
def test_group_normalization_learns_also_as_a_first_layer(shape: Any, center: bool, scale: bool):
    layer = L.GroupNormalization(2, center=center, scale=scale)
    for x in (random(*shape), random(*shape).requires_grad_()):
        y = layer(x)
        assert torch.isfinite(y).all()
        if y.requires_grad:
            torch.sin(y).sum().backward()
            assert all(weight.grad is not None for weight in layer.trainable_weights)


def test_rms_normalization_by_hand():
    layer = L.RMSNormalization(epsilon=0.0)
    layer.build((None, 2))
    layer.set_weights([np.array([1.0, 2.0])])
    assert layer(torch.tensor([[1.0, 7.0]])).flatten().tolist() == pytest.approx([0.2, 2.8])  # root of (1 + 49) / 2 is 5


def test_unit_normalization_gives_zeros_for_zeros_and_their_gradient_is_finite():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    y = L.UnitNormalization()(x)
    y.sum().backward()
    assert y[0].tolist() == [0.0, 0.0] and y[1].tolist() == pytest.approx([0.6, 0.8])
    assert x.grad is not None and torch.isfinite(x.grad).all()
    assert L.UnitNormalization(dtype="mixed_float16")(x).tolist()[0] == [0.0, 0.0]


# -- spectral normalization ---------------------------------------------------------------------------------------------------------


def spectral(**arguments: Any) -> L.SpectralNormalization:
    layer = L.SpectralNormalization(L.Dense(2, use_bias=False, **arguments), 30)
    layer.build((None, 2))
    layer.set_weights([np.array([[3.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 1.0]])])
    return layer


def test_training_divides_the_kernel_by_its_largest_singular_value_and_inference_takes_it_as_it_is():
    layer, x = spectral(), torch.tensor([[3.0, 3.0]])
    assert layer(x).flatten().tolist() == [9.0, 3.0]
    assert layer(x, training=True).flatten().tolist() == pytest.approx([3.0, 1.0])
    assert layer.vector_u.abs().flatten().tolist() == pytest.approx([1.0, 0.0], abs=1e-6)
    assert torch.equal(layer.kernel, torch.tensor([[3.0, 0.0], [0.0, 1.0]]))


def test_the_gradient_is_that_of_the_normalized_kernel_and_goes_to_the_kernel():
    layer = spectral()
    layer(torch.tensor([[1.0, 2.0]]), training=True).square().sum().div(2).backward()
    torch.testing.assert_close(layer.kernel.grad, torch.tensor([[1.0, 2 / 3], [2.0, 4 / 3]]))  # x^T y, with y = [1, 2 / 3]


def test_after_an_update_the_kernel_is_constrained_then_normalized():
    layer = spectral(kernel_constraint=constraints.NonNeg())
    with torch.no_grad():
        layer.vector_u.copy_(torch.tensor([[1.0, 0.0]]))
        result = layer._constraints["kernel"](torch.tensor([[4.0, -9.0], [0.0, 2.0]]))
    torch.testing.assert_close(result, torch.tensor([[1.0, 0.0], [0.0, 0.5]]))


def test_a_kernel_of_zeros_and_a_frozen_one_stay():
    layer, x = spectral(), torch.tensor([[3.0, 3.0]])
    layer.trainable = False
    assert layer(x, training=True).flatten().tolist() == [9.0, 3.0] and layer.vector_u.tolist() == [[1.0, 1.0]]
    layer.trainable = True
    layer.set_weights([np.zeros((2, 2)), np.ones((1, 2))])
    assert layer(x, training=True).tolist() == [[0.0, 0.0]] and layer.vector_u.tolist() == [[1.0, 1.0]]


def test_the_kernel_is_one_weight_in_lists_and_state_also_deep_in_a_module():
    layer = L.SpectralNormalization(L.Dense(3))
    layer.build((None, 2))
    assert [name for name, _ in layer.named_weights()] == ["kernel", "vector_u", "layer.bias"] == list(layer.state_dict())
    outer = nn.ModuleDict({"inner": layer})
    state = {name: torch.ones_like(value) for name, value in outer.state_dict().items()}
    assert list(state) == ["inner.kernel", "inner.vector_u", "inner.layer.bias"]
    outer.load_state_dict(state)
    assert layer.layer.kernel is layer.kernel and layer.kernel.eq(1).all()


def test_spectral_normalization_wants_a_kernel():
    with pytest.raises(ValueError, match="object has no attribute 'kernel' nor 'embeddings'"):
        L.SpectralNormalization(L.BatchNormalization()).build((None, 2))


# -- arguments ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L.BatchNormalization(0), r"BatchNormalization\(axis=0\)"),
        (lambda: L.BatchNormalization(momentum=1.5), "momentum=1.5.*from 0 to 1"),
        (lambda: L.BatchNormalization(epsilon=-1), "epsilon=-1.*0 or more"),
        (lambda: L.BatchNormalization(renorm=True, renorm_clipping={"max": 1}), "invalid keys for `renorm_clipping`"),
        (lambda: L.BatchNormalization(renorm=True, renorm_clipping={"rmax": 1, "rmin": 2}), "rmax should be greater than rmin"),
        (lambda: L.BatchNormalization(renorm=True, renorm_clipping={"dmax": -1}), "dmax should be non-negative"),
        (lambda: L.BatchNormalization(momentun=0.5), "momentun.*no such argument.*\n.*one of momentum"),
        (lambda: L.BatchNormalization(-2).build((None, 3)), "whose axis -2 is that of the batch"),
        (lambda: L.BatchNormalization(2).build((None, 3)), "axis=2 is out of range"),
        (lambda: L.BatchNormalization().build((None, None)), "should have a defined dimension"),
        (lambda: L.LayerNormalization("last"), "axis='last'.*a list/tuple of ints"),
        (lambda: L.LayerNormalization([]), r"axis=\[\].*a list/tuple of ints"),
        (lambda: L.LayerNormalization([1, -1]).build((None, 3)), "named twice"),
        (lambda: L.LayerNormalization(epsilon=math.nan), "epsilon=nan"),
        (lambda: L.GroupNormalization(0), "groups=0.*or -1"),
        (lambda: L.GroupNormalization(3).build((None, 4)), "4 channels, which do not fall into that many groups"),
        (lambda: L.GroupNormalization(8).build((None, 4)), "4 channels, which do not fall into that many groups"),
        (lambda: L.RMSNormalization(1.5), "axis=1.5"),
        (lambda: L.UnitNormalization(None), "axis=None"),
        (lambda: L.UnitNormalization(3)(torch.ones(2, 4)), "axis=3 is out of range"),
        (lambda: L.SpectralNormalization(L.Dense(2), 0), "power_iterations=0"),
        (lambda: L.SpectralNormalization("dense"), "valid Keras layer, such as Dense"),
    ],
)
def test_arguments_are_checked(make: Any, message: str):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


@pytest.mark.parametrize("name", ["BatchNormalization", "LayerNormalization", "GroupNormalization"])
def test_constraints_are_kept_with_the_weights_and_in_the_config(name: str):
    cls = getattr(L, name)
    arguments = {"groups": 2} if name == "GroupNormalization" else {}
    layer = cls(gamma_constraint="non_neg", beta_constraint=constraints.MaxNorm(1.5), gamma_regularizer="l2", **arguments)
    layer.build((None, 4))
    assert sorted(layer._constraints) == ["beta", "gamma"]
    again = deserialize_object(serialize_object(layer))
    assert isinstance(again.gamma_constraint, constraints.NonNeg) and again.beta_constraint.max_value == 1.5


@pytest.mark.parametrize("make", [L.BatchNormalization, L.LayerNormalization, lambda: L.GroupNormalization(1), L.UnitNormalization])
def test_a_mask_goes_on(make: Any):
    x = random(2, 3, 4)
    x._keras_mask = torch.ones(2, 3, dtype=torch.bool)
    assert make()(x)._keras_mask is x._keras_mask


def test_synchronized_statistics_are_those_of_the_batch_and_refused_where_it_is_cut():
    model = dt.Sequential([dt.Input((2,)), L.BatchNormalization(synchronized=True)])
    model.compile("sgd", "mse")
    data = np.arange(8, dtype="float32").reshape(4, 2)
    model.fit(data, data, batch_size=4, verbose=0)
    assert model.layers[0].moving_mean.tolist() == pytest.approx([0.03, 0.04])
    with runner.installed(runner.LocalRunner(runner._InProcess(2, 1))), pytest.raises(UsageError, match="synchronized=True asks for"):
        model.fit(data, data, batch_size=4, verbose=0)
    assert model.predict(data, verbose=0).shape == (4, 2)


@pytest.mark.parametrize("axis", [[1, -1], [-1, 1], [1, 2], [3, 1, 2]])
def test_the_weights_of_layer_normalization_have_keras_s_shapes(axis):
    layer = L.LayerNormalization(axis)
    x = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).view(2, 3, 4, 5)
    y = layer(x)
    assert tuple(layer.gamma.shape) == tuple(x.shape[place] for place in sorted(axis)) and layer.axis == sorted(axis)
    places = [place % 4 for place in axis]
    assert torch.allclose(y.mean(places), torch.zeros(()), atol=1e-6)


def test_a_layer_normalization_of_the_last_axis_takes_tensors_of_another_rank_than_it_was_built_for():
    layer = L.LayerNormalization()
    layer.build((2, 2, 2))
    assert layer(torch.ones(5, 2, 2, 2)).shape == (5, 2, 2, 2)
