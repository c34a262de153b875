"""Losses beside those of Keras: values and gradients over shapes, arguments, weights, masks and reductions; configs and names.

In float32, where both sides compute the same formula in another order: relative 5e-5, absolute 5e-6; the exceptions say so.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from disttrain import losses

SEEDS = st.integers(0, 2**20)
REDUCTIONS = st.sampled_from(["sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none", None])
SHAPES = st.one_of(
    st.tuples(st.integers(1, 6), st.integers(1, 4)),
    st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
)
NAMES = sorted(set(losses.CLASSES) - {"RootMeanSquaredError"})  # which Keras does not have


def numbers(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    return random.normal(size=shape).astype("float32")


def positive(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    return random.uniform(0.05, 3.0, size=shape).astype("float32")


def probabilities(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    return random.uniform(0.01, 0.99, size=shape).astype("float32")


def bits(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    return random.integers(0, 2, size=shape).astype("float32")


def one_hot(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    return np.eye(shape[-1], dtype="float32")[random.integers(0, shape[-1], size=shape[:-1])]


Make = Callable[[tuple[int, ...], np.random.Generator], np.ndarray]
# name -> makers of targets and of outputs of one shape, and the arguments that are varied.
SAME_SHAPE: dict[str, tuple[Make, Make, dict[str, st.SearchStrategy[Any]]]] = {
    "BinaryCrossentropy": (bits, probabilities, {"label_smoothing": st.sampled_from([0.0, 0.3]), "axis": st.sampled_from([-1, 1])}),
    "BinaryCrossentropy, logits": (
        probabilities,
        numbers,
        {"from_logits": st.just(True), "label_smoothing": st.sampled_from([0.0, 0.3])},
    ),
    "BinaryFocalCrossentropy": (
        bits,
        probabilities,
        {
            "apply_class_balancing": st.booleans(),
            "alpha": st.sampled_from([0.25, 0.6]),
            "gamma": st.sampled_from([0.0, 1.0, 2.0, 3.5]),
            "label_smoothing": st.sampled_from([0.0, 0.3]),
        },
    ),
    "BinaryFocalCrossentropy, logits": (bits, numbers, {"from_logits": st.just(True), "gamma": st.sampled_from([1.0, 2.0])}),
    "CategoricalCrossentropy": (one_hot, probabilities, {"label_smoothing": st.sampled_from([0.0, 0.3])}),
    "CategoricalCrossentropy, logits": (
        one_hot,
        numbers,
        {"from_logits": st.just(True), "label_smoothing": st.sampled_from([0.0, 0.3])},
    ),
    "CategoricalFocalCrossentropy": (
        one_hot,
        probabilities,
        {"alpha": st.sampled_from([0.25, 1.0]), "gamma": st.sampled_from([0.0, 1.5, 2.0]), "label_smoothing": st.sampled_from([0.0, 0.3])},
    ),
    "CategoricalFocalCrossentropy, logits": (one_hot, numbers, {"from_logits": st.just(True)}),
    "CategoricalHinge": (one_hot, numbers, {}),
    "CosineSimilarity": (numbers, numbers, {"axis": st.sampled_from([-1, 1])}),
    "Dice": (bits, probabilities, {"axis": st.sampled_from([-1, 1, (1,)])}),
    "Hinge": (bits, numbers, {}),
    "Huber": (numbers, numbers, {"delta": st.sampled_from([0.5, 1.0, 2.0])}),
    "KLDivergence": (probabilities, probabilities, {}),
    "LogCosh": (numbers, numbers, {}),
    "MeanAbsoluteError": (numbers, numbers, {}),
    "MeanAbsolutePercentageError": (positive, numbers, {}),
    "MeanSquaredError": (numbers, numbers, {}),
    "MeanSquaredLogarithmicError": (positive, positive, {}),
    "Poisson": (positive, positive, {}),
    "SquaredHinge": (bits, numbers, {}),
    "Tversky": (bits, probabilities, {"alpha": st.sampled_from([0.2, 0.5]), "beta": st.sampled_from([0.5, 0.7]), "axis": st.just(-1)}),
}


def outcome(loss: Any, y: np.ndarray, p: np.ndarray, weight: np.ndarray | None, mask: np.ndarray | None) -> tuple[Tensor, Tensor]:
    """(the loss, its gradient with respect to the predictions)."""
    outputs = torch.tensor(p, requires_grad=True)
    if mask is not None:
        outputs._keras_mask = torch.tensor(mask)  # type: ignore[attr-defined]
    value = loss(torch.tensor(y), outputs, None if weight is None else torch.tensor(weight))
    value.sum().backward()
    assert outputs.grad is not None
    return value.detach(), outputs.grad


def assert_same(ours: Any, theirs: Any, y: np.ndarray, p: np.ndarray, weight: Any = None, mask: Any = None, **tolerance: float) -> None:
    for got, want in zip(outcome(ours, y, p, weight, mask), outcome(theirs, y, p, weight, mask), strict=True):
        torch.testing.assert_close(got, want, **{"rtol": 5e-5, "atol": 5e-6, **tolerance})


def pair(name: str, /, **arguments: Any) -> tuple[Any, Any]:
    return losses.CLASSES[name](**arguments), getattr(keras.losses, name)(**arguments)


@pytest.mark.parametrize("case", sorted(SAME_SHAPE))
@settings(max_examples=15)
@given(data=st.data(), shape=SHAPES, reduction=REDUCTIONS, seed=SEEDS)
def test_a_loss_of_targets_of_the_output_s_shape(case: str, data: st.DataObject, shape: tuple[int, ...], reduction: Any, seed: int):
    name = case.split(",")[0]
    targets, outputs, arguments = SAME_SHAPE[case]
    if name.startswith("Categorical"):
        shape = (*shape[:-1], shape[-1] + 1)  # two classes or more: Keras warns of one
    random = np.random.default_rng(seed)
    y, p = targets(shape, random), outputs(shape, random)
    ours, theirs = pair(name, reduction=reduction, **data.draw(st.fixed_dictionaries(arguments)))
    values = ours.call(torch.tensor(y), torch.tensor(p))
    kind = data.draw(st.sampled_from(["plain", "weights of values", "weights of samples", "mask", "mask and weights"]))
    weight = mask = None
    if "weights of values" in kind or kind == "mask and weights":
        weight = random.uniform(0.0, 2.0, size=tuple(values.shape)).astype("float32")
    if kind == "weights of samples":
        weight = random.uniform(0.0, 2.0, size=(shape[0], *[1] * (values.ndim - 1))).astype("float32")
    if "mask" in kind:
        mask = random.integers(0, 2, size=tuple(values.shape)).astype(bool)
    assert_same(ours, theirs, y, p, weight, mask)


@settings(max_examples=40)
@given(data=st.data(), shape=SHAPES, reduction=REDUCTIONS, seed=SEEDS)
def test_sparse_categorical_crossentropy(data: st.DataObject, shape: tuple[int, ...], reduction: Any, seed: int):
    random = np.random.default_rng(seed)
    axis = data.draw(st.sampled_from([-1, 1, len(shape) - 1]))
    from_logits = data.draw(st.booleans()) or (len(shape) == 4 and axis != 1)  # Keras's gradient of probabilities fails for images
    shape = tuple(size + 1 if number in (axis % len(shape), len(shape) - 1) else size for number, size in enumerate(shape))
    ignored = data.draw(st.sampled_from([None, -1, 0]))
    p = (numbers if from_logits else probabilities)(shape, random)
    y = random.integers(0, shape[axis], size=tuple(np.delete(shape, axis)))
    if ignored == -1:
        y[random.uniform(size=y.shape) < 0.3] = -1
    if data.draw(st.booleans()):
        y = np.expand_dims(y, axis)
    weight = data.draw(st.sampled_from([None, "weights"])) and random.uniform(0.0, 2.0, size=tuple(np.delete(shape, axis))).astype(
        "float32"
    )
    ours, theirs = pair(
        "SparseCategoricalCrossentropy", from_logits=from_logits, ignore_class=ignored, reduction=reduction, axis=axis
    )  # fmt: skip
    assert_same(ours, theirs, y, p, weight)


@settings(max_examples=25)
@given(samples=st.integers(1, 6), classes=st.integers(2, 5), q=st.sampled_from([0.2, 0.5, 0.9]), reduction=REDUCTIONS, seed=SEEDS)
def test_categorical_generalized_cross_entropy(samples: int, classes: int, q: float, reduction: Any, seed: int):
    random = np.random.default_rng(seed)
    y, p = random.integers(0, classes, size=(samples,)), probabilities((samples, classes), random)
    ours, theirs = pair("CategoricalGeneralizedCrossEntropy", q=q, reduction=reduction)
    assert_same(ours, theirs, y, p)
    assert float(ours(y[:, None], p).sum()) == pytest.approx(float(ours(y, p).sum()))  # of which Keras makes (n, n) values


@settings(max_examples=25)
@given(
    samples=st.integers(2, 8),
    size=st.integers(2, 4),
    classes=st.integers(1, 4),
    gamma=st.sampled_from([1.0, 16.0, 80.0]),
    margin=st.sampled_from([0.25, 0.4]),
    remove_diagonal=st.booleans(),
    reduction=REDUCTIONS,
    column=st.booleans(),
    seed=SEEDS,
)
def test_circle(
    samples: int, size: int, classes: int, gamma: float, margin: float, remove_diagonal: bool, reduction: Any, column: bool, seed: int
):
    """Logarithms of sums of exponentials of numbers of the size of gamma: 1e-4 relative, in float32."""
    random = np.random.default_rng(seed)
    p = numbers((samples, size), random)
    p /= np.linalg.norm(p, axis=1, keepdims=True)
    y = random.integers(0, classes, size=(samples, 1) if column else (samples,))
    ours, theirs = pair("Circle", gamma=gamma, margin=margin, remove_diagonal=remove_diagonal, reduction=reduction)
    assert_same(ours, theirs, y, p, rtol=1e-4, atol=1e-4)


def test_circle_beside_reference_embeddings():
    random = np.random.default_rng(0)
    p, others = numbers((4, 3), random), numbers((6, 3), random)
    y, labels = np.array([0, 1, 0, 2]), np.array([0, 1, 2, 0, 1, 1])
    arguments = {"ref_labels": labels, "ref_embeddings": others, "remove_diagonal": False, "gamma": 2.0}
    torch.testing.assert_close(losses.circle(y, torch.tensor(p), **arguments), keras.losses.circle(y, p, **arguments), rtol=1e-4, atol=1e-5)


@settings(max_examples=25)
@given(samples=st.integers(1, 4), steps=st.integers(6, 9), classes=st.integers(2, 5), reduction=REDUCTIONS, seed=SEEDS)
def test_ctc(samples: int, steps: int, classes: int, reduction: Any, seed: int):
    """The recursion over steps adds logarithms: 1e-4 relative."""
    random = np.random.default_rng(seed)
    y = random.integers(1, classes, size=(samples, 3))
    for row, length in zip(y, random.integers(0, 4, size=samples), strict=True):
        row[length:] = 0
    ours, theirs = pair("CTC", reduction=reduction)
    assert_same(ours, theirs, y, numbers((samples, steps, classes), random), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["Dice", "Tversky"])
@settings(max_examples=10)
@given(shape=SHAPES, reduction=REDUCTIONS, seed=SEEDS)
def test_an_overlap_over_everything_is_one_number(name: str, shape: tuple[int, ...], reduction: Any, seed: int):
    random = np.random.default_rng(seed)
    assert_same(*pair(name, reduction=reduction), bits(shape, random), probabilities(shape, random))


@pytest.mark.parametrize("name", ["Hinge", "SquaredHinge"])
@pytest.mark.parametrize("labels", [(-1, 1), (0, 1), (-1, 0, 1)])
def test_a_hinge_takes_zeros_for_minus_ones_only_where_there_is_nothing_else(name: str, labels: tuple[int, ...]):
    random = np.random.default_rng(2)
    y = random.permutation(np.resize(labels, 12)).reshape(6, 2).astype("float32")
    assert_same(*pair(name, reduction=None), y, numbers((6, 2), random))


# Not those where a row of classes is wanted; one number for all samples cannot be weighted.
SQUEEZED = [
    (name, weighted)
    for name in sorted({case.split(",")[0] for case in SAME_SHAPE} - {"CategoricalCrossentropy", "CategoricalFocalCrossentropy"})
    for weighted in ([False] if name in ("Dice", "Tversky") else [False, True])
]


@pytest.mark.parametrize(("name", "weighted"), SQUEEZED)
@pytest.mark.parametrize(("y_shape", "p_shape"), [((5,), (5, 1)), ((5, 1), (5,)), ((3, 4), (3, 4, 1)), ((3, 4, 1), (3, 4))], ids=str)
def test_a_last_axis_of_one_is_squeezed_as_in_keras(name: str, weighted: bool, y_shape: tuple[int, ...], p_shape: tuple[int, ...]):
    random = np.random.default_rng(4)
    y, p = bits(y_shape, random), probabilities(p_shape, random)
    weight = random.uniform(0.5, 2.0, size=(len(y),)).astype("float32") if weighted else None
    assert_same(*pair(name), y, p, weight)


# -- functions, names, configs ------------------------------------------------------------------------------------------------------------

FUNCTIONS = [name for name in dir(keras.losses) if name.islower() and name[0] != "_" and name not in ("deserialize", "get", "serialize")]


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - {"circle", "ctc"}))
def test_a_function_gives_the_values_of_keras_s(name: str):
    random = np.random.default_rng(6)
    y, p = one_hot((4, 3), random), probabilities((4, 3), random)
    if name in ("sparse_categorical_crossentropy", "categorical_generalized_cross_entropy"):
        y = y.argmax(-1)
    more = {"q": 0.4} if name == "categorical_generalized_cross_entropy" else {}
    torch.testing.assert_close(
        getattr(losses, name)(y, torch.tensor(p), **more), getattr(keras.losses, name)(y, torch.tensor(p), **more), rtol=1e-5, atol=1e-6
    )


def test_every_name_of_keras_is_known():
    theirs = set(keras.src.losses.ALL_OBJECTS_DICT) - {"Loss", "LossFunctionWrapper"}
    for name in theirs:
        want = keras.losses.get(name)
        want = type(want).__name__ if isinstance(want, keras.losses.Loss) else want.__name__
        assert type(losses.get(name)).__name__.lower() == want.replace("_", "").lower(), name
    assert [name for name in dir(keras.losses) if name[0] != "_" and name != "deserialize" and not hasattr(losses, name)] == []


UNWRITTEN = {"axis", "delta"}  # which Keras forgets to write for Huber, CosineSimilarity and SparseCategoricalCrossentropy, and reads


@pytest.mark.parametrize("name", NAMES)
def test_a_config_reads_on_both_sides(name: str):
    ours, theirs = pair(name, reduction="sum", name="mine")
    written, read = losses.serialize(ours), keras.losses.serialize(theirs)
    assert {**written["config"], **read["config"]} == written["config"]
    assert set(written["config"]) - set(read["config"]) <= UNWRITTEN
    assert {**written, "config": None} == {**read, "config": None}
    assert losses.serialize(losses.get(read)) == written
    assert keras.losses.serialize(type(theirs).from_config(written["config"])) == read


@pytest.mark.parametrize("name", NAMES)
def test_the_arguments_stand_in_keras_s_order_with_its_defaults(name: str):
    ours, theirs = signature(losses.CLASSES[name]), signature(getattr(keras.losses, name))
    assert [(p.name, p.default) for p in ours.parameters.values()] == [(p.name, p.default) for p in theirs.parameters.values()]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_arguments_of_a_function_too(name: str):
    ours, theirs = signature(getattr(losses, name)), signature(getattr(keras.losses, name))
    assert [(p.name, p.default) for p in ours.parameters.values()] == [(p.name, p.default) for p in theirs.parameters.values()]
