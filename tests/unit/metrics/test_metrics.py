"""How metrics count: samples and not batches, weights, masks, slices, and what an own metric may do."""

import cloudpickle
import pytest
import torch

from disttrain import losses, metrics

P = torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3], [0.2, 0.2, 0.1], [0.0, 1.0, 0.0]])
LABELS = torch.tensor([1, 2, 0, 2])
ONE_HOT = torch.eye(3)[LABELS]


def test_a_mean_is_divided_by_the_weights_where_a_loss_divides_by_the_samples():
    y, p, w = torch.zeros(2, 1), torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 0.0])
    assert float(metrics.MeanSquaredError()(y, p, w)) == 1.0
    assert float(losses.MeanSquaredError()(y, p, w)) == 0.5


def test_accuracy_counts_over_batches_of_unequal_size():
    metric = metrics.SparseCategoricalAccuracy()
    metric.update_state(torch.tensor([0]), torch.tensor([[1.0, 0.0]]))
    metric.update_state(torch.tensor([0, 0, 0]), torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]))
    assert float(metric.result()) == 0.5  # 2 of 4, not the mean of 1 and 1/3


def test_single_values_count_one_by_one():
    metric = metrics.MeanSquaredError()  # Keras takes the three for one sample
    metric.update_state(torch.zeros(3), torch.tensor([1.0, 1.0, 1.0]))
    metric.update_state(torch.zeros(1), torch.tensor([3.0]))
    assert float(metric.result()) == (3 * 1 + 9) / 4


def test_sequences_are_averaged_within_a_sample_and_weighted_by_step():
    labels, scores = torch.tensor([[0, 1], [1, 1]]), torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    assert float(metrics.SparseCategoricalAccuracy()(labels, scores)) == 0.75
    assert float(metrics.SparseCategoricalAccuracy()(labels, scores, torch.tensor([[1.0, 0.0], [1.0, 1.0]]))) == 1.0


def test_masked_steps_do_not_count():
    labels, scores = torch.tensor([[0, 1], [1, 1]]), torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]])
    scores._keras_mask = torch.tensor([[True, False], [True, True]])
    assert float(metrics.SparseCategoricalAccuracy()(labels, scores)) == pytest.approx(2 / 3)
    assert float(metrics.SparseCategoricalAccuracy()(labels, scores, [3.0, 1.0])) == pytest.approx((3 + 1) / (3 + 2))
    assert float(metrics.SparseCategoricalAccuracy()(labels, scores, [[3.0, 9.0], [1.0, 2.0]])) == pytest.approx((3 + 1) / (3 + 1 + 2))


def test_a_mask_and_ignored_labels_both_leave_out():
    scores = torch.tensor([[[0.5, 0.5], [0.25, 0.75], [0.5, 0.5]]])
    scores._keras_mask = torch.tensor([[True, True, False]])
    metric = metrics.SparseCategoricalCrossentropy(ignore_class=1)
    assert float(metric(torch.tensor([[1, 0, 0]]), scores)) == pytest.approx(-torch.tensor(0.25).log().item())  # the middle step alone


def test_an_ignored_class_does_not_count():
    metric = metrics.SparseCategoricalCrossentropy(ignore_class=2)
    assert float(metric(LABELS, P)) == pytest.approx(0.713558, abs=2e-6)  # the loss of Keras: the mean of rows 0 and 2
    assert float(metric.count) == 2.0


def test_a_mask_left_on_values_takes_them_out_of_a_mean_and_a_sum():
    values = torch.tensor([1.0, 5.0])
    values._keras_mask = torch.tensor([True, False])
    assert float(metrics.Mean()(values)) == 1.0
    assert float(metrics.Sum()(values)) == 1.0


LOSSES = [
    ("BinaryCrossentropy", {"label_smoothing": 0.1}, ONE_HOT, P),
    ("BinaryCrossentropy", {"from_logits": True}, ONE_HOT, P),
    ("CategoricalCrossentropy", {"label_smoothing": 0.1}, ONE_HOT, P),
    ("CategoricalCrossentropy", {"from_logits": True}, ONE_HOT, P),
    ("CategoricalHinge", {}, ONE_HOT, P),
    ("Hinge", {}, ONE_HOT, P),
    ("KLDivergence", {}, ONE_HOT, P),
    ("MeanAbsoluteError", {}, ONE_HOT, P),
    ("MeanAbsolutePercentageError", {}, ONE_HOT + 1.0, P),
    ("MeanSquaredError", {}, ONE_HOT, P),
    ("MeanSquaredLogarithmicError", {}, ONE_HOT, P),
    ("Poisson", {}, ONE_HOT, P),
    ("SparseCategoricalCrossentropy", {}, LABELS, P),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, LABELS[:, None], P),
    ("SquaredHinge", {}, ONE_HOT, P),
]


@pytest.mark.parametrize(("kind", "arguments", "y", "p"), LOSSES)
def test_a_metric_and_the_loss_of_the_same_name_agree(kind, arguments, y, p):
    loss = getattr(losses, kind)(**arguments)
    assert float(getattr(metrics, kind)(**arguments)(y, p)) == pytest.approx(float(loss(y, p)), rel=1e-6)
    assert float(metrics.get(loss)(y, p)) == pytest.approx(float(loss(y, p)), rel=1e-6)


def test_a_loss_as_a_metric_counts_samples_not_batches():
    metric = metrics.resolve(losses.MeanAbsoluteError(), (1, 1), (1, 1))
    metric.update_state(torch.zeros(1, 1), torch.full((1, 1), 4.0))
    metric.update_state(torch.zeros(3, 1), torch.zeros(3, 1))
    assert float(metric.result()) == 1.0 and metric._direction == "down"


def test_a_function_that_gives_one_number_counts_for_each_sample_of_the_batch():
    def mean_error(y_true, y_pred):
        return (y_true - y_pred).abs().mean()

    metric = metrics.get(mean_error)
    metric.update_state(torch.zeros(1, 1), torch.full((1, 1), 4.0))
    metric.update_state(torch.zeros(3, 1), torch.zeros(3, 1))
    assert float(metric.result()) == 1.0
    assert float(metrics.get(mean_error)(torch.zeros(2, 1), torch.ones(2, 1), [0.5, 2.0])) == 1.0


def test_a_function_gets_its_arguments_and_travels_with_the_metric():
    metric = metrics.MeanMetricWrapper(lambda y_true, y_pred, power: (y_true - y_pred).abs().pow(power).mean(-1), name="error", power=3)
    twin = cloudpickle.loads(cloudpickle.dumps(metric))
    assert float(twin(torch.zeros(2, 1), torch.tensor([[1.0], [2.0]]))) == (1 + 8) / 2
    assert twin.name == "error"


def test_functions_are_differentiable_and_metrics_leave_no_gradient_behind():
    outputs = P.clone().requires_grad_()
    metrics.mean_squared_error(ONE_HOT, outputs).sum().backward()
    assert outputs.grad is not None
    assert not metrics.MeanSquaredError()(ONE_HOT, outputs).requires_grad


def test_predictions_that_are_no_probabilities_are_counted_all_the_same():
    outside = torch.tensor([-5.0, 7.0, float("nan"), float("inf")])
    for metric in (metrics.AUC(), metrics.AUC(thresholds=[0.1, 0.7]), metrics.TruePositives(thresholds=[0.0, 0.5, 1.0])):
        metric.update_state(torch.ones(4), outside)
        assert all(0.0 <= float(value) <= 4.0 for value in metric.variables[0].reshape(-1))
    assert metrics.TruePositives(thresholds=[0.2, 0.9])(torch.ones(4), outside).tolist() == [2.0, 2.0]


def test_thresholds_are_compared_in_the_precision_of_the_predictions():
    assert float(metrics.TruePositives(thresholds=0.3)([1], torch.tensor([0.3]))) == 0.0
    assert float(metrics.BinaryAccuracy(threshold=0.3)([[1]], torch.tensor([[0.3]]))) == 0.0


def test_weights_of_a_segmentation_may_be_given_for_each_sample():
    y_true, y_pred = torch.tensor([[0, 1], [1, 1]]), torch.tensor([[0, 0], [1, 1]])
    metric = metrics.MeanIoU(num_classes=2)
    metric.update_state(y_true, y_pred, [0.5, 2.0])
    assert metric.total_cm.tolist() == [[0.5, 0.0], [0.5, 4.0]]


def test_variance_that_is_only_rounding_counts_as_none():
    y_true = torch.full((7, 1), 1000.1)
    assert float(metrics.R2Score()(y_true, y_true + 1.0)) == 0.0
    assert metrics.PearsonCorrelation(axis=0)(y_true, torch.arange(7.0)[:, None]).isnan()


def test_an_adjusted_score_of_too_few_samples_warns_and_is_the_plain_one():
    metric = metrics.R2Score(num_regressors=2)
    metric.update_state([[1.0], [2.0], [3.0]], [[1.0], [2.0], [5.0]])
    with pytest.warns(UserWarning, match="3 targets are too few"):
        assert float(metric.result()) == -1.0


class Positives(metrics.Metric):
    """As one would write it for Keras."""

    def __init__(self, name="positives", **kwargs):
        super().__init__(name=name, **kwargs)
        self.total = self.add_variable(shape=(), initializer="zeros", name="total")
        self.seen = self.add_weight(name="seen", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.total.assign(self.total + torch.sum(y_pred > 0.5))
        self.seen.assign_add(y_pred.numel())
        self.seen.assign_sub(0)

    def result(self):
        return self.total / self.seen


def test_an_own_metric_may_use_keras_s_way_of_changing_variables():
    metric = metrics.get(Positives)
    assert float(metric(ONE_HOT, P)) == 2 / 12
    assert metrics.resolve(Positives(), (1, 3), (1, 3)).name == "positives"
    assert metric.from_config(metric.get_config()).name == "positives"


class Both(metrics.Metric):
    """A metric made of metrics."""

    def __init__(self):
        super().__init__()
        self.parts = [metrics.F1Score(average="micro"), Positives()]
        self.error = metrics.MeanSquaredError()

    def update_state(self, y_true, y_pred, sample_weight=None):
        for metric in (*self.parts, self.error):
            metric.update_state(y_true, y_pred, sample_weight)

    def result(self):
        return self.parts[0].result() + self.error.result()


def test_the_variables_of_metrics_within_a_metric_are_its_own():
    metric = metrics.resolve(Both(), (1, 3), (1, 3))
    assert metric.name == "both" and len(metric.variables) == 4 + 2 + 2
    first = float(metric(ONE_HOT, P))
    metric.reset_state()
    assert not any(variable.any() for variable in metric.variables)
    assert float(metric(ONE_HOT, P)) == first
    assert float(cloudpickle.loads(cloudpickle.dumps(metric)).result()) == first
