"""Small models of every kind of layer that the viewer draws in its own way."""

from __future__ import annotations

from typing import Any

from disttrain import Input, Model, Sequential, layers


def branches() -> Any:
    """A CNN with two branches that merge, and a model inside it."""
    inner_input = Input((14, 14, 8))
    inner = Model(inner_input, layers.Conv2D(8, 3, padding="same", activation="relu", name="inside")(inner_input), name="backbone")
    x = Input((28, 28, 1), name="picture")
    y = layers.Conv2D(8, 3, padding="same", activation="relu", name="conv2d")(x)
    left = layers.MaxPooling2D(name="pool")(y)
    right = layers.Conv2D(8, 3, strides=2, padding="same", name="strided")(y)
    y = layers.Add(name="add")([left, right])
    y = inner(y)
    y = layers.BatchNormalization(name="norm")(y)
    y = layers.Dropout(0.2, name="dropout")(y)
    y = layers.Flatten(name="flatten")(y)
    y = layers.Dense(24, activation="relu", name="hidden")(y)
    return Model(x, layers.Dense(10, activation="softmax", name="digits")(y), name="branches")


def recurrent() -> Any:
    """A two-way LSTM over a series."""
    x = Input((20, 3), name="series")
    y = layers.Bidirectional(layers.LSTM(6, return_sequences=True, name="lstm"), name="both_ways")(x)
    y = layers.GRU(5, name="gru")(y)
    return Model(x, layers.Dense(2, activation="softmax", name="verdict")(y), name="recurrent")


def attention() -> Any:
    """Self-attention over tokens."""
    x = Input((12,), dtype="int64", name="tokens")
    y = layers.Embedding(50, 16, name="embedding")(x)
    y = layers.MultiHeadAttention(num_heads=4, key_dim=4, name="heads")(y, y)
    y = layers.GlobalAveragePooling1D(name="mean")(y)
    return Model(x, layers.Dense(3, activation="softmax", name="verdict")(y), name="attention")


def signals() -> Any:
    """A one-dimensional CNN over a signal."""
    return Sequential(
        [
            Input((64, 1), name="signal"),
            layers.Conv1D(6, 5, activation="relu", name="conv1d"),
            layers.MaxPooling1D(2, name="pool"),
            layers.GlobalAveragePooling1D(name="mean"),
            layers.Dense(1, activation="sigmoid", name="alarm"),
        ],
        name="signals",
    )
