"""A small transformer writes Python: it predicts each next character of the standard library's own files on this machine.

python examples/transformer.py
disttrain launch examples/transformer.py --workers 2
"""

import argparse
import string
import sysconfig
from pathlib import Path

import numpy as np
import torch

import disttrain as dt
from disttrain import layers

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=6)
parser.add_argument("--characters", type=int, default=150_000)
parser.add_argument("--blocks", type=int, default=2)
arguments = parser.parse_args()

LENGTH, WIDTH, HEADS = 64, 64, 4
alphabet = string.printable
number_of = {character: number for number, character in enumerate(alphabet)}

library = Path(sysconfig.get_paths()["stdlib"])
text = "".join((library / name).read_text() for name in ("argparse.py", "ast.py", "calendar.py", "dataclasses.py", "textwrap.py"))
codes = np.array([number_of[c] for c in text if c in number_of][: arguments.characters], dtype=np.int64)
windows = np.lib.stride_tricks.sliding_window_view(codes, LENGTH + 1)[:: LENGTH // 4]
x, y = windows[:, :-1], windows[:, 1:]


class TokenAndPosition(layers.Layer):
    """The vector of each token plus that of its place: (batch, length) integers to (batch, length, width)."""

    def __init__(self, tokens: int, length: int, width: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.tokens, self.length, self.width = tokens, length, width
        self.token = layers.Embedding(tokens, width)
        self.position = layers.Embedding(length, width)

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        places = torch.arange(inputs.shape[1], device=inputs.device)
        return self.token(inputs) + self.position(places)

    def get_config(self) -> dict:
        return {**super().get_config(), "tokens": self.tokens, "length": self.length, "width": self.width}


def block(hidden):
    """Attention to what came before, then a small network at each place; both add to what they were given."""
    normal = layers.LayerNormalization(epsilon=1e-5)(hidden)
    hidden = hidden + layers.MultiHeadAttention(HEADS, WIDTH // HEADS, dropout=0.1)(normal, normal, use_causal_mask=True)
    normal = layers.LayerNormalization(epsilon=1e-5)(hidden)
    return hidden + layers.Dense(WIDTH)(layers.Dense(4 * WIDTH, activation="gelu")(normal))


inputs = dt.Input((LENGTH,), dtype="int64")
hidden = TokenAndPosition(len(alphabet), LENGTH, WIDTH)(inputs)
for _ in range(arguments.blocks):
    hidden = block(hidden)
outputs = layers.Dense(len(alphabet))(layers.LayerNormalization(epsilon=1e-5)(hidden))
model = dt.Model(inputs, outputs, name="transformer")

schedule = dt.optimizers.schedules.CosineDecay(0.0, decay_steps=2_000, warmup_target=3e-3, warmup_steps=100)
model.compile(
    optimizer=dt.optimizers.AdamW(schedule, weight_decay=0.01, global_clipnorm=1.0),
    loss=dt.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
model.fit(x, y, batch_size=32, epochs=arguments.epochs, validation_split=0.1)

written = [number_of[c] for c in "class Node:\n    def __init__(self, name, value, parent=None, *args"[:LENGTH].ljust(LENGTH)]
for _ in range(80):
    scores = model.predict(np.array([written[-LENGTH:]]), verbose=0)[0, -1]
    written.append(int(scores.argmax()))
print("".join(alphabet[code] for code in written))
