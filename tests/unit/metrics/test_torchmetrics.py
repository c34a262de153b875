"""Metrics of torchmetrics: their own values over an epoch, whatever the slices; what cannot be merged is refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch_cases
import torchmetrics
from torch import Tensor, nn

import disttrain as dt
from disttrain import metrics
from disttrain.data.packing import unpack_x_y_sample_weight
from disttrain.errors import DataError, UsageError

pytestmark = pytest.mark.filterwarnings("ignore:No (positive|negative) samples in targets")  # torchmetrics', of the value of a slice
RANDOM = np.random.default_rng(0)
X = RANDOM.random((20, 4)).astype("float32")
Y = (X.sum(1, keepdims=True) + 1).astype("float32")


@pytest.fixture(params=[1, 3])
def virtual_workers(request: Any):
    dt.set_virtual_workers(request.param)
    yield request.param
    dt.set_virtual_workers(1)


def history(net: nn.Module, measured: Any, x: np.ndarray, y: np.ndarray, **arguments: Any) -> dict[str, list[Any]]:
    model = dt.Sequential([net])
    model.compile(dt.optimizers.SGD(0.0), lambda y_true, y_pred: y_pred.square().mean(), metrics=measured)
    return model.fit(x, y, batch_size=7, verbose=0, **arguments).history


@pytest.mark.parametrize(
    "kind",
    [torchmetrics.R2Score, torchmetrics.MeanAbsolutePercentageError, torchmetrics.MeanSquaredLogError, torchmetrics.MeanSquaredError],
)
def test_a_metric_gives_the_value_of_torchmetrics_in_each_epoch_and_validation(kind: Any, virtual_workers: int):
    net = nn.Linear(4, 1)
    nn.init.constant_(net.bias, 2.0)
    expected = float(kind()(net(torch.from_numpy(X)).detach(), torch.from_numpy(Y)))
    halved = float(kind()(net(torch.from_numpy(X[:9])).detach(), torch.from_numpy(Y[:9])))
    found = history(net, [kind()], X, Y, epochs=2, validation_data=(X[:9], Y[:9]))
    (name,) = (key for key in found if key not in ("loss", "val_loss") and not key.startswith("val_"))
    assert found[name] == pytest.approx([expected] * 2, rel=1e-4)  # R2Score takes differences of float32 sums
    assert found[f"val_{name}"] == pytest.approx([halved] * 2, rel=1e-4)


@pytest.mark.parametrize("name", [name for name in torch_cases.METRICS if name != "mean and least"])
def test_states_of_every_kind_come_together_as_torchmetrics_says(name: str, virtual_workers: int):
    make, _, _ = torch_cases.METRICS[name]
    task = torch_cases.metric_task(name)
    model = task.model
    outputs = model(torch.from_numpy(task.x)).detach()
    targets = torch.from_numpy(task.y)
    alone = make()
    labels = targets.long() if "Multi" in name else targets
    alone.update(outputs, labels)
    model.optimizer.learning_rate = 0.0
    found = model.fit(task.x, task.y, batch_size=4, verbose=0).history
    (key,) = (key for key in found if key != "loss")
    np.testing.assert_allclose(np.asarray(found[key][0]), alone.compute().numpy(), rtol=1e-5)


def test_a_collection_is_logged_by_its_names(virtual_workers: int):
    collection = torchmetrics.MetricCollection({"r2": torchmetrics.R2Score(), "mse": torchmetrics.MeanSquaredError()}, prefix="my_")
    assert {"my_r2", "my_mse"} < set(history(nn.Linear(4, 1), collection, X, Y))


def test_labels_may_be_floats_or_a_column(virtual_workers: int):
    net = nn.Sequential(nn.Linear(4, 3), nn.Softmax(-1))
    labels = RANDOM.integers(0, 3, 20)
    alone = torchmetrics.Accuracy(task="multiclass", num_classes=3)
    expected = float(alone(net(torch.from_numpy(X)), torch.from_numpy(labels)))
    for y in (labels, labels[:, None], labels[:, None].astype("float32")):
        found = history(net, [torchmetrics.Accuracy(task="multiclass", num_classes=3)], X, y)
        assert found["multiclass_accuracy"] == [pytest.approx(expected)]


class Measured(dt.Model):
    """Measures by attributes, as a Lightning module would."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 3), nn.Softmax(-1))
        self.accuracy = torchmetrics.classification.MulticlassAccuracy(3, average="micro")
        self.scores = torchmetrics.MetricCollection(
            [torchmetrics.classification.MulticlassPrecision(3), torchmetrics.classification.MulticlassRecall(3)]
        )
        self.kept = torchmetrics.classification.MulticlassAUROC(3)
        self.unused = torchmetrics.SumMetric()

    def call(self, x: Tensor) -> Tensor:
        return self.net(x)

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y, _ = unpack_x_y_sample_weight(data)
        y_pred = self(x)
        self.zero_grad()
        loss = nn.functional.nll_loss(y_pred.log(), y)
        loss.backward()
        with torch.no_grad():
            self.optimizer.apply([w.grad for w in self.trainable_weights], self.trainable_weights)
        self.scores.update(y_pred, y)
        self.kept.update(y_pred.detach(), y)
        return {"loss": loss, "acc": self.accuracy(y_pred, y), **self.scores.compute(), "auroc": self.kept.compute()}


def test_metrics_in_attributes_count_each_epoch_anew_and_forget_the_first_try(virtual_workers: int):
    labels = RANDOM.integers(0, 3, 20)
    model = Measured()
    model.compile(dt.optimizers.SGD(0.0))
    found = model.fit(X, labels, batch_size=7, epochs=2, verbose=0).history
    outputs, targets = model(torch.from_numpy(X)).detach(), torch.from_numpy(labels)
    fresh = Measured()
    expected = {
        "acc": fresh.accuracy(outputs, targets), "auroc": fresh.kept(outputs, targets),
        **fresh.scores(outputs, targets),
    }  # fmt: skip
    assert found.keys() == {"loss", *expected}
    for name, value in expected.items():
        assert found[name] == pytest.approx([float(value)] * 2, rel=1e-5), name
    assert float(model.accuracy.compute()) == pytest.approx(float(expected["acc"]))  # the script may ask the metric itself


def test_a_metric_that_no_step_touches_is_left_alone():
    model = Measured()
    model.unused.update(5.0)
    model.compile(dt.optimizers.SGD(0.0))
    model.fit(X, RANDOM.integers(0, 3, 20), batch_size=7, verbose=0)
    assert float(model.unused.compute()) == 5.0


@pytest.mark.filterwarnings("ignore:Metric `SpearmanCorrcoef` will save all")
def test_metrics_on_batches_of_any_size():
    model = dt.Sequential([nn.Linear(4, 1)])
    model.compile(dt.optimizers.SGD(0.0), "mse", metrics=[torchmetrics.SpearmanCorrCoef()])
    for size in (5, 20, 3):
        found = model.train_on_batch(X[:size], Y[:size], return_dict=True)["spearman_corr_coef"]
        outputs = model(torch.from_numpy(X[:size])).detach()
        assert found == pytest.approx(float(torchmetrics.SpearmanCorrCoef()(outputs, torch.from_numpy(Y[:size]))), rel=1e-5)


class Custom(torchmetrics.Metric):
    """A state with any reduction."""

    def __init__(self, reduction: Any, default: Any = 0.0) -> None:
        super().__init__()
        self.add_state("odd", torch.tensor(default) if default is not None else [], dist_reduce_fx=reduction)

    def update(self, preds: Tensor, target: Tensor) -> None:
        if isinstance(self.odd, list):
            self.odd.append(preds[preds > preds.mean()])

    def compute(self) -> Tensor:
        return torch.zeros(())


@pytest.mark.parametrize("reduction", [None, torch.prod])
def test_a_state_that_cannot_be_merged_is_refused_by_name(reduction: Any):
    says = "None" if reduction is None else "prod"
    with pytest.raises(ValueError, match=f"torchmetrics' Custom: its state 'odd' has dist_reduce_fx={says}"):
        history(nn.Linear(4, 1), [Custom(reduction)], X, Y)


def test_what_else_cannot_be_counted_is_refused_by_name():
    with pytest.raises(ValueError, match="PearsonCorrCoef: its state 'mean_x' has dist_reduce_fx=None"):
        history(nn.Linear(4, 1), [torchmetrics.PearsonCorrCoef()], X, Y)
    with pytest.raises(ValueError, match="MinMaxMetric keeps other metrics"):
        history(nn.Linear(4, 1), [torchmetrics.MinMaxMetric(torchmetrics.R2Score())], X, Y)
    with pytest.raises(DataError, match=r"Custom keeps \d values of \d samples in its state 'odd'"):
        history(nn.Linear(4, 1), [Custom("cat", None)], X, Y)
    model = dt.Sequential([nn.Linear(4, 1)])
    model.compile(dt.optimizers.SGD(0.0), "mse", weighted_metrics=[torchmetrics.R2Score()])
    with pytest.raises(UsageError, match="R2Score takes no weights of samples"):
        model.fit(X, Y, sample_weight=np.ones(20), verbose=0)


def test_the_direction_is_that_of_the_package():
    assert metrics.get(torchmetrics.R2Score())._direction == "up"
    assert metrics.get(torchmetrics.MeanSquaredError())._direction == "down"
