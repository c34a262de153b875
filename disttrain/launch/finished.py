"""A run that is done, opened again from Python: its calls give their results back, and nothing of it is changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from disttrain import seeds
from disttrain.callbacks import CallbackList
from disttrain.errors import RunMismatch
from disttrain.launch.door import Entry
from disttrain.launch.recall import Recall
from disttrain.rundir.directory import RunDirectory
from disttrain.rundir.identity import RunDescription
from disttrain.rundir.timeline import Console
from disttrain.training.job import Job
from disttrain.training.local import runner


class FinishedRun:
    """A `Runner` that trains nothing and starts no Ray. What the run has not recorded, predictions, is computed in this process."""

    def __init__(self, directory: RunDirectory, description: RunDescription, console: Console) -> None:
        self.directory, self._description, self.console = directory, description, console
        self._recall = Recall(directory, console, directory.finished_calls())
        self._calls = 0

    @property
    def virtual_workers(self) -> int:
        return self._description.virtual_workers

    def next_call(self) -> int:
        self._calls += 1
        return self._calls - 1

    def fit(self, job: Job, callbacks: CallbackList) -> None:
        self._recall.take_fit(self._calls - 1, self._result(job), job, callbacks)

    def evaluate(self, job: Job, callbacks: CallbackList | None = None) -> dict[str, Any]:
        return dict(self._result(job)["logs"])

    def predict(self, job: Job, callbacks: CallbackList | None = None) -> Any:
        about = self._description
        stays = about.versions.get("device", "cpu") == "cpu"  # of a run on GPUs, where this process has one
        local = runner.LocalRunner(runner._InProcess(about.virtual_workers, about.threads, stays=stays))
        return local.predict(job, callbacks)

    def _result(self, job: Job) -> dict[str, Any]:
        number = self._calls - 1
        record, _ = self._recall.result(number, job)
        if record is None:
            raise RunMismatch(
                f"{self.directory.run_dir} holds a finished run, which has no call {number}, a {job.kind}().\n"
                "  expected  the calls that it has recorded; a finished run is not changed\n"
                "  try       another run_dir, or restart=True to begin anew"
            )
        return record


@contextmanager
def finished_run(entry: Entry) -> Iterator[FinishedRun]:
    """The run of an entry that is finished, as what carries out calls inside the block."""
    console = Console()
    if entry.description is None:
        raise RunMismatch(
            f"{entry.directory.run_dir} holds a finished run that made no call.\n  try       another run_dir, or restart=True to begin anew"
        )
    console.note(f"{entry.directory.run_dir}: this run is finished; its results are taken from there, nothing is changed")
    seeds.set_random_seed(entry.description.seed)
    run = FinishedRun(entry.directory, entry.description, console)
    with runner.installed(run):
        yield run
