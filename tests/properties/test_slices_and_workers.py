"""Whatever is trained: V slices give the same weights, states and logs, bit for bit, on 1, 2, ... V workers."""

from __future__ import annotations

import numpy as np
import pytest
from engine_runs import alone, bits, evaluation_of, job_of, on_workers, run_to_end
from hypothesis import given, settings
from hypothesis import strategies as st

import disttrain as dt
from disttrain import layers, losses, metrics

rng = np.random.default_rng(0)
X = rng.normal(size=(19, 6)).astype(np.float32)
IMAGES = rng.normal(size=(19, 4, 4, 2)).astype(np.float32)
STEPS = rng.normal(size=(19, 5, 3)).astype(np.float32)
LABELS = rng.integers(0, 3, 19)
ONE_HOT = np.eye(3, dtype=np.float32)[LABELS]
REAL = rng.uniform(0.1, 2.0, size=(19, 3)).astype(np.float32)
WEIGHTS = rng.uniform(0.1, 2.0, 19).astype(np.float32)
SAMPLES = st.integers(5, 19)
BATCHES = st.integers(4, 9)  # with the samples: last batches of every size, also smaller than the number of slices


def assert_same_everywhere(job, workers=(2, 3)) -> None:
    """The state, byte for byte, and the logs, of each number of workers are those of one."""
    expected = run_to_end(alone(job))
    logs = expected.results()
    assert logs and all(np.isfinite(value).all() for value in logs.values())
    for count in workers:
        for engine in on_workers(job, count):
            assert bits(engine) == bits(expected), count
            assert engine.results() == logs and engine.train_logs == expected.train_logs


def model_of(*inside, x=X, seed: int = 3) -> dt.Sequential:
    dt.clear_session()
    dt.set_random_seed(seed)
    return dt.Sequential([dt.Input(x.shape[1:]), *inside])


def compiled(model, loss="mse", **arguments):
    model.compile(**{"optimizer": dt.optimizers.Adam(0.01), "loss": loss, **arguments})
    return model


LOSSES = sorted(set(losses.CLASSES) - {"CTC", "SparseCategoricalCrossentropy"})


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=2)
@given(samples=SAMPLES, batch_size=BATCHES, weighted=st.booleans())
def test_losses(name, samples, batch_size, weighted):
    loss = losses.get(name)
    targets = LABELS if name in ("CategoricalGeneralizedCrossEntropy", "Circle") else ONE_HOT
    weighted = weighted and name not in ("Dice", "Tversky")  # one number for all samples: none can be weighted
    model = compiled(model_of(layers.Dense(4, activation="tanh"), layers.Dense(3, activation="softmax")), loss)
    weight = {"sample_weight": WEIGHTS[:samples]} if weighted else {}
    assert_same_everywhere(job_of(model, 4, X[:samples], targets[:samples], batch_size=batch_size, **weight))


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
def test_reductions_of_losses(reduction):
    model = compiled(model_of(layers.Dense(3, activation="softmax")), losses.SparseCategoricalCrossentropy(reduction=reduction))
    assert_same_everywhere(job_of(model, 4, X, LABELS, batch_size=8, sample_weight=WEIGHTS))


ARGUMENTS = {
    "BinaryIoU": {"target_class_ids": [0, 1]},
    "IoU": {"num_classes": 3, "target_class_ids": [0, 1]},
    "MeanIoU": {"num_classes": 3},
    "OneHotIoU": {"num_classes": 3, "target_class_ids": [0, 2]},
    "OneHotMeanIoU": {"num_classes": 3},
    "PrecisionAtRecall": {"recall": 0.5},
    "RecallAtPrecision": {"precision": 0.5},
    "SensitivityAtSpecificity": {"specificity": 0.5},
    "SpecificityAtSensitivity": {"sensitivity": 0.5},
}
OF_LABELS = {"SparseCategoricalAccuracy", "SparseCategoricalCrossentropy", "SparseTopKCategoricalAccuracy"}
OF_CLASSES = {"IoU", "MeanIoU"}  # which take whole numbers on both sides
ALONE = {"Mean", "MeanMetricWrapper", "Sum"}
METRICS = sorted(set(metrics.CLASSES) - ALONE - OF_CLASSES)


@pytest.mark.parametrize(
    "several", [METRICS[start : start + 9] for start in range(0, len(METRICS), 9)], ids=lambda names: f"{names[0]} to {names[-1]}"
)
@settings(max_examples=3)
@given(samples=SAMPLES, batch_size=BATCHES)
def test_metrics(several, samples, batch_size):
    of_labels = [name for name in several if name in OF_LABELS]
    of_rows = [name for name in several if name not in OF_LABELS]
    for names, targets, loss in ((of_labels, LABELS, "sparse_categorical_crossentropy"), (of_rows, ONE_HOT, "categorical_crossentropy")):
        if names:
            made = [metrics.CLASSES[name](**ARGUMENTS.get(name, {})) for name in names]
            model = compiled(model_of(layers.Dense(3, activation="softmax")), loss, weighted_metrics=made)
            weight = {"sample_weight": WEIGHTS[:samples]}
            assert_same_everywhere(evaluation_of(model, 4, X[:samples], targets[:samples], batch_size=batch_size, **weight), workers=(3,))


# name -> (what stands in front of the last Dense, the inputs)
STATES = {
    "BatchNormalization": (lambda: [layers.BatchNormalization(momentum=0.8)], IMAGES),
    "SpectralNormalization": (lambda: [layers.SpectralNormalization(layers.Dense(4), power_iterations=2)], X),
    "Dropout": (lambda: [layers.Dropout(0.4), layers.Dense(5), layers.Dropout(0.2, seed=3)], X),
    "SpatialDropout2D": (lambda: [layers.SpatialDropout2D(0.4)], IMAGES),
    "AlphaDropout": (lambda: [layers.AlphaDropout(0.4)], X),
    "GaussianDropout": (lambda: [layers.GaussianDropout(0.4)], X),
    "GaussianNoise": (lambda: [layers.GaussianNoise(0.4)], X),
    "LSTM with dropout": (lambda: [layers.LSTM(4, dropout=0.3, recurrent_dropout=0.3)], STEPS),
    "GRU": (lambda: [layers.GRU(4, reset_after=False)], STEPS),
    "Bidirectional": (lambda: [layers.Bidirectional(layers.SimpleRNN(3))], STEPS),
    "activity and weights regularized": (lambda: [layers.Dense(4, kernel_regularizer="l1", activity_regularizer="l2")], X),
    "augmentation": (lambda: [layers.RandomFlip(), layers.RandomRotation(0.2)], IMAGES),
}


@pytest.mark.parametrize("name", list(STATES))
@settings(max_examples=3)
@given(samples=SAMPLES, batch_size=BATCHES)
def test_layers_with_states_and_draws(name, samples, batch_size):
    make, x = STATES[name]
    model = compiled(model_of(*make(), layers.Flatten(), layers.Dense(3), x=x))
    data = {"batch_size": batch_size, "epochs": 2, "validation_data": (x[:7], REAL[:7])}
    assert_same_everywhere(job_of(model, 4, x[:samples], REAL[:samples], **data))


@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU, layers.SimpleRNN])
@settings(max_examples=3)
@given(batches=st.integers(2, 4), batch_size=st.integers(4, 6))
def test_stateful_recurrent_layers(kind, batches, batch_size):
    dt.clear_session()
    dt.set_random_seed(3)
    steps = rng.normal(size=(batches * batch_size, 5, 3)).astype(np.float32)
    y = rng.normal(size=(batches * batch_size, 2)).astype(np.float32)
    model = compiled(dt.Sequential([dt.Input(batch_shape=(batch_size, 5, 3)), kind(4, stateful=True), layers.Dense(2)]))
    assert_same_everywhere(job_of(model, 4, steps, y, batch_size=batch_size, epochs=2, shuffle=False, validation_data=(steps, y)))


OPTIMIZERS = {
    "accumulating": lambda: dt.optimizers.SGD(0.1, gradient_accumulation_steps=2),
    "averaging": lambda: dt.optimizers.SGD(0.1, use_ema=True, ema_overwrite_frequency=2),
    "clipping": lambda: dt.optimizers.Adam(0.01, global_clipnorm=0.1),
    "factored": lambda: dt.optimizers.Adafactor(0.01),
    "scaling": lambda: dt.optimizers.LossScaleOptimizer(dt.optimizers.Adam(0.01)),
}


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_optimizers(name):
    model = compiled(model_of(layers.Dense(4, kernel_constraint="max_norm"), layers.Dense(3)), optimizer=OPTIMIZERS[name]())
    assert_same_everywhere(job_of(model, 4, X, REAL, batch_size=6, epochs=3))


@settings(max_examples=15)
@given(samples=SAMPLES, batch_size=BATCHES, virtual_workers=st.integers(1, 4), data=st.data())
def test_any_batches_on_any_workers(samples, batch_size, virtual_workers, data):
    workers = data.draw(st.integers(1, virtual_workers))
    model = compiled(
        model_of(layers.BatchNormalization(), layers.Dropout(0.3), layers.Dense(3, activation="softmax")), "categorical_crossentropy"
    )
    model.compile(model.optimizer, "categorical_crossentropy", metrics=["accuracy", "auc"])
    job = job_of(model, virtual_workers, X[:samples], ONE_HOT[:samples], batch_size=batch_size, epochs=2)
    assert_same_everywhere(job, (workers,))
