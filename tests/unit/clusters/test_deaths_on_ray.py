"""What a worker's death is reported as: each process here dies of the real thing."""

from __future__ import annotations

import os
import signal

import pytest
import ray
from heard import Heard, ended, leave, segfault, signal_itself

from disttrain.clusters.ray import cluster as cluster_module
from disttrain.clusters.ray import compat, lookouts
from disttrain.elastic import messages as m
from disttrain.orchestrator.events import StartFailed, WorkerLost

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.leaves_behind("threads", "processes", "environment")]


def start(heard: Heard) -> str:
    """A worker that has introduced itself."""
    worker = heard.start()
    heard.run(worker, len, ())
    heard.wait(lambda report: isinstance(report, m.Failed) and report.worker == worker)
    return worker


def pid_of(heard: Heard, worker: str) -> int:
    return heard.cluster._hearing.knows(worker).facts.pid


def test_a_segmentation_fault_is_named_with_the_line_that_caused_it(on_ray):
    worker = start(on_ray)
    on_ray.run(worker, segfault)
    loss = on_ray.loss(worker)
    assert loss.crashed and loss.reason.startswith("killed by SIGSEGV at ") and "heard.py" in loss.reason and "in segfault" in loss.reason


def test_an_exit_of_its_own_is_named_with_its_code(on_ray):
    worker = start(on_ray)
    on_ray.run(worker, leave, 3)
    loss = on_ray.loss(worker)
    assert loss.crashed and loss.reason.startswith("exit code 3 at ") and "in leave" in loss.reason


def test_an_abort_is_named(on_ray):
    worker = start(on_ray)
    on_ray.run(worker, os.abort)
    loss = on_ray.loss(worker)
    assert loss.crashed and loss.reason.startswith("killed by SIGABRT")


@pytest.mark.parametrize(("number", "word"), [(signal.SIGKILL, "SIGKILL"), (signal.SIGTERM, "SIGTERM")])
def test_what_comes_from_outside_is_no_crash(on_ray, number, word):
    worker = start(on_ray)
    on_ray.run(worker, signal_itself, number)
    loss = on_ray.loss(worker)
    assert not loss.crashed and word in loss.reason
    on_ray.listen(0.5)
    assert on_ray.lost(worker) == [loss]


def test_a_worker_that_dies_as_it_unpacks_its_first_job_is_reported_with_the_reason(on_ray):
    worker = on_ray.start()
    on_ray.run(worker, leave, 7)
    assert on_ray.loss(worker).reason.startswith("exit code 7")


def test_a_worker_that_cannot_start_is_reported_with_the_reason(on_ray, monkeypatch):
    class Unstartable(cluster_module.WorkerActor):
        def __init__(self, name, lease, gpus):
            raise ImportError("no module named 'torch'")

    replace_actor(on_ray, Unstartable)
    worker = on_ray.start()
    failed = on_ray.wait(lambda report: isinstance(report, StartFailed))
    assert failed.worker == worker and "no module named 'torch'" in failed.reason


def test_a_worker_that_crashes_as_it_starts_is_reported_with_the_reason(on_ray):
    class Crashing(cluster_module.WorkerActor):
        def introduce(self):
            import ctypes

            ctypes.string_at(0)

    replace_actor(on_ray, Crashing)
    loss = on_ray.loss(on_ray.start())
    assert loss.crashed and "SIGSEGV" in loss.reason


def replace_actor(heard: Heard, kind: type) -> None:
    heard.cluster._actor_class = ray.remote(max_restarts=0, concurrency_groups={"commands": 1, "reports": 1})(kind)


def test_a_command_that_cannot_be_unpacked_is_the_loss_of_its_worker(on_ray):
    worker = start(on_ray)
    pid = pid_of(on_ray, worker)
    on_ray.cluster.send(worker, Broken())
    loss = on_ray.loss(worker)
    assert not loss.crashed and "this word cannot be read" in loss.reason
    ended(pid)


class Broken:
    def __reduce__(self):
        return int, ("this word cannot be read",)


def test_a_lost_connection_is_a_lost_worker_and_its_process_is_ended(on_ray, monkeypatch):
    from ray.exceptions import ActorUnavailableError

    worker = start(on_ray)
    pid = pid_of(on_ray, worker)
    get = ray.get

    def broken_get(ref, **options):
        if isinstance(ref, ray.ObjectRef):
            raise ActorUnavailableError("the connection broke", b"\0" * 16)
        return get(ref, **options)

    monkeypatch.setattr("disttrain.clusters.ray.hearing.ray.get", broken_get)
    loss = on_ray.loss(worker)
    assert not loss.crashed and loss.reason.startswith("Ray lost the connection to it")
    monkeypatch.undo()
    ended(pid)


def test_a_worker_that_was_given_up_while_nobody_could_reach_it_ends_itself_when_it_is_back(on_ray, monkeypatch):
    worker = start(on_ray)
    pid = pid_of(on_ray, worker)
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr("disttrain.clusters.ray.cluster.ray.kill", lambda *_, **__: None)
    monkeypatch.setattr(on_ray.cluster._lookouts, "end", lambda facts: None)
    on_ray.cluster.kill(worker)
    assert on_ray.loss(worker)
    os.kill(pid, signal.SIGCONT)
    ended(pid)


def test_a_worker_whose_lease_is_not_renewed_ends_itself_and_says_so(joined_ray, monkeypatch):
    monkeypatch.setattr(cluster_module, "_LEASE_S", 3.0)
    heard = Heard(cluster_module.RayCluster())
    try:
        monkeypatch.setattr(heard.cluster._leases, "tend", lambda: None)
        heard.cluster._hearing._every_second = lambda: None
        worker = start(heard)
        os.kill(heard.cluster._leases._process.pid, signal.SIGKILL)
        loss = heard.loss(worker)
        assert not loss.crashed and "no word from the driver at" in loss.reason and "Connection refused" in loss.reason
    finally:
        heard.cluster.close()


def test_a_worker_on_another_node_is_asked_about_by_a_lookout_there(on_ray, monkeypatch):
    monkeypatch.setattr(lookouts.lookout, "start_of", lambda pid: -1)  # as where processes are counted apart
    worker = start(on_ray)
    facts = on_ray.cluster._hearing.knows(worker).facts
    assert not on_ray.cluster._lookouts.sees(facts)
    assert ray.get(on_ray.cluster._lookouts.ask("condition_of", facts)) == "alive"
    on_ray.run(worker, segfault)
    loss = on_ray.loss(worker)
    assert loss.crashed and "SIGSEGV" in loss.reason and "in segfault" in loss.reason


def test_the_reports_of_the_last_moment_are_not_lost_with_the_thread_that_hears(on_ray, monkeypatch):
    """Too many open files, say: nobody would ever be told."""
    from disttrain.errors import InfrastructureError

    worker = start(on_ray)
    on_ray.cluster._hearing.put(WorkerLost("w", "heard before", 0.0))

    def wait(*_, **__):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("disttrain.clusters.ray.hearing.ray.wait", wait)
    on_ray.cluster._hearing._thread.join(300)
    assert on_ray.cluster.reports(60.0) == [WorkerLost("w", "heard before", 0.0)]
    for _ in range(2):
        with pytest.raises(InfrastructureError, match=r"OSError: .*Too many open files") as told:
            on_ray.cluster.reports(60.0)
        assert told.value.exit_code == 3
    monkeypatch.undo()
    assert worker and compat.logs_folder()
