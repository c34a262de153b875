"""What is trained: an MLP, a CNN, an LSTM and a transformer, in plain torch as a person writes it and in Keras's words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import fit_models
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import disttrain as dt
from disttrain import layers

CLASSES = fit_models.CLASSES
_WIDTH, _HEADS, _WORDS, _LENGTH = 128, 4, 1000, 64


@dataclass(frozen=True)
class Task:
    """A model's data: the shape of a sample, the samples of a batch, and how many words there are where they are indices."""

    shape: tuple[int, ...]
    batch_size: int
    words: int = 0

    def on(self, device: torch.device) -> Task:
        """For that device: a CPU, on which the checks are only tried, gets small batches."""
        return self if device.type == "cuda" else replace(self, batch_size=8)

    def arrays(self, steps: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """x and labels of so many steps; the same in every process."""
        rng = np.random.default_rng(0)
        samples = steps * self.batch_size
        x: NDArray[Any]
        if self.words:
            x = rng.integers(0, self.words, (samples, *self.shape)).astype(np.int64)
        else:
            x = rng.standard_normal((samples, *self.shape), dtype=np.float32)
        return x, rng.integers(0, CLASSES, samples)


TASKS = {
    "mlp": Task((784,), 256),
    "cnn": Task((28, 28, 1), 256),
    "lstm": Task((100, 32), 128),
    "transformer": Task((_LENGTH,), 128, _WORDS),
}


class _Transformer(nn.Module):
    """Two encoder blocks over embedded words, and the mean over the words."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(_WORDS, _WIDTH)
        block = nn.TransformerEncoderLayer(_WIDTH, _HEADS, 4 * _WIDTH, dropout=0.1, batch_first=True)
        self.blocks = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        self.head = nn.Linear(_WIDTH, CLASSES)

    def forward(self, words: Tensor) -> Tensor:
        logits: Tensor = self.head(self.blocks(self.embedding(words)).mean(1))
        return logits


def plain(name: str) -> nn.Module:
    """As a person writes it; it gives logits."""
    torch.manual_seed(0)
    return _Transformer() if name == "transformer" else fit_models.torch_model(name)


def keras_like(name: str, *, dropout: float = 0.1) -> Any:
    """The same for disttrain, not compiled."""
    dt.clear_session()
    dt.set_random_seed(0)
    inputs = dt.Input(TASKS[name].shape, dtype="int64" if TASKS[name].words else None)
    if name != "transformer":
        return dt.Sequential([inputs, *fit_models.keras_stack(name, layers)])
    x = layers.Embedding(_WORDS, _WIDTH)(inputs)
    for _ in range(2):
        attended = layers.MultiHeadAttention(_HEADS, _WIDTH // _HEADS)(x, x)
        x = layers.LayerNormalization()(layers.add([x, layers.Dropout(dropout)(attended)]))
        fed = layers.Dense(_WIDTH)(layers.Dense(4 * _WIDTH, activation="relu")(x))
        x = layers.LayerNormalization()(layers.add([x, layers.Dropout(dropout)(fed)]))
    return dt.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(x)))


def compiled(name: str, **options: Any) -> Any:
    """`keras_like`, ready to train."""
    model = keras_like(name)
    model.compile(optimizer="adam", loss=dt.losses.SparseCategoricalCrossentropy(from_logits=True), **options)
    return model
