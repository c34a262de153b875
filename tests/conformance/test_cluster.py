"""What every Cluster promises, shown by the one that tests use and by the real one: one suite, two adapters."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import disttrain as dt
from disttrain import layers
from disttrain.elastic import messages as m
from disttrain.elastic.shipping import pack
from disttrain.orchestrator.events import Silent, WorkerLost
from disttrain.testing.fake_cluster import FakeCluster
from disttrain.training.local import runner

_LIMIT_S = 60.0  # for a busy machine; nothing here waits for it when all is well
SETTINGS = m.CallSettings(run_dir=None, attempt=1, sequence_base=0, every_steps=None, threads=1, backend="gloo")

# Ray keeps threads in the process that joined it, and idle processes beside it; it also sets variables.
left_by_ray = pytest.mark.leaves_behind("threads", "processes", "environment")


class Heard:
    """A cluster, and all that it has reported so far."""

    def __init__(self, cluster: Any) -> None:
        self.cluster, self.reports = cluster, []
        self._names = 0

    def start(self) -> str:
        """Start a worker under a name that no other ever had."""
        name = f"{id(self)}-{self._names}"
        self._names += 1
        self.cluster.start_worker(name)
        return name

    def listen(self, timeout_s: float = 0.1) -> None:
        self.reports += self.cluster.reports(timeout_s)

    def wait(self, condition: Callable[[Any], bool]) -> Any:
        """The first report for which `condition` holds."""
        end, seen = time.monotonic() + _LIMIT_S, 0
        while time.monotonic() < end:
            for report in self.reports[seen:]:
                if condition(report):
                    return report
            seen = len(self.reports)
            self.listen()
        raise AssertionError(f"this was never reported; heard {self.reports}")

    def ready(self, worker: str) -> m.Ready:
        return self.wait(lambda report: isinstance(report, m.Ready) and report.worker == worker)

    def lost(self, worker: str) -> list[WorkerLost]:
        return [report for report in self.reports if isinstance(report, WorkerLost) and report.worker == worker]


@pytest.fixture(scope="module")
def joined_ray(ray_address: str) -> Iterator[None]:
    """This process as a driver on the shared Ray."""
    import ray

    ray.init(address=ray_address, namespace="conformance", log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.fixture
def on_ray(joined_ray: None) -> Iterator[Heard]:
    from disttrain.clusters.ray.cluster import RayCluster

    cluster = RayCluster(cpus_per_worker=1)
    yield Heard(cluster)
    cluster.close()


@pytest.fixture
def on_threads() -> Iterator[Heard]:
    cluster = FakeCluster()
    yield Heard(cluster)
    cluster.close()


@pytest.fixture(params=["on_threads", pytest.param("on_ray", marks=[pytest.mark.ray, left_by_ray])])
def heard(request: pytest.FixtureRequest) -> Heard:
    return request.getfixturevalue(request.param)


class _Captured(runner.LocalRunner):
    def predict(self, job, callbacks=None):
        self.job = job
        return None


@pytest.fixture(scope="module")
def shipment():
    """The job of a small predict: it can be formed with one worker and answers with numbers that are known."""
    dt.clear_session()
    dt.set_random_seed(0)
    model = dt.Sequential([dt.Input((2,)), layers.Dense(1, kernel_initializer="ones")])
    with runner.installed(_Captured(runner._InProcess(2))) as captured:
        model.predict(np.arange(8, dtype=np.float32).reshape(4, 2), batch_size=4)
    return pack(captured.job)


def begin(heard: Heard, worker: str, shipment, call: int = 0) -> None:
    heard.cluster.send(worker, m.Begin(call, heard.cluster.put(shipment), SETTINGS))


def form(call: int, worker: str) -> m.Form:
    return m.Form(call, 1, (worker,), ((0, 2),), (None,), "127.0.0.1", 0, None, None, 0)


def test_a_worker_that_was_started_answers_begin_with_ready(heard, shipment):
    worker = heard.start()
    begin(heard, worker, shipment)  # at once: commands wait for the process to come up
    ready = heard.ready(worker)
    assert (ready.call, ready.pid > 0, bool(ready.host)) == (0, True, True)


def test_commands_are_obeyed_in_their_order(heard, shipment):
    worker = heard.start()
    for call in range(5):
        begin(heard, worker, shipment, call)
        heard.cluster.send(worker, form(call, worker))
    heard.wait(lambda report: isinstance(report, m.Finished) and report.call == 4)
    kinds = [(type(report).__name__, report.call) for report in heard.reports if isinstance(report, m.Ready | m.Predicted | m.Finished)]
    assert kinds == [(kind, call) for call in range(5) for kind in ("Ready", "Predicted", "Finished")]
    parts = next(report.parts for report in heard.reports if isinstance(report, m.Predicted))
    assert {number: part.tolist() for number, part in parts.items()} == {0: [[1.0], [5.0]], 1: [[9.0], [13.0]]}


def test_starting_a_worker_twice_starts_one(heard, shipment):
    worker = heard.start()
    heard.cluster.start_worker(worker)
    begin(heard, worker, shipment)
    heard.ready(worker)
    heard.listen(0.3)
    assert len([report for report in heard.reports if isinstance(report, m.Ready)]) == 1


def test_a_killed_worker_is_reported_lost_once(heard, shipment):
    worker, other = heard.start(), heard.start()
    begin(heard, worker, shipment)
    begin(heard, other, shipment)
    heard.ready(worker), heard.ready(other)
    heard.cluster.kill(worker)
    heard.cluster.kill(worker)
    heard.wait(lambda report: isinstance(report, WorkerLost))
    begin(heard, other, shipment, call=1)  # the others go on, and a second report would come before their answer
    heard.wait(lambda report: isinstance(report, m.Ready) and report.call == 1)
    heard.listen(0.5)
    assert len(heard.lost(worker)) == 1 and heard.lost(worker)[0].reason
    assert not heard.lost(other)


def test_words_to_the_dead_and_the_unknown_are_harmless(heard, shipment):
    worker = heard.start()
    begin(heard, worker, shipment)
    heard.ready(worker)
    heard.cluster.kill(worker)
    heard.cluster.send(worker, m.Abort(0, 1))
    heard.cluster.send("nobody", m.Abort(0, 1))
    heard.cluster.kill("nobody")
    heard.wait(lambda report: isinstance(report, WorkerLost) and report.worker == worker)
    heard.cluster.send(worker, m.Abort(0, 1))


def test_reports_come_back_empty_when_there_is_nothing_to_hear(heard):
    assert heard.cluster.reports(0.0) == []


def test_an_error_in_the_job_is_reported_and_the_worker_lives_on(heard, shipment):
    worker = heard.start()
    heard.cluster.send(worker, m.Begin(0, heard.cluster.put(pack(_Unopenable())), SETTINGS))
    failed = heard.wait(lambda report: isinstance(report, m.Failed))
    assert isinstance(failed.error, LookupError) and "cannot be opened" in failed.traceback
    begin(heard, worker, shipment, call=1)
    assert heard.ready(worker).call == 1


class _Unopenable:
    """Raises as it is unpacked."""

    def __reduce__(self):
        return _open, ()


def _open():
    raise LookupError("this job cannot be opened")


def test_closing_twice_is_harmless_and_ends_the_workers(heard, shipment):
    worker = heard.start()
    begin(heard, worker, shipment)
    pid = heard.ready(worker).pid
    heard.cluster.close()
    heard.cluster.close()
    heard.cluster.send(worker, m.Abort(0, 1))
    if pid != os.getpid():
        ended(pid)


# -- what only processes can show -------------------------------------------------------------------------------------------------------


def ended(pid: int) -> None:
    """Wait until no process has that pid, or only its zombie."""
    end = time.monotonic() + _LIMIT_S
    while time.monotonic() < end:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return
        except OSError:
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} is still there")


@pytest.mark.ray
@pytest.mark.faults
@left_by_ray
def test_a_process_killed_from_outside_is_reported_lost(on_ray, shipment):
    worker, other = on_ray.start(), on_ray.start()
    begin(on_ray, worker, shipment)
    begin(on_ray, other, shipment)
    pid = on_ray.ready(worker).pid
    assert on_ray.ready(other).pid != pid
    os.kill(pid, signal.SIGKILL)
    assert on_ray.wait(lambda report: isinstance(report, WorkerLost)).worker == worker


@pytest.mark.ray
@pytest.mark.faults
@left_by_ray
def test_a_stopped_process_is_reported_silent_and_kill_ends_it(on_ray, shipment):
    worker = on_ray.start()
    begin(on_ray, worker, shipment)
    pid = on_ray.ready(worker).pid
    os.kill(pid, signal.SIGSTOP)
    silent = on_ray.wait(lambda report: isinstance(report, Silent))
    assert silent.worker == worker and silent.since_s < silent.at_s
    on_ray.cluster.kill(worker)
    assert on_ray.wait(lambda report: isinstance(report, WorkerLost)).worker == worker
    ended(pid)
