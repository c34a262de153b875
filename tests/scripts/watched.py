"""A small CNN on digits that goes from epoch to epoch as it is told, so that a test can look at each checkpoint while it trains."""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import disttrain as dt
from disttrain import layers

parser = argparse.ArgumentParser()
parser.add_argument("--report", required=True)
parser.add_argument("--marks", help="folder in which epoch-N appears when epoch N may end; without it nothing waits")
parser.add_argument("--epochs", type=int, default=4)
parser.add_argument("--board", action="store_true", help="TensorBoard, into the run directory")
parser.add_argument("--virtual-workers", type=int)
arguments = parser.parse_args()
if arguments.virtual_workers:
    dt.set_virtual_workers(arguments.virtual_workers)


class Waits(dt.Callback):
    """Ends an epoch when its mark is there."""

    def on_epoch_end(self, epoch, logs=None):
        while arguments.marks and not (Path(arguments.marks) / f"epoch-{epoch}").exists():
            time.sleep(0.02)


digits = load_digits()
x, y = (digits.images / 16.0).astype(np.float32)[..., None], digits.target
inputs = dt.Input((8, 8, 1), name="digit")
maps = layers.Conv2D(8, 3, padding="same", activation="relu", name="conv")(inputs)
side = layers.Conv2D(8, 1, activation="relu", name="side")(maps)
maps = layers.MaxPooling2D(name="pool")(layers.Add(name="add")([maps, side]))
outputs = layers.Dense(10, activation="softmax", name="out")(layers.Flatten(name="flat")(maps))
model = dt.Model(inputs, outputs, name="digits")
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
callbacks = [Waits()]
if arguments.board:
    callbacks.append(dt.callbacks.TensorBoard(histogram_freq=1, write_images=True, update_freq="batch", hparams={"filters": 8}))
history = model.fit(
    x[:640], y[:640], batch_size=64, epochs=arguments.epochs, validation_data=(x[640:768], y[640:768]), verbose=2, callbacks=callbacks
)
Path(arguments.report).write_text(json.dumps({"digest": model.digest(), "history": history.history}))
