"""Who carries out a call: this process, or whatever a launch has installed in its place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from disttrain.callbacks import CallbackList
from disttrain.callbacks.progress_bar import note
from disttrain.data import StreamPlan
from disttrain.determinism import kept
from disttrain.training.allocator import keep_freed_memory
from disttrain.training.boundary_decision import BoundaryDecision
from disttrain.training.device_errors import device_errors
from disttrain.training.hooks import CallHooks, FitHooks
from disttrain.training.job import Job
from disttrain.training.local import device
from disttrain.training.local.telemetry import LocalTelemetry
from disttrain.training.nested_calls import next_nested_call
from disttrain.training.program import BOUNDARIES, Kind, Position
from disttrain.training.step.custom_step import generator_states, set_generator_states
from disttrain.training.step.engine import Engine
from disttrain.training.step.predictions import join_predictions

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

    def evaluate(self, job: Job, callbacks: CallbackList | None = None) -> dict[str, Any]:
        """The losses and metrics over the job's samples; runs the hooks of batches."""

    def predict(self, job: Job, callbacks: CallbackList | None = None) -> Any:
        """The outputs for the job's samples as NumPy arrays, in order; runs the hooks of batches."""


@dataclass
class _InProcess:
    virtual_workers: int = 1
    threads: int | None = None  # None: torch's own setting
    stays: bool = False  # compute where the weights lie: beside workers, who have the GPUs


class LocalRunner:
    """Every virtual worker in this process, one after the other."""

    def __init__(self, settings: _InProcess) -> None:
        self._settings = settings
        self._calls = 0
        self._told: str | None = None  # on what it trains

    @property
    def virtual_workers(self) -> int:
        return self._settings.virtual_workers

    def next_call(self) -> int:
        nested = next_nested_call()
        if nested is not None:
            return nested
        self._calls += 1
        return self._calls - 1

    def fit(self, job: Job, callbacks: CallbackList) -> None:
        keep_freed_memory()
        read_here(job)
        where = self.home_of(job.model)
        self._tell(where, callbacks)
        with intra_op_threads(self._settings.threads), kept_generators(), kept(), device_errors(job, where):
            engine = Engine(job, where)
            engine.begin()
            telemetry = LocalTelemetry(engine)
            hooks = FitHooks(callbacks, job.model, job.program, before_end=engine.replica.finalize, telemetry=telemetry)
            done = False
            try:
                hooks.begin()
                engine.hold()
                engine.rearrange(hooks.trainability.frozen())
                engine.tick = hooks.start_tick
                self._fit(engine, hooks, telemetry)
                done = True
            finally:
                engine.rest()
                hooks.close(failed=not done)

    def _fit(self, engine: Engine, hooks: FitHooks, telemetry: LocalTelemetry) -> None:
        shown = time.monotonic()
        while (position := engine.position).kind is not Kind.END:
            if position.kind in BOUNDARIES:
                began = time.perf_counter()
                decision = hooks.boundary(position, engine.logs(position))
                telemetry.callback_seconds += time.perf_counter() - began
                engine.hold()
                engine.apply(BoundaryDecision(frozen=decision.frozen, end_phase=decision.end_phase, end_call=decision.end_call))
                continue
            last = engine.run_ticks(position, until=shown + _SAMPLE_EVERY_S)
            if last.kind not in BOUNDARIES and (now := time.monotonic()) - shown >= _SAMPLE_EVERY_S:
                shown = now
                hooks.sample(last, engine.logs(last))

    def evaluate(self, job: Job, callbacks: CallbackList | None = None) -> dict[str, Any]:
        with self._called(job) as engine:
            self._run(engine, CallHooks(callbacks, job), lambda position: engine.results())
            return engine.results()

    def predict(self, job: Job, callbacks: CallbackList | None = None) -> Any:
        with self._called(job) as engine:
            self._run(engine, CallHooks(callbacks, job), lambda position: {"outputs": engine.outputs_of(position)})
            return join_predictions(engine.by_products.predictions)

    @contextmanager
    def _called(self, job: Job) -> Iterator[Engine]:
        keep_freed_memory()
        read_here(job)
        where = self.home_of(job.model)
        with intra_op_threads(self._settings.threads), kept(), device_errors(job, where):
            engine = Engine(job, where)
            with kept_generators(engine.draws):
                try:
                    yield engine
                finally:
                    engine.rest()

    def home_of(self, model: Any) -> torch.device:
        """Where this model computes, in this process."""
        own = device_of(model)
        if self._settings.stays:
            return own
        return device.home(None if _first_parameter(model) is None else own)

    def _tell(self, where: torch.device, callbacks: CallbackList) -> None:
        words = device.in_words(where)
        if words is not None and words != self._told and callbacks.params.get("verbose"):
            self._told = words
            note(f"[disttrain] {words}")

    def _run(self, engine: Engine, hooks: CallHooks, logs: Callable[[Position], dict[str, Any]]) -> None:
        hooks.begin()
        while (position := engine.position).kind is not Kind.END:
            if position.kind in BOUNDARIES:
                engine.apply(hooks.boundary(position, logs(position)))
                continue
            last = engine.run_ticks(position, until=(look := hooks.next_look()))
            if time.monotonic() >= look:
                hooks.sample(last, logs(last))


def read_here(job: Job) -> None:
    """Streams are read in this process, by whoever takes the steps."""
    for _, plan in job.program.plans:
        if isinstance(plan, StreamPlan):
            plan.reader.stay_in_this_process()


def evaluate(carrier: Runner, job: Job, callbacks: CallbackList) -> dict[str, Any]:
    """Let `carrier` evaluate, with the hooks around."""
    job.model.stop_evaluating = False
    with abandoned_on_error(callbacks):
        callbacks.on_test_begin()
        logs = carrier.evaluate(job, callbacks)
        callbacks.on_test_end(dict(sorted(logs.items())))
    return logs


def predict(carrier: Runner, job: Job, callbacks: CallbackList) -> Any:
    """Let `carrier` predict, with the hooks around."""
    job.model.stop_predicting = False
    with abandoned_on_error(callbacks):
        callbacks.on_predict_begin()
        outputs = carrier.predict(job, callbacks)
        callbacks.on_predict_end()
    return outputs


@contextmanager
def abandoned_on_error(callbacks: CallbackList) -> Iterator[None]:
    """Where the block raises, let go of what callbacks keep open, such as a progress bar."""
    try:
        yield
    except BaseException:
        callbacks.abandon()
        raise


def is_plain(carrier: Runner) -> bool:
    """Does it carry calls out in this process as one slice, with the threads that torch has anyway?"""
    if type(carrier) is not LocalRunner:
        return False
    settings = carrier._settings
    return settings.virtual_workers == 1 and settings.threads in (None, torch.get_num_threads())


def home_of(model: Any) -> torch.device:
    """Where a call that this process carries out computes: of a script under a launch where the weights lie, for workers have the GPUs."""
    return _runner.home_of(model) if type(_runner) is LocalRunner else device_of(model)


def device_of(model: Any) -> torch.device:
    """Where the model's weights are; the CPU when it has none."""
    first = _first_parameter(model)
    return torch.device("cpu") if first is None else first.device


def _first_parameter(module: nn.Module) -> nn.Parameter | None:
    """Without `parameters()`, which takes longer than a small model's prediction."""
    for parameter in module._parameters.values():
        if parameter is not None:
            return parameter
    for child in module._modules.values():
        found = None if child is None else _first_parameter(child)
        if found is not None:
            return found
    return None


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
def kept_generators(needed: bool = True) -> Iterator[None]:
    """Leave Python's, NumPy's and torch's own generators as they were: a call may seed them for each slice."""
    if not needed:
        yield
        return
    states = generator_states()
    try:
        yield
    finally:
        set_generator_states(states)


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
