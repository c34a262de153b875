"""Jobs taken from the door of `fit`, and carried out by engines: alone, or as threads that are workers."""

from __future__ import annotations

import json
import threading
from typing import Any

import torch

from disttrain.collectives import GroupBroken
from disttrain.collectives.threads import thread_groups
from disttrain.elastic.shipping import pack, unpack
from disttrain.orchestrator import place
from disttrain.training.boundary_decision import BoundaryDecision
from disttrain.training.local import runner
from disttrain.training.program import Kind
from disttrain.training.step.engine import Engine
from disttrain.training.step.replica import StateDict


class Captured:
    """A runner that keeps the job instead of carrying it out."""

    def __init__(self, virtual_workers: int) -> None:
        self.virtual_workers = virtual_workers

    def next_call(self) -> int:
        return 0

    def fit(self, job, callbacks) -> None:
        self.job = job

    def evaluate(self, job, callbacks=None) -> dict:
        self.job = job
        return {"loss": 0.0}

    def predict(self, job, callbacks=None) -> Any:
        self.job = job


def evaluation_of(model, virtual_workers: int, *data, **arguments):
    """The job that `model.evaluate(*data, **arguments)` makes."""
    with runner.installed(Captured(virtual_workers)) as captured:
        model.evaluate(*data, verbose=0, **arguments)
    return captured.job


def job_of(model, virtual_workers: int, *data, **arguments):
    """The job that `model.fit(*data, **arguments)` makes."""
    with runner.installed(Captured(virtual_workers)) as captured:
        model.fit(*data, verbose=0, **arguments)
    return captured.job


def bits(engine: Engine) -> dict[str, bytes]:
    """The whole state, byte for byte."""
    state = engine.replica.state_dict()
    return {
        **{name: tensor.cpu().reshape(-1).view(torch.uint8).numpy().tobytes() for name, tensor in state.tensors.items()},
        "meta": json.dumps(state.meta).encode(),
    }


def copied(engine: Engine) -> StateDict:
    """The state as it is now, after a journey: copies of the tensors, and JSON read again."""
    state = engine.replica.state_dict()
    return StateDict({name: tensor.clone() for name, tensor in state.tensors.items()}, json.loads(json.dumps(state.meta)))


def step(engine: Engine) -> None:
    """One tick; at a boundary, as if no callback wished anything."""
    position = engine.position
    if position.kind in (Kind.BATCH_BOUNDARY, Kind.EPOCH_BOUNDARY):
        engine.apply(BoundaryDecision())
    else:
        engine.run_tick(position)


def run_to_end(engine: Engine) -> Engine:
    while engine.position.kind is not Kind.END:
        step(engine)
    return engine


def on_workers(job, workers: int, work=run_to_end) -> list:
    """`work(engine)` on each of so many threads, each with a job of its own; what each returned, or the error it raised."""
    shipment = pack(job)
    groups, results = thread_groups(workers), [None] * workers

    def member(rank: int) -> None:
        try:
            engine = Engine(unpack(shipment))
            engine.attach(groups[rank], place(job.virtual_workers, workers))
            results[rank] = work(engine)
        except BaseException as error:
            results[rank] = error
            groups[rank].abort()

    threads = [threading.Thread(target=member, args=(rank,)) for rank in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, GroupBroken):
            raise result
    return results


def alone(job) -> Engine:
    return Engine(unpack(pack(job)))
