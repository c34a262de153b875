"""Slices made ahead by loader processes: the bits of a loader without any, in any number of them, and through their deaths."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import time
import warnings

import numpy as np
import psutil
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

import disttrain as dt
from disttrain.data import feed_of, loader_pool, loader_process
from disttrain.data.loader_pool import LoaderPool
from disttrain.data.reading import ReadAhead
from disttrain.data.shared_room import SharedRoom
from disttrain.data.transport import receive, send
from disttrain.errors import DataError
from disttrain.training.local import runner


class Drawing(Dataset):
    """Each sample draws from all three generators."""

    def __len__(self):
        return 40

    def __getitem__(self, i):
        return torch.rand(3) + np.random.rand() + random.random() + torch.full((3,), float(i)), i % 3


def model() -> dt.Sequential:
    dt.clear_session()
    dt.set_random_seed(3)
    made = dt.Sequential([dt.Input((3,)), dt.layers.Dense(4, activation="relu"), torch.nn.Dropout(0.2), dt.layers.Dense(3)])
    made.compile(dt.optimizers.SGD(0.1), dt.losses.SparseCategoricalCrossentropy(from_logits=True))
    return made


def trained(loader: DataLoader, epochs: int = 2) -> tuple[str, list[float]]:
    """As the first call of a script."""
    fitted = model()
    with runner.installed(runner.LocalRunner(runner._InProcess())):
        history = fitted.fit(loader, epochs=epochs, verbose=0).history
    if loader.persistent_workers:
        feed_of(loader).source.pool.close()
    return fitted.digest(), history["loss"]


@pytest.mark.parametrize(
    "settings", [{"num_workers": 1}, {"num_workers": 2}, {"num_workers": 2, "persistent_workers": True, "prefetch_factor": 5}]
)
def test_random_samples_are_the_same_in_any_number_of_loader_processes(settings):
    alone = trained(DataLoader(Drawing(), 8, shuffle=True))
    assert trained(DataLoader(Drawing(), 8, shuffle=True, **settings)) == alone
    assert alone[1][0] != alone[1][1]


def test_a_sample_draws_the_same_however_the_batch_is_cut():
    whole = feed_of(DataLoader(Drawing(), 8))
    plans = [whole.plan(None, virtual_workers) for virtual_workers in (1, 3)]
    one = whole.source.fetch(plans[0].indices(0, 2, 0), plans[0].key(0, 2, 0))[0]
    parts = [whole.source.fetch(plans[1].indices(0, 2, rank), plans[1].key(0, 2, rank))[0] for rank in range(3)]
    assert torch.equal(torch.cat(parts), one)
    other = whole.source.fetch(plans[0].indices(0, 3, 0), plans[0].key(0, 3, 0))[0]
    assert not torch.equal(other - other.floor(), one - one.floor())


class Sometimes(Drawing):
    """Draws for some samples only."""

    def __getitem__(self, i):
        return torch.full((3,), float(i)) + (torch.rand(()) if i % 8 == 7 else 0), 0


def test_a_slice_of_which_only_the_last_sample_draws_is_made_as_one_that_was_seeded_from_the_start():
    late, early = feed_of(Sometimes()).source, feed_of(Sometimes()).source
    early.fetch(np.array([7]), 1)  # from here on it knows
    assert torch.equal(late.fetch(np.arange(8, 16), 9)[0], early.fetch(np.arange(8, 16), 9)[0])


class Whose(Dataset):
    def __len__(self):
        return 24

    def __getitem__(self, i):
        info = get_worker_info()
        return np.array([os.getpid(), -1 if info is None else info.id, 0 if info is None else info.num_workers, i])


def slices(loader: DataLoader, steps: int, epochs: int = 1) -> list[np.ndarray]:
    feed = feed_of(loader)
    plan = feed.plan(None, 1)
    reading = ReadAhead(feed.source, plan, epochs)
    reading.host(range(1))
    try:
        return [reading.take(epoch, step, 0)[0].numpy() for epoch in range(epochs) for step in range(steps)]
    finally:
        reading.close()


def test_slices_come_from_the_loader_s_processes_which_know_who_they_are():
    rows = np.concatenate(slices(DataLoader(Whose(), 4, num_workers=2), 6))
    assert set(rows[:, 1]) == {0, 1} and set(rows[:, 2]) == {2} and os.getpid() not in rows[:, 0]
    assert rows[:, 3].tolist() == list(range(24))


def test_processes_persist_from_epoch_to_epoch_where_the_loader_says_so():
    apart = np.concatenate(slices(DataLoader(Whose(), 4, num_workers=1), 6, epochs=2))
    kept = np.concatenate(slices(DataLoader(Whose(), 4, num_workers=1, persistent_workers=True), 6, epochs=2))
    assert len(set(apart[:, 0])) == 2 and len(set(kept[:, 0])) == 1


def test_the_processes_of_a_persistent_loader_serve_one_call_after_the_other_and_end_with_the_loader():
    loader = DataLoader(Drawing(), 8, num_workers=2, persistent_workers=True)
    fitted = model()
    fitted.fit(loader, verbose=0)
    first = feed_of(loader).source.pool.pids
    fitted.fit(loader, verbose=0)
    assert feed_of(loader).source.pool.pids == first and all(psutil.pid_exists(pid) for pid in first)
    feed_of(loader).source.pool.close()
    assert not any(psutil.pid_exists(pid) for pid in first)


def test_a_worker_init_fn_runs_in_each_process_and_what_it_raises_ends_the_call():
    marks: list[int] = []
    with pytest.raises(ZeroDivisionError):
        model().fit(DataLoader(Drawing(), 8, num_workers=1, worker_init_fn=lambda number: 1 // number), verbose=0)
    model().fit(DataLoader(Drawing(), 8, num_workers=1, worker_init_fn=marks.append), verbose=0)
    assert marks == []  # in the process, not here


def test_what_samples_print_is_printed_here(capsys):
    class Talks(Drawing):
        def __getitem__(self, i):
            print("sample", i)
            return i

    slices(DataLoader(Talks(), 4, num_workers=2), 10)
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(f"sample {i}" for i in range(40))


class Broken(Drawing):
    def __getitem__(self, i):
        if i == 11:
            raise KeyError("no such picture")
        return super().__getitem__(i)


def test_what_a_dataset_raises_in_a_process_is_raised_here_with_its_own_traceback():
    with pytest.raises(KeyError, match="no such picture") as raised:
        model().fit(DataLoader(Broken(), 8, num_workers=2), verbose=0)
    assert "in __getitem__" in str(raised.value.__cause__)
    assert raised.value.__notes__ == ["raised by sample 11 of Broken"]


class Deadly(Drawing):
    """Kills the process that makes sample 11, as often as the file says."""

    def __init__(self, file, times: int):
        self.file, self.times = file, times

    def __getitem__(self, i):
        if i == 11 and len(self.file.read_text()) < self.times:
            with self.file.open("a") as log:
                log.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(i)


def test_a_loader_process_that_is_killed_is_started_again_and_changes_no_bit(tmp_path):
    file = tmp_path / "deaths"
    file.write_text("")
    with pytest.warns(UserWarning, match="killed by SIGKILL.*while it made samples 8, 9, 10, 11, 12, ... of Deadly: started again"):
        found = trained(DataLoader(Deadly(file, 1), 8, num_workers=2))
    assert found == trained(DataLoader(Drawing(), 8)) and file.read_text() == "x"


def test_samples_that_kill_two_processes_are_named(tmp_path):
    file = tmp_path / "deaths"
    file.write_text("")
    with warnings.catch_warnings(), pytest.raises(DataError, match=r"samples 8, 9, 10, 11, 12, ... of Deadly, twice(.|\n)*num_workers=0"):
        warnings.simplefilter("ignore")
        model().fit(DataLoader(Deadly(file, 9), 8, num_workers=2), verbose=0)
    assert file.read_text() == "xx"


def test_large_batches_come_through_memory_that_both_processes_see():
    class Large(Drawing):
        def __getitem__(self, i):
            return {"a": torch.full((100, 100), float(i)), "b": torch.arange(5)}, torch.tensor(i)

    (x, y, weight), settings = feed_of(DataLoader(Large(), 4)).source.fetch(np.arange(4), 0), None
    source = feed_of(DataLoader(Large(), 4, num_workers=1)).source
    pool, settings = LoaderPool(source, source.loader), settings
    try:
        pool.ask(1, np.arange(4), 0)
        got_x, got_y, got_weight = pool.take(1)
    finally:
        pool.close()
    assert torch.equal(got_x["a"], x["a"]) and torch.equal(got_x["b"], x["b"]) and torch.equal(got_y, y) and got_weight is weight is None
    assert got_x["a"].data_ptr() % 64 == 0
    got_x["a"].zero_()  # the step may write into it


def test_a_process_that_hangs_before_it_runs_is_started_again(monkeypatch):
    monkeypatch.setattr(loader_process, "serve", lambda *_: time.sleep(600))
    source = feed_of(DataLoader(Drawing(), 4, num_workers=1)).source
    pool = LoaderPool(source, source.loader)
    try:
        first = pool.pids
        monkeypatch.undo()
        monkeypatch.setattr(loader_pool, "_BEGINS_S", 2.0)
        pool.ask(1, np.arange(4), 0)
        assert len(pool.take(1)[0]) == 4 and pool.pids != first
    finally:
        pool.close()


def test_a_loader_that_gives_nothing_for_its_timeout_says_so():
    class Asleep(Drawing):
        def __getitem__(self, i):
            time.sleep(600)

    with pytest.raises(DataError, match=r"gave nothing for 0\.2 s"):
        model_free = DataLoader(Asleep(), 8, num_workers=1, timeout=0.2)
        slices(model_free, 1)


ORPHANS = """
import os, sys, time, torch
from torch.utils.data import DataLoader, Dataset
import numpy as np
from disttrain.data import feed_of
from disttrain.data.loader_pool import LoaderPool
class Slow(Dataset):
    def __len__(self): return 8
    def __getitem__(self, i): time.sleep(600)
source = feed_of(DataLoader(Slow(), 2, num_workers=3)).source
pool = LoaderPool(source, source.loader)
for ticket in range(4): pool.ask(ticket, np.arange(2), 0)
print(*pool.pids, flush=True)
time.sleep(600)
"""


def test_no_loader_process_outlives_a_parent_that_is_killed_even_in_the_middle_of_a_sample():
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(ORPHANS)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(children) == 3
        parent.kill()
        gone, alive = psutil.wait_procs(children, timeout=600)
        assert not alive and len(gone) == 3


def test_what_is_put_together_in_shared_memory_arrives_as_it_was_and_nothing_of_it_is_left_open():
    opened = len(os.listdir("/proc/self/fd"))
    room = SharedRoom()
    large = [torch.rand(64, 300) for _ in range(3)]
    stacked = room.stacked(large)
    assert stacked is not None and room.stacked([torch.rand(3)] * 2) is None  # not worth a file
    assert room.stacked([torch.rand(64, 300), torch.rand(64, 301)]) is None  # torch says better what is wrong
    values = {"whole": stacked, "part": stacked[1:], "turned": stacked.transpose(0, 1), "again": stacked, "small": torch.arange(3)}
    before = {name: value.clone() for name, value in values.items()}
    one, other = socket.socketpair()
    with one, other:
        send(one, values, room)
        room.leave()
        found = receive(other)
    assert {name: torch.equal(value, before[name]) for name, value in found.items()} == dict.fromkeys(values, True)
    assert found["whole"].data_ptr() % 64 == 0
    del found, values, stacked
    assert len(os.listdir("/proc/self/fd")) == opened
