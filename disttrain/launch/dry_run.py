"""What a launch would be: the script runs up to its first call, of which one batch is computed here. No Ray, no run directory."""

from __future__ import annotations

import resource
import runpy
import sys
import time
from typing import Any, NoReturn

from disttrain import seeds
from disttrain.callbacks import CallbackList
from disttrain.determinism import set_determinism
from disttrain.errors import UsageError
from disttrain.launch.config import RunConfig, check_virtual_workers
from disttrain.launch.script import checked_script
from disttrain.launch.telling import cores_here, start_lines
from disttrain.rundir.timeline import Console
from disttrain.training.job import Job
from disttrain.training.local import runner
from disttrain.training.step.engine import Engine


class _Tried(BaseException):
    """The first call has been tried: the script ends here. No Exception, so that no script takes it for its own."""


class DryRun:
    """A `Runner` that computes one batch of the first call and ends the script.

    Args:
        console: where it says what it found.
    """

    def __init__(self, config: RunConfig, run_dir: str, console: Console) -> None:
        self._config, self._run_dir, self.console = config, run_dir, console

    @property
    def virtual_workers(self) -> int:
        """V, as a launch that begins anew has it."""
        config = self._config
        chosen = config.virtual_workers or runner.asked_virtual_workers() or (config.max_workers or config.workers)
        check_virtual_workers(chosen, config.workers)
        return chosen

    def next_call(self) -> int:
        return 0

    def fit(self, job: Job, callbacks: CallbackList) -> None:
        config = self._config
        for line in start_lines(config, self._run_dir, job, None, cores_here() if config.address is None else None):
            self.console.note(line)
        self._try(job)

    def evaluate(self, job: Job, callbacks: CallbackList | None = None) -> dict[str, Any]:
        self._try(job)

    def predict(self, job: Job, callbacks: CallbackList | None = None) -> Any:
        self._try(job)

    def _try(self, job: Job) -> NoReturn:
        weights = sum(weight.numel() for _, weight in job.model.named_weights())
        before = _peak_mib()
        runner.read_here(job)
        engine = Engine(job)
        try:
            engine.begin()
            engine.hold()
            began = time.monotonic()
            engine.run_tick(engine.position)
            took = time.monotonic() - began
        finally:
            engine.rest()
        self.console.note(f"model    {weights:,} numbers in its weights")
        self.console.note(f"batch    the first of {job.kind}() was computed here, in all its {job.virtual_workers} slices, in {took:.2f} s")
        self.console.note(f"memory   this process took {_peak_mib():,.0f} MiB at most, {before:,.0f} before that batch; Ray is not in it")
        raise _Tried


def dry_run(config: RunConfig, script: str, arguments: tuple[str, ...] = ()) -> None:
    """Run `script` up to its first call, try one batch of that, and say what a launch would start. Nothing is started or written by us.

    Raises:
        UsageError: there is no such script, or it makes no call; or whatever the script raises.
    """
    path = checked_script(script)
    set_determinism(config.determinism)
    seeds.set_random_seed(config.seed if config.seed is not None else seeds.random_seed())
    run = DryRun(config, config.run_dir or f"runs/{path.stem}", Console())
    before = sys.argv, sys.path[:]
    sys.argv, sys.path[0:1] = [script, *arguments], [str(path.resolve().parent)]
    try:
        with runner.installed(run):
            runpy.run_path(str(path), run_name="__main__")
    except _Tried:
        where = "a Ray on this machine" if config.address is None else f"nothing but workers on the Ray cluster at {config.address}"
        spares = f" and {config.spares} spare{'s' if config.spares > 1 else ''}" if config.spares else ""
        run.console.note(f"start    a launch would start {where}: {config.workers} worker{'s' if config.workers > 1 else ''}{spares}")
        return
    finally:
        sys.argv, sys.path[:] = before
    raise UsageError(f"{script} ended without a call of fit, evaluate or predict.\n  expected  a script that trains")


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / 1024
