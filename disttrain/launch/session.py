"""The driver's session: a run directory, a cluster, and a runner that carries the script's calls to it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from disttrain import orchestrator as o
from disttrain import seeds
from disttrain.awaited import awaiting
from disttrain.callbacks import CallbackList
from disttrain.checkpoint.trouble import answering
from disttrain.clock import Clock, SystemClock
from disttrain.collectives.store_server import StoreServer
from disttrain.controller.commits import Committer
from disttrain.controller.environment import CallEnvironment, KeptGroup, WorkerFacts
from disttrain.controller.loop import Controller
from disttrain.controller.place import Place
from disttrain.controller.remote_state import RemoteState
from disttrain.controller.telemetry import RunTelemetry
from disttrain.elastic.shipping import pack
from disttrain.errors import DisttrainError, InfrastructureError, Interrupted
from disttrain.launch.cluster_start import ClusterStart, policy_of
from disttrain.launch.config import RunConfig, check_virtual_workers
from disttrain.launch.door import Entry
from disttrain.launch.outcomes import cluster_lost, details_of, nothing_kept, outcome_of
from disttrain.launch.possible import check_script
from disttrain.launch.recall import Recall, take_over_state
from disttrain.launch.stopping import StopRequests
from disttrain.launch.telling import tell_start, tell_versions
from disttrain.launch.timings import Timings
from disttrain.models.call_differences import Identity
from disttrain.orchestrator.call_states import Opening
from disttrain.rundir.directory import FINISHED
from disttrain.rundir.heartbeat import Heartbeat
from disttrain.rundir.identity import RunDescription
from disttrain.rundir.model_description import ModelDescription
from disttrain.rundir.timeline import Console
from disttrain.training.hooks import CallHooks, FitHooks
from disttrain.training.job import Job
from disttrain.training.local import device, runner
from disttrain.training.local.telemetry import facts_of
from disttrain.training.step.predictions import join_predictions


class Session:
    """A run, from opening its directory to the end of its processes. A context manager and a `Runner`.

    Args:
        config: what was asked for.
        entry: what the door decided.
        start: a cluster, already starting; the session ends it.
        script, arguments, script_folder, script_sha256, script_code: whose run it is; empty from Python.
        clock: what time it is.
        limits: fields of `RecoveryPolicy` that are not as a launch has them.
        leave_at_once: ends this process, as interrupted, from any thread. None: it belongs to others, who wait.
    """

    def __init__(
        self, config: RunConfig, entry: Entry, start: ClusterStart, timings: Timings, *, script: str = "", arguments: tuple[str, ...] = (),
        script_folder: Path | None = None, script_sha256: str = "", script_code: str = "",
        clock: Clock | None = None, limits: Mapping[str, Any] | None = None, leave_at_once: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        self.config, self.directory, self._entry, self._start = config, entry.directory, entry, start
        self._description = None if entry.fresh else entry.description
        self._script, self._arguments, self._folder = script, arguments, script_folder
        self._began = tuple(sys.path) if script else None  # before the script could add to it
        self._text = {"script_sha256": script_sha256, "script_code": script_code}
        self.timings = timings
        self.calls = 0
        self._state: o.State | None = None
        self._facts: dict[str, WorkerFacts] = {}
        self._clock, self._limits = clock or SystemClock(), dict(limits or {})
        self.console = Console(clock=self._clock)
        self._recall = Recall(self.directory, self.console, {})
        self._newest_commit: str | None = None
        self._unkept = False  # a fit is done whose result lies nowhere: whatever the script makes of that, the run is not finished
        self._group = KeptGroup()
        self.controller: Controller | None = None
        self._leave_at_once, self._troubled = leave_at_once, False
        self._stops = StopRequests(self._nothing_to_save, self._wake, None if leave_at_once is None else self._leave)
        self._sequence = 0
        self._pinned: set[str] = set()
        self._saves: Committer | None = None
        self._place: Place | None = None
        self._cluster: Any = None
        self._store: Any = None
        self._heartbeat: Heartbeat | None = None
        self._model_description = ModelDescription(entry.directory.store, self.console, config.samples)
        self._describes_afresh = entry.fresh
        self._local = runner.LocalRunner(runner._InProcess(1, config.cpus_per_worker, stays=True))

    # -- opening and closing --------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Session:
        try:
            self._enter()
        except BaseException as error:
            self._end_start(error)  # what has been started must not outlive a door that did not open
            if self._heartbeat is not None:
                self._heartbeat.stop({"state": outcome_of(error)})
            self._end(outcome_of(error), error)
            self._stops.put_back()
            raise
        return self

    def _enter(self) -> None:
        with answering(self.directory.run_dir):
            self.directory.begin(fresh=self._entry.fresh, after=self._entry.after)
            resume = self.directory.resume_point(self.config.step)
            finished = {} if self._entry.fresh else self.directory.finished_calls()  # those that rest on what is gone on from
        self._recall = Recall(self.directory, self.console, finished, resume)
        self._pinned, self._newest_commit = self._recall.commits(), None if resume is None else resume.name
        if not self._entry.fresh:
            self._recall.tell()
            tell_versions(self.console, self._description, self.config)
        seeds.set_random_seed(self._seed())
        self._heartbeat = Heartbeat(self.directory, self.console, self._status, self._stops.ask)
        self._heartbeat.start()
        self._stops.listen()
        self._installed = runner.installed(self)
        self._installed.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._installed.__exit__(None, None, None)
        outcome = FINISHED if error is None or (isinstance(error, SystemExit) and not error.code) else outcome_of(error)
        if outcome == FINISHED and self._unkept:
            outcome = "lost"
        assert self._heartbeat is not None
        with awaiting("ending the run"), ExitStack() as ending:  # from the last to the first, each whatever becomes of the others
            ending.callback(self._stops.put_back)
            ending.callback(self._end, outcome, error)
            ending.callback(self._heartbeat.stop, {"state": outcome})
            ending.callback(self._end_start, error)
            ending.callback(setattr, self._stops, "deaf", True)
            if self._saves is not None:
                self._saves.close()
            self._model_description.wait()

    def _end_start(self, error: BaseException | None) -> None:
        self._start.end(at_once=self._leave_at_once is not None and error is not None)
        if self._store is not None:
            self._store.close()
        if self._place is not None:
            self._place.tidy()

    def _end(self, outcome: str, error: BaseException | None) -> None:
        """Record the end; one that cannot be recorded takes the place of no other error."""
        if self._entry.claimed and self._description is None and self.directory.attempt is not None:
            self.directory.discard()  # made for a run that never was
            return
        try:
            self.directory.end(outcome, **details_of(error))
        except Exception as failed:
            words = f"the end of this run ({outcome}) cannot be recorded in {self.directory.run_dir}: {failed}"
            if error is None:
                raise InfrastructureError(
                    f"{words}\n  try       the same command, once that is mended: nothing is trained again"
                ) from failed
            self.console.note(f"warning: {words}")

    def _ready_cluster(self) -> Any:
        """The cluster; waits for Ray where it is still starting."""
        self._stops.keep()
        cluster = self._cluster = self._start.cluster(lambda: self._stops.count)
        if self._state is None:
            self._state = self._start.state
            for note in self._start.notes:
                self.console.note(note)
            if (self.config.max_workers or self.config.workers) > 1:
                self._store = StoreServer(cluster.address())
        return cluster

    # -- being told to stop ---------------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        if self._cluster is not None and hasattr(self._cluster, "wake"):
            self._cluster.wake()

    def _nothing_to_save(self) -> bool:
        """No step has been done that is not kept: nobody need wait for anything."""
        return self.controller is None or isinstance(self.controller.call, Opening)

    def _asked_to_stop(self) -> int:
        """So often; a cluster that is about to go counts as once: there is time to keep the state of this step."""
        if self._stops.count or (trouble := self._start.trouble) is None:
            return self._stops.count
        if not self._troubled:
            self._troubled = True
            self.console.event("cluster in trouble", f"warning: {trouble}: this run cannot go on here", reason=trouble)
        return 1

    def _leave(self) -> None:
        """On another thread: the script's own is in a call that no signal reaches."""
        if self._saves is None or not self._saves.busy:
            with suppress(Exception):
                self._end("interrupted", None)
            assert self._leave_at_once is not None
            self._leave_at_once()

    # -- the runner -----------------------------------------------------------------------------------------------------------------

    @property
    def virtual_workers(self) -> int:
        """V: what the run was begun with, or the command line, the script or the number of workers say."""
        if self._description is not None:
            return self._description.virtual_workers
        chosen = self.config.virtual_workers or runner.asked_virtual_workers() or (self.config.max_workers or self.config.workers)
        check_virtual_workers(chosen, self.config.workers)
        return chosen

    def next_call(self) -> int:
        if self.controller is not None:
            return self._local.next_call()  # made by a callback: not one of the run's own
        self.calls += 1
        return self.calls - 1

    def fit(self, job: Job, callbacks: CallbackList) -> None:
        if self.controller is not None:
            return self._nested().fit(job, callbacks)
        number = self.calls - 1
        record, identity = self._recall.result(number, job)
        if record is not None:
            self._newest_commit = record["commit"]
            return self._recall.take_fit(number, record, job, callbacks)
        with self._carried(number, job, callbacks, identity) as controller:
            controller.run()
        assert controller.result is not None and controller.hooks is not None
        take_over_state(self.directory, job, controller.result["arrays"], controller.result["meta"])
        commit = controller.final_commit or self._recall.holds(number, controller.result["meta"]["tick"])
        if commit is None:
            raise self._nothing_kept(number, controller)
        self._pinned.add(commit)
        self._newest_commit = commit
        history = callbacks.history
        result = {"history": history.history, "epoch": history.epoch} if history is not None else {}
        self._finish(number, {"kind": "fit", "commit": commit, "identity": identity, **result})
        return None

    def evaluate(self, job: Job, callbacks: CallbackList | None = None) -> dict[str, Any]:
        if self.controller is not None:
            return self._nested().evaluate(job, callbacks)
        number = self.calls - 1
        record, identity = self._recall.result(number, job)
        if record is not None:
            return dict(record["logs"])
        with self._carried(number, job, callbacks, identity) as controller:
            controller.run()
        assert controller.result is not None
        self._finish(number, {"kind": "evaluate", "after": self._newest_commit, "identity": identity, "logs": controller.result})
        return controller.result

    def predict(self, job: Job, callbacks: CallbackList | None = None) -> Any:
        if self.controller is not None:
            return self._nested().predict(job, callbacks)
        with self._carried(self.calls - 1, job, callbacks, {}) as controller:
            controller.run()
        return join_predictions(controller.outputs.parts)

    # -- one call -------------------------------------------------------------------------------------------------------------------

    @contextmanager
    def _carried(self, number: int, job: Job, callbacks: CallbackList | None, identity: Identity) -> Iterator[Controller]:
        resume = self._recall.point(number, job, identity)
        cluster = self._ready_cluster()
        check_script(device.asked_device(), self._start.compute.device)
        self._describe(job)

        def put_job(job: Job) -> Any:
            with self.timings.span(f"call {number}: packing the job"):
                shipment = pack(job, self._folder, self._began)
            with self.timings.span(f"call {number}: putting it into the object store"):
                return cluster.put(shipment)

        attempt = self.directory.attempt
        assert attempt is not None
        changes: RemoteState | None = None
        hooks: FitHooks | CallHooks = CallHooks(callbacks, job)
        if job.kind == "fit" and callbacks is not None:
            assert self._description is not None
            facts = facts_of(job, workers=self.config.workers, script=self._script)
            facts["call"] = f"{self._description.root}.{number}"  # the same in every attempt, so that callbacks know what they wrote
            telemetry = RunTelemetry(
                self.directory.run_dir, facts, lambda: controller.statistics, lambda: controller.gradients(), self.console.event
            )
            changes = RemoteState(job.model, lambda: controller)
            hooks = FitHooks(callbacks, job.model, job.program, changes, telemetry=telemetry)
        if job.kind == "fit":
            self._model_description.write(number, job, fresh=self._describes_afresh)
            self._describes_afresh = False
        if job.kind == "fit" and self._saves is None:
            tell_start(self.console, self.config, self.directory.run_dir, job, resume)
            self._saves = Committer(self.directory.store, attempt, self.config.keep, self._pinned, clock=self._clock)
        if self._place is None:
            self._place = Place(self.directory.store)
        around = CallEnvironment(
            cluster=cluster,
            policy=policy_of(self.config, job.virtual_workers, **self._limits),
            run_dir=self.directory.run_dir,
            attempt=attempt.number,
            threads=self._threads(),
            **self._start.compute.fields,
            meeting_place=lambda: self._store.address,
            **self.config.saving,
            console=self.console,
            interrupts=self._asked_to_stop,
            first_step=lambda: self.timings.mark("first step completed"),
            clock=self._clock,
            identity=identity,
            **self.config.looks,
            place=self._place,
            transport=self.config.transport,
        )
        controller = Controller(
            around, number, job, put_job, state=self._state, facts=self._facts, hooks=hooks,
            saves=self._saves if job.kind == "fit" else None, resume=resume, sequence_base=self._sequence, kept=self._group,
        )  # fmt: skip
        self.controller = controller
        done = False
        try:
            with nullcontext() if changes is None else changes.attached():
                yield controller
            done = True
        except Interrupted as error:
            if self._troubled and not self._stops.count:
                raise cluster_lost(str(self._start.trouble)) from error
            raise
        finally:
            if isinstance(hooks, FitHooks):
                hooks.close(failed=not done)
            self._state = controller.state
            self._sequence += job.program.ticks + 2
            self.controller = None
            if self._stops.count == 1 and controller.result is not None:
                self.console.note("interrupted after the last step")

    def _nested(self) -> runner.LocalRunner:
        """A call that a callback makes: carried out here, with the same slices and threads, so with the same bits."""
        assert self.controller is not None
        return runner.LocalRunner(runner._InProcess(self.controller.job.virtual_workers, self._threads(), stays=True))

    def _nothing_kept(self, number: int, controller: Controller) -> InfrastructureError:
        """The error for a fit that is done, but whose last state lies nowhere: the run must not count as finished."""
        self._unkept, newest = True, controller.saving.newest
        reason = controller.saving.failure or "no save of the last step was committed"
        return nothing_kept(number, self.directory.run_dir, reason, None if newest is None else newest.name)

    def _finish(self, number: int, result: dict[str, Any]) -> None:
        try:
            with answering(self.directory.run_dir):
                self.directory.finish_call(number, result)
        except DisttrainError as error:
            raise InfrastructureError(
                f"{result['kind']} number {number + 1} is done, but cannot be recorded as finished: {error}\n"
                "  try       the same command once that is mended: it goes on from the newest checkpoint"
            ) from error

    def _describe(self, job: Job) -> None:
        """Write down what the run is, at its first call."""
        if self._description is not None:
            return
        attempt = self.directory.attempt
        assert attempt is not None
        self._description = RunDescription(
            script=self._script,
            arguments=self._arguments,
            virtual_workers=job.virtual_workers,
            seed=job.seed,
            threads=self.config.cpus_per_worker,
            root=attempt.number,  # only a fresh attempt has none yet
            versions={"torch": str(torch.__version__), "kernels": self.config.kernels, "device": self._start.compute.device},
            **self._text,
        )
        with answering(self.directory.run_dir):
            self.directory.describe(self._description)

    def _threads(self) -> int:
        return self._description.threads if self._description is not None else self.config.cpus_per_worker

    def _seed(self) -> int:
        if self._description is not None:
            return self._description.seed
        return self.config.seed if self.config.seed is not None else seeds.random_seed()

    def _status(self) -> dict[str, Any]:
        attempt = self.directory.attempt
        status = {"state": "starting"} if self.controller is None else self.controller.status()
        if self.controller is None and self.calls:
            status = {"state": "running", "phase": "between calls"}
        return {
            "attempt": None if attempt is None else attempt.number,
            "virtual_workers": None if self._description is None else self._description.virtual_workers,
            **status,
        }
