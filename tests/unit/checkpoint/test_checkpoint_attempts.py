from __future__ import annotations

from dataclasses import replace

import pytest

from disttrain.checkpoint import Store, end_attempt, read_attempts, record_resume, start_attempt
from disttrain.checkpoint.attempts import attempt_numbers
from disttrain.checkpoint.layout import attempt_path, commit_path, resume_path
from disttrain.errors import CheckpointCorrupt, CheckpointError, RunInUse

COMMIT = "step-000000000010-a0001-s0001"


def test_attempts_are_numbered_from_1_and_read_back_with_their_story(store: Store) -> None:
    first = end_attempt(store, record_resume(store, start_attempt(store, {"host": "a"}, fresh=False), None), "interrupted")
    second = record_resume(store, start_attempt(store, {"host": "b"}, fresh=False), COMMIT)
    third = start_attempt(store, {}, fresh=True)
    assert (first.number, second.number, third.number) == (1, 2, 3)
    assert read_attempts(store) == [first, second, third]
    assert (first.outcome, second.resumed_from, third.resumed) == ("interrupted", COMMIT, False)


def test_who_loses_the_race_for_a_number_takes_the_next(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    listing, raced = store.files.list, []

    def list_then_lose(folder: str) -> list[str]:
        names = listing(folder)
        if folder.endswith("attempts") and not raced:
            raced.append(True)
            start_attempt(store, {"host": "rival"}, fresh=False)  # between our listing and our creation
        return names

    monkeypatch.setattr(store.files, "list", list_then_lose)
    mine = start_attempt(store, {"host": "mine"}, fresh=False)
    assert mine.number == 2
    assert [attempt.info["host"] for attempt in read_attempts(store)] == ["rival", "mine"]


def test_who_was_overwritten_by_a_server_that_ignores_conditions_notices(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    create, raced = store.files.create, []

    def both_win(path: str, data: bytes) -> bool:
        create(path, data)
        if not raced:
            raced.append(True)
            store.put(attempt_path(1), data.replace(b"mine", b"them"))
        return True

    monkeypatch.setattr(store.files, "create", both_win)
    assert start_attempt(store, {"host": "mine"}, fresh=False).number == 2


def test_numbers_of_lost_records_are_not_given_out_again(store: Store) -> None:
    store.put(commit_path("step-000000000010-a0004-s0001"), b"")
    assert start_attempt(store, {}, fresh=False).number == 5


def test_a_store_that_never_lets_anyone_win_is_given_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.files, "create", lambda path, data: False)
    with pytest.raises(RunInUse, match="100 attempts in a row were taken"):
        start_attempt(store, {}, fresh=False)


def test_what_an_attempt_resumed_from_is_recorded_once(store: Store) -> None:
    start_attempt(store, {}, fresh=False)
    attempt = start_attempt(store, {}, fresh=False)
    assert record_resume(store, attempt, COMMIT) == record_resume(store, attempt, COMMIT)
    with pytest.raises(CheckpointError, match="it is there already, with other content"):
        record_resume(store, attempt, None)


def test_a_rival_that_believes_it_is_the_same_attempt_cannot_pass_for_it(store: Store) -> None:
    attempt = start_attempt(store, {}, fresh=False)
    record_resume(store, attempt, None)
    with pytest.raises(CheckpointError, match="start the driver again"):
        record_resume(store, replace(attempt, nonce="0" * 32), None)


@pytest.mark.parametrize("name", ["latest", "step-000000000010-a0002-s0001", "step-000000000010-a0001-s0001.json"])
def test_only_a_checkpoint_of_an_earlier_attempt_can_be_resumed_from(store: Store, name: str) -> None:
    start_attempt(store, {}, fresh=False)
    with pytest.raises(ValueError, match="expected a checkpoint of an earlier attempt"):
        record_resume(store, start_attempt(store, {}, fresh=False), name)


def test_a_fresh_attempt_resumes_from_nothing(store: Store) -> None:
    start_attempt(store, {}, fresh=False)
    with pytest.raises(ValueError, match="None for a fresh attempt"):
        record_resume(store, start_attempt(store, {}, fresh=True), COMMIT)


@pytest.mark.parametrize("path", [attempt_path(1), resume_path(1)])
def test_a_damaged_record_is_refused_by_name(store: Store, path: str) -> None:
    record_resume(store, start_attempt(store, {}, fresh=False), None)
    store.put(path, store.read(path)[:-20])
    with pytest.raises(CheckpointCorrupt, match=f"{path} is damaged"):
        read_attempts(store)
    assert attempt_numbers(store) == [1]


def test_a_record_of_another_attempt_is_refused(store: Store) -> None:
    start_attempt(store, {}, fresh=False)
    store.put(attempt_path(2), store.read(attempt_path(1)))
    with pytest.raises(CheckpointCorrupt, match="no record of attempt 2"):
        read_attempts(store)
