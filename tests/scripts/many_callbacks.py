"""A training with every kind of callback at once; its report holds all that they saw and did. Can kill its own driver or a worker.

With `--kill-driver STEP` the driver ends itself by SIGKILL, once, in the middle of an epoch, as soon as that step is done and a
checkpoint of the run is committed; with `--kill-driver 2:no-checkpoint` at that step, whatever is committed. After-fit: behind `fit`.
"""

import argparse
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import sabotage

import disttrain as dt
from disttrain import layers

parser = argparse.ArgumentParser()
parser.add_argument("--report")
parser.add_argument("--virtual-workers", type=int)
parser.add_argument("--sabotage", default="", help="see sabotage.py")
parser.add_argument("--marks", default="")
parser.add_argument("--kill-driver", default="")
parser.add_argument("--run-dir", default="", help="where the driver's checkpoints are")
arguments = parser.parse_args()
if arguments.virtual_workers:
    dt.set_virtual_workers(arguments.virtual_workers)
dt.set_random_seed(5)


class LossHistory(dt.Callback):
    """As in Keras's guide, with what a restart needs."""

    def __init__(self):
        super().__init__()
        self.losses = []

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(logs["loss"])

    def state_dict(self):
        return {"losses": self.losses}

    def load_state_dict(self, state):
        self.losses = list(state["losses"])


class Order(dt.Callback):
    """The order of the hooks, as far as a restart does not repeat them."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(f"epoch {epoch} of {self.params['epochs']}: {' '.join(sorted(logs))}")

    def on_test_begin(self, logs=None):
        self.seen.append(f"test begins, mean weight {np.mean([np.abs(weight).mean() for weight in self.model.get_weights()]):.6f}")

    def on_test_batch_end(self, batch, logs=None):
        self.seen.append(f"test batch {batch}: {logs['loss']:.6f}")

    def on_predict_batch_end(self, batch, logs=None):
        self.seen.append(f"predict batch {batch}: {np.abs(logs['outputs']).sum():.5f}")

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = list(state["seen"])


class Freezes(dt.Callback):
    """Freezes a layer after the second epoch."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            self.model.get_layer("hidden").trainable = False


def die_once(plan):
    """SIGKILL, unless this has been done."""
    mark = Path(arguments.marks, f"driver-{plan.replace(':', '-')}")
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


class Dies(dt.Callback):
    """Kills the driver in the middle of an epoch."""

    def __init__(self, plan):
        super().__init__()
        self.plan, (step, _, condition) = plan, plan.partition(":")
        self.step, self.needs_checkpoint = int(step), not condition

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations < self.step:
            return
        time.sleep(0.01)  # a save takes steps
        within = 0 < batch < self.params["steps"] - 1
        if within and (not self.needs_checkpoint or list(Path(arguments.run_dir).glob("checkpoints/commits/*.json"))):
            die_once(self.plan)


rng = np.random.default_rng(1)
x = rng.normal(size=(160, 6)).astype(np.float32)
y = (x[:, 0] + 0.7 * rng.normal(size=160) > 0).astype(np.int64)  # noisy: validation soon gets no better

model = dt.Sequential(
    [
        dt.Input((6,)),
        layers.Dense(16, activation="relu", name="hidden"),
        layers.Dropout(0.2, name="dropout"),
        layers.Dense(2, activation="softmax", name="out"),
    ]
)
optimizer = sabotage.Saboteur(0.05, use_ema=True, ema_momentum=0.8, marks=arguments.marks)
for act in filter(None, arguments.sabotage.split(",")):
    place, step, rank = act.split(":")
    optimizer.plan.append((place, int(step), int(rank)))
model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
losses, order, swap = LossHistory(), Order(), dt.callbacks.SwapEMAWeights()
stopping = dt.callbacks.EarlyStopping(patience=3, restore_best_weights=True)
reduce = dt.callbacks.ReduceLROnPlateau(patience=1, factor=0.5, min_delta=0.01)
board = dt.callbacks.TensorBoard(
    histogram_freq=1,
    update_freq="batch",
    hparams={"units": 16},
    histograms=("weights", "gradients", "activations"),
    activation_samples=x[:8],
)
history = model.fit(
    x,
    y,
    batch_size=16,
    epochs=12,
    validation_split=0.25,
    verbose=0,
    callbacks=[
        swap,
        losses,
        dt.callbacks.GradientNorms(per_layer=True),
        reduce,
        stopping,
        Freezes(),
        order,
        dt.callbacks.CSVLogger("log.csv"),
        dt.callbacks.ModelCheckpoint("best.weights.h5", save_best_only=True, save_weights_only=True),
        board,
        dt.callbacks.Goodput(verbose=0),  # behind the others: History alone sees it
        *([Dies(plan) for plan in arguments.kill_driver.split(",") if plan[:1].isdigit()]),
    ],
)
if "after-fit" in arguments.kill_driver:
    die_once("after-fit")
ended_with = model.digest()
evaluation = model.evaluate(x, y, batch_size=32, verbose=0, callbacks=[swap, order])
predictions = model.predict(x[:50], batch_size=16, verbose=0, callbacks=[swap, order])
goodput = history.history.pop("goodput")
with open(arguments.report, "w") as file:
    json.dump(
        {
            "history": history.history,
            "goodput_is_a_share": all(0 <= value <= 1 for value in goodput) and len(goodput) == len(history.epoch),
            "losses": losses.losses,
            "order": order.seen,
            "stopped": [stopping.stopped_epoch, stopping.best_epoch, stopping.wait],
            "rate": model.optimizer.learning_rate,
            "frozen": not model.get_layer("hidden").trainable,
            "digest": ended_with,
            "digest_after_predict": model.digest(),
            "evaluation": evaluation,
            "predictions": float(np.abs(predictions).astype(np.float64).sum()),
            "csv": [line.rpartition(",")[0] if "goodput" in line else line for line in Path("log.csv").read_text().splitlines()],
        },
        file,
    )
