"""EarlyStopping, ModelCheckpoint and TensorBoard, as a script would use them."""

import argparse
import json

import numpy as np

import disttrain as dt
from disttrain import layers

parser = argparse.ArgumentParser()
parser.add_argument("--report")
parser.add_argument("--virtual-workers", type=int)
arguments = parser.parse_args()
if arguments.virtual_workers:
    dt.set_virtual_workers(arguments.virtual_workers)

rng = np.random.default_rng(1)
x = rng.normal(size=(160, 6)).astype(np.float32)
y = (x[:, 0] + 0.5 * rng.normal(size=160) > 0).astype(np.int64)  # noisy: validation soon gets no better

model = dt.Sequential([dt.Input((6,)), layers.Dense(32, activation="relu"), layers.Dropout(0.2), layers.Dense(2, activation="softmax")])
model.compile(dt.optimizers.Adam(0.02), "sparse_categorical_crossentropy", metrics=["accuracy"])
stopping = dt.callbacks.EarlyStopping(patience=2, restore_best_weights=True)
history = model.fit(
    x,
    y,
    batch_size=16,
    epochs=40,
    validation_split=0.25,
    verbose=0,
    callbacks=[
        stopping,
        dt.callbacks.ModelCheckpoint("best.keras", save_best_only=True),
        dt.callbacks.TensorBoard("board"),
    ],
)
best = dt.load_model("best.keras")
with open(arguments.report, "w") as file:
    json.dump({"history": history.history, "stopped": stopping.stopped_epoch, "digest": model.digest(), "best": best.digest()}, file)
