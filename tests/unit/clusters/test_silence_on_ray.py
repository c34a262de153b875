"""A worker that is not heard is looked at; a driver that does not listen blames nobody; what is large does not hold up what proves life."""

from __future__ import annotations

import ctypes
import os
import signal
import time

import numpy as np
import pytest
import ray
from heard import LIMIT_S, Heard, ended, hold_the_interpreter, say, state_of, wait_until

from disttrain.clusters.ray import actor, lookouts
from disttrain.clusters.ray.hearing import _SILENT_S
from disttrain.elastic import messages as m
from disttrain.orchestrator.events import Silent

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.leaves_behind("threads", "processes", "environment")]


def start(heard: Heard) -> str:
    """A worker that has introduced itself."""
    worker = heard.start()
    heard.run(worker, len, ())
    heard.wait(lambda report: isinstance(report, m.Failed) and report.worker == worker)
    return worker


def silent(worker: str, *conditions: str):
    return lambda report: isinstance(report, Silent) and report.worker == worker and report.condition in conditions


def test_a_stopped_worker_a_busy_one_and_one_out_of_sight_are_told_apart(on_ray, monkeypatch):
    stopped, busy = start(on_ray), start(on_ray)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(lookouts.lookout, "start_of", lambda pid: -1)  # as on another node
        remote, lonely = start(on_ray), start(on_ray)
    facts = {name: on_ray.cluster._hearing.knows(name).facts for name in (stopped, busy, remote, lonely)}
    assert ray.get(on_ray.cluster._lookouts.ask("condition_of", facts[remote])) == "alive"
    for name in (stopped, remote, lonely):
        os.kill(facts[name].pid, signal.SIGSTOP)
    on_ray.run(busy, hold_the_interpreter, 12)
    assert on_ray.wait(silent(stopped, "stopped", "unknown", "alive")).condition == "stopped"
    assert on_ray.wait(silent(busy, "stopped", "unknown", "alive")).condition == "alive"
    assert on_ray.wait(silent(remote, "stopped", "unknown", "alive")).condition == "stopped"
    os.kill(facts[stopped].pid, signal.SIGCONT)
    # both go on as if nothing had been
    assert on_ray.wait(lambda report: isinstance(report, m.Failed) and report.worker == busy and report is not on_ray.reports[0])
    on_ray.run(stopped, len, ())
    seen = len(on_ray.reports)
    on_ray.wait(lambda report: report in on_ray.reports[seen:] and isinstance(report, m.Failed) and report.worker == stopped)
    # nobody answers over there
    for lookout in on_ray.cluster._lookouts._actors.values():
        pid = ray.get(lookout.__ray_call__.remote(lambda _: os.getpid()))
        os.kill(pid, signal.SIGSTOP)
    assert on_ray.wait(silent(lonely, "unknown"))
    os.kill(pid, signal.SIGCONT)
    on_ray.cluster.kill(remote)
    ended(facts[remote].pid)


def test_a_driver_that_holds_its_interpreter_finds_nobody_silent_afterwards(on_ray):
    worker = start(on_ray)
    before = len(on_ray.reports)
    ctypes.PyDLL(None).sleep(int(_SILENT_S) + 3)
    on_ray.run(worker, len, ())
    on_ray.wait(lambda report: isinstance(report, m.Failed) and any(report is other for other in on_ray.reports[before:]))
    assert not [report for report in on_ray.reports if isinstance(report, Silent)]
    assert not on_ray.lost(worker)


def test_a_worker_whose_process_is_gone_is_lost_though_ray_has_not_noticed(on_ray, monkeypatch):
    worker = start(on_ray)
    known = on_ray.cluster._hearing.knows(worker)
    with monkeypatch.context() as deaf:
        deaf.setattr("disttrain.clusters.ray.hearing.ray.wait", lambda calls, **_: time.sleep(0.05) or ([], calls))
        os.kill(known.facts.pid, signal.SIGKILL)
        wait_until(lambda: state_of(known.facts.pid) in "ZX", "its end")
        assert not on_ray.loss(worker).crashed
    on_ray.listen(0.5)
    assert len(on_ray.lost(worker)) == 1


@pytest.fixture
def shipping(on_ray):
    class Shipping(actor.WorkerActor):  # in here, so that it travels by value
        """Ships what it is asked for."""

        def receive(self, command):
            if isinstance(command, int):
                self._outbox.put(actor.ship(f"{command} numbers", {"numbers": np.arange(command)}))
            else:
                super().receive(command)

    on_ray.cluster._actor_class = ray.remote(max_restarts=0, concurrency_groups={"commands": 1, "reports": 1})(Shipping)
    return on_ray


def collected(heard: Heard, key: str) -> m.Collected:
    return heard.wait(lambda report: isinstance(report, m.Collected) and report.key == key)


def test_what_is_small_comes_with_the_report_and_what_is_large_when_it_is_collected(shipping):
    worker = shipping.start()
    for count in (10, 1_000_000):
        shipping.cluster.send(worker, count)
        bulk = shipping.wait(lambda report, count=count: isinstance(report, m.Bulk) and report.key == f"{count} numbers")
        assert isinstance(bulk.handle, actor.Stored) == (count > 10)
        assert 8 * count < bulk.nbytes < 8 * count + 1000
        shipping.cluster.collect(bulk)
        here = collected(shipping, bulk.key)
        assert here.error is None and np.array_equal(here.value["numbers"], np.arange(count))


def test_what_a_dead_worker_left_is_told_to_be_gone(shipping):
    worker = shipping.start()
    shipping.cluster.send(worker, 1_000_000)
    bulk = shipping.wait(lambda report: isinstance(report, m.Bulk))
    shipping.cluster.kill(worker)
    shipping.loss(worker)

    def error():  # for a moment the object store of the same machine may still have it
        shipping.cluster.collect(bulk)
        return next(report for report in shipping.cluster.reports(LIMIT_S) if isinstance(report, m.Collected)).error

    assert "owner" in wait_until(error, "that it is gone")


def test_what_never_arrives_holds_up_nothing_else(shipping, monkeypatch):
    worker = shipping.start()
    shipping.cluster.send(worker, 1_000_000)
    bulk = shipping.wait(lambda report: isinstance(report, m.Bulk))

    def never(handle):
        time.sleep(3600)

    with monkeypatch.context() as slow_link:
        slow_link.setattr("disttrain.clusters.ray.cluster.collected", never)
        shipping.cluster.collect(bulk)
        shipping.cluster.send(worker, 10)
        small = shipping.wait(lambda report: isinstance(report, m.Bulk) and report.key == "10 numbers")
    shipping.cluster.collect(small)
    assert collected(shipping, "10 numbers").error is None
    assert [report.key for report in shipping.reports if isinstance(report, m.Collected)] == ["10 numbers"]


def test_what_a_layer_prints_is_told_and_still_goes_to_the_log(on_ray):
    worker = start(on_ray)
    on_ray.run(worker, say, "a line\nand another", "a complaint")
    told = on_ray.wait(lambda report: isinstance(report, m.Printed) and report.stream == "stdout")
    assert (told.worker, told.text) == (worker, "a line\nand another")
    assert on_ray.wait(lambda report: isinstance(report, m.Printed) and report.stream == "stderr").text == "a complaint\nand logged"
    facts = on_ray.cluster._hearing.knows(worker).facts
    logs = os.path.dirname(facts.last_words)
    log = next(os.path.join(logs, name) for name in os.listdir(logs) if name.endswith(f"-{facts.pid}.out"))
    with open(log) as file:
        assert "a line\nand another\n" in file.read()
