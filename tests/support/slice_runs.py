"""Training in some number of slices on some number of workers, and everything that came of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from engine_runs import Captured, bits, job_of, run_to_end, step

from disttrain.collectives import GroupBroken
from disttrain.collectives.threads import ThreadGroup, thread_groups
from disttrain.data.structure import map_structure
from disttrain.elastic.shipping import pack, unpack
from disttrain.orchestrator import place
from disttrain.training.job import Job
from disttrain.training.local import runner
from disttrain.training.program import Kind
from disttrain.training.step.engine import Engine
from disttrain.training.step.predictions import join_predictions


@dataclass(frozen=True)
class Task:
    """What is trained: a compiled model, its samples, and how `fit` is called beside that."""

    model: Any
    x: Any
    y: Any = None
    weight: Any = None
    batch_size: int = 7
    epochs: int = 2
    validates: bool = True
    class_weight: dict[int, float] | None = None


@dataclass(frozen=True)
class Outcome:
    """What must not depend on the workers: weights, slots, sums and counters as bytes; the logs of each epoch; the predictions."""

    state: dict[str, bytes]
    logs: list[dict[str, Any]]
    predictions: Any


def jobs_of(task: Task, virtual_workers: int) -> tuple[Job, Job]:
    """The jobs of `fit`, and of `predict` with the same model after it."""
    arguments: dict[str, Any] = {"batch_size": task.batch_size, "epochs": task.epochs, "class_weight": task.class_weight}
    if task.validates:
        arguments["validation_data"] = (
            task.x if task.y is None else tuple(part for part in (task.x, task.y, task.weight) if part is not None)
        )
    data = (task.x,) if task.y is None else (task.x, task.y)
    fit = job_of(task.model, virtual_workers, *data, sample_weight=task.weight, **arguments)
    with runner.installed(Captured(virtual_workers)) as captured:
        task.model.predict(task.x, batch_size=task.batch_size, verbose=0)
    return fit, captured.job


def on_threads(jobs: Any, workers: int, work: Callable[[Any, ThreadGroup], Any]) -> list[Any]:
    """`work(jobs, group)` on each of so many threads, each with jobs, and so a model, of its own; what each returned."""
    shipment = pack(jobs)
    results: list[Any] = [None] * workers

    def member(rank: int, group: ThreadGroup) -> None:
        try:
            results[rank] = work(unpack(shipment), group)
        except BaseException as error:
            results[rank] = error
            group.abort()

    threads = [threading.Thread(target=member, args=(group.rank, group)) for group in thread_groups(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors = [result for result in results if isinstance(result, BaseException)]
    if errors:  # that of the one who broke the group, rather than of those who noticed
        raise next((error for error in errors if not isinstance(error, GroupBroken)), errors[0])
    return results


def engine_of(job: Job, group: ThreadGroup) -> Engine:
    """An engine in its place among the workers of `group`."""
    engine = Engine(job)
    engine.attach(group, place(job.virtual_workers, group.size))
    return engine


def train(engine: Engine) -> list[dict[str, Any]]:
    """Go on to the end; the logs of each epoch that ended on the way."""
    logs = []
    while (position := engine.position).kind is not Kind.END:
        if position.kind is Kind.EPOCH_BOUNDARY:
            logs.append(engine.logs(position))
        step(engine)
    return logs


def outcomes(
    task: Task, virtual_workers: int, workers: Sequence[int], within: Callable[[], AbstractContextManager[object]] = nullcontext
) -> list[Outcome]:
    """Train, then predict, in so many slices on each of these numbers of workers; the task's own model stays as it was.

    Args:
        within: what each worker works in.

    Raises:
        AssertionError: the workers of one run ended with different weights, slots, sums or logs.
    """
    jobs = jobs_of(task, virtual_workers)

    def work(jobs: tuple[Job, Job], group: ThreadGroup) -> Any:
        with within():
            return _train_and_predict(jobs, group)

    return [_outcome(on_threads(jobs, number, work)) for number in workers]


def _train_and_predict(jobs: tuple[Job, Job], group: ThreadGroup) -> tuple[dict[str, bytes], list[dict[str, Any]], dict[int, Any]]:
    fit, predict = jobs
    engine = engine_of(fit, group)
    logs = train(engine)
    return bits(engine), logs, run_to_end(engine_of(predict, group)).by_products.predictions


def _outcome(ends: list[Any]) -> Outcome:
    state, logs, _ = ends[0]
    for other_state, other_logs, _ in ends[1:]:
        assert different(other_state, state) == [] and repr(other_logs) == repr(logs), "workers of one run ended with different states"
    joined = join_predictions({number: part for *_, predictions in ends for number, part in predictions.items()})
    return Outcome(state, logs, map_structure(lambda array: (array.shape, str(array.dtype), np.ascontiguousarray(array).tobytes()), joined))


def different(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """The names of what differs."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def assert_same(one: Outcome, other: Outcome) -> None:
    """Every bit alike; NaN in logs counts as like itself."""
    assert different(one.state, other.state) == []
    assert repr(one.logs) == repr(other.logs)
    assert one.predictions == other.predictions
