"""Every metric has Keras's numbers and states, whatever the shapes, arguments, weights and masks, after each of several updates."""

import inspect
import os
import re

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from disttrain import metrics

EVENLY = [0.0, 0.25, 0.5, 0.75, 1.0]
BINARY, ONE_HOT, SPARSE, REAL, POSITIVE, SIGNS, CLASSES = "binary", "one_hot", "sparse", "real", "positive", "signs", "classes"

# class name, arguments, kind of data
CASES = [
    ("Accuracy", {}, CLASSES),
    ("BinaryAccuracy", {}, BINARY),
    ("BinaryAccuracy", {"threshold": 0.25}, BINARY),
    ("CategoricalAccuracy", {}, ONE_HOT),
    ("SparseCategoricalAccuracy", {}, SPARSE),
    ("TopKCategoricalAccuracy", {"k": 2}, ONE_HOT),
    ("SparseTopKCategoricalAccuracy", {"k": 2}, SPARSE),
    ("MeanSquaredError", {}, REAL),
    ("RootMeanSquaredError", {}, REAL),
    ("MeanAbsoluteError", {}, REAL),
    ("MeanAbsolutePercentageError", {}, POSITIVE),
    ("MeanSquaredLogarithmicError", {}, REAL),
    ("LogCoshError", {}, REAL),
    ("CosineSimilarity", {}, REAL),
    ("PearsonCorrelation", {}, REAL),
    ("ConcordanceCorrelation", {}, REAL),
    ("Hinge", {}, SIGNS),
    ("Hinge", {}, BINARY),
    ("SquaredHinge", {}, SIGNS),
    ("SquaredHinge", {}, BINARY),
    ("CategoricalHinge", {}, ONE_HOT),
    ("KLDivergence", {}, ONE_HOT),
    ("Poisson", {}, POSITIVE),
    ("BinaryCrossentropy", {}, BINARY),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.2}, BINARY),
    ("CategoricalCrossentropy", {}, ONE_HOT),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.2}, ONE_HOT),
    ("SparseCategoricalCrossentropy", {}, SPARSE),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, SPARSE),
]
BY_ROWS = [  # what takes no sequences, or no masks
    ("TruePositives", {}, BINARY),
    ("TruePositives", {"thresholds": [0.9, 0.1, 0.5]}, BINARY),
    ("FalsePositives", {}, BINARY),
    ("FalsePositives", {"thresholds": EVENLY}, BINARY),
    ("TrueNegatives", {"thresholds": 0.25}, BINARY),
    ("FalseNegatives", {"thresholds": [0.2, 0.7]}, BINARY),
    ("Precision", {}, BINARY),
    ("Precision", {"thresholds": [0.25, 0.3, 0.75]}, BINARY),
    ("Precision", {"thresholds": EVENLY}, BINARY),
    ("Precision", {"top_k": 2}, ONE_HOT),
    ("Precision", {"class_id": 1}, ONE_HOT),
    ("Recall", {}, BINARY),
    ("Recall", {"thresholds": [0.6, 0.2]}, BINARY),
    ("Recall", {"top_k": 2, "class_id": 2}, ONE_HOT),
    ("Recall", {"top_k": 1, "thresholds": 0.25}, ONE_HOT),
    ("SensitivityAtSpecificity", {"specificity": 0.4}, BINARY),
    ("SensitivityAtSpecificity", {"specificity": 0.6, "num_thresholds": 1}, BINARY),
    ("SpecificityAtSensitivity", {"sensitivity": 0.5, "num_thresholds": 9}, BINARY),
    ("PrecisionAtRecall", {"recall": 0.5, "num_thresholds": 2}, BINARY),
    ("PrecisionAtRecall", {"recall": 0.5, "class_id": 0}, ONE_HOT),
    ("RecallAtPrecision", {"precision": 0.6, "num_thresholds": 20}, BINARY),
    ("AUC", {}, BINARY),
    ("AUC", {"num_thresholds": 9, "curve": "PR"}, BINARY),
    ("AUC", {"num_thresholds": 2}, BINARY),
    ("AUC", {"curve": "PRGAIN", "num_thresholds": 12}, BINARY),
    ("AUC", {"curve": "PR", "summation_method": "majoring", "num_thresholds": 17}, BINARY),
    ("AUC", {"summation_method": "minoring", "thresholds": [0.7, 0.2, 0.25]}, BINARY),
    ("AUC", {"thresholds": [0.25, 0.5, 0.75], "from_logits": True}, BINARY),
    ("AUC", {"multi_label": True, "num_thresholds": 9}, ONE_HOT),
    ("AUC", {"multi_label": True, "curve": "PR", "num_labels": 4, "thresholds": [0.1, 0.4]}, ONE_HOT),
    ("AUC", {"multi_label": True, "label_weights": [1.0, 2.0, 0.5, 0.0], "curve": "PRGAIN"}, ONE_HOT),
    ("AUC", {"label_weights": [1.0, 2.0, 0.5, 0.0], "num_thresholds": 9}, ONE_HOT),
    ("F1Score", {}, ONE_HOT),
    ("F1Score", {"average": "weighted", "threshold": 0.25}, ONE_HOT),
    ("FBetaScore", {"average": "micro", "beta": 2.0}, ONE_HOT),
    ("FBetaScore", {"average": "macro", "beta": 0.5, "threshold": 0.5}, ONE_HOT),
    ("R2Score", {}, REAL),
    ("R2Score", {"class_aggregation": None}, REAL),
    ("R2Score", {"class_aggregation": "variance_weighted_average", "num_regressors": 1}, REAL),
]


def _scores(random, *shape):
    """Numbers of 1/16, so that some lie on thresholds and some are equal."""
    return (random.integers(0, 17, shape) / 16).astype("float32")


def _batch(kind, random, n, steps):
    """(y_true, y_pred) of n samples; with steps, of sequences."""
    shape = (n, steps, 4) if steps else (n, 4)
    if kind == CLASSES:
        return random.integers(0, 3, shape[:-1]), random.integers(0, 3, shape[:-1])
    if kind == BINARY:
        return random.integers(0, 2, shape).astype("float32"), _scores(random, *shape)
    if kind in (ONE_HOT, SPARSE):
        labels = random.integers(0, 4, shape[:-1])
        return (labels if kind == SPARSE else np.eye(4, dtype="float32")[labels]), _scores(random, *shape) + np.float32(0.03125)
    if kind == SIGNS:
        return random.choice([-1.0, 1.0], shape).astype("float32"), random.standard_normal(shape).astype("float32")
    if kind == POSITIVE:
        return (random.random(shape) * 3 + 0.1).astype("float32"), (random.random(shape) * 3 + 0.1).astype("float32")
    return random.standard_normal(shape).astype("float32"), random.standard_normal(shape).astype("float32")


def _close(ours, theirs, tolerance=2e-5):
    np.testing.assert_allclose(np.asarray(ours.detach(), "float64"), np.asarray(theirs.detach().cpu(), "float64"), tolerance, tolerance)


def _same_after_each(name, arguments, batches):
    """Runs both over (y_true, y_pred, sample_weight, mask) and compares results and states after each batch."""
    own, keras_metric = getattr(metrics, name)(**arguments), getattr(keras.metrics, name)(**arguments)
    for y_true, y_pred, weight, mask in batches:
        y_true, y_pred = torch.as_tensor(y_true), torch.as_tensor(y_pred)
        if mask is not None:
            y_pred._keras_mask = torch.as_tensor(mask)
        weight = None if weight is None else torch.as_tensor(weight)
        own.update_state(y_true, y_pred, weight)
        keras_metric.update_state(y_true, y_pred, weight)
        _close(own.result(), keras_metric.result())
        assert len(own.variables) == len(keras_metric.variables)
        for variable, other in zip(own.variables, keras_metric.variables, strict=True):
            assert tuple(variable.shape) == tuple(other.shape)
            _close(variable, other.value)


def _identifier(value):
    return value if isinstance(value, str) else ",".join(f"{key}={item}" for key, item in value.items())


@pytest.mark.parametrize(("name", "arguments", "kind"), CASES, ids=_identifier)
@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    steps=st.sampled_from([0, 0, 1, 3]),
    weights=st.sampled_from(["none", "samples", "steps"]),
    masked=st.booleans(),
)
def test_means_over_samples_are_those_of_keras(name, arguments, kind, seed, sizes, steps, weights, masked):
    random = np.random.default_rng(seed)
    correlation = "Correlation" in name
    masked = masked and steps > 1 and name != "RootMeanSquaredError"
    batches = []
    for n in sizes:
        y_true, y_pred = _batch(kind, random, n, steps)
        assume(not correlation or ((y_true.std(-1) > 0.1).all() and (y_pred.std(-1) > 0.1).all()))
        by_step = (n, steps) if steps and (weights == "steps" or masked) else (n,)
        weight = None if weights == "none" else (random.integers(0, 5, by_step) / 2).astype("float32")
        mask = random.integers(0, 2, (n, steps)).astype(bool) if masked else None
        batches.append((y_true, y_pred, weight, mask))
    _same_after_each(name, arguments, batches)


@pytest.mark.parametrize(("name", "arguments", "kind"), BY_ROWS, ids=_identifier)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), sizes=st.lists(st.integers(2, 9), min_size=1, max_size=3), weighted=st.booleans())
def test_counts_and_scores_are_those_of_keras(name, arguments, kind, seed, sizes, weighted):
    random = np.random.default_rng(seed)
    batches = []
    for n in sizes:
        y_true, y_pred = _batch(kind, random, n, 0)
        if arguments.get("from_logits"):
            y_pred = y_pred * 4 - 2
        weight = (random.integers(1, 6, (n,)) / 4).astype("float32") if weighted else None
        if name == "R2Score":
            assume(n > 3)
        batches.append((y_true, y_pred, weight, None))
    _same_after_each(name, arguments, batches)


@pytest.mark.parametrize(
    "name", ["TruePositives", "Precision", "AUC", "SensitivityAtSpecificity", "BinaryAccuracy", "RootMeanSquaredError"]
)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 8), target_column=st.booleans(), column=st.booleans())
def test_a_column_of_predictions_meets_a_row_of_targets_as_in_keras(name, seed, n, target_column, column):
    random = np.random.default_rng(seed)
    y_true, y_pred = random.integers(0, 2, n).astype("float32"), _scores(random, n)
    arguments = {"specificity": 0.5} if name.startswith("Sens") else {}
    _same_after_each(name, arguments, [(y_true[:, None] if target_column else y_true, y_pred[:, None] if column else y_pred, None, None)])


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from([(7,), (4, 3), (2, 3, 2)]),
    ignored=st.sampled_from([None, 0, 2]),
    weighted=st.booleans(),
    kind=st.sampled_from(["IoU", "MeanIoU", "OneHotIoU", "OneHotMeanIoU", "BinaryIoU"]),
)
def test_intersections_over_unions_are_those_of_keras(seed, shape, ignored, weighted, kind):
    random = np.random.default_rng(seed)
    arguments = {} if kind == "BinaryIoU" else {"num_classes": 3, "ignore_class": ignored}
    if kind in ("IoU", "OneHotIoU"):
        arguments["target_class_ids"] = [0, 2]
    batches = []
    for _ in range(2):
        y_true, y_pred = random.integers(-1, 4, shape), random.integers(-1, 4, shape)
        if kind == "BinaryIoU":
            y_true, y_pred = random.integers(0, 2, shape), _scores(random, *shape)
        elif kind.startswith("OneHot"):
            y_true, y_pred = np.eye(3, dtype="float32")[random.integers(0, 3, shape)], _scores(random, *shape, 3)
        batches.append((y_true, y_pred, random.integers(0, 4, shape) if weighted else None, None))
    _same_after_each(kind, arguments, batches)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), shape=st.sampled_from([(), (5,), (3, 4), (2, 3, 2)]), axes=st.integers(0, 3), total=st.booleans())
def test_mean_and_sum_of_values_are_those_of_keras(seed, shape, axes, total):
    random = np.random.default_rng(seed)
    name = "Sum" if total else "Mean"
    own, keras_metric = getattr(metrics, name)(), getattr(keras.metrics, name)()
    for _ in range(2):
        values = random.standard_normal(shape).astype("float32")
        weight = None if axes == 0 or not shape else random.random(shape[:axes]).astype("float32")
        own.update_state(torch.as_tensor(values), weight)
        keras_metric.update_state(values, weight)
        _close(own.result(), keras_metric.result())


@pytest.mark.parametrize("name", ["PearsonCorrelation", "ConcordanceCorrelation"])
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(3, 9), axis=st.sampled_from([0, -2]))
def test_a_correlation_over_the_samples_is_that_of_keras_for_one_batch(name, seed, n, axis):
    y_true, y_pred = _batch(REAL, np.random.default_rng(seed), n, 0)
    assume((y_true.std(0) > 0.1).all() and (y_pred.std(0) > 0.1).all())
    _close(getattr(metrics, name)(axis=axis)(y_true, y_pred), getattr(keras.metrics, name)(axis=axis)(y_true, y_pred))


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 4))
def test_sorted_labels_instead_of_scores_are_read_as_in_keras(seed, k):
    random = np.random.default_rng(seed)
    y_pred = np.stack([random.permutation(6)[:4] for _ in range(5)])
    arguments = {"k": k, "from_sorted_ids": True}
    _same_after_each("SparseTopKCategoricalAccuracy", arguments, [(random.integers(0, 6, 5), y_pred, None, None)])


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), from_logits=st.booleans(), ignored=st.sampled_from([0, 3, -1]))
def test_ignored_labels_do_not_count_as_in_keras_with_weights(seed, from_logits, ignored):
    random = np.random.default_rng(seed)
    y_true, y_pred = _batch(SPARSE, random, 6, 0)
    y_true[random.integers(0, 6)] = ignored
    arguments = {"ignore_class": ignored, "from_logits": from_logits}
    _same_after_each("SparseCategoricalCrossentropy", arguments, [(y_true, y_pred, np.ones(6, "float32"), None)])


@pytest.mark.parametrize("axis", [1, -1])
def test_the_classes_of_a_crossentropy_may_lie_on_another_axis(axis):
    random = np.random.default_rng(0)
    scores = np.moveaxis(_scores(random, 2, 3, 5, 4) + np.float32(0.1), -1, axis)
    labels = random.integers(0, 4, (2, 3, 5))
    _same_after_each("SparseCategoricalCrossentropy", {"axis": axis}, [(labels, scores, None, None)])
    one_hot = np.moveaxis(np.eye(4, dtype="float32")[labels], -1, axis)
    _same_after_each("CategoricalCrossentropy", {"axis": axis}, [(one_hot, scores, None, None)])


FUNCTIONS = [
    ("binary_accuracy", {"threshold": 0.3}, BINARY),
    ("binary_crossentropy", {"label_smoothing": 0.1}, BINARY),
    ("binary_crossentropy", {"from_logits": True, "axis": 0}, BINARY),
    ("binary_focal_crossentropy", {"apply_class_balancing": True, "gamma": 1.5}, BINARY),
    ("binary_focal_crossentropy", {"from_logits": True, "label_smoothing": 0.1}, BINARY),
    ("categorical_accuracy", {}, ONE_HOT),
    ("categorical_crossentropy", {"label_smoothing": 0.1}, ONE_HOT),
    ("categorical_focal_crossentropy", {"alpha": 0.5}, ONE_HOT),
    ("categorical_focal_crossentropy", {"from_logits": True, "label_smoothing": 0.1}, ONE_HOT),
    ("categorical_hinge", {}, ONE_HOT),
    ("concordance_correlation", {}, REAL),
    ("hinge", {}, SIGNS),
    ("huber", {"delta": 0.7}, REAL),
    ("kl_divergence", {}, ONE_HOT),
    ("log_cosh", {}, REAL),
    ("mean_absolute_error", {}, REAL),
    ("mean_absolute_percentage_error", {}, POSITIVE),
    ("mean_squared_error", {}, REAL),
    ("mean_squared_logarithmic_error", {}, REAL),
    ("pearson_correlation", {"axis": 0}, REAL),
    ("poisson", {}, POSITIVE),
    ("sparse_categorical_accuracy", {}, SPARSE),
    ("sparse_categorical_crossentropy", {"from_logits": True}, SPARSE),
    ("sparse_top_k_categorical_accuracy", {"k": 2}, SPARSE),
    ("squared_hinge", {}, SIGNS),
    ("top_k_categorical_accuracy", {"k": 3}, ONE_HOT),
]


@pytest.mark.parametrize(("name", "arguments", "kind"), FUNCTIONS, ids=_identifier)
def test_the_functions_give_keras_s_value_for_each_sample(name, arguments, kind):
    y_true, y_pred = (torch.as_tensor(array) for array in _batch(kind, np.random.default_rng(1), 6, 0))
    ours, theirs = getattr(metrics, name)(y_true, y_pred, **arguments), getattr(keras.metrics, name)(y_true, y_pred, **arguments)
    assert ours.shape == theirs.shape
    _close(ours.float(), theirs)


def test_every_public_name_of_keras_metrics_is_here():
    aliases = {"KLD", "MAE", "MAPE", "MSE", "MSLE", "kld", "kullback_leibler_divergence", "logcosh", "mae", "mape", "mse", "msle"}
    names = {name for name in dir(keras.metrics) if not name.startswith("_")} - aliases
    assert names <= set(metrics.__all__)


@pytest.mark.parametrize("name", sorted(set(metrics.CLASSES) - {"Mean", "Sum", "MeanMetricWrapper"}))
def test_names_directions_and_configs_are_those_of_keras(name):
    needed = {"num_classes": 3, "target_class_ids": [0], "specificity": 0.4, "sensitivity": 0.4, "recall": 0.4, "precision": 0.4}
    cls = getattr(keras.metrics, name)
    arguments = {key: needed[key] for key in inspect.signature(cls).parameters if key in needed and name != "BinaryIoU"}
    theirs, ours = cls(**arguments), getattr(metrics, name)(**arguments)
    theirs.name = re.sub(r"_\d+$", "", theirs.name)  # Keras numbers them
    assert ours.name == theirs.name
    assert ours._direction == getattr(theirs, "_direction", None)
    config = ours.get_config()
    if name == "CosineSimilarity":
        assert config.pop("axis") == -1  # Keras forgets it
    assert config == theirs.get_config()
    assert cls.from_config(ours.get_config()).get_config() == theirs.get_config()
    assert metrics.deserialize(keras.metrics.serialize(theirs)).get_config() == ours.get_config()
    assert metrics.serialize(ours) == {**keras.metrics.serialize(theirs), "config": ours.get_config()}


def test_every_name_that_keras_knows_is_known():
    from keras.src.metrics import ALL_OBJECTS_DICT

    for name, cls in ALL_OBJECTS_DICT.items():
        if cls.__name__ not in ("Metric", "MeanMetricWrapper"):
            assert metrics.registry._named(name).__name__ == cls.__name__


@pytest.mark.parametrize("y_shape", [(8,), (8, 1), (8, 10), (8, 5), (8, 5, 1), (8, 5, 10)])
@pytest.mark.parametrize("y_pred_shape", [(8, 1), (8, 10), (8, 5, 10), (8, 5, 1)])
def test_accuracy_by_shape_is_chosen_as_keras_s_compile_does(y_shape, y_pred_shape):
    from keras.src.trainers.compile_utils import get_metric

    theirs = get_metric("acc", torch.zeros(y_shape), torch.zeros(y_pred_shape))
    assert type(metrics.resolve("acc", y_shape, y_pred_shape)).__name__ == type(theirs).__name__
    assert metrics.resolve("acc", y_shape, y_pred_shape).name == theirs.name
