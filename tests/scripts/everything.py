"""The script of the fault tests: convolution, batch normalization, dropout, LSTM and Adam on a few hundred small pictures.

Writes a report of the digest at each epoch's end, History, the evaluation and the final digest. Can do itself harm, see `sabotage.py`.
"""

import argparse
import json

import numpy as np
import sabotage

import disttrain as dt
from disttrain import layers

parser = argparse.ArgumentParser()
parser.add_argument("--report")
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--samples", type=int, default=150)
parser.add_argument("--batch-size", type=int, default=20)
parser.add_argument("--virtual-workers", type=int)
parser.add_argument("--delay", type=float, default=0.0, help="seconds added to each forward pass")
parser.add_argument("--delay-file", default="", help="as long as it is there")
parser.add_argument("--sabotage", default="", help="PLACE:STEP:RANK[,...], each done once")
parser.add_argument("--marks", default="", help="folder in which each act of sabotage leaves a mark")
parser.add_argument("--watch-batches", action="store_true")
arguments = parser.parse_args()

if arguments.virtual_workers:
    dt.set_virtual_workers(arguments.virtual_workers)
dt.set_random_seed(3)
rng = np.random.default_rng(0)
x = rng.normal(size=(arguments.samples, 8, 8, 1)).astype(np.float32)
y = (x.mean(axis=(1, 2, 3)) * 40).astype(np.int64) % 10


class Digests(dt.Callback):
    """Notes the digest of the weights at the end of each epoch; reading them under a launch fetches them from the workers."""

    def __init__(self):
        super().__init__()
        self.digests = []

    def on_epoch_end(self, epoch, logs=None):
        self.digests.append(self.model.digest())

    def state_dict(self):
        return {"digests": self.digests}

    def load_state_dict(self, state):
        self.digests = list(state["digests"])


class Batches(dt.Callback):
    """Counts batches, which makes every step a boundary."""

    seen = 0

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


model = dt.Sequential(
    [
        dt.Input((8, 8, 1)),
        layers.Conv2D(6, 3, padding="same", activation="relu"),
        layers.BatchNormalization(),
        layers.MaxPooling2D(),
        sabotage.Slow(arguments.delay, arguments.delay_file),
        layers.Reshape((16, 6)),
        layers.LSTM(12),
        layers.Dropout(0.3),
        layers.Dense(10, activation="softmax"),
    ]
)
optimizer = sabotage.armed(dt.optimizers.Adam(0.01), arguments.sabotage, arguments.marks)
model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
digests, batches = Digests(), Batches()
history = model.fit(
    x,
    y,
    batch_size=arguments.batch_size,
    epochs=arguments.epochs,
    validation_split=0.2,
    verbose=0,
    callbacks=[digests, *([batches] if arguments.watch_batches else [])],
)
loss, accuracy = model.evaluate(x, y, verbose=0)
predictions = model.predict(x[:50], batch_size=16)
if arguments.report:
    with open(arguments.report, "w") as file:
        report = {
            "epochs": digests.digests,
            "history": history.history,
            "evaluation": [loss, accuracy],
            "predictions": float(np.abs(predictions).astype(np.float64).sum()),
            "digest": model.digest(),
        }
        json.dump(report | ({"batches": batches.seen} if arguments.watch_batches else {}), file)
