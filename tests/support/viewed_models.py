"""Models of every shape that the viewer's tests look into."""

from __future__ import annotations

from typing import Any

from disttrain import layers as L
from disttrain.models import Input, Model, Sequential


def convnet() -> Sequential:
    return Sequential(
        [
            Input((12, 12, 3)),
            L.Conv2D(6, 3, activation="relu", name="first"),
            L.BatchNormalization(name="norm"),
            L.MaxPooling2D(name="pool"),
            L.Conv2D(4, 3, activation="relu", name="second"),
            L.Dropout(0.5, name="drop"),
            L.Flatten(name="flat"),
            L.Dense(5, "softmax", name="out"),
        ],
        name="convnet",
    )


def branched() -> Model:
    """Two inputs, two outputs, a merge, a model inside."""
    a, b = Input((8, 8, 1), name="a"), Input((4,), name="b")
    inner = Sequential([Input((8, 8, 1)), L.Conv2D(3, 3, name="conv"), L.GlobalAveragePooling2D(name="mean")], name="inner")
    x, y = inner(a), L.Dense(3, name="side")(b)
    z = L.Add(name="sum")([x, y])
    return Model([a, b], [L.Dense(4, "softmax", name="kind")(z), L.Dense(1, name="size")(z)], name="branched")


def text_model() -> Model:
    words = Input((6,), dtype="int64", name="words")
    x = L.Embedding(20, 8, mask_zero=True, name="embedding")(words)
    x = L.MultiHeadAttention(2, 4, name="heads")(x, x)
    x = L.Bidirectional(L.LSTM(5, return_sequences=True), name="both")(x)
    x = L.GRU(4, name="gru")(x)
    return Model(words, L.Dense(3, "softmax", name="out")(x), name="text")


def shared() -> Model:
    """One dense layer called twice, one after the other."""
    x = Input((4,), name="x")
    dense = L.Dense(4, "tanh", name="dense")
    return Model(x, L.Dense(2, name="out")(dense(L.Dense(4, name="between")(dense(x)))), name="shared")


class Block(L.Layer):
    """A layer that a user put together."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inside = L.Dense(4, name="inside")

    def call(self, x: Any) -> Any:
        return x + self.inside(x)


class Written(Model):
    """A model that is code, with a layer that its call does not reach."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.one, self.block, self.two, self.unused = (
            L.Dense(4, name="one"),
            Block(name="block"),
            L.Dense(2, name="two"),
            L.Dense(1, name="no"),
        )

    def call(self, x: Any) -> Any:
        return self.two(self.block(self.one(x)))
