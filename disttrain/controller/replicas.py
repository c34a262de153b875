"""Do the workers of a call hold the same bits? Hears their digests, and does what `orchestrator.replicas` makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from disttrain import orchestrator as o
from disttrain.checkpoint import fault_digest
from disttrain.controller.environment import CallEnvironment, WorkerFacts
from disttrain.controller.saving import Saving
from disttrain.elastic import messages as m
from disttrain.errors import InfrastructureError, NondeterministicStep
from disttrain.orchestrator.forming import listed
from disttrain.orchestrator.replicas import Comparison, Doubt, Verdict, avoided, judge, judge_audit
from disttrain.training.step.audit import ATTEMPTS, AuditNote
from disttrain.training.step.state_digest import StateDigest, first_difference

_KEPT = 64  # comparisons that wait for somebody's digest: those of a generation that broke wait for ever


class Replicas:
    """The comparisons of one call. A checkpoint is committed only where they agree.

    Args:
        facts: what is known of the workers; whoever erred is noted there.
        saving: takes the parts of saves whose digests agree.
        decide: lets the orchestrator decide.
        generation: the newest.
    """

    def __init__(
        self, around: CallEnvironment, facts: dict[str, WorkerFacts], saving: Saving, decide: Callable[[o.Event], None],
        generation: Callable[[], int],
    ) -> None:  # fmt: skip
        self._console, self._clock, self._cluster = around.console, around.clock, around.cluster
        self._facts, self._saving, self._decide, self._generation = facts, saving, decide, generation
        self._doubt = Doubt()
        self._since = 0  # what older generations hold has been given up
        self._watched = -1  # the generation that does the steps since once more
        self._heard: dict[tuple[str, int, int], dict[str, StateDigest]] = {}
        self._audits: dict[tuple[int, int], dict[str, tuple[AuditNote, ...]]] = {}
        self._avoided: tuple[str, ...] = ()

    @property
    def watch_until(self) -> int:
        """Up to this tick, members are to tell the digest of each step."""
        return self._doubt.until

    def formed(self, generation: int, *, anew: bool) -> None:
        """A generation is being formed; `anew`: from a checkpoint or the start."""
        if anew:
            self._watched = generation if self._doubt.until >= 0 else -1
        elif self._watched == generation - 1:
            self._watched = generation  # it goes on where the one before, which was watched, has got to

    def digested(self, report: m.Digested) -> None:
        """A member's digest of a step."""
        if report.first:
            now = Comparison(report.tick, {report.worker: report.first, report.source: report.digest.packed})
            if not now.agree:
                self._differ(now, report.generation, report.digest.names)
            return
        self._agree("step", report.generation, report.tick, report.size, report.worker, report.digest)

    def audited(self, report: m.Audited) -> None:
        """What a member got for a slice that was computed twice, where the two did not agree at once."""
        first = report.notes[0]
        told = self._audits.setdefault((report.generation, first.tick), {})
        told[report.worker] = report.notes
        attempts: dict[int, dict[str, bytes]] = {}
        for worker, notes in told.items():
            for note in notes:
                attempts.setdefault(note.attempt, {})[worker] = note.digest
        last = max(attempts)
        ended = last == ATTEMPTS - 1 or any(note.agreed for notes in told.values() for note in notes)
        if not ended or any(len(attempts.get(number, ())) < 2 for number in range(last + 1)):
            while len(self._audits) > _KEPT:
                del self._audits[next(iter(self._audits))]
            return  # of somebody else
        del self._audits[report.generation, first.tick]
        two = self._named(tuple(attempts[0]))
        words = f"slice {first.slice} of tick {first.tick} was computed by {two}, and they differ: done again before anything was updated"
        self._console.event("audit failed", words, tick=first.tick, slice=first.slice, attempts=len(attempts))
        verdict = judge_audit([attempts[number] for number in range(last + 1)], first.tick)
        self._rule(verdict, "")
        self._expel(verdict)

    def written(self, part: m.ShardWritten) -> None:
        """A member's part of a save; the last one is taken only if the states that all had are the same."""
        if part.digest is None or self._agree("save", part.generation, part.tick, part.size, part.worker, part.digest):
            self._saving.written(part)

    def _agree(self, what: str, generation: int, tick: int, size: int, worker: str, digest: StateDigest) -> bool:
        """Nobody is known to differ, as far as all have told."""
        key = (what, generation, tick)
        told = self._heard.setdefault(key, {})
        told[worker] = digest
        if len(told) < size:
            while len(self._heard) > _KEPT:
                del self._heard[next(iter(self._heard))]
            return True
        del self._heard[key]
        clean = what == "step" and generation == self._watched and tick <= self._doubt.until
        now = Comparison(tick, {name: own.packed for name, own in told.items()}, clean)
        if not now.agree:
            names: tuple[str, ...] = next((own.names for own in told.values() if own.names), ())
            self._differ(now, generation, names)
        elif generation >= self._since:
            judgement = judge(self._doubt, now)
            self._doubt = judgement.doubt
            for verdict in judgement.verdicts:
                self._rule(verdict, "")
        return now.agree

    # -- what follows ---------------------------------------------------------------------------------------------------------------

    def _differ(self, now: Comparison, generation: int, names: tuple[str, ...]) -> None:
        if generation < self._since:
            return  # of what has been given up since
        one, other, *_ = sorted(set(now.digests.values()))
        first = first_difference(one, other, names)
        judgement = judge(self._doubt, now)
        self._doubt, newest = judgement.doubt, self._generation()
        self._since = newest + 1
        erred = now.outvoted
        who = f"that of {self._named(erred)} differs from the others'" if erred else f"{listed(tuple(now.digests))} differ"
        words = f"the states of the workers are not the same after tick {now.tick}: {who}, first in {first}; nothing of it is kept"
        self._console.event(
            "replicas differ", words, tick=now.tick, generation=generation, tensor=first, outvoted=list(erred),
            digests={worker: fault_digest(packed).hex() for worker, packed in now.digests.items()},
        )  # fmt: skip
        for verdict in judgement.verdicts:
            if verdict.kind != "open":
                self._rule(verdict, first)
        self._decide(o.ReplicasDiffer(newest, now.tick, self._clock.monotonic_s()))
        for verdict in judgement.verdicts:
            self._expel(verdict)

    def _expel(self, verdict: Verdict) -> None:
        if verdict.kind == "persistent":
            for worker in verdict.erred:
                why = f"{worker} computed other bits than the rest, again and again: replacing it"
                self._decide(o.Refused(worker, why, self._clock.monotonic_s()))

    def _rule(self, verdict: Verdict, tensor: str) -> None:
        """Say what became clear, and remember who erred.

        Raises:
            NondeterministicStep: no two computations give the same.
            InfrastructureError: it cannot be told who is right, or there is no end to it.
        """
        words = f"{self._words(verdict)}{f' (first in {tensor})' if tensor else ''}"
        hosts = sorted({self._host(worker) for worker in verdict.erred})
        self._console.event("verdict", words, kind=verdict.kind, tick=verdict.tick, erred=list(verdict.erred), hosts=hosts)
        if verdict.kind == "nondeterministic":
            raise NondeterministicStep(
                f"{words}\n"
                "  expected  a step that gives the same bits each time it is done from the same state\n"
                "  try       look for a clock, an unseeded generator or a set in the optimizer or train_step"
            )
        if verdict.kind in ("undecided", "hopeless"):
            raise InfrastructureError(f"{words}\n  try       the same command on machines of one kind; nothing that differed was kept")
        for worker in verdict.erred:
            known = self._facts.setdefault(worker, WorkerFacts())
            self._facts[worker] = replace(known, errors=known.errors + 1)
        self._avoid()

    def _avoid(self) -> None:
        """Place no worker where one erred too often, and let go of those there."""
        errors: dict[str, int] = {}
        for facts in self._facts.values():
            errors[facts.host] = errors.get(facts.host, 0) + facts.errors
        bad = avoided({worker: facts.host for worker, facts in self._facts.items()}, errors)
        if bad == self._avoided:
            return
        self._avoided = bad
        self._cluster.avoid(bad)
        words = f"{listed(bad)} erred {max(errors[host] for host in bad)} times: no worker is placed there any more"
        self._console.event("host avoided", words, hosts=list(bad))
        for worker, facts in list(self._facts.items()):
            if facts.host in bad:
                self._decide(o.Refused(worker, f"{worker} is on {facts.host}, which erred too often", self._clock.monotonic_s()))

    def _words(self, verdict: Verdict) -> str:
        who = self._named(verdict.erred)
        match verdict.kind:
            case "transient" if verdict.erred:
                return f"the steps up to tick {verdict.tick} were done again and agree: {who} had erred, once"
            case "transient":
                return f"the steps up to tick {verdict.tick} were done again and agree; which worker had erred cannot be told"
            case "persistent":
                return f"{who} errs at tick {verdict.tick} again and again"
            case "undecided":
                return f"the workers differ at tick {verdict.tick} in the same way each time, and no more than half of them agree"
            case "nondeterministic":
                return f"the step to tick {verdict.tick} is not deterministic: every worker gives other bits each time"
            case _:
                return f"the workers differed {verdict.tick} ticks into the call, and again each time the steps were done anew"

    def _named(self, workers: tuple[str, ...]) -> str:
        return listed(tuple(f"{worker} (on {self._host(worker)})" for worker in workers))

    def _host(self, worker: str) -> str:
        return self._facts.get(worker, WorkerFacts()).host or "an unknown host"
