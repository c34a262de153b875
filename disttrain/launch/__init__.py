"""The composition root: a run's configuration and the driver's session, used by the command line and from Python."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from disttrain.launch.config import RunConfig

__all__ = ["RunConfig", "distribute"]


@contextmanager
def distribute(workers: int = 1, **options: Any) -> Iterator[Any]:
    """Carry the calls of fit, evaluate and predict made inside the block to `workers` Ray actors.

    Args:
        workers: processes to train with.
        options: the other fields of `RunConfig`, such as `run_dir`, `virtual_workers`, `checkpoint_every`.

    Example:
        with dt.distribute(workers=4, run_dir="runs/digits"):
            model.fit(x, y, epochs=5)

    Without `run_dir` the run gets a directory of its own, `runs/session`, `runs/session-2` ..., which is named at the start. With one, the
    run in it is gone on with: its finished calls give their results back, an open one goes on from its checkpoint, and a call that is
    another than the one it holds is refused, with the difference in words.
    """
    from disttrain.awaited import awaiting, told_by
    from disttrain.callbacks.progress_bar import note as tell
    from disttrain.checkpoint.access import told
    from disttrain.determinism import chosen
    from disttrain.errors import UsageError  # late: RunConfig alone brings no torch
    from disttrain.launch.awaiting import of_session
    from disttrain.launch.cluster_start import ClusterStart
    from disttrain.launch.door import enter
    from disttrain.launch.finished import finished_run
    from disttrain.launch.kernels import settle
    from disttrain.launch.possible import compute_of
    from disttrain.launch.session import Session
    from disttrain.launch.timings import Timings
    from disttrain.redaction import hidden, remember

    unknown = sorted(set(options) - set(RunConfig.__dataclass_fields__))
    if unknown:
        raise UsageError(f"distribute({unknown[0]}=...): unknown option; there are {sorted(RunConfig.__dataclass_fields__)}.")
    config = RunConfig(workers=workers, **options)
    settle(config.kernels)
    remember(config.secrets)
    with told(config.run_dir, config.storage_options):
        entry = enter(config, script="", arguments=(), script_sha256="")
        if entry.finished:
            with finished_run(entry) as run:
                yield run
            return
        if entry.claimed:
            print(f"[disttrain] this run is kept in {hidden(entry.directory.run_dir)}", flush=True)
        for note in entry.notes:
            print(f"[disttrain] {hidden(note)}", flush=True)
        timings = Timings()
        start = ClusterStart(config, timings, compute=compute_of(config, entry))
        with told_by(tell), chosen(config.determinism):
            start.begin()
            with Session(config, entry, start, timings) as session, awaiting(lambda: of_session(session)):
                yield session
