"""What is wrong is said when it is handed over: the metric, the argument, what came, what was expected."""

import pytest
import torch

from disttrain import metrics
from disttrain.errors import DataError

ROWS = torch.rand(4, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda m: m.Precision(thresholds=[0.5, 1.5]),
            r"Precision\(thresholds=\[0.5, 1.5\]\): Threshold values must be in \[0, 1\]. Received: \[1.5\]",
        ),
        (lambda m: m.TruePositives(thresholds=-0.1), r"TruePositives\(thresholds=-0.1\)"),
        (lambda m: m.AUC(thresholds=[2.0]), r"AUC\(thresholds=\[2.0\]\): Threshold values must be in \[0, 1\]"),
        (lambda m: m.Precision(top_k=0), r"Precision\(top_k=0\): expected an integer, 1 or more"),
        (lambda m: m.Recall(class_id=-1), r"Recall\(class_id=-1\): expected an integer, 0 or more"),
        (
            lambda m: m.SensitivityAtSpecificity(1.5),
            r"SensitivityAtSpecificity\(specificity=1.5\): `specificity` must be in the range \[0, 1\]",
        ),
        (lambda m: m.PrecisionAtRecall(0.5, num_thresholds=0), r"num_thresholds=0\): Argument `num_thresholds` must be an integer > 0"),
        (lambda m: m.AUC(num_thresholds=1), r"AUC\(num_thresholds=1\): Argument `num_thresholds` must be an integer > 1"),
        (lambda m: m.AUC(curve="POR"), r"Invalid AUC curve value: .POR.. Expected one of \['ROC', 'PR', 'PRGAIN'\]"),
        (lambda m: m.AUC(summation_method="sum"), r"Invalid AUC summation method value: .sum."),
        (lambda m: m.AUC(num_labels=3), r"AUC\(num_labels=3\): expected multi_label=True"),
        (lambda m: m.AUC(multi_label=True, num_labels=3, label_weights=[1.0]), "label_weights=...\\) has 1 weights"),
        (lambda m: m.F1Score(average="mean"), r"F1Score\(average='mean'\): Invalid `average` argument value"),
        (lambda m: m.FBetaScore(beta=1), r"FBetaScore: Invalid `beta` argument value. It should be a Python float. Received: beta=1"),
        (
            lambda m: m.F1Score(threshold=1.5),
            r"F1Score: Invalid `threshold` argument value. It should verify 0 < threshold <= 1. Received: threshold=1.5",
        ),
        (lambda m: m.R2Score(class_aggregation="sum"), r"R2Score\(class_aggregation='sum'\)"),
        (lambda m: m.R2Score(num_regressors=-1), r"R2Score\(num_regressors=-1\)"),
        (lambda m: m.IoU(3, [3]), r"IoU\(target_class_ids=\[3\]\): expected labels from 0 to 2"),
        (lambda m: m.MeanIoU(0), r"MeanIoU\(num_classes=0\)"),
        (lambda m: m.OneHotIoU(3, [0], axis=0), r"OneHotIoU\(axis=0\): expected an integer other than 0"),
        (lambda m: m.CosineSimilarity(axis=0), r"CosineSimilarity\(axis=0\)"),
        (lambda m: m.PearsonCorrelation(axis=True), r"PearsonCorrelation\(axis=True\)"),
        (lambda m: m.CategoricalCrossentropy(axis=0), r"CategoricalCrossentropy\(axis=0\)"),
        (lambda m: m.BinaryCrossentropy(label_smoothing=2), r"BinaryCrossentropy\(label_smoothing=2\): expected a fraction"),
        (lambda m: m.TopKCategoricalAccuracy(k=0), r"TopKCategoricalAccuracy\(k=0\)"),
        (lambda m: m.MeanMetricWrapper("mse"), r"MeanMetricWrapper\(fn='mse'\): expected a function"),
        (lambda m: m.Mean().add_variable(initializer="ones"), "expected 'zeros'"),
        (lambda m: m.Mean().add_variable(aggregation="mean"), "expected 'sum'"),
    ],
)
def test_arguments_are_checked_when_a_metric_is_made(make, message):
    with pytest.raises(ValueError, match=message):
        make(metrics)


@pytest.mark.parametrize(
    ("metric", "y_true", "y_pred", "message"),
    [
        (metrics.MeanSquaredError(), torch.zeros(4), ROWS, r"y_true has shape \(4,\), y_pred has shape \(4, 3\)"),
        (metrics.RootMeanSquaredError(), torch.zeros(4), ROWS, r"y_pred has shape \(4, 3\)"),
        (metrics.Hinge(), torch.zeros(4), ROWS, r"y_pred has shape \(4, 3\)"),
        (metrics.BinaryAccuracy(), torch.zeros(4, 2), ROWS, r"y_true has shape \(4, 2\)"),
        (metrics.SparseCategoricalAccuracy(), ROWS, ROWS, "one label where y_pred has a row of classes"),
        (metrics.CategoricalAccuracy(), torch.zeros(4), torch.zeros(4), r"both \(samples, ..., classes\)"),
        (metrics.CategoricalCrossentropy(), torch.zeros(4), ROWS, r"both \(samples, ..., classes\)"),
        (metrics.KLDivergence(), torch.zeros(4), torch.zeros(4), r"both \(samples, ..., classes\)"),
        (metrics.CosineSimilarity(), torch.zeros(4), torch.zeros(4), r"both \(samples, ..., classes\)"),
        (metrics.SparseCategoricalCrossentropy(), [0, 1, 2, 3], ROWS, r"labels from 0 to 3.\n  expected  0 to 2"),
        (metrics.SparseCategoricalCrossentropy(from_logits=True), [0, 1, 2, -1], ROWS, "labels from -1 to 2"),
        (metrics.SparseTopKCategoricalAccuracy(k=2), [0, 1, 2, 3], ROWS, "labels from 0 to 3"),
        (metrics.SparseTopKCategoricalAccuracy(k=4, from_sorted_ids=True), [0, 1, 2, 3], ROWS, "the 4 most likely labels"),
        (metrics.Precision(), torch.zeros(4), ROWS, r"Precision: y_true has shape \(4,\)"),
        (metrics.Precision(top_k=4), ROWS, ROWS, r"Precision\(top_k=4\): y_pred has shape \(4, 3\)"),
        (
            metrics.Precision(class_id=1),
            torch.zeros(4),
            torch.zeros(4),
            r"y_pred must be a 2D array with shape \(num_samples, num_classes\)",
        ),
        (metrics.Recall(class_id=3), ROWS, ROWS, r"Recall\(class_id=3\): y_pred has shape \(4, 3\)"),
        (metrics.AUC(multi_label=True), torch.zeros(4), torch.zeros(4), r"expected \(samples, labels\)"),
        (metrics.AUC(multi_label=True, num_labels=2), ROWS, ROWS, r"expected \(samples, 2\)"),
        (metrics.AUC(label_weights=[1.0]), ROWS, ROWS, "has 1 weights"),
        (metrics.F1Score(), torch.zeros(4), ROWS, "one-hot encoding"),
        (metrics.R2Score(), torch.zeros(4), torch.zeros(4), r"both \(samples, ..., classes\)"),
        (metrics.R2Score(), torch.zeros(4, 2, 2), torch.zeros(4, 2, 2), r"expected \(samples, outputs\)"),
        (metrics.PearsonCorrelation(), torch.zeros(4, 1), torch.zeros(4, 1), r"one value has no correlation.\n  try       axis=0"),
        (metrics.PearsonCorrelation(axis=2), ROWS, ROWS, "no such axis"),
        (metrics.MeanIoU(3), torch.zeros(4, 2), torch.zeros(2, 4), "a label for each prediction"),
        (metrics.OneHotMeanIoU(4), ROWS, ROWS, "expected 4 classes on axis -1"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_data_that_do_not_fit_are_an_error_not_a_broadcast(metric, y_true, y_pred, message):
    with pytest.raises(ValueError, match=message):
        metric.update_state(torch.as_tensor(y_true), y_pred)


@pytest.mark.parametrize(
    "metric", [metrics.AUC(multi_label=True), metrics.F1Score(), metrics.R2Score(), metrics.PearsonCorrelation(axis=0)]
)
def test_the_number_of_outputs_stays_the_same(metric):
    metric.update_state(ROWS, ROWS)
    with pytest.raises(DataError, match=r"before|expected"):
        metric.update_state(ROWS[:, :2], ROWS[:, :2])


@pytest.mark.parametrize("metric", [metrics.MeanSquaredError(), metrics.Precision(), metrics.AUC(), metrics.F1Score(), metrics.R2Score()])
@pytest.mark.parametrize("shape", [(3,), (4, 2), (4, 3, 2)])
def test_weights_that_fit_no_axis_are_an_error(metric, shape):
    with pytest.raises(DataError, match=r"sample_weight has shape"):
        metric.update_state(ROWS, ROWS, torch.ones(shape))


def test_a_subclass_that_forgets_its_base_is_told():
    class Forgetful(metrics.Metric):
        def __init__(self):
            self.total = self.add_variable(name="total")

    with pytest.raises(ValueError, match=r"Forgetful: call super\(\).__init__\(\) first"):
        Forgetful()


def test_the_base_class_says_what_to_define():
    with pytest.raises(NotImplementedError, match="must define update_state"):
        metrics.Metric().update_state(None, None)
    with pytest.raises(NotImplementedError, match="must define result"):
        metrics.Metric().result()
