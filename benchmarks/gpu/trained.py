"""What the launched checks train: a convolution, batch normalization, dropout and Adam, over numbers from a seed."""

import argparse
import json
from pathlib import Path

import numpy as np

import disttrain as dt
from disttrain import layers

parser = argparse.ArgumentParser()
parser.add_argument("--report", type=Path, required=True, help="the digest goes there")
parser.add_argument("--steps", type=int, default=40, help="of an epoch")
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--width", type=int, default=16)
parser.add_argument("--device", default="auto")
options = parser.parse_args()

dt.set_device(options.device)
dt.set_virtual_workers(4)
dt.set_random_seed(11)
rng = np.random.default_rng(0)
x = rng.standard_normal((32 * options.steps, 12, 12, 3), dtype=np.float32)
y = rng.integers(0, 10, len(x))
model = dt.Sequential(
    [
        dt.Input((12, 12, 3)),
        layers.Conv2D(options.width, 3, activation="relu"),
        layers.BatchNormalization(),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dropout(0.3),
        layers.Dense(10),
    ]
)
model.compile(optimizer="adam", loss=dt.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
history = model.fit(x, y, batch_size=32, epochs=options.epochs, verbose=0)
options.report.write_text(json.dumps({"digest": model.digest(), "history": history.history}))
