"""Each loss by hand: targets, outputs, and the value of each sample as one would write it on paper."""

from __future__ import annotations

import inspect
from math import cosh, exp, inf, log, sqrt
from typing import Any

import pytest
import torch

from disttrain import losses


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + exp(-x))


HAND: list[tuple[losses.Loss, Any, Any, list[float]]] = [
    (losses.MeanSquaredError(), [[0.0, 1.0], [0.0, 0.0]], [[2.0, 1.0], [0.0, 4.0]], [2.0, 8.0]),
    (losses.MeanAbsoluteError(), [[0.0, 1.0], [0.0, 0.0]], [[2.0, 1.0], [0.0, -4.0]], [1.0, 2.0]),
    (losses.MeanAbsolutePercentageError(), [[4.0, -2.0], [10.0, 1.0]], [[3.0, -2.0], [12.0, 2.0]], [12.5, 60.0]),
    (losses.MeanAbsolutePercentageError(), [[0.0]], [[2e-7]], [200.0]),  # a target of 0 counts as 1e-7
    (losses.MeanSquaredLogarithmicError(), [[1.0, 3.0]], [[3.0, 3.0]], [log(2.0) ** 2 / 2]),
    (losses.MeanSquaredLogarithmicError(), [[1.0]], [[-5.0]], [(log(2.0) - log(1.0 + 1e-7)) ** 2]),
    (losses.RootMeanSquaredError(), [[0.0, 0.0], [1.0, 1.0]], [[1.0, 7.0], [1.0, 1.0]], [5.0, 0.0]),
    (losses.Huber(), [[0.0, 0.0]], [[0.5, -3.0]], [(0.125 + 2.5) / 2]),
    (losses.Huber(delta=2.0), [[0.0], [0.0]], [[1.0], [5.0]], [0.5, 8.0]),  # 2 * 5 - 0.5 * 2**2
    (losses.LogCosh(), [[0.0, 1.0]], [[2.0, 1.0]], [log(cosh(2.0)) / 2]),
    (losses.LogCosh(), [[0.0]], [[200.0]], [200.0 - log(2.0)]),  # where cosh overflows
    (losses.CosineSimilarity(), [[1.0, 0.0], [1.0, 2.0], [1.0, 1.0]], [[3.0, 4.0], [-1.0, -2.0], [0.0, 0.0]], [-0.6, 1.0, 0.0]),
    (losses.CosineSimilarity(axis=1), [[[1.0, 0.0], [0.0, 1.0]]], [[[3.0, 4.0], [4.0, 3.0]]], [-0.6, -0.6]),
    (losses.Hinge(), [[1.0, -1.0], [1.0, -1.0]], [[0.5, 0.5], [2.0, -3.0]], [(0.5 + 1.5) / 2, 0.0]),
    (losses.Hinge(), [[1.0, 0.0]], [[0.5, 0.5]], [1.0]),  # 0 and 1 count as -1 and 1
    (losses.Hinge(), [[1.0, 0.0], [-1.0, 1.0]], [[0.5, 0.5], [0.0, 1.0]], [0.75, 0.5]),  # but not beside -1: max(1 - 0 * 0.5, 0) = 1
    (losses.SquaredHinge(), [[1.0, -1.0], [1.0, 1.0]], [[0.5, 0.5], [2.0, -1.0]], [(0.25 + 2.25) / 2, 2.0]),
    (losses.CategoricalHinge(), [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], [[0.25, 0.5, 0.75], [3.0, 1.0, 1.5]], [1.25, 0.0]),
    (losses.KLDivergence(), [[0.5, 0.5], [1.0, 0.0]], [[0.25, 0.75], [0.5, 0.5]], [0.5 * log(2.0) + 0.5 * log(2 / 3), log(2.0)]),
    (losses.Poisson(), [[2.0, 0.0]], [[4.0, 1.0]], [(4.0 - 2.0 * log(4.0) + 1.0) / 2]),
    (losses.BinaryCrossentropy(), [[1.0, 0.0], [1.0, 1.0]], [[0.8, 0.4], [0.5, 1.0]], [-(log(0.8) + log(0.6)) / 2, log(2.0) / 2]),
    (losses.BinaryCrossentropy(), [[1.0]], [[0.0]], [-log(1e-7)]),
    (losses.BinaryCrossentropy(label_smoothing=0.2), [[1.0]], [[0.8]], [-0.9 * log(0.8) - 0.1 * log(0.2)]),
    (losses.BinaryCrossentropy(from_logits=True), [[1.0, 0.0]], [[2.0, -1.0]], [-(log(sigmoid(2.0)) + log(sigmoid(1.0))) / 2]),
    (losses.BinaryCrossentropy(axis=1), [[[1.0], [0.0]]], [[[0.8], [0.4]]], [-(log(0.8) + log(0.6)) / 2]),
    (losses.BinaryFocalCrossentropy(), [[1.0, 0.0]], [[0.8, 0.4]], [-(0.2**2 * log(0.8) + 0.4**2 * log(0.6)) / 2]),
    (losses.BinaryFocalCrossentropy(gamma=0.0), [[1.0]], [[0.8]], [-log(0.8)]),
    (losses.BinaryFocalCrossentropy(True, 0.25, 1.0), [[1.0], [0.0]], [[0.8], [0.4]], [-0.25 * 0.2 * log(0.8), -0.75 * 0.4 * log(0.6)]),
    (losses.BinaryFocalCrossentropy(from_logits=True), [[1.0]], [[2.0]], [-((1 - sigmoid(2.0)) ** 2) * log(sigmoid(2.0))]),
    (losses.CategoricalCrossentropy(), [[0.0, 1.0, 0.0]], [[1.0, 2.0, 1.0]], [log(2.0)]),  # scaled to sum 1
    (losses.CategoricalCrossentropy(), [[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [1.0, 0.0]], [-log(1e-7), 0.0]),
    (losses.CategoricalCrossentropy(label_smoothing=0.3), [[0.0, 1.0]], [[0.2, 0.8]], [-0.15 * log(0.2) - 0.85 * log(0.8)]),
    (losses.CategoricalCrossentropy(from_logits=True), [[0.0, 1.0]], [[1.0, 3.0]], [log(1.0 + exp(-2.0))]),
    (losses.CategoricalCrossentropy(axis=1), [[[0.0, 1.0], [1.0, 0.0]]], [[[0.2, 0.4], [0.8, 0.6]]], [-log(0.8), -log(0.4)]),
    (losses.CategoricalCrossentropy(label_smoothing=0.3, axis=1), [[[0.0], [1.0]]], [[[0.2], [0.8]]], [-0.15 * log(0.2) - 0.85 * log(0.8)]),
    (losses.CategoricalFocalCrossentropy(), [[0.0, 1.0]], [[0.2, 0.8]], [-0.25 * 0.2**2 * log(0.8)]),
    (losses.CategoricalFocalCrossentropy([0.1, 0.9], 1.0), [[0.0, 1.0]], [[0.2, 0.8]], [-0.9 * 0.2 * log(0.8)]),
    (losses.CategoricalFocalCrossentropy([0.1, 0.9], 1.0), [[1.0, 0.0]], [[0.2, 0.8]], [-0.1 * 0.8 * log(0.2)]),
    (losses.CategoricalFocalCrossentropy([0.1, 0.9], 1.0, axis=1), [[[0.0], [1.0]]], [[[0.2], [0.8]]], [-0.9 * 0.2 * log(0.8)]),
    (losses.CategoricalFocalCrossentropy(1.0, from_logits=True), [[0.0, 1.0]], [[0.0, 0.0]], [0.25 * log(2.0)]),
    (losses.SparseCategoricalCrossentropy(), [1, 0], [[1.0, 3.0], [0.5, 0.5]], [-log(0.75), log(2.0)]),
    (losses.SparseCategoricalCrossentropy(from_logits=True), [[1], [0]], [[1.0, 3.0], [0.0, 0.0]], [log(1.0 + exp(-2.0)), log(2.0)]),
    (losses.SparseCategoricalCrossentropy(axis=1), [[1, 0]], [[[0.2, 0.4], [0.8, 0.6]]], [-log(0.8), -log(0.4)]),
    (losses.SparseCategoricalCrossentropy(ignore_class=-1), [1, -1], [[0.2, 0.8], [0.2, 0.8]], [-log(0.8), 0.0]),
    (losses.CategoricalGeneralizedCrossEntropy(), [1, 0], [[0.75, 0.25], [0.0, 1.0]], [(1.0 - sqrt(0.25)) / 0.5, 2.0]),
    (losses.CTC(), [[1, 0]], [[[0.0, 0.0]] * 2], [-log(3 / 4)]),  # aa, a-, -a of 4 alignments
    (losses.CTC(), [[1, 1]], [[[0.0, 0.0]] * 3], [-log(1 / 8)]),  # a-a of 8
    (losses.CTC(), [[0, 0]], [[[0.0, log(3.0)]] * 2], [-log(1 / 16)]),  # -- at 1/4 each
    (losses.CTC(), [[1, 1]], [[[0.0, 0.0]] * 2], [inf]),  # no room for the blank between
    (losses.Dice(axis=-1), [[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]], [[1.0, 0.0, 1.0, 0.0], [0.5, 0.5, 0.0, 0.0]], [0.5, 0.5]),
    (losses.Dice(), [[1.0, 1.0], [0.0, 0.0]], [[0.5, 0.0], [1.0, 0.5]], [1.0 - 2.0 * 0.5 / (2.0 + 2.0)]),
    (losses.Tversky(0.3, 0.7, axis=-1), [[1.0, 1.0, 0.0, 0.0]], [[1.0, 0.0, 1.0, 1.0]], [1.0 - 1.0 / (1.0 + 0.3 * 1 + 0.7 * 2)]),
    (losses.Tversky(), [[1.0, 1.0], [0.0, 0.0]], [[0.5, 0.0], [1.0, 0.5]], [1.0 - 2.0 * 0.5 / (2.0 + 2.0)]),
    (losses.Circle(gamma=1.0, margin=0.5), [0, 0, 1], [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [log(1.0 + exp(-0.5))] * 2 + [0.0]),
    (
        losses.Circle(gamma=2.0, margin=0.5, remove_diagonal=False),
        [0, 1],
        [[1.0, 0.0], [0.6, 0.8]],  # itself: -2 * 0.5 * 0.5; the other, at distance 0.4: 2 * 1.1 * 0.1
        [log(1.0 + exp(-0.5 + 0.22))] * 2,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "y", "p", "expected"), HAND, ids=lambda value: value.name if isinstance(value, losses.Loss) else "")
def test_a_loss_by_hand(loss: losses.Loss, y: Any, p: Any, expected: list[float]):
    loss = type(loss).from_config({**loss.get_config(), "reduction": None})
    assert loss(y, torch.tensor(p)).reshape(-1).tolist() == pytest.approx(expected, rel=2e-6, abs=2e-6)


@pytest.mark.parametrize(("loss", "y", "p", "expected"), HAND, ids=lambda value: value.name if isinstance(value, losses.Loss) else "")
def test_the_mean_the_sum_and_the_short_way_agree_with_the_values(loss: losses.Loss, y: Any, p: Any, expected: list[float]):
    counted = [value for value in expected if value > 0.0] if isinstance(loss, losses.Circle) else expected
    counted = expected[:1] if getattr(loss, "ignore_class", None) is not None else counted
    total, mean = sum(expected), sum(counted) / len(counted)
    total_loss = type(loss).from_config({**loss.get_config(), "reduction": "sum"})
    assert float(loss(y, torch.tensor(p))) == pytest.approx(mean, rel=2e-6, abs=2e-6)
    assert float(total_loss(y, torch.tensor(p))) == pytest.approx(total, rel=2e-6, abs=2e-6)


def test_every_loss_is_worked_by_hand():
    assert {type(loss).__name__ for loss, *_ in HAND} == set(losses.CLASSES)


@pytest.mark.parametrize("name", sorted(losses.CLASSES))
def test_the_values_are_those_of_the_function_of_the_same_name(name: str):
    cls = losses.CLASSES[name]
    (function,) = [function for function, owner in losses._CLASS_OF.items() if owner is cls]
    assert isinstance(losses.get(function), cls) and inspect.getmodule(function) is inspect.getmodule(cls)


def test_images_of_classes_last_have_a_loss_and_a_gradient_for_each_pixel():
    logits = torch.randn(2, 4, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    labels = torch.randint(0, 3, (2, 4, 5), generator=torch.Generator().manual_seed(1))
    for from_logits in (True, False):
        outputs = logits if from_logits else torch.softmax(logits, -1)
        sparse = losses.SparseCategoricalCrossentropy(from_logits)(labels, outputs)
        dense = losses.CategoricalCrossentropy(from_logits)(torch.eye(3)[labels], outputs)
        by_hand = -torch.log_softmax(logits, -1).gather(-1, labels.unsqueeze(-1)).mean()
        torch.testing.assert_close(sparse, by_hand, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(dense, by_hand, rtol=1e-6, atol=1e-6)
        for loss in (sparse, dense):
            (gradient,) = torch.autograd.grad(loss, logits, retain_graph=True)
            torch.testing.assert_close(gradient, (torch.softmax(logits, -1) - torch.eye(3)[labels]) / 40, rtol=1e-5, atol=1e-7)
