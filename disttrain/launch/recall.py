"""What earlier attempts of a run have done, held against what the script asks for now: the same is taken over, another is refused."""

from __future__ import annotations

from typing import Any

import numpy as np

from disttrain.callbacks import CallbackList
from disttrain.checkpoint import load
from disttrain.checkpoint.trouble import answering
from disttrain.errors import CheckpointIncomplete, CheckpointMismatch, RunMismatch
from disttrain.host_numbers import plain, tensor_of
from disttrain.rundir.call_identity import call_identity
from disttrain.rundir.directory import RunDirectory
from disttrain.rundir.identity import Identity, differences, only_renumbered, refuse_other_call
from disttrain.rundir.resume import ResumePoint, arrays_of_callbacks
from disttrain.rundir.timeline import Console
from disttrain.training.job import Job
from disttrain.training.step.engine import Engine
from disttrain.training.step.named_arrays import as_tensor
from disttrain.training.step.replica import StateDict


class Recall:
    """The finished calls of a run and the checkpoint that it goes on from.

    Args:
        finished: by number, see `RunDirectory.finished_calls`.
        resume: None where nothing was committed.
    """

    def __init__(
        self, directory: RunDirectory, console: Console, finished: dict[int, dict[str, Any]], resume: ResumePoint | None = None
    ) -> None:
        self._directory, self._console, self._finished, self.resume = directory, console, finished, resume

    def commits(self) -> set[str]:
        """The checkpoints that must stay."""
        names = {record["commit"] for record in self._finished.values() if record.get("commit")}
        return names | ({self.resume.name} if self.resume is not None else set())

    def tell(self) -> None:
        """Say where the run goes on."""
        resume, place = self.resume, self._directory.run_dir
        if resume is None:
            if not self._finished:
                self._console.note(f"{place} holds no checkpoint of this run yet: it begins from its start")
            return
        for name, reason in resume.skipped.items():
            words = f"warning: checkpoint {name} is passed over: {reason.splitlines()[0]}"
            self._console.event("checkpoint damaged", words, name=name, reason=reason)
        self._console.event("resume", f"resuming {place} from checkpoint {resume.name}", name=resume.name)

    def result(self, number: int, job: Job) -> tuple[dict[str, Any] | None, Identity]:
        """(what an earlier attempt recorded of a call that it finished, or None, the call's identity).

        Raises:
            RunMismatch: it was another call.
            CheckpointIncomplete: it must have been finished, but its record is gone.
        """
        record, identity = self._finished.get(number), call_identity(job)
        if record is None:
            later = max([*self._finished, -1 if self.resume is None else self.resume.call])
            if later > number:
                raise CheckpointIncomplete(
                    f"{self._directory.store.locate('calls')} has no result of call {number} of the script, a {job.kind}(), "
                    f"though the run has reached call {later}.\n"
                    f"  expected  a file calls/{number:06d}-a....json; or the script that began the run, whose calls may be others\n"
                    "  try       restore it from a copy, the script as it was, or --restart to begin anew"
                )
            return None, identity
        if record["kind"] != job.kind:
            raise RunMismatch(
                f"call {number} of this script is {job.kind}(), the run in {self._directory.run_dir} recorded {record['kind']}() there.\n"
                "  expected  the script that began the run\n"
                "  try       another --run-dir, or --restart to begin anew"
            )
        self._compare(record.get("identity"), identity, number, job.kind, "the result", "is finished, and its result stays as it is")
        return record, identity

    def point(self, number: int, job: Job, identity: Identity) -> ResumePoint | None:
        """The checkpoint that call `number` goes on from, if one is of it.

        Raises:
            RunMismatch: it is of another call than this one.
        """
        resume = self.resume
        if resume is None or resume.call != number:
            return None
        self._compare(resume.extra.get("identity"), identity, number, job.kind, f"checkpoint {resume.name}", "goes on")
        if resume.tick > job.program.ticks:
            raise RunMismatch(
                f"{self._directory.run_dir} holds checkpoint {resume.name} of call {number} of the script, which is further than this "
                f"{job.kind}() goes with epochs={job.program.epochs}.\n"
                "  try       as many epochs as then or more, --step for an earlier checkpoint, or --restart to begin anew"
            )
        return resume

    def holds(self, number: int, tick: int) -> str | None:
        """The checkpoint gone on from, if it is of that tick of call `number`: then nothing was left to do, and nothing to save."""
        resume = self.resume
        return resume.name if resume is not None and (resume.call, resume.tick) == (number, tick) else None

    def _compare(self, then: Any, now: Identity, number: int, kind: str, held: str, outcome: str) -> None:
        if not then:
            return  # a tool that writes checkpoints need not know of calls
        refused, told = differences(then, now)
        renumbered = bool(refused) and only_renumbered(then, now)
        refuse_other_call(refused, call=number, kind=kind, run_dir=self._directory.run_dir, held=held, renumbered=renumbered)
        for words in told:
            self._console.note(f"{words}; call {number} of the script, a {kind}(), {outcome}")

    def take_fit(self, number: int, record: dict[str, Any], job: Job, callbacks: CallbackList) -> None:
        """Give the script the result of a fit that an earlier attempt finished: weights, optimizer, callbacks and History."""
        with answering(self._directory.run_dir):
            loaded = load(self._directory.store, record["commit"])
        arrays = {name: plain(as_tensor(array)) for name, array in loaded.arrays.items() if not name.startswith("callbacks/")}
        take_over_state(self._directory, job, arrays, loaded.manifest.extra["meta"])
        if "hooks" in loaded.manifest.extra:  # what the callbacks counted and kept, for a script that looks at it after the fit
            callbacks.load_state_dict(loaded.manifest.extra["hooks"]["callbacks"])
            callbacks.load_state_arrays(arrays_of_callbacks(loaded))
        history = callbacks.history
        if history is not None:
            history.history, history.epoch = dict(record["history"]), list(record["epoch"])
        self._console.event("recalled", f"fit number {number + 1} was finished before: result taken from {record['commit']}", call=number)


def take_over_state(directory: RunDirectory, job: Job, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    """Leave the result of a fit in the script's own model and optimizer.

    Raises:
        CheckpointMismatch: a name, a shape or a dtype of it is not the model's.
    """
    engine = Engine(job)
    if "frozen" in meta:
        engine.rearrange(meta["frozen"])
    try:
        engine.replica.load_state_dict(StateDict({name: tensor_of(value) for name, value in arrays.items()}, meta))
    except RunMismatch:
        raise
    except (KeyError, ValueError) as error:
        raise CheckpointMismatch(
            f"{directory.run_dir} holds the state of another model: {error.args[0]}\n"
            "  try       the model as it was, another --run-dir, or --restart to begin anew"
        ) from error
