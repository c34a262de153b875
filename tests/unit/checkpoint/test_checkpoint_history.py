from __future__ import annotations

from disttrain.checkpoint import Attempt, CommitName, valid_history


def name(attempt: int, sequence: int) -> str:
    return str(CommitName(attempt, sequence, sequence * 10))


def from_nothing(number: int) -> Attempt:
    return Attempt(number, resumed=True)


def from_commit(number: int, attempt: int, sequence: int) -> Attempt:
    return Attempt(number, resumed=True, resumed_from=name(attempt, sequence))


def test_one_attempt_counts_newest_first_by_sequence() -> None:
    assert valid_history([from_nothing(1)], [name(1, 2), name(1, 10), name(1, 1)]) == [name(1, 10), name(1, 2), name(1, 1)]


def test_the_chain_goes_back_along_what_each_attempt_resumed_from() -> None:
    attempts = [from_nothing(1), from_commit(2, 1, 2), from_commit(3, 2, 1)]
    commits = [name(1, 1), name(1, 2), name(2, 1), name(3, 1)]
    assert valid_history(attempts, commits) == [name(3, 1), name(2, 1), name(1, 2), name(1, 1)]


def test_what_a_zombie_commits_after_the_takeover_falls_outside() -> None:
    attempts = [from_nothing(1), from_commit(2, 1, 1)]
    assert valid_history(attempts, [name(1, 1), name(1, 2), name(1, 3)]) == [name(1, 1)]


def test_an_attempt_that_died_before_its_record_is_passed_over() -> None:
    assert valid_history([from_nothing(1), Attempt(2), Attempt(3)], [name(1, 1)]) == [name(1, 1)]


def test_a_fresh_start_cuts_the_chain_even_before_its_first_commit() -> None:
    assert valid_history([from_nothing(1), Attempt(2, fresh=True)], [name(1, 1)]) == []
    assert valid_history([from_nothing(1), Attempt(2, fresh=True), Attempt(3)], [name(1, 1), name(2, 1)]) == [name(2, 1)]


def test_an_attempt_skipped_by_a_resume_from_further_back_falls_outside() -> None:
    attempts = [from_nothing(1), from_commit(2, 1, 1), from_commit(3, 1, 1)]
    assert valid_history(attempts, [name(1, 1), name(2, 1), name(3, 1)]) == [name(3, 1), name(1, 1)]


def test_a_checkpoint_that_retention_deleted_still_marks_the_place() -> None:
    attempts = [from_nothing(1), from_commit(2, 1, 2)]
    assert valid_history(attempts, [name(1, 1), name(1, 3)]) == [name(1, 1)]


def test_commits_whose_attempt_lost_its_records_count_and_end_the_chain() -> None:
    assert valid_history([from_nothing(1), Attempt(3)], [name(1, 1), name(2, 1)]) == [name(2, 1)]
    assert valid_history([], [name(2, 1)]) == [name(2, 1)]
    assert valid_history([from_nothing(1), Attempt(2)], [name(1, 1), name(2, 1)]) == [name(2, 1)]


def test_a_record_that_points_forward_ends_the_chain() -> None:
    assert valid_history([from_commit(1, 1, 1)], [name(1, 1)]) == [name(1, 1)]
    assert valid_history([Attempt(1, resumed=True, resumed_from="nonsense")], []) == []


def test_nothing_gives_nothing() -> None:
    assert valid_history([], ["latest", ""]) == []
