"""Metrics by name, by the shapes of a model's outputs, and by config."""

import pytest
import torch

from disttrain import losses, metrics


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mse", metrics.MeanSquaredError),
        ("MSE", metrics.MeanSquaredError),
        ("mean_squared_error", metrics.MeanSquaredError),
        ("MeanSquaredError", metrics.MeanSquaredError),
        ("mape", metrics.MeanAbsolutePercentageError),
        ("MSLE", metrics.MeanSquaredLogarithmicError),
        ("bce", metrics.BinaryCrossentropy),
        ("AUC", metrics.AUC),
        ("auc", metrics.AUC),
        ("log_cosh_error", metrics.LogCoshError),
        ("logcosh", metrics.LogCoshError),
        ("kl_divergence", metrics.KLDivergence),
        ("f1_score", metrics.F1Score),
        ("f_beta_score", metrics.FBetaScore),
        ("r2_score", metrics.R2Score),
        ("true_positives", metrics.TruePositives),
        ("binary_io_u", metrics.BinaryIoU),
    ],
)
def test_names_find_their_class(name, kind):
    assert type(metrics.get(name)) is kind


def test_a_name_of_a_function_alone_gives_its_mean():
    metric = metrics.get("huber")
    assert float(metric([[0.0], [0.0]], [[1.0], [3.0]])) == (0.5 + 2.5) / 2
    assert metric.name == "huber" and metric._direction == "down"


def test_none_instances_classes_and_functions_are_taken():
    metric = metrics.Mean()
    assert metrics.get(None) is None
    assert metrics.get(metric) is metric
    assert type(metrics.get(metrics.Recall)) is metrics.Recall
    assert metrics.get(metrics.mean_absolute_error)._direction == "down"
    assert metrics.get(metrics.binary_accuracy).name == "binary_accuracy"
    assert metrics.get(lambda y_true, y_pred: y_pred).name == "lambda"
    assert metrics.get(losses.MeanSquaredError)._direction == "down"


def test_an_unknown_name_lists_the_nearest_metric_first():
    with pytest.raises(ValueError, match=r"'precison'\]: no such metric.\n  expected  one of precision, "):
        metrics.get("precison")


@pytest.mark.parametrize("wrong", [3, {"config": {}}, {"class_name": 3}, {"class_name": "huber", "config": {}}])
def test_what_is_no_metric_is_refused(wrong):
    with pytest.raises(ValueError, match="metrics="):
        metrics.get(wrong)
    with pytest.raises(ValueError, match="expected a name"):
        metrics.resolve(None, (1, 1), (1, 1))


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
    with pytest.raises(ValueError, match="there are no targets to choose by"):
        metrics.resolve("ce", None, (8, 10))


def test_a_string_names_the_metric_and_an_object_keeps_its_name():
    assert metrics.resolve("mae", (8, 1), (8, 1)).name == "mae"
    assert metrics.resolve(metrics.MeanAbsoluteError(name="off"), (8, 1), (8, 1)).name == "off"
    assert metrics.resolve(losses.Huber(), (8, 1), (8, 1)).name == losses.Huber().name


@pytest.mark.parametrize(
    ("metric", "shape", "variables"),
    [
        (metrics.AUC(multi_label=True), (1, 3), 4),
        (metrics.F1Score(), (1, 3), 4),
        (metrics.R2Score(), (1, 2), 5),
        (metrics.PearsonCorrelation(axis=0), (1, 2), 3),
    ],
)
def test_a_resolved_metric_has_all_its_variables_and_may_be_resolved_again(metric, shape, variables):
    assert len(metrics.resolve(metric, shape, shape).variables) == variables
    assert len(metrics.resolve(metric, shape, shape).variables) == variables
    metric.update_state(torch.ones(4, shape[1]), torch.rand(4, shape[1]))
    assert len(metric.variables) == variables


def test_a_variable_added_once_training_knows_them_all_is_an_error():
    class Late(metrics.Metric):
        def update_state(self, y_true, y_pred, sample_weight=None):
            self.total = self.add_variable(name="total")

        def result(self):
            return self.total

    with pytest.raises(ValueError, match=r"Late adds the variable 'total' in update_state.*\n.*__init__"):
        metrics.resolve(Late(), (1, 1), (1, 1)).update_state(None, None)


def test_functions_in_configs_are_found_by_name_and_own_ones_among_the_custom_objects():
    function = {"module": "builtins", "class_name": "function", "config": "mean_absolute_error", "registered_name": "function"}
    config = {"class_name": "MeanMetricWrapper", "config": {"name": "x", "dtype": "float32", "fn": function}}
    assert float(metrics.deserialize(config)([[0.0]], [[2.0]])) == 2.0
    assert float(metrics.deserialize(function)([[0.0]], [[2.0]])) == 2.0
    function["config"] = "mine"
    with pytest.raises(ValueError, match="the function 'mine', which is not known"):
        metrics.deserialize(config)
    assert float(metrics.deserialize(config, {"mine": lambda y_true, y_pred: y_pred})([[0.0]], [[3.0]])) == 3.0


def test_a_class_of_one_s_own_is_written_with_its_module_and_read_from_the_custom_objects():
    class Mine(metrics.Mean):
        pass

    config = metrics.serialize(Mine(name="m"))
    assert config["class_name"] == "Mine" and config["module"] == __name__
    assert type(metrics.deserialize(config, {"Mine": Mine})) is Mine
    assert type(metrics.deserialize("Mine", {"Mine": Mine})) is Mine
    with pytest.raises(ValueError, match="no such metric"):
        metrics.deserialize(config)


def test_label_weights_are_read_from_a_file_of_keras():
    weights = {"class_name": "__tensor__", "config": {"value": [1.0, 2.0], "dtype": "float32"}}
    assert metrics.AUC.from_config({"multi_label": True, "label_weights": weights}).label_weights == [1.0, 2.0]
    assert metrics.AUC.from_config({"label_weights": torch.tensor([1.0, 2.0])}).label_weights == [1.0, 2.0]
