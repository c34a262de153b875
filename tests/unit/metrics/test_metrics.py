"""Numbers marked Keras come from Keras 3.15.1 on its torch backend."""

import copy
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from disttrain import losses, metrics
from disttrain.errors import DataError

Y = torch.tensor([0, 1, 0, 1, 1, 0, 1, 0])
SCORES = torch.tensor([0.1, 0.9, 0.4, 0.35, 0.8, 0.7, 0.55, 0.2])
WEIGHTS = torch.tensor([1, 2, 1, 0.5, 1, 1, 0, 3])
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


def test_binary_accuracy_counts_what_is_strictly_above_the_threshold():
    assert float(metrics.BinaryAccuracy()(torch.tensor([1, 0]), torch.tensor([[0.5], [0.5]]))) == 0.5


def test_categorical_accuracy_compares_the_largest_classes():
    assert float(metrics.CategoricalAccuracy()(ONE_HOT, P)) == 0.5  # rows 0 and 2


def test_a_tie_among_the_k_largest_is_a_hit():
    tied = torch.tensor([[0.4, 0.2, 0.2, 0.2]])
    assert float(metrics.SparseTopKCategoricalAccuracy(k=2)(torch.tensor([3]), tied)) == 1.0
    assert float(metrics.TopKCategoricalAccuracy(k=1)(torch.tensor([[0.0, 0.0, 0.0, 1.0]]), tied)) == 0.0


def test_sequences_are_averaged_within_a_sample_and_weighted_by_step():
    labels, scores = torch.tensor([[0, 1], [1, 1]]), torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    assert float(metrics.SparseCategoricalAccuracy()(labels, scores)) == 0.75
    assert float(metrics.SparseCategoricalAccuracy()(labels, scores, torch.tensor([[1.0, 0.0], [1.0, 1.0]]))) == 1.0


def test_masked_steps_do_not_count():
    scores = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    scores._keras_mask = torch.tensor([[True, False]])
    assert float(metrics.SparseCategoricalAccuracy()(torch.tensor([[0, 1]]), scores)) == 1.0


def test_an_ignored_class_does_not_count():
    metric = metrics.SparseCategoricalCrossentropy(ignore_class=2)
    assert float(metric(LABELS, P)) == pytest.approx(0.713558, abs=2e-6)  # the loss of Keras: the mean of rows 0 and 2
    assert float(metric.count) == 2.0


def test_root_mean_squared_error_is_the_root_of_the_mean():
    assert float(metrics.RootMeanSquaredError()(torch.zeros(2, 1), torch.tensor([[1.0], [7.0]]))) == 5.0


@pytest.mark.parametrize(
    ("kind", "arguments", "y", "p"),
    [
        ("MeanSquaredError", {}, ONE_HOT, P),
        ("MeanAbsoluteError", {}, ONE_HOT, P),
        ("BinaryCrossentropy", {"label_smoothing": 0.1}, ONE_HOT, P),
        ("BinaryCrossentropy", {"from_logits": True}, ONE_HOT, P),
        ("CategoricalCrossentropy", {"label_smoothing": 0.1}, ONE_HOT, P),
        ("CategoricalCrossentropy", {"from_logits": True}, ONE_HOT, P),
        ("SparseCategoricalCrossentropy", {}, LABELS, P),
        ("SparseCategoricalCrossentropy", {"from_logits": True}, LABELS[:, None], P),
    ],
)
def test_a_metric_and_the_loss_of_the_same_name_agree(kind, arguments, y, p):
    assert float(getattr(metrics, kind)(**arguments)(y, p)) == pytest.approx(float(getattr(losses, kind)(**arguments)(y, p)), rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "plain", "weighted"),
    [
        ({}, 0.8125, 0.952381),
        ({"curve": "PR"}, 0.836919, 0.945537),
        ({"num_thresholds": 5}, 0.875, 0.964286),
        ({"summation_method": "minoring"}, 0.8125, 0.952381),
        ({"summation_method": "majoring", "num_thresholds": 5}, 0.9375, 0.976190),
        ({"thresholds": [0.3, 0.6]}, 0.75, 0.892857),
        ({"curve": "PR", "summation_method": "majoring", "num_thresholds": 5}, 0.9375, 0.964286),
    ],
)
def test_auc_is_keras_s_riemann_sum(arguments, plain, weighted):
    assert float(metrics.AUC(**arguments)(Y, SCORES)) == pytest.approx(plain, abs=1e-6)
    assert float(metrics.AUC(**arguments)(Y, SCORES[:, None], WEIGHTS)) == pytest.approx(weighted, abs=1e-6)


def test_auc_of_several_labels_is_the_mean_over_the_columns():
    assert float(metrics.AUC(multi_label=True)(ONE_HOT, P)) == pytest.approx(0.569444, abs=1e-6)  # Keras


def test_auc_survives_predictions_outside_zero_to_one():
    assert 0.0 <= float(metrics.AUC()(torch.tensor([0, 1, 1]), torch.tensor([-5.0, 7.0, float("nan")]))) <= 1.0


def test_precision_and_recall_at_one_threshold_or_several():
    assert float(metrics.Precision()(Y, SCORES, WEIGHTS)) == pytest.approx(0.75)  # (2 + 1) / (2 + 1 + 1)
    assert float(metrics.Recall()(Y, SCORES, WEIGHTS)) == pytest.approx(3 / 3.5)
    assert metrics.Precision(thresholds=[0.3, 0.6])(Y, SCORES, WEIGHTS).tolist() == pytest.approx([0.636364, 0.75], abs=1e-6)  # Keras
    assert metrics.Recall(thresholds=[0.3, 0.6])(Y, SCORES, WEIGHTS).tolist() == pytest.approx([1.0, 0.857143], abs=1e-6)  # Keras


def test_nothing_predicted_and_nothing_to_find_is_zero():
    assert float(metrics.Precision()(torch.tensor([1, 1]), torch.tensor([0.1, 0.2]))) == 0.0
    assert float(metrics.Recall()(torch.tensor([0, 0]), torch.tensor([0.1, 0.2]))) == 0.0
    assert float(metrics.Mean().result()) == 0.0


def test_precision_of_the_k_largest_and_of_one_class():
    assert float(metrics.Precision(top_k=1)(ONE_HOT, P + torch.tensor([0.0, 0.01, 0.0]))) == 0.25  # only row 0
    assert float(metrics.Recall(class_id=1)(ONE_HOT, P)) == 1.0
    with pytest.raises(ValueError, match=r"1.5 is outside 0 to 1"):
        metrics.Precision(thresholds=[0.5, 1.5])


EVERY = [
    (metrics.SparseCategoricalAccuracy, LABELS, P),
    (metrics.CategoricalAccuracy, ONE_HOT, P),
    (metrics.BinaryAccuracy, ONE_HOT, P),
    (metrics.TopKCategoricalAccuracy, ONE_HOT, P),
    (metrics.SparseTopKCategoricalAccuracy, LABELS, P),
    (metrics.Accuracy, ONE_HOT, P),
    (metrics.MeanSquaredError, ONE_HOT, P),
    (metrics.MeanAbsoluteError, ONE_HOT, P),
    (metrics.RootMeanSquaredError, ONE_HOT, P),
    (metrics.BinaryCrossentropy, ONE_HOT, P),
    (metrics.CategoricalCrossentropy, ONE_HOT, P),
    (metrics.SparseCategoricalCrossentropy, LABELS, P),
    (metrics.Precision, ONE_HOT, P),
    (metrics.Recall, ONE_HOT, P),
    (metrics.AUC, ONE_HOT, P),
]


@pytest.mark.parametrize(("kind", "y", "p"), EVERY, ids=lambda value: getattr(value, "__name__", ""))
def test_the_states_of_slices_add_up_to_the_state_of_the_whole(kind, y, p):
    whole, parts = kind(), [kind(), kind()]
    whole.update_state(y, p)
    parts[0].update_state(y[:1], p[:1])
    parts[1].update_state(y[1:], p[1:])
    for variable, left, right in zip(whole.variables, parts[0].variables, parts[1].variables, strict=True):
        assert variable.dtype == torch.float64
        assert torch.allclose(variable, left + right, rtol=1e-7)


@pytest.mark.parametrize(("kind", "y", "p"), EVERY, ids=lambda value: getattr(value, "__name__", ""))
def test_every_metric_is_rebuilt_from_its_config_and_reset(kind, y, p):
    metric = kind(name="mine")
    again = metrics.get({"class_name": kind.__name__, "config": metric.get_config()})
    assert type(again) is kind and again.get_config() == metric.get_config()
    first = again(y, p)
    again.reset_state()
    assert all(not variable.any() for variable in again.variables)
    assert torch.equal(first, again(y, p))


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1, width=32)), min_size=1, max_size=30), st.integers(1, 29))
def test_counts_do_not_depend_on_where_the_data_are_cut(rows, cut):
    y, p = torch.tensor([row[0] for row in rows]), torch.tensor([row[1] for row in rows])
    whole, parts = metrics.AUC(), metrics.AUC()
    whole.update_state(y, p)
    for piece in (slice(0, cut), slice(cut, None)):
        if len(y[piece]):
            parts.update_state(y[piece], p[piece])
    assert all(torch.equal(a, b) for a, b in zip(whole.variables, parts.variables, strict=True))


def test_variables_may_be_made_views_of_one_vector():
    metric, vector = metrics.Mean(), torch.zeros(2, dtype=torch.float64)
    for offset, variable in enumerate(metric.variables):
        variable.set_(vector.untyped_storage(), offset, variable.shape, ())
    metric.update_state(torch.tensor([1.0, 3.0]))
    assert vector.tolist() == [4.0, 2.0]
    assert float(metric.result()) == 2.0


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda metric: pickle.loads(pickle.dumps(metric))], ids=["deepcopy", "pickle"])
def test_a_copy_keeps_its_own_sums(twin):
    metric = metrics.Mean()
    metric.update_state([1.0])
    other = twin(metric)
    other.update_state([3.0])
    assert float(metric.result()) == 1.0 and float(other.result()) == 2.0
    assert other.variables[0] is other.total


def test_an_own_metric_may_use_keras_s_way_of_changing_variables():
    class Positives(metrics.Metric):
        def __init__(self):
            super().__init__(name="positives")
            self.total = self.add_variable(shape=(), initializer="zeros", name="total")

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.total.assign_add(torch.sum(y_pred > 0.5))

        def result(self):
            return self.total

    assert float(Positives()(Y, SCORES)) == 4.0
    with pytest.raises(ValueError, match="expected 'zeros'"):
        metrics.Mean().add_variable((), initializer="ones", name="start")


@pytest.mark.parametrize(
    ("y_shape", "y_pred_shape", "kind"),
    [
        ((8,), (8, 1), metrics.BinaryAccuracy),
        ((8, 1), (8, 1), metrics.BinaryAccuracy),
        ((1,), (1,), metrics.BinaryAccuracy),
        ((8,), (8, 10), metrics.SparseCategoricalAccuracy),
        ((8, 1), (8, 10), metrics.SparseCategoricalAccuracy),
        ((8, 10), (8, 10), metrics.CategoricalAccuracy),
        ((8, 5), (8, 5, 10), metrics.SparseCategoricalAccuracy),
    ],
)
def test_accuracy_is_chosen_by_the_shapes(y_shape, y_pred_shape, kind):
    for name in ("accuracy", "acc"):
        metric = metrics.resolve(name, y_shape, y_pred_shape)
        assert type(metric) is kind and metric.name == name


def test_crossentropy_is_chosen_by_the_shapes_and_reads_outputs_as_the_loss_does():
    metric = metrics.resolve("ce", (8,), (8, 10), losses.SparseCategoricalCrossentropy(from_logits=True))
    assert type(metric) is metrics.SparseCategoricalCrossentropy and metric.from_logits and metric.name == "ce"


def test_a_string_names_the_metric_and_an_object_keeps_its_name():
    assert metrics.resolve("mae", (8, 1), (8, 1)).name == "mae"
    assert metrics.resolve(metrics.MeanAbsoluteError(name="off"), (8, 1), (8, 1)).name == "off"
    assert metrics.resolve(losses.Huber(), (8, 1), (8, 1)).name == "huber_loss"


def test_a_loss_as_a_metric_counts_samples_not_batches():
    metric = metrics.resolve(losses.MeanAbsoluteError(), (1, 1), (1, 1))
    metric.update_state(torch.zeros(1, 1), torch.full((1, 1), 4.0))
    metric.update_state(torch.zeros(3, 1), torch.zeros(3, 1))
    assert float(metric.result()) == 1.0 and metric._direction == "down"


def test_multi_label_auc_has_its_variables_once_it_is_resolved():
    assert len(metrics.resolve(metrics.AUC(multi_label=True), (1, 3), (1, 3)).variables) == 4


def test_an_unknown_name_lists_the_nearest_metric_first():
    with pytest.raises(ValueError, match=r"'precison'\]: no such metric.\n  expected  one of precision, "):
        metrics.get("precison")


def test_shapes_that_do_not_fit_a_metric_are_an_error():
    with pytest.raises(DataError, match=r"y_true has shape \(4, 3\)"):
        metrics.SparseCategoricalAccuracy()(ONE_HOT, P)
    with pytest.raises(DataError, match=r"y_pred has shape \(4, 3\)"):
        metrics.MeanSquaredError()(torch.zeros(4), P)


def test_updating_leaves_no_gradient_behind():
    metric = metrics.MeanSquaredError()
    metric.update_state(ONE_HOT, P.clone().requires_grad_())
    assert not metric.result().requires_grad
