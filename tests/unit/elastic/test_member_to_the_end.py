"""A worker whose group fails as it ends is heard of all the same, or its process ends: never a deaf worker with a living lease."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from heard import SETTINGS, Heard

from disttrain.collectives import GroupBroken, SoloGroup
from disttrain.elastic import messages as m
from disttrain.elastic.interfaces import interface_of
from disttrain.elastic.member import Member
from disttrain.orchestrator.events import WorkerLost
from disttrain.testing.fake_cluster import FakeCluster

WAIT_S = 600.0


class Failing(SoloGroup):
    """A group of two of which everything fails that comes after training."""

    size = 2

    def __init__(self, aborts: list[str]) -> None:
        self._aborts = aborts

    @property
    def usable(self) -> bool:  # type: ignore[override]
        raise RuntimeError("CUDA error: unspecified launch failure")

    def abort(self) -> None:
        self._aborts.append(threading.current_thread().name)
        raise RuntimeError("ncclCommAbort failed")

    def close(self) -> None:
        raise RuntimeError("ProcessGroup abort timed out after 600000 ms")


class Living:
    """A member on a thread of its own, in generation (0, 1) of a failing group."""

    def __init__(self) -> None:
        self.reports: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.aborts: list[str] = []
        self.member = Member("w0", self.hear, lambda handle: handle)
        self.breaks: Callable[[object], None] | None = None
        self._obeys, self.member._obey = self.member._obey, self.obey  # type: ignore[method-assign]
        self.thread = threading.Thread(target=self.run, name="member")
        self.raised: list[BaseException] = []
        self.member._engine = _Engine()  # type: ignore[assignment]
        self.member._group, self.member._formed = Failing(self.aborts), True
        self.member._call, self.member._generation = 0, 1

    def run(self) -> None:
        try:
            self.member.run()
        except BaseException as error:
            self.raised.append(error)

    def hear(self, report: object) -> None:
        if not isinstance(report, m.Beat):
            self.reports.put(report)

    def obey(self, command: object) -> None:
        if self.breaks is not None:
            act, self.breaks = self.breaks, None
            act(command)
        self._obeys(command)


class _Engine:
    tick = 3

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


@pytest.fixture
def living():
    one = Living()
    one.thread.start()
    yield one
    one.member.receive(m.Leave())
    one.thread.join(WAIT_S)
    assert not one.thread.is_alive()


def raising(error: BaseException) -> Callable[[object], None]:
    def act(command: object) -> None:
        raise error

    return act


def test_a_close_that_throws_after_the_group_broke_does_not_silence_the_worker(living: Living):
    living.breaks = raising(GroupBroken("connection closed by peer"))
    living.member.receive(m.Proceed(0, 3, None))  # type: ignore[arg-type]
    report = living.reports.get(timeout=WAIT_S)
    assert isinstance(report, m.Stopped) and report.because == "the group broke: connection closed by peer"
    assert living.thread.is_alive() and not living.raised


def test_an_abort_that_throws_reaches_neither_who_sends_it_nor_the_answer(living: Living):
    living.member.receive(m.Abort(0, 1))
    assert isinstance(living.reports.get(timeout=WAIT_S), m.Stopped)
    assert living.aborts == [threading.current_thread().name]  # not by the member's thread, which may wait for a GPU


def test_an_abort_of_another_generation_touches_no_group(living: Living):
    living.member.receive(m.Abort(0, 0))
    living.member.receive(m.Abort(1, 1))
    assert living.aborts == []


def test_a_group_that_cannot_say_whether_it_is_whole_is_left_behind(living: Living):
    living.member.receive(m.Begin(1, None, None))  # type: ignore[arg-type]
    assert isinstance(living.reports.get(timeout=WAIT_S), m.Failed)  # there is nothing to open
    assert living.member._kept is None and living.thread.is_alive()


def test_what_a_worker_cannot_tell_any_more_ends_its_thread_for_everybody_to_see():
    one = Living()
    one.member._report = lambda report: (_ for _ in ()).throw(OSError("the outbox is gone"))  # type: ignore[method-assign]
    one.breaks = raising(ValueError("wrong shape"))
    one.thread.start()
    one.member.receive(m.Proceed(0, 3, None))  # type: ignore[arg-type]
    one.thread.join(WAIT_S)
    assert not one.thread.is_alive() and [str(error) for error in one.raised] == ["the outbox is gone"]


def test_a_worker_whose_own_thread_dies_is_lost_to_its_cluster():
    heard = Heard(FakeCluster())
    worker = heard.start()
    member = heard.cluster.workers[worker].member
    member._went_wrong = raising(OSError("no memory to say it"))  # type: ignore[method-assign,assignment]
    heard.cluster.send(worker, m.Begin(0, None, SETTINGS))
    lost = heard.wait(lambda report: isinstance(report, WorkerLost))
    assert lost.worker == worker and "own thread failed: OSError: no memory to say it" in lost.reason
    heard.cluster.close()


def test_the_interface_is_the_one_that_has_the_address():
    loopback = next(name for name, found in psutil.net_if_addrs().items() if any(each.address == "127.0.0.1" for each in found))
    assert interface_of("127.0.0.1") == loopback
    assert interface_of("203.0.113.7") is None
