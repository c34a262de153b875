"""A training in which one worker computes wrong: the first of Ray's processes that gets to the layer, and no other."""

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np

import disttrain as dt
from disttrain import layers

parser = argparse.ArgumentParser()
parser.add_argument("--report")
parser.add_argument("--marks", default="")
parser.add_argument("--virtual-workers", type=int)
arguments = parser.parse_args()
if arguments.virtual_workers:
    dt.set_virtual_workers(arguments.virtual_workers)
dt.set_random_seed(3)


class Wrong(layers.Layer):
    """Identity, but in one worker."""

    def __init__(self, marks, **kwargs):
        super().__init__(**kwargs)
        self.marks, self.known = marks, (0, False)

    def call(self, x):
        if self.known[0] != os.getpid():  # what it was in the process that it comes from says nothing
            self.known = os.getpid(), bool(self.marks) and "default_worker" in sys.argv[0] and self._first()
        return x * 1.0001 if self.known[1] else x

    def _first(self):
        try:
            Path(self.marks, "wrong").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


rng = np.random.default_rng(0)
x = rng.normal(size=(96, 6)).astype(np.float32)
y = rng.integers(0, 3, 96)
model = dt.Sequential([dt.Input((6,)), layers.Dense(16, activation="relu"), Wrong(arguments.marks), layers.Dense(3, activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy")
history = model.fit(x, y, batch_size=16, epochs=3, verbose=0)
if arguments.report:
    Path(arguments.report).write_text(json.dumps({"history": history.history, "digest": model.digest()}))
