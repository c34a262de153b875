"""The timeline of a run: each event is written once, in order, and what it costs does not depend on how many there were."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

from disttrain.checkpoint import Store
from disttrain.rundir.directory import RunDirectory
from disttrain.rundir.events import _PIECE_BYTES, EventFile, read_events
from disttrain.rundir.heartbeat import Heartbeat
from disttrain.rundir.timeline import _RECENT, _UNWRITTEN, Console, Timeline
from disttrain.testing.fake_clock import FakeClock


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    return Store(str(tmp_path / "run") if request.param == "local" else f"memory://{tmp_path.name}/run")


class Watched:
    """Storage that counts the bytes it is given, and is away when told."""

    def __init__(self, store: Store) -> None:
        self._files, self.nbytes, self.writes = store.files, 0, 0
        self.away, self.loses_replies, self.tears = False, False, False
        if store.can_append:
            self.append = self._append
        store.files = self

    def __getattr__(self, name):
        return getattr(self._files, name)

    def put(self, path, data):
        self._count(data)
        self._files.put(path, data)
        self._reply()

    def _append(self, path, data, at):
        if self.tears:
            self._files.append(path, data[: len(data) // 2], at)
            raise OSError("the disk is full for a moment")
        self._count(data)
        size = self._files.append(path, data, at)
        self._reply()
        return size

    def _count(self, data):
        if self.away:
            raise OSError("no route to storage")
        self.nbytes, self.writes = self.nbytes + len(data), self.writes + 1

    def _reply(self):
        if self.loses_replies:
            raise OSError("the reply is lost")


def write(timeline: Timeline, file: EventFile) -> None:
    while (events := timeline.unwritten()) is not None:
        file.add(events.lines)
        timeline.written(events)


def numbers(store: Store) -> list[int]:
    return [event["number"] for event in read_events(store) if "number" in event]


def test_events_of_all_attempts_are_read_back_in_order(store):
    for attempt in (1, 2, 11):
        timeline, file = Timeline(FakeClock(wall_s=5.0)), EventFile(store, attempt)
        for number in range(400):
            timeline.add("step", number=1000 * attempt + number, text="words", kind="of its own")
            if number % 7 == 0:
                write(timeline, file)
        write(timeline, file)
    assert numbers(store) == [1000 * attempt + number for attempt in (1, 2, 11) for number in range(400)]
    assert next(read_events(store)) == {"time": 5.0, "event": "step", "number": 1000, "text": "words", "kind": "of its own"}


def test_an_event_costs_the_same_after_a_week_of_them(store, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # it is bytes that are counted
    clock = FakeClock(wall_s=1_700_000_000.125)  # a time of fewer digits would make a shorter line
    files, timeline, file = Watched(store), Timeline(clock), EventFile(store, 1)
    costs = []
    for number in range(20_000):
        timeline.add("committed", number=number, name=f"step-{number:012d}-a0001-s{number:04d}", step=number, bytes=80_000_000)
        before = files.nbytes
        write(timeline, file)
        costs.append(files.nbytes - before)
    line = len(json.dumps(timeline.events[-1])) + 1
    assert max(costs) <= (line if store.can_append else _PIECE_BYTES + line)
    assert sum(costs[-1000:]) <= 1.3 * sum(costs[:1000])
    assert len(timeline.events) == _RECENT and timeline.unwritten() is None
    assert numbers(store) == [*range(20_000)]


@pytest.mark.parametrize("fault", ["away", "loses_replies", "tears"])
def test_what_storage_did_not_take_is_written_later_once_and_in_order(store, fault):
    files, console = Watched(store), Console(quiet=True)
    directory = RunDirectory(store.url)
    directory.begin(fresh=True)
    directory.store = store
    heartbeat = Heartbeat(directory, console, lambda: {"state": "running"})
    for number in range(300):
        setattr(files, fault, 100 <= number < 200)
        console.event("step", number=number)
        heartbeat._beat({})
    assert numbers(store) == [*range(300)]
    told = [event["event"] for event in directory.events() if event["event"] != "step"]
    happens = fault != "tears" or store.can_append  # an object is whole or not there
    assert told == (["status failed", "status written again"] if happens else [])  # once, however long it took


def test_of_more_events_than_can_wait_the_newest_stay_and_the_gap_is_told(store):
    timeline, file = Timeline(), EventFile(store, 1)
    for number in range(_UNWRITTEN + 50):
        timeline.add("step", number=number)
    under_way = timeline.unwritten()
    file.add(under_way.lines)
    for number in range(_UNWRITTEN + 50, _UNWRITTEN + 80):  # while that is written, more is dropped: of what is being written
        timeline.add("step", number=number)
    timeline.written(under_way)
    write(timeline, file)
    events = list(read_events(store))
    assert (events[0]["event"], events[0]["count"]) == ("events dropped", 50)
    assert numbers(store) == [*range(50, _UNWRITTEN + 80)]
    assert [event["event"] for event in events].count("events dropped") == 1


def test_a_line_that_a_kill_cut_off_hides_no_other(tmp_path):
    store = Store(str(tmp_path))
    EventFile(store, 1).add(['{"event": "a"}'])
    with (tmp_path / "events/a0001.jsonl").open("a") as file:
        file.write('{"event": "cut')
    EventFile(store, 2).add(['{"event": "b"}'])
    assert [event["event"] for event in read_events(store)] == ["a", "b"]


def test_an_event_is_kept_as_it_was_whatever_becomes_of_its_details(store):
    timeline, file, seen = Timeline(), EventFile(store, 1), [1]
    timeline.add("looked", seen=seen, loss=np.float32(0.5), path=store)
    seen.append(2)
    write(timeline, file)
    (event,) = read_events(store)
    assert (event["seen"], event["loss"], event["path"]) == ([1], 0.5, repr(store))


def test_storage_that_hangs_does_not_hold_the_end_up(tmp_path, monkeypatch):
    away, asked = threading.Event(), threading.Event()
    directory = RunDirectory(str(tmp_path))
    directory.begin(fresh=True)

    def hang(status):
        asked.set()
        away.wait(300)

    monkeypatch.setattr(directory, "write_status", hang)
    monkeypatch.setattr("disttrain.rundir.heartbeat._LAST_S", 0.05)
    heartbeat = Heartbeat(directory, Console(quiet=True), dict)
    heartbeat.start()
    assert asked.wait(300)
    heartbeat.stop({"state": "finished"})
    away.set()
    heartbeat._thread.join(300)


def test_the_last_words_are_written(tmp_path):
    directory, console = RunDirectory(str(tmp_path)), Console(quiet=True)
    directory.begin(fresh=True)
    heartbeat = Heartbeat(directory, console, lambda: {"state": "running", "attempt": 1})
    heartbeat.start()
    console.event("bye")
    heartbeat.stop({"state": "finished"})
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "finished"
    assert [event["event"] for event in directory.events()] == ["bye"]
    assert (tmp_path / "events/a0001.jsonl").read_text().endswith('"event": "bye"}\n')
