"""Bringing the parts of a save together: complete ones are committed, incomplete ones are nobody's burden."""

from __future__ import annotations

import pytest

from disttrain.checkpoint import Arena, CommitName, NamedArray, save_folder, shard_path, snapshot, split, write_shard
from disttrain.controller.commits import Committed, Committer, SaveFailed
from disttrain.elastic.messages import ShardWritten
from disttrain.rundir.directory import RunDirectory


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


def parts(directory, tick: int, generation: int = 1, size: int = 2) -> list[ShardWritten]:
    """The workers' parts of the save of `tick`, written."""
    import numpy as np

    arrays = {"model/kernel": NamedArray.from_numpy(np.full((4, 4), tick, np.float32))}
    specs = [array.spec(name) for name, array in arrays.items()]
    folder = save_folder(CommitName(1, tick, tick), f"{generation:016x}")
    found = []
    for rank in range(size):
        with snapshot(arrays, split(specs, size)[rank], Arena()) as shot:
            report = write_shard(directory.store, shard_path(folder, rank, size + 1), shot)
        about = {"meta": {}, "specs": specs, "sequence": tick, "folder": folder} if rank == 0 else {}
        found.append(ShardWritten(f"w{rank}", 0, generation, tick, rank, size, tick, report, **about))
    return found


def own_part(part):
    return {"call": 0, "tick": part.tick}, {}


def outcomes(saves: Committer, count: int) -> list:
    return [saves.results.get(timeout=30) for _ in range(count)]


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
