"""Workers that should hold the same bits and do not: who erred, as far as it can be known. Pure.

A difference says that somebody erred since all last agreed, not who: a wrong weight spoils the gradients of all the others within a step.
So all go back to the newest checkpoint, which holds what they agreed on, and do the steps since once more, compared after each. Whoever
differs there first differs by its own doing (such a comparison is *clean*), and what all agree on at last says who was right before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

LIMIT = 4  # differences in succession, with no agreement on the same steps between them, that are looked into
ERRORS = 2  # of one host, after which it is avoided


@dataclass(frozen=True, slots=True)
class Comparison:
    """The digests of the members' states as of `tick`, by worker; `clean`: all agreed until the step before."""

    tick: int
    digests: Mapping[str, bytes]
    clean: bool = False

    @property
    def agree(self) -> bool:
        """Do all hold the same bits?"""
        return len(set(self.digests.values())) <= 1

    @property
    def usual(self) -> bytes | None:
        """The digest of more than half of them; None where there is no such half."""
        digest, count = Counter(self.digests.values()).most_common(1)[0]
        return digest if 2 * count > len(self.digests) else None

    @property
    def outvoted(self) -> tuple[str, ...]:
        """Those who hold other bits than more than half of all."""
        return self.unlike(usual) if (usual := self.usual) is not None else ()

    def unlike(self, digest: bytes) -> tuple[str, ...]:
        """Those who hold other bits than these."""
        return tuple(worker for worker, own in self.digests.items() if own != digest)


@dataclass(frozen=True, slots=True)
class Doubt:
    """Differences that are not explained yet, oldest first; the steps up to `until` are compared one by one."""

    differences: tuple[Comparison, ...] = ()
    until: int = -1


Kind = Literal["open", "transient", "persistent", "undecided", "nondeterministic", "hopeless"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a difference at `tick` came of.

    Args:
        kind: "open": not known yet, the steps are done again. "transient": they were, and all agree. "persistent": `erred` err again and
            again. "undecided": members differ in the same way each time, and no more than half of them agree. "nondeterministic": each
            member gives other bits each time. "hopeless": there is no end to it.
        erred: who erred; empty where that cannot be told.
    """

    kind: Kind
    tick: int
    erred: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is still in doubt, and what became clear."""

    doubt: Doubt
    verdicts: tuple[Verdict, ...] = field(default=())


def judge(doubt: Doubt, now: Comparison) -> Judgement:
    """What a comparison says, in the light of the differences before it."""
    return _agreed(doubt, now) if now.agree else _differed(doubt, now)


def _agreed(doubt: Doubt, now: Comparison) -> Judgement:
    settled = [before for before in doubt.differences if before.tick <= now.tick]
    if not settled:
        return Judgement(doubt)
    left = tuple(before for before in doubt.differences if before.tick > now.tick)
    verdicts = tuple(Verdict("transient", before.tick, _erred(before, now)) for before in settled)
    return Judgement(Doubt(left, doubt.until if left else -1), verdicts)


def _erred(before: Comparison, truth: Comparison) -> tuple[str, ...]:
    """Who was wrong then, now that it is known what is right; in doubt, whoever most of them differed from."""
    right = next(iter(truth.digests.values()))
    if before.tick == truth.tick and right in before.digests.values():
        return before.unlike(right)
    return before.outvoted


def _differed(doubt: Doubt, now: Comparison) -> Judgement:
    after = Doubt((*doubt.differences, now), max(doubt.until, now.tick))
    clean = [before for before in doubt.differences if before.clean] if now.clean else []
    again = tuple(worker for worker in now.outvoted if any(worker in before.outvoted for before in clean))
    if again:
        return Judgement(Doubt(until=after.until), (Verdict("persistent", now.tick, again),))
    same = next((before for before in reversed(clean) if before.tick == now.tick), None)
    if same is not None:
        both = [worker for worker in now.digests if worker in same.digests]
        changed = tuple(worker for worker in both if now.digests[worker] != same.digests[worker])
        if not changed:
            return Judgement(after, (Verdict("undecided", now.tick),))
        if len(changed) == len(both):
            return Judgement(after, (Verdict("nondeterministic", now.tick),))
        return Judgement(Doubt(until=after.until), (Verdict("persistent", now.tick, changed),))
    if len(after.differences) >= LIMIT:
        return Judgement(after, (Verdict("hopeless", now.tick),))
    return Judgement(after, (Verdict("open", now.tick),))


def avoided(hosts: Mapping[str, str], errors: Mapping[str, int]) -> tuple[str, ...]:
    """The hosts that have erred too often, as long as there is another.

    Args:
        hosts: by living worker.
        errors: by host.
    """
    bad = tuple(host for host, count in errors.items() if count >= ERRORS)
    return bad if set(hosts.values()) - set(bad) else ()


# ---- the door


@dataclass(frozen=True, slots=True)
class Door:
    """Who has been let in, by what they computed of one and the same slice.

    Args:
        seen: (worker, digest) of those that were let in.
        waiting: the same of those that differ, while a third is asked.
        reference: the digest to have; that of the first, until somebody differs.
        settled: the third has been heard.
        asks: the third is to be asked.
    """

    seen: tuple[tuple[str, bytes], ...] = ()
    waiting: tuple[tuple[str, bytes], ...] = ()
    reference: bytes | None = None
    settled: bool = False
    asks: bool = False


Answers = tuple[tuple[str, bool], ...]  # (worker, may it join)


def judge_door(door: Door, worker: str, digest: bytes) -> tuple[Door, Answers]:
    """A worker comes with its digest: let it in, refuse it, or let it wait for a third opinion."""
    if door.reference is None or digest == door.reference:
        return replace(door, seen=(*door.seen, (worker, digest)), reference=digest), ((worker, True),)
    if door.settled:
        return door, ((worker, False),)
    return replace(door, waiting=(*door.waiting, (worker, digest)), asks=not door.waiting), ()


def answer(door: Door, third: bytes | None) -> tuple[Door, Answers]:
    """The third opinion is here. If it is that of nobody, most of the workers are right; of two halves, those who came first."""
    told = (*door.seen, *door.waiting)
    digests = [digest for _, digest in told]
    if third in digests:
        reference = third
    else:
        counts = Counter(digests)
        reference = max(counts, key=lambda digest: (counts[digest], -digests.index(digest)))
    after = Door(tuple(pair for pair in told if pair[1] == reference), (), reference, settled=True)
    joining = [(worker, digest == reference) for worker, digest in door.waiting]
    expelled = [(worker, False) for worker, digest in door.seen if digest != reference]
    return after, (*expelled, *joining)


# ---- audits


def judge_audit(attempts: Sequence[Mapping[str, bytes]], tick: int) -> Verdict:
    """Who erred where one slice was computed by two workers and they did not agree at once.

    All started from the same state each time, so whoever agrees at last says what is right. Where nobody does, it is what two workers
    have in common, if anything; else whoever does not agree with itself has erred.
    """
    last = attempts[-1]
    if len(set(last.values())) == 1:
        truth = next(iter(last.values()))
        return Verdict("transient", tick, _unlike(attempts, truth))
    holders: dict[bytes, set[str]] = {}
    for attempt in attempts:
        for worker, digest in attempt.items():
            holders.setdefault(digest, set()).add(worker)
    most = max(holders, key=lambda digest: len(holders[digest]))
    if len(holders[most]) > 1:
        return Verdict("persistent", tick, _unlike(attempts, most))
    own: dict[str, set[bytes]] = {}
    for attempt in attempts:
        for worker, digest in attempt.items():
            own.setdefault(worker, set()).add(digest)
    wavering = tuple(worker for worker, digests in own.items() if len(digests) > 1)
    if not wavering:
        return Verdict("undecided", tick)
    return Verdict("nondeterministic", tick) if len(wavering) == len(own) else Verdict("persistent", tick, wavering)


def _unlike(attempts: Sequence[Mapping[str, bytes]], truth: bytes) -> tuple[str, ...]:
    return tuple(dict.fromkeys(worker for attempt in attempts for worker, digest in attempt.items() if digest != truth))


def expected_steps(share: float, workers: int, virtual_workers: int, error_rate: float) -> float:
    """After how many steps, on average, audits find a worker that errs in so many of its slices.

    A step is audited with the chance `share * virtual_workers / workers`; a slice of it is computed by two of the workers.

    Example:
        >>> expected_steps(1.0, 2, 4, 0.5)
        2.0
    """
    audited = min(1.0, share * virtual_workers / workers)
    return 1.0 / (audited * 2.0 / workers * error_rate)
