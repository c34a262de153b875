"""What is trained for one step on the fake GPU: models, losses, metrics and optimizers, each in a model of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
from fake_gpu import Ledger, device, move_metric, moved, watched

import disttrain as dt
from disttrain import layers
from disttrain.training.local import runner
from disttrain.training.program import Kind
from disttrain.training.step.engine import Engine

_random = np.random.default_rng(0)
VECTORS = _random.random((16, 5), np.float32)
IMAGES = _random.random((16, 8, 8, 3), np.float32)
STEPS = _random.random((16, 6, 4), np.float32)
CLASSES = _random.integers(0, 3, 16)
ONE_HOT = np.eye(3, dtype=np.float32)[CLASSES]
YES_OR_NO = _random.integers(0, 2, 16).astype(np.float32)
MASKS = _random.integers(0, 3, (16, 8, 8))
OPTIMIZERS = (
    "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "ftrl", "lamb", "lion", "muon", "nadam", "rmsprop", "sgd",
)  # fmt: skip
LOSSES = (
    "binary_crossentropy", "binary_focal_crossentropy", "categorical_crossentropy", "categorical_focal_crossentropy",
    "categorical_hinge", "cosine_similarity", "dice", "hinge", "huber", "kl_divergence", "log_cosh", "mae", "mape", "mse", "msle",
    "poisson", "squared_hinge", "tversky",
)  # fmt: skip


class _Taken(Exception):
    pass


def _job(model: Any, x: Any, y: Any, virtual_workers: int, **fit: Any) -> Any:
    """The job that `fit` would carry out."""
    taken: list[Any] = []

    class Taker(runner.LocalRunner):
        def fit(self, job: Any, callbacks: Any) -> None:
            taken.append(job)
            raise _Taken

    with runner.installed(Taker(runner._InProcess(virtual_workers=virtual_workers))), contextlib.suppress(_Taken):
        model.fit(x, y, batch_size=4, verbose=0, **fit)
    return taken[0]


def _case(
    build: Callable[[], Any], x: Any, y: Any, virtual_workers: int = 2, fit: dict[str, Any] | None = None, **compile_arguments: Any
) -> Callable[[Ledger], None]:  # fmt: skip
    def run(ledger: Ledger) -> None:
        model = build()
        model.compile(**{"optimizer": "sgd", "loss": "sparse_categorical_crossentropy", **compile_arguments})
        job = _job(model, x, y, virtual_workers, **(fit or {}))
        with watched(ledger):
            moved(job.model)
            compiled = job.model.compiled_metrics
            for metric in compiled.metrics if compiled is not None else []:
                move_metric(metric)
            engine = Engine(job, device())
            while (position := engine.position).kind is not Kind.TRAIN:
                engine._move_to(position.tick + 1, position)
            engine.run_tick(position)
            ledger.clear()  # the first step lays out what the others find
            engine.run_tick(engine.position)

    return run


def _model(shape: tuple[int, ...], *makers: Callable[[], Any], units: int = 3, activation: str = "softmax") -> Callable[[], Any]:
    return lambda: dt.Sequential(
        [dt.Input(shape), *(make() for make in makers), layers.Flatten(), layers.Dense(units, activation=activation)]
    )


def _images() -> Any:
    return dt.Sequential([dt.Input((8, 8, 3)), layers.Conv2D(3, 3, padding="same")])


def _attention() -> Any:
    x = dt.Input((6, 4))
    y = layers.MultiHeadAttention(2, 3, dropout=0.1)(x, x)
    y = layers.AdditiveAttention()([y, layers.Attention()([y, y])])
    return dt.Model(x, layers.Dense(3, activation="softmax")(layers.Flatten()(y)))


def cases() -> dict[str, Callable[[Ledger], None]]:
    """By name."""
    mlp = _model((5,), lambda: layers.Dense(4, activation="relu"), lambda: layers.Dropout(0.5))
    plain = _model((5,), lambda: layers.Dense(4))
    yes = _model((5,), units=1, activation="sigmoid")
    adam, sgd, ignoring = dt.optimizers.Adam, dt.optimizers.SGD, dt.losses.SparseCategoricalCrossentropy
    found = {
        "direct": _case(mlp, VECTORS, CLASSES, 1, optimizer="adam", metrics=["accuracy"]),
        "two slices": _case(mlp, VECTORS, CLASSES, 2, optimizer="adam", metrics=["accuracy"]),
        "four slices": _case(mlp, VECTORS, CLASSES, 4, optimizer="adam", metrics=["accuracy"]),
        "moving averages": _case(_model((8, 8, 3), layers.BatchNormalization), IMAGES, CLASSES),
        "moving averages, direct": _case(_model((8, 8, 3), layers.BatchNormalization), IMAGES, CLASSES, 1),
        "convolutions": _case(_model((8, 8, 3), lambda: layers.Conv2D(4, 3), layers.MaxPooling2D), IMAGES, CLASSES),
        "recurrent": _case(_model((6, 4), lambda: layers.LSTM(3, recurrent_dropout=0.2)), STEPS, CLASSES),
        "attention": _case(_attention, STEPS, CLASSES),
        "segmentation": _case(_images, IMAGES, MASKS, 1, loss=ignoring(from_logits=True)),
        "class weights": _case(plain, VECTORS, CLASSES, fit={"class_weight": {0: 1.0, 1: 2.0, 2: 1.0}}),
        "sample weights": _case(plain, VECTORS, CLASSES, fit={"sample_weight": np.ones(16, np.float32)}),
        "labels left out": _case(plain, VECTORS, CLASSES, 1, loss=ignoring(ignore_class=0)),
        "clipped by norm": _case(plain, VECTORS, CLASSES, optimizer=sgd(0.1, clipnorm=1.0)),
        "clipped by global norm": _case(plain, VECTORS, CLASSES, optimizer=sgd(0.1, global_clipnorm=1.0)),
        "clipped by value": _case(plain, VECTORS, CLASSES, optimizer=sgd(0.1, clipvalue=1.0)),
        "averaged, gathered": _case(plain, VECTORS, CLASSES, optimizer=adam(use_ema=True, gradient_accumulation_steps=2)),
        "scaled": _case(plain, VECTORS, CLASSES, optimizer=dt.optimizers.LossScaleOptimizer(sgd(0.1))),
        "a schedule": _case(plain, VECTORS, CLASSES, optimizer=sgd(dt.optimizers.schedules.CosineDecay(0.1, 10))),
        "constrained": _case(_model((5,), lambda: layers.Dense(4, kernel_constraint="max_norm")), VECTORS, CLASSES),
        "regularized": _case(_model((5,), lambda: layers.Dense(4, kernel_regularizer="l2")), VECTORS, CLASSES),
    }
    for name in OPTIMIZERS:
        found[f"optimizer {name}"] = _case(plain, VECTORS, CLASSES, optimizer=name)
        found[f"optimizer {name}, direct"] = _case(plain, VECTORS, CLASSES, 1, optimizer=name)
    for name in LOSSES:
        found[f"loss {name}"] = _case(_model((5,), activation="sigmoid"), VECTORS, ONE_HOT, loss=name)
    for name, metric, build, y, loss in _metrics(plain, yes):
        found[f"metric {name}"] = _case(build, VECTORS, y, loss=loss, metrics=[metric])
    return found


def _metrics(plain: Any, yes: Any) -> list[tuple[str, Any, Any, Any, str]]:
    own, several, one = dt.metrics, "sparse_categorical_crossentropy", "binary_crossentropy"
    of_yes = [
        own.AUC(), own.AUC(curve="PR"), own.Precision(), own.Recall(), own.BinaryAccuracy(), own.PrecisionAtRecall(0.5),
        own.SensitivityAtSpecificity(0.5), own.TruePositives(), own.BinaryIoU(), own.BinaryCrossentropy(),
    ]  # fmt: skip
    of_classes = [own.SparseCategoricalAccuracy(), own.SparseTopKCategoricalAccuracy(2), own.SparseCategoricalCrossentropy()]
    of_one_hot = [
        own.CategoricalAccuracy(), own.TopKCategoricalAccuracy(2), own.F1Score(), own.FBetaScore(), own.R2Score(), own.CosineSimilarity(),
        own.MeanSquaredError(), own.RootMeanSquaredError(), own.MeanAbsoluteError(), own.LogCoshError(), own.KLDivergence(), own.Poisson(),
        own.CategoricalHinge(), own.Hinge(), own.OneHotIoU(3, [0]), own.OneHotMeanIoU(3), own.PearsonCorrelation(),
    ]  # fmt: skip
    return [
        *((f"{type(metric).__name__} {number}", metric, yes, YES_OR_NO, one) for number, metric in enumerate(of_yes)),
        *((type(metric).__name__, metric, plain, CLASSES, several) for metric in of_classes),
        *((type(metric).__name__, metric, plain, ONE_HOT, "categorical_crossentropy") for metric in of_one_hot),
    ]
