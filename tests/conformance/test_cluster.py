"""What every Cluster promises, shown by the one that tests use and by the real one: one suite, two adapters."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from heard import LIMIT_S, Heard, ended, fail, form, predict_shipment

from disttrain.elastic import messages as m
from disttrain.orchestrator.events import Silent, WorkerLost
from disttrain.testing.fake_cluster import FakeCluster

# Ray keeps threads in the process that joined it, and idle processes beside it; it also sets variables.
left_by_ray = pytest.mark.leaves_behind("threads", "processes", "environment")


@pytest.fixture
def on_threads() -> Iterator[Heard]:
    cluster = FakeCluster()
    yield Heard(cluster)
    cluster.close()


@pytest.fixture(params=["on_threads", pytest.param("on_ray", marks=[pytest.mark.ray, left_by_ray])])
def heard(request: pytest.FixtureRequest) -> Heard:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def shipment():
    return predict_shipment()


def test_a_worker_that_was_started_answers_begin_with_ready(heard, shipment):
    worker = heard.start()
    heard.begin(worker, shipment)  # at once: commands wait for the process to come up
    ready = heard.ready(worker)
    assert (ready.call, ready.pid > 0, bool(ready.host)) == (0, True, True)


def test_commands_are_obeyed_in_their_order(heard, shipment):
    worker = heard.start()
    for call in range(5):
        heard.begin(worker, shipment, call)
        heard.cluster.send(worker, form(call, worker))
    heard.wait(lambda report: isinstance(report, m.Finished) and report.call == 4)
    kinds = [(type(report).__name__, report.call) for report in heard.reports if isinstance(report, m.Ready | m.Predicted | m.Finished)]
    assert kinds == [(kind, call) for call in range(5) for kind in ("Ready", "Predicted", "Finished")]
    parts = heard.value(next(report.parts for report in heard.reports if isinstance(report, m.Predicted)))
    assert {number: part.tolist() for number, part in parts.items()} == {0: [[1.0], [5.0]], 1: [[9.0], [13.0]]}


def test_starting_a_worker_twice_starts_one(heard, shipment):
    worker = heard.start()
    heard.cluster.start_worker(worker)
    heard.begin(worker, shipment)
    heard.ready(worker)
    heard.listen(0.3)
    assert len([report for report in heard.reports if isinstance(report, m.Ready)]) == 1


def test_a_killed_worker_is_reported_lost_once(heard, shipment):
    worker, other = heard.start(), heard.start()
    heard.begin(worker, shipment)
    heard.begin(other, shipment)
    heard.ready(worker), heard.ready(other)
    heard.cluster.kill(worker)
    heard.cluster.kill(worker)
    heard.wait(lambda report: isinstance(report, WorkerLost))
    heard.begin(other, shipment, call=1)  # the others go on, and a second report would come before their answer
    heard.wait(lambda report: isinstance(report, m.Ready) and report.call == 1)
    heard.listen(0.5)
    assert len(heard.lost(worker)) == 1 and heard.lost(worker)[0].reason
    assert not heard.lost(other)


def test_words_to_the_dead_and_the_unknown_are_harmless(heard, shipment):
    worker = heard.start()
    heard.begin(worker, shipment)
    heard.ready(worker)
    heard.cluster.kill(worker)
    heard.cluster.send(worker, m.Abort(0, 1))
    heard.cluster.send("nobody", m.Abort(0, 1))
    heard.cluster.kill("nobody")
    heard.wait(lambda report: isinstance(report, WorkerLost) and report.worker == worker)
    heard.cluster.send(worker, m.Abort(0, 1))


def test_reports_come_back_empty_when_there_is_nothing_to_hear(heard):
    assert heard.cluster.reports(0.0) == []


def test_a_wake_ends_the_wait_and_reports_nothing(heard):
    waiting: list[list[object]] = []
    thread = threading.Thread(target=lambda: waiting.append(heard.cluster.reports(LIMIT_S)))
    began = time.monotonic()
    thread.start()
    while thread.is_alive():  # whichever comes first, the wait or the wake
        heard.cluster.wake()
        thread.join(0.01)
    assert waiting == [[]] and time.monotonic() - began < LIMIT_S
    heard.listen(0.0)
    assert heard.reports == []


def test_what_a_worker_left_is_brought_when_it_is_collected(heard):
    heard.cluster.collect(m.Bulk("c0 outputs", 100, {"a": [1, 2]}))
    assert heard.wait(lambda report: isinstance(report, m.Collected)) == m.Collected("c0 outputs", {"a": [1, 2]})


def test_after_closing_nothing_is_started_and_words_are_dropped(heard):
    worker = heard.start()
    heard.cluster.close()
    heard.cluster.start_worker("late")
    heard.cluster.send("late", m.Abort(0, 1))
    heard.cluster.send(worker, m.Abort(0, 1))
    heard.cluster.kill(worker)
    heard.cluster.wake()


def test_an_error_in_the_job_is_reported_and_the_worker_lives_on(heard, shipment):
    worker = heard.start()
    heard.run(worker, fail)
    failed = heard.wait(lambda report: isinstance(report, m.Failed))
    assert isinstance(failed.error, LookupError) and "cannot be opened" in failed.traceback
    heard.begin(worker, shipment, call=1)
    assert heard.ready(worker).call == 1


def test_closing_twice_is_harmless_and_ends_the_workers(heard, shipment):
    worker = heard.start()
    heard.begin(worker, shipment)
    pid = heard.ready(worker).pid
    heard.cluster.close()
    heard.cluster.close()
    heard.cluster.send(worker, m.Abort(0, 1))
    if pid != os.getpid():
        ended(pid)


# -- what only processes can show -------------------------------------------------------------------------------------------------------


@pytest.mark.ray
@pytest.mark.faults
@left_by_ray
def test_a_process_killed_from_outside_is_reported_lost(on_ray, shipment):
    worker, other = on_ray.start(), on_ray.start()
    on_ray.begin(worker, shipment)
    on_ray.begin(other, shipment)
    pid = on_ray.ready(worker).pid
    assert on_ray.ready(other).pid != pid
    os.kill(pid, signal.SIGKILL)
    assert on_ray.wait(lambda report: isinstance(report, WorkerLost)).worker == worker


@pytest.mark.ray
@pytest.mark.faults
@left_by_ray
def test_a_stopped_process_is_reported_silent_and_kill_ends_it(on_ray, shipment):
    worker = on_ray.start()
    on_ray.begin(worker, shipment)
    pid = on_ray.ready(worker).pid
    os.kill(pid, signal.SIGSTOP)
    silent = on_ray.wait(lambda report: isinstance(report, Silent))
    assert silent.worker == worker and silent.since_s < silent.at_s and silent.condition == "stopped"
    on_ray.cluster.kill(worker)
    assert on_ray.wait(lambda report: isinstance(report, WorkerLost)).worker == worker
    ended(pid)
