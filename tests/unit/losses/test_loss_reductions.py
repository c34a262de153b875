"""From values to a number: weights, masks, slices, dtypes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from disttrain import losses
from disttrain.errors import DataError


def masked(values: Any, mask: Any) -> Tensor:
    outputs = torch.tensor(values)
    outputs._keras_mask = torch.tensor(mask)  # type: ignore[attr-defined]
    return outputs


def random(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(len(shape))) * 0.9 + 0.05


LABELLED = {
    "CTC": (torch.tensor([[1, 2], [2, 0], [1, 0], [1, 1], [2, 1]]), random(5, 6, 3)),
    "CategoricalGeneralizedCrossEntropy": (torch.tensor([0, 2, 1, 1, 0]), random(5, 3)),
    "SparseCategoricalCrossentropy": (torch.tensor([0, 2, 1, 1, 0]), random(5, 3)),
}
BY_SAMPLE = sorted(set(losses.CLASSES) - {"Circle", "Dice", "Tversky"})  # those whose values are functions of their own sample


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
@pytest.mark.parametrize("name", BY_SAMPLE)
def test_the_slices_of_a_batch_add_up_to_the_batch(name: str, reduction: str):
    y, p = LABELLED.get(name, (torch.eye(3)[[0, 2, 1, 1, 0]], random(5, 3)))
    loss = losses.CLASSES[name](reduction=reduction)
    parts = [(y[rows], p[rows], len(y[rows]) / 5) for rows in (slice(0, 1), slice(1, 3), slice(3, 5))]
    total = sum(float(loss(y_part, p_part, None, fraction)) * fraction for y_part, p_part, fraction in parts)
    assert total == pytest.approx(float(loss(y, p)), rel=1e-5)


def test_an_overlap_by_image_does_not_depend_on_the_slices_and_one_over_everything_is_their_mean():
    y, p = (random(4, 3, 3, 1) > 0.5).float(), random(4, 3, 3, 1).flip(0)
    by_image, over_all = losses.Dice(axis=(1, 2, 3)), losses.Dice()
    halves = [(y[:2], p[:2]), (y[2:], p[2:])]
    assert sum(float(by_image(*half)) / 2 for half in halves) == pytest.approx(float(by_image(y, p)), rel=1e-6)
    assert sum(float(over_all(*half, None, 0.5)) / 2 for half in halves) != pytest.approx(float(over_all(y, p)), rel=1e-5)


def test_one_number_for_all_samples_is_changed_by_no_reduction_and_takes_no_weights():
    y, p = torch.eye(3), random(3, 3)
    numbers = {float(losses.Dice(reduction=reduction)(y, p, None, 0.25)) for reduction in ("mean", "sum", "none", None)}
    assert len(numbers) == 1
    with pytest.raises(DataError, match="dice: the loss is one number for all samples together"):
        losses.Dice()(y, p, torch.ones(3))
    losses.Dice(axis=-1)(y, p, torch.ones(3))


def test_a_weight_for_each_sample_counts_for_all_of_its_steps():
    outputs = torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]])  # two samples of two steps, as many of both
    loss = losses.MeanAbsoluteError(reduction="none")
    assert loss(torch.zeros(2, 2, 1), outputs, torch.tensor([1.0, 10.0])).tolist() == [[1.0, 2.0], [30.0, 40.0]]


def test_masked_steps_drop_out_of_the_mean():
    outputs = masked([[[1.0], [9.0]], [[3.0], [5.0]]], [[True, False], [True, True]])
    assert float(losses.MeanAbsoluteError()(torch.zeros(2, 2, 1), outputs)) == 3.0  # (1 + 3 + 5) / 3
    assert float(losses.MeanAbsoluteError(reduction="sum")(torch.zeros(2, 2, 1), outputs)) == 9.0
    assert losses.MeanAbsoluteError(reduction=None)(torch.zeros(2, 2, 1), outputs).tolist() == [[1.0, 0.0], [3.0, 5.0]]


def test_a_mask_and_a_weight_for_each_sample_multiply():
    outputs = masked([[[1.0], [9.0]], [[3.0], [5.0]]], [[True, False], [True, True]])
    value = losses.MeanAbsoluteError()(torch.zeros(2, 2, 1), outputs, torch.tensor([1.0, 10.0]))
    assert float(value) == pytest.approx((1 * 1.0 + 3 * 10.0 + 5 * 10.0) / 3)
    weighted = losses.MeanAbsoluteError(reduction="mean_with_sample_weight")
    assert float(weighted(torch.zeros(2, 2, 1), outputs, torch.tensor([1.0, 10.0]))) == pytest.approx(81.0 / 21.0)


def test_targets_of_steps_beside_outputs_of_steps_and_one_number_are_masked_and_weighted_by_step():
    outputs = masked([[[1.0], [9.0]], [[3.0], [5.0]]], [[True, False], [True, True]])
    assert float(losses.MeanAbsoluteError()(torch.zeros(2, 2), outputs)) == 3.0
    weights = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert float(losses.MeanAbsoluteError()(torch.zeros(2, 2), torch.tensor(outputs.tolist()), weights)) == 1.5  # (1 + 5) / 4


def test_nothing_but_masked_steps_and_nothing_at_all_cost_nothing():
    outputs = masked([[[1.0], [9.0]]], [[False, False]])
    assert float(losses.MeanAbsoluteError()(torch.zeros(1, 2, 1), outputs)) == 0.0
    assert float(losses.LogCosh()(torch.zeros(0, 2), torch.zeros(0, 2))) == 0.0


def test_a_mask_that_does_not_fit_is_named():
    with pytest.raises(DataError, match=r"the mask of the predictions has shape \(2, 3\), the losses have shape \(2,\)"):
        losses.CosineSimilarity(reduction="none")(torch.ones(2, 2), masked([[1.0, 2.0], [3.0, 4.0]], [[True] * 3] * 2))


def test_all_weights_zero_make_a_weighted_mean_of_zero():
    loss = losses.MeanAbsoluteError(reduction="mean_with_sample_weight")
    assert float(loss([[1.0], [2.0]], [[5.0], [5.0]], [0.0, 0.0])) == 0.0


def test_the_mean_of_a_circle_loss_is_over_the_samples_that_have_partners_and_opponents():
    loss = losses.Circle(gamma=1.0, margin=0.5)
    y, p = [0, 0, 1], [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    values = losses.Circle(gamma=1.0, margin=0.5, reduction="none")(y, p)
    assert float(loss(y, p)) == pytest.approx(float(values.sum() / 2)) and values[2] == 0.0


@pytest.mark.parametrize(
    ("given", "outputs", "computed"),
    [
        (None, torch.float16, torch.float32),
        (None, torch.bfloat16, torch.float32),
        (None, torch.float32, torch.float32),
        (None, torch.float64, torch.float64),
        ("float64", torch.float32, torch.float64),
        ("float16", torch.float32, torch.float16),
        (torch.float32, torch.float64, torch.float32),
    ],
    ids=str,
)
def test_a_loss_computes_in_its_dtype_or_in_that_of_the_outputs_but_never_less_than_float32(given: Any, outputs: Any, computed: Any):
    loss = losses.MeanSquaredError(dtype=given)
    value = loss(torch.zeros(2, 1, dtype=torch.float64), torch.tensor([[1.0], [3.0]], dtype=outputs))
    assert value.dtype is computed and float(value) == 5.0
    assert losses.get(losses.serialize(loss)).dtype == loss.dtype  # type: ignore[union-attr]


def test_the_mask_of_half_precision_outputs_counts_too():
    outputs = torch.tensor([[[1.0], [9.0]]], dtype=torch.bfloat16)
    outputs._keras_mask = torch.tensor([[True, False]])  # type: ignore[attr-defined]
    assert float(losses.MeanAbsoluteError()(torch.zeros(1, 2, 1), outputs)) == 1.0


@pytest.mark.parametrize("name", BY_SAMPLE)
def test_deterministic_algorithms_and_inference_mode_change_nothing(name: str):
    y, p = LABELLED.get(name, (torch.eye(3)[[0, 2, 1, 1, 0]], random(5, 3)))
    loss = losses.CLASSES[name]()
    want = loss(y, p)
    with torch.inference_mode():
        assert torch.equal(loss(y, p), want)
