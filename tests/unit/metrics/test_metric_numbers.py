"""Every metric on data small enough to work out by hand; the working stands beside the number."""

from math import cosh, exp, log, sqrt

import pytest
import torch

from disttrain import metrics
from disttrain.errors import DataError

# Yes-or-no data. Above 0.5: 0.9 (a positive) and 0.6 (a negative). Weighted: the positives weigh 1 + 2, the negatives 3 + 4.
YES_NO = ([1, 1, 0, 0], [0.9, 0.4, 0.6, 0.1])
WEIGHTS = [1.0, 2.0, 3.0, 4.0]
# Two of three samples are named right: rows 0 and 2.
LABELS, ONE_HOT = [0, 1, 2], [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
P = [[0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [0.125, 0.125, 0.75]]
LINE = ([[1.0], [2.0], [3.0]], [[1.0], [2.0], [5.0]])  # errors 0, 0, 2
SEGMENTS = ([0, 0, 1, 1, 2], [0, 1, 1, 1, 0])  # intersections 1, 2, 0; unions 3, 3, 1

TABLE = [
    # name, arguments, y_true, y_pred, sample_weight, expected
    ("Accuracy", {}, [1, 2, 3, 4], [0, 2, 3, 4], None, 3 / 4),
    ("Accuracy", {}, [1, 2, 3, 4], [0, 2, 3, 4], [1, 1, 0, 0], 1 / 2),
    ("BinaryAccuracy", {}, *YES_NO, None, 2 / 4),
    ("BinaryAccuracy", {}, *YES_NO, WEIGHTS, (1 + 4) / 10),
    ("BinaryAccuracy", {"threshold": 0.6}, *YES_NO, None, 3 / 4),  # 0.6 is not above 0.6
    ("CategoricalAccuracy", {}, ONE_HOT, P, None, 2 / 3),
    ("SparseCategoricalAccuracy", {}, LABELS, P, [1, 1, 0], 1 / 2),
    ("TopKCategoricalAccuracy", {"k": 1}, ONE_HOT, P, None, 2 / 3),
    ("TopKCategoricalAccuracy", {"k": 2}, ONE_HOT, P, None, 3 / 3),  # in row 1 the label is second
    ("SparseTopKCategoricalAccuracy", {"k": 2}, [1, 1, 1], P, None, 3 / 3),  # ties are hits
    ("SparseTopKCategoricalAccuracy", {"k": 2, "from_sorted_ids": True}, [3, 1], [[1, 3, 0], [0, 2, 1]], None, 1 / 2),
    ("MeanSquaredError", {}, *LINE, None, 4 / 3),
    ("MeanSquaredError", {}, *LINE, [1, 1, 2], 8 / 4),
    ("RootMeanSquaredError", {}, *LINE, [0, 0, 7], 2.0),
    ("MeanAbsoluteError", {}, *LINE, None, 2 / 3),
    ("MeanAbsolutePercentageError", {}, [[1.0, 4.0], [2.0, 2.0]], [[2.0, 4.0], [1.0, 2.0]], None, (100 / 2 + 50 / 2) / 2),
    ("MeanSquaredLogarithmicError", {}, [[0.0], [exp(1) - 1]], [[exp(2) - 1], [0.0]], None, (2**2 + 1**2) / 2),
    ("LogCoshError", {}, *LINE, None, log(cosh(2)) / 3),
    ("CosineSimilarity", {}, [[0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]], None, (0 + 1 / sqrt(2)) / 2),
    ("CosineSimilarity", {}, [[0.0, 0.0]], [[1.0, 0.0]], None, 0.0),
    ("R2Score", {}, *LINE, None, 1 - 4 / 2),  # squares about the mean 2: 1 + 0 + 1
    ("R2Score", {"class_aggregation": None}, [[1.0, 0.0], [3.0, 4.0]], [[1.0, 1.0], [2.0, 4.0]], None, [1 - 1 / 2, 1 - 1 / 8]),
    (
        "R2Score",
        {"class_aggregation": "variance_weighted_average"},
        [[1.0, 0.0], [3.0, 4.0]],
        [[1.0, 1.0], [2.0, 4.0]],
        None,
        1 - (1 + 1) / (2 + 8),
    ),
    ("R2Score", {"num_regressors": 1}, *LINE, None, 1 - (1 + 1) * 2 / 1),  # 1 - (1 - r2)(n - 1) / (n - p - 1)
    ("R2Score", {}, *LINE, [1, 1, 0], 1 - 0),
    ("PearsonCorrelation", {}, [[1.0, 2.0, 3.0]], [[1.0, 2.0, 5.0]], None, 4 / sqrt(2 * (26 / 3))),
    ("PearsonCorrelation", {"axis": 0}, *LINE, None, 4 / sqrt(2 * (26 / 3))),  # deviations -1 0 1 and -5/3 -2/3 7/3
    ("PearsonCorrelation", {"axis": 0}, *LINE, [1, 1, 0], 1.0),
    ("ConcordanceCorrelation", {}, [[1.0, 2.0, 3.0]], [[1.0, 2.0, 5.0]], None, 2 * 4 / (2 + 26 / 3 + 3 * (2 / 3) ** 2)),
    ("ConcordanceCorrelation", {"axis": 0}, *LINE, None, 2 * 4 / (2 + 26 / 3 + 3 * (2 / 3) ** 2)),
    ("Hinge", {}, [[1.0], [0.0]], [[0.5], [0.25]], None, (0.5 + 1.25) / 2),
    ("Hinge", {}, [[1.0], [-1.0]], [[0.5], [0.25]], None, (0.5 + 1.25) / 2),
    ("SquaredHinge", {}, [[1.0], [0.0]], [[0.5], [0.25]], None, (0.25 + 1.5625) / 2),
    ("CategoricalHinge", {}, ONE_HOT[:2], P[:2], None, (0.25 - 0.5 + 1 + 0.5 - 0.25 + 1) / 2),
    ("KLDivergence", {}, [[0.5, 0.5]], [[0.25, 0.75]], None, 0.5 * log(2) + 0.5 * log(2 / 3)),
    ("Poisson", {}, [[2.0]], [[3.0]], None, 3 - 2 * log(3)),
    ("BinaryCrossentropy", {}, [[1.0], [0.0]], [[0.5], [0.75]], None, (log(2) + log(4)) / 2),
    ("BinaryCrossentropy", {"from_logits": True}, [[1.0]], [[0.0]], None, log(2)),
    ("BinaryCrossentropy", {"label_smoothing": 0.5}, [[1.0]], [[0.25]], None, -0.75 * log(0.25) - 0.25 * log(0.75)),
    ("CategoricalCrossentropy", {}, ONE_HOT[:2], P[:2], None, (log(2) + log(4)) / 2),
    ("CategoricalCrossentropy", {"from_logits": True}, [[1.0, 0.0]], [[0.0, 0.0]], None, log(2)),
    ("SparseCategoricalCrossentropy", {}, [0, 1], P[:2], None, (log(2) + log(4)) / 2),
    ("SparseCategoricalCrossentropy", {"ignore_class": 1}, [0, 1], P[:2], None, log(2)),
    ("TruePositives", {}, *YES_NO, None, 1),
    ("FalsePositives", {}, *YES_NO, WEIGHTS, 3),
    ("TrueNegatives", {}, *YES_NO, WEIGHTS, 4),
    ("FalseNegatives", {}, *YES_NO, WEIGHTS, 2),
    ("FalseNegatives", {"thresholds": [0.95, 0.2, 0.5]}, *YES_NO, None, [2, 0, 1]),
    ("TruePositives", {"thresholds": [0.0, 0.5, 1.0]}, [1, 1, 1], [0.0, 0.5, 1.0], None, [2, 1, 0]),  # on a threshold is not above it
    ("Precision", {}, *YES_NO, None, 1 / 2),
    ("Precision", {}, *YES_NO, WEIGHTS, 1 / (1 + 3)),
    ("Precision", {"thresholds": [0.3, 0.7]}, *YES_NO, None, [2 / 3, 1 / 1]),
    ("Precision", {"top_k": 1}, ONE_HOT, P, None, 2 / 3),
    ("Precision", {"class_id": 0, "thresholds": 0.4}, ONE_HOT, P, None, 1 / 2),
    ("Recall", {}, *YES_NO, WEIGHTS, 1 / (1 + 2)),
    ("Recall", {"top_k": 2, "class_id": 2}, ONE_HOT, P, None, 1 / 1),
    ("SensitivityAtSpecificity", {"specificity": 0.5, "num_thresholds": 3}, *YES_NO, None, 1 / 2),  # at 0.5: 1/2 and 1/2
    ("SpecificityAtSensitivity", {"sensitivity": 1.0, "num_thresholds": 11}, *YES_NO, None, 1 / 2),  # at 0.1, 0.2, 0.3
    ("PrecisionAtRecall", {"recall": 0.5, "num_thresholds": 11}, *YES_NO, None, 1 / 1),  # at 0.6, 0.7, 0.8
    ("RecallAtPrecision", {"precision": 0.9, "num_thresholds": 11}, *YES_NO, None, 1 / 2),
    ("RecallAtPrecision", {"precision": 0.9, "num_thresholds": 1}, *YES_NO, None, 0.0),  # at 0.5 precision is 1/2
    ("AUC", {"num_thresholds": 3}, *YES_NO, None, 0.5),  # points (1, 1), (1/2, 1/2), (0, 0)
    ("AUC", {}, *YES_NO, None, 3 / 4),  # of the four pairs, one (0.4, 0.6) stands the wrong way
    ("AUC", {}, *YES_NO, WEIGHTS, 1 - (2 * 3) / (3 * 7)),
    ("AUC", {"summation_method": "minoring", "num_thresholds": 3}, *YES_NO, None, 1 / 4),
    ("AUC", {"summation_method": "majoring", "num_thresholds": 3}, *YES_NO, None, 3 / 4),
    ("AUC", {"curve": "PR", "num_thresholds": 3}, *YES_NO, None, 0.5),  # precision 1/2 everywhere
    ("AUC", {"curve": "PRGAIN", "num_thresholds": 3}, *YES_NO, None, 0.0),  # recall gains 1, 0, 0 with precision gains 0, 0, 1: (0 + 0) / 2
    ("AUC", {"thresholds": [0.5]}, *YES_NO, None, 0.5),
    ("AUC", {"from_logits": True}, [1, 1, 0, 0], [2.0, -0.5, 0.5, -2.0], None, 3 / 4),
    (
        "AUC",
        {"multi_label": True},
        [[1, 1], [1, 0], [0, 1], [0, 0]],
        [[0.9, 0.1], [0.4, 0.9], [0.6, 0.1], [0.1, 0.9]],
        None,
        (3 / 4 + 0) / 2,
    ),
    (
        "AUC",
        {"multi_label": True, "label_weights": [3, 1]},
        [[1, 1], [1, 0], [0, 1], [0, 0]],
        [[0.9, 0.1], [0.4, 0.9], [0.6, 0.1], [0.1, 0.9]],
        None,
        (3 * 3 / 4 + 0) / 4,
    ),
    ("F1Score", {}, ONE_HOT, P, None, [2 * 0.5 / 1.5, 0.0, 1.0]),  # precision 1/2, 0/0, 1; recall 1, 0, 1
    ("F1Score", {"average": "macro"}, ONE_HOT, P, None, (2 / 3 + 0 + 1) / 3),
    ("F1Score", {"average": "micro"}, ONE_HOT, P, None, 2 / 3),
    ("F1Score", {"average": "weighted"}, ONE_HOT, P, [1, 1, 2], (2 / 3 * 1 + 0 + 1 * 2) / 4),
    ("FBetaScore", {"beta": 2.0}, ONE_HOT, P, None, [5 * 0.5 / (4 * 0.5 + 1), 0.0, 1.0]),
    (
        "FBetaScore",
        {"beta": 2.0, "threshold": 0.2, "average": None},
        ONE_HOT,
        P,
        None,
        [5 * 0.5 / (4 * 0.5 + 1)] * 2 + [5 / 3 / (4 / 3 + 1)],
    ),
    ("IoU", {"num_classes": 3, "target_class_ids": [0, 1]}, *SEGMENTS, None, (1 / 3 + 2 / 3) / 2),
    ("IoU", {"num_classes": 3, "target_class_ids": [0], "ignore_class": 2}, *SEGMENTS, None, 1 / 2),
    ("IoU", {"num_classes": 3, "target_class_ids": [1]}, *SEGMENTS, [1, 0.5, 1, 2, 1], 3 / 3.5),
    ("MeanIoU", {"num_classes": 3}, *SEGMENTS, None, (1 / 3 + 2 / 3 + 0) / 3),
    ("MeanIoU", {"num_classes": 4}, *SEGMENTS, None, (1 / 3 + 2 / 3 + 0) / 3),  # class 3 is nowhere, so it does not count
    ("BinaryIoU", {}, *YES_NO, None, (1 / 3 + 1 / 3) / 2),
    ("BinaryIoU", {"threshold": 0.6, "target_class_ids": [1]}, *YES_NO, None, 1 / 3),  # 0.6 is from 0.6 on
    ("OneHotIoU", {"num_classes": 3, "target_class_ids": [0]}, ONE_HOT, P, None, 1 / 2),
    ("OneHotMeanIoU", {"num_classes": 3}, ONE_HOT, P, None, (1 / 2 + 0 + 1) / 3),
]


@pytest.mark.parametrize(("name", "arguments", "y_true", "y_pred", "weight", "expected"), TABLE)
def test_the_number_is_the_one_worked_out_by_hand(name, arguments, y_true, y_pred, weight, expected):
    metric = getattr(metrics, name)(**arguments)
    result = metric(torch.tensor(y_true), torch.tensor(y_pred), weight)
    assert result.tolist() == pytest.approx(expected, rel=2e-6, abs=1e-6)


def test_every_metric_stands_in_the_table():
    assert {row[0] for row in TABLE} == set(metrics.CLASSES) - {"Mean", "MeanMetricWrapper", "Sum"}


@pytest.mark.parametrize(("name", "arguments"), {(row[0], str(sorted(row[1].items()))): row[:2] for row in TABLE}.values())
def test_nothing_added_gives_zero_or_nothing(name, arguments):
    result = getattr(metrics, name)(**arguments).result()
    assert not result.isinf().any()
    assert result.isnan().all() or not result.any()


@pytest.mark.parametrize(
    ("values", "weight", "mean", "total"),
    [
        ([1.0, 3.0, 5.0, 7.0], None, 4.0, 16.0),
        ([1.0, 3.0, 5.0, 7.0], [1, 1, 0, 0], 2.0, 4.0),
        ([[1.0, 3.0], [5.0, 7.0]], None, 4.0, 16.0),
        ([[1.0, 3.0], [5.0, 7.0]], [3, 1], (3 * 2 + 6) / 4, 3 * 4 + 12),
        ([[1.0, 3.0], [5.0, 7.0]], [[1, 0], [1, 1]], (0.5 + 6) / 1.5, 1 + 5 + 7),
        (6.0, None, 6.0, 6.0),
        ([1.0, 3.0], 2.0, 2.0, 8.0),
    ],
)
def test_values_are_averaged_to_one_for_each_sample_or_added(values, weight, mean, total):
    assert float(metrics.Mean()(values, weight)) == pytest.approx(mean)
    assert float(metrics.Sum()(values, weight)) == pytest.approx(total)


def test_a_vector_is_the_classes_of_one_sample_for_the_k_largest_but_not_in_a_fit():
    scores, labels = [0.2, 0.1, 0.5, 0.0, 0.2], [0, 1, 1, 0, 0]
    metric = metrics.Precision(top_k=3)
    assert float(metric(labels, scores)) == pytest.approx(1 / 3)
    metric.fitted_to((5,), (5,))
    with pytest.raises(DataError, match="top_k=3"):
        metric(labels, scores)
