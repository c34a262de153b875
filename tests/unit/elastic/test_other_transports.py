"""Runs over what carries tensors between devices: its own faults cost a forming, or a worker, and no bit; what cannot be had is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import thread_runs
import torch
from nccl_like import Library, carrying_runs
from thread_runs import AtEpoch, V, driven, train

from disttrain.collectives import Group
from disttrain.collectives.staged_group import StagedGroup, Staging
from disttrain.collectives.threads import ThreadGroup, thread_groups
from disttrain.elastic import messages as m
from disttrain.errors import UsageError
from disttrain.testing.fake_cluster import FaultPlan, FormGroup
from disttrain.training.local import runner


@pytest.fixture(scope="module")
def alone() -> tuple[str, dict[str, list[float]]]:
    """The fit in one process."""
    with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
        return train()


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    """As a group over NCCL leaves it, for all tests here alike."""
    with carrying_runs():
        thread_runs.carried_by = None
        yield


def test_an_error_that_nccl_finds_by_itself_costs_a_forming_and_no_bit(alone):
    with carrying_runs() as libraries, driven(3) as run:
        broken = AtEpoch(1, lambda: libraries[0].fail(1, "NCCL error: remote process exited or there was a network error"))
        assert train(broken) == alone
    assert len(run.events("formed")) == 2 and not run.events("worker lost")


class KilledLast(FaultPlan):
    """Kills a worker once both others have something under way that waits for it."""

    libraries: list[Library]

    def due(self, worker: str, tick: int, place: str) -> bool:
        due = super().due(worker, tick, place)
        if due:
            (library,) = self.libraries
            await_that(lambda: any(len(operation.parts) == 2 for operation in list(library.wires.values())[-1].operations.values()))
        return due


def await_that(holds: Callable[[], bool]) -> None:
    for _ in range(120_000):
        if holds():
            return
        time.sleep(0.005)
    raise AssertionError("10 minutes over in vain")


def test_workers_whose_communicators_cannot_be_aborted_end_themselves_and_are_replaced(alone):
    plan = KilledLast().kill("w1", 7)
    with carrying_runs(abort="throws") as plan.libraries, driven(3, plan, every="2steps") as run:
        assert train() == alone
    assert plan.all_fired and ("aborting", 0) in plan.libraries[0].history
    reasons = [event["reason"] for event in run.events("worker lost")]
    assert any("its communicator could not be aborted" in reason for reason in reasons), reasons


@contextmanager
def carried_over_the_host() -> Iterator[list[Staging]]:
    """Inside, runs send from memory of the host, with CPUs that stand in for devices."""
    stagings: list[Staging] = []

    def carried() -> FormGroup:
        meetings: dict[tuple[int, int], list[ThreadGroup]] = {}
        lock = threading.Lock()

        def form(command: m.Form, rank: int, device: torch.device, aborted: threading.Event, end: Callable[[str], None]) -> Group:
            with lock:
                groups = meetings.setdefault((command.call, command.generation), thread_groups(len(command.members)))
                stagings.append(Staging(device))
                return StagedGroup(groups[rank], stagings[-1])

        return form

    thread_runs.carried_by = carried
    try:
        yield stagings
    finally:
        thread_runs.carried_by = None


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_run_over_the_memory_of_the_hosts_has_the_bits_of_one_process_whoever_dies(alone, place):
    plan = FaultPlan().kill("w0", 6, place)
    with carried_over_the_host() as stagings, driven(3, plan):
        assert train() == alone
    assert plan.all_fired and len(stagings) >= 6 and all(staging._most for staging in stagings[:3])


def test_nccl_for_workers_on_cpus_is_refused_by_name():
    with driven(2, transport="nccl"), pytest.raises(UsageError, match=r"--transport nccl: w\d trains on a CPU"):
        train()


def test_a_transport_changes_nothing_for_workers_on_cpus(alone):
    with driven(2, transport="host") as run:
        assert train() == alone
    assert not run.events("transport")
