"""The driver's session: a run directory, a cluster, and a runner that carries the script's calls to it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import numpy as np

from disttrain import orchestrator as o
from disttrain import seeds
from disttrain.callbacks import CallbackList
from disttrain.elastic.shipping import pack
from disttrain.errors import InfrastructureError, Interrupted, RunMismatch
from disttrain.launch.conductor import Conductor, Surroundings, WorkerFacts
from disttrain.launch.config import RunConfig, check_virtual_workers
from disttrain.launch.console import Console
from disttrain.launch.heartbeat import Heartbeat
from disttrain.launch.run_directory import FINISHED, RunDescription, RunDirectory
from disttrain.launch.saves import Saves
from disttrain.launch.timings import Timings
from disttrain.training import runner
from disttrain.training.hooks import FitHooks
from disttrain.training.job import Job


class Session:
    """A run, from opening its directory to the end of its processes. A context manager and a `Runner`.

    Args:
        config: what was asked for.
        script, arguments, script_folder: whose run it is; empty from Python.
        directory: the run directory, already checked at the door.
        description: what the run is, where it is known.
        fresh: begin from nothing.
    """

    def __init__(
        self, config: RunConfig, directory: RunDirectory, description: RunDescription | None, *, fresh: bool, script: str = "",
        arguments: tuple[str, ...] = (), script_folder: Path | None = None, script_sha256: str = "", timings: Timings | None = None,
    ) -> None:  # fmt: skip
        self.config, self.directory = config, directory
        self._description = None if fresh else description
        self._fresh = fresh
        self._script, self._arguments, self._folder, self._sha = script, arguments, script_folder, script_sha256
        self.timings = timings or Timings()
        self.console = Console()
        self._calls, self._finished, self._resume = 0, {}, None
        self._state: o.State | None = None
        self._facts: dict[str, WorkerFacts] = {}
        self._conductor: Conductor | None = None
        self._interrupts = 0
        self._sequence = 0
        self._pinned: set[str] = set()
        self._saves: Saves | None = None
        self._cluster: Any = None
        self._ray: Any = None
        self._store: Any = None
        self._ray_failed: BaseException | None = None
        self._heartbeat: Heartbeat | None = None
        self._handlers: dict[int, Any] = {}
        self._local = runner.LocalRunner(runner._InProcess(1, config.cpus_per_worker))

    # -- opening and closing --------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Session:
        attempt = self.directory.begin(fresh=self._fresh)
        self._finished = self.directory.finished_calls()
        self._pinned = {record["commit"] for record in self._finished.values() if record.get("commit")}
        self._resume = self.directory.resume_point()
        if self._resume is not None:
            self._pinned.add(self._resume.name)
            self.console.event("resume", f"resuming {self.directory.url} from checkpoint {self._resume.name}", name=self._resume.name)
        seeds.set_random_seed(self._seed())
        self._starter = threading.Thread(target=self._start_ray, name="start-ray", daemon=True)
        self._starter.start()
        self._heartbeat = Heartbeat(self.directory, self.console, self._status)
        self._heartbeat.start()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._on_signal)
        self._installed = runner.installed(self)
        self._installed.__enter__()
        del attempt
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._installed.__exit__(None, None, None)
        outcome = FINISHED if error is None or isinstance(error, SystemExit) and not error.code else outcome_of(error)
        try:
            if self._saves is not None:
                self._saves.close()
            self._stop_ray()
        finally:
            assert self._heartbeat is not None
            self._heartbeat.stop({"state": outcome})
            try:
                self.directory.end(outcome)
            finally:
                for number, handler in self._handlers.items():
                    signal.signal(number, handler)

    def _start_ray(self) -> None:
        """Beside the script: Ray takes seconds to start, and so do the script's imports."""
        from disttrain.clusters.ray import RayCluster, RayInstance
        from disttrain.clusters.ray.instance import RayOptions

        config = self.config
        try:
            most = config.max_workers or config.workers
            cpus = (most + config.spares) * config.cpus_per_worker
            gpus = int(np.ceil((most + config.spares) * config.gpus_per_worker))
            self._ray = RayInstance(RayOptions(address=config.address, cpus=cpus, gpus=gpus))
            with self.timings.span("Ray starts"):
                self._ray.start()
            self._cluster = RayCluster(config.cpus_per_worker, config.gpus_per_worker)
            decision = o.first_call(self._policy(max(config.virtual_workers or 0, most)), at_s=time.monotonic())
            self._state = decision.state
            for effect in decision.effects:
                if isinstance(effect, o.StartWorker):
                    self._cluster.start_worker(effect.worker)
        except BaseException as error:
            self._ray_failed = error

    def _stop_ray(self) -> None:
        self._starter.join()
        if self._cluster is not None:
            self._cluster.close()
        self._store = None
        if self._ray is not None:
            self._ray.stop()

    def _ready_cluster(self) -> Any:
        """The cluster; waits for Ray where it is still starting."""
        with self.timings.span("waiting for Ray"):
            while self._starter.is_alive():
                self._starter.join(timeout=0.1)
                if self._interrupts:
                    raise Interrupted("interrupted before the first step")
        if self._ray_failed is not None:
            if isinstance(self._ray_failed, InfrastructureError):
                raise self._ray_failed
            raise InfrastructureError(f"Ray could not be started: {self._ray_failed}") from self._ray_failed
        if self._store is None:
            from disttrain.collectives.torch_group import serve_store

            self._address = self._cluster.address()
            self._store = serve_store(self._address)
        return self._cluster

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += 1
        if self._conductor is None or self._interrupts > 1:
            raise Interrupted("interrupted")

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
        if self._conductor is not None:
            return self._local.next_call()  # made by a callback: not one of the run's own
        self._calls += 1
        return self._calls - 1

    def fit(self, job: Job, callbacks: CallbackList) -> None:
        if self._conductor is not None:
            return self._nested().fit(job, callbacks)
        number = self._calls - 1
        record = self._record(number, "fit")
        if record is not None:
            return self._recall_fit(number, record, job, callbacks)
        with self._conducting(number, job, callbacks) as conductor:
            conductor.run()
        assert conductor.result is not None and conductor.hooks is not None
        self._take_over_state(job, conductor.result["arrays"], conductor.result["meta"])
        if conductor.final_commit is not None:
            self._pinned.add(conductor.final_commit)
            history = callbacks.history
            result = {"history": history.history, "epoch": history.epoch} if history is not None else {}
            self.directory.finish_call(number, {"kind": "fit", "commit": conductor.final_commit, **result})
        return None

    def evaluate(self, job: Job) -> dict[str, Any]:
        if self._conductor is not None:
            return self._nested().evaluate(job)
        number = self._calls - 1
        record = self._record(number, "evaluate")
        if record is not None:
            return dict(record["logs"])
        with self._conducting(number, job, None) as conductor:
            conductor.run()
        assert conductor.result is not None
        self.directory.finish_call(number, {"kind": "evaluate", "logs": conductor.result})
        return conductor.result

    def predict(self, job: Job) -> Any:
        if self._conductor is not None:
            return self._nested().predict(job)
        with self._conducting(self._calls - 1, job, None) as conductor:
            conductor.run()
        return runner.join_predictions(conductor.predictions)

    # -- one call -------------------------------------------------------------------------------------------------------------------

    @contextmanager
    def _conducting(self, number: int, job: Job, callbacks: CallbackList | None) -> Iterator[Conductor]:
        self._describe(job)
        with self.timings.span(f"call {number}: packing the job"):
            shipment = pack(job, self._folder)
        cluster = self._ready_cluster()
        with self.timings.span(f"call {number}: putting it into the object store"):
            packed = cluster.put(shipment)
        resume = self._resume if self._resume is not None and self._resume.call == number else None
        attempt = self.directory.attempt
        assert attempt is not None
        watch = None
        hooks = None
        if callbacks is not None:
            watch = _Watch(job.model, lambda: conductor)
            hooks = FitHooks(callbacks, job.model, job.program, watch)
        if job.kind == "fit" and self._saves is None:
            self._saves = Saves(self.directory.store, attempt, self.config.keep, self._pinned)
        around = Surroundings(
            cluster=cluster,
            policy=self._policy(job.virtual_workers),
            run_url=self.directory.url,
            attempt=attempt.number,
            threads=self._threads(),
            backend="nccl" if self.config.gpus_per_worker else "gloo",
            store_host=self._address,
            store_port=self._store.port,
            save_every=self.config.save_every,
            console=self.console,
            interrupts=lambda: self._interrupts,
            first_step=lambda: self.timings.mark("first step completed"),
        )
        conductor = Conductor(
            around, number, job, packed, state=self._state, facts=self._facts, hooks=hooks,
            saves=self._saves if job.kind == "fit" else None, resume=resume, sequence_base=self._sequence,
        )  # fmt: skip
        self._conductor = conductor
        try:
            if watch is not None:
                watch.attach()
            yield conductor
        finally:
            if watch is not None:
                watch.detach()
            self._state = conductor.state
            self._sequence += job.program.ticks + 2
            self._conductor = None
            if self._interrupts == 1 and conductor.result is not None:
                self.console.note("interrupted after the last step")

    def _nested(self) -> runner.LocalRunner:
        """A call that a callback makes: carried out here, with the same slices and threads, so with the same bits."""
        assert self._conductor is not None
        return runner.LocalRunner(runner._InProcess(self._conductor.job.virtual_workers, self._threads()))

    def _record(self, number: int, kind: str) -> dict[str, Any] | None:
        record = self._finished.get(number)
        if record is not None and record["kind"] != kind:
            raise RunMismatch(
                f"call {number} of this script is {kind}(), but the run in {self.directory.url} recorded {record['kind']}() there: the script has changed.\n"
                "  try       another --run-dir, or --restart to begin anew beside it"
            )
        return record

    def _recall_fit(self, number: int, record: dict[str, Any], job: Job, callbacks: CallbackList) -> None:
        """A fit that an earlier attempt finished: take its result."""
        from disttrain.checkpoint import load
        from disttrain.elastic.saver import as_tensor

        loaded = load(self.directory.store, record["commit"])
        arrays = {name: as_tensor(array).numpy() for name, array in loaded.arrays.items()}
        self._take_over_state(job, arrays, loaded.manifest.extra["meta"])
        history = callbacks.history
        if history is not None:
            history.history, history.epoch = dict(record["history"]), list(record["epoch"])
        self.console.event("recalled", f"fit number {number + 1} was finished before: result taken from {record['commit']}", call=number)

    def _take_over_state(self, job: Job, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        """Leave the result of a fit in the script's own model and optimizer."""
        import torch

        from disttrain.training.engine import Engine

        engine = Engine(job)
        own = engine.arrays()
        if set(own) != set(arrays) or any(tuple(own[name].shape) != arrays[name].shape for name in own):
            different = sorted(set(own) ^ set(arrays)) or [name for name in own if tuple(own[name].shape) != arrays[name].shape]
            raise RunMismatch(
                f"{self.directory.url} holds another model: {different[0]!r} (and {len(different) - 1} others) differ in name or shape.\n"
                "  try       another --run-dir, or --restart to begin anew beside it"
            )
        engine.set_arrays({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()})
        engine.set_meta(meta)

    def _describe(self, job: Job) -> None:
        """Write down what the run is, at its first call."""
        if self._description is not None:
            return
        import torch

        attempt = self.directory.attempt
        assert attempt is not None
        roots = [known for known in self.directory.attempts() if known.fresh and known.number <= attempt.number]
        self._description = RunDescription(
            script=self._script,
            arguments=self._arguments,
            virtual_workers=job.virtual_workers,
            seed=job.seed,
            threads=self.config.cpus_per_worker,
            root=max((known.number for known in roots), default=1),
            script_sha256=self._sha,
            versions={"torch": torch.__version__},
        )
        self.directory.describe(self._description)

    def _policy(self, virtual_workers: int) -> o.RecoveryPolicy:
        config = self.config
        return o.RecoveryPolicy(
            workers=config.workers,
            virtual_workers=virtual_workers,
            min_workers=config.min_workers,
            max_workers=config.max_workers,
            spares=config.spares,
        )

    def _threads(self) -> int:
        return self._description.threads if self._description is not None else self.config.cpus_per_worker

    def _seed(self) -> int:
        if self._description is not None:
            return self._description.seed
        return self.config.seed if self.config.seed is not None else seeds.random_seed()

    def _status(self) -> dict[str, Any]:
        attempt = self.directory.attempt
        status = {"state": "starting"} if self._conductor is None else self._conductor.status()
        if self._conductor is None and self._calls:
            status = {"state": "running", "phase": "between calls"}
        return {"attempt": None if attempt is None else attempt.number, "virtual_workers": None if self._description is None else self._description.virtual_workers, **status}


class _Watch:
    """Brings the driver's model up to date when a callback looks at it, and tells what the callback changed."""

    def __init__(self, model: Any, conductor: Any) -> None:
        self._model, self._conductor = model, conductor
        self._pulled: dict[str, np.ndarray] | None = None

    def attach(self) -> None:
        self._model.watch_weights(self._touch)

    def detach(self) -> None:
        self._model.watch_weights(None)

    def _touch(self) -> None:
        if self._pulled is not None:
            return
        conductor = self._conductor()
        if conductor.at_boundary:
            self._pulled = conductor.fetch_weights()
            self._write(self._pulled)

    def changed(self) -> dict[str, np.ndarray] | None:
        pulled, self._pulled = self._pulled, None
        if pulled is None:
            return None
        self._model.watch_weights(None)
        changed = {}
        for name, tensor in self._model.named_weights():
            now = tensor.detach().cpu().numpy()
            if now.tobytes() != pulled[name].tobytes():
                changed[name] = now.copy()
        self._model.watch_weights(self._touch)
        return changed or None

    def _write(self, weights: dict[str, np.ndarray]) -> None:
        import torch

        self._model.watch_weights(None)
        with torch.no_grad():
            for name, tensor in self._model.named_weights():
                tensor.copy_(torch.from_numpy(weights[name]))
        self._model.watch_weights(self._touch)


def outcome_of(error: BaseException | None) -> str:
    """How an attempt ended, in one word."""
    if error is None:
        return FINISHED
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return "lost" if isinstance(error, InfrastructureError) else "failed"
