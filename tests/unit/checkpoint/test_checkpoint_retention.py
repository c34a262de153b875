from __future__ import annotations

from collections.abc import Callable

import pytest

from disttrain.checkpoint import (
    Attempt,
    CommitName,
    CommittedCheckpoint,
    Deletions,
    NamedArray,
    Store,
    Superseded,
    list_checkpoints,
    load,
    plan_deletions,
    read_history,
    save_folder,
    start_attempt,
    sweep,
)
from disttrain.checkpoint.layout import DATA

OLD, MID, NEW, LAST = (str(CommitName(1, sequence, sequence * 10)) for sequence in (1, 2, 3, 4))
ALL = [LAST, NEW, MID, OLD]
DEAD = str(CommitName(1, 5, 50))
OWN = str(CommitName(2, 1, 60))


def folder(name: str, nonce: str = "0" * 16) -> str:
    parsed = CommitName.parse(name)
    assert parsed is not None
    return save_folder(parsed, nonce)


def plan(history: list[str], keep: int, attempt: int = 1, **others: list[str]) -> Deletions:
    commits = others.pop("commits", history)
    return plan_deletions(history, commits, others.pop("folders", [folder(name) for name in commits]), attempt=attempt, keep=keep, **others)


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        ({"keep": 2}, [OLD, MID]),
        ({"keep": 1}, [OLD, MID, NEW]),
        ({"keep": 9}, []),
        ({"keep": 1, "pinned": [OLD]}, [MID, NEW]),
        ({"keep": 1, "verified": [MID, OLD]}, [OLD]),  # nothing newer than the newest verified goes
        ({"keep": 1, "verified": [LAST]}, [OLD, MID, NEW]),
        ({"keep": 1, "bad": [LAST]}, [OLD, MID, LAST]),  # the newest sound one stays
        ({"keep": 1, "bad": ALL}, []),  # never the last
    ],
)
def test_which_commits_go(options: dict, gone: list[str]) -> None:
    deletions = plan(ALL, **options)
    assert deletions.commits == tuple(gone)
    assert deletions.folders == tuple(folder(name) for name in gone)


def test_commits_outside_the_history_go_once_it_holds_enough_of_its_own() -> None:
    assert plan([OWN], 2, attempt=2, commits=[*ALL, OWN]) == Deletions()
    assert plan([OWN], 1, attempt=2, commits=[*ALL, OWN]).commits == (OLD, MID, NEW, LAST)


def test_left_over_folders_of_dead_attempts_and_earlier_saves_go_and_saves_under_way_stay() -> None:
    own_old, own_next = (folder(str(CommitName(2, sequence, 60))) for sequence in (1, 3))
    committed = str(CommitName(2, 2, 60))
    folders = [folder(DEAD), own_old, folder(committed), own_next, "notes", folder(OLD)]
    assert plan([committed], 1, attempt=2, folders=folders).folders == (folder(OLD), folder(DEAD), own_old)
    assert plan([committed], 1, attempt=2, folders=folders, in_flight=[own_old]).folders == (folder(OLD), folder(DEAD))


def test_what_a_listing_of_a_moment_before_did_not_have_yet_stays() -> None:
    """Listings of some stores lag: the history may be read of one that lacks the newest commit."""
    assert plan([NEW, MID, OLD], keep=2, commits=ALL) == Deletions((OLD,), (folder(OLD),))
    assert plan([NEW, MID], keep=2, commits=[NEW, MID], folders=[folder(name) for name in ALL]) == Deletions((), (folder(OLD),))


def test_a_zombie_deletes_nothing() -> None:
    assert plan(ALL, 1, attempt=1, commits=[*ALL, OWN]) == Deletions()
    assert plan(ALL, 1, attempt=1, folders=[folder(OWN)]) == Deletions()


def test_keeping_none_is_refused() -> None:
    with pytest.raises(ValueError, match="keep=0: expected 1 or more"):
        plan(ALL, 0)


def test_a_sweep_deletes_commits_and_their_data_and_nothing_else(
    store: Store, arrays: dict[str, NamedArray], started: Callable[[Store], Attempt], save: Callable[..., CommittedCheckpoint]
) -> None:
    attempt = started(store)
    names = [save(store, attempt, sequence, arrays).name for sequence in (1, 2, 3)]
    deletions = plan_deletions(read_history(store), names, store.list(DATA), attempt=1, keep=1)
    sweep(store, attempt, deletions)
    assert [info.name for info in list_checkpoints(store)] == [names[2]]
    assert len(store.list(DATA)) == 1
    assert load(store).manifest.name.step == 30
    sweep(store, attempt, deletions)  # again, as after a crash


def test_a_superseded_driver_sweeps_nothing(
    store: Store, arrays: dict[str, NamedArray], started: Callable[[Store], Attempt], save: Callable[..., CommittedCheckpoint]
) -> None:
    attempt = started(store)
    name = save(store, attempt, 1, arrays).name
    start_attempt(store, {}, fresh=False)
    with pytest.raises(Superseded):
        sweep(store, attempt, Deletions(commits=(name,)))
    assert load(store, name).manifest.name.step == 10
