"""The real session with workers that are threads of this process: no Ray, and workers that a test may kill."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import disttrain as dt
from disttrain import layers
from disttrain.launch.cluster_start import ClusterStart
from disttrain.launch.config import RunConfig
from disttrain.launch.door import enter
from disttrain.launch.session import Session
from disttrain.launch.timings import Timings
from disttrain.rundir.resume import ResumePoint
from disttrain.rundir.timeline import Console
from disttrain.testing.fake_cluster import FakeCluster, FaultPlan, FormGroup, Started

V = 4
X = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 3, 30)
carried_by: Callable[[], FormGroup] | None = None  # makes what the groups of a run are; None for those in memory
EPOCH_TICKS = 5  # three training steps of 8 samples, one of validation, and the boundary


class Run(Session):
    """The real session on a FakeCluster, with what tests ask of it."""

    def __init__(
        self, workers: int = 3, faults: FaultPlan | None = None, url: str | None = None, every: str = "epoch", **limits: Any
    ) -> None:
        own_cluster = {name: limits.pop(name) for name in ("hosts", "processors", "gpus") if name in limits}
        self.cluster = FakeCluster(faults, form=None if carried_by is None else carried_by(), **own_cluster)
        self.keeps = url is not None
        options = ("min_workers", "spares", "max_workers", "digest_every", "admission", "audit", "transport", "on_checkpoint_failure")
        own = {name: limits.pop(name) for name in options if name in limits}
        config = RunConfig(
            workers=workers, virtual_workers=V, run_dir=url or f"memory://{uuid.uuid4().hex}", checkpoint_every=every,
            samples=0, **own,
        )  # fmt: skip
        timings = Timings()
        entry = enter(config, script="", arguments=(), script_sha256="")
        start = ClusterStart(config, timings, lambda config, timings: Started(self.cluster), limits)
        start.begin()
        super().__init__(config, entry, start, timings, limits=limits)
        self.console = Console(quiet=True)
        self.notes: list[str] = []
        self.console.note = self.notes.append  # type: ignore[method-assign]

    @property
    def interrupts(self) -> int:
        return self._stops.count

    @interrupts.setter
    def interrupts(self, count: int) -> None:
        self._stops.count = count
        self.cluster.wake()

    @property
    def resume(self) -> ResumePoint | None:
        return self._recall.resume

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.console.events if event["event"] == kind]


@contextmanager
def driven(*args: Any, **kwargs: Any) -> Iterator[Run]:
    """A launch of this script: the calls inside the block are carried to threads."""
    with Run(*args, **kwargs) as run:
        yield run


def make_model(*extra: Any) -> dt.Sequential:
    dt.clear_session()
    dt.set_random_seed(7)
    model = dt.Sequential(
        [
            dt.Input((6,)),
            layers.Dense(8, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            *extra,
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(optimizer=dt.optimizers.Adam(0.02), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def train(callbacks: Any = None, epochs: int = 3, model: Any = None) -> tuple[str, dict[str, list[float]]]:
    """(digest, History) of the fit that all tests here do."""
    model = model or make_model()
    history = model.fit(X, Y, batch_size=8, epochs=epochs, validation_split=0.2, verbose=0, callbacks=callbacks)
    return model.digest(), history.history


class EveryBatch(dt.Callback):
    """Makes every step a boundary."""

    def on_train_batch_end(self, batch, logs=None):
        pass


class AtEpoch(dt.Callback):
    """Does something once, at the end of an epoch; not a part of its state, so that a restart does not do it again."""

    def __init__(self, epoch: int, act: Any) -> None:
        super().__init__()
        self.epoch, self.act, self.done = epoch, act, False

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch and not self.done:
            self.done = True
            self.act()


def wait_until(condition: Any, limit_s: float = 600.0) -> None:
    """Look until it holds."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "this never came"
        threading.Event().wait(0.005)
