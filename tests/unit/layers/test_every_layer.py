"""Each layer through the shared harness."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from disttrain import layers as L

torch.manual_seed(0)
VEC, SEQ, IMG = torch.randn(3, 4), torch.randn(2, 5, 3), torch.randn(2, 6, 5, 4)
INTS = torch.tensor([[1, 0, 3], [2, 2, 1]], dtype=torch.int32)

SAVABLE: dict[str, tuple[Callable[[], L.Layer], Any]] = {
    "Activation": (lambda: L.Activation("tanh"), VEC),
    "Add": (L.Add, [VEC, VEC, VEC[:, :1]]),
    "AveragePooling2D": (lambda: L.AveragePooling2D(2, padding="same"), IMG),
    "BatchNormalization": (L.BatchNormalization, IMG),
    "BatchNormalization, channels first": (lambda: L.BatchNormalization(axis=1, scale=False), IMG),
    "BatchNormalization, rank 2": (lambda: L.BatchNormalization(center=False), VEC),
    "Concatenate": (lambda: L.Concatenate(1), [SEQ, SEQ]),
    "Conv2D": (lambda: L.Conv2D(4, 3, padding="same", strides=2, activation="relu", groups=2), IMG),
    "Conv2D, channels first": (lambda: L.Conv2D(2, (2, 3), data_format="channels_first", use_bias=False, kernel_regularizer="l1"), IMG),
    "Dense": (lambda: L.Dense(3, "gelu", kernel_regularizer=None, bias_initializer="ones", activity_regularizer="l2"), VEC),
    "Dense, rank 3": (lambda: L.Dense(3, use_bias=False), SEQ),
    "Dropout": (lambda: L.Dropout(0.5, noise_shape=(None, 1), seed=3), VEC),
    "Embedding": (lambda: L.Embedding(4, 3), INTS),
    "Flatten": (L.Flatten, IMG),
    "Flatten, channels first": (lambda: L.Flatten("channels_first"), IMG),
    "GRU": (lambda: L.GRU(4, return_sequences=True, dropout=0.3), SEQ),
    "GRU, reset before": (lambda: L.GRU(4, reset_after=False, recurrent_dropout=0.3, activation="relu"), SEQ),
    "GlobalAveragePooling2D": (lambda: L.GlobalAveragePooling2D(keepdims=True), IMG),
    "LSTM": (lambda: L.LSTM(4, return_state=True, return_sequences=True, dropout=0.2), SEQ),
    "LSTM, step by step": (lambda: L.LSTM(4, recurrent_dropout=0.3, go_backwards=True, unit_forget_bias=False), SEQ),
    "LayerNormalization": (L.LayerNormalization, SEQ),
    "LayerNormalization, inner axes": (lambda: L.LayerNormalization(axis=[1, 2]), IMG),
    "MaxPooling2D": (lambda: L.MaxPooling2D((2, 3), 1, "same"), IMG),
    "ReLU": (lambda: L.ReLU(max_value=1.0, negative_slope=0.1, threshold=0.2), VEC),
    "Rescaling": (lambda: L.Rescaling(0.5, offset=[0.1, 0.2, 0.3, 0.4]), IMG),
    "Reshape": (lambda: L.Reshape((2, -1)), IMG),
    "SimpleRNN": (lambda: L.SimpleRNN(4, return_sequences=True, recurrent_dropout=0.5), SEQ),
    "SimpleRNN, fused": (lambda: L.SimpleRNN(4, use_bias=False), SEQ),
    "Softmax": (lambda: L.Softmax(axis=[1, 2]), SEQ),
}


@pytest.mark.parametrize("name", SAVABLE)
def test_a_layer_keeps_the_promises_of_the_harness(name: str, check_layer: Callable[..., None]):
    check_layer(*SAVABLE[name])


def test_every_layer_that_files_may_name_runs_through_the_harness():
    assert {name.split(",")[0] for name in SAVABLE} == set(L.CLASSES) - {"InputLayer"}


@pytest.mark.parametrize(
    ("make", "inputs"),
    [
        (lambda: L.Lambda(_halved), VEC),
        (lambda: L.TorchModule(nn.Linear(4, 2)), VEC),
        (lambda: L.TorchModule(nn.Sequential(nn.Linear(4, 2), nn.Tanh()), name="net"), VEC),
    ],
)
def test_layers_that_are_code_keep_all_promises_but_being_saved(make: Any, inputs: Any, check_layer: Callable[..., None]):
    check_layer(make, inputs, savable=False)


def _halved(x: torch.Tensor) -> torch.Tensor:
    return x[:, :2] / 2
