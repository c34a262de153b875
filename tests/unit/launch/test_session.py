"""A session whose door does not open leaves nothing that was started for it."""

from __future__ import annotations

import signal

import pytest

from disttrain.checkpoint.layout import end_path
from disttrain.checkpoint.sealed import unseal
from disttrain.errors import StorageUnavailable
from disttrain.launch.cluster_start import ClusterStart
from disttrain.launch.config import RunConfig
from disttrain.launch.door import enter
from disttrain.launch.session import Session
from disttrain.launch.timings import Timings
from disttrain.rundir.directory import RunDirectory
from disttrain.testing.fake_cluster import FakeCluster, Started


class Watched(Started):
    stopped = 0

    def stop(self) -> None:
        Watched.stopped += 1


@pytest.mark.parametrize(
    ("error", "told"),
    [(OSError("the store is away"), StorageUnavailable), (ValueError("ours"), ValueError), (KeyboardInterrupt(), KeyboardInterrupt)],
    ids=["a store that is away", "an error", "Ctrl-C"],
)
def test_a_session_that_cannot_be_entered_ends_its_cluster_and_its_workers(error, told, monkeypatch, tmp_path):
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(RunDirectory, "resume_point", fails)
    monkeypatch.setattr(Watched, "stopped", 0)
    cluster, config, timings = FakeCluster(), RunConfig(workers=2, run_dir=str(tmp_path)), Timings()
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    start = ClusterStart(config, timings, lambda config, timings: Watched(cluster))
    start.begin()
    with pytest.raises(told), Session(config, enter(config, script="", arguments=(), script_sha256=""), start, timings):
        raise AssertionError("never reached")
    assert Watched.stopped == 1 and cluster.workers
    assert not [worker.name for worker in cluster.workers.values() if worker.thread.is_alive()]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_the_number_with_which_a_script_ends_itself_stands_in_the_record_of_its_end(tmp_path):
    config, timings = RunConfig(workers=1, run_dir=str(tmp_path)), Timings()
    start = ClusterStart(config, timings, lambda config, timings: Started(FakeCluster()))
    start.begin()
    with pytest.raises(SystemExit), Session(config, enter(config, script="", arguments=(), script_sha256=""), start, timings):
        raise SystemExit(5)
    store = RunDirectory(str(tmp_path)).store
    record = unseal(store.read(end_path(1)), "the record", "")
    assert (record["outcome"], record["exit"]) == ("failed", 5)
