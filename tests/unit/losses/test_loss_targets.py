"""Targets that no output could match are named before training: which one, what was expected, what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from disttrain import losses
from disttrain.errors import DataError

CASES: list[tuple[losses.Loss, Any, tuple[int, ...], list[str]]] = [
    # labels
    (losses.SparseCategoricalCrossentropy(), [0, 1, 3, 2], (4, 3), [r"y\[2\] = 3", "from 0 to 2", "subtract 1"]),
    (losses.SparseCategoricalCrossentropy(), [0, 1, 7, 2], (4, 3), [r"y\[2\] = 7", "a last layer of 8 units"]),
    (losses.SparseCategoricalCrossentropy(), [0, -1, 1, 2], (4, 3), [r"y\[1\] = -1", "from 0 to 2"]),
    (losses.SparseCategoricalCrossentropy(), [0.0, 1.5, 1.0], (3, 3), [r"y\[1\] = 1.5", "whole numbers"]),
    (losses.SparseCategoricalCrossentropy(), [0.0, np.nan], (2, 3), [r"y\[1\] = nan"]),
    (losses.SparseCategoricalCrossentropy(), ["a", "b"], (2, 3), ["dtype <U1"]),
    (losses.SparseCategoricalCrossentropy(), np.eye(3), (3, 3), ["where the output has 3 classes", "'categorical_crossentropy'"]),
    (losses.SparseCategoricalCrossentropy(axis=1), np.zeros((2, 3)), (2, 3, 4), [r"expected  y of shape \('samples', 4\)"]),
    (losses.CategoricalGeneralizedCrossEntropy(), [0, 3], (2, 3), [r"y\[1\] = 3", "from 0 to 2"]),
    (losses.CategoricalGeneralizedCrossEntropy(), np.eye(2), (2, 2), ["one label"]),
    (losses.Circle(), [[0, 1]], (1, 4), ["one label for each sample, and an embedding"]),
    (losses.Circle(), [0.5], (1, 4), ["whole numbers, one label"]),
    (losses.Circle(), [0], (1, 2, 4), ["an embedding"]),
    # sequences
    (losses.CTC(), [1, 2], (2, 5, 3), [r"expected  y of shape \('samples', length\)"]),
    (losses.CTC(), [[1, 3]], (1, 5, 3), [r"y\[0, 1\] = 3", "from 0 to 2"]),
    (losses.CTC(), [[1, 1], [0, 2]], (2, 5, 3), [r"y\[1\] = \[0, 2\]", "labels first, then zeros"]),
    (losses.CTC(), [[1, 2, 0], [1, 1, 2]], (2, 3, 3), [r"y\[1\] takes 4 steps, the model's output has 3", "infinite"]),
    # probabilities
    (losses.CategoricalCrossentropy(), [0, 1, 2], (3, 3), ["'sparse_categorical_crossentropy' for whole-number labels"]),
    (losses.CategoricalCrossentropy(), np.eye(4), (4, 3), [r"expected  y of shape \('samples', 3\)"]),
    (losses.CategoricalFocalCrossentropy(), np.full((2, 3), np.inf), (2, 3), [r"y\[0, 0\] = inf"]),
    (losses.CategoricalHinge(), np.eye(4), (4, 3), [r"expected  y of shape \('samples', 3\)"]),
    (losses.BinaryCrossentropy(), [1, 2], (2, 1), [r"y\[1\] = 2.\n  expected  probabilities, or the labels 0 and 1, from 0 to 1"]),
    (losses.BinaryCrossentropy(), [1, 0], (2, 3), ["'sparse_categorical_crossentropy' for one label of several classes"]),
    (losses.BinaryFocalCrossentropy(), [[-1.0]], (1, 1), [r"y\[0, 0\] = -1"]),
    (losses.KLDivergence(), [[0.5, 1.5]], (1, 2), [r"y\[0, 1\] = 1.5.\n  expected  probabilities, from 0 to 1"]),
    (losses.Dice(), [[0, 255]], (1, 2), [r"y\[0, 1\] = 255.\n  expected  0 outside of the region and 1 inside"]),
    (losses.Tversky(), np.zeros((2, 3)), (2, 4), [r"expected  y of shape \('samples', 4\)"]),
    # signs and numbers
    (losses.Hinge(), [[1.0], [0.0], [-1.0]], (3, 1), ["y holds -1.0, 0.0, 1.0", "-1 and 1 throughout, or 0 and 1 throughout"]),
    (losses.SquaredHinge(), [[1.0], [2.0]], (2, 1), ["y holds 1.0, 2.0"]),
    (losses.MeanSquaredError(), [[0.0], [np.inf]], (2, 1), [r"y\[1, 0\] = inf", "one NaN target makes the loss NaN"]),
    (losses.MeanSquaredError(), np.zeros((5, 3)), (1, 2), [r"expected  y of shape \('samples', 2\)"]),
    (losses.MeanSquaredLogarithmicError(), [[-0.5]], (1, 1), [r"y\[0, 0\] = -0.5", "the logarithm of y \\+ 1"]),
    (losses.Poisson(), [[1.0], [-1.0]], (2, 1), [r"y\[1, 0\] = -1", "counts of 0 or more"]),
    *((losses.CLASSES[name](), [[np.nan]], (1, 1), [r"y\[0, 0\] = nan"]) for name in ("Huber", "LogCosh", "MeanAbsoluteError")),
    *((losses.CLASSES[name](), [[np.nan]], (1, 1), [r"y\[0, 0\] = nan"]) for name in ("CosineSimilarity", "RootMeanSquaredError")),
    (losses.MeanAbsolutePercentageError(), np.zeros((2, 2)), (2, 3), [r"expected  y of shape"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("loss", "y", "output_shape", "words"), CASES, ids=lambda value: value.name if isinstance(value, losses.Loss) else ""
)
def test_what_no_output_could_match_is_named(loss: losses.Loss, y: Any, output_shape: tuple[int, ...], words: list[str]):
    for word in words:
        with pytest.raises(DataError, match=word):
            loss.check_targets(np.array(y), output_shape)


def test_every_loss_refuses_some_targets():
    assert {type(loss) for loss, *_ in CASES} == set(losses.CLASSES.values())


@pytest.mark.parametrize(
    ("loss", "y", "output_shape"),
    [
        (losses.SparseCategoricalCrossentropy(ignore_class=-1), [0, -1, 2], (3, 3)),
        (losses.SparseCategoricalCrossentropy(), [[0], [1], [2]], (3, 3)),
        (losses.SparseCategoricalCrossentropy(), [0.0, 2.0], (2, 3)),
        (losses.SparseCategoricalCrossentropy(axis=1), np.zeros((2, 4), int), (2, 3, 4)),
        (losses.CategoricalGeneralizedCrossEntropy(), [True, False], (2, 2)),
        (losses.Circle(), [[7], [-3]], (2, 4)),
        (losses.CTC(), [[1, 1, 0], [2, 1, 2]], (2, 3, 3)),
        (losses.CTC(), [[0, 0]], (1, 3, 3)),
        (losses.BinaryCrossentropy(), [True, False], (2, 1)),
        (losses.CategoricalCrossentropy(), [[-2.5, 0.0]], (1, 2)),  # advantages times one-hot actions, as in a policy gradient
        (losses.Hinge(), [[1], [-1]], (2, 1)),
        (losses.Hinge(), [[True], [False]], (2, 1)),
        (losses.MeanSquaredError(), np.zeros(5), (1, 1)),
        (losses.MeanSquaredError(), np.zeros((5, 1)), (1,)),
        (losses.Poisson(), [[0], [12]], (2, 1)),
        (losses.Dice(), np.zeros((0, 4)), (1, 4)),
    ],
)
def test_what_fits_passes(loss: losses.Loss, y: Any, output_shape: tuple[int, ...]):
    loss.check_targets(np.array(y), output_shape)
