"""A worker's process ends with the thread that obeys, and says why."""

from __future__ import annotations

import pytest

from disttrain.clusters.ray import actor, last_words
from disttrain.clusters.ray.lookout import Findings
from disttrain.clusters.ray.reasons import reason_of


class Ended(BaseException):
    """In the place of the end of the process."""


class Member:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error

    def run(self) -> None:
        if self.error is not None:
            raise self.error


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, tmp_path):
    def end(status: int) -> None:
        raise Ended(status)

    monkeypatch.setattr(actor, "_end_process", end)
    monkeypatch.setattr("faulthandler.enable", lambda **options: None)
    monkeypatch.setattr("os.register_at_fork", lambda **options: None)
    monkeypatch.setattr("os._exit", lambda status: None)
    one = actor.WorkerActor.__new__(actor.WorkerActor)
    one._testament = last_words.Testament(str(tmp_path))
    yield one
    one._testament._file.close()


def words_of(worker: actor.WorkerActor) -> tuple[str, bool]:
    found = Findings(last_words.read_last_words(worker._testament.path), None)
    return reason_of(RuntimeError("The actor died"), None, found)


def test_a_member_whose_thread_dies_takes_its_process_along_and_is_blamed(worker):
    worker._member = Member(OSError("the outbox is gone"))
    with pytest.raises(Ended):
        worker._run_member()
    reason, crashed = words_of(worker)
    assert reason.startswith("the worker's own thread failed: OSError: the outbox is gone") and crashed


def test_a_worker_that_ends_itself_to_free_its_gpu_is_an_ordinary_loss(worker):
    with pytest.raises(Ended):
        worker._lease_is_over("the generation was aborted, and its communicator could not be aborted within 20 s")
    reason, crashed = words_of(worker)
    assert "could not be aborted within 20 s" in reason and not crashed


def test_a_member_that_is_done_leaves_the_process_to_end_in_its_own_time(worker):
    worker._member = Member(None)
    worker._run_member()
    assert last_words.read_last_words(worker._testament.path) is None
