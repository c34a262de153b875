"""What people bring from torch: its losses, losses of their own that divide by a count, torchmetrics; each in the smallest model."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torchmetrics
from slice_runs import Task
from torch import Tensor, nn

import disttrain as dt
from disttrain import layers, losses
from disttrain.data.packing import unpack_x_y_sample_weight

SAMPLES, FEATURES, CLASSES, STEPS = 11, 5, 4, 3
WEIGHT = torch.tensor([0.2, 1.5, 3.0, 0.7])


def _labels(random: np.random.Generator, n: int) -> np.ndarray:
    return random.integers(0, CLASSES, n)


def _ignoring(random: np.random.Generator, n: int) -> np.ndarray:
    labels = _labels(random, n)
    labels[: n // 2 : 2] = -100  # unevenly over slices
    return labels


def _bits(random: np.random.Generator, n: int) -> np.ndarray:
    return random.integers(0, 2, (n, CLASSES)).astype("float32")


def _real(random: np.random.Generator, n: int) -> np.ndarray:
    return random.normal(size=(n, CLASSES)).astype("float32")


def _signs(random: np.random.Generator, n: int) -> np.ndarray:
    return random.choice([-1.0, 1.0], (n, CLASSES)).astype("float32")


def _shares(random: np.random.Generator, n: int) -> np.ndarray:
    return random.dirichlet(np.ones(CLASSES), n).astype("float32")


def _lists(random: np.random.Generator, n: int) -> np.ndarray:
    return np.stack([np.append(random.permutation(CLASSES)[:2], [-1, 0]) for _ in range(n)])


def _counts(random: np.random.Generator, n: int) -> np.ndarray:
    return random.poisson(2.0, (n, CLASSES)).astype("float32")


@dataclass(frozen=True)
class Case:
    """A loss of torch's, targets for it, and the activation of outputs that it can take."""

    make: Callable[[], Any]
    targets: Callable[[np.random.Generator, int], np.ndarray]
    activation: Any = None


def _log_softmax(x: Tensor) -> Tensor:
    return x.log_softmax(-1)


LOSSES: dict[str, Case] = {
    "BCELoss": Case(nn.BCELoss, _bits, "sigmoid"),
    "BCELoss, weights": Case(lambda: nn.BCELoss(weight=WEIGHT), _bits, "sigmoid"),
    "BCEWithLogitsLoss": Case(nn.BCEWithLogitsLoss, _bits),
    "BCEWithLogitsLoss, weights of positives": Case(lambda: nn.BCEWithLogitsLoss(weight=WEIGHT, pos_weight=WEIGHT.flip(0)), _bits),
    "CrossEntropyLoss": Case(nn.CrossEntropyLoss, _labels),
    "CrossEntropyLoss, smoothed": Case(lambda: nn.CrossEntropyLoss(label_smoothing=0.2), _ignoring),
    "CrossEntropyLoss, weights": Case(lambda: nn.CrossEntropyLoss(weight=WEIGHT), _labels),
    "CrossEntropyLoss, all of it": Case(lambda: nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=2, label_smoothing=0.1), _labels),
    "CrossEntropyLoss, ignoring": Case(nn.CrossEntropyLoss, _ignoring),
    "CrossEntropyLoss, ignoring, sum": Case(lambda: nn.CrossEntropyLoss(reduction="sum"), _ignoring),
    "CrossEntropyLoss, probabilities": Case(lambda: nn.CrossEntropyLoss(weight=WEIGHT, label_smoothing=0.1), _shares),
    "HingeEmbeddingLoss": Case(lambda: nn.HingeEmbeddingLoss(margin=0.5), _signs),
    "HuberLoss": Case(lambda: nn.HuberLoss(delta=0.5), _real),
    "KLDivLoss": Case(nn.KLDivLoss, _shares, _log_softmax),
    "KLDivLoss, batchmean": Case(lambda: nn.KLDivLoss(reduction="batchmean"), _shares, _log_softmax),
    "L1Loss": Case(nn.L1Loss, _real),
    "MSELoss": Case(nn.MSELoss, _real),
    "MSELoss, sum": Case(lambda: nn.MSELoss(reduction="sum"), _real),
    "MultiLabelMarginLoss": Case(nn.MultiLabelMarginLoss, _lists),
    "MultiLabelSoftMarginLoss": Case(lambda: nn.MultiLabelSoftMarginLoss(weight=WEIGHT), _bits),
    "MultiMarginLoss": Case(lambda: nn.MultiMarginLoss(p=2, weight=WEIGHT), _labels),
    "NLLLoss": Case(nn.NLLLoss, _labels, _log_softmax),
    "NLLLoss, weights, ignoring": Case(lambda: nn.NLLLoss(weight=WEIGHT), _ignoring, _log_softmax),
    "PoissonNLLLoss": Case(lambda: nn.PoissonNLLLoss(full=True), _counts),
    "SmoothL1Loss": Case(lambda: nn.SmoothL1Loss(beta=0.5), _real),
    "SoftMarginLoss": Case(nn.SoftMarginLoss, _signs),
    "binary_cross_entropy": Case(lambda: F.binary_cross_entropy, _bits, "sigmoid"),
    "binary_cross_entropy_with_logits": Case(lambda: F.binary_cross_entropy_with_logits, _bits),
    "cross_entropy": Case(lambda: F.cross_entropy, _ignoring),
    "cross_entropy, partial": Case(lambda: functools.partial(F.cross_entropy, weight=WEIGHT, ignore_index=1), _labels),
    "hinge_embedding_loss": Case(lambda: F.hinge_embedding_loss, _signs),
    "huber_loss": Case(lambda: F.huber_loss, _real),
    "kl_div": Case(lambda: F.kl_div, _shares, _log_softmax),
    "kl_div, partial": Case(lambda: functools.partial(F.kl_div, reduction="batchmean"), _shares, _log_softmax),
    "l1_loss": Case(lambda: F.l1_loss, _real),
    "mse_loss": Case(lambda: F.mse_loss, _real),
    "mse_loss, sum": Case(lambda: functools.partial(F.mse_loss, reduction="sum"), _real),
    "multi_margin_loss": Case(lambda: F.multi_margin_loss, _labels),
    "multilabel_margin_loss": Case(lambda: F.multilabel_margin_loss, _lists),
    "multilabel_soft_margin_loss": Case(lambda: F.multilabel_soft_margin_loss, _bits),
    "nll_loss": Case(lambda: F.nll_loss, _ignoring, _log_softmax),
    "poisson_nll_loss": Case(lambda: F.poisson_nll_loss, _counts),
    "smooth_l1_loss": Case(lambda: F.smooth_l1_loss, _real),
    "soft_margin_loss": Case(lambda: F.soft_margin_loss, _signs),
}


def loss_task(name: str, dtype: str = "float32", weighted: bool = False) -> Task:
    """A model that learns by this loss."""
    case = LOSSES[name]
    _start()
    model = _dense(case.activation, dtype)
    model.compile(dt.optimizers.SGD(0.05), case.make(), metrics=[case.make()])
    random = np.random.default_rng(3)
    x = random.normal(size=(SAMPLES, FEATURES)).astype("float32")
    weight = random.uniform(0.2, 2.0, SAMPLES).astype("float32") if weighted else None
    return Task(model, x, case.targets(random, SAMPLES), weight, epochs=1)


def _dense(activation: Any, dtype: str) -> Any:
    return dt.Sequential([dt.Input((FEATURES,), dtype=dtype), layers.Dense(CLASSES, activation, dtype=dtype)])


# -- losses of the script's own ------------------------------------------------------------------------------------------------------------


class Labelled(dt.Model):
    """A row of classes for each step of a sequence; labels among the inputs, as language models of the hub take them."""

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype=dtype)
        self.head = layers.Dense(CLASSES, dtype=dtype)

    def call(self, inputs: dict[str, Tensor]) -> Tensor:
        logits: Tensor = self.head(inputs["x"])
        self.add_loss(F.cross_entropy(logits.transpose(1, 2), inputs["labels"]))
        return logits


class OwnLoss(dt.Model):
    """The mean over the steps that count, by `batch_divisor`."""

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype=dtype)
        self.head = layers.Dense(CLASSES, dtype=dtype)

    def call(self, x: Tensor) -> Tensor:
        return self.head(x)

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True) -> Tensor:
        values = F.cross_entropy(y_pred.transpose(1, 2), y, reduction="none")
        return values.sum() / losses.batch_divisor((y != -100).sum())


class OwnStep(OwnLoss):
    """A step that takes torch's mean, and one after it; a torchmetric in an attribute, and a Keras metric."""

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        self.accuracy = torchmetrics.classification.MulticlassAccuracy(CLASSES, ignore_index=-100, average="micro")
        self.largest = torchmetrics.MaxMetric()

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y, _ = unpack_x_y_sample_weight(data)
        for _ in range(2):
            y_pred = self(x, training=True)
            self.zero_grad()
            loss = F.cross_entropy(y_pred.transpose(1, 2), y)
            loss.backward()
            with torch.no_grad():
                self.optimizer.apply([w.grad for w in self.trainable_weights], self.trainable_weights)
        self.accuracy.update(y_pred.detach().transpose(1, 2), y)
        self.largest.update(y_pred.detach())
        return {"loss": loss, "accuracy": self.accuracy.compute(), "largest": self.largest.compute()}

    def test_step(self, data: Any) -> dict[str, Any]:
        x, y, _ = unpack_x_y_sample_weight(data)
        y_pred = self(x, training=False)
        self.accuracy(y_pred.transpose(1, 2), y)
        return {"loss": F.cross_entropy(y_pred.transpose(1, 2), y), "accuracy": self.accuracy.compute()}


def _lambda(dtype: str) -> Any:
    model = dt.Sequential([dt.Input((STEPS, FEATURES), dtype=dtype), layers.Dense(CLASSES, dtype=dtype)])
    model.compile(dt.optimizers.SGD(0.1), lambda y_true, y_pred: F.cross_entropy(y_pred.transpose(1, 2), y_true))
    return model


def _masked(dtype: str) -> Any:
    stack = [dt.Input((STEPS, FEATURES), dtype=dtype), layers.Masking(dtype=dtype), layers.Dense(CLASSES, dtype=dtype)]
    model = dt.Sequential(stack)
    model.compile(dt.optimizers.SGD(0.1), losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-100))
    return model


def _compiled(kind: Any, dtype: str) -> Any:
    model = kind(dtype)
    model.compile(dt.optimizers.SGD(0.1))
    return model


IDIOMS: dict[str, Callable[[str], Any]] = {
    "a lambda around torch's cross-entropy": _lambda,
    "a loss among the layers": lambda dtype: _compiled(Labelled, dtype),
    "a loss that divides by a count": lambda dtype: _compiled(OwnLoss, dtype),
    "a mask and classes that are ignored": _masked,
    "two updates of a step, torchmetrics in attributes": lambda dtype: _compiled(OwnStep, dtype),
}


def idiom_task(name: str, dtype: str = "float32") -> Task:
    """Sequences some of whose steps do not count, unevenly over the slices."""
    _start()
    model = IDIOMS[name](dtype)
    random = np.random.default_rng(3)
    x = random.normal(size=(SAMPLES, STEPS, FEATURES)).astype("float32")
    labels = random.integers(0, CLASSES, (SAMPLES, STEPS))
    labels[::3, 1:] = labels[1, :2] = -100
    x[2, 1:] = 0.0
    if name == "a loss among the layers":
        return Task(model, {"x": x, "labels": labels})
    return Task(model, x, labels)


# -- torchmetrics --------------------------------------------------------------------------------------------------------------------------

METRICS: dict[str, tuple[Callable[[], Any], Callable[[np.random.Generator, int], np.ndarray], Any]] = {
    "MultilabelAUROC, exact": (
        lambda: torchmetrics.classification.MultilabelAUROC(CLASSES),
        lambda r, n: _bits(r, n).astype("int64"),
        "sigmoid",
    ),
    "ExplainedVariance": (torchmetrics.ExplainedVariance, _real, None),
    "LargestError": (lambda: LargestError(), _real, None),
    "MeanAbsolutePercentageError": (torchmetrics.MeanAbsolutePercentageError, lambda r, n: _real(r, n) + 5, None),
    "MeanSquaredLogError": (torchmetrics.MeanSquaredLogError, _counts, "softplus"),
    "MultilabelF1Score": (lambda: torchmetrics.classification.MultilabelF1Score(CLASSES), _bits, "sigmoid"),
    "MulticlassAccuracy": (lambda: torchmetrics.Accuracy(task="multiclass", num_classes=CLASSES), _labels, "softmax"),
    "MulticlassConfusionMatrix": (lambda: torchmetrics.classification.MulticlassConfusionMatrix(CLASSES), _labels, "softmax"),
    "R2Score": (lambda: torchmetrics.R2Score(multioutput="variance_weighted"), _real, None),
    "SpearmanCorrCoef": (lambda: _quiet_spearman(), _real, None),
    "mean and least": (lambda: MeanAndLeast(), _real, None),
    "of another": (lambda: torchmetrics.classification.MulticlassAccuracy(CLASSES) + 1.0, _labels, "softmax"),
}


def _quiet_spearman() -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Metric `SpearmanCorrcoef` will save all")
        return torchmetrics.SpearmanCorrCoef(num_outputs=CLASSES)


class LargestError(torchmetrics.Metric):
    """The largest error."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("largest", torch.tensor(-torch.inf), dist_reduce_fx="max")

    def update(self, preds: Tensor, target: Tensor) -> None:
        self.largest = torch.maximum(self.largest, (preds - target).max())

    def compute(self) -> Tensor:
        return self.largest


class MeanAndLeast(torchmetrics.Metric):
    """A mean of batches and the least error by output."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("mean", torch.zeros(CLASSES), dist_reduce_fx="mean")
        self.add_state("least", torch.full((CLASSES,), torch.inf), dist_reduce_fx="min")

    def update(self, preds: Tensor, target: Tensor) -> None:
        self.mean = (preds - target).mean(0)
        self.least = torch.minimum(self.least, (preds - target).amin(0))

    def compute(self) -> dict[str, Tensor]:
        return {"mean_error": self.mean, "least_error": self.least}


def metric_task(name: str, dtype: str = "float32") -> Task:
    """A model that is measured by this metric of torchmetrics."""
    make, targets, activation = METRICS[name]
    _start()
    model = _dense(activation, dtype)
    model.compile(dt.optimizers.SGD(0.1), lambda y_true, y_pred: y_pred.square().mean(), metrics=[make()])
    random = np.random.default_rng(3)
    x = random.normal(size=(SAMPLES, FEATURES)).astype("float32")
    return Task(model, x, targets(random, SAMPLES), epochs=2)


def _start() -> None:
    dt.clear_session()
    dt.set_random_seed(7)
