"""Bringing the parts of a save together: complete ones are committed, incomplete ones are nobody's burden."""

from __future__ import annotations

import threading

import pytest

from disttrain.checkpoint import Arena, CommitName, NamedArray, save_folder, shard_path, snapshot, split, write_shard
from disttrain.controller.callback_history import StateForgotten
from disttrain.controller.commits import _REMEMBERED, _WAITING, Committed, Committer, SaveFailed
from disttrain.elastic.messages import ShardWritten
from disttrain.rundir.directory import RunDirectory
from disttrain.testing.fake_clock import FakeClock


@pytest.fixture
def directory(tmp_path):
    found = RunDirectory(str(tmp_path))
    found.begin(fresh=True)
    found.resume_point()
    return found


@pytest.fixture
def saves(directory):
    made = Committer(directory.store, directory.attempt, keep=2, pinned=set())
    yield made
    made.close()


def parts(directory, tick: int, generation: int = 1, size: int = 2, call: int = 0) -> list[ShardWritten]:
    """The workers' parts of the save of `tick`, written."""
    import numpy as np

    arrays = {"model/kernel": NamedArray.from_numpy(np.full((4, 4), tick, np.float32))}
    specs = [array.spec(name) for name, array in arrays.items()]
    folder = save_folder(CommitName(1, 1000 * call + tick, tick), f"{generation:016x}")
    found = []
    for rank in range(size):
        with snapshot(arrays, split(specs, size)[rank], Arena()) as shot:
            report = write_shard(directory.store, shard_path(folder, rank, size + 1), shot)
        about = {"meta": {}, "specs": specs, "sequence": 1000 * call + tick, "folder": folder} if rank == 0 else {}
        found.append(ShardWritten(f"w{rank}", call, generation, tick, rank, size, tick, report, **about))
    return found


def own_part(part):
    return {"call": 0, "tick": part.tick}, {}


def outcomes(saves: Committer, count: int) -> list:
    return [saves.results.get(timeout=300) for _ in range(count)]


def test_a_save_is_committed_once_every_part_is_there(saves, directory):
    first, second = parts(directory, tick=3)
    saves.take(second, own_part)
    assert saves.open and not saves.finished()
    saves.take(first, own_part)
    (done,) = outcomes(saves, 1)
    assert isinstance(done, Committed) and done.tick == 3 and not saves.open


def test_a_part_that_failed_gives_the_save_up_whatever_comes_after(saves, directory):
    first, _ = parts(directory, tick=3)
    saves.take(ShardWritten("w1", 0, 1, 3, 1, 2, 3, None, error="OSError: away"), own_part)
    saves.take(first, own_part)
    assert not saves.open  # or a request to stop would wait for it for ever
    assert saves.finished() == [SaveFailed(3, "w1: OSError: away")]
    for part in parts(directory, tick=4):
        saves.take(part, own_part)
    assert isinstance(outcomes(saves, 1)[0], Committed)


def test_a_save_that_a_death_cut_short_is_dropped_when_a_later_generation_saves(saves, directory):
    saves.take(parts(directory, tick=3)[0], own_part)
    for part in parts(directory, tick=4, generation=2):
        saves.take(part, own_part)
    assert outcomes(saves, 1)[0].tick == 4 and not saves.open


def test_a_tick_is_committed_once_however_often_it_is_saved(saves, directory):
    for part in [*parts(directory, tick=3), *parts(directory, tick=3, generation=2)]:
        saves.take(part, own_part)
    assert outcomes(saves, 1)[0].tick == 3
    assert not saves.open and not saves.finished()


def test_old_commits_are_deleted_but_for_those_that_are_kept_or_pinned(saves, directory):
    names = []
    for tick in range(1, 6):
        for part in parts(directory, tick):
            saves.take(part, own_part)
        names.append(outcomes(saves, 1)[0].name)
        if tick == 1:
            saves._pinned.add(names[0])
    saves.close()
    kept = {name.removesuffix(".json") for name in directory.store.list("checkpoints/commits")}
    assert kept == {names[0], *names[-2:]}


def test_the_newest_commit_that_audits_have_passed_before_is_kept(saves, directory):
    names = []
    for tick in range(1, 6):
        for part in parts(directory, tick):
            saves.take(part, lambda part: ({"call": 0, "tick": part.tick, "audited": part.tick in (1, 2)}, {}))
        names.append(outcomes(saves, 1)[0].name)
    saves.close()
    kept = {name.removesuffix(".json") for name in directory.store.list("checkpoints/commits")}
    assert kept == {names[1], *names[-2:]}


def test_what_was_saved_long_ago_or_in_another_call_is_not_remembered(saves, directory):
    for tick in range(1, 13):
        late = parts(directory, tick)
        for part in late:
            saves.take(part, own_part)
        while not saves.finished():
            pass
    assert saves._done_ticks == {12}
    for part in [*late, *parts(directory, 12, call=1)]:
        saves.take(part, own_part)
    assert outcomes(saves, 1)[0].call == 1
    saves.take(late[0], own_part)
    assert not saves.open and saves._done_ticks == {12}


def test_saves_that_fail_for_ever_are_not_all_remembered(saves):
    for tick in range(1, 2 * _REMEMBERED):
        saves.take(ShardWritten("w1", 0, 1, tick, 1, 2, tick, None, error="OSError: away"), own_part)
    assert len(saves.finished()) == 2 * _REMEMBERED - 1 and len(saves._failed) == _REMEMBERED


def test_saves_that_every_group_breaks_in_are_told_as_failed_and_do_not_pile_up(saves):
    for tick in range(1, 3 * _WAITING):
        saves.take(ShardWritten("w0", 0, tick, tick, 0, 2, tick, None), own_part)
    told = saves.finished()
    assert [failed.tick for failed in told] == [*range(1, 2 * _WAITING)] and "the group broke" in told[0].reason
    assert len(saves._open) == _WAITING


def test_a_save_whose_callbacks_state_is_gone_is_abandoned_not_written_with_another(saves, directory):
    def forgotten(part):
        raise StateForgotten("the callbacks' state of tick 3 is not kept any more")

    for part in parts(directory, tick=3):
        saves.take(part, forgotten)
    (failed,) = saves.finished()
    assert isinstance(failed, SaveFailed) and not failed.fatal and "tick 3" in failed.reason


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_of_a_mistake_of_ours_ends_the_run(saves, directory, monkeypatch):
    monkeypatch.setattr(saves, "_carry_out", lambda *_: {}["a mistake"])
    for part in parts(directory, tick=3):
        saves.take(part, own_part)
    failed = saves.results.get(timeout=300)
    assert failed.fatal and failed.tick == 3 and "KeyError: 'a mistake'" in failed.reason
    assert saves.close()  # does not wait for it


def test_closing_does_not_wait_for_ever_for_storage_that_hangs(directory, monkeypatch):
    away, asked = threading.Event(), threading.Event()
    made = Committer(directory.store, directory.attempt, keep=2, pinned=set())

    def hang(*_):
        asked.set()
        away.wait(300)
        return {}, None

    monkeypatch.setattr(made, "_write_own", hang)
    for tick in (3, 4):
        for part in parts(directory, tick):
            made.take(part, own_part)
    assert asked.wait(300) and not made.close(limit_s=0.05)
    away.set()
    made._thread.join(300)
    assert [outcome.tick for outcome in made.finished()] == [3]  # the second was not begun


def test_the_time_of_a_save_is_taken_from_the_clock_it_is_given(directory, monkeypatch):
    clock = FakeClock()
    made = Committer(directory.store, directory.attempt, keep=2, pinned=set(), clock=clock)
    write = made._write_own

    def slow(*arguments):
        clock.advance(7.0)
        return write(*arguments)

    monkeypatch.setattr(made, "_write_own", slow)
    for part in parts(directory, tick=3):
        made.take(part, own_part)
    assert outcomes(made, 1)[0].seconds == 7.0
    made.close()


def test_a_commit_that_hangs_is_given_up_and_told_when_it_has_ended_after_all(saves, directory, monkeypatch):
    away, asked, write = threading.Event(), threading.Event(), saves._write_own

    def hang(*arguments):
        asked.set()
        assert away.wait(300)
        return write(*arguments)

    monkeypatch.setattr(saves, "_write_own", hang)
    for part in parts(directory, tick=3):
        saves.take(part, own_part)
    assert asked.wait(300)
    saves.give_up(0, 1, 3, 360.0)
    (told,) = saves.finished()
    assert told.storage and told.reason == "its commit has not ended within 360 s"
    away.set()
    assert isinstance(outcomes(saves, 1)[0], Committed)


def test_parts_that_do_not_come_are_named_when_a_save_is_given_up_and_come_too_late_then(saves, directory):
    first, second = parts(directory, tick=3)
    saves.take(first, own_part)
    saves.give_up(0, 1, 3, 360.0)
    saves.give_up(0, 1, 4, 360.0)
    assert [told.reason for told in saves.finished()] == [
        "after 360 s only the part of w0 is written", "after 360 s no part is written"
    ]  # fmt: skip
    saves.take(second, own_part)
    assert not saves.open and not saves.busy
