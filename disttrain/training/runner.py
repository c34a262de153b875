"""Who carries out a call: this process, or whatever a launch has installed in its place."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from disttrain.callbacks import CallbackList
from disttrain.data import map_structure
from disttrain.training.engine import Engine
from disttrain.training.hooks import FitHooks
from disttrain.training.job import Job
from disttrain.training.orders import Orders
from disttrain.training.program import Kind

_SAMPLE_EVERY_S = 0.1


class Runner(Protocol):
    """Carries out calls, one after the other, in the order in which the script makes them."""

    @property
    def virtual_workers(self) -> int:
        """V for the next call."""

    def next_call(self) -> int:
        """The number of the next call of this run; shuffles are drawn from it."""

    def fit(self, job: Job, callbacks: CallbackList) -> None:
        """Train `job.model`, run the hooks; the model and its optimizer hold the result."""

    def evaluate(self, job: Job) -> dict[str, Any]:
        """The losses and metrics over the job's samples."""

    def predict(self, job: Job) -> Any:
        """The outputs for the job's samples as NumPy arrays, in order."""


@dataclass
class _InProcess:
    virtual_workers: int = 1
    threads: int | None = None  # None: torch's own setting


class LocalRunner:
    """Every virtual worker in this process, one after the other."""

    def __init__(self, settings: _InProcess) -> None:
        self._settings = settings
        self._calls = 0

    @property
    def virtual_workers(self) -> int:
        return self._settings.virtual_workers

    def next_call(self) -> int:
        self._calls += 1
        return self._calls - 1

    def fit(self, job: Job, callbacks: CallbackList) -> None:
        with intra_op_threads(self._settings.threads), kept_generators():
            engine = Engine(job, device_of(job.model))
            hooks = FitHooks(callbacks, job.model, job.program)
            hooks.begin()
            shown = time.monotonic()
            while (position := engine.position).kind is not Kind.END:
                if position.kind in (Kind.BATCH_BOUNDARY, Kind.EPOCH_BOUNDARY):
                    orders = hooks.boundary(position, engine.logs(position))
                    engine.apply(Orders(end_phase=orders.end_phase, end_call=orders.end_call))
                    continue
                engine.run_tick(position)
                if position.kind is Kind.TRAIN and (now := time.monotonic()) - shown >= _SAMPLE_EVERY_S:
                    shown = now
                    hooks.sample(position, engine.logs(position))

    def evaluate(self, job: Job) -> dict[str, Any]:
        with intra_op_threads(self._settings.threads), kept_generators():
            engine = Engine(job, device_of(job.model))
            while (position := engine.position).kind is not Kind.END:
                engine.run_tick(position)
            return engine.results()

    def predict(self, job: Job) -> Any:
        with intra_op_threads(self._settings.threads), kept_generators():
            engine = Engine(job, device_of(job.model))
            while (position := engine.position).kind is not Kind.END:
                engine.run_tick(position)
            return join_predictions(engine.predictions)


def join_predictions(parts: dict[int, Any]) -> Any:
    """The slices' outputs, by (step, virtual rank), as one structure of arrays."""
    import numpy as np

    ordered = [parts[number] for number in sorted(parts)]
    leaves: list[list[Any]] = [[] for _ in ordered]
    for collected, part in zip(leaves, ordered, strict=True):
        map_structure(collected.append, part)
    joined = iter([np.concatenate(column) for column in zip(*leaves, strict=True)])
    return map_structure(lambda _: next(joined), ordered[0])


def device_of(model: Any) -> torch.device:
    """Where the model's weights are; the CPU when it has none."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


@contextmanager
def intra_op_threads(threads: int | None) -> Iterator[None]:
    """Run with that many intra-op threads: the bits of a sum depend on how many share it."""
    before = torch.get_num_threads()
    if threads is None or threads == before:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def kept_generators() -> Iterator[None]:
    """Leave Python's, NumPy's and torch's own generators as they were: a call seeds them for each slice."""
    import random

    import numpy as np

    states = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.random.set_rng_state(states[2])


_local = _InProcess()
_runner: Runner = LocalRunner(_local)


def current() -> Runner:
    """Who carries out the calls of this process."""
    return _runner


@contextmanager
def installed(runner: Runner) -> Iterator[Runner]:
    """Let `runner` carry out the calls made inside the block."""
    global _runner
    before, _runner = _runner, runner
    try:
        yield runner
    finally:
        _runner = before


def set_virtual_workers(virtual_workers: int, *, threads: int = 1) -> None:
    """Cut every batch into `virtual_workers` slices, as a launch with that many would: the same script gives the same bits.

    Args:
        virtual_workers: V, 1 or more. Under `disttrain launch` the launch's own number counts, and this is what it takes when not told.
        threads: intra-op threads; bits depend on it, and a launched worker has `--cpus-per-worker`, 1 unless told.
    """
    if not isinstance(virtual_workers, int) or isinstance(virtual_workers, bool) or virtual_workers < 1:
        raise ValueError(f"set_virtual_workers({virtual_workers!r}): expected an integer of 1 or more.")
    if not isinstance(threads, int) or threads < 1:
        raise ValueError(f"set_virtual_workers(threads={threads!r}): expected an integer of 1 or more.")
    _local.virtual_workers, _local.threads = virtual_workers, threads


def asked_virtual_workers() -> int | None:
    """What the script asked for by `set_virtual_workers`; None when it did not."""
    return _local.virtual_workers if _local.threads is not None else None
