"""The streams of a call: read in the script's process, on the script's thread, and handed to the workers slice by slice.

The reader lives where nothing is lost when workers are: a worker that takes over the slices of another asks for them, a worker that joins
asks for its own, and a driver that is started again goes on from the mark in the checkpoint.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from disttrain.controller.callback_history import StateForgotten
from disttrain.controller.mailbox import Mailbox
from disttrain.data import StreamPlan
from disttrain.data.bad_samples import Skip
from disttrain.data.stream_plan import part_of
from disttrain.data.stream_state import from_json, to_json
from disttrain.elastic import messages as m
from disttrain.elastic.shipping import pack
from disttrain.errors import DataError
from disttrain.rundir.resume import ResumePoint
from disttrain.rundir.timeline import Console
from disttrain.training.job import Job
from disttrain.training.program import Kind

_WITH_THE_COMMAND = 1 << 16  # bytes


class Feeding:
    """Reads for the workers of one call; does nothing for a call without streams.

    Args:
        cluster: takes what is sent, and with `put` what is large.
        mailbox: the way to the script's thread.
        resume: the checkpoint that the call goes on from.
    """

    def __init__(
        self, job: Job, number: int, cluster: Any, mailbox: Mailbox, console: Console, resume: ResumePoint | None = None,
    ) -> None:  # fmt: skip
        self._program, self._number, self._cluster, self._mailbox = job.program, number, cluster, mailbox
        self._plans = {kind.value: plan for kind, plan in job.program.plans if isinstance(plan, StreamPlan)}
        self._train = self._plans.get(Kind.TRAIN.value)  # the others begin anew each time
        beside = self._plans.get(Kind.VALIDATE.value) if job.kind == "fit" else None
        if beside is not None and beside.reader.stream.once:
            raise DataError(
                "validation_data is a generator that is under way: where it stands is in no checkpoint, and a run that goes on would "
                "validate on other samples.\n"
                "  expected  what can be begun again, such as a generator function: validation_data=make_batches, not make_batches()"
            )
        known = [] if resume is None else resume.extra.get("data", {}).get("skipped", [])
        self.skips: tuple[Skip, ...] = tuple(Skip(**skip) for skip in known)  # samples that are left out
        self._console = console
        for plan in self._plans.values():
            plan.reader.note, plan.reader.keeps_counts = console.note, job.kind == "predict"
        if resume is not None and self._train is not None and (place := self._program.next_step(resume.tick)) is not None:
            self._train.reader.note_mark(*place, from_json(resume.extra["data"][Kind.TRAIN.value]))

    def hear(self, report: m.Wanted | m.Skipped) -> None:
        """What a worker says of its data."""
        if isinstance(report, m.Skipped):
            self._skipped(report.skip)
        else:
            self._wanted(report)

    def _skipped(self, skip: Skip) -> None:
        """A sample could not be made: it is left out from now on, by everybody and for good."""
        if all((skip.phase, skip.data_pass, skip.place) != (one.phase, one.data_pass, one.place) for one in self.skips):
            self.skips = (*self.skips, skip)
            words = f"warning: sample {skip.number} could not be made and is left out ({len(self.skips)} in all): {skip.why}"
            self._console.event("sample left out", words, phase=skip.phase, number=skip.number, why=skip.why)

    def _wanted(self, report: m.Wanted) -> None:
        """A worker asks for slices."""
        if report.phase in self._plans:
            self._mailbox.aside(lambda: self._serve(report))

    def note(self, tick: int) -> None:
        """A checkpoint of this tick is being written: where the stream stood then is kept."""
        place = self._program.next_step(tick)
        if self._train is not None and place is not None and (mark := self._train.reader.mark(*place)) is not None:
            self._train.reader.note_mark(*place, mark)

    def at(self, tick: int) -> dict[str, Any]:
        """Where the stream that is trained on stood at a tick, in JSON types.

        Raises:
            StateForgotten: nobody knows any more.
        """
        place, skipped = self._program.next_step(tick), {"skipped": [asdict(skip) for skip in self.skips]} if self.skips else {}
        if self._train is None or place is None:
            return skipped
        mark = self._train.reader.mark(*place)
        if mark is None:
            raise StateForgotten(f"where {self._train.reader.stream.name} stood at tick {tick} is not known any more")
        return {Kind.TRAIN.value: to_json(mark), **skipped}

    def committed(self, tick: int) -> None:
        """Nobody will go back to before this tick."""
        if self._train is not None and (place := self._program.next_step(tick)) is not None:
            self._train.reader.forget_before(*place)

    def _serve(self, wanted: m.Wanted) -> None:
        """On the script's thread."""
        plan = self._plans[wanted.phase]
        for step in range(wanted.step, wanted.step + wanted.steps):
            item = plan.reader.item(wanted.epoch, step)
            count, key, parts = None, 0, None
            if item is not None:
                count, key = item.count, item.key
                ranks = range(wanted.ranks[0], min(wanted.ranks[1], count))
                slices = {rank: part_of(item, plan.virtual_workers, rank) for rank in ranks}
                parts = self._packed(slices) if plan.brings_samples else slices
            portion = m.Portion(self._number, wanted.phase, wanted.epoch, step, wanted.ranks, count, key, parts)
            self._cluster.send(wanted.worker, portion)
            if item is None:
                return

    def _packed(self, slices: dict[int, Any]) -> Any:
        """Few samples go with the command; many lie in the cluster's store, where they are fetched from."""
        shipment = pack(slices)
        few = len(shipment.pickled) + sum(len(buffer) for buffer in shipment.buffers) <= _WITH_THE_COMMAND
        return shipment if few else self._cluster.put(shipment)
