"""Gradients: those of the formulas, and finite where a formula has none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from disttrain import losses

LABELS = torch.tensor([2, 0, 1, 2])
ONE_HOT = torch.eye(3, dtype=torch.float64)[LABELS]
NUMBERS = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
SHARES = torch.softmax(NUMBERS, -1)
POSITIVE = NUMBERS.abs() + 0.1
SIGNS = 2.0 * ONE_HOT - 1.0

CASES: dict[str, tuple[losses.Loss, Tensor, Tensor]] = {
    "binary_crossentropy": (losses.BinaryCrossentropy(label_smoothing=0.1), ONE_HOT, SHARES),
    "binary_crossentropy of logits": (losses.BinaryCrossentropy(from_logits=True), ONE_HOT, NUMBERS),
    "binary_focal": (losses.BinaryFocalCrossentropy(apply_class_balancing=True, gamma=1.5), ONE_HOT, SHARES),
    "binary_focal of logits": (losses.BinaryFocalCrossentropy(from_logits=True), ONE_HOT, NUMBERS),
    "categorical_crossentropy": (losses.CategoricalCrossentropy(label_smoothing=0.1), ONE_HOT, POSITIVE),
    "categorical_crossentropy of logits": (losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1), ONE_HOT, NUMBERS),
    "categorical_focal": (losses.CategoricalFocalCrossentropy([0.2, 0.3, 0.5], 1.5), ONE_HOT, POSITIVE),
    "categorical_hinge": (losses.CategoricalHinge(), ONE_HOT, NUMBERS),
    "circle": (losses.Circle(gamma=2.0), LABELS, torch.nn.functional.normalize(NUMBERS)),
    "cosine_similarity": (losses.CosineSimilarity(), SIGNS, NUMBERS),
    "ctc": (losses.CTC(), torch.tensor([[1, 2], [2, 0]]), NUMBERS.reshape(2, 2, 3)),
    "dice": (losses.Dice(), ONE_HOT, SHARES),
    "generalized": (losses.CategoricalGeneralizedCrossEntropy(0.3), LABELS, SHARES),
    "hinge": (losses.Hinge(), SIGNS, NUMBERS),
    "huber": (losses.Huber(0.7), SIGNS, NUMBERS),
    "kl_divergence": (losses.KLDivergence(), SHARES.flip(0), SHARES),
    "log_cosh": (losses.LogCosh(), SIGNS, NUMBERS),
    "mean_absolute_error": (losses.MeanAbsoluteError(), SIGNS, NUMBERS),
    "mean_absolute_percentage_error": (losses.MeanAbsolutePercentageError(), SIGNS, NUMBERS),
    "mean_squared_error": (losses.MeanSquaredError(), SIGNS, NUMBERS),
    "mean_squared_logarithmic_error": (losses.MeanSquaredLogarithmicError(), ONE_HOT, POSITIVE),
    "poisson": (losses.Poisson(), ONE_HOT, POSITIVE),
    "root_mean_squared_error": (losses.RootMeanSquaredError(), SIGNS, NUMBERS),
    "sparse": (losses.SparseCategoricalCrossentropy(), LABELS, POSITIVE),
    "sparse, ignored": (losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=2), LABELS, NUMBERS),
    "squared_hinge": (losses.SquaredHinge(), SIGNS, NUMBERS),
    "tversky": (losses.Tversky(0.3, 0.6), ONE_HOT, SHARES),
}


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_that_of_the_loss_with_a_reduction_and_without(case: str):
    loss, y, p = CASES[case]
    values = type(loss).from_config({**loss.get_config(), "reduction": "none"})
    for fn in (loss, values):
        assert torch.autograd.gradcheck(lambda outputs, fn=fn: fn(y, outputs), (p.clone().requires_grad_(),))


def test_every_loss_has_its_gradient_checked():
    assert {type(loss) for loss, *_ in CASES.values()} == set(losses.CLASSES.values())


EDGES: dict[str, tuple[losses.Loss, Any, Any]] = {
    "no error at all": (losses.RootMeanSquaredError(), [[1.0, 2.0]], [[1.0, 2.0]]),
    "a prediction of zeros": (losses.CosineSimilarity(), [[1.0, 2.0]], [[0.0, 0.0]]),
    "a probability of 0 for a yes": (losses.BinaryCrossentropy(), [[1.0]], [[0.0]]),
    "a probability of 1 for a no": (losses.BinaryCrossentropy(), [[0.0]], [[1.0]]),
    "huge logits": (losses.BinaryCrossentropy(from_logits=True), [[0.0]], [[1e6]]),
    "a share of 0": (losses.SparseCategoricalCrossentropy(), [1], [[1.0, 0.0]]),
    "a share of 0, one-hot": (losses.CategoricalCrossentropy(), [[0.0, 1.0]], [[1.0, 0.0]]),
    "a share of 1, focal": (losses.CategoricalFocalCrossentropy(), [[0.0, 1.0]], [[0.0, 1.0]]),
    "no distance, focal": (losses.BinaryFocalCrossentropy(), [[1.0]], [[1.0]]),
    "nothing likely": (losses.KLDivergence(), [[0.0, 1.0]], [[1.0, 0.0]]),
    "neither region nor prediction": (losses.Dice(), [[0.0, 0.0]], [[0.0, 0.0]]),
    "neither, Tversky": (losses.Tversky(), [[0.0, 0.0]], [[0.0, 0.0]]),
    "no partners": (losses.Circle(), [0, 1], [[1.0, 0.0], [0.0, 1.0]]),
    "no opponents": (losses.Circle(), [1, 1], [[1.0, 0.0], [0.0, 1.0]]),
    "one sample": (losses.Circle(), [1], [[1.0, 0.0]]),
    "a probability of 0 for the label": (losses.CategoricalGeneralizedCrossEntropy(), [0], [[0.0, 1.0]]),
    "a large error": (losses.LogCosh(), [[0.0]], [[1e4]]),
    "all ignored": (losses.SparseCategoricalCrossentropy(ignore_class=0), [0, 0], [[0.5, 0.5], [0.1, 0.9]]),
}


@pytest.mark.parametrize("edge", EDGES)
def test_value_and_gradient_stay_finite_at_the_edge(edge: str):
    loss, y, p = EDGES[edge]
    outputs = torch.tensor(p, requires_grad=True)
    value = loss(y, outputs)
    value.backward()
    assert value.isfinite() and outputs.grad is not None and outputs.grad.isfinite().all()


def test_a_probability_of_0_from_a_softmax_still_learns_nothing_worse_than_zero():
    logits = torch.tensor([[-200.0, 200.0]], requires_grad=True)
    losses.CategoricalGeneralizedCrossEntropy()([0], torch.softmax(logits, -1)).backward()
    assert logits.grad is not None and logits.grad.isfinite().all()


NOT_A_NUMBER = [name for name in CASES if "ctc" not in name]


@pytest.mark.parametrize("case", NOT_A_NUMBER)
def test_not_a_number_comes_through_as_such_so_that_the_run_can_name_its_step(case: str):
    loss, y, p = CASES[case]
    assert loss(y, torch.full_like(p, torch.nan)).isnan().all()


@pytest.mark.parametrize("case", [name for name in CASES if "ctc" not in name])
def test_a_loss_is_one_graph_without_a_look_at_values(case: str):
    loss, y, p = CASES[case]
    torch._dynamo.reset()
    compiled: Any = torch.compile(loss, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(y, p), loss(y, p))
