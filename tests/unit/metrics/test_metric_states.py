"""What holds for the states of every metric: slices add up, copies stand alone, a reset begins anew, a config rebuilds."""

import copy
import itertools
import json
import pickle

import cloudpickle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from disttrain import metrics

# How to make the metric, what it reads, and whether its states are whole numbers when nothing is weighted.
MAKE = {
    "AUC": (lambda m: m.AUC(), "binary", True),
    "AUC of labels": (lambda m: m.AUC(multi_label=True, thresholds=[0.2, 0.7], label_weights=[1, 2, 3]), "one_hot", True),
    "AUC of logits": (lambda m: m.AUC(num_thresholds=1000, from_logits=True), "real_binary", True),
    "Accuracy": (lambda m: m.Accuracy(), "labels", True),
    "BinaryAccuracy": (lambda m: m.BinaryAccuracy(threshold=0.25), "column", True),
    "BinaryCrossentropy": (lambda m: m.BinaryCrossentropy(label_smoothing=0.1), "binary", False),
    "BinaryCrossentropy of logits": (lambda m: m.BinaryCrossentropy(from_logits=True), "binary", False),
    "BinaryIoU": (lambda m: m.BinaryIoU(threshold=0.3), "binary", True),
    "CategoricalAccuracy": (lambda m: m.CategoricalAccuracy(), "one_hot", True),
    "CategoricalCrossentropy": (lambda m: m.CategoricalCrossentropy(from_logits=True), "one_hot", False),
    "CategoricalHinge": (lambda m: m.CategoricalHinge(), "one_hot", False),
    "ConcordanceCorrelation": (lambda m: m.ConcordanceCorrelation(), "real", False),
    "ConcordanceCorrelation over samples": (lambda m: m.ConcordanceCorrelation(axis=0), "real", False),
    "CosineSimilarity": (lambda m: m.CosineSimilarity(), "real", False),
    "F1Score": (lambda m: m.F1Score(), "one_hot", True),
    "FBetaScore": (lambda m: m.FBetaScore(average="micro", beta=2.0, threshold=0.5), "one_hot", True),
    "FalseNegatives": (lambda m: m.FalseNegatives(thresholds=[0.7, 0.2]), "binary", True),
    "FalsePositives": (lambda m: m.FalsePositives(), "binary", True),
    "Hinge": (lambda m: m.Hinge(), "binary", False),
    "IoU": (lambda m: m.IoU(3, [0, 2], ignore_class=1), "labels", True),
    "KLDivergence": (lambda m: m.KLDivergence(), "one_hot", False),
    "LogCoshError": (lambda m: m.LogCoshError(), "real", False),
    "MeanAbsoluteError": (lambda m: m.MeanAbsoluteError(), "real", False),
    "MeanAbsolutePercentageError": (lambda m: m.MeanAbsolutePercentageError(), "real", False),
    "MeanIoU": (lambda m: m.MeanIoU(3), "labels", True),
    "MeanSquaredError": (lambda m: m.MeanSquaredError(), "real", False),
    "MeanSquaredLogarithmicError": (lambda m: m.MeanSquaredLogarithmicError(), "real", False),
    "OneHotIoU": (lambda m: m.OneHotIoU(3, [1]), "one_hot", True),
    "OneHotMeanIoU": (lambda m: m.OneHotMeanIoU(3), "one_hot", True),
    "PearsonCorrelation": (lambda m: m.PearsonCorrelation(), "real", False),
    "PearsonCorrelation over samples": (lambda m: m.PearsonCorrelation(axis=0), "real", False),
    "Poisson": (lambda m: m.Poisson(), "binary", False),
    "Precision": (lambda m: m.Precision(thresholds=[0.1, 0.4, 0.9]), "binary", True),
    "Precision of the largest": (lambda m: m.Precision(top_k=2, class_id=0), "one_hot", True),
    "PrecisionAtRecall": (lambda m: m.PrecisionAtRecall(0.5), "binary", True),
    "R2Score": (lambda m: m.R2Score(class_aggregation=None), "real", False),
    "Recall": (lambda m: m.Recall(), "column", True),
    "RecallAtPrecision": (lambda m: m.RecallAtPrecision(0.5, class_id=1), "one_hot", True),
    "RootMeanSquaredError": (lambda m: m.RootMeanSquaredError(), "real", False),
    "SensitivityAtSpecificity": (lambda m: m.SensitivityAtSpecificity(0.5, num_thresholds=1), "binary", True),
    "SparseCategoricalAccuracy": (lambda m: m.SparseCategoricalAccuracy(), "sparse", True),
    "SparseCategoricalCrossentropy": (lambda m: m.SparseCategoricalCrossentropy(ignore_class=1), "sparse", False),
    "SparseTopKCategoricalAccuracy": (lambda m: m.SparseTopKCategoricalAccuracy(k=2), "sparse", True),
    "SpecificityAtSensitivity": (lambda m: m.SpecificityAtSensitivity(0.5, num_thresholds=7), "binary", True),
    "SquaredHinge": (lambda m: m.SquaredHinge(), "binary", False),
    "TopKCategoricalAccuracy": (lambda m: m.TopKCategoricalAccuracy(k=2), "one_hot", True),
    "TrueNegatives": (lambda m: m.TrueNegatives(thresholds=[0.0, 0.5, 1.0]), "binary", True),
    "TruePositives": (lambda m: m.TruePositives(), "binary", True),
}
TWINS = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda metric: pickle.loads(pickle.dumps(metric)),
    "cloudpickle": lambda metric: cloudpickle.loads(cloudpickle.dumps(metric)),
}
every_metric = pytest.mark.parametrize(("make", "kind", "whole_numbers"), MAKE.values(), ids=list(MAKE))


def _data(kind, n, seed):
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (n,), generator=draw)
    scores = torch.rand(n, 3, generator=draw)
    if kind == "sparse":
        return labels, scores
    if kind == "one_hot":
        return torch.eye(3)[labels], scores
    if kind == "labels":
        return labels, torch.randint(0, 3, (n,), generator=draw)
    if kind == "column":
        return labels % 2, scores[:, :1]
    if kind == "binary":
        return torch.randint(0, 2, (n, 3), generator=draw), scores
    if kind == "real_binary":
        return torch.randint(0, 2, (n, 3), generator=draw), torch.randn(n, 3, generator=draw)
    return torch.randn(n, 3, generator=draw), torch.randn(n, 3, generator=draw)


def test_every_class_is_tried():
    assert {name.split()[0] for name in MAKE} == set(metrics.CLASSES) - {"Mean", "MeanMetricWrapper", "Sum"}


@every_metric
@settings(max_examples=15)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 12), cuts=st.lists(st.integers(0, 12), max_size=3), weighted=st.booleans())
def test_the_states_of_slices_add_up_to_the_state_of_the_whole(make, kind, whole_numbers, seed, n, cuts, weighted):
    y_true, y_pred = _data(kind, n, seed)
    weights = torch.rand(n, generator=torch.Generator().manual_seed(seed)) if weighted else None
    whole = make(metrics)
    whole.update_state(y_true, y_pred, weights)
    sums = [torch.zeros_like(variable) for variable in whole.variables]
    ends = [0, *sorted(min(cut, n) for cut in cuts), n]
    for start, stop in itertools.pairwise(ends):
        part = make(metrics)
        part.update_state(y_true[start:stop], y_pred[start:stop], None if weights is None else weights[start:stop])
        for total, variable in zip(sums, part.variables, strict=True):
            total += variable
    for variable, total in zip(whole.variables, sums, strict=True):
        assert variable.dtype == torch.float64
        if whole_numbers and not weighted:
            assert torch.equal(variable, total)
        else:
            assert torch.allclose(variable, total, rtol=1e-12, atol=1e-12)


@every_metric
def test_a_metric_is_rebuilt_from_its_config_which_is_json(make, kind, whole_numbers):
    metric = make(metrics)
    metric.name = "mine"
    config = json.loads(json.dumps(metrics.serialize(metric)))
    again = metrics.deserialize(config)
    assert type(again) is type(metric) and again.get_config() == metric.get_config() and again.name == "mine"
    y_true, y_pred = _data(kind, 9, 0)
    assert torch.equal(metric(y_true, y_pred), again(y_true, y_pred))


@every_metric
def test_a_reset_begins_anew(make, kind, whole_numbers):
    metric, (y_true, y_pred) = make(metrics), _data(kind, 9, 0)
    first = metric(y_true, y_pred).clone()
    metric.reset_state()
    assert not any(variable.any() for variable in metric.variables)
    assert torch.equal(metric(y_true, y_pred), first)


@every_metric
@pytest.mark.parametrize(
    "twin", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), lambda m: cloudpickle.loads(cloudpickle.dumps(m))]
)
def test_a_copy_keeps_its_own_sums(make, kind, whole_numbers, twin):
    metric, (y_true, y_pred) = make(metrics), _data(kind, 9, 0)
    metric.update_state(y_true, y_pred)
    before = [variable.clone() for variable in metric.variables]
    other = twin(metric)
    other.update_state(y_true, y_pred)
    assert all(torch.equal(variable, old) for variable, old in zip(metric.variables, before, strict=True))
    assert all(torch.equal(variable, 2 * old) for variable, old in zip(other.variables, before, strict=True))
    assert other.result().shape == metric.result().shape


@every_metric
def test_the_sums_may_lie_in_one_vector_once_the_shapes_are_known(make, kind, whole_numbers):
    y_true, y_pred = _data(kind, 9, 0)
    alone, metric = make(metrics), make(metrics)
    metric.fitted_to(tuple(y_true[:1].shape), tuple(y_pred[:1].shape))
    vector = torch.zeros(sum(variable.numel() for variable in metric.variables), dtype=torch.float64)
    offset = 0
    for variable in metric.variables:
        variable.set_(vector.untyped_storage(), offset, variable.shape, torch.empty(variable.shape, device="meta").stride())
        offset += variable.numel()
    assert torch.equal(metric(y_true, y_pred), alone(y_true, y_pred))
    assert torch.equal(vector, torch.cat([variable.reshape(-1) for variable in alone.variables]))


@every_metric
def test_no_gradient_is_left_behind_and_halves_are_computed_as_floats(make, kind, whole_numbers):
    y_true, y_pred = _data(kind, 9, 0)
    metric = make(metrics)
    if y_pred.is_floating_point():
        y_pred = y_pred.to(torch.float16).requires_grad_()
    assert not metric(y_true, y_pred).requires_grad
    assert not any(variable.requires_grad for variable in metric.variables)
    if y_pred.is_floating_point():
        assert torch.equal(metric.result(), make(metrics)(y_true, y_pred.detach().float()))
