"""Models around layers, optimizers and whatever else takes part in a step: tiny, and with nothing but what is to be tried."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from layer_case import Case, all_cases
from slice_runs import Task
from torch import Tensor, nn

import disttrain as dt
from disttrain import constraints, layers, metrics, mixed_precision, optimizers, regularizers
from disttrain.data.packing import unpack_x_y_sample_weight
from disttrain.data.structure import flatten, map_structure

ROWS = 10  # in batches of 7: four slices, then three of one sample each


# -- layers: all the cases of the shared harness ------------------------------------------------------------------------------------------


class Bundle(dt.Model):
    """Layers side by side, each called on its own inputs, each with a column of the output: where one goes wrong, its weights tell."""

    def __init__(self, cases: Sequence[Case]) -> None:
        super().__init__()
        self.tried = [case.make(layers) for case in cases]
        self.heads = [layers.Dense(1) for _ in cases]
        self.spread = [case.spread for case in cases]
        self.forms = [map_structure(_hole, (case.inputs, case.call or {})) for case in cases]

    def call(self, arrays: list[Tensor]) -> Tensor:
        columns, left = [], iter(arrays)
        for layer, head, spread, form in zip(self.tried, self.heads, self.spread, self.forms, strict=True):
            inputs, named = map_structure(lambda leaf: next(left) if leaf is ... else leaf, form)
            outputs = layer(*inputs, **named) if spread else layer(inputs, **named)
            parts = [leaf.float().flatten(1) for leaf in flatten(outputs) if isinstance(leaf, Tensor)]
            columns.append(head(torch.cat(parts, 1)))
        return torch.cat(columns, 1)


def _hole(leaf: Any) -> Any:
    return ... if isinstance(leaf, np.ndarray) else leaf


def layer_names() -> list[str]:
    """The classes that the shared cases try."""
    return sorted({name.split(",")[0] for name in all_cases()})


def draws(name: str) -> bool:
    """Does a layer of this class draw at random in some case?"""
    return any(case.drawn for key, case in all_cases().items() if key.split(",")[0] == name)


def layer_task(name: str) -> Task:
    """All cases of a class, in one model."""
    _start()
    cases = [case for key, case in all_cases().items() if key.split(",")[0] == name]
    random = np.random.default_rng(0)
    arrays = [_rows(leaf, random) for case in cases for leaf in flatten((case.inputs, case.call or {})) if isinstance(leaf, np.ndarray)]
    model = Bundle(cases)
    model.compile(optimizers.SGD(0.01, momentum=0.9), "mse")
    return Task(model, arrays, random.normal(size=(ROWS, len(cases))).astype("float32"), epochs=1, validates=False)


def _rows(array: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """`ROWS` rows like those of `array`, floats no two alike."""
    rows = np.resize(array, (ROWS, *array.shape[1:]))
    return (rows + 0.1 * random.normal(size=rows.shape)).astype(array.dtype) if array.dtype.kind == "f" else rows


# -- layers that keep a state for each row of the batch -----------------------------------------------------------------------------------


STATEFUL: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "Bidirectional": (lambda: layers.Bidirectional(layers.LSTM(2, stateful=True)), (4, 3)),
    "ConvLSTM1D": (lambda: layers.ConvLSTM1D(2, 2, stateful=True), (3, 5, 2)),
    "ConvLSTM2D": (lambda: layers.ConvLSTM2D(2, 2, stateful=True), (2, 4, 3, 2)),
    "ConvLSTM3D": (lambda: layers.ConvLSTM3D(1, 2, stateful=True), (2, 3, 3, 3, 1)),
    "GRU": (lambda: layers.GRU(3, stateful=True), (4, 3)),
    "GRU, dropout": (lambda: layers.GRU(3, stateful=True, recurrent_dropout=0.3), (4, 3)),
    "LSTM": (lambda: layers.LSTM(3, stateful=True), (4, 3)),
    "LSTM, dropout": (lambda: layers.LSTM(3, stateful=True, dropout=0.3), (4, 3)),
    "RNN": (lambda: layers.RNN([layers.GRUCell(2), layers.LSTMCell(3)], stateful=True), (4, 3)),
    "SimpleRNN": (lambda: layers.SimpleRNN(3, stateful=True), (4, 3)),
}


def classes_with_row_states() -> set[str]:
    """The layers whose constructor takes `stateful`."""
    return {name for name, kind in layers.CLASSES.items() if "stateful" in inspect.signature(kind).parameters}


class InTurn(dt.Model):
    """Layers one after the other."""

    def __init__(self, chain: Sequence[Any]) -> None:
        super().__init__()
        self.chain = list(chain)

    def call(self, x: Tensor) -> Tensor:
        for layer in self.chain:
            x = layer(x)
        return x


def sequential_of_known_rows(chain: Sequence[Any], shape: tuple[int, ...]) -> Any:
    """Keras's way to say how many rows a batch has."""
    return dt.Sequential([dt.Input(shape[1:], batch_size=shape[0]), *chain])


def functional_of_known_rows(chain: Sequence[Any], shape: tuple[int, ...]) -> Any:
    """The same in a functional model."""
    inputs = outputs = dt.Input(batch_shape=shape)
    for layer in chain:
        outputs = layer(outputs)
    return dt.Model(inputs, outputs)


def built_by_a_batch(chain: Sequence[Any], shape: tuple[int, ...]) -> Any:
    """A subclassed model that has been called on as many rows as it will be trained on."""
    model = InTurn(chain)
    model(torch.zeros(shape))
    return model


def not_built(chain: Sequence[Any], shape: tuple[int, ...]) -> Any:
    """The same before its first call, as `fit` mostly finds it."""
    return InTurn(chain)


def stateful_task(name: str, model_of: Callable[[Sequence[Any], Any], Any] = built_by_a_batch, dtype: str = "float32") -> Task:
    """Two batches an epoch, the second of which goes on from the states of the first; masked steps among them."""
    _start()
    make, shape = STATEFUL[name]
    rows, before = 5, mixed_precision.dtype_policy()
    mixed_precision.set_dtype_policy(dtype)
    try:
        masked = [layers.Masking()] if len(shape) == 2 else []
        model = model_of([*masked, make(), layers.Flatten(), layers.Dense(1)], (rows, *shape))
    finally:
        mixed_precision.set_dtype_policy(before)
    model.compile(optimizers.Adam(0.01), "mse")
    random = np.random.default_rng(0)
    x = random.normal(size=(2 * rows, *shape)).astype("float32")
    if masked:
        x[::3, 1] = 0.0
    return Task(model, x, random.normal(size=(2 * rows, 1)).astype("float32"), batch_size=rows)


# -- optimizers ---------------------------------------------------------------------------------------------------------------------------

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "average, accumulation, decay, clipnorm": {
        "use_ema": True,
        "ema_momentum": 0.7,
        "gradient_accumulation_steps": 2,
        "weight_decay": 0.01,
        "clipnorm": 0.1,
    },
    "overwritten by the average, global clipnorm": {"use_ema": True, "ema_overwrite_frequency": 2, "global_clipnorm": 0.1},
    "schedule, clipvalue, loss scale": {"learning_rate": "schedule", "clipvalue": 0.05, "loss_scale_factor": 8.0},
}


def optimizer_task(name: str, variant: str) -> Task:
    """Matrices, vectors and an embedding, of which no batch reaches every row."""
    _start()
    arguments = dict(VARIANTS[variant])
    if "learning_rate" in arguments:
        arguments["learning_rate"] = optimizers.schedules.ExponentialDecay(0.05, decay_steps=2, decay_rate=0.5)
    if name == "LossScaleOptimizer":  # the first gradients overflow: the update is left out, and the scale halved
        arguments.pop("loss_scale_factor", None)
        optimizer: Any = optimizers.LossScaleOptimizer(optimizers.Adam(**arguments), initial_scale=2.0**128, dynamic_growth_steps=2)
    elif name == "MultiOptimizer":
        arguments.pop("loss_scale_factor", None)
        named = {".*dense/.*": optimizers.SGD(momentum=0.9, **arguments), ".*dense_1/bias": optimizers.Lamb(**arguments)}
        optimizer = optimizers.MultiOptimizer(optimizers.OptimizerMap(optimizers.Adam(**arguments), named))
    else:
        optimizer = optimizers.CLASSES[name](**arguments)
    inner = [layers.Embedding(12, 3), layers.Flatten(), layers.Dense(4, "tanh"), layers.Dense(2)]
    model = dt.Sequential([dt.Input((2,), dtype="int32"), *inner])
    model.compile(optimizer, "mse")
    random = np.random.default_rng(0)
    return Task(model, random.integers(0, 12, (11, 2)), random.normal(size=(11, 2)).astype("float32"), validates=False)


# -- whatever else takes part in a step ---------------------------------------------------------------------------------------------------


class Busy(layers.Layer):
    """Adds a loss and a metric, counts its calls, and moves a buffer with what it sees."""

    def build(self, input_shape: Any) -> None:
        self.calls = self.add_weight("calls", (), "zeros", trainable=False, dtype="int32")
        self.seen = self.add_weight("seen", (input_shape[-1],), "ones", trainable=False)

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        self.add_loss(0.01 * x.square().mean())
        self.add_metric(x.abs().mean(-1), name="size")
        if training:
            with torch.no_grad():
                self.calls += 1
                self.seen.lerp_(x.mean(0), 0.3)
        return x * self.seen.detach()


class Assigning(layers.Layer):
    """Keeps a sum and a count by Keras's `assign_add`, as a layer of Keras's guide does, and a variable of its own."""

    def build(self, input_shape):
        self.total = self.add_weight(shape=(input_shape[-1],), initializer="zeros", trainable=False)
        self.batches = self.add_weight(shape=(), initializer="zeros", dtype="int32", trainable=False)
        self.factor = dt.Variable(np.full(input_shape[-1], 1.5, "float32"), name="factor")

    def call(self, inputs, training=False):
        if training:
            self.total.assign_add(inputs.sum(0))
            self.batches.assign_add(1)
        return inputs * self.factor.value - self.total * 0.01


class Stepping(dt.Model):
    """Writes its own steps: two updates in one, a number of its own, a metric of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop, self.dense = layers.BatchNormalization(), layers.Dropout(0.3), layers.Dense(2)
        self.own = metrics.MeanAbsoluteError(name="own")

    def call(self, x: Tensor) -> Tensor:
        return self.dense(self.drop(self.norm(x)))

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y, weight = unpack_x_y_sample_weight(data)
        for _ in range(2):
            self.zero_grad()
            y_pred = self(x, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=weight)
            loss.backward()
            weights = self.trainable_weights
            with torch.no_grad():
                self.optimizer.apply([w.grad for w in weights], weights)
        self.own.update_state(y, y_pred, weight)
        return {"loss": loss, "own": self.own.result(), "largest": y_pred.detach().abs().mean()}

    def test_step(self, data: Any) -> dict[str, Any]:
        x, y, weight = unpack_x_y_sample_weight(data)
        y_pred = self(x, training=False)
        self.own.update_state(y, y_pred, weight)
        return {"loss": self.compute_loss(x, y, y_pred, weight), "own": self.own.result()}


class Measuring(Stepping):
    """Leaves the steps alone, and writes the loss."""

    train_step, test_step = dt.Model.train_step, dt.Model.test_step

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True) -> Tensor:
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        self.own.update_state(y, y_pred)
        return loss + 0.1 * y_pred.square().mean()


def _constraint(name: str) -> Any:
    return layers.Dense(4, kernel_constraint=constraints.CLASSES[name]() if name != "Constraint" else _halved_above_one)


def _halved_above_one(w: Tensor) -> Tensor:
    return torch.where(w > 1, w / 2, w)


def _frozen(layer: Any) -> Any:
    layer.trainable = False
    return layer


# What stands in the middle of a model of dense layers.
PARTS: dict[str, Callable[[], Any]] = {
    "states that a layer assigns": Assigning,
    **{f"constraint {name}": lambda name=name: _constraint(name) for name in constraints.CLASSES},
    **{
        f"regularizer {name}": lambda kind=kind: layers.Dense(4, kernel_regularizer=kind(), activity_regularizer="l2")
        for name, kind in regularizers.CLASSES.items()
    },
    "added losses and metrics, counters": Busy,
    "frozen normalization": lambda: _frozen(layers.BatchNormalization()),
    "normalization in half precision": lambda: layers.BatchNormalization(dtype="mixed_bfloat16"),
    # Two values a sample for each channel: of one value alone torch makes no statistics.
    "normalization of torch": lambda: layers.TorchModule(nn.Sequential(nn.Unflatten(1, (2, 2)), nn.BatchNorm1d(2), nn.Flatten())),
}
MODELS: dict[str, Callable[[], Any]] = {"steps of the script's own": Stepping, "a loss of the script's own": Measuring}


def feature_task(name: str) -> Task:
    """A model with this in the middle, or this model; weighted samples, metrics with and without weights."""
    _start()
    middle = [PARTS[name]()] if name in PARTS else []
    model = MODELS[name]() if name in MODELS else dt.Sequential([dt.Input((3,)), layers.Dense(4, "tanh"), *middle, layers.Dense(2)])
    model.compile(optimizers.Adam(0.05), "mse", metrics=["mae"], weighted_metrics=["mse"])
    random = np.random.default_rng(0)
    x, y = random.normal(size=(11, 3)).astype("float32"), random.normal(size=(11, 2)).astype("float32")
    return Task(model, x, y, random.uniform(0.2, 2.0, 11).astype("float32"))


def text_task(padded: bool) -> Task:
    """Strings of very different lengths into a model that begins with words; unpadded, a slice is as long as its longest string."""
    random = np.random.default_rng(3)
    words = np.array(["good", "bad", "day", "film", "what", "a", "the", "naïve", "日本"])
    texts = np.array([" ".join(random.choice(words, size)) for size in random.integers(1, 9, 23)])
    dt.set_random_seed(4)
    vectorizer = dt.layers.TextVectorization(output_sequence_length=5 if padded else None)
    vectorizer.adapt(texts)
    chain = [vectorizer, dt.layers.Embedding(16, 3, mask_zero=True), dt.layers.GlobalAveragePooling1D(), dt.layers.Dense(1)]
    model = dt.Sequential([dt.Input((1,), dtype="string"), *chain])
    model.compile("adam", "mse")
    return Task(model, texts, random.normal(size=(23, 1)).astype("float32"))


def rich_task(samples: int, batch_size: int, *, weighted: bool, masked: bool, by_class: bool, seed: int) -> Task:
    """Sequences of any lengths through a layer with draws, one with statistics, and two outputs."""
    _start()
    inputs = dt.Input((3, 2))
    x = layers.Masking()(inputs) if masked else inputs
    x = layers.LSTM(3, return_sequences=True, dropout=0.2)(x)
    steps = layers.TimeDistributed(layers.Dense(1), name="steps")(layers.GaussianNoise(0.1)(x))
    x = layers.BatchNormalization()(layers.Dropout(0.3)(layers.Flatten()(x)))
    outputs = layers.Dense(3, "softmax", name="label")(x)
    model = dt.Model(inputs, outputs if by_class else [outputs, steps])
    random = np.random.default_rng(seed)
    data = random.normal(size=(samples, 3, 2)).astype("float32")
    data[random.random((samples, 3)) < 0.3] = 0.0
    labels = random.integers(0, 3, samples)
    kinds = ["sparse_categorical_crossentropy", "mae"]
    optimizer = optimizers.AdamW(0.02, use_ema=True, clipnorm=1.0)
    if by_class:
        model.compile(optimizer, kinds[0], metrics=["accuracy"])
        return Task(model, data, labels, None, batch_size, class_weight={0: 2.0, 2: 0.5})
    model.compile(optimizer, kinds, loss_weights=[1.0, 0.3], metrics=[["accuracy"], ["mse"]], weighted_metrics=[["accuracy"], []])
    weight = random.uniform(0.0, 2.0, samples).astype("float32") if weighted else None
    return Task(model, data, [labels, random.normal(size=(samples, 3, 1)).astype("float32")], weight, batch_size)


def _start() -> None:
    dt.clear_session()
    dt.set_random_seed(11)
