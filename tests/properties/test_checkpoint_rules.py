"""The pure rules of the checkpoint engine, held against histories that nobody would think of."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from disttrain.checkpoint import Attempt, CommitName, TensorSpec, plan_deletions, save_folder, split, valid_history
from disttrain.checkpoint.arrays import DTYPES
from disttrain.checkpoint.layout import parse_save_folder
from disttrain.checkpoint.partition import check_tiling

specs = st.lists(
    st.builds(
        TensorSpec,
        st.text("abc", min_size=1, max_size=3),
        st.sampled_from(sorted(DTYPES)),
        st.lists(st.integers(0, 9), max_size=3).map(tuple),
    ),
    unique_by=lambda spec: spec.name,
    max_size=12,
)


@given(specs, st.integers(1, 9), st.randoms())
def test_pieces_tile_every_tensor_once_whatever_their_order(tensors: list[TensorSpec], writers: int, random: object) -> None:
    shares = split(tensors, writers)
    assert len(shares) == writers
    tiling = check_tiling(tensors, [piece for share in shares for piece in share])
    assert (tiling.holes, tiling.overlaps) == ((), ())
    shuffled = list(tensors)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert split(shuffled, writers) == shares
    assert sum(map(len, shares)) <= len(tensors) + writers - 1


@given(specs, st.integers(1, 9))
def test_shares_are_balanced_within_the_longest_row(tensors: list[TensorSpec], writers: int) -> None:
    rows = {spec.name: spec.row_bytes for spec in tensors}
    total = sum(spec.nbytes for spec in tensors)
    for share in split(tensors, writers):
        nbytes = sum((piece.row_stop - piece.row_start) * rows[piece.tensor] for piece in share)
        assert abs(nbytes - total / writers) <= max([*rows.values(), 1])


class Run:
    """Drivers that start, resume, commit and go on committing after another took over; each commit knows its true parent."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.parent: dict[str, str | None] = {}
        self.tip: dict[int, str | None] = {}  # where a resumed attempt stands
        self.saves: dict[int, int] = {}

    def start(self, fresh: bool) -> None:
        self.attempts.append(Attempt(len(self.attempts) + 1, fresh=fresh))

    def resume(self, number: int, back: int) -> None:
        """The attempt reads the history as it would have been with it the newest, and takes the checkpoint `back` before the newest."""
        attempt = self.attempts[number - 1]
        if attempt.resumed:
            return
        chain = self.lineage(number)
        origin = chain[min(back, len(chain) - 1)] if chain else None
        self.attempts[number - 1] = Attempt(number, attempt.fresh, resumed=True, resumed_from=origin)
        self.tip[number] = origin

    def commit(self, number: int) -> None:
        if number not in self.tip:
            return
        self.saves[number] = self.saves.get(number, 0) + 1
        name = str(CommitName(number, self.saves[number], 10 * len(self.parent)))
        self.parent[name] = self.tip[number]
        self.tip[number] = name

    def lineage(self, number: int) -> list[str]:
        """By the parents: what the state of an attempt was built on, newest first."""
        while number and not self.attempts[number - 1].resumed:
            if self.attempts[number - 1].fresh:
                return []
            number -= 1
        at, chain = self.tip.get(number), []
        while at is not None:
            chain.append(at)
            at = self.parent[at]
        return chain


actions = st.one_of(
    st.tuples(st.just("start"), st.booleans().map(lambda fresh: fresh), st.none()),
    st.tuples(st.just("resume"), st.integers(1, 6), st.integers(0, 2)),
    st.tuples(st.just("commit"), st.integers(1, 6), st.none()),
)


def played(steps: list) -> Run:
    run = Run()
    run.start(fresh=False)
    for kind, value, back in steps:
        if kind == "start" and len(run.attempts) < 6:
            run.start(value)
        elif kind == "resume" and value <= len(run.attempts):
            run.resume(value, back)
        elif kind == "commit" and value <= len(run.attempts):
            run.commit(value)
    return run


@settings(max_examples=500)
@given(st.lists(actions, max_size=40))
def test_the_valid_history_is_what_the_newest_attempt_was_truly_built_on(steps: list) -> None:
    run = played(steps)
    assert valid_history(run.attempts, run.parent) == run.lineage(len(run.attempts))


@settings(max_examples=300)
@given(st.lists(actions, max_size=40), st.integers(1, 4), st.data())
def test_deleting_never_takes_what_a_resume_needs(steps: list, keep: int, data: st.DataObject) -> None:
    run = played(steps)
    number = len(run.attempts)
    history, commits = valid_history(run.attempts, run.parent), sorted(run.parent)
    some_of = st.sets(st.sampled_from(commits)) if commits else st.just(set())
    pinned, verified, bad = data.draw(some_of), data.draw(some_of), data.draw(some_of)
    folders = {name: save_folder(CommitName.parse(name), "0" * 16) for name in commits}  # type: ignore[arg-type]
    orphan = save_folder(CommitName(number, 999, 0), "0" * 16)

    def plan(commits: list[str], folders: list[str]) -> tuple[set[str], set[str]]:
        left = [name for name in history if name in commits]
        options = {"pinned": pinned, "verified": verified, "bad": bad}
        deletions = plan_deletions(left, commits, folders, attempt=number, keep=keep, **options)
        return set(deletions.commits), set(deletions.folders)

    gone, gone_folders = plan(commits, [*folders.values(), orphan])
    kept = [name for name in commits if name not in gone]
    sound = [name for name in history if name not in bad]
    assert set(sound[:keep]) <= set(kept)
    assert not commits or kept
    if any(name in verified for name in sound):
        newest = next(index for index, name in enumerate(sound) if name in verified)
        assert set(sound[: newest + 1]) <= set(kept)
    assert pinned <= set(kept)
    assert {folders[name] for name in kept}.isdisjoint(gone_folders)
    assert orphan not in gone_folders  # a save under way
    assert all(parse_save_folder(folder) is not None for folder in gone_folders)
    assert plan(kept, [f for f in [*folders.values(), orphan] if f not in gone_folders]) == (set(), set())
