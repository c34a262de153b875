"""The real driver's loop with workers that are threads of this process: a session without Ray, whose workers a test may kill."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import disttrain as dt
from disttrain import layers
from disttrain.controller.checkpoint_interval import CheckpointInterval
from disttrain.controller.commits import Committer
from disttrain.controller.loop import CallEnvironment, Controller
from disttrain.controller.remote_state import RemoteState
from disttrain.controller.telemetry import RunTelemetry
from disttrain.elastic.shipping import pack
from disttrain.orchestrator import RecoveryPolicy
from disttrain.rundir.directory import RunDirectory
from disttrain.rundir.timeline import Console
from disttrain.testing.fake_cluster import FakeCluster, FaultPlan
from disttrain.training.hooks import CallHooks, FitHooks
from disttrain.training.local import runner
from disttrain.training.local.telemetry import facts_of
from disttrain.training.step.engine import Engine
from disttrain.training.step.predictions import join_predictions
from disttrain.training.step.replica import StateDict

V = 4
X = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 3, 30)
EPOCH_TICKS = 5  # three training steps of 8 samples, one of validation, and the boundary


class Driver:
    """What a session does for the calls of a script, with a FakeCluster in Ray's place; a Runner."""

    def __init__(
        self, workers: int = 3, faults: FaultPlan | None = None, url: str | None = None, every: str = "epoch", **policy: Any
    ) -> None:
        self.cluster = FakeCluster(faults)
        self.policy = RecoveryPolicy(workers=workers, virtual_workers=V, **policy)
        self.console, self.every = Console(quiet=True), CheckpointInterval.parse(every)
        self.virtual_workers, self.interrupts = V, 0
        self._calls, self._state, self._facts, self._sequence = 0, None, {}, 0
        self.directory = self.resume = self.saves = None
        if url is not None:
            self.directory = RunDirectory(url)
            self.directory.begin(fresh=not self.directory.attempts())
            self.resume = self.directory.resume_point()
            self.saves = Committer(self.directory.store, self.directory.attempt, 3, set())

    def close(self) -> None:
        self.cluster.close()
        if self.saves is not None:
            self.saves.close()

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.console.events if event["event"] == kind]

    def next_call(self) -> int:
        self._calls += 1
        return self._calls - 1

    def fit(self, job, callbacks) -> None:
        changes = RemoteState(job.model, lambda: self.controller)
        facts = facts_of(job, workers=self.policy.workers, script="")
        telemetry = RunTelemetry(None, facts, lambda: self.controller.statistics, lambda: self.controller.gradients(), self.console.event)
        hooks = FitHooks(callbacks, job.model, job.program, changes, telemetry=telemetry)
        with changes.attached():
            controller = self._conduct(job, hooks)
        engine = Engine(job)
        engine.rearrange(controller.result["meta"]["frozen"])
        tensors = {name: _tensor(value) for name, value in controller.result["arrays"].items()}
        engine.replica.load_state_dict(StateDict(tensors, controller.result["meta"]))

    def evaluate(self, job, callbacks=None) -> dict[str, Any]:
        return self._conduct(job, CallHooks(callbacks, job)).result

    def predict(self, job, callbacks=None) -> Any:
        return join_predictions(self._conduct(job, CallHooks(callbacks, job)).outputs.parts)

    def _conduct(self, job, hooks) -> Controller:
        number = self._calls - 1
        around = CallEnvironment(
            cluster=self.cluster,
            policy=self.policy,
            run_dir=None if self.directory is None else self.directory.url,
            attempt=1 if self.directory is None else self.directory.attempt.number,
            threads=1,
            backend="gloo",
            store_host="127.0.0.1",
            store_port=0,
            checkpoint_interval=self.every,
            console=self.console,
            interrupts=lambda: self.interrupts,
            first_step=lambda: None,
        )
        self.controller = controller = Controller(
            around, number, job, lambda job: self.cluster.put(pack(job)), state=self._state, facts=self._facts, hooks=hooks,
            saves=self.saves if job.kind == "fit" else None, resume=self.resume if number == 0 else None, sequence_base=self._sequence,
        )  # fmt: skip
        try:
            controller.run()
        finally:
            self._state = controller.state
            self._sequence += job.program.ticks + 2
        return controller


def _tensor(array: np.ndarray):
    import torch

    return torch.tensor(array)


@contextmanager
def driven(*args: Any, **kwargs: Any) -> Iterator[Driver]:
    driver = Driver(*args, **kwargs)
    try:
        with runner.installed(driver):
            yield driver
    finally:
        driver.close()


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


def wait_until(condition: Any, limit_s: float = 20.0) -> None:
    """Look until it holds."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "this never came"
        threading.Event().wait(0.005)
